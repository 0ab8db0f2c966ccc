"""Forecasts of a fitted forecaster: steps, means, intervals, and which model spoke.

Belongs here: putting per-series answers, LightGBM's and intervals into one frame. Does not: fitting. Reads and writes nothing.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from training_assets.recipes.forecast.base import LAGS, Fitted, ForecastSpec
from training_assets.recipes.forecast.distributed import over_series
from training_assets.recipes.forecast.exogenous import future_inputs, inputs, restored
from training_assets.recipes.forecast.fitting import forecast_series
from training_assets.recipes.forecast.intervals import half_widths, is_conformal
from training_assets.recipes.forecast.lags import forecast_lags
from training_assets.recipes.forecast.selection import together
from training_assets.recipes.forecast.series import KEYS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def forecast(fitted: Fitted, h: int | None, levels: Collection[int] | None, future: "pd.DataFrame | None") -> "pd.DataFrame":
    """As ``Fitted.forecast``."""
    import pandas as pd

    spec = fitted.spec
    wanted, asked = h or spec.h, sorted(spec.levels if levels is None else levels)
    if wanted < 1 or any(not 0 < level < 100 for level in asked):
        raise ValueError(f"forecast: got h = {wanted}, levels = {asked}; expected a positive h and percentages between 0 and 100")
    steps = future_inputs(spec, fitted.history, wanted, future)
    answers = _answers(fitted, steps, asked)
    errors = dict(iter(fitted.errors.groupby("unique_id", sort=False)))
    times = dict(iter(steps.groupby("unique_id", sort=False)))
    frames = []
    for choice in fitted.choices.itertuples():
        own = times[choice.unique_id][[*KEYS, "cutoff", "step"]].rename(columns={"step": "h"}).iloc[spec.embargo :]
        values = _combined(spec, answers[choice.unique_id])
        if asked and _needs_errors(fitted, choice, values, asked):
            values |= _around(values["mean"], half_widths(errors.get(choice.unique_id, fitted.errors.iloc[:0]), wanted, asked))
        frames.append(own.assign(model=choice.models, is_fallback=choice.is_fallback, **values))
    columns = ["mean", *(f"{side}-{level}" for level in asked for side in ("lo", "hi"))]
    return pd.concat(frames, ignore_index=True)[[*KEYS, "cutoff", "h", "model", "is_fallback", *columns]]


def _needs_errors(fitted: Fitted, choice: Any, values: "dict[str, np.ndarray]", levels: list[int]) -> bool:
    """A fallback has no backtest of its own; it gives native intervals where it can."""
    if choice.is_fallback:
        return f"lo-{levels[0]}" not in values
    return is_conformal(fitted.spec, choice.models)


def _around(mean: "np.ndarray", widths: "dict[int, np.ndarray]") -> "dict[str, np.ndarray]":
    return {f"{side}-{level}": mean + sign * width for level, width in widths.items() for side, sign in (("lo", -1), ("hi", 1))}


def _combined(spec: ForecastSpec, answers: dict[str, dict[str, Any]]) -> "dict[str, np.ndarray]":
    """Several models combined, in units of ``y``; the intervals too where there is only one."""
    import numpy as np

    if len(answers) == 1:
        return {name: restored(spec, np.array(values))[spec.embargo :] for name, values in next(iter(answers.values())).items()}
    means = {name: restored(spec, np.array(one["mean"])) for name, one in sorted(answers.items())}
    steps = np.arange(1, len(next(iter(means.values()))) + 1)
    return {"mean": together(spec, means, steps)[spec.embargo :]}


def _answers(fitted: Fitted, steps: "pd.DataFrame", levels: list[int]) -> dict[str, dict[str, dict[str, Any]]]:
    """Series to model to what it says about all steps."""
    seen = inputs(fitted.spec, fitted.history)
    tasks = _tasks(fitted, seen, steps, levels)
    answers = {name: dict(one) for name, one in over_series(fitted.spec, forecast_series, tasks, "forecast").items()}
    choices = fitted.choices.set_index("unique_id")["models"]
    users = [name for name, models in choices.items() if LAGS in models.split("+")]
    if users and fitted.booster is not None:
        is_user = steps["unique_id"].isin(users)
        told = forecast_lags(fitted.spec, fitted.booster, seen[seen["unique_id"].isin(users)], steps[is_user])
        for name, own in told.groupby("unique_id", sort=False):
            answers.setdefault(str(name), {})[LAGS] = {"mean": own[LAGS].to_numpy()}
    return answers


def _tasks(fitted: Fitted, seen: "pd.DataFrame", steps: "pd.DataFrame", levels: list[int]) -> dict[str, dict[str, Any]]:
    histories, ahead = (dict(iter(frame.groupby("unique_id", sort=False))) for frame in (seen, steps))
    until = fitted.choices.set_index("unique_id")["fitted_until"]
    names = [one.used for one in fitted.spec.exogenous]
    tasks = {}
    for key, states in fitted.states.groupby("unique_id", sort=False):
        own = histories[key]
        is_forward = own["ds"].iloc[-1] != until[key]
        tasks[str(key)] = {
            "states": dict(zip(states["model"], states["state"], strict=True)),
            "h": len(ahead[key]),
            "levels": levels,
            "y": own["y"].tolist() if is_forward else None,
            "x": own[names].to_numpy().tolist() if is_forward and names else None,
            "x_future": ahead[key][names].to_numpy().tolist() if names else None,
        }
    return tasks
