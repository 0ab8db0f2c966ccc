"""Column contracts of every table in the lake; ``lake.py`` checks them on each write.

Belongs here: names, types, partition columns. Does not: Dagster, storage, the meaning of values.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from resources.policy import MonitoredModel
from resources.vocabulary import Task

Type = Literal["string", "double", "int64", "bool", "timestamp", "binary"]


@dataclass(frozen=True)
class Table:
    """One table of every model: columns, the columns it is cut by, and which may hold no null."""

    name: str
    columns: Mapping[str, Type]
    partition_by: tuple[str, ...] = ()
    required: frozenset[str] = field(default_factory=frozenset)


def _features(policy: MonitoredModel) -> dict[str, Type]:
    numbers: dict[str, Type] = dict.fromkeys(policy.features.numeric, "double")
    texts: dict[str, Type] = dict.fromkeys(policy.features.categorical, "string")
    return numbers | texts


def _inputs(policy: MonitoredModel) -> dict[str, Type]:
    """Features, and the columns that name a row's segment."""
    segments: dict[str, Type] = dict.fromkeys(policy.segment_columns, "string")
    return _features(policy) | segments


def _scores(policy: MonitoredModel) -> dict[str, Type]:
    """What a model answered; a class of several is stored as its place in ``outcome.classes``, and so is ``y_true``."""
    return dict.fromkeys(policy.predictions, "double")


def prediction_log(policy: MonitoredModel) -> Table:
    """Accepted rows of the production log with the prediction that was served."""
    return Table(
        "prediction_log",
        {
            "chunk": "string", "prediction_id": "string", "time": "timestamp", "scored_at": "timestamp",
            "model_version": "string", "role": "string", **_inputs(policy), **_scores(policy),
        },
        ("chunk",),
        frozenset({"chunk", "prediction_id", "time", "model_version", "role", *_scores(policy)}),
    )  # fmt: skip


def scored_batches(policy: MonitoredModel) -> Table:
    """What the champion answered, per row; the outside world from which the prediction log is fed."""
    return Table(
        "scored_batches",
        {"chunk": "string", "prediction_id": "string", "scored_at": "timestamp", "model_version": "string", "role": "string", **_scores(policy)},
        ("chunk",),
        frozenset({"chunk", "prediction_id", "scored_at", "model_version", "role", *_scores(policy)}),
    )  # fmt: skip


def training_sets(policy: MonitoredModel) -> Table:
    """Rows a candidate may learn from (``train``) and is proved on (``holdout``), as known at ``as_of``.

    Of a forecaster ``series_scale`` is the seasonal naive error of the row's series on the rows to learn from: MASE's unit.
    """
    return Table(
        "training_sets",
        {
            "chunk": "string", "prediction_id": "string", "time": "timestamp", "observed_at": "timestamp", "part": "string",
            **_inputs(policy), "y_true": "double", **({"series_scale": "double"} if policy.task is Task.FORECAST else {}),
        },
        ("chunk",),
        frozenset({"chunk", "prediction_id", "time", "part", "y_true"}),
    )  # fmt: skip


def held_out(policy: MonitoredModel) -> Table:
    """The identical rows both models were scored on: one row per prediction, champion beside candidate."""
    columns: dict[str, Type] = {"chunk": "string", "prediction_id": "string", "time": "timestamp", "y_true": "double"}
    for side in ("champion", "candidate"):
        columns |= {f"{side}_{name}": kind for name, kind in _scores(policy).items()}
    return Table("held_out", columns, ("chunk",), frozenset({"chunk", "prediction_id", "time", "y_true"}))


def shadow_scores(policy: MonitoredModel) -> Table:
    """The newest served rows with the champion's answers and, beside them, those the challenger would have given."""
    columns: dict[str, Type] = {
        "chunk": "string",
        "prediction_id": "string",
        "time": "timestamp",
        "champion_version": "string",
        "y_true": "double",
    }
    for side in ("champion", "challenger"):
        columns |= {f"{side}_{name}": kind for name, kind in _scores(policy).items()}
    return Table("shadow_scores", columns, ("chunk",), frozenset({"chunk", "prediction_id", "time"}))


def reference_rows(policy: MonitoredModel) -> Table:
    """The reference of one model version: accepted (held-out) rows, and older inputs where those are few."""
    return Table(
        "reference_rows",
        {
            "reference_version": "string", "prediction_id": "string", "time": "timestamp", "is_held_out": "bool",
            **_inputs(policy), **_scores(policy), "y_true": "double",
        },
        ("reference_version",),
        frozenset({"reference_version", "prediction_id", "time", "is_held_out"}),
    )  # fmt: skip


_FORECASTS: dict[str, Type] = {
    "chunk": "string", "unique_id": "string", "ds": "timestamp", "h": "int64", "cutoff": "timestamp", "model_version": "string",
    "model": "string", "is_fallback": "bool", "level": "int64", "mean": "double", "lower": "double", "upper": "double",
    "baseline": "double", "issued_at": "timestamp",
}  # fmt: skip
_OF_EVERY_FORECAST = frozenset({"chunk", "unique_id", "ds", "h", "cutoff", "model_version", "level", "mean", "issued_at"})
#: Every forecast that was issued, by the chunk at whose start it was; one row per level, ``baseline`` is the seasonal naive forecast.
FORECASTS = Table("forecasts", _FORECASTS, ("chunk",), _OF_EVERY_FORECAST)
#: What a candidate would have issued over the held-out rows, rolling on chunk by chunk; by the chunk of the decision that ordered it.
FORECAST_BACKTESTS = Table("forecast_backtests", {"decided": "string", **_FORECASTS}, ("decided",), _OF_EVERY_FORECAST | {"decided"})
REJECTED_ROWS = Table(
    "rejected_rows",
    {"chunk": "string", "prediction_id": "string", "reason": "string", "row": "string", "rejected_at": "timestamp"},
    ("chunk",),
    frozenset({"chunk", "reason", "row"}),
)
OUTCOMES = Table(
    "outcomes",
    {"observed_date": "string", "prediction_id": "string", "observed_at": "timestamp", "recorded_at": "timestamp", "y_true": "double"},
    ("observed_date",),
    frozenset({"observed_date", "prediction_id", "observed_at", "y_true"}),
)
MEASUREMENTS = Table(
    "measurements",
    {
        "chunk": "string", "stage": "string", "chunk_start": "timestamp", "chunk_end": "timestamp", "kind": "string", "method": "string",
        "subject": "string", "segment": "string", "compared_with": "string", "value": "double", "standard_error": "double", "n_rows": "int64",
        "effect": "double", "p_value": "double", "adjusted_p_value": "double", "lower_limit": "double", "upper_limit": "double",
        "breach": "bool", "is_deciding": "bool", "reason": "string", "reference_version": "string", "model_version": "string", "known_at": "timestamp",
    },
    ("chunk", "stage"),
    frozenset({
        "chunk", "stage", "chunk_start", "chunk_end", "kind", "method", "subject", "segment", "compared_with", "n_rows", "breach",
        "is_deciding", "known_at",
    }),
)  # fmt: skip
#: What was reported of realized performance, each time it changed; append-only.
PERFORMANCE_VINTAGES = Table(
    "performance_vintages",
    {
        "chunk": "string", "known_at": "timestamp", "metric": "string", "value": "double", "standard_error": "double", "n_rows": "int64",
        "labelled_share": "double",
    },
    ("chunk",),
    frozenset({"chunk", "known_at", "metric", "n_rows", "labelled_share"}),
)  # fmt: skip
VERDICTS = Table(
    "verdicts",
    {
        "chunk": "string", "verdict": "string", "confidence": "double", "evidence": "string", "suspects": "string", "recovery": "string",
        "model_version": "string", "is_realized": "bool", "known_at": "timestamp", "digest": "string",
    },
    ("chunk",),
    frozenset({"chunk", "verdict", "confidence", "evidence", "recovery", "model_version", "known_at"}),
)  # fmt: skip
#: What decisions rest on: every verdict that was ever reached, with the numbers that led to it; append-only.
VERDICT_VINTAGES = Table(
    "verdict_vintages",
    {
        "chunk": "string", "verdict": "string", "confidence": "double", "model_version": "string", "is_realized": "bool", "n_rows": "int64",
        "measured": "string", "known_at": "timestamp", "written_at": "timestamp", "digest": "string",
    },
    (),
    frozenset({"chunk", "verdict", "model_version", "n_rows", "measured", "known_at", "written_at", "digest"}),
)  # fmt: skip
#: One row per evaluation of a policy; append-only, an evaluation that is completed later is appended once more.
DECISIONS = Table(
    "decisions",
    {
        "chunk": "string", "evaluation": "int64", "action": "string", "clause": "string", "incident": "string", "state_before": "string",
        "state_after": "string", "update": "string", "onset": "timestamp", "inputs": "string", "as_of": "timestamp", "evaluated_at": "timestamp",
        "policy_hash": "string", "vintages_seen": "int64", "events_seen": "int64", "overrides_seen": "int64",
    },
    (),
    frozenset({"chunk", "evaluation", "action", "clause", "state_before", "state_after", "inputs", "as_of", "policy_hash"}),
)  # fmt: skip
#: What people ordered beside the policy; append-only.
OVERRIDES = Table(
    "overrides",
    {"at": "timestamp", "as_of": "timestamp", "override": "string", "until": "timestamp", "who": "string", "why": "string"},
    (),
    frozenset({"at", "as_of", "override", "until", "who", "why"}),
)
#: What people said about an incident; append-only.
INCIDENT_EVENTS = Table(
    "incident_events",
    {"incident": "string", "event": "string", "who": "string", "why": "string", "at": "timestamp", "as_of": "timestamp"},
    (),
    frozenset({"incident", "event", "who", "why", "at", "as_of"}),
)
#: Every attempt to tell somebody about an incident; append-only.
NOTIFICATION_DELIVERIES = Table(
    "notification_deliveries",
    {
        "incident": "string", "opening": "int64", "notice": "string", "step": "int64", "channel": "string", "attempt": "int64",
        "at": "timestamp", "as_of": "timestamp", "is_delivered": "bool", "error": "string",
    },
    (),
    frozenset({"incident", "opening", "notice", "step", "channel", "attempt", "at", "as_of", "is_delivered", "error"}),
)  # fmt: skip
EVALUATIONS = Table(
    "evaluations",
    {
        "chunk": "string", "incident": "string", "window": "string", "metric": "string", "champion": "double", "candidate": "double",
        "gain": "double", "gain_lower": "double", "gain_upper": "double", "n_rows": "int64", "is_winner": "bool", "is_accepted": "bool",
        "model_uri": "string", "champion_version": "string",
    },
    ("chunk",),
    frozenset({"chunk", "incident", "window", "metric", "candidate", "n_rows", "is_winner", "is_accepted"}),
)  # fmt: skip
REFERENCE_PROFILES = Table(
    "reference_profiles",
    {"reference_version": "string", "component": "string", "limits": "string", "state": "binary", "n_rows": "int64", "n_chunks": "int64"},
    ("reference_version",),
    frozenset({"reference_version", "component", "limits"}),
)
REFERENCE_SUMMARIES = Table(
    "reference_summaries",
    {
        "reference_version": "string", "subject": "string", "segment": "string", "season": "string", "part": "int64", "state": "binary",
    },
    ("reference_version",),
    frozenset({"reference_version", "subject", "segment", "season", "part", "state"}),
)  # fmt: skip
FEATURE_IMPORTANCES = Table(
    "feature_importances",
    {"model_version": "string", "feature": "string", "importance": "double"},
    ("model_version",),
    frozenset({"model_version", "feature", "importance"}),
)
ROLLOUT_EVENTS = Table(
    "rollout_events",
    {
        "event": "string", "at": "timestamp", "as_of": "timestamp", "chunk": "string", "from_version": "string", "to_version": "string",
        "train_start": "timestamp", "train_end": "timestamp", "onset": "timestamp", "incident": "string", "reason": "string", "approved_by": "string",
        "previous_hash": "string", "hash": "string",
    },
    (),
    frozenset({"event", "at", "reason", "approved_by", "previous_hash", "hash"}),
)  # fmt: skip
