"""NannyML as the engine of record: fit on the reference once, measure any set of chunks against it.

Belongs here: building calculators, preparing frames so that NannyML drops nothing, one long result shape. Does not: storage.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.lines import FILLED, typed, with_all_columns
from monitoring_assets.measures.paired import BUSINESS_VALUE, CELLS
from resources.policy import Limit, MonitoredModel
from resources.quiet import settle
from resources.vocabulary import Kind, Task

if TYPE_CHECKING:
    import pandas as pd

_TIME, _TRUTH, _PREDICTION = "time", "y_true", "y_pred"
_PROBLEMS = {
    Task.BINARY_CLASSIFICATION: "classification_binary",
    Task.MULTICLASS_CLASSIFICATION: "classification_multiclass",
    Task.REGRESSION: "regression",
}


@dataclass(frozen=True)
class LimitPair:
    """Fitted limits of one number; ``None`` on a side means that side never breaches.

    Attributes:
        lower: limit of a chunk as precise as those of the reference.
        upper: the same, above.
        multiplier: standard deviations between the mean and a limit.
        spread: standard deviation over the reference chunks.
        standard_error: usual sampling error of a reference chunk.
        mean: over the reference chunks.
    """

    lower: float | None
    upper: float | None
    multiplier: float = 0.0
    spread: float = 0.0
    standard_error: float = 0.0
    mean: float = float("nan")

    def allowing_for(self, standard_error: float) -> "LimitPair":
        """The limits of a chunk with this sampling error: fewer outcomes than usual scatter more, and that alone is no breach."""
        import math

        surplus = standard_error**2 - self.standard_error**2
        if not surplus > 0:  # NaN included
            return self
        extra = self.multiplier * (math.hypot(self.spread, math.sqrt(surplus)) - self.spread)
        lower, upper = (None if edge is None else edge + side * extra for edge, side in ((self.lower, -1), (self.upper, 1)))
        return replace(self, lower=lower, upper=upper)

    def is_breached_by(self, value: float) -> bool:
        """Whether ``value`` lies outside; NaN never breaches."""
        return (self.lower is not None and value < self.lower) or (self.upper is not None and value > self.upper)


@dataclass(frozen=True)
class Fitted:
    """One fitted calculator, the limits of its numbers by ``(method, subject)``, and how much it was fitted on."""

    component: str
    calculator: Any
    limits: Mapping[tuple[str, str], LimitPair]
    n_rows: int
    n_chunks: int


@contextmanager
def _quiet() -> Iterator[ModuleType]:
    """NannyML with usage logging off, and without its log lines and warnings about its own dependencies."""
    import logging
    import warnings

    settle()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nannyml
        from threadpoolctl import threadpool_limits

        logging.getLogger("nannyml").setLevel(logging.ERROR)
        with threadpool_limits(1):  # its many small fits spend ten times as long in threads that wait for each other
            yield nannyml


def _deviations(nannyml: ModuleType, limit: Limit) -> Any:
    return nannyml.thresholds.StandardDeviationThreshold(std_lower_multiplier=limit.std, std_upper_multiplier=limit.std)


def _common(policy: MonitoredModel, nml: ModuleType, limit: Limit) -> dict[str, Any]:
    metrics = list(dict.fromkeys("confusion_matrix" if metric in CELLS else metric for metric in policy.metrics))
    return {
        "metrics": metrics, "y_pred": _PREDICTION, "y_true": _TRUTH, "timestamp_column_name": _TIME, "chunk_period": policy.cadence.period,
        "thresholds": {metric: _deviations(nml, limit) for metric in metrics},
    }  # fmt: skip


def _of_classifier(policy: MonitoredModel) -> dict[str, Any]:
    """What NannyML must know of a classifier: probabilities, of several classes by the place that stands for each; cells as shares of all rows."""
    if policy.task is Task.REGRESSION:
        return {}
    values = policy.performance.business_value
    several = policy.task is Task.MULTICLASS_CLASSIFICATION
    return {
        "y_pred_proba": dict(enumerate(policy.probabilities)) if several else policy.probabilities[0],
        "normalize_confusion_matrix": "all",
        "business_value_matrix": [list(row) for row in values] if values else None,
    }


def _estimated(policy: MonitoredModel, nml: ModuleType) -> Any:
    common = _common(policy, nml, _limit("estimated", policy))
    if policy.estimator == "cbpe":
        return nml.CBPE(problem_type=_PROBLEMS[policy.task], **_of_classifier(policy), **common)
    hyperparameters = {"n_jobs": 1, "verbosity": -1}
    return nml.DLE(feature_column_names=policy.features.all, hyperparameters=hyperparameters, **common)


def _realized(policy: MonitoredModel, nml: ModuleType) -> Any:
    common = _common(policy, nml, _limit("realized", policy))
    return nml.PerformanceCalculator(problem_type=_PROBLEMS[policy.task], **_of_classifier(policy), **common)


_BUILDERS = {"estimated": _estimated, "realized": _realized}
_KINDS = {"estimated": Kind.ESTIMATED_PERFORMANCE, "realized": Kind.REALIZED_PERFORMANCE}
#: What is fitted on out-of-sample predictions with outcomes.
COMPONENTS = ("estimated", "realized")
#: Estimators that are NannyML's.
ESTIMATORS = ("cbpe", "dle")


def fit(component: str, policy: MonitoredModel, reference: "pd.DataFrame") -> Fitted:
    """Fit one component on the reference.

    Args:
        component: one of ``COMPONENTS``.
        policy: declares features, methods, metrics, limits and the chunk.
        reference: ``(n_rows, ...)`` with ``time`` and features; for performance also ``y_true``, ``y_pred`` and,
            for classifiers, probabilities; every class must occur in ``y_true``.

    Returns:
        The calculator without the reference result it no longer needs, and the limits it fitted.
    """
    with _quiet() as nml:
        calculator = _BUILDERS[component](policy, nml)
        calculator.fit(_prepared(policy, reference))
        fitted = _per_row(component, policy, calculator.result.to_df())
        limits = {
            (method, subject): _limit_pair(component, policy, fitted, key) for method, subject, key in _numbers(component, policy, fitted)
        }
        calculator.result = None
    return Fitted(component, calculator, limits, len(reference), len(fitted))


def _per_row(component: str, policy: MonitoredModel, results: "pd.DataFrame") -> "pd.DataFrame":
    """Business value as that of one row, so that chunks of different size compare, with limits to match.

    NannyML gives the total of a chunk; its ``per_prediction`` is no mean either, but the sum of the means of two groups of rows.
    """
    if BUSINESS_VALUE not in policy.metrics:
        return results
    own = {column[-1]: column for column in results.columns if column[0] == "chunk"}
    n_rows = results[own["end_index"]] - results[own["start_index"]] + 1
    numbers = [
        column for column in results.columns if column[0] == BUSINESS_VALUE and column[-1] in ("value", "realized", "sampling_error")
    ]
    scaled = results.copy()
    scaled[numbers] = scaled[numbers].astype("float64").div(n_rows, axis=0)
    realized = scaled[BUSINESS_VALUE, "realized" if component == "estimated" else "value"]
    reach = _limit(component, policy).std * realized.std(ddof=0)
    scaled[BUSINESS_VALUE, "lower_threshold"], scaled[BUSINESS_VALUE, "upper_threshold"] = realized.mean() - reach, realized.mean() + reach
    return scaled


def _limit(component: str, policy: MonitoredModel) -> Limit:
    own = policy.performance
    return own.limit if component == "realized" else own.estimated_limit or own.limit


def _limit_pair(component: str, policy: MonitoredModel, fitted: "pd.DataFrame", key: tuple[str, ...]) -> LimitPair:
    limit = _limit(component, policy)
    errors = (
        fitted[(*key, "sampling_error")].astype(float)
        if (*key, "sampling_error") in fitted.columns
        else fitted[(*key, "value")] * float("nan")
    )
    values = fitted[(*key, "value")].astype(float)
    edges = (_number(fitted, key, "lower_threshold"), _number(fitted, key, "upper_threshold"))
    return LimitPair(*edges, limit.std, float(values.std(ddof=0)), float(errors.median()), float(values.mean()))


def measure(fitted: Fitted, policy: MonitoredModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Measure every chunk in ``rows`` against the fitted reference; chunk by chunk gives the same numbers.

    Args:
        fitted: from ``fit``; it is not changed.
        policy: the same declaration it was fitted with.
        rows: ``(n_rows, ...)`` of whole chunks, columns as for ``fit``.

    Returns:
        One row per chunk and number: ``chunk, kind, method, subject, value, standard_error, n_rows, lower_limit,
        upper_limit, breach, effect``, the last one being how far the value lies from the mean of the reference chunks. A number NannyML
        cannot compute is NaN and never a breach.
    """
    import pandas as pd

    with _quiet():
        calculator, prepared = fitted.calculator, _prepared(policy, rows)
        calculator.result = None
        run = calculator.estimate if fitted.component == "estimated" else calculator.calculate
        results = _per_row(fitted.component, policy, run(prepared).to_df())
        calculator.result = None
    own = {column[-1]: column for column in results.columns if column[0] == "chunk"}
    results = results[results[own["period"]] == "analysis"]
    counts = rows.groupby(policy.cadence.keys(rows["time"])).size()
    chunks = [policy.cadence.key(start.to_pydatetime()) for start in results[own["start_date"]]]
    long = []
    for method, subject, key in _numbers(fitted.component, policy, results):
        pair = fitted.limits.get((method, subject), LimitPair(None, None))
        errors = results[(*key, "sampling_error")] if (*key, "sampling_error") in results.columns else [None] * len(results)
        for chunk, value, error in zip(chunks, results[(*key, "value")].astype(float), errors, strict=True):
            allowed = pair.allowing_for(float("nan") if error is None else float(error)) if fitted.component == "realized" else pair
            is_breach, n_rows = allowed.is_breached_by(value), int(counts[chunk])
            line = (chunk, str(_KINDS[fitted.component]), method, subject, value, error, n_rows, allowed.lower, allowed.upper, is_breach)
            long.append((*line, value - pair.mean))
    return typed(with_all_columns(pd.DataFrame(long, columns=[*FILLED, "effect"])))


def _numbers(component: str, policy: MonitoredModel, frame: "pd.DataFrame") -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """``(method, subject, column key)`` of every number in a NannyML result."""
    for column in frame.columns:
        if column[-1] != "value" or column[0] not in policy.metrics:
            continue
        yield policy.estimator if component == "estimated" else "realized", column[0], tuple(column[:-1])


def _number(frame: "pd.DataFrame", key: Sequence[str], name: str) -> float | None:
    import math

    if (*key, name) not in frame.columns or frame.empty:
        return None
    value = frame[(*key, name)].iloc[0]
    return None if value is None or math.isnan(float(value)) else float(value)


def _prepared(policy: MonitoredModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Plain float64 and object columns and naive UTC nanoseconds: other types are silently dropped by NannyML."""
    frame = rows.reset_index(drop=True).copy()
    frame[_TIME] = frame[_TIME].dt.tz_convert("UTC").dt.tz_localize(None).astype("datetime64[ns]")
    numbers = [*policy.features.numeric, *(name for name in (_TRUTH, *policy.predictions) if name in frame)]
    frame[numbers] = frame[numbers].astype("float64")
    for name in policy.features.categorical:
        frame[name] = frame[name].astype(object).where(frame[name].notna(), None)
    if policy.task is not Task.REGRESSION:
        for name in (_TRUTH, _PREDICTION):
            if name in frame and frame[name].notna().all():
                frame[name] = frame[name].astype("int64")
    return frame
