"""How sure predictions are, and whether that is deserved: entropy, margin, calibration, conformal coverage of plain arrays.

Belongs here: these numbers. Does not: their limits (``calibrated.py``), chunks of a monitored model (``uncertainty.py``).
A probability is ``(n_rows,)`` of class 1 or a matrix ``(n_rows, n_classes)``. A row with a probability that is missing or outside [0, 1], or
whose classes do not sum to 1, is left out, and so is a row without an outcome where one is needed; ``n_rows`` counts what entered.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.number import NAN, Number, refused

if TYPE_CHECKING:
    import numpy as np

N_BINS = 10
#: Classes may sum to one this inexactly, as 32-bit probabilities do.
_INEXACT = 1e-3
_NO_ROW = "got no row with a probability in [0, 1]; expected at least one"
_NO_OUTCOME = "got no row with an outcome and a prediction; expected at least one"


@dataclass(frozen=True)
class Coverage:
    """Share of outcomes inside their interval, in [0, 1], with its Wilson interval."""

    value: float
    standard_error: float
    n_rows: int
    lower: float
    upper: float


@dataclass(frozen=True)
class SetCoverage:
    """Share of outcomes inside their conformal set, in [0, 1], and how many classes a set holds on average."""

    coverage: Number
    size: Number


def entropy(probability: "np.ndarray") -> Number:
    """Mean of ``-sum(p ln p)`` in nats: 0 where the model is sure, ``ln(n_classes)`` where it has no idea.

    Source: ``scipy.special.entr``.

    >>> import numpy as np
    >>> round(entropy(np.array([0.5, 0.5])).value, 4), entropy(np.array([0.0, 1.0])).value
    (0.6931, 0.0)
    """
    from scipy.special import entr

    return _mean(entr(_usable(probability)).sum(axis=1))


def margin(probability: "np.ndarray") -> Number:
    """Mean of the largest probability minus the second, in [0, 1]: 1 where the model is sure."""
    import numpy as np

    ordered = np.sort(_usable(probability), axis=1)
    return _mean(ordered[:, -1] - ordered[:, -2])


def confidence(probability: "np.ndarray") -> Number:
    """Mean of the largest probability, in ``[1 / n_classes, 1]``."""
    return _mean(_usable(probability).max(axis=1, initial=0.0))


def brier(outcome: "np.ndarray", probability: "np.ndarray") -> Number:
    """Mean squared distance of probabilities from what happened; smaller is better.

    Args:
        outcome: ``(n_rows,)`` class of each row, 0 or 1 or the column of the matrix; NaN where not known.
        probability: of class 1, or a matrix.

    Returns:
        In [0, 1] for the probability of class 1; in [0, 2] for a matrix, summed over its classes.

    Source: Brier (1950); equal to scikit-learn's ``brier_score_loss``.
    """
    import numpy as np

    own, classes = _with_outcomes(outcome, probability)
    happened = np.eye(own.shape[1])[classes]
    squared = ((own - happened) ** 2).sum(axis=1)
    return _mean(squared / 2 if np.ndim(probability) == 1 else squared, _NO_OUTCOME)


def calibration_error(outcome: "np.ndarray", probability: "np.ndarray") -> Number:
    """Expected calibration error over 10 bins of equal width: how far stated probabilities are from shares that came true.

    Bins are ``[0, 0.1), [0.1, 0.2), ... [0.9, 1]`` of the probability of class 1, or for a matrix of the largest probability, whose class is
    then right or wrong. The error is the sum over bins of the bin's share of rows times the distance between the mean probability and
    the share of rows where it came true.

    Args:
        outcome: as for ``brier``.
        probability: as for ``brier``.

    Returns:
        In [0, 1]. Positive for a perfectly calibrated model too, by about the root of bins per row, so compare chunks of like size. The
        standard error takes the sign of each bin's distance as known: right where bins are clearly off, too large where they are nearly right.

    Source: Naeini, Cooper & Hauskrecht (2015); Guo et al. (2017) for the largest probability of several.
    """
    import numpy as np

    own, classes = _with_outcomes(outcome, probability)
    is_binary = np.ndim(probability) == 1
    stated = own[:, 1] if is_binary else own.max(axis=1, initial=0.0)
    came_true = classes == (1 if is_binary or not len(own) else own.argmax(axis=1))
    bins = np.digitize(stated, np.arange(1, N_BINS) / N_BINS)
    gaps = np.bincount(bins, came_true - stated, N_BINS)
    return _mean((came_true - stated) * np.sign(gaps)[bins], _NO_OUTCOME)


def interval_coverage(outcome: "np.ndarray", lower: "np.ndarray", upper: "np.ndarray", level: float = 0.95) -> Coverage:
    """Share of outcomes inside ``[lower, upper]``, ends included.

    Args:
        outcome: ``(n_rows,)``; a row with a NaN in any of the three is left out.
        lower: ``(n_rows,)``.
        upper: ``(n_rows,)``.
        level: of the Wilson interval, which takes rows for independent.

    Source: ``scipy.stats.binomtest``; Wilson (1927).
    """
    import numpy as np
    from scipy.stats import binomtest

    known = ~(np.isnan(outcome) | np.isnan(lower) | np.isnan(upper))
    inside = _mean(((outcome >= lower) & (outcome <= upper))[known].astype("float64"), _NO_OUTCOME)
    if not inside.n_rows:
        return Coverage(NAN, NAN, 0, NAN, NAN)
    wilson = binomtest(round(inside.value * inside.n_rows), inside.n_rows).proportion_ci(level, method="wilson")
    return Coverage(inside.value, inside.standard_error, inside.n_rows, float(wilson.low), float(wilson.high))


def conformal_width(residuals: "np.ndarray", level: float) -> float:
    """Half the width of the interval around a prediction that holds a new outcome with chance ``level``.

    Args:
        residuals: ``(n_rows,)`` residuals, or scores, of rows the model has not learned from; NaN are left out, signs do not matter.
        level: in (0, 1).

    Returns:
        The ``ceil((n + 1) * level)``-th smallest absolute residual; infinity where there are too few for any finite one.

    Raises:
        ValueError: the level is out of range.

    Source: Lei et al. (2018), Distribution-free predictive inference for regression; what MAPIE's ``AbsoluteConformityScore`` computes with a
    model that is fitted already (``BaseConformityScore.get_quantile``), which gives the largest residual where this gives infinity.

    >>> import numpy as np
    >>> conformal_width(np.arange(-9.0, 10.0), 0.9)
    9.0
    """
    import numpy as np

    if not 0 < level < 1:
        raise ValueError(f"got level {level}; expected a share between 0 and 1, such as 0.9")
    scores = np.abs(residuals[~np.isnan(residuals)])
    rank = conformal_rank(len(scores), level)
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else float("inf")


def conformal_scores(outcome: "np.ndarray", probability: "np.ndarray") -> "np.ndarray":
    """One minus the probability of the class that happened, for every row that has both.

    Source: Sadinle, Lei & Wasserman (2019), Least ambiguous set-valued classifiers; MAPIE's ``LACConformityScore``.
    """
    own, classes = _with_outcomes(outcome, probability)
    return 1 - own[range(len(own)), classes]


def set_coverage(outcome: "np.ndarray", probability: "np.ndarray", width: float) -> SetCoverage:
    """Coverage of the sets of all classes whose score is at most ``width``, and their mean size.

    Args:
        outcome: as for ``brier``; needed for the coverage only.
        probability: as for ``brier``.
        width: ``conformal_width`` of the reference's ``conformal_scores``.

    Returns:
        Coverage in [0, 1]; size in ``[0, n_classes]``, of every row with a probability. A set may be empty: no class is likely enough.
    """
    sizes = (1 - _usable(probability) <= width).sum(axis=1).astype("float64")
    covered = (conformal_scores(outcome, probability) <= width).astype("float64")
    return SetCoverage(_mean(covered, _NO_OUTCOME), _mean(sizes))


def conformal_rank(n_rows: int, level: float) -> int:
    """Which of the smallest scores of ``n_rows`` rows, counted from 1, a new row keeps below with chance ``level``."""
    import math

    return math.ceil((n_rows + 1) * level - 1e-9)


def _mean(values: "np.ndarray", reason: str = _NO_ROW) -> Number:
    n = len(values)
    if not n:
        return refused(reason)
    return Number(float(values.mean()), n, standard_error=float(values.std(ddof=1) / n**0.5) if n > 1 else NAN)


def _matrix(probability: "np.ndarray") -> "np.ndarray":
    """All classes of every row, NaN where a row cannot be used."""
    import numpy as np

    own = np.asarray(probability, dtype="float64")
    own = np.stack([1 - own, own], axis=1) if own.ndim == 1 else own
    sound = ((own >= 0) & (own <= 1)).all(axis=1) & (np.abs(own.sum(axis=1) - 1) <= _INEXACT)
    return np.where(sound[:, np.newaxis], own, np.nan)


def _usable(probability: "np.ndarray") -> "np.ndarray":
    import numpy as np

    own = _matrix(probability)
    return own[~np.isnan(own[:, 0])]


def _with_outcomes(outcome: "np.ndarray", probability: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Probabilities and classes of the rows that have both.

    Raises:
        ValueError: an outcome is no class of the matrix.
    """
    import numpy as np

    own, classes = _matrix(probability), np.asarray(outcome, dtype="float64")
    known = ~np.isnan(own[:, 0]) & ~np.isnan(classes)
    own, classes = own[known], classes[known]
    strange = classes[~np.isin(classes, np.arange(own.shape[1]))]
    if len(strange):
        raise ValueError(f"got outcome {strange[0]:g}; expected a class from 0 to {own.shape[1] - 1}, one for each probability")
    return own, classes.astype("int64")
