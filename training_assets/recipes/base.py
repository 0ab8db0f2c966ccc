"""What a recipe must offer."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from resources.policy import MonitoredModel

if TYPE_CHECKING:
    import pandas as pd


class Recipe(Protocol):
    """Turns rows into a model and a model into predictions."""

    name: str

    def parameters(self, policy: MonitoredModel) -> Mapping[str, Any]:
        """Everything that makes the fit repeatable, the seed included."""

    def fit(self, policy: MonitoredModel, rows: "pd.DataFrame") -> Any:
        """Fit on ``(n_rows, features + y_true)``."""

    def update(self, policy: MonitoredModel, model: Any, rows: "pd.DataFrame") -> Any:
        """Go on from ``model`` with rows it has not learned from; ``model`` itself does not change."""

    def predict(self, policy: MonitoredModel, model: Any, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Predict ``(n_rows, ...)``: columns ``policy.predictions``, on the index of ``rows``."""

    def importance(self, policy: MonitoredModel, model: Any) -> Mapping[str, float]:
        """Share of each feature in what the model learned; sums to 1, or empty where the recipe cannot tell."""
