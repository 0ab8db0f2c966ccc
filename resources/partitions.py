"""Dagster's view of chunks: partition definitions, keys of the running step, ranges for run requests."""

from collections.abc import Iterable, Sequence

import dagster as dg

from resources.policy import MonitoredModel
from resources.vocabulary import Task

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def chunk_partitions(policy: MonitoredModel) -> dg.TimeWindowPartitionsDefinition:
    """Every chunk from the start of the reference on, until the replay ends if there is one."""
    cadence = policy.cadence
    return dg.TimeWindowPartitionsDefinition(
        start=cadence.floor(policy.reference.start),
        end=policy.replay.end if policy.replay else None,
        cron_schedule=cadence.cron,
        fmt=cadence.key_format,
        timezone="UTC",
        # a forecast is issued when its chunk begins
        end_offset=1 if policy.task is Task.FORECAST and policy.replay is None else 0,
    )


def range_tags(chunks: Sequence[str]) -> dict[str, str]:
    """Run tags that make one run materialize the consecutive ``chunks``."""
    return {RANGE_START: chunks[0], RANGE_END: chunks[-1]}


def chunk_request(chunks: Sequence[str], run_key: str, job: str | None = None) -> dg.RunRequest:
    """One run for one chunk, or for a range of neighbours; ``job`` is named by sensors only."""
    if len(chunks) == 1:
        return dg.RunRequest(run_key=run_key, job_name=job, partition_key=chunks[0])
    return dg.RunRequest(run_key=run_key, job_name=job, tags=range_tags(chunks))


def consecutive(policy: MonitoredModel, chunks: Iterable[str]) -> list[list[str]]:
    """Split sorted chunk keys into runs of neighbours, oldest first."""
    groups: list[list[str]] = []
    for chunk in sorted(set(chunks)):
        if groups and policy.cadence.shift(groups[-1][-1], 1) == chunk:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return groups
