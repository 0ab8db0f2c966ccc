"""Has the way two features move together changed? Largest shift of a Spearman correlation."""

from typing import TYPE_CHECKING

from monitoring_assets.measures.encoding import State, numbers, refusal_of, refusing
from monitoring_assets.measures.number import Number, refused

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import Features

#: Fewest rows, and fewest rows in which both features of a pair are present.
FEWEST_ROWS = 10
#: Variance of Fisher's z is 1.06 / (n - 3) for Spearman's coefficient.
SPEARMAN_VARIANCE = 1.06


def fit_correlation_shift(reference: "pd.DataFrame", features: "Features", seed: int) -> State:
    """Learn the Spearman correlation of every pair of numeric features.

    Args:
        reference: ``(n_reference, ...)``; fewer than ten rows or two numeric features give a state that refuses.
        features: categorical columns are left out.
        seed: unused, nothing is drawn.

    Returns:
        ``correlations`` and ``counts`` of rows with both, each ``(n_numeric, n_numeric)``.
    """
    import numpy as np

    if len(features.numeric) < 2:
        return refusing(f"got {len(features.numeric)} numeric features; expected at least 2")
    if len(reference) < FEWEST_ROWS:
        return refusing(f"got a reference of {len(reference)} rows; expected at least {FEWEST_ROWS}")
    correlations, counts = _spearman(numbers(reference, features.numeric))
    return {"refusal": np.array(""), "correlations": correlations, "counts": counts}


def _spearman(values: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Pairwise-complete Spearman correlations and counts; 0 where a feature is constant, NaN below ten shared rows."""
    import numpy as np
    from scipy.stats import rankdata

    width = values.shape[1]
    present = ~np.isnan(values)
    shared = present.T.astype(float) @ present
    full = present.all(axis=0)
    correlations = np.full((width, width), np.nan)
    correlations[np.ix_(full, full)] = _pearson(rankdata(values[:, full], axis=0))
    for i in range(width):
        for j in range(i):
            if shared[i, j] >= FEWEST_ROWS and not (full[i] and full[j]):
                both = present[:, i] & present[:, j]
                correlations[i, j] = correlations[j, i] = _pearson(rankdata(values[both][:, [i, j]], axis=0))[0, 1]
    return correlations, shared


def _pearson(ranks: "np.ndarray") -> "np.ndarray":
    import numpy as np

    centred = ranks - (len(ranks) + 1) / 2  # exact, and so are the sums: the order of rows leaves no trace
    products = centred.T @ centred
    length = np.sqrt(np.diag(products))
    scale = np.where(length > 0, length, 1.0)
    return np.asarray(np.clip(products / np.outer(scale, scale), -1.0, 1.0))


def measure_correlation_shift(state: State, rows: "pd.DataFrame", features: "Features") -> Number:
    """Largest absolute change of any pair's Spearman correlation, in [0, 2]; 0 for identical rows.

    ``reason`` names the pair and both correlations; ``effect`` is the value. ``standard_error`` is that of the change,
    by Fisher's z at the two correlations (a perfect one has none). ``p_value`` is two-sided, for the named pair, times
    the trials: one per pair (Šidák). A constant feature correlates 0 with everything; a pair is measured on rows that
    have both, and left out below ten of them. The order of rows does not matter.

    Source: Fieller, Hartley & Pearson (1957), Tests for rank correlation coefficients.
    """
    import numpy as np
    from scipy.stats import norm

    reason = refusal_of(state, len(rows), FEWEST_ROWS)
    if reason:
        return refused(reason, len(rows))
    now, counts = _spearman(numbers(rows, features.numeric))
    first, second = np.triu_indices(len(now), 1)
    old, new = state["correlations"][first, second], now[first, second]
    measured = ~np.isnan(old) & ~np.isnan(new)
    if not measured.any():
        return refused(f"got no pair of features with {FEWEST_ROWS} rows in common; expected at least one", len(rows))
    pair = int(np.argmax(np.where(measured, np.abs(new - old), -1.0)))
    i, j, before, after = int(first[pair]), int(second[pair]), float(old[pair]), float(new[pair])
    variances = SPEARMAN_VARIANCE / (np.array([state["counts"][i, j], counts[i, j]]) - 3)
    angles = np.arctanh(np.clip([before, after], -0.999999, 0.999999))
    single = 2 * norm.sf(abs(angles[1] - angles[0]) / np.sqrt(variances.sum()))
    slopes = 1 - np.array([before, after]) ** 2
    return Number(
        abs(after - before), len(rows), effect=abs(after - before),
        p_value=float(-np.expm1(measured.sum() * np.log1p(-min(single, 1 - 1e-16)))),
        standard_error=float(np.sqrt((slopes**2 * variances).sum())),
        reason=f"correlation of {features.numeric[i]} and {features.numeric[j]} {before:.2f} -> {after:.2f}",
    )  # fmt: skip
