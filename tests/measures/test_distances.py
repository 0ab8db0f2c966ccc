"""Every distance equals the one of the library it is named after, however the reference is cut."""

import itertools
import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from monitoring_assets.measures import distances, distribution
from monitoring_assets.measures.distances import between_categories, between_numbers, fit_bins, slices_of
from monitoring_assets.measures.distribution import merge_numbers, summarize_categories, summarize_numbers
from monitoring_assets.measures.registry import CATEGORICAL, NUMERIC

pytestmark = pytest.mark.xdist_group("distances")  # NannyML is loaded and run by one worker
SEED = 20240101


def numbers(reference: np.ndarray, chunk: np.ndarray, methods=tuple(NUMERIC)) -> dict[str, float]:
    summary = summarize_numbers(np.asarray(reference, dtype="float64"))
    own = np.sort(distribution.finite(np.asarray(chunk, dtype="float64")))
    bins = fit_bins(summary)
    found = between_numbers(summary, slices_of(own), len(own), len(chunk) - len(own), bins, list(methods))
    return {name: number.value for name, number in found.items()}


def categories(reference: pd.Series, chunk: pd.Series) -> dict[str, float]:
    found = between_categories(summarize_categories(reference), summarize_categories(chunk), list(CATEGORICAL))
    return {name: number.value for name, number in found.items()}


samples = st.lists(st.one_of(st.integers(-3, 3).map(float), st.floats(-1e3, 1e3, allow_subnormal=False)), min_size=1, max_size=50).map(
    np.array
)


def largest_difference(reference: np.ndarray, chunk: np.ndarray) -> float:
    """The statistic of scipy, which warns about the p-value of tiny samples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return float(stats.ks_2samp(reference, chunk).statistic)


@given(samples, samples)
def test_exact_distances_equal_scipy(reference: np.ndarray, chunk: np.ndarray):
    found = numbers(reference, chunk)
    assert found["kolmogorov_smirnov"] == pytest.approx(largest_difference(reference, chunk), abs=1e-12)
    assert found["wasserstein"] == pytest.approx(stats.wasserstein_distance(reference, chunk), rel=1e-9, abs=1e-9)


@given(samples.map(np.unique), samples.map(np.unique))
def test_cramer_von_mises_without_ties_is_that_of_scipy_but_for_a_factor(reference: np.ndarray, chunk: np.ndarray):
    chunk = np.setdiff1d(chunk, reference)
    if min(len(chunk), len(reference)) < 2:
        return
    n, m = len(reference), len(chunk)
    expected = stats.cramervonmises_2samp(reference, chunk, method="asymptotic").statistic
    assert numbers(reference, chunk)["cramer_von_mises"] * n * m / (n + m) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("n", "m", "mode"), [(300, 80, "exact"), (9_000, 70, "exact"), (10_000, 333, "exact"), (12_000, 400, "asymp"), (400, 12_000, "asymp")]
)
def test_the_p_value_of_kolmogorov_smirnov_is_that_of_scipy(n: int, m: int, mode: str):
    rng = np.random.default_rng(SEED)
    reference, chunk = rng.normal(size=n).round(2), np.sort(rng.normal(0.1, size=m).round(2))
    statistic = stats.ks_2samp(reference, chunk).statistic
    found = distances.ks_p_value(summarize_numbers(reference), distances.slices_of(chunk), m, statistic)
    assert found == pytest.approx(stats.ks_2samp(reference, chunk, method=mode).pvalue, rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.004, 0.006])
def test_the_p_value_of_many_rows_is_near_scipys_where_it_matters(shift: float):
    rng = np.random.default_rng(SEED)
    reference, chunk = rng.normal(size=400_000), np.sort(rng.normal(shift, size=400_000))
    statistic = stats.ks_2samp(reference, chunk, method="asymp").statistic
    expected = stats.kstwo.sf(statistic, 200_000)
    assert distances.ks_limiting_p_value(statistic, 400_000, 400_000) == pytest.approx(expected, rel=1e-4)


def test_the_p_value_against_a_mixture_counts_its_parts_of_rows():
    rng = np.random.default_rng(SEED)
    whole = summarize_numbers(rng.normal(size=600))
    chunk = np.sort(rng.normal(0.2, size=60))
    statistic = stats.ks_2samp(whole.expanded(), chunk).statistic
    thirds = merge_numbers([whole, whole, whole], [1 / 3, 1 / 3, 1 / 3 + 1e-9])
    assert distances.ks_p_value(thirds, distances.slices_of(chunk), len(chunk), statistic) == pytest.approx(
        stats.ks_2samp(whole.expanded(), chunk, method="asymp").pvalue, rel=1e-6
    )


def shares_of(reference: np.ndarray, chunk: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shares per bin and outside all bins, counted in the plainest way."""

    def own(values: np.ndarray) -> list[float]:
        inside = [((values >= low) & (values < high)).mean() for low, high in itertools.pairwise(edges)]
        inside[-1] += (values == edges[-1]).mean()
        return inside

    r, c = own(reference), own(chunk)
    rest = ((chunk < edges[0]) | (chunk > edges[-1])).mean()
    return (np.array([*r, 0.0]), np.array([*c, rest])) if rest else (np.array(r), np.array(c))


@pytest.mark.parametrize("shift", [0.0, 0.1, 1.0, 9.0])
def test_distances_over_shares_equal_their_formulas_written_out(shift: float):
    rng = np.random.default_rng(SEED)
    reference, chunk = rng.gamma(2.0, size=3_000), rng.gamma(2.0, size=400) + shift
    found = numbers(reference, chunk)
    r, c = shares_of(reference, chunk, np.quantile(reference, np.linspace(0, 1, 11)))
    padded_r, padded_c = np.maximum(r, 1e-4), np.maximum(c, 1e-4)
    q, p = padded_r / padded_r.sum(), padded_c / padded_c.sum()
    assert found["psi"] == pytest.approx(sum((b - a) * np.log(b / a) for a, b in zip(padded_r, padded_c, strict=True)), abs=1e-12)
    assert found["kullback_leibler"] == pytest.approx(sum(b * np.log(b / a) for a, b in zip(q, p, strict=True)), abs=1e-12)
    assert found["total_variation"] == pytest.approx(sum(max(b - a, 0.0) for a, b in zip(r, c, strict=True)), abs=1e-12)
    assert found["l_infinity"] == pytest.approx(max(abs(b - a) for a, b in zip(r, c, strict=True)), abs=1e-12)
    r, c = shares_of(reference, chunk, np.histogram_bin_edges(reference, "doane"))
    m = (r + c) / 2
    divergence = sum(x * np.log2(x / y) for side in (r, c) for x, y in zip(side, m, strict=True) if x > 0) / 2
    assert found["jensen_shannon"] == pytest.approx(np.sqrt(divergence), abs=1e-9)
    assert found["hellinger"] == pytest.approx(np.sqrt(max(0.0, 1 - np.sqrt(r * c).sum())), abs=1e-7)


@pytest.mark.parametrize("n_rows", range(100, 500, 7))
def test_shares_that_miss_one_by_rounding_leave_nothing_outside_the_bins(n_rows: int):
    chunk = np.random.default_rng(n_rows).uniform(0.01, 0.99, n_rows)
    reference = np.linspace(0.0, 1.0, 2_000)
    edges = np.quantile(reference, np.linspace(0, 1, 11))
    r, c = (np.histogram(side, edges)[0] / len(side) for side in (reference, chunk))
    assert numbers(reference, chunk)["kullback_leibler"] == pytest.approx(
        stats.entropy(np.maximum(c, 1e-4), np.maximum(r, 1e-4)), abs=1e-12
    )


def test_categorical_distances_equal_their_formulas_written_out():
    rng = np.random.default_rng(SEED)
    reference, chunk = pd.Series(rng.choice(list("abcd"), 2_000)), pd.Series(rng.choice(list("abcde"), 300, p=[0.4, 0.2, 0.2, 0.1, 0.1]))
    found = categories(reference, chunk)
    r, c = (np.array([(side == name).mean() for name in "abcde"]) for side in (reference, chunk))
    assert found["total_variation"] == pytest.approx(np.maximum(r - c, 0).sum(), abs=1e-12)
    assert found["unseen_share"] == pytest.approx(c[-1], abs=1e-12)
    padded_r, padded_c = np.maximum(r, 1e-4), np.maximum(c, 1e-4)
    assert found["psi"] == pytest.approx(((padded_c - padded_r) * np.log(padded_c / padded_r)).sum(), abs=1e-12)
    q, p = padded_r / padded_r.sum(), padded_c / padded_c.sum()
    assert found["kullback_leibler"] == pytest.approx((p * np.log(p / q)).sum(), abs=1e-12)
    table = np.array([[(side == name).sum() for name in "abcde"] for side in (reference, chunk)])
    assert found["chi2"] == pytest.approx(stats.chi2_contingency(table).statistic, rel=1e-12)


# six digits: of two numbers one rounding apart either may be a decile
@given(
    st.lists(
        st.integers(-1000, 1000).map(float) | st.floats(-1e6, 1e6).map(lambda value: round(value, 6)), min_size=3, max_size=200, unique=True
    ).map(np.array)
)
def test_bins_are_those_of_numpy(values: np.ndarray):
    bins = fit_bins(summarize_numbers(values))
    expected = np.histogram_bin_edges(values, "doane")
    assert abs(len(bins.edges) - len(expected)) <= 1  # a width that divides the range to the last digit may round either way
    if len(bins.edges) == len(expected):
        np.testing.assert_allclose(bins.edges, expected, rtol=1e-9, atol=1e-9 * np.ptp(values))
    np.testing.assert_allclose(bins.deciles, np.unique(np.quantile(values, np.linspace(0, 1, 11))), rtol=1e-12, atol=1e-9)
    assert bins.deviation == pytest.approx(np.std(values), rel=1e-9)


def test_bins_of_a_large_sample_are_exactly_those_of_numpy():
    values = np.random.default_rng(SEED).lognormal(size=50_000)
    bins = fit_bins(summarize_numbers(values))
    np.testing.assert_array_equal(bins.edges, np.histogram_bin_edges(np.sort(values), "doane"))
    np.testing.assert_allclose(bins.deciles, np.quantile(values, np.linspace(0, 1, 11)), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-120, 1e-9, 1e140])
def test_bins_do_not_depend_on_the_unit(scale: float):
    values = np.random.default_rng(SEED).lognormal(size=300)
    one, other = (fit_bins(summarize_numbers(own)) for own in (values, values * scale))
    np.testing.assert_allclose(other.edges, one.edges * scale, rtol=1e-9)
    np.testing.assert_allclose(other.deciles, one.deciles * scale, rtol=1e-9)
    assert other.deviation == pytest.approx(one.deviation * scale)


def test_a_value_on_which_several_deciles_fall_has_a_bin_of_its_own():
    rain = np.concatenate([np.zeros(900), np.linspace(0.1, 9.0, 100)])
    dry, wet = np.zeros(100), np.linspace(0.1, 9.0, 100)
    assert numbers(rain, rain)["psi"] == 0.0
    for method in ("psi", "kullback_leibler", "total_variation", "l_infinity"):
        assert numbers(rain, dry)[method] > 0.05
        assert numbers(rain, wet)[method] > 0.5
    assert numbers(rain, wet)["total_variation"] == pytest.approx(0.9, abs=0.011)  # the tenth decile lies among the wet


def test_a_constant_reference_is_no_distance_from_itself_and_all_of_it_from_another():
    same, other = numbers(np.full(50, 3.0), np.full(9, 3.0)), numbers(np.full(50, 3.0), np.full(9, 4.0))
    assert set(same.values()) == {0.0}
    for method in ("kolmogorov_smirnov", "jensen_shannon", "hellinger", "total_variation", "l_infinity", "wasserstein"):
        assert other[method] == pytest.approx(1.0)


@given(samples, st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=1, max_size=50).map(np.array), st.integers(1, 6))
def test_a_reference_cut_into_small_parts_gives_the_same_numbers(reference: np.ndarray, chunk: np.ndarray, size: int):
    for own in (chunk, np.concatenate([chunk, reference])):
        whole = numbers(reference, own)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(distribution, "PART", size)
            cut = numbers(reference, own)
        for name, value in whole.items():
            assert cut[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


@given(samples, samples)
def test_a_mass_of_several_rows_is_as_many_rows(reference: np.ndarray, chunk: np.ndarray):
    doubled = merge_numbers([summarize_numbers(reference)] * 2)
    own = np.sort(chunk)
    methods = [name for name in NUMERIC if name != "missing_shift"]
    bins = fit_bins(doubled)
    one = between_numbers(doubled, slices_of(own), len(own), 0, bins, methods)
    other = between_numbers(summarize_numbers(np.repeat(reference, 2)), slices_of(own), len(own), 0, bins, methods)
    assert {name: number.value for name, number in one.items()} == {name: number.value for name, number in other.items()}


@pytest.mark.parametrize("size", [1, 5, 60])
def test_what_a_block_gives_left_out_is_what_it_gives_against_the_other_rows(size: int):
    rng = np.random.default_rng(SEED)
    values = rng.normal(size=240).round(1)
    block, rest = values[:size], values[size:]
    whole, own = summarize_numbers(values), np.sort(block)
    bins = fit_bins(whole)
    methods = [name for name in NUMERIC if name not in ("missing_shift", "cramer_von_mises")]
    walked = distances.walk(whole, slices_of(own), size, bins, methods)
    left = distances.left_out(walked, len(values) / size)
    direct = between_numbers(summarize_numbers(rest), slices_of(own), size, 0, bins, methods)
    for name in methods:
        assert distances.value_of(left, name) == pytest.approx(direct[name].value, abs=1e-9), name


def test_chi2_pools_rare_categories_until_each_group_is_expected_five_times():
    reference = summarize_categories(pd.Series(["a"] * 5_000 + ["b"] * 4_900 + ["c"] * 99 + ["d"]))
    chunk = summarize_categories(pd.Series(["a"] * 50 + ["b"] * 48 + ["c", "d"]))
    p_value, told = distances.chi2_p_value(reference, chunk)
    table = np.array([[5_000, 5_000], [50, 50]])
    assert p_value == pytest.approx(stats.chi2_contingency(table).pvalue)
    assert told == "3 categories with an expected count below 5 are tested as one"
    common = summarize_categories(pd.Series(["a"] * 60 + ["b"] * 40))
    table = np.array([[5_000, 4_900], [60, 40]])
    halves = distribution.Categories({"a": 5_000.0, "b": 4_900.0})
    assert distances.chi2_p_value(halves, common) == (pytest.approx(stats.chi2_contingency(table).pvalue), "")


@pytest.mark.parametrize("rows", [60, 300])
def test_the_p_value_of_chi2_with_rare_categories_holds_its_rate(rows: int):
    rng = np.random.default_rng(SEED)
    share = np.array([0.6, 0.36, 0.02, 0.01, 0.006, 0.004])
    names = list("abcdef")
    reference = distribution.Categories({name: 100_000 * one for name, one in zip(names, share, strict=True)})
    draws = rng.multinomial(rows, share, size=1_500)
    chunks = [distribution.Categories(dict(zip(names, map(float, draw), strict=True))) for draw in draws]
    p_values = np.array([distances.chi2_p_value(reference, chunk)[0] for chunk in chunks])
    assert (p_values < 0.05).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(draws))


@cache
def nannyml_values(name: str) -> dict[tuple[str, str], list[float]]:
    """Ten chunks of the analysis period by column and method, straight from NannyML's exact mode."""
    reference, analysis, numeric, categorical = world(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nannyml as nml

        calculator = nml.UnivariateDriftCalculator(
            column_names=[*numeric, *categorical], treat_as_categorical=categorical, chunk_number=5,
            continuous_methods=["kolmogorov_smirnov", "jensen_shannon", "wasserstein", "hellinger"],
            categorical_methods=["chi2", "jensen_shannon", "l_infinity", "hellinger"],
            computation_params={"kolmogorov_smirnov": {}, "wasserstein": {}, "calculation_method": "exact"},
        )  # fmt: skip
        result = calculator.fit(reference).calculate(analysis).to_df()
    result = result[result["chunk", "chunk", "period"] == "analysis"]
    return {(column[0], column[1]): result[column].astype(float).tolist() for column in result.columns if column[2] == "value"}


@cache
def world(name: str) -> tuple[pd.DataFrame, pd.DataFrame, list[str], list[str]]:
    if name == "car loans":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import nannyml

            reference, analysis, _ = nannyml.load_synthetic_car_loan_dataset()
        numeric, categorical = (
            ["car_value", "debt_to_income_ratio", "loan_length", "driver_tenure"],
            ["salary_range", "size_of_downpayment"],
        )
        frames = [frame.astype(dict.fromkeys(numeric, "float64")) for frame in (reference, analysis)]
        return frames[0], frames[1], numeric, categorical
    rng = np.random.default_rng(SEED)

    def frame(rows: int, shift: float) -> pd.DataFrame:
        gaps = rng.random(rows) < 0.1
        return pd.DataFrame({
            "x": rng.normal(shift, 1 + shift, rows), "ties": rng.poisson(2 + shift, rows).astype(float), "gaps": np.where(gaps, np.nan, rng.lognormal(size=rows)),
            "c": rng.choice(list("abc"), rows, p=[0.5, 0.3 - shift / 10, 0.2 + shift / 10]),
        })  # fmt: skip

    analysis = pd.concat([frame(500, 0.0), frame(500, 0.5)], ignore_index=True)
    analysis.loc[900:, "c"] = "new"
    return frame(3_000, 0.0), analysis, ["x", "ties", "gaps"], ["c"]


@pytest.mark.parametrize("name", ["synthetic", "car loans"])
def test_shared_methods_equal_nannyml_on_every_chunk(name: str):
    reference, analysis, numeric, categorical = world(name)
    printed = nannyml_values(name)
    compared = 0
    for number, own in enumerate(np.array_split(np.arange(len(analysis)), 5)):
        chunk = analysis.iloc[own]
        for column in [*numeric, *categorical]:
            measure = numbers if column in numeric else categories
            found = measure(reference[column], chunk[column])
            for method in {method for subject, method in printed if subject == column}:
                assert found[method] == pytest.approx(printed[column, method][number], rel=1e-9, abs=1e-9), (column, method, number)
                compared += 1
    assert compared == 5 * 4 * (len(numeric) + len(categorical))
