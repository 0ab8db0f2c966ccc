"""What the drift stage tells on a real instance: value, limit, effect, rows, rule, and that a second run changes nothing."""

import dagster as dg
import pandas as pd
import pytest
import synthetic
from synthetic_platform import Platform

from resources import tables
from resources.vocabulary import Check, Stage

FAULT_CHUNK, QUIET_CHUNK = "2024-02-12", "2024-02-05"  # days 42 and 35
LINE = ["kind", "method", "subject", "segment", "compared_with"]


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def metadata_of(platform: Platform, chunk: str) -> dict:
    key = dg.AssetCheckKey(dg.AssetKey(["shop", str(Stage.DRIFT_REPORT)]), str(Check.DRIFT))
    records = platform.instance.event_log_storage.get_asset_check_execution_history(key, limit=50)
    record = next(one for one in records if one.partition == chunk and one.status.value in ("SUCCEEDED", "FAILED"))
    return {name: entry.value for name, entry in record.event.dagster_event.asset_check_evaluation_data.metadata.items()}


def drift_lines_of(platform: Platform, chunk: str) -> pd.DataFrame:
    rows = platform.lake.read("shop", tables.MEASUREMENTS, {"chunk": chunk})
    own = rows[rows["stage"] == Stage.DRIFT_REPORT]
    return own.sort_values(LINE, kind="stable").drop(columns="known_at").reset_index(drop=True)


def test_the_check_shows_value_limit_effect_rows_and_rule_and_a_second_run_changes_nothing(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="shift"))
    assert platform.run("monitor", FAULT_CHUNK).success
    told = metadata_of(platform, FAULT_CHUNK)
    head, _, *worst = told["five_worst"].splitlines()
    assert head == "| feature | segment | method | value | lower limit | upper limit | effect | corrected p | n |"
    assert 1 <= len(worst) <= 5
    x2 = next(line for line in worst if line.startswith("| x2 | all | wasserstein |"))
    _, _, _, _, value, _, upper, effect, p, n, _ = (cell.strip() for cell in x2.split("|"))
    assert float(value) > float(upper) > 0
    assert float(effect) == pytest.approx(3.0, abs=0.5)  # three standard deviations
    assert float(p) < 0.01
    assert int(n) == synthetic.ROWS_A_DAY
    assert "at most 1.0% of chunks" in told["limits"]
    assert "bonferroni" in told["limits"].lower()
    assert told["drifted_features"] >= 1
    before = drift_lines_of(platform, FAULT_CHUNK)
    assert not before.duplicated(LINE).any()
    platform.run("monitor", FAULT_CHUNK)
    pd.testing.assert_frame_equal(drift_lines_of(platform, FAULT_CHUNK), before)


def test_null_twin_a_quiet_chunk_passes_and_says_by_which_rule(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    platform.run("monitor", QUIET_CHUNK)
    assert platform.check(Stage.DRIFT_REPORT, Check.DRIFT, QUIET_CHUNK)[0]
    told = metadata_of(platform, QUIET_CHUNK)
    assert (told["breaches"], told["five_worst"]) == (0, "none")
    assert told["limits"].startswith("Limits are calibrated on the reference for a chunk of this size")


def test_the_p_value_rule_says_how_often_the_raw_one_would_alarm(tmp_path, instance):
    drift = {"numeric": ["kolmogorov_smirnov"], "categorical": ["chi2"], "multivariate": [], "limit": {"rule": "p_value", "alpha": 0.05}}
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="shift"), drift=drift)
    platform.run("monitor", FAULT_CHUNK)
    told = metadata_of(platform, FAULT_CHUNK)["limits"]
    assert told.startswith("A number breaches when its p-value is below 0.05 (")
    assert "autocorrelation: effective_sample_size" in told
    assert "The uncorrected rule p < 0.05 would alarm on" in told
    assert "stretches of the reference, where nothing drifted." in told
    own = drift_lines_of(platform, FAULT_CHUNK)
    assert set(own.loc[own["breach"], "subject"]) == {"x2"}


def test_declared_seasons_and_segments_show_up_and_both_engines_store_the_same_measurements(tmp_path):
    found = {}
    for engine in ("frame", "duckdb"):
        with dg.DagsterInstance.ephemeral() as instance:
            declared = {"drift": {"season": "hour", "multivariate": ["pca_reconstruction"], "engine": engine}, "segments": ["site"]}
            platform = Platform(tmp_path / engine, instance, synthetic.make_log(fault="shift"), **declared)
            assert platform.run("monitor", FAULT_CHUNK).success
            found[engine] = drift_lines_of(platform, FAULT_CHUNK)
            assert "x2" in platform.check(Stage.DRIFT_REPORT, Check.DRIFT, FAULT_CHUNK)[2]
    own = found["frame"]
    assert {"all", "site=north", "site=south"} == set(own["segment"])
    assert {"reference", "same hour"} == set(own["compared_with"])
    deciding = own[own["is_deciding"]]
    joint = own[own["kind"] == "multivariate_drift"].set_index("compared_with")
    assert joint["is_deciding"].to_dict() == {"same hour": True, "reference": False}
    assert joint.loc["same hour", "value"] == joint.loc["reference", "value"]  # every day has every hour
    assert set(deciding.loc[deciding["kind"] == "univariate_drift", "compared_with"]) == {"same hour"}
    assert "x2" in set(deciding.loc[deciding["breach"] & deciding["segment"].str.startswith("site="), "subject"])
    pd.testing.assert_frame_equal(found["frame"], found["duckdb"], rtol=1e-9, atol=1e-12)


def test_score_and_p_value_of_all_features_together_are_numbers_of_the_asset_beside_those_of_the_plain_reference(tmp_path, instance):
    limit = {"rule": "p_value", "autocorrelation": "ignored"}
    drift = {"numeric": ["kolmogorov_smirnov"], "categorical": ["chi2"], "multivariate": ["mmd"], "season": "weekday", "limit": limit}
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="shift"), drift=drift)
    platform.run("monitor", FAULT_CHUNK)
    own = drift_lines_of(platform, FAULT_CHUNK)
    own = own[own["method"] == "mmd"].set_index("compared_with")
    key = dg.AssetKey(["shop", str(Stage.DRIFT_REPORT)])
    told = instance.get_latest_materialization_event(key).asset_materialization.metadata
    for compared, name in (("same weekday", "mmd of all features"), ("reference", "mmd of all features, plain reference")):
        assert (told[name].value, told[f"p-value of {name}"].value) == (own.loc[compared, "value"], own.loc[compared, "p_value"])
    assert own.loc["same weekday", "breach"]
