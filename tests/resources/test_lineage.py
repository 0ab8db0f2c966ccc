"""One table answers for any model and any time, and what came later changes nothing of it."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from resources.lineage import UNKNOWN, lineage_at, markdown, read_lineage
from resources.rollout_log import append_event, events
from resources.vintages import JudgedChunk
from resources.vocabulary import EXTERNAL, Event, Verdict

START = datetime(2024, 3, 1, tzinfo=UTC)
VERSIONS = [
    {
        "version": version,
        "tags": {
            "data_version": f"training_sets@{version}", "data_hash": f"hash{version}", "code_version": "0.1.0", "policy_hash": f"policy{version}",
            "reference_window": "2024-01-01 to 2024-03-01", "baseline": baseline, "gain": gain,
        },
    }
    for version, baseline, gain in (("1", "none: the first model", "first model, mae 2.0"), ("2", "version 1", "mae 2.0 → 1.0"))
]  # fmt: skip


def day(number):
    return START + timedelta(days=number)


@pytest.fixture(scope="module")
def policy(declare):
    return declare(replay={"start": "2024-03-01", "end": "2024-06-01"})


@pytest.fixture
def log(policy, lake):
    """Version 1 from day 0, version 2 from day 10, version 1 again from day 20: a replayed model, so that its own time counts."""
    span = {"train_start": day(-60), "train_end": day(-30)}
    append_event(
        lake, policy, Event.PROMOTED, reason="first", approved_by="policy policy1", as_of=day(0), chunk="c0", to_version="1", **span
    )
    append_event(lake, policy, Event.REJECTED, reason="no gain", approved_by="policy policy1", as_of=day(5), chunk="c5")
    append_event(
        lake,
        policy,
        Event.PROMOTED,
        reason="better",
        approved_by="policy policy2",
        as_of=day(10),
        chunk="c10",
        from_version="1",
        to_version="2",
        **span,
    )
    append_event(lake, policy, Event.ROLLED_BACK, reason="too dear", approved_by="ana", as_of=day(20), from_version="2", to_version="1")
    return events(lake, policy)


@pytest.mark.parametrize(
    ("number", "version", "approver"),
    [(0, "1", "policy policy1"), (9, "1", "policy policy1"), (10, "2", "policy policy2"), (25, "1", "ana")],
)
def test_any_moment_has_its_version_and_whoever_approved_it(policy, log, number, version, approver):
    line = lineage_at(policy, log, VERSIONS, day(number))
    assert (line.serving_version, line.approver) == (version, approver)
    assert (line.training_hash, line.policy_version) == (f"hash{version}", f"policy{version}")
    assert line.trained_on == "2024-01-01 to 2024-01-31"


def test_the_baseline_names_what_it_was_proved_against_and_the_gain(policy, log):
    assert lineage_at(policy, log, VERSIONS, day(10)).baseline == "version 1 (mae 2.0 → 1.0)"
    assert lineage_at(policy, log, VERSIONS, day(0)).baseline == "none: the first model (first model, mae 2.0)"


def test_what_came_later_changes_nothing_of_an_earlier_moment(policy, log):
    for number in range(25):
        known = log[log["as_of"] <= pd.Timestamp(day(number))]
        assert lineage_at(policy, known, VERSIONS, day(number)) == lineage_at(policy, log, VERSIONS, day(number))


def test_before_the_first_promotion_nothing_serves(policy, log):
    line = lineage_at(policy, log, VERSIONS, day(-1))
    assert line.serving_version == "none"
    assert line.approver == UNKNOWN


def test_a_version_the_registry_has_lost_says_so_and_keeps_what_the_events_know(policy, log):
    line = lineage_at(policy, log, [], day(10))
    assert line.training_hash == line.training_data == UNKNOWN
    assert line.approver == "policy policy2"
    assert line.baseline == "version 1 (better)"


def test_the_policy_in_force_is_that_of_the_newest_decision(policy, log):
    ledger = pd.DataFrame({"as_of": pd.to_datetime([day(1), day(12)]), "policy_hash": ["old", "new"]})
    asked = {number: lineage_at(policy, log, VERSIONS, day(number), ledger=ledger).policy_in_force for number in (0, 1, 11, 12)}
    assert asked == {0: policy.policy_hash, 1: "old", 11: "old", 12: "new"}


def test_a_log_with_predictions_of_its_own_is_answered_for_by_what_it_names(declare, lake):
    own = declare(
        log={"csv": "log.csv", "time": "at", "id": "row_id", "timezone": "UTC", "prediction": "y_hat", "model_version": "v"},
        owners=["team:shop"],
    )
    judged = [JudgedChunk(f"{day(number):%Y-%m-%d}", Verdict.HEALTHY, version, day(40)) for number, version in ((0, "7"), (5, "8"))]
    asked = {number: lineage_at(own, events(lake, own), [], day(number), judged=judged) for number in (-1, 0, 4, 5)}
    assert [line.serving_version for line in asked.values()] == [EXTERNAL, "7", "7", "8"]
    assert asked[5].baseline == "declared reference window"
    assert asked[5].reference_window == "2024-01-01 to 2024-03-01"
    assert asked[5].approver == "declared by team:shop"
    assert asked[5].policy_version == own.policy_hash


def test_the_table_has_a_row_per_model_and_no_cell_breaks_it(policy, lake, log):
    line = read_lineage(policy, lake, [{**VERSIONS[0], "tags": {**VERSIONS[0]["tags"], "gain": "a | b"}}], day(1))
    table = markdown([line, line]).splitlines()
    assert len(table) == 4
    assert len({row.count("|") for row in table}) == 1
