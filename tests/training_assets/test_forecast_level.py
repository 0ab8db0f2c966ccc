"""The seasonal level follows a level that moved, lets it fade, and is the average of plain recursions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training_assets.recipes.forecast.level import _SEASONS, _WEIGHTS, SeasonalLevel

WEEK = np.array([1.0, 2.0, 4.0, 8.0, 4.0, 2.0, 1.0])


def by_hand(y, season, h, weight, fade):
    """One pair, step by step."""
    level = y[season] - y[0]
    for step in range(season + 1, len(y)):
        level = weight * (y[step] - y[step - season]) + (1 - weight) * level
    known = list(y)
    for step in range(1, h + 1):
        known.append(known[-season] + level * fade**step)
    return np.array(known[len(y) :])


@given(seed=st.integers(0, 2**32 - 1), season=st.integers(2, 9), h=st.integers(1, 30))
def test_it_is_the_average_of_every_pair_of_weight_and_fading(seed, season, h):
    y = np.random.default_rng(seed).normal(size=5 * season)
    pairs = [by_hand(y, season, h, weight, np.exp(-1 / (share * season))) for weight in _WEIGHTS for share in _SEASONS]
    assert SeasonalLevel(season).fit(y).predict(h)["mean"] == pytest.approx(np.mean(pairs, axis=0))


def test_a_level_that_moved_moves_the_forecast_and_fades():
    y = np.tile(WEEK, 6) + np.repeat([0.0, 10.0], [37, 5])
    moved = SeasonalLevel(7).fit(y).predict(2)["mean"] - y[-7:-5]
    assert 10 > moved[0] > moved[1] > 0


def test_a_level_that_stood_still_moves_nothing():
    y = np.tile(WEEK, 6)
    assert SeasonalLevel(7).fit(y).predict(20)["mean"] == pytest.approx(np.resize(WEEK, 20))


@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_units_of_y_do_not_matter(scale, shift):
    y = np.tile(WEEK, 5) + np.random.default_rng(2).normal(size=35)
    own, other = (SeasonalLevel(7).fit(one).predict(9, level=[80]) for one in (y, scale * y + shift))
    assert all(other[key] == pytest.approx(scale * own[key] + shift, abs=1e-6) for key in own)


def test_two_seasons_are_too_few():
    with pytest.raises(ValueError, match="got 14 values; expected more than two seasons of 7"):
        SeasonalLevel(7).fit(np.arange(14.0))
