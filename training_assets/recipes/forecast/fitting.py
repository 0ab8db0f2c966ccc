"""One series, its models, its numbers: fitted, fitted again with orders held, or forecast. Runs wherever work is spread to.

Belongs here: what happens to one series, from plain data to plain data. Does not: spreading (``distributed``), choosing
(``selection``). A model that fails gives way to the fallback, and the answer says so and why. Reads and writes nothing.
"""

import warnings
from typing import TYPE_CHECKING, Any

from resources.quiet import settle
from training_assets.recipes.forecast.base import LAGS, ForecastSpec
from training_assets.recipes.forecast.plain import from_json, to_json
from training_assets.recipes.forecast.statistical import build, held_fast

if TYPE_CHECKING:
    import numpy as np

_LAST_RESORT = "naive"


def fit_series(task: dict[str, Any]) -> dict[str, Any]:
    """Fit ``task["models"]`` on ``y`` and ``x``; where one fails, the fallback alone.

    Args:
        task: ``spec`` (JSON), ``models`` (names, without LightGBM), ``states`` (name to JSON of earlier fits whose order is
            held, or empty), ``y`` ``(n,)``, ``x`` ``(n, n_columns)`` or ``None``.

    Returns:
        ``states`` (name to JSON) and ``reason`` (empty, or why the fallback stands in).
    """
    settle()
    spec = ForecastSpec.model_validate_json(task["spec"])
    y, x = arrays(task)
    try:
        return {"states": {name: _fitted(spec, name, task["states"].get(name), y, x) for name in task["models"]}, "reason": ""}
    except Exception as error:  # statsforecast raises whatever a series provokes; the reason is kept and shown
        return fall_back(spec, y, x, f"{type(error).__name__}: {error}")


def fall_back(spec: ForecastSpec, y: "np.ndarray", x: "np.ndarray | None", reason: str) -> dict[str, Any]:
    """The fallback of the specification, or the last value repeated where a series is too short even for that."""
    name = spec.fallback if len(y) > spec.season else _LAST_RESORT
    try:
        return {"states": {name: _fitted(spec, name, None, y, x)}, "reason": reason}
    except Exception as error:  # the same series may break the fallback too
        reason = f"{reason}; then {name}: {type(error).__name__}: {error}"
        return {"states": {_LAST_RESORT: _fitted(spec, _LAST_RESORT, None, y, x)}, "reason": reason}


def fall_back_series(task: dict[str, Any]) -> dict[str, Any]:
    """As ``fit_series``, with the fallback at once; ``task["reason"]`` says why."""
    settle()
    return fall_back(ForecastSpec.model_validate_json(task["spec"]), *arrays(task), task["reason"])


def forecast_series(task: dict[str, Any]) -> dict[str, Any]:
    """Forecast ``task["h"]`` steps with every model of a series.

    Args:
        task: ``states``, ``h``, ``levels``, ``x_future``; and, where rows came after the fit, ``y`` and ``x`` of the whole
            history, over which fitted parameters run on.

    Returns:
        Model to ``{"mean": (h,), "lo-80": …}``.
    """
    settle()
    future = None if task["x_future"] is None else _matrix(task["x_future"])
    y, x = arrays(task) if task["y"] is not None else (None, None)
    return {name: _forecast(from_json(text), task, y, x, future) for name, text in task["states"].items()}


def _forecast(
    model: Any, task: dict[str, Any], y: "np.ndarray | None", x: "np.ndarray | None", future: "np.ndarray | None"
) -> dict[str, list[float]]:
    levels = sorted(task["levels"]) or None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if y is None:
            answer = model.predict(h=task["h"], X=future, level=levels)
        else:
            answer = model.forward(y=y, h=task["h"], X=x, X_future=future, level=levels)
    return {name: [float(one) for one in values] for name, values in answer.items() if name == "mean" or name[:3] in ("lo-", "hi-")}


def _fitted(spec: ForecastSpec, name: str, state: str | None, y: "np.ndarray", x: "np.ndarray | None") -> str:
    model = build(spec, name) if state is None else held_fast(from_json(state))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = model.fit(y=y, X=x)
        ahead = fitted.predict(h=1, X=None if x is None else x[-1:])["mean"]
    if not float("-inf") < float(ahead[0]) < float("inf"):
        raise ValueError(f"{name}: got a forecast of {ahead[0]}; expected a finite number")
    return to_json(fitted)


def arrays(task: dict[str, Any]) -> "tuple[np.ndarray, np.ndarray | None]":
    """``y`` ``(n,)`` and ``x`` ``(n, n_columns)`` or ``None`` of a task."""
    import numpy as np

    return np.array(task["y"], dtype="float64"), None if task["x"] is None else _matrix(task["x"])


def _matrix(rows: list[list[float]]) -> "np.ndarray":
    import numpy as np

    return np.array(rows, dtype="float64")


def statistical_models(models: str) -> list[str]:
    """Names out of a choice, without LightGBM, which is not fitted per series."""
    return [name for name in models.split("+") if name and name != LAGS]
