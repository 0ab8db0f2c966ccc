"""The closed sets of words used in code, YAML, the lake and the UI alike.

Belongs here: enumerations and fixed names. Does not: behaviour, Dagster, I/O.
"""

from enum import StrEnum


class Task(StrEnum):
    """What a monitored model predicts."""

    BINARY_CLASSIFICATION = "binary_classification"
    MULTICLASS_CLASSIFICATION = "multiclass_classification"
    REGRESSION = "regression"
    FORECAST = "forecast"


#: Tasks whose predictions are numbers, without probabilities.
OF_NUMBERS = (Task.REGRESSION, Task.FORECAST)


class Stage(StrEnum):
    """Names of the assets of one model; the asset key is ``[model, stage]``."""

    LOG_SOURCE = "log_source"
    PREDICTION_LOG = "prediction_log"
    OUTCOMES = "outcomes"
    REFERENCE_WINDOW = "reference_window"
    REFERENCE_PROFILE = "reference_profile"
    PRODUCTION_WINDOW = "production_window"
    DATA_QUALITY = "data_quality"
    DRIFT_REPORT = "drift_report"
    ESTIMATED_PERFORMANCE = "estimated_performance"
    REALIZED_PERFORMANCE = "realized_performance"
    MODEL_UNCERTAINTY = "model_uncertainty"
    BUSINESS_KPI = "business_kpi"
    DIAGNOSIS = "diagnosis"
    VERDICT = "verdict"
    REPORT = "report"
    DECISION = "decision"
    TRAINING_SET = "training_set"
    CANDIDATE = "candidate"
    CANDIDATE_EVALUATION = "candidate_evaluation"
    MODEL_VERSION = "model_version"
    SHADOW_SCORES = "shadow_scores"
    PROMOTION = "promotion"
    SCORED_BATCH = "scored_batch"
    REPLAY = "replay"


class Check(StrEnum):
    """Names of the asset checks."""

    DATA_CONTRACT = "data_contract"
    LOG_FRESHNESS = "log_freshness"
    MINIMUM_ROWS = "minimum_rows"
    MISSING_VALUES = "missing_values"
    VALUE_RANGES = "value_ranges"
    STUCK_SENSORS = "stuck_sensors"
    SANITY_RULES = "sanity_rules"
    DRIFT = "drift"
    ESTIMATED_PERFORMANCE = "estimated_performance_within_limits"
    ESTIMATE_TRUSTED = "estimate_is_trusted"
    REALIZED_PERFORMANCE = "realized_performance_within_limits"
    LOSS_SEQUENCE = "loss_sequence"
    FORECAST_ERROR = "forecast_error_within_limits"
    INTERVAL_COVERAGE = "interval_coverage_within_band"
    RESIDUAL_DRIFT = "residual_drift"
    UNCERTAINTY = "model_uncertainty_within_limits"
    PREDICTION_DRIFT = "prediction_drift"
    CALIBRATION = "model_calibration_within_limits"
    BUSINESS_KPI = "business_kpi_within_limits"
    ATTRIBUTION = "feature_attribution_within_limits"
    NO_HARM = "no_harm"
    ENOUGH_HELD_OUT_ROWS = "enough_held_out_rows"
    BEATS_CHAMPION = "beats_champion"
    SHADOW_IS_SOUND = "shadow_is_sound"
    NOTIFICATIONS_DELIVERED = "notifications_delivered"


class Kind(StrEnum):
    """Kinds of rows in the ``measurements`` table."""

    DATA_QUALITY = "data_quality"
    UNIVARIATE_DRIFT = "univariate_drift"
    MULTIVARIATE_DRIFT = "multivariate_drift"
    ESTIMATED_PERFORMANCE = "estimated_performance"
    REALIZED_PERFORMANCE = "realized_performance"
    LOSS_SEQUENCE = "loss_sequence"
    #: Realized performance per device, site, category or season.
    SEGMENT_PERFORMANCE = "segment_performance"
    PREDICTION_DRIFT = "prediction_drift"
    #: How sure the model is of itself, and whether that is deserved.
    UNCERTAINTY = "uncertainty"
    #: Whether the assumptions of the estimate hold.
    ESTIMATE_TRUST = "estimate_trust"
    #: Outcomes themselves, and predictions given the outcome.
    LABEL_SHIFT = "label_shift"
    #: What the predictions lean on.
    ATTRIBUTION_DRIFT = "attribution_drift"
    #: Why it hurts: evidence gathered once harm was seen.
    DIAGNOSIS = "diagnosis"
    BUSINESS_KPI = "business_kpi"
    #: Accuracy of forecasts per horizon, cohort and series, and of their quantiles.
    FORECAST_ERROR = "forecast_error"
    #: Share of outcomes inside their prediction interval.
    INTERVAL_COVERAGE = "interval_coverage"
    #: Detectors over standardised forecast errors in time order.
    RESIDUAL_DRIFT = "residual_drift"
    #: A dated break of level or trend in the errors.
    STRUCTURAL_BREAK = "structural_break"
    #: Inputs against the same season of the reference, day by day.
    SEASONAL_DRIFT = "seasonal_drift"


#: Kinds of rows that say whether inputs moved.
DRIFT_KINDS = (Kind.UNIVARIATE_DRIFT, Kind.MULTIVARIATE_DRIFT)


class Verdict(StrEnum):
    """What one chunk turned out to be."""

    HEALTHY = "healthy"
    DATA_FAULT = "data_fault"
    COVARIATE_HARMLESS = "covariate_harmless"
    COVARIATE_HARMFUL = "covariate_harmful"
    LABEL_SHIFT = "label_shift"
    CONCEPT = "concept"
    UNDECIDED = "undecided"


#: Verdicts that mean the model suffers; those among them that outcomes alone show; and those that mean it holds.
HARMFUL = (Verdict.COVARIATE_HARMFUL, Verdict.LABEL_SHIFT, Verdict.CONCEPT)
OF_OUTCOMES = (Verdict.LABEL_SHIFT, Verdict.CONCEPT)
HARMLESS = (Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS)


class Role(StrEnum):
    """In which role a model version scored a row."""

    CHAMPION = "champion"


class Action(StrEnum):
    """What a decision orders."""

    RETRAIN = "retrain"
    HOLD = "hold"
    OPEN_INCIDENT = "open_incident"


class Update(StrEnum):
    """How a candidate is trained."""

    #: Anew, on the competing training windows.
    FULL = "full"
    #: On from the champion, with rows it has not seen.
    INCREMENTAL = "incremental"
    #: Both, and the better one on the held-out rows.
    COMPETE = "compete"


class Scope(StrEnum):
    """Which series of a forecaster are watched, and fitted again, apart from the others."""

    ALL = "all"
    #: Each value of the declared segments.
    COHORT = "cohort"
    SERIES = "series"


class Cause(StrEnum):
    """Why an incident is open; breaches of one cause are one incident."""

    #: Data broken as data.
    DATA_FAULT = "data_fault"
    #: The model is wrong more often than it may be.
    HARM = "harm"
    #: Inputs moved, whether it hurts or not; only where a declaration asks for it.
    DRIFT = "drift"
    #: The platform itself does not work.
    PLATFORM = "platform"


class Severity(StrEnum):
    """How loud an incident is, quietest first."""

    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class IncidentState(StrEnum):
    """Where an incident stands."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Notice(StrEnum):
    """Kinds of notifications."""

    OPENED = "opened"
    #: Nobody acknowledged it in time.
    ESCALATED = "escalated"
    #: It is still open.
    REPEATED = "repeated"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Override(StrEnum):
    """What a person may order beside the policy, until a moment they name."""

    HOLD = "hold"
    RETRAIN = "retrain"
    #: Ends whatever was ordered before.
    RELEASE = "release"


class Alias(StrEnum):
    """Mutable names in the model registry."""

    CHALLENGER = "challenger"
    CHAMPION = "champion"


class Event(StrEnum):
    """Kinds of rows in the ``rollout_events`` table."""

    REJECTED = "rejected"
    #: Accepted, and waiting for a person.
    STAGED = "staged"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"


#: Run tags that travel from the trigger to every step of the retraining run.
TAG_MODEL = "plumbline/model"
#: Runs that carry the same lane keep their order (``dagster.yaml``); a retraining carries none and starts at once.
TAG_LANE = "plumbline/lane"
TAG_INCIDENT = "plumbline/incident"
TAG_CLAUSE = "plumbline/clause"
TAG_AS_OF = "plumbline/as_of"
TAG_UPDATE = "plumbline/update"

#: A run that a crash ended is tried again; one whose step failed is not (``dagster.yaml``), because it would fail again.
RETRIED = {"dagster/max_retries": "2"}

#: ``model_version`` of rows that were scored outside the platform and do not say by what.
EXTERNAL = "external"
