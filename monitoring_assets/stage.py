"""How every stage of one model becomes a Dagster asset partitioned by chunk, and how it reports.

Belongs here: asset and check declaration, reporting for one chunk and for a range. Does not: any measuring.
"""

import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from dagster._core.events import DagsterEventBatchMetadata

from resources.lake import Lake
from resources.names import common, key
from resources.partitions import chunk_partitions
from resources.policy import MonitoredModel
from resources.vocabulary import Check, Stage


@dataclass(frozen=True)
class CheckReport:
    """Outcome of one check on one chunk; shown on the asset."""

    name: Check
    is_passed: bool
    description: str
    severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChunkReport:
    """What one stage tells about one chunk."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[CheckReport] = ()


@dataclass(frozen=True)
class StageReport:
    """What one run of a stage tells: a report per chunk, the data version written, and metadata of the run."""

    chunks: Mapping[str, ChunkReport]
    data_version: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


#: What each check promises, shown in the UI.
PROMISES = {
    Check.DATA_CONTRACT: "Rows fit the contract of the log; those that do not are kept in rejected_rows.",
    Check.LOG_FRESHNESS: "The log still delivers rows at the end of the chunk.",
    Check.MINIMUM_ROWS: "The chunk holds enough rows to be judged.",
    Check.MISSING_VALUES: "No feature misses more values than declared.",
    Check.VALUE_RANGES: "Values lie in their declared physical ranges.",
    Check.STUCK_SENSORS: "No feature repeats one value for longer than declared, unless it did so in the reference.",
    Check.SANITY_RULES: "No declared constraint on inputs and predictions is broken on more rows than declared.",
    Check.UNCERTAINTY: "The model is about as sure of itself as on the reference.",
    Check.PREDICTION_DRIFT: "Predictions spread as they did on the reference.",
    Check.CALIBRATION: "The model's confidence is as deserved as on the reference, once outcomes have arrived.",
    Check.BUSINESS_KPI: "The declared business KPIs are what they are without a fault.",
    Check.ATTRIBUTION: "The predictions lean on the same features as on the reference.",
    Check.DRIFT: "No drift number lies outside the limits fitted on the reference.",
    Check.ESTIMATED_PERFORMANCE: "Performance, estimated without outcomes, stays within its limits.",
    Check.ESTIMATE_TRUSTED: "The assumptions of the estimate hold: calibration, overlap with the reference, agreement with outcomes.",
    Check.REALIZED_PERFORMANCE: "Performance, once outcomes have arrived, stays within its limits.",
    Check.LOSS_SEQUENCE: "No streaming detector sees the losses of rows leave their reference level.",
    Check.FORECAST_ERROR: "Errors and bias of the forecasts served stay within limits learned from the backtest, overall and per declared part.",
    Check.INTERVAL_COVERAGE: "Prediction intervals hold as many outcomes as in the backtest, within chance.",
    Check.RESIDUAL_DRIFT: "No detector sees the standardised forecast errors leave the level or scale they had in the backtest.",
    Check.NO_HARM: "The verdict is neither a data fault nor harm to the model; the retraining trigger listens to this check.",
}

Body = Callable[[dg.AssetExecutionContext, Lake, list[str]], StageReport]


def build_chunk_asset(
    policy: MonitoredModel,
    stage: Stage,
    body: Body,
    *,
    deps: Sequence[Stage],
    checks: Mapping[Check, bool],
    kinds: set[str],
    description: str,
    freshness: dg.FreshnessPolicy | None = None,
) -> dg.AssetsDefinition:
    """Declare one stage as an asset.

    Args:
        policy: the monitored model.
        stage: its name.
        body: reads, calls, writes; gets the chunks of the run, oldest first.
        deps: stages it reads from.
        checks: check name to whether it blocks what lies downstream.
        kinds: Dagster kinds shown in the UI.
        description: one sentence for the UI.
        freshness: when the asset counts as stale.
    """
    partitions = chunk_partitions(policy)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # partitioned checks and backfill policies are still marked preview and beta

        @dg.asset(
            key=key(policy, stage),
            deps=[key(policy, dep) for dep in deps],
            partitions_def=partitions,
            backfill_policy=dg.BackfillPolicy.single_run(),
            check_specs=[
                dg.AssetCheckSpec(
                    str(name), asset=key(policy, stage), partitions_def=partitions, blocking=blocking, description=PROMISES[name]
                )
                for name, blocking in checks.items()
            ],
            description=description,
            freshness_policy=freshness,
            **common(policy, kinds),
        )
        def stage_asset(context: dg.AssetExecutionContext, lake: Lake) -> Iterator[dg.MaterializeResult[None]]:
            chunks = sorted(context.partition_keys)
            report = body(context, lake, chunks)
            yield from _report(context, key(policy, stage), report, chunks)

    return stage_asset


def _report(
    context: dg.AssetExecutionContext, asset: dg.AssetKey, report: StageReport, chunks: Sequence[str]
) -> Iterator[dg.MaterializeResult[None]]:
    version = dg.DataVersion(report.data_version)
    if len(chunks) == 1:
        only = report.chunks[chunks[0]]
        results = [
            dg.AssetCheckResult(
                check_name=str(check.name),
                passed=check.is_passed,
                severity=check.severity,
                description=check.description,
                metadata=dict(check.metadata),
            )
            for check in only.checks
        ]
        yield dg.MaterializeResult(metadata={**only.metadata, **report.metadata}, data_version=version, check_results=results)
        return
    for chunk, own in report.chunks.items():
        context.add_asset_metadata({**own.metadata, **(report.metadata if chunk == chunks[-1] else {})}, partition_key=chunk)
    yield dg.MaterializeResult(data_version=version, check_results=list(_summaries(report)))
    report_checks(context, asset, [(chunk, check) for chunk, own in report.chunks.items() for check in own.checks])


def _summaries(report: StageReport) -> Iterator[dg.AssetCheckResult]:
    """One result per check over the whole range; never blocks, because the chunks report for themselves."""
    names = {check.name for own in report.chunks.values() for check in own.checks}
    for name in sorted(names):
        failed = [chunk for chunk, own in report.chunks.items() for check in own.checks if check.name == name and not check.is_passed]
        yield dg.AssetCheckResult(
            check_name=str(name),
            passed=not failed,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"{len(failed)} of {len(report.chunks)} chunks fail; each chunk has its own row",
            metadata={"failed_chunks": ", ".join(failed[:20]) or "none"},
        )


def report_checks(context: dg.AssetExecutionContext, asset: dg.AssetKey, checks: Sequence[tuple[str, CheckReport]]) -> None:
    """Report checks, each with its chunk, as part of the running run, in one batch where the event log takes batches.

    In a range the results a step yields carry no partition, and runless evaluations can be stored once per partition
    only; an event of the run itself fills the row that was planned for the partition.
    """
    batch = str(uuid.uuid4())
    for index, (chunk, check) in enumerate(checks):
        evaluation = dg.AssetCheckEvaluation(
            asset_key=asset,
            check_name=str(check.name),
            passed=check.is_passed,
            severity=check.severity,
            description=check.description,
            metadata=dict(check.metadata),
            partition=chunk,
        )
        event = dg.DagsterEvent(dg.DagsterEventType.ASSET_CHECK_EVALUATION.value, context.run.job_name, event_specific_data=evaluation)
        is_end = index == len(checks) - 1
        context.instance.report_dagster_event(event, context.run.run_id, batch_metadata=DagsterEventBatchMetadata(batch, is_end))
