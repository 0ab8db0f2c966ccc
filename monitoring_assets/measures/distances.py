"""How far a chunk lies from the reference: exact distances of numbers, distances over bins, distances of categories.

Belongs here: the arithmetic of every univariate method. Does not: limits (``limits.py``), what is declared, where values
come from. Numbers are handed over in ascending ranges, so that neither side has to fit in memory.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.distribution import BLOCK, Categories, Numbers, Part, ascending
from monitoring_assets.measures.number import NAN, Number, refused

if TYPE_CHECKING:
    import numpy as np

#: Gives the chunk's finite values in ``(low, high]``.
Take = Callable[[float, float], Part]

#: Up to this many rows on either side the Kolmogorov-Smirnov p-value is counted exactly, as scipy does.
EXACT_ROWS = 10_000
_SUMMED_ROWS = 20_000
#: A share of zero is taken as this in logarithms (the custom of the population stability index).
SMALLEST_SHARE = 1e-4
#: Shares miss the sum of one by less than this through rounding; a single row outside the bins is a larger share.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Bins:
    """What is fixed on the reference: ``edges`` of Doane's equal-width bins, ``deciles``, and its standard deviation.

    A value on which several deciles fall (a constant, the zeros of rain) has a bin of its own: between it and the next float.
    """

    edges: "np.ndarray"
    deciles: "np.ndarray"
    deviation: float


@dataclass(frozen=True)
class Walk:
    """What one walk over both distributions gives: the exact statistics, and shares per bin."""

    ks: float
    wasserstein: float
    cramer_von_mises: float
    reference_edges: "np.ndarray"
    chunk_edges: "np.ndarray"
    reference_deciles: "np.ndarray"
    chunk_deciles: "np.ndarray"


def fit_bins(reference: Numbers) -> Bins:
    """Bins of a reference with at least one finite value.

    Source: numpy's ``histogram_bin_edges(…, bins="doane")``, the bins NannyML uses, with the third power taken by
    multiplication (twelve times faster); deciles by linear interpolation are the custom of PSI.
    """
    import numpy as np

    n = int(reference.total)
    low, high = float(reference.parts[0].values[0]), float(reference.parts[-1].values[-1])
    deviation, skewness = _shape(reference) if low < high else (0.0, 0.0)
    places = np.linspace(0, n - 1, 11)
    before, after = reference.at(np.floor(places)), reference.at(np.ceil(places))
    deciles = before + (after - before) * (places % 1)
    heavy = deciles[1:][deciles[1:] == deciles[:-1]]
    edges = np.linspace(*_outer(low, high), _doane(n, high - low, skewness, deviation) + 1)
    return Bins(edges, np.unique(np.concatenate([deciles, np.nextafter(heavy, np.inf)])), deviation)


def _shape(reference: Numbers) -> tuple[float, float]:
    """Standard deviation and skewness, in two passes over blocks."""
    import numpy as np

    def total(power: int, centre: float, unit: float = 1.0) -> float:
        parts = []
        for values, mass in reference.blocks():
            offset = values - centre
            offset /= unit  # before the powers: the third of a tiny spread is 0
            term = offset if power == 1 else offset * offset if power == 2 else offset * offset * offset
            parts.append(float((term if mass is None else term * mass).sum()))
        return float(np.sum(parts)) / reference.total

    origin = float(reference.parts[0].values[0])
    mean = origin + total(1, origin)
    deviation = float(np.sqrt(total(2, mean)))
    return deviation, total(3, mean, deviation) if deviation else 0.0


def _outer(low: float, high: float) -> tuple[float, float]:
    """The range of a histogram; numpy widens an empty one by a half on either side."""
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def _doane(n: int, spread: float, skewness: float, deviation: float) -> int:
    """Number of bins by Doane's rule; one for fewer than three values or a constant."""
    import numpy as np

    if n < 3 or deviation == 0.0:
        return 1
    at_random = np.sqrt(6.0 * (n - 2) / ((n + 1.0) * (n + 3)))
    width = spread / (1.0 + np.log2(n) + np.log2(1.0 + abs(skewness) / at_random))
    return max(1, int(np.ceil(spread / width)))


def slices_of(values: "np.ndarray") -> Take:
    """The ``Take`` of a chunk that is held in memory: sorted finite values ``(n,)``."""
    import numpy as np

    def take(low: float, high: float) -> Part:
        first = 0 if low == -np.inf else np.searchsorted(values, low, "right")
        last = len(values) if high == np.inf else np.searchsorted(values, high, "right")
        return ascending(values[first:last])

    return take


def walk(reference: Numbers, take: Take, n_rows: int, bins: Bins, wanted: Sequence[str]) -> Walk:
    """Walk over the reference's parts in ascending order, taking the chunk's values of each range.

    Args:
        reference: with at least one value.
        take: the chunk's values in a range; every range is asked for once.
        n_rows: how many values ``take`` gives in all; at least one.
        bins: fixed on the reference.
        wanted: methods; what none of them needs is left NaN.

    Returns:
        Statistics of right-continuous empirical distribution functions F (reference) and G (chunk).
    """
    import numpy as np

    below, above, low = 0.0, 0.0, -np.inf  # F and G below the range, and where it starts
    ks, area, squares = 0.0, 0.0, 0.0
    counts = [[np.zeros(len(edges)) for edges in (bins.edges, bins.deciles)] for _ in range(2)]
    for part, own, high in _ranges(reference, take, n_rows):
        span = _Span(part, own, reference.total, n_rows, below, above)
        ks = max(ks, span.largest_difference())
        if "wasserstein" in wanted:
            area += span.area(low, high)
        if "cramer_von_mises" in wanted:
            squares += span.squares()
        for side, mine in zip((part, own), counts, strict=True):
            for edges, own_counts in zip((bins.edges, bins.deciles), mine, strict=True):
                own_counts += _below(side, edges)
        below, above, low = below + part.total / reference.total, above + own.total / n_rows, high
    reference_counts, chunk_counts = counts
    shares = [np.diff(counts) / total for counts, total in (
        (reference_counts[0], reference.total), (chunk_counts[0], n_rows), (reference_counts[1], reference.total), (chunk_counts[1], n_rows),
    )]  # fmt: skip
    total = reference.total + n_rows
    return Walk(ks, area if "wasserstein" in wanted else NAN, squares / total if "cramer_von_mises" in wanted else NAN, *shares)


def _ranges(reference: Numbers, take: Take, n_rows: int) -> "Iterator[tuple[Part, Part, float]]":
    """The reference's parts with the chunk's values of the same range, and where it ends; large ones in blocks that fit the cache."""
    import numpy as np

    low = -np.inf
    for index, part in enumerate(reference.parts):
        is_last = index == len(reference.parts) - 1
        high = np.inf if is_last else float(part.values[-1])
        own = take(low, high)
        low = high
        is_small = len(part.values) < BLOCK if part.mass is None else len(part.values) <= 2 * BLOCK
        if part.prefix is not None or is_small or (part.mass is None and len(own.values) < BLOCK // 8):
            yield part, own, high
            continue
        done = 0
        for start in range(0, len(part.values), BLOCK):
            piece = part.cut(start, start + BLOCK)
            is_end = start + BLOCK >= len(part.values)
            stop = len(own.values) if is_end else int(np.searchsorted(own.values, piece.values[-1], "right"))
            yield piece, own.cut(done, stop), high if is_end else float(piece.values[-1])
            done = stop


def _below(part: Part, edges: "np.ndarray") -> "np.ndarray":
    """Mass below each edge, the last edge included: differences are the counts of ``numpy.histogram``."""
    import numpy as np

    places = np.asarray(np.searchsorted(part.values, edges, "left"))
    if len(edges):
        places[-1] = np.searchsorted(part.values, edges[-1], "right")
    return np.asarray(part.below(places))


class _Span:
    """One range of values: the reference's part and the chunk's, with F and G below it."""

    def __init__(self, part: Part, own: Part, reference_total: float, n_rows: int, below: float, above: float) -> None:
        import numpy as np

        self.part, self.own, self.total, self.below = part, own, reference_total, below
        self.g = above + own.below(np.arange(len(own.values) + 1)) / n_rows
        self.places = np.asarray(np.searchsorted(part.values, own.values, "right"))

    def f(self, count: "np.ndarray | int") -> Any:
        """F at the first ``count`` values of the part; only where it is asked for, because the part may be large."""
        return self.below + self.part.below(count) / self.total

    def largest_difference(self) -> float:
        """F is monotone between two values of the chunk, so the largest difference lies beside one of them or at the end."""
        import numpy as np

        ends = max(abs(self.below - self.g[0]), abs(self.f(len(self.part.values)) - self.g[-1]))
        if not len(self.places):
            return float(ends)
        here = self.f(self.places)
        after = np.abs(here - self.g[1:]).max()
        tied = self.places > 0
        tied &= self.part.values[self.places - 1] == self.own.values
        before = (here if not tied.any() else self.f(self.places - tied)) - self.g[:-1]
        return float(max(after, np.abs(before).max(), ends))

    def area(self, low: float, high: float) -> float:
        """The area between F and G over the range, split where F crosses the constant G between two values of the chunk."""
        import numpy as np

        values = self.part.values
        start = min([values[0], *self.own.values[:1]]) if low == -np.inf else low
        stop = max([values[-1], *self.own.values[-1:]]) if high == np.inf else high
        knots = np.concatenate([[start], self.own.values, [stop]])
        left, right, level = knots[:-1], knots[1:], self.g
        cross = self.part.reaching((level - self.below) * self.total)  # F reaches the level with the value before this place
        inside = np.clip(cross, 1, len(values)) - 1
        turn = values[inside]
        counts = np.concatenate([[np.searchsorted(values, start, "right")], self.places, [len(values)], inside + 1])
        integral = self._integral(np.concatenate([knots, turn]), counts, start)
        at_knots, at_turn = integral[: len(knots)], integral[len(knots) :]
        early, late = (cross == 0) | (turn <= left), (cross > len(values)) | (turn >= right)
        turn = np.where(early, left, np.where(late, right, turn))
        at_turn = np.where(early, at_knots[:-1], np.where(late, at_knots[1:], at_turn))
        return float(np.sum(level * (2 * turn - left - right) + at_knots[:-1] + at_knots[1:] - 2 * at_turn))

    def _integral(self, place: "np.ndarray", count: "np.ndarray", start: float) -> "np.ndarray":
        """The integral of F from ``start`` to each ``place`` ``(k,)``, below which ``count`` values of the part lie."""
        weighed = self.part.below(count) * (place - self.part.values[0]) - self.part.moments(count)
        return (place - start) * self.below + weighed / self.total

    def squares(self) -> float:
        """Sum of (F - G)² over the rows of both sides."""
        import numpy as np

        at_own = (self.f(self.places) - self.g[1:]) ** 2
        level = self.g[np.searchsorted(self.own.values, self.part.values, "right")]
        at_part = (self.f(np.arange(1, len(self.part.values) + 1)) - level) ** 2
        sides = ((at_own, self.own.mass), (at_part, self.part.mass))
        return float(sum((squares if mass is None else squares * mass).sum() for squares, mass in sides))


def with_rest(reference: "np.ndarray", chunk: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Shares with one more bin for what lies outside the reference's bins, as NannyML does; what rounding leaves of the sum lies nowhere."""
    import numpy as np

    rest = 1.0 - chunk.sum()
    if rest <= _ROUNDING:
        return reference, chunk
    return np.append(reference, 0.0), np.append(chunk, rest)


def jensen_shannon(reference: "np.ndarray", chunk: "np.ndarray") -> float:
    """Square root of the base-2 Jensen-Shannon divergence of two share vectors ``(k,)``, in [0, 1]."""
    import numpy as np
    from scipy.special import rel_entr

    r, c = reference / reference.sum(), chunk / chunk.sum()
    middle = (r + c) / 2
    divergence = (rel_entr(r, middle).sum() + rel_entr(c, middle).sum()) / (2 * np.log(2))
    return float(np.sqrt(max(divergence, 0.0)))  # scipy's own gives NaN where rounding leaves less than zero


def hellinger(reference: "np.ndarray", chunk: "np.ndarray") -> float:
    """Hellinger distance of two share vectors ``(k,)``, in [0, 1]."""
    import numpy as np

    return float(np.sqrt(np.sum((np.sqrt(reference) - np.sqrt(chunk)) ** 2)) / np.sqrt(2))


def psi(reference: "np.ndarray", chunk: "np.ndarray") -> float:
    """Population stability index: sum of (c - r) ln(c / r); a share of zero counts as ``SMALLEST_SHARE``."""
    import numpy as np

    r, c = np.maximum(reference, SMALLEST_SHARE), np.maximum(chunk, SMALLEST_SHARE)
    return float(np.sum((c - r) * np.log(c / r)))


def kullback_leibler(reference: "np.ndarray", chunk: "np.ndarray") -> float:
    """Kullback-Leibler divergence of the chunk from the reference, in nats; zero shares as in ``psi``, then normalised."""
    import numpy as np
    from scipy.special import rel_entr

    r, c = np.maximum(reference, SMALLEST_SHARE), np.maximum(chunk, SMALLEST_SHARE)
    return float(max(rel_entr(c / c.sum(), r / r.sum()).sum(), 0.0))


def total_variation(reference: "np.ndarray", chunk: "np.ndarray") -> float:
    """Half the sum of absolute differences of shares ``(k,)``, in [0, 1]."""
    import numpy as np

    return float(np.abs(reference - chunk).sum() / 2)


def l_infinity(reference: "np.ndarray", chunk: "np.ndarray") -> float:
    """Largest absolute difference of any share, in [0, 1]."""
    import numpy as np

    return float(np.abs(reference - chunk).max())


_OVER_SHARES = {
    "jensen_shannon": jensen_shannon, "hellinger": hellinger, "psi": psi, "kullback_leibler": kullback_leibler,
    "total_variation": total_variation, "l_infinity": l_infinity,
}  # fmt: skip
_EXACT = {"kolmogorov_smirnov": "ks", "wasserstein": "wasserstein", "cramer_von_mises": "cramer_von_mises"}


def between_numbers(reference: Numbers, take: Take, n_rows: int, n_missing: int, bins: Bins, methods: Sequence[str]) -> dict[str, Number]:
    """Every numeric method in ``methods`` between a reference and a chunk.

    Args:
        reference: summary of the reference's column.
        take: the chunk's finite values in a range.
        n_rows: how many finite values the chunk has.
        n_missing: how many rows of the chunk have none.
        bins: fixed on the reference.
        methods: names of ``registry.NUMERIC``.

    Returns:
        Method to number; where a side has no finite value, a NaN that says so.
    """
    found = {}
    if "missing_shift" in methods:
        found["missing_shift"] = _missing_shift(reference.missing_share, n_rows, n_missing)
    asked = [method for method in methods if method != "missing_shift"]
    if not n_rows or not reference.total:
        side = "chunk" if not n_rows else "reference"
        return found | {method: refused(f"got no finite value in the {side}; expected at least one", n_rows) for method in asked}
    if not asked:
        return found
    walked = walk(reference, take, n_rows, bins, asked)
    for method in asked:
        value = value_of(walked, method)
        effect = value if method != "wasserstein" else value / bins.deviation if bins.deviation else NAN
        found[method] = Number(value, n_rows, effect, moved=walked.ks)
    return found


def value_of(walked: Walk, method: str) -> float:
    """The number of one method from a walk; never below 0, whatever rounding leaves."""
    if method in _EXACT:
        return max(float(getattr(walked, _EXACT[method])), 0.0)
    over_deciles = method in ("psi", "kullback_leibler", "total_variation", "l_infinity")
    shares = (walked.reference_deciles, walked.chunk_deciles) if over_deciles else (walked.reference_edges, walked.chunk_edges)
    return _OVER_SHARES[method](*with_rest(*shares))


def left_out(walked: Walk, ratio: float) -> Walk:
    """What the walk would have given had the chunk not been part of the reference.

    Args:
        walked: between a reference and a chunk of its own rows.
        ratio: reference rows per row of the chunk, above 1. Without the chunk F is ``(ratio F - G) / (ratio - 1)``, so every difference
            grows by ``ratio / (ratio - 1)``.
    """
    import numpy as np

    grown = ratio / (ratio - 1)

    def without(reference: "np.ndarray", chunk: "np.ndarray") -> "np.ndarray":
        return np.maximum((ratio * reference - chunk) / (ratio - 1), 0.0)

    return Walk(
        walked.ks * grown,
        walked.wasserstein * grown,
        walked.cramer_von_mises * grown**2,
        without(walked.reference_edges, walked.chunk_edges),
        walked.chunk_edges,
        without(walked.reference_deciles, walked.chunk_deciles),
        walked.chunk_deciles,
    )


def _missing_shift(reference_share: float, n_rows: int, n_missing: int) -> Number:
    rows = n_rows + n_missing
    if not rows or reference_share != reference_share:
        return refused(f"got no row in the {'chunk' if not rows else 'reference'}; expected at least one", rows)
    shift = abs(n_missing / rows - reference_share)
    return Number(shift, rows, shift, moved=shift)


def between_categories(reference: Categories, chunk: Categories, methods: Sequence[str]) -> dict[str, Number]:
    """Every categorical method in ``methods`` between a reference and a chunk; see ``between_numbers``."""
    import numpy as np

    found: dict[str, Number] = {}
    n_rows = int(chunk.total)
    for method in methods:
        if method == "missing_shift":
            found[method] = _missing_shift(reference.missing_share, n_rows, chunk.n_missing)
        elif not n_rows or not reference.total:
            found[method] = refused(f"got no category in the {'chunk' if not n_rows else 'reference'}; expected at least one", n_rows)
    asked = [method for method in methods if method not in found]
    if not asked:
        return found
    names = sorted(reference.counts)
    new = sorted(name for name in chunk.counts if name not in reference.counts)
    every = [*names, *new]
    known, own = (np.array([side.counts.get(name, 0.0) for name in every]) for side in (reference, chunk))
    told = f"{len(new)} categories the reference never had, such as {new[0]!r}" if new else ""
    moved = total_variation(known / known.sum(), own / own.sum())
    for method in asked:
        value, effect, p_value = between_counts(known, own, method)
        found[method] = Number(value, n_rows, effect, p_value, reason=told, moved=value if method == "unseen_share" else moved)
    return found


def between_counts(known: "np.ndarray", own: "np.ndarray", method: str) -> tuple[float, float, float]:
    """Value, effect and p-value (NaN but for ``chi2``) of one categorical method.

    Args:
        known: ``(k,)`` rows of each category in the reference; not all zero.
        own: ``(k,)`` rows of each in the chunk; not all zero. Categories the reference never had count as one.
    """
    import numpy as np

    unseen = float(own[known == 0].sum())
    if method == "unseen_share":
        return unseen / own.sum(), unseen / own.sum(), NAN
    if method == "chi2":
        return _chi2(known, own)
    inside = known > 0
    reference, chunk = known[inside] / known.sum(), own[inside] / own.sum()
    if unseen:
        reference, chunk = np.append(reference, 0.0), np.append(chunk, unseen / own.sum())
    value = _OVER_SHARES[method](reference, chunk)
    return value, value, NAN


def _chi2(known: "np.ndarray", own: "np.ndarray") -> tuple[float, float, float]:
    import numpy as np
    from scipy.stats import chi2_contingency

    present = known + own > 0
    if present.sum() < 2:
        return 0.0, 0.0, 1.0
    result = chi2_contingency(np.stack([known[present], own[present]]))
    return float(result.statistic), float(np.sqrt(result.statistic / (known.sum() + own.sum()))), float(result.pvalue)


def chi2_p_value(reference: Categories, chunk: Categories) -> tuple[float, str]:
    """p-value of the chi-squared test after pooling categories until each group is expected five times in the chunk.

    Returns:
        The p-value (NaN where fewer than two groups remain) and what was pooled.

    Source: Cochran (1954), Some methods for strengthening the common chi-squared tests.
    """
    import numpy as np
    from scipy.stats import chi2_contingency

    names = sorted({*reference.counts, *chunk.counts})
    table = np.array([[side.counts.get(name, 0.0) for name in names] for side in (reference, chunk)])
    if table.shape[1] < 2 or not table.sum(axis=1).all():
        return NAN, ""
    expected = table.sum(axis=0) * table[1].sum() / table.sum()
    order = np.argsort(expected, kind="stable")
    n_rare = int((expected < 5).sum())
    while 0 < n_rare < len(order) and expected[order[:n_rare]].sum() < 5:
        n_rare += 1  # what is pooled has to be expected five times too
    told = f"{n_rare} categories with an expected count below 5 are tested as one" if n_rare else ""
    if n_rare:
        table = np.column_stack([table[:, order[n_rare:]], table[:, order[:n_rare]].sum(axis=1)])
    if table.shape[1] < 2:
        return NAN, told
    return float(chi2_contingency(table).pvalue), told


def critical_value(method: str, alpha: float, n_reference: float, n_chunk: float, n_categories: int, design_effect: float) -> float:
    """The value whose limiting p-value is ``alpha``, for rows of which each ``design_effect`` tell as much as one; NaN for other methods."""
    import numpy as np
    from scipy import stats

    if method == "kolmogorov_smirnov" and n_reference and n_chunk:
        return float(stats.kstwo.isf(alpha, max(1.0, np.round(n_reference * n_chunk / (n_reference + n_chunk) / design_effect))))
    if method == "chi2":
        return float(stats.chi2.isf(alpha, max(1, n_categories - 1)) * design_effect)
    return NAN


def ks_p_value(reference: Numbers, take: Take, n_rows: int, statistic: float) -> float:
    """Two-sided p-value of the two-sample Kolmogorov-Smirnov test, as ``scipy.stats.ks_2samp`` gives it.

    Args:
        reference: summary of the reference.
        take: the chunk's finite values in a range.
        n_rows: how many there are.
        statistic: the largest difference.

    Up to 10,000 rows a side scipy counts exactly; above it, and for the parts of rows of a mixture, the limiting distribution
    is used, which needs no values.
    """
    import warnings

    import numpy as np
    from scipy import stats

    is_whole = all(part.mass is None or (part.mass % 1 == 0).all() for part in reference.parts)
    if is_whole and max(reference.total, n_rows) <= EXACT_ROWS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # where counting fails scipy says so and takes the limiting distribution itself
            return float(stats.ks_2samp(reference.expanded(), take(-np.inf, np.inf).expanded()).pvalue)
    return ks_limiting_p_value(statistic, reference.total, n_rows)


def ks_limiting_p_value(statistic: float, n_reference: float, n_chunk: float) -> float:
    """The limiting p-value for (effective) numbers of rows, scipy's ``method="asymp"``.

    Above 20,000 effective rows, where scipy sums a term per row, by Vrbik's expansion: within 2e-5 of it (relative) at p = 0.01.

    Source: Vrbik (2018), Small-sample corrections to Kolmogorov-Smirnov test statistic.
    """
    import numpy as np
    from scipy import special, stats

    rows = max(1.0, float(np.round(n_reference * n_chunk / (n_reference + n_chunk))))
    if rows <= _SUMMED_ROWS:
        return float(np.clip(stats.kstwo.sf(statistic, rows), 0.0, 1.0))
    root = statistic * np.sqrt(rows)
    return float(special.kolmogorov(root + 1 / (6 * np.sqrt(rows)) + (root - 1) / (4 * rows)))
