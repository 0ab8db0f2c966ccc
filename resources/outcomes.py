"""Outcomes in the lake: append-only, so that what was known at any moment can be asked again.

Belongs here: recording outcomes and corrections, which are known for a window as of a moment, which chunks they restate.
Does not: reading the outside world. Reads and writes: ``outcomes``. Reads: ``prediction_log``, ``measurements``.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from resources.chunks import parse_duration
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import MEASUREMENTS, OUTCOMES, prediction_log
from resources.vocabulary import Stage

if TYPE_CHECKING:
    import pandas as pd


def observed_dates(policy: MonitoredModel, moments: "pd.Series") -> "pd.Series":
    """Partition of ``outcomes`` for each moment ``(n_rows,)``: its day, or its month where a chunk is longer than a day."""
    return moments.dt.strftime("%Y-%m-%d" if policy.chunk in ("1h", "1d") else "%Y-%m-01").astype(object)


def _restated_until(policy: MonitoredModel, end: datetime) -> datetime:
    return end + parse_duration(policy.outcome.delay) + parse_duration(policy.outcome.restate_for)


def _recorded(policy: MonitoredModel, lake: Lake, start: datetime, end: datetime) -> "pd.DataFrame":
    """Everything ever recorded that may be about predictions made in ``[start, end)``."""
    import pandas as pd

    first, last = (observed_dates(policy, pd.Series([moment])).iloc[0] for moment in (start, _restated_until(policy, end)))
    dates = [date for date in lake.partitions(policy.model, OUTCOMES, "observed_date") if first <= date <= last]
    rows = lake.read(policy.model, OUTCOMES, {"observed_date": dates})
    return rows.assign(recorded_at=rows["recorded_at"].fillna(rows["observed_at"]))  # older releases did not keep it


def _newest(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The outcome observed last of each prediction; of two observed at once the larger, so that arrival order says nothing."""
    ordered = rows.sort_values(["observed_at", "y_true"], kind="stable")
    return ordered.drop_duplicates("prediction_id", keep="last")[["prediction_id", "observed_at", "y_true"]]


def known_outcomes(policy: MonitoredModel, lake: Lake, start: datetime, end: datetime, as_of: datetime | None = None) -> "pd.DataFrame":
    """Outcomes of predictions made in ``[start, end)``, the one observed last of each.

    Args:
        policy: declares delay and how long outcomes may restate a chunk.
        start: first moment of prediction, UTC.
        end: first moment after.
        as_of: only what had been recorded by then, UTC; everything if absent.

    Returns:
        ``(n_outcomes, 3)``: ``prediction_id, observed_at, y_true``; the same whatever order outcomes arrived in, and however often.
    """
    rows = _recorded(policy, lake, start, end)
    return _newest(rows if as_of is None else rows[(rows["recorded_at"] <= as_of) & (rows["observed_at"] <= as_of)])


def record_outcomes(
    policy: MonitoredModel, lake: Lake, rows: "pd.DataFrame", start: datetime, end: datetime, recorded_at: datetime
) -> "pd.DataFrame":
    """Append those of ``rows`` that say something new, and return them.

    Where the source does not say when an outcome was observed, one that differs from what is known is a correction observed now.

    Args:
        policy: the monitored model.
        lake: where to.
        rows: ``(n_rows, ...)`` with ``prediction_id, observed_at, y_true`` of predictions made in ``[start, end)``.
        start: first moment of prediction, UTC.
        end: first moment after.
        recorded_at: the model's present; what is observed later is not recorded yet, and nothing after ``outcome.restate_for``.
    """
    import pandas as pd

    present = pd.Timestamp(min(recorded_at, _restated_until(policy, end)))
    rows = rows[rows["observed_at"] <= present]
    before = _recorded(policy, lake, start, end)
    if policy.outcome.observed_at is None:
        known = rows[["prediction_id"]].merge(_newest(before), on="prediction_id", how="left")["y_true"].to_numpy()
        is_corrected = ~pd.isna(known) & (rows["y_true"].to_numpy() != known)
        rows = rows.assign(observed_at=rows["observed_at"].mask(is_corrected, present))[pd.isna(known) | is_corrected]
    key = ["prediction_id", "observed_at", "y_true"]
    new = rows[~pd.MultiIndex.from_frame(rows[key]).isin(pd.MultiIndex.from_frame(before[key]))].drop_duplicates(key)
    new = new.assign(observed_date=observed_dates(policy, new["observed_at"]), recorded_at=pd.Timestamp(recorded_at))
    if len(new):
        lake.append(policy.model, OUTCOMES, new[list(OUTCOMES.columns)])
    return new


def judgeable(policy: MonitoredModel, lake: Lake, present: datetime) -> list[str]:
    """Chunks whose outcomes are due by now and that were never judged on them, oldest first."""
    logged = lake.partitions(policy.model, prediction_log(policy), "chunk")
    realized = set(lake.partitions(policy.model, MEASUREMENTS, "chunk", {"stage": str(Stage.REALIZED_PERFORMANCE)}))
    return [chunk for chunk in logged if chunk not in realized and policy.outcome_due(chunk) <= present]


def restatable(policy: MonitoredModel, lake: Lake, present: datetime) -> list[str]:
    """Chunks that were judged on outcomes and may still be restated: their predictions are not too old."""
    realized = lake.partitions(policy.model, MEASUREMENTS, "chunk", {"stage": str(Stage.REALIZED_PERFORMANCE)})
    return [chunk for chunk in realized if _restated_until(policy, policy.cadence.end(chunk)) >= present]


def to_restate(policy: MonitoredModel, lake: Lake, chunks: Sequence[str], rows: "pd.DataFrame", present: datetime) -> list[str]:
    """Those of ``chunks`` about which ``rows`` say something that is not recorded yet.

    Args:
        policy: the monitored model.
        lake: where recorded outcomes are.
        chunks: from ``restatable``.
        rows: ``(n_rows, ...)`` with ``chunk, prediction_id, observed_at, y_true``, as the source has them now.
        present: what is observed later is not looked at, UTC.
    """
    import pandas as pd

    if not chunks or rows.empty:
        return []
    known = known_outcomes(policy, lake, policy.cadence.start(chunks[0]), policy.cadence.end(chunks[-1]))
    rows = rows[(rows["observed_at"] <= pd.Timestamp(present)) & rows["chunk"].isin(chunks)]
    both = rows.merge(known, on="prediction_id", how="left", suffixes=("", "_known"))
    is_new = both["y_true_known"].isna() | (both["y_true"] != both["y_true_known"])
    return sorted(both.loc[is_new, "chunk"].unique())
