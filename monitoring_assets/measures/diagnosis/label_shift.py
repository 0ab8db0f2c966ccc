"""Did only the frequency of outcomes change? P(Y) moved while the predictions given the outcome did not.

Belongs here: tests of outcomes, and of predictions given the outcome, with allowance for autocorrelation. Does not:
changes of inputs, or of how outcomes follow from them.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.limits import design_effect
from monitoring_assets.measures.number import NAN
from monitoring_assets.measures.probabilities import probability_columns
from resources.vocabulary import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Chance of a changed P(Y) without one, and of predictions taken for changed although they are not.
PRIOR_ALARMS, CONDITIONAL_ALARMS = 0.01, 0.05
#: Fewest labelled rows of the chunk, and of a group in which predictions are compared.
FEWEST_ROWS, FEWEST_OF_GROUP = 50, 10
#: A reference of fewer rows per row of the chunk does not know how outcomes come and go by themselves.
FEWEST_PER_ROW = 2
#: Outcomes of a regression are cut into so many groups of equal size.
GROUPS = 6


@dataclass(frozen=True)
class LabelShift:
    """Whether P(Y) changed and P(prediction | Y) did not.

    Attributes:
        is_shift: ``p_value`` and ``unexplained_p_value`` below ``PRIOR_ALARMS``, ``conditional_p_value`` not below ``CONDITIONAL_ALARMS``.
        prior_reference: share of class 1, of several classes that of the one at ``place``, or mean outcome, in the reference.
        prior_chunk: the same in the chunk.
        p_value: two-sided chance of so different outcomes without a change; NaN where it cannot be told.
        conditional_p_value: of so different predictions given the outcome, corrected for the number of groups; NaN where no
            group is large enough, and then nothing is called a label shift.
        n_rows: labelled rows of the chunk.
        reason: why nothing could be told.
        place: of several classes the one whose share changed most clearly.
        unexplained_p_value: chance of outcomes that differ so much from what the predictions, calibrated on the reference, say of
            these rows. Where inputs moved, outcomes move with them, and the predictions know.
    """

    is_shift: bool
    prior_reference: float
    prior_chunk: float
    p_value: float
    conditional_p_value: float
    n_rows: int
    reason: str = ""
    place: int = 0
    unexplained_p_value: float = NAN


def label_shift(reference: "pd.DataFrame", rows: "pd.DataFrame", task: Task) -> LabelShift:
    """Test for label shift.

    Args:
        reference: ``(n_reference, ...)`` in time order with ``y_true`` and probabilities (classifiers) or ``y_pred``.
        rows: ``(n_rows, ...)`` of the chunk, likewise; rows without outcome are left out on both sides.
        task: of the model.

    Returns:
        The result. Rows count as fewer where neighbours are alike, as much as on the reference or in the chunk,
        whichever is worse; a season the reference holds counts as its own variation.

    Source: Lipton, Wang & Smola (2018), Detecting and correcting for label shift, for the definition; two-sample tests of
    scipy with effective numbers of rows.
    """
    scores = ["y_pred"] if task is Task.REGRESSION else probability_columns(reference)
    before, now = (frame[["y_true", *scores]].dropna().to_numpy(dtype="float64") for frame in (reference, rows))
    if min(len(before), len(now)) < FEWEST_ROWS:
        reason = f"got {len(before)} labelled reference rows and {len(now)} of the chunk; expected at least {FEWEST_ROWS} each"
        return LabelShift(False, NAN, NAN, NAN, NAN, len(now), reason)
    if len(before) < FEWEST_PER_ROW * len(now):
        reason = f"got {len(before)} labelled reference rows for {len(now)} of the chunk; expected {FEWEST_PER_ROW} times as many"
        return LabelShift(False, NAN, NAN, NAN, NAN, len(now), reason)
    if task is Task.MULTICLASS_CLASSIFICATION:
        return _of_classes(before, now, len(scores))
    if task is Task.BINARY_CLASSIFICATION:
        prior = _proportions(before[:, 0], now[:, 0])
        pairs = [(before[before[:, 0] == label, 1], now[now[:, 0] == label, 1]) for label in (0.0, 1.0)]
    else:
        prior = _two_sample(before[:, 0], now[:, 0])
        pairs = _by_outcome(before, now)
    conditional = _conditional(pairs)
    unexplained = _unexplained(before, now)
    is_shift = prior < PRIOR_ALARMS and unexplained < PRIOR_ALARMS and conditional >= CONDITIONAL_ALARMS
    return LabelShift(
        is_shift, float(before[:, 0].mean()), float(now[:, 0].mean()), prior, conditional, len(now), unexplained_p_value=unexplained
    )


def _unexplained(before: "np.ndarray", now: "np.ndarray") -> float:
    """Two-sided p-value of the mean outcome beside that of calibrated predictions."""
    from scipy.stats import norm
    from sklearn.isotonic import IsotonicRegression

    calibrated = IsotonicRegression(out_of_bounds="clip").fit(before[:, 1], before[:, 0])
    usual, own = (side[:, 0] - calibrated.predict(side[:, 1]) for side in (before, now))
    error = math.sqrt((usual.var() / len(usual) + own.var() / len(own)) * max(design_effect(usual), design_effect(own)))
    return float(2 * norm.sf(abs(float(own.mean() - usual.mean())) / max(error, 1e-12)))


def _of_classes(before: "np.ndarray", now: "np.ndarray", n_classes: int) -> LabelShift:
    """The share of each class, and the probabilities of all classes given the class that happened; corrected for how many there are."""
    import numpy as np

    priors = [_proportions((before[:, 0] == one) * 1.0, (now[:, 0] == one) * 1.0) for one in range(n_classes)]
    place, prior = int(np.argmin(priors)), _any_of(priors)
    conditional = _conditional([
        (before[before[:, 0] == one, 1 + column], now[now[:, 0] == one, 1 + column])
        for one in range(n_classes) for column in range(n_classes)
    ])  # fmt: skip
    own = [np.column_stack([side[:, 0] == place, side[:, 1 + place]]).astype("float64") for side in (before, now)]
    unexplained = _unexplained(own[0], own[1])
    is_shift = prior < PRIOR_ALARMS and unexplained < PRIOR_ALARMS and conditional >= CONDITIONAL_ALARMS
    shares = [float(side[:, 0].mean()) for side in own]
    return LabelShift(is_shift, shares[0], shares[1], prior, conditional, len(now), place=place, unexplained_p_value=unexplained)


def _conditional(pairs: "list[tuple[np.ndarray, np.ndarray]]") -> float:
    """Chance of so different predictions in any group that is large enough on both sides."""
    return _any_of([_two_sample(old, new) for old, new in pairs if min(len(old), len(new)) >= FEWEST_OF_GROUP])


def _any_of(p_values: list[float]) -> float:
    """Chance that the smallest of several is so small (Bonferroni); NaN without any."""
    return min(1.0, min(p_values) * len(p_values)) if p_values else NAN


def _effective(before: "np.ndarray", now: "np.ndarray") -> float:
    """Harmonic number of rows of a two-sample test, each side divided by the larger design effect."""
    effect = max(design_effect(before), design_effect(now))
    return len(before) * len(now) / (len(before) + len(now)) / effect


def _proportions(before: "np.ndarray", now: "np.ndarray") -> float:
    """Two-sided p-value of two shares."""
    import numpy as np
    from scipy.stats import norm

    share = float(np.concatenate([before, now]).mean())
    deviation = math.sqrt(max(share * (1 - share), 1e-12) / _effective(before, now))
    return float(2 * norm.sf(abs(float(now.mean() - before.mean())) / deviation))


def _two_sample(before: "np.ndarray", now: "np.ndarray") -> float:
    """Kolmogorov-Smirnov p-value (asymptotic) with effective numbers of rows."""
    from scipy.stats import ks_2samp, kstwobign

    distance = float(ks_2samp(before, now, method="asymp").statistic)
    return float(kstwobign.sf(distance * math.sqrt(_effective(before, now))))


def _by_outcome(before: "np.ndarray", now: "np.ndarray") -> "list[tuple[np.ndarray, np.ndarray]]":
    """Predictions of both sides in groups of like outcomes, less the reference's line within the group.

    Within a group outcomes still differ; the line keeps a moved outcome from passing for a moved prediction.
    """
    import numpy as np

    edges = np.unique(np.quantile(before[:, 0], np.linspace(0, 1, GROUPS + 1)[1:-1]))
    groups, own = (np.searchsorted(edges, side[:, 0], "right") for side in (before, now))
    pairs = []
    for group in np.unique(groups):
        old, new = before[groups == group], now[own == group]
        inside = (new[:, 0] >= old[:, 0].min()) & (new[:, 0] <= old[:, 0].max())
        slope = float(np.cov(old.T)[0, 1] / max(float(old[:, 0].var(ddof=1)), 1e-12)) if len(old) > 2 else 0.0
        pairs.append((old[:, 1] - slope * old[:, 0], new[inside, 1] - slope * new[inside, 0]))
    return pairs
