"""A model of three classes from an order to a champion that scores, and the gates it passes."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import synthetic
import synthetic_classes
from test_training import Platform

from resources import tables
from resources.catalogue import load_catalogue
from resources.policy import MonitoredModel
from resources.rollout_log import events, serving_version
from resources.vocabulary import Event, Kind, Verdict
from training_assets.candidate import compete
from training_assets.gates import pass_gates
from training_assets.recipes import RECIPES, load_version
from training_assets.scoring import score_rows
from training_assets.training_set import labelled_rows

PROBABILITIES = [f"y_pred_proba_{place}" for place in range(3)]


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def policy(tmp_path) -> MonitoredModel:
    return load_catalogue(synthetic.declare(tmp_path, synthetic_classes.make_log(), **synthetic_classes.DECLARED))[0].policy


def served(matrix: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(matrix, columns=PROBABILITIES).assign(y_pred=matrix.argmax(axis=1).astype(float))


@pytest.mark.slow
def test_classes_that_change_places_become_one_run_that_promotes_a_better_model(tmp_path, instance):
    log = synthetic_classes.make_log(fault="concept", fault_day=35)
    platform = Platform(tmp_path, instance, log, **synthetic_classes.DECLARED)
    platform.backfill("2024-01-31", "2024-02-14")
    (request,) = platform.tick().run_requests
    assert platform.retrain(request).success
    version = serving_version(platform.lake, platform.policy)
    assert version == "1"
    log = events(platform.lake, platform.policy)
    assert list(log["event"]) == [Event.PROMOTED]
    assert log["onset"].iloc[0] == pytest.approx(pd.Timestamp("2024-02-05", tz="UTC"), abs=pd.Timedelta(days=1))
    evaluation = platform.lake.read("shop", tables.EVALUATIONS)
    winner = evaluation[evaluation["is_winner"]].iloc[0]
    assert winner["metric"] == "roc_auc"
    assert 0 < winner["gain_lower"] < winner["gain"] < winner["gain_upper"]
    reference = platform.lake.read("shop", tables.reference_rows(platform.policy), {"reference_version": "1"})
    held_out = reference[reference["is_held_out"]]
    np.testing.assert_allclose(held_out[PROBABILITIES].sum(axis=1), 1, atol=1e-9)
    assert (held_out["y_pred"] == held_out["y_true"]).mean() > 0.5  # the old model would be right in a few rows at most
    rows = labelled_rows(platform.policy, platform.settings.models, synthetic.START + timedelta(days=40)).tail(50)
    rows = rows.assign(chunk="2024-02-09").reset_index(drop=True)
    nothing = pd.DataFrame(columns=list(tables.scored_batches(platform.policy).columns))
    scored = score_rows(
        platform.policy, load_version(platform.policy, platform.registry, version), version, rows, nothing, datetime.now(UTC)
    )
    platform.lake.replace("shop", tables.scored_batches(platform.policy), scored, {"chunk": "2024-02-09"})
    again = score_rows(platform.policy, load_version(platform.policy, platform.registry, version), version, rows, scored, datetime.now(UTC))
    pd.testing.assert_frame_equal(again, scored)  # nothing is new


@pytest.mark.slow
def test_a_log_without_predictions_gets_its_first_model_which_scores_and_is_watched(tmp_path, instance):
    log = {"parquet": "log.parquet", "time": "ts", "id": "id"}
    rows = synthetic_classes.make_log().drop(columns=["label", *(f"p_{name}" for name in synthetic_classes.CLASSES)])
    window = {"start": "2024-01-16", "end": "2024-02-01"}
    platform = Platform(tmp_path, instance, rows, **{**synthetic_classes.DECLARED, "log": log}, reference=window)
    (request,) = platform.tick().run_requests
    assert platform.retrain(request).success
    assert serving_version(platform.lake, platform.policy) == "1"
    assert platform.run(platform.monitoring, "shop__reference").success
    assert platform.run(platform.training, "shop__score", "2024-02-12").success
    platform.observe("2024-02-12")
    measured = platform.lake.read("shop", tables.MEASUREMENTS, {"chunk": "2024-02-12"})
    values = measured[measured["subject"] == "accuracy"].set_index("kind")["value"]
    assert values[Kind.REALIZED_PERFORMANCE] > 0.6
    assert values[Kind.ESTIMATED_PERFORMANCE] == pytest.approx(values[Kind.REALIZED_PERFORMANCE], abs=0.15)
    assert list(platform.lake.read("shop", tables.VERDICTS, {"chunk": "2024-02-12"})["verdict"]) == [Verdict.HEALTHY]


@pytest.mark.slow
def test_null_twin_a_model_that_is_right_is_not_replaced(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic_classes.make_log(), **synthetic_classes.DECLARED)
    platform.observe("2024-02-14")
    assert not platform.tick().run_requests
    assert platform.run(platform.training, "shop__retrain", "2024-02-14").success
    assert list(events(platform.lake, platform.policy)["event"]) == [Event.REJECTED]


def test_the_recipe_predicts_the_most_likely_class_and_is_repeatable_to_the_last_bit(tmp_path, policy):
    rows = labelled_rows(policy, tmp_path / "models", synthetic.START + timedelta(days=20))
    recipe = RECIPES["lightgbm"]
    first, second = (recipe.predict(policy, recipe.fit(policy, rows), rows) for _ in range(2))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    assert list(first.columns) == policy.predictions
    np.testing.assert_array_equal(first["y_pred"], first[PROBABILITIES].to_numpy().argmax(axis=1))
    np.testing.assert_allclose(first[PROBABILITIES].sum(axis=1), 1, atol=1e-9)
    assert (first["y_pred"] == rows["y_true"]).mean() > 0.7
    nothing = recipe.predict(policy, None, rows.head(0))
    assert list(nothing.columns) == policy.predictions
    assert nothing.empty


def test_a_class_that_no_training_row_has_is_still_given_a_probability(tmp_path, policy):
    rows = labelled_rows(policy, tmp_path / "models", synthetic.START + timedelta(days=20))
    recipe = RECIPES["lightgbm"]
    found = recipe.predict(policy, recipe.fit(policy, rows[rows["y_true"] < 2]), rows)
    assert list(found.columns) == policy.predictions
    assert found["y_pred_proba_2"].max() < 0.05


def test_windows_compete_by_the_declared_metrics(tmp_path, policy):
    rows = labelled_rows(policy, tmp_path / "models", synthetic.START + timedelta(days=30))
    best = compete(policy, rows.head(1800), rows.tail(400), None)[0]
    assert set(best.metrics) == {"roc_auc", "accuracy"}
    assert 0.8 < best.metrics["roc_auc"] < 1


def test_gates_need_a_champion_beaten(policy):
    rng = np.random.default_rng(0)
    truth = pd.Series(rng.integers(0, 3, 200).astype(float))
    noise = rng.dirichlet([1, 1, 1], 200)
    good = served(0.6 * np.eye(3)[truth.astype(int)] + 0.4 * noise)
    bad = served(rng.dirichlet([1, 1, 1], 200))
    assert pass_gates(policy, truth.to_frame("y_true"), good, bad).is_accepted
    assert not pass_gates(policy, truth.to_frame("y_true"), bad, good).is_accepted
    assert not pass_gates(policy, truth.to_frame("y_true"), good, good).is_accepted  # null twin: no gain
