"""What predictions say without outcomes: confidence, business KPIs and declared constraints, each with its null twin."""

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import synthetic
from synthetic_platform import Platform

from resources import tables
from resources.vocabulary import Check, Kind, Stage, Verdict

pytestmark = pytest.mark.xdist_group("self_watch")  # the two platforms are run by one worker
CHUNK = "2024-02-14"
RULES = [
    {"name": "proportion", "holds": "x1 - x2 < 20", "share": 0.02},
    {"name": "calm", "column": "x1", "most_per_hour": 100, "blocks": False},
]


def day(log: pd.DataFrame) -> pd.Series:
    return log["ts"].dt.strftime("%Y-%m-%d") == CHUNK


def sharpened(log: pd.DataFrame) -> pd.DataFrame:
    """The same inputs, outcomes and classes; only the model is three times as sure of itself."""
    logit = np.log(log["proba"] / (1 - log["proba"]))
    return log.assign(proba=log["proba"].where(~day(log), 1 / (1 + np.exp(-3 * logit))))


def seen(folder, log, **overrides):
    """Platform and its measurements of the chunk, realized too."""
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform(
            folder, instance, log, kpi={"expected_labels": "sum(y_pred_proba)", "mean_score": "mean(y_pred_proba)"}, **overrides
        )
        platform.run("monitor", CHUNK)
        platform.run("realize", CHUNK)
        checks = {}
        for stage, check in (
            (Stage.MODEL_UNCERTAINTY, Check.UNCERTAINTY), (Stage.REALIZED_PERFORMANCE, Check.CALIBRATION),
            (Stage.BUSINESS_KPI, Check.BUSINESS_KPI), (Stage.DRIFT_REPORT, Check.DRIFT), (Stage.DATA_QUALITY, Check.SANITY_RULES),
        ):  # fmt: skip
            try:
                checks[check] = platform.check(stage, check, CHUNK)
            except StopIteration:
                checks[check] = None
        lines = platform.lake.read("shop", tables.MEASUREMENTS, {"chunk": CHUNK})
        return checks, lines, platform.verdict(CHUNK)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    return seen(tmp_path_factory.mktemp("quiet"), synthetic.make_log(), validation={"rules": RULES})


@pytest.fixture(scope="module")
def surer(tmp_path_factory):
    return seen(tmp_path_factory.mktemp("surer"), sharpened(synthetic.make_log()))


def test_a_shift_of_confidence_alone_is_seen_by_the_models_uncertainty_and_not_by_input_drift(surer, quiet):
    checks, lines, _ = surer
    assert not checks[Check.UNCERTAINTY][0]
    assert "entropy" in checks[Check.UNCERTAINTY][2]
    assert checks[Check.DRIFT][0]
    assert lines[(lines["kind"] == Kind.UNCERTAINTY) & lines["breach"]]["method"].isin(["entropy", "margin"]).any()
    assert quiet[0][Check.UNCERTAINTY][0]


def test_confidence_that_is_not_deserved_is_seen_once_outcomes_arrive(surer, quiet):
    own = {
        name: lines[lines["method"] == "calibration_error"]["value"].iloc[0]
        for name, (_, lines, _) in {"surer": surer, "quiet": quiet}.items()
    }
    assert own["surer"] > own["quiet"]
    assert quiet[0][Check.CALIBRATION][0]
    assert {"brier", "calibration_error", "set_coverage"} <= set(surer[1]["method"])


def test_predictions_that_spread_otherwise_are_seen_and_their_twin_is_not(surer, quiet):
    for (_, lines, _), is_found in ((surer, True), (quiet, False)):
        own = lines[lines["kind"] == Kind.PREDICTION_DRIFT]
        assert set(own["subject"]) == {"y_pred_proba"}
        assert own["breach"].any() == is_found


def test_each_line_is_written_once_although_two_stages_measure_confidence(surer):
    lines = surer[1][surer[1]["kind"] == Kind.UNCERTAINTY]
    assert not lines.duplicated(["method", "subject"]).any()


def test_a_kpi_is_the_declared_aggregate_of_the_predictions(quiet):
    checks, lines, _ = quiet
    log = synthetic.make_log()
    found = lines[lines["kind"] == Kind.BUSINESS_KPI].set_index("subject")
    assert found.loc["expected_labels", "value"] == pytest.approx(log.loc[day(log), "proba"].sum(), abs=1e-9)
    assert found.loc["mean_score", "value"] == pytest.approx(log.loc[day(log), "proba"].mean(), abs=1e-12)
    assert checks[Check.BUSINESS_KPI][0]


def test_a_kpi_far_from_what_it_is_without_a_fault_fails_its_check(tmp_path):
    log = synthetic.make_log()
    log["proba"] = log["proba"].where(~day(log), log["proba"] * 0.2)
    checks, _, _ = seen(tmp_path, log)
    assert not checks[Check.BUSINESS_KPI][0]
    assert "expected_labels" in checks[Check.BUSINESS_KPI][2]


def test_a_broken_constraint_that_blocks_is_a_data_fault(tmp_path, quiet):
    log = synthetic.make_log()
    log.loc[day(log) & (log.index % 4 == 0), "x1"] += 50.0
    checks, lines, verdict = seen(tmp_path, log, validation={"rules": RULES})
    is_passed, severity, text = checks[Check.SANITY_RULES]
    assert not is_passed
    assert severity is dg.AssetCheckSeverity.ERROR
    assert "proportion" in text
    assert verdict == Verdict.DATA_FAULT
    assert "p" in lines[lines["subject"] == "proportion"]["reason"].iloc[0]  # the worst rows are named
    assert quiet[0][Check.SANITY_RULES][0]
    assert quiet[2] == Verdict.HEALTHY


def test_a_broken_constraint_that_flags_is_shown_and_the_chunk_is_judged(tmp_path):
    log = synthetic.make_log()
    log.loc[day(log) & (log.index % 40 == 0), "x1"] += 40.0
    rules = [{"name": "calm", "column": "x1", "most_per_hour": 20, "blocks": False}]
    checks, _, verdict = seen(tmp_path, log, validation={"rules": rules})
    is_passed, severity, text = checks[Check.SANITY_RULES]
    assert (is_passed, severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "calm" in text
    assert verdict != Verdict.DATA_FAULT


@pytest.mark.parametrize("estimator", ["m_cbpe", "pape"])
def test_estimators_for_inputs_that_moved_are_declared_by_name_and_survive_the_lake(tmp_path, estimator):
    log = synthetic.make_log()
    log["x1"] = log["x1"].where(~day(log), log["x1"] * 0.3)  # many more hard rows; outcomes follow from the inputs as ever
    served = 1 / (1 + np.exp(-(2.0 * log["x1"] + 0.1 * log["x2"])))
    rng = np.random.default_rng(1)
    log = log.assign(proba=served, label=(served >= 0.5).astype(int), outcome=(rng.random(len(log)) < served).astype(int))
    _, lines, _ = seen(tmp_path, log, performance={"estimator": estimator})
    both = lines[(lines["subject"] == "accuracy") & lines["kind"].isin([Kind.ESTIMATED_PERFORMANCE, Kind.REALIZED_PERFORMANCE])]
    values, errors = both.set_index("kind")["value"], both.set_index("kind")["standard_error"]
    assert both.loc[both["kind"] == Kind.ESTIMATED_PERFORMANCE, "method"].tolist() == [estimator]
    gap = abs(values[Kind.ESTIMATED_PERFORMANCE] - values[Kind.REALIZED_PERFORMANCE])
    assert gap < 3 * np.hypot(*errors)
