"""All features together: a null of their own, outliers set aside, a single feature is no joint."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from test_univariate import policy_of

from monitoring_assets.measures.breaches import ALL_FEATURES, drift_lines
from monitoring_assets.measures.joint import fit_joint, measure_joint, methods_of, spanned_seasons
from monitoring_assets.measures.registry import MULTIVARIATE
from monitoring_assets.measures.univariate import fit_columns

pytestmark = pytest.mark.xdist_group("joint")  # fits are shared within one worker
ROWS = 100
CHEAP = ["pca_reconstruction", "mmd", "correlation_shift"]


def rows_of(chunks: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = chunks * ROWS
    x = rng.normal(size=n)
    time = pd.Timestamp("2023-01-01", tz="UTC") + pd.to_timedelta(np.arange(n) * 86_400 / ROWS, unit="s")
    return pd.DataFrame({"time": time, "x": x, "y": x + rng.normal(0, 0.4, n), "c": rng.choice(["a", "b"], n)})


@cache
def fitted(rule: str = "calibrated"):
    policy = policy_of(multivariate=CHEAP, limit={"rule": rule})
    return policy, fit_joint(policy, rows_of(30, 0), ROWS), fit_columns(policy, rows_of(30, 0), ROWS)


def lines_of(rows: pd.DataFrame, rule: str = "calibrated") -> pd.DataFrame:
    policy, joint, columns = fitted(rule)
    return drift_lines(policy, "2024-01-01", measure_joint(policy, joint, columns, rows), {}, len(rows))


def test_a_broken_correlation_breaches_though_no_feature_moved():
    rows = rows_of(1, 5)
    turned = lines_of(rows.assign(y=-rows["y"])).set_index("method")
    assert turned.loc[["pca_reconstruction", "correlation_shift"], "breach"].all()
    assert set(turned["kind"]) == {"multivariate_drift"}
    assert set(turned["subject"]) == {ALL_FEATURES}
    assert turned["is_deciding"].all()


def test_null_twin_chunks_like_the_reference_do_not_breach_and_carry_limits():
    found = pd.concat([lines_of(rows_of(1, seed)) for seed in range(5, 20)])
    assert found["breach"].sum() <= 1
    assert found["upper_limit"].notna().all()
    assert found.loc[found["method"] == "pca_reconstruction", "lower_limit"].notna().all()  # the error can also be too small


def test_the_nulls_are_out_of_sample_and_of_two_sizes():
    for one in fitted()[1]:
        assert one.null.sizes == (ROWS // 4, ROWS)
        assert one.null.is_two_sided == MULTIVARIATE[one.method].is_two_sided
        assert min(one.null.blocks) >= 20


def test_the_rule_of_nannyml_takes_the_reference_chunks_themselves():
    _, joint, _ = fitted("std")
    for one in joint:
        assert len(one.chunk_values) == 30
        assert not one.null.is_known
    lines = lines_of(rows_of(1, 5), "std").set_index("method")
    values = np.array(next(one.chunk_values for one in joint if one.method == "pca_reconstruction"))
    assert lines.loc["pca_reconstruction", "upper_limit"] == pytest.approx(values.mean() + 3 * values.std())


def test_a_spike_is_set_aside_and_many_are_kept():
    rows = rows_of(1, 5)
    clean = lines_of(rows.iloc[1:]).set_index("method")["value"]
    one_spike = lines_of(rows.assign(x=np.where(np.arange(ROWS) == 0, 1e6, rows["x"]))).set_index("method")["value"]
    pd.testing.assert_series_equal(one_spike, clean)
    many = lines_of(rows.assign(x=np.where(np.arange(ROWS) < 10, 1e6, rows["x"]))).set_index("method")
    assert many.loc["pca_reconstruction", "breach"]


def test_one_feature_alone_has_nothing_to_be_joined_with():
    assert methods_of(policy_of(numbers=("x",), texts=(), multivariate=CHEAP)) == []
    assert methods_of(policy_of(multivariate=CHEAP)) == CHEAP


def test_measuring_changes_nothing():
    rows = rows_of(1, 5)
    before = rows.copy()
    first = lines_of(rows)
    lines_of(rows.assign(x=9.0))
    pd.testing.assert_frame_equal(lines_of(rows), first)
    pd.testing.assert_frame_equal(rows, before)


def year_of(days: int, seed: int, start: str = "2023-01-01") -> pd.DataFrame:
    """Two features that depend on each other, both at their height in January."""
    rng = np.random.default_rng(seed)
    n = days * ROWS
    time = pd.Timestamp(start, tz="UTC") + pd.to_timedelta(np.arange(n) * 86_400 // ROWS, unit="s")
    winter = np.cos(2 * np.pi * time.dayofyear / 365)
    x = rng.normal(size=n)
    return pd.DataFrame({"time": time, "x": x + winter, "y": x + rng.normal(0, 0.3, n) + winter, "c": rng.choice(["a", "b"], n)})


@cache
def fitted_to_a_year():
    policy = policy_of(
        numeric=[], categorical=[], multivariate=["mmd"], season="month", limit={"rule": "p_value", "autocorrelation": "ignored"}
    )
    return policy, fit_joint(policy, year_of(365, 0), ROWS)


def against_the_year(rows: pd.DataFrame) -> pd.DataFrame:
    policy, joint = fitted_to_a_year()
    return drift_lines(policy, "day", measure_joint(policy, joint, [], rows), {}, len(rows)).set_index("compared_with")


def days_of(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [own for _, own in rows.groupby(rows["time"].dt.floor("D"))]


def test_of_two_lines_a_day_the_season_matched_one_decides_and_both_carry_value_and_p_value():
    found = against_the_year(year_of(1, 5, "2024-07-01"))
    assert found["is_deciding"].to_dict() == {"same month": True, "reference": False}
    assert found[["value", "p_value"]].notna().all(axis=None)
    assert found["p_value"].between(1 / 201, 1).all()


def test_an_ordinary_season_breaches_against_the_plain_reference_alone():
    found = pd.concat([against_the_year(day) for start in ("2024-01-10", "2024-07-10") for day in days_of(year_of(10, 6, start))])
    breaches = found.groupby("compared_with")["breach"].sum()
    assert breaches["reference"] >= 16
    assert breaches["same month"] <= 3  # five in a hundred, and three standard errors of twenty days


def test_a_dependence_that_changes_while_every_feature_stays_breaches_within_its_season():
    turned = [
        day.assign(y=np.sort(day["y"])[::-1][day["x"].rank(method="first").astype(int) - 1])
        for day in days_of(year_of(10, 6, "2024-01-10"))
    ]
    found = pd.concat([against_the_year(day) for day in turned])
    assert found.loc["same month", "breach"].sum() >= 9


def test_a_day_alone_gives_the_numbers_it_gives_in_the_whole_history():
    days = days_of(year_of(3, 7, "2024-05-30"))
    whole = [against_the_year(day) for day in days]
    alone = [against_the_year(day.reset_index(drop=True)) for day in reversed(days)][::-1]
    for one, other in zip(whole, alone, strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_a_season_the_reference_never_had_is_refused_and_never_breaches():
    policy = policy_of(numeric=[], categorical=[], multivariate=["mmd"], season="month")
    joint = fit_joint(policy, year_of(59, 0), ROWS)
    (line,) = (
        drift_lines(policy, "day", measure_joint(policy, joint, [], year_of(1, 5, "2024-07-01")), {}, ROWS)
        .query("is_deciding")
        .itertuples()
    )
    assert (line.breach, line.value != line.value) == (False, True)
    assert line.reason.startswith("got month 07, which no chunk of the reference spans")


@pytest.mark.parametrize(
    ("chunk", "season", "key", "expected"),
    [
        ("1d", "month", "2024-02-29", ("month 02",)),
        ("1w", "month", "2024-01-29", ("month 01", "month 02")),
        ("1d", "weekday", "2024-01-01", ("weekday 0",)),
        ("1h", "hour", "2024-01-01-07", ("hour 07",)),
        ("1d", "hour", "2024-01-01", tuple(f"hour {hour:02d}" for hour in range(24))),
    ],
)
def test_a_chunk_is_compared_with_the_seasons_its_time_spans(chunk, season, key, expected):
    assert spanned_seasons(policy_of(chunk=chunk, season=season), key) == expected


def test_where_every_chunk_spans_every_season_both_lines_say_the_same():
    policy = policy_of(multivariate=["mmd"], season="hour")
    joint = fit_joint(policy, rows_of(30, 0), ROWS)
    plain, matched = measure_joint(policy, joint, [], rows_of(1, 5))
    assert (plain.compared_with, matched.compared_with) == ("reference", "same hour")
    assert plain.number == matched.number
