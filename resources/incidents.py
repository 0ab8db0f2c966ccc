"""One incident: a cause from its first sign to its end, and the times between.

Belongs here: the incident, what people say about it, what answers it, mean times. Does not: the fold (``incident_fold.py``), the lake
(``incident_log.py``), telling anybody (``notifications.py``).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from resources.vocabulary import Action, Cause, IncidentState, Severity

RECOVERED, WITHDRAWN = "recovered", "withdrawn"


@dataclass(frozen=True)
class Said:
    """What a person said about an incident: ``acknowledged`` or ``resolved``."""

    incident: str
    state: IncidentState
    who: str
    why: str
    as_of: datetime


@dataclass(frozen=True)
class Order:
    """What the platform ordered; ``name`` is the decision's own ``<model>/<chunk>``."""

    name: str
    action: Action
    clause: str
    as_of: datetime


@dataclass(frozen=True)
class Incident:
    """One cause from its first sign to its end. Moments are in the model's own time.

    Attributes:
        id: ``<model>/<cause>/<chunk that opened it>``; it never changes.
        opened_at: when the first sign became known; ``active_since`` when it was opened for the last time.
        opening: how often it was opened.
        chunks: those that showed the cause, in calendar order; a restated one stays.
        starts_at, ends_at: of the first and the last of them.
        judgeable_at: when the last chunk could be judged so at the earliest: what is much older is history, not news.
        found: what was found last.
        resolution: how it ended: recovered, withdrawn, or who resolved it and why.
        orders: what the platform ordered while it was open.
    """

    id: str
    model: str
    owners: Sequence[str]
    cause: Cause
    severity: Severity
    state: IncidentState
    opened_at: datetime
    active_since: datetime
    opening: int
    chunks: Sequence[str]
    starts_at: datetime
    ends_at: datetime
    judgeable_at: datetime
    found: str
    acknowledged_at: datetime | None = None
    acknowledged_by: str = ""
    resolved_at: datetime | None = None
    resolution: str = ""
    orders: Sequence[Order] = ()

    @property
    def first_chunk(self) -> str:
        """First chunk that showed the cause."""
        return self.chunks[0]

    @property
    def last_chunk(self) -> str:
        """Last chunk that showed the cause."""
        return self.chunks[-1]

    @property
    def is_resolved(self) -> bool:
        """Whether it is over."""
        return self.state is IncidentState.RESOLVED

    @property
    def time_to_detect(self) -> timedelta:
        """From the end of the first chunk, which is when it could be seen at the earliest, to the opening."""
        return max(self.opened_at - self.starts_at, timedelta(0))

    @property
    def time_to_acknowledge(self) -> timedelta | None:
        """From the last opening to the acknowledgement."""
        return None if self.acknowledged_at is None else self.acknowledged_at - self.active_since

    @property
    def time_to_retrain(self) -> timedelta | None:
        """From the opening to the first order to retrain."""
        ordered = [one.as_of for one in self.orders if one.action is Action.RETRAIN]
        return min(ordered) - self.opened_at if ordered else None

    @property
    def time_to_recover(self) -> timedelta | None:
        """From the opening to the end; none for a withdrawn one, which was no harm."""
        return None if self.resolved_at is None or self.resolution == WITHDRAWN else self.resolved_at - self.opened_at


@dataclass(frozen=True)
class IncidentTimes:
    """Mean times of some incidents; ``None`` where no incident has got that far."""

    incidents: int
    to_detect: timedelta | None
    to_acknowledge: timedelta | None
    to_retrain: timedelta | None
    to_recover: timedelta | None


def incident_times(incidents: Sequence[Incident]) -> IncidentTimes:
    """Mean time to detect, acknowledge, retrain and recover; withdrawn incidents count in none of them."""
    real = [one for one in incidents if one.resolution != WITHDRAWN]
    return IncidentTimes(
        len(real),
        _mean([one.time_to_detect for one in real]),
        _mean([one.time_to_acknowledge for one in real]),
        _mean([one.time_to_retrain for one in real]),
        _mean([one.time_to_recover for one in real]),
    )


def _mean(times: Iterable[timedelta | None]) -> timedelta | None:
    known = [one for one in times if one is not None]
    return sum(known, timedelta(0)) / len(known) if known else None
