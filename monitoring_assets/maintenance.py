"""Keeping the lake quick: small files of all tables are merged once a day.

Belongs here: the compaction asset and its schedule. Does not: vacuum; no version is ever removed.
Reads and writes: every table, without changing a row.
"""

from collections.abc import Sequence

import dagster as dg

from resources import tables
from resources.lake import Lake
from resources.policy import MonitoredModel

_KEY = dg.AssetKey(["lake", "compaction"])
_FIXED = (
    tables.REJECTED_ROWS, tables.OUTCOMES, tables.MEASUREMENTS, tables.PERFORMANCE_VINTAGES, tables.VERDICTS, tables.VERDICT_VINTAGES, tables.DECISIONS, tables.OVERRIDES, tables.EVALUATIONS,
    tables.REFERENCE_PROFILES, tables.ROLLOUT_EVENTS, tables.INCIDENT_EVENTS, tables.NOTIFICATION_DELIVERIES,
)  # fmt: skip
_SHAPED = (tables.prediction_log, tables.scored_batches, tables.training_sets, tables.held_out, tables.shadow_scores, tables.reference_rows)


def build_compaction(policies: Sequence[MonitoredModel]) -> dg.AssetsDefinition:
    """Merge the small files of every table of every model."""

    @dg.asset(
        key=_KEY,
        group_name="lake",
        owners=["team:platform"],
        kinds={"deltalake"},
        description="Small files of every table merged; no row changes and no version is removed.",
    )
    def compaction(lake: Lake) -> dg.MaterializeResult[None]:
        removed = added = 0
        for policy in policies:
            for table in (*_FIXED, *(shape(policy) for shape in _SHAPED)):
                done = lake.compact(policy.model, table)
                removed, added = removed + done.get("numFilesRemoved", 0), added + done.get("numFilesAdded", 0)
        return dg.MaterializeResult(metadata={"files_before": removed, "files_after": added})

    return compaction


def build_compaction_schedule() -> dg.ScheduleDefinition:
    """Every night."""
    return dg.ScheduleDefinition(
        name="lake__compaction_daily",
        target=dg.AssetSelection.assets(_KEY),
        cron_schedule="30 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Merges small files of the lake.",
    )
