"""The code MLflow runs to load a logged forecaster (models from code); nothing but ``served.log_forecaster`` names this file.

Belongs here: the pyfunc wrapper. Does not: any forecasting. Reads the artifact folder.
"""

from typing import Any

import mlflow
import pandas as pd

from training_assets.recipes.forecast.storage import load

_ARTIFACT = "forecaster"


class ServedForecaster(mlflow.pyfunc.PythonModel):  # type: ignore[misc] # mlflow is untyped
    """Forecasts from the stored history; parameters ``h`` and ``levels`` as in ``served.log_forecaster``."""

    def load_context(self, context: Any) -> None:
        """Read the plain files of the forecaster."""
        self.fitted = load(context.artifacts[_ARTIFACT])

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Forecast; ``model_input`` is the future frame where columns are known in advance, and is not read otherwise."""
        asked = params or {}
        levels = [int(level) for level in str(asked.get("levels", "")).split(",") if level] if "levels" in asked else None
        has_future = any(one.lag is None for one in self.fitted.spec.exogenous)
        return self.fitted.forecast(asked.get("h"), levels, model_input if has_future else None)


mlflow.models.set_model(ServedForecaster())
