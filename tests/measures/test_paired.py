"""A candidate must beat the champion on the same rows, beyond chance."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from monitoring_assets.measures.forecast.accuracy import measure_parts
from monitoring_assets.measures.forecast.matured import matured
from monitoring_assets.measures.paired import PairedGain, area_under_roc, in_units, paired_gain, score
from monitoring_assets.measures.registry import METRICS
from resources.vocabulary import Task

CLASSIFIER = {
    "roc_auc": lambda y, hard, soft: metrics.roc_auc_score(y, soft),
    "average_precision": lambda y, hard, soft: metrics.average_precision_score(y, soft),
    "accuracy": lambda y, hard, soft: metrics.accuracy_score(y, hard),
    "f1": lambda y, hard, soft: metrics.f1_score(y, hard),
    "precision": lambda y, hard, soft: metrics.precision_score(y, hard),
    "recall": lambda y, hard, soft: metrics.recall_score(y, hard),
    "specificity": lambda y, hard, soft: metrics.recall_score(1 - y, 1 - hard),
}
CELLS = {"true_negative": (0, 0), "false_positive": (0, 1), "false_negative": (1, 0), "true_positive": (1, 1)}
VALUES = ((1.0, -2.0), (-30.0, 4.0))
MACRO = {"average": "macro", "labels": [0, 1, 2], "zero_division": 0}
OF_CLASSES = {
    "roc_auc": lambda y, hard, soft: metrics.roc_auc_score(y, soft, multi_class="ovr", average="macro"),
    "accuracy": lambda y, hard, soft: metrics.accuracy_score(y, hard),
    "f1": lambda y, hard, soft: metrics.f1_score(y, hard, **MACRO),
    "precision": lambda y, hard, soft: metrics.precision_score(y, hard, **MACRO),
    "recall": lambda y, hard, soft: metrics.recall_score(y, hard, **MACRO),
    "specificity": lambda y, hard, soft: np.mean([metrics.recall_score(y != own, hard != own) for own in range(3)]),
}
REGRESSOR = {
    "mae": metrics.mean_absolute_error,
    "mse": metrics.mean_squared_error,
    "rmse": metrics.root_mean_squared_error,
    "mape": metrics.mean_absolute_percentage_error,
}


#: Name in ``forecast.accuracy`` of every metric of forecasts.
OF_FORECASTS = ("mase", "mae", "mse", "rmse", "smape", "mape")


def test_every_registered_metric_is_compared_here():
    binary = {(Task.BINARY_CLASSIFICATION, name) for name in [*CLASSIFIER, *CELLS, "business_value"]}
    several = {(Task.MULTICLASS_CLASSIFICATION, name) for name in OF_CLASSES}
    forecasts = {(Task.FORECAST, name) for name in OF_FORECASTS}
    assert binary | several | forecasts | {(Task.REGRESSION, name) for name in REGRESSOR} == set(METRICS)


@pytest.mark.parametrize("metric", OF_FORECASTS)
@given(seed=st.integers(0, 10_000))
def test_a_score_of_forecasts_equals_the_matured_measure(metric: str, seed: int):
    rng = np.random.default_rng(seed)
    days = pd.date_range("2024-01-01", periods=20)
    rows = pd.DataFrame({"unique_id": np.repeat(["a", "b"], 20), "ds": np.r_[days, days], "h": 1, "cutoff": days[0]})
    rows = rows.assign(y=rng.normal(5, 3, 40), mean=rng.normal(5, 3, 40))
    scales = pd.DataFrame({"mase": {"a": 2.0, "b": 0.5}, "rmsse": {"a": 2.0, "b": 0.5}})
    units = rows["unique_id"].map(scales["mase"]).to_numpy()
    expected = measure_parts({"all": matured(rows)}, scales, [metric])["all"][metric].value
    assert score(Task.FORECAST, metric, *in_units(metric, rows["y"].to_numpy(), rows["mean"].to_numpy(), units), None) == pytest.approx(
        expected
    )


def test_scaled_errors_without_a_scale_are_no_number():
    y = np.array([1.0, 2.0])
    assert np.isnan(score(Task.FORECAST, "mase", *in_units("mase", y, y + 1, None), None))
    assert score(Task.FORECAST, "mase", *in_units("mase", y, y + 1, np.array([2.0, 0.0])), None) == 0.5


def test_rows_of_a_group_are_drawn_together():
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(20), 10)
    shared = np.repeat(rng.normal(0.1, 1, 20), 10)
    gains = [
        paired_gain(lambda rows: 0.0, lambda rows: float(shared[rows].mean()), 200, 1, confidence=0.9, resamples=400, rng=np.random.default_rng(1), groups=own)
        for own in (None, groups)
    ]  # fmt: skip
    assert gains[1].upper - gains[1].lower > 2.5 * (gains[0].upper - gains[0].lower)


def test_one_group_alone_still_has_an_interval():
    own = np.random.default_rng(0).normal(0.1, 1, 30)
    gain = paired_gain(
        lambda rows: 0.0,
        lambda rows: float(own[rows].mean()),
        30,
        1,
        confidence=0.9,
        resamples=200,
        rng=np.random.default_rng(1),
        groups=np.zeros(30),
    )
    assert gain.lower < gain.gain < gain.upper


@pytest.mark.parametrize("metric", CLASSIFIER)
@given(seed=st.integers(0, 10_000))
def test_a_score_of_a_classifier_equals_scikit_learn(metric: str, seed: int):
    rng = np.random.default_rng(seed)
    truth = np.r_[0.0, 1.0, rng.integers(0, 2, 40)]
    soft = np.r_[0.2, 0.8, rng.uniform(size=40)]
    hard = (soft > 0.5).astype(float)
    assert score(Task.BINARY_CLASSIFICATION, metric, truth, hard, soft) == pytest.approx(CLASSIFIER[metric](truth, hard, soft))


@pytest.mark.parametrize("metric", OF_CLASSES)
@given(seed=st.integers(0, 10_000))
def test_a_score_of_several_classes_equals_scikit_learn(metric: str, seed: int):
    rng = np.random.default_rng(seed)
    truth = np.r_[0.0, 1.0, 2.0, rng.integers(0, 3, 40)]
    soft = rng.dirichlet([1, 1, 1], 43)
    hard = soft.argmax(axis=1).astype(float)
    expected = OF_CLASSES[metric](truth, hard, soft)
    assert score(Task.MULTICLASS_CLASSIFICATION, metric, truth, hard, soft) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", OF_CLASSES)
def test_a_score_of_rows_of_one_class_is_a_number_without_a_warning_and_only_roc_auc_is_undefined(metric: str):
    soft = np.full((5, 3), 1 / 3)
    found = score(Task.MULTICLASS_CLASSIFICATION, metric, np.full(5, 1.0), np.full(5, 2.0), soft)
    assert math.isnan(found) if metric == "roc_auc" else 0 <= found <= 1


@given(seed=st.integers(0, 10_000))
def test_cells_equal_scikit_learn_and_add_up_to_the_business_value(seed: int):
    truth, hard = np.random.default_rng(seed).integers(0, 2, (2, 30)).astype(float)
    matrix = metrics.confusion_matrix(truth, hard, normalize="all", labels=[0, 1])
    for name, place in CELLS.items():
        assert score(Task.BINARY_CLASSIFICATION, name, truth, hard, hard) == pytest.approx(matrix[place], abs=1e-12)
    worth = score(Task.BINARY_CLASSIFICATION, "business_value", truth, hard, hard, VALUES)
    assert worth == pytest.approx((matrix * np.array(VALUES)).sum(), abs=1e-12)


def test_what_a_metric_needs_and_was_not_given_is_named():
    with pytest.raises(ValueError, match="got no values; expected what each kind of row is worth"):
        score(Task.BINARY_CLASSIFICATION, "business_value", np.ones(2), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="got no probabilities; expected a matrix"):
        score(Task.MULTICLASS_CLASSIFICATION, "f1", np.ones(2), np.ones(2), None)


@pytest.mark.parametrize("metric", REGRESSOR)
@given(seed=st.integers(0, 10_000))
def test_a_score_of_a_regressor_equals_scikit_learn(metric: str, seed: int):
    rng = np.random.default_rng(seed)
    truth, guess = rng.normal(size=(2, 40))
    assert score(Task.REGRESSION, metric, truth, guess, None) == pytest.approx(REGRESSOR[metric](truth, guess))


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision"])
@pytest.mark.parametrize("only", [0.0, 1.0])
def test_a_ranking_score_of_one_class_is_undefined(metric: str, only: float):
    assert math.isnan(score(Task.BINARY_CLASSIFICATION, metric, np.full(5, only), np.zeros(5), np.linspace(0, 1, 5)))


@pytest.mark.parametrize("metric", ["f1", "precision", "recall", "specificity"])
@pytest.mark.parametrize("only", [0.0, 1.0])
def test_a_share_of_no_rows_is_a_number_without_a_warning(metric: str, only: float):
    guess = np.full(5, 1.0 - only)
    assert score(Task.BINARY_CLASSIFICATION, metric, np.full(5, only), guess, guess) == 0.0


def gain_of(
    champion_error: np.ndarray, candidate_error: np.ndarray, seed: int = 0, confidence: float = 0.9, resamples: int = 400
) -> PairedGain:
    """Gain in mean absolute error."""
    return paired_gain(
        lambda rows: float(np.abs(champion_error[rows]).mean()), lambda rows: float(np.abs(candidate_error[rows]).mean()),
        len(champion_error), -1,
        confidence=confidence, resamples=resamples, rng=np.random.default_rng(seed),
    )  # fmt: skip


def errors(seed: int, scale: float = 1.0, n: int = 150) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, n)


def test_identical_models_gain_exactly_nothing():
    gain = gain_of(errors(1), errors(1))
    assert (gain.gain, gain.lower, gain.upper) == (0.0, 0.0, 0.0)
    assert gain.champion == gain.candidate


def test_a_clearly_better_candidate_gains_beyond_chance():
    gain = gain_of(errors(1, 2.0), errors(2, 1.0))
    assert gain.gain > 0
    assert 0 < gain.lower < gain.gain < gain.upper
    assert gain.n_rows == 150


def test_a_clearly_worse_candidate_loses_beyond_chance():
    gain = gain_of(errors(1, 1.0), errors(2, 2.0))
    assert gain.gain < 0
    assert gain.upper < 0


def test_null_twin_of_equal_models_nine_of_ten_do_not_gain_beyond_chance():
    lower = [gain_of(errors(seed), errors(seed + 1000), resamples=200).lower for seed in range(100)]
    assert np.mean(np.array(lower) <= 0) >= 0.9


def test_both_values_are_those_of_all_rows():
    champion, candidate = errors(1, 2.0), errors(2)
    gain = gain_of(champion, candidate)
    assert gain.champion == pytest.approx(np.abs(champion).mean())
    assert gain.candidate == pytest.approx(np.abs(candidate).mean())
    assert gain.gain == pytest.approx(gain.champion - gain.candidate)


def test_the_sign_of_the_metric_turns_the_gain():
    soft = np.linspace(0, 1, 60)
    truth = (soft > 0.5).astype(float)
    options = {"confidence": 0.9, "resamples": 100}

    def auc_of(probability: np.ndarray):
        return lambda rows: score(Task.BINARY_CLASSIFICATION, "roc_auc", truth[rows], probability[rows], probability[rows])

    noisy = soft + np.random.default_rng(0).normal(0, 0.5, 60)
    better = paired_gain(auc_of(noisy), auc_of(soft), 60, +1, rng=np.random.default_rng(0), **options)
    assert better.lower > 0
    worse = paired_gain(auc_of(noisy), auc_of(soft), 60, -1, rng=np.random.default_rng(0), **options)
    assert worse.gain == -better.gain
    assert worse.upper < 0


def test_the_same_seed_gives_the_same_interval():
    assert gain_of(errors(1), errors(2), seed=7) == gain_of(errors(1), errors(2), seed=7)
    assert gain_of(errors(1), errors(2), seed=7) != gain_of(errors(1), errors(2), seed=8)


def test_more_confidence_gives_a_wider_interval():
    narrow, wide = (gain_of(errors(1), errors(2), confidence=confidence) for confidence in (0.6, 0.99))
    assert wide.lower < narrow.lower < narrow.upper < wide.upper


def test_resamples_where_the_metric_is_undefined_are_left_out():
    truth = np.r_[1.0, np.zeros(9)]
    soft = np.r_[0.9, np.linspace(0, 0.8, 9)]

    def auc(rows: np.ndarray) -> float:
        return score(Task.BINARY_CLASSIFICATION, "roc_auc", truth[rows], soft[rows], soft[rows])

    gain = paired_gain(auc, auc, 10, +1, confidence=0.9, resamples=100, rng=np.random.default_rng(0))
    assert (gain.lower, gain.upper) == (0.0, 0.0)


def test_a_metric_that_is_never_defined_gives_no_limits():
    def undefined(rows: np.ndarray) -> float:
        return float("nan")

    gain = paired_gain(undefined, undefined, 10, +1, confidence=0.9, resamples=100, rng=np.random.default_rng(0))
    assert math.isnan(gain.lower)
    assert math.isnan(gain.upper)


@given(
    st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 1.0]) | st.floats(0, 1)), min_size=2, max_size=80)
)
def test_the_area_under_the_roc_curve_is_that_of_scikit_learn_ties_included(rows):
    truth, scores = np.array([one for one, _ in rows], dtype=float), np.array([score for _, score in rows])
    if 0 < truth.sum() < len(truth):
        assert area_under_roc(truth, scores) == pytest.approx(metrics.roc_auc_score(truth, scores), abs=1e-12)
