"""``decide``: a pure fold over verdicts, promotions and earlier decisions. No hidden state, so a restart changes nothing.

Belongs here: the clauses and the incident each prevents. Does not: reading the lake, launching runs (``trigger.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from resources.chunks import parse_duration
from resources.policy import MonitoredModel
from resources.vocabulary import Action, Verdict


class Clause(StrEnum):
    """The clause of the policy that decided, with the incident it prevents."""

    #: Day zero takes the ordinary road. Prevents: a first model that skipped the gates.
    NO_CHAMPION = "no_champion"
    #: Retraining is switched off in the declaration. Prevents: a frozen, certified model replaced overnight.
    RETRAINING_DISABLED = "retraining_disabled"
    #: Broken data opens an incident and never retrains. Prevents: a candidate that learned from a dead sensor.
    DATA_FAULT = "data_fault"
    #: A verdict the policy acts on, about the serving version. Prevents: months of wrong predictions.
    HARMFUL_VERDICT = "harmful_verdict"
    #: A champion trained on too little since the onset is trained again. Prevents: an emergency model that stays for good.
    PROVISIONAL_CHAMPION = "provisional_champion"
    #: Too soon after the last retraining. Prevents: a retraining storm while labels are still on their way.
    COOLDOWN = "cooldown"
    #: Nothing calls for a retraining. Prevents: churn.
    NO_HARM = "no_harm"


class State(StrEnum):
    """Derived by folding: ready to fire, or waiting after having fired."""

    ARMED = "armed"
    COOLING = "cooling"


@dataclass(frozen=True)
class JudgedChunk:
    """One row of ``verdicts``."""

    chunk: str
    verdict: Verdict
    model_version: str
    known_at: datetime


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


@dataclass(frozen=True)
class History:
    """All that ``decide`` may look at: what is known at ``as_of``."""

    as_of: datetime
    verdicts: Sequence[JudgedChunk]
    champion: Promotion | None
    fired: Sequence[Fired]


@dataclass(frozen=True)
class Decision:
    """What to do, which clause said so, and on what; written to the ledger also when the answer is no."""

    action: Action
    clause: Clause
    chunk: str
    incident: str | None
    state_before: State
    state_after: State
    first_harm: str | None
    onset: datetime | None
    inputs: Sequence[str]
    causes: Sequence[Verdict] = ()


def decide(policy: MonitoredModel, history: History) -> Decision:
    """Decide on everything known at ``history.as_of``.

    A verdict counts once, while the version it speaks of serves, and only if it became known after the last
    retraining was ordered: evidence is not used twice. At most one decision to retrain exists per chunk, and its
    incident is named after that chunk.

    Returns:
        The decision for the newest judged chunk, or for the end of the reference where there is no champion yet.
    """
    last = max(history.fired, key=lambda fired: fired.chunk, default=None)
    # day zero is named after the end of the reference; if it comes to nothing, after the day it is tried again
    tried_at = policy.reference.end if last is None else history.as_of
    newest = max((one.chunk for one in history.verdicts), default=policy.cadence.shift(policy.cadence.key(tried_at), -1))
    is_cooling = last is not None and _is_cooling(policy, last.as_of, history.as_of)
    before = State.COOLING if is_cooling else State.ARMED

    def answer(action: Action, clause: Clause, harm: Sequence[JudgedChunk] = (), onset: datetime | None = None) -> Decision:
        fires = action is Action.RETRAIN
        incident = f"{policy.model}/{newest}" if action is not Action.HOLD else None
        after = State.COOLING if fires and policy.retrain.cooldown else before
        inputs = [f"{one.chunk}: {one.verdict} of version {one.model_version}" for one in harm]
        first = min((one.chunk for one in harm), default=None)
        return Decision(action, clause, newest, incident, before, after, first, onset, inputs, sorted({one.verdict for one in harm}))

    if not policy.retrain.enabled:
        return answer(Action.HOLD, Clause.RETRAINING_DISABLED)
    if history.champion is None and is_cooling:
        return answer(Action.HOLD, Clause.COOLDOWN)
    if history.champion is None:
        return answer(Action.RETRAIN, Clause.NO_CHAMPION)
    fresh = [
        one for one in history.verdicts if one.model_version == history.champion.version and (last is None or one.known_at > last.as_of)
    ]
    harmful = [one for one in fresh if one.verdict in policy.retrain.on]
    broken = [one for one in fresh if one.verdict is Verdict.DATA_FAULT and (one.chunk == newest or one.known_at >= history.as_of)]
    is_provisional = _is_provisional(policy, history.champion, history.fired)
    known_onset = history.champion.onset if is_provisional else None
    if harmful and is_cooling:
        return answer(Action.HOLD, Clause.COOLDOWN, harmful)
    if harmful:
        return answer(Action.RETRAIN, Clause.HARMFUL_VERDICT, harmful, known_onset)
    if broken:
        return answer(Action.OPEN_INCIDENT, Clause.DATA_FAULT, broken)
    if is_provisional and is_cooling:
        return answer(Action.HOLD, Clause.COOLDOWN)
    if is_provisional:
        return answer(Action.RETRAIN, Clause.PROVISIONAL_CHAMPION, (), known_onset)
    return answer(Action.HOLD, Clause.NO_HARM)


def _is_cooling(policy: MonitoredModel, last: datetime, as_of: datetime) -> bool:
    """Whether fewer than ``cooldown`` chunks have ended since the last retraining was ordered."""
    cadence = policy.cadence
    return cadence.floor(last) + cadence.step * policy.retrain.cooldown > cadence.floor(as_of)


def _is_provisional(policy: MonitoredModel, champion: Promotion, fired: Sequence[Fired]) -> bool:
    """Whether the champion has seen too little since the onset, and no candidate that has seen enough was tried yet."""
    if policy.retrain.provisional_until is None or champion.onset is None or champion.train_end is None:
        return False
    enough = champion.onset + parse_duration(policy.retrain.provisional_until)
    # a candidate learns up to the held-out rows less the label delay, and those end one label delay before the order
    tried = enough + parse_duration(policy.gates.holdout) + parse_duration(policy.outcome.delay) * 2
    return champion.train_end < enough and not any(one.as_of >= tried for one in fired)
