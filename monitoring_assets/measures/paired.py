"""Is the candidate better than the champion on the same rows? A paired bootstrap."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from resources.vocabulary import Task

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class PairedGain:
    """Gain of the candidate (positive is better, in the metric's unit) with its interval, and both values."""

    champion: float
    candidate: float
    gain: float
    lower: float
    upper: float
    n_rows: int


def score(task: Task, metric: str, y_true: "np.ndarray", y_pred: "np.ndarray", y_proba: "np.ndarray | None") -> float:
    """Value of ``metric`` on ``(n,)`` arrays; NaN where it is undefined (one class only for ROC AUC).

    Source: scikit-learn's metrics of the same names.
    """
    from sklearn import metrics

    if metric in ("roc_auc", "average_precision"):
        if y_true.min() == y_true.max():
            return float("nan")
        function = metrics.roc_auc_score if metric == "roc_auc" else metrics.average_precision_score
        return float(function(y_true, y_proba))
    if metric == "specificity":
        return float(metrics.recall_score(y_true, y_pred, pos_label=0, zero_division=0))
    functions = {
        "accuracy": metrics.accuracy_score,
        "f1": partial(metrics.f1_score, zero_division=0),
        "precision": partial(metrics.precision_score, zero_division=0),
        "recall": partial(metrics.recall_score, zero_division=0),
        "mae": metrics.mean_absolute_error,
        "mse": metrics.mean_squared_error,
        "rmse": metrics.root_mean_squared_error,
        "mape": metrics.mean_absolute_percentage_error,
    }
    return float(functions[metric](y_true, y_pred))


def paired_gain(
    champion: "Callable[[np.ndarray], float]",
    candidate: "Callable[[np.ndarray], float]",
    n_rows: int,
    sign: int,
    *,
    confidence: float,
    resamples: int,
    rng: "np.random.Generator",
) -> PairedGain:
    """Bootstrap the gain of the candidate over the champion on identical rows.

    Args:
        champion: value of the metric on the rows with the given indices ``(n_rows,)``.
        candidate: the same for the candidate.
        n_rows: number of held-out rows.
        sign: +1 where a larger metric is better, -1 where a smaller one is.
        confidence: of the two-sided percentile interval, in (0, 1).
        resamples: bootstrap samples; those where a metric is undefined are left out.
        rng: source of randomness.

    Returns:
        The gain and its interval; ``lower <= gain`` need not hold for tiny samples. NaN limits where no resample
        was defined.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13; rows are resampled in pairs.
    """
    import numpy as np

    every = np.arange(n_rows)
    before, after = champion(every), candidate(every)
    draws = []
    for _ in range(resamples):
        rows = rng.integers(0, n_rows, n_rows)
        draws.append(sign * (candidate(rows) - champion(rows)))
    defined = np.asarray(draws)[~np.isnan(draws)]
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
    return PairedGain(before, after, sign * (after - before), float(lower), float(upper), n_rows)
