"""A small seeded production log with known faults, for tests that run whole stages."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

START = datetime(2024, 1, 1, tzinfo=UTC)
REFERENCE_DAYS, ROWS_A_DAY = 30, 80


def make_log(days: int = 50, seed: int = 0, *, fault: str | None = None, fault_day: int = 40) -> pd.DataFrame:
    """Rows with served predictions and outcomes; ``fault`` is ``concept``, ``missing``, ``shift`` or ``broken_rows``."""
    rng = np.random.default_rng(seed)
    count = days * ROWS_A_DAY
    moments = [START + timedelta(minutes=index * 24 * 60 / ROWS_A_DAY) for index in range(count)]
    x1, x2 = rng.normal(size=(2, count))
    site = rng.choice(["north", "south"], count)
    is_late = np.arange(count) >= fault_day * ROWS_A_DAY
    if fault == "shift":
        x2 = np.where(is_late, x2 + 3.0, x2)
    served = 1 / (1 + np.exp(-(2.0 * x1 + 0.1 * x2)))
    truth = 1 / (1 + np.exp(-(np.where(is_late, -2.0, 2.0) * x1))) if fault == "concept" else served
    outcome = (rng.random(count) < truth).astype(int)
    log = pd.DataFrame({
        "ts": moments, "id": [f"p{index}" for index in range(count)], "x1": x1, "x2": x2, "site": site,
        "label": (served >= 0.5).astype(int), "proba": served, "outcome": outcome,
    })  # fmt: skip
    if fault == "missing":
        log.loc[is_late & (np.arange(count) % 2 == 0), "x2"] = np.nan
    if fault == "broken_rows":
        log["x2"] = log["x2"].astype(object)
        log.loc[is_late & (np.arange(count) % 5 == 0), "x2"] = "unplugged"
        log["x2"] = log["x2"].astype(str)
    return log


def declare(folder: Path, rows: pd.DataFrame, **overrides: object) -> Path:
    """Write the log and its declaration into ``folder`` and return the models folder."""
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(models / "log.parquet", index=False)
    reference_end = START + timedelta(days=REFERENCE_DAYS)
    body = {
        "model": "shop",
        "task": "binary_classification",
        "owners": ["team:shop"],
        "log": {"parquet": "log.parquet", "time": "ts", "id": "id", "prediction": "label", "probability": "proba"},
        "features": {"numeric": ["x1", "x2"], "categorical": ["site"]},
        "outcome": {"column": "outcome", "delay": "1d"},
        "chunk": "1d",
        "reference": {"start": f"{START:%Y-%m-%d}", "end": f"{reference_end:%Y-%m-%d}"},
        "gates": {"holdout": "5d", "resamples": 200},
        "retrain": {"windows": ["all", "10d", "since_onset"]},
        **overrides,
    }
    body["retrain"] = {"when": {"verdict": {}}, **body["retrain"]}  # on harm alone, so that nothing retrains without a fault
    (models / "shop.yaml").write_text(yaml.safe_dump(body, sort_keys=False), encoding="utf-8")
    return models
