"""Is the harm more than noise? The chunk's metric beside the same metric on reference blocks of as many rows.

Belongs here: metrics of a frame of outcomes and predictions, their spread over blocks of the reference, the chance of so
bad a value there. Does not: what caused the harm.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.number import NAN
from monitoring_assets.measures.paired import Values, score
from monitoring_assets.measures.probabilities import probability_columns, probability_of
from monitoring_assets.measures.registry import METRICS, sign_of
from resources.vocabulary import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Most blocks; they overlap where the reference is shorter than all of them.
MOST_BLOCKS = 200
#: From so many blocks beside each other on, counting alone gives the chance.
ENOUGH_TO_COUNT = 100


@dataclass(frozen=True)
class Placebo:
    """How bad the metric gets on the reference, in blocks of the chunk's size.

    Attributes:
        p_value: one-sided chance of a value at least as bad without a fault, in (0, 1]; NaN where it cannot be told. Below
            ``ENOUGH_TO_COUNT`` blocks beside each other it is Student's t tail, from then on ``counted_p_value``.
        mean: of the metric over the blocks, in the metric's unit.
        standard_deviation: over the blocks.
        n_blocks: blocks with a finite metric, overlapping ones included.
        n_separate: blocks of that size that fit into the reference beside each other.
        counted_p_value: ``(1 + blocks at least as bad) / (1 + blocks)``.
        reason: why nothing could be told.
    """

    p_value: float
    mean: float
    standard_deviation: float
    n_blocks: int
    n_separate: int = 0
    counted_p_value: float = NAN
    reason: str = ""


def placebo(reference: "pd.DataFrame", task: Task, metric: str, value: float, n_rows: int, values: Values | None = None) -> Placebo:
    """Compare a chunk's metric with the reference's own ups and downs.

    Args:
        reference: ``(n_reference, ...)`` in time order with ``y_true``, ``y_pred`` and, for classifiers, probabilities;
            rows without outcome or prediction are left out.
        task: of the model.
        metric: a name of the registry for this task.
        value: of the chunk.
        n_rows: labelled rows of the chunk, at least 1.
        values: what a row is worth by outcome and prediction, for ``business_value``.

    Returns:
        The comparison; neighbouring rows stay together, so that autocorrelated errors do not pass for significance.

    Raises:
        ValueError: no such metric for the task, or no row.

    Source: Hahn & Meeker (1991) for the interval of one further block; Phipson & Smyth (2010), Permutation p-values
    should never be zero, for the count.
    """

    if (task, metric) not in METRICS or n_rows < 1:
        known = ", ".join(name for own, name in METRICS if own is task)
        raise ValueError(f"got metric {metric!r} and {n_rows} rows; expected one of {known} and at least 1 row")
    columns = ["y_true", "y_pred", *([] if task is Task.REGRESSION else probability_columns(reference))]
    known_rows = reference[columns].dropna()
    separate = len(known_rows) // n_rows
    if separate < 2 or math.isnan(value):
        reason = f"got a value of {value:g} on {n_rows} rows and {len(known_rows)} reference rows"
        return Placebo(NAN, NAN, NAN, 0, separate, reason=f"{reason}; expected a number and at least {2 * n_rows} reference rows")
    return compared(block_values(known_rows, metric, n_rows, values), value, sign_of(task, metric), separate)


def block_values(rows: "pd.DataFrame", metric: str, n_rows: int, values: Values | None = None) -> "np.ndarray":
    """The metric on evenly spread blocks of ``n_rows`` rows in a row, where it is finite; ``rows`` holds at least as many, all known."""
    import numpy as np

    last = len(rows) - n_rows
    starts = np.unique(np.linspace(0, last, min(MOST_BLOCKS, last + 1)).astype("int64"))
    found = np.array([metric_value(rows.iloc[start : start + n_rows], metric, values) for start in starts])
    return found[np.isfinite(found)]


def compared(values: "np.ndarray", value: float, sign: int, separate: int) -> Placebo:
    """Place a chunk's ``value`` among those of the reference's blocks, ``separate`` of which fit beside each other."""
    from scipy.stats import t

    if len(values) < 2:
        return Placebo(NAN, NAN, NAN, len(values), separate, reason=f"got {len(values)} blocks with a finite metric; expected at least 2")
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    counted = (1 + int((sign * values <= sign * value).sum())) / (1 + len(values))
    if separate >= ENOUGH_TO_COUNT:
        return Placebo(counted, mean, deviation, len(values), separate, counted)
    distance = sign * (mean - value) / max(deviation * math.sqrt(1 + 1 / separate), 1e-12)
    return Placebo(float(t.sf(distance, separate - 1)), mean, deviation, len(values), separate, counted)


def metric_value(rows: "pd.DataFrame", metric: str, values: Values | None = None) -> float:
    """Metric of ``(n_rows, ...)`` with ``y_true``, ``y_pred`` and where needed probabilities; ``business_value`` needs ``values``.

    NaN where it is undefined: one class only, nothing predicted or true where the metric divides by it, an outcome of 0
    for ``mape``.
    """
    truth, predicted = (rows[name].to_numpy(dtype="float64") for name in ("y_true", "y_pred"))
    if metric == "mape" and (truth == 0).any():
        return NAN
    probability = probability_of(rows)
    task = Task.MULTICLASS_CLASSIFICATION if probability is not None and probability.ndim == 2 else Task.BINARY_CLASSIFICATION
    return score(task, metric, truth, predicted, probability, values, zero_division=NAN)  # metrics of numbers do not ask for the task
