"""The statistical models by name, and the same models with their order held fast.

Belongs here: the registry and what each name means. Does not: LightGBM (``lags``), choosing (``selection``). Reads and writes
nothing.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training_assets.recipes.forecast.base import ForecastSpec

#: AutoETS cannot hold more seasonal states, and a seasonal ARIMA with more takes minutes a series; MSTL is for those.
_MOST_STATES = 24


def _few_states(spec: "ForecastSpec") -> int:
    return spec.season if spec.season <= _MOST_STATES else 1


def _seasonal_naive(spec: "ForecastSpec", own: Mapping[str, Any]) -> Any:
    from statsforecast.models import SeasonalNaive

    return SeasonalNaive(**{"season_length": spec.season, **own})


def _naive(spec: "ForecastSpec", own: Mapping[str, Any]) -> Any:
    from statsforecast.models import Naive

    return Naive(**own)


def _seasonal_level(spec: "ForecastSpec", own: Mapping[str, Any]) -> Any:
    from training_assets.recipes.forecast.level import SeasonalLevel

    return SeasonalLevel(**{"season_length": spec.season, **own})


def _auto_ets(spec: "ForecastSpec", own: Mapping[str, Any]) -> Any:
    from statsforecast.models import AutoETS

    return AutoETS(**{"season_length": _few_states(spec), **own})


def _auto_arima(spec: "ForecastSpec", own: Mapping[str, Any]) -> Any:
    from statsforecast.models import AutoARIMA

    return AutoARIMA(**{"season_length": _few_states(spec), "approximation": True, **own})


def _auto_theta(spec: "ForecastSpec", own: Mapping[str, Any]) -> Any:
    from statsforecast.models import AutoTheta

    return AutoTheta(**{"season_length": spec.season, **own})


def _mstl(trend: Callable[[], Any]) -> Callable[["ForecastSpec", Mapping[str, Any]], Any]:
    def build(spec: "ForecastSpec", own: Mapping[str, Any]) -> Any:
        from statsforecast.models import MSTL

        return MSTL(**{"season_length": list(spec.season_lengths), "trend_forecaster": trend(), **own})

    return build


def _ets_trend() -> Any:
    from statsforecast.models import AutoETS

    return AutoETS(model="ZZN")


def _arima_trend() -> Any:
    from statsforecast.models import AutoARIMA

    return AutoARIMA(seasonal=False, approximation=True)


def _theta_trend() -> Any:
    from statsforecast.models import AutoTheta

    return AutoTheta()


#: Name to builder. ``auto_arima`` with a season is SARIMA; the MSTL models differ in what continues the trend.
STATISTICAL: Mapping[str, Callable[["ForecastSpec", Mapping[str, Any]], Any]] = {
    "seasonal_naive": _seasonal_naive,
    "naive": _naive,
    "seasonal_level": _seasonal_level,
    "auto_ets": _auto_ets,
    "auto_arima": _auto_arima,
    "auto_theta": _auto_theta,
    "mstl": _mstl(_ets_trend),
    "mstl_arima": _mstl(_arima_trend),
    "mstl_theta": _mstl(_theta_trend),
}


def build(spec: "ForecastSpec", name: str) -> Any:
    """The unfitted model ``name``, with the specification's parameters for it; its alias is its name."""
    return STATISTICAL[name](spec, {**spec.parameters.get(name, {}), "alias": name})


def check_parameters(spec: "ForecastSpec") -> None:
    """Refuse settings of a model that is not asked for, and those that a statistical model does not have.

    Raises:
        ValueError: naming the model.
    """
    stray = sorted(set(spec.parameters) - {*spec.names, spec.fallback})
    if stray:
        raise ValueError(f"parameters: got some of {stray}; expected those of candidates: {list(spec.names)}")
    for name in set(spec.parameters) & set(STATISTICAL):
        try:
            build(spec, name)
        except TypeError as error:
            raise ValueError(f"parameters of {name}: got {dict(spec.parameters[name])}; expected those of its class: {error}") from error


def held_fast(fitted: Any) -> Any:
    """An unfitted model of the order a fitted one has found, to estimate its parameters again without a search.

    Raises:
        TypeError: for a model without such an order.
    """
    from statsforecast import models

    kind = type(fitted).__name__
    if kind in ("SeasonalNaive", "Naive", "SeasonalLevel"):
        return fitted.new()
    if kind in ("AutoARIMA", "ARIMA"):
        return _arima(fitted)
    if kind == "AutoETS":
        error, trend, season, damped = fitted.model_["components"]
        # N and D are what is written for no and yes
        return models.AutoETS(fitted.season_length, model=error + trend + season, damped=damped == "D", alias=fitted.alias)
    if kind == "AutoTheta":
        own = {"decomposition_type": fitted.decomposition_type, "model": fitted.model_["modeltype"]}
        return models.AutoTheta(fitted.season_length, **own, alias=fitted.alias)
    if kind == "MSTL":
        trend = held_fast(fitted.trend_forecaster)
        return models.MSTL(fitted.season_length, trend_forecaster=trend, stl_kwargs=fitted.stl_kwargs, alias=fitted.alias)
    raise TypeError(f"order of a fitted model: got {kind}; expected one of {list(STATISTICAL)}")


def _arima(fitted: Any) -> Any:
    from statsforecast.models import ARIMA

    p, q, seasonal_p, seasonal_q, season, d, seasonal_d = (int(one) for one in fitted.model_["arma"])
    coefficients = fitted.model_["coef"]
    return ARIMA(
        order=(p, d, q),
        season_length=season,
        seasonal_order=(seasonal_p, seasonal_d, seasonal_q),
        include_mean="intercept" in coefficients,
        include_drift="drift" in coefficients,
        alias=fitted.alias,
    )
