"""The rollout log tells what served when, and shows when somebody changed it."""

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.lake import Lake
from resources.rollout_log import append_event, broken_link, events, previous_version, serving_version
from resources.tables import ROLLOUT_EVENTS
from resources.vocabulary import Event

AS_OF = datetime(2024, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def policy(declare):
    return declare()


def promote(lake: Lake, policy, to: str, before: str | None = None) -> None:
    append_event(
        lake, policy, Event.PROMOTED, reason=f"gates passed: {to}", approved_by="policy", from_version=before, to_version=to,
        as_of=AS_OF, chunk="2024-02-29", train_start=datetime(2023, 1, 1, tzinfo=UTC), train_end=AS_OF, incident="i1",
    )  # fmt: skip


def roll_back(lake: Lake, policy, to: str, before: str) -> None:
    append_event(
        lake, policy, Event.ROLLED_BACK, reason="no harm check failed", approved_by="ada@example.org", from_version=before, to_version=to
    )


@pytest.fixture
def log(lake: Lake, policy) -> pd.DataFrame:
    """Two promotions, a rejection and a rollback, as read back."""
    promote(lake, policy, "1")
    append_event(lake, policy, Event.REJECTED, reason="gain -0.01", approved_by="policy", from_version="1", incident="i0", onset=AS_OF)
    promote(lake, policy, "2", "1")
    roll_back(lake, policy, "1", "2")
    return events(lake, policy)


def test_a_log_without_events_is_empty_and_whole(lake: Lake, policy):
    log = events(lake, policy)
    assert list(log.columns) == list(ROLLOUT_EVENTS.columns)
    assert len(log) == 0
    assert broken_link(log) is None


def test_events_come_oldest_first_with_what_was_given(log: pd.DataFrame):
    assert log["event"].tolist() == ["promoted", "rejected", "promoted", "rolled_back"]
    assert log["at"].is_monotonic_increasing
    first = log.iloc[0]
    assert (first["to_version"], first["chunk"], first["incident"], first["reason"], first["approved_by"]) == (
        "1",
        "2024-02-29",
        "i1",
        "gates passed: 1",
        "policy",
    )
    assert first["as_of"] == pd.Timestamp(AS_OF)
    assert pd.isna(first["from_version"])
    assert log["from_version"].tolist()[1:] == ["1", "1", "2"]
    assert log["onset"].isna().tolist() == [True, False, True, True]


def test_every_event_carries_the_hash_of_the_one_before(log: pd.DataFrame):
    assert log["previous_hash"].tolist() == ["0" * 64, *log["hash"].tolist()[:-1]]
    assert log["hash"].is_unique
    assert broken_link(log) is None


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize("column", sorted(set(ROLLOUT_EVENTS.columns)))
def test_a_changed_cell_breaks_the_chain_where_it_stands(log: pd.DataFrame, column: str, index: int):
    forged = log.copy()
    is_time = ROLLOUT_EVENTS.columns[column] == "timestamp"
    forged.loc[index, column] = pd.Timestamp("2020-01-01", tz="UTC") if is_time else "forged"
    assert broken_link(forged) == index


@pytest.mark.parametrize("index", range(3))
def test_a_removed_event_breaks_the_chain(log: pd.DataFrame, index: int):
    assert broken_link(log.drop(index=index).reset_index(drop=True)) == index


def test_two_exchanged_events_break_the_chain(log: pd.DataFrame):
    assert broken_link(log.iloc[[0, 2, 1, 3]].reset_index(drop=True)) == 1


def test_a_tampered_lake_shows(lake: Lake, policy, log: pd.DataFrame):
    forged = log.assign(approved_by="nobody@example.org")
    lake.replace(policy.model, ROLLOUT_EVENTS, forged, {"hash": log["hash"].tolist()})
    assert broken_link(events(lake, policy)) == 0


@pytest.mark.parametrize("hours", [-4, 5.5])
def test_a_moment_of_another_zone_does_not_break_the_chain(lake: Lake, policy, hours: float):
    there = AS_OF.astimezone(timezone(timedelta(hours=hours)))
    append_event(lake, policy, Event.PROMOTED, reason="gates passed", approved_by="policy", to_version="1", as_of=there)
    log = events(lake, policy)
    assert broken_link(log) is None
    assert log["as_of"].iloc[0] == pd.Timestamp(AS_OF)


@settings(max_examples=10)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.none() | st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC)),
)
def test_any_content_survives_the_lake_unbroken(declare, tmp_path_factory, reason: str, version: str | None, moment: datetime | None):
    lake, policy = Lake(root=str(tmp_path_factory.mktemp("lake"))), declare()
    append_event(lake, policy, Event.PROMOTED, reason=reason, approved_by="policy", to_version=version, as_of=moment, onset=moment)
    log = events(lake, policy)
    assert broken_link(log) is None
    assert log["reason"].iloc[0] == reason
    if moment is not None:
        assert log["as_of"].iloc[0] == pd.Timestamp(moment)


def test_nothing_serves_before_the_first_promotion(lake: Lake, policy):
    append_event(lake, policy, Event.REJECTED, reason="too few rows", approved_by="policy")
    assert serving_version(lake, policy) is None


def test_the_promoted_version_serves(lake: Lake, policy):
    promote(lake, policy, "1")
    assert serving_version(lake, policy) == "1"
    promote(lake, policy, "2", "1")
    assert serving_version(lake, policy) == "2"


def test_a_rejection_changes_nothing(lake: Lake, policy):
    promote(lake, policy, "1")
    append_event(lake, policy, Event.REJECTED, reason="gain -0.01", approved_by="policy", from_version="1", to_version="2")
    assert serving_version(lake, policy) == "1"


def test_after_a_rollback_the_version_before_serves_again(lake: Lake, policy):
    promote(lake, policy, "1")
    promote(lake, policy, "2", "1")
    roll_back(lake, policy, "1", "2")
    assert serving_version(lake, policy) == "1"
    promote(lake, policy, "3", "1")
    assert serving_version(lake, policy) == "3"


def test_models_have_logs_of_their_own(lake: Lake, declare):
    promote(lake, declare(model="one"), "1")
    assert serving_version(lake, declare(model="two")) is None


def test_the_previous_version_is_what_served_at_the_first_promotion(lake: Lake, policy):
    promote(lake, policy, "1")
    promote(lake, policy, "2", "1")
    roll_back(lake, policy, "1", "2")
    promote(lake, policy, "3", "1")
    assert previous_version(lake, policy, "2") == "1"
    assert previous_version(lake, policy, "3") == "1"


def test_the_first_version_and_an_unknown_one_have_no_previous(lake: Lake, policy):
    promote(lake, policy, "1")
    assert previous_version(lake, policy, "1") is None
    assert previous_version(lake, policy, "9") is None
