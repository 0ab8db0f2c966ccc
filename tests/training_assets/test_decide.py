"""``decide`` is a pure fold: named clauses, boundaries, no hidden state."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.policy import MonitoredModel
from resources.vocabulary import Action, Verdict
from training_assets.decide import Clause, Fired, History, JudgedChunk, Promotion, State, decide

DAY = timedelta(days=1)
START = datetime(2024, 3, 1, tzinfo=UTC)
BODY = {
    "model": "shop",
    "task": "binary_classification",
    "log": {"parquet": "log.parquet", "time": "ts", "id": "id"},
    "features": {"numeric": ["x1"]},
    "outcome": {"column": "y", "delay": "1d"},
    "chunk": "1d",
    "reference": {"start": "2024-01-01", "end": "2024-02-01"},
    "gates": {"holdout": "5d"},
}


def policy(**retrain):
    return MonitoredModel.model_validate({**BODY, "retrain": {"cooldown": 3, **retrain}})


def chunk(day):
    return f"{START + day * DAY:%Y-%m-%d}"


def judged(day, verdict, version="1", known=None):
    return JudgedChunk(chunk(day), verdict, version, START + (known if known is not None else day + 1) * DAY)


def history(verdicts, *, day=None, fired=(), champion=Promotion("1", None, None)):  # noqa: B008
    newest = day if day is not None else len(verdicts) - 1
    return History(START + (newest + 1) * DAY, verdicts, champion, fired)


def test_a_healthy_chunk_holds_and_says_why():
    decision = decide(policy(), history([judged(0, Verdict.HEALTHY)]))
    assert (decision.action, decision.clause, decision.incident) == (Action.HOLD, Clause.NO_HARM, None)


@pytest.mark.parametrize("verdict", [Verdict.CONCEPT, Verdict.COVARIATE_HARMFUL])
def test_harm_of_the_serving_version_retrains_and_names_the_incident_after_the_chunk(verdict):
    decision = decide(policy(), history([judged(0, Verdict.HEALTHY), judged(1, verdict)]))
    assert (decision.action, decision.clause) == (Action.RETRAIN, Clause.HARMFUL_VERDICT)
    assert decision.incident == f"shop/{chunk(1)}"
    assert decision.first_harm == chunk(1)
    assert decision.causes == [verdict]
    assert (decision.state_before, decision.state_after) == (State.ARMED, State.COOLING)


@pytest.mark.parametrize("verdict", [Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS, Verdict.UNDECIDED])
def test_without_harm_the_same_history_holds(verdict):
    assert decide(policy(), history([judged(0, Verdict.HEALTHY), judged(1, verdict)])).action is Action.HOLD


def test_a_data_fault_opens_an_incident_and_never_retrains():
    decision = decide(policy(), history([judged(0, Verdict.DATA_FAULT)]))
    assert (decision.action, decision.clause) == (Action.OPEN_INCIDENT, Clause.DATA_FAULT)
    assert decision.incident == f"shop/{chunk(0)}"


def test_harm_of_a_version_that_no_longer_serves_is_not_acted_on():
    decision = decide(policy(), history([judged(0, Verdict.CONCEPT, version="1")], champion=Promotion("2", None, None)))
    assert decision.clause is Clause.NO_HARM


def test_evidence_known_before_the_last_order_is_not_used_twice():
    fired = [Fired(chunk(0), START + DAY)]
    old = [judged(0, Verdict.CONCEPT, known=1), judged(9, Verdict.HEALTHY)]
    assert decide(policy(), history(old, day=9, fired=fired)).clause is Clause.NO_HARM
    fresh = [judged(0, Verdict.CONCEPT, known=5), judged(9, Verdict.HEALTHY)]
    assert decide(policy(), history(fresh, day=9, fired=fired)).clause is Clause.HARMFUL_VERDICT


@pytest.mark.parametrize(("day", "clause"), [(1, Clause.COOLDOWN), (2, Clause.COOLDOWN), (3, Clause.HARMFUL_VERDICT)])
def test_cooldown_holds_until_its_chunks_have_ended(day, clause):
    decision = decide(policy(), history([judged(day, Verdict.CONCEPT)], day=day, fired=[Fired(chunk(0), START + DAY)]))
    assert decision.clause is clause


def test_day_zero_takes_the_ordinary_road():
    decision = decide(policy(), history([], champion=None))
    assert (decision.action, decision.clause, decision.chunk) == (Action.RETRAIN, Clause.NO_CHAMPION, "2024-01-31")


def test_retraining_can_be_switched_off():
    decision = decide(policy(enabled=False), history([judged(0, Verdict.CONCEPT)]))
    assert (decision.action, decision.clause) == (Action.HOLD, Clause.RETRAINING_DISABLED)


def test_a_provisional_champion_is_trained_again_until_one_with_enough_rows_was_tried():
    onset = START - 4 * DAY
    champion = Promotion("2", START, onset)
    own = policy(provisional_until="30d")
    calm = [judged(day, Verdict.HEALTHY, version="2") for day in range(10)]
    decision = decide(own, history(calm, champion=champion))
    assert (decision.clause, decision.onset) == (Clause.PROVISIONAL_CHAMPION, onset)
    tried = [Fired(chunk(33), onset + 37 * DAY)]  # 30 d + holdout 5 d + twice the label delay of 1 d
    later = [judged(day, Verdict.HEALTHY, version="2") for day in range(60)]
    assert decide(own, history(later, champion=champion, fired=tried)).clause is Clause.NO_HARM
    assert decide(policy(), history(calm, champion=champion)).clause is Clause.NO_HARM  # not declared


VERDICTS = st.lists(st.sampled_from(list(Verdict)), min_size=1, max_size=40)


def fold(own, verdicts, *, restart_every=None):
    """Decide after each chunk, feeding decisions back; a restart forgets everything but the recorded history."""
    fired, ledger = [], []
    for day in range(len(verdicts)):
        seen = [judged(index, verdict) for index, verdict in enumerate(verdicts[: day + 1])]
        past = [replace(one) for one in fired] if restart_every and day % restart_every == 0 else fired
        decision = decide(own, history(seen, fired=past))
        ledger.append((decision.chunk, decision.action, decision.clause, decision.state_before, decision.state_after))
        if decision.action is Action.RETRAIN:
            fired.append(Fired(decision.chunk, START + (day + 1) * DAY))
    return ledger, fired


@given(VERDICTS)
@settings(max_examples=60, deadline=None)
def test_a_restart_at_any_tick_gives_the_same_ledger(verdicts):
    assert fold(policy(), verdicts) == fold(policy(), verdicts, restart_every=1)


@given(VERDICTS)
@settings(max_examples=60, deadline=None)
def test_it_never_fires_more_often_than_the_cooldown_allows_nor_without_harm(verdicts):
    own = policy()
    _, fired = fold(own, verdicts)
    days = [int((one.as_of - START) / DAY) for one in fired]
    assert all(later - earlier >= 3 for earlier, later in itertools.pairwise(days))
    assert len(fired) <= sum(verdict in own.retrain.when.verdict.on for verdict in verdicts)


@given(VERDICTS, st.integers(0, 39))
@settings(max_examples=60, deadline=None)
def test_more_harm_never_turns_a_first_retraining_into_a_later_one(verdicts, at):
    worse = [Verdict.CONCEPT if index == at else verdict for index, verdict in enumerate(verdicts)]
    _, before = fold(policy(), verdicts)
    _, after = fold(policy(), worse)
    if before:
        assert after
        assert after[0].as_of <= before[0].as_of
