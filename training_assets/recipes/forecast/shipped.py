"""Specifications that come with the platform, each chosen by rolling origin on training rows alone.

Belongs here: named specifications. Does not: fitting. Reads and writes nothing.
"""

from training_assets.recipes.forecast.base import Backtest, ForecastSpec

#: Half-hourly demand, a week ahead: seasons of a week and a day. An origin every day over five weeks says more than one a week.
#: LightGBM is left out: with one series of eleven weeks its backtest error was twice that of MSTL.
HALF_HOURLY_DEMAND = ForecastSpec(
    freq="30min",
    season_lengths=(336, 48),
    h=336,
    candidates=("seasonal_level", "mstl"),
    average=3,
    transform="log",
    intervals="conformal",
    backtest=Backtest(windows=36, step=48),
)
