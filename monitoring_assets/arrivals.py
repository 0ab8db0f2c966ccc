"""When to look: schedules per chunk cadence, and sensors for scored batches, due outcomes and promotions.

Belongs here: turning time and events into run requests of this location. Does not: any measuring.
Reads: materialization events, table partitions.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets.jobs import AssetJob
from resources import tables
from resources.clock import now, unmonitored_chunks
from resources.lake import Lake
from resources.log_source import read_observed
from resources.names import job_name, key
from resources.outcome_source import read_outcomes
from resources.outcomes import judgeable, restatable, to_restate
from resources.partitions import chunk_request, consecutive
from resources.policy import MonitoredModel
from resources.vocabulary import Stage, Task

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 1000
_INTERVAL_SECONDS = 3


def _late_outcomes(policy: MonitoredModel, lake: Lake, base: Path, chunks: Sequence[str]) -> "pd.DataFrame":
    """Outcomes the source has now about ``chunks``, with the chunk of each; a few columns are read, not whole rows."""
    if not policy.outcome.is_given:
        rows = read_observed(policy, base, policy.cadence.start(chunks[0]), policy.cadence.end(chunks[-1]))
        return rows.assign(chunk=policy.cadence.keys(rows["time"]))
    with lake.connect() as connection:
        lake.attach(connection, policy.model, tables.prediction_log(policy), {"chunk": chunks})
        logged = connection.sql("SELECT DISTINCT chunk, prediction_id FROM prediction_log").df()
    return logged.merge(read_outcomes(policy, base, ids=logged["prediction_id"]).accepted, on="prediction_id")


def restated_chunks(policy: MonitoredModel, lake: Lake, base: Path) -> list[str]:
    """Chunks judged on outcomes before, about which late or corrected ones have arrived since, oldest first."""
    present = now(policy, lake)
    chunks = restatable(policy, lake, present) if policy.outcome.observed_at else []
    return to_restate(policy, lake, chunks, _late_outcomes(policy, lake, base, chunks), present) if chunks else []


def _outcome_requests(policy: MonitoredModel, lake: Lake, base: Path, *, named: bool = True) -> Iterator[dg.RunRequest]:
    job, present = job_name(policy, "realize") if named else None, now(policy, lake)
    for group in consecutive(policy, judgeable(policy, lake, present)):
        yield chunk_request(group, f"{policy.model}/realize/{group[0]}/{group[-1]}", job)
    for group in consecutive(policy, restated_chunks(policy, lake, base)):
        yield chunk_request(group, f"{policy.model}/restate/{group[0]}/{group[-1]}/{present:%Y-%m-%dT%H:%M}", job)


def _new_events(instance: dg.DagsterInstance, asset: dg.AssetKey, after: int) -> tuple[list[str | None], int]:
    """Partitions materialized since storage id ``after``, oldest first, and the newest id seen."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=asset, after_storage_id=after), limit=_BATCH, ascending=True
    ).records
    return [record.partition_key for record in records], max((record.storage_id for record in records), default=after)


def ended(policy: MonitoredModel, lake: Lake, chunks: Sequence[str]) -> list[str]:
    """Those of ``chunks`` that can be monitored: forecasts are issued when their chunk begins, and wait for its end."""
    if policy.task is not Task.FORECAST:
        return list(chunks)
    present = now(policy, lake)
    return [chunk for chunk in chunks if policy.cadence.end(chunk) <= present]


def build_arrivals_sensor(policies: Sequence[MonitoredModel], jobs: Sequence[AssetJob], base: Path) -> dg.SensorDefinition:
    """Monitor every scored batch, and realize performance where outcomes have become complete."""

    @dg.sensor(
        name="log_arrivals",
        jobs=jobs,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="New scored batches are monitored; chunks whose outcomes are complete are judged again.",
    )
    def log_arrivals(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult:
        cursor: dict[str, list[int]] = json.loads(context.cursor or "{}")
        requests: list[dg.RunRequest] = []
        for policy in policies:
            scored_id, logged_id = cursor.get(policy.model, [0, 0])
            scored, new_scored_id = _new_events(context.instance, key(policy, Stage.SCORED_BATCH), scored_id)
            logged, new_logged_id = _new_events(context.instance, key(policy, Stage.PREDICTION_LOG), logged_id)
            try:
                # the new chunk is judged first: its verdict is what the decision is named after
                for group in consecutive(policy, ended(policy, lake, [chunk for chunk in scored if chunk])):
                    requests.append(chunk_request(group, f"{policy.model}/monitor/{new_scored_id}/{group[0]}", job_name(policy, "monitor")))
                if scored or logged:
                    requests += _outcome_requests(policy, lake, base)
            except Exception:  # one model's trouble must not stop the others; its cursor stays, so it is tried again
                context.log.exception(f"{policy.model}: arrivals could not be read and are tried again at the next tick")
                continue
            cursor[policy.model] = [new_scored_id, new_logged_id]
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor))

    return log_arrivals


def build_promotions_sensor(policies: Sequence[MonitoredModel], jobs: Sequence[AssetJob]) -> dg.SensorDefinition:
    """Fit the next reference whenever another version starts to serve."""

    @dg.sensor(
        name="new_champions",
        jobs=jobs,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="After a promotion the accepted window becomes the next reference and its profile is fitted.",
    )
    def new_champions(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        cursor: dict[str, int] = json.loads(context.cursor or "{}")
        requests = []
        for policy in policies:
            seen = cursor.get(policy.model, 0)
            _, newest = _new_events(context.instance, key(policy, Stage.PROMOTION), seen)
            if newest > seen:
                requests.append(dg.RunRequest(run_key=f"{policy.model}/reference/{newest}", job_name=job_name(policy, "reference")))
            cursor[policy.model] = newest
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor))

    return new_champions


def build_schedule(policy: MonitoredModel) -> dg.ScheduleDefinition:
    """Monitor each chunk when it ends, and those that were missed, for logs that carry their predictions."""

    @dg.schedule(
        name=f"{policy.model}__every_{policy.chunk}",
        job_name=job_name(policy, "monitor"),
        cron_schedule=policy.cadence.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Monitors each chunk ({policy.chunk}) when it ends.",
    )
    def monitor_schedule(context: dg.ScheduleEvaluationContext, lake: Lake) -> list[dg.RunRequest] | dg.SkipReason:
        if policy.replay:
            return dg.SkipReason("a replayed log is driven by the replay clock of the training location")
        if policy.log.is_scored_here and policy.task is not Task.FORECAST:
            return dg.SkipReason("the champion scores this log first; the sensor log_arrivals follows the scored batch")
        missed = unmonitored_chunks(policy, lake, context.scheduled_execution_time)
        if policy.task is Task.FORECAST:
            issued = set(lake.partitions(policy.model, tables.scored_batches(policy), "chunk"))
            missed = [chunk for chunk in missed if chunk in issued]
        tick = f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}"
        groups = consecutive(policy, missed)
        return [chunk_request(group, f"{policy.model}/monitor/{group[0]}/{tick}") for group in groups]

    return monitor_schedule


def build_outcomes_schedule(policy: MonitoredModel, base: Path) -> dg.ScheduleDefinition:
    """Once a day, realize performance of chunks whose outcomes are due, and restate those about which more has become known."""

    @dg.schedule(
        name=f"{policy.model}__outcomes_daily",
        job_name=job_name(policy, "realize"),
        cron_schedule="0 6 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Realizes the performance of chunks whose outcomes are due, and restates it where late or corrected ones have arrived.",
    )
    def outcomes_schedule(context: dg.ScheduleEvaluationContext, lake: Lake) -> list[dg.RunRequest] | dg.SkipReason:
        requests = list(_outcome_requests(policy, lake, base, named=False))
        return requests or dg.SkipReason("no chunk's outcomes have become due or changed since")

    return outcomes_schedule
