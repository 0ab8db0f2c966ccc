"""Do schedules, sensors, runs and the queue move? Asked of Dagster's own storage, so that both locations are seen without loading either.

Belongs here: ticks, failed runs, waiting runs. Does not: what a run computes. Reads: the instance.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorTick,
    InstigatorType,
    ScheduleInstigatorData,
    TickStatus,
)
from dagster._utils.schedules import reverse_cron_string_iterator

from monitoring_assets.health.findings import Finding, Health, HealthCheck, moment_told, span_told, table
from resources.partitions import RANGE_END, RANGE_START

#: The sensor without which harm is seen and never answered; it lives in the other location.
TRIGGER = "retrain_trigger"
_PARTITION = "dagster/partition"
_TICKS = 20
#: A tick is late beyond this, whatever the interval: a daemon that starts needs a while.
_LATE = timedelta(minutes=5)
_INTERVALS = 10
_DAY = timedelta(days=1)
_WAITS = timedelta(minutes=15)
_MOST_RUNS = 200
#: Work that belongs to no model.
_PLATFORM = ("lake", "platform")
_AWAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING]


@dataclass(frozen=True)
class Instigator:
    """A schedule or sensor as the instance knows it.

    Attributes:
        name: its name.
        location: code location it was loaded from.
        is_running: whether it is switched on.
        cron: cron line of a schedule; empty for a sensor.
        interval: shortest time between two ticks of a sensor.
        started_at: when the daemon first saw it on.
        last_tick: its newest tick, if any.
        failures: how many of the newest ticks failed in a row.
        failing_since: the first of these.
        error: first line of the newest failure.
    """

    name: str
    location: str
    is_running: bool
    cron: str
    interval: timedelta
    started_at: datetime | None
    last_tick: datetime | None
    failures: int = 0
    failing_since: datetime | None = None
    error: str = ""


def read_instigators(instance: dg.DagsterInstance, *, are_sensors: bool) -> list[Instigator]:
    """Every sensor, or every schedule, that a daemon has ever started on this instance, by name."""
    wanted = InstigatorType.SENSOR if are_sensors else InstigatorType.SCHEDULE
    # an instance in memory keeps no ticks
    states = instance.all_instigator_state(instigator_type=wanted) if instance.schedule_storage else []
    return sorted((_instigator(instance, state) for state in states), key=lambda one: (one.name, one.location))


def _instigator(instance: dg.DagsterInstance, state: InstigatorState) -> Instigator:
    ticks = [
        one
        for one in instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=_TICKS)
        if one.status is not TickStatus.STARTED
    ]
    failed = _failed_in_a_row(ticks)
    data, sensor = state.instigator_data, state.sensor_instigator_data
    schedule = data if isinstance(data, ScheduleInstigatorData) else None
    started = schedule.start_timestamp if schedule else sensor.last_sensor_start_timestamp if sensor else None
    stamps = [tick.timestamp for tick in ticks[:1]] + ([sensor.last_tick_timestamp] if sensor and sensor.last_tick_timestamp else [])
    return Instigator(
        state.instigator_name,
        state.origin.repository_origin.code_location_origin.location_name,
        state.status is not InstigatorStatus.STOPPED,
        str(schedule.cron_schedule) if schedule else "",
        timedelta(seconds=(sensor.min_interval if sensor else None) or 30),
        _moment(started),
        _moment(max(stamps, default=None)),
        len(failed),
        _moment(failed[-1].timestamp) if failed else None,
        failed[0].error.message.strip().splitlines()[0][:200] if failed and failed[0].error else "",
    )


def _failed_in_a_row(ticks: Sequence[InstigatorTick]) -> list[InstigatorTick]:
    """Newest ticks that failed, newest first, up to the first that did not."""
    failed = []
    for tick in ticks:
        if tick.status is not TickStatus.FAILURE:
            break
        failed.append(tick)
    return failed


def _moment(stamp: float | None) -> datetime | None:
    return None if stamp is None else datetime.fromtimestamp(stamp, UTC)


def last_due(cron: str, at: datetime) -> datetime:
    """The newest moment at or before ``at`` at which a cron line was due, UTC."""
    return next(iter(reverse_cron_string_iterator(at.timestamp(), cron, "UTC"))).astimezone(UTC)


def schedules_tick(instance: dg.DagsterInstance, models: Iterable[str], at: datetime) -> Health:
    """Whether every schedule of both locations ticked when it was due."""
    known = {*models, *_PLATFORM}  # the daemon keeps what it knew of models that are no longer declared for a while
    seen = [one for one in read_instigators(instance, are_sensors=False) if one.name.split("__")[0] in known]
    findings = [finding for one in seen for finding in _schedule_findings(one, at)]
    rows = [(one.name, one.location, one.cron, moment_told(one.last_tick), _state(one)) for one in seen]
    text = {"schedules": table(["schedule", "location", "cron", "last tick", "state"], rows)} if rows else {}
    looked_at = f"{len(seen)} schedules" if seen else "no daemon has started a schedule on this instance"
    return Health(HealthCheck.SCHEDULES_TICK, findings, looked_at, {"late_or_failing_schedules": len(findings)}, text)


def _schedule_findings(one: Instigator, at: datetime) -> list[Finding]:
    if not one.is_running:
        return [_switched_off(one, "schedule")]
    due = last_due(one.cron, at - _LATE)
    is_late = (one.started_at is None or due > one.started_at) and (one.last_tick is None or one.last_tick < due)
    advice = "Look whether the daemon runs and the location loads (Deployment in the UI); a restart makes up for missed ticks."
    late = (
        [Finding(f"schedule {one.name} did not tick", due, f"due {span_told(at - due)} ago, expected within {span_told(_LATE)}", advice)]
        if is_late
        else []
    )
    return [*late, *_failing(one, "schedule")]


def sensors_tick(instance: dg.DagsterInstance, at: datetime) -> Health:
    """Whether every sensor of both locations ticks and does not fail; the trigger must be among them."""
    seen = read_instigators(instance, are_sensors=True)
    findings = [finding for one in seen for finding in _sensor_findings(one, at)]
    if seen and not any(one.name == TRIGGER for one in seen):
        findings.insert(0, _no_trigger())
    ages = [(at - one.last_tick).total_seconds() / 60 for one in seen if one.is_running and one.last_tick]
    rows = [(one.name, one.location, moment_told(one.last_tick), one.failures, _state(one)) for one in seen]
    text = {"sensors": table(["sensor", "location", "last tick", "failures in a row", "state"], rows)} if rows else {}
    looked_at = f"{len(seen)} sensors" if seen else "no daemon has started a sensor on this instance"
    return Health(HealthCheck.SENSORS_TICK, findings, looked_at, {"oldest_sensor_tick_minutes": max(ages, default=0.0)}, text)


def _no_trigger() -> Finding:
    advice = "Load the location training_assets: `dagster definitions validate -w workspace.yaml` says why it does not load."
    return Finding(f"sensor {TRIGGER} was never started", None, "no tick, expected one every few seconds", advice)


def _sensor_findings(one: Instigator, at: datetime) -> list[Finding]:
    if not one.is_running:
        return [_switched_off(one, "sensor")]
    bound = max(_LATE, one.interval * _INTERVALS)
    last = one.last_tick or one.started_at
    advice = "Look whether the daemon runs and the location loads (Deployment in the UI)."
    is_late = last is not None and at - last > bound
    late = (
        [Finding(f"sensor {one.name} does not tick", last, f"{span_told(at - last)} without a tick, at most {span_told(bound)}", advice)]
        if is_late and last
        else []
    )
    return [*late, *_failing(one, "sensor")]


def _failing(one: Instigator, kind: str) -> list[Finding]:
    if not one.failures:
        return []
    told = f"{one.failures} ticks failed in a row, expected none: {one.error}"
    return [
        Finding(f"{kind} {one.name} fails", one.failing_since, told, f"Open the newest tick of {one.name} in the UI; its error says where.")
    ]


def _switched_off(one: Instigator, kind: str) -> Finding:
    advice = f"Switch {one.name} on under Automation in the UI, unless that was meant."
    return Finding(f"{kind} {one.name} is switched off", one.last_tick, "off, expected on", advice, is_error=one.name == TRIGGER)


def _state(one: Instigator) -> str:
    return "off" if not one.is_running else "failing" if one.failures else "on"


def trigger_findings(instance: dg.DagsterInstance, at: datetime) -> list[Finding] | None:
    """What is wrong with the trigger sensor; ``None`` where no daemon has ever started a sensor, so that nobody can tell."""
    seen = read_instigators(instance, are_sensors=True)
    own = [one for one in seen if one.name == TRIGGER]
    if not seen:
        return None
    return [finding for one in own for finding in _sensor_findings(one, at)] if own else [_no_trigger()]


def runs_succeed(instance: dg.DagsterInstance, at: datetime) -> Health:
    """Whether runs that failed in the last day succeeded later; what a blocking check stopped is counted, not held against the platform."""
    failed = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=at - _DAY), limit=_MOST_RUNS)
    blocked = [one for one in failed if _is_blocked(instance, one.dagster_run.run_id)]
    broken = [one for one in failed if one not in blocked]
    done = (
        instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=at - _DAY), limit=_MOST_RUNS)
        if broken
        else []
    )
    healed_at: dict[tuple[str, ...], datetime] = {}
    for one in done:
        healed_at[_work(one)] = max(one.update_timestamp, healed_at.get(_work(one), one.update_timestamp))
    left = [one for one in broken if healed_at.get(_work(one), one.create_timestamp) <= one.create_timestamp]
    by_job: dict[str, list[dg.RunRecord]] = {}
    for one in left:
        by_job.setdefault(one.dagster_run.job_name, []).append(one)
    rows = [
        (
            one.dagster_run.job_name,
            " ".join(_work(one)[1:]),
            one.dagster_run.run_id,
            moment_told(_ended(one)),
            "no" if one in left else "yes",
        )
        for one in broken
    ]
    text = {"failed runs": table(["job", "partition", "run", "ended", "succeeded since"], rows)} if rows else {}
    numbers = {"failed_runs": len(broken), "failed_runs_left": len(left), "runs_stopped_by_checks": len(blocked)}
    return Health(
        HealthCheck.RUNS_SUCCEED, [_failed(job, own) for job, own in sorted(by_job.items())], "runs of the last day", numbers, text
    )


def _is_blocked(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Whether nothing but blocking checks made a run fail: broken data was kept out, as declared."""
    failures = [entry.dagster_event for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)]
    errors = [event.step_failure_data.error for event in failures if event]
    return bool(errors) and all(error is not None and error.cls_name == "DagsterAssetCheckFailedError" for error in errors)


def _work(one: dg.RunRecord) -> tuple[str, ...]:
    """What a run was about: its job and partitions."""
    tags: Mapping[str, str] = one.dagster_run.tags
    return (one.dagster_run.job_name, *(tags[name] for name in (_PARTITION, RANGE_START, RANGE_END) if name in tags))


def _ended(one: dg.RunRecord) -> datetime:
    return _moment(one.end_time) or _aware(one.update_timestamp)


def _failed(job: str, own: Sequence[dg.RunRecord]) -> Finding:
    ids = ", ".join(one.dagster_run.run_id for one in own[:5])
    advice = "Open the run in the UI and repair what its failed step names; then launch it again with *Re-execute*."
    return Finding(
        f"job {job} failed", min(map(_ended, own)), f"{len(own)} failed runs without a later success, expected none: {ids}", advice
    )


def queue_moves(instance: dg.DagsterInstance, at: datetime) -> Health:
    """Whether runs that wait are started: some wait too long, and none was started meanwhile."""
    waiting = instance.get_run_records(dg.RunsFilter(statuses=_AWAITING), limit=_MOST_RUNS)
    oldest = min((_aware(one.create_timestamp) for one in waiting), default=None)
    started = [_moment(one.start_time) for one in instance.get_run_records(limit=_MOST_RUNS) if one.start_time]
    last = max((one for one in started if one), default=None)
    numbers = {"waiting_runs": len(waiting), "longest_wait_minutes": (at - oldest).total_seconds() / 60 if oldest else 0.0}
    findings = []
    if oldest and at - oldest > _WAITS and (last is None or at - last > _WAITS):
        advice = "Look whether the daemon runs (Deployment, Daemons in the UI); end runs that hang, then restart it."
        told = f"{len(waiting)} runs wait, the oldest {span_told(at - oldest)}, and none was started within {span_told(_WAITS)}"
        findings.append(Finding("the run queue stands still", oldest, told, advice))
    return Health(HealthCheck.QUEUE_MOVES, findings, f"{len(waiting)} waiting runs", numbers)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
