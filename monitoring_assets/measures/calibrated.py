"""How far a number strays without a fault, learned from blocks of the reference: limits, p-values and lines for chunks of any size.

Belongs here: limits of numbers that are computed from rows alone (uncertainty, KPIs). Does not: the numbers, limits of distances (``limits.py``).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.limits import Null, block_sizes, block_starts, design_effect, fit_null
from monitoring_assets.measures.number import NAN, Number
from resources.policy import MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class Judged:
    """P-value, limits (NaN on a side without one) and breach of a value, and why there are none."""

    p_value: float
    lower_limit: float
    upper_limit: float
    breach: bool
    reason: str = ""


def not_judged(reason: str) -> Judged:
    """No limits and no breach, and why."""
    return Judged(NAN, NAN, NAN, False, reason)


@dataclass(frozen=True)
class Calibrated:
    """The null of a number, on the scale ``(value - shift) / scale``, which is positive as a null needs it; a share near one is turned round.

    ``usual`` is how many rows of a chunk usually enter the number.
    """

    null: Null
    shift: float = 0.0
    scale: float = 1.0
    usual: int = 0

    def judged(self, number: Number, rate: float) -> Judged:
        """What a number is at the false-alarm ``rate``, for the rows that entered it."""
        reason = number.reason or self._refusal(number.n_rows)
        if reason or number.value != number.value:
            return not_judged(reason)
        bounds = [limit * self.scale + self.shift for limit in self.null.limits(rate, number.n_rows)]
        lower, upper = bounds if self.scale > 0 else reversed(bounds)
        p_value = self.null.p_value((number.value - self.shift) / self.scale, number.n_rows, number.n_rows)
        return Judged(p_value, lower, upper, p_value < rate)

    def _refusal(self, n_rows: int) -> str:
        if not self.null.is_known:
            return "got too few reference rows for this number; expected at least four chunks of them"
        if max(self.null.spreads) < 1e-12:
            return "got the same value in every block of the reference; expected one that varies: nothing is known of its spread"
        if n_rows < self.null.sizes[0]:
            return f"got {n_rows} rows; expected at least {self.null.sizes[0]:.0f}, the smallest block that was learned from"
        return ""

    def as_plain(self) -> dict[str, Any]:
        """Plain data for storage."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Calibrated":
        """What ``as_plain`` gave, also after a way through JSON."""
        return cls(**{**plain, "null": Null.from_plain(dict(plain["null"]))})


def block_values(measure: Callable[[slice], float], n_rows: int, usual: int) -> dict[int, list[float]]:
    """What blocks of consecutive reference rows give, by block size, in time order.

    Args:
        measure: the number of the rows of a slice.
        n_rows: rows of the reference.
        usual: rows a chunk usually holds.
    """
    return {
        size: [measure(slice(start, start + size)) for start in block_starts(n_rows, size, is_usual=size == usual).tolist()]
        for size in block_sizes(n_rows, usual)
    }


def calibrate(
    samples: dict[int, list[float]],
    *,
    n_rows: int,
    usual: int,
    power: float = 1.0,
    is_two_sided: bool = True,
    shift: float = 0.0,
    scale: float = 1.0,
) -> Calibrated:
    """Fit a null on what ``block_values`` gave.

    Blocks that resemble their neighbours tell less than as many independent ones: their number is divided by their design effect, and their
    spread, which such blocks understate, is widened. Blocks with heavy tails count as so few that Student's t has such tails too.

    Args:
        samples: by block size, in time order.
        n_rows: rows of the reference.
        usual: rows a chunk usually holds.
        power: exponent under which the number is near normal.
        is_two_sided: whether a value can also be too small.
        shift: of the scale on which the number is positive and near normal.
        scale: of it; negative to turn the number round.
    """
    import numpy as np

    moved = {size: [(value - shift) / scale for value in values] for size, values in samples.items()}
    null = fit_null(moved, power=power, is_two_sided=is_two_sided, n_reference=n_rows)
    effects = [design_effect(np.array(moved[int(size)])) for size in null.sizes]
    large = [np.array(moved[int(size)]) for size in null.sizes if 2 * size >= max(null.sizes)]
    powered = [np.maximum(values, 0.0) ** power for values in large]
    return Calibrated(_widened(null, effects, _most_blocks(powered)), shift, scale, usual)


def _most_blocks(powered: "list[np.ndarray]") -> float:
    """The blocks whose Student's t has tails as heavy as those of the large blocks: its excess kurtosis is ``6 / (degrees of freedom - 4)``."""
    import numpy as np
    from scipy.stats import kurtosis

    finite = [values[np.isfinite(values)] for values in powered]
    scored = [(values - values.mean()) / values.std() for values in finite if len(values) and values.std() > 0]
    excess = float(kurtosis(np.concatenate(scored))) if scored else 0.0
    return 5 + 6 / excess if excess > 0 else float("inf")


def _widened(null: Null, effects: list[float], most: float) -> Null:
    """The null with as many blocks as there are independent ones, and at most ``most``; Wilks (2011) for effective sample sizes."""
    own = [min(effect, blocks / 2) for effect, blocks in zip(effects, null.blocks, strict=True)]
    wider = [(blocks - 1) / (blocks - effect) for effect, blocks in zip(own, null.blocks, strict=True)]
    return replace(
        null,
        blocks=tuple(max(2, int(min(blocks / effect, most))) for effect, blocks in zip(own, null.blocks, strict=True)),
        spreads=tuple(spread * more**0.5 for spread, more in zip(null.spreads, wider, strict=True)),
    )


def usual_rows(policy: MonitoredModel, times: "pd.Series") -> int:
    """Median number of rows of a chunk of the reference."""
    sizes = policy.cadence.keys(times).value_counts()
    return int(sizes.median()) if len(sizes) else 1


def line_of(kind: Kind, method: str, subject: str, number: Number, judged: Judged, n_numbers: int) -> dict[str, object]:
    """A line of one of ``n_numbers`` numbers that share the false alarms; the chunk's key is left to the caller."""
    adjusted = min(1.0, judged.p_value * n_numbers) if judged.p_value == judged.p_value else NAN
    return {
        "kind": str(kind), "method": method, "subject": subject, "value": number.value, "standard_error": number.standard_error,
        "n_rows": number.n_rows, **asdict(judged), "adjusted_p_value": adjusted,
    }  # fmt: skip
