"""Breaches of one cause are one incident: a pure fold over what was found, what people said and what the platform ordered.

Belongs here: findings, the fold. Does not: the incident itself (``incidents.py``), the lake (``incident_log.py``).

Findings are folded in the order they became known, so that the fold of what was known at a moment is what was known then: an incident
keeps its name and its opening whatever is restated later. Another source of incidents is a function that gives findings.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from resources.incidents import RECOVERED, WITHDRAWN, Incident, Order, Said
from resources.policy import MonitoredModel
from resources.vintages import JudgedChunk
from resources.vocabulary import DRIFT_KINDS, HARMFUL, Action, Cause, IncidentState, Verdict

#: Orders that answer a cause.
_ANSWERS = {Cause.DATA_FAULT: Action.OPEN_INCIDENT, Cause.HARM: Action.RETRAIN}


@dataclass(frozen=True)
class Finding:
    """What was found about one cause in one chunk; a source gives one per chunk and moment.

    Attributes:
        known_at: since when, in the model's own time.
        is_up: whether the cause was there.
        is_realized: whether that rests on outcomes; estimates do not outweigh them.
        what: in words.
    """

    cause: Cause
    chunk: str
    known_at: datetime
    is_up: bool
    is_realized: bool = False
    what: str = ""


def verdict_findings(vintages: Iterable[JudgedChunk]) -> Iterator[Finding]:
    """What verdicts say: ``undecided`` nothing, ``data_fault`` nothing about harm, every other one that the data are sound."""
    for one in vintages:
        if one.verdict is Verdict.UNDECIDED:
            continue
        is_fault = one.verdict is Verdict.DATA_FAULT
        yield Finding(Cause.DATA_FAULT, one.chunk, one.known_at, is_fault, what=str(one.verdict))
        if not is_fault:
            yield Finding(Cause.HARM, one.chunk, one.known_at, one.verdict in HARMFUL, one.is_realized, str(one.verdict))


def drift_findings(policy: MonitoredModel, vintages: Iterable[JudgedChunk]) -> Iterator[Finding]:
    """What the deciding drift numbers of all rows say, if ``incidents.drift`` is declared; a chunk without any says nothing.

    As in the drift check, a feature counts that breaches in ``drift.confirm`` chunks in a row: a chunk that was measured or restated late
    speaks about those after it too. Drift is seen at once, so no finding waits for outcomes.
    """
    moved: dict[str, frozenset[str]] = {}
    steps = range(policy.drift.confirm)
    for one in vintages if policy.incidents.drift else ():
        numbers = [number for number in one.numbers(*DRIFT_KINDS) if number.value == number.value]
        known = moved.pop(one.chunk, None)
        if numbers:
            moved[one.chunk] = frozenset(number.subject for number in numbers if number.is_breach)
        if moved.get(one.chunk) == known:
            continue  # a new verdict, but nothing new about drift
        for chunk in (policy.cadence.shift(one.chunk, step) for step in steps):
            if chunk in moved:
                latest = [moved.get(policy.cadence.shift(chunk, -step), frozenset()) for step in steps]
                lasting = sorted(frozenset.intersection(*latest))
                yield Finding(Cause.DRIFT, chunk, one.known_at, bool(lasting), what=f"drift of {', '.join(lasting)}" if lasting else "")


@dataclass
class _Course:
    """One incident while it is folded.

    ``standing`` are the chunks that still show the cause, with whether that is realized; ``ended_by`` is the chunk up to which a recovery is
    known, ``is_end_realized`` what that rests on.
    """

    opened_by: str
    opened_at: datetime
    active_since: datetime
    chunks: set[str] = field(default_factory=set)
    standing: dict[str, bool] = field(default_factory=dict)
    healthy: set[str] = field(default_factory=set)
    opening: int = 1
    found: str = ""
    last_realized: bool = False
    acknowledged: Said | None = None
    resolved_at: datetime | None = None
    resolution: str = ""
    ended_by: str = ""
    is_end_realized: bool = False

    def close(self, at: datetime, resolution: str, ended_by: str, *, is_realized: bool) -> None:
        """It is over."""
        self.resolved_at, self.resolution, self.ended_by, self.is_end_realized = at, resolution, ended_by, is_realized
        self.standing, self.healthy = {}, set()

    def reopen(self, at: datetime) -> None:
        """It is back."""
        self.resolved_at, self.resolution, self.acknowledged = None, "", None
        self.opening, self.active_since = self.opening + 1, at

    def add(self, finding: Finding) -> None:
        """One more chunk shows the cause."""
        self.chunks.add(finding.chunk)
        self.found, self.last_realized = finding.what, finding.is_realized
        if self.resolved_at is None:
            self.standing[finding.chunk] = finding.is_realized
            self.healthy = {chunk for chunk in self.healthy if chunk > max(self.standing)}

    def recover(self, finding: Finding, resolve_after: int) -> None:
        """A chunk does not show the cause: it takes back what was found about it, or counts towards the end."""
        if finding.chunk in self.standing and finding.is_realized >= self.standing[finding.chunk]:
            del self.standing[finding.chunk]
        if not self.standing:
            self.close(finding.known_at, WITHDRAWN, "", is_realized=finding.is_realized)
            return
        if finding.chunk > max(self.standing) and finding.is_realized >= any(self.standing.values()):
            self.healthy.add(finding.chunk)
        if len(self.healthy) >= resolve_after:
            self.close(finding.known_at, RECOVERED, max(self.healthy), is_realized=finding.is_realized)


@dataclass
class _Courses:
    """All incidents of one cause; the last one that was opened is the current one."""

    policy: MonitoredModel
    cause: Cause
    by_id: dict[str, _Course] = field(default_factory=dict)
    current: _Course | None = None

    def take(self, finding: Finding) -> None:
        """Fold one finding."""
        current = self.current
        if not finding.is_up:
            if current is not None and current.resolved_at is None:
                current.recover(finding, self.policy.incidents.resolve_after)
            return
        if current is None or (current.resolved_at is not None and not self._is_known_past(current, finding)):
            current = self._open(finding)
        current.add(finding)

    def hear(self, said: Said) -> None:
        """Fold what a person said; about an incident that is over, or was acknowledged already, it changes nothing."""
        own = self.by_id.get(said.incident)
        if own is None or own.resolved_at is not None:
            return
        if said.state is IncidentState.RESOLVED:
            own.close(said.as_of, f"by {said.who}: {said.why}", max(own.standing), is_realized=True)
        elif own.acknowledged is None:
            own.acknowledged = said

    @staticmethod
    def _is_known_past(current: _Course, finding: Finding) -> bool:
        """Whether it recovered after this chunk, on evidence at least as good."""
        return finding.chunk <= current.ended_by and finding.is_realized <= current.is_end_realized

    def _open(self, finding: Finding) -> _Course:
        name, rules, before = f"{self.policy.model}/{self.cause}/{finding.chunk}", self.policy.incidents, self.current
        if before is not None and before.resolved_at is not None:
            is_soon = finding.known_at <= before.resolved_at + self.policy.cadence.step * rules.quiet
            again = before if is_soon else self.by_id.get(name)
            if again is not None:
                again.reopen(finding.known_at)
                self.current = again
                return again
        self.current = self.by_id[name] = _Course(finding.chunk, finding.known_at, finding.known_at)
        return self.current


def fold_incidents(
    policy: MonitoredModel,
    findings: Iterable[Finding],
    said: Iterable[Said] = (),
    orders: Sequence[Order] = (),
    as_of: datetime | None = None,
) -> list[Incident]:
    """All incidents of one model.

    An incident ends after ``incidents.resolve_after`` healthy chunks later than its last bad one, which rest on outcomes if any bad one does:
    an estimate does not see what outcomes showed. It is withdrawn when every chunk that showed the cause is restated.

    Args:
        findings: in the order they became known.
        said: what people said, oldest first.
        orders: of the decision ledger, oldest first.
        as_of: what became known later is left out; everything counts if absent.

    Returns:
        Incidents in the order they were opened.
    """
    courses = {cause: _Courses(policy, cause) for cause in Cause}
    heard: list[Finding | Said] = [*findings, *said]
    for one in sorted((one for one in heard if as_of is None or _moment(one) <= as_of), key=_moment):
        if isinstance(one, Finding):
            courses[one.cause].take(one)
        else:
            for own in courses.values():
                own.hear(one)
    known = [one for one in orders if as_of is None or one.as_of <= as_of]
    made = [_incident(policy, own.cause, name, course, known) for own in courses.values() for name, course in own.by_id.items()]
    return sorted(made, key=lambda incident: (incident.opened_at, incident.id))


def _moment(one: Finding | Said) -> datetime:
    return one.known_at if isinstance(one, Finding) else one.as_of


def _incident(policy: MonitoredModel, cause: Cause, name: str, course: _Course, orders: Sequence[Order]) -> Incident:
    chunks, acknowledged = sorted(course.chunks), course.acknowledged
    state = IncidentState.OPEN if acknowledged is None else IncidentState.ACKNOWLEDGED
    if course.resolved_at is not None:
        state = IncidentState.RESOLVED
    last = max(course.standing, default=chunks[-1])
    is_realized = course.standing.get(last, course.last_realized)
    return Incident(
        id=name,
        model=policy.model,
        owners=tuple(policy.owners),
        cause=cause,
        severity=policy.incidents.severity.of(cause),
        state=state,
        opened_at=course.opened_at,
        active_since=course.active_since,
        opening=course.opening,
        chunks=tuple(chunks),
        starts_at=policy.cadence.end(chunks[0]),
        ends_at=policy.cadence.end(chunks[-1]),
        judgeable_at=policy.outcome_due(last) if is_realized else policy.cadence.end(last),
        found=course.found,
        acknowledged_at=acknowledged.as_of if acknowledged else None,
        acknowledged_by=acknowledged.who if acknowledged else "",
        resolved_at=course.resolved_at,
        resolution=course.resolution,
        orders=tuple(one for one in orders if one.action is _ANSWERS.get(cause) and _is_during(one, course)),
    )


def _is_during(order: Order, course: _Course) -> bool:
    return order.as_of >= course.opened_at and (course.resolved_at is None or order.as_of <= course.resolved_at)
