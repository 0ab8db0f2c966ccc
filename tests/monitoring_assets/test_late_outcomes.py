"""Outcomes that arrive late or are corrected restate a chunk; every vintage is kept, and a chunk too little is known of is not judged."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic_platform import Platform

from monitoring_assets import vintages
from monitoring_assets.arrivals import restated_chunks
from resources import tables
from resources.vocabulary import Check, Stage

pytestmark = pytest.mark.xdist_group("late_outcomes")  # the story is lived by one worker
CHUNK = "2024-02-05"
OUTCOME = {
    "csv": "outcomes.csv", "column": "outcome", "id": "id", "observed_at": "seen", "timezone": "UTC", "delay": "1d", "restate_for": "90d",
    "minimum_share": 0.4,
}  # fmt: skip


def outcomes_of(log: pd.DataFrame, share: float) -> pd.DataFrame:
    """Outcomes of the first ``share`` of each day's rows, a day after the prediction."""
    place = log.groupby(log["ts"].dt.date).cumcount()
    known = log[place < share * synthetic.ROWS_A_DAY]
    return pd.DataFrame({"id": known["id"], "seen": known["ts"] + timedelta(days=1), "outcome": known["outcome"]})


def deliver(platform: Platform, outcomes: pd.DataFrame) -> None:
    outcomes.sample(frac=1.0, random_state=0).to_csv(platform.settings.models / "outcomes.csv", index=False)  # in no order


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """Half of the outcomes first; then the rest and ten corrections; then the same again."""
    log = synthetic.make_log(40)
    # the platform's present is now: outcomes must still be allowed to restate a chunk of 2024
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform(
            tmp_path_factory.mktemp("late"), instance, log.drop(columns="outcome"), outcome={**OUTCOME, "restate_for": "50y"}
        )
        reference = outcomes_of(log[log["ts"] < datetime(2024, 2, 1, tzinfo=UTC)], 1.0)
        own = log[log["ts"].dt.strftime("%Y-%m-%d") == CHUNK]
        told = {}

        def step(name, outcomes):
            deliver(platform, pd.concat([reference, outcomes], ignore_index=True))
            told[f"asked before {name}"] = restated_chunks(platform.policy, platform.lake, platform.settings.models)
            assert platform.run("realize", CHUNK).success
            told[name] = (datetime.now(UTC), vintages.reported(platform.lake, platform.policy, chunks=[CHUNK]))

        deliver(platform, reference)
        assert platform.run("monitor", CHUNK).success
        step("few", outcomes_of(own, 0.2))
        step("half", outcomes_of(own, 0.5))
        step("half again", outcomes_of(own, 0.5))
        corrections = (
            outcomes_of(own, 0.5)
            .head(10)
            .assign(seen=lambda rows: rows["seen"] + timedelta(days=3), outcome=lambda rows: 1 - rows["outcome"])
        )
        step("corrected", pd.concat([outcomes_of(own, 1.0), corrections]))
        yield platform, log, told


def test_a_chunk_of_which_too_little_is_known_is_not_judged(story):
    platform, _, told = story
    assert told["few"][1].empty
    shares = platform.lake.read("shop", tables.MEASUREMENTS, {"chunk": CHUNK, "stage": str(Stage.REALIZED_PERFORMANCE)})
    assert shares.loc[shares["method"] == "labelled_share", "value"].tolist() == [1.0]


def test_late_and_corrected_outcomes_restate_the_chunk_and_nothing_else_does(story):
    _, _, told = story
    assert told["asked before few"] == []  # never judged: it is judged first, not restated
    assert told["asked before half"] == [CHUNK]
    assert told["asked before half again"] == []  # the null twin: nothing new
    assert told["asked before corrected"] == [CHUNK]
    pd.testing.assert_frame_equal(told["half"][1], told["half again"][1])
    assert (told["half"][1]["n_rows"], told["corrected"][1]["n_rows"])[0].tolist() == [40, 40]
    assert told["corrected"][1]["n_rows"].tolist() == [80, 80]


def test_the_restated_figure_is_that_of_the_newest_outcomes(story):
    _, log, told = story
    own = log[log["ts"].dt.strftime("%Y-%m-%d") == CHUNK]
    truth = np.where(np.arange(len(own)) < 10, 1 - own["outcome"], own["outcome"])
    accuracy = told["corrected"][1].set_index("metric").loc["accuracy", "value"]
    assert accuracy == pytest.approx(float((own["label"] == truth).mean()), abs=1e-12)


def test_asking_as_of_an_earlier_moment_gives_what_was_reported_then(story):
    platform, _, told = story
    for name in ("half", "corrected"):
        moment, reported = told[name]
        pd.testing.assert_frame_equal(vintages.reported(platform.lake, platform.policy, moment, [CHUNK]), reported)
    assert len(platform.lake.read("shop", tables.PERFORMANCE_VINTAGES, {"chunk": CHUNK})) == 4  # two metrics, two vintages


def test_the_check_says_why_a_chunk_is_not_judged(tmp_path):
    log = synthetic.make_log(36)
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform(tmp_path, instance, log.drop(columns="outcome"), outcome=OUTCOME)
        reference = outcomes_of(log[log["ts"] < datetime(2024, 2, 1, tzinfo=UTC)], 1.0)
        deliver(platform, pd.concat([reference, outcomes_of(log[log["ts"] >= datetime(2024, 2, 1, tzinfo=UTC)], 0.1)]))
        platform.run("monitor", CHUNK)
        platform.run("realize", CHUNK)
        is_passed, _, text = platform.check(Stage.REALIZED_PERFORMANCE, Check.REALIZED_PERFORMANCE, CHUNK)
    assert is_passed
    assert "got outcomes of 10.0% of 80 rows; expected 40.0% (outcome.minimum_share)" in text


def test_broken_outcomes_are_kept_with_their_reason(tmp_path):
    log = synthetic.make_log(36)
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform(tmp_path, instance, log.drop(columns="outcome"), outcome=OUTCOME)
        broken = pd.DataFrame({"id": ["p0", "p1"], "seen": ["someday", "2024-01-02"], "outcome": ["1", "maybe"]})
        deliver(platform, pd.concat([outcomes_of(log, 1.0).astype(str), broken]))
        platform.run("monitor", CHUNK)
        rejected = platform.lake.read("shop", tables.REJECTED_ROWS, {"chunk": "outcomes"})
    assert sorted(rejected["reason"]) == ["outcome: got maybe; expected a finite number", "seen: got someday; expected a timestamp"]
    assert rejected["row"].str.contains("maybe").any()
