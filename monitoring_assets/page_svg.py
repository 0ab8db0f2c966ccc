"""Inline SVG pictures of the report pages: shapes, trends, heat rows and performance lines.

Belongs here: geometry and marks. Does not: choosing what is shown, colours (``page.css``). Reads and writes nothing.
Every text that enters a picture is escaped, because names of features and categories come from the log.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from monitoring_assets.page_lines import CategoryShape, Shape

#: Width of every large picture in its own units; the style sheet scales it to the box it stands in.
WIDTH = 320
#: A value that many times its limit touches the upper edge; farther ones would flatten all others.
HIGHEST_SHARE = 5.0
MOST_BINS, MOST_SMALL_BINS = 40, 20
MOST_CATEGORIES, MOST_SMALL_CATEGORIES = 12, 6
CELL = 18


@dataclass(frozen=True)
class Point:
    """One chunk of a trend; ``value`` is NaN where nothing was measured."""

    chunk: str
    value: float
    is_outside: bool = False


@dataclass(frozen=True)
class Curve:
    """One line of a performance picture with the limits of its chunks; ``name`` is its CSS class and its word in the key."""

    name: str
    points: tuple[Point, ...]
    lower: tuple[Point, ...] = ()
    upper: tuple[Point, ...] = ()


def number(value: float) -> str:
    """Four significant digits; a dash where there is no number.

    >>> number(0.123456), number(float("nan"))
    ('0.1235', '–')
    """
    if value is None or value != value:
        return "–"
    return f"{value:.4g}".replace("inf", "∞")


def bounded(edges: Sequence[float]) -> list[float]:
    """``edges`` with infinite ends replaced by one more bin of their neighbour's width.

    >>> bounded((float("-inf"), 0.0, 2.0, float("inf")))
    [-2.0, 0.0, 2.0, 4.0]
    """
    inner = [edge for edge in edges if math.isfinite(edge)]
    if len(inner) < 2:
        return [float(place) for place in range(len(edges))]
    low = [2 * inner[0] - inner[1]] if math.isinf(edges[0]) else []
    high = [2 * inner[-1] - inner[-2]] if math.isinf(edges[-1]) else []
    return [*low, *inner, *high]


def sparkline(points: Sequence[Point], subject: str) -> Markup:
    """Value as a share of its limit over the chunks, oldest left; crosses are breaches, the dashed line is the limit."""
    width, height, left, right, top, bottom = WIDTH, 74, 6, 44, 8, 14
    known = [point.value for point in points if math.isfinite(point.value)]
    highest = min(HIGHEST_SHARE, max([1.3, *known]))
    across = _scale(0, max(len(points) - 1, 1), left, width - right)
    up = _scale(0, highest, height - bottom, top)
    placed = [(across(i), up(min(point.value, highest)), point) for i, point in enumerate(points)]
    limit = Markup('<path class="limit" d="M{} {}H{}"/><text x="{}" y="{}">limit</text>').format(
        left, _short(up(1)), width - right, width - right + 9, _short(up(1) + 3)
    )
    ends = Markup('<text x="{}" y="{}">{}</text><text x="{}" y="{}" text-anchor="end">{}</text>').format(
        left, height - 2, points[0].chunk if points else "", width - right, height - 2, points[-1].chunk if len(points) > 1 else ""
    )
    if any(value > highest for value in known):
        limit += _text(width - right + 9, top + 3, f"≥ {highest:g} ×", "start")
    outside = sum(point.is_outside for point in points)
    label = f"{subject}: value as a share of its limit, outside in {outside} of {len(points)} chunks"
    return _svg(width, height, label, [limit, _line("trend", placed), *_marks("trend", placed, "{} × limit"), ends])


def heat_row(points: Sequence[Point], subject: str) -> Markup:
    """One cell per chunk, darker the nearer its limit; a cross marks a breach and an empty frame a chunk without a number."""
    cells = [
        Markup('<rect class="h{}" x="{}" y="1" width="{}" height="{}"><title>{}: {}</title></rect>').format(
            _heat(point.value), i * CELL + 1, CELL - 2, CELL - 2, point.chunk, _heat_words(point)
        )
        for i, point in enumerate(points)
    ]
    cross = "".join(f"M{i * CELL + 5} 5l8 8m0 -8l-8 8" for i, point in enumerate(points) if point.is_outside)
    marks = [Markup('<path class="cross" d="{}"/>').format(cross)] if cross else []
    outside = sum(point.is_outside for point in points)
    return _svg(len(points) * CELL, CELL, f"{subject}: outside in {outside} of {len(points)} chunks", [*cells, *marks], "heat")


def heat_axis(chunks: Sequence[str]) -> Markup:
    """First and last chunk under the heat rows."""
    width = len(chunks) * CELL
    return _svg(width, CELL, f"{chunks[0]} to {chunks[-1]}" if chunks else "", [_ends(chunks, 1, width - 1, 13)], "heat")


def performance_picture(curves: Sequence[Curve], metric: str) -> Markup:
    """Estimated and realized values of one metric over the chunks with their limits; crosses are breaches."""
    width, height, left, right, top, bottom = 640, 190, 48, 12, 10, 22
    every = [point.value for curve in curves for point in (*curve.points, *curve.lower, *curve.upper) if math.isfinite(point.value)]
    low, high = (min(every), max(every)) if every else (0.0, 1.0)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    chunks = [point.chunk for point in curves[0].points] if curves else []
    across = _scale(0, max(len(chunks) - 1, 1), left, width - right)
    up = _scale(low - room, high + room, height - bottom, top)
    parts = [_axis(left, width - right, up, (low, (low + high) / 2, high)), _ends(chunks, left, width - right, height - 5)]
    for curve in curves:
        for points in (curve.lower, curve.upper):
            parts.append(_line(f"limit {curve.name}", [(across(i), up(point.value), point) for i, point in enumerate(points)]))
        placed = [(across(i), up(point.value), point) for i, point in enumerate(curve.points)]
        parts += [_line(curve.name, placed), *_marks(curve.name, placed, curve.name + " {}")]
    return _svg(width, height, f"{metric} over the chunks: {' and '.join(curve.name for curve in curves)}", parts, "wide")


def histogram(shape: "Shape", subject: str, is_small: bool = False) -> Markup:
    """Reference (filled) and chunk (line) over each other; heights are shares per unit, so areas compare."""
    edges, reference, chunk = _fewer_bins(bounded(shape.edges), shape, MOST_SMALL_BINS if is_small else MOST_BINS)
    if min(_widths(edges), default=0.0) <= 0:
        edges = [float(place) for place in range(len(reference) + 1)]
    old, new = _densities(edges, reference), _densities(edges, chunk)
    width, height, left, right, top, bottom = (120, 30, 1, 1, 2, 1) if is_small else (WIDTH, 132, 6, 6, 8, 18)
    across = _scale(edges[0], edges[-1], left, width - right)
    up = _scale(0, max([*old, *new], default=0) or 1.0, height - bottom, top)
    parts = [
        Markup('<path class="reference" d="{}Z"/>').format(_steps(edges, old, across, up)),
        Markup('<path class="chunk" d="{}"/>').format(_steps(edges, new, across, up)),
    ]
    if not is_small:
        parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(left, height - bottom, width - right))
        places = ((edges[0], "start"), ((edges[0] + edges[-1]) / 2, "middle"), (edges[-1], "end"))
        parts += [_text(across(value), height - 5, number(value), anchor) for value, anchor in places]
    return _svg(width, height, f"{subject}: filled is the reference, the line is this chunk", parts, "small" if is_small else "")


def paired_bars(shape: "CategoryShape", subject: str, is_small: bool = False) -> Markup:
    """Two bars per category: the reference above, the chunk below."""
    rows = _fewer_categories(shape, MOST_SMALL_CATEGORIES if is_small else MOST_CATEGORIES)
    longest = max([max(old, new) for _, old, new in rows], default=0) or 1.0
    label = f"{subject}: upper bar is the reference, lower bar this chunk"
    if is_small:
        return _svg(120, 5 * len(rows) + 1, label, _small_bars(rows, _scale(0, longest, 0, 118)), "small")
    left, step, wide = 96, 29, _scale(0, longest, 0, WIDTH - 96 - 52)
    parts: list[Markup] = []
    for row, (name, old, new) in enumerate(rows):
        y = row * step + 2
        parts.append(Markup("<g><title>{}: {:.2%} in the reference, {:.2%} in this chunk</title>").format(name, old, new))
        parts.append(_text(left - 6, y + 15, name if len(name) <= 16 else name[:15] + "…", "end"))
        for css, share, y_bar in (("reference", old, y), ("chunk", new, y + 12)):
            parts.append(_bar(css, left, y_bar, wide(share), 10))
            parts.append(_text(left + wide(share) + 4, y_bar + 9, f"{share:.1%}", "start"))
        parts.append(Markup("</g>"))
    return _svg(WIDTH, len(rows) * step + 2, label, parts, "bars")


def _small_bars(rows: Iterable[tuple[str, float, float]], wide: Callable[[float], float]) -> list[Markup]:
    return [
        _bar(css, 1, 5 * row + y, wide(share), 2)
        for row, (_, old, new) in enumerate(rows)
        for css, share, y in (("reference", old, 0.5), ("chunk", new, 2.5))
    ]


def _bar(css: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        css, _short(x), _short(y), _short(max(width, 0.5)), height
    )


def _fewer_bins(edges: Sequence[float], shape: "Shape", most: int) -> tuple[list[float], list[float], list[float]]:
    """Join neighbouring bins until at most ``most`` are left."""
    count = len(edges) - 1
    starts = list(range(0, count, max(math.ceil(count / most), 1)))
    spans = list(zip(starts, [*starts[1:], count], strict=True))
    joined = [[sum(_finite(share) for share in shares[a:b]) for a, b in spans] for shares in (shape.reference, shape.chunk)]
    return [*(edges[start] for start in starts), edges[-1]], joined[0], joined[1]


def _fewer_categories(shape: "CategoryShape", most: int) -> list[tuple[str, float, float]]:
    """The largest categories in the order they came, the rest added up under "other"."""
    rows = [(name, _finite(old), _finite(new)) for name, old, new in zip(shape.categories, shape.reference, shape.chunk, strict=True)]
    if len(rows) <= most:
        return rows
    ranked = sorted((row for row in rows if row[0] != "other"), key=lambda row: max(row[1:]), reverse=True)
    rest = [*ranked[most - 1 :], *(row for row in rows if row[0] == "other")]
    return [*ranked[: most - 1], ("other", sum(row[1] for row in rest), sum(row[2] for row in rest))]


def _finite(share: float) -> float:
    return share if math.isfinite(share) else 0.0


def _widths(edges: Sequence[float]) -> list[float]:
    return [right - left for left, right in pairwise(edges)]


def _densities(edges: Sequence[float], shares: Sequence[float]) -> list[float]:
    """Share per unit, so that bins of unequal width keep their area."""
    return [share / width for share, width in zip(shares, _widths(edges), strict=True)]


def _steps(edges: Sequence[float], heights: Sequence[float], across: Callable[[float], float], up: Callable[[float], float]) -> str:
    places = "".join(f"V{_short(up(height))}H{_short(across(right))}" for height, right in zip(heights, edges[1:], strict=True))
    return f"M{_short(across(edges[0]))} {_short(up(0))}{places}V{_short(up(0))}"


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _short(place: float) -> str:
    return f"{place:.1f}".removesuffix(".0")


def _line(css: str, placed: Sequence[tuple[float, float, Point]]) -> Markup:
    """A line with a gap at every chunk without a number."""
    runs = [list(run) for is_known, run in groupby(placed, key=lambda item: math.isfinite(item[1])) if is_known]
    way = "".join("M" + "L".join(f"{_short(x)} {_short(y)}" for x, y, _ in run) for run in runs)
    return Markup('<path class="line {}" d="{}"/>').format(css, way) if way else Markup("")


def _marks(css: str, placed: Sequence[tuple[float, float, Point]], words: str) -> list[Markup]:
    known = [item for item in placed if math.isfinite(item[1])]
    return [_mark(css, x, y, point, words.format(number(point.value))) for x, y, point in known]


def _mark(css: str, x: float, y: float, point: Point, words: str) -> Markup:
    title = f"{point.chunk}: {words}{', outside' if point.is_outside else ''}"
    if point.is_outside:
        way = f"M{_short(x - 3)} {_short(y - 3)}l6 6m0 -6l-6 6"
        return Markup('<path class="cross" d="{}"><title>{}</title></path>').format(way, title)
    return Markup('<circle class="{}" cx="{}" cy="{}" r="2"><title>{}</title></circle>').format(css, _short(x), _short(y), title)


def _axis(left: float, right: float, up: Callable[[float], float], values: Sequence[float]) -> Markup:
    lines = [Markup('<path class="grid" d="M{} {}H{}"/>').format(left, _short(up(value)), right) for value in values]
    return Markup("").join([*lines, *(_text(left - 5, up(value) + 3, number(value), "end") for value in values)])


def _ends(chunks: Sequence[str], left: float, right: float, y: float) -> Markup:
    if not chunks:
        return Markup("")
    return _text(left, y, chunks[0], "start") + (_text(right, y, chunks[-1], "end") if len(chunks) > 1 else Markup(""))


def _text(x: float, y: float, words: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(_short(x), _short(y), anchor, words)


def _svg(width: float, height: float, label: str, parts: Iterable[Markup], css: str = "") -> Markup:
    opening = Markup('<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}"><title>{}</title>').format(
        css, width, height, width, height, label, label
    )
    return Markup("").join([opening, *parts, Markup("</svg>")])


def _heat(share: float) -> int:
    """0 for a chunk without a number, 1 to 4 below the limit, 5 to 7 above it."""
    if share != share:
        return 0
    return 1 + sum(share > step for step in (0.25, 0.5, 0.75, 1.0, 1.5, 2.5))


def _heat_words(point: Point) -> str:
    if point.value != point.value:
        return "not measured"
    return f"{number(point.value)} × limit{', outside' if point.is_outside else ''}"
