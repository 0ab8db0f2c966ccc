"""Classification metrics of rows whose outcomes are only known as probabilities, and how far the realized ones will stray.

Belongs here: the expectation and the sampling error of every metric, given the probability of each outcome. Does not:
where the probabilities come from. With outcomes in place of probabilities the numbers are the realized metrics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.number import NAN

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Expected:
    """A metric's expected value in [0, 1] and the standard deviation of the realized one around it; both NaN where undefined."""

    value: float
    standard_error: float


#: Value of a metric and its derivative by each row's probability ``(n_rows,)``, from probabilities, scores and predictions.
_Metric = Callable[["np.ndarray", "np.ndarray", "np.ndarray"], "tuple[float, np.ndarray]"]


def expected(metric: str, probabilities: "np.ndarray", scores: "np.ndarray", predictions: "np.ndarray") -> Expected:
    """Expect a metric.

    Args:
        metric: one of ``METRICS``.
        probabilities: ``(n_rows,)`` chance in [0, 1] that the outcome is 1; outcomes themselves give the realized metric.
        scores: ``(n_rows,)`` what the model ranks by; ties count half.
        predictions: ``(n_rows,)`` 0 or 1.

    Returns:
        The ratio of expectations. NaN where the denominator is 0: no row, one class only, nothing predicted positive.

    Raises:
        ValueError: unknown metric.

    Source: NannyML's CBPE for the ratio of expectations; the error is the delta method over independent outcomes, for ROC AUC
    DeLong, DeLong & Clarke-Pearson (1988) with probabilities for outcomes.

    >>> import numpy as np
    >>> expected("accuracy", np.array([0.9, 0.2]), np.array([0.8, 0.3]), np.array([1, 0])).value.__round__(2)
    0.85
    """
    import numpy as np

    if metric not in METRICS:
        raise ValueError(f"got {metric!r}; expected one of {', '.join(METRICS)}")
    if not len(probabilities):
        return Expected(NAN, NAN)
    with np.errstate(divide="ignore", invalid="ignore"):
        value, slope = METRICS[metric](probabilities, scores, predictions)
        error = float(np.sqrt(np.sum(probabilities * (1 - probabilities) * slope**2)))
    return Expected(float(value), error) if np.isfinite(value) else Expected(NAN, NAN)


def _ratio(top: "np.ndarray", top_slope: "np.ndarray", bottom: "np.ndarray", bottom_slope: "np.ndarray") -> "tuple[float, np.ndarray]":
    """Sum over sum, and the derivative."""
    value = top.sum() / bottom.sum()
    return value, (top_slope - value * bottom_slope) / bottom.sum()


def _accuracy(q: "np.ndarray", scores: "np.ndarray", positive: "np.ndarray") -> "tuple[float, np.ndarray]":
    return _ratio(positive * q + (1 - positive) * (1 - q), 2.0 * positive - 1, 0 * q + 1, 0 * q)


def _precision(q: "np.ndarray", scores: "np.ndarray", positive: "np.ndarray") -> "tuple[float, np.ndarray]":
    return _ratio(positive * q, positive, 1.0 * positive, 0 * q)


def _recall(q: "np.ndarray", scores: "np.ndarray", positive: "np.ndarray") -> "tuple[float, np.ndarray]":
    return _ratio(positive * q, positive, q, 0 * q + 1)


def _specificity(q: "np.ndarray", scores: "np.ndarray", positive: "np.ndarray") -> "tuple[float, np.ndarray]":
    return _ratio((1 - positive) * (1 - q), positive - 1.0, 1 - q, 0 * q - 1)


def _f1(q: "np.ndarray", scores: "np.ndarray", positive: "np.ndarray") -> "tuple[float, np.ndarray]":
    return _ratio(2 * positive * q, 2.0 * positive, positive + q, 0 * q + 1)


def _roc_auc(q: "np.ndarray", scores: "np.ndarray", positive: "np.ndarray") -> "tuple[float, np.ndarray]":
    """Expected pairs won over expected pairs; a row forms no pair with itself."""
    import numpy as np

    _, group = np.unique(scores, return_inverse=True)
    ones, zeros = (np.bincount(group, weights) for weights in (q, 1 - q))
    below = (np.cumsum(zeros) - zeros / 2)[group] - (1 - q) / 2
    above = (ones.sum() - np.cumsum(ones) + ones / 2)[group] - q / 2
    pairs = q.sum() * (1 - q).sum() - (q * (1 - q)).sum()
    value = (q * below).sum() / pairs
    return value, (below - above - value * ((1 - q).sum() - q.sum() - 1 + 2 * q)) / pairs


def _average_precision(q: "np.ndarray", scores: "np.ndarray", positive: "np.ndarray") -> "tuple[float, np.ndarray]":
    """Expected precision at each found outcome; rows of equal score are found together."""
    import numpy as np

    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    ones, doubt = (np.bincount(group, weights) for weights in (q, q * (1 - q)))
    found, rows = np.cumsum(ones), np.cumsum(sizes)
    value = ((ones * found + doubt) / rows).sum() / q.sum()
    later = (ones / rows).sum() - np.cumsum(ones / rows)
    own = ((found + ones + 1) / rows + later)[group] - 2 * q / rows[group]
    return value, (own - value) / q.sum()


METRICS: dict[str, _Metric] = {
    "roc_auc": _roc_auc, "average_precision": _average_precision, "accuracy": _accuracy, "f1": _f1, "precision": _precision,
    "recall": _recall, "specificity": _specificity,
}  # fmt: skip
