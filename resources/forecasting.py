"""What a declaration says of a forecaster: steps, horizon, seasons, candidates, intervals, what is known in advance.

Belongs here: the section ``forecast`` and the rules inside it. Does not: fitting (``training_assets.recipes.forecast``), rules between
sections (``policy.py``).
"""

import re
from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from resources.section import FieldError, Section
from resources.vocabulary import Scope

_STEP = re.compile(r"([1-9]\d*)?(min|h|D)")
_SECONDS = {"min": 60, "h": 3600, "D": 86400}


class Forecast(Section):
    """How a series is forecast; only forecasters have it."""

    freq: str = Field(description="Time between two rows of a series: a number and min, h or D, such as 30min, h, D or 7D.")
    horizon: int = Field(ge=1, description="Steps ahead that every forecast reaches; at least one chunk.")
    season_lengths: list[int] = Field(
        min_length=1, description="Seasons in steps, the main one first: that of the seasonal naive baseline and of MASE's scale."
    )
    levels: list[int] = Field([80, 95], min_length=1, description="Prediction intervals, in per cent.")
    candidates: list[str] = Field(
        ["auto_ets", "auto_arima", "auto_theta", "mstl"],
        description="Models that compete per series by rolling origin, beside seasonal_naive which always does; lightgbm learns from lags of all series.",
    )
    parameters: dict[str, dict[str, bool | int | float | str]] = Field(
        default_factory=dict,
        description="Settings of candidates, by model, as statsforecast names them, such as {auto_arima: {max_p: 2, max_q: 2}}; of lightgbm LightGBM's.",
    )
    average: int = Field(1, ge=1, description="Averages of the best 2, 3, … models of a series compete as well, up to this many members.")
    combine: Literal["best", "mean", "median", "fade"] = Field(
        "best",
        description="best lets the backtest choose; mean and median answer with all models together, the seasonal naive one included; fade with "
        "the others' mean at first and with the seasonal naive one in the long run.",
    )
    half_life: int | None = Field(None, ge=1, description="fade: steps after which half of the difference is left.")
    transform: Literal["none", "log"] = Field("none", description="log for positive series whose seasons grow with their level.")
    intervals: Literal["native", "conformal"] = Field(
        "native", description="Intervals of the model, or from its errors in the backtest; averages and lightgbm have conformal ones only."
    )
    windows: int = Field(3, ge=1, description="Rolling origins of the backtest that chooses.")
    step: int | None = Field(None, ge=1, description="Steps between two rolling origins; the horizon if absent.")
    metric: Literal["mase", "mae", "rmse", "smape"] = Field("mase", description="What the backtest chooses by.")
    known_ahead: list[str] = Field(
        default_factory=list,
        description="Numeric features known for the whole horizon in advance: calendar, price list, planned promotion.",
    )
    lags: dict[str, int] = Field(
        default_factory=dict,
        description="Numeric features measured like the series, and how many steps late each enters; at least the horizon.",
    )
    max_history: int | None = Field(None, ge=2, description="Newest rows of a series that are learned from; all if absent.")
    gaps: Literal["interpolate", "carry", "refuse"] = Field(
        "interpolate", description="What becomes of a missing step inside a series: a straight line, the value before it, or an error."
    )
    scope: Scope = Field(
        Scope.ALL,
        description="Which series are watched and fitted again apart from the others: all together, each segment, or each series.",
    )
    false_alarms: float = Field(
        0.005, gt=0, lt=0.5, description="Share of chunks without a fault whose forecasts may be judged harmful, over all limits together."
    )
    detectors: list[Literal["cusum", "cusum_absolute", "page_hinkley"]] = Field(
        ["cusum", "cusum_absolute"], description="Detectors over standardised errors since the version serves."
    )
    engine: Literal["local", "dask"] = Field("local", description="Where series are worked on: processes here, or a Dask cluster.")
    scheduler: str | None = Field(None, description="Address of a running Dask scheduler; a local cluster if absent.")
    progress: bool = Field(False, description="Show a progress bar over series on the terminal of the run.")
    jobs: int = Field(1, ge=1, description="Processes, here or of a local cluster.")

    @field_validator("freq")
    @classmethod
    def _is_a_fixed_step(cls, freq: str) -> str:
        if not _STEP.fullmatch(freq):
            raise ValueError(f"got {freq!r}; expected a number and min, h or D, such as 30min, h, D or 7D")
        return freq

    @field_validator("levels")
    @classmethod
    def _levels_are_percentages(cls, levels: list[int]) -> list[int]:
        if any(not 0 < level < 100 for level in levels) or len(set(levels)) < len(levels):
            raise ValueError(f"got {levels}; expected different percentages between 0 and 100, such as [80, 95]")
        return sorted(levels)

    @field_validator("season_lengths")
    @classmethod
    def _seasons_are_positive(cls, lengths: list[int]) -> list[int]:
        if any(length < 1 for length in lengths):
            raise ValueError(f"got {lengths}; expected steps of at least 1, such as [7] for a week of days")
        return lengths

    @model_validator(mode="after")
    def _lags_reach(self) -> Self:
        early = {name: lag for name, lag in self.lags.items() if lag < self.horizon}
        if early:
            name, lag = next(iter(early.items()))
            raise FieldError(
                ("lags", name),
                f"got {lag}; expected at least the horizon {self.horizon}: the last step would need a value of its own future",
            )
        return self

    @property
    def step_length(self) -> timedelta:
        """Time between two rows of a series."""
        match = _STEP.fullmatch(self.freq)
        assert match is not None  # noqa: S101 - the validator saw to it
        return timedelta(seconds=int(match[1] or 1) * _SECONDS[match[2]])

    @property
    def has_exogenous(self) -> bool:
        """Whether anything beside the series itself enters."""
        return bool(self.known_ahead or self.lags)

    @property
    def reach(self) -> timedelta:
        """Time from the cutoff to the last step, where outcomes are known at once."""
        return self.step_length * self.horizon
