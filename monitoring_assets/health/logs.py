"""Do the logs still deliver, and is every chunk in the lake as large as usual?

Belongs here: age of the newest row, missing chunks, chunks of an unusual size, tables that do not open. Does not: the quality of
rows (``validation.py``). Reads: the log sources, ``prediction_log``, ``measurements``.
"""

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

from monitoring_assets.health.findings import Finding, Health, HealthCheck, moment_told, span_told, table
from resources import tables
from resources.chunks import parse_duration
from resources.clock import now, unmonitored_chunks
from resources.decision_log import newest_decided
from resources.lake import Lake
from resources.log_source import newest_row
from resources.policy import MonitoredModel
from resources.rollout_log import events, serving_version

#: Chunks whose sizes are looked at, and how many before them say what is usual.
_JUDGED, _USUAL, _FEWEST = 7, 30, 8
#: A size is unusual beyond half of the small or twice the large ones.
_FACTOR = 2.0
#: A live chunk is overdue this long after it ended; its run needs some time.
GRACE = timedelta(hours=1)
_LEAST_DISK_GB = 1.0


@dataclass(frozen=True)
class Freshness:
    """The newest row of one log against what is declared; ``silence`` is ``None`` for a log without a row."""

    newest: datetime | None
    silence: timedelta | None
    bound: timedelta

    @property
    def is_fresh(self) -> bool:
        """Whether the log is silent for no longer than declared."""
        return self.silence is not None and self.silence <= self.bound


def freshness(policy: MonitoredModel, base: Path, present: datetime) -> Freshness:
    """How long the log has been silent at ``present`` (the model's own time).

    Raises:
        LogSourceError: when the log cannot be read.
    """
    newest = newest_row(policy, base, present)
    bound = present + parse_duration(policy.validation.freshness) - present
    return Freshness(newest, present - newest if newest else None, bound)


def logs_fresh(policies: Sequence[MonitoredModel], lake: Lake, base: Path) -> Health:
    """Whether every log still delivers."""
    findings, rows, worst = [], [], 0.0
    for policy in policies:
        try:
            seen = freshness(policy, base, now(policy, lake))
        except Exception as error:  # one log's trouble must not hide the others
            findings.append(Finding(f"{policy.model}: its log cannot be read", None, str(error), "Repair the source named in `log`."))
            rows.append((policy.model, "cannot be read", "–", policy.validation.freshness))
            continue
        silence = "–" if seen.silence is None else span_told(seen.silence)
        rows.append((policy.model, moment_told(seen.newest), silence, policy.validation.freshness))
        worst = max(worst, math.inf if seen.silence is None else seen.silence / seen.bound)
        if not seen.is_fresh:
            findings.append(_silent(policy, seen, silence))
    numbers = {"worst_silence_over_bound": worst} if math.isfinite(worst) else {}
    head = ["model", "newest row", "silent for", "at most (validation.freshness)"]
    return Health(HealthCheck.LOGS_FRESH, findings, f"{len(policies)} logs", numbers, {"logs": table(head, rows)})


def _silent(policy: MonitoredModel, seen: Freshness, silence: str) -> Finding:
    advice = (
        f"Look why {policy.log.kind} `{policy.log.path}` gets no rows; if that is its usual rhythm, declare a longer validation.freshness."
    )
    return Finding(
        f"{policy.model}: its log is silent", seen.newest, f"{silence} without a row, declared {policy.validation.freshness}", advice
    )


def overdue_chunks(policy: MonitoredModel, lake: Lake, present: datetime) -> list[str]:
    """Chunks that have ended, were never ingested, and whose run can no longer be on its way; oldest first."""
    if policy.log.is_scored_here and serving_version(lake, policy) is None:
        return []
    missing = unmonitored_chunks(policy, lake, present)
    if not missing:
        return []
    # the present of a replay is the end of its newest chunk, which is being monitored right now
    newest_may_wait = policy.replay is not None or present < policy.cadence.end(missing[-1]) + GRACE
    newest = policy.cadence.shift(policy.cadence.key(present), -1)
    return [chunk for chunk in missing if not (newest_may_wait and chunk == newest)]


def chunk_sizes(policy: MonitoredModel, lake: Lake, chunks: Sequence[str]) -> dict[str, int]:
    """Accepted rows of each ingested chunk, by chunk; 0 where it holds none."""
    with lake.connect() as connection:
        lake.attach(connection, policy.model, tables.prediction_log(policy), {"chunk": list(chunks)})
        counted = dict(connection.sql("SELECT chunk, count(*) FROM prediction_log GROUP BY chunk").fetchall())
    return {chunk: int(counted.get(chunk, 0)) for chunk in chunks}


@dataclass(frozen=True)
class Usual:
    """Rows of a chunk, and what the small and the large chunks before it hold."""

    size: int
    small: float
    large: float


def unusual_sizes(sizes: Mapping[str, int]) -> dict[str, Usual]:
    """Which of the newest chunks hold far fewer or far more rows than usual: less than half of the small ones before, or twice the large ones.

    A weekly rhythm is usual: small and large are the tenth and the ninetieth percentile of up to thirty chunks before.

    Args:
        sizes: rows by chunk, oldest first.

    Returns:
        Chunk to its size and what is usual. Empty while fewer than eight chunks come before.
    """
    keys, found = list(sizes), {}
    for place in range(max(len(keys) - _JUDGED, _FEWEST), len(keys)):
        before = sorted(sizes[key] for key in keys[max(place - _USUAL, 0) : place] if sizes[key])
        if len(before) < _FEWEST:
            continue
        deciles = quantiles(before, n=10, method="inclusive")
        seen = Usual(sizes[keys[place]], deciles[0], deciles[-1])
        if seen.size == 0 or not seen.small / _FACTOR <= seen.size <= seen.large * _FACTOR:
            found[keys[place]] = seen
    return found


def chunks_complete(policies: Sequence[MonitoredModel], lake: Lake) -> Health:
    """Whether every chunk that has ended is in the lake, about as large as usual."""
    findings, rows, missing_in_all, looked = [], [], 0, 0
    for policy in policies:
        try:
            missing = overdue_chunks(policy, lake, now(policy, lake))
            ingested = lake.partitions(policy.model, tables.MEASUREMENTS, "chunk")[-(_JUDGED + _USUAL) :]
            sizes = chunk_sizes(policy, lake, ingested)
        except Exception as error:  # one model's trouble must not hide the others
            findings.append(_unreadable(policy, error))
            continue
        unusual = unusual_sizes(sizes)
        missing_in_all, looked = missing_in_all + len(missing), looked + len(sizes)
        findings += [*_missing(policy, missing), *(_unusual(policy, chunk, seen) for chunk, seen in unusual.items())]
        usual = median(sizes.values()) if sizes else 0
        rows.append(
            (policy.model, ingested[-1] if ingested else "–", sizes.get(ingested[-1]) if ingested else "–", f"{usual:g}", len(missing))
        )
    head = ["model", "newest chunk", "rows", "usual rows", "missing chunks"]
    text = {"chunks": table(head, rows)}
    return Health(HealthCheck.CHUNKS_COMPLETE, findings, f"{looked} chunks", {"missing_chunks": missing_in_all}, text)


def _missing(policy: MonitoredModel, missing: Sequence[str]) -> list[Finding]:
    if not missing:
        return []
    named = f"{missing[0]} to {missing[-1]}" if len(missing) > 1 else missing[0]
    who = "scored and monitored" if policy.log.is_scored_here else "monitored"
    advice = f"Materialize these partitions: they were never {who}. Look at the runs of {policy.model}__monitor first."
    return [
        Finding(
            f"{policy.model}: chunks {named} are missing", policy.cadence.end(missing[0]), f"{len(missing)} chunks, expected none", advice
        )
    ]


def _unusual(policy: MonitoredModel, chunk: str, seen: Usual) -> Finding:
    advice = "Ask whoever writes the log whether rows were lost or written twice; then materialize the chunk again."
    distance = f"{seen.size} rows, usually {seen.small:g} to {seen.large:g}"
    what = f"{policy.model}: chunk {chunk} is of an unusual size"
    return Finding(what, policy.cadence.start(chunk), distance, advice, is_error=seen.size == 0)


def _unreadable(policy: MonitoredModel, error: Exception) -> Finding:
    told = f"{type(error).__name__}: {str(error)[:200]}"
    return Finding(f"{policy.model}: its tables cannot be read", None, told, "Restore the folder of the model in the lake from a copy.")


def lake_readable(policies: Sequence[MonitoredModel], lake: Lake) -> Health:
    """Whether tables open and their newest rows can be read, and whether the disk has room."""
    findings = []
    for policy in policies:
        try:
            newest = lake.partitions(policy.model, tables.VERDICTS, "chunk")[-1:]
            for table_of in (tables.VERDICTS, tables.MEASUREMENTS):
                lake.read(policy.model, table_of, {"chunk": newest})
            newest_decided(policy, lake)
            events(lake, policy)
        except Exception as error:  # one model's trouble must not hide the others
            findings.append(_unreadable(policy, error))
    numbers, free = {}, free_gigabytes(lake)
    if free is not None:
        numbers["free_disk_gb"] = free
        if free < _LEAST_DISK_GB:
            advice = "Free some space below the lake's root, or move it with PLUMBLINE_LAKE."
            findings.append(
                Finding("the disk of the lake is full", None, f"{free:.2f} GB free, at least {_LEAST_DISK_GB:g} GB expected", advice)
            )
    return Health(HealthCheck.LAKE_READABLE, findings, f"tables of {len(policies)} models", numbers)


def free_gigabytes(lake: Lake) -> float | None:
    """Room on the disk that holds the lake; ``None`` for an object store."""
    if "://" in lake.root:
        return None
    folder = next(one for one in (Path(lake.root), *Path(lake.root).absolute().parents) if one.exists())
    return shutil.disk_usage(folder).free / 1e9
