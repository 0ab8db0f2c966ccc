"""How far a mean over forecasts strays by chance, although neighbouring errors are alike.

Belongs here: standard errors from influences, design effects. Does not: which number they belong to.
"""

from typing import TYPE_CHECKING

from monitoring_assets.measures.number import NAN
from monitoring_assets.measures.sequential import block_length

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Fewer dates, or fewer series, say nothing about how they scatter.
FEWEST = 8


def standard_error(rows: "pd.DataFrame", influence: "np.ndarray") -> float:
    """Standard error of a number from the influence of each row on it.

    Forecasts of one date share its outcome (overlapping horizons) and its shocks (series); errors of one series follow
    each other. So influences are added by date and their long-run variance is taken over moving blocks of dates, and
    added by series and their variance taken over series; the larger of both counts.

    Args:
        rows: ``(n_rows, ...)`` with ``ds`` and ``unique_id``.
        influence: ``(n_rows,)``, about ``(x - mean) / n`` for a mean; its sum is about 0.

    Returns:
        At least 0; NaN with fewer than eight dates and fewer than eight series.

    Source: Driscoll & Kraay (1998) for adding by date; Künsch (1989) for moving blocks; Liang & Zeger (1986) by series.
    """
    import numpy as np
    import pandas as pd

    dates, series = (np.bincount(pd.factorize(rows[name], sort=True)[0], influence) for name in ("ds", "unique_id"))
    found = []
    if len(dates) >= FEWEST:
        found.append(long_run_variance(dates) * len(dates))
    if len(series) >= FEWEST:
        found.append(float(series @ series) * len(series) / (len(series) - 1))
    return float(np.sqrt(max(found))) if found else NAN


def long_run_variance(values: "np.ndarray") -> float:
    """Variance of the mean of a stationary sequence times its length: the moving-block estimate.

    Args:
        values: ``(n,)`` finite, in time order, ``n`` at least 2.

    Returns:
        At least 0; the plain variance for white noise.

    Source: Künsch (1989), The jackknife and the bootstrap for general stationary observations.

    >>> import numpy as np
    >>> 0.9 < long_run_variance(np.random.default_rng(0).normal(size=20_000)) < 1.1
    True
    """
    import numpy as np

    n, block = len(values), block_length(values)
    total = np.r_[0.0, np.cumsum(values - values.mean())]
    sums = total[block:] - total[:-block]
    return float((sums**2).mean() / block * n / (n - block))


def design_effect(rows: "pd.DataFrame", values: "np.ndarray") -> float:
    """How many rows tell as much as one independent row: at least 1, infinite where nothing is known.

    Args:
        rows: ``(n_rows, ...)`` with ``ds`` and ``unique_id``.
        values: ``(n_rows,)``, say whether each outcome lay inside its interval.

    Returns:
        The squared standard error of the mean over what it would be were rows independent; 1 where all values are equal.

    Source: Kish (1965), Survey Sampling.
    """
    import numpy as np

    n, spread = len(values), float(np.var(values))
    if spread <= 0:
        return 1.0
    error = standard_error(rows, (values - values.mean()) / n)
    return max(1.0, error**2 * n / spread) if error == error else float("inf")
