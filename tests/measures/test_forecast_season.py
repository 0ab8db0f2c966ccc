"""An ordinary year does not alert against its own season, a real change does, and a changed correlation is seen where single features are silent."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ks_2samp

from monitoring_assets.measures.forecast.season import (
    YEAR_DAY,
    days_lines,
    fit_season,
    measure_days,
    same_season,
    season_lines,
    side_by_side,
)
from resources.policy import Features, MonitoredModel

FEATURES = Features(numeric=["amount", "items"])
RATE, PERMUTATIONS = 0.05, 199


def sales(start: str, days: int, seed: int, *, per_day: int = 12, correlation: float = 0.0, yearly: float = 2.0) -> pd.DataFrame:
    """Transactions: two features that swing over the year together, independent within a day unless ``correlation`` says otherwise."""
    rng = np.random.default_rng(seed)
    moments = pd.date_range(start, periods=days * per_day, freq=pd.Timedelta(days=1) / per_day, tz="UTC")
    noise = rng.normal(size=(len(moments), 2))
    wave = yearly * np.sin(2 * np.pi * moments.dayofyear.to_numpy() / 365.25)
    second = correlation * noise[:, 0] + math.sqrt(1 - correlation**2) * noise[:, 1]
    return pd.DataFrame({"ds": moments, "amount": noise[:, 0] + wave, "items": second + wave})


@pytest.fixture(scope="module")
def three_years() -> pd.DataFrame:
    return sales("2021-01-01", 3 * 365, 0)


WEEKS = [f"2024-{month:02d}-{day:02d}" for month in range(1, 13) for day in (3, 18)]


@pytest.mark.parametrize("start", ["2024-04-03", "2024-10-02"])
def test_an_ordinary_yearly_season_alerts_the_plain_reference_and_not_the_matched_one(three_years: pd.DataFrame, start: str):
    found = side_by_side(three_years, sales(start, 7, 10), FEATURES, YEAR_DAY)
    assert found.is_season(0.01)
    assert found.plain.p_value < 0.01 <= found.matched.p_value


@pytest.mark.slow
def test_null_twin_all_over_the_year_the_matched_reference_alerts_no_more_often_than_stated(three_years: pd.DataFrame):
    found = [
        measure_days(three_years, sales(start, 7, 10 + place), FEATURES, season=YEAR_DAY, seed=place) for place, start in enumerate(WEEKS)
    ]
    assert np.mean([one.p_value < RATE for one in found]) <= RATE + 3 * math.sqrt(RATE * (1 - RATE) / len(found))


@pytest.mark.slow
def test_null_twin_days_without_a_season_alert_no_more_often_than_stated():
    reference = sales("2023-01-01", 100, 1, yearly=0.0, per_day=6)
    found = [
        measure_days(reference, sales("2024-01-01", 7, 100 + seed, yearly=0.0, per_day=6), FEATURES, seed=seed, permutations=PERMUTATIONS)
        for seed in range(60)
    ]
    assert np.mean([one.p_value < RATE for one in found]) <= RATE + 3 * math.sqrt(RATE * (1 - RATE) / 60)


def test_a_changed_correlation_is_seen_where_each_feature_alone_is_silent(three_years: pd.DataFrame):
    seen, silent = [], []
    for seed in range(8):
        window = sales("2024-07-03", 14, 200 + seed, correlation=0.9)
        near = three_years[same_season(three_years["ds"], window["ds"], YEAR_DAY)]
        seen.append(measure_days(three_years, window, FEATURES, season=YEAR_DAY, seed=seed).p_value < 0.01)
        silent.append(min(ks_2samp(near[name], window[name]).pvalue for name in FEATURES.numeric) > 0.01)
    assert np.mean(seen) >= 0.75
    assert np.mean(silent) >= 0.75


def test_null_twin_the_same_windows_with_the_old_correlation_are_silent(three_years: pd.DataFrame):
    found = [
        measure_days(three_years, sales("2024-07-03", 14, 200 + seed), FEATURES, season=YEAR_DAY, seed=seed).p_value for seed in range(8)
    ]
    assert np.mean(np.array(found) < 0.01) <= 0.2


def test_a_real_shift_alerts_in_every_season(three_years: pd.DataFrame):
    for start in WEEKS[::6]:
        window = sales(start, 7, 5)
        found = measure_days(three_years, window.assign(amount=window["amount"] + 1.5), FEATURES, season=YEAR_DAY)
        assert found.p_value < 0.01


@pytest.mark.slow
def test_days_that_differ_as_a_whole_raise_no_alarm_where_reference_days_do_too():
    rng = np.random.default_rng(3)

    def bumpy(start: str, days: int, seed: int) -> pd.DataFrame:
        rows = sales(start, days, seed, yearly=0.0, per_day=6)
        return rows.assign(amount=rows["amount"] + np.repeat(rng.normal(size=days), 6))

    reference = bumpy("2023-01-01", 100, 1)
    found = [measure_days(reference, bumpy("2024-01-01", 1, 10 + seed), FEATURES, seed=seed).p_value for seed in range(60)]
    assert np.mean(np.array(found) < RATE) <= RATE + 3 * math.sqrt(RATE * (1 - RATE) / 60)


# --- laws --------------------------------------------------------------------------------------------------------------


def test_identical_samples_have_distance_zero_and_order_does_not_matter():
    rows = sales("2024-01-01", 6, 0)
    same = measure_days(rows, rows.assign(ds=rows["ds"] + pd.Timedelta(days=365)), FEATURES)
    assert same.value == pytest.approx(0.0, abs=1e-6)
    assert same.p_value > 0.9


def test_the_p_value_is_no_smaller_than_the_number_of_days_allows():
    reference = sales("2024-01-01", 20, 0)
    far = sales("2024-03-01", 1, 1).assign(amount=50.0)
    assert measure_days(reference, far, FEATURES).p_value == pytest.approx(1 / 21)


def test_the_same_seed_gives_the_same_number_and_rows_of_other_seasons_do_not_enter(three_years: pd.DataFrame):
    window = sales("2024-07-03", 7, 3)
    first, again = (measure_days(three_years, window, FEATURES, season="month", seed=4) for _ in range(2))
    july = three_years[three_years["ds"].dt.month == 7]
    assert first == again == measure_days(july, window, FEATURES, seed=4)


def test_days_of_the_year_are_near_across_new_year():
    reference = pd.Series(pd.to_datetime(["2023-12-28", "2023-06-01", "2023-01-09", "2023-01-20"], utc=True))
    window = pd.Series(pd.to_datetime(["2024-01-02"], utc=True))
    assert same_season(reference, window, YEAR_DAY).tolist() == [True, False, True, False]
    assert same_season(reference, window, "month").tolist() == [False, False, True, True]


def test_too_few_days_of_the_season_are_refused_by_name():
    refused = measure_days(sales("2023-06-01", 30, 0), sales("2024-01-03", 7, 1), FEATURES, season="month")
    assert "expected rows, and 5 days" in refused.reason
    assert not days_lines("c", refused, RATE, "month")["breach"].any()


# --- the platform's own comparison ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def policy() -> MonitoredModel:
    return MonitoredModel.model_validate({
        "model": "demo", "task": "regression", "log": {"csv": "log.csv", "time": "at", "id": "row_id"}, "outcome": {"column": "target"},
        "features": {"numeric": ["amount", "items"]}, "chunk": "1w", "reference": {"start": "2021-01-01", "end": "2023-12-31"},
        "drift": {"multivariate": [], "numeric": ["kolmogorov_smirnov"], "season": "month"},
    })  # fmt: skip


def test_features_one_by_one_are_compared_with_the_same_month_and_that_decides(policy: MonitoredModel, three_years: pd.DataFrame):
    fitted = fit_season(policy, three_years, 7 * 12)
    ordinary = season_lines(policy, fitted, "c", sales("2024-07-10", 7, 9))
    assert not ordinary.loc[ordinary["is_deciding"], "breach"].any()
    assert set(ordinary.loc[ordinary["is_deciding"], "compared_with"]) == {"same month"}
    shifted = sales("2024-07-10", 7, 9)
    moved = season_lines(policy, fitted, "c", shifted.assign(amount=shifted["amount"] + 3.0))
    assert moved.loc[moved["is_deciding"] & moved["breach"], "subject"].tolist() == ["amount"]


def test_lines_of_all_features_say_what_they_were_compared_with(three_years: pd.DataFrame):
    window = sales("2024-07-03", 7, 9)
    line = days_lines("c", measure_days(three_years, window.assign(items=9.0), FEATURES, season=YEAR_DAY), 0.01, YEAR_DAY).iloc[0]
    assert (line["compared_with"], line["method"], line["subject"], line["kind"]) == (
        "same year_day",
        "mmd_by_day",
        "all features",
        "seasonal_drift",
    )
    assert line["breach"]
