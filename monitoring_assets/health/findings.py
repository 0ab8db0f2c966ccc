"""What a check of the platform says: what is broken, since when, how far from its bound, and what to do.

Belongs here: the shape of findings and their markdown. Does not: looking for them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum


class HealthCheck(StrEnum):
    """Names of the checks of ``platform/health``, each with the incident it prevents in ``PROMISES``."""

    LOGS_FRESH = "logs_fresh"
    CHUNKS_COMPLETE = "chunks_complete"
    SCHEDULES_TICK = "schedules_tick"
    SENSORS_TICK = "sensors_tick"
    RUNS_SUCCEED = "runs_succeed"
    QUEUE_MOVES = "queue_moves"
    LAKE_READABLE = "lake_readable"
    CHAIN_IS_WHOLE = "chain_is_whole"


#: What each check promises, shown in the UI.
PROMISES = {
    HealthCheck.LOGS_FRESH: "The newest row of every log is younger than its declared validation.freshness. Prevents: green checks over a dead log.",
    HealthCheck.CHUNKS_COMPLETE: "Every chunk that has ended was ingested, with about as many rows as usual. Prevents: a day nobody has looked at.",
    HealthCheck.SCHEDULES_TICK: "Every schedule of both locations ticked when it was due. Prevents: a monitor that fell asleep.",
    HealthCheck.SENSORS_TICK: "Every sensor of both locations ticks, and its ticks do not fail. Prevents: harm that is seen and never answered.",
    HealthCheck.RUNS_SUCCEED: "No run of the last day failed and was left so; a run that a blocking check stopped has done its duty.",
    HealthCheck.QUEUE_MOVES: "No run waits while none is started. Prevents: everything green because nothing runs.",
    HealthCheck.LAKE_READABLE: "Every model's tables open, and there is room on the disk. Prevents: a loss found only when it is needed.",
    HealthCheck.CHAIN_IS_WHOLE: "From log to serving version no link is broken; plumbline doctor walks the same way.",
}


@dataclass(frozen=True)
class Finding:
    """One thing that is broken.

    Attributes:
        what: what it is.
        since: from when on, UTC; ``None`` where nobody can tell.
        distance: how far it is from its bound, in words.
        advice: what to do.
        is_error: whether it is broken, rather than worth knowing.
    """

    what: str
    since: datetime | None
    distance: str
    advice: str
    is_error: bool = True


@dataclass(frozen=True)
class Health:
    """What one check of the platform found.

    Attributes:
        check: its name.
        findings: what is broken, worst first.
        looked_at: what was looked at, in words, such as ``3 logs``.
        numbers: for plots, by name.
        tables: markdown by title.
    """

    check: HealthCheck
    findings: Sequence[Finding]
    looked_at: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_passed(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def has_error(self) -> bool:
        """Whether something is broken, rather than worth knowing."""
        return any(one.is_error for one in self.findings)

    @property
    def told(self) -> str:
        """One line for the UI: the first finding in full, and how many more there are."""
        if not self.findings:
            return f"{self.looked_at}: nothing is broken."
        first, others = self.findings[0], len(self.findings) - 1
        since = f" since {first.since:%Y-%m-%d %H:%M}" if first.since else ""
        more = f" {others} more below." if others else ""
        return f"{first.what}{since}: {first.distance}. {first.advice}{more}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Markdown of ``rows``; a bar inside a cell would end it, so it becomes a slash."""
    lines = [f"| {' | '.join(str(cell).replace('|', '/').replace(chr(10), ' ') for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines])


def findings_table(findings: Sequence[Finding]) -> str:
    """What is broken, since when, how far from its bound, what to do."""
    rows = [(one.what, moment_told(one.since), one.distance, one.advice) for one in findings]
    return table(["what is broken", "since", "distance from its bound", "what to do"], rows) if rows else "nothing"


def moment_told(moment: datetime | None) -> str:
    """A moment in UTC, or a dash."""
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "–"


def span_told(span: timedelta) -> str:
    """A time in words: minutes below two hours, hours below two days, days above."""
    minutes = span.total_seconds() / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h" if minutes < 2880 else f"{minutes / 1440:.1f} d"
