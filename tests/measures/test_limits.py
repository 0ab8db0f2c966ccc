"""When a number is too large: the null, its limits, effective sample size and corrections."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.signal import lfilter
from statsmodels.stats.multitest import multipletests

from monitoring_assets.measures.limits import FEWEST_BLOCKS, Null, adjusted, block_sizes, block_starts, design_effect, fit_null

SEED = 20240101


def null_of(power: float = 0.25, *, scale: float = 0.1, skewed: bool = False, **more: object) -> Null:
    """Blocks of three sizes of a distance that shrinks as one over the root of the rows."""
    rng = np.random.default_rng(SEED)
    draw = (lambda n: rng.lognormal(sigma=0.8, size=n)) if skewed else (lambda n: np.abs(rng.normal(1, 0.3, n)))
    samples = {size: (scale * draw(100) / np.sqrt(size)).tolist() for size in (25, 50, 100)}
    return fit_null(samples, power=power, n_reference=5_000, **more)


@given(st.lists(st.floats(0, 1) | st.just(float("nan")), max_size=20))
def test_corrections_equal_scipy_and_statsmodels(p_values: list[float]):
    own = np.array(p_values)
    known = ~np.isnan(own)
    for correction, method in (("bonferroni", "bonferroni"), ("benjamini_hochberg", "fdr_bh")):
        found = adjusted(own, correction)
        assert np.isnan(found[~known]).all()
        if known.any():
            np.testing.assert_allclose(found[known], multipletests(own[known], method=method)[1], rtol=1e-12)
    if known.any():
        np.testing.assert_allclose(adjusted(own, "benjamini_hochberg")[known], stats.false_discovery_control(own[known]), rtol=1e-12)
    np.testing.assert_array_equal(adjusted(own, "none"), own)


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("is_two_sided", [False, True])
@given(st.floats(1e-4, 0.4), st.integers(5, 400))
def test_a_value_lies_outside_its_limits_exactly_when_its_p_value_is_below_the_rate(
    skewed: bool, is_two_sided: bool, rate: float, n_rows: int
):
    null = null_of(1.0 if is_two_sided else 0.25, skewed=skewed, is_two_sided=is_two_sided)
    lower, upper = null.limits(rate, n_rows)
    assert null.p_value(upper * 1.0001, n_rows, n_rows) < rate <= null.p_value(upper * 0.9999, n_rows, n_rows)
    if is_two_sided and lower > 0:
        assert null.p_value(lower * 0.9999, n_rows, n_rows) < rate <= null.p_value(lower * 1.0001, n_rows, n_rows)
    assert np.isnan(lower) or is_two_sided


def test_limits_widen_for_smaller_chunks_and_smaller_rates():
    null = null_of()
    by_size = [null.limits(0.01, n)[1] for n in (5, 12, 25, 40, 70, 100)]
    assert by_size == sorted(by_size, reverse=True)
    assert null.limits(0.01, 400)[1] == null.limits(0.01, 100)[1]  # larger than any block: held to the largest
    by_rate = [null.limits(rate, 60)[1] for rate in (0.2, 0.05, 0.01, 0.001)]
    assert by_rate == sorted(by_rate)
    assert null.limits(0.01, 25 / 4)[1] >= 1.9 * null.limits(0.01, 25)[1]  # at least as a sampling error


def test_the_fewer_blocks_the_wider_the_limit():
    values = np.abs(np.random.default_rng(SEED).normal(1, 0.2, 200)).tolist()
    few, many = (fit_null({50: values[:count]}, power=1.0) for count in (FEWEST_BLOCKS, 200))
    assert few.limits(0.01, 50)[1] > many.limits(0.01, 50)[1]


def test_too_few_blocks_give_no_limit():
    null = fit_null({50: [0.1] * (FEWEST_BLOCKS - 1) + [float("nan")] * 9}, power=1.0)
    assert not null.is_known
    assert np.isnan(null.p_value(9.0, 50, 50))
    assert np.isnan(null.limits(0.01, 50)).all()
    assert np.isnan(null.deviation(50))
    assert np.isnan(null.permutation_p_value(9.0))


def test_a_number_that_never_moved_is_judged_by_how_many_rows_moved():
    null = fit_null({50: [0.0] * 40}, power=0.25, n_reference=2_000)
    assert not null.has_moved
    assert null.p_value(0.0, 50, 0) == 1.0
    assert null.p_value(0.02, 50, 1) == pytest.approx(stats.betabinom(50, 0.5, 2_000.5).sf(0))
    assert null.p_value(0.02, 50, 1) > 0.01 > null.p_value(0.1, 50, 5)
    assert np.isnan(null.deviation(50))


def test_a_p_value_is_never_below_the_chance_of_so_few_rows_moving():
    null = fit_null({50: [1e-9] * 20 + [0.0] * 20}, power=0.25, n_reference=2_000)
    assert null.has_moved
    assert null.p_value(0.02, 50, 1) == pytest.approx(stats.betabinom(50, 0.5, 2_000.5).sf(0))


def test_a_null_survives_storage():
    null = null_of(skewed=True)
    assert null.skewness > 0
    assert Null.from_plain(json.loads(json.dumps(null.as_plain()))) == null


def test_the_permutation_p_value_counts_the_chunk_itself():
    null = fit_null({50: [0.1, 0.2, 0.3, 0.4]}, power=1.0)
    assert [null.permutation_p_value(value) for value in (0.05, 0.3, 0.9)] == [1.0, 0.6, 0.2]
    assert np.isnan(null.permutation_p_value(float("nan")))


@given(st.integers(0, 5_000), st.integers(1, 600))
def test_blocks_lie_inside_the_reference_and_do_not_overlap(n_rows: int, usual: int):
    for size in block_sizes(n_rows, usual):
        starts = block_starts(n_rows, size)
        assert len(starts) >= FEWEST_BLOCKS
        assert starts.min() >= 0
        assert starts.max() + size <= n_rows
        assert (np.diff(starts) >= size).all()


def autoregressive(strength: float, n: int, rng: np.random.Generator) -> np.ndarray:
    return lfilter([1.0], [1.0, -strength], rng.normal(size=n + 500))[500:]


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.8])
def test_the_design_effect_is_that_of_an_autoregressive_series(strength: float):
    rng = np.random.default_rng(SEED)
    found = np.mean([design_effect(autoregressive(strength, 20_000, rng)) for _ in range(4)])
    expected = (1 + strength) / (1 - strength)
    assert found == pytest.approx(expected, rel=0.15)


def test_the_design_effect_ignores_units_outliers_and_gaps_and_is_at_least_one():
    series = autoregressive(0.5, 4_000, np.random.default_rng(SEED))
    plain = design_effect(series)
    assert design_effect(np.exp(series) * 7) == pytest.approx(plain)
    assert design_effect(np.insert(series, 50, np.nan)) == pytest.approx(plain)
    assert design_effect(np.full(100, 3.0)) == design_effect(np.array([1.0])) == design_effect(np.empty(0)) == 1.0
    assert design_effect(np.tile([0.0, 1.0], 500)) == 1.0
