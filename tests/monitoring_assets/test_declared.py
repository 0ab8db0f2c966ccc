"""What a declaration may ask of drift and of the losses: refusals that name the field, confirmation, detectors, known events."""

import dagster as dg
import pytest
import synthetic
import yaml
from pydantic import ValidationError
from synthetic_platform import Platform

from monitoring_assets.definitions import check_names
from monitoring_assets.drift import confirmed
from monitoring_assets.measures.registry import DETECTORS
from monitoring_assets.measures.sequential import DETECTORS as CALIBRATED
from resources import tables
from resources.catalogue import DeclarationError, load_catalogue
from resources.vocabulary import Check, Kind, Stage, Verdict

FAULT_CHUNK, QUIET_CHUNK = "2024-02-12", "2024-02-05"


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def declared(folder, **overrides):
    body = {
        "model": "m", "task": "regression", "log": {"parquet": "l", "time": "ts", "id": "id", "prediction": "p"},
        "features": {"numeric": ["a", "b"], "categorical": ["c"]}, "outcome": {"column": "y"},
        "reference": {"start": "2024-01-01", "end": "2024-03-01"}, **overrides,
    }  # fmt: skip
    (folder / "m.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    return load_catalogue(folder)


@pytest.mark.parametrize(
    ("drift", "told"),
    [
        (
            {"limit": {"rule": "p_value"}},
            "drift.numeric.0: got 'wasserstein'; expected a method with a p-value of its own (kolmogorov_smirnov)",
        ),
        ({"limit": {"rule": "constant", "values": {"psi": 0.2}}}, "drift.numeric.0: got 'wasserstein'; expected an upper limit for it"),
        ({"minimum_effect": {"chi2": 0.1}}, "drift.minimum_effect.chi2: got 'chi2'; expected a declared method"),
        ({"limit": {"rule": "std", "alpha": 0.1}}, "drift.limit.alpha: got alpha with rule std; expected only ['std']"),
        ({"limit": {"rule": "constant"}}, "drift.limit.values: got no value; expected an upper limit for at least one method"),
        ({"limit": {"rule": "calibrated", "values": {"psi": 1}}}, "drift.limit.values: got values with rule calibrated"),
        ({"numeric": ["wassersten"]}, "did you mean 'wasserstein'?"),
    ],
)
def test_a_limit_that_no_method_could_break_is_refused_with_file_and_field(tmp_path, drift, told):
    with pytest.raises(DeclarationError) as refusal:
        check_names(declared(tmp_path, drift=drift))
    assert "m.yaml:" in str(refusal.value)
    assert told in str(refusal.value)


@pytest.mark.parametrize(
    "drift",
    [
        {"limit": {"rule": "p_value"}, "numeric": ["kolmogorov_smirnov"], "categorical": ["chi2"], "multivariate": []},
        {"limit": {"rule": "p_value", "autocorrelation": "block_permutation"}},
        {"limit": {"rule": "constant", "values": {"psi": 0.2}}, "numeric": ["psi"], "categorical": ["psi"], "multivariate": []},
        {"minimum_effect": {"wasserstein": 0.1}},
    ],
)
def test_null_twin_a_limit_that_fits_its_methods_is_accepted(tmp_path, drift):
    check_names(declared(tmp_path, drift=drift))


@pytest.mark.parametrize(
    ("field", "overrides"),
    [
        ("segments.0", {"segments": ["a"]}),
        ("segments.1", {"segments": ["site", "y"]}),
        ("importance.z", {"importance": {"z": 1.0}}),
        ("performance.detectors.0", {"performance": {"detectors": ["cusums"]}}),
    ],
)
def test_segments_importance_and_detectors_name_what_is_wrong(tmp_path, field, overrides):
    with pytest.raises((DeclarationError, ValidationError), match=field.replace(".", r"\.")):
        check_names(declared(tmp_path, **overrides))


def test_every_calibrated_detector_is_registered_and_no_other():
    assert set(DETECTORS) == set(CALIBRATED)


def test_a_feature_is_confirmed_when_it_breaches_in_every_one_of_the_last_chunks(declare):
    policy = declare(drift={"confirm": 3})
    assert confirmed(policy, [{"x1"}, {"x1", "x2"}, {"x1"}]) == {"x1"}
    assert confirmed(policy, [{"x1"}, {"x2"}, {"x1"}]) == set()
    assert confirmed(policy, [{"x1"}, {"x1"}]) == set()  # the first chunks have nothing before them
    assert confirmed(declare(), [{"x2"}, {"x1"}]) == {"x1"}


def test_the_check_fails_from_the_second_day_of_a_shift_on_whether_run_alone_or_in_a_range(tmp_path, instance):
    days = ["2024-02-09", "2024-02-10", "2024-02-11"]  # the shift begins on the 10th
    for run in (days, None):
        folder = tmp_path / ("range" if run else "alone")
        with dg.DagsterInstance.ephemeral() as own:
            platform = Platform(folder, own, synthetic.make_log(fault="shift"), drift={"confirm": 2})
            for chunks in [(days[0], days[-1])] if run else [(day,) for day in days]:
                assert platform.run("monitor", *chunks).success
            passed = [platform.check(Stage.DRIFT_REPORT, Check.DRIFT, day)[0] for day in days]
        assert passed == [True, True, False]


def test_a_detector_sees_the_losses_rise_and_says_since_when(tmp_path, instance):
    faulty = Platform(
        tmp_path / "faulty", instance, synthetic.make_log(fault="concept"), performance={"detectors": ["cusum", "page_hinkley"]}
    )
    faulty.run("monitor", FAULT_CHUNK)
    faulty.run("realize", FAULT_CHUNK)
    is_passed, severity, text = faulty.check(Stage.REALIZED_PERFORMANCE, Check.LOSS_SEQUENCE, FAULT_CHUNK)
    assert not is_passed
    assert severity is dg.AssetCheckSeverity.WARN
    assert "up from 2024-02-12" in text
    rows = faulty.lake.read("shop", tables.MEASUREMENTS, {"chunk": FAULT_CHUNK})
    own = rows[rows["kind"] == Kind.LOSS_SEQUENCE]
    assert set(own["method"]) == {"cusum", "page_hinkley"}
    assert (own["value"] >= own["upper_limit"]).equals(own["breach"])
    assert not own["is_deciding"].any()


def test_null_twin_no_detector_alarms_while_the_model_holds(tmp_path, instance):
    calm = Platform(tmp_path, instance, synthetic.make_log(), performance={"detectors": ["cusum", "page_hinkley"]})
    calm.run("monitor", FAULT_CHUNK)
    calm.run("realize", FAULT_CHUNK)
    assert calm.check(Stage.REALIZED_PERFORMANCE, Check.LOSS_SEQUENCE, FAULT_CHUNK)[0]


@pytest.mark.parametrize("is_stuck", [True, False])
def test_a_stuck_sensor_is_a_data_fault_and_blocks_what_lies_downstream(tmp_path, instance, is_stuck):
    log = synthetic.make_log()
    if is_stuck:
        day = log["ts"].dt.strftime("%Y-%m-%d") == FAULT_CHUNK
        log.loc[day, "x2"] = log.loc[day, "x2"].iloc[0]
    platform = Platform(tmp_path, instance, log)
    platform.run("monitor", FAULT_CHUNK)
    assert (platform.verdict(FAULT_CHUNK) == Verdict.DATA_FAULT) is is_stuck
    is_passed, _, text = platform.check(Stage.DATA_QUALITY, Check.STUCK_SENSORS, FAULT_CHUNK)
    assert is_passed is not is_stuck
    assert ("worst: x2 at 100.0%" in text) is is_stuck


def test_known_events_are_drawn_into_the_pictures(tmp_path, instance):
    from monitoring_assets import plots

    event = {"at": "2024-02-10", "what": "sensor replaced"}
    with_event = Platform(tmp_path / "with", instance, synthetic.make_log(), events=[event])
    without = Platform(tmp_path / "without", instance, synthetic.make_log())
    pictures = []
    for platform in (with_event, without):
        platform.run("monitor", "2024-02-08", "2024-02-12")
        pictures.append(plots.draw(platform.lake, platform.policy, "2024-02-12", plots.DRIFT))
    assert pictures[0].startswith(b"\x89PNG")
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize(
    "drift",
    [
        {"limit": {"rule": "std"}},
        {"season": "hour"},
        {"numeric": ["kolmogorov_smirnov", "psi"]},
        {"multivariate": ["mmd"]},
        {"limit": {"rule": "p_value"}, "numeric": ["kolmogorov_smirnov"], "categorical": ["chi2"], "multivariate": []},
    ],
)
def test_a_declaration_changed_after_the_fit_is_fitted_anew_and_still_finds_the_shift(tmp_path, instance, drift):
    before = Platform(tmp_path, instance, synthetic.make_log(fault="shift"))
    before.run("monitor", QUIET_CHUNK)
    after = Platform(tmp_path, instance, synthetic.make_log(fault="shift"), drift=drift)
    after.run("monitor", FAULT_CHUNK)
    assert not after.check(Stage.DRIFT_REPORT, Check.DRIFT, FAULT_CHUNK)[0]
    rows = after.lake.read("shop", tables.MEASUREMENTS, {"chunk": FAULT_CHUNK})
    own = rows[rows["breach"] & rows["is_deciding"] & rows["kind"].isin([Kind.UNIVARIATE_DRIFT, Kind.MULTIVARIATE_DRIFT])]
    assert {"x2", "all features"} & set(own["subject"])


def test_an_unchanged_declaration_is_not_fitted_again(tmp_path, instance):
    platform = Platform(tmp_path, instance, synthetic.make_log())
    platform.run("monitor", QUIET_CHUNK)
    fitted = platform.lake.data_version("shop", tables.REFERENCE_PROFILES)
    again = Platform(
        tmp_path, instance, synthetic.make_log(), drift={"severity": "ERROR", "confirm": 2, "minimum_effect": {"wasserstein": 0.1}}
    )
    again.run("monitor", FAULT_CHUNK)
    assert again.lake.data_version("shop", tables.REFERENCE_PROFILES) == fitted


def test_a_check_without_a_single_limit_does_not_pass(tmp_path, instance):
    permutation = {"rule": "p_value", "autocorrelation": "block_permutation", "alpha": 0.05}
    platform = Platform(tmp_path, instance, synthetic.make_log(fault="shift"), drift={"limit": permutation})
    platform.run("monitor", FAULT_CHUNK)
    is_passed, severity, text = platform.check(Stage.DRIFT_REPORT, Check.DRIFT, FAULT_CHUNK)
    assert not is_passed
    assert severity is dg.AssetCheckSeverity.WARN
    assert "have no value or no limit" in text


def test_where_one_number_alone_is_asked_for_block_permutation_can_breach(tmp_path, instance):
    drift = {"limit": {"rule": "p_value", "autocorrelation": "block_permutation", "correction": "none"}, "numeric": ["kolmogorov_smirnov"],
             "categorical": [], "multivariate": []}  # fmt: skip
    for fault, is_passed in (("shift", False), (None, True)):
        with dg.DagsterInstance.ephemeral() as own:
            platform = Platform(tmp_path / str(fault), own, synthetic.make_log(fault=fault), drift=drift)
            platform.run("monitor", FAULT_CHUNK)
            assert platform.check(Stage.DRIFT_REPORT, Check.DRIFT, FAULT_CHUNK)[0] is is_passed


def test_a_switch_that_stays_on_is_drift_and_no_stuck_sensor(tmp_path, instance):
    log = synthetic.make_log()
    log["x2"] = (log["x2"] > 0).astype(float)
    log.loc[log["ts"].dt.strftime("%Y-%m-%d") == FAULT_CHUNK, "x2"] = 1.0
    platform = Platform(tmp_path, instance, log)
    platform.run("monitor", FAULT_CHUNK)
    assert platform.verdict(FAULT_CHUNK) != Verdict.DATA_FAULT
    assert not platform.check(Stage.DRIFT_REPORT, Check.DRIFT, FAULT_CHUNK)[0]


def test_names_with_quotes_blanks_and_bars_reach_the_report(tmp_path, instance):
    names = {"x1": 'a "quoted" name', "x2": "b|<b>bar</b>"}
    log = synthetic.make_log(fault="shift").rename(columns=names)
    platform = Platform(tmp_path, instance, log, features={"numeric": list(names.values()), "categorical": ["site"]})
    assert platform.run("monitor", FAULT_CHUNK).success
    assert "b|<b>bar</b>" in platform.check(Stage.DRIFT_REPORT, Check.DRIFT, FAULT_CHUNK)[2]
    page = (platform.settings.reports / "shop" / f"{FAULT_CHUNK}.html").read_text(encoding="utf-8")
    assert "<b>bar</b>" not in page
