"""A forecaster as an MLflow model: code of this package and plain files, so that nothing is unpickled when it loads.

Belongs here: logging, and the code MLflow runs to load a model (``served_model``). Does not: registering and aliases
(``resources.registry``). Writes one run's model; reads none.
"""

import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from resources.quiet import settle
from training_assets.recipes.forecast.base import LAGS, Fitted
from training_assets.recipes.forecast.storage import save

ARTIFACT = "forecaster"
_PACKAGES = ("statsforecast", "utilsforecast", "pandas", "numpy", "pyarrow", "pydantic")
_LAGS_PACKAGES = ("mlforecast", "lightgbm")


def log_forecaster(fitted: Fitted, name: str = "model") -> str:
    """Log into the active MLflow run; gives the model's URI.

    The model takes ``unique_id, ds`` and the columns known in advance (one row of anything where there are none), and the parameters
    ``h`` and ``levels`` (percentages with commas); it gives the frame of ``Fitted.forecast``. It loads with
    ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false`` wherever this package is installed.
    """
    settle()
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ParamSchema, ParamSpec

    spec = fitted.spec
    asked = ParamSchema([ParamSpec("h", "long", spec.h), ParamSpec("levels", "string", ",".join(map(str, spec.levels)))])
    with tempfile.TemporaryDirectory() as folder:
        home = save(fitted, Path(folder) / ARTIFACT)
        info = mlflow.pyfunc.log_model(
            name=name,
            python_model=str(Path(__file__).with_name("served_model.py")),
            artifacts={ARTIFACT: str(home)},
            signature=ModelSignature(params=asked),
            pip_requirements=requirements(fitted),
        )
    return str(info.model_uri)


def requirements(fitted: Fitted) -> list[str]:
    """Pinned packages the forecaster needs; LightGBM's only where a series chose it."""
    names = (*_PACKAGES, *(_LAGS_PACKAGES if fitted.booster is not None else ()))
    return [f"{name}=={version(name)}" for name in names]


def parameters(fitted: Fitted) -> Mapping[str, Any]:
    """What a run logs beside the model: the specification's scalars, the cutoff, and how often each model was chosen."""
    spec, counts = fitted.spec, fitted.choices["models"].value_counts().to_dict()
    return {
        "freq": spec.freq,
        "season_lengths": list(spec.season_lengths),
        "h": spec.h,
        "embargo": spec.embargo,
        "candidates": list(spec.names),
        "intervals": spec.intervals,
        "transform": spec.transform,
        "metric": spec.backtest.metric,
        "windows": spec.backtest.windows,
        "n_series": len(fitted.choices),
        "n_fallback": int(fitted.choices["is_fallback"].sum()),
        "cutoff": str(fitted.history["ds"].max()),
        "chosen": {str(name): int(count) for name, count in counts.items()},
        "uses_lightgbm": any(LAGS in str(name).split("+") for name in counts),
    }


def measures(fitted: Fitted) -> Mapping[str, float]:
    """MAE, RMSE and bias (mean of y - forecast) of the backtest's chosen forecasts, in units of ``y``, and the mean scores."""
    error = fitted.errors["error"]
    return {
        "backtest_mae": float(error.abs().mean()),
        "backtest_rmse": float((error**2).mean() ** 0.5),
        "backtest_bias": float(error.mean()),
        f"backtest_{fitted.spec.backtest.metric}": float(fitted.choices["score"].mean()),
        f"baseline_{fitted.spec.backtest.metric}": float(fitted.choices["baseline_score"].mean()),
    }
