"""One permutation of columns: how badly it fits the reference's rank correlations and distributions, and the search for the best.

Belongs here: the misfit, its change by exchanging two columns, the search, what blocks of the reference usually give. Does not: whether a find is
believed (``remap.py``).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: Weight of distributions beside correlations: they decide where correlations are silent.
WEIGHT = 0.25
#: Correlations are shrunk towards none by this share, so that near copies stay invertible.
_SHRINKAGE = 0.02
_MOST_ROWS, _MOST_STARTS = 5000, 40


@dataclass(frozen=True)
class Problem:
    """One chunk: rank correlations ``(p, p)`` and distances of its columns (first axis) to the reference's (second)."""

    precision: "np.ndarray"
    correlation: "np.ndarray"
    distance: "np.ndarray"

    def misfit(self, order: "np.ndarray", weight: float = 0.0) -> float:
        """Misfit where column ``order[j]`` stands in the place of reference column ``j``."""
        import numpy as np

        own = self.correlation[np.ix_(order, order)]
        return float((self.precision * own).sum() / 2 + weight * self.distance[order, np.arange(len(order))].sum())

    def exchanges(self, order: "np.ndarray", weight: float = WEIGHT) -> "np.ndarray":
        """Change of the misfit ``(p, p)`` by exchanging any two columns of ``order``; infinite on the diagonal."""
        import numpy as np

        theta, own, placed = self.precision, self.correlation[np.ix_(order, order)], self.distance[order]
        product = theta @ own
        same = np.diag(product)
        change = product + product.T - same[:, np.newaxis] - same
        corner = (np.diag(theta)[:, np.newaxis] - theta) * (own - 1)
        change = change - corner - corner.T + weight * (placed + placed.T - np.diag(placed)[:, np.newaxis] - np.diag(placed))
        np.fill_diagonal(change, np.inf)
        return change


@dataclass(frozen=True)
class Fit:
    """What the reference says: correlations, their inverse, a sample of rows, the blocks' correlations, misfits and gains of the best exchange."""

    mean: "np.ndarray"
    precision: "np.ndarray"
    sample: "np.ndarray"
    blocks: "np.ndarray"
    misfits: "np.ndarray"
    by_correlation: "np.ndarray"
    by_distance: "np.ndarray"

    @classmethod
    def of(cls, before: "np.ndarray", pieces: "list[np.ndarray]") -> "Fit":
        """Fit to the reference ``(n_rows, p)`` and to blocks of it, each as large as a chunk."""
        import numpy as np

        count = before.shape[1]
        blocks = np.array([_correlation(piece) for piece in pieces])
        mean = _shrunk(blocks.mean(axis=0))
        precision = np.linalg.inv(mean)
        sample = before[np.linspace(0, len(before) - 1, min(len(before), _MOST_ROWS)).astype("int64")]
        problems = [Problem(precision, own, _distances(piece, sample)) for own, piece in zip(blocks, pieces, strict=True)]
        order = np.arange(count)
        margins = [one.distance + one.distance.T - np.diag(one.distance)[:, np.newaxis] - np.diag(one.distance) for one in problems]
        return cls(
            mean,
            precision,
            sample,
            blocks,
            np.array([one.misfit(order) for one in problems]),
            np.array([-one.exchanges(order, 0.0).min() for one in problems]),
            np.array([-(own + np.diag(np.full(count, np.inf))).min() for own in margins]),
        )

    def problem(self, rows: "np.ndarray") -> Problem:
        """The problem of one chunk ``(n_rows, p)``."""
        return Problem(self.precision, _correlation(rows), _distances(rows, self.sample))

    def excess(self, correlation: "np.ndarray", kept: "np.ndarray") -> float:
        """How much further than a usual block ``correlation`` is from the reference, looking at the places ``kept``; in nats a row."""
        before = _of(self.mean, kept)
        usual = sum(_divergence(before, _of(block, kept)) for block in self.blocks) / len(self.blocks)
        return _divergence(before, _of(correlation, kept)) - usual


def _of(matrix: "np.ndarray", kept: "np.ndarray") -> "np.ndarray":
    return matrix[kept][:, kept]


def _shrunk(correlation: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.asarray((1 - _SHRINKAGE) * correlation + _SHRINKAGE * np.eye(len(correlation)))


def _divergence(before: "np.ndarray", now: "np.ndarray") -> float:
    """Kullback-Leibler divergence of two normal distributions with these correlations."""
    import numpy as np

    own = _shrunk(now)
    return float(np.trace(np.linalg.solve(before, own)) - len(own) + np.linalg.slogdet(before)[1] - np.linalg.slogdet(own)[1]) / 2


def _correlation(rows: "np.ndarray") -> "np.ndarray":
    """Correlation of normal scores ``(p, p)``; NaN and constant columns are unrelated to all others."""
    import numpy as np
    from scipy.stats import norm, rankdata

    ranks = rankdata(rows, axis=0, nan_policy="omit")
    scores = np.nan_to_num(norm.ppf((ranks - 0.5) / np.maximum(np.isfinite(rows).sum(axis=0), 1)))
    scores -= scores.mean(axis=0)
    length = np.sqrt((scores**2).sum(axis=0))
    scores /= np.where(length > 1e-9, length, np.inf)
    correlation = scores.T @ scores
    np.fill_diagonal(correlation, 1.0)
    return correlation


def _distances(rows: "np.ndarray", sample: "np.ndarray") -> "np.ndarray":
    """Kolmogorov-Smirnov distances ``(p, p)`` of the columns of ``rows`` (first axis) to those of ``sample``; 1 where nothing is finite."""
    import numpy as np

    before = [np.sort(column[np.isfinite(column)]) for column in sample.T]
    result = np.ones((rows.shape[1], len(before)))
    for i, column in enumerate(rows.T):
        own = np.sort(column[np.isfinite(column)])
        for j, other in enumerate(before):
            if len(own) and len(other):
                result[i, j] = _kolmogorov_smirnov(own, other)
    return result


def _kolmogorov_smirnov(own: "np.ndarray", other: "np.ndarray") -> float:
    """Largest distance of two distribution functions of sorted values, looked for at the values of the shorter, ``own``."""
    import numpy as np

    sides: list[float] = []
    for side in ("left", "right"):
        shares = np.searchsorted(own, own, side) / len(own) - np.searchsorted(other, own, side) / len(other)
        sides.append(float(np.abs(shares).max()))
    return max(sides)


def searched(problem: Problem) -> "np.ndarray":
    """Order of the smallest misfit, by exchange of pairs from every rotation and from the nearest distributions."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    count = len(problem.precision)
    starts = [np.roll(np.arange(count), step) for step in range(min(count, _MOST_STARTS))]
    starts.append(np.argsort(linear_sum_assignment(problem.distance)[1]))
    found = [_descended(problem, start) for start in starts]
    return min(found, key=lambda order: problem.misfit(order, WEIGHT))


def _descended(problem: Problem, order: "np.ndarray") -> "np.ndarray":
    import numpy as np

    while True:
        change = problem.exchanges(order)
        i, j = np.unravel_index(int(np.argmin(change)), change.shape)
        if change[i, j] > -1e-9:
            return order
        order = order.copy()
        order[[i, j]] = order[[j, i]]


def cycles(order: "np.ndarray") -> list[list[int]]:
    """Cycles of two and more places of a permutation."""
    left = set(range(len(order)))
    found: list[list[int]] = []
    while left:
        cycle = [min(left)]
        while (following := int(order[cycle[-1]])) != cycle[0]:
            cycle.append(following)
        left -= set(cycle)
        found.append(cycle)
    return [cycle for cycle in found if len(cycle) > 1]
