"""Every verdict that was ever reached, with the numbers that led to it: what decisions rest on, and what a replay reads.

Belongs here: the append-only ``verdict_vintages``, what is kept of a chunk's measurements. Does not: judging, deciding.
Reads and writes: ``verdict_vintages``; reads ``verdicts``.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from resources import tables
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.vocabulary import Kind, Verdict

if TYPE_CHECKING:
    import pandas as pd

#: Segment of lines about all rows.
_ALL = "all"
_KINDS = (Kind.UNIVARIATE_DRIFT, Kind.MULTIVARIATE_DRIFT, Kind.ESTIMATED_PERFORMANCE, Kind.REALIZED_PERFORMANCE)
_KEPT = ("kind", "method", "subject", "value", "effect", "lower_limit", "upper_limit", "breach")


@dataclass(frozen=True)
class Measured:
    """One number of a chunk that a policy may read; ``value`` and ``effect`` may be NaN, a limit ``None``."""

    kind: str
    method: str
    subject: str
    value: float
    effect: float
    lower_limit: float | None
    upper_limit: float | None
    is_breach: bool


@dataclass(frozen=True)
class JudgedChunk:
    """One verdict as it was known from ``known_at`` on.

    Attributes:
        chunk: key of the chunk.
        verdict: what it was.
        model_version: which served it.
        known_at: when this was known, in the model's own time.
        n_rows: rows of the chunk.
        is_realized: whether it rests on outcomes.
        told: deciding drift and performance numbers as ``told`` wrote them.
    """

    chunk: str
    verdict: Verdict
    model_version: str
    known_at: datetime
    n_rows: int = 0
    is_realized: bool = False
    told: str = field(default="[]", repr=False)

    @cached_property
    def measured(self) -> Sequence[Measured]:
        """The numbers behind the verdict."""
        nan = float("nan")
        return [
            Measured(kind, method, subject, nan if value is None else value, nan if effect is None else effect, lower, upper, breach)
            for kind, method, subject, value, effect, lower, upper, breach in json.loads(self.told)
        ]

    def numbers(self, *kinds: Kind) -> Iterator[Measured]:
        """Those of the given kinds."""
        return (one for one in self.measured if one.kind in kinds)


def told(own: "pd.DataFrame") -> str:
    """What is kept of a chunk's measurements: numbers of all rows that decide, drift and performance alone."""
    is_kept = own["kind"].isin([str(kind) for kind in _KINDS]) & (own["segment"] == _ALL) & own["is_deciding"].fillna(True).astype(bool)
    rows = own.loc[is_kept, list(_KEPT)].sort_values(["kind", "method", "subject"], kind="stable")
    return json.dumps([[_plain(value) for value in row] for row in rows.itertuples(index=False, name=None)])


def _plain(value: object) -> object:
    """A value as JSON knows it; what is missing or no number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return bool(value) if type(value).__name__ in ("bool", "bool_") else str(value)


def digest_of(rows: "pd.DataFrame") -> list[str]:
    """A hash per row of what a decision could tell apart: the verdict, how sure it is, the version and the numbers."""
    columns = ["chunk", "verdict", "confidence", "model_version", "is_realized", "measured"]
    return [hashlib.sha256(json.dumps(list(map(str, row))).encode()).hexdigest()[:16] for row in rows[columns].itertuples(index=False)]


def append_vintages(lake: Lake, policy: MonitoredModel, rows: "pd.DataFrame") -> None:
    """Keep those of ``rows`` that say something new about their chunk; the same verdict reached again is no news.

    Args:
        rows: the columns of ``verdicts``, ``measured``, ``n_rows`` and ``digest``, one per chunk, not yet written to ``verdicts``.
    """
    import pandas as pd

    before = lake.read(policy.model, tables.VERDICTS, {"chunk": list(rows["chunk"])})
    known = set(zip(before["chunk"], before["digest"], strict=True))
    fresh = rows[[(row.chunk, row.digest) not in known for row in rows.itertuples()]].assign(written_at=pd.Timestamp(datetime.now(UTC)))
    if len(fresh):
        lake.append(policy.model, tables.VERDICT_VINTAGES, fresh[list(tables.VERDICT_VINTAGES.columns)])


def read_vintages(lake: Lake, policy: MonitoredModel) -> list[JudgedChunk]:
    """All vintages in the order they were written."""
    rows = lake.read(policy.model, tables.VERDICT_VINTAGES).sort_values(["written_at", "chunk"], kind="stable")
    moments = [moment.to_pydatetime() for moment in rows["known_at"]]
    told_of = zip(
        rows["chunk"], rows["verdict"], rows["model_version"], moments, rows["n_rows"], rows["is_realized"], rows["measured"], strict=True
    )
    return [
        JudgedChunk(chunk, Verdict(verdict), version, known_at, int(n_rows), bool(is_realized), measured)
        for chunk, verdict, version, known_at, n_rows, is_realized, measured in told_of
    ]


def newest_by_chunk(vintages: Sequence[JudgedChunk]) -> Mapping[str, JudgedChunk]:
    """What is known of each chunk after ``vintages``, by chunk in calendar order."""
    newest = {one.chunk: one for one in vintages}
    return {chunk: newest[chunk] for chunk in sorted(newest)}
