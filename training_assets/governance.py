"""``platform/lineage``: one table that says of any model what serves, what it learned from, under which policy, and who approved it.

Belongs here: the asset, its job and schedule, whether registry and rollout log agree. Does not: joining the facts (``resources/lineage.py``).
Reads: ``rollout_events``, ``decisions``, ``verdict_vintages``, the registry. Writes nothing.
"""

from collections.abc import Iterator, Sequence

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from resources.clock import now
from resources.lake import Lake
from resources.lineage import markdown, read_lineage
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.rollout_log import broken_link, events, serving_version
from resources.vocabulary import Alias

_KEY = dg.AssetKey(["platform", "lineage"])
_JOB = "platform__write_lineage"
_AGREES, _WHOLE = "registry_agrees", "rollout_history_is_whole"


def disagreements(policies: Sequence[MonitoredModel], lake: Lake, registry: Registry) -> dict[str, str]:
    """Models whose champion alias is not the version that serves by ``rollout_events``, and what each of the two says."""
    found = {}
    for policy in policies:
        serving, champion = serving_version(lake, policy), registry.aliased_version(policy.model, Alias.CHAMPION)
        if serving != champion:
            found[policy.model] = f"the registry says {champion or 'none'}, rollout_events say {serving or 'none'}"
    return found


def changed_histories(policies: Sequence[MonitoredModel], lake: Lake) -> dict[str, str]:
    """Models whose rollout events were changed or lost, and which event no longer follows from the one before."""
    broken = {policy.model: broken_link(events(lake, policy)) for policy in policies}
    return {model: f"event {place + 1} does not follow from the one before" for model, place in broken.items() if place is not None}


def _check(name: str, found: dict[str, str], advice: str, count: int) -> dg.AssetCheckResult:
    told = "; ".join(f"{model}: {what}" for model, what in found.items())
    text = f"{told}. {advice}" if found else f"{count} models: nothing is broken."
    return dg.AssetCheckResult(check_name=name, passed=not found, description=text, metadata={"broken_models": len(found)})


def build_lineage(policies: Sequence[MonitoredModel]) -> dg.AssetsDefinition:
    """The table of governance as it stands now."""

    @dg.asset(
        key=_KEY,
        group_name="platform",
        owners=["team:platform"],
        kinds={"mlflow", "deltalake"},
        check_specs=[
            dg.AssetCheckSpec(
                _AGREES, asset=_KEY, description="The champion of the registry is the version that serves by rollout_events."
            ),
            dg.AssetCheckSpec(
                _WHOLE, asset=_KEY, description="Every rollout event follows from the one before: nothing was changed or lost."
            ),
        ],
        description="What serves, what it learned from, what it was proved against, under which policy, and who approved it, of every model.",
    )
    def lineage(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> Iterator[dg.MaterializeResult[None]]:
        lines = [read_lineage(policy, lake, registry.versions(policy.model), now(policy, lake)) for policy in policies]
        astray, changed = disagreements(policies, lake, registry), changed_histories(policies, lake)
        checks = [
            _check(_AGREES, astray, "Find out who moved the alias; `plumbline rollback` moves both and records it.", len(policies)),
            _check(_WHOLE, changed, "Restore rollout_events from a copy, and find out who changed it.", len(policies)),
        ]
        yield dg.MaterializeResult(metadata={"models": len(lines), "lineage": dg.MetadataValue.md(markdown(lines))}, check_results=checks)

    return lineage


def lineage_job() -> UnresolvedAssetJobDefinition:
    """Writes the table anew."""
    job: UnresolvedAssetJobDefinition = dg.define_asset_job(
        _JOB, selection=dg.AssetSelection.assets(_KEY), description="Who serves, since when, and on whose word, of every model."
    )
    return job


def build_lineage_schedule() -> dg.ScheduleDefinition:
    """Every hour."""
    return dg.ScheduleDefinition(
        name="platform__lineage_hourly",
        job_name=_JOB,
        cron_schedule="20 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Writes the table of who serves and on whose word.",
    )
