"""Last season, moved by how far the level has moved since: a seasonal naive forecast that looks at today.

Belongs here: the one model statsforecast lacks, with statsforecast's manners (``fit, predict, forecast, forward, new``). It is the
average of SARIMA (1, 0, 1)(0, 1, 0) over a grid of its two parameters, with a season of any length. Does not: estimate them. A few
seasons are too few: on eleven weeks of half-hourly demand (43 origins, a week ahead) the pair estimated by the error over a whole
season ahead had 0.87 times the error of the seasonal naive forecast, the average of all pairs 0.77 times. Reads and writes nothing.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: Weights of the newest change.
_WEIGHTS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
#: Times of fading, in seasons.
_SEASONS = (0.25, 0.5, 1.0, 2.0, 4.0)
_STEPS = 12


class SeasonalLevel:
    """``y[t + k] = y[t + k - season] + level[t] * fade(k)``, the average over all pairs of a weight and a time of fading.

    Attributes:
        season: the last season, in units of ``y``.
        level: how far ``y`` stands from a season ago: exponentially weighted means of the changes, averaged over the weights.
        steps: some steps ahead, from 1.
        sigma: root mean square of the errors that many steps ahead.

    >>> import numpy as np
    >>> week = np.tile([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8) + np.repeat([0.0, 10.0], 28)
    >>> model = SeasonalLevel(7).fit(week)
    >>> bool(np.allclose(model.predict(7)["mean"], week[-7:], atol=0.6))
    True
    """

    uses_exog = False
    prediction_intervals = None

    def __init__(self, season_length: int, alias: str = "seasonal_level") -> None:
        """Take the length of the season in steps."""
        self.season_length, self.alias = season_length, alias

    def __repr__(self) -> str:
        """The name statsforecast gives the column."""
        return self.alias

    def new(self) -> "SeasonalLevel":
        """A copy to fit."""
        return copy.copy(self)

    def fit(self, y: "np.ndarray", X: "np.ndarray | None" = None) -> "SeasonalLevel":
        """Fit on ``(n,)`` values.

        Raises:
            ValueError: with fewer than two seasons and a step, which leave nothing to learn from.
        """
        import numpy as np

        if len(y) <= 2 * self.season_length:
            raise ValueError(f"seasonal_level: got {len(y)} values; expected more than two seasons of {self.season_length}")
        changes = y[self.season_length :] - y[: -self.season_length]
        steps = np.unique(np.linspace(1, min(self.season_length, len(changes) - 2), _STEPS).astype("int64"))
        left, levels = _fade(self.season_length, int(steps[-1])), _levels(changes)
        errors = [changes[step:] - levels[:-step] * left[step - 1] for step in steps]
        self.steps, self.sigma = steps, np.array([np.sqrt((error**2).mean()) for error in errors])
        self.season, self.level = y[-self.season_length :].copy(), float(levels[-1])
        return self

    def predict(self, h: int, X: "np.ndarray | None" = None, level: Sequence[int] | None = None) -> "dict[str, np.ndarray]":
        """``mean`` and, where levels are asked, normal ``lo-<level>`` and ``hi-<level>``, each ``(h,)``."""
        return self._answer(self.season, self.level, h, level)

    def forecast(
        self,
        y: "np.ndarray",
        h: int,
        X: "np.ndarray | None" = None,
        X_future: "np.ndarray | None" = None,
        level: Sequence[int] | None = None,
        fitted: bool = False,
    ) -> "dict[str, np.ndarray]":
        """Fit and predict, keeping nothing."""
        return self.new().fit(y).predict(h, level=level)

    def forward(
        self,
        y: "np.ndarray",
        h: int,
        X: "np.ndarray | None" = None,
        X_future: "np.ndarray | None" = None,
        level: Sequence[int] | None = None,
        fitted: bool = False,
    ) -> "dict[str, np.ndarray]":
        """Predict from other values with the parameters kept."""
        changes = y[self.season_length :] - y[: -self.season_length]
        return self._answer(y[-self.season_length :], float(_levels(changes)[-1]), h, level)

    def _answer(self, season: "np.ndarray", moved: float, h: int, levels: Sequence[int] | None) -> "dict[str, np.ndarray]":
        import numpy as np
        from scipy.stats import norm

        ahead = np.arange(1, h + 1)
        base: np.ndarray = np.resize(season, h)
        answer = {"mean": base + moved * _moves(self.season_length, h)}
        sigma = np.interp(ahead, self.steps, self.sigma) * np.sqrt(1 + (ahead - 1) // self.season_length)
        for level in levels or ():
            width = norm.ppf(0.5 + level / 200) * sigma
            answer |= {f"lo-{level}": answer["mean"] - width, f"hi-{level}": answer["mean"] + width}
        return answer


def _fade(season: int, h: int) -> "np.ndarray":
    """What is left of a level of 1 at each step, ``(h,)``, averaged over the times of fading."""
    import numpy as np

    seasons = np.arange(1, h + 1)[:, None] / season
    left: np.ndarray = np.exp(-seasons / np.array(_SEASONS)).mean(axis=1)
    return left


def _moves(season: int, h: int) -> "np.ndarray":
    """What a level of 1 moves each step by; seasons further ahead stand on forecasts and carry what those were moved by."""
    moves = _fade(season, h)
    for step in range(season, h):
        moves[step] += moves[step - season]
    return moves


def _levels(changes: "np.ndarray") -> "np.ndarray":
    """Exponentially weighted means at each step, ``(n,)``, averaged over the weights; they start from the first change."""
    import numpy as np
    from scipy.signal import lfilter

    own = [lfilter([weight], [1.0, weight - 1.0], changes, zi=[(1.0 - weight) * changes[0]])[0] for weight in _WEIGHTS]
    return np.mean(own, axis=0)
