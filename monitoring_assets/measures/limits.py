"""When is a number too large? Its behaviour without drift, learned from the reference, and corrections for looking at many.

Belongs here: the null of one number by chunk size, its limits and p-values, effective sample size, corrections. Does not:
the numbers themselves.
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.number import NAN

if TYPE_CHECKING:
    import numpy as np

#: Most blocks of one size that are measured; more would cost time and sharpen little.
MOST_BLOCKS = 200
#: Large blocks are costly: from this many on, no more are measured than hold so many rows; half of both for blocks below the usual size.
_ENOUGH_BLOCKS, _ROWS_OF_BLOCKS = 24, 400_000
#: The latest rows from which autocorrelation is learned.
LOOKED_AT = 20_000
#: Fewer blocks say nothing about what is normal.
FEWEST_BLOCKS = 4


@dataclass(frozen=True)
class Null:
    """How large one number is without drift, from blocks of consecutive reference rows left out of the reference.

    Blocks keep what makes neighbouring rows alike, so the null holds on autocorrelated data. ``u = value ** power`` is near
    normal; a new chunk's ``u`` then follows Student's t around the blocks' mean, wider by ``sqrt(1 + 1 / blocks)``: the fewer
    the reference chunks, the wider the limit. Where heavy tails leave ``u`` skewed, its distance from the mean is bent to
    normal first. What the reference never or hardly showed is not called impossible: a p-value is at least the chance that
    so many rows differ although none of the reference's did.

    Attributes:
        sizes: rows of a block, ascending ``(k,)``.
        centres: mean of ``u`` at each size.
        spreads: standard deviation of ``u`` at each size.
        blocks: number of blocks at each size.
        values: what the blocks of the largest size gave.
        power: exponent of ``u``: an eighth for squared numbers, a quarter for distances, one for those that may fall either way.
        is_two_sided: whether a value can also be too small.
        n_reference: rows of the reference, for numbers that never moved in it.
        skewness: of ``u`` over all sizes where positive; 0 for two-sided numbers.

    Source: Hahn & Meeker (1991), Statistical Intervals, prediction interval of one further observation; Wilson & Hilferty (1931) for powers
    that make chi-squared-like numbers normal, and for bending the skewed ones.
    """

    sizes: tuple[float, ...]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    blocks: tuple[int, ...]
    values: tuple[float, ...]
    power: float
    is_two_sided: bool
    n_reference: float
    skewness: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether there were enough blocks to say anything."""
        return bool(self.sizes)

    @property
    def has_moved(self) -> bool:
        """Whether the number ever differed from zero on the reference."""
        return any(centre > 0 for centre in self.centres)

    def at(self, n_rows: float) -> tuple[float, float, int]:
        """Centre, spread and blocks of ``u`` for a chunk of ``n_rows``; a chunk larger than the largest block is held to that block's."""
        import numpy as np

        place = np.log(max(n_rows, 1.0))
        sizes = np.log(self.sizes)
        centre, spread = (float(np.interp(place, sizes, side)) for side in (self.centres, self.spreads))
        if (
            place < sizes[0] and not self.is_two_sided
        ):  # as it grew from the second smallest block to the smallest, at least as a sampling error
            is_sloped = len(sizes) > 1 and self.centres[0] > 0 and self.centres[1] > 0
            slope = np.log(self.centres[0] / self.centres[1]) / (sizes[1] - sizes[0]) if is_sloped else 0.0
            grown = float(np.exp((sizes[0] - place) * max(slope, self.power / 2)))
            centre, spread = centre * grown, spread * grown
        return centre, spread, int(self.blocks[int(np.searchsorted(sizes, place).clip(0, len(sizes) - 1))])

    def p_value(self, value: float, n_rows: float, moved: float) -> float:
        """Chance of so large a value (or, two-sided, so far a one) in a chunk of ``n_rows`` without drift.

        Args:
            value: the number.
            n_rows: rows it was measured on.
            moved: how many rows must have changed for it.
        """
        import numpy as np
        from scipy import stats

        if not self.is_known or value != value:
            return NAN
        by_rows = float(stats.betabinom.sf(np.ceil(moved - 1e-9) - 1, int(n_rows), 0.5, self.n_reference + 0.5)) if moved > 0 else 1.0
        if not self.has_moved:
            return by_rows
        centre, spread, blocks = self.at(n_rows)
        distance = self._straightened((max(value, 0.0) ** self.power - centre) / max(spread, 1e-12)) / np.sqrt(1 + 1 / blocks)
        upper = float(stats.t.sf(distance, blocks - 1))
        return 2 * min(upper, 1 - upper) if self.is_two_sided else max(upper, by_rows)

    def limits(self, rate: float, n_rows: float) -> tuple[float, float]:
        """Lower and upper limit that a chunk of ``n_rows`` without drift breaks with chance ``rate``; NaN on a side without one."""
        import numpy as np
        from scipy import stats

        if not self.is_known:
            return NAN, NAN
        if not self.has_moved:
            return NAN, self.share_limit(rate, n_rows)
        centre, spread, blocks = self.at(n_rows)
        distance = float(stats.t.isf(rate / 2 if self.is_two_sided else rate, blocks - 1) * np.sqrt(1 + 1 / blocks))
        reach = self._bent(distance) * spread
        lower = max(centre - reach, 0.0) ** (1 / self.power) if self.is_two_sided else NAN
        return lower, float(centre + reach) ** (1 / self.power)

    def share_limit(self, rate: float, n_rows: float) -> float:
        """Share of a chunk's rows that differ with chance ``rate`` although no row of the reference did."""
        from scipy import stats

        return float(stats.betabinom.isf(rate, int(n_rows), 0.5, self.n_reference + 0.5)) / max(n_rows, 1.0)

    def _straightened(self, distance: float) -> float:
        """A distance in standard deviations of the skewed ``u`` as one of a normal number."""
        import numpy as np

        if self.skewness < 1e-6:
            return distance
        return float(6 / self.skewness * (np.cbrt(max(1 + self.skewness * distance / 2, 0.0)) - 1) + self.skewness / 6)

    def _bent(self, distance: float) -> float:
        """The reverse of ``_straightened``."""
        if self.skewness < 1e-6:
            return distance
        return 2 / self.skewness * (max((distance - self.skewness / 6) * self.skewness / 6 + 1, 0.0) ** 3 - 1)

    def deviation(self, n_rows: float) -> float:
        """Standard error: how far the number strays in a chunk of ``n_rows`` without drift."""
        if not self.is_known or not self.has_moved:
            return NAN
        centre, spread, _ = self.at(n_rows)
        return float(spread * centre ** (1 / self.power - 1) / self.power)

    def permutation_p_value(self, value: float) -> float:
        """Share of left-out blocks at least as far away, itself counted: never below one in the number of blocks plus one."""
        if value != value or not self.values:
            return NAN
        return (1 + sum(own >= value for own in self.values)) / (1 + len(self.values))

    def as_plain(self) -> dict[str, Any]:
        """Plain data for storage."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Null":
        """What ``as_plain`` gave."""
        own: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in plain.items()}
        return cls(**own)


def fit_null(samples: "dict[int, list[float]]", *, power: float, is_two_sided: bool = False, n_reference: float = 0.0) -> Null:
    """Fit a null.

    Args:
        samples: block size to the numbers of the blocks left out; NaN are dropped, sizes with fewer than four blocks too.
        power: exponent under which the number is near normal.
        is_two_sided: whether a value can also be too small.
        n_reference: rows of the reference.
    """
    import numpy as np

    kept = {}
    for size in sorted(samples):
        values = np.asarray(samples[size], dtype="float64")
        values = values[np.isfinite(values)]
        if len(values) >= FEWEST_BLOCKS:
            kept[size] = values
    moved = {size: np.maximum(values, 0.0) ** power for size, values in kept.items()}
    scored = [(u - u.mean()) / u.std() for u in moved.values() if u.std() > 0]
    skewness = 0.0 if is_two_sided or not scored else max(0.0, float((np.concatenate(scored) ** 3).mean()))
    return Null(
        tuple(float(size) for size in kept),
        tuple(float(u.mean()) for u in moved.values()),
        tuple(float(u.std(ddof=1)) for u in moved.values()),
        tuple(len(u) for u in moved.values()),
        tuple(float(value) for value in (kept[max(kept)] if kept else [])),
        power,
        is_two_sided,
        float(n_reference),
        skewness,
    )


def block_sizes(n_rows: int, usual: int) -> list[int]:
    """Sizes of blocks for a reference of ``n_rows`` whose chunks usually hold ``usual``: from an eighth to the whole."""
    asked = {max(2, round(usual * share)) for share in (0.125, 0.25, 0.5, 0.75, 1.0)}
    return sorted(size for size in asked if n_rows // size >= FEWEST_BLOCKS)


def block_starts(n_rows: int, size: int, most: int = MOST_BLOCKS, *, is_usual: bool = True) -> "np.ndarray":
    """First rows of non-overlapping blocks, evenly spread over the reference; ``most`` of them, and of large ones fewer.

    Args:
        n_rows: rows of the reference.
        size: rows of a block.
        most: number of blocks at most.
        is_usual: whether blocks are as large as a usual chunk; of smaller ones, which only serve partial chunks, half as many are enough.
    """
    import numpy as np

    share = 1 if is_usual else 2
    count = min(n_rows // size, most, max(_ENOUGH_BLOCKS // share, _ROWS_OF_BLOCKS // share // size))
    return np.linspace(0, n_rows - size, count).astype("int64") if count else np.empty(0, dtype="int64")


def design_effect(values: "np.ndarray", most: int = LOOKED_AT) -> float:
    """How many neighbouring rows tell as much as one independent row: the integrated autocorrelation time, at least 1.

    Args:
        values: ``(n,)`` in time order; NaN are dropped. Ranks are used, so outliers and units do not matter.
        most: the latest rows, of which the finite ones are looked at.

    Source: Geyer (1992), Practical Markov Chain Monte Carlo, initial positive sequence: sums of neighbouring autocorrelations are added until one is
    negative.

    >>> import numpy as np
    >>> design_effect(np.random.default_rng(0).normal(size=5000)) < 1.2
    True
    """
    import numpy as np
    from scipy.signal import fftconvolve
    from scipy.stats import rankdata

    own = np.asarray(values[-most:], dtype="float64")
    own = own[np.isfinite(own)]
    if len(own) < 4 or own.min() == own.max():
        return 1.0
    ranks = rankdata(own) - (len(own) + 1) / 2
    products = fftconvolve(ranks, ranks[::-1])[len(ranks) - 1 :]
    correlation = products / products[0]
    pairs = correlation[: len(correlation) // 2 * 2].reshape(-1, 2).sum(axis=1)
    stop = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else len(pairs)
    return float(max(1.0, 2 * pairs[:stop].sum() - 1))


def adjusted(p_values: "np.ndarray", correction: str) -> "np.ndarray":
    """Correct ``(n,)`` p-values for looking at many; NaN stay NaN and do not count.

    Args:
        correction: ``bonferroni`` (chance of any false alarm), ``benjamini_hochberg`` (share of false ones among alarms), ``none``.

    Source: ``scipy.stats.false_discovery_control`` for Benjamini and Hochberg (1995).
    """
    import numpy as np
    from scipy.stats import false_discovery_control

    result = np.asarray(p_values, dtype="float64").copy()
    known = ~np.isnan(result)
    if correction == "bonferroni":
        result[known] = np.minimum(1.0, result[known] * known.sum())
    elif correction == "benjamini_hochberg" and known.any():
        result[known] = false_discovery_control(np.clip(result[known], 0.0, 1.0))
    return result
