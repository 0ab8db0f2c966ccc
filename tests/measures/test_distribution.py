"""Summaries: merging them is summarizing all the rows, and what is stored comes back or is refused."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring_assets.measures import distribution
from monitoring_assets.measures.distribution import (
    Categories,
    Numbers,
    SummaryError,
    merge,
    pack,
    summarize_categories,
    summarize_numbers,
    unpack,
)

#: Ties, both zeros, infinities and gaps are frequent; sums of masses are exact.
values = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 2.0, np.inf, -np.inf, np.nan]), st.floats(-1e6, 1e6), st.integers(-3, 3).map(float))
columns = st.lists(values, max_size=60).map(lambda own: np.array(own, dtype="float64"))
texts = st.lists(st.sampled_from(["a", "b", "c", "ß", "", None]) | st.integers(0, 3), max_size=40).map(
    lambda own: pd.Series(own, dtype=object)
)


def content(summary: distribution.Summary) -> tuple:
    """Everything a summary says, however it is cut."""
    if isinstance(summary, Categories):
        return dict(summary.counts), summary.n_missing
    assert all((np.diff(part.values) > 0).all() for part in summary.parts)
    masses = [mass for part in summary.parts for mass in (np.ones(len(part.values)) if part.mass is None else part.mass).tolist()]
    return [value + 0.0 for part in summary.parts for value in part.values.tolist()], masses, summary.n_missing


@given(columns)
def test_a_summary_is_what_numpy_counts(column: np.ndarray):
    summary = summarize_numbers(column)
    finite = column[np.isfinite(column)]
    distinct, counts = np.unique(finite, return_counts=True)
    assert content(summary) == ((distinct + 0.0).tolist(), counts.astype(float).tolist(), len(column) - len(finite))
    np.testing.assert_array_equal(summary.expanded(), np.sort(finite))
    assert summary.total == len(finite)


@given(texts)
def test_a_summary_of_categories_is_what_pandas_counts(column: pd.Series):
    summary = summarize_categories(column)
    assert summary.n_missing == column.isna().sum()
    assert summary.counts == {str(name): float(n) for name, n in column.dropna().astype(str).value_counts().items()}
    assert list(summary.counts) == sorted(summary.counts)


@pytest.mark.parametrize(
    ("summarize", "samples"), [(summarize_numbers, columns), (summarize_categories, texts)], ids=["numbers", "categories"]
)
class TestMerging:
    def test_merging_is_summarizing_all_rows_in_any_order_and_grouping(self, summarize, samples):
        @given(st.lists(samples, min_size=1, max_size=5), st.randoms(use_true_random=False))
        def law(pieces, random):
            union = pd.concat([pd.Series(piece) for piece in pieces], ignore_index=True)
            expected = content(summarize(union if summarize is summarize_categories else union.to_numpy(dtype="float64")))
            own = [summarize(piece) for piece in pieces]
            random.shuffle(own)
            assert content(merge(own)) == expected
            left = own[0]
            for one in own[1:]:
                left = merge([left, one])
            assert content(left) == expected
            assert content(merge([merge(own)])) == expected

        law()

    def test_what_is_packed_comes_back_and_packs_to_the_same_bytes(self, summarize, samples):
        @given(samples)
        def law(sample):
            summary = summarize(sample)
            pieces = pack(summary)
            assert all(isinstance(piece, bytes) for piece in pieces)
            back = unpack(pieces)
            assert type(back) is type(summary)
            assert content(back) == content(summary)
            assert pack(back) == pieces
            assert content(merge([back])) == content(summary)

        law()


@given(columns, st.integers(1, 7))
def test_how_a_summary_is_cut_into_parts_changes_nothing(column: np.ndarray, size: int):
    whole = summarize_numbers(column)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distribution, "PART", size)
        cut = summarize_numbers(column)
        assert all(0 < len(part.values) <= size for part in cut.parts)
        assert content(cut) == content(whole)
        assert content(merge([cut, whole])) == content(merge([whole, whole]))
        assert len(pack(cut)) == max(1, len(cut.parts))
        assert content(unpack(pack(cut))) == content(whole)


def test_weights_make_a_mixture_and_do_not_depend_on_the_order():
    one, other = summarize_numbers(np.array([0.0, 1.0, np.nan])), summarize_numbers(np.array([1.0, 3.0, 3.0]))
    mixture = merge([one, other], [0.1, 0.7])
    assert content(mixture)[:2] == ([0.0, 1.0, 3.0], pytest.approx([0.1, 0.8, 1.4]))
    assert content(merge([other, one], [0.7, 0.1])) == content(mixture)
    named = merge([Categories({"a": 2.0}), Categories({"a": 1.0, "b": 4.0}, 3)], [0.5, 2.0])
    assert (named.counts, named.n_missing) == ({"a": 3.0, "b": 8.0}, 3)


def test_the_share_of_missing_values_counts_infinite_ones_and_is_nan_of_nothing():
    assert summarize_numbers(np.array([1.0, np.inf, np.nan, 2.0])).missing_share == 0.5
    assert summarize_categories(pd.Series(["a", None, "b", "c"])).missing_share == 0.25
    assert np.isnan(Numbers([]).missing_share)
    assert np.isnan(Categories({}).missing_share)


def test_numbers_and_their_text_are_the_same_category():
    assert summarize_categories(pd.Series([1, "1", 2, None], dtype=object)).counts == {"1": 2.0, "2": 1.0}


class Trap:
    """Says so when it is built."""

    sprung = False

    def __reduce__(self) -> tuple:
        return (setattr, (Trap, "sprung", True))


def archive_of(*arrays: np.ndarray) -> bytes:
    import io

    buffer = io.BytesIO()
    for array in arrays:
        np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "pieces",
    [
        [], [b""], [b"no summary"], [b"{"], [b'{"counts": {}}'], [b'{"n_missing": 0}'], [pickle.dumps(Trap())],
        [archive_of(np.array([0]))], [archive_of(np.array([Trap()], dtype=object), np.array([1.0]), np.array([1.0]))],
        [pack(summarize_numbers(np.array([1.0, 2.0])))[0][:-3]],
    ],
    ids=["nothing", "empty", "text", "half json", "no missing", "no counts", "pickle", "one array", "pickled array", "cut short"],
)  # fmt: skip
def test_foreign_bytes_are_refused_and_nothing_in_them_is_built(pieces: list[bytes]):
    Trap.sprung = False
    with pytest.raises(SummaryError, match=r"got bytes that are no stored summary; expected .* Fit the profile again\."):
        unpack(pieces)
    assert not Trap.sprung
