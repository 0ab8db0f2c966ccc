"""Whether data is broken as data: missing values, values outside their physical range, stuck sensors, too few rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from monitoring_assets.measures.lines import FILLED, with_all_columns
from resources.policy import MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MISSING_SHARE, OUT_OF_RANGE_SHARE, REJECTED_SHARE, ROW_COUNT = "missing_share", "out_of_range_share", "rejected_share", "row_count"
STUCK_SHARE = "stuck_share"
#: A feature with fewer distinct values in the reference is a switch or a count, and repeats itself by nature.
_FEW_VALUES = 10


def quality(policy: MonitoredModel, rows: "pd.DataFrame", stuck: Mapping[str, float] | None = None) -> "pd.DataFrame":
    """Measure the data quality of every chunk in ``rows``.

    Args:
        policy: declares features, ranges and limits.
        rows: ``(n_rows, ...)`` with ``chunk``, ``time`` and the features.
        stuck: for each numeric feature the largest stuck share of any reference chunk, from ``stuck_exemptions``; without it
            nothing is said about stuck sensors.

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
    long: list[tuple[object, ...]] = []
    for method, subject, limit, flags in shares:
        for chunk, group in flags.groupby(rows["chunk"]):
            share, count = float(group.mean()), len(group)
            error = float(np.sqrt(share * (1 - share) / count))
            long.append((chunk, str(Kind.DATA_QUALITY), method, subject, share, error, count, np.nan, limit, share > limit))
    for chunk, group in rows.sort_values("time", kind="stable").groupby("chunk") if stuck else ():
        for name, usual in (stuck or {}).items():
            share, limit = stuck_share(policy, group, name), limits.stuck_share
            is_stuck = usual <= limit < share and len(group) >= limits.minimum_rows
            shown = limit if usual <= limit else np.nan  # a feature that stands still by nature has no limit
            long.append((chunk, str(Kind.DATA_QUALITY), STUCK_SHARE, name, share, np.nan, len(group), np.nan, shown, is_stuck))
    for chunk, count in rows.groupby("chunk").size().items():
        long.append((chunk, str(Kind.DATA_QUALITY), ROW_COUNT, "rows", float(count), 0.0, count, float(limits.minimum_rows), np.nan, False))
    return with_all_columns(pd.DataFrame(long, columns=FILLED))


def stuck_share(policy: MonitoredModel, rows: "pd.DataFrame", name: str) -> float:
    """Length of the longest run of one repeated value of ``name``, as a share of the rows; the worst segment where some are declared.

    Args:
        policy: declares segments: rows of several devices in one log do not follow each other.
        rows: ``(n_rows, ...)`` of one chunk in time order; missing values end a run.
        name: a numeric feature.
    """
    groups = [rows] if not policy.segments else [own for _, own in rows.groupby(policy.segments[0], dropna=False)]
    large = [own for own in groups if len(own) >= policy.validation.minimum_rows]
    return max((_longest_run(own[name].to_numpy(dtype="float64", na_value=float("nan"))) / len(own) for own in large), default=0.0)


def _longest_run(values: "np.ndarray") -> int:
    import numpy as np

    if not len(values):
        return 0
    changes = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1], [True]]))
    return int(np.diff(changes)[~np.isnan(values[changes[:-1]])].max(initial=0))


def stuck_exemptions(policy: MonitoredModel, reference: "pd.DataFrame") -> dict[str, float]:
    """Largest stuck share of any reference chunk by numeric feature: a feature that stands still by nature (rain) is no stuck sensor.

    Args:
        policy: declares features and the chunk.
        reference: ``(n_rows, ...)`` in time order.
    """
    keys = policy.cadence.keys(reference["time"])
    groups = [own for _, own in reference.groupby(keys, sort=True) if len(own) >= policy.validation.minimum_rows]
    few = {name for name in policy.features.numeric if reference[name].nunique() < _FEW_VALUES}
    return {
        name: 1.0 if name in few else max((stuck_share(policy, own, name) for own in groups), default=0.0)
        for name in policy.features.numeric
    }
