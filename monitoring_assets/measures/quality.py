"""Whether data is broken as data: missing values, values outside their physical range, too few rows."""

from typing import TYPE_CHECKING

from monitoring_assets.measures.registry import COLUMNS
from resources.policy import MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import pandas as pd

MISSING_SHARE, OUT_OF_RANGE_SHARE, REJECTED_SHARE, ROW_COUNT = "missing_share", "out_of_range_share", "rejected_share", "row_count"


def quality(policy: MonitoredModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Measure the data quality of every chunk in ``rows``.

    Args:
        policy: declares features, ranges and limits.
        rows: ``(n_rows, ...)`` with ``chunk`` and the features.

    Returns:
        One row per chunk and number, as ``nanny.measure``. Shares lie in [0, 1] with binomial standard errors; a
        chunk that has no rows has no line here.
    """
    import numpy as np
    import pandas as pd

    limits = policy.validation
    shares: list[tuple[str, str, float, pd.Series]] = [
        (MISSING_SHARE, name, limits.missing_share, rows[name].isna()) for name in policy.features.all
    ]
    for name, (low, high) in limits.ranges.items():
        outside = rows[name].notna() & ~rows[name].between(low, high)
        shares.append((OUT_OF_RANGE_SHARE, name, limits.out_of_range_share, outside))
    long = []
    for method, subject, limit, flags in shares:
        for chunk, group in flags.groupby(rows["chunk"]):
            share, count = float(group.mean()), len(group)
            error = float(np.sqrt(share * (1 - share) / count))
            long.append((chunk, str(Kind.DATA_QUALITY), method, subject, share, error, count, np.nan, limit, share > limit))
    for chunk, count in rows.groupby("chunk").size().items():
        long.append((chunk, str(Kind.DATA_QUALITY), ROW_COUNT, "rows", float(count), 0.0, count, float(limits.minimum_rows), np.nan, False))
    return pd.DataFrame(long, columns=COLUMNS)
