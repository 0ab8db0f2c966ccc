"""Rows that stay in DuckDB are the rows of the frame: counts, ranges, categories, seasons, segments, sample."""

import itertools

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring_assets import pushdown
from monitoring_assets.drift import _frames
from monitoring_assets.measures.univariate import FrameRows
from monitoring_assets.pushdown import DuckRows

ODD = 'co"lumn; DROP TABLE log --'


def frame(rows: int = 500) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    x = rng.normal(size=rows).round(1)
    x[::17], x[::29], x[::31], x[::37] = np.nan, np.inf, -np.inf, 1e200
    return pd.DataFrame({
        "prediction_id": [f"p{n}" for n in range(rows)], "time": pd.date_range("2024-03-30 20:00", periods=rows, freq="37min", tz="UTC").as_unit("us"),
        ODD: x, "c": rng.choice(["a", "b", "it's", None], rows), "site": rng.choice(["north", "süd", None], rows),
        "chunk": rng.choice(["one", "two"], rows),
    })  # fmt: skip


@pytest.fixture
def table():
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("handed", frame())
        connection.execute("CREATE TABLE log AS SELECT * FROM handed")
        yield connection


@pytest.fixture
def both(table) -> tuple[DuckRows, FrameRows]:
    own = frame()
    return DuckRows(table, "log", "chunk = ?", ("one",)), FrameRows(own[own["chunk"] == "one"].reset_index(drop=True))


def test_counts_are_those_of_the_frame(both):
    duck, held = both
    assert duck.n_rows == held.n_rows
    for fences in ((-np.inf, np.inf), (-1.0, 1.0), (0.1, np.inf), (-np.inf, -0.3)):
        assert duck.counts({ODD: fences}) == held.counts({ODD: fences})
    assert duck.counts({}) == held.counts({}) == {}


@pytest.mark.parametrize("has_ties", [False, True])
def test_ranges_give_every_value_once_in_ascending_order(both, has_ties):
    duck, held = both
    whole = held.take(ODD, -np.inf, np.inf, False)(-np.inf, np.inf).expanded()
    places = [-np.inf, -1.3, -0.1, 0.0, 0.2, 0.30000000000000004, 2.0, np.inf]
    for fences in ((-np.inf, np.inf), (-0.7, 0.7)):
        pieces = [duck.take(ODD, *fences, has_ties)(low, high).expanded() for low, high in itertools.pairwise(places)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole[(whole >= fences[0]) & (whole <= fences[1])])
        for piece, low, high in zip(pieces, places, places[1:], strict=False):
            np.testing.assert_array_equal(piece, held.take(ODD, *fences, False)(low, high).expanded())


@given(st.lists(st.floats(-1e300, 1e300, allow_nan=False), min_size=1, max_size=20))
def test_a_value_lies_on_the_same_side_of_its_own_edge_in_both_engines(values: list[float]):
    own = pd.DataFrame({"v": np.array(values)})
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("log", own)
        duck, held = DuckRows(connection, "log"), FrameRows(own)
        for edge in values[:5]:
            assert duck.counts({"v": (edge, edge)}) == held.counts({"v": (edge, edge)})
            for low, high in ((-np.inf, edge), (edge, np.inf)):
                np.testing.assert_array_equal(
                    duck.take("v", -np.inf, np.inf, False)(low, high).expanded(),
                    held.take("v", -np.inf, np.inf, False)(low, high).expanded(),
                )


def test_categories_seasons_and_segments_are_those_of_the_frame(both):
    duck, held = both
    assert duck.categories("c") == held.categories("c")
    for season in ("hour", "weekday", "month"):
        assert duck.seasons(season) == pytest.approx(held.seasons(season), abs=1e-15)
    ours, theirs = (dict(rows.segments("site")) for rows in (duck, held))
    assert list(ours) == list(theirs) == ["missing", "north", "süd"]
    for name in ours:
        assert ours[name].n_rows == theirs[name].n_rows
        assert ours[name].categories("c") == theirs[name].categories("c")


def test_a_chunk_without_rows_has_nothing(table):
    none = DuckRows(table, "log", "chunk = ?", ("three",))
    assert none.n_rows == 0
    assert none.counts({ODD: (0.0, 1.0)})[ODD].n_rows == 0
    assert len(none.take(ODD, -np.inf, np.inf, True)(-np.inf, np.inf).values) == 0
    assert none.categories("c").total == 0
    assert none.seasons("hour") == {}
    assert list(none.segments("site")) == []


def test_the_sample_is_always_the_same_rows_in_whatever_order_they_lie(table, monkeypatch):
    monkeypatch.setattr(pushdown, "SAMPLE", 50)
    first = DuckRows(table, "log").sample(["prediction_id", ODD])
    table.execute("CREATE TABLE turned AS SELECT * FROM log ORDER BY prediction_id DESC")
    second = DuckRows(table, "turned").sample(["prediction_id", ODD])
    assert 20 < len(first) < 100
    assert set(first["prediction_id"]) == set(second["prediction_id"])
    monkeypatch.setattr(pushdown, "SAMPLE", 1_000)
    assert len(DuckRows(table, "log").sample(["prediction_id"])) == 500


@pytest.mark.parametrize("most", [1, 300, 10_000])
def test_rows_fetched_for_several_chunks_at_once_are_each_chunk_s_own(table, most):
    following = [(chunk, int((frame()["chunk"] == chunk).sum()), "1") for chunk in ("one", "two")]
    found = _frames(table, "log", following, most)
    assert list(found) == (["one", "two"] if most == 10_000 else ["one"])
    for chunk, own in found.items():
        expected = table.execute("SELECT * FROM log WHERE chunk = ?", [chunk]).df()
        pd.testing.assert_frame_equal(own, expected)
