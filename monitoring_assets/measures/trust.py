"""May an estimate of performance be believed? Its assumptions, checked: calibration on the reference, overlap with it, agreement with outcomes.

Belongs here: the three checks, fitted on the reference. Does not: estimates, what a verdict makes of an untrusted one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures import limits
from monitoring_assets.measures.confidence import calibration_error
from monitoring_assets.measures.encoding import State, encode, fit_encoding
from monitoring_assets.measures.limits import Null
from monitoring_assets.measures.number import NAN, Number, refused

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from scipy.spatial import KDTree

    from resources.policy import Features

SUPPORT_LOSS, RECONCILIATION = "support_loss", "reconciliation"
#: Rows of the reference kept as a sample of where it lies, and of a chunk that are looked up.
_POINTS, _ASKED = 5_000, 5_000
_NEIGHBOURS = 5
#: Share of the reference's own rows that count as outside, and the loss below which an estimate hardly suffers.
_OUTSIDE, _HARMLESS_LOSS = 0.01, 0.25
_PARTS = 5
#: Latest labelled chunks an estimate is reconciled over: one miss by far, or a smaller bias over up to five, and it is untrusted.
WINDOWS = (5, 3, 1)
WINDOW = WINDOWS[0]
#: Standard deviations of the mean gap beyond which it is no chance.
_GAP = 3.0
_RESAMPLES = 200
#: Calibration error that no estimate suffers from visibly.
_HARMLESS_ERROR = 0.02


@dataclass(frozen=True)
class Support:
    """Where the reference lies.

    Attributes:
        state: encoding, ``whitening`` ``(n_features, n_kept)`` and ``points`` ``(n_points, n_kept)``, a sample of its rows.
        radius: distance to the fifth nearest point beyond which a row counts as outside; one in a hundred reference rows does.
        null: of the share of rows outside, in chunks like the reference.
    """

    state: State
    radius: float
    null: Null

    @cached_property
    def tree(self) -> "KDTree":
        """For distances to the points; every chunk asks the same one."""
        return _tree(self.state["points"])


def fit_support(reference: "pd.DataFrame", features: "Features", usual: int, seed: int) -> Support | None:
    """Learn where the reference lies; distances are those of rows to the rest of it, five contiguous parts in turn.

    Args:
        reference: ``(n_rows, ...)`` in time order.
        features: the columns to use.
        usual: rows a chunk usually holds.
        seed: of the sample.

    Returns:
        ``None`` where the reference is too short to be cut into parts.
    """
    import numpy as np

    if len(reference) < 10 * _PARTS:
        return None
    encoding = fit_encoding(reference, features)
    values = encode(encoding, reference, features)
    whitening = _whitening(values)
    white = values @ whitening
    rng = np.random.default_rng(seed)
    part: np.ndarray = np.arange(len(white)) * _PARTS // len(white)
    distances = np.empty(len(white))
    for own in range(_PARTS):
        others = _sample(white[part != own], rng)
        distances[part == own] = _distances(_tree(others), white[part == own])
    radius = float(np.quantile(distances, 1 - _OUTSIDE))
    outside = distances > radius
    samples = {
        size: [float(outside[start : start + size].mean()) for start in limits.block_starts(len(outside), size, is_usual=size == usual)]
        for size in limits.block_sizes(len(outside), usual)
    }
    null = limits.fit_null(samples, power=0.5, n_reference=len(outside))
    return Support({**encoding, "whitening": whitening, "points": _sample(white, rng)}, radius, null)


def _whitening(values: "np.ndarray") -> "np.ndarray":
    """Directions in which the reference varies, each scaled to one standard deviation: swapped columns then lie far away."""
    import numpy as np

    variances, directions = np.linalg.eigh(np.cov(values, rowvar=False).reshape(values.shape[1], values.shape[1]))
    kept = variances > 1e-6 * max(float(variances.max()), 1e-12)
    return np.asarray(directions[:, kept] / np.sqrt(variances[kept]))


def _sample(points: "np.ndarray", rng: "np.random.Generator") -> "np.ndarray":
    return points if len(points) <= _POINTS else points[rng.choice(len(points), _POINTS, replace=False)]


def _tree(points: "np.ndarray") -> "KDTree":
    from scipy.spatial import KDTree

    return KDTree(points)


def _distances(tree: "KDTree", asked: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.asarray(tree.query(asked, k=[min(_NEIGHBOURS, tree.n)])[0][:, 0])


def is_outside(support: Support, rows: "pd.DataFrame", features: "Features") -> "np.ndarray":
    """Whether each row ``(n_rows,)`` lies outside of where the reference lies; missing values are filled as in the reference."""
    import numpy as np

    white = encode(support.state, rows, features) @ support.state["whitening"]
    return np.asarray(_distances(support.tree, white) > support.radius)


def support_loss(support: Support, rows: "pd.DataFrame", features: "Features") -> Number:
    """Share of a chunk's rows outside of where the reference lies, in [0, 1]; about .01 for a chunk like the reference.

    Nothing is known about the model's performance there: an estimate extrapolates. At most 5,000 rows are looked up, evenly spread.
    """
    import numpy as np

    if rows.empty:
        return refused("got no row; expected at least one", 0)
    every = max(1, len(rows) // _ASKED)
    outside = is_outside(support, rows.iloc[::every], features)
    share = float(outside.mean())
    return Number(share, len(rows), standard_error=float(np.sqrt(share * (1 - share) / len(outside))))


def support_limit(support: Support, rate: float, n_rows: int) -> float:
    """The loss that a chunk like the reference exceeds with chance ``rate``, but at least a quarter of the rows."""
    _, upper = support.null.limits(rate, n_rows)
    return _HARMLESS_LOSS if upper != upper else max(upper, _HARMLESS_LOSS)


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error of the second half of the reference, once calibrated on the first, and what chance explains of it."""

    value: float
    limit: float
    n_rows: int


def reference_calibration(probabilities: "np.ndarray", outcomes: "np.ndarray", seed: int) -> Calibration:
    """Does calibration carry over from the first half of the reference to the second? CBPE assumes that it does.

    Args:
        probabilities: ``(n_rows,)`` of class 1, or of the most likely of several classes, in time order.
        outcomes: ``(n_rows,)`` 0 or 1: whether that class happened.
        seed: of the null: outcomes drawn from the calibrated probabilities.

    Returns:
        Error in [0, 1] over ten equal-width bins, weighted by their rows, and its limit: the 99th percentile under perfect calibration plus .02.

    Source: Naeini et al. (2015) for the error; Bröcker & Smith (2007) for resampling its null.
    """
    import numpy as np
    from sklearn.isotonic import IsotonicRegression

    half = len(probabilities) // 2
    if half < 2 or len(np.unique(outcomes[:half])) < 2:
        return Calibration(NAN, NAN, 0)
    fitted = IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0).fit(probabilities[:half], outcomes[:half])
    calibrated, own = fitted.predict(probabilities[half:]), outcomes[half:]
    rng = np.random.default_rng(seed)
    drawn = [calibration_error(rng.random(len(own)) < calibrated, calibrated).value for _ in range(_RESAMPLES)]
    return Calibration(calibration_error(own, calibrated).value, float(np.quantile(drawn, 0.99)) + _HARMLESS_ERROR, len(own))


@dataclass(frozen=True)
class Reconciliation:
    """Estimate minus realized over the latest labelled chunks: over the shortest of the windows that is off, or the longest there is.

    Attributes:
        bias: mean gap, in the metric's unit.
        mean_absolute_error: of the estimate over these chunks.
        limit: the mean gap that chance explains, of either sign.
        n_chunks: how many there were.
    """

    bias: float
    mean_absolute_error: float
    limit: float
    n_chunks: int

    @property
    def is_off(self) -> bool:
        """Whether the estimate strays from what outcomes say."""
        return abs(self.bias) > self.limit


def reconcile(estimates: Sequence[float], realized: Sequence[float], spread: float, standard_errors: Sequence[float]) -> Reconciliation:
    """Compare estimates with what outcomes said of the same chunks.

    Args:
        estimates: of labelled chunks, oldest first; the last five, three and one are looked at.
        realized: of the same chunks.
        spread: standard deviation of the realized metric over the reference chunks: an estimate may stray as much as a constant would.
        standard_errors: sampling error of each realized value; NaN counts as none.

    >>> reconcile([0.8] * 5, [0.8, 0.79, 0.81, 0.8, 0.8], 0.01, [0.01] * 5).is_off
    False
    >>> reconcile([0.8] * 5, [0.6] * 5, 0.01, [0.01] * 5).is_off
    True
    """
    import numpy as np

    gaps, errors = np.subtract(estimates, realized), np.nan_to_num(np.asarray(standard_errors, dtype="float64"))
    known = np.isfinite(gaps)
    found = [_over(gaps[known][-size:], errors[known][-size:], spread) for size in WINDOWS if known.sum() >= size or size == WINDOW]
    return next((one for one in reversed(found) if one.is_off), found[0])


def _over(gaps: "np.ndarray", errors: "np.ndarray", spread: float) -> Reconciliation:
    import numpy as np

    if not len(gaps):
        return Reconciliation(NAN, NAN, NAN, 0)
    limit = _GAP * float(np.sqrt(max(spread, 0.0) ** 2 / len(gaps) + (errors**2).sum() / len(gaps) ** 2))
    return Reconciliation(float(gaps.mean()), float(np.abs(gaps).mean()), limit, len(gaps))


def support_as_plain(support: Support) -> dict[str, Any]:
    """Everything but the arrays, as plain data for storage."""
    return {"radius": support.radius, "null": support.null.as_plain()}


def support_from_plain(plain: dict[str, Any], state: State) -> Support:
    """What ``support_as_plain`` gave, with the arrays."""
    return Support(state, plain["radius"], Null.from_plain(plain["null"]))
