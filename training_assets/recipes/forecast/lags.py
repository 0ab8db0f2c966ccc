"""LightGBM on lags: one model learns from all series and competes with the statistical ones.

Belongs here: features, fitting and forecasting through mlforecast, and the Booster's text. Does not: choosing (``selection``).
Worth its while from about a hundred series up. Reads and writes nothing.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resources.quiet import settle
from training_assets.recipes.forecast.base import LAGS

if TYPE_CHECKING:
    import pandas as pd

    from training_assets.recipes.forecast.base import ForecastSpec

_DEFAULTS: Mapping[str, Any] = {
    "n_estimators": 200,
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_child_samples": 20,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.8,
    "random_state": 0,
}
_FIXED: Mapping[str, Any] = {"n_jobs": 1, "verbosity": -1, "deterministic": True, "force_row_wise": True}
_MOST_RECENT = 48


def default_lags(spec: "ForecastSpec") -> list[int]:
    """The last steps of the shortest season, and each season and its double."""
    recent = range(1, min(min(spec.season_lengths), _MOST_RECENT) + 1)
    return sorted({*recent, *(season * times for season in spec.season_lengths for times in (1, 2))})


def backtest_lags(spec: "ForecastSpec", series: "pd.DataFrame") -> "pd.DataFrame":
    """Rolling-origin forecasts: ``unique_id, ds, cutoff, lightgbm``; each window is fitted on rows before its cutoff only."""
    found = _forecaster(spec).cross_validation(
        series, n_windows=spec.backtest.windows, h=spec.reach, step_size=spec.step, static_features=[], input_size=spec.max_history
    )
    return found[["unique_id", "ds", "cutoff", LAGS]]


def fit_lags(spec: "ForecastSpec", series: "pd.DataFrame") -> str:
    """Fit on ``unique_id, ds, y`` and known columns; gives the Booster's text, repeatable to the last bit."""
    fitted = _forecaster(spec).fit(series, static_features=[])
    return fitted.models_[LAGS].booster_.model_to_string()


def forecast_lags(spec: "ForecastSpec", booster: str, series: "pd.DataFrame", future: "pd.DataFrame") -> "pd.DataFrame":
    """Forecast ``embargo + h`` steps after the last row of each series: ``unique_id, ds, lightgbm``.

    Args:
        spec: as fitted.
        booster: the text of ``fit_lags``.
        series: history; later rows than those fitted on are welcome.
        future: ``unique_id, ds, step`` and known columns for all steps.
    """
    import lightgbm

    machine = _forecaster(spec)
    machine.preprocess(series, static_features=[], dropna=False)
    machine.models_ = {LAGS: lightgbm.Booster(model_str=booster)}
    known = [column for column in future if column not in ("unique_id", "ds", "cutoff", "step")]
    return machine.predict(int(future["step"].max()), X_df=future[["unique_id", "ds", *known]] if known else None)


def _forecaster(spec: "ForecastSpec") -> Any:
    settle()
    import lightgbm
    from mlforecast import MLForecast
    from mlforecast.target_transforms import Differences, LocalStandardScaler

    own = dict(spec.parameters.get(LAGS, {}))
    lags, differences = own.pop("lags", default_lags(spec)), own.pop("differences", [])
    calendar = own.pop("calendar", None)
    transforms = [*([Differences(list(differences))] if differences else []), LocalStandardScaler()]
    dates = _calendar(spec.freq) if calendar is None else [_CALENDAR[name] for name in calendar]
    model = lightgbm.LGBMRegressor(**{**_DEFAULTS, **own, **_FIXED})
    return MLForecast({LAGS: model}, freq=spec.freq, lags=list(lags), date_features=dates, target_transforms=transforms)


def time_of_day(times: "pd.DatetimeIndex") -> Any:
    """Minutes since midnight."""
    return times.hour * 60 + times.minute


def day_of_year(times: "pd.DatetimeIndex") -> Any:
    """1 to 366."""
    return times.dayofyear


_CALENDAR: Mapping[str, Any] = {"time_of_day": time_of_day, "dayofweek": "dayofweek", "day_of_year": day_of_year, "month": "month"}


def _calendar(freq: str) -> list[Any]:
    """What the calendar can tell at this frequency; the day of the year only where it repeats within the history is left to the caller."""
    import pandas as pd

    offset = pd.tseries.frequencies.to_offset(freq)
    if not isinstance(offset, pd.tseries.offsets.Tick | pd.tseries.offsets.Day):
        return [_CALENDAR["month"]]
    if pd.Timedelta(offset) < pd.Timedelta(days=1):
        return [_CALENDAR["time_of_day"], _CALENDAR["dayofweek"]]
    return [_CALENDAR["dayofweek"], _CALENDAR["day_of_year"]]
