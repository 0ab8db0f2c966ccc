"""Have the inputs of a series moved beyond what their season explains?

Belongs here: series frames against the same season of the reference, one feature at a time (the platform's own
season-matched drift) and all together (kernel discrepancy with days as units of permutation). Does not: the distances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.breaches import ALL_FEATURES, drift_lines
from monitoring_assets.measures.encoding import encode, fit_encoding
from monitoring_assets.measures.lines import REFERENCE, lines_of
from monitoring_assets.measures.mmd import WINSOR
from monitoring_assets.measures.number import Number, refused
from monitoring_assets.measures.univariate import FittedColumn, FrameRows, fit_columns, measure_columns, season_of
from resources.policy import Features, MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Calendar matching beside the platform's ``hour``, ``weekday`` and ``month``: reference days near the window's days of the year.
YEAR_DAY = "year_day"
#: How far from the window's days of the year a reference day may lie.
NEAR_DAYS = 10
#: Most rows that enter a kernel matrix, and most reference days: of a longer reference, some days drawn at random.
MOST_ROWS, MOST_DAYS = 2000, 250
FEWEST_DAYS = 5
METHOD = "mmd_by_day"


def fit_season(policy: MonitoredModel, reference: "pd.DataFrame", usual: int) -> list[FittedColumn]:
    """Fit every feature of the reference, as a whole and by season.

    Args:
        policy: declares features, methods, limit and ``drift.season``.
        reference: ``(n_rows, ...)`` with ``ds`` (UTC) and the features; whole cycles of the season.
        usual: rows a window usually holds.
    """
    return fit_columns(policy, _timed(reference), usual)


def season_lines(policy: MonitoredModel, fitted: Sequence[FittedColumn], chunk: str, window: "pd.DataFrame") -> "pd.DataFrame":
    """Lines of one window: each feature against the same season, which decides, and beside it against the plain reference.

    Args:
        policy: the one of ``fit_season``.
        fitted: from ``fit_season``.
        chunk: its key.
        window: ``(n_rows, ...)`` as the reference.
    """
    measured, outliers = measure_columns(policy, fitted, FrameRows(_timed(window)))
    return drift_lines(policy, chunk, measured, outliers, len(window))


def _timed(rows: "pd.DataFrame") -> "pd.DataFrame":
    return rows.sort_values("ds", kind="stable").rename(columns={"ds": "time"}).reset_index(drop=True)


def same_season(reference: "pd.Series", window: "pd.Series", season: str) -> "np.ndarray":
    """Which reference moments lie in the season of the window.

    Args:
        reference: ``(n_reference,)`` moments, UTC.
        window: ``(n_rows,)`` moments, UTC.
        season: ``hour``, ``weekday``, ``month``, or ``year_day``: within ten days of a window's day of the year.

    Returns:
        ``(n_reference,)`` flags.
    """
    import numpy as np

    if season != YEAR_DAY:
        return season_of(reference, season).isin(season_of(window, season).unique()).to_numpy()
    days = reference.dt.dayofyear.to_numpy()
    apart = np.abs(days[:, np.newaxis] - window.dt.dayofyear.unique()[np.newaxis])
    return np.asarray((np.minimum(apart, 365 - apart) <= NEAR_DAYS).any(axis=1))


def measure_days(
    reference: "pd.DataFrame",
    window: "pd.DataFrame",
    features: Features,
    *,
    season: str | None = None,
    seed: int = 0,
    permutations: int = 499,
) -> Number:
    """Kernel discrepancy between a window and the reference of the same season; sees changes of correlation alone.

    Rows of one day are alike, so days are permuted, not rows: a window is strange where so many reference days
    hardly ever differ as much from the rest. Days are taken for exchangeable within the season.

    Args:
        reference: ``(n_reference, ...)`` with ``ds`` (UTC) and features, before the window.
        window: ``(n_rows, ...)`` as the reference.
        features: the columns to use.
        season: see ``same_season``; without it the whole reference.
        seed: of the choice of rows and of the permutations.
        permutations: drawn; the p-value is at least one in so many plus one, and one in the number of days.

    Returns:
        ``value`` is the root of the biased squared discrepancy, at least 0; ``n_rows`` the rows of the window that entered.

    Source: Gretton et al. (2012), A kernel two-sample test; blocks of exchangeable units as in Winkler et al. (2015).
    """
    import numpy as np

    own = reference[same_season(reference["ds"], window["ds"], season)] if season else reference
    n_days = own["ds"].dt.floor("D").nunique()
    if n_days < FEWEST_DAYS or window.empty:
        return refused(
            f"got {len(window)} rows and {n_days} reference days of their season; expected rows, and {FEWEST_DAYS} days", len(window)
        )
    rng = np.random.default_rng(seed)
    own = _some_days(own, rng)
    state = fit_encoding(own, features)
    parts = [_days(encode(state, frame, features), frame["ds"], side) for side, frame in enumerate((own, window))]
    values, days = (np.concatenate(both) for both in zip(*parts, strict=True))
    kept = _thinned(days, rng)
    values, (names, codes) = np.clip(values[kept], -WINSOR, WINSOR), np.unique(days[kept], axis=0, return_inverse=True)
    codes = codes.reshape(-1)
    sums = _kernel_sums(values, codes, len(names))
    counts = np.bincount(codes).astype("float64")
    is_window = names[:, 0] == 1
    squares = _discrepancies(sums, counts, _assignments(is_window, permutations, rng))
    p_value = float((1 + (squares[1:] >= squares[0] - 1e-12).sum()) / len(squares))
    return Number(float(np.sqrt(max(squares[0], 0.0))), int(counts[is_window].sum()), p_value=p_value)


def _some_days(reference: "pd.DataFrame", rng: "np.random.Generator") -> "pd.DataFrame":
    """All rows of at most ``MOST_DAYS`` reference days."""
    days = reference["ds"].dt.floor("D")
    known = days.drop_duplicates()
    if len(known) <= MOST_DAYS:
        return reference
    return reference[days.isin(known.iloc[rng.choice(len(known), MOST_DAYS, replace=False)])]


def _days(values: "np.ndarray", times: "pd.Series", side: int) -> "tuple[np.ndarray, np.ndarray]":
    """Encoded rows, and the day of each beside which side it is of."""
    import numpy as np

    day = times.dt.floor("D").astype("int64").to_numpy()
    return values, np.column_stack([np.full(len(day), side), day])


def _thinned(days: "np.ndarray", rng: "np.random.Generator") -> "np.ndarray":
    """Rows that are kept: the same number of each day at most, so that days stay exchangeable, and few enough in all."""
    import numpy as np
    import pandas as pd

    shuffled = rng.permutation(len(days))
    place = pd.DataFrame(days[shuffled]).groupby([0, 1]).cumcount().to_numpy()
    counts = np.unique(days, axis=0, return_counts=True)[1]
    most = max(1, min(int(np.median(counts)), MOST_ROWS // len(counts)))
    return np.sort(shuffled[place < most])


def _kernel_sums(values: "np.ndarray", codes: "np.ndarray", n_days: int) -> "np.ndarray":
    """Sum of the Gaussian kernel over the rows of each pair of days; the bandwidth is the median distance."""
    import numpy as np
    from scipy.spatial.distance import pdist, squareform
    from threadpoolctl import threadpool_limits

    distances = pdist(values)
    positive = distances[distances > 0]
    bandwidth = float(np.median(positive)) if len(positive) else 1.0
    kernel = np.exp(-(squareform(distances) ** 2) / (2 * bandwidth**2))
    member = np.eye(n_days)[codes]
    with threadpool_limits(1):
        return np.asarray(member.T @ kernel @ member)


def _assignments(is_window: "np.ndarray", permutations: int, rng: "np.random.Generator") -> "np.ndarray":
    """Which days are the window's: first the real ones, then random ones (each other day once where the window is one day)."""
    import numpy as np

    n, m = len(is_window), int(is_window.sum())
    others = np.eye(n, dtype=bool)[~is_window] if m == 1 else np.argsort(rng.random((permutations, n)), axis=1).argsort(axis=1) < m
    return np.concatenate([is_window[np.newaxis], others])


def _discrepancies(sums: "np.ndarray", counts: "np.ndarray", assigned: "np.ndarray") -> "np.ndarray":
    """Squared discrepancy of each assignment ``(n_assignments, n_days)``."""
    import numpy as np

    inside: np.ndarray = assigned.astype("float64")
    outside: np.ndarray = 1 - inside
    n, m = outside @ counts, inside @ counts
    parts = [np.einsum("ij,ij->i", left @ sums, right) for left, right in ((inside, inside), (outside, outside), (inside, outside))]
    return np.asarray(parts[0] / m**2 + parts[1] / n**2 - 2 * parts[2] / (n * m))


def days_lines(chunk: str, number: Number, false_alarms: float, season: str | None = None) -> "pd.DataFrame":
    """The line of one window's ``measure_days``; it breaches where its p-value is below ``false_alarms``."""
    compared = f"same {season}" if season else REFERENCE
    return lines_of([{
        "chunk": chunk, "kind": str(Kind.SEASONAL_DRIFT), "method": METHOD, "subject": ALL_FEATURES, "compared_with": compared,
        "value": number.value, "n_rows": number.n_rows, "p_value": number.p_value, "breach": number.p_value < false_alarms,
        "reason": number.reason,
    }])  # fmt: skip


@dataclass(frozen=True)
class SideBySide:
    """One window against the same season and against the plain reference."""

    matched: Number
    plain: Number

    def is_season(self, false_alarms: float) -> bool:
        """Whether only the plain comparison alerts: the season explains the change."""
        return self.plain.p_value < false_alarms <= self.matched.p_value


def side_by_side(reference: "pd.DataFrame", window: "pd.DataFrame", features: Features, season: str, seed: int = 0) -> SideBySide:
    """``measure_days`` with and without the season, on the same rows."""
    return SideBySide(
        measure_days(reference, window, features, season=season, seed=seed), measure_days(reference, window, features, seed=seed)
    )
