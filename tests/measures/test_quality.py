"""Data that is broken as data: missing, outside its range, too little."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring_assets.measures.lines import COLUMNS, FILLED, with_all_columns
from monitoring_assets.measures.quality import (
    MISSING_SHARE,
    OUT_OF_RANGE_SHARE,
    ROW_COUNT,
    STUCK_SHARE,
    quality,
    stuck_exemptions,
    stuck_share,
)


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
    assert list(frame.columns) == COLUMNS
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


def test_lines_decided_by_their_limits_alone_are_filled_in():
    lines = pd.DataFrame([["2024-01-01", "data_quality", "x", "y", 1.0, 0.1, 9, 0.0, 2.0, False]], columns=FILLED)
    full = with_all_columns(lines)
    assert list(full.columns) == COLUMNS
    assert full.loc[0, ["segment", "compared_with", "is_deciding", "reason"]].tolist() == ["all", "reference", True, ""]
    assert full.loc[0, ["effect", "p_value", "adjusted_p_value"]].isna().all()
    assert not with_all_columns(lines.assign(is_deciding=False))["is_deciding"].any()  # what is given is kept


def sensors(days: int = 12, n: int = 96, seed: int = 0) -> pd.DataFrame:
    """A temperature that never stands still and rain that mostly does."""
    rng = np.random.default_rng(seed)
    total = days * n
    time = pd.date_range("2024-01-01", periods=total, freq=pd.Timedelta(days=1) / n, tz="UTC")
    rain = np.where(np.arange(total) % n < 10, rng.gamma(1.0, size=total), 0.0)
    return pd.DataFrame({"time": time, "chunk": time.strftime("%Y-%m-%d"), "x1": rng.normal(5, 1, total), "x2": rain, "kind": "red"})


def held(rows: pd.DataFrame, name: str, first: int, count: int) -> pd.DataFrame:
    """The sensor repeats one value from row ``first`` on."""
    own = rows[name].to_numpy().copy()
    own[first : first + count] = own[first]
    return rows.assign(**{name: own})


def test_a_stuck_sensor_is_a_data_fault(policy):
    usual, rows = stuck_exemptions(policy, sensors()), sensors(1, seed=1)
    frame = quality(policy, held(rows, "x1", 20, 60), usual)
    found = number(frame, STUCK_SHARE, "x1")
    assert found["value"] == pytest.approx(60 / 96)
    assert found["breach"]
    assert found["kind"] == "data_quality"
    assert frame["breach"].sum() == 1


def test_null_twin_the_same_chunk_with_a_living_sensor_is_sound(policy):
    frame = quality(policy, sensors(1, seed=1), stuck_exemptions(policy, sensors()))
    assert number(frame, STUCK_SHARE, "x1")["value"] == pytest.approx(1 / 96)
    assert not frame["breach"].any()


def test_what_stands_still_by_nature_is_no_stuck_sensor(policy):
    usual = stuck_exemptions(policy, sensors())
    assert usual["x2"] == pytest.approx(86 / 96)
    dry = quality(policy, sensors(1).assign(x2=0.0), usual)
    assert number(dry, STUCK_SHARE, "x2")["value"] == 1.0
    assert not dry["breach"].any()


def test_without_a_reference_nothing_is_said_about_stuck_sensors(policy):
    assert STUCK_SHARE not in set(quality(policy, sensors(1).assign(x1=1.0))["method"])


def test_a_run_is_one_of_times_and_a_missing_value_ends_it(policy):
    rows = held(sensors(1), "x1", 0, 80)
    assert stuck_share(policy, rows, "x1") == pytest.approx(80 / 96)
    shuffled = quality(policy, rows.sample(frac=1, random_state=0), {"x1": 0.0})
    assert number(shuffled, STUCK_SHARE, "x1")["value"] == pytest.approx(80 / 96)
    broken = rows.assign(x1=rows["x1"].where(np.arange(96) != 40))
    assert stuck_share(policy, broken, "x1") == pytest.approx(40 / 96)
    assert stuck_share(policy, rows.assign(x1=np.nan), "x1") == 0.0


def test_too_few_rows_say_nothing_about_a_stuck_sensor(policy):
    assert not quality(policy, sensors(1).iloc[:29].assign(x1=1.0), {"x1": 0.0})["breach"].any()


def test_one_stuck_device_among_interleaved_ones_is_found_where_they_are_declared(declare):
    policy = declare(features={"numeric": ["x1", "x2"], "categorical": ["kind"]}, segments=["device"])
    rows = sensors(1, 192, seed=2).assign(device=np.where(np.arange(192) % 2, "a", "b"))
    stuck = rows.assign(x1=rows["x1"].where(rows["device"] == "b", 5.0))
    usual = stuck_exemptions(policy, sensors(12, 192).assign(device=np.where(np.arange(12 * 192) % 2, "a", "b")))
    assert number(quality(policy, stuck, usual), STUCK_SHARE, "x1")["value"] == 1.0
    assert number(quality(policy, stuck, usual), STUCK_SHARE, "x1")["breach"]
    assert not quality(policy, rows, usual)["breach"].any()
    together = declare(features={"numeric": ["x1", "x2"], "categorical": ["kind"]})
    assert not number(quality(together, stuck, usual), STUCK_SHARE, "x1")["breach"]  # undeclared, the devices hide each other
