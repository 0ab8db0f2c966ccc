"""``decide``: a pure fold over verdicts, promotions, overrides and earlier decisions. No hidden state, so a restart changes nothing.

Belongs here: the clauses around the declared condition, in order of precedence, and the incident each prevents. Does not: the
condition (``conditions.py``), reading the lake (``ledger.py``), launching runs (``trigger.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from resources.chunks import parse_duration
from resources.overrides import Ordered, standing
from resources.policy import MonitoredModel
from resources.vintages import JudgedChunk
from resources.vocabulary import Action, Override, Update, Verdict
from training_assets.conditions import Known, Reading, read_condition

__all__ = ["Clause", "Decision", "Fired", "History", "JudgedChunk", "Promotion", "State", "decide"]


class Clause(StrEnum):
    """Clauses every policy has, with the incident each prevents; those of ``retrain.when`` are named in ``resources.retraining``."""

    #: Day zero takes the ordinary road. Prevents: a first model that skipped the gates.
    NO_CHAMPION = "no_champion"
    #: Retraining is switched off in the declaration. Prevents: a frozen, certified model replaced overnight.
    RETRAINING_DISABLED = "retraining_disabled"
    #: A person knows what the numbers do not, and signs for it until a moment. Prevents: a fight with one's own platform at night.
    MANUAL_OVERRIDE = "manual_override"
    #: Broken data opens an incident and never retrains. Prevents: a candidate that learned from a dead sensor.
    DATA_FAULT = "data_fault"
    #: A verdict the policy acts on, about the serving version. Prevents: months of wrong predictions.
    HARMFUL_VERDICT = "harmful_verdict"
    #: A champion trained on too little since the onset is trained again. Prevents: an emergency model that stays for good.
    PROVISIONAL_CHAMPION = "provisional_champion"
    #: Too soon after the last retraining. Prevents: a retraining storm while labels are still on their way.
    COOLDOWN = "cooldown"
    #: As many retrainings as declared have been ordered lately. Prevents: a bill nobody agreed to.
    BUDGET = "budget"
    #: What called has been answered by a retraining and has not ceased since. Prevents: the same excursion retrained again and again.
    ANSWERED = "answered"
    #: Nothing calls for a retraining. Prevents: churn.
    NO_HARM = "no_harm"


_BY_NAME: Mapping[str, Clause] = {str(clause): clause for clause in Clause}


class State(StrEnum):
    """Derived by folding: ready to fire, fired and not re-armed yet, or waiting after having fired."""

    ARMED = "armed"
    FIRED = "fired"
    COOLING = "cooling"


@dataclass(frozen=True)
class Promotion:
    """The promotion that made the serving version serve."""

    version: str
    train_end: datetime | None
    onset: datetime | None


@dataclass(frozen=True)
class Fired:
    """An earlier decision to retrain."""

    chunk: str
    as_of: datetime
    clause: str = ""


@dataclass(frozen=True)
class History:
    """All that ``decide`` may look at: what is known at ``as_of``; verdicts and overrides in the order they became known."""

    as_of: datetime
    verdicts: Sequence[JudgedChunk]
    champion: Promotion | None
    fired: Sequence[Fired]
    overrides: Sequence[Ordered] = ()


@dataclass(frozen=True)
class Decision:
    """What to do, which clause said so, and on what; written to the ledger also when the answer is no.

    Attributes:
        reading: what the declared condition said; ``None`` where it was not asked.
        update: how to retrain.
        first_harm: first chunk of the evidence.
        causes: verdicts of the evidence.
        inputs: the evidence in words.
    """

    action: Action
    clause: str
    chunk: str
    incident: str | None
    state_before: State
    state_after: State
    first_harm: str | None
    onset: datetime | None
    inputs: Sequence[str]
    causes: Sequence[Verdict] = ()
    update: Update = Update.FULL
    reading: Reading | None = None


@dataclass(frozen=True)
class _Present:
    """The present of one model as its history tells it."""

    policy: MonitoredModel
    history: History
    last: Fired | None
    newest: str
    vintages: Mapping[str, Sequence[JudgedChunk]]
    reading: Reading | None = None

    @property
    def is_cooling(self) -> bool:
        """Whether fewer than ``cooldown`` chunks have ended since the last retraining was ordered, or it was ordered for this very chunk."""
        if self.last is None:
            return False
        cadence = self.policy.cadence
        ready = cadence.floor(self.last.as_of) + cadence.step * self.policy.retrain.cooldown
        return ready > cadence.floor(self.history.as_of) or self.last.chunk == self.newest

    @property
    def is_spent(self) -> bool:
        """Whether the budget of retrainings is used up; the first training does not count."""
        budget = self.policy.retrain.budget
        since = self.history.as_of - parse_duration(budget.per)
        counted = [one for one in self.history.fired if one.as_of > since and one.clause != Clause.NO_CHAMPION]
        return len(counted) >= budget.retrainings

    @property
    def state(self) -> State:
        """Before the decision."""
        if self.is_cooling:
            return State.COOLING
        is_answered = self.reading is not None and self.reading.is_up and not self.reading.is_fresh
        return State.FIRED if is_answered else State.ARMED

    def newest_of(self, chunks: Sequence[str]) -> list[JudgedChunk]:
        """What is known of some chunks."""
        return [self.vintages[chunk][-1] for chunk in chunks]

    def answer(
        self, action: Action, clause: str, evidence: Sequence[JudgedChunk] = (), *, onset: datetime | None = None,
        update: Update | None = None, told: Sequence[str] = (),
    ) -> Decision:  # fmt: skip
        """The decision for the newest chunk."""
        fires = action is Action.RETRAIN
        incident = f"{self.policy.model}/{self.newest}" if action is not Action.HOLD else None
        after = State.COOLING if fires and self.policy.retrain.cooldown else State.FIRED if fires else self.state
        inputs = [*told, *(f"{one.chunk}: {one.verdict} of version {one.model_version}" for one in evidence)]
        first = min((one.chunk for one in evidence), default=None)
        causes = sorted({one.verdict for one in evidence})
        how = update or self.policy.retrain.update
        return Decision(
            action, _BY_NAME.get(clause, clause), self.newest, incident, self.state, after, first, onset, inputs, causes, how, self.reading
        )


def decide(policy: MonitoredModel, history: History) -> Decision:
    """Decide on everything known at ``history.as_of``.

    Evidence counts while the version it speaks of serves, and is answered by one retraining: a verdict only if it became known
    after the last order, a number only if it crossed its threshold after it. At most one decision to retrain exists per chunk, and
    its incident is named after that chunk.

    Returns:
        The decision for the newest judged chunk, or for the end of the reference where there is no champion yet.
    """
    present = _present(policy, history)
    return _before_the_policy(present) or _by_the_policy(present)


def _present(policy: MonitoredModel, history: History) -> _Present:
    last = max(history.fired, key=lambda fired: (fired.as_of, fired.chunk), default=None)
    vintages: dict[str, list[JudgedChunk]] = {}
    for one in history.verdicts:
        vintages.setdefault(one.chunk, []).append(one)
    vintages = {chunk: vintages[chunk] for chunk in sorted(vintages)}
    # day zero is named after the end of the reference; if it comes to nothing, after the day it is tried again
    tried_at = policy.reference.end if last is None else history.as_of
    newest = max(vintages, default=policy.cadence.shift(policy.cadence.key(tried_at), -1))
    if history.champion is None:
        return _Present(policy, history, last, newest, vintages)
    version = history.champion.version
    own = {
        chunk: [one for one in seen if one.model_version == version]
        for chunk, seen in vintages.items()
        if seen[-1].model_version == version
    }
    rows = {chunk: seen[-1].n_rows for chunk, seen in vintages.items()}
    known = Known(policy, history.as_of, own, last.as_of if last else None, rows)
    return _Present(policy, history, last, newest, vintages, read_condition(policy.retrain.when, known))


def _before_the_policy(present: _Present) -> Decision | None:
    """What is decided whatever the condition says: switched off, ordered by a person, no champion yet."""
    policy, history = present.policy, present.history
    if not policy.retrain.enabled:
        return present.answer(Action.HOLD, Clause.RETRAINING_DISABLED)
    ordered = standing(history.overrides, history.as_of)
    if ordered is not None and ordered.override is Override.HOLD:
        return present.answer(Action.HOLD, Clause.MANUAL_OVERRIDE, told=[ordered.told])
    is_unanswered = ordered is not None and (present.last is None or ordered.as_of > present.last.as_of)
    if ordered is not None and is_unanswered and (present.last is None or present.last.chunk != present.newest):
        return present.answer(Action.RETRAIN, Clause.MANUAL_OVERRIDE, told=[ordered.told])
    if history.champion is None and present.is_cooling:
        return present.answer(Action.HOLD, Clause.COOLDOWN)
    if history.champion is None:
        return present.answer(Action.RETRAIN, Clause.NO_CHAMPION)
    return None


def _by_the_policy(present: _Present) -> Decision:
    policy, history, reading = present.policy, present.history, present.reading
    assert history.champion is not None  # noqa: S101 - day zero is decided before
    assert reading is not None  # noqa: S101 - read wherever there is a champion
    champion = history.champion
    is_provisional = _is_provisional(policy, champion, history.fired)
    onset = champion.onset if is_provisional else None
    called = reading.is_up and reading.is_fresh
    evidence = present.newest_of(reading.chunks) if called else []
    broken = _broken(present, champion.version)
    if broken and not (called and any(one.verdict in _HARM for one in evidence)):  # harm is acted on although the newest data broke since
        return present.answer(Action.OPEN_INCIDENT, Clause.DATA_FAULT, broken)
    if called or is_provisional:
        if present.is_cooling:
            return present.answer(Action.HOLD, Clause.COOLDOWN, evidence)
        if present.is_spent:
            return present.answer(Action.HOLD, Clause.BUDGET, evidence)
    if called:
        own = reading.deciding
        return present.answer(Action.RETRAIN, own.clause, evidence, onset=onset, update=own.update)
    if is_provisional:
        return present.answer(Action.RETRAIN, Clause.PROVISIONAL_CHAMPION, onset=onset)
    return present.answer(Action.HOLD, Clause.ANSWERED if reading.is_up else Clause.NO_HARM, present.newest_of(reading.chunks))


_HARM = (Verdict.COVARIATE_HARMFUL, Verdict.LABEL_SHIFT, Verdict.CONCEPT)


def _broken(present: _Present, version: str) -> list[JudgedChunk]:
    """Data faults to open an incident for: of the newest chunk, or known only now."""
    history = present.history
    newest = [seen[-1] for seen in present.vintages.values()]
    return [
        one for one in newest
        if one.verdict is Verdict.DATA_FAULT and one.model_version == version
        and (present.last is None or one.known_at > present.last.as_of) and (one.chunk == present.newest or one.known_at >= history.as_of)
    ]  # fmt: skip


def _is_provisional(policy: MonitoredModel, champion: Promotion, fired: Sequence[Fired]) -> bool:
    """Whether the champion has seen too little since the onset, and no candidate that has seen enough was tried yet."""
    if policy.retrain.provisional_until is None or champion.onset is None or champion.train_end is None:
        return False
    enough = champion.onset + parse_duration(policy.retrain.provisional_until)
    # a candidate learns up to the held-out rows less the label delay, and those end one label delay before the order
    tried = enough + parse_duration(policy.gates.holdout) + parse_duration(policy.outcome.delay) * 2
    return champion.train_end < enough and not any(one.as_of >= tried for one in fired)
