"""The model's own uncertainty: known formulas, and limits that hold on dependent rows and see a fault."""

import doctest
import json
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter
from scipy.special import softmax
from sklearn.metrics import brier_score_loss
from statsmodels.stats.proportion import proportion_confint

from monitoring_assets.measures import confidence as confidence_module
from monitoring_assets.measures import uncertainty
from monitoring_assets.measures.confidence import (
    brier,
    calibration_error,
    confidence,
    conformal_scores,
    conformal_width,
    entropy,
    interval_coverage,
    margin,
    set_coverage,
)
from monitoring_assets.measures.lines import COLUMNS
from monitoring_assets.measures.uncertainty import (
    BRIER,
    CALIBRATION_ERROR,
    ENTROPY,
    INTERVAL_COVERAGE,
    MARGIN,
    SET_COVERAGE,
    SET_SIZE,
    FittedUncertainty,
    fit_uncertainty,
    measure_uncertainty,
)

DAYS, ROWS_A_DAY, FALSE_ALARMS = 60, 60, 0.05
NEED_OUTCOME = {CALIBRATION_ERROR, BRIER, SET_COVERAGE}


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(confidence_module) == (0, 4)


# --- the numbers ------------------------------------------------------------------------------------------------------


def binary(seed: int, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes and stated probabilities that are a little too sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, n)
    return (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(float), 1 / (1 + np.exp(-1.3 * logits))


def several(seed: int, n: int = 500, n_classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    matrix = rng.dirichlet(np.full(n_classes, 0.7), n)
    return np.array([rng.choice(n_classes, p=row) for row in matrix]).astype(float), matrix


def by_groups(came_true: np.ndarray, stated: np.ndarray) -> float:
    """Expected calibration error the way of a text book, with pandas."""
    bins = pd.cut(stated, [k / 10 for k in range(10)] + [1.1], right=False, labels=False)
    groups = pd.DataFrame({"bin": bins, "true": came_true, "stated": stated}).groupby("bin")
    return float(((groups["true"].mean() - groups["stated"].mean()).abs() * groups.size()).sum() / len(stated))


@pytest.mark.parametrize("seed", range(5))
def test_entropy_margin_and_confidence_equal_their_formulas(seed: int):
    for matrix in (several(seed)[1], np.stack([1 - binary(seed)[1], binary(seed)[1]], axis=1)):
        ordered = np.sort(matrix, axis=1)[:, ::-1]
        assert entropy(matrix).value == pytest.approx(stats.entropy(matrix, axis=1).mean(), abs=1e-12)
        assert entropy(matrix).standard_error == pytest.approx(stats.sem(stats.entropy(matrix, axis=1)), abs=1e-12)
        assert margin(matrix).value == pytest.approx((ordered[:, 0] - ordered[:, 1]).mean(), abs=1e-12)
        assert confidence(matrix).value == pytest.approx(matrix.max(axis=1).mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_brier_equals_scikit_learn(seed: int):
    outcome, probability = binary(seed)
    assert brier(outcome, probability).value == pytest.approx(brier_score_loss(outcome, probability), abs=1e-12)
    outcome, matrix = several(seed)
    assert brier(outcome, matrix).value == pytest.approx(brier_score_loss(outcome, matrix, labels=[0, 1, 2, 3]), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_calibration_error_equals_a_text_book_one(seed: int):
    outcome, probability = binary(seed)
    probability[:11] = np.arange(11) / 10  # on the edges
    assert calibration_error(outcome, probability).value == pytest.approx(by_groups(outcome, probability), abs=1e-12)
    outcome, matrix = several(seed)
    expected = by_groups((matrix.argmax(axis=1) == outcome).astype(float), matrix.max(axis=1))
    assert calibration_error(outcome, matrix).value == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 1000), st.integers(1, 60))
def test_numbers_stay_in_their_range_and_ignore_the_order_of_rows(seed: int, n: int):
    order = np.random.default_rng(seed).permutation(n)
    for outcome, probability in (binary(seed, n), several(seed, n)):
        classes = 2 if probability.ndim == 1 else probability.shape[1]
        found = [entropy(probability), margin(probability), confidence(probability), brier(outcome, probability), calibration_error(outcome, probability)]  # fmt: skip
        moved = probability[order]
        again = [entropy(moved), margin(moved), confidence(moved), brier(outcome[order], moved), calibration_error(outcome[order], moved)]
        tops = [math.log(classes), 1, 1, 1 if probability.ndim == 1 else 2, 1]
        for one, other, top in zip(found, again, tops, strict=True):
            assert 0 <= one.value <= top + 1e-12
            assert one.value == pytest.approx(other.value, abs=1e-12)
            assert one.n_rows == n
            assert math.isnan(one.standard_error) == (n == 1)


def strays(number, samples: list[tuple[np.ndarray, np.ndarray]]) -> tuple[float, float]:
    """Mean stated standard error, and how far the number really strayed."""
    found = [number(*one) for one in samples]
    return float(np.mean([one.standard_error for one in found])), float(np.std([one.value for one in found]))


def test_standard_errors_are_how_far_the_numbers_really_stray():
    samples = [binary(seed, 2000) for seed in range(200)]
    stated, true = strays(brier, samples)
    assert stated == pytest.approx(true, rel=0.15)
    stated, true = strays(calibration_error, [(outcome, probability**3) for outcome, probability in samples])  # far off in every bin
    assert stated == pytest.approx(true, rel=0.15)
    stated, true = strays(calibration_error, samples)  # an upper bound where bins are nearly right
    assert true < stated < 2 * true


def test_rows_without_a_sound_probability_or_an_outcome_are_left_out():
    outcome, probability = np.array([1.0, 0.0, np.nan, 1.0, 0.0]), np.array([0.9, np.nan, 0.4, 1.2, 0.2])
    assert entropy(probability).n_rows == 3
    assert brier(outcome, probability).n_rows == 2
    assert brier(outcome, probability).value == pytest.approx((0.1**2 + 0.2**2) / 2)
    matrix = np.array([[0.5, 0.5], [0.5, 0.4], [np.nan, 1.0], [0.4, 0.6]])
    assert confidence(matrix).value == pytest.approx(0.55)
    for nothing in (
        entropy(np.array([np.nan])),
        brier(np.array([np.nan]), np.array([0.5])),
        calibration_error(np.array([]), np.zeros((0, 3))),
    ):
        assert math.isnan(nothing.value)
        assert "expected at least one" in nothing.reason


def test_an_outcome_that_is_no_class_is_refused():
    with pytest.raises(ValueError, match="got outcome 3; expected a class from 0 to 1"):
        brier(np.array([3.0]), np.array([0.5]))


# --- coverage ---------------------------------------------------------------------------------------------------------


def test_interval_coverage_has_the_interval_of_statsmodels():
    outcome = np.r_[np.zeros(45), np.full(5, 9.0), np.nan]
    found = interval_coverage(outcome, np.full(51, -1.0), np.full(51, 0.0))
    assert (found.value, found.n_rows) == (0.9, 50)
    assert (found.lower, found.upper) == pytest.approx(proportion_confint(45, 50, method="wilson"))
    assert math.isnan(interval_coverage(np.array([np.nan]), np.zeros(1), np.ones(1)).value)


@given(st.integers(1, 80), st.floats(0.05, 0.95))
def test_the_conformal_width_is_the_corrected_quantile_of_mapie(n: int, level: float):
    residuals = np.random.default_rng(n).normal(size=n)
    rank = math.ceil(level * (n + 1) - 1e-9)
    found = conformal_width(np.r_[residuals, np.nan], level)
    # as BaseConformityScore.get_quantile has it; a hair above the rank, because floats of rank / n may fall below it
    assert found == (np.quantile(np.abs(residuals), min(1.0, rank / n + 1e-12), method="lower") if rank <= n else math.inf)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9])
def test_a_new_outcome_is_covered_with_the_stated_chance(level: float):
    rng = np.random.default_rng(1)
    draws = rng.standard_t(3, (20_000, 40))
    covered = [abs(own[-1]) <= conformal_width(own[:-1], level) for own in draws]
    exact = math.ceil(40 * level - 1e-9) / 40
    assert np.mean(covered) == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
def test_a_level_out_of_range_is_refused(level: float):
    with pytest.raises(ValueError, match="expected a share"):
        conformal_width(np.zeros(3), level)


def test_sets_cover_outcomes_of_the_reference_kind_and_not_those_of_another():
    width = conformal_width(conformal_scores(*several(0, 4000)), 0.9)
    outcome, matrix = several(1, 4000)
    sound, scrambled = set_coverage(outcome, matrix, width), set_coverage(outcome[::-1], matrix, width)
    assert sound.coverage.value == pytest.approx(0.9, abs=0.02)
    assert scrambled.coverage.value < 0.8
    assert sound.size == scrambled.size
    assert sound.size.value == pytest.approx((1 - matrix <= width).sum(axis=1).mean())
    by_hand = np.mean([1 - row[int(own)] <= width for row, own in zip(matrix, outcome, strict=True)])
    assert sound.coverage.value == pytest.approx(by_hand)


def test_wider_sets_are_larger_and_cover_more():
    outcome, matrix = several(2)
    found = [set_coverage(outcome, matrix, width) for width in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert [one.size.value for one in found] == sorted(one.size.value for one in found)
    assert [one.coverage.value for one in found] == sorted(one.coverage.value for one in found)
    assert (found[-1].coverage.value, found[-1].size.value) == (1.0, 4.0)


@given(st.integers(0, 300), st.integers(1, 30), st.sampled_from([0.5, 0.8, 0.9]))
def test_the_width_without_a_block_is_that_of_the_rest(seed: int, size: int, level: float):
    scores = np.random.default_rng(seed).integers(0, 20, 60).astype(float)  # many ties
    start = seed % (60 - size)
    rest = np.delete(scores, slice(start, start + size))
    assert uncertainty._LeftOut(scores, level).width(scores[start : start + size]) == conformal_width(rest, level)


# --- chunks against the reference -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def policy(declare):
    return declare(task="binary_classification", drift={"limit": {"false_alarms": FALSE_ALARMS}})


@pytest.fixture(scope="module")
def regression(declare):
    return declare(task="regression", drift={"limit": {"false_alarms": FALSE_ALARMS}})


def dependent(rng: np.random.Generator, n: int, rho: float) -> np.ndarray:
    return lfilter([math.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=n + 300))[300:]


def log(
    seed: int, days: int = DAYS, *, rho: float = 0.9, sharpened: float = 1.0, error: float = 1.0, a_day: int = ROWS_A_DAY
) -> pd.DataFrame:
    """Rows whose inputs drift slowly to and fro; ``sharpened`` multiplies the logits stated, ``error`` the noise of the number."""
    rng = np.random.default_rng(seed)
    n = days * a_day
    logits = 1.5 * dependent(rng, n, rho)
    return pd.DataFrame({
        "time": pd.date_range("2024-01-01", periods=n, freq=f"{24 * 60 // a_day}min", tz="UTC"),
        "y_true": (rng.random(n) < 1 / (1 + np.exp(-logits))).astype(float), "y_pred_proba": 1 / (1 + np.exp(-sharpened * logits)),
        "y_pred": logits, "number": logits + error * dependent(rng, n, rho),
    })  # fmt: skip


def numbers(*args: object, **kwargs: object) -> pd.DataFrame:
    rows = log(*args, **kwargs)
    return rows.assign(y_true=rows["number"])


@pytest.fixture(scope="module")
def fitted(policy) -> FittedUncertainty:
    return fit_uncertainty(policy, log(0))


def test_every_chunk_has_one_line_per_number(policy, fitted: FittedUncertainty):
    lines = measure_uncertainty(policy, fitted, log(1, days=3))
    assert list(lines.columns) == COLUMNS
    assert lines.groupby("chunk")["method"].agg(set).tolist() == [NEED_OUTCOME | {ENTROPY, MARGIN, SET_SIZE}] * 3
    assert set(lines["kind"]) == {"uncertainty"}
    assert set(lines["subject"]) == {"prediction"}
    assert (lines["n_rows"] == ROWS_A_DAY).all()
    assert lines["upper_limit"].notna().all()


def test_null_twin_dependent_chunks_alarm_no_more_often_than_stated(policy, regression):
    for own, make in ((policy, log), (regression, numbers)):
        alarms: list[bool] = []
        for seed in range(4):
            lines = measure_uncertainty(own, fit_uncertainty(own, make(seed)), make(100 + seed))
            alarms += lines.groupby("chunk")["breach"].any().tolist()
        assert len(alarms) == 4 * DAYS
        assert np.mean(alarms) <= FALSE_ALARMS + 3 * math.sqrt(FALSE_ALARMS * (1 - FALSE_ALARMS) / len(alarms))


def test_sharpened_probabilities_of_the_same_inputs_are_found_and_their_null_twin_is_not(policy):
    own = fit_uncertainty(policy, log(0, a_day=240))
    lines = {sharpened: measure_uncertainty(policy, own, log(7, days=20, sharpened=sharpened, a_day=240)) for sharpened in (1.0, 3.0)}
    shares = {key: one.groupby("method")["breach"].mean() for key, one in lines.items()}
    assert (shares[3.0][[ENTROPY, MARGIN, CALIBRATION_ERROR]] >= 0.9).all()
    assert (shares[1.0] <= 0.1).all()
    for name in (ENTROPY, CALIBRATION_ERROR):
        blocks = np.array(own.numbers[name].null.values)
        means = {key: one.loc[one["method"] == name, "value"].mean() for key, one in lines.items()}
        assert abs(means[3.0] - blocks.mean()) > 4 * blocks.std() > 4 * abs(means[1.0] - blocks.mean())


def classes(seed: int, days: int, sharpened: float = 1.0) -> pd.DataFrame:
    """Three classes, the model's logits multiplied by ``sharpened``."""
    rng = np.random.default_rng(seed)
    n = days * ROWS_A_DAY
    logits = 1.5 * rng.normal(size=(n, 3))
    truth = (softmax(logits, axis=1).cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    stated = softmax(sharpened * logits, axis=1)
    return pd.DataFrame({
        "time": pd.date_range("2024-01-01", periods=n, freq=f"{24 * 60 // ROWS_A_DAY}min", tz="UTC"), "y_true": truth.astype(float),
        "y_pred": stated.argmax(axis=1).astype(float), **{f"y_pred_proba_{place}": stated[:, place] for place in range(3)},
    })  # fmt: skip


def test_a_model_of_several_classes_that_grows_too_sure_is_found_and_its_null_twin_is_not(declare):
    own = declare(task="multiclass_classification", outcome={"classes": ["a", "b", "c"]}, drift={"limit": {"false_alarms": FALSE_ALARMS}})
    limits = fit_uncertainty(own, classes(0, DAYS))
    lines = {factor: measure_uncertainty(own, limits, classes(1, 20, factor)) for factor in (1.0, 3.0)}
    shares = {factor: one.groupby("method")["breach"].mean() for factor, one in lines.items()}
    assert set(shares[1.0].index) == NEED_OUTCOME | {ENTROPY, MARGIN, SET_SIZE}
    assert (shares[3.0][[ENTROPY, MARGIN]] >= 0.9).all()
    assert shares[3.0][CALIBRATION_ERROR] >= 0.5  # of sixty rows
    assert (shares[1.0] <= 0.1).all()
    coverage = lines[1.0].loc[lines[1.0]["method"] == SET_COVERAGE, "value"].mean()
    assert coverage == pytest.approx(0.9, abs=0.02)
    stated = classes(1, 20)[[f"y_pred_proba_{place}" for place in range(3)]].head(ROWS_A_DAY)
    first = lines[1.0].loc[lines[1.0]["method"] == ENTROPY, "value"].iloc[0]
    assert first == pytest.approx(stats.entropy(stated, axis=1).mean(), abs=1e-12)


def test_rows_without_any_probability_are_refused_by_name(policy, fitted: FittedUncertainty):
    with pytest.raises(ValueError, match="expected also the probability of class 1"):
        measure_uncertainty(policy, fitted, log(1, days=1).drop(columns="y_pred_proba"))


def test_a_larger_error_of_a_regressor_is_found_as_lost_coverage_and_its_null_twin_is_not(regression):
    own = fit_uncertainty(regression, numbers(0, rho=0.3))
    found = {error: measure_uncertainty(regression, own, numbers(1, days=20, rho=0.3, error=error)) for error in (1.0, 2.0)}
    assert set(found[1.0]["method"]) == {INTERVAL_COVERAGE}
    assert found[2.0]["breach"].mean() >= 0.9
    assert (found[2.0]["value"] < found[2.0]["lower_limit"])[found[2.0]["breach"]].all()
    assert found[1.0]["breach"].mean() <= 0.1
    assert found[1.0]["value"].mean() == pytest.approx(0.9, abs=0.02)


def test_a_value_breaches_exactly_outside_its_limits(policy, fitted: FittedUncertainty):
    for sharpened in (1.0, 1.6, 2.5):
        lines = measure_uncertainty(policy, fitted, log(3, days=10, sharpened=sharpened))
        outside = (lines["value"] < lines["lower_limit"]) | (lines["value"] > lines["upper_limit"])
        assert outside.tolist() == lines["breach"].tolist()
        assert (lines["adjusted_p_value"] < FALSE_ALARMS).tolist() == lines["breach"].tolist()


def test_a_smaller_calibration_error_is_no_breach(policy, fitted: FittedUncertainty):
    lines = measure_uncertainty(policy, fitted, log(3, days=5))
    assert lines.loc[lines["method"] == CALIBRATION_ERROR, "lower_limit"].isna().all()
    assert lines.loc[lines["method"] != CALIBRATION_ERROR, "lower_limit"].notna().all()


def test_a_chunk_alone_gives_what_the_whole_history_gives(policy, fitted: FittedUncertainty):
    rows = log(2, days=4)
    whole = measure_uncertainty(policy, fitted, rows)
    alone = [measure_uncertainty(policy, fitted, own) for _, own in rows.groupby(rows["time"].dt.date)]
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), whole)


def test_what_is_stored_measures_the_same(policy, fitted: FittedUncertainty):
    stored = FittedUncertainty.from_plain(json.loads(json.dumps(fitted.as_plain(), allow_nan=False)))
    assert stored == fitted
    pd.testing.assert_frame_equal(measure_uncertainty(policy, stored, log(2, days=2)), measure_uncertainty(policy, fitted, log(2, days=2)))


def test_numbers_that_need_outcomes_come_from_the_rows_that_have_one(policy, fitted: FittedUncertainty):
    rows = log(2, days=2)
    rows.loc[:19, "y_true"] = np.nan
    rows.loc[rows["time"] >= "2024-01-02", "y_true"] = np.nan
    lines = measure_uncertainty(policy, fitted, rows)
    first, second = (own.set_index("method")["n_rows"] for _, own in lines.groupby("chunk"))
    assert (first[list(NEED_OUTCOME)] == ROWS_A_DAY - 20).all()
    assert first[ENTROPY] == ROWS_A_DAY
    assert set(second.index) == {ENTROPY, MARGIN, SET_SIZE}
    without = measure_uncertainty(policy, fitted, rows.drop(columns="y_true"))
    assert set(without["method"]) == {ENTROPY, MARGIN, SET_SIZE}


def test_where_the_reference_is_too_short_or_constant_nothing_is_judged_and_the_reason_says_so(policy):
    short = measure_uncertainty(policy, fit_uncertainty(policy, log(0, days=1).iloc[:6]), log(1, days=1, sharpened=9.0))
    assert not short["breach"].any()
    assert short["reason"].str.contains("too few").all()
    sure = log(0).assign(y_pred_proba=1.0, y_true=1.0)
    constant = measure_uncertainty(policy, fit_uncertainty(policy, sure), log(1, days=1))
    assert constant["upper_limit"].isna().all()
    assert constant["reason"].str.contains("expected one that varies").all()
    few = fit_uncertainty(policy, log(0).assign(y_true=np.nan))
    assert json.dumps(few.as_plain(), allow_nan=False)
    lines = measure_uncertainty(policy, few, log(1, days=1)).set_index("method")
    assert lines.loc[[SET_SIZE, SET_COVERAGE], "reason"].str.contains("conformal width").all()
    assert "too few reference rows" in lines.loc[BRIER, "reason"]
    assert lines.loc[ENTROPY, "reason"] == ""


def test_a_chunk_smaller_than_any_block_is_not_judged(policy, fitted: FittedUncertainty):
    lines = measure_uncertainty(policy, fitted, log(1, days=1, sharpened=9.0).iloc[:4])
    assert not lines["breach"].any()
    assert lines["reason"].str.contains("got 4 rows").all()


def test_no_rows_give_no_lines(policy, fitted: FittedUncertainty):
    lines = measure_uncertainty(policy, fitted, log(1, days=1).iloc[:0])
    assert list(lines.columns) == COLUMNS
    assert lines.empty
