"""The path a policy takes through history: along the record as long as it orders what was ordered, and then on its own.

Belongs here: walking the evaluations, departing from the record. Does not: what serves when (``moves.py``), what is known
(``knowledge.py``), training (``workshop.py``), figures (``figures.py``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from resources.policy import MonitoredModel
from resources.vocabulary import Action
from training_assets.decide import Clause, Decision, Fired, History, decide
from training_assets.replay.evidence import Evidence
from training_assets.replay.knowledge import Knowledge
from training_assets.replay.moves import Moves
from training_assets.replay.recorded import Recorded, Tick
from training_assets.replay.reproduce import history_of
from training_assets.replay.workshop import Serving, Workshop, is_trained_alike

AS_RECORDED, NOT_TRAINED = "as recorded", "not trained: the bound is reached"


@dataclass(frozen=True)
class Step:
    """One evaluation of the path: the answer, and for an order what came of it."""

    as_of: datetime
    decision: Decision
    outcome: str = ""

    @property
    def is_order(self) -> bool:
        """Whether a retraining was ordered."""
        return self.decision.action is Action.RETRAIN


@dataclass(frozen=True)
class Path:
    """All evaluations of a policy, what served when, and where the path left the record.

    Attributes:
        policy: what was walked.
        steps: one per evaluation.
        serving: gives what served a chunk.
        departed: the first evaluation that ordered something else than was ordered; ``None`` if there is none.
        n_trained: models the replay trained, the first one left out.
        n_refused: orders beyond the bound on trainings.
    """

    policy: MonitoredModel
    steps: Sequence[Step]
    serving: Callable[[str], Serving | None]
    departed: datetime | None
    n_trained: int
    n_refused: int


@dataclass
class Walk:
    """One policy on its way through the record.

    Attributes:
        policy: what decides.
        recorded: what happened.
        evidence: what would have been known otherwise.
        workshop: what would have been trained.
        most: trainings at most, the first model left out.
        start: before this the live ledger is followed.
        heeds_overrides: whether recorded overrides count.
    """

    policy: MonitoredModel
    recorded: Recorded
    evidence: Evidence
    workshop: Workshop
    most: int
    start: datetime | None = None
    heeds_overrides: bool = True
    _fired: list[Fired] = field(default_factory=list)
    _trained: int = 0
    _refused: int = 0

    def run(self, ticks: Sequence[Tick], on_tick: Callable[[], None] = lambda: None) -> Path:
        """Evaluate the policy at every tick."""
        self._moves = Moves(self.recorded, self.workshop, ticks)
        self._knowledge = Knowledge(self.policy, self.recorded, self.evidence, self._moves)
        self._departed: Tick | None = None
        steps = []
        for tick in ticks:
            on_tick()
            if self.start is not None and tick.as_of < self.start:
                self._follow(tick)
            else:
                steps.append(self._step(tick))
        departed = self._departed.as_of if self._departed else None
        return Path(self.policy, steps, self._moves.serving, departed, self._trained, self._refused)

    def _follow(self, tick: Tick) -> None:
        if tick.has_fired:
            self._fired.append(Fired(str(tick.row["chunk"]), tick.as_of, str(tick.row["clause"])))
            self._moves.follow(tick.row["incident"])

    def _step(self, tick: Tick) -> Step:
        decision = decide(self.policy, self._history(tick))
        if self._departed is None and not self._coincides(decision, tick):
            self._departed = tick
            self._moves.depart(tick)
            self._knowledge.depart(tick)
        if decision.action is not Action.RETRAIN:
            return Step(tick.as_of, decision)
        self._fired.append(Fired(decision.chunk, tick.as_of, decision.clause))
        return Step(tick.as_of, decision, self._carry_out(decision, tick))

    def _coincides(self, decision: Decision, tick: Tick) -> bool:
        """Whether live ordered the same here: then what came of it is known."""
        if decision.action is not Action.RETRAIN:
            return not tick.has_fired
        same = tick.has_fired and str(tick.row["chunk"]) == decision.chunk and str(tick.row["update"]) == decision.update
        return same and is_trained_alike(self.policy, self.recorded.policy)

    def _carry_out(self, decision: Decision, tick: Tick) -> str:
        if self._departed is None:
            self._moves.follow(decision.incident)
            return AS_RECORDED
        is_first = decision.clause == Clause.NO_CHAMPION
        if self._trained >= self.most and not is_first:
            self._refused += 1
            return NOT_TRAINED
        self._trained += not is_first
        attempt = self.workshop.train(self.policy, decision, tick.as_of, self._moves.champion(tick))
        if attempt.serving is not None:
            self._moves.promote(tick.as_of, attempt.serving)
        return attempt.reason

    def _history(self, tick: Tick) -> History:
        overrides = self.recorded.overrides[: tick.position.overrides] if self.heeds_overrides else []
        if self._departed is None and len(self.recorded.vintages):
            return replace(history_of(self.policy, self.recorded, tick, self._fired), overrides=overrides)
        champion = self._moves.champion(tick)
        verdicts = self._knowledge.at(tick) if champion is not None else []
        return History(tick.as_of, verdicts, champion.promotion if champion else None, list(self._fired), overrides)
