"""Dating one break in the mean of a sequence of losses."""

import doctest

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring_assets.measures import onset
from monitoring_assets.measures.onset import date_onset, losses_of, row_losses
from resources.vocabulary import Task


def losses(seed: int, rise: float, n: int = 400, at: int = 250) -> np.ndarray:
    noise = np.random.default_rng(seed).exponential(1.0, n)
    return noise + np.where(np.arange(n) >= at, rise, 0.0)


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(onset).failed == 0


def test_a_planted_break_is_dated_within_ten_rows_in_nine_of_ten_seeds():
    found = [date_onset(losses(seed, rise=1.5)) for seed in range(50)]
    distances = [abs(item.index - 250) for item in found if item is not None]
    assert np.mean(np.array(distances) <= 10) >= 0.9
    assert all(item.statistic > 15 for item in found if item is not None)
    assert len(distances) == 50


def test_the_shift_is_the_rise_of_the_mean():
    found = [date_onset(losses(seed, rise=1.5)).shift for seed in range(50)]
    assert np.mean(found) == pytest.approx(1.5, abs=0.1)


def test_null_twin_without_a_break_the_statistic_stays_below_fifteen_in_nine_of_ten_seeds():
    found = [date_onset(losses(seed, rise=0.0)) for seed in range(50)]
    statistics = [item.statistic if item is not None else 0.0 for item in found]
    assert np.mean(np.array(statistics) < 15) >= 0.9


def test_losses_that_fall_have_no_onset():
    assert date_onset(-np.arange(100.0)) is None


def test_constant_losses_have_no_onset():
    assert date_onset(np.ones(100)) is None
    assert date_onset(np.full(1000, 0.1)) is None


@pytest.mark.parametrize("n", [0, 1, 19])
def test_a_sequence_shorter_than_two_margins_has_no_onset(n: int):
    assert date_onset(np.arange(float(n))) is None


def test_null_twin_a_sequence_of_two_margins_has_one():
    assert date_onset(np.r_[np.zeros(10), np.ones(10)]).index == 10
    assert date_onset(np.r_[np.zeros(3), np.ones(3)], margin=3).index == 3


@given(st.lists(st.floats(0, 100), min_size=20, max_size=60))
def test_a_break_keeps_the_margin_on_either_side_and_rises(values: list[float]):
    found = date_onset(np.array(values))
    if found is not None:
        assert 10 <= found.index <= len(values) - 10
        assert found.shift > 0
        assert found.statistic >= 0


@given(st.integers(10, 90), st.floats(0.01, 1000))
def test_a_break_without_noise_is_dated_exactly(at: int, rise: float):
    found = date_onset(np.where(np.arange(100) >= at, rise, 0.0))
    assert found.index == at
    assert found.shift == pytest.approx(rise)


@given(st.integers(0, 1000), st.floats(0.1, 10), st.floats(-5, 5))
def test_neither_unit_nor_level_of_the_losses_moves_the_date(seed: int, scale: float, level: float):
    plain = losses(seed, rise=1.5)
    first, second = date_onset(plain), date_onset(plain * scale + level)
    assert first.index == second.index
    assert second.shift == pytest.approx(first.shift * scale)
    assert second.statistic == pytest.approx(first.statistic)


def test_the_loss_of_a_number_is_its_absolute_error():
    assert row_losses(np.array([1.0, 2.0]), np.array([3.0, 2.0]), is_probability=False).tolist() == [2.0, 0.0]


def test_the_loss_of_a_probability_is_its_log_loss():
    truth, probability = np.array([1.0, 0.0, 1.0]), np.array([0.5, 0.5, 0.9])
    assert row_losses(truth, probability, is_probability=True) == pytest.approx(-np.log([0.5, 0.5, 0.9]))


def test_the_loss_of_several_probabilities_is_that_of_the_class_that_happened():
    truth, matrix = np.array([2.0, 0.0, np.nan, 1.0]), np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    found = row_losses(truth, matrix, is_probability=True)
    assert found == pytest.approx(-np.log([0.7, 0.5, np.nan, 0.01]), nan_ok=True)
    rows = pd.DataFrame(matrix, columns=[f"y_pred_proba_{place}" for place in range(3)]).assign(y_true=truth, y_pred=0.0)
    assert losses_of(Task.MULTICLASS_CLASSIFICATION, rows) == pytest.approx(found, nan_ok=True)


@given(st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=20))
def test_two_classes_lose_what_a_binary_outcome_does(told: list[tuple[int, float]]):
    truth, probability = np.array(told, dtype=float).T
    matrix = np.stack([1 - probability, probability], axis=1)
    assert row_losses(truth, matrix, is_probability=True) == pytest.approx(row_losses(truth, probability, is_probability=True))


def test_a_sure_and_wrong_probability_has_a_bounded_loss():
    worst = row_losses(np.array([1.0, 0.0]), np.array([0.0, 1.0]), is_probability=True)
    assert worst == pytest.approx(-np.log([0.01, 0.01]))


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_loss_falls_as_the_probability_nears_the_outcome(one: float, other: float):
    low, high = sorted([one, other])
    of_positive = row_losses(np.ones(2), np.array([low, high]), is_probability=True)
    of_negative = row_losses(np.zeros(2), np.array([low, high]), is_probability=True)
    assert of_positive[1] <= of_positive[0]
    assert of_negative[0] <= of_negative[1]
