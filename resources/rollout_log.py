"""What served when, and who decided: the append-only, hash-chained ``rollout_events``.

Belongs here: appending an event, the serving version derived from events. Does not: the model registry (``registry.py``).
Reads and writes: ``rollout_events``.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from resources.chunks import as_utc
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import ROLLOUT_EVENTS
from resources.vocabulary import Event

if TYPE_CHECKING:
    import pandas as pd

_GENESIS = "0" * 64


def events(lake: Lake, policy: MonitoredModel) -> "pd.DataFrame":
    """All rollout events, oldest first."""
    rows = lake.read(policy.model, ROLLOUT_EVENTS)
    return rows if len(rows) < 2 else rows.sort_values("at", kind="stable").reset_index(drop=True)


def append_event(
    lake: Lake,
    policy: MonitoredModel,
    event: Event,
    *,
    reason: str,
    approved_by: str,
    as_of: datetime | None = None,
    chunk: str | None = None,
    from_version: str | None = None,
    to_version: str | None = None,
    train_start: datetime | None = None,
    train_end: datetime | None = None,
    onset: datetime | None = None,
    incident: str | None = None,
) -> None:
    """Append one event; its hash covers its content and the hash before it, so a changed or missing row shows."""
    import pandas as pd

    log = events(lake, policy)
    moments = {"at": datetime.now(UTC), "as_of": as_of, "train_start": train_start, "train_end": train_end, "onset": onset}
    texts = {
        "event": str(event), "chunk": chunk, "from_version": from_version, "to_version": to_version, "incident": incident,
        "reason": reason, "approved_by": approved_by, "previous_hash": log["hash"].iloc[-1] if len(log) else _GENESIS,
    }  # fmt: skip
    row = {**{name: _moment(value) for name, value in moments.items()}, **texts}
    row["hash"] = _hash(row)
    frame = pd.DataFrame([row]).astype(dict.fromkeys(moments, "datetime64[us, UTC]"))
    lake.append(policy.model, ROLLOUT_EVENTS, frame)


def broken_link(log: "pd.DataFrame") -> int | None:
    """Index of the first event whose hash does not follow from its content and predecessor; ``None`` if all hold."""
    previous = _GENESIS
    for index, row in enumerate(log.to_dict("records")):
        if row["previous_hash"] != previous or row["hash"] != _hash(row):
            return index
        previous = row["hash"]
    return None


def serving_version(lake: Lake, policy: MonitoredModel) -> str | None:
    """Version that serves now: the target of the newest promotion or rollback."""
    log = events(lake, policy)
    moves = log[log["event"].isin([Event.PROMOTED, Event.ROLLED_BACK])]
    return str(moves["to_version"].iloc[-1]) if len(moves) else None


def previous_version(lake: Lake, policy: MonitoredModel, version: str) -> str | None:
    """Version that served when ``version`` was first promoted."""
    log = events(lake, policy)
    own = log[(log["event"] == Event.PROMOTED) & (log["to_version"] == version)]
    before = own["from_version"].iloc[0] if len(own) else None
    return None if before is None or before != before else str(before)


def own_time(policy: MonitoredModel, row: Any) -> datetime:
    """When an event happened in the model's own time: a replayed log's is that of the order, a live one's the clock's.

    Args:
        policy: the monitored model.
        row: one row of ``rollout_events``, as ``itertuples`` gives it.
    """
    is_replayed = policy.replay is not None and row.as_of is not None and row.as_of == row.as_of
    moment: datetime = (row.as_of if is_replayed else row.at).to_pydatetime()
    return moment


def _moment(value: datetime | None) -> "pd.Timestamp | None":
    import pandas as pd

    return None if value is None else pd.Timestamp(as_utc(value)).floor("us")


def _hash(row: Mapping[str, Any]) -> str:
    import pandas as pd

    content = {}
    for name in sorted(set(ROLLOUT_EVENTS.columns) - {"hash"}):
        value = row[name]
        content[name] = None if value is None or pd.isna(value) else value.isoformat() if hasattr(value, "isoformat") else str(value)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
