"""The drift report as one HTML file that needs nothing else: a page per chunk, and one over all chunks of a model.

Belongs here: what a page shows, in which order and in which words. Does not: measuring, reading the lake, Dagster,
geometry (``page_svg.py``), layout (``page.html``, ``page.css``). Reads and writes nothing: frames in, text out.
"""

import base64
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from markupsafe import Markup

from monitoring_assets import page_svg
from monitoring_assets.measures.lines import ALL, REFERENCE
from monitoring_assets.page_lines import (
    SHOWN,
    CategoryShape,
    Heading,
    Line,
    Shape,
    aligned,
    by_subject,
    first_pairs,
    first_rows,
    ranked_subjects,
    reach,
    read_lines,
    relative,
    require_columns,
    severity_of,
    telling_lines,
    trends_of,
)
from monitoring_assets.page_svg import Curve, Point, number
from monitoring_assets.page_words import advice_on, facts_on, moved_in_words, outlier_reasons, together_advice
from resources.vocabulary import Kind, Verdict

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment

#: What bounds the size of a page: a model with hundreds of features stays below a megabyte.
MOST_CARDS, MOST_SMALL_PICTURES, MOST_HEAT_ROWS, MOST_METRICS = 20, 60, 40, 4

_MARKS = {
    Verdict.HEALTHY: ("ok", "✓"),
    Verdict.COVARIATE_HARMLESS: ("calm", "≈"),
    Verdict.DATA_FAULT: ("bad", "✕"),
    Verdict.COVARIATE_HARMFUL: ("bad", "!"),
    Verdict.LABEL_SHIFT: ("bad", "!"),
    Verdict.CONCEPT: ("bad", "!"),
    "label_shift": ("bad", "!"),
}


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


_OF_FORECASTS = (Kind.FORECAST_ERROR, Kind.INTERVAL_COVERAGE, Kind.RESIDUAL_DRIFT, Kind.STRUCTURAL_BREAK)


def chunk_page(
    heading: Heading,
    measurements: "pd.DataFrame",
    history: "pd.DataFrame",
    shapes: Mapping[str, Shape | CategoryShape],
    importance: Mapping[str, float],
    performance_correlation: Mapping[str, float],
    *,
    meanings: Mapping[str, str],
    pictures: Sequence[tuple[str, bytes]] = (),
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
        pictures: title and PNG of pictures of forecasts.

    Raises:
        ValueError: if a column is missing.
    """
    lines = read_lines(measurements)
    past = [line for line in read_lines(history) if line.chunk != heading.chunk] + lines
    drift = [line for line in lines if line.kind == Kind.UNIVARIATE_DRIFT]
    quality = [line for line in lines if line.kind == Kind.DATA_QUALITY]
    together = [line for line in lines if line.kind == Kind.MULTIVARIATE_DRIFT]
    weights = relative(importance)
    offenders = ranked_subjects([*drift, *quality], weights)
    trends = trends_of(past)
    own = by_subject([*drift, *quality])
    cards = [
        _card(subject, own[subject], shapes.get(subject), trends.get(subject, []), facts_on(subject, importance, performance_correlation))
        for subject, _ in offenders[:MOST_CARDS]
    ]
    shown = {card.subject for card in cards}
    others = [(subject, rows) for subject, rows in by_subject(drift).items() if subject not in shown]
    others.sort(key=lambda item: -max((line.share for line in item[1] if line.share == line.share), default=0.0))
    performance = [line for line in lines if line.kind in (Kind.ESTIMATED_PERFORMANCE, Kind.REALIZED_PERFORMANCE)]
    told = [line for line in lines if line.kind in _OF_FORECASTS]
    forecasts = sorted(told, key=lambda line: (-line.counts, not line.is_deciding, line.segment != ALL))
    return _render(
        "chunk", heading, meanings, lines,
        cards=cards,
        worst=max((line for line in drift if line.share == line.share), key=lambda line: (line.counts, line.share), default=None),
        elsewhere=sum(line.counts for line in [*together, *performance, *forecasts]),
        unshown=[subject for subject, _ in offenders[MOST_CARDS:]],
        drifted=sorted({line.subject for line in drift if line.counts}),
        features=sorted({line.subject for line in drift}),
        aside=[line for line in [*drift, *together] if line.breach and not line.is_deciding],
        undecided=[line for line in lines if line.value != line.value],
        largest=max((line for line in [*drift, *together] if line.effect == line.effect), key=lambda line: (line.counts, line.is_deciding, abs(line.effect)), default=None),
        others=[
            (subject, first_rows(telling_lines(rows)), _picture(shapes.get(subject), subject, True) if place < MOST_SMALL_PICTURES else None)
            for place, (subject, rows) in enumerate(others)
        ],
        together=first_rows(together),
        together_advice=together_advice(together),
        together_trends=[(subject, page_svg.sparkline(points, subject)) for subject, points in trends.items() if subject in {line.subject for line in together}],
        segments=first_rows([line for line in lines if line.segment != ALL and line.kind not in _OF_FORECASTS]),
        seasons=first_pairs([line for line in lines if line.kind not in _OF_FORECASTS]),
        performance=first_rows(performance),
        performance_pictures=_performance_pictures(past),
        pictures=[(title, base64.b64encode(image).decode()) for title, image in pictures],
        forecasts=first_rows(forecasts),
        evidence=[line for line in lines if line.kind == Kind.DIAGNOSIS],
        trust=first_rows([line for line in lines if line.kind == Kind.ESTIMATE_TRUST]),
        watched=first_rows([line for line in lines if line.kind in (Kind.UNCERTAINTY, Kind.PREDICTION_DRIFT, Kind.BUSINESS_KPI)]),
        leaning=first_rows([line for line in lines if line.kind == Kind.ATTRIBUTION_DRIFT]),
        quality=first_rows([line for line in quality if line.segment == ALL]),
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
    require_columns(verdicts, ("chunk", "verdict", "confidence", "recovery"))
    lines = read_lines(history)
    judged = {str(row.chunk): row for row in verdicts.sort_values("chunk").itertuples()}
    chunks = sorted({line.chunk for line in lines} | set(judged))[-SHOWN:]
    trends = {subject: aligned(points, chunks) for subject, points in trends_of(lines).items()}
    ranked = sorted(trends.items(), key=lambda item: severity_of(item[1]), reverse=True)
    drifted: dict[str, dict[str, float]] = defaultdict(dict)
    for line in lines:
        if line.counts and line.kind == Kind.UNIVARIATE_DRIFT:
            drifted[line.chunk][line.subject] = max(reach(line), drifted[line.chunk].get(line.subject, 0.0))
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


def _picture(shape: Shape | CategoryShape | None, subject: str, is_small: bool = False) -> Markup | None:
    if shape is None:
        return None
    if isinstance(shape, CategoryShape):
        return page_svg.paired_bars(shape, subject, is_small)
    return page_svg.histogram(shape, subject, is_small)


def _card(subject: str, lines: Sequence[Line], shape: Shape | CategoryShape | None, trend: Sequence[Point], facts: Sequence[str]) -> Card:
    worst = max((line for line in lines if line.counts), key=reach)
    near = [line for line in lines if line.segment == ALL or line.breach]
    return Card(
        subject,
        worst,
        first_rows(near, 14).lines,
        [*moved_in_words(shape), *outlier_reasons(lines), *facts],
        advice_on(lines, shape),
        _picture(shape, subject) or Markup(""),
        ("Upper bar", "Lower bar") if isinstance(shape, CategoryShape) else ("Filled", "Line"),
        page_svg.sparkline(trend, subject) if len(trend) > 1 else Markup(""),
    )


def _performance_pictures(lines: Iterable[Line]) -> list[tuple[str, Markup]]:
    words = {Kind.ESTIMATED_PERFORMANCE: "estimated", Kind.REALIZED_PERFORMANCE: "realized"}
    own = [line for line in lines if line.kind in tuple(words) and line.segment == ALL and line.compared_with == REFERENCE]
    pictures = []
    for metric, rows in list(by_subject(own).items())[:MOST_METRICS]:
        chunks = sorted({line.chunk for line in rows})[-SHOWN:]
        curves = [_curve(word, [line for line in rows if line.kind == kind], chunks) for kind, word in words.items()]
        pictures.append((metric, page_svg.performance_picture([curve for curve in curves if curve is not None], metric)))
    return pictures


def _curve(name: str, lines: Sequence[Line], chunks: Sequence[str]) -> Curve | None:
    if not any(line.value == line.value for line in lines):
        return None
    sides = {
        side: tuple(aligned((Point(line.chunk, getattr(line, side), line.breach) for line in lines), chunks))
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
