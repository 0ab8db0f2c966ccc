"""Errors and coverage of a chunk keep the false alarms they state, on dependent errors and overlapping horizons too."""

import doctest
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binomtest

from monitoring_assets.measures.forecast import coverage
from monitoring_assets.measures.forecast.coverage import ReferenceCoverage, coverage_lines, fit_coverage, nominal_band, reference_band
from monitoring_assets.measures.forecast.error_limits import ErrorLimits, error_lines, fit_error_limits
from monitoring_assets.measures.forecast.matured import matured, segments_of

DAY, Z = pd.Timedelta(days=1), {80: 1.2815515655446004, 95: 1.959963984540054}
RATE, WEEKS, SEEDS = 0.05, 26, 8
FEW = 3


def forecasts(seed: int, n_days: int, *, rho: float = 0.5, horizons: int = 4) -> pd.DataFrame:
    """One series, autoregressive errors of deviation 1, the same outcome at every horizon."""
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2023-01-02", periods=n_days, freq="D", tz="UTC")
    y = 50 + lfilter([math.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=n_days + 50))[50:]
    frame = pd.concat(
        [
            pd.DataFrame({"unique_id": "a", "ds": dates, "h": h, "cutoff": dates - h * DAY, "y": y, "mean": 50.0})
            for h in range(1, horizons + 1)
        ]
    )
    for level, z in Z.items():
        frame[f"lo-{level}"], frame[f"hi-{level}"] = frame["mean"] - z, frame["mean"] + z
    return frame


def split(seed: int) -> tuple[pd.DataFrame, list[pd.DataFrame]]:
    """A backtest of a year, and weeks after it."""
    frame = forecasts(seed, 365 + 7 * WEEKS)
    edge = frame["ds"].min() + 365 * DAY
    later = frame[frame["ds"] >= edge]
    weeks = (later["ds"] - edge) // (7 * DAY)
    return matured(frame[frame["ds"] < edge]), [own for _, own in later.groupby(weeks)]


def whole(rows: pd.DataFrame):
    return segments_of(matured(rows), by_horizon=False)


@cache
def worlds(n_seeds: int, every: int = 1) -> list[tuple[ErrorLimits, dict[str, ReferenceCoverage], list[pd.DataFrame]]]:
    """Limits and coverage of a backtest, and the weeks after it, or some of them."""
    found = []
    for seed in range(n_seeds):
        backtest, weeks = split(seed)
        found.append((fit_error_limits(whole(backtest), 7), fit_coverage(backtest), weeks[::every]))
    return found


def alarms(found_in, change, what: str) -> float:
    """Share of weeks of which a deciding line breaches."""
    found = []
    for limits, reference, weeks in found_in:
        for week in weeks:
            segments = whole(change(week))
            lines = error_lines("c", segments, limits, RATE) if what == "errors" else coverage_lines("c", segments, reference, RATE)
            found.append(bool((lines["breach"] & lines["is_deciding"]).any()))
    return float(np.mean(found))


#: Weeks of one seed share a backtest and neighbours: their alarms scatter more than those of independent weeks.
MOST = RATE + 3 * math.sqrt(2 * RATE * (1 - RATE) / (SEEDS * WEEKS))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["errors", "coverage"])
def test_null_twin_weeks_without_a_fault_alarm_no_more_often_than_stated(what: str):
    assert alarms(worlds(SEEDS), lambda week: week, what) <= MOST


@pytest.mark.parametrize(("move", "least"), [(2.0, 0.5), (-2.0, 0.5)])
def test_a_biased_week_breaches_its_limits(move: float, least: float):
    assert alarms(worlds(FEW, 3), lambda week: week.assign(mean=week["mean"] + move), "errors") >= least


def test_errors_twice_as_large_breach_and_smaller_ones_never_breach_upward():
    assert alarms(worlds(FEW, 3), lambda week: week.assign(y=50 + 3 * (week["y"] - 50)), "errors") >= 0.6
    assert alarms(worlds(FEW, 3), lambda week: week.assign(y=50 + 0.1 * (week["y"] - 50)), "errors") == 0.0


def test_intervals_of_a_third_of_the_width_leave_their_band():
    def narrow(week: pd.DataFrame) -> pd.DataFrame:
        return week.assign(**{f"{side}-{level}": 50 + sign * z / 5 for level, z in Z.items() for side, sign in (("lo", -1), ("hi", 1))})

    assert alarms(worlds(FEW, 3), narrow, "coverage") >= 0.5


def test_the_band_that_takes_rows_for_independent_cries_wolf():
    naive = [
        (limits, {level: ReferenceCoverage(one.share, one.n_effective * one.design_effect, 1.0) for level, one in own.items()}, weeks)
        for limits, own, weeks in worlds(FEW, 3)
    ]
    assert alarms(naive, lambda week: week, "coverage") > 3 * RATE


def test_an_interval_that_never_held_its_level_breaches_the_nominal_line_and_not_the_deciding_one():
    frame = forecasts(1, 500, rho=0.0, horizons=1)
    frame = frame.assign(**{"lo-80": 50 - 0.5, "hi-80": 50 + 0.5})
    backtest = matured(frame[frame["ds"] < frame["ds"].min() + 365 * DAY])
    later = frame[frame["ds"] >= frame["ds"].min() + 365 * DAY]
    lines = coverage_lines("c", whole(later), fit_coverage(backtest), RATE).set_index(["subject", "compared_with"])
    assert lines.loc[("coverage_80", "nominal"), "breach"]
    assert not lines.loc[("coverage_80", "reference"), "breach"]
    assert not lines.loc[("coverage_80", "nominal"), "is_deciding"]


# --- laws --------------------------------------------------------------------------------------------------------------


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(coverage).failed == 0


@given(n=st.integers(1, 300), hits=st.integers(0, 300), level=st.sampled_from([0.5, 0.8, 0.95]))
def test_the_nominal_band_is_the_exact_binomial_test(n: int, hits: int, level: float):
    hits = min(hits, n)
    band = nominal_band(hits / n, n, level, 0.05)
    sides = [binomtest(hits, n, level, alternative=side).pvalue for side in ("less", "greater")]
    assert band.p_value == pytest.approx(min(1.0, 2 * min(sides)))
    assert (band.p_value < 0.05) == (round(hits / n * n) < round(band.lower * n) or round(hits / n * n) > round(band.upper * n))


@settings(deadline=None)
@given(n=st.integers(5, 200), share=st.floats(0, 1), known=st.floats(20, 1000))
def test_a_backtest_known_from_few_rows_gives_a_wider_band(n: int, share: float, known: float):
    few, many = (ReferenceCoverage(0.8, size, 1.0) for size in (known, known * 10))
    wide, narrow = reference_band(share, n, few, 0.05), reference_band(share, n, many, 0.05)
    assert wide.upper - wide.lower >= narrow.upper - narrow.lower - 1.5 / n


def test_a_chunk_worth_less_than_one_independent_row_says_so_and_never_breaches():
    rows = whole(forecasts(0, 1))
    lines = coverage_lines("c", rows, {"80": ReferenceCoverage(0.8, 50.0, 9.0)}, RATE)
    assert not lines["breach"].any()
    assert lines["reason"].str.contains("expected at least one").all()


def test_a_single_date_has_limits_where_chunks_are_single_dates():
    backtest = matured(forecasts(0, 365))
    limits = fit_error_limits(whole(backtest), 1)
    clean, broken = forecasts(1, 1), forecasts(1, 1).assign(mean=90.0)
    assert not error_lines("c", whole(clean), limits, 0.01)["breach"].any()
    lines = error_lines("c", whole(broken), limits, 0.01)
    assert lines["breach"].all()
    assert lines["upper_limit"].notna().all()


def test_a_chunk_without_the_segment_has_no_line_and_a_short_backtest_no_limit():
    limits = fit_error_limits({"h=1": matured(forecasts(0, 5))}, 7)
    assert error_lines("c", whole(forecasts(1, 7)), limits, RATE).empty
    lines = error_lines("c", {"h=1": matured(forecasts(1, 7))}, limits, RATE)
    assert not lines["breach"].any()
    assert lines["reason"].str.contains("expected at least four chunks").all()
