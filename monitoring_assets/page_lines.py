"""Lines of a report page: what is read from measurements, and which come first.

Belongs here: the shapes a page is given, ranking, grouping, pairing. Does not: words (``page_words.py``), drawing (``page_svg.py``).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.lines import ALL, REFERENCE
from monitoring_assets.page_svg import Point
from resources.vocabulary import DRIFT_KINDS

if TYPE_CHECKING:
    import pandas as pd


#: Most rows of one table: what bounds the size of a page.
MOST_ROWS = 60

#: Chunks shown in trends; older ones would only make the newest unreadable.
SHOWN = 48

#: Rank of a breach whose limit is zero, so that it still compares with others.
FARTHEST = 1e6


@dataclass(frozen=True)
class Shape:
    """Shares per bin of a numeric feature; both sequences have one entry less than ``edges``, which may end in infinities."""

    edges: tuple[float, ...]
    reference: tuple[float, ...]
    chunk: tuple[float, ...]


@dataclass(frozen=True)
class CategoryShape:
    """Shares per category: the most frequent ones, and "other" for the rest."""

    categories: tuple[str, ...]
    reference: tuple[float, ...]
    chunk: tuple[float, ...]


@dataclass(frozen=True)
class Heading:
    """What stands above the numbers; ``rule`` says in one sentence how limits are set and how often they alarm falsely."""

    model: str
    description: str
    task: str
    chunk: str
    chunk_start: datetime
    chunk_end: datetime
    reference: str
    n_rows: int
    verdict: str
    confidence: float
    recovery: str
    rule: str
    notes: tuple[str, ...]
    suspects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """One measured number as the pages show it."""

    chunk: str
    kind: str
    method: str
    subject: str
    segment: str
    compared_with: str
    value: float
    effect: float
    p_value: float
    adjusted_p_value: float
    standard_error: float
    n_rows: float
    lower_limit: float
    upper_limit: float
    breach: bool
    is_deciding: bool
    reason: str

    @property
    def counts(self) -> bool:
        """Whether it is a breach that decides."""
        return self.breach and self.is_deciding

    @property
    def is_plain(self) -> bool:
        """Whether it is about all rows, against the reference itself."""
        return self.segment == ALL and self.compared_with == REFERENCE

    @property
    def share(self) -> float:
        """Value as a share of its nearest limit: above 1 exactly where it lies outside, NaN without value or limit."""
        sides = [_toward(self.value, self.upper_limit), _toward(-self.value, -self.lower_limit)]
        return max((side for side in sides if side == side), default=math.nan)

    @property
    def state(self) -> tuple[str, str]:
        """CSS class, and the mark and words that say the same without colour."""
        if self.value != self.value:
            return "unknown", "? not measured"
        if self.counts:
            return "outside", "▲ outside"
        if self.breach:
            return "aside", "△ outside, does not decide"
        if self.share != self.share:
            return "unknown", "no limit"
        return ("aside", "beyond limit, no breach") if self.share > 1 else ("inside", "inside")


COLUMNS = tuple(field.name for field in fields(Line))


def _toward(value: float, limit: float) -> float:
    """How much of the way up to ``limit`` is used up; above 1 exactly where ``value`` is above ``limit``."""
    if value != value or limit != limit:
        return math.nan
    if limit > 0:
        return max(value / limit, 0.0)
    if limit == 0 or value >= 0:
        return math.inf if value > limit else 0.0
    return limit / value


def require_columns(frame: "pd.DataFrame", columns: Iterable[str]) -> None:
    """Raise ``ValueError`` with got and expected where a column is missing."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"got columns {list(frame.columns)}; expected also {missing}")


def read_lines(frame: "pd.DataFrame") -> list[Line]:
    """Rows of ``COLUMNS`` as lines; missing texts are empty, missing numbers NaN."""
    require_columns(frame, COLUMNS)
    texts = ("chunk", "kind", "method", "subject", "segment", "compared_with", "reason")
    flags = ("breach", "is_deciding")
    columns: list[list[Any]] = []
    for name in COLUMNS:
        if name in texts:
            columns.append([str(one) if one is not None and one == one else "" for one in frame[name]])
        elif name in flags:
            columns.append(list(frame[name].eq(True).fillna(False)))
        else:
            columns.append(frame[name].astype("float64").tolist())
    return [Line(*values) for values in zip(*columns, strict=True)]


def by_subject(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Lines grouped by subject."""
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        groups[line.subject].append(line)
    return groups


def relative(importance: Mapping[str, float]) -> dict[str, float]:
    """Importance in units of the average one; a feature without a weight counts as average."""
    known = {name: max(weight, 0.0) for name, weight in importance.items() if math.isfinite(weight)}
    mean = sum(known.values()) / len(known) if known else 0.0
    return {name: weight / mean for name, weight in known.items()} if mean else {}


def reach(line: Line) -> float:
    """The share that ranks: a breach whose rule has no limit to divide by counts as lying on it."""
    return min(line.share, FARTHEST) if line.share == line.share else 1.0


def ranked_subjects(lines: Iterable[Line], weights: Mapping[str, float]) -> list[tuple[str, float]]:
    """Subjects with a breach that decides, the farthest outside (times its weight) first, with that score."""
    scores: dict[str, float] = {}
    for line in lines:
        if line.counts:
            scores[line.subject] = max(reach(line) * weights.get(line.subject, 1.0), scores.get(line.subject, 0.0))
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def trends_of(lines: Iterable[Line]) -> dict[str, list[Point]]:
    """Worst share of a limit per subject and chunk: of the numbers that decide, else of all."""
    cells: dict[str, dict[str, tuple[bool, float, bool]]] = defaultdict(dict)
    for line in lines:
        if line.kind in DRIFT_KINDS and line.segment == ALL:
            share = line.share if line.share == line.share else -math.inf
            old = cells[line.subject].get(line.chunk, (False, -math.inf, False))
            cells[line.subject][line.chunk] = (*max(old[:2], (line.is_deciding, share)), old[2] or line.counts)
    return {
        subject: [Point(chunk, share if share > -math.inf else math.nan, outside) for chunk, (_, share, outside) in sorted(own.items())][-SHOWN:]
        for subject, own in cells.items()
    }  # fmt: skip


def aligned(points: Iterable[Point], chunks: Sequence[str]) -> list[Point]:
    """The points of ``chunks``, NaN where there is none."""
    known = {point.chunk: point for point in points}
    return [known.get(chunk, Point(chunk, math.nan)) for chunk in chunks]


def severity_of(points: Sequence[Point]) -> tuple[int, float]:
    """How often outside, and how far at most; for sorting."""
    return sum(point.is_outside for point in points), max((point.value for point in points if point.value == point.value), default=0.0)


def is_telling(line: Line) -> bool:
    """Whether a line without a share of a limit has something to say: why it is missing, or what it found."""
    return line.value != line.value or (line.share != line.share and line.reason != "")


def first_rows(lines: Iterable[Line], most: int = MOST_ROWS) -> "Rows":
    """The most telling lines: what decides first, then by share of the limit."""
    ranked = sorted(
        lines,
        key=lambda line: (not line.counts, not line.breach, not is_telling(line), -reach(line) if line.share == line.share else 0.0),
    )
    return Rows(ranked[:most], len(ranked) - len(ranked[:most]))


@dataclass(frozen=True)
class Rows:
    """Lines of one table and how many it leaves out."""

    lines: Sequence[Any]
    left_out: int


@dataclass(frozen=True)
class Pair:
    """The same number against the whole reference and against the matching season, and what the two say together."""

    plain: Line
    matched: Line

    @property
    def reading(self) -> str:
        """One clause that compares the two states."""
        if math.isnan(self.plain.value) or math.isnan(self.matched.value):
            return "one side is not measured"
        if self.plain.breach and self.matched.breach:
            return "outside both: not the season"
        if self.plain.breach:
            return "the season explains it"
        return "the season had hidden it" if self.matched.breach else "inside both"


def telling_lines(lines: Sequence[Line]) -> list[Line]:
    """Compact rows of a feature: its plain numbers, and the worst other one where only that breaches."""
    plain = [line for line in lines if line.is_plain]
    aside = sorted((line for line in lines if line.counts and not line.is_plain), key=reach, reverse=True)
    return [*plain, *(aside[:1] if not any(line.counts for line in plain) else [])] or list(lines)


def first_pairs(lines: Sequence[Line]) -> Rows:
    """Season-matched numbers beside their plain ones, those outside first."""
    plain = {(line.kind, line.method, line.subject, line.segment): line for line in lines if line.compared_with == REFERENCE}
    matched = [line for line in lines if line.compared_with != REFERENCE]
    named = [(plain.get((line.kind, line.method, line.subject, line.segment)), line) for line in matched]
    pairs = [Pair(first, second) for first, second in named if first is not None]
    pairs.sort(key=lambda pair: (not (pair.plain.breach or pair.matched.breach), -max(reach(pair.plain), reach(pair.matched))))
    return Rows(pairs[:MOST_ROWS], len(pairs) - len(pairs[:MOST_ROWS]))
