"""Every attempt to tell somebody, kept.

Belongs here: the append-only ``notification_deliveries``, which channels fail. Does not: what is due, sending.
Reads and writes: ``notification_deliveries``.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from resources.lake import Lake
from resources.notifications import Delivery
from resources.policy import MonitoredModel
from resources.tables import NOTIFICATION_DELIVERIES
from resources.vocabulary import Notice


@dataclass(frozen=True)
class Failing:
    """A channel whose newest attempts failed."""

    channel: str
    attempts: int
    since: datetime
    error: str


def append_delivery(lake: Lake, policy: MonitoredModel, delivery: Delivery) -> None:
    """Keep one attempt."""
    import pandas as pd

    frame = pd.DataFrame([{**asdict(delivery), "notice": str(delivery.notice)}])
    lake.append(policy.model, NOTIFICATION_DELIVERIES, frame.astype(dict.fromkeys(("at", "as_of"), "datetime64[us, UTC]")))


def read_deliveries(lake: Lake, policy: MonitoredModel) -> list[Delivery]:
    """Every attempt about one model, oldest first."""
    rows = lake.read(policy.model, NOTIFICATION_DELIVERIES).sort_values("at", kind="stable")
    return [
        Delivery(
            row.incident, int(row.opening), Notice(row.notice), int(row.step), row.channel, int(row.attempt), row.at.to_pydatetime(),
            row.as_of.to_pydatetime(), bool(row.is_delivered), row.error,
        )
        for row in rows.itertuples()
    ]  # fmt: skip


def failing_channels(deliveries: Sequence[Delivery], channels: Sequence[str]) -> list[Failing]:
    """Those of ``channels`` whose newest attempt failed, with how many have in a row and since when."""
    found = []
    for channel in channels:
        own = sorted((one for one in deliveries if one.channel == channel), key=lambda one: one.at)
        last_good = max((place for place, one in enumerate(own) if one.is_delivered), default=-1)
        failed = own[last_good + 1 :]
        if failed:
            found.append(Failing(channel, len(failed), failed[0].at, failed[-1].error))
    return found
