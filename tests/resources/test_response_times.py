"""Times to detect, to order, to retrain and to recover are what the record says, and nothing is counted without harm."""

import itertools
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.response_times import Episode, episodes, mean_times, told
from resources.vintages import JudgedChunk
from resources.vocabulary import Action, Event, Verdict

START = datetime(2024, 3, 1, tzinfo=UTC)
LEDGER, LOG = ["action", "incident", "onset", "as_of"], ["event", "incident", "at", "as_of", "to_version"]


def day(number, hours=0):
    return START + timedelta(days=number, hours=hours)


def chunk(number):
    return f"{day(number):%Y-%m-%d}"


def judged(number, verdict, version="1", known=None):
    """The verdict on day ``number``, known one hour after it ended."""
    return JudgedChunk(chunk(number), verdict, version, known or day(number + 1, 1))


def ordered(number, hours=2, onset=None):
    return {"action": str(Action.RETRAIN), "incident": f"demo/{chunk(number)}", "onset": onset, "as_of": day(number + 1, hours)}


def answered(number, hours=3, event=Event.PROMOTED, version="2"):
    return {"event": str(event), "incident": f"demo/{chunk(number)}", "at": day(number + 1, hours), "as_of": None, "to_version": version}


def frame(rows, columns):
    made = pd.DataFrame(rows, columns=columns)
    for name in {"onset", "as_of", "at"} & set(columns):
        made[name] = pd.to_datetime(made[name], utc=True)
    return made


def found(policy, verdicts, orders=(), log=()):
    return episodes(policy, verdicts, frame(list(orders), LEDGER), frame(list(log), LOG))


@pytest.fixture(scope="module")
def policy(declare):
    return declare()


@pytest.fixture(scope="module")
def answered_harm():
    """Harm on days 3 and 4; ordered after day 3, promoted an hour later; day 5 is judged healthy of version 2."""
    verdicts = [
        *(judged(number, Verdict.HEALTHY) for number in range(3)),
        judged(3, Verdict.CONCEPT), judged(4, Verdict.CONCEPT), judged(5, Verdict.HEALTHY, "2"), judged(6, Verdict.HEALTHY, "2"),
    ]  # fmt: skip
    return verdicts, [ordered(3)], [answered(3)]


def test_without_harm_there_is_no_episode(policy):
    calm = [
        judged(number, verdict)
        for number, verdict in enumerate([Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS, Verdict.DATA_FAULT, Verdict.UNDECIDED])
    ]
    assert found(policy, calm) == []
    assert mean_times([]).named == dict.fromkeys(("detect", "order", "retrain", "recover"))


def test_each_time_is_counted_from_where_it_says(policy, answered_harm):
    [one] = found(policy, *answered_harm)
    assert (one.first_harm, one.onset, one.is_dated) == (chunk(3), day(3), False)
    assert one.to_detect == timedelta(days=1, hours=1)  # the chunk had to end, and be judged
    assert one.to_order == timedelta(hours=1)
    assert one.to_retrain == timedelta(hours=2)
    assert one.to_recover == timedelta(days=2)  # day 5 was judged two days after day 3
    assert one.incident == f"demo/{chunk(3)}"
    assert not one.is_open


def test_a_dated_onset_goes_before_the_start_of_the_first_harmful_chunk(policy, answered_harm):
    verdicts, _, log = answered_harm
    [one] = found(policy, verdicts, [ordered(3, onset=day(1, 12))], log)
    assert (one.onset, one.is_dated) == (day(1, 12), True)
    assert one.to_detect == timedelta(days=2, hours=13)


def test_harm_nobody_answers_stays_open(policy):
    [one] = found(policy, [judged(0, Verdict.HEALTHY), *(judged(number, Verdict.LABEL_SHIFT) for number in (1, 2, 3))])
    assert one.is_open
    assert (one.ordered_at, one.promoted_at, one.to_recover) == (None, None, None)


def test_harm_that_goes_by_itself_has_ceased_and_counts_in_no_recovery(policy):
    [one] = found(policy, [judged(0, Verdict.CONCEPT), judged(1, Verdict.HEALTHY), judged(2, Verdict.HEALTHY)])
    assert one.ceased_at == day(2, 1)
    assert one.recovered_at is None
    assert mean_times([one]).to_recover is None


def test_a_healthy_chunk_of_the_old_version_ends_nothing_while_a_retraining_is_on_its_way(policy):
    verdicts = [judged(0, Verdict.CONCEPT), judged(1, Verdict.HEALTHY), judged(2, Verdict.CONCEPT), judged(3, Verdict.HEALTHY, "2")]
    log = [{"event": "promoted", "incident": f"demo/{chunk(0)}", "at": day(3), "as_of": None, "to_version": "2"}]
    scored_here = found(policy, verdicts, [ordered(0)], log)
    assert [(one.detected_at, one.recovered_at) for one in scored_here] == [(day(1, 1), day(4, 1))]


def test_a_rejected_candidate_lets_harm_that_went_by_itself_cease(policy):
    verdicts = [judged(0, Verdict.CONCEPT), judged(1, Verdict.HEALTHY), judged(2, Verdict.HEALTHY)]
    [one] = found(policy, verdicts, [ordered(0)], [answered(0, event=Event.REJECTED, version=None)])
    assert one.ceased_at is not None
    assert one.to_retrain is None
    assert one.to_order == timedelta(hours=1)


def test_late_outcomes_about_a_version_that_is_gone_open_no_second_episode(policy, answered_harm):
    verdicts, orders, log = answered_harm
    late = judged(2, Verdict.CONCEPT, known=day(9))
    [one] = found(policy, [*verdicts, late], orders, log)
    assert one.recovered_at == day(6, 1)


def test_a_withdrawn_verdict_ends_the_episode(policy):
    [one] = found(policy, [judged(0, Verdict.HEALTHY), judged(1, Verdict.COVARIATE_HARMFUL), judged(1, Verdict.HEALTHY, known=day(2, 9))])
    assert one.ceased_at == day(2, 9)


def test_two_faults_are_two_episodes_and_their_mean(policy, answered_harm):
    verdicts, orders, log = answered_harm
    again = [judged(10, Verdict.CONCEPT, "2"), judged(11, Verdict.HEALTHY, "3")]
    found_both = found(policy, [*verdicts, *again], [*orders, ordered(10)], [*log, answered(10, 5, version="3")])
    assert [one.to_retrain for one in found_both] == [timedelta(hours=2), timedelta(hours=4)]
    means = mean_times(found_both)
    assert (means.n_episodes, means.n_recovered, means.n_open) == (2, 2, 0)
    assert means.to_retrain == timedelta(hours=3)
    assert means.to_recover == timedelta(hours=36)
    assert mean_times(found_both, since=day(8)).n_episodes == 1


def test_a_replayed_model_is_timed_in_its_own_time(declare, answered_harm):
    own = declare(
        replay={"start": "2024-03-01", "end": "2024-06-01"}, log={"csv": "log.csv", "time": "at", "id": "row_id", "timezone": "UTC"}
    )
    verdicts, orders, log = answered_harm
    replayed = [{**log[0], "at": datetime(2026, 1, 1, tzinfo=UTC), "as_of": orders[0]["as_of"]}]
    [one] = found(own, verdicts, orders, replayed)
    assert one.to_retrain == timedelta(hours=1)  # by the order, not by the clock on the wall


VERDICTS = st.sampled_from([Verdict.HEALTHY, Verdict.CONCEPT, Verdict.UNDECIDED, Verdict.COVARIATE_HARMFUL])


@given(st.lists(st.tuples(VERDICTS, st.sampled_from("12")), max_size=20))
def test_episodes_follow_each_other_and_all_but_the_last_have_ended(policy, told_by_day):
    versions = sorted(version for _, version in told_by_day)
    verdicts = [judged(number, verdict, version) for number, ((verdict, _), version) in enumerate(zip(told_by_day, versions, strict=True))]
    made = found(policy, verdicts)
    assert bool(made) == any(one.verdict in (Verdict.CONCEPT, Verdict.COVARIATE_HARMFUL) for one in verdicts)
    assert all(not one.is_open for one in made[:-1])
    for before, after in itertools.pairwise(made):
        assert (before.recovered_at or before.ceased_at) <= after.detected_at
    assert all(one.to_detect >= timedelta(0) and (one.to_recover is None or one.to_recover > timedelta(0)) for one in made)


def test_a_time_is_told_in_hours_or_days():
    assert [told(span) for span in (None, timedelta(hours=3), timedelta(days=3))] == ["–", "3.0 h", "3.0 d"]
    assert Episode("c", day(2), False, day(1)).to_detect == timedelta(0)  # never negative
