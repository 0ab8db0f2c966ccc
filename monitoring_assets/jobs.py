"""The jobs of one model in the monitoring location."""

from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from resources.names import asset_job
from resources.policy import MonitoredModel
from resources.vocabulary import TAG_LANE, Stage, Task

AssetJob = UnresolvedAssetJobDefinition

_MONITOR = (
    Stage.PREDICTION_LOG, Stage.OUTCOMES, Stage.PRODUCTION_WINDOW, Stage.DATA_QUALITY, Stage.DRIFT_REPORT,
    Stage.ESTIMATED_PERFORMANCE, Stage.MODEL_UNCERTAINTY, Stage.BUSINESS_KPI, Stage.DIAGNOSIS, Stage.VERDICT, Stage.REPORT,
)  # fmt: skip
_OUTCOMES = (Stage.OUTCOMES, Stage.REALIZED_PERFORMANCE, Stage.DIAGNOSIS, Stage.VERDICT, Stage.REPORT)
_REFERENCE = (Stage.REFERENCE_WINDOW, Stage.REFERENCE_PROFILE)


#: Stages a forecaster has no use for: its outcomes arrive with the next chunk, and its errors speak for themselves.
NOT_OF_FORECASTS = (Stage.ESTIMATED_PERFORMANCE, Stage.MODEL_UNCERTAINTY, Stage.DIAGNOSIS)


def has_stage(policy: MonitoredModel, stage: Stage) -> bool:
    """Whether a model has a stage."""
    if stage is Stage.BUSINESS_KPI:
        return bool(policy.kpi)
    return policy.task is not Task.FORECAST or stage not in NOT_OF_FORECASTS


def _job(policy: MonitoredModel, purpose: str, stages: tuple[Stage, ...], description: str) -> AssetJob:
    stages = tuple(stage for stage in stages if has_stage(policy, stage))
    job: AssetJob = asset_job(policy, purpose, stages, description, {TAG_LANE: policy.model})
    return job


def monitor_job(policy: MonitoredModel) -> AssetJob:
    """From the prediction log of a chunk to its verdict, before outcomes."""
    if policy.task is Task.FORECAST:
        stages = (*_MONITOR, Stage.REALIZED_PERFORMANCE)
        return _job(policy, "monitor", stages, "Ingest one chunk, check it, measure the forecasts that have matured, and judge it.")
    return _job(policy, "monitor", _MONITOR, "Ingest one chunk, check, measure and judge it before outcomes arrive.")


def outcomes_job(policy: MonitoredModel) -> AssetJob:
    """Outcomes, realized performance and the verdict they change."""
    return _job(policy, "realize", _OUTCOMES, "Ingest outcomes of a chunk, realize its performance and judge it again.")


def reference_job(policy: MonitoredModel) -> AssetJob:
    """Reference and profile of the serving version."""
    return _job(policy, "reference", _REFERENCE, "Fit the reference profile of the serving version.")
