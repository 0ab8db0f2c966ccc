"""What the rest of a declaration must be like where a model is a forecaster: defaults that differ, rules between sections.

Belongs here: rules that read more than the section ``forecast``. Does not: the section itself (``forecasting.py``), fitting.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from dateutil.relativedelta import relativedelta

from resources.chunks import parse_duration
from resources.forecasting import Forecast
from resources.section import FieldError
from resources.vocabulary import Scope, Update

if TYPE_CHECKING:
    from resources.policy import MonitoredModel

#: What a forecaster has instead of the usual default: a chunk holds few rows, and a refit with orders kept is cheap.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "validation": {"minimum_rows": 5},
    "retrain": {"recipe": "statsforecast", "update": str(Update.INCREMENTAL), "windows": ["all"], "cooldown": 3},
    "gates": {"minimum_rows": 7},
}
_NOT_OF_A_LOG = ("id", "prediction", "probability", "probabilities", "model_version")


def with_defaults(told: Mapping[str, Any]) -> dict[str, Any]:
    """A declaration as it was written, with a forecaster's defaults; what was observed is an input too, where it is known at once."""
    own = dict(told)
    features, outcome = own.get("features", {}), own.get("outcome")
    features = features if isinstance(features, dict) else getattr(features, "model_dump", lambda: features)()
    if isinstance(features, dict) and isinstance(outcome, dict) and outcome.get("column") and _is_seen_at_once(outcome):
        numeric = list(features.get("numeric") or [])
        own["features"] = {**features, "numeric": numeric if outcome["column"] in numeric else [*numeric, outcome["column"]]}
    for section, defaults in _DEFAULTS.items():
        given = own.get(section, {})
        if isinstance(given, dict):
            own[section] = {**defaults, **given}
    return own


def _is_seen_at_once(outcome: Mapping[str, Any]) -> bool:
    """Whether outcomes are a column of the log that is known when the row is."""
    return outcome.get("delay", "0d") in ("0d", "0h") and not any(outcome.get(name) for name in ("parquet", "csv", "duckdb", "observed_at"))


def check(policy: "MonitoredModel") -> None:
    """Refuse what a forecaster cannot be.

    Raises:
        FieldError: at the field to change.
    """
    own = policy.forecast
    if own is None:
        return
    _check_log(policy)
    _check_exogenous(policy, own)
    _check_times(policy, own)
    if policy.performance.estimator is not None:
        raise FieldError(
            ("performance", "estimator"),
            f"got {policy.performance.estimator!r}; expected none: outcomes of forecasts arrive with the next chunk",
        )
    if policy.retrain.parameters:
        raise FieldError(
            ("retrain", "parameters"),
            f"got {policy.retrain.parameters}; expected none: a forecaster has several models, so say whose: forecast.parameters: {{lightgbm: …}}",
        )
    if own.scope is Scope.SERIES and policy.series is None:
        raise FieldError(("forecast", "scope"), "got series, and no column names them; expected series: COLUMN beside it")
    if own.scope is Scope.COHORT and not policy.segments:
        raise FieldError(
            ("forecast", "scope"), "got cohort without segments; expected the columns whose values are cohorts: segments: [region]"
        )


def _check_log(policy: "MonitoredModel") -> None:
    for name in _NOT_OF_A_LOG:
        given = getattr(policy.log, name)
        if given:
            raise FieldError(
                ("log", name),
                f"got {given!r}; expected none: the log of a forecaster holds what was observed, series and time name its rows, and the platform "
                "issues the forecasts",
            )
    if policy.series is not None and (policy.series in policy.features.all or policy.series == policy.outcome.column):
        raise FieldError(("series",), f"got {policy.series!r}, which is also a feature or the outcome; expected a column of its own")
    if policy.features.categorical:
        raise FieldError(
            ("features", "categorical"),
            f"got {policy.features.categorical}; expected numbers only: code categories as 0 and 1, or declare segments",
        )


def _check_exogenous(policy: "MonitoredModel", own: Forecast) -> None:
    told = [*own.known_ahead, *own.lags]
    for name in told:
        field = ("forecast", "known_ahead" if name in own.known_ahead else "lags")
        if name not in policy.features.numeric:
            raise FieldError(field, f"got {name!r}; expected a numeric feature: {policy.features.numeric}")
        if told.count(name) > 1 or name == policy.outcome.column:
            raise FieldError(
                field, f"got {name!r}; expected each feature once, and not the outcome itself: a forecaster starts from that anyway"
            )


def _check_times(policy: "MonitoredModel", own: Forecast) -> None:
    """A forecast reaches over a chunk at least, and outcomes are late by whole steps."""
    if own.reach < _lasting(policy, policy.cadence.step):
        raise FieldError(
            ("forecast", "horizon"),
            f"got {own.horizon} steps of {own.freq}; expected at least a chunk of {policy.chunk}: forecasts are issued once a chunk, for all of it",
        )
    if delay_of(policy) % own.step_length:
        raise FieldError(("outcome", "delay"), f"got {policy.outcome.delay}; expected whole steps of {own.freq}")


def delay_of(policy: "MonitoredModel") -> timedelta:
    """The label delay; of a calendar one, what it is from the start of the reference on."""
    return _lasting(policy, parse_duration(policy.outcome.delay))


def _lasting(policy: "MonitoredModel", duration: relativedelta) -> timedelta:
    start = policy.cadence.floor(policy.reference.start)
    return start + duration - start
