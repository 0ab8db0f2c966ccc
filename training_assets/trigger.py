"""From a failed check to a retraining run: one sensor for all models.

Belongs here: noticing new verdicts, asking ``decide``, requesting at most one run per incident. Does not: the clauses.
Reads: check evaluations, through ``ledger``. Writes: the decision ledger.
"""

import json
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.vocabulary import TAG_AS_OF, TAG_CLAUSE, TAG_INCIDENT, Action, Check, Stage
from training_assets import ledger
from training_assets.asset import job_name, key
from training_assets.decide import Clause, Decision, decide

_INTERVAL_SECONDS = 3
_EVALUATED = (AssetCheckExecutionRecordStatus.SUCCEEDED, AssetCheckExecutionRecordStatus.FAILED)


def check_key(policy: MonitoredModel) -> dg.AssetCheckKey:
    """The check the trigger listens to."""
    return dg.AssetCheckKey(key(policy, Stage.VERDICT), str(Check.NO_HARM))


def _newest_evaluations(instance: dg.DagsterInstance, policies: Sequence[MonitoredModel], seen: dict[str, Any]) -> dict[str, int]:
    """Model to storage id of its newest evaluation, for models with one the cursor has not seen.

    The latest record per check is cheap for any number of models; only where it changed are partitions looked at,
    because a record's own id is given when its run is planned, long before the check is evaluated.
    """
    storage = instance.event_log_storage
    keys = {check_key(policy): policy for policy in policies}
    latest = storage.get_latest_asset_check_execution_by_key(list(keys))
    found = {}
    for asked, record in latest.items():
        policy = keys[asked]
        mark = f"{record.id}:{record.status.value}"
        if seen.get(policy.model, {}).get("mark") == mark and record.status in _EVALUATED:
            continue
        after = int(seen.get(policy.model, {}).get("id", 0))
        evaluated = [
            info.latest_check_event_storage_id
            for info in storage.get_asset_check_partition_info([asked])
            if info.latest_execution_status in _EVALUATED and info.latest_check_event_storage_id > after
        ]
        if evaluated:
            found[policy.model] = max(evaluated)
            seen[policy.model] = {**seen.get(policy.model, {}), "mark": mark}
    return found


def evaluate(policy: MonitoredModel, lake: Lake) -> Decision:
    """Decide on all that is known now and write the answer, unless this chunk has already ordered a retraining."""
    history = ledger.read_history(policy, lake)
    decision = decide(policy, history)
    if not any(fired.chunk == decision.chunk for fired in history.fired):
        ledger.write_decision(policy, lake, decision, history.as_of)
        return decision
    made = ledger.ordered(policy, lake, decision.chunk) or {}
    return Decision(
        Action.RETRAIN, Clause(made["clause"]), decision.chunk, made["incident"], decision.state_before, decision.state_after,
        made["inputs"]["first_harm"], None, made["inputs"]["verdicts"],
    )  # fmt: skip


def _request(policy: MonitoredModel, lake: Lake, decision: Decision) -> dg.RunRequest:
    made = ledger.ordered(policy, lake, decision.chunk) or {}
    return dg.RunRequest(
        run_key=str(decision.incident),
        job_name=job_name(policy, "retrain"),
        partition_key=decision.chunk,
        tags={TAG_INCIDENT: str(decision.incident), TAG_CLAUSE: str(decision.clause), TAG_AS_OF: made["as_of"].isoformat()},
    )


def _observation(policy: MonitoredModel, decision: Decision) -> dg.AssetMaterialization:
    table = "\n".join(["| verdicts the decision rests on |", "|---|", *(f"| {line} |" for line in decision.inputs[:20])])
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
            "inputs": dg.MetadataValue.md(table if decision.inputs else "none"),
        },
    )


def build_decision(policy: MonitoredModel) -> dg.AssetSpec:
    """The ledger as an asset: one materialization per decision, written by the trigger."""
    from resources.partitions import chunk_partitions

    return dg.AssetSpec(
        key(policy, Stage.DECISION),
        group_name=policy.model,
        owners=policy.owners,
        kinds={"deltalake"},
        partitions_def=chunk_partitions(policy),
        description="Retrain, hold or open an incident: every evaluation of the policy, with the clause that decided.",
    )


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
        requests, made = [], []
        for policy in policies:
            seen = cursor.setdefault(policy.model, {})
            is_day_zero = policy.log.is_scored_here and not seen.get("has_begun")
            if policy.model not in found and not is_day_zero:
                continue
            seen["has_begun"] = True
            decision = evaluate(policy, lake)
            made.append(_observation(policy, decision))
            if decision.action is Action.RETRAIN:
                requests.append(_request(policy, lake, decision))
            seen["id"] = found.get(policy.model, seen.get("id", 0))
        return dg.SensorResult(run_requests=requests, asset_events=made, cursor=json.dumps(cursor))

    return retrain_trigger
