"""Whole stages of a model of three classes: the log with a fault, and its null twin."""

import re

import dagster as dg
import numpy as np
import pytest
import synthetic
import synthetic_classes
from sklearn.metrics import accuracy_score, roc_auc_score
from synthetic_platform import Platform

from monitoring_assets.definitions import check_names
from resources import tables
from resources.catalogue import DeclarationError, load_catalogue
from resources.vocabulary import Check, Kind, Stage, Verdict

FAULT_CHUNK = "2024-02-12"  # day 42


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def watched(folder, instance, *, log=None, **overrides) -> Platform:
    platform = Platform(
        folder, instance, synthetic_classes.make_log() if log is None else log, **{**synthetic_classes.DECLARED, **overrides}
    )
    assert platform.run("monitor", FAULT_CHUNK).success
    assert platform.run("realize", FAULT_CHUNK).success
    return platform


def lines(platform: Platform, kind: Kind):
    rows = platform.lake.read("shop", tables.MEASUREMENTS, {"chunk": FAULT_CHUNK})
    return rows[rows["kind"] == kind].set_index(["method", "subject"])


def test_classes_that_change_places_are_concept_drift_while_the_estimate_stays_calm(tmp_path, instance):
    faulty = watched(tmp_path, instance, log=synthetic_classes.make_log(fault="concept"), performance={"detectors": ["cusum"]})
    assert faulty.verdict(FAULT_CHUNK) == Verdict.CONCEPT
    assert faulty.check(Stage.ESTIMATED_PERFORMANCE, Check.ESTIMATED_PERFORMANCE, FAULT_CHUNK)[0]
    for stage, check in (
        (Stage.REALIZED_PERFORMANCE, Check.REALIZED_PERFORMANCE),
        (Stage.REALIZED_PERFORMANCE, Check.LOSS_SEQUENCE),
        (Stage.REALIZED_PERFORMANCE, Check.CALIBRATION),
        (Stage.VERDICT, Check.NO_HARM),
    ):
        assert not faulty.check(stage, check, FAULT_CHUNK)[0], check
    assert faulty.check(Stage.MODEL_UNCERTAINTY, Check.UNCERTAINTY, FAULT_CHUNK)[0]  # the inputs are the same


def test_null_twin_the_same_log_without_the_fault_is_not_harmful_and_its_numbers_are_those_of_scikit_learn(tmp_path, instance):
    twin = watched(tmp_path, instance, performance={"detectors": ["cusum"]})
    assert twin.verdict(FAULT_CHUNK) in (Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS)
    for stage, check in (
        (Stage.ESTIMATED_PERFORMANCE, Check.ESTIMATED_PERFORMANCE),
        (Stage.ESTIMATED_PERFORMANCE, Check.ESTIMATE_TRUSTED),
        (Stage.REALIZED_PERFORMANCE, Check.REALIZED_PERFORMANCE),
        (Stage.REALIZED_PERFORMANCE, Check.LOSS_SEQUENCE),
        (Stage.VERDICT, Check.NO_HARM),
    ):
        assert twin.check(stage, check, FAULT_CHUNK)[0], check
    stored = twin.lake.read("shop", tables.prediction_log(twin.policy), {"chunk": FAULT_CHUNK})
    known = stored.merge(twin.lake.read("shop", tables.OUTCOMES), on="prediction_id")
    realized = lines(twin, Kind.REALIZED_PERFORMANCE)["value"]
    matrix = known[twin.policy.probabilities]
    assert realized["realized", "accuracy"] == pytest.approx(accuracy_score(known["y_true"], known["y_pred"]), abs=1e-12)
    assert realized["realized", "roc_auc"] == pytest.approx(roc_auc_score(known["y_true"], matrix, multi_class="ovr"), abs=1e-12)
    np.testing.assert_array_equal(known["y_pred"], matrix.to_numpy().argmax(axis=1))
    assert ("calibration_error", "estimate") in lines(twin, Kind.ESTIMATE_TRUST).index


def test_a_reference_that_lacks_a_class_gives_no_performance_rather_than_a_wrong_one(tmp_path, instance):
    log = synthetic_classes.make_log()
    is_reference = log["ts"] < "2024-02-01"
    platform = watched(tmp_path, instance, log=log[~is_reference | (log["outcome"] != "slack")])
    assert lines(platform, Kind.ESTIMATED_PERFORMANCE).empty
    assert "some of every class" in platform.check(Stage.ESTIMATED_PERFORMANCE, Check.ESTIMATED_PERFORMANCE, FAULT_CHUNK)[2]


@pytest.mark.parametrize(("performance", "told"), [
    ({"estimator": "dle"}, "performance.estimator: got 'dle'; expected one of cbpe"),
    ({"metrics": ["average_precision"]}, "performance.metrics.0: got 'average_precision'; expected one of accuracy, f1, precision, recall"),
    ({"metrics": ["true_positive"]}, "performance.metrics.0: got 'true_positive'; expected one of accuracy, f1"),
])  # fmt: skip
def test_what_does_not_exist_for_several_classes_is_refused_by_name(tmp_path, performance, told):
    models = synthetic.declare(tmp_path, synthetic_classes.make_log(days=1), **synthetic_classes.DECLARED, performance=performance)
    with pytest.raises(DeclarationError, match=re.escape(told)):
        check_names(load_catalogue(models))


def test_rows_of_unknown_classes_are_a_data_fault(tmp_path, instance):
    log = synthetic_classes.make_log()
    log.loc[log.index % 5 == 0, "label"] = "neap"
    platform = Platform(tmp_path, instance, log, **synthetic_classes.DECLARED)
    assert not platform.run("monitor", FAULT_CHUNK).success
    assert platform.verdict(FAULT_CHUNK) == Verdict.DATA_FAULT
    rejected = platform.lake.read("shop", tables.REJECTED_ROWS, {"chunk": FAULT_CHUNK})
    assert set(rejected["reason"]) == {"label: got neap; expected one of ebb, flood, slack"}
