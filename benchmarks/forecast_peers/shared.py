"""What the contenders share: the meter, the series from Parquet, and forecasts to a file. Standard library and pandas only."""

import json
import logging
import sys
import warnings
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "drift_peers"))
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import pandas as pd  # noqa: E402
from meter import Meter, task  # noqa: E402

__all__ = ["Meter", "read", "task", "write"]


def read(own: dict) -> dict[str, pd.DataFrame]:
    """Series by name: ``ds, y``."""
    return dict(iter(pd.read_parquet(own["series"]).groupby("unique_id", sort=False)))


def write(own: dict, forecasts: dict[str, list[float]]) -> None:
    """Leave the forecasts where the benchmark scores them."""
    Path(own["answers"]).write_text(json.dumps(forecasts), encoding="utf-8")
