"""What a forecasting recipe is told, what it must offer, and what it gives back: plain data throughout.

Belongs here: the specification, the protocol, the fitted result. Does not: any fitting (``selection``, ``fitting``) or storing
(``storage``). Reads and writes nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import pandas as pd

BASELINE = "seasonal_naive"
LAGS = "lightgbm"


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Exogenous(_Plain):
    """One column beside ``y``, and when its values are known: without that a backtest cannot tell a feature from a leak."""

    name: str
    #: ``None``: every value is known before the forecast is made (calendar, price list, planned promotion).
    #: A number: the column is measured like ``y``; it enters as its value ``lag`` steps earlier.
    lag: int | None = Field(default=None, ge=1)
    #: Column with the time each value became known; a cutoff that would use a value before that time is refused.
    known_at: str | None = None

    @property
    def used(self) -> str:
        """Name of the column the models see."""
        return self.name if self.lag is None else f"{self.name}_lag{self.lag}"


class Backtest(_Plain):
    """Rolling-origin cross-validation: every window is forecast from rows before its cutoff only."""

    windows: int = Field(default=3, ge=1)
    #: Steps between two cutoffs; ``h`` unless told, so that windows do not overlap.
    step: int | None = Field(default=None, ge=1)
    metric: Literal["mase", "mae", "rmse", "smape"] = "mase"


class ForecastSpec(_Plain):
    """Everything that makes a forecaster repeatable.

    The first of ``season_lengths`` is the main season: of the baseline, of MASE's scale, and of models with one season.
    ``embargo`` is how many steps late ``y`` becomes known: the first steps after a cutoff are past when a forecast is used, so
    they are neither scored nor issued.
    """

    freq: str
    season_lengths: tuple[int, ...] = Field(min_length=1)
    h: int = Field(ge=1)
    levels: tuple[int, ...] = (80, 95)
    candidates: tuple[str, ...] = ("auto_ets", "auto_arima", "auto_theta", "mstl")
    parameters: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    #: Averages of the best 2, 3, … of a series compete as well, up to this many members.
    average: int = Field(default=1, ge=1)
    #: ``mean``, ``median``: nothing is chosen; the baseline and every candidate that never failed speak together. For few series
    #: or few independent windows, where a choice follows noise.
    #: ``fade``: the mean of the candidates at first, fading into the baseline: half of what they differ is left after ``half_life`` steps.
    combine: Literal["best", "mean", "median", "fade"] = "best"
    half_life: int | None = Field(default=None, ge=1)
    exogenous: tuple[Exogenous, ...] = ()
    #: ``log``: models see the logarithm of ``y``, for seasons that grow with the level; ``y`` must be positive.
    #: Means are then medians in units of ``y``.
    transform: Literal["none", "log"] = "none"
    intervals: Literal["native", "conformal"] = "native"
    backtest: Backtest = Backtest()
    embargo: int = Field(default=0, ge=0)
    max_history: int | None = Field(default=None, ge=2)
    fallback: str = BASELINE
    on_short: Literal["refuse", "fallback"] = "refuse"
    n_jobs: int = Field(default=1, ge=1)
    engine: Literal["local", "dask"] = "local"
    #: Address of a running Dask scheduler; a local cluster of ``n_jobs`` processes unless told.
    scheduler: str | None = None
    progress: bool = False

    @model_validator(mode="after")
    def _is_sound(self) -> "ForecastSpec":
        from training_assets.recipes.forecast.statistical import STATISTICAL

        known = [*STATISTICAL, LAGS]
        unknown = sorted({*self.candidates, *self.parameters, self.fallback} - set(known))
        if unknown:
            raise ValueError(f"models: got {unknown}; expected names out of {known}")
        if self.fallback == LAGS:
            raise ValueError(f"fallback: got {LAGS!r}, which learns from all series; expected one of {list(STATISTICAL)}")
        if any(not 0 < level < 100 for level in self.levels):
            raise ValueError(f"levels: got {list(self.levels)}; expected percentages between 0 and 100, as 80 or 95")
        early = [one.name for one in self.exogenous if one.lag is not None and one.lag < self.h + self.embargo]
        if early:
            raise ValueError(
                f"exogenous {early}: got a lag below {self.h + self.embargo}, so the last step would need values of its own future; "
                f"expected at least h + embargo = {self.h + self.embargo}, or no lag for columns known in advance"
            )
        if self.combine != "best" and self.average > 1:
            raise ValueError(
                f"average: got {self.average} with combine: {self.combine}, which chooses no best; expected 1, or combine: best"
            )
        if (self.combine == "fade") != (self.half_life is not None):
            raise ValueError(
                f"half_life: got {self.half_life} with combine: {self.combine}; expected steps with combine: fade, and only there"
            )
        is_single = self.combine == "best" and self.average == 1
        has_native = self.intervals == "native" and is_single and LAGS not in self.candidates
        needed, found = max((-(-level // (100 - level)) for level in self.levels), default=0), self.h * self.backtest.windows
        if not has_native and found < needed:
            raise ValueError(
                f"backtest: got {found} errors per series (h * windows); expected at least {needed} for conformal intervals at the level "
                f"{max(self.levels)}, which averages and {LAGS} need too; ask for more windows or lower levels"
            )
        if self.max_history is not None and self.max_history < self.needed_rows:
            raise ValueError(f"max_history: got {self.max_history}; expected at least {self.needed_rows}, what the backtest needs")
        return self

    @property
    def season(self) -> int:
        """The main season."""
        return self.season_lengths[0]

    @property
    def reach(self) -> int:
        """Steps from the last known row to the last step forecast."""
        return self.h + self.embargo

    @property
    def step(self) -> int:
        """Steps between two cutoffs."""
        return self.backtest.step or self.h

    @property
    def names(self) -> tuple[str, ...]:
        """The baseline, which is always fitted, and the candidates, each once."""
        return tuple(dict.fromkeys((BASELINE, *self.candidates)))

    @property
    def backtest_rows(self) -> int:
        """Rows after the first cutoff."""
        return self.reach + (self.backtest.windows - 1) * self.step

    @property
    def needed_rows(self) -> int:
        """Rows a series must have: two main seasons before the first cutoff, and the backtest; lags eat rows of their own."""
        lags = max((one.lag for one in self.exogenous if one.lag is not None), default=0)
        return 2 * self.season + self.backtest_rows + lags


@dataclass(frozen=True)
class Fitted:
    """A fitted forecaster: frames of plain numbers and text, so that storing it loses nothing.

    Attributes:
        history: ``unique_id, ds, y`` and declared columns; what forecasts start from.
        choices: one row per series: ``unique_id, models`` (joined by ``+``), ``is_fallback, reason, score, baseline_score,
            fitted_until``; scores are in the metric of the backtest, NaN where the series was too short for one.
        scores: ``unique_id, model, score``: what every candidate reached.
        errors: ``unique_id, cutoff, step, error`` (y - forecast) of the chosen models in the backtest; steps count from 1 after
            the embargo.
        states: ``unique_id, model, state``: fitted numbers as JSON.
        booster: LightGBM's text, where a series chose it.
    """

    spec: ForecastSpec
    history: "pd.DataFrame"
    choices: "pd.DataFrame"
    scores: "pd.DataFrame"
    errors: "pd.DataFrame"
    states: "pd.DataFrame"
    booster: str | None = None

    def forecast(self, h: int | None = None, levels: Collection[int] | None = None, future: "pd.DataFrame | None" = None) -> "pd.DataFrame":
        """Forecast every series from its last known row.

        Args:
            h: steps, at most the specification's where intervals are conformal; the specification's unless told.
            levels: percentages of the intervals; the specification's unless told.
            future: ``unique_id, ds`` and every column known in advance, for all steps.

        Returns:
            ``(n_series * h, …)``: ``unique_id, ds, cutoff, h, model, is_fallback, mean, lo-<level>…, hi-<level>…``; ``h`` counts
            steps after the cutoff, so it starts at ``embargo + 1``; lo ≤ mean ≤ hi.
        """
        from training_assets.recipes.forecast.forecasting import forecast

        return forecast(self, h, levels, future)


class Forecaster(Protocol):
    """Turns series into forecasts, and keeps them fresh at three prices."""

    name: str

    def fit(self, spec: ForecastSpec, series: "pd.DataFrame") -> Fitted:
        """Choose and fit models for ``unique_id, ds, y`` and declared columns."""

    def refresh(self, fitted: Fitted, new_rows: "pd.DataFrame") -> Fitted:
        """Go on from new rows with every parameter kept: milliseconds a series."""

    def refit(self, fitted: Fitted, series: "pd.DataFrame", only: Collection[str] | None = None) -> Fitted:
        """Estimate parameters again; models and their orders stay. Series outside ``only`` keep all they have."""

    def search(self, fitted: Fitted, series: "pd.DataFrame | None" = None) -> Fitted:
        """Choose models and orders again, by a new backtest."""
