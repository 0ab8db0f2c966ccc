"""One column at a time: both engines agree, seasons are matched, segments and outliers are told apart, nothing odd breaks it."""

import json
from functools import cache

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring_assets.measures import distribution
from monitoring_assets.measures.breaches import drift_lines
from monitoring_assets.measures.distribution import pack, unpack
from monitoring_assets.measures.registry import CATEGORICAL, NUMERIC
from monitoring_assets.measures.univariate import FittedColumn, FrameRows, fit_columns, fit_values, measure_columns, season_of
from monitoring_assets.pushdown import DuckRows
from resources.policy import MonitoredModel

PER_DAY = 96
KEYS = ["subject", "segment", "compared_with", "method"]


def policy_of(
    *,
    chunk: str = "1d",
    segments: tuple[str, ...] = (),
    numbers: tuple[str, ...] = ("x", "y"),
    texts: tuple[str, ...] = ("c",),
    **drift: object,
) -> MonitoredModel:
    return MonitoredModel.model_validate({
        "model": "demo", "task": "regression", "log": {"csv": "log.csv", "time": "at", "id": "row_id"}, "outcome": {"column": "target"},
        "features": {"numeric": list(numbers), "categorical": list(texts)}, "segments": list(segments), "chunk": chunk,
        "reference": {"start": "2023-01-01", "end": "2024-01-01"}, "drift": {"multivariate": [], **drift},
    })  # fmt: skip


@cache
def world(
    days: int, seed: int, *, start: str = "2023-01-01", per_day: int = PER_DAY, yearly: float = 0.0, daily: float = 0.0
) -> pd.DataFrame:
    """Independent rows; ``x`` may swing over the year and the day, ``y`` has ties and gaps."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    time = pd.date_range(start, periods=n, freq=pd.Timedelta(days=1) / per_day, tz="UTC").as_unit("us")
    swing = yearly * np.sin(2 * np.pi * time.dayofyear / 365.25) + daily * np.sin(2 * np.pi * time.hour / 24)
    y = rng.poisson(3, n).astype(float)
    return pd.DataFrame({
        "time": time, "prediction_id": [f"p{index}" for index in range(n)], "x": rng.normal(size=n) + np.asarray(swing),
        "y": np.where(rng.random(n) < 0.02, np.nan, y), "c": rng.choice(["a", "b", "d"], n, p=[0.5, 0.3, 0.2]),
        "site": rng.choice(["north", "south"], n),
    })  # fmt: skip


def lines_of(policy: MonitoredModel, fitted: list[FittedColumn], rows: "FrameRows | DuckRows") -> pd.DataFrame:
    measured, outliers = measure_columns(policy, fitted, rows)
    return drift_lines(policy, "2024-02-01", measured, outliers, rows.n_rows)


def in_duckdb(frame: pd.DataFrame) -> DuckRows:
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("handed", frame)
    connection.execute("CREATE TABLE log AS SELECT * FROM handed")
    connection.unregister("handed")
    return DuckRows(connection, "log")


def fit(policy: MonitoredModel, reference: pd.DataFrame, usual: int = PER_DAY) -> list[FittedColumn]:
    return fit_columns(policy, reference, usual)


def breaches(lines: pd.DataFrame, *, is_deciding: bool = True) -> set[tuple[str, str]]:
    own = lines[lines["breach"] & (lines["is_deciding"] == is_deciding)]
    return set(zip(own["segment"], own["subject"], strict=True))


EVERYTHING = {"numeric": list(NUMERIC), "categorical": list(CATEGORICAL)}


@pytest.mark.parametrize(
    ("drift", "segments"),
    [({}, ()), ({"season": "hour"}, ("site",)), ({"season": "weekday"}, ()), ({"outliers": 0.0}, ("site", "c"))],
    ids=["plain", "hours and sites", "weekdays", "no outliers set aside"],
)
def test_both_engines_give_the_same_lines(drift: dict, segments: tuple[str, ...]):
    drift = {
        **drift,
        "numeric": ["kolmogorov_smirnov", "wasserstein", "psi", "missing_shift"],
        "categorical": ["chi2", "jensen_shannon", "unseen_share", "missing_shift"],
    }
    policy = policy_of(segments=segments, **drift)
    fitted = fit(policy, world(28, 1))
    chunk = world(2, 2).copy()
    chunk.loc[[3, 60], "x"] = [np.inf, -np.inf]
    chunk.loc[[7, 90], "x"] = [1e9, -1e9]
    chunk.loc[::9, "y"] = np.nan
    chunk.loc[::11, "c"] = None
    chunk.loc[5:8, "c"] = "neu 'ü"
    chunk.loc[::13, "site"] = None
    one, other = (
        lines_of(policy, fitted, rows).sort_values([*KEYS, "kind"], kind="stable").reset_index(drop=True)
        for rows in (FrameRows(chunk), in_duckdb(chunk))
    )
    assert len(one) > 10
    pd.testing.assert_frame_equal(one, other, rtol=1e-12, atol=1e-12)


def test_both_engines_agree_where_the_reference_is_many_parts(monkeypatch):
    monkeypatch.setattr(distribution, "PART", 100)
    policy = policy_of(**EVERYTHING)
    fitted = fit(policy, world(28, 1))
    assert len(fitted[0].plain().parts) > 20
    for chunk in (world(1, 3), world(1, 3).assign(x=50.0), world(1, 3).iloc[:1]):
        one, other = (lines_of(policy, fitted, rows) for rows in (FrameRows(chunk), in_duckdb(chunk)))
        pd.testing.assert_frame_equal(one, other, rtol=1e-12, atol=1e-12)


def test_a_stored_column_measures_as_the_fitted_one():
    policy = policy_of(season="hour", **EVERYTHING)
    fitted = fit(policy, world(28, 1))
    back = []
    for column in fitted:
        plain = json.loads(json.dumps(column.as_plain()))
        back.append(FittedColumn.from_plain(plain, {name: unpack(pack(own)) for name, own in column.seasons.items()}))
    chunk = FrameRows(world(1, 4))
    pd.testing.assert_frame_equal(lines_of(policy, fitted, chunk), lines_of(policy, back, chunk), check_exact=True)


def test_seasons_are_those_of_utc_in_both_engines():
    frame = world(9, 1).assign(time=world(9, 1)["time"] + pd.Timedelta(hours=5))
    zurich = frame.assign(time=frame["time"].dt.tz_convert("Europe/Zurich").dt.tz_convert("UTC"))
    for season in ("hour", "weekday", "month"):
        assert FrameRows(frame).seasons(season) == pytest.approx(in_duckdb(zurich).seasons(season), abs=1e-15)
        assert set(FrameRows(frame).seasons(season)) == set(season_of(frame["time"], season))
    assert season_of(pd.Series(pd.to_datetime(["2024-01-01T07:00Z"])), "weekday").tolist() == ["weekday 0"]


YEAR = {"per_day": 24, "yearly": 3.0}


@pytest.mark.parametrize("start", ["2024-01-08", "2024-04-08", "2024-07-08", "2024-10-07"])
def test_a_season_alone_alarms_the_plain_reference_and_not_the_matched_one(start: str):
    reference, chunk = world(365, 1, **YEAR), FrameRows(world(7, 9, start=start, **YEAR))
    policy = policy_of(chunk="1w", season="month", limit={"rule": "constant", "values": {"wasserstein": 1.2}})
    lines = lines_of(policy, fit(policy, reference, 7 * 24), chunk)
    assert breaches(lines) == set()
    assert breaches(lines, is_deciding=False) == {("all", "x")}
    calibrated = policy_of(chunk="1w", season="month")
    assert breaches(lines_of(calibrated, fit(calibrated, reference, 7 * 24), chunk)) == set()


def test_a_shift_within_the_range_of_the_year_is_seen_by_the_matched_reference_alone():
    policy = policy_of(chunk="1w", season="month")
    chunk = world(7, 9, start="2024-07-08", **YEAR)
    lines = lines_of(policy, fit(policy, world(365, 1, **YEAR), 7 * 24), FrameRows(chunk.assign(x=chunk["x"] + 2.0)))
    assert breaches(lines) == {("all", "x")}
    assert breaches(lines, is_deciding=False) == set()


@pytest.mark.parametrize("season", [None, "month"])
def test_a_real_shift_alarms_both_the_plain_and_the_matched_reference(season: str | None):
    policy = policy_of(chunk="1w", season=season)
    fitted = fit(policy, world(365, 1, **YEAR), 7 * 24)
    chunk = world(7, 9, start="2024-07-08", **YEAR)
    lines = lines_of(policy, fitted, FrameRows(chunk.assign(x=chunk["x"] + 6.0)))
    assert ("all", "x") in breaches(lines)
    if season:
        assert set(lines.loc[lines["is_deciding"], "compared_with"]) == {"same month"}
        assert {"reference", "same month"} == set(lines.loc[lines["kind"] == "univariate_drift", "compared_with"])


def test_a_season_the_reference_does_not_hold_is_a_named_refusal():
    policy = policy_of(chunk="1w", season="month")
    fitted = fit(policy, world(59, 1, **YEAR), 7 * 24)
    lines = lines_of(policy, fitted, FrameRows(world(7, 9, start="2024-07-08", **YEAR)))
    own = lines[lines["compared_with"] == "same month"]
    assert own["value"].isna().all()
    assert not own["breach"].any()
    assert set(own["reason"]) == {"got month 07, which the reference does not hold; expected a reference of a whole cycle"}


def test_a_chunk_of_several_seasons_is_compared_with_as_much_of_each():
    policy = policy_of(season="hour", numbers=("x",), texts=())
    fitted = fit(policy, world(28, 1, daily=3.0))
    morning = world(4, 5, daily=3.0)
    morning = morning[morning["time"].dt.hour.isin([6, 7, 8])]
    lines = lines_of(policy, fitted, FrameRows(morning))
    assert breaches(lines) == set()
    assert lines.set_index(["method", "compared_with"])["value"]["wasserstein"]["same hour"] < 0.5
    assert lines.set_index(["method", "compared_with"])["value"]["wasserstein"]["reference"] > 1.5


SITES = policy_of(segments=("site",))


def test_a_fault_of_one_site_is_named_by_its_segment():
    fitted, chunk = fit(SITES, world(40, 1)), world(1, 6)
    faulty = chunk.assign(x=np.where(chunk["site"] == "north", chunk["x"] + 1.5, chunk["x"]))
    found = breaches(lines_of(SITES, fitted, FrameRows(faulty)))
    assert ("site=north", "x") in found
    assert {segment for segment, _ in found} <= {"site=north", "all"}


def test_null_twin_without_the_fault_no_segment_is_named():
    assert breaches(lines_of(SITES, fit(SITES, world(40, 1)), FrameRows(world(1, 6)))) == set()


def test_a_segment_the_reference_never_had_is_named_and_never_a_breach():
    chunk = world(1, 6).assign(site="west")
    lines = lines_of(SITES, fit(SITES, world(40, 1)), FrameRows(chunk))
    own = lines[lines["segment"] == "site=west"]
    assert set(own["subject"]) == {"x", "y", "c"}
    assert set(own["reason"]) == {"got segment site=west, which the reference does not hold; expected one of it"}
    assert own["value"].isna().all()
    assert not own["breach"].any()


def test_a_segment_of_too_few_rows_is_not_measured_and_one_line_says_so():
    chunk = world(1, 6).copy()
    chunk["site"] = ["north"] * 70 + ["south"] * 26
    lines = lines_of(SITES, fit(SITES, world(40, 1)), FrameRows(chunk))
    few = lines[lines["segment"] == "site=south"]
    assert list(few["reason"]) == ["got 26 rows of segment site=south; expected at least 30"]
    assert few["value"].isna().all()
    assert not few["breach"].any()
    chunk["site"] = "north"
    gone = lines_of(SITES, fit(SITES, world(40, 1)), FrameRows(chunk))
    assert list(gone.loc[gone["segment"] == "site=south", "reason"]) == ["got 0 rows of segment site=south; expected at least 30"]


def test_a_segment_that_is_a_feature_is_measured_but_not_within_itself():
    policy = policy_of(segments=("c",))
    lines = lines_of(policy, fit(policy, world(40, 1)), FrameRows(world(3, 6)))
    assert set(lines.loc[lines["segment"] == "c=a", "subject"]) == {"x", "y"}
    assert "c" in set(lines.loc[lines["segment"] == "all", "subject"])


def spiked(share: float, rows: int = 400) -> pd.DataFrame:
    chunk = world(5, 7).iloc[:rows].copy()
    chunk.loc[chunk.index[: round(share * rows)], "x"] = 1e6
    return chunk


def test_a_few_spikes_are_set_aside_and_reported():
    policy = policy_of(numbers=("x",), texts=())
    fitted = fit(policy, world(60, 1), 400)
    lines = lines_of(policy, fitted, FrameRows(spiked(0.01)))
    assert breaches(lines) == set()
    share = lines[lines["method"] == "outlier_share"].iloc[0]
    assert share["value"] == 0.01
    assert not share["breach"]
    assert share["reason"] == "1.00% of the rows lie far outside the reference; set aside as outliers"
    assert set(lines.loc[lines["kind"] == "univariate_drift", "n_rows"]) == {396}


def test_many_spikes_are_drift():
    policy = policy_of(numbers=("x",), texts=())
    fitted = fit(policy, world(60, 1), 400)
    lines = lines_of(policy, fitted, FrameRows(spiked(0.05)))
    assert ("all", "x") in breaches(lines)
    assert lines.loc[lines["method"] == "outlier_share", "reason"].item().endswith("more than 2.00%, so they count as drift")


def test_null_twin_without_spikes_nothing_is_reported():
    policy = policy_of(numbers=("x",), texts=())
    lines = lines_of(policy, fit(policy, world(60, 1), 400), FrameRows(spiked(0.0)))
    assert breaches(lines) == set()
    assert lines.loc[lines["method"] == "outlier_share", ["value", "reason"]].to_numpy().tolist() == [[0.0, ""]]


def test_neither_fitting_nor_measuring_changes_the_rows_given():
    reference, chunk = world(14, 11).copy(), world(1, 12).copy()
    policy = policy_of(season="hour", segments=("site",), **EVERYTHING)
    lines_of(policy, fit(policy, reference), FrameRows(chunk))
    pd.testing.assert_frame_equal(reference, world(14, 11))
    pd.testing.assert_frame_equal(chunk, world(1, 12))


def test_rows_may_carry_any_index():
    policy = policy_of(**EVERYTHING)
    odd = world(28, 1).set_axis(np.zeros(28 * PER_DAY, dtype=int), axis=0)
    chunk = world(1, 2).set_axis(["same"] * PER_DAY, axis=0)
    one = lines_of(policy, fit(policy, world(28, 1)), FrameRows(world(1, 2)))
    pd.testing.assert_frame_equal(lines_of(policy, fit(policy, odd), FrameRows(chunk)), one)


# --- whatever comes in, a number or a reason comes out -------------------------------------------------------------

odd_values = st.one_of(st.sampled_from([0.0, 1.0, np.nan, np.inf, -np.inf, -0.0]), st.floats(-1e100, 1e100))
odd_columns = st.one_of(st.lists(odd_values, max_size=40), st.integers(1, 40).flatmap(lambda n: odd_values.map(lambda one: [one] * n)))
odd_texts = st.lists(st.one_of(st.sampled_from(["a", "b", None]), st.integers(0, 3), st.text(max_size=3)), max_size=40)


def reasons_are_given(lines: pd.DataFrame) -> None:
    own = lines[lines["method"] != "outlier_share"]
    refused = own[own["value"].isna()]
    assert refused["reason"].str.match(r"got .*; expected ").all()
    assert not refused["breach"].any()
    assert (own.loc[own["value"].notna(), "value"] >= 0).all()


@given(odd_columns, odd_columns)
def test_any_numbers_give_a_number_or_a_reason(reference: list[float], chunk: list[float]):
    policy = policy_of(numbers=("x",), texts=(), **EVERYTHING)
    fitted = [fit_values(policy, np.array(reference, dtype="float64"), name="x", segment="all", usual=4)]
    frame = pd.DataFrame({"x": np.array(chunk, dtype="float64")})
    lines = lines_of(policy, fitted, FrameRows(frame))
    assert len(lines) == len(NUMERIC) + 1
    reasons_are_given(lines)
    pd.testing.assert_frame_equal(lines, lines_of(policy, fitted, in_duckdb(frame)), rtol=1e-9, atol=1e-12)


@given(odd_texts, odd_texts)
def test_any_categories_give_a_number_or_a_reason(reference: list, chunk: list):
    policy = policy_of(numbers=(), texts=("c",), **EVERYTHING)
    fitted = [fit_values(policy, pd.Series(reference, dtype=object), name="c", segment="all", usual=4)]
    lines = lines_of(policy, fitted, FrameRows(pd.DataFrame({"c": pd.Series(chunk, dtype=object)})))
    assert len(lines) == len(CATEGORICAL)
    reasons_are_given(lines)


@pytest.mark.parametrize(
    "values",
    [[], [np.nan] * 50, [5.0], [1, 2, 3] * 20, [np.inf] * 40, [1e200, -1e200] * 20, [1e-310, 0.0] * 20, [1.0, 1.0 + 2**-52] * 20],
    ids=["empty", "all missing", "one row", "integers", "infinite", "huge", "subnormal", "one digit apart"],
)
def test_an_odd_chunk_gives_numbers_or_reasons_and_an_odd_reference_no_breach_from_nothing(values: list[float]):
    policy = policy_of(numbers=("x",), texts=(), **EVERYTHING)
    usual = np.random.default_rng(0).normal(size=960)
    own = np.array(values, dtype="float64")
    fitted = [fit_values(policy, usual, name="x", segment="all", usual=96)]
    reasons_are_given(lines_of(policy, fitted, FrameRows(pd.DataFrame({"x": own}))))
    odd = [fit_values(policy, np.tile(own, 10), name="x", segment="all", usual=max(1, len(own)))]
    same = lines_of(policy, odd, FrameRows(pd.DataFrame({"x": own})))
    reasons_are_given(same)
    assert not same["breach"].any()


def test_ten_thousand_categories_are_measured_in_both_engines():
    policy = policy_of(numbers=(), texts=("c",), **EVERYTHING)
    rng = np.random.default_rng(0)
    reference = pd.Series([f"user {n}" for n in rng.integers(0, 10_000, 40_000)])
    fitted = [fit_values(policy, reference, name="c", segment="all", usual=1_000)]
    frame = pd.DataFrame({"c": [f"user {n}" for n in rng.integers(0, 10_000, 1_000)]})
    lines = lines_of(policy, fitted, FrameRows(frame))
    assert lines["value"].notna().all()
    assert not lines["breach"].any()
    pd.testing.assert_frame_equal(lines, lines_of(policy, fitted, in_duckdb(frame)), rtol=1e-12, atol=1e-12)
    other = lines_of(policy, fitted, FrameRows(frame.assign(c="user 1")))
    assert other["breach"].sum() >= 6
