"""From an order to a champion or a green rejection, on a real instance, lake and registry."""

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import synthetic
from registries import with_registry

from monitoring_assets.definitions import build_defs as monitoring
from resources import tables
from resources.catalogue import load_catalogue
from resources.decision_log import read_ledger
from resources.log_source import read_log
from resources.overrides import EndedOverrideError, append_override
from resources.rollout_log import broken_link, events, serving_version
from resources.settings import Settings
from resources.vintages import append_vintages, read_vintages
from resources.vocabulary import TAG_INCIDENT, Action, Alias, Event, Override, Update
from training_assets.approval import NothingStagedError, approve
from training_assets.candidate import SINCE_CHAMPION, NoCandidateError, Predecessor, compete, metrics_of
from training_assets.decide import Promotion
from training_assets.definitions import build_defs as training
from training_assets.gates import pass_gates
from training_assets.recipes import RECIPES, load_version
from training_assets.rollout import NotAcceptedError, NothingToRollBackError, accepted_candidate, next_reference, promote, roll_back
from training_assets.scoring import next_chunks, score_rows
from training_assets.shadow import compare
from training_assets.training_set import (
    HOLDOUT,
    TRAIN,
    NothingToLearnError,
    Order,
    find_onset,
    labelled_rows,
    split,
    without_contaminated,
)

CHUNK = "2024-02-15"


class Platform:
    """Both locations over one synthetic log, one instance, one lake, one registry."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, rows: pd.DataFrame, **overrides):
        self.settings = with_registry(Settings.of(folder / "home", synthetic.declare(folder, rows, **overrides)))
        self.instance, self.lake = instance, self.settings.lake
        self.monitoring, self.training = monitoring(self.settings), training(self.settings, is_paced=False)
        self.policy = load_catalogue(self.settings.models)[0].policy
        self.registry = self.settings.registry

    def run(self, defs, job, chunk=None, **tags):
        resolved = defs.resolve_job_def(job)
        return resolved.execute_in_process(
            instance=self.instance, partition_key=chunk, tags={**resolved.tags, **tags}, raise_on_error=False
        )

    def backfill(self, first, last):
        for job in ("shop__monitor", "shop__realize"):
            self.run(self.monitoring, job, **{"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last})

    def observe(self, *chunks):
        for chunk in chunks:
            self.run(self.monitoring, "shop__monitor", chunk)
            self.run(self.monitoring, "shop__realize", chunk)

    def tick(self, cursor=None):
        sensor = next(one for one in self.training.sensors if one.name == "retrain_trigger")
        context = dg.build_sensor_context(instance=self.instance, cursor=cursor, resources={"lake": self.lake}, definitions=self.training)
        return sensor.evaluate_tick(context)

    def retrain(self, request):
        return self.run(self.training, request.job_name, request.partition_key, **request.tags)


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def named(result, stage):
    return [event for event in result.get_asset_materialization_events() if event.asset_key.path[-1] == stage]


@pytest.mark.slow
def test_a_failed_check_becomes_one_run_that_promotes_a_better_model(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="concept", fault_day=35))
    platform.backfill("2024-01-31", "2024-02-14")
    tick = platform.tick()
    assert len(tick.run_requests) == 1
    request = tick.run_requests[0]
    assert request.run_key == request.tags[TAG_INCIDENT] == "shop/2024-02-14"
    assert not platform.tick(tick.cursor).run_requests  # nothing new since
    assert [one.run_key for one in platform.tick(None).run_requests] == [request.run_key]  # a lost cursor asks for the same run
    result = platform.retrain(request)
    assert result.success
    version = serving_version(platform.lake, platform.policy)
    assert version == platform.registry.aliased_version("shop", Alias.CHAMPION) == "1"
    assert platform.registry.aliased_version("shop", Alias.CHALLENGER) is None
    tags = platform.registry.versions("shop")[0]["tags"]
    assert tags["incident"] == request.run_key
    assert tags["policy_hash"] == platform.policy.policy_hash
    assert tags["data_version"].startswith("training_sets@")
    assert {"code_version", "reference_window", "window"} <= set(tags)
    log = events(platform.lake, platform.policy)
    assert list(log["event"]) == [Event.PROMOTED]
    assert broken_link(log) is None
    assert log["onset"].iloc[0] == pytest.approx(pd.Timestamp("2024-02-05", tz="UTC"), abs=pd.Timedelta(days=1))
    reference = platform.lake.read("shop", tables.reference_rows(platform.policy), {"reference_version": "1"})
    assert reference["is_held_out"].sum() > 30
    before = events(platform.lake, platform.policy)
    promote(platform.policy, platform.lake, platform.registry, Order("2024-02-14", log["as_of"].iloc[0], "again", "again"), "1")
    weights = platform.lake.read("shop", tables.FEATURE_IMPORTANCES, {"model_version": "1"}).set_index("feature")["importance"]
    assert set(weights.index) == set(platform.policy.features.all)
    assert weights.sum() == pytest.approx(1.0)
    assert weights.idxmax() == "x1"  # the outcome follows x1
    assert len(events(platform.lake, platform.policy)) == len(before)  # safe to run again


@pytest.mark.slow
def test_without_the_fault_nothing_is_launched(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    platform.observe("2024-02-13", "2024-02-14")
    tick = platform.tick()
    assert not tick.run_requests
    ledger = read_ledger(platform.policy, platform.lake)
    assert list(ledger["action"]) == [Action.HOLD]
    assert ledger["clause"].iloc[0] == "no_harm"


def test_a_data_fault_is_held_as_an_incident_and_launches_nothing(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="missing"))
    platform.observe("2024-02-13")
    assert not platform.tick().run_requests
    ledger = read_ledger(platform.policy, platform.lake)
    assert list(ledger["action"]) == [Action.OPEN_INCIDENT]
    assert list(ledger["incident"]) == ["shop/2024-02-13"]


@pytest.mark.slow
def test_a_rejected_candidate_is_a_green_run_with_its_reason_and_no_version(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())  # the served model is the truth: nothing can beat it
    platform.observe("2024-02-14")
    result = platform.run(platform.training, "shop__retrain", "2024-02-14")
    assert result.success
    assert not named(result, "model_version")
    assert not named(result, "promotion")
    log = events(platform.lake, platform.policy)
    assert list(log["event"]) == [Event.REJECTED]
    assert "interval" in log["reason"].iloc[0]
    evaluation = next(one for one in result.get_asset_check_evaluations() if one.check_name == "beats_champion")
    assert not evaluation.passed
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert serving_version(platform.lake, platform.policy) is None
    with pytest.raises(NotAcceptedError, match="got no accepted candidate of chunk 2024-02-14; expected one that passed every gate"):
        accepted_candidate(platform.policy, platform.lake, "2024-02-14")
    with pytest.raises(NotAcceptedError):
        promote(platform.policy, platform.lake, platform.registry, Order("2024-02-14", datetime.now(UTC), "x", "x"), "1")


@pytest.mark.slow
def test_rollback_is_one_job_that_restores_and_records(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="concept", fault_day=35))
    with pytest.raises(
        NothingToRollBackError, match=r"got version none to restore while none serves; expected an earlier champion, one of \[\]"
    ):
        roll_back(platform.policy, platform.lake, platform.registry, reason="r", approved_by="me")
    platform.observe("2024-02-14")
    platform.retrain(platform.tick().run_requests[0])
    model = load_version(platform.policy, platform.registry, "1")
    uri = platform.registry.log_candidate("shop", partial(RECIPES["lightgbm"].log, model), {}, {}, {}, "second")
    second = platform.registry.register("shop", uri, {"model_uri": uri})
    assert platform.registry.register("shop", uri, {}) == second  # registering again gives the version it has
    platform.registry.set_champion("shop", second)
    from resources.rollout_log import append_event

    append_event(platform.lake, platform.policy, Event.PROMOTED, reason="test", approved_by="me", from_version="1", to_version=second)
    job = platform.training.resolve_job_def("shop__rollback")
    config = {"ops": {"shop__restore_champion": {"config": {"reason": "sales fell", "approved_by": "ana"}}}}
    assert job.execute_in_process(instance=platform.instance, run_config=config).success
    assert serving_version(platform.lake, platform.policy) == "1" == platform.registry.aliased_version("shop", Alias.CHAMPION)
    last = events(platform.lake, platform.policy).iloc[-1]
    assert (last["event"], last["reason"], last["approved_by"], last["from_version"], last["to_version"]) == (
        Event.ROLLED_BACK,
        "sales fell",
        "ana",
        second,
        "1",
    )
    with pytest.raises(NothingToRollBackError, match="got version 99 to restore"):
        roll_back(platform.policy, platform.lake, platform.registry, reason="r", approved_by="me", to_version="99")


def test_training_knows_nothing_after_the_cut(tmp_path):
    platform_models = synthetic.declare(tmp_path, synthetic.make_log())
    policy = load_catalogue(platform_models)[0].policy
    as_of = synthetic.START + timedelta(days=40)
    rows = labelled_rows(policy, platform_models, as_of)
    assert (rows["observed_at"] <= as_of).all()
    assert rows["time"].max() <= pd.Timestamp(as_of - timedelta(days=1))
    cut = split(policy, rows, None, Promotion("1", None, None))
    train, held_out = (cut.rows[cut.rows["part"] == part] for part in (TRAIN, HOLDOUT))
    assert (train["observed_at"] <= held_out["time"].min()).all()  # the embargo of the label delay
    assert cut.n_embargoed == pytest.approx(synthetic.ROWS_A_DAY, abs=1)
    assert len(train) + len(held_out) + cut.n_embargoed == len(rows)


def test_the_proof_never_uses_rows_the_champion_learned_from_nor_more_than_half_of_the_new_behaviour(tmp_path):
    models = synthetic.declare(tmp_path, synthetic.make_log())
    policy = load_catalogue(models)[0].policy
    rows = labelled_rows(policy, models, synthetic.START + timedelta(days=40))
    learned_until = synthetic.START + timedelta(days=37)
    assert split(policy, rows, None, Promotion("1", learned_until, None)).holdout_start == learned_until
    onset = synthetic.START + timedelta(days=36)
    cut = split(policy, rows, onset, Promotion("1", None, None))
    since = rows[rows["time"] >= onset]
    assert (cut.rows["part"] == HOLDOUT).sum() == pytest.approx(len(since) / 2, abs=1)


def test_no_labelled_row_is_named_with_what_to_check(tmp_path):
    models = synthetic.declare(tmp_path, synthetic.make_log())
    policy = load_catalogue(models)[0].policy
    with pytest.raises(
        NothingToLearnError, match="got no labelled row known at 2023-12-01; expected outcomes in column 'outcome' at most 1d after"
    ):
        labelled_rows(policy, models, datetime(2023, 12, 1, tzinfo=UTC))


def test_windows_too_small_to_learn_from_are_named(tmp_path):
    models = synthetic.declare(tmp_path, synthetic.make_log())
    policy = load_catalogue(models)[0].policy
    rows = labelled_rows(policy, models, synthetic.START + timedelta(days=40))
    with pytest.raises(
        NoCandidateError, match=r"got rows per training window \{'all': 5, '10d': 0, 'since_onset': 0\}; expected at least 30"
    ):
        compete(policy, rows.head(5), rows.tail(100), None)


def test_the_recipe_is_repeatable_to_the_last_bit(tmp_path):
    models = synthetic.declare(tmp_path, synthetic.make_log())
    policy = load_catalogue(models)[0].policy
    rows = labelled_rows(policy, models, synthetic.START + timedelta(days=20))
    recipe = RECIPES["lightgbm"]
    first, second = (recipe.predict(policy, recipe.fit(policy, rows), rows) for _ in range(2))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert first["y_pred_proba"].between(0, 1).all()


def test_gates_need_a_champion_beaten_and_enough_rows(tmp_path):
    policy = load_catalogue(synthetic.declare(tmp_path, synthetic.make_log()))[0].policy
    rng = np.random.default_rng(0)
    truth = pd.Series(rng.integers(0, 2, 200).astype(float))
    good, noise = truth * 0.6 + rng.random(200) * 0.4, pd.Series(rng.random(200))
    frames = [pd.DataFrame({"y_pred": (scores >= 0.5).astype(float), "y_pred_proba": scores}) for scores in (good, noise)]
    assert pass_gates(policy, truth.to_frame("y_true"), frames[0], frames[1]).is_accepted
    assert not pass_gates(policy, truth.to_frame("y_true"), frames[1], frames[0]).is_accepted
    assert not pass_gates(policy, truth.to_frame("y_true"), frames[0], frames[0]).is_accepted  # null twin: no gain
    few = pass_gates(policy, truth.head(20).to_frame("y_true"), frames[0].head(20), frames[1].head(20))
    assert not few.is_accepted
    assert few.reason == "20 held-out rows; expected at least 30 (gates.minimum_rows)"


def test_a_short_reference_reaches_back_for_inputs_but_not_before_the_onset(tmp_path):
    policy = load_catalogue(synthetic.declare(tmp_path, synthetic.make_log()))[0].policy
    times = pd.date_range("2024-01-01", periods=400, freq="1h", tz="UTC")
    rows = pd.DataFrame({"time": times})
    train, held_out = rows.iloc[:350], rows.iloc[350:]
    reference = next_reference(policy, held_out, train, None)
    assert reference["is_held_out"].sum() == 50
    assert reference["time"].max() - reference["time"].min() <= pd.Timedelta(days=policy.reference.minimum_chunks)
    bounded = next_reference(policy, held_out, train, times[340].to_pydatetime())
    assert bounded["time"].min() == times[340]


def test_a_served_prediction_is_never_rewritten(tmp_path):
    models = synthetic.declare(tmp_path, synthetic.make_log())
    policy = load_catalogue(models)[0].policy
    rows = labelled_rows(policy, models, synthetic.START + timedelta(days=20)).assign(chunk="2024-01-01").head(300)
    model = RECIPES["lightgbm"].fit(policy, rows)
    empty = pd.DataFrame(columns=list(tables.scored_batches(policy).columns))
    first = score_rows(policy, model, "1", rows.head(200), empty, datetime.now(UTC))
    again = score_rows(policy, model, "2", rows, first, datetime.now(UTC))
    assert len(again) == 300
    assert list(again["model_version"].value_counts().sort_index()) == [200, 100]
    pd.testing.assert_frame_equal(again.head(200), first)


def test_one_broken_model_does_not_stop_the_others(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="missing"))
    broken = platform.settings.models / "broken.yaml"
    body = (platform.settings.models / "shop.yaml").read_text().replace("model: shop", "model: broken")
    broken.write_text(body)
    both = training(platform.settings, is_paced=False)
    platform.observe("2024-02-13")
    (platform.settings.home / "lake" / "broken" / "verdict_vintages" / "_delta_log").mkdir(parents=True)
    (platform.settings.home / "lake" / "broken" / "verdict_vintages" / "_delta_log" / "00000000000000000000.json").write_text("no table")
    for model in ("broken", "shop"):
        evaluation = dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey([model, "verdict"]), check_name="no_harm", passed=False, partition="2024-02-13", metadata={}
        )
        if model == "broken":
            instance.report_runless_asset_event(evaluation)
    sensor = next(one for one in both.sensors if one.name == "retrain_trigger")
    context = dg.build_sensor_context(instance=instance, resources={"lake": platform.lake}, definitions=both)
    sensor.evaluate_tick(context)
    assert list(read_ledger(platform.policy, platform.lake)["action"]) == [Action.OPEN_INCIDENT]


def test_an_order_whose_run_was_never_launched_is_requested_again(tmp_path, instance):
    from training_assets.ledger import evaluate

    platform = Platform(tmp_path, instance, synthetic.make_log(fault="concept", fault_day=35))
    platform.observe("2024-02-13")
    evaluate(platform.policy, platform.lake)  # the order is in the ledger; the tick that made it crashed
    platform.observe("2024-02-14")
    keys = [request.run_key for request in platform.tick().run_requests]
    assert keys == ["shop/2024-02-14"] or "shop/2024-02-13" in keys


def test_an_override_is_decided_on_at_the_next_tick_and_is_in_the_ledger(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="concept", fault_day=35))
    config = {"ops": {"shop__order": {"config": {"override": "HOLD", "until": "2100-01-01", "who": "ana", "why": "site visit"}}}}
    assert platform.training.resolve_job_def("shop__override").execute_in_process(instance=instance, run_config=config).success
    platform.observe("2024-02-13")
    tick = platform.tick()
    assert not tick.run_requests
    row = read_ledger(platform.policy, platform.lake).iloc[-1]
    assert (row["action"], row["clause"]) == (Action.HOLD, "manual_override")
    assert "ana: site visit" in row["inputs"]
    append_override(platform.lake, platform.policy, Override.RELEASE, datetime(2100, 1, 1, tzinfo=UTC), who="ana", why="done")
    released = platform.tick(tick.cursor)  # no new check evaluation: the release alone is looked at
    assert len(released.run_requests) == 1
    assert not platform.tick(released.cursor).asset_events
    with pytest.raises(EndedOverrideError, match="expected a moment after"):
        append_override(platform.lake, platform.policy, Override.HOLD, datetime(2020, 1, 1, tzinfo=UTC), who="ana", why="too late")


def test_one_evaluation_is_one_row_and_the_page_shows_it(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    platform.observe("2024-02-13")
    first = platform.tick()
    platform.tick(None)  # a lost cursor asks again: nothing is new, nothing is written
    assert len(read_ledger(platform.policy, platform.lake)) == 1
    platform.observe("2024-02-14")
    platform.tick(first.cursor)
    rows = read_ledger(platform.policy, platform.lake)
    assert list(rows["evaluation"]) == list(range(len(rows)))
    assert list(rows["vintages_seen"]) == sorted(rows["vintages_seen"])
    (made,) = first.asset_events
    assert made.metadata["timeline"].value.startswith("![decisions over time](data:image/svg+xml;base64,")
    assert "harmful_verdict 0 / 0.5" in made.metadata["ledger"].value
    assert made.metadata["harmful_verdict"].value == 0.0


def test_a_chunk_judged_again_to_the_same_end_is_no_news(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    platform.observe("2024-02-13")
    before = read_vintages(platform.lake, platform.policy)
    platform.run(platform.monitoring, "shop__realize", "2024-02-13")
    assert read_vintages(platform.lake, platform.policy) == before
    assert [one.is_realized for one in before] == [False, True]
    assert before[-1].n_rows > 0
    lines = platform.lake.read("shop", tables.MEASUREMENTS, {"chunk": "2024-02-13"})
    for one in before[-1].measured:
        own = lines[
            (lines["kind"] == one.kind) & (lines["method"] == one.method) & (lines["subject"] == one.subject) & (lines["segment"] == "all")
        ]
        assert one.value == own["value"].iloc[0]


@pytest.mark.slow
def test_a_small_gain_waits_for_a_person_and_a_large_one_does_not(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="concept", fault_day=35), rollout={"promote_gain": 5.0})
    platform.backfill("2024-01-31", "2024-02-14")
    tick = platform.tick()
    assert platform.retrain(tick.run_requests[0]).success
    assert list(events(platform.lake, platform.policy)["event"]) == [Event.STAGED]
    assert serving_version(platform.lake, platform.policy) is None
    assert platform.registry.aliased_version("shop", Alias.CHALLENGER) == "1"
    shadow = platform.lake.read("shop", tables.shadow_scores(platform.policy))
    assert set(shadow["chunk"]) == {"2024-02-14"}
    assert shadow["challenger_y_pred_proba"].between(0, 1).all()
    served = platform.lake.read("shop", tables.prediction_log(platform.policy), {"chunk": "2024-02-14"})
    assert set(shadow["prediction_id"]) == set(served["prediction_id"])
    config = {"ops": {"shop__promote_staged": {"config": {"who": "ana", "why": "looked at the calibration"}}}}
    assert (
        platform.training.resolve_job_def("shop__approve")
        .execute_in_process(instance=instance, run_config=config, resources={"lake": platform.lake, "registry": platform.registry})
        .success
    )
    log = events(platform.lake, platform.policy)
    assert list(log["event"]) == [Event.STAGED, Event.PROMOTED]
    assert log["approved_by"].iloc[1] == "ana"
    assert "looked at the calibration" in log["reason"].iloc[1]
    assert broken_link(log) is None
    with pytest.raises(NothingStagedError, match="no challenger that waits"):
        approve(platform.policy, platform.lake, platform.registry, who="ana", why="again")


def sides(policy, champion, challenger, truth=None):
    frame = pd.DataFrame({"champion_y_pred_proba": champion, "challenger_y_pred_proba": challenger})
    for side in ("champion", "challenger"):
        frame[f"{side}_y_pred"] = (frame[f"{side}_y_pred_proba"] >= 0.5).astype(float).where(frame[f"{side}_y_pred_proba"].notna())
    return frame.assign(y_true=np.nan if truth is None else truth)


def test_a_challenger_that_cannot_answer_live_rows_is_stopped_in_the_shadow(tmp_path):
    policy = load_catalogue(synthetic.declare(tmp_path, synthetic.make_log()))[0].policy
    champion = np.linspace(0.01, 0.99, 100)
    good = compare(policy, sides(policy, champion, np.roll(champion, 3), (champion > 0.5).astype(float)))
    assert good.is_sound
    assert good.n_labelled == 100
    assert good.metrics["champion"]["roc_auc"] == 1.0
    assert 0 < good.disagreement < 0.1
    assert not compare(policy, sides(policy, champion, np.full(100, 0.7))).is_sound  # one word for everything
    holes = champion.copy()
    holes[5] = np.nan
    silent = compare(policy, sides(policy, champion, holes))
    assert (silent.is_sound, silent.unanswered) == (False, 1)
    assert compare(policy, sides(policy, champion[:0], champion[:0])).is_sound  # day zero: nothing was served


def test_quarantined_rows_and_broken_chunks_are_set_aside_until_the_quarantine_expires(tmp_path):
    window = {"start": "2024-01-05", "end": "2024-01-08", "who": "ana", "why": "bus down", "expires": "2024-03-01"}
    models = synthetic.declare(tmp_path, synthetic.make_log(), retrain={"quarantine": [window]})
    policy = load_catalogue(models)[0].policy
    rows = labelled_rows(policy, models, synthetic.START + timedelta(days=40))
    kept = without_contaminated(policy, rows, ["2024-01-20"], datetime(2024, 2, 15, tzinfo=UTC))
    days = set(kept.rows["time"].dt.strftime("%Y-%m-%d"))
    assert not days & {"2024-01-05", "2024-01-06", "2024-01-07", "2024-01-20"}
    assert {"2024-01-04", "2024-01-08", "2024-01-19", "2024-01-21"} <= days
    assert sum(kept.set_aside.values()) == len(rows) - len(kept.rows)
    assert any("ana: bus down" in reason for reason in kept.set_aside)
    later = without_contaminated(policy, rows, [], datetime(2024, 3, 2, tzinfo=UTC))
    assert len(later.rows) == len(rows)
    assert not later.set_aside


@pytest.mark.parametrize("is_broken", [True, False], ids=["fault", "null_twin"])
def test_a_broken_day_before_the_change_is_not_taken_for_its_onset(is_broken, tmp_path):
    log = synthetic.make_log(fault="shift")
    if is_broken:
        log.loc[35 * synthetic.ROWS_A_DAY : 36 * synthetic.ROWS_A_DAY - 1, "x2"] *= 100
    models = synthetic.declare(tmp_path, log)
    policy, lake = load_catalogue(models)[0].policy, Settings.of(tmp_path / "home", models).lake
    rows = read_log(policy, models, synthetic.START, synthetic.START + timedelta(days=50)).accepted
    rows = rows.assign(chunk=policy.cadence.keys(rows["time"]), model_version="1", role="champion", scored_at=rows["time"])
    served, reference = tables.prediction_log(policy), tables.reference_rows(policy)
    chunks = sorted(rows["chunk"].unique())
    lake.replace("shop", served, rows[list(served.columns)], {"chunk": chunks})
    first = rows[rows["time"] < policy.reference.end].assign(reference_version="1", is_held_out=True)
    lake.replace("shop", reference, first[list(reference.columns)], {"reference_version": ["1"]})
    told = pd.DataFrame([
        {
            "chunk": chunk, "verdict": "data_fault" if is_broken and chunk == "2024-02-05" else "healthy", "confidence": 1.0, "model_version": "1",
            "is_realized": False, "n_rows": synthetic.ROWS_A_DAY, "measured": "[]", "known_at": policy.cadence.end(chunk), "digest": chunk,
        }
        for chunk in chunks
    ])  # fmt: skip
    append_vintages(lake, policy, told)
    onset = find_onset(policy, lake, "2024-02-10", datetime(2024, 2, 13, tzinfo=UTC), is_covariate=True)
    assert abs(onset - synthetic.START - timedelta(days=40)) <= timedelta(hours=12)


def test_an_incremental_candidate_goes_on_from_the_champion_on_rows_it_has_not_seen(tmp_path):
    models = synthetic.declare(tmp_path, synthetic.make_log(fault="concept", fault_day=25))
    policy = load_catalogue(models)[0].policy
    rows = labelled_rows(policy, models, synthetic.START + timedelta(days=40))
    learned, fresh, held_out = rows[rows["time"] < "2024-01-26"], rows[rows["time"] >= "2024-01-26"].iloc[:-300], rows.tail(300)
    champion = RECIPES["lightgbm"].fit(policy, learned)
    trees, text = champion.num_trees(), champion.model_to_string()
    predecessor = Predecessor(champion, learned["time"].max())
    train = rows.iloc[:-300]
    (only,) = compete(policy, train, held_out, None, Update.INCREMENTAL, predecessor)
    assert (only.window, len(only.rows)) == (SINCE_CHAMPION, len(fresh))
    assert only.model.num_trees() > trees
    assert champion.model_to_string() == text  # the champion itself is not touched
    before = metrics_of(policy, held_out["y_true"], RECIPES["lightgbm"].predict(policy, champion, held_out))
    assert only.metrics["roc_auc"] > before["roc_auc"] + 0.05
    windows = {one.window for one in compete(policy, train, held_out, None, Update.COMPETE, predecessor)}
    assert {SINCE_CHAMPION, "all"} <= windows
    assert {one.window for one in compete(policy, train, held_out, None, Update.INCREMENTAL, None)} == windows - {SINCE_CHAMPION}


def test_a_log_that_names_its_own_versions_is_acted_on(tmp_path, instance):
    rows = synthetic.make_log(fault="concept", fault_day=35).assign(served_by="v7")
    source = {
        "parquet": "log.parquet",
        "time": "ts",
        "id": "id",
        "prediction": "label",
        "probability": "proba",
        "model_version": "served_by",
    }
    platform = Platform(tmp_path, instance, rows, log=source)
    platform.observe("2024-02-14")
    assert [request.run_key for request in platform.tick().run_requests] == ["shop/2024-02-14"]


def test_a_proof_against_a_version_that_no_longer_serves_promotes_nothing(tmp_path):
    from resources.rollout_log import append_event

    overrides = {"log": {"parquet": "log.parquet", "time": "ts", "id": "id"}}
    models = synthetic.declare(tmp_path, synthetic.make_log(), **overrides)
    settings = with_registry(Settings.of(tmp_path / "home", models))
    policy, lake = load_catalogue(models)[0].policy, settings.lake
    registry = settings.registry
    rows = labelled_rows(policy, models, synthetic.START + timedelta(days=40))
    times = rows[["prediction_id", "time", "observed_at", *policy.features.all, "y_true"]]
    part = times.assign(chunk=CHUNK, part=np.where(times.index < 2000, TRAIN, HOLDOUT))
    lake.replace("shop", tables.training_sets(policy), part[list(tables.training_sets(policy).columns)], {"chunk": CHUNK})
    scores = {f"{side}_{name}": 0.5 for side in ("champion", "candidate") for name in ("y_pred", "y_pred_proba")}
    proof = part.loc[part["part"] == HOLDOUT, ["chunk", "prediction_id", "time", "y_true"]].assign(**scores)
    lake.replace("shop", tables.held_out(policy), proof, {"chunk": CHUNK})
    numbers = {"champion": 0.6, "candidate": 0.7, "gain": 0.1, "gain_lower": 0.05, "gain_upper": 0.15}
    evaluation = pd.DataFrame([{
        "chunk": CHUNK, "incident": "i", "window": "all", "metric": "roc_auc", **numbers, "n_rows": 100, "is_winner": True, "is_accepted": True,
        "model_uri": "models:/x", "champion_version": "1",
    }])  # fmt: skip
    lake.replace("shop", tables.EVALUATIONS, evaluation, {"chunk": CHUNK})
    append_event(lake, policy, Event.PROMOTED, reason="test", approved_by="me", from_version="1", to_version="3")
    with pytest.raises(
        NotAcceptedError, match="got a candidate proved against version 1 while 3 serves; expected a proof against the serving"
    ):
        promote(policy, lake, registry, Order(CHUNK, datetime.now(UTC), "i", "c"), "2")
    assert serving_version(lake, policy) == "3"


def test_rows_as_old_as_the_champions_last_one_are_never_held_out(tmp_path):
    models = synthetic.declare(tmp_path, synthetic.make_log())
    policy = load_catalogue(models)[0].policy
    rows = labelled_rows(policy, models, synthetic.START + timedelta(days=40))
    rows["time"] = rows["time"].dt.floor("6h")  # many rows share a moment
    learned = rows["time"].iloc[-300]
    cut = split(policy, rows, None, Promotion("1", learned.to_pydatetime(), None))
    assert (cut.rows.loc[cut.rows["part"] == HOLDOUT, "time"] > learned).all()


def test_a_replay_begins_with_all_of_history_and_with_the_first_chunk_where_there_is_none(declare, lake):
    at_once = declare(replay={"start": "2024-03-03", "end": "2024-03-10"})
    assert next_chunks(at_once, lake) == ["2024-03-01", "2024-03-02"]
    assert next_chunks(declare(replay={"start": "2024-03-01", "end": "2024-03-10"}), lake) == ["2024-03-01"]
