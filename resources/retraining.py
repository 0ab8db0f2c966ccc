"""When a new candidate is trained and how: the clauses of a retraining policy, typed and validated.

Belongs here: the fields of ``retrain`` and of every condition it may name. Does not: evaluating them (``training_assets/conditions.py``).
"""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from resources.chunks import parse_duration
from resources.section import Duration, FieldError, Moment, Section
from resources.vocabulary import Update, Verdict

_WEIGHT_TOLERANCE = 1e-9


class Signal(Section):
    """A yes or no about each chunk; it calls for a retraining once enough of the latest chunks say yes."""

    chunks: int = Field(1, ge=1, description="Chunks that must say yes.")
    of: int | None = Field(None, ge=1, description="… of the latest this many that have a value; as many as must say yes if absent.")
    within: Duration | None = Field(None, description="… of those that ended within this time before the newest one, instead.")

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.of is not None and self.of < self.chunks:
            raise FieldError(("of",), f"got {self.of}; expected at least chunks, which is {self.chunks}")
        if self.of is not None and self.within is not None:
            raise FieldError(("within",), "got both of and within; expected one of them: a number of chunks or a time")
        return self


class Threshold(Signal):
    """A number of each chunk with hysteresis: yes above ``fire_above`` until it falls below ``rearm_below``."""

    fire_above: float = Field(description="A value above this says yes; the value itself does not.")
    rearm_below: float | None = Field(
        None, description="Once it said yes, only a value below this says no again; fire_above if absent, where the value itself does."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.rearm_below is not None and self.rearm_below > self.fire_above:
            raise FieldError(("rearm_below",), f"got {self.rearm_below}; expected at most fire_above, which is {self.fire_above}")
        return self


class VerdictIn(Section):
    """A chunk of the serving version turned out to be harm, and nothing has been ordered since that became known."""

    on: list[Literal[Verdict.COVARIATE_HARMFUL, Verdict.LABEL_SHIFT, Verdict.CONCEPT]] = Field(
        [Verdict.COVARIATE_HARMFUL, Verdict.LABEL_SHIFT, Verdict.CONCEPT], min_length=1
    )


class DriftBreach(Signal):
    """A deciding drift number is outside its limit."""

    features: list[str] = Field(default_factory=list, description="Only drift of these features; of any, or of all together, if empty.")


class Score(Threshold):
    """Composite drift score: weighted mean of one drift number per feature; missing where one of them is."""

    weights: dict[str, float] = Field(default_factory=dict, description="Weight by feature, summing to 1; equal ones if absent.")
    numeric: str | None = Field(None, description="Drift method of numeric features; the first declared one if absent.")
    categorical: str | None = Field(None, description="Drift method of categorical features; the first declared one if absent.")

    @field_validator("weights")
    @classmethod
    def _sum_to_one(cls, weights: dict[str, float]) -> dict[str, float]:
        if any(weight < 0 for weight in weights.values()):
            raise ValueError(f"got {weights}; expected no negative weight")
        total = sum(weights.values())
        if weights and abs(total - 1) > _WEIGHT_TOLERANCE:
            raise ValueError(f"got weights that sum to {total:.10g}; expected 1")
        return weights


class Groups(Signal):
    """Drift of at least ``at_least`` declared groups of features, such as the sensors of one physical quantity."""

    groups: dict[str, list[str]] = Field(description="Features by group.", min_length=1)
    at_least: int = Field(2, ge=1, description="Groups in which a feature must drift.")

    @model_validator(mode="after")
    def _reachable_groups(self) -> Self:
        if self.at_least > len(self.groups):
            raise FieldError(("at_least",), f"got {self.at_least}; expected at most the number of groups, which is {len(self.groups)}")
        empty = next((name for name, features in self.groups.items() if not features), None)
        if empty is not None:
            raise FieldError(("groups", empty), "got no feature; expected at least one")
        return self


Basis = Literal["realized", "estimated", "either"]


class Error(Threshold):
    """A performance metric that is an error, such as mse, is above a fixed value."""

    metric: str | None = Field(None, description="One of performance.metrics; the deciding one if absent.")
    basis: Basis = Field("realized", description="Which performance is read; either takes the realized where it is known.")


class Decay(Threshold):
    """Performance is worse than the mean of the reference chunks by more than ``fire_above``, in the metric's unit."""

    metric: str | None = Field(None, description="One of performance.metrics; the deciding one if absent.")
    basis: Basis = Field("either", description="Which performance is read; either takes the realized where it is known.")


class TwoStage(Section):
    """Inputs drift and performance decays, both sustained: either alone holds."""

    drift: Score
    decay: Decay


class Schedule(Section):
    """So much time has passed since the last retraining was ordered, or since the reference."""

    every: Duration


class RowCount(Section):
    """So many rows were served since the last retraining was ordered, or since the reference."""

    rows: int = Field(ge=1)


class Cost(Signal):
    """The loss that the decay is expected to cause over a horizon is larger than the cost of a training."""

    loss_per_unit: float = Field(gt=0, description="Money lost per row and per unit by which the metric is worse than on the reference.")
    horizon: Duration = Field("30d", description="How far ahead the loss is counted.")
    training_cost: float = Field(gt=0, description="Money one retraining costs, the proof and the rollout included.")
    metric: str | None = Field(None, description="One of performance.metrics; the deciding one if absent.")
    basis: Basis = "either"


class AtLeast(Section):
    """At least ``n`` of several conditions."""

    n: int = Field(ge=1)
    of: list["Condition"] = Field(min_length=1)

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if self.n > len(self.of):
            raise FieldError(("n",), f"got {self.n}; expected at most the number of conditions, which is {len(self.of)}")
        return self


#: Field of a condition to the name its clause has in the ledger.
CLAUSES = {
    "verdict": "harmful_verdict", "drift": "drift_breach", "score": "composite_score", "groups": "several_groups", "error": "error_threshold",
    "decay": "performance_decay", "two_stage": "two_stage", "schedule": "schedule", "rows": "row_count", "cost": "cost",
}  # fmt: skip
_COMBINED = ("any", "all", "at_least")


class Condition(Section):
    """One clause, or several combined with ``any``, ``all`` or ``at_least``."""

    name: str | None = Field(None, pattern=r"^[a-z][a-z0-9_]*$", description="Name in the ledger; that of the clause if absent.")
    update: Update | None = Field(None, description="How to retrain when this clause decides; retrain.update if absent.")
    any: list["Condition"] | None = Field(None, min_length=1)
    all: list["Condition"] | None = Field(None, min_length=1)
    at_least: AtLeast | None = None
    verdict: VerdictIn | None = None
    drift: DriftBreach | None = None
    score: Score | None = None
    groups: Groups | None = None
    error: Error | None = None
    decay: Decay | None = None
    two_stage: TwoStage | None = None
    schedule: Schedule | None = None
    rows: RowCount | None = None
    cost: Cost | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in (*_COMBINED, *CLAUSES) if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"got {given or 'no clause'}; expected exactly one of {', '.join((*_COMBINED, *CLAUSES))}")
        return self

    @property
    def kind(self) -> str:
        """The field that is given."""
        return next(name for name in (*_COMBINED, *CLAUSES) if getattr(self, name) is not None)

    @property
    def clause(self) -> str:
        """Its name in the ledger."""
        return self.name or CLAUSES.get(self.kind, self.kind)

    @property
    def parts(self) -> list["Condition"]:
        """Conditions it combines; none of a single clause."""
        return self.any or self.all or (self.at_least.of if self.at_least else [])

    @property
    def needed(self) -> int:
        """How many of ``parts`` must hold."""
        return self.at_least.n if self.at_least else len(self.parts) if self.all else 1

    def walk(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], "Condition"]]:
        """This condition and all below it, with the path of each in the declaration."""
        yield path, self
        below: tuple[str | int, ...] = ("at_least", "of") if self.at_least else (self.kind,)
        for place, part in enumerate(self.parts):
            yield from part.walk((*path, *below, place))


class Budget(Section):
    """Most retrainings that may be ordered in any stretch of time; the first training does not count."""

    retrainings: int = Field(4, ge=1)
    per: Duration = "30d"


class Quarantine(Section):
    """A contaminated period whose rows no candidate may learn from or be proved on."""

    start: Moment
    end: Moment
    who: str = Field(min_length=1, description="Who says so.")
    why: str = Field(min_length=1)
    expires: Moment | None = Field(None, description="From then on the rows count again; never if absent.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.end <= self.start:
            raise FieldError(("end",), f"got end {self.end:%Y-%m-%d %H:%M}; expected a moment after start {self.start:%Y-%m-%d %H:%M}")
        return self


class Retrain(Section):
    """When and how a new candidate is trained."""

    enabled: bool = True
    when: Condition = Field(
        Condition(verdict=VerdictIn()), description="What calls for a retraining; docs/policies.md explains every clause."
    )
    recipe: str = "lightgbm"
    parameters: dict[str, float | int | str] = Field(default_factory=dict, description="Overrides of the recipe's parameters.")
    seed: int = 0
    history_start: Moment | None = Field(None, description="Oldest row that may be trained on.")
    windows: list[str] = Field(["all", "4y", "since_onset"], description="Training windows that compete.")
    update: Update = Field(
        Update.FULL, description="full trains anew, incremental goes on from the champion on rows it has not seen, compete tries both."
    )
    cooldown: int = Field(1, ge=0, description="Chunks that must end between two retrainings.")
    budget: Budget = Budget()
    quarantine: list[Quarantine] = Field(default_factory=list, description="Periods no candidate may learn from.")
    provisional_until: Duration | None = Field(
        None, description="A champion trained on less than this since the onset is retrained after each cooldown."
    )

    @field_validator("windows")
    @classmethod
    def _known_windows(cls, windows: list[str]) -> list[str]:
        for window in windows:
            if window not in ("all", "since_onset"):
                parse_duration(window)
        if not windows:
            raise ValueError("got no window; expected at least one of all, since_onset or a duration such as 4y")
        return windows

    @model_validator(mode="after")
    def _clauses_are_told_apart(self) -> Self:
        names = [(path, one.clause) for path, one in self.when.walk(("when",)) if not one.parts]
        for place, (path, name) in enumerate(names):
            if name in [other for _, other in names[:place]]:
                raise FieldError((*path, "name"), f"got {name!r} twice; expected every clause to have a name of its own")
        return self
