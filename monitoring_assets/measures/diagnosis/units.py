"""Is a column written in another unit now? Known simple factors that bring its level and spread back to the reference's.

Belongs here: the list of conversions and the test of one column at a time. Does not: columns that trade places (``remap.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.limits import FEWEST_BLOCKS, block_starts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Conversions ``(from, to): (factor, offset)``: the new value is factor * old + offset. Each is tried both ways.
_PAIRS = {
    ("degrees Celsius", "degrees Fahrenheit"): (1.8, 32.0),
    ("degrees Celsius", "kelvin"): (1.0, 273.15),
    ("inches", "millimetres"): (25.4, 0.0),
    ("metres a second", "miles an hour"): (2.236936, 0.0),
    ("inches of mercury", "hectopascals"): (33.86389, 0.0),
    **{("its unit", f"1/{10**power} of it"): (10.0**power, 0.0) for power in (1, 2, 3, 6)},
}
CONVERSIONS: dict[str, tuple[float, float]] = {
    **{f"{old} became {new}": own for (old, new), own in _PAIRS.items()},
    **{f"{new} became {old}": (1 / factor, -offset / factor) for (old, new), (factor, offset) in _PAIRS.items()},
    "the sign was flipped": (-1.0, 0.0),
}
#: As named the column must be less likely than this, converted back at least as likely as that.
UNLIKELY, LIKELY = 1e-4, 0.2
#: A pure factor is only believed of a column whose usual level is at least this share of its spread: about 0 it moves the spread alone.
LEAST_LEVEL = 0.5
FEWEST_ROWS = 30
_MOST_BLOCKS = 100


@dataclass(frozen=True)
class UnitChange:
    """A column in another unit: the chunk's values are ``factor * usual + offset``.

    ``p_value`` is the chance of the chunk's level and spread without a fault, ``p_converted`` the same once converted back.
    """

    column: str
    what: str
    factor: float
    offset: float
    p_value: float
    p_converted: float

    @property
    def recovery(self) -> str:
        """What happened and how to undo it."""
        undo = f"divide by {self.factor:g}" if not self.offset else f"subtract {self.offset:g}, then divide by {self.factor:g}"
        return f"{self.column}: it looks as if {self.what}; {undo}."


def find_unit_changes(reference: "pd.DataFrame", rows: "pd.DataFrame", features: Sequence[str]) -> list[UnitChange]:
    """Find columns whose level and spread leave the reference's range and return into it by one known conversion.

    Args:
        reference: ``(n_reference, ...)`` in time order.
        rows: ``(n_rows, ...)`` of one chunk.
        features: numeric columns; NaN are left out.

    Returns:
        At most one per column, the likeliest; none where no conversion fits, or where rows or reference blocks are too few. A change of
        scale by near such a factor looks alike, so it is a hint. A symmetric column about 0 hides a flipped sign.

    Source: prediction interval of one further block (Hahn & Meeker, 1991) for median and interquartile range.
    """
    import numpy as np

    size = min(len(rows), max(len(reference) // 8, 1))
    starts = block_starts(len(reference), size, _MOST_BLOCKS)
    if len(rows) < FEWEST_ROWS or len(starts) < FEWEST_BLOCKS:
        return []
    found = []
    for name in features:
        before, now = (frame[name].to_numpy(dtype="float64", na_value=np.nan) for frame in (reference, rows))
        blocks = np.array([_summary(before[start : start + size]) for start in starts])
        change = _fitting(name, blocks[np.isfinite(blocks).all(axis=1)], now)
        found += [change] if change else []
    return found


def _summary(values: "np.ndarray") -> tuple[float, float]:
    """Median and logarithm of the interquartile range; NaN where nothing varies."""
    import numpy as np

    finite = values[np.isfinite(values)]
    if len(finite) < FEWEST_BLOCKS:
        return float("nan"), float("nan")
    low, median, high = np.quantile(finite, [0.25, 0.5, 0.75])
    return float(median), float(np.log(high - low)) if high > low else float("nan")


def _fitting(name: str, blocks: "np.ndarray", now: "np.ndarray") -> UnitChange | None:
    import numpy as np

    if len(blocks) < FEWEST_BLOCKS or not np.isfinite(_summary(now)).all():
        return None
    as_named = _chance(blocks, now)
    if as_named >= UNLIKELY:
        return None
    is_level_known = bool(abs(blocks[:, 0].mean()) >= LEAST_LEVEL * np.exp(blocks[:, 1].mean()))
    tried = [
        UnitChange(name, what, factor, offset, as_named, _chance(blocks, (now - offset) / factor))
        for what, (factor, offset) in CONVERSIONS.items()
        if offset or is_level_known
    ]
    best = max(tried, key=lambda change: change.p_converted)
    return best if best.p_converted >= LIKELY else None


def _chance(blocks: "np.ndarray", values: "np.ndarray") -> float:
    """Two-sided chance of this median and this spread in a further block, the smaller one doubled for looking at two."""
    import numpy as np
    from scipy.stats import t

    spread = np.maximum(blocks.std(axis=0, ddof=1), 1e-9) * np.sqrt(1 + 1 / len(blocks))
    distance = np.abs(np.array(_summary(values)) - blocks.mean(axis=0)) / spread
    return float(min(1.0, 2 * (2 * t.sf(distance, len(blocks) - 1)).min()))
