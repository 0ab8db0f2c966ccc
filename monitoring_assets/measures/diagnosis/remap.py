"""Which column carries which other's signal now? Swapped cables, shifted CSV columns, renamed fields.

Belongs here: the search for one permutation of numeric columns, and whether it explains the chunk better than the columns
as named. Does not: unit changes of a single column (``units.py``).

Ranks within the chunk carry the structure, so that a new mean, scale or season of a column is no evidence. What they cannot
tell (columns unrelated to all others) is left to the columns' distributions, and then every moved column has to fit better.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from monitoring_assets.measures.diagnosis.permutation import Fit, Problem, cycles, searched
from monitoring_assets.measures.limits import FEWEST_BLOCKS, block_starts
from monitoring_assets.measures.number import NAN

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Chance of a find without a fault, per cycle of columns.
FALSE_FINDS = 1e-4
#: Of what the columns as named fit worse than usual, the find must explain this share: a dead sensor is no swap.
EXPLAINED = 0.5
#: By distributions alone every moved column must come nearer to its source by this much (Kolmogorov-Smirnov).
NEARER = 0.1
#: Fewest rows of a chunk; fewer do not know their correlations.
FEWEST_ROWS = 30
_MOST_BLOCKS = 100


@dataclass(frozen=True)
class Remapping:
    """Columns that carry another's signal.

    Attributes:
        pairs: column to the column whose reference signal it carries now, moved columns only; empty where none is found.
        gain: fall of the misfit by the remapping (mean squared standardised residual of each column given the others,
            summed and halved; 0 where nothing is found).
        p_value: chance of so large a gain without a fault, of the weakest cycle that is reported; 1 where none is, NaN where it cannot
            be told.
        n_rows: rows of the chunk.
        n_blocks: reference blocks the chance is learned from.
        reason: why nothing could be told.
    """

    pairs: dict[str, str] = field(default_factory=dict)
    gain: float = 0.0
    p_value: float = NAN
    n_rows: int = 0
    n_blocks: int = 0
    reason: str = ""

    @property
    def is_found(self) -> bool:
        """Whether any column carries another's signal."""
        return bool(self.pairs)

    def recovery(self, features: Sequence[str]) -> str:
        """Say what happened and how to undo it; empty where nothing is found.

        Args:
            features: the columns in the order in which the sources are to be listed.
        """
        if not self.is_found:
            return ""
        carries = "; ".join(f"{column} now carries {source}'s signal" for column, source in self.pairs.items())
        columns = {source: column for column, source in self.pairs.items()}
        order = ", ".join(f"{name} from {columns.get(name, name)}" for name in features if name in columns)
        return f"{carries}: re-map the columns in this order: {order}."


def find_remapping(reference: "pd.DataFrame", rows: "pd.DataFrame", features: Sequence[str]) -> Remapping:
    """Find the permutation of ``features`` under which the chunk looks like the reference.

    Args:
        reference: ``(n_reference, ...)`` in time order, columns in their right places.
        rows: ``(n_rows, ...)`` of one chunk, or of several consecutive ones, which tells more.
        features: numeric columns; NaN and constant columns count as unrelated to all others.

    Returns:
        The remapping. It is made of cycles of columns; each is reported only where without a fault so large a gain has a
        chance below ``FALSE_FINDS``. Columns that are alike in every respect cannot be told apart.

    Source: quadratic assignment (Koopmans & Beckmann, 1957) of the chunk's rank correlations to the reference's
    precision matrix, by exchange of pairs from several starts; ``scipy.optimize.linear_sum_assignment`` for one of them.
    """
    size = min(len(rows), max(len(reference) // 8, 1))
    starts = block_starts(len(reference), size, _MOST_BLOCKS)
    if len(features) < 2 or len(rows) < FEWEST_ROWS or len(starts) < FEWEST_BLOCKS:
        reason = f"got {len(features)} columns, {len(rows)} rows and {len(starts)} reference blocks"
        return Remapping(n_rows=len(rows), reason=f"{reason}; expected at least 2, {FEWEST_ROWS} and {FEWEST_BLOCKS}")
    import numpy as np

    before, now = (frame[list(features)].to_numpy(dtype="float64", na_value=np.nan) for frame in (reference, rows))
    pieces = [before[start : start + size] for start in starts]
    fit = Fit.of(before, pieces)
    return _reported(fit, fit.problem(now), features, len(rows))


def _chance(gain: float, null: "np.ndarray") -> float:
    """Chance of so large a gain in a further block: Student's t around the blocks' gains."""
    import numpy as np
    from scipy.stats import t

    spread = max(float(null.std(ddof=1)), 1e-9) * np.sqrt(1 + 1 / len(null))
    return float(t.sf((gain - null.mean()) / spread, len(null) - 1)) if gain > 0 else 1.0


def _reported(fit: Fit, problem: Problem, features: Sequence[str], n_rows: int) -> Remapping:
    """The cycles of the best order that neither chance nor a broken column explains."""
    import numpy as np

    best = searched(problem)
    pairs: dict[str, str] = {}
    chances: list[float] = []
    order = np.arange(len(best))
    for cycle in cycles(best):
        chance = _cycle_chance(fit, problem, best, cycle, n_rows)
        if chance < FALSE_FINDS:
            pairs |= {features[int(best[place])]: features[place] for place in cycle}
            order[cycle] = best[cycle]
            chances.append(chance)
    gain = problem.misfit(np.arange(len(best))) - problem.misfit(order)
    return Remapping({name: pairs[name] for name in features if name in pairs}, gain, max(chances, default=1.0), n_rows, len(fit.misfits))


def _cycle_chance(fit: Fit, problem: Problem, best: "np.ndarray", cycle: list[int], n_rows: int) -> float:
    """Chance of what undoing one cycle costs; 1 where it explains too little, or no more than one broken column does."""
    import numpy as np

    undone, places = best.copy(), np.array(cycle)
    undone[places] = places
    gain = problem.misfit(undone) - problem.misfit(best)
    is_explained = gain >= EXPLAINED * (problem.misfit(undone) - float(fit.misfits.mean()))
    chance = _chance(gain, fit.by_correlation) if is_explained and not _is_one_broken(fit, problem, best, undone, n_rows) else 1.0
    moved = problem.distance[best[places]]
    own, source = problem.distance[best[places], best[places]], moved[np.arange(len(places)), places]
    nearer = own - source
    is_silent = gain > -3 * float(fit.by_correlation.std(ddof=1))
    if is_silent and nearer.min() >= NEARER and nearer.sum() >= EXPLAINED * own.sum():
        chance = min(chance, _chance(float(nearer.sum()), fit.by_distance))
    return chance


def _is_one_broken(fit: Fit, problem: Problem, best: "np.ndarray", undone: "np.ndarray", n_rows: int) -> bool:
    """Whether leaving out one column of the cycle explains the chunk as well as moving all of them.

    A broken column may correlate with the others in any way: so free an explanation pays for its freedom (Schwarz, 1978).
    """
    import numpy as np

    every = np.arange(len(best))
    moved = problem.correlation[np.ix_(best, best)]
    as_named = problem.correlation[np.ix_(undone, undone)]
    left = min(fit.excess(as_named, every[every != place]) for place in every[best != undone])
    price = (len(best) - 1) * np.log(n_rows) / (2 * n_rows)
    return bool(left + price <= fit.excess(moved, every))
