"""Clauses of a retraining policy on scripted and random histories: what fires, what holds, and that nothing is remembered."""

import json
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from resources.overrides import Ordered
from resources.policy import MonitoredModel
from resources.vintages import JudgedChunk, Measured
from resources.vocabulary import Action, Kind, Override, Update, Verdict
from training_assets.conditions import composite_score
from training_assets.decide import Clause, Fired, History, Promotion, State, decide

DAY = timedelta(days=1)
START = datetime(2024, 3, 1, tzinfo=UTC)
NAN = float("nan")
BODY = {
    "model": "shop",
    "task": "regression",
    "log": {"parquet": "log.parquet", "time": "ts", "id": "id"},
    "features": {"numeric": ["heat", "load"], "categorical": ["site"]},
    "outcome": {"column": "y", "delay": "1d"},
    "chunk": "1d",
    "reference": {"start": "2024-01-01", "end": "2024-02-01"},
    "performance": {"metrics": ["mse", "mae"]},
}
HYSTERESIS = {"score": {"weights": {"heat": 1.0}, "fire_above": 0.15, "rearm_below": 0.10}}


def policy(when, **retrain):
    return MonitoredModel.model_validate({**BODY, "retrain": {"cooldown": 0, "budget": {"retrainings": 100}, "when": when, **retrain}})


def number(kind, method, subject, value, *, effect=None, breach=False):
    plain = None if value is None or math.isnan(value) else value
    return [str(kind), method, subject, plain, effect, None, None, breach]


def drift(subject, value, *, breach=False, method="wasserstein"):
    return number(Kind.UNIVARIATE_DRIFT, method, subject, value, breach=breach)


def performance(value, effect, *, kind=Kind.REALIZED_PERFORMANCE, metric="mse"):
    return number(kind, "realized", metric, value, effect=effect)


def judged(day, *numbers, verdict=Verdict.HEALTHY, version="1", known=None, n_rows=100):
    chunk = f"{START + day * DAY:%Y-%m-%d}"
    return JudgedChunk(chunk, verdict, version, START + (day + 1 if known is None else known) * DAY, n_rows, True, json.dumps(numbers))


def heat(day, value, **more):
    return judged(day, *([] if value is None else [drift("heat", value)]), **more)


def fold(own, vintages, *, orders_known=True, overrides=()):
    """Decide after each vintage as the platform does, orders fed back; every tick starts from the record alone."""
    ledger = []
    for place, one in enumerate(vintages):
        fired = [Fired(decision.chunk, as_of, decision.clause) for decision, as_of in ledger if decision.action is Action.RETRAIN]
        history = History(one.known_at, vintages[: place + 1], Promotion("1", None, None), fired if orders_known else [], overrides)
        ledger.append((decide(own, history), one.known_at))
    return [decision for decision, _ in ledger]


def actions(decisions):
    return [decision.action is Action.RETRAIN for decision in decisions]


def test_the_scripted_series_fires_exactly_as_specified():
    values = [0.10, 0.15, 0.151, 0.149, 0.12, 0.10, 0.099, 0.15, 0.16, NAN, 0.2, None, 0.0999999, 0.1500001]
    decisions = fold(policy(HYSTERESIS), [heat(day, value) for day, value in enumerate(values)])
    assert [values[day] for day, fires in enumerate(actions(decisions)) if fires] == [0.151, 0.16, 0.1500001]
    assert [decision.clause for decision in decisions[2:6]] == ["composite_score", "answered", "answered", "answered"]
    assert decisions[6].clause is Clause.NO_HARM  # re-armed
    states = [decision.state_before for decision in decisions]
    assert states[1:5] == [State.ARMED, State.ARMED, State.FIRED, State.FIRED]
    assert states[9] is State.FIRED  # a missing value changes nothing


def test_a_missing_value_is_recorded_as_missing():
    decisions = fold(policy(HYSTERESIS), [heat(0, NAN), heat(1, None)])
    for decision in decisions:
        (leaf,) = decision.reading.leaves()
        assert math.isnan(leaf.value)
        assert leaf.chunk is None
        assert decision.action is Action.HOLD


SERIES = st.lists(
    st.sampled_from([0.0, 0.09, 0.0999, 0.10, 0.1001, 0.12, 0.1499, 0.15, 0.1501, 0.16, 0.3, NAN, None]) | st.floats(0, 0.3), max_size=40
)


def excursions(values):
    """Number of times the series rises above .15, counted anew only after it was below .10."""
    count, armed = 0, True
    for value in values:
        if value is None or math.isnan(value):
            continue
        if armed and value > 0.15:
            count, armed = count + 1, False
        elif not armed and value < 0.10:
            armed = True
    return count


@given(SERIES)
@settings(max_examples=80, deadline=None)
def test_it_fires_once_per_excursion_and_never_more(values):
    decisions = fold(policy(HYSTERESIS), [heat(day, value) for day, value in enumerate(values)])
    assert sum(actions(decisions)) == excursions(values)


@given(SERIES, st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_with_a_cooldown_it_fires_at_most_as_often_as_there_are_excursions(values, cooldown):
    decisions = fold(policy(HYSTERESIS, cooldown=cooldown), [heat(day, value) for day, value in enumerate(values)])
    assert sum(actions(decisions)) <= excursions(values)


def test_an_excursion_that_began_during_the_cooldown_is_answered_after_it_if_it_lasts():
    lasting = fold(policy(HYSTERESIS, cooldown=3), [heat(day, value) for day, value in enumerate([0.2, 0.05, 0.2, 0.2, 0.2])])
    assert [decision.clause for decision in lasting] == ["composite_score", "no_harm", "cooldown", "composite_score", "answered"]
    passing = fold(policy(HYSTERESIS, cooldown=3), [heat(day, value) for day, value in enumerate([0.2, 0.05, 0.2, 0.05, 0.05])])
    assert sum(actions(passing)) == 1


def test_a_verdict_reached_again_on_the_same_number_is_no_new_excursion():
    values = [heat(0, 0.2), heat(1, 0.2), heat(0, 0.2, known=5), heat(1, 0.2, known=6, verdict=Verdict.COVARIATE_HARMLESS)]
    assert actions(fold(policy(HYSTERESIS), values)) == [True, False, False, False]


def test_another_version_starts_armed_and_its_predecessor_counts_no_more():
    own = policy(HYSTERESIS)
    old, new = [heat(0, 0.2), heat(1, 0.2)], heat(2, 0.2, version="2")
    history = History(START + 3 * DAY, [*old, new], Promotion("2", None, None), [Fired(old[0].chunk, START + DAY)])
    assert decide(own, history).action is Action.RETRAIN
    late = History(START + 3 * DAY, old, Promotion("2", None, None), [])
    assert decide(own, late).clause is Clause.NO_HARM


def test_a_broken_chunk_is_passed_over_opens_an_incident_and_never_retrains():
    decisions = fold(policy(HYSTERESIS), [heat(0, 0.05), heat(1, 0.9, verdict=Verdict.DATA_FAULT), heat(2, 0.05)])
    assert [(one.action, str(one.clause)) for one in decisions] == [
        (Action.HOLD, "no_harm"), (Action.OPEN_INCIDENT, "data_fault"), (Action.HOLD, "no_harm"),
    ]  # fmt: skip
    due = fold(policy({"schedule": {"every": "7d"}}), [heat(0, 0.05, verdict=Verdict.DATA_FAULT)])
    assert due[0].clause is Clause.DATA_FAULT  # nor does a schedule that is long due


@pytest.mark.parametrize(
    ("signal", "fires_on"),
    [({"chunks": 1}, 1), ({"chunks": 2}, 6), ({"chunks": 2, "of": 3}, 3), ({"chunks": 3, "of": 5}, 5), ({"chunks": 3, "within": "4d"}, 6)],
)
def test_persistence_waits_for_enough_of_the_latest_chunks(signal, fires_on):
    values = [0.0, 0.2, 0.0, 0.2, 0.0, 0.2, 0.2]
    decisions = fold(policy({"score": {"weights": {"heat": 1.0}, "fire_above": 0.15, **signal}}), [heat(*one) for one in enumerate(values)])
    assert actions(decisions).index(True) == fires_on


def test_a_rolling_week_counts_chunks_by_when_they_ended():
    own = policy({"score": {"weights": {"heat": 1.0}, "fire_above": 0.15, "chunks": 3, "within": "7d"}})
    assert sum(actions(fold(own, [heat(day, 0.2) for day in (0, 4, 8)]))) == 0  # three in nine days
    assert actions(fold(own, [heat(day, 0.2) for day in (0, 3, 6)])) == [False, False, True]


def test_the_composite_score_is_the_weighted_mean_of_the_declared_numbers():
    own = policy({"score": {"weights": {"heat": 0.5, "load": 0.3, "site": 0.2}, "fire_above": 0.15}})
    numbers = [
        ("heat", "wasserstein", 0.4),
        ("load", "wasserstein", 0.1),
        ("site", "jensen_shannon", 0.3),
        ("heat", "kolmogorov_smirnov", 0.9),
    ]
    measured = [Measured(Kind.UNIVARIATE_DRIFT, method, subject, value, NAN, None, None, False) for subject, method, value in numbers]
    score = own.retrain.when.score
    assert composite_score(score, own, measured) == pytest.approx(0.5 * 0.4 + 0.3 * 0.1 + 0.2 * 0.3, abs=1e-15)
    assert math.isnan(composite_score(score, own, measured[1:3]))  # without heat there is no score
    equal = policy({"score": {"fire_above": 0.15}}).retrain.when.score
    assert composite_score(equal, own, measured) == pytest.approx((0.4 + 0.1 + 0.3) / 3, abs=1e-15)


TWO_STAGE = {"two_stage": {"drift": {"weights": {"heat": 1.0}, "fire_above": 0.15, "chunks": 2}, "decay": {"fire_above": 0.5, "chunks": 2}}}


def test_two_stages_must_both_be_sustained():
    def day(index, score, worse):
        return judged(index, drift("heat", score), performance(2.0, worse))

    def outcome(*days):
        return [decision.clause for decision in fold(policy(TWO_STAGE), [day(index, *one) for index, one in enumerate(days)])]

    assert outcome((0.2, 0.9), (0.2, 0.9), (0.2, 0.9)) == ["no_harm", "two_stage", "answered"]
    assert outcome((0.2, 0.1), (0.2, 0.1), (0.2, 0.1)) == ["no_harm"] * 3  # drift that does not hurt
    assert outcome((0.0, 0.9), (0.0, 0.9), (0.0, 0.9)) == ["no_harm"] * 3  # decay without drift
    assert outcome((0.2, 0.9), (0.2, 0.4), (0.2, 0.9)) == ["no_harm"] * 3  # one bad chunk
    assert outcome((0.2, 0.5), (0.2, 0.5), (0.2, 0.5)) == ["no_harm"] * 3  # the drop is not above its minimum


def test_drift_must_be_confirmed_in_enough_groups():
    own = policy({"groups": {"groups": {"thermal": ["heat"], "electric": ["load"], "place": ["site"]}, "at_least": 2}})

    def breaches(index, *names):
        return judged(index, *(drift(name, 0.5, breach=name in names) for name in ("heat", "load", "site")))

    assert actions(fold(own, [breaches(0, "heat"), breaches(1, "heat", "site"), breaches(2), breaches(3, "load")])) == [
        False,
        True,
        False,
        False,
    ]


def test_an_error_threshold_fires_once_per_crossing_and_reads_what_is_asked_for():
    own = policy({"error": {"fire_above": 4.0, "metric": "mse"}})
    values = [judged(day, performance(mse, 0.0)) for day, mse in enumerate([3.0, 4.0, 4.1, 5.0, 3.9, 4.2])]
    assert actions(fold(own, values)) == [False, False, True, False, False, True]
    estimated = [judged(0, performance(9.0, 0.0, kind=Kind.ESTIMATED_PERFORMANCE))]
    assert not any(actions(fold(own, estimated)))
    assert all(actions(fold(policy({"error": {"fire_above": 4.0, "basis": "either"}}), estimated)))


def test_decay_is_worse_in_the_direction_of_the_metric():
    body = {
        **BODY,
        "task": "binary_classification",
        "performance": {"metrics": ["roc_auc"]},
        "retrain": {"when": {"decay": {"fire_above": 0.05}}},
    }
    own = MonitoredModel.model_validate(body)
    worse, better = (judged(0, performance(0.8, effect, metric="roc_auc")) for effect in (-0.06, 0.06))
    assert actions(fold(own, [worse])) == [True]
    assert actions(fold(own, [better])) == [False]


def test_the_cost_of_decay_over_the_horizon_is_weighed_against_that_of_a_training():
    own = policy({"cost": {"loss_per_unit": 0.5, "horizon": "10d", "training_cost": 1000}})
    # 100 rows a day for ten days, each losing half a unit of money per unit of mse
    assert actions(fold(own, [judged(0, performance(3.0, 2.0))])) == [False]  # 1,000 is not above 1,000
    decision = fold(own, [judged(0, performance(3.1, 2.1))])[0]
    assert (decision.clause, decision.reading.value) == ("cost", pytest.approx(1050))
    assert actions(fold(own, [judged(0, performance(1.0, -3.0))])) == [False]  # better than the reference costs nothing


def test_a_schedule_counts_from_the_last_order_and_rows_from_the_chunks_since():
    days = [heat(day, 0.0) for day in range(20)]
    fired = [day for day, fires in enumerate(actions(fold(policy({"schedule": {"every": "7d"}}), days))) if fires]
    assert fired == [0, 7, 14]  # the reference ended a month before the first chunk
    rows = [day for day, fires in enumerate(actions(fold(policy({"rows": {"rows": 500}}), days))) if fires]
    assert rows == [4, 9, 14, 19]


def test_conditions_combine_to_any_depth():
    own = policy({"at_least": {"n": 2, "of": [
        HYSTERESIS, {"decay": {"fire_above": 0.5}}, {"all": [{"drift": {}}, {"schedule": {"every": "1d"}}]},
    ]}})  # fmt: skip
    one, two, other = (
        judged(0, drift("heat", 0.2), performance(1.0, 0.0)), judged(0, drift("heat", 0.2), performance(1.0, 0.9)),
        judged(0, drift("heat", 0.0, breach=True), performance(1.0, 0.9)),
    )  # fmt: skip
    assert [fold(own, [day])[0].action for day in (one, two, other)] == [Action.HOLD, Action.RETRAIN, Action.RETRAIN]
    any_of = policy({"any": [{"decay": {"fire_above": 5.0}}, {**HYSTERESIS, "name": "inputs_moved", "update": "incremental"}]})
    decision = fold(any_of, [two])[0]
    assert (decision.clause, decision.update) == ("inputs_moved", Update.INCREMENTAL)  # the clause that fired says how
    assert {leaf.clause for leaf in decision.reading.leaves()} == {"performance_decay", "inputs_moved"}


def test_the_budget_is_never_exceeded_in_any_stretch_of_its_length():
    own = policy({"schedule": {"every": "2d"}}, budget={"retrainings": 3, "per": "10d"})
    decisions = fold(own, [heat(day, 0.0) for day in range(60)])
    fired = [day for day, fires in enumerate(actions(decisions)) if fires]
    assert len(fired) > 10
    assert all(sum(first <= day < first + 10 for day in fired) <= 3 for first in range(60))
    assert Clause.BUDGET in {decision.clause for decision in decisions}
    free = fold(policy({"schedule": {"every": "2d"}}), [heat(day, 0.0) for day in range(60)])
    assert sum(actions(free)) > len(fired)


def ordered(override, day, until):
    return Ordered(override, START + day * DAY, START + until * DAY, "ana@example.com", "the sensor is being replaced")


def test_a_person_may_hold_or_order_until_a_moment_and_release():
    days = [heat(day, 0.2 if day % 2 else 0.0) for day in range(8)]
    hold = fold(policy(HYSTERESIS), days, overrides=[ordered(Override.HOLD, 0, 5)])
    assert [decision.clause for decision in hold[:4]] == [Clause.MANUAL_OVERRIDE] * 4
    assert hold[5].action is Action.RETRAIN  # the hold has expired
    assert "ana@example.com" in hold[0].inputs[0]
    calm = [heat(day, 0.0) for day in range(4)]
    order = fold(policy(HYSTERESIS), calm, overrides=[ordered(Override.RETRAIN, 1, 30)])
    assert actions(order) == [True, False, False, False]  # once, although it stands
    released = fold(policy(HYSTERESIS), calm, overrides=[ordered(Override.HOLD, 0, 30), ordered(Override.RELEASE, 2, 30)])
    assert [decision.clause for decision in released] == [Clause.MANUAL_OVERRIDE, "no_harm", "no_harm", "no_harm"]


CHUNKS = st.lists(
    st.tuples(st.sampled_from(list(Verdict)), st.sampled_from([0.0, 0.12, 0.2, NAN]), st.floats(-1, 1), st.integers(0, 3)), max_size=25
)
EVERYTHING = {"any": [
    {"verdict": {}}, {"score": {"weights": {"heat": 1.0}, "fire_above": 0.15, "rearm_below": 0.1, "chunks": 2, "of": 3}}, TWO_STAGE,
    {"cost": {"loss_per_unit": 1.0, "training_cost": 500.0}}, {"schedule": {"every": "30d"}},
]}  # fmt: skip


@given(CHUNKS)
@settings(max_examples=60, deadline=None)
def test_a_restart_at_any_tick_gives_the_same_ledger_and_late_news_never_refires_what_was_answered(chunks):
    """Each tick of ``fold`` reads the record anew; a vintage may speak of an older chunk."""
    vintages = [
        judged(max(day - back, 0), drift("heat", score), performance(2.0, worse), verdict=verdict, known=day + 1)
        for day, (verdict, score, worse, back) in enumerate(chunks)
    ]
    own = policy(EVERYTHING, cooldown=2, budget={"retrainings": 3, "per": "30d"})
    once, again = (
        fold(own, vintages),
        fold(own, [JudgedChunk(**{name: getattr(one, name) for name in vars(one) if name != "measured"}) for one in vintages]),
    )
    assert [(one.action, one.clause, one.chunk, one.state_before) for one in once] == [
        (one.action, one.clause, one.chunk, one.state_before) for one in again
    ]
    fired = [decision.chunk for decision in once if decision.action is Action.RETRAIN]
    assert len(fired) == len(set(fired))


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"score": {"weights": {"heat": 0.4, "load": 0.4}, "fire_above": 0.1}}, "sum to 0.8"),
        ({"score": {"weights": {"warmth": 1.0}, "fire_above": 0.1}}, "expected a feature"),
        ({"score": {"fire_above": 0.1, "rearm_below": 0.2}}, "at most fire_above"),
        ({"score": {"fire_above": 0.1, "numeric": "psi"}}, "expected a method of drift.numeric"),
        ({"groups": {"groups": {"thermal": ["heat"]}, "at_least": 2}}, "at most the number of groups"),
        ({"error": {"fire_above": 1.0, "metric": "roc_auc"}}, "performance.metrics"),
        ({"any": [{"drift": {}}, {"drift": {}}]}, "twice"),
        ({"drift": {}, "verdict": {}}, "exactly one of"),
        ({}, "exactly one of"),
        ({"drift": {"chunks": 3, "of": 2}}, "at least chunks"),
        ({"at_least": {"n": 3, "of": [{"drift": {}}]}}, "at most the number of conditions"),
    ],
)
def test_a_policy_that_cannot_mean_anything_is_refused(when, said):
    with pytest.raises(ValidationError, match=said):
        policy(when)
