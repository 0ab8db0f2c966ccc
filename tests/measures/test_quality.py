"""Data that is broken as data: missing, outside its range, too little."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring_assets.measures.quality import MISSING_SHARE, OUT_OF_RANGE_SHARE, ROW_COUNT, quality


@pytest.fixture(scope="module")
def policy(declare):
    return declare(
        features={"numeric": ["x1", "x2"], "categorical": ["kind"]},
        validation={"missing_share": 0.1, "ranges": {"x1": [0, 10]}, "out_of_range_share": 0.05, "minimum_rows": 30},
    )


def chunk(name: str = "2024-01-01", n: int = 100) -> pd.DataFrame:
    return pd.DataFrame({"chunk": name, "x1": np.linspace(0, 10, n), "x2": 1.0, "kind": "red"})


def number(frame: pd.DataFrame, method: str, subject: str, name: str = "2024-01-01") -> pd.Series:
    found = frame[(frame["chunk"] == name) & (frame["method"] == method) & (frame["subject"] == subject)]
    assert len(found) == 1
    return found.iloc[0]


def test_every_chunk_has_one_line_per_number(policy):
    frame = quality(policy, pd.concat([chunk("2024-01-01"), chunk("2024-01-02")]))
    assert list(frame.columns) == [
        "chunk",
        "kind",
        "method",
        "subject",
        "value",
        "standard_error",
        "n_rows",
        "lower_limit",
        "upper_limit",
        "breach",
    ]
    expected = {(MISSING_SHARE, "x1"), (MISSING_SHARE, "x2"), (MISSING_SHARE, "kind"), (OUT_OF_RANGE_SHARE, "x1"), (ROW_COUNT, "rows")}
    for _, own in frame.groupby("chunk"):
        assert set(zip(own["method"], own["subject"], strict=True)) == expected
        assert len(own) == len(expected)
    assert set(frame["kind"]) == {"data_quality"}


def test_null_twin_sound_data_breaches_nothing(policy):
    frame = quality(policy, chunk())
    assert not frame["breach"].any()
    assert frame.loc[frame["method"] != ROW_COUNT, "value"].tolist() == [0.0] * 4


@pytest.mark.parametrize("subject", ["x1", "x2", "kind"])
def test_too_many_missing_values_breach(policy, subject: str):
    rows = chunk()
    rows.loc[:10, subject] = None
    missing = number(quality(policy, rows), MISSING_SHARE, subject)
    assert missing["value"] == pytest.approx(0.11)
    assert missing["breach"]
    assert (missing["n_rows"], missing["upper_limit"]) == (100, 0.1)
    assert missing["standard_error"] == pytest.approx(np.sqrt(0.11 * 0.89 / 100))
    assert quality(policy, rows)["breach"].sum() == 1


def test_exactly_the_allowed_share_does_not_breach(policy):
    rows = chunk()
    rows.loc[:9, "x2"] = np.nan
    assert not number(quality(policy, rows), MISSING_SHARE, "x2")["breach"]


@pytest.mark.parametrize("value", [-0.001, 10.001, np.inf])
def test_too_many_values_outside_their_range_breach(policy, value: float):
    rows = chunk()
    rows.loc[50:55, "x1"] = value
    outside = number(quality(policy, rows), OUT_OF_RANGE_SHARE, "x1")
    assert outside["value"] == pytest.approx(0.06)
    assert outside["breach"]


@pytest.mark.parametrize("value", [0.0, 10.0])
def test_the_ends_of_a_range_lie_inside(policy, value: float):
    assert number(quality(policy, chunk().assign(x1=value)), OUT_OF_RANGE_SHARE, "x1")["value"] == 0.0


def test_a_missing_value_is_not_outside_its_range(policy):
    frame = quality(policy, chunk().assign(x1=np.nan))
    assert number(frame, OUT_OF_RANGE_SHARE, "x1")["value"] == 0.0
    assert number(frame, MISSING_SHARE, "x1")["value"] == 1.0


def test_a_small_chunk_is_counted_and_never_a_breach(policy):
    count = number(quality(policy, chunk(n=29)), ROW_COUNT, "rows")
    assert (count["value"], count["lower_limit"], count["breach"]) == (29.0, 30.0, False)


def test_a_broken_chunk_does_not_touch_its_neighbour(policy):
    frame = quality(policy, pd.concat([chunk("2024-01-01").assign(x1=-1.0), chunk("2024-01-02")]))
    assert frame.loc[frame["breach"], "chunk"].tolist() == ["2024-01-01"]


def test_no_rows_give_no_lines(policy):
    assert len(quality(policy, chunk().iloc[:0])) == 0


@given(st.lists(st.tuples(st.sampled_from(["2024-01-01", "2024-01-02"]), st.none() | st.floats(-20, 20)), min_size=1, max_size=40))
def test_shares_are_shares_and_a_chunk_alone_gives_the_same_numbers(policy, cells):
    rows = pd.DataFrame(
        {"chunk": [name for name, _ in cells], "x1": np.array([value for _, value in cells], dtype=float), "x2": 1.0, "kind": "red"}
    )
    whole = quality(policy, rows)
    shares = whole[whole["method"] != ROW_COUNT]
    assert shares["value"].between(0, 1).all()
    assert shares["standard_error"].between(0, 0.5).all()
    alone = pd.concat([quality(policy, own) for _, own in rows.groupby("chunk")])
    keys = ["chunk", "method", "subject"]
    pd.testing.assert_frame_equal(whole.sort_values(keys).reset_index(drop=True), alone.sort_values(keys).reset_index(drop=True))
