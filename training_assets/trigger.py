"""From a failed check to a retraining run: one sensor for all models.

Belongs here: noticing new verdicts, asking ``decide``, requesting at most one run per incident. Does not: the clauses.
Reads: check evaluations, through ``ledger``. Writes: the decision ledger.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from pydantic import Field

from resources.chunks import parse_duration
from resources.clock import now
from resources.lake import Lake
from resources.names import common, job_name, key
from resources.overrides import append_override
from resources.partitions import chunk_partitions
from resources.policy import MonitoredModel
from resources.rollout_log import serving_version
from resources.tables import OVERRIDES
from resources.vocabulary import TAG_AS_OF, TAG_CLAUSE, TAG_INCIDENT, TAG_MODEL, TAG_UPDATE, Action, Check, Override, Stage
from training_assets import ledger, timeline

_INTERVAL_SECONDS = 3
_DAY_ZERO_SECONDS = 3600
#: Longest a tick decides; Dagster gives it sixty seconds.
_LONGEST_SECONDS = 40.0
_EVALUATED = {AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED}
#: Evaluations of one check that are looked at for a newer one.
_LOOK_BACK = 50


def check_key(policy: MonitoredModel) -> dg.AssetCheckKey:
    """The check the trigger listens to."""
    return dg.AssetCheckKey(key(policy, Stage.VERDICT), str(Check.NO_HARM))


def _newest_evaluations(instance: dg.DagsterInstance, policies: Sequence[MonitoredModel], seen: dict[str, Any]) -> dict[str, float]:
    """Model to timestamp of its newest evaluation, for models with one the cursor has not seen.

    The latest record per check is cheap for any number of models. Only where it changed is the history looked at: a
    record's id is given when its run is planned, long before the check is evaluated, and a newer planned run may hide it.
    """
    storage = instance.event_log_storage
    keys = {check_key(policy): policy for policy in policies}
    found = {}
    for asked, record in storage.get_latest_asset_check_execution_by_key(list(keys)).items():
        own = seen.setdefault(keys[asked].model, {})
        mark = f"{record.id}:{record.status.value}"
        if own.get("mark") == mark:
            continue
        history = storage.get_asset_check_execution_history(asked, limit=_LOOK_BACK, status=_EVALUATED)
        newest = max((one.event.timestamp for one in history if one.event), default=0.0)
        own["mark"] = mark
        if newest > own.get("at", 0.0):
            found[keys[asked].model] = newest
    return found


def _request(policy: MonitoredModel, made: Mapping[str, Any]) -> dg.RunRequest:
    """The run that a ledger row orders; its key is the incident, so asking again launches nothing twice."""
    tags = {TAG_INCIDENT: str(made["incident"]), TAG_CLAUSE: str(made["clause"]), TAG_AS_OF: made["as_of"].isoformat()}
    tags[TAG_UPDATE] = str(made["update"])
    return dg.RunRequest(run_key=str(made["incident"]), job_name=job_name(policy, "retrain"), partition_key=str(made["chunk"]), tags=tags)


def _observation(policy: MonitoredModel, made: ledger.Evaluation) -> dg.AssetMaterialization:
    decision = made.decision
    evidence = "\n".join(["| evidence |", "|---|", *(f"| {line} |" for line in decision.inputs[:20])])
    leaves = decision.reading.leaves() if decision.reading else []
    return dg.AssetMaterialization(
        key(policy, Stage.DECISION),
        partition=decision.chunk,
        description=f"{decision.action} by clause {decision.clause}",
        metadata={
            "action": str(decision.action),
            "clause": str(decision.clause),
            "incident": decision.incident or "none",
            "state_before": str(decision.state_before),
            "state_after": str(decision.state_after),
            "is_retraining": int(decision.action is Action.RETRAIN),
            "evidence": dg.MetadataValue.md(evidence if decision.inputs else "none"),
            "timeline": dg.MetadataValue.md(timeline.picture(made.rows)),
            "ledger": dg.MetadataValue.md(timeline.table(made.rows)),
            "policy_hash": policy.policy_hash,
            **{leaf.clause: leaf.value for leaf in leaves if leaf.value == leaf.value},
        },
    )


def _is_day_zero_due(policy: MonitoredModel, lake: Lake, seen: dict[str, Any]) -> bool:
    """Whether a model without a champion should be looked at: once its reference is complete, and then once an hour."""
    moment = time.time()
    if not policy.log.is_scored_here or moment < seen.get("day_zero", 0.0) + _DAY_ZERO_SECONDS:
        return False
    if seen.get("has_champion") or now(policy, lake) < policy.reference.end + parse_duration(policy.outcome.delay):
        return False
    seen["day_zero"], seen["has_champion"] = moment, serving_version(lake, policy) is not None
    return not seen["has_champion"]


def _is_overridden(policy: MonitoredModel, lake: Lake, seen: dict[str, Any]) -> bool:
    """Whether a person has ordered something since the last look."""
    version = lake.data_version(policy.model, OVERRIDES)
    is_new = seen.get("overrides", "overrides@none[]") != version
    seen["overrides"] = version
    return is_new


def build_decision(policy: MonitoredModel) -> dg.AssetSpec:
    """The ledger as an asset: one materialization per decision, written by the trigger."""
    return dg.AssetSpec(
        key(policy, Stage.DECISION),
        **common(policy, {"deltalake"}),
        partitions_def=chunk_partitions(policy),
        description="Retrain, hold or open an incident: every evaluation of the policy, with the clause that decided.",
    )


@dataclass(frozen=True)
class _Answer:
    """What one model's evaluation comes to: an event for its page, and a run if one is ordered."""

    event: dg.AssetMaterialization
    request: dg.RunRequest | None


def _is_due(
    context: dg.SensorEvaluationContext, policy: MonitoredModel, lake: Lake, seen: dict[str, Any], found: Mapping[str, float]
) -> bool:
    try:
        return _is_overridden(policy, lake, seen) | _is_day_zero_due(policy, lake, seen) | (policy.model in found)
    except Exception:  # as above
        context.log.exception(f"{policy.model}: what was ordered could not be read; it is tried again at the next tick")
        return False


def _answers(due: Sequence[MonitoredModel], lake: Lake, deadline: float) -> Iterator[_Answer | Exception | None]:
    """The answer for each model in turn; ``None`` for those left to the next tick, because Dagster ends one that takes too long."""

    def one(policy: MonitoredModel) -> _Answer | Exception | None:
        if time.monotonic() > deadline:
            return None
        try:
            answer = ledger.evaluate(policy, lake)
            order = ledger.unanswered_order(policy, lake, answer.rows)
            return _Answer(_observation(policy, answer), _request(policy, order) if order else None)
        except Exception as error:
            return error

    return map(one, due)


def build_trigger(policies: Sequence[MonitoredModel], jobs: Sequence[Any]) -> dg.SensorDefinition:
    """The trigger sensor: new verdicts are decided on; a decision to retrain becomes at most one run per incident."""

    @dg.sensor(
        name="retrain_trigger",
        jobs=jobs,
        minimum_interval_seconds=_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reads new evaluations of the no_harm checks, asks the policy, and launches at most one retraining per incident.",
    )
    def retrain_trigger(context: dg.SensorEvaluationContext, lake: Lake) -> dg.SensorResult:
        cursor: dict[str, Any] = json.loads(context.cursor or "{}")
        found = _newest_evaluations(context.instance, policies, cursor)
        due = [policy for policy in policies if _is_due(context, policy, lake, cursor.setdefault(policy.model, {}), found)]
        requests, made, deadline = [], [], time.monotonic() + _LONGEST_SECONDS
        for policy, answer in zip(due, _answers(due, lake, deadline), strict=True):
            seen = cursor[policy.model]
            if isinstance(answer, Exception):  # one model's trouble must not stop the others; its cursor stays, so it is tried again
                context.log.error(f"{policy.model}: the decision failed and is tried again at the next tick", exc_info=answer)
            if answer is None or isinstance(answer, Exception):
                seen.pop("mark", None)
                seen.pop("overrides", None)
                continue
            made.append(answer.event)
            requests += [answer.request] if answer.request else []
            seen["at"] = found.get(policy.model, seen.get("at", 0.0))
        return dg.SensorResult(run_requests=requests, asset_events=made, cursor=json.dumps(cursor))

    return retrain_trigger


class OverrideConfig(dg.Config):
    """What is ordered beside the policy, until when, by whom and why."""

    override: Override
    until: str = Field(description="A day or moment such as 2025-01-31T18:00; naive is UTC.")
    who: str
    why: str


def build_override_job(policy: MonitoredModel) -> dg.JobDefinition:
    """One job: hold, retrain or release, signed and with an end."""

    @dg.op(
        name=f"{policy.model}__order", description="Record an override of the retraining policy; the trigger acts on it at its next tick."
    )
    def order(context: dg.OpExecutionContext, config: OverrideConfig, lake: Lake) -> None:
        made = append_override(lake, policy, config.override, datetime.fromisoformat(config.until), who=config.who, why=config.why)
        context.log.info(f"{policy.model}: {made.told}")

    @dg.job(
        name=job_name(policy, "override"),
        tags={TAG_MODEL: policy.model},
        description="Hold or order retraining until a moment, or release.",
    )
    def override() -> None:
        order()

    return override
