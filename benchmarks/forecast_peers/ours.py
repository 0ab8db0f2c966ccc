"""Our recipe on all series: one model straight away, or several with the choice by backtest."""

import os

import pandas as pd
import statsforecast  # noqa: F401 - imports are not counted
from shared import Meter, task, write

from training_assets.recipes.forecast import FORECASTER, ForecastSpec
from training_assets.recipes.forecast.fitting import fit_series, forecast_series

own = task()
spec = ForecastSpec(freq="D", season_lengths=(own["season"],), h=own["h"], levels=(80,), candidates=tuple(own["candidates"]))
series = pd.read_parquet(own["series"])
fit_series({"spec": spec.model_dump_json(), "models": ["seasonal_naive"], "states": {}, "y": series["y"][:60].tolist(), "x": None})
meter = Meter()
with meter.stage("fit and forecast"):
    if own["is_selecting"]:
        forecast = FORECASTER.fit(spec, series).forecast()
        answers = {str(name): one["mean"].tolist() for name, one in forecast.groupby("unique_id", sort=False)}
    else:
        answers = {}
        for name, one in series.groupby("unique_id", sort=False):
            asked = {"spec": spec.model_dump_json(), "models": own["candidates"], "states": {}, "y": one["y"].tolist(), "x": None}
            states = fit_series(asked)["states"]
            told = forecast_series({"states": states, "h": own["h"], "levels": [80], "x_future": None, "y": None, "x": None})
            answers[str(name)] = next(iter(told.values()))["mean"]
write(own, answers)
meter.report(["statsforecast", "numpy", "scipy"], {"candidates": own["candidates"], "backtest": own["is_selecting"], "pid": os.getpid()})
