"""The ratio of densities of a chunk against the reference: high where the reference has no such rows."""

import doctest
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from monitoring_assets.measures import density_ratio as module
from monitoring_assets.measures.density_ratio import DensityRatio, coded, fit_levels, ratio_of_codes
from resources.policy import Features

UNKNOWN = 20.0
FEATURES = Features(numeric=["temperature", "dew_point", "pressure"], categorical=["site"])


@cache
def weather(seed: int, n: int, warmer: float = 0.0) -> pd.DataFrame:
    """Rows of a station whose dew point follows the temperature, with missing values in both kinds of columns."""
    rng = np.random.default_rng(seed)
    temperature = rng.normal(warmer, 1, n)
    frame = pd.DataFrame({
        "temperature": temperature, "dew_point": temperature + rng.normal(0, 0.2, n) - 1, "pressure": rng.normal(size=n),
        "site": rng.choice(["hill", "lake", "town"], n, p=[0.5, 0.3, 0.2]).astype(object),
    })  # fmt: skip
    frame.loc[rng.random(n) < 0.05, "pressure"] = np.nan
    frame.loc[rng.random(n) < 0.05, "site"] = None
    return frame


def ratio_to(reference: pd.DataFrame, rows: pd.DataFrame, features: Features, seed: int = 0) -> DensityRatio:
    levels = fit_levels(reference, features)
    return ratio_of_codes(*(coded(side, features, levels) for side in (reference, rows)), len(features.categorical), seed=seed)


def of(rows: pd.DataFrame, seed: int = 0) -> DensityRatio:
    return ratio_to(weather(0, 4000), rows, FEATURES, seed=seed)


def unknown_share(found: DensityRatio) -> float:
    """Share of the chunk's rows that are more than twenty times likelier there than in the reference."""
    return float((found.row_weights > UNKNOWN).mean())


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("n", [50, 300, 4000])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_null_twin_a_chunk_like_the_reference_loses_no_support_and_keeps_the_sample(seed: int, n: int):
    found = of(weather(seed, n))
    assert unknown_share(found) <= 0.01
    assert found.effective_share >= 0.95


def swapped(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.rename(columns={"temperature": "dew_point", "dew_point": "temperature"})


def unlinked(rows: pd.DataFrame) -> pd.DataFrame:
    """Every column keeps its values, but they no longer belong together."""
    return rows.assign(dew_point=rows["dew_point"].sample(frac=1, random_state=0).to_numpy())


def moved_far(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(pressure=rows["pressure"].fillna(0) + 8)


def elsewhere(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(site="ship")


@pytest.mark.parametrize(("fault", "least"), [(swapped, 0.9), (unlinked, 0.6), (moved_far, 0.95), (elsewhere, 0.95)])
@pytest.mark.parametrize("n", [300, 2000])
def test_rows_the_reference_does_not_know_are_told(fault, least: float, n: int):
    assert unknown_share(of(fault(weather(1, n)))) >= least


def test_a_chunk_half_of_which_is_unknown_loses_half_of_its_support():
    both = pd.concat([weather(1, 500), swapped(weather(2, 500))], ignore_index=True)
    found = of(both)
    assert unknown_share(found) == pytest.approx(0.5, abs=0.05)
    assert (found.row_weights[500:] > UNKNOWN).mean() > 0.9


def test_a_mild_shift_is_weighted_not_called_unknown():
    found = of(weather(1, 2000, warmer=0.5))
    assert unknown_share(found) <= 0.02
    assert found.effective_share < 0.95


def test_weights_follow_the_true_ratio():
    rows = weather(1, 4000, warmer=0.7)
    found, at = of(rows), weather(0, 4000)["temperature"]
    assert spearmanr(found.weights, at).statistic > 0.9
    assert np.average(at, weights=found.weights) == pytest.approx(rows["temperature"].mean(), abs=0.1)


def test_null_twin_without_a_shift_weights_leave_the_mean_where_it_was():
    found, at = of(weather(1, 4000)), weather(0, 4000)["temperature"]
    assert np.average(at, weights=found.weights) == pytest.approx(at.mean(), abs=0.05)


def test_the_same_rows_and_seed_give_the_same_weights_and_another_seed_others():
    one, again, other = of(weather(1, 300)), of(weather(1, 300)), of(weather(1, 300), seed=5)
    np.testing.assert_array_equal(one.weights, again.weights)
    np.testing.assert_array_equal(one.row_weights, again.row_weights)
    assert not np.array_equal(one.weights, other.weights)


def test_the_order_of_the_chunks_rows_does_not_matter():
    rows = weather(1, 300, warmer=0.7)
    order = np.random.default_rng(0).permutation(len(rows))
    plain, shuffled = of(rows), of(rows.iloc[order])
    np.testing.assert_allclose(shuffled.weights, plain.weights, rtol=1e-9)
    np.testing.assert_allclose(shuffled.row_weights, plain.row_weights[order], rtol=1e-9)


def test_the_index_of_the_rows_is_not_read():
    rows = weather(1, 300)
    np.testing.assert_array_equal(of(rows.set_axis(np.arange(300)[::-1], axis=0)).weights, of(rows).weights)


def test_a_feature_of_one_kind_alone_is_enough():
    rows = elsewhere(weather(1, 300))
    assert unknown_share(ratio_to(weather(0, 4000), rows, Features(categorical=["site"]))) == 1
    assert unknown_share(ratio_to(weather(0, 4000), rows, Features(numeric=["pressure"]))) <= 0.01


def test_a_feature_that_went_missing_is_a_place_the_reference_does_not_know():
    assert unknown_share(of(weather(1, 300).assign(temperature=np.nan))) >= 0.95


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), before=st.integers(2, 60), after=st.integers(2, 60), shift=st.floats(-5, 5))
def test_weights_are_positive_with_mean_one_and_shares_are_shares(seed: int, before: int, after: int, shift: float):
    rng = np.random.default_rng(seed)
    found = ratio_of_codes(rng.normal(size=(before, 2)), rng.normal(shift, 1, (after, 2)), 0, seed=seed)
    assert found.weights.shape == (before,)
    assert found.row_weights.shape == (after,)
    assert found.weights.mean() == pytest.approx(1)
    assert min(found.weights.min(), found.row_weights.min()) > 0
    assert 0 < found.effective_share <= 1 + 1e-12


@pytest.mark.parametrize("n", [0, 1])
def test_a_side_of_fewer_than_two_rows_is_refused_with_what_was_expected(n: int):
    with pytest.raises(ValueError, match="expected at least 2"):
        of(weather(1, 300).head(n))
    with pytest.raises(ValueError, match="expected at least 2"):
        ratio_to(weather(1, 300).head(n), weather(1, 300), FEATURES)


def test_rare_categories_beyond_the_most_share_a_code(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MOST_LEVELS", 2)
    levels = module.fit_levels(weather(0, 4000), FEATURES)
    assert levels == {"site": ["hill", "lake"]}
    codes = module.coded(pd.DataFrame({"site": ["lake", "town", None, "ship"]}), Features(categorical=["site"]), levels)
    assert codes.ravel().tolist() == [1, 2, 2, 2]
