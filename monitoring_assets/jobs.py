"""The jobs of one model in the monitoring location."""

from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from resources.names import asset_job
from resources.policy import MonitoredModel
from resources.vocabulary import TAG_LANE, Stage

AssetJob = UnresolvedAssetJobDefinition

_MONITOR = (
    Stage.PREDICTION_LOG, Stage.OUTCOMES, Stage.PRODUCTION_WINDOW, Stage.DATA_QUALITY, Stage.DRIFT_REPORT,
    Stage.ESTIMATED_PERFORMANCE, Stage.MODEL_UNCERTAINTY, Stage.BUSINESS_KPI, Stage.DIAGNOSIS, Stage.VERDICT, Stage.REPORT,
)  # fmt: skip
_OUTCOMES = (Stage.OUTCOMES, Stage.REALIZED_PERFORMANCE, Stage.DIAGNOSIS, Stage.VERDICT, Stage.REPORT)
_REFERENCE = (Stage.REFERENCE_WINDOW, Stage.REFERENCE_PROFILE)


def _job(policy: MonitoredModel, purpose: str, stages: tuple[Stage, ...], description: str) -> AssetJob:
    stages = tuple(stage for stage in stages if stage is not Stage.BUSINESS_KPI or policy.kpi)
    job: AssetJob = asset_job(policy, purpose, stages, description, {TAG_LANE: policy.model})
    return job


def monitor_job(policy: MonitoredModel) -> AssetJob:
    """From the prediction log of a chunk to its verdict, before outcomes."""
    return _job(policy, "monitor", _MONITOR, "Ingest one chunk, check, measure and judge it before outcomes arrive.")


def outcomes_job(policy: MonitoredModel) -> AssetJob:
    """Outcomes, realized performance and the verdict they change."""
    return _job(policy, "realize", _OUTCOMES, "Ingest outcomes of a chunk, realize its performance and judge it again.")


def reference_job(policy: MonitoredModel) -> AssetJob:
    """Reference and profile of the serving version."""
    return _job(policy, "reference", _REFERENCE, "Fit the reference profile of the serving version.")
