"""Do predictions themselves still spread as they did on the reference? The drift methods of numeric features, on what the model answered.

Belongs here: looking at predictions as if they were features. Does not: the methods (``univariate.py``), inputs.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.breaches import drift_lines
from monitoring_assets.measures.distribution import Numbers, summarize_numbers
from monitoring_assets.measures.lines import joined
from monitoring_assets.measures.univariate import FittedColumn, FrameRows, fit_columns, measure_columns
from resources.policy import MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


@dataclass(frozen=True)
class FittedPredictions:
    """One fitted column for each probability, or for the predicted number."""

    columns: list[FittedColumn]

    def as_plain(self) -> dict[str, Any]:
        """Everything but the predictions themselves, as plain data for storage."""
        return {"columns": [one.as_plain() for one in self.columns]}

    def arrays(self) -> "dict[str, np.ndarray]":
        """Sorted reference predictions by column."""
        found = {}
        for one in self.columns:
            summary = one.plain()
            assert isinstance(summary, Numbers)  # noqa: S101 - predictions are numbers
            found[one.subject] = summary.expanded()
        return found

    @classmethod
    def from_plain(cls, plain: dict[str, Any], arrays: "dict[str, np.ndarray]") -> "FittedPredictions":
        """What ``as_plain`` and ``arrays`` gave."""
        return cls([FittedColumn.from_plain(one, {"": summarize_numbers(arrays[one["subject"]])}) for one in plain["columns"]])


def _as_features(policy: MonitoredModel) -> MonitoredModel:
    """The declaration with predictions in the place of features; no seasons, segments or smallest effects."""
    names = list(policy.probabilities) or ["y_pred"]
    features = policy.features.model_copy(update={"numeric": names, "categorical": []})
    drift = policy.drift.model_copy(update={"season": None, "minimum_effect": {}, "outliers": 0.0})
    return policy.model_copy(update={"features": features, "segments": [], "drift": drift})


def fit_predictions(policy: MonitoredModel, reference: "pd.DataFrame", usual: int) -> FittedPredictions:
    """Fit on the predictions of the reference.

    Args:
        policy: declares task, drift methods and limit.
        reference: ``(n_rows, ...)`` in time order with ``time`` and predictions.
        usual: rows a chunk usually holds.
    """
    return FittedPredictions(fit_columns(_as_features(policy), reference, usual))


def prediction_lines(policy: MonitoredModel, fitted: FittedPredictions, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Lines of kind ``prediction_drift`` of every chunk of ``rows``, with the limits and the rate that features have."""
    view, found = _as_features(policy), []
    for chunk, own in rows.groupby("chunk"):
        measured, _ = measure_columns(view, fitted.columns, FrameRows(own))
        found.append(drift_lines(view, str(chunk), measured, {}, len(own)))
    return joined(found).assign(kind=str(Kind.PREDICTION_DRIFT))
