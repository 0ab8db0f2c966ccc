"""The drift report as one HTML file that needs nothing else: a page per chunk, and one over all chunks of a model.

Belongs here: what a page shows, in which order and in which words. Does not: measuring, reading the lake, Dagster,
geometry (``page_svg.py``), layout (``page.html``, ``page.css``). Reads and writes nothing: frames in, text out.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markupsafe import Markup

from monitoring_assets import page_svg
from monitoring_assets.page_svg import Curve, Point, number
from resources.vocabulary import Kind, Verdict

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment

ALL, REFERENCE = "all", "reference"
#: What bounds the size of a page: a model with hundreds of features stays below a megabyte.
MOST_CARDS, MOST_SMALL_PICTURES, MOST_ROWS, MOST_HEAT_ROWS, MOST_METRICS = 20, 60, 60, 40, 4
#: Chunks shown in trends; older ones would only make the newest unreadable.
SHOWN = 48
#: Rank of a breach whose limit is zero, so that it still compares with others.
FARTHEST = 1e6

_MARKS = {
    Verdict.HEALTHY: ("ok", "✓"),
    Verdict.COVARIATE_HARMLESS: ("calm", "≈"),
    Verdict.DATA_FAULT: ("bad", "✕"),
    Verdict.COVARIATE_HARMFUL: ("bad", "!"),
    Verdict.CONCEPT: ("bad", "!"),
    "label_shift": ("bad", "!"),
}
_ADVICE = {
    "missing": "Values are missing: find the join, sensor or form that stopped delivering and repair it there. Do not retrain on the gap.",
    "outlier": "Some values lie far outside the reference: look for a changed unit, a stuck sensor or a placeholder such as -999, and repair it at the source.",
    "quality": "The data is broken as data: repair it at the source and measure this chunk again before reading anything else into it.",
    "unseen": "A category is new: decide whether it is a spelling or mapping mistake (repair it upstream) or a real newcomer (the model has never learned it).",
    "category": "The mix of categories moved: ask whether a channel, site or product was added or dropped, and look at the segments below for where it happened.",
    "number": "Its values moved: rule out a unit change, recalibration or new default upstream first. If the world moved, read the performance section and retrain only if the verdict says harm.",
    "season": "Against the same season it lies inside its limit: the calendar explains it. Prefer the season-matched number before acting.",
    "segment": "It breaches only inside {}: look for a cause local to it before changing the whole model.",
    "multivariate": "Rows look unlike the reference taken together: look for features that moved jointly, then at the features ranked above.",
    "pair": "Two features no longer move together as they did: check that both still come from the same source, clock and unit.",
}


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


@dataclass(frozen=True)
class Card:
    """One offender: its pictures, numbers and what to do."""

    subject: str
    worst: Line
    lines: Sequence[Line]
    facts: Sequence[str]
    advice: Sequence[str]
    picture: Markup
    legend: tuple[str, str]
    trend: Markup


def chunk_page(
    heading: Heading,
    measurements: "pd.DataFrame",
    history: "pd.DataFrame",
    shapes: Mapping[str, Shape | CategoryShape],
    importance: Mapping[str, float],
    performance_correlation: Mapping[str, float],
    *,
    meanings: Mapping[str, str],
) -> str:
    """Report of one chunk: the worst offenders first, every number below.

    Args:
        heading: what stands above the numbers.
        measurements: rows of this chunk, ``COLUMNS``.
        history: rows of the last chunks, ``COLUMNS`` and ``chunk_start``; with or without this chunk.
        shapes: picture data per feature; features without it are shown by their numbers alone.
        importance: weight of each feature in the model; features without one rank as of average importance.
        performance_correlation: how each feature's drift went along with performance, in [-1, 1].
        meanings: method name to one sentence, for the glossary.

    Raises:
        ValueError: if a column is missing.
    """
    lines = _lines(measurements)
    past = [line for line in _lines(history) if line.chunk != heading.chunk] + lines
    drift = [line for line in lines if line.kind == Kind.UNIVARIATE_DRIFT]
    quality = [line for line in lines if line.kind == Kind.DATA_QUALITY]
    together = [line for line in lines if line.kind == Kind.MULTIVARIATE_DRIFT]
    weights = _relative(importance)
    offenders = _ranked([*drift, *quality], weights)
    trends = _trends(past)
    own = _by_subject([*drift, *quality])
    cards = [
        _card(subject, own[subject], shapes.get(subject), trends.get(subject, []), _facts(subject, importance, performance_correlation))
        for subject, _ in offenders[:MOST_CARDS]
    ]
    shown = {card.subject for card in cards}
    others = [(subject, rows) for subject, rows in _by_subject(drift).items() if subject not in shown]
    others.sort(key=lambda item: -max((line.share for line in item[1] if line.share == line.share), default=0.0))
    performance = [line for line in lines if line.kind in (Kind.ESTIMATED_PERFORMANCE, Kind.REALIZED_PERFORMANCE)]
    return _render(
        "chunk", heading, meanings, lines,
        cards=cards,
        worst=max((line for line in drift if line.share == line.share), key=lambda line: (line.counts, line.share), default=None),
        elsewhere=sum(line.counts for line in [*together, *performance]),
        unshown=[subject for subject, _ in offenders[MOST_CARDS:]],
        drifted=sorted({line.subject for line in drift if line.counts}),
        features=sorted({line.subject for line in drift}),
        aside=[line for line in [*drift, *together] if line.breach and not line.is_deciding],
        undecided=[line for line in lines if line.value != line.value],
        largest=max((line for line in [*drift, *together] if line.effect == line.effect), key=lambda line: (line.counts, line.is_deciding, abs(line.effect)), default=None),
        others=[
            (subject, _first(_telling(rows)), _picture(shapes.get(subject), subject, True) if place < MOST_SMALL_PICTURES else None)
            for place, (subject, rows) in enumerate(others)
        ],
        together=_first(together),
        together_advice=_together_advice(together),
        together_trends=[(subject, page_svg.sparkline(points, subject)) for subject, points in trends.items() if subject in {line.subject for line in together}],
        segments=_first([line for line in lines if line.segment != ALL]),
        seasons=_first_pairs(lines),
        performance=_first(performance),
        performance_pictures=_performance_pictures(past),
        quality=_first([line for line in quality if line.segment == ALL]),
    )  # fmt: skip


def history_page(
    heading: Heading, history: "pd.DataFrame", verdicts: "pd.DataFrame", links: Mapping[str, str], *, meanings: Mapping[str, str]
) -> str:
    """All chunks of one model: verdicts, drift of every feature, performance, and the way to each chunk's own page.

    Args:
        heading: of the newest chunk.
        history: rows of the chunks, ``COLUMNS`` and ``chunk_start``.
        verdicts: ``chunk``, ``verdict``, ``confidence``, ``recovery``.
        links: chunk to the relative address of its page.
        meanings: method name to one sentence, for the glossary.

    Raises:
        ValueError: if a column is missing or an address leaves the folder's own site.
    """
    _require(verdicts, ("chunk", "verdict", "confidence", "recovery"))
    lines = _lines(history)
    judged = {str(row.chunk): row for row in verdicts.sort_values("chunk").itertuples()}
    chunks = sorted({line.chunk for line in lines} | set(judged))[-SHOWN:]
    trends = {subject: _along(points, chunks) for subject, points in _trends(lines).items()}
    ranked = sorted(trends.items(), key=lambda item: _severity(item[1]), reverse=True)
    drifted: dict[str, dict[str, float]] = defaultdict(dict)
    for line in lines:
        if line.counts and line.kind == Kind.UNIVARIATE_DRIFT:
            drifted[line.chunk][line.subject] = max(_reach(line), drifted[line.chunk].get(line.subject, 0.0))
    rows = []
    for chunk in chunks:
        verdict = str(judged[chunk].verdict) if chunk in judged else "no verdict"
        names = sorted(drifted[chunk], key=lambda name: -drifted[chunk][name])
        confidence = judged[chunk].confidence if chunk in judged else math.nan
        recovery = judged[chunk].recovery if chunk in judged else ""
        rows.append({"chunk": chunk, "verdict": verdict, "badge": badge(verdict), "confidence": confidence, "recovery": recovery,
                     "link": _relative_address(links.get(chunk)), "drifted": names})  # fmt: skip
    return _render(
        "history", heading, meanings, lines,
        rows=rows,
        heat=[(subject, page_svg.heat_row(points, subject)) for subject, points in ranked[:MOST_HEAT_ROWS]],
        heat_axis=page_svg.heat_axis(chunks),
        left_off=len(ranked) - len(ranked[:MOST_HEAT_ROWS]),
        performance_pictures=_performance_pictures(lines),
    )  # fmt: skip


def badge(verdict: str) -> tuple[str, str]:
    """CSS class and mark of a verdict; an unknown one is grey with a question mark."""
    return _MARKS.get(verdict, ("grey", "?"))


def _toward(value: float, limit: float) -> float:
    """How much of the way up to ``limit`` is used up; above 1 exactly where ``value`` is above ``limit``."""
    if value != value or limit != limit:
        return math.nan
    if limit > 0:
        return max(value / limit, 0.0)
    if limit == 0 or value >= 0:
        return math.inf if value > limit else 0.0
    return limit / value


def _require(frame: "pd.DataFrame", columns: Iterable[str]) -> None:
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"got columns {list(frame.columns)}; expected also {missing}")


def _lines(frame: "pd.DataFrame") -> list[Line]:
    _require(frame, COLUMNS)
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


def _by_subject(lines: Iterable[Line]) -> dict[str, list[Line]]:
    groups: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        groups[line.subject].append(line)
    return groups


def _relative(importance: Mapping[str, float]) -> dict[str, float]:
    """Importance in units of the average one; a feature without a weight counts as average."""
    known = {name: max(weight, 0.0) for name, weight in importance.items() if math.isfinite(weight)}
    mean = sum(known.values()) / len(known) if known else 0.0
    return {name: weight / mean for name, weight in known.items()} if mean else {}


def _reach(line: Line) -> float:
    """The share that ranks: a breach whose rule has no limit to divide by counts as lying on it."""
    return min(line.share, FARTHEST) if line.share == line.share else 1.0


def _ranked(lines: Iterable[Line], weights: Mapping[str, float]) -> list[tuple[str, float]]:
    scores: dict[str, float] = {}
    for line in lines:
        if line.counts:
            scores[line.subject] = max(_reach(line) * weights.get(line.subject, 1.0), scores.get(line.subject, 0.0))
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def _trends(lines: Iterable[Line]) -> dict[str, list[Point]]:
    """Worst share of a limit per subject and chunk: of the numbers that decide, else of all."""
    cells: dict[str, dict[str, tuple[bool, float, bool]]] = defaultdict(dict)
    for line in lines:
        if line.kind in (Kind.UNIVARIATE_DRIFT, Kind.MULTIVARIATE_DRIFT) and line.segment == ALL:
            share = line.share if line.share == line.share else -math.inf
            old = cells[line.subject].get(line.chunk, (False, -math.inf, False))
            cells[line.subject][line.chunk] = (*max(old[:2], (line.is_deciding, share)), old[2] or line.counts)
    return {
        subject: [Point(chunk, share if share > -math.inf else math.nan, outside) for chunk, (_, share, outside) in sorted(own.items())][-SHOWN:]
        for subject, own in cells.items()
    }  # fmt: skip


def _along(points: Iterable[Point], chunks: Sequence[str]) -> list[Point]:
    known = {point.chunk: point for point in points}
    return [known.get(chunk, Point(chunk, math.nan)) for chunk in chunks]


def _severity(points: Sequence[Point]) -> tuple[int, float]:
    return sum(point.is_outside for point in points), max((point.value for point in points if point.value == point.value), default=0.0)


def _is_telling(line: Line) -> bool:
    """Whether a line without a share of a limit has something to say: why it is missing, or what it found."""
    return line.value != line.value or (line.share != line.share and line.reason != "")


def _first(lines: Iterable[Line], most: int = MOST_ROWS) -> "Rows":
    """The most telling lines: what decides first, then by share of the limit."""
    ranked = sorted(
        lines,
        key=lambda line: (not line.counts, not line.breach, not _is_telling(line), -_reach(line) if line.share == line.share else 0.0),
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


def _telling(lines: Sequence[Line]) -> list[Line]:
    """Compact rows of a feature: its plain numbers, and the worst other one where only that breaches."""
    plain = [line for line in lines if line.is_plain]
    aside = sorted((line for line in lines if line.counts and not line.is_plain), key=_reach, reverse=True)
    return [*plain, *(aside[:1] if not any(line.counts for line in plain) else [])] or list(lines)


def _first_pairs(lines: Sequence[Line]) -> Rows:
    plain = {(line.kind, line.method, line.subject, line.segment): line for line in lines if line.compared_with == REFERENCE}
    matched = [line for line in lines if line.compared_with != REFERENCE]
    named = [(plain.get((line.kind, line.method, line.subject, line.segment)), line) for line in matched]
    pairs = [Pair(first, second) for first, second in named if first is not None]
    pairs.sort(key=lambda pair: (not (pair.plain.breach or pair.matched.breach), -max(_reach(pair.plain), _reach(pair.matched))))
    return Rows(pairs[:MOST_ROWS], len(pairs) - len(pairs[:MOST_ROWS]))


def _picture(shape: Shape | CategoryShape | None, subject: str, is_small: bool = False) -> Markup | None:
    if shape is None:
        return None
    if isinstance(shape, CategoryShape):
        return page_svg.paired_bars(shape, subject, is_small)
    return page_svg.histogram(shape, subject, is_small)


def _card(subject: str, lines: Sequence[Line], shape: Shape | CategoryShape | None, trend: Sequence[Point], facts: Sequence[str]) -> Card:
    worst = max((line for line in lines if line.counts), key=_reach)
    near = [line for line in lines if line.segment == ALL or line.breach]
    return Card(
        subject,
        worst,
        _first(near, 14).lines,
        [*_moved(shape), *_outliers(lines), *facts],
        _advice(lines, shape),
        _picture(shape, subject) or Markup(""),
        ("Upper bar", "Lower bar") if isinstance(shape, CategoryShape) else ("Filled", "Line"),
        page_svg.sparkline(trend, subject) if len(trend) > 1 else Markup(""),
    )


def _facts(subject: str, importance: Mapping[str, float], correlation: Mapping[str, float]) -> list[str]:
    facts = []
    if subject in importance:
        place = 1 + sum(weight > importance[subject] for weight in importance.values())
        facts.append(f"Importance {number(importance[subject])}, place {place} of {len(importance)} in the model.")
    if math.isfinite(correlation.get(subject, math.nan)):
        facts.append(f"Correlation of its drift with performance over past chunks: {number(correlation[subject])}.")
    return facts


def _moved(shape: Shape | CategoryShape | None) -> list[str]:
    """What the picture shows, in words."""
    if shape is None:
        return []
    if isinstance(shape, Shape):
        edges = page_svg.bounded(shape.edges)
        old, new = ([_quantile(edges, shares, q) for q in (0.25, 0.5, 0.75)] for shares in (shape.reference, shape.chunk))
        if any(math.isnan(one) for one in (*old, *new)):
            return []
        return [
            f"Middle value about {number(old[1])} in the reference, {number(new[1])} in this chunk; "
            f"the middle half spans {number(old[0])} to {number(old[2])}, now {number(new[0])} to {number(new[2])}."
        ]
    rows = list(zip(shape.categories, shape.reference, shape.chunk, strict=True))
    unseen = _unseen(shape)
    gains = sorted(((new - old, name, old, new) for name, old, new in rows if name not in unseen), reverse=True)
    moves = [gain for gain in dict.fromkeys([*gains[:1], *gains[-1:]]) if gain[0] == gain[0] and gain[0]]
    fresh = (
        [f"Not seen in the reference: {', '.join(f'{name} ({new:.1%})' for name, _, new in rows if name in unseen[:5])}."] if unseen else []
    )
    return [*fresh, *(f"{name}: {old:.1%} in the reference, {new:.1%} in this chunk." for _, name, old, new in moves)]


def _unseen(shape: Shape | CategoryShape | None) -> list[str]:
    if not isinstance(shape, CategoryShape):
        return []
    return [name for name, old, new in zip(shape.categories, shape.reference, shape.chunk, strict=True) if old == 0 and new > 0 and name != "other"]  # fmt: skip


def _quantile(edges: Sequence[float], shares: Sequence[float], level: float) -> float:
    """Value below which ``level`` of the mass lies, mass spread evenly inside each bin; NaN without mass."""
    total = sum(share for share in shares if share == share)
    if not total > 0:
        return math.nan
    below = 0.0
    for left, right, share in zip(edges, edges[1:], shares, strict=False):
        if share > 0 and below + share >= level * total:
            return left + (right - left) * (level * total - below) / share
        below += share if share == share else 0.0
    return edges[-1]


def _advice(lines: Sequence[Line], shape: Shape | CategoryShape | None) -> list[str]:
    """What to do next about one feature: the calendar, then broken data, then what moved."""
    broken = [line for line in lines if line.counts]
    causes = (
        {_cause(line, shape) for line in broken} | ({"unseen"} if _unseen(shape) else set()) | ({"outlier"} if _outliers(lines) else set())
    )
    advice = [_ADVICE[cause] for cause in ("missing", "outlier", "unseen", "quality", "category", "number") if cause in causes]
    if all(line.segment != ALL for line in broken):
        advice.insert(0, _ADVICE["segment"].format(", ".join(sorted({line.segment for line in broken}))))
    matched = [line for line in lines if line.compared_with != REFERENCE and line.segment == ALL and line.value == line.value]
    if any(line.breach and line.is_plain for line in lines) and matched and not any(line.breach for line in matched):
        advice.insert(0, _ADVICE["season"])
    return advice


def _cause(line: Line, shape: Shape | CategoryShape | None) -> str:
    """Which advice a breach calls for, by the word in the name of its method."""
    words = {"missing": "missing", "outlier": "outlier", "range": "outlier", "unseen": "unseen"}
    moved = "category" if isinstance(shape, CategoryShape) or line.method == "chi2" else "number"
    return next((cause for word, cause in words.items() if word in line.method), "quality" if line.kind == Kind.DATA_QUALITY else moved)


def _outliers(lines: Iterable[Line]) -> list[str]:
    """What was found far outside the reference; such a number is told and never breaches by itself."""
    return [f"{line.reason.rstrip('.')}." for line in lines if "outlier" in line.method and line.reason and line.value > 0]


def _together_advice(lines: Iterable[Line]) -> list[str]:
    found = {"pair" if "correl" in line.method else "multivariate": line.reason for line in lines if line.counts}
    return [_ADVICE[kind] + (f" It points at {reason.rstrip('.')}." if reason else "") for kind, reason in found.items()]


def _performance_pictures(lines: Iterable[Line]) -> list[tuple[str, Markup]]:
    words = {Kind.ESTIMATED_PERFORMANCE: "estimated", Kind.REALIZED_PERFORMANCE: "realized"}
    own = [line for line in lines if line.kind in tuple(words) and line.segment == ALL and line.compared_with == REFERENCE]
    pictures = []
    for metric, rows in list(_by_subject(own).items())[:MOST_METRICS]:
        chunks = sorted({line.chunk for line in rows})[-SHOWN:]
        curves = [_curve(word, [line for line in rows if line.kind == kind], chunks) for kind, word in words.items()]
        pictures.append((metric, page_svg.performance_picture([curve for curve in curves if curve is not None], metric)))
    return pictures


def _curve(name: str, lines: Sequence[Line], chunks: Sequence[str]) -> Curve | None:
    if not any(line.value == line.value for line in lines):
        return None
    sides = {
        side: tuple(_along((Point(line.chunk, getattr(line, side), line.breach) for line in lines), chunks))
        for side in ("value", "lower_limit", "upper_limit")
    }
    return Curve(name, sides["value"], sides["lower_limit"], sides["upper_limit"])


def _relative_address(address: str | None) -> str | None:
    """The address itself if it stays within this report.

    Raises:
        ValueError: for an address with a scheme or a host.
    """
    if address is not None and (urlsplit(address).scheme or urlsplit(address).netloc):
        raise ValueError(f"got link {address!r}; expected a relative address, because a report refers to nothing outside itself")
    return address


def _limits(line: Line) -> str:
    low, high = line.lower_limit, line.upper_limit
    if low == low and high == high:
        return f"{number(low)} to {number(high)}"
    if high == high:
        return f"≤ {number(high)}"
    return f"≥ {number(low)}" if low == low else "–"


def _chance(value: float) -> str:
    return "< 1e-16" if value < 1e-16 else number(value)


def _error(value: float) -> str:
    return f"{value:.2g}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value == value else "–"


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d" if (moment.hour, moment.minute) == (0, 0) else "%Y-%m-%d %H:%M")


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "limits": _limits, "chance": _chance, "error": _error, "count_of": _count, "moment": _moment}
    return environment


def _render(page: str, heading: Heading, meanings: Mapping[str, str], lines: Sequence[Line], **view: Any) -> str:
    """Fill the template; the glossary names only methods that were used."""
    glossary = {method: meanings[method] for method in sorted({line.method for line in lines}) if method in meanings}
    style = Markup("").join([Markup("<style>"), _style(), Markup("</style>")])
    template = _environment().get_template("page.html")
    return template.render(page=page, heading=heading, badge=badge(heading.verdict), glossary=glossary, style=style, **view)


@cache
def _style() -> Markup:
    return Markup((Path(__file__).parent / "page.css").read_text(encoding="utf-8"))  # noqa: S704
