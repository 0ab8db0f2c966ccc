"""The frame every forecast measure reads: issued forecasts whose outcomes are known.

Belongs here: its contract, levels, segments. Does not: any statistic.
Columns: ``unique_id, ds, h, cutoff, model_version, mean, lo-<level>, hi-<level>, y, baseline``; levels in per cent as
statsforecast writes them, ``baseline`` is the seasonal naive forecast of the same row.
"""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from monitoring_assets.measures.lines import ALL
from monitoring_assets.measures.univariate import segment_name

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("unique_id", "ds", "h", "cutoff", "mean", "y")
_LEVEL = re.compile(r"lo-(\d+(?:\.\d+)?)")


def matured(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Rows that can be measured, in time order: those with a finite forecast and a finite outcome.

    Args:
        frame: ``(n_rows, ...)`` of the contract above; other columns (cohorts) are kept.

    Returns:
        A copy sorted by ``ds, unique_id, cutoff``, index from 0.

    Raises:
        ValueError: a required column is lacking, or a row was issued twice.
    """
    import numpy as np

    lacking = [name for name in REQUIRED if name not in frame]
    if lacking:
        raise ValueError(f"got a frame without {', '.join(lacking)}; expected {', '.join(REQUIRED)}: join the ledger with its outcomes")
    key = ["unique_id", "ds", "cutoff", *(["model_version"] if "model_version" in frame else [])]
    twice = frame.duplicated(key)
    if twice.any():
        first = frame.loc[twice, key].iloc[0].to_dict()
        raise ValueError(f"got {int(twice.sum())} rows twice, first {first}; expected one row per {', '.join(key)}")
    is_finite = np.isfinite(frame[["mean", "y"]].astype("float64")).all(axis=1)
    return frame[is_finite].sort_values(["ds", "unique_id", "cutoff"], kind="stable").reset_index(drop=True)


def levels_of(frame: "pd.DataFrame") -> list[str]:
    """Interval levels in per cent, as written in the columns, ascending.

    >>> import pandas as pd
    >>> levels_of(pd.DataFrame(columns=["lo-95", "hi-95", "lo-80", "hi-80", "lo-50"]))
    ['80', '95']
    """
    found = [match[1] for name in frame.columns if (match := _LEVEL.fullmatch(str(name))) and f"hi-{match[1]}" in frame]
    return sorted(found, key=float)


def segments_of(
    rows: "pd.DataFrame", *, by_horizon: bool = True, buckets: Sequence[tuple[int, int]] = (), cohorts: Sequence[str] = ()
) -> "Mapping[str, pd.DataFrame]":
    """Parts of the rows to be measured: ``all``, each horizon ``h=3``, buckets ``h=1-7`` and cohorts ``region=north``.

    Args:
        rows: from ``matured``.
        by_horizon: whether each horizon is a segment.
        buckets: first and last horizon, both inside.
        cohorts: columns whose values are segments; missing values are the cohort ``missing``.

    Returns:
        Segment name to rows; segments without rows are left out.
    """
    found = {ALL: rows}
    if by_horizon:
        found |= {segment_name("h", str(h)): own for h, own in rows.groupby("h", sort=True)}
    for first, last in buckets:
        found[segment_name("h", f"{first}-{last}")] = rows[rows["h"].between(first, last)]
    for column in cohorts:
        values = rows[column].astype(object).fillna("missing").astype(str)
        found |= {segment_name(column, str(value)): own for value, own in rows.groupby(values, sort=True)}
    return {name: own for name, own in found.items() if len(own)}
