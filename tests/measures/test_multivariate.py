"""Multivariate drift: laws, faults and their null twins, hostile frames, NannyML's own numbers."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from monitoring_assets.measures import domain_classifier, mmd
from monitoring_assets.measures.domain_classifier import fit_domain_classifier
from monitoring_assets.measures.multivariate import (
    MEASURES,
    dump,
    fit_pca_reconstruction,
    load,
    measure_domain_classifier,
    measure_pca_reconstruction,
    pca_row_errors,
)
from monitoring_assets.measures.number import Number
from resources.policy import Features

FEATURES = Features(numeric=["a", "b", "c"], categorical=["kind"])
every_method = pytest.mark.parametrize("method", MEASURES)


def frame(seed: int, n: int = 300, rho: float = 0.0, shift: float = 0.0) -> pd.DataFrame:
    """Three numeric features, of which ``a`` and ``b`` correlate, and a category."""
    rng = np.random.default_rng(seed)
    a, other, c = rng.normal(size=(3, n))
    kind = rng.choice(np.array(["red", "green", "blue"], dtype=object), n, p=[0.5, 0.3, 0.2])
    return pd.DataFrame({"a": a + shift, "b": rho * a + math.sqrt(1 - rho**2) * other, "c": 100 * c + 7, "kind": kind})


def number(method: str, reference: pd.DataFrame, rows: pd.DataFrame, features: Features = FEATURES, seed: int = 0) -> Number:
    fit, measure = MEASURES[method]
    return measure(fit(reference, features, seed), rows, features)


def same(one: Number, other: Number) -> bool:
    return all(
        mine == theirs or (isinstance(mine, float) and math.isnan(mine) and math.isnan(theirs))
        for mine, theirs in zip(vars(one).values(), vars(other).values(), strict=True)
    )


# --- laws -------------------------------------------------------------------------------------------------------------


@every_method
def test_the_same_rows_give_the_same_number(method: str):
    assert same(number(method, frame(1), frame(2)), number(method, frame(1), frame(2)))


@every_method
def test_a_state_survives_its_bytes(method: str):
    fit, measure = MEASURES[method]
    state = fit(frame(1), FEATURES, 0)
    again = load(dump(state))
    assert state.keys() == again.keys()
    assert all(array.dtype.kind in "fiuU" for array in again.values())
    assert same(measure(state, frame(2), FEATURES), measure(again, frame(2), FEATURES))


@every_method
def test_measuring_changes_neither_state_nor_rows(method: str):
    fit, measure = MEASURES[method]
    state, rows = fit(frame(1), FEATURES, 0), frame(2)
    before, untouched = dump(state), rows.copy()
    measure(state, rows, FEATURES)
    assert dump(state) == before
    pd.testing.assert_frame_equal(rows, untouched)


@every_method
def test_pickled_objects_are_not_loaded(method: str):
    fit, _ = MEASURES[method]
    state = fit(frame(1), FEATURES, 0)
    with pytest.raises(ValueError, match="Object arrays"):
        dump({**state, "object": np.array([object()])})


@pytest.mark.parametrize("method", ["pca_reconstruction", "mmd", "correlation_shift"])
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(method: str, seed: int):
    reference, rows = frame(seed), frame(seed + 1)
    plain = number(method, reference, rows)
    turned = number(method, reference.sample(frac=1, random_state=seed), rows.sample(frac=1, random_state=seed))
    assert turned.value == pytest.approx(plain.value, rel=1e-9)
    assert turned.effect == pytest.approx(plain.effect, rel=1e-6)
    assert turned.reason == plain.reason


def test_the_order_of_rows_moves_the_domain_classifier_within_chance():
    reference, rows = frame(1), frame(2)
    plain, turned = number("domain_classifier", reference, rows), number("domain_classifier", reference, rows[::-1])
    assert abs(turned.value - plain.value) < 4 * plain.standard_error


@pytest.mark.parametrize("method", ["mmd", "correlation_shift"])
@pytest.mark.parametrize("n", [60, 2500])
def test_identical_rows_are_at_distance_zero(method: str, n: int):
    same_rows = number(method, frame(1, n), frame(1, n).sample(frac=1, random_state=0))
    assert same_rows.value == same_rows.effect == 0.0
    assert same_rows.p_value > 0.9


@pytest.mark.parametrize("n", [60, 2500])
def test_identical_rows_cannot_be_told_apart(n: int):
    found = number("domain_classifier", frame(1, n), frame(1, n))
    assert found.value == pytest.approx(0.5, abs=1e-12)
    assert found.effect == pytest.approx(0.0, abs=1e-12)


def test_the_reference_itself_has_no_reconstruction_effect():
    assert number("pca_reconstruction", frame(1), frame(1)).effect == pytest.approx(0.0, abs=1e-9)


@every_method
@settings(max_examples=8)
@given(seed=st.integers(0, 1000), rho=st.floats(-0.9, 0.9))
def test_numbers_stay_in_their_range(method: str, seed: int, rho: float):
    found = number(method, frame(seed, 80), frame(seed + 1, 60, rho))
    top = {"pca_reconstruction": math.inf, "domain_classifier": 1.0, "mmd": math.sqrt(2), "correlation_shift": 2.0}[method]
    assert 0 <= found.value <= top
    assert found.standard_error > 0
    assert method == "pca_reconstruction" or 0 <= found.p_value <= 1


# --- faults and null twins --------------------------------------------------------------------------------------------

PAIR = Features(numeric=["a", "b"])


@pytest.mark.parametrize("method", ["mmd", "correlation_shift"])
@pytest.mark.parametrize("seed", range(5))
def test_a_change_of_correlation_alone_is_caught_where_every_feature_looks_the_same(method: str, seed: int):
    reference, rows = frame(seed, 500), frame(seed + 100, 500, rho=0.6)
    assert min(ks_2samp(reference[name], rows[name]).pvalue for name in PAIR.all) > 0.001
    found = number(method, reference, rows, PAIR)
    assert found.p_value < 0.01
    assert found.effect > 0.05


@pytest.mark.parametrize("method", ["mmd", "correlation_shift", "domain_classifier"])
def test_null_twin_without_drift_one_in_twenty_is_called_unlikely(method: str):
    seeds = range(15 if method == "domain_classifier" else 60)
    found = [number(method, frame(seed, 250), frame(seed + 500, 250)).p_value for seed in seeds]
    assert np.mean(np.array(found) < 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(found))


@pytest.mark.slow
def test_null_twin_the_chance_of_the_domain_classifier_allows_for_models_that_share_rows():
    found = [number("domain_classifier", frame(seed, 1500), frame(seed + 500, 1500)).p_value for seed in range(20)]
    assert np.mean(np.array(found) < 0.05) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(found))


def test_the_pair_whose_correlation_changed_is_named():
    found = number("correlation_shift", frame(1, 2000), frame(2, 2000, rho=0.6))
    assert found.reason.startswith("correlation of a and b ")
    assert float(found.reason.split()[-1]) == pytest.approx(0.6, abs=0.05)
    assert found.standard_error == pytest.approx(math.sqrt(1.06 / 1997 * (1 + (1 - 0.58**2) ** 2)), rel=0.05)


@every_method
def test_a_shift_of_one_deviation_is_caught(method: str):
    features = FEATURES if method != "correlation_shift" else PAIR
    drifted = frame(2, shift=1.0) if method != "correlation_shift" else frame(2, rho=0.7)
    if method == "pca_reconstruction":
        drifted = drifted.assign(a=drifted["a"] * 2.0)
    found, quiet = number(method, frame(1), drifted, features), number(method, frame(1), frame(3), features)
    assert found.value > quiet.value
    assert abs(found.effect) > 0.2 > abs(quiet.effect)


def test_single_spikes_are_no_drift_of_the_kernel_distance():
    rows = frame(2, 300)
    rows.loc[[3, 70], "a"] = 1e9
    assert number("mmd", frame(1, 300), rows).p_value > 0.05


def test_the_kernel_distance_is_that_of_its_definition():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(0.5, 1.0, (30, 2))
    state = mmd.fit_mmd(pd.DataFrame(x, columns=PAIR.all), PAIR, 0)
    x, y = ((values - state["center"]) / state["scale"] for values in (x, y))

    def mean(one: np.ndarray, other: np.ndarray, is_own: bool = False) -> tuple[float, float]:
        squares = ((one[:, None] - other[None]) ** 2).sum(axis=2)
        kernel = np.exp(-squares / (2 * float(state["bandwidth"]) ** 2))
        return float(kernel.mean()), float((kernel.sum() - len(one)) / (len(one) * (len(one) - 1))) if is_own else 0.0

    (xx, xx_apart), (yy, yy_apart), (xy, _) = mean(x, x, True), mean(y, y, True), mean(x, y)
    found = mmd.measure_mmd(state, pd.DataFrame(y * state["scale"] + state["center"], columns=PAIR.all), PAIR)
    assert found.value == pytest.approx(math.sqrt(xx + yy - 2 * xy), rel=1e-9)
    assert found.effect == pytest.approx(math.sqrt(xx_apart + yy_apart - 2 * xy), rel=1e-9)
    quick = mmd.mmd_value(state, pd.DataFrame(y * state["scale"] + state["center"], columns=PAIR.all), PAIR)
    assert (quick.value, quick.n_rows) == (pytest.approx(found.value, rel=1e-9), found.n_rows)
    assert mmd.mmd_value(state, pd.DataFrame(y[:2], columns=PAIR.all), PAIR).reason == "got 2 rows; expected at least 5"


def test_the_area_and_its_chance_are_those_of_scikit_learn_and_scipy():
    from scipy.stats import mannwhitneyu, norm
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200).astype(float), rng.integers(0, 20, 200).astype(float)
    area, p_value = domain_classifier._area(scores, labels)
    expected = mannwhitneyu(scores[labels == 1], scores[labels == 0], alternative="greater", method="asymptotic", use_continuity=False)
    assert area == pytest.approx(roc_auc_score(labels, scores))
    assert norm.isf(p_value) == pytest.approx(norm.isf(expected.pvalue) / math.sqrt(1 + 5 / 4))


def test_spearman_is_that_of_pandas_with_missing_values():
    rows, reference = frame(1, 200), frame(2, 200)
    rows.loc[rows.index[::3], "a"] = np.nan
    rows["c"] = rows["c"].round(-2)
    names = FEATURES.numeric
    change = (rows[names].corr("spearman") - reference[names].corr("spearman")).abs()
    assert number("correlation_shift", reference, rows).value == pytest.approx(change.to_numpy().max())


# --- hostile frames ---------------------------------------------------------------------------------------------------


def _with(rows: pd.DataFrame, **columns: object) -> pd.DataFrame:
    return rows.assign(**columns)


HOSTILE = {
    "no rows": lambda rows: rows.iloc[:0],
    "one row": lambda rows: rows.iloc[:1],
    "six rows": lambda rows: rows.iloc[:6],
    "a column without values": lambda rows: _with(rows, a=np.nan),
    "no value at all": lambda rows: _with(rows, a=np.nan, b=np.nan, c=np.nan, kind=None),
    "a constant column": lambda rows: _with(rows, b=3.0),
    "constant columns only": lambda rows: _with(rows, a=1.0, b=2.0, c=3.0, kind="red"),
    "infinities": lambda rows: _with(rows, a=np.where(np.arange(len(rows)) % 7 == 0, np.inf, rows["a"]), b=-np.inf),
    "huge numbers": lambda rows: _with(rows, a=rows["a"] * 1e99, b=rows["b"] * 1e300),
    "tiny numbers": lambda rows: _with(rows, a=rows["a"] * 1e-300),
    "unseen categories": lambda rows: _with(rows, kind="ultraviolet"),
    "missing categories": lambda rows: _with(rows, kind=None),
    "many categories": lambda rows: _with(rows, kind=pd.Series([f"kind {i}" for i in range(len(rows))], dtype=object, index=rows.index)),
    "a long category": lambda rows: _with(rows, kind="x" * 10_000 + "\0"),
    "whole numbers": lambda rows: _with(rows, a=rows["a"].round(), b=np.arange(len(rows)) % 2),
    "truth values": lambda rows: _with(rows, kind=pd.Series(np.arange(len(rows)) % 2 == 0, dtype=object, index=rows.index)),
}


def is_result_or_refusal(found: Number) -> bool:
    return math.isfinite(found.value) or ("got" in found.reason and "expected" in found.reason)


@every_method
@pytest.mark.parametrize("chunk", HOSTILE)
def test_a_hostile_chunk_gives_a_number_or_a_named_refusal(method: str, chunk: str):
    found = number(method, frame(1, 100), HOSTILE[chunk](frame(2, 80)))
    assert is_result_or_refusal(found)
    assert isinstance(found.value, float)


@every_method
@pytest.mark.parametrize("reference", HOSTILE)
def test_a_hostile_reference_gives_a_number_or_a_named_refusal(method: str, reference: str):
    broken = HOSTILE[reference](frame(1, 100))
    assert is_result_or_refusal(number(method, broken, frame(2, 80)))
    assert is_result_or_refusal(number(method, broken, HOSTILE[reference](frame(2, 80))))


cells = st.one_of(st.floats(width=64), st.integers(-3, 3).map(float), st.just(float("nan")))
kinds = st.one_of(st.none(), st.sampled_from(["", "red", "\U0010ffff", "é"]), st.text(max_size=3))
frames = st.lists(st.tuples(cells, cells, cells, kinds), max_size=30).map(
    lambda rows: pd.DataFrame(rows, columns=FEATURES.all).astype({**dict.fromkeys(FEATURES.numeric, float), "kind": object})
)


@every_method
@settings(max_examples=25)
@given(reference=frames, rows=frames)
def test_any_frame_gives_a_number_or_a_named_refusal(method: str, reference: pd.DataFrame, rows: pd.DataFrame):
    assert is_result_or_refusal(number(method, reference, rows))


@every_method
def test_ten_thousand_categories_are_stored_and_measured(method: str):
    wide = pd.DataFrame({"a": np.arange(10_000.0), "b": np.arange(10_000.0) % 7, "kind": [f"é{i}" for i in range(10_000)]}, dtype=object)
    wide = wide.astype({"a": float, "b": float})
    features = Features(numeric=["a", "b"], categorical=["kind"])
    fit, measure = MEASURES[method]
    stored = dump(fit(wide, features, 0))
    assert len(stored) < 10e6
    assert is_result_or_refusal(measure(load(stored), wide.iloc[:500], features))


def test_categories_only_are_measured_or_refused_by_name():
    features = Features(categorical=["kind"])
    for method in MEASURES:
        assert is_result_or_refusal(number(method, frame(1), frame(2), features))
    assert "2" in number("correlation_shift", frame(1), frame(2), features).reason


def test_names_that_lightgbm_refuses_are_no_trouble():
    features = Features(numeric=['a "b": {', "ä,[]"])
    rows = [frame(seed)[["a", "b"]].set_axis(features.all, axis=1) for seed in (1, 2)]
    assert 0.3 < number("domain_classifier", *rows, features).value < 0.7


def test_row_errors_of_an_unfitted_reference_raise_with_the_reason():
    state = fit_pca_reconstruction(frame(1).iloc[:1], FEATURES, 0)
    with pytest.raises(ValueError, match="got a reference of 1 rows"):
        pca_row_errors(state, frame(2), FEATURES)


def test_row_errors_average_to_the_number():
    state = fit_pca_reconstruction(frame(1), FEATURES, 0)
    errors = pca_row_errors(state, frame(2), FEATURES)
    assert errors.shape == (300,)
    assert errors.mean() == measure_pca_reconstruction(state, frame(2), FEATURES).value


# --- NannyML ----------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")  # NannyML's loader, encoder and plots warn of their own deprecations
def test_reconstruction_equals_nannyml_with_missing_values_and_unseen_categories():
    import nannyml

    reference, rows = frame(1, 400), frame(2, 400)
    for broken in (reference, rows):
        broken.loc[broken.index[::5], "a"] = np.nan
        broken.loc[broken.index[::9], "kind"] = np.nan
    rows.loc[rows.index[1::11], "kind"] = "ultraviolet"
    theirs = nannyml.DataReconstructionDriftCalculator(column_names=FEATURES.all, chunk_number=1).fit(reference)
    table = theirs.calculate(rows).filter(period="analysis").to_df()["reconstruction_error"].iloc[0]
    mine = number("pca_reconstruction", reference, rows)
    assert mine.value == pytest.approx(table["value"], abs=1e-9)
    assert mine.standard_error == pytest.approx(table["sampling_error"], abs=1e-9)


@pytest.mark.filterwarnings("ignore")
def test_reconstruction_equals_nannyml_on_its_car_loans():
    import nannyml

    reference, rows, _ = nannyml.load_synthetic_car_loan_dataset()
    numeric, categorical = ["car_value", "driver_tenure"], ["salary_range", "size_of_downpayment", "repaid_loan_on_prev_car"]
    features = Features(numeric=numeric, categorical=categorical)
    theirs = nannyml.DataReconstructionDriftCalculator(column_names=features.all, chunk_size=10_000).fit(reference)
    table = theirs.calculate(rows).filter(period="analysis").to_df()["reconstruction_error"]
    state = fit_pca_reconstruction(reference, features, 0)
    for i, line in table.iterrows():
        mine = measure_pca_reconstruction(state, rows.iloc[i * 10_000 : (i + 1) * 10_000], features)
        assert mine.value == pytest.approx(line["value"], abs=1e-9)
        assert mine.standard_error == pytest.approx(line["sampling_error"], abs=1e-9)


def test_the_domain_classifier_equals_nannyml():
    reference, rows = frame(1, 400), frame(2, 300, rho=0.5)
    reference.loc[reference.index[::7], ["a", "kind"]] = [np.nan, None]
    rows.loc[rows.index[::4], ["a", "kind"]] = [np.nan, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nannyml

        theirs = nannyml.DomainClassifierCalculator(feature_column_names=FEATURES.all, chunk_number=1).fit(reference)
        expected = theirs.calculate(rows).filter(period="analysis").to_df()[("domain_classifier_auroc", "value")].iloc[0]
    found = measure_domain_classifier(fit_domain_classifier(reference, FEATURES, 0), rows, FEATURES)
    assert found.value == pytest.approx(expected, abs=1e-9)


def test_a_reference_that_varies_by_less_than_rounding_has_no_components():
    rows = [(0.0, np.nan, 0.0, None), (np.nan, 0.0, 2.2250738585072014e-308, None)]
    reference = pd.DataFrame(rows, columns=FEATURES.all).astype({**dict.fromkeys(FEATURES.numeric, float), "kind": object})
    assert len(fit_pca_reconstruction(reference, FEATURES, 0)["components"]) == 0
