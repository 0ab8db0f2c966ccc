"""``platform/health``: the monitor is monitored. Checks of the platform itself every ten minutes, and how fast it answers harm.

Belongs here: the asset, its job and schedule. Does not: looking (``logs.py``, ``daemon.py``, ``chain.py``).
Reads: the log sources, the lake, Dagster's instance. Writes nothing.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from monitoring_assets.health.chain import chain_is_whole, walk
from monitoring_assets.health.daemon import queue_moves, runs_succeed, schedules_tick, sensors_tick
from monitoring_assets.health.evidence import Evidence
from monitoring_assets.health.findings import PROMISES, Health, HealthCheck, findings_table, table
from monitoring_assets.health.logs import chunks_complete, lake_readable, logs_fresh
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.response_times import WINDOW, MeanTimes, recent_times, told

_KEY = dg.AssetKey(["platform", "health"])
_JOB = "platform__doctor"


def look(policies: Sequence[MonitoredModel], lake: Lake, base: Path, instance: dg.DagsterInstance, at: datetime) -> list[Health]:
    """Every check of the platform.

    Args:
        policies: the declared models.
        lake: their tables.
        base: folder that relative paths of declarations start from.
        instance: whose ticks and runs are looked at.
        at: what time it is, UTC.
    """
    chains = [walk(Evidence(policy, lake, base, instance, wall=at)) for policy in policies]
    return [
        logs_fresh(policies, lake, base),
        chunks_complete(policies, lake),
        schedules_tick(instance, [policy.model for policy in policies], at),
        sensors_tick(instance, at),
        runs_succeed(instance, at),
        queue_moves(instance, at),
        lake_readable(policies, lake),
        chain_is_whole(chains),
    ]


def _result(health: Health) -> dg.AssetCheckResult:
    severity = dg.AssetCheckSeverity.ERROR if health.has_error else dg.AssetCheckSeverity.WARN
    tables = {title.replace(" ", "_"): dg.MetadataValue.md(text) for title, text in health.tables.items()}
    metadata: dict[str, Any] = {"broken": dg.MetadataValue.md(findings_table(health.findings)), **health.numbers, **tables}
    return dg.AssetCheckResult(
        check_name=str(health.check), passed=health.is_passed, severity=severity, description=health.told, metadata=metadata
    )


def times_table(times: dict[str, MeanTimes]) -> str:
    """Mean times of every model as markdown."""
    head = ["model", "episodes", "open", "to detect", "to order", "to retrain", "to recover"]
    rows = [(model, own.n_episodes, own.n_open, *(told(span) for span in own.named.values())) for model, own in times.items()]
    return table(head, rows)


def _metadata(found: Sequence[Health], times: dict[str, MeanTimes]) -> dict[str, Any]:
    failed = [one for one in found if not one.is_passed]
    rows = [(one.check, "broken" if one.has_error else "look" if one.findings else "ok", one.told) for one in found]
    numbers = {name: value for one in found for name, value in one.numbers.items()}
    hours = {
        f"{model}_hours_to_{name}": span.total_seconds() / 3600
        for model, own in times.items() for name, span in own.named.items() if span is not None
    }  # fmt: skip
    text = {"checks": table(["check", "state", "what was seen"], rows), f"mean_times_of_{WINDOW}": times_table(times)}
    return {"failed_checks": len(failed), **numbers, **hours, **{title: dg.MetadataValue.md(own) for title, own in text.items()}}


def build_platform_health(policies: Sequence[MonitoredModel], base: Path) -> dg.AssetsDefinition:
    """The state of the platform itself, with a check per promise."""

    @dg.asset(
        key=_KEY,
        group_name="platform",
        owners=["team:platform"],
        kinds={"dagster", "deltalake"},
        check_specs=[dg.AssetCheckSpec(str(check), asset=_KEY, description=PROMISES[check]) for check in HealthCheck],
        description="Is the monitor itself alive? Logs, chunks, schedules, sensors, runs, queue and lake, and the first broken link of every model.",
    )
    def platform_health(context: dg.AssetExecutionContext, lake: Lake) -> Iterator[dg.MaterializeResult[None]]:
        found = look(policies, lake, base, context.instance, datetime.now(UTC))
        times = {policy.model: recent_times(policy, lake) for policy in policies}
        yield dg.MaterializeResult(metadata=_metadata(found, times), check_results=[_result(one) for one in found])

    return platform_health


def health_job() -> UnresolvedAssetJobDefinition:
    """Looks at the platform once."""
    job: UnresolvedAssetJobDefinition = dg.define_asset_job(
        _JOB, selection=dg.AssetSelection.assets(_KEY), description="Is the monitor itself alive? The walk of plumbline doctor, and more."
    )
    return job


def build_health_schedule() -> dg.ScheduleDefinition:
    """Every ten minutes."""
    return dg.ScheduleDefinition(
        name="platform__health_every_10_minutes",
        job_name=_JOB,
        cron_schedule="*/10 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks whether the monitor itself is alive.",
    )
