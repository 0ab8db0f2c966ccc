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


#: Cells of the confusion matrix of a binary classifier, as shares of all rows: which outcome, which prediction.
CELLS = {"true_negative": (0, 0), "false_positive": (0, 1), "false_negative": (1, 0), "true_positive": (1, 1)}
BUSINESS_VALUE = "business_value"
Values = tuple[tuple[float, float], tuple[float, float]]


def score(
    task: Task,
    metric: str,
    y_true: "np.ndarray",
    y_pred: "np.ndarray",
    y_proba: "np.ndarray | None",
    values: Values | None = None,
    *,
    zero_division: float = 0.0,
) -> float:
    """Value of ``metric`` on arrays of the same rows; NaN where it is undefined (ROC AUC without a row of every class).

    Args:
        task: what is predicted.
        metric: name in the registry.
        y_true: ``(n,)`` outcomes.
        y_pred: ``(n,)`` predictions.
        y_proba: ``(n,)`` probabilities of class 1 or ``(n, n_classes)`` of all classes; ``None`` for numbers.
        values: what a row is worth by outcome and prediction, for ``business_value``.
        zero_division: a binary classifier's precision, recall, F1 or specificity where nothing is predicted or true that it divides by.

    Raises:
        ValueError: what the metric needs was not given.

    Source: scikit-learn's metrics of the same names; of several classes the plain mean over classes, each against the rest.
    """
    from sklearn import metrics

    if task is Task.MULTICLASS_CLASSIFICATION:
        return _score_of_classes(metric, y_true, y_pred, y_proba)
    if metric in CELLS:
        outcome, predicted = CELLS[metric]
        return float(((y_true == outcome) & (y_pred == predicted)).mean())
    if metric == BUSINESS_VALUE:
        if values is None:
            raise ValueError("got no values; expected what each kind of row is worth (performance.business_value)")
        return sum(values[outcome][predicted] * score(task, cell, y_true, y_pred, None) for cell, (outcome, predicted) in CELLS.items())
    if metric in ("roc_auc", "average_precision"):
        if y_proba is None or not 0 < y_true.sum() < len(y_true):
            return float("nan")
        return area_under_roc(y_true, y_proba) if metric == "roc_auc" else float(metrics.average_precision_score(y_true, y_proba))
    if metric == "specificity":
        return float(metrics.recall_score(y_true, y_pred, pos_label=0, zero_division=zero_division))
    if task is Task.FORECAST:
        return _score_of_forecasts(SCALED.get(metric, metric), y_true, y_pred)
    functions = {
        "accuracy": _accuracy,
        "f1": partial(metrics.f1_score, zero_division=zero_division),
        "precision": partial(metrics.precision_score, zero_division=zero_division),
        "recall": partial(metrics.recall_score, zero_division=zero_division),
        "mae": metrics.mean_absolute_error,
        "mse": metrics.mean_squared_error,
        "rmse": metrics.root_mean_squared_error,
        "mape": metrics.mean_absolute_percentage_error,
    }
    return float(functions[metric](y_true, y_pred))


#: Metrics of errors in units of their row's scale.
SCALED = {"mase": "mae"}


def in_units(metric: str, y_true: "np.ndarray", y_pred: "np.ndarray", scale: "np.ndarray | None") -> "tuple[np.ndarray, np.ndarray]":
    """Outcomes and predictions ``(n,)`` as ``score`` wants them for ``metric``: in units of ``scale`` where it is a scaled error.

    Rows without a positive scale, and all of them where none is known, are NaN.
    """
    import numpy as np

    if metric not in SCALED:
        return y_true, y_pred
    units = np.full(len(y_true), np.nan) if scale is None else np.where(scale > 0, scale, np.nan)
    return y_true / units, y_pred / units


def _accuracy(y_true: "np.ndarray", y_pred: "np.ndarray") -> float:
    """Share of right answers. A placebo or a bootstrap asks for it thousands of times, and scikit-learn's checks take longer than all else."""
    import numpy as np
    from sklearn.metrics import accuracy_score

    is_sound = len(y_true) > 0 and y_true.shape == y_pred.shape and np.isfinite(y_true).all() and np.isfinite(y_pred).all()
    return float((y_true == y_pred).mean()) if is_sound else float(accuracy_score(y_true, y_pred))  # which says what is wrong


def area_under_roc(y_true: "np.ndarray", y_proba: "np.ndarray") -> float:
    """ROC AUC of ``(n,)`` outcomes 0 and 1 and scores, in [0, 1]; ties count half. Both classes must occur.

    The Mann-Whitney statistic: a bootstrap asks for it thousands of times, and scikit-learn's checks take fifty times as long as the ranks.

    Source: Hanley & McNeil (1982); equal to ``sklearn.metrics.roc_auc_score``.
    """
    from scipy.stats import rankdata

    is_positive = y_true == 1
    n_positive = int(is_positive.sum())
    surplus = float(rankdata(y_proba)[is_positive].sum()) - n_positive * (n_positive + 1) / 2
    return surplus / (n_positive * (len(y_true) - n_positive))


def _score_of_forecasts(metric: str, y_true: "np.ndarray", y_pred: "np.ndarray") -> float:
    """As ``forecast.accuracy`` measures it; rows without a forecast are left out, NaN where none is left."""
    import numpy as np
    from sklearn import metrics

    kept = np.isfinite(y_true) & np.isfinite(y_pred) & ((y_true != 0) | (metric != "mape"))
    truth, predicted = y_true[kept], y_pred[kept]
    if not len(truth):
        return float("nan")
    if metric == "smape":
        total = np.abs(truth) + np.abs(predicted)
        return float(np.divide(np.abs(predicted - truth), total, out=np.zeros_like(total), where=total > 0).mean())
    functions = {
        "mae": metrics.mean_absolute_error,
        "mse": metrics.mean_squared_error,
        "rmse": metrics.root_mean_squared_error,
        "mape": metrics.mean_absolute_percentage_error,
    }
    return float(functions[metric](truth, predicted))


def _score_of_classes(metric: str, y_true: "np.ndarray", y_pred: "np.ndarray", y_proba: "np.ndarray | None") -> float:
    import numpy as np
    from sklearn import metrics

    if metric == "accuracy":
        return float(metrics.accuracy_score(y_true, y_pred))
    if y_proba is None:
        raise ValueError("got no probabilities; expected a matrix with a column for each class")
    classes = np.arange(y_proba.shape[1])
    if metric == "roc_auc":
        if len(np.unique(y_true)) < len(classes):
            return float("nan")
        return float(metrics.roc_auc_score(y_true, y_proba, multi_class="ovr", average="macro", labels=classes))
    if metric == "specificity":
        cells = metrics.multilabel_confusion_matrix(y_true, y_pred, labels=classes)[:, 0]
        return float((cells[:, 0] / np.maximum(cells.sum(axis=1), 1)).mean())
    functions = {"f1": metrics.f1_score, "precision": metrics.precision_score, "recall": metrics.recall_score}
    return float(functions[metric](y_true, y_pred, labels=classes, average="macro", zero_division=0))


def paired_gain(
    champion: "Callable[[np.ndarray], float]",
    candidate: "Callable[[np.ndarray], float]",
    n_rows: int,
    sign: int,
    *,
    confidence: float,
    resamples: int,
    rng: "np.random.Generator",
    groups: "np.ndarray | None" = None,
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
        groups: ``(n_rows,)``; rows of one group are alike and are drawn together. Every row is a group of its own if absent, and where
            there is one group alone: it would leave no interval.

    Returns:
        The gain and its interval; ``lower <= gain`` need not hold for tiny samples. NaN limits where no resample
        was defined.

    Source: Efron & Tibshirani (1993), An Introduction to the Bootstrap, ch. 13; rows are resampled in pairs, groups as clusters.
    """
    import numpy as np

    every = np.arange(n_rows)
    names = np.unique(groups) if groups is not None else []
    parts = [np.flatnonzero(groups == one) for one in names] if len(names) > 1 else None
    before, after = champion(every), candidate(every)
    draws = []
    for _ in range(resamples):
        if parts is None:
            rows = rng.integers(0, n_rows, n_rows)
        else:
            rows = np.concatenate([parts[place] for place in rng.integers(0, len(parts), len(parts))])
        draws.append(sign * (candidate(rows) - champion(rows)))
    defined = np.asarray(draws)[~np.isnan(draws)]
    tail = (1 - confidence) / 2
    lower, upper = np.quantile(defined, [tail, 1 - tail]) if len(defined) else (np.nan, np.nan)
    return PairedGain(before, after, sign * (after - before), float(lower), float(upper), n_rows)
