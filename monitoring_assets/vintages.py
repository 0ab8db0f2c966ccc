"""What was reported of realized performance, and when: every restatement keeps the figures it replaces.

Belongs here: recording vintages, asking for one, showing them. Does not: measuring. Reads and writes: ``performance_vintages``.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import PERFORMANCE_VINTAGES
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import pandas as pd

_KEY, _FIGURES = ["chunk", "metric"], ["value", "standard_error", "n_rows", "labelled_share"]
#: Vintages shown of one chunk, the newest ones.
_SHOWN = 30


def reported(lake: Lake, policy: MonitoredModel, as_of: datetime | None = None, chunks: Sequence[str] | None = None) -> "pd.DataFrame":
    """Realized performance as it was reported at a moment.

    Args:
        lake: where vintages are.
        policy: the monitored model.
        as_of: the moment, UTC; what is reported now if absent.
        chunks: those asked for; all if absent.

    Returns:
        ``chunk, known_at, metric, value, standard_error, n_rows, labelled_share``, one row per chunk and metric, sorted.
    """
    rows = lake.read(policy.model, PERFORMANCE_VINTAGES, None if chunks is None else {"chunk": list(chunks)})
    rows = rows if as_of is None else rows[rows["known_at"] <= as_of]
    return rows.sort_values(["known_at", *_KEY], kind="stable").drop_duplicates(_KEY, keep="last").sort_values(_KEY, ignore_index=True)


def record(
    lake: Lake, policy: MonitoredModel, chunks: Sequence[str], lines: "pd.DataFrame", shares: Mapping[str, float], known_at: datetime
) -> int:
    """Append the realized figures of ``lines`` that differ from what was last reported; running again appends nothing.

    Args:
        lake: where to.
        policy: the monitored model.
        chunks: those that were measured.
        lines: measured lines; only realized performance is kept.
        shares: share of rows with an outcome by chunk.
        known_at: the model's present, UTC.
    """
    import numpy as np
    import pandas as pd

    own = lines[lines["kind"] == Kind.REALIZED_PERFORMANCE].rename(columns={"subject": "metric"})
    own = own.assign(known_at=pd.Timestamp(known_at), labelled_share=own["chunk"].map(shares).astype("float64"))[
        list(PERFORMANCE_VINTAGES.columns)
    ]
    before = own[_KEY].merge(reported(lake, policy, chunks=chunks), on=_KEY, how="left")
    old, new = (frame[_FIGURES].to_numpy(dtype="float64", na_value=np.nan) for frame in (before, own))
    changed = own[~np.isclose(old, new, rtol=0, atol=1e-12, equal_nan=True).all(axis=1)]
    if len(changed):
        lake.append(policy.model, PERFORMANCE_VINTAGES, changed)
    return len(changed)


def table(lake: Lake, policy: MonitoredModel, chunk: str) -> str:
    """Every vintage of one chunk as markdown, newest first."""
    rows = lake.read(policy.model, PERFORMANCE_VINTAGES, {"chunk": chunk})
    rows = rows.sort_values(["known_at", "metric"], ascending=[False, True], kind="stable").head(_SHOWN)
    lines = [
        f"| {row.known_at:%Y-%m-%d %H:%M} | {row.metric} | {row.value:.4g} | {row.standard_error:.2g} | {row.n_rows} | {row.labelled_share:.1%} |"
        for row in rows.itertuples()
    ]
    return "\n".join(["| known at | metric | realized | standard error | outcomes | of all rows |", "|---|---|---|---|---|---|", *lines])
