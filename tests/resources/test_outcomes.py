"""Outcomes come late, twice, corrected and in any order: what is known does not depend on how it was learned."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.lake import Lake
from resources.log_source import read_log
from resources.outcome_source import read_outcomes
from resources.outcomes import known_outcomes, record_outcomes, restatable, to_restate
from resources.source import LogSourceError
from resources.tables import OUTCOMES

START, END = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 2, tzinfo=UTC)


@pytest.fixture(scope="module")
def late(declare):
    """A model whose outcomes come from a table of their own, up to ten days late."""
    return declare(outcome={"csv": "outcomes.csv", "column": "y", "observed_at": "seen", "timezone": "UTC", "delay": "10d"})


events = st.lists(
    st.tuples(st.sampled_from("abcde"), st.integers(0, 40), st.sampled_from([0.0, 1.0, 2.0])), min_size=1, max_size=25
)  # prediction, hours until observed, value


def rows_of(told):
    return pd.DataFrame({
        "prediction_id": [name for name, _, _ in told],
        "observed_at": pd.Series([START + timedelta(hours=hours) for _, hours, _ in told]).astype("datetime64[us, UTC]"),
        "y_true": [value for _, _, value in told],
    })  # fmt: skip


def deliver(policy, root, batches):
    """Record ``batches`` of outcomes, a day apart, and return what is known in the end."""
    lake = Lake(root=str(root))
    for day, batch in enumerate(batches):
        record_outcomes(policy, lake, rows_of(batch), START, END, START + timedelta(days=3 + day))
    return lake, known_outcomes(policy, lake, START, END).sort_values("prediction_id", ignore_index=True)


@given(told=events, data=st.data())
def test_any_order_duplication_and_batching_of_outcomes_ends_in_the_same(late, tmp_path_factory, told, data):
    shuffled = data.draw(st.permutations(told + told[: len(told) // 2]))  # some arrive twice
    size = data.draw(st.integers(1, len(shuffled)))
    batches = [shuffled[start : start + size] for start in range(0, len(shuffled), size)]
    _, at_once = deliver(late, tmp_path_factory.mktemp("once"), [told])
    _, in_pieces = deliver(late, tmp_path_factory.mktemp("pieces"), batches)
    pd.testing.assert_frame_equal(at_once, in_pieces)
    newest = {}
    for name, hours, value in told:
        newest[name] = max(newest.get(name, (-1, -1.0)), (hours, value))
    assert dict(zip(at_once["prediction_id"], at_once["y_true"], strict=True)) == {name: value for name, (_, value) in newest.items()}


@given(first=events, second=events)
def test_asking_as_of_an_earlier_moment_gives_what_was_known_then(late, tmp_path_factory, first, second):
    lake, before = deliver(late, tmp_path_factory.mktemp("first"), [first])
    record_outcomes(late, lake, rows_of(second), START, END, START + timedelta(days=8))
    then = known_outcomes(late, lake, START, END, START + timedelta(days=5)).sort_values("prediction_id", ignore_index=True)
    pd.testing.assert_frame_equal(before, then)


def test_recording_the_same_again_appends_nothing(late, lake):
    told = rows_of([("a", 1, 1.0), ("b", 2, 0.0)])
    assert len(record_outcomes(late, lake, told, START, END, START + timedelta(days=3))) == 2
    version = lake.data_version(late.model, OUTCOMES)
    assert record_outcomes(late, lake, told, START, END, START + timedelta(days=4)).empty
    assert lake.data_version(late.model, OUTCOMES) == version


def test_what_is_observed_later_than_now_is_not_recorded_yet(late, lake):
    told = rows_of([("a", 1, 1.0), ("b", 40, 0.0)])
    assert record_outcomes(late, lake, told, START, END, START + timedelta(hours=20))["prediction_id"].tolist() == ["a"]


def test_a_correction_in_a_log_without_observation_times_counts_from_when_it_was_seen(declare, lake):
    policy = declare(outcome={"delay": "1d"})
    value_at = {3: 0.0, 5: 1.0, 7: 0.0}  # wrong, corrected, and set back again
    for day, value in value_at.items():
        record_outcomes(policy, lake, rows_of([("a", 24, value)]), START, END, START + timedelta(days=day))
    for day, value in value_at.items():
        known = known_outcomes(policy, lake, START, END, START + timedelta(days=day, hours=1))
        assert known["y_true"].tolist() == [value], f"as of day {day}"


def test_only_chunks_that_something_new_is_said_about_are_restated(late, lake):
    record_outcomes(late, lake, rows_of([("a", 1, 1.0)]), START, END, START + timedelta(days=3))
    present = START + timedelta(days=12)
    chunks = ["2024-03-01"]
    same, corrected, added = [("a", 1, 1.0)], [("a", 5, 0.0)], [("a", 1, 1.0), ("b", 9, 1.0)]
    asked = [to_restate(late, lake, chunks, rows_of(told).assign(chunk="2024-03-01"), present) for told in (same, corrected, added)]
    assert asked == [[], chunks, chunks]
    assert to_restate(late, lake, [], rows_of(corrected).assign(chunk="2024-03-01"), present) == []
    assert restatable(late, lake, present) == []  # nothing was judged yet


def test_broken_rows_of_an_outcome_source_come_back_with_their_reason(late, tmp_path):
    (tmp_path / "outcomes.csv").write_text(
        "row_id,seen,y\na,2024-03-02 00:00:00,1\na,2024-03-03 00:00:00,2\n,2024-03-02 00:00:00,1\nb,someday,1\nc,2024-03-02 00:00:00,broken\n",
        encoding="utf-8",
    )
    read = read_outcomes(late, tmp_path)
    assert read.accepted["prediction_id"].tolist() == ["a"]
    assert read.accepted["y_true"].tolist() == [2.0]  # observed last
    assert len(read.rejected) == 3
    assert all(wanted in " ".join(read.rejected["reason"]) for wanted in ("prediction id", "got someday", "got broken"))
    assert read_outcomes(late, tmp_path, ids=pd.Series(["c"])).accepted.empty
    early = read_outcomes(late, tmp_path, known_by=datetime(2024, 3, 2, 12, tzinfo=UTC)).accepted
    assert early["y_true"].tolist() == [1.0]


def test_only_who_asks_for_outcomes_reads_their_source_and_sees_all_that_is_broken_in_it(late, tmp_path):
    (tmp_path / "log.csv").write_text("row_id,at,x1,x2\na,2024-03-01 05:00:00,1,2\n", encoding="utf-8")
    broken = [f"{name},someday,1" for name in "az"]  # nobody predicted z
    (tmp_path / "outcomes.csv").write_text("\n".join(["row_id,seen,y", "a,2024-03-02 00:00:00,1", *broken, ""]), encoding="utf-8")
    read = read_log(late, tmp_path, START, END)
    assert (read.accepted["y_true"].tolist(), len(read.rejected_outcomes)) == ([1.0], 2)
    (tmp_path / "outcomes.csv").unlink()
    assert read_log(late, tmp_path, START, END, with_outcomes=False).accepted["prediction_id"].tolist() == ["a"]
    with pytest.raises(LogSourceError, match=r"outcomes\.csv"):
        read_log(late, tmp_path, START, END)


def test_outcomes_of_several_classes_are_read_as_their_places(declare, tmp_path):
    source = {"csv": "outcomes.csv", "column": "y", "observed_at": "seen", "timezone": "UTC", "classes": ["ebb", "flood", "slack"]}
    policy = declare(task="multiclass_classification", outcome=source)
    (tmp_path / "outcomes.csv").write_text(
        "row_id,seen,y\na,2024-03-02,flood\na,2024-03-03,ebb\nb,2024-03-02,slack\nc,2024-03-02,neap\nd,2024-03-02,\n", encoding="utf-8"
    )
    read = read_outcomes(policy, tmp_path)
    assert dict(zip(read.accepted["prediction_id"], read.accepted["y_true"], strict=True)) == {"a": 0.0, "b": 2.0}
    assert sorted(read.rejected["reason"]) == [
        "y: got neap; expected one of ebb, flood, slack",
        "y: got nothing; expected one of ebb, flood, slack",
    ]


def test_an_outcome_source_that_lacks_a_column_says_which(late, tmp_path):
    (tmp_path / "outcomes.csv").write_text("row_id,seem,y\na,2024-03-02,1\n", encoding="utf-8")
    with pytest.raises(LogSourceError, match=r"outcome: got columns .* expected also 'seen'; did you mean 'seem'"):
        read_outcomes(late, tmp_path)


def test_a_source_of_outcomes_must_say_when_they_were_observed(declare):
    with pytest.raises(ValueError, match="moment an outcome became known"):
        declare(outcome={"csv": "outcomes.csv", "column": "y"})
    with pytest.raises(ValueError, match="without a file"):
        declare(outcome={"id": "name"})


def test_a_missing_outcome_is_no_outcome(declare, lake):
    policy = declare(outcome={"delay": "1d"})
    told = rows_of([("a", 24, np.nan), ("b", 24, 1.0)]).dropna()
    record_outcomes(policy, lake, told, START, END, START + timedelta(days=3))
    assert known_outcomes(policy, lake, START, END)["prediction_id"].tolist() == ["b"]
