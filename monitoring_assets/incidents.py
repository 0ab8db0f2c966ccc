"""Open incidents in the UI, and the people who are told about them.

Belongs here: the sensor that sends what is due, the assets that show incidents and deliveries, the jobs by which a person acknowledges or
resolves. Does not: what an incident is (``resources/incident_fold.py``), what is due (``resources/notifications.py``).
Reads: ``verdict_vintages``, ``decisions``, ``incident_events``, ``notification_deliveries``. Writes: the last two.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from resources.clock import now
from resources.delivery_log import Failing, append_delivery, failing_channels, read_deliveries
from resources.incident_log import mark_of, read_incidents, say
from resources.incidents import Incident
from resources.lake import Lake
from resources.notification_rules import NotificationRules
from resources.notifications import Delivery, Notification, due_notifications, is_live
from resources.notifiers import Notifier
from resources.policy import MonitoredModel
from resources.vocabulary import Check, IncidentState, Severity

INCIDENTS, NOTIFICATIONS = dg.AssetKey(["platform", "incidents"]), dg.AssetKey(["platform", "notifications"])
_SHARED: dict[str, Any] = {"group_name": "platform", "owners": ["team:platform"]}
_INTERVAL_SECONDS = 10
#: A tick stops after this, well before the daemon gives it up; what is left is done at the next one.
_TICK_SECONDS = 25.0
_MOST_ROWS = 50


@dataclass(frozen=True)
class Told:
    """What one model's turn came to: its incidents, the attempts that were made, whether it has to be looked at again though nothing changed."""

    incidents: Sequence[Incident]
    made: Sequence[Delivery]
    is_live: bool


def tell(
    policy: MonitoredModel, lake: Lake, rules: NotificationRules | None, notifier: Notifier, wall: datetime, until: float = float("inf")
) -> Told:
    """Send what is due about one model and keep every attempt at once: what a killed tick has sent is not sent again.

    Args:
        policy: the model.
        lake: where attempts are kept.
        rules: who is told; nobody if absent.
        notifier: sends.
        wall: the wall clock.
        until: moment of ``time.monotonic`` after which nothing more is sent but the first one.
    """
    incidents, present = read_incidents(lake, policy), now(policy, lake)
    is_open = any(not one.is_resolved for one in incidents)
    if rules is None:
        return Told(incidents, [], False)
    live = [one for one in incidents if is_live(one, rules, present)]
    due = due_notifications(live, read_deliveries(lake, policy), rules, present, wall) if live else []
    made: list[Delivery] = []
    for one in due:
        if made and time.monotonic() > until:
            break
        made.append(_attempt(rules, notifier, one, present))
        append_delivery(lake, policy, made[-1])
    return Told(incidents, made, is_open or bool(live))


def _attempt(rules: NotificationRules, notifier: Notifier, one: Notification, present: datetime) -> Delivery:
    sent = notifier.send(rules.channel(one.channel), one)
    key = one.incident.id, one.incident.opening, one.notice, one.step, one.channel, one.attempt
    return Delivery(*key, at=datetime.now(UTC), as_of=present, is_delivered=sent.is_delivered, error=sent.error)


def build_incident_assets() -> list[dg.AssetSpec]:
    """Incidents and deliveries as assets: one materialization whenever they change, written by the sensor."""
    return [
        dg.AssetSpec(
            INCIDENTS, **_SHARED, kinds={"deltalake"},
            description="Open incidents of all models: one per cause, until it is over. Acknowledge with the job incidents__acknowledge.",
        ),
        dg.AssetSpec(
            NOTIFICATIONS, **_SHARED, kinds={"deltalake"}, deps=[INCIDENTS],
            description="Who was told about incidents, and which channels fail; declared in notifications.yaml.",
        ),
    ]  # fmt: skip


def build_delivery_check(policies: Sequence[MonitoredModel], rules: NotificationRules | None) -> dg.AssetChecksDefinition:
    """Whether every channel took what it was sent last."""

    @dg.asset_check(asset=NOTIFICATIONS, name=str(Check.NOTIFICATIONS_DELIVERED), description="Every channel took what it was sent last.")
    def notifications_delivered(lake: Lake) -> dg.AssetCheckResult:
        failing = _failing(_all_deliveries(policies, lake), rules)
        return dg.AssetCheckResult(
            passed=not failing, severity=dg.AssetCheckSeverity.WARN, description=_said(failing), metadata=_failures(failing)
        )

    return notifications_delivered


class IncidentConfig(dg.Config):
    """Which incident, who says so and why."""

    incident: str
    who: str
    why: str


def build_incident_jobs(policies: Sequence[MonitoredModel]) -> list[dg.JobDefinition]:
    """Acknowledge or resolve an incident from the UI; the command line does the same."""

    def build(verb: str, state: IncidentState, what: str) -> dg.JobDefinition:
        @dg.op(name=f"{verb}_incident", description=what)
        def body(context: dg.OpExecutionContext, config: IncidentConfig, lake: Lake) -> None:
            made = say(lake, policies, config.incident, state, who=config.who, why=config.why)
            context.log.info(f"{made.id} is {made.state}")

        @dg.job(name=f"incidents__{verb}", description=what)
        def job() -> None:
            body()

        return job

    return [
        build("acknowledge", IncidentState.ACKNOWLEDGED, "Somebody looks after an incident: no more reminders, no escalation."),
        build("resolve", IncidentState.RESOLVED, "An incident is over because a person says so."),
    ]


def build_incident_notifier(policies: Sequence[MonitoredModel], rules: NotificationRules | None) -> dg.SensorDefinition:
    """The sensor: looks at models with news or something left to say, sends, and shows what changed."""
    asked = hashlib.sha256(rules.model_dump_json().encode()).hexdigest()[:16] if rules else "nobody"

    @dg.sensor(
        name="incident_notifier",
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Folds verdicts into incidents, tells those whom notifications.yaml names, and tries again where a channel failed.",
    )
    def incident_notifier(context: dg.SensorEvaluationContext, lake: Lake, notifier: Notifier) -> dg.SensorResult:
        before: dict[str, Any] = json.loads(context.cursor or '{"models": {}, "stopped_at": ""}')
        cursor = {policy.model: before["models"][policy.model] for policy in policies if policy.model in before["models"]}
        stopped_at = ""
        wall, until, made = datetime.now(UTC), time.monotonic() + _TICK_SECONDS, list[Delivery]()
        has_changed = False
        for policy in _from(policies, before["stopped_at"]):
            seen = cursor.get(policy.model, {})
            try:
                mark = f"{mark_of(lake, policy)} {asked}"
                if seen.get("mark") == mark and not seen.get("is_live"):
                    continue
                told = tell(policy, lake, rules, notifier, wall, until)
            except Exception:  # one model's trouble must not silence the others; its cursor stays, so it is tried again
                context.log.exception(f"{policy.model}: its incidents could not be told and are tried again at the next tick")
                continue
            shown = _shown(told.incidents)
            has_changed, made = has_changed or shown != seen.get("shown", _shown([])), [*made, *told.made]
            cursor[policy.model] = {"mark": mark, "is_live": told.is_live, "shown": shown}
            if time.monotonic() > until:
                stopped_at = policy.model
                break
        for one in made:
            if not one.is_delivered:
                context.log.warning(f"{one.channel}: {one.notice} of {one.incident} failed at attempt {one.attempt}: {one.error}")
        events: list[Any] = [_materialized_incidents(cursor)] if has_changed else []
        events += _materialized_deliveries(policies, lake, rules, made) if made else []
        return dg.SensorResult(asset_events=events, cursor=json.dumps({"models": cursor, "stopped_at": stopped_at}))

    return incident_notifier


def _from(policies: Sequence[MonitoredModel], stopped_at: str) -> list[MonitoredModel]:
    """All of them, those after the one where a tick ran out of time first: open incidents of some must not keep the others waiting."""
    place = next((place + 1 for place, policy in enumerate(policies) if policy.model == stopped_at), 0)
    return [*policies[place:], *policies[:place]]


def _shown(incidents: Sequence[Incident]) -> dict[str, Any]:
    """What the UI shows of one model: how many incidents stand how, and a row for each that is not resolved."""
    standing = [one for one in incidents if not one.is_resolved]
    counts = Counter(str(one.state) for one in incidents) + Counter(f"severity {one.severity}" for one in standing)
    return {"counts": dict(counts), "rows": [_row(one) for one in standing]}


def _row(one: Incident) -> str:
    orders = ", ".join(f"{order.action} {order.name}" for order in one.orders[-2:]) or "–"
    state = f"{one.state} by {one.acknowledged_by}" if one.acknowledged_by else str(one.state)
    cells = [one.id, one.severity, state, one.found, f"{one.first_chunk} – {one.last_chunk}", f"{one.opened_at:%Y-%m-%d %H:%M}", orders]
    return f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _materialized_incidents(cursor: dict[str, Any]) -> dg.AssetMaterialization:
    shown = [seen["shown"] for seen in cursor.values()]
    rows = [row for one in shown for row in one["rows"]]
    counts: Counter[str] = sum((Counter(one["counts"]) for one in shown), Counter())
    names = [*map(str, IncidentState), *(f"severity {severity}" for severity in Severity)]
    head = ["| incident | severity | state | found | chunks | opened | the platform ordered |", "|---|---|---|---|---|---|---|"]
    table = "\n".join([*head, *rows[:_MOST_ROWS]]) if rows else "none"
    return dg.AssetMaterialization(
        INCIDENTS,
        description=f"{len(rows)} not resolved",
        metadata={"incidents": dg.MetadataValue.md(table), **{name: counts[name] for name in names}},
    )


def _materialized_deliveries(
    policies: Sequence[MonitoredModel], lake: Lake, rules: NotificationRules | None, made: Sequence[Delivery]
) -> list[dg.AssetMaterialization | dg.AssetCheckEvaluation]:
    everything = _all_deliveries(policies, lake)
    failing = _failing(everything, rules)
    lines = [
        f"| {one.at:%Y-%m-%d %H:%M:%S} | {one.channel} | {one.notice} | {one.incident} | {one.attempt} | {'yes' if one.is_delivered else one.error.replace('|', '/')} |"
        for one in reversed(everything[-_MOST_ROWS:])
    ]
    table = "\n".join(["| at | channel | notice | incident | attempt | delivered |", "|---|---|---|---|---|---|", *lines])
    delivered = sum(one.is_delivered for one in made)
    metadata: dict[str, dg.MetadataValue | int] = {
        "deliveries": dg.MetadataValue.md(table),
        "delivered": delivered,
        "failed": len(made) - delivered,
    }
    return [
        dg.AssetMaterialization(NOTIFICATIONS, description=f"{delivered} delivered, {len(made) - delivered} failed", metadata=metadata),
        dg.AssetCheckEvaluation(
            asset_key=NOTIFICATIONS, check_name=str(Check.NOTIFICATIONS_DELIVERED), passed=not failing, metadata=_failures(failing),
            severity=dg.AssetCheckSeverity.WARN, description=_said(failing),
        ),
    ]  # fmt: skip


def _all_deliveries(policies: Iterable[MonitoredModel], lake: Lake) -> list[Delivery]:
    return sorted((one for policy in policies for one in read_deliveries(lake, policy)), key=lambda one: one.at)


def _failing(deliveries: Sequence[Delivery], rules: NotificationRules | None) -> list[Failing]:
    return failing_channels(deliveries, [channel.name for channel in rules.channels]) if rules else []


def _said(failing: Sequence[Failing]) -> str:
    if not failing:
        return "every channel took what it was sent last"
    told = "; ".join(
        f"{one.channel}: {one.attempts} attempts in a row failed since {one.since:%Y-%m-%d %H:%M} ({one.error})" for one in failing
    )
    return f"{told}. Look at the address in its environment variable; attempts go on."


def _failures(failing: Sequence[Failing]) -> dict[str, dg.MetadataValue | int]:
    lines = [f"| {one.channel} | {one.attempts} | {one.since:%Y-%m-%d %H:%M} | {one.error.replace('|', '/')} |" for one in failing]
    table = "\n".join(["| channel | failed attempts in a row | since | error |", "|---|---|---|---|", *lines]) if lines else "none"
    return {"failing channels": dg.MetadataValue.md(table), "failing": len(failing)}
