"""Seeded daily series for the tests of forecasters."""

import numpy as np
import pandas as pd

from training_assets.recipes.forecast import Backtest, ForecastSpec


def daily(n_series=3, days=120, seed=0):
    """``unique_id, ds, y``: level, drift, a weekly season and noise."""
    rng, at, frames = np.random.default_rng(seed), np.arange(days), []
    for index in range(n_series):
        season = rng.uniform(8, 15) * np.sin(2 * np.pi * (at + index) / 7)
        y = 100 + 10 * rng.normal() + 0.02 * at + season + rng.normal(0, 3, days)
        frames.append(pd.DataFrame({"unique_id": f"s{index}", "ds": pd.date_range("2024-01-01", periods=days), "y": y}))
    return pd.concat(frames).sort_values(["unique_id", "ds"], ignore_index=True)


def spec(**overrides):
    """A cheap specification."""
    own = {"freq": "D", "season_lengths": (7,), "h": 7, "candidates": ("mstl",), "backtest": Backtest(windows=3), **overrides}
    return ForecastSpec(**own)


def next_rows(frame, count=1, seed=9):
    """The ``count`` steps after each series, near its last week."""
    rng = np.random.default_rng(seed)
    tails = frame.groupby("unique_id").tail(7).groupby("unique_id").head(count)
    return tails.assign(ds=tails["ds"] + pd.Timedelta(days=7), y=tails["y"] + rng.normal(0, 1, len(tails))).reset_index(drop=True)
