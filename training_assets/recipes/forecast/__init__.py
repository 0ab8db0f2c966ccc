"""Forecasters: series in, forecasts with intervals out; chosen per series by rolling origin, stored as plain data."""

from training_assets.recipes.forecast.base import Backtest, Exogenous, Fitted, Forecaster, ForecastSpec
from training_assets.recipes.forecast.refresh import FORECASTER, SeriesForecaster
from training_assets.recipes.forecast.series import SeriesError, fill_gaps
from training_assets.recipes.forecast.storage import load, save

__all__ = [
    "FORECASTER",
    "Backtest",
    "Exogenous",
    "Fitted",
    "ForecastSpec",
    "Forecaster",
    "SeriesError",
    "SeriesForecaster",
    "fill_gaps",
    "load",
    "save",
]
