"""The declaration of one monitored model, typed and validated. Plain data only.

Belongs here: fields, defaults and the rules between fields. Does not: reading files (``catalogue.py``), looking
up methods or recipes (their registries do that when definitions load), Dagster.
"""

import hashlib
import json
from datetime import datetime
from functools import cached_property
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from resources import forecast_rules
from resources.chunks import CADENCES, Cadence, parse_duration
from resources.expression import ExpressionError, parse
from resources.forecasting import Forecast
from resources.incident_rules import IncidentRules
from resources.retraining import Condition, Retrain
from resources.section import Duration, FieldError, Moment, Section
from resources.vocabulary import OF_NUMBERS, Task


def _check_zone(name: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"got {name!r}; expected an IANA time zone such as UTC or Europe/Zurich") from error
    return name


#: Column names the platform writes itself; a feature of that name would be overwritten.
RESERVED = frozenset({
    "chunk", "prediction_id", "time", "written_at", "scored_at", "observed_at", "model_version", "role", "reason", "row", "part",
    "y_true", "y_pred", "y_pred_proba", "is_held_out", "reference_version", "series_scale",
})  # fmt: skip
PROBABILITY = "y_pred_proba"
#: Fewest classes of several: two are a binary outcome.
_FEWEST_CLASSES = 3


def probability_column(place: int) -> str:
    """Column with the probability of the class at ``place`` of ``outcome.classes``."""
    return f"{PROBABILITY}_{place}"


def is_reserved(name: str) -> bool:
    """Whether the platform writes a column of that name itself, the probability of a class included."""
    place = name.removeprefix(f"{PROBABILITY}_")
    return name in RESERVED or (place != name and place.isdecimal())


class Source(Section):
    """A file or table outside the platform; it is only ever read."""

    parquet: str | None = Field(None, description="Parquet file or glob; relative to the declaration's folder.")
    csv: str | None = Field(None, description="CSV file or glob with a header line.")
    duckdb: str | None = Field(None, description="DuckDB database file; opened read-only.")
    table: str | None = Field(None, description="Table or view inside the DuckDB file.")
    timezone: Annotated[str, AfterValidator(_check_zone)] | None = Field(
        None, description="Zone of timestamps that carry none; without it such rows are an error."
    )

    @property
    def is_given(self) -> bool:
        """Whether a file or table is named at all."""
        return bool(self.parquet or self.csv or self.duckdb)

    def require_one(self) -> None:
        """Refuse none or several sources, and half a DuckDB one."""
        given = [name for name in ("parquet", "csv", "duckdb") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"got {given or 'no source'}; expected exactly one of parquet, csv, duckdb")
        if bool(self.duckdb) != bool(self.table):
            raise ValueError(
                f"got duckdb {self.duckdb!r} and table {self.table!r}; expected both: the database file and the table inside it"
            )

    @property
    def path(self) -> PurePosixPath:
        """The declared file."""
        return PurePosixPath(self.parquet or self.csv or self.duckdb or "")

    @property
    def kind(self) -> str:
        """``parquet``, ``csv`` or ``duckdb``."""
        return "parquet" if self.parquet else "csv" if self.csv else "duckdb"


class LogSource(Source):
    """Where production rows come from and what their columns mean."""

    time: str = Field(description="Column with the moment of the prediction.")
    id: str = Field(
        "", description="Column that names one prediction; a later row with the same value replaces an earlier one. A forecaster has none: "
        "series and time name its rows.",
    )  # fmt: skip
    written_at: str | None = Field(None, description="Column with the moment a row was written; orders duplicates, tells late rows.")
    prediction: str | None = Field(None, description="Column with the served prediction, if the model is served elsewhere.")
    probability: str | None = Field(None, description="Column with the served probability of class 1 (binary classifiers).")
    probabilities: dict[str, str] = Field(
        default_factory=dict,
        description="Column with the served probability of each class, by class name (classifiers of several classes).",
    )
    model_version: str | None = Field(None, description="Column naming the version that served the row.")

    @model_validator(mode="after")
    def _exactly_one_source(self) -> Self:
        self.require_one()
        if (self.probability or self.probabilities) and not self.prediction:
            raise ValueError("got probability without prediction; expected the column of the served prediction too")
        return self

    @property
    def is_scored_here(self) -> bool:
        """Whether the platform's champion scores the rows (no prediction column is declared)."""
        return self.prediction is None


class Features(Section):
    """The model's input columns."""

    numeric: list[str] = Field(default_factory=list)
    categorical: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        taken = sorted(name for name in set(self.all) if is_reserved(name))
        if taken:
            raise ValueError(f"got {taken}; expected other names: the platform's own columns are called so")
        plain = [name.lower() for name in self.all]
        twice = sorted({name for name in self.all if plain.count(name.lower()) > 1})
        if twice:
            raise ValueError(
                f"got {twice} more than once; expected every feature to be listed once, and names that differ in more than case"
            )
        return self

    @property
    def all(self) -> list[str]:
        """Numeric then categorical features."""
        return [*self.numeric, *self.categorical]


class Outcome(Source):
    """The label: where it comes from, and how long after the prediction it is known. Without a file or table of its own it is a column of the log."""

    column: str
    classes: list[str] = Field(
        default_factory=list,
        description="Names of the classes of a multiclass model as the log writes them; they are stored by place, so add new ones at the end.",
    )
    delay: Duration = Field("0d", description="After this an outcome is due: no chunk is judged on outcomes before.")
    id: str | None = Field(None, description="Column that names the prediction, in a source of its own; log.id if absent.")
    observed_at: str | None = Field(
        None, description="Column with the moment the outcome became known; without it that is the time of the prediction plus the delay."
    )
    minimum_share: float = Field(0.5, ge=0, le=1, description="A chunk of whose rows fewer have an outcome is not judged on outcomes.")
    restate_for: Duration = Field(
        "90d",
        description="How long after they were due late and corrected outcomes still restate a chunk; by itself where observed_at is declared.",
    )

    @model_validator(mode="after")
    def _own_source_is_complete(self) -> Self:
        if self.is_given:
            self.require_one()
            if self.observed_at is None:
                raise FieldError(("observed_at",), "got no column; expected the one with the moment an outcome became known")
        stray = [name for name in ("table", "id", "timezone") if getattr(self, name) and not self.is_given]
        if stray:
            raise FieldError(
                (stray[0],), f"got {stray[0]} without a file; expected parquet, csv or duckdb beside it, or outcomes in the log"
            )
        return self


class Reference(Section):
    """The window in which the model was accepted; everything is compared with it."""

    start: Moment
    end: Moment
    minimum_chunks: int = Field(8, ge=2, description="A later reference with fewer chunks keeps the limits of the one before it.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end <= self.start:
            raise FieldError(("end",), f"got end {self.end:%Y-%m-%d}; expected a day after start {self.start:%Y-%m-%d}")
        return self


class Limit(Section):
    """How a limit is fitted on the reference chunks: mean ± ``std`` standard deviations (NannyML's rule)."""

    std: float = Field(3.0, gt=0)


class SanityRule(Section):
    """What physics or the business forbids: a condition on every row, or the fastest possible change of a column."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    holds: str | None = Field(None, description="Condition that is true on every sound row, such as dew_point <= temperature.")
    column: str | None = Field(None, description="Numeric column whose change is limited, within each value of the first segment column.")
    most_per_hour: float | None = Field(None, gt=0, description="Fastest possible change of the column, up or down.")
    share: float = Field(0.0, ge=0, lt=1, description="Largest share of rows that may break the rule.")
    blocks: bool = Field(True, description="Whether a broken rule makes the chunk a data fault; else it is flagged.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.holds is None) == (self.column is None) or (self.column is None) != (self.most_per_hour is None):
            raise ValueError("got neither or both kinds of rule; expected holds, or column with most_per_hour")
        return self


class Validation(Section):
    """When data is broken as data."""

    rejected_share: float = Field(0.01, ge=0, le=1, description="Largest share of rows that may break the contract.")
    missing_share: float = Field(0.05, ge=0, le=1, description="Largest share of missing values in any feature.")
    ranges: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="Physical range of a feature, or of y_pred or y_pred_proba."
    )
    out_of_range_share: float = Field(0.01, ge=0, le=1)
    stuck_share: float = Field(
        0.5, gt=0, le=1, description="Longest run of one repeated value, as a share of the chunk; beyond it the sensor is stuck."
    )
    minimum_rows: int = Field(30, ge=1, description="A smaller chunk is undecided, not healthy.")
    rules: list[SanityRule] = Field(default_factory=list, description="Physical constraints on inputs and predictions.")
    freshness: Duration = Field("2d", description="Longest silence at the end of a chunk, at most half the chunk.")


class DriftLimit(Section):
    """When a drift number is too large. ``calibrated`` holds its false-alarm rate for the chunk's own rows and the number of reference chunks."""

    rule: Literal["calibrated", "std", "quantile", "constant", "p_value"] = "calibrated"
    false_alarms: float = Field(
        0.01, gt=0, lt=0.5, description="calibrated: share of chunks without drift on which the drift check may fail."
    )
    std: float = Field(3.0, gt=0, description="std: mean plus this many standard deviations of the reference chunks (NannyML's rule).")
    quantile: float = Field(0.99, gt=0, lt=1, description="quantile: of the reference chunks, each left out of the reference in turn.")
    values: dict[str, float] = Field(default_factory=dict, description="constant: upper limit by method.")
    alpha: float = Field(0.05, gt=0, lt=1, description="p_value: a corrected p-value below this is a breach.")
    correction: Literal["bonferroni", "benjamini_hochberg", "none"] = Field(
        "bonferroni", description="calibrated and p_value: correction for looking at many numbers."
    )
    autocorrelation: Literal["effective_sample_size", "block_permutation", "ignored"] = Field(
        "effective_sample_size", description="p_value: how rows that resemble their neighbours are allowed for."
    )

    @model_validator(mode="after")
    def _only_what_the_rule_reads(self) -> Self:
        read = {
            "calibrated": {"false_alarms", "correction"}, "std": {"std"}, "quantile": {"quantile"}, "constant": {"values"},
            "p_value": {"alpha", "correction", "autocorrelation"},
        }[self.rule]  # fmt: skip
        stray = sorted(self.model_fields_set - read - {"rule"})
        if stray:
            raise FieldError((stray[0],), f"got {stray[0]} with rule {self.rule}; expected only {sorted(read)}, which that rule reads")
        if self.rule == "constant" and not self.values:
            raise FieldError(("values",), "got no value; expected an upper limit for at least one method, such as {psi: 0.2}")
        return self


class Drift(Section):
    """Which drift methods run on which features."""

    numeric: list[str] = Field(["wasserstein", "kolmogorov_smirnov"])
    categorical: list[str] = Field(["jensen_shannon", "l_infinity"])
    multivariate: list[str] = Field(["pca_reconstruction"])
    limit: DriftLimit = DriftLimit()
    minimum_effect: dict[str, float] = Field(default_factory=dict, description="Effect below which a method never breaches, by method.")
    season: Literal["hour", "weekday", "month"] | None = Field(
        None, description="Compare with reference rows of the same hour, weekday or month too; that comparison then decides."
    )
    outliers: float = Field(
        0.02, ge=0, lt=0.5, description="Up to this share of rows far outside the reference is reported as outliers and set aside."
    )
    engine: Literal["auto", "frame", "duckdb"] = Field("auto", description="Where rows are measured; auto takes DuckDB for large chunks.")
    confirm: int = Field(1, ge=1, description="Chunks in a row on which the same feature must breach before the check fails.")
    severity: Literal["WARN", "ERROR"] = "WARN"


class Performance(Section):
    """Which metrics are estimated and realized; the first one decides."""

    estimator: Literal["cbpe", "m_cbpe", "pape", "dle"] | None = Field(
        None, description="cbpe and dle are NannyML's; m_cbpe and pape also allow for inputs that moved (classifiers)."
    )
    metrics: list[str] = Field(default_factory=list)
    limit: Limit = Limit()
    estimated_limit: Limit | None = Field(None, description="Limit for the estimate; the realized limit if absent.")
    business_value: tuple[tuple[float, float], tuple[float, float]] | None = Field(
        None,
        description="What a row is worth, [[true negative, false positive], [false negative, true positive]]; for the metric business_value.",
    )
    detectors: list[str] = Field(
        default_factory=list, description="Streaming detectors over the losses of rows in time order; they date a change inside a chunk."
    )
    detector_false_alarms: float = Field(0.01, gt=0, lt=0.5, description="Share of chunks without a change on which a detector may alarm.")


class Gates(Section):
    """What a candidate must show before it may serve."""

    holdout: Duration = Field("120d", description="The latest labelled rows, kept from training; both models are scored on them.")
    minimum_rows: int = Field(30, ge=2)
    confidence: float = Field(0.9, gt=0.5, lt=1, description="Confidence of the paired bootstrap interval of the gain.")
    minimum_gain: float = Field(0.0, description="The interval's lower end must lie above this, in the first metric's unit.")
    resamples: int = Field(2000, ge=100)


class Rollout(Section):
    """How an accepted candidate comes to serve."""

    shadow: int = Field(1, ge=0, description="Newest served chunks the challenger answers in the champion's shadow before it is promoted.")
    promote_gain: float | None = Field(
        None, description="A gain of at least this, in the first metric's unit, promotes by itself; a smaller one is staged for a person."
    )


class Replay(Section):
    """Feed a recorded log as if it happened now: a sample or a rehearsal."""

    start: Moment = Field(description="Chunks before this are handed over at once, as history.")
    end: Moment = Field(description="The replay stops here.")
    every_seconds: int = Field(5, ge=1)


class KnownEvent(Section):
    """Something that happened to the process: maintenance, a deploy, a new batch of material."""

    at: Moment
    what: str = Field(min_length=1, max_length=60)


_METRICS = {
    Task.BINARY_CLASSIFICATION: ["roc_auc", "accuracy"],
    Task.MULTICLASS_CLASSIFICATION: ["roc_auc", "accuracy"],
    Task.REGRESSION: ["mae", "rmse"],
    Task.FORECAST: ["mase", "mae"],
}
#: Outcomes of forecasts are known a chunk later: there is nothing to estimate.
NO_ESTIMATOR = "none"
_ESTIMATORS = {
    Task.BINARY_CLASSIFICATION: "cbpe",
    Task.MULTICLASS_CLASSIFICATION: "cbpe",
    Task.REGRESSION: "dle",
    Task.FORECAST: NO_ESTIMATOR,
}


class MonitoredModel(Section):
    """One monitored model: everything a user must write."""

    model: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="Name; asset group, table folder and registry name.")
    description: str = ""
    task: Task
    owners: list[str] = Field(default_factory=list, description="Emails or team:name.")
    log: LogSource
    series: str | None = Field(None, description="Column that names the series of a row (forecasters); one series if absent.")
    features: Features = Features()
    segments: list[str] = Field(
        default_factory=list, description="Columns such as device or site; drift is measured per value of each too."
    )
    importance: dict[str, float] = Field(
        default_factory=dict, description="Importance of features, for ranking; the champion's own where it was trained here."
    )
    outcome: Outcome
    chunk: Literal["1h", "1d", "1w", "1mo", "1q"] = "1d"
    reference: Reference
    validation: Validation = Validation()
    drift: Drift = Drift()
    performance: Performance = Performance()
    kpi: dict[str, str] = Field(
        default_factory=dict, description="Business KPIs: aggregates over features and predictions, such as sum(y_pred_proba * 12000)."
    )
    forecast: Forecast | None = Field(None, description="How series are forecast (task forecast).")
    retrain: Retrain = Retrain()
    gates: Gates = Gates()
    rollout: Rollout = Rollout()
    incidents: IncidentRules = IncidentRules()
    replay: Replay | None = None
    events: list[KnownEvent] = Field(default_factory=list, description="Known events, drawn into the pictures.")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_task(cls, told: object) -> object:
        return forecast_rules.with_defaults(told) if isinstance(told, dict) and told.get("task") == Task.FORECAST else told

    @field_validator("owners")
    @classmethod
    def _owners_are_teams_or_emails(cls, owners: list[str]) -> list[str]:
        for owner in owners:
            if not owner.startswith("team:") and "@" not in owner:
                raise ValueError(f"got {owner!r}; expected an email address or team:name")
        return owners

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numeric = [*self.features.numeric, *self.predictions]
        unknown = sorted(set(self.validation.ranges) - set(numeric))
        if unknown:
            raise FieldError(("validation", "ranges", unknown[0]), f"got {unknown}; expected numeric features or predictions: {numeric}")
        self._check_expressions(numeric)
        self._check_inputs()
        if self.forecast is not None:
            forecast_rules.check(self)
        if self.outcome.column in self.features.all and self.task is not Task.FORECAST:
            raise FieldError(
                ("outcome", "column"),
                f"got {self.outcome.column!r}, which is also a feature; expected another column: the model would see its own label",
            )
        self._check_segments_and_importance()
        self._check_classes()
        for path, condition in self.retrain.when.walk(("retrain", "when")):
            self._check_condition(path, condition)
        if (self.performance.business_value is None) == ("business_value" in self.metrics):
            raise FieldError(
                ("performance", "business_value"),
                f"got {self.performance.business_value} with metrics {self.metrics}; expected the value of each kind of row beside the metric "
                "business_value, and only there",
            )
        if self.log.prediction and self.task is Task.BINARY_CLASSIFICATION and not self.log.probability:
            raise FieldError(
                ("log", "prediction"),
                "got no log.probability beside it; expected the column with the probability of class 1: CBPE and ROC AUC need it",
            )
        if self.replay and self.replay.start < self.reference.end:
            raise FieldError(("replay", "start"), "got a day inside the reference window; expected one at or after reference.end")
        return self

    def _check_inputs(self) -> None:
        """What only a forecaster has, and what only a forecaster may lack."""
        if self.task is Task.FORECAST:
            if self.forecast is None:
                raise FieldError(
                    ("task",), "got forecast without the section forecast; expected forecast: {freq: D, horizon: 14, season_lengths: [7]}"
                )
            return
        for name, given in (("forecast", self.forecast), ("series", self.series)):
            if given is not None:
                raise FieldError((name,), f"got {name} with task {self.task}; expected none: only {Task.FORECAST} has it")
        if not self.log.id:
            raise FieldError(("log",), "got no id; expected the column that names one prediction")
        if not self.features.all:
            raise FieldError(("features",), "got no feature; expected at least one numeric or categorical column")

    def _check_classes(self) -> None:
        classes, log = self.outcome.classes, self.log
        if self.task is not Task.MULTICLASS_CLASSIFICATION:
            for field, given in ((("outcome", "classes"), classes), (("log", "probabilities"), log.probabilities)):
                if given:
                    raise FieldError(
                        field, f"got {given} with task {self.task}; expected none: only {Task.MULTICLASS_CLASSIFICATION} has it"
                    )
            return
        if len(set(classes)) < max(len(classes), _FEWEST_CLASSES) or "" in classes:
            raise FieldError(
                ("outcome", "classes"),
                f"got {classes}; expected at least {_FEWEST_CLASSES} different class names, as column {self.outcome.column!r} writes them",
            )
        if log.probability:
            raise FieldError(("log", "probability"), f"got {log.probability!r}; expected log.probabilities, a column for each of {classes}")
        if log.prediction and (set(log.probabilities) != set(classes) or len(set(log.probabilities.values())) < len(classes)):
            raise FieldError(
                ("log", "probabilities" if log.probabilities else "prediction"),
                f"got log.probabilities {log.probabilities}; expected a column of its own for each of {classes}: CBPE and ROC AUC need them",
            )

    def _check_condition(self, path: tuple[str | int, ...], condition: Condition) -> None:
        """Features, methods and metrics that a clause of the retraining policy reads are declared ones."""
        score = condition.score or (condition.two_stage.drift if condition.two_stage else None)
        at = (*path, condition.kind, *(("drift",) if condition.two_stage else ()))
        named: dict[tuple[str | int, ...], str] = {}
        if score is not None:
            named |= {(*at, "weights", name): name for name in score.weights}
            for section, features in (("numeric", self.features.numeric), ("categorical", self.features.categorical)):
                known, given = getattr(self.drift, section), getattr(score, section)
                if given is not None and given not in known:
                    raise FieldError((*at, section), f"got {given!r}; expected a method of drift.{section}: {known}")
                if given is None and not known and set(features) & set(score.weights or features):
                    raise FieldError((*at, section), f"got no method, and drift.{section} has none; expected one there: the score reads it")
        if condition.drift is not None:
            named |= {(*at, "features", place): name for place, name in enumerate(condition.drift.features)}
        if condition.groups is not None:
            named |= {
                (*at, "groups", group, place): name for group, own in condition.groups.groups.items() for place, name in enumerate(own)
            }
        for field, name in named.items():
            if name not in self.features.all:
                raise FieldError(field, f"got {name!r}; expected a feature: {self.features.all}")
        read = condition.error or condition.decay or condition.cost or (condition.two_stage.decay if condition.two_stage else None)
        if read is not None and read.metric is not None and read.metric not in self.metrics:
            place = (*path, "two_stage", "decay", "metric") if condition.two_stage else (*at, "metric")
            raise FieldError(place, f"got {read.metric!r}; expected one of performance.metrics: {self.metrics}")

    def _check_expressions(self, numeric: list[str]) -> None:
        for index, rule in enumerate(self.validation.rules):
            if rule.column is not None and rule.column not in numeric:
                raise FieldError(("validation", "rules", index, "column"), f"got {rule.column!r}; expected one of {numeric}")
            if rule.holds is not None:
                self._parse(("validation", "rules", index, "holds"), rule.holds, [*numeric, *self.features.categorical])
        names = [rule.name for rule in self.validation.rules]
        twice = next((index for index, name in enumerate(names) if names.index(name) != index), None)
        if twice is not None:
            raise FieldError(
                ("validation", "rules", twice, "name"), f"got {names[twice]!r} twice; expected every rule to have a name of its own"
            )
        for name, text in self.kpi.items():
            self._parse(("kpi", name), text, numeric, aggregates=True)

    @staticmethod
    def _parse(field: tuple[str | int, ...], text: str, columns: list[str], *, aggregates: bool = False) -> None:
        try:
            expression = parse(text, columns=columns, aggregates=aggregates)
        except ExpressionError as error:
            raise FieldError(field, str(error)) from error
        if not aggregates and not expression.is_condition:
            raise FieldError(field, f"got {text!r}, a number; expected a condition, such as a <= b")

    def _check_segments_and_importance(self) -> None:
        for index, name in enumerate(self.segments):
            if name in self.features.numeric or is_reserved(name) or name == self.outcome.column or self.segments.count(name) > 1:
                raise FieldError(
                    ("segments", index),
                    f"got {name!r}; expected each column once, and one that is no numeric feature, outcome or platform column",
                )
        unknown = sorted(set(self.importance) - set(self.features.all))
        if unknown:
            raise FieldError(("importance", unknown[0]), f"got {unknown[0]!r}; expected a feature: {self.features.all}")

    @model_validator(mode="after")
    def _reference_holds_chunks(self) -> Self:
        n_chunks = sum(1 for _ in self.cadence.keys_between(self.reference.start, self.reference.end))
        if n_chunks < self.reference.minimum_chunks:
            expected = f"at least {self.reference.minimum_chunks} (reference.minimum_chunks): a handful of chunks says nothing about what is normal"
            raise FieldError(("reference",), f"got {n_chunks} whole chunks of {self.chunk}; expected {expected}")
        return self

    @property
    def cadence(self) -> Cadence:
        """How time is cut for this model."""
        return CADENCES[self.chunk]

    @property
    def metrics(self) -> list[str]:
        """Performance metrics, the deciding one first."""
        return self.performance.metrics or _METRICS[self.task]

    @property
    def estimator(self) -> str:
        """``cbpe`` for classifiers, ``dle`` for regressors, unless declared."""
        return self.performance.estimator or _ESTIMATORS[self.task]

    @property
    def predictions(self) -> list[str]:
        """Columns of what the model answered."""
        return ["y_pred", *self.probabilities]

    @property
    def probabilities(self) -> list[str]:
        """Columns of the model's probabilities: that of class 1, or one for each class in the declared order; none of a regressor."""
        if self.task in OF_NUMBERS:
            return []
        if self.task is Task.MULTICLASS_CLASSIFICATION:
            return [probability_column(place) for place in range(len(self.outcome.classes))]
        return [PROBABILITY]

    @property
    def fewest_outcomes(self) -> int:
        """Different outcomes a reference must hold for performance to be fitted on it: every class, or two numbers."""
        return len(self.outcome.classes) or 2

    @property
    def segment_columns(self) -> list[str]:
        """Columns that say whose a row is and are no features, so have to be carried along: segments, and the series."""
        named = [*self.segments, *([self.series] if self.series else [])]
        return [name for name in dict.fromkeys(named) if name not in self.features.all]

    @cached_property
    def policy_hash(self) -> str:
        """Hash of every declared and defaulted value; a model version carries it as lineage."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:16]

    @property
    def fit_hash(self) -> str:
        """Hash of what the reference profile depends on: a profile of another hash was fitted for another declaration."""
        told = {
            "features": self.features.model_dump(), "segments": self.segments, "chunk": self.chunk, "seed": self.retrain.seed,
            "reference": self.reference.model_dump(mode="json"), "performance": self.performance.model_dump(), "metrics": self.metrics,
            "drift": self.drift.model_dump(include={"numeric", "categorical", "multivariate", "season"}), "rule": self.drift.limit.rule,
            "kpi": self.kpi, "classes": self.outcome.classes,
            **({"forecast": self.forecast.model_dump(mode="json"), "series": self.series} if self.forecast else {}),
        }  # fmt: skip
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]

    def outcome_due(self, chunk: str) -> datetime:
        """Moment by which every outcome of ``chunk`` must have arrived."""
        return self.cadence.end(chunk) + parse_duration(self.outcome.delay)
