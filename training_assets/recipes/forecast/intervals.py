"""Conformal prediction intervals from the errors of the backtest.

Belongs here: half-widths by step. Does not: native intervals, which the models give. The backtest has already paid for honest
errors of the chosen models, averages and LightGBM included, so no model is fitted again. Reads and writes nothing.
"""

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from training_assets.recipes.forecast.series import SeriesError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from training_assets.recipes.forecast.base import ForecastSpec

_POOLED = 60


def half_widths(errors: "pd.DataFrame", h: int, levels: Collection[int]) -> "dict[int, np.ndarray]":
    """Half-width of the interval at each step: the split-conformal quantile of the absolute errors of near steps.

    Args:
        errors: ``step, error`` of one series; steps count from 1.
        h: how many steps; at most the largest step with errors.
        levels: percentages.

    Returns:
        Level to ``(h,)`` half-widths, ≥ 0, in units of ``y``; a higher level is never narrower. Steps share the errors of their
        neighbours until 60 are gathered, since a step alone has one per window. Exchangeable errors would be covered
        with at least the level; errors of one path depend on each other, so coverage of a single path scatters.

    Raises:
        SeriesError: with fewer errors than the highest level needs, or for steps beyond the backtest.

    Source: Lei et al. (2018), Distribution-free predictive inference for regression; split conformal.

    >>> import numpy as np, pandas as pd
    >>> errors = pd.DataFrame({"step": np.repeat([1, 2], 50), "error": np.r_[np.ones(50), 3 * np.ones(50)]})
    >>> half_widths(errors, 2, [80])[80].tolist()
    [1.0, 3.0]
    """
    import numpy as np

    needed = max((_fewest(level) for level in levels), default=0)
    if len(errors) < needed:
        raise SeriesError(
            f"conformal intervals: got {len(errors)} errors of the backtest; expected at least {needed} for the level {max(levels)}; "
            "ask for more windows, lower levels, or intervals: native"
        )
    steps, sizes = errors["step"].to_numpy(), np.abs(errors["error"].to_numpy())
    if h > steps.max():
        raise SeriesError(f"h: got {h}; expected at most {steps.max()}, the steps of the backtest the conformal intervals come from")
    near = [np.sort(sizes[np.argsort(np.abs(steps - step), kind="stable")[: max(needed, _POOLED)]]) for step in range(1, h + 1)]
    return {level: np.array([_quantile(own, level) for own in near]) for level in levels}


def _fewest(level: int) -> int:
    return math.ceil(level / (100 - level))


def _quantile(ordered: "np.ndarray", level: int) -> float:
    rank = math.ceil((len(ordered) + 1) * level / 100)
    return float(ordered[min(rank, len(ordered)) - 1])


def is_conformal(spec: "ForecastSpec", models: str) -> bool:
    """Whether a choice gets conformal intervals: where asked for, and where no native ones exist (LightGBM, averages)."""
    from training_assets.recipes.forecast.base import LAGS

    return spec.intervals == "conformal" or "+" in models or models == LAGS
