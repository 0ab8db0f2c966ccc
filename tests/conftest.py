"""What every test may use: a valid minimal declaration, a lake in a temporary folder, quiet third parties."""

import os

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
os.environ["MPLBACKEND"] = "Agg"
os.environ["OMP_THREAD_LIMIT"] = "1"  # waiting OpenMP threads spin: on a busy machine a fit of seconds takes minutes
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # so do those of NumPy and SciPy; workers and started processes inherit it

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

from resources.lake import Lake
from resources.policy import MonitoredModel

threadpool_limits(1, "blas")  # of the NumPy that a plugin of pytest has loaded before, where there are no workers

settings.register_profile(
    "plumbline", max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.load_profile("plumbline")


def _merged(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    both = {**base, **overrides}
    return {
        key: _merged(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
        for key, value in both.items()
    }


@pytest.fixture(scope="session")
def declare() -> Callable[..., MonitoredModel]:
    """Build a valid minimal declaration; keyword arguments are merged into it, section by section."""

    def build(**overrides: Any) -> MonitoredModel:
        minimal = {
            "model": "demo",
            "task": "regression",
            "log": {"csv": "log.csv", "time": "at", "id": "row_id", "timezone": "UTC"},
            "features": {"numeric": ["x1", "x2"]},
            "outcome": {"column": "y"},
            "reference": {"start": "2024-01-01", "end": "2024-03-01"},
        }
        return MonitoredModel.model_validate(_merged(minimal, overrides))

    return build


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """An empty lake."""
    return Lake(root=str(tmp_path / "lake"))
