"""The seeded production log of ``synthetic`` with three classes instead of an outcome of 0 or 1."""

from typing import Any

import numpy as np
import pandas as pd
import synthetic
from scipy.special import softmax

CLASSES = ["ebb", "flood", "slack"]
#: Overrides of the synthetic declaration.
DECLARED: dict[str, Any] = {
    "task": "multiclass_classification",
    "log": {"parquet": "log.parquet", "time": "ts", "id": "id", "prediction": "label", "probabilities": {name: f"p_{name}" for name in CLASSES}},
    "outcome": {"column": "outcome", "delay": "1d", "classes": CLASSES},
}  # fmt: skip


def make_log(days: int = 50, seed: int = 0, *, fault: str | None = None, fault_day: int = 40) -> pd.DataFrame:
    """Rows whose class follows from ``x1`` and ``x2`` as the served model says; with fault ``concept`` the classes change places."""
    plain = synthetic.make_log(days, seed)
    matrix = softmax(2.0 * np.stack([plain["x1"], plain["x2"], np.zeros(len(plain))], axis=1), axis=1)
    drawn = (matrix.cumsum(axis=1) < np.random.default_rng(seed + 1).random((len(plain), 1))).sum(axis=1)
    is_late = np.arange(len(plain)) >= fault_day * synthetic.ROWS_A_DAY
    happened = np.where(is_late & (fault == "concept"), (drawn + 1) % 3, drawn)
    names = np.array(CLASSES)
    served = {f"p_{name}": matrix[:, place] for place, name in enumerate(CLASSES)}
    return plain.drop(columns="proba").assign(label=names[matrix.argmax(axis=1)], outcome=names[happened], **served)
