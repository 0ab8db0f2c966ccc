"""Whole stages on a real ephemeral instance, a real lake and a log with a known fault, each beside its null twin."""

import dagster as dg
import pandas as pd
import pytest
import synthetic
from synthetic_platform import Platform

from monitoring_assets.measures.trust import RECONCILIATION
from resources import tables
from resources.vocabulary import Check, Stage, Verdict

FAULT_CHUNK, QUIET_CHUNK = "2024-02-12", "2024-02-05"  # days 42 and 35


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def chunks_of(days: range) -> list[str]:
    return [f"{synthetic.START + pd.Timedelta(days=day):%Y-%m-%d}" for day in days]


def test_concept_drift_is_found_by_outcomes_while_the_estimate_stays_calm(tmp_path, instance):
    faulty = Platform(tmp_path / "faulty", instance, synthetic.make_log(fault="concept"))
    assert faulty.run("monitor", FAULT_CHUNK).success
    assert faulty.verdict(FAULT_CHUNK) in (Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS)
    assert faulty.run("realize", FAULT_CHUNK).success
    assert faulty.verdict(FAULT_CHUNK) == Verdict.CONCEPT
    passed, severity, text = faulty.check(Stage.VERDICT, Check.NO_HARM, FAULT_CHUNK)
    assert not passed
    assert severity is dg.AssetCheckSeverity.ERROR
    assert "Outcomes no longer follow" in text
    passed, _, text = faulty.check(Stage.REALIZED_PERFORMANCE, Check.REALIZED_PERFORMANCE, FAULT_CHUNK)
    assert not passed
    assert "limits" in text
    assert faulty.check(Stage.ESTIMATED_PERFORMANCE, Check.ESTIMATED_PERFORMANCE, FAULT_CHUNK)[0]


def test_without_the_concept_drift_the_same_chunk_is_not_harmful(tmp_path, instance):
    twin = Platform(tmp_path, instance, synthetic.make_log())
    twin.run("monitor", FAULT_CHUNK)
    twin.run("realize", FAULT_CHUNK)
    assert twin.verdict(FAULT_CHUNK) in (Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS)
    assert twin.check(Stage.VERDICT, Check.NO_HARM, FAULT_CHUNK)[0]


def test_a_shifted_input_is_a_warning_and_no_harm_while_the_model_holds(tmp_path, instance):
    shifted = Platform(tmp_path / "shifted", instance, synthetic.make_log(fault="shift"))
    assert shifted.run("monitor", FAULT_CHUNK).success
    passed, severity, text = shifted.check(Stage.DRIFT_REPORT, Check.DRIFT, FAULT_CHUNK)
    assert not passed
    assert severity is dg.AssetCheckSeverity.WARN
    assert "x2" in text
    # the inputs lie where the reference has none: until outcomes arrive nobody knows whether it hurts
    assert shifted.verdict(FAULT_CHUNK) == Verdict.UNDECIDED
    is_trusted, _, told = shifted.check(Stage.ESTIMATED_PERFORMANCE, Check.ESTIMATE_TRUSTED, FAULT_CHUNK)
    assert not is_trusted
    assert "the estimate extrapolates" in told
    assert shifted.run("realize", FAULT_CHUNK).success
    assert shifted.verdict(FAULT_CHUNK) == Verdict.COVARIATE_HARMLESS


def test_without_the_shift_the_drift_check_passes_on_x2(tmp_path, instance):
    twin = Platform(tmp_path, instance, synthetic.make_log())
    twin.run("monitor", FAULT_CHUNK)
    rows = twin.lake.read("shop", tables.MEASUREMENTS, {"chunk": FAULT_CHUNK})
    assert not rows.loc[rows["subject"] == "x2", "breach"].any()


@pytest.mark.parametrize(("fault", "stage", "check", "says"), [
    ("missing", Stage.DATA_QUALITY, Check.MISSING_VALUES, "worst: x2 at 50.0%"),
    ("broken_rows", Stage.PREDICTION_LOG, Check.DATA_CONTRACT, "16 of 80 rows break the contract (20.00%)"),
])  # fmt: skip
def test_broken_data_blocks_what_lies_downstream_and_is_judged_a_data_fault(tmp_path, instance, fault, stage, check, says):
    broken = Platform(tmp_path, instance, synthetic.make_log(fault=fault))
    assert not broken.run("monitor", FAULT_CHUNK).success
    passed, severity, text = broken.check(stage, check, FAULT_CHUNK)
    assert not passed
    assert severity is dg.AssetCheckSeverity.ERROR
    assert says in text
    assert broken.verdict(FAULT_CHUNK) == Verdict.DATA_FAULT
    passed, _, text = broken.check(Stage.VERDICT, Check.NO_HARM, FAULT_CHUNK)
    assert not passed
    assert "Repair the data at its source" in text
    measured = broken.lake.read("shop", tables.MEASUREMENTS, {"chunk": FAULT_CHUNK})
    assert not measured["stage"].isin([Stage.DRIFT_REPORT, Stage.ESTIMATED_PERFORMANCE]).any()
    assert broken.run("monitor", QUIET_CHUNK).success  # the same log before the fault


def test_rejected_rows_keep_their_reason_and_content(tmp_path, instance):
    broken = Platform(tmp_path, instance, synthetic.make_log(fault="broken_rows"))
    broken.run("monitor", FAULT_CHUNK)
    rejected = broken.lake.read("shop", tables.REJECTED_ROWS, {"chunk": FAULT_CHUNK})
    assert len(rejected) == 16
    assert set(rejected["reason"]) == {"x2: got unplugged; expected a finite number"}
    assert rejected["row"].str.contains("unplugged").all()
    assert len(broken.lake.read("shop", tables.prediction_log(broken.policy), {"chunk": FAULT_CHUNK})) == 64


def test_a_range_gives_every_chunk_its_own_numbers_checks_and_verdict(tmp_path, instance):
    log = synthetic.make_log(fault="missing", fault_day=45)
    platform = Platform(tmp_path / "range", instance, log)
    chunks = chunks_of(range(38, 48))
    assert platform.run("monitor", *chunks).success
    assert platform.run("realize", *chunks).success
    assert [platform.verdict(chunk) == Verdict.DATA_FAULT for chunk in chunks] == [False] * 7 + [True] * 3
    assert [platform.check(Stage.DATA_QUALITY, Check.MISSING_VALUES, chunk)[0] for chunk in chunks] == [True] * 7 + [False] * 3
    assert [platform.check(Stage.VERDICT, Check.NO_HARM, chunk)[0] for chunk in chunks][7:] == [False] * 3
    with dg.DagsterInstance.ephemeral() as other:
        alone = Platform(tmp_path / "alone", other, log)
        alone.run("monitor", chunks[3])
        alone.run("realize", chunks[3])
        keys = ["kind", "method", "subject"]
        one, many = (
            lake.read("shop", tables.MEASUREMENTS, {"chunk": chunks[3]}).sort_values(keys).drop(columns="known_at").reset_index(drop=True)
            for lake in (alone.lake, platform.lake)
        )
        # an estimate is reconciled with the labelled chunks before it, of which a chunk alone has none
        one, many = (rows[rows["method"] != RECONCILIATION].reset_index(drop=True) for rows in (one, many))
        pd.testing.assert_frame_equal(one, many)


def test_running_a_chunk_again_changes_nothing(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    for _ in range(2):
        platform.run("monitor", QUIET_CHUNK)
        platform.run("realize", QUIET_CHUNK)
    log = platform.lake.read("shop", tables.prediction_log(platform.policy), {"chunk": QUIET_CHUNK})
    assert len(log) == synthetic.ROWS_A_DAY
    assert log["prediction_id"].is_unique
    assert platform.lake.read("shop", tables.OUTCOMES)["prediction_id"].is_unique
    measured = platform.lake.read("shop", tables.MEASUREMENTS, {"chunk": QUIET_CHUNK})
    assert not measured.duplicated(["kind", "method", "subject"]).any()


def test_late_and_duplicated_rows_are_counted_and_the_last_write_wins(tmp_path, instance):
    log = synthetic.make_log()
    log["written_at"] = log["ts"]
    again = log[log["ts"].dt.strftime("%Y-%m-%d") == QUIET_CHUNK].head(3).assign(x1=9.0)
    again["written_at"] += pd.Timedelta(days=3)
    source = {"parquet": "log.parquet", "time": "ts", "id": "id", "prediction": "label", "probability": "proba", "written_at": "written_at"}
    platform = Platform(tmp_path, instance, pd.concat([again, log]), log=source)
    result = platform.run("monitor", QUIET_CHUNK)
    rows = platform.lake.read("shop", tables.prediction_log(platform.policy), {"chunk": QUIET_CHUNK})
    assert len(rows) == synthetic.ROWS_A_DAY
    assert (rows["x1"] == 9.0).sum() == 3
    event = next(one for one in result.get_asset_materialization_events() if one.asset_key.path[-1] == Stage.PREDICTION_LOG)
    metadata = event.materialization.metadata
    assert metadata["duplicate_rows"].value == 3
    assert metadata["late_rows"].value == 3
    assert result.success  # superseded rows are no breach of the contract


def test_an_empty_chunk_is_undecided_and_says_so(tmp_path, instance):
    log = synthetic.make_log()
    platform = Platform(tmp_path, instance, log[log["ts"].dt.strftime("%Y-%m-%d") != QUIET_CHUNK])
    assert platform.run("monitor", QUIET_CHUNK).success
    assert platform.verdict(QUIET_CHUNK) == Verdict.UNDECIDED
    assert platform.check(Stage.PREDICTION_LOG, Check.LOG_FRESHNESS, QUIET_CHUNK)[2] == "the chunk holds no row"
    passed, severity, _ = platform.check(Stage.VERDICT, Check.NO_HARM, QUIET_CHUNK)
    assert (passed, severity) == (False, dg.AssetCheckSeverity.WARN)


def test_a_chunk_whose_outcomes_are_not_due_is_not_judged_on_them(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="concept"), outcome={"column": "outcome", "delay": "99y"})
    platform.run("monitor", FAULT_CHUNK)
    platform.run("realize", FAULT_CHUNK)
    assert (
        "not judged: outcomes are due on 2123-02-13"
        in platform.check(Stage.REALIZED_PERFORMANCE, Check.REALIZED_PERFORMANCE, FAULT_CHUNK)[2]
    )
    assert platform.verdict(FAULT_CHUNK) in (Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS)


def test_a_reference_window_without_rows_is_named(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(), reference={"start": "2022-01-01", "end": "2022-02-01"})
    result = platform.run("reference")
    assert not result.success
    failure = next(event for event in result.all_events if event.is_step_failure)
    assert "got no row between reference.start 2022-01-01 and reference.end 2022-02-01" in str(failure.step_failure_data.error.cause)


def test_pictures_and_numbers_are_in_the_metadata(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="shift"))
    result = platform.run("monitor", FAULT_CHUNK)
    metadata = {event.asset_key.path[-1]: event.materialization.metadata for event in result.get_asset_materialization_events()}
    assert metadata["drift_report"]["drift over time"].value.startswith("![Drift")
    assert "data:image/png;base64," in metadata["estimated_performance"]["performance over time"].value
    assert 0.5 < metadata["estimated_performance"]["estimated roc_auc"].value < 1
    assert metadata["drift_report"]["drifted_features"].value >= 1
    assert "| **breach** |" in metadata["verdict"]["measurements"].value


def test_compaction_merges_files_and_changes_no_row(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    for chunk in ("2024-02-05", "2024-02-06", "2024-02-05"):
        platform.run("monitor", chunk)
    before = platform.lake.read("shop", tables.OUTCOMES).sort_values("prediction_id").reset_index(drop=True)
    result = platform.defs.resolve_job_def("__ASSET_JOB").execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(["lake", "compaction"])]
    )
    assert result.success
    after = platform.lake.read("shop", tables.OUTCOMES).sort_values("prediction_id").reset_index(drop=True)
    pd.testing.assert_frame_equal(before, after)
