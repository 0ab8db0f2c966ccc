"""Breaks of level and trend are dated, the interval holds the date as often as it states, and nothing is found where nothing broke."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from monitoring_assets.measures.forecast import breaks
from monitoring_assets.measures.forecast.breaks import break_lines, date_break

N, AT, SEEDS = 200, 120, 80
SIZES = {"level": 1.5, "trend": 0.05}

every_shape = pytest.mark.parametrize("shape", SIZES)
every_dependence = pytest.mark.parametrize("rho", [0.0, 0.4])


def noise(seed: int, rho: float = 0.0, n: int = N) -> np.ndarray:
    """Autoregressive, mean 0, deviation 1."""
    return lfilter([math.sqrt(1 - rho**2)], [1, -rho], np.random.default_rng(seed).normal(size=n + 60))[60:]


def broken(shape: str, size: float) -> np.ndarray:
    since = np.arange(N) - AT
    return size * (since >= 0) if shape == "level" else size * np.maximum(since, 0)


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(breaks).failed == 0


@every_shape
@every_dependence
def test_null_twin_errors_without_a_break_are_significant_no_more_often_than_stated(shape: str, rho: float):
    found = [date_break(noise(seed, rho), shape, seed=seed, resamples=99).p_value < 0.05 for seed in range(SEEDS)]
    assert np.mean(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / SEEDS)


@every_shape
@every_dependence
def test_a_break_is_found_dated_and_held_by_its_interval(shape: str, rho: float):
    found = [date_break(noise(seed, rho) + broken(shape, SIZES[shape]), shape, seed=seed, resamples=99) for seed in range(SEEDS)]
    assert np.mean([one.p_value < 0.05 for one in found]) >= 0.95
    assert np.median([abs(one.index - AT) for one in found]) <= (3 if shape == "level" else 10)
    held = [one.earliest <= AT <= one.latest for one in found]
    assert np.mean(held) >= 0.9 - 4 * math.sqrt(0.09 / SEEDS)
    assert np.mean([one.size for one in found]) == pytest.approx(SIZES[shape], rel=0.2)


def test_the_interval_is_wider_where_the_date_is_less_sure():
    sure, unsure = (date_break(noise(1) + broken("level", size), seed=1) for size in (4.0, 1.0))
    assert sure.latest - sure.earliest < unsure.latest - unsure.earliest


@every_shape
def test_a_steady_trend_is_no_kink_and_a_fall_has_a_negative_size(shape: str):
    assert date_break(noise(2) + 0.3 * np.arange(N), "trend").p_value > 0.05
    assert date_break(noise(2) - broken(shape, SIZES[shape]), shape).size < 0


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), scale=st.floats(0.01, 100), level=st.floats(-100, 100), shape=st.sampled_from(["level", "trend"]))
def test_neither_unit_nor_level_moves_the_date(seed: int, scale: float, level: float, shape: str):
    plain = noise(seed) + broken(shape, SIZES[shape])
    first, second = (date_break(own, shape, resamples=50) for own in (plain, plain * scale + level))
    assert (first.index, first.earliest, first.latest, first.p_value) == (second.index, second.earliest, second.latest, second.p_value)
    assert second.size == pytest.approx(first.size * scale)
    assert second.statistic == pytest.approx(first.statistic)


@given(at=st.integers(10, 90), size=st.floats(0.1, 100))
@settings(max_examples=15, deadline=None)
def test_a_step_without_noise_is_dated_exactly(at: int, size: float):
    found = date_break(size * (np.arange(100) >= at), resamples=50)
    assert (found.index, found.earliest, found.latest) == (at, at, at)
    assert found.size == pytest.approx(size)
    assert found.p_value < 0.1


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(-100, 100), min_size=30, max_size=60))
def test_the_interval_holds_the_date_and_the_p_value_is_a_share(values: list[float]):
    found = date_break(np.array(values), resamples=50)
    if found.index is not None:
        assert 0 <= found.earliest <= found.latest < len(values)
        assert 5 <= found.index <= len(values) - 5
        assert 1 / 51 <= found.p_value <= 1


def test_missing_elements_are_left_out_and_places_count_them():
    plain = noise(1) + broken("level", 4.0)
    gappy = date_break(np.insert(plain, 10, [np.nan] * 5))
    assert gappy.index == date_break(plain).index + 5
    assert gappy.n_elements == N


@pytest.mark.parametrize(
    ("values", "told"), [(np.zeros(100), "all equal"), (np.arange(29.0), "at least 30"), (np.array([]), "at least 30")]
)
def test_a_short_or_constant_sequence_is_refused_by_name(values: np.ndarray, told: str):
    found = date_break(values)
    assert found.index is None
    assert told in found.reason
    assert not break_lines("c", [found], 0.05)["breach"].any()


def test_a_long_sequence_is_searched_at_spread_out_places():
    series = noise(0, n=4000) + 2.0 * (np.arange(4000) >= 2500)
    assert abs(date_break(series, resamples=50).index - 2500) <= 10


def test_lines_breach_with_a_break_and_name_its_date():
    dates = [f"day {place}" for place in range(N)]
    series = noise(1) + broken("level", 3.0)
    loud = break_lines("c", [date_break(series, "level"), date_break(series, "trend")], 0.05, dates).set_index("method")
    assert loud.loc["sup_f_level", "breach"]
    assert "up: at day 1" in loud.loc["sup_f_level", "reason"]
    quiet = break_lines("c", [date_break(noise(1), "level"), date_break(noise(1), "trend")], 0.05, dates)
    assert not quiet["breach"].any()
