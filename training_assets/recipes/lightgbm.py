"""LightGBM classifier and regressor, repeatable to the last bit for a given seed."""

from collections.abc import Collection, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from resources.policy import MonitoredModel
from resources.quiet import settle
from resources.vocabulary import Task

if TYPE_CHECKING:
    import pandas as pd

_DEFAULTS: Mapping[str, Any] = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 20,
    "feature_fraction": 0.9,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "num_iterations": 150,
}
#: Rounds that an update adds to the champion's trees.
_UPDATE_ROUNDS = 50
_OBJECTIVES = {Task.BINARY_CLASSIFICATION: "binary", Task.MULTICLASS_CLASSIFICATION: "multiclass", Task.REGRESSION: "regression"}
_DECISION_THRESHOLD = 0.5


class LightGBM:
    """Gradient-boosted trees; class 1 is predicted where its probability reaches one half, and of several classes the most likely one."""

    name = "lightgbm"
    tasks: Collection[Task] = tuple(_OBJECTIVES)
    needs_much_to_update = True

    def parameters(self, policy: MonitoredModel) -> Mapping[str, Any]:
        """Defaults, the declaration's overrides, and what makes the fit repeatable."""
        fixed = {
            "objective": _OBJECTIVES[policy.task],
            "seed": policy.retrain.seed,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 2,
            "verbosity": -1,
            **({"num_class": len(policy.outcome.classes)} if policy.outcome.classes else {}),
        }
        return {**_DEFAULTS, **policy.retrain.parameters, **fixed}

    def can_learn(self, policy: MonitoredModel, rows: "pd.DataFrame") -> bool:
        """Whether there are ``gates.minimum_rows`` rows with two different outcomes."""
        return len(rows) >= policy.gates.minimum_rows and bool(rows["y_true"].nunique() >= 2)

    def expected(self, policy: MonitoredModel) -> str:
        """Rows and classes."""
        return f"at least {policy.gates.minimum_rows} with two classes"

    def fit(self, policy: MonitoredModel, rows: "pd.DataFrame") -> Any:
        """Fit a Booster on ``(n_rows, features + y_true)``; categories unseen later count as missing."""
        settle()
        import lightgbm

        parameters = dict(self.parameters(policy))
        rounds = int(parameters.pop("num_iterations"))
        data = lightgbm.Dataset(_inputs(policy, rows), rows["y_true"], free_raw_data=True)
        return lightgbm.train(parameters, data, num_boost_round=rounds)

    def update(self, policy: MonitoredModel, model: Any, rows: "pd.DataFrame", only: Collection[str] | None = None) -> Any:
        """Add trees to a copy of ``model``, fitted on ``(n_rows, features + y_true)``; its categories stay, others count as missing."""
        settle()
        import lightgbm
        import pandas as pd

        parameters = dict(self.parameters(policy))
        parameters.pop("num_iterations")
        inputs = _inputs(policy, rows)
        for name, categories in zip(policy.features.categorical, model.pandas_categorical or [], strict=True):
            inputs[name] = pd.Categorical(rows[name], categories=categories)
        data = lightgbm.Dataset(inputs, rows["y_true"], free_raw_data=True)
        return lightgbm.train(parameters, data, num_boost_round=_UPDATE_ROUNDS, init_model=model)

    def predict(self, policy: MonitoredModel, model: Any, rows: "pd.DataFrame", past: "pd.DataFrame | None" = None) -> "pd.DataFrame":
        """Predict on the index of ``rows``; probabilities in [0, 1] for classifiers."""
        import pandas as pd

        if rows.empty:
            return pd.DataFrame(columns=policy.predictions, index=rows.index, dtype="float64")
        if policy.task is Task.MULTICLASS_CLASSIFICATION:
            matrix = model.predict(_inputs(policy, rows), num_threads=2)
            scores = pd.DataFrame(matrix, columns=policy.probabilities, index=rows.index)
            scores.insert(0, "y_pred", matrix.argmax(axis=1).astype("float64"))
            return scores
        raw = pd.Series(model.predict(_inputs(policy, rows), num_threads=2), index=rows.index)
        if policy.task is Task.BINARY_CLASSIFICATION:
            return pd.DataFrame({"y_pred": (raw >= _DECISION_THRESHOLD).astype("float64"), "y_pred_proba": raw})
        return pd.DataFrame({"y_pred": raw})

    def importance(self, policy: MonitoredModel, model: Any) -> Mapping[str, float]:
        """Share of the summed gain of all splits; sums to 1 unless no split was made."""
        gains = dict(zip(model.feature_name(), model.feature_importance("gain"), strict=True))
        total = sum(gains.values())
        names = [str(name) for name in policy.features.all]
        # LightGBM stores names without blanks
        return {name: float(gains[name.replace(" ", "_")] / total) for name in names} if total else {}

    def log(self, model: Any) -> str:
        """Log the Booster as text; gives the model's URI."""
        import mlflow

        return str(mlflow.lightgbm.log_model(model, name="model", pip_requirements=[f"lightgbm=={version('lightgbm')}"]).model_uri)

    def read(self, uri: str) -> Any:
        """The Booster behind a model URI; it loads from text, no code of the artifact is run."""
        import mlflow

        return mlflow.lightgbm.load_model(uri)

    def logged(self, model: Any) -> tuple[Mapping[str, Any], Mapping[str, float]]:
        """Nothing beside the declared parameters."""
        return {}, {}


def _inputs(policy: MonitoredModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    numbers = rows[policy.features.numeric].astype("float64")
    return numbers.join(rows[policy.features.categorical].astype("category"))
