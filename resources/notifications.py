"""What is due to be said about incidents: a pure function of incidents, what was sent, rules and time.

Belongs here: notices, their order in time, retries, what a message says. Does not: sending (``notifiers.py``), the lake
(``delivery_log.py``).

Nothing is remembered between two ticks but the deliveries, so a restart sends nothing twice and loses nothing. Every notice is identified
by incident, opening, notice, step and channel, and is due until one attempt was delivered.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from resources.chunks import parse_duration
from resources.incidents import Incident
from resources.notification_rules import NotificationRules
from resources.vocabulary import Cause, IncidentState, Notice, Severity

#: Wait before the second attempt; it doubles with each one up to the longest.
FIRST_WAIT, LONGEST_WAIT = timedelta(minutes=1), timedelta(hours=1)
_ALERTS = (Notice.OPENED, Notice.ESCALATED)
_WORDS = {
    Cause.DATA_FAULT: "broken data",
    Cause.HARM: "predictions are worse than allowed",
    Cause.DRIFT: "inputs have moved",
    Cause.PLATFORM: "the platform has a fault",
}


@dataclass(frozen=True)
class Delivery:
    """One attempt: ``at`` by the wall clock, ``as_of`` in the model's own time."""

    incident: str
    opening: int
    notice: Notice
    step: int
    channel: str
    attempt: int
    at: datetime
    as_of: datetime
    is_delivered: bool
    error: str = ""


@dataclass(frozen=True)
class Notification:
    """Something to be said to one channel; ``step`` numbers the repetitions, ``attempt`` starts at 1."""

    incident: Incident
    notice: Notice
    step: int
    channel: str
    severity: Severity
    attempt: int = 1

    @property
    def is_end(self) -> bool:
        """Whether it says that the incident is over."""
        return self.notice is Notice.RESOLVED

    @property
    def title(self) -> str:
        """One line."""
        one = self.incident
        again = " again" if self.notice is Notice.OPENED and one.opening > 1 else ""
        return f"[{self.severity}] {one.model}: {_WORDS[one.cause]} since {one.first_chunk} ({self.notice}{again})"

    @property
    def details(self) -> dict[str, str]:
        """What to know, by name; the same in every channel."""
        one = self.incident
        orders = [f"{order.action} {order.name} by {order.clause}" for order in one.orders]
        told = {
            "incident": one.id, "model": one.model, "cause": str(one.cause), "severity": str(self.severity), "state": str(one.state),
            "found": one.found, "chunks": f"{one.first_chunk} to {one.last_chunk} ({len(one.chunks)})", "opened": f"{one.opened_at:%Y-%m-%d %H:%M} UTC",
            "owners": ", ".join(one.owners) or "nobody", "what the platform did": "; ".join(orders[-3:]) or "nothing yet",
        }  # fmt: skip
        if one.acknowledged_by:
            told["acknowledged"] = f"by {one.acknowledged_by}"
        if one.resolved_at is not None:
            told["resolved"] = f"{one.resolved_at:%Y-%m-%d %H:%M} UTC, {one.resolution}"
        elif self.notice is not Notice.ACKNOWLEDGED:
            told["acknowledge with"] = f"plumbline acknowledge {one.id} --why REASON"
        return told

    @property
    def text(self) -> str:
        """The details as lines."""
        return "\n".join(f"{name}: {value}" for name, value in self.details.items())

    def is_same(self, delivery: Delivery) -> bool:
        """Whether ``delivery`` was an attempt of it."""
        mine = (self.incident.id, self.incident.opening, self.notice, self.step, self.channel)
        return mine == (delivery.incident, delivery.opening, delivery.notice, delivery.step, delivery.channel)


def wait_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts that failed."""
    return min(FIRST_WAIT * 2 ** min(attempts - 1, 10), LONGEST_WAIT)


def due_notifications(
    incidents: Sequence[Incident], deliveries: Sequence[Delivery], rules: NotificationRules, now: datetime, wall: datetime
) -> list[Notification]:
    """What is to be sent now.

    An incident that ended before anybody was told is not sent: there is nothing left to do about it.

    Args:
        incidents: of one model.
        deliveries: every attempt so far, oldest first.
        rules: who is told.
        now: the model's own time.
        wall: the wall clock; retries wait by it.
    """
    due = []
    for incident in incidents:
        if rules.is_in_maintenance(incident, now):
            continue
        own = [one for one in deliveries if (one.incident, one.opening) == (incident.id, incident.opening)]
        for wanted in _wanted(incident, own, rules, now):
            tried = [one for one in own if wanted.is_same(one)]
            is_done = any(one.is_delivered for one in tried)
            if not is_done and (not tried or wall >= tried[-1].at + wait_after(len(tried))):
                due.append(Notification(incident, wanted.notice, wanted.step, wanted.channel, wanted.severity, len(tried) + 1))
    return due


def is_live(incident: Incident, rules: NotificationRules, now: datetime) -> bool:
    """Whether something may still have to be said about it, without anything new being found."""
    return incident.resolved_at is None or now <= incident.resolved_at + parse_duration(rules.max_age)


def _wanted(incident: Incident, own: Sequence[Delivery], rules: NotificationRules, now: datetime) -> Iterator[Notification]:
    """Everything that should have been said by now about this opening; ``own`` are its deliveries."""
    told = {one.channel: one for one in reversed(own) if one.is_delivered and one.notice in _ALERTS}
    if incident.resolved_at is not None:
        if is_live(incident, rules, now):
            yield from (Notification(incident, Notice.RESOLVED, 0, channel, incident.severity) for channel in _known(told, rules))
    elif incident.state is IncidentState.ACKNOWLEDGED:
        chatty = [channel for channel in _known(told, rules) if not _repeats_itself(channel, rules)]
        yield from (Notification(incident, Notice.ACKNOWLEDGED, 0, channel, incident.severity) for channel in chatty)
    elif own or now <= incident.judgeable_at + parse_duration(rules.max_age):
        yield from _alerts(incident, own, rules, now)
        yield from _repeated(incident, told, rules, now)


def _known(told: dict[str, Delivery], rules: NotificationRules) -> list[str]:
    """Channels that were told and are still declared."""
    return [channel.name for channel in rules.channels if channel.name in told]


def _alerts(incident: Incident, own: Sequence[Delivery], rules: NotificationRules, now: datetime) -> Iterator[Notification]:
    for channel in rules.channels_of(incident):
        yield Notification(incident, Notice.OPENED, 0, channel, incident.severity)
    first = min((one.as_of for one in own if one.notice is Notice.OPENED), default=None)
    # from the first attempt: where every channel fails, nobody can acknowledge
    if rules.escalation is not None and first is not None and now >= first + parse_duration(rules.escalation.after):
        told = {one.channel for one in own if one.is_delivered}
        for channel in rules.escalation.channels:
            if channel not in told or not _repeats_itself(channel, rules):
                yield Notification(incident, Notice.ESCALATED, 0, channel, rules.escalation.severity)


def _repeats_itself(channel: str, rules: NotificationRules) -> bool:
    """Whether people are reminded there anyway: PagerDuty takes one trigger and one resolve, and does the rest."""
    return rules.channel(channel).kind == "pagerduty"


def _repeated(incident: Incident, told: dict[str, Delivery], rules: NotificationRules, now: datetime) -> Iterator[Notification]:
    """The newest repetition of each channel; those that were missed are not made up for."""
    if rules.renotify_every is None:
        return
    for channel in (channel for channel in _known(told, rules) if not _repeats_itself(channel, rules)):
        since = told[channel].as_of
        step = (now - since) // (since + parse_duration(rules.renotify_every) - since)
        if step >= 1:
            is_raised = told[channel].notice is Notice.ESCALATED and rules.escalation is not None
            severity = rules.escalation.severity if is_raised and rules.escalation else incident.severity
            yield Notification(incident, Notice.REPEATED, step, channel, severity)
