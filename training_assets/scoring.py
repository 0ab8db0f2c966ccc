"""The champion at work: it scores each new chunk, which the production log then holds.

Belongs here: scoring a chunk, its schedule, and the replay clock that hands a recorded log over. Does not: monitoring.
Reads: the log source, the registry. Writes: ``scored_batches``.
"""

import json
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources import tables
from resources.clock import now, unmonitored_chunks
from resources.decision_log import newest_decided
from resources.lake import Lake
from resources.log_source import read_log
from resources.names import job_name
from resources.partitions import chunk_request, consecutive
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.rollout_log import serving_version
from resources.vocabulary import TAG_MODEL, Role, Stage, Task
from training_assets.asset import settings
from training_assets.recipes import load_version, recipe_of

if TYPE_CHECKING:
    import pandas as pd

_ACTIVE = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
_INTERVAL_SECONDS = 3


def score_rows(
    policy: MonitoredModel, model: Any, version: str, rows: "pd.DataFrame", served: "pd.DataFrame", moment: datetime
) -> "pd.DataFrame":
    """Score the rows not served yet and keep what was: a served prediction is never rewritten.

    Args:
        model: what the registry loaded.
        version: its version.
        rows: ``(n_rows, ...)`` accepted rows with ``chunk``.
        served: rows of ``scored_batches`` of the same chunks.
        moment: when it is scored.

    Returns:
        All rows of ``scored_batches`` of these chunks.
    """
    import pandas as pd

    new = rows[~rows["prediction_id"].isin(served["prediction_id"])]
    scores = recipe_of(policy).predict(policy, model, new)
    fresh = (
        new[["chunk", "prediction_id"]].join(scores).assign(scored_at=pd.Timestamp(moment), model_version=version, role=str(Role.CHAMPION))
    )
    fresh = fresh[list(tables.scored_batches(policy).columns)]
    return pd.concat([served, fresh], ignore_index=True) if len(served) else fresh


#: Gets the champion, its version and the chunks of the run, oldest first; gives the data version written and metadata by chunk.
Answer = Callable[[Lake, Any, str, list[str]], tuple[str, Mapping[str, Mapping[str, Any]]]]


def batch_asset(policy: MonitoredModel, description: str, word: str, answer: Answer) -> dg.AssetsDefinition:
    """The asset of what the champion answers for a chunk.

    Args:
        policy: the monitored model.
        description: one sentence for the UI.
        word: what a champion is needed to do: score, or forecast.
        answer: reads, answers, writes.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # backfill policies are still marked beta

        @dg.asset(
            **settings(
                policy,
                Stage.SCORED_BATCH,
                [Stage.PROMOTION, Stage.LOG_SOURCE],
                {policy.retrain.recipe, "deltalake"},
                description,
            ),
            backfill_policy=dg.BackfillPolicy.single_run(),
        )
        def scored_batch(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> dg.MaterializeResult[None]:
            chunks = sorted(context.partition_keys)
            version = serving_version(lake, policy)
            if version is None:
                raise dg.Failure(
                    f"{policy.model}: got no champion to {word} with; expected one promotion first. The sensor retrain_trigger starts it."
                )
            data_version, told = answer(lake, load_version(policy, registry, version), version, chunks)
            for chunk, metadata in told.items():
                context.add_asset_metadata({"model_version": int(version), **metadata}, partition_key=chunk)
            return dg.MaterializeResult(data_version=dg.DataVersion(data_version))

    return scored_batch


def build_scored_batch(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Score a chunk with the champion."""

    def answer(lake: Lake, model: Any, version: str, chunks: list[str]) -> tuple[str, Mapping[str, Mapping[str, Any]]]:
        start, end = policy.cadence.start(chunks[0]), policy.cadence.end(chunks[-1])
        rows = read_log(policy, base, start, end, with_outcomes=False).accepted
        rows = rows.assign(chunk=policy.cadence.keys(rows["time"]))
        table = tables.scored_batches(policy)
        served = lake.read(policy.model, table, {"chunk": chunks})
        scored = score_rows(policy, model, version, rows, served, datetime.now(UTC))
        data_version = lake.replace(policy.model, table, scored, {"chunk": chunks})
        sizes = scored.groupby("chunk").size()
        return data_version, {chunk: {"dagster/partition_row_count": int(sizes.get(chunk, 0))} for chunk in chunks}

    return batch_asset(policy, "The champion's predictions for a chunk, with its version.", "score", answer)


def build_score_schedule(policy: MonitoredModel) -> dg.ScheduleDefinition:
    """Score each chunk when it ends, and those that were missed; a replayed log is driven by the replay clock instead."""

    @dg.schedule(
        name=f"{policy.model}__score_every_{policy.chunk}",
        job_name=job_name(policy, "score"),
        cron_schedule=policy.cadence.cron,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"The champion scores each chunk ({policy.chunk}) when it ends.",
    )
    def score_schedule(context: dg.ScheduleEvaluationContext, lake: Lake) -> list[dg.RunRequest] | dg.SkipReason:
        if policy.replay:
            return dg.SkipReason("a replayed log is driven by the sensor replay_clock")
        if not policy.log.is_scored_here:
            return dg.SkipReason("the log carries its own predictions")
        if serving_version(lake, policy) is None:
            return dg.SkipReason("there is no champion to score with yet; the sensor retrain_trigger sees to it")
        missed = due_chunks(policy, lake, context.scheduled_execution_time)
        tick = f"{context.scheduled_execution_time:%Y-%m-%dT%H:%M}"
        return [chunk_request(group, f"{policy.model}/score/{group[0]}/{tick}") for group in consecutive(policy, missed)]

    return score_schedule


def due_chunks(policy: MonitoredModel, lake: Lake, moment: datetime) -> list[str]:
    """Chunks to be scored at ``moment``: those that have ended and were never ingested, and of a forecaster the one that begins."""
    missed = unmonitored_chunks(policy, lake, moment)
    return missed if policy.task is not Task.FORECAST else [*missed, policy.cadence.key(moment)]


def next_chunks(policy: MonitoredModel, lake: Lake) -> list[str]:
    """What the replay hands over next: all of history at first (the first chunk where there is none), then one chunk, then nothing.

    Empty while the newest chunk has no decision yet, so that a promotion it leads to scores the chunk after it.
    """
    if policy.replay is None:
        return []
    if not lake.partitions(policy.model, tables.scored_batches(policy), "chunk"):
        history = list(policy.cadence.keys_between(policy.reference.end, policy.replay.start))
        return history or list(policy.cadence.keys_between(policy.reference.end, policy.replay.end))[:1]
    newest = policy.cadence.shift(policy.cadence.key(now(policy, lake)), -1)
    if newest != newest_decided(policy, lake):
        return []
    following = policy.cadence.shift(newest, 1)
    return [following] if policy.cadence.end(following) <= policy.replay.end else []


def build_replay_clock(policies: Sequence[MonitoredModel], jobs: Sequence[Any], *, is_paced: bool = True) -> dg.SensorDefinition:
    """Feed recorded logs chunk by chunk, waiting for the platform to finish with each; unpaced, it waits for nothing else."""

    @dg.sensor(
        name="replay_clock",
        jobs=jobs,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Replays recorded logs as if they happened now: history at once, then a chunk at a time.",
    )
    def replay_clock(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult:
        cursor: dict[str, float] = json.loads(context.cursor or "{}")
        requests, moment = [], time.time()
        for policy in policies:
            if policy.replay is None or (is_paced and moment - cursor.get(policy.model, 0.0) < policy.replay.every_seconds):
                continue
            if serving_version(lake, policy) is None or context.instance.get_runs_count(
                dg.RunsFilter(tags={TAG_MODEL: policy.model}, statuses=_ACTIVE)
            ):
                continue
            chunks = next_chunks(policy, lake)
            if not chunks:
                continue
            cursor[policy.model] = moment
            requests.append(chunk_request(chunks, f"{policy.model}/score/{chunks[0]}", job_name(policy, "score")))
        return dg.SensorResult(run_requests=requests, cursor=json.dumps(cursor))

    return replay_clock
