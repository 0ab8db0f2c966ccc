"""The record is repeated exactly, and another policy walks on evidence of the models it would have trained."""

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta

import dagster as dg
import pandas as pd
import pytest
import synthetic
import yaml
from registries import with_registry

from plumbline.driver import Driver
from resources.catalogue import load_catalogue
from resources.overrides import append_override
from resources.policy import MonitoredModel
from resources.settings import Settings
from resources.vintages import JudgedChunk
from resources.vocabulary import Action, Event, Override, Verdict
from training_assets.candidate import compete as compete_windows
from training_assets.decide import Clause, Decision, Promotion, State
from training_assets.recipes import RECIPES
from training_assets.replay import workshop
from training_assets.replay.evidence import Evidence
from training_assets.replay.past import Past
from training_assets.replay.recorded import read_recorded
from training_assets.replay.reproduce import reproduce
from training_assets.replay.rivals import EVERY_CHUNK, NEVER, NEW, SCHEDULE, TODAY, rivals, with_condition
from training_assets.replay.run import Asked, NothingToReplayError, compare, rehearse, replay
from training_assets.replay.workshop import Serving, Workshop, metric_of
from training_assets.training_set import labelled_rows

END = synthetic.START + timedelta(days=50)
SCORED_HERE = {
    "log": {"parquet": "log.parquet", "time": "ts", "id": "id"},
    "reference": {"start": "2024-01-16", "end": "2024-01-31"},
    "retrain": {"windows": ["all", "since_onset"], "parameters": {"num_iterations": 30}},
    "gates": {"holdout": "5d", "resamples": 100},
}
CALLS = {"any": [{"verdict": {}}, {"name": "steady", "schedule": {"every": "4d"}}]}


class _Crash(Exception):
    """The process ends in the middle of its work."""


def lived(folder, instance):
    """Eight days of a platform whose rule of outcomes changes on the fourth: it crashes twice, is overruled once, and its policy changes once."""
    log = synthetic.make_log(fault="concept", fault_day=34)
    own = {
        **SCORED_HERE,
        "retrain": {**SCORED_HERE["retrain"], "when": CALLS},
        "replay": {"start": "2024-02-02", "end": "2024-02-10", "every_seconds": 1},
    }
    models = synthetic.declare(folder, log, **own)
    settings = with_registry(Settings.of(folder / "home", models))
    former = load_catalogue(models)[0].policy
    drive(settings, instance, stop_at="2024-02-05")
    append_override(settings.lake, former, Override.HOLD, synthetic.START + timedelta(days=37), who="ana", why="stocktaking")
    drive(settings, instance, stop_at="2024-02-09")
    body = yaml.safe_load((models / "shop.yaml").read_text())
    body["retrain"]["cooldown"] = 2
    (models / "shop.yaml").write_text(yaml.safe_dump(body))
    drive(settings, instance)
    return settings, former


def drive(settings, instance, stop_at=None):
    """A new process runs until nothing is left to do, or dies before it scores a chunk."""

    def on_run(job, chunk):
        if job == "shop__score" and chunk == stop_at:
            raise _Crash

    try:
        Driver(settings, instance, ["shop"]).run_until_idle(on_run)
    except _Crash:
        assert stop_at is not None


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    import warnings

    folder = tmp_path_factory.mktemp("life")
    with dg.DagsterInstance.ephemeral() as instance, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings, former = lived(folder, instance)
    policy = load_catalogue(settings.models)[0].policy
    return settings, former, policy


@pytest.mark.slow
@pytest.mark.xdist_group("replay")
class TestARecordedLife:
    def test_the_ledger_is_repeated_exactly_through_restarts_an_override_and_a_change_of_policy(self, life):
        settings, former, policy = life
        recorded = read_recorded(policy, settings.lake)
        ordered = recorded.ledger[recorded.ledger["action"] == Action.RETRAIN]
        assert len(ordered) >= 4  # day zero and several retrainings
        assert set(recorded.ledger["policy_hash"]) == {former.policy_hash, policy.policy_hash}
        assert Clause.MANUAL_OVERRIDE in set(recorded.ledger["clause"])
        assert ordered["onset"].notna().any()
        assert (recorded.log["event"] == Event.PROMOTED).sum() >= 2
        found = reproduce(recorded, [former])
        assert found.is_exact, found.differing
        assert not found.taken
        assert len(found.rows) == len(recorded.ledger)

    def test_rows_of_a_policy_that_is_not_given_are_taken_over_and_named(self, life):
        settings, former, policy = life
        recorded = read_recorded(policy, settings.lake)
        found = reproduce(recorded)
        assert found.is_exact, found.differing
        assert len(found.taken) == (recorded.ledger["policy_hash"] == former.policy_hash).sum()

    def test_a_ledger_that_was_tampered_with_is_told(self, life):
        settings, former, policy = life
        recorded = read_recorded(policy, settings.lake)
        ledger = recorded.ledger.copy()
        ledger.loc[len(ledger) - 1, "clause"] = "tampered"
        found = reproduce(replace(recorded, ledger=ledger), [former])
        assert len(found.differing) == 1
        assert "clause: live 'tampered', replayed" in found.differing[0]

    def test_todays_policy_follows_the_record_and_never_departs_where_live_retrained(self, life):
        settings, former, _ = life
        found = replay(former, settings.lake, settings.registry, settings.models, Asked(end=END, train=3))
        today, never = found.of(TODAY), found.of(NEVER)
        recorded = read_recorded(former, settings.lake)
        changed = recorded.ledger.loc[recorded.ledger["policy_hash"] != former.policy_hash, "as_of"].min()
        live = recorded.ledger[(recorded.ledger["action"] == Action.RETRAIN) & (recorded.ledger["as_of"] < changed)]
        assert today.departed is None or pd.Timestamp(today.departed, tz="UTC") >= changed.floor("min")
        assert list(live["chunk"])[1:] == list(today.retrained)[: len(live) - 1]
        assert never.retrainings == 0
        assert never.departed is not None
        assert today.mean_metric > never.mean_metric  # live did well to retrain
        served = next(iter(never.metric))
        assert never.metric[served] == pytest.approx(today.metric[served])  # before they part the same model serves
        assert [one.policy for one in found.figures] == [NEVER, EVERY_CHUNK, SCHEDULE, TODAY]
        assert any("beyond the bound of 3 trainings" in note for note in found.notes)

    def test_the_command_draws_writes_and_fails_beyond_the_declared_alarms(self, life, tmp_path):
        settings, _, _ = life
        (tmp_path / "new.yaml").write_text("retrain:\n  when: {rows: {rows: 60}}\n  cooldown: 0\n  budget: {retrainings: 90}\n")
        words = ["--policy", "new.yaml", "--train", "2", "--result", "r.json", "--picture", "p.png", "--home", str(settings.home.parent)]
        env = {**os.environ, "PYTHONWARNINGS": "ignore", "COLUMNS": "200"}
        home = {"PLUMBLINE_HOME": str(settings.home), "PLUMBLINE_MODELS": str(settings.models)}

        def run(*more):
            command = [sys.executable, "-m", "plumbline.cli", "replay", "shop", *words[:-2], *more]
            return subprocess.run(command, capture_output=True, text=True, env={**env, **home}, cwd=tmp_path, timeout=300)

        done = run("--max-alarms", "200")
        assert done.returncode == 0, done.stderr + done.stdout
        assert "every chunk" in done.stdout
        told = json.loads((tmp_path / "r.json").read_text())
        assert {one["policy"] for one in told["figures"]} == {NEVER, EVERY_CHUNK, SCHEDULE, TODAY, NEW}
        assert any("row_count is added" in line for line in told["changes"])
        assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
        refused = run("--max-alarms", "0.5")
        assert refused.returncode == 1
        assert "expected at most 0.5" in refused.stdout
        broken = tmp_path / "new.yaml"
        broken.write_text("retrain:\n  cooldown: -1\n")
        wrong = run()
        assert wrong.returncode == 2
        assert "new.yaml:2: retrain.cooldown: got -1; expected" in wrong.stdout

    def test_the_job_does_what_the_command_does_and_shows_it_on_the_asset(self, life):
        from training_assets.definitions import build_defs

        settings, _, _ = life
        job = build_defs(settings, is_paced=False).resolve_job_def("shop__replay")
        text = "retrain:\n  when: {rows: {rows: 60}}\n  cooldown: 0\n"
        config = {"ops": {"shop__replay_policy": {"config": {"policy": text, "train": 1, "start": "2024-02-06"}}}}
        result = job.execute_in_process(run_config=config)
        made = next(event.step_materialization_data.materialization for event in result.all_events if event.is_step_materialization)
        assert made.asset_key == dg.AssetKey(["shop", "replay"])
        assert "| every chunk |" in made.metadata["comparison"].value
        assert made.metadata["picture"].value.startswith("![metric over time](data:image/png;base64,")
        assert made.metadata["span"].value.startswith("2024-02-06")
        config["ops"]["shop__replay_policy"]["config"]["max_alarms"] = 0.5
        assert not job.execute_in_process(run_config=config, raise_on_error=False).success

    def test_a_stretch_without_an_evaluation_is_named(self, life):
        settings, _, policy = life
        with pytest.raises(NothingToReplayError, match="shop: got no evaluation from 2030-01-01; expected some"):
            replay(policy, settings.lake, settings.registry, settings.models, Asked(start=END + timedelta(days=2142)))


def scene_of(folder, *, fault=None, **overrides):
    models = synthetic.declare(folder, synthetic.make_log(fault=fault, fault_day=36), **{**SCORED_HERE, **overrides})
    policy = load_catalogue(models)[0].policy
    return rehearse(policy, models, END)


def ordered(path):
    return [step for step in path.steps if step.is_order and step.decision.clause != Clause.NO_CHAMPION]


def test_without_a_record_the_default_policy_repairs_a_changed_rule(tmp_path):
    scene = scene_of(tmp_path, fault="concept")
    path = scene.walk(scene.recorded.policy, Asked(), lambda: None, heeds_overrides=False)
    assert path.steps[0].decision.clause == Clause.NO_CHAMPION
    orders = ordered(path)
    assert orders
    assert orders[0].as_of >= synthetic.START + timedelta(days=38)  # the outcomes of the first harmed day are due
    assert any(step.outcome.startswith("promoted") for step in orders)
    last = scene.chunks[-1]
    first = scene.workshop.value(path.serving(scene.chunks[0]), last)
    assert scene.workshop.value(path.serving(last), last) > first + 0.2


def test_on_the_twin_without_a_fault_nothing_is_retrained_after_day_zero(tmp_path):
    scene = scene_of(tmp_path)
    path = scene.walk(scene.recorded.policy, Asked(), lambda: None, heeds_overrides=False)
    assert [step.decision.clause for step in path.steps if step.is_order] == [Clause.NO_CHAMPION]


def test_on_the_same_twin_a_clause_on_growing_history_trains_ever_more_rarely_and_serves_only_what_wins(tmp_path):
    scene = scene_of(tmp_path, retrain={**SCORED_HERE["retrain"], "when": {"any": [{"verdict": {}}, {"growth": {"share": 0.2}}]}})
    path = scene.walk(scene.recorded.policy, Asked(), lambda: None, heeds_overrides=False)
    first, *orders = [step for step in path.steps if step.is_order]
    assert first.decision.clause == Clause.NO_CHAMPION
    assert {step.decision.clause for step in orders} == {"grown_history"}
    assert 1 < len(orders) <= scene.recorded.policy.retrain.budget.retrainings
    assert all(step.outcome.startswith(("rejected: ", "promoted: ")) for step in orders)
    gaps = [later.as_of - one.as_of for one, later in itertools.pairwise(orders) if one.outcome.startswith("rejected")]
    assert gaps == sorted(gaps)


def test_beyond_the_bound_the_model_that_serves_is_kept_and_that_is_said(tmp_path):
    scene = scene_of(tmp_path, fault="concept")
    found = compare(scene, Asked(train=2, every="5d"), "")
    every = found.of(EVERY_CHUNK)
    assert "orders beyond the bound of 2 trainings were not carried out" in every.note
    assert any(note.startswith("every chunk: ") for note in found.notes)
    assert found.of(SCHEDULE).retrainings == 3
    assert found.onset.endswith("start of the first harmful chunk under never")
    assert found.of(TODAY).delay_days >= 1
    json.dumps(found.as_plain(), allow_nan=False)


def test_the_cost_is_told_where_the_declaration_names_prices(tmp_path):
    when = {"any": [{"verdict": {}}, {"cost": {"loss_per_unit": 2.0, "training_cost": 50}}]}
    scene = scene_of(tmp_path, fault="concept", retrain={**SCORED_HERE["retrain"], "when": when, "cooldown": 6})
    found = compare(scene, Asked(train=3), "")
    never, today = found.of(NEVER), found.of(TODAY)
    assert never.cost > today.cost >= 50 * today.retrainings  # decay of a model that is not retrained costs more than the trainings


def test_rows_known_at_a_moment_are_those_the_platform_would_learn_from(tmp_path):
    models = synthetic.declare(tmp_path, synthetic.make_log(), **SCORED_HERE)
    policy = load_catalogue(models)[0].policy
    past, moment = Past(policy, models, END), synthetic.START + timedelta(days=40)
    own, real = past.labelled(policy, moment), labelled_rows(policy, models, moment)
    pd.testing.assert_frame_equal(own[list(real.columns)], real)
    newest = past.chunk(policy.cadence.key(moment - timedelta(hours=1)), moment)
    assert newest["y_true"].iloc[1:].isna().all()  # a day must pass before an outcome is due; the first row's is due at this very moment
    assert past.chunk(newest["chunk"].iloc[0])["y_true"].notna().all()


@pytest.mark.parametrize("is_broken", [True, False], ids=["fault", "null_twin"])
def test_a_replayed_training_learns_nothing_from_broken_or_quarantined_rows(is_broken, tmp_path, monkeypatch):
    log = synthetic.make_log(fault="concept", fault_day=38)
    window = {"start": "2024-01-20", "end": "2024-01-21", "who": "ana", "why": "bus down"}
    own = {**SCORED_HERE, "retrain": {**SCORED_HERE["retrain"], "quarantine": [window] * is_broken}}
    models = synthetic.declare(tmp_path, log, **own)
    policy, moment = load_catalogue(models)[0].policy, synthetic.START + timedelta(days=44)
    fault = JudgedChunk("2024-01-25", Verdict.DATA_FAULT, "1", synthetic.START + timedelta(days=25), synthetic.ROWS_A_DAY, False, "[]")
    learned = []
    monkeypatch.setattr(workshop, "compete", lambda policy, train, *rest: learned.append(train) or compete_windows(policy, train, *rest))
    shop = Workshop(policy, Past(policy, models, END), vintages=[fault] * is_broken)
    champion = Serving("1", Promotion("1", None, None), RECIPES["lightgbm"].fit(policy, labelled_rows(policy, models, END).head(800)))
    order = Decision(Action.RETRAIN, "again", "2024-02-13", "shop/2024-02-13", State.ARMED, State.COOLING, None, None, [])
    shop.train(policy, order, moment, champion)
    days = set(learned[0]["time"].dt.strftime("%Y-%m-%d"))
    assert days.isdisjoint({"2024-01-20", "2024-01-25"}) == is_broken
    assert {"2024-01-19", "2024-01-24", "2024-01-26"} <= days


def test_a_model_served_elsewhere_is_judged_by_the_logs_own_predictions(tmp_path):
    models = synthetic.declare(tmp_path, synthetic.make_log(fault="concept", fault_day=36))
    policy = load_catalogue(models)[0].policy
    scene = rehearse(policy, models, END)
    never = scene.walk(rivals(policy, "30d")[NEVER], Asked(), lambda: None, heeds_overrides=False)
    rows = scene.workshop.past.chunk("2024-02-01")
    value = metric_of(policy, "roc_auc", rows["y_true"], rows[policy.predictions])
    assert scene.workshop.value(never.serving("2024-02-01"), "2024-02-01") == pytest.approx(value)
    path = scene.walk(policy, Asked(), lambda: None, heeds_overrides=False)
    assert ordered(path)[0].decision.clause == Clause.HARMFUL_VERDICT


def test_drift_is_measured_where_a_clause_reads_it_and_its_twin_stays_quiet(tmp_path):
    for fault in ("shift", None):
        folder = tmp_path / str(fault)
        scene = scene_of(folder, fault=fault)
        policy = with_condition(scene.recorded.policy, {"drift": {"chunks": 3}})
        path = scene.walk(policy, Asked(), lambda: None, heeds_overrides=False)
        assert bool(ordered(path)) is (fault == "shift")


def test_a_short_reference_keeps_the_limits_of_the_model_before(tmp_path):
    scene = scene_of(tmp_path, fault="concept")
    path = scene.walk(scene.recorded.policy, Asked(), lambda: None, heeds_overrides=False)
    first, last = path.serving(scene.chunks[0]), path.serving(scene.chunks[-1])
    assert last.before is not None
    evidence = Evidence(scene.recorded.policy, scene.workshop)
    assert evidence.limits(last) == evidence.limits(first)  # five held-out days are fewer than minimum_chunks


def test_the_same_order_of_two_policies_is_trained_once(tmp_path):
    scene = scene_of(tmp_path, fault="concept")
    workshop: Workshop = scene.workshop
    policy: MonitoredModel = scene.recorded.policy
    first = scene.walk(policy, Asked(), lambda: None, heeds_overrides=False)
    again = scene.walk(policy, Asked(), lambda: None, heeds_overrides=False)
    assert first.serving(scene.chunks[-1]) is again.serving(scene.chunks[-1])
    assert [step.outcome for step in first.steps] == [step.outcome for step in again.steps]
    assert workshop.value(first.serving(scene.chunks[0]), scene.chunks[0]) > 0.8
