"""Small seeded series with known faults, for tests that run a forecaster."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

START = datetime(2023, 1, 2, tzinfo=UTC)
WEEKS, FAULT_WEEK, REFERENCE, REPLAY = 64, 56, (30, 54), (54, 62)


def make_series(*, fault: bool = False, n_series: int = 3, weeks: int = WEEKS, seed: int = 0) -> pd.DataFrame:
    """``store, day, sales, promotion``: daily rows; with the fault the week of store ``s1`` is another from ``FAULT_WEEK`` on."""
    rng, n = np.random.default_rng(seed), 7 * weeks
    days = pd.date_range(START, periods=n, freq="D")
    frames = []
    for place in range(n_series):
        week = np.tile(rng.normal(0, 8, 7), weeks)
        other = np.tile(rng.normal(0, 8, 7), weeks)
        noise = rng.normal(0, 2, n)
        is_other = (np.arange(n) >= 7 * FAULT_WEEK) & fault & (place == 1)
        sales = 100 + 10 * place + np.where(is_other, other, week) + noise
        frames.append(
            pd.DataFrame({"store": f"s{place}", "day": days, "sales": sales, "promotion": (np.arange(n) % 11 == 0).astype(float)})
        )
    return pd.concat(frames, ignore_index=True)


def week(place: int) -> datetime:
    """Monday of a week of the series."""
    return START + pd.Timedelta(weeks=place).to_pytimedelta()


def declared(**overrides: object) -> dict[str, object]:
    """The declaration as plain data; ``overrides`` replace whole sections."""
    span = {"start": f"{week(REFERENCE[0]):%Y-%m-%d}", "end": f"{week(REFERENCE[1]):%Y-%m-%d}"}
    return {
        "model": "shop",
        "task": "forecast",
        "owners": ["team:shop"],
        "log": {"parquet": "log.parquet", "time": "day"},
        "series": "store",
        "outcome": {"column": "sales"},
        "chunk": "1w",
        "reference": span,
        "drift": {"multivariate": []},
        "forecast": {"freq": "D", "horizon": 14, "season_lengths": [7], "candidates": ["auto_ets"], "windows": 2, "scope": "series"},
        "gates": {"holdout": "21d", "resamples": 200},
        "retrain": {"when": {"verdict": {}}, "cooldown": 1},
        "replay": {"start": f"{week(REPLAY[0] + 1):%Y-%m-%d}", "end": f"{week(REPLAY[1]):%Y-%m-%d}"},
        **overrides,
    }


def declare(folder: Path, rows: pd.DataFrame, **overrides: object) -> Path:
    """Write the log and its declaration into ``folder`` and return the models folder."""
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(models / "log.parquet", index=False)
    (models / "shop.yaml").write_text(yaml.safe_dump(declared(**overrides), sort_keys=False), encoding="utf-8")
    return models
