"""Laws every registered drift method keeps, whatever is registered next."""

import itertools
from dataclasses import fields
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.measures.multivariate import MEASURES
from monitoring_assets.measures.registry import CATEGORICAL, METRICS, MULTIVARIATE, NUMERIC, Method
from monitoring_assets.measures.univariate import FrameRows, fit_values, measure_columns
from resources.policy import Features, MonitoredModel

KNOWN = {"numeric": NUMERIC, "categorical": CATEGORICAL}
METHODS = [(kind, name) for kind, own in KNOWN.items() for name in own]
ROWS = 600
#: Of two constants every row of one side counts in full: a third is the bound of Cramér and von Mises without ties only.
TIED = {"cramer_von_mises": 1.0}


@cache
def policy(kind: str, method: str) -> MonitoredModel:
    return MonitoredModel.model_validate({
        "model": "law", "task": "regression", "log": {"parquet": "log.parquet", "time": "ts", "id": "id", "prediction": "p"},
        "features": {kind: ["v"]}, "outcome": {"column": "y"}, "reference": {"start": "2024-01-01", "end": "2024-01-13"},
        "drift": {kind: [method], "multivariate": [], "outliers": 0.0},
    })  # fmt: skip


@cache
def sample(kind: str, seed: int = 0, rows: int = ROWS) -> pd.Series:
    rng = np.random.default_rng(seed)
    own = rng.normal(size=rows) if kind == "numeric" else rng.choice(list("abcd"), rows, p=[0.4, 0.3, 0.2, 0.1])
    return pd.Series(own, dtype="float64" if kind == "numeric" else object)


@cache
def fitted(kind: str, method: str):
    values = sample(kind)
    return fit_values(policy(kind, method), values.to_numpy() if kind == "numeric" else values, name="v", segment="all", usual=60)


def value(kind: str, method: str, chunk: pd.Series) -> float:
    measured, _ = measure_columns(policy(kind, method), [fitted(kind, method)], FrameRows(pd.DataFrame({"v": chunk})))
    return next(one.number.value for one in measured if one.method == method)


def moved(kind: str, method: str, share: float) -> pd.Series:
    """The reference with a growing share of its rows far off, or missing, or of a new category."""
    own = sample(kind).copy()
    count = round(share * len(own))
    far: object = 9.0 if kind == "numeric" else "new"
    own.iloc[:count] = (np.nan if kind == "numeric" else None) if method == "missing_shift" else far
    return own


def strange(kind: str) -> st.SearchStrategy[pd.Series]:
    cells = (
        st.floats(-1e6, 1e6) | st.sampled_from([np.nan, np.inf, 0.0])
        if kind == "numeric"
        else st.sampled_from(["a", "b", "new", "other", None])
    )
    return st.lists(cells, min_size=1, max_size=30).map(lambda own: pd.Series(own, dtype="float64" if kind == "numeric" else object))


@pytest.mark.parametrize(("kind", "method"), METHODS)
class TestEveryUnivariateMethod:
    def test_it_is_zero_on_identical_samples(self, kind, method):
        assert value(kind, method, sample(kind)) == pytest.approx(KNOWN[kind][method].neutral, abs=1e-9)
        twice = pd.concat([sample(kind)] * 2, ignore_index=True)
        if method != "chi2":  # its statistic is of counts; a sample twice as large has the same shares
            assert value(kind, method, twice) == pytest.approx(0.0, abs=1e-9)

    def test_the_order_of_rows_does_not_matter(self, kind, method):
        rows = sample(kind, 3, 70)
        assert value(kind, method, rows.sample(frac=1.0, random_state=1)) == pytest.approx(value(kind, method, rows), rel=1e-9, abs=1e-12)

    def test_bins_and_categories_are_fixed_on_the_reference(self, kind, method):
        rows, before = sample(kind, 3, 70), fitted(kind, method)
        alone = value(kind, method, rows)
        value(kind, method, rows * 50 + 1000 if kind == "numeric" else rows + "!")
        assert value(kind, method, rows) == alone
        assert fitted(kind, method) is before

    def test_missing_values_are_treated_as_documented(self, kind, method):
        rows = sample(kind, 3, 70)
        holes = rows.where(np.arange(70) % 3 != 0, np.nan if kind == "numeric" else None)
        if method == "missing_shift":
            assert "is measured" in KNOWN[kind][method].missing
            assert value(kind, method, holes) == pytest.approx(24 / 70)
            if kind == "numeric":
                assert value(kind, method, holes.fillna(np.inf)) == pytest.approx(24 / 70)
        else:
            assert KNOWN[kind][method].missing.startswith("left out; NaN where a side has no ")
            assert value(kind, method, holes) == pytest.approx(value(kind, method, holes.dropna()), abs=1e-12)
            assert np.isnan(value(kind, method, holes.where(holes != holes)))

    def test_it_grows_with_a_growing_shift(self, kind, method):
        found = [value(kind, method, moved(kind, method, share)) for share in (0.0, 0.05, 0.2, 0.5, 0.9)]
        assert found == sorted(found)
        assert all(near < far for near, far in itertools.pairwise(found))

    def test_it_stays_in_range_whatever_comes(self, kind, method):
        @settings(max_examples=15)
        @given(strange(kind))
        def law(chunk):
            found, bound = value(kind, method, chunk), TIED.get(method, KNOWN[kind][method].upper_bound)
            assert np.isnan(found) or (found >= 0 and (bound is None or found <= bound + 1e-12))

        law()

    def test_measuring_a_history_in_any_grouping_gives_the_numbers_of_each_chunk_alone(self, kind, method):
        chunks = [sample(kind, seed, 60) for seed in range(1, 7)]
        alone = [value(kind, method, chunk) for chunk in chunks]
        state = fitted(kind, method)
        for groups in ([chunks], [chunks[:2], chunks[2:]], [[chunk] for chunk in reversed(chunks)]):
            found = {}
            for group in groups:
                for chunk in group:
                    measured, _ = measure_columns(policy(kind, method), iter([state]), FrameRows(pd.DataFrame({"v": chunk})))
                    found[chunk.to_numpy().tobytes() if kind == "numeric" else tuple(chunk)] = measured[0].number.value
            assert sorted(found.values()) == sorted(alone)


FEATURES = Features(numeric=["x", "y", "z"], categorical=["c"])


@cache
def joint_rows(seed: int, rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    return pd.DataFrame({"x": x, "y": x + rng.normal(0, 0.3, rows), "z": rng.normal(size=rows), "c": rng.choice(["a", "b"], rows)})


@cache
def joint_state(method: str):
    return MEASURES[method][0](joint_rows(0, ROWS), FEATURES, 0)


def joint(method: str, chunk: pd.DataFrame) -> float:
    return float(MEASURES[method][1](joint_state(method), chunk, FEATURES).value)


def far_off(share: float) -> pd.DataFrame:
    """Rows of the reference's kind whose correlation is turned round and whose level moves, in a share of them."""
    chunk = joint_rows(1, 300)
    turned = np.arange(300) < share * 300
    return chunk.assign(y=np.where(turned, -3 * chunk["y"] + 4, chunk["y"]), x=np.where(turned, 2 * chunk["x"], chunk["x"]))


@pytest.mark.xdist_group("joint_laws")
@pytest.mark.parametrize("method", list(MULTIVARIATE))
class TestEveryMultivariateMethod:
    def test_it_is_neutral_on_rows_of_the_same_kind_and_away_from_it_on_others(self, method):
        entry, calm = MULTIVARIATE[method], joint(method, joint_rows(1, 300))
        away = joint(method, far_off(0.9))
        if entry.neutral == entry.neutral:
            assert abs(calm - entry.neutral) < 0.12
        assert away > calm * 1.2 + 0.02

    def test_it_grows_with_a_growing_fault_and_stays_in_range(self, method):
        found, bound = [joint(method, far_off(share)) for share in (0.0, 0.3, 0.9)], MULTIVARIATE[method].upper_bound
        assert found == sorted(found)
        assert all(one >= 0 and (bound is None or one <= bound) for one in found)

    def test_the_order_of_rows_does_not_matter(self, method):
        if method == "domain_classifier":
            pytest.skip("its folds are cut in the order of rows, as NannyML's are")
        chunk = far_off(0.3)
        assert joint(method, chunk.sample(frac=1.0, random_state=1)) == pytest.approx(joint(method, chunk), rel=1e-6)

    def test_measuring_leaves_the_fit_as_it_was(self, method):
        chunk = far_off(0.3)
        first = joint(method, chunk)
        joint(method, far_off(0.9))
        assert joint(method, chunk) == pytest.approx(first, rel=1e-12)

    def test_missing_values_give_a_number(self, method):
        chunk = joint_rows(1, 300).copy()
        chunk.loc[::10, "x"] = np.nan
        chunk.loc[::15, "c"] = None
        assert np.isfinite(joint(method, chunk))


def test_every_multivariate_method_is_computed_by_something():
    assert set(MEASURES) == set(MULTIVARIATE)


@pytest.mark.parametrize("entry", [*NUMERIC.values(), *CATEGORICAL.values(), *MULTIVARIATE.values()], ids=lambda entry: entry.name)
def test_every_method_says_what_it_means(entry: Method):
    assert len(entry.meaning) > 15
    assert entry.meaning.endswith(".")
    for field in ("formula", "unit", "missing", "source"):
        assert len(getattr(entry, field)) > 3, field
    assert 0 < entry.power <= 1
    assert {field.name for field in fields(entry)} >= {"upper_bound", "neutral", "is_two_sided", "has_p_value"}


def test_every_registry_is_keyed_by_the_name_of_its_entry():
    for known in (NUMERIC, CATEGORICAL, MULTIVARIATE):
        assert all(name == entry.name for name, entry in known.items())


def test_every_metric_says_what_it_means():
    for metric in METRICS.values():
        assert len(metric.meaning) > 15
        assert metric.sign in (-1, +1)
