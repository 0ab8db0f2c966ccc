"""When did it start? Dating one upward break in the mean of a sequence: of losses, or of how strange the inputs are."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.probabilities import probability_of
from resources.vocabulary import OF_NUMBERS, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Onset:
    """The most likely break: index of the first element after it, and the shift of the mean there."""

    index: int
    shift: float
    statistic: float


def date_onset(losses: "np.ndarray", margin: int = 10) -> Onset | None:
    """Find the one upward break in the mean of ``losses`` that explains most variance (least squares, binary segmentation).

    Args:
        losses: ``(n,)`` loss of each row in time order, larger is worse; no NaN.
        margin: smallest number of elements on either side.

    Returns:
        The break, or ``None`` where the sequence is too short or nowhere rises. ``statistic`` is
        ``k (n - k) / n * shift² / variance``: about chi-squared with one degree of freedom at a fixed place, so
        below ~15 the date is a guess. Order of equal losses does not matter.

    Source: Scott & Knott (1974), A cluster analysis method for grouping means; one split.

    >>> import numpy as np
    >>> date_onset(np.r_[np.zeros(50), np.ones(30)]).index
    50
    """
    import numpy as np

    n = len(losses)
    if n < 2 * margin:
        return None
    after = np.arange(margin, n - margin + 1)
    total = np.cumsum(losses)
    left = total[after - 1] / after
    right = (total[-1] - total[after - 1]) / (n - after)
    shift = right - left
    score = np.where(shift > 0, after * (n - after) / n * shift**2, -np.inf)
    best = int(np.argmax(score))
    if not np.isfinite(score[best]):
        return None
    variance = max(float(np.var(losses)), 1e-12)
    return Onset(int(after[best]), float(shift[best]), float(score[best] / variance))


def row_losses(y_true: "np.ndarray", prediction: "np.ndarray", *, is_probability: bool) -> "np.ndarray":
    """Loss per row ``(n,)``: log loss of a probability (clipped at 0.01), absolute error of a number.

    Args:
        y_true: ``(n,)`` outcomes; classes are 0 or 1, or columns of the matrix. The loss of a NaN is NaN.
        prediction: ``(n,)`` numbers or probabilities of class 1, or ``(n, n_classes)`` probabilities of all classes.
        is_probability: whether predictions are probabilities.
    """
    import numpy as np

    if not is_probability:
        return np.abs(y_true - prediction)
    if prediction.ndim == 2:
        known = ~np.isnan(y_true)
        happened = np.full(len(y_true), np.nan)
        happened[known] = prediction[known, y_true[known].astype("int64")]
        return -np.log(np.clip(happened, 0.01, 0.99))
    clipped = np.clip(prediction, 0.01, 0.99)
    return -(y_true * np.log(clipped) + (1 - y_true) * np.log(1 - clipped))


def losses_of(task: Task, rows: "pd.DataFrame") -> "np.ndarray":
    """Loss of each row ``(n_rows,)`` with ``y_true`` and predictions."""
    probability = None if task in OF_NUMBERS else probability_of(rows)
    predicted = rows["y_pred"].to_numpy(dtype="float64") if probability is None else probability
    return row_losses(rows["y_true"].to_numpy(dtype="float64"), predicted, is_probability=probability is not None)


def strangeness(reference: "np.ndarray", rows: "np.ndarray") -> "np.ndarray":
    """How unlike the reference each row is, its correlations included: ``log(1 + squared Mahalanobis distance)``.

    Args:
        reference: ``(n_reference, n_features)`` numeric inputs; NaN is taken as the feature's mean.
        rows: ``(n_rows, n_features)``.

    Returns:
        ``(n_rows,)``, 0 at the reference's centre, no upper bound.

    Source: scikit-learn's ``EmpiricalCovariance``; the logarithm keeps single spikes from posing as a break.
    """
    import numpy as np
    from sklearn.covariance import EmpiricalCovariance

    centre = np.nanmean(reference, axis=0)
    filled, asked = (np.where(np.isnan(values), centre, values) for values in (reference, rows))
    return np.asarray(np.log1p(EmpiricalCovariance().fit(filled).mahalanobis(asked)))
