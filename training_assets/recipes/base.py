"""What a recipe must offer."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from resources.policy import MonitoredModel
from resources.vocabulary import Task

if TYPE_CHECKING:
    import pandas as pd


class Recipe(Protocol):
    """Turns rows into a model and a model into predictions."""

    name: str
    tasks: Collection[Task]
    #: Whether an update asks for as many rows as a first fit.
    needs_much_to_update: bool

    def parameters(self, policy: MonitoredModel) -> Mapping[str, Any]:
        """Everything that makes the fit repeatable, the seed included."""

    def can_learn(self, policy: MonitoredModel, rows: "pd.DataFrame") -> bool:
        """Whether ``(n_rows, features + y_true)`` are enough to fit on."""

    def expected(self, policy: MonitoredModel) -> str:
        """What ``can_learn`` asks for, in words."""

    def fit(self, policy: MonitoredModel, rows: "pd.DataFrame") -> Any:
        """Fit on ``(n_rows, features + y_true)``."""

    def update(self, policy: MonitoredModel, model: Any, rows: "pd.DataFrame", only: Collection[str] | None = None) -> Any:
        """Go on from ``model`` with rows it has not learned from; ``model`` itself does not change, nor do series outside ``only``."""

    def predict(self, policy: MonitoredModel, model: Any, rows: "pd.DataFrame", past: "pd.DataFrame | None" = None) -> "pd.DataFrame":
        """Predict ``(n_rows, ...)`` as the model would have served them: columns ``policy.predictions``, on the index of ``rows``.

        Args:
            past: labelled rows from before ``rows``, which forecasters go on from; a model of single rows needs none.
        """

    def importance(self, policy: MonitoredModel, model: Any) -> Mapping[str, float]:
        """Share of each feature in what the model learned; sums to 1, or empty where the recipe cannot tell."""

    def log(self, model: Any) -> str:
        """Log the model into the active MLflow run, in a format that loads without unpickling; gives its URI."""

    def read(self, uri: str) -> Any:
        """The model behind an MLflow URI."""

    def logged(self, model: Any) -> tuple[Mapping[str, Any], Mapping[str, float]]:
        """Parameters and numbers that the fit found, which a run carries beside the model."""
