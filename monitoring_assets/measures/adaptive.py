"""Performance of a classifier before its outcomes are known, also where its inputs have moved.

Belongs here: fitting an estimator on the reference with outcomes, its limits and its record on reference chunks it had
not seen, estimating chunks, plain data for storage. Does not: calibrating (``calibration.py``), metrics (``expected_metrics.py``).

CBPE calibrates the score once; under covariate shift the same score may mean another probability. ``m_cbpe`` calibrates by
score and features, ``pape`` by score with the reference weighted to resemble each chunk. All assume that outcomes still
follow from the inputs as they did: they are blind to concept drift.

Source: Białek, Kivimäki, Kuberski & Perrakis (2024), Estimating Model Performance Under Covariate Shift Without Labels, arXiv 2401.08348.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures import calibration
from monitoring_assets.measures.calibration import Sample, State
from monitoring_assets.measures.density_ratio import Levels, coded, fit_levels
from monitoring_assets.measures.domain_classifier import chosen
from monitoring_assets.measures.expected_metrics import Expected, expected
from monitoring_assets.measures.lines import lines_of
from monitoring_assets.measures.nanny import LimitPair
from monitoring_assets.measures.number import NAN
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import MonitoredModel

#: Most reference chunks on which limits and spread are learned, evenly spread: ``pape`` is fitted anew for each.
MOST_CHUNKS = 40
_TRUTH, _PREDICTION, _PROBABILITY = "y_true", "y_pred", "y_pred_proba"


@dataclass(frozen=True)
class FittedEstimator:
    """One fitted estimator as plain data.

    Attributes:
        name: one of ``ESTIMATORS``.
        levels: categories of each categorical feature.
        state: what the calibration needs: arrays, numbers, text.
        limits: of each metric, from estimates of reference chunks the calibration had not seen.
        spread: of each metric, the standard deviation of estimate minus realized over those chunks; NaN below two of them.
        n_rows: reference rows it was fitted on.
        n_chunks: reference chunks behind limits and spread.
        seed: of folds and choices.
    """

    name: str
    levels: Levels
    state: State
    limits: Mapping[str, LimitPair]
    spread: Mapping[str, float]
    n_rows: int
    n_chunks: int
    seed: int

    def as_plain(self) -> dict[str, Any]:
        """Data that JSON can hold, without code; arrays are compressed bytes in base 64."""
        limits = {metric: {**vars(pair)} for metric, pair in self.limits.items()}
        state = {name: _packed(value) for name, value in self.state.items()}
        spread = {metric: None if value != value else value for metric, value in self.spread.items()}
        levels = {name: list(own) for name, own in self.levels.items()}
        return {**vars(self), "limits": limits, "state": state, "spread": spread, "levels": levels}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "FittedEstimator":
        """What ``as_plain`` gave."""
        limits = {metric: LimitPair(**pair) for metric, pair in plain["limits"].items()}
        state = {name: _unpacked(value) for name, value in plain["state"].items()}
        spread = {metric: NAN if value is None else value for metric, value in plain["spread"].items()}
        return cls(**{**plain, "limits": limits, "state": state, "spread": spread})


def _packed(value: Any) -> Any:
    import base64
    import zlib

    import numpy as np

    if not isinstance(value, np.ndarray):
        return value
    raw = np.ascontiguousarray(value.T)  # column by column: equal numbers lie side by side and shrink
    return {"dtype": raw.dtype.str, "shape": list(raw.shape), "bytes": base64.b64encode(zlib.compress(raw.tobytes())).decode("ascii")}


def _unpacked(value: Any) -> Any:
    import base64
    import zlib

    import numpy as np

    if not isinstance(value, dict):
        return value
    raw = np.frombuffer(zlib.decompress(base64.b64decode(value["bytes"])), dtype=np.dtype(value["dtype"]))
    return np.ascontiguousarray(raw.reshape(value["shape"]).T)


# --- the two estimators -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Estimator:
    """How an estimator is fitted (state and probabilities of unseen reference chunks) and asked."""

    fit: "Callable[[Sample, Sequence[np.ndarray], int, int], tuple[State, list[np.ndarray]]]"
    probabilities: "Callable[[State, Sample, int, int], np.ndarray]"


def _fit_m_cbpe(sample: Sample, chunks: "Sequence[np.ndarray]", n_categorical: int, seed: int) -> "tuple[State, list[np.ndarray]]":
    state = calibration.fit_multi(sample, n_categorical, seed)
    unseen = state.pop("out_of_fold")
    return state, [unseen[own] for own in chunks]


def _fit_pape(sample: Sample, chunks: "Sequence[np.ndarray]", n_categorical: int, seed: int) -> "tuple[State, list[np.ndarray]]":
    kept = sample.of(chosen(len(sample.scores), calibration.MOST_ROWS, seed))
    return {**vars(kept)}, calibration.unseen_probabilities(sample, chunks, n_categorical, seed)


ESTIMATORS = {
    "m_cbpe": _Estimator(_fit_m_cbpe, lambda state, sample, *_: calibration.multi_probabilities(state, sample)),
    "pape": _Estimator(_fit_pape, lambda state, sample, *rest: calibration.adaptive_probabilities(Sample(**state), sample, *rest)),
}


def fit(name: str, policy: "MonitoredModel", reference: "pd.DataFrame") -> FittedEstimator:
    """Fit an estimator on the reference.

    Args:
        name: one of ``ESTIMATORS``.
        policy: declares features, metrics, limits, the chunk and the seed (``retrain.seed``).
        reference: ``(n_rows, ...)`` with ``time``, features, ``y_true``, ``y_pred`` and ``y_pred_proba``; rows without one of the
            last three are left out.

    Returns:
        The estimator. Limits are mean ± ``std`` deviations of the estimates of reference chunks, each made without the
        outcomes of its own rows; a limit outside [0, 1] is none.

    Raises:
        ValueError: unknown name, or a reference without at least five rows of each class.
    """
    import numpy as np

    if name not in ESTIMATORS:
        raise ValueError(f"got {name!r}; expected one of {', '.join(ESTIMATORS)}")
    complete = reference.dropna(subset=[_TRUTH, _PREDICTION, _PROBABILITY])
    fewest = min(int((complete[_TRUTH] == label).sum()) for label in (0, 1))
    if fewest < calibration.FOLDS:
        raise ValueError(f"got {fewest} reference rows of the rarer class; expected at least {calibration.FOLDS}: widen the reference")
    levels, seed = fit_levels(complete, policy.features), policy.retrain.seed
    sample = _sample(complete, policy, levels)
    keys = policy.cadence.keys(complete["time"]).to_numpy()
    names = np.unique(keys)
    chunks = [np.flatnonzero(keys == names[place]) for place in chosen_evenly(len(names), MOST_CHUNKS)]
    chunks = [own for own in chunks if len(own) > 1 and len(complete) - len(own) > 1]
    state, unseen = ESTIMATORS[name].fit(sample, chunks, len(policy.features.categorical), seed)
    predictions = complete[_PREDICTION].to_numpy(dtype="float64")
    estimates, misses = _rehearsed(policy.metrics, sample, predictions, chunks, unseen)
    limits = {metric: _limit(policy, values) for metric, values in estimates.items()}
    spread = {metric: _deviation(values) for metric, values in misses.items()}
    return FittedEstimator(name, levels, state, limits, spread, len(complete), len(chunks), seed)


def chosen_evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of ``count`` places, evenly spread, the first and the last among them."""
    import numpy as np

    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def _sample(rows: "pd.DataFrame", policy: "MonitoredModel", levels: Levels) -> Sample:
    """Codes, scores and, where there are any, outcomes."""
    import numpy as np

    outcomes = rows[_TRUTH].to_numpy(dtype="float64", na_value=np.nan) if _TRUTH in rows else np.full(len(rows), np.nan)
    codes = coded(rows, policy.features, levels)
    return Sample(codes, rows[_PROBABILITY].to_numpy(dtype="float64"), outcomes)


def _rehearsed(
    metrics: Sequence[str], sample: Sample, predictions: "np.ndarray", chunks: "Sequence[np.ndarray]", unseen: "Sequence[np.ndarray]"
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Estimates of reference chunks, and how far each lay above the realized metric."""
    estimates: dict[str, list[float]] = {metric: [] for metric in metrics}
    misses: dict[str, list[float]] = {metric: [] for metric in metrics}
    for own, probabilities in zip(chunks, unseen, strict=True):
        for metric in metrics:
            estimate = expected(metric, probabilities, sample.scores[own], predictions[own]).value
            estimates[metric].append(estimate)
            misses[metric].append(estimate - expected(metric, sample.outcomes[own], sample.scores[own], predictions[own]).value)
    return estimates, misses


def _deviation(values: Sequence[float]) -> float:
    import numpy as np

    finite = np.asarray(values)[np.isfinite(values)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else NAN


def _limit(policy: "MonitoredModel", values: Sequence[float]) -> LimitPair:
    """Mean ± the declared number of standard deviations; no limit where there is no chunk or no metric goes."""
    import numpy as np

    finite = np.asarray(values)[np.isfinite(values)]
    if not len(finite):
        return LimitPair(None, None)
    reach = (policy.performance.estimated_limit or policy.performance.limit).std * float(finite.std())
    lower, upper = float(finite.mean()) - reach, float(finite.mean()) + reach
    return LimitPair(lower if lower >= 0 else None, upper if upper <= 1 else None, mean=float(finite.mean()))


def estimate(fitted: FittedEstimator, policy: "MonitoredModel", rows: "pd.DataFrame") -> "pd.DataFrame":
    """Estimate every chunk in ``rows``; chunk by chunk gives the same numbers.

    Args:
        fitted: from ``fit``; it is not changed.
        policy: the same declaration it was fitted with.
        rows: ``(n_rows, ...)`` of whole chunks with ``time``, features, ``y_pred`` and ``y_pred_proba``; outcomes are not read.

    Returns:
        One line per chunk and metric, with the estimator's name as method. ``standard_error`` is how far the realized
        metric strays by chance where the estimate is right. A metric that cannot be estimated is NaN and never a breach.
    """
    records = []
    for chunk, own in rows.groupby(policy.cadence.keys(rows["time"]), sort=True):
        for metric, found in estimate_group(fitted, policy, own).items():
            pair = fitted.limits.get(metric, LimitPair(None, None))
            records.append({
                "chunk": chunk, "kind": str(Kind.ESTIMATED_PERFORMANCE), "method": fitted.name, "subject": metric, "value": found.value,
                "standard_error": found.standard_error, "n_rows": len(own), "lower_limit": pair.lower, "upper_limit": pair.upper,
                "breach": pair.is_breached_by(found.value), "effect": found.value - pair.mean,
            })  # fmt: skip
    return lines_of(records)


def estimate_group(fitted: FittedEstimator, policy: "MonitoredModel", rows: "pd.DataFrame") -> dict[str, Expected]:
    """Expected metrics of one group of rows, whatever their times; NaN below two rows with a prediction."""
    complete = rows.dropna(subset=[_PREDICTION, _PROBABILITY])
    if len(complete) < 2:
        return dict.fromkeys(policy.metrics, Expected(NAN, NAN))
    sample = _sample(complete.drop(columns=_TRUTH, errors="ignore"), policy, fitted.levels)
    probabilities = ESTIMATORS[fitted.name].probabilities(fitted.state, sample, len(policy.features.categorical), fitted.seed)
    predictions = complete[_PREDICTION].to_numpy(dtype="float64")
    return {metric: expected(metric, probabilities, sample.scores, predictions) for metric in policy.metrics}
