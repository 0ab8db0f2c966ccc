"""Detectors of one-step errors keep the false alarms they state, find what changed and remember nothing."""

import doctest
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from monitoring_assets.measures.forecast import residuals
from monitoring_assets.measures.forecast.matured import matured
from monitoring_assets.measures.forecast.residuals import (
    WATCHED,
    ResidualWatch,
    fit_residual_watch,
    one_step_errors,
    pooled_errors,
    residual_lines,
    residual_states,
)

CHUNKS, STEPS, STATED = 26, 7, 0.1
LENGTH = CHUNKS * STEPS
N_BACKTESTS, PER_BACKTEST = 5, 60


def errors(rng: np.random.Generator, n: int, rho: float = 0.4) -> np.ndarray:
    """First-order autoregressive errors ``(n,)`` with mean 0 and deviation 1."""
    return lfilter([math.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=n + 60))[60:]


@cache
def watch(number: int, *detectors: str) -> ResidualWatch:
    backtest = errors(np.random.default_rng(number), 730)
    return fit_residual_watch(
        5 * backtest, steps_per_chunk=STEPS, n_chunks=CHUNKS, false_alarms=STATED, seed=number, detectors=detectors, resamples=400
    )


SUMS = ("cusum", "cusum_absolute")


def alarmed(change, detectors: tuple[str, ...] = SUMS, *, per_backtest: int = PER_BACKTEST, n: int = LENGTH) -> list[dict[str, object]]:
    """Per stream, the states that alarmed by detector."""
    found = []
    for number in range(N_BACKTESTS):
        rng = np.random.default_rng(1000 + number)
        for _ in range(per_backtest):
            states = residual_states(watch(number, *detectors), 5 * change(errors(rng, n)))
            found.append({state.detector: state for state in states if state.position is not None})
    return found


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(residuals).failed == 0


# --- false alarms and what is found ------------------------------------------------------------------------------------


def test_null_twin_clean_errors_alarm_no_more_often_than_stated():
    share = np.mean([bool(states) for states in alarmed(lambda clean: clean)])
    assert share <= STATED + 3 * math.sqrt(STATED * (1 - STATED) / (N_BACKTESTS * PER_BACKTEST))


@pytest.mark.slow
def test_null_twin_with_page_hinkley_too_the_three_together_keep_the_promise():
    share = np.mean([bool(states) for states in alarmed(lambda clean: clean, WATCHED, per_backtest=40)])
    assert share <= STATED + 3 * math.sqrt(STATED * (1 - STATED) / (N_BACKTESTS * 40))


@pytest.mark.slow
def test_the_promise_holds_for_every_stretch_of_a_history_longer_than_it():
    shares = []
    for number in range(N_BACKTESTS):
        rng = np.random.default_rng(2000 + number)
        for _ in range(12):
            history = 5 * errors(rng, 3 * LENGTH)
            ends = range(LENGTH // 2, 3 * LENGTH + 1, LENGTH // 2)
            found = [any(state.position is not None for state in residual_states(watch(number, *SUMS), history[:end])) for end in ends]
            starts = sum(now and not before for before, now in zip([False, *found], found, strict=False))
            shares.append(starts / 3)
    assert np.mean(shares) <= STATED + 3 * math.sqrt(STATED / (3 * len(shares)))


def test_textbook_thresholds_alarm_on_half_of_such_clean_errors():
    backtest = watch(0, "cusum").detectors[0]
    assert backtest.threshold > 8.0
    rng, found = np.random.default_rng(7), []
    for _ in range(200):
        clean = errors(rng, LENGTH)
        walks = [np.cumsum(sign * clean - 0.5) for sign in (1, -1)]
        found.append(any((walk - np.minimum(np.minimum.accumulate(walk), 0)).max() >= 8 for walk in walks))
    assert np.mean(found) > 0.3


@pytest.mark.parametrize(("sign", "direction"), [(1, "up"), (-1, "down")])
def test_a_bias_is_found_with_its_direction_and_onset(sign: int, direction: str):
    found = [
        states["cusum"] for states in alarmed(lambda clean: clean + sign * (np.arange(LENGTH) >= 80), per_backtest=12) if "cusum" in states
    ]
    after = [state for state in found if state.position >= 80]
    assert len(after) >= 0.8 * N_BACKTESTS * 12
    assert np.mean([state.direction == direction for state in after]) > 0.95
    assert np.median([abs(state.onset - 80) for state in after]) <= 6


def test_a_wider_scale_is_found_by_the_absolute_sum():
    found = alarmed(lambda clean: clean * np.where(np.arange(LENGTH) >= 80, 1.7, 1.0), per_backtest=12)
    after = [states["cusum_absolute"] for states in found if "cusum_absolute" in states and states["cusum_absolute"].position >= 80]
    assert len(after) >= 0.8 * N_BACKTESTS * 12
    assert {state.direction for state in after} == {"up"}
    assert np.median([abs(state.onset - 80) for state in after]) <= 12


@pytest.mark.slow
def test_page_hinkley_finds_a_bias_too():
    found = alarmed(lambda clean: clean + 1.5 * (np.arange(LENGTH) >= 80), ("page_hinkley",), per_backtest=6)
    assert np.mean(["page_hinkley" in states for states in found]) >= 0.8


# --- laws --------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(LENGTH + 1, 3 * LENGTH), shift=st.floats(-2, 2))
def test_only_the_last_windows_elements_matter_so_a_chunk_costs_the_same_after_years(seed: int, n: int, shift: float):
    rng = np.random.default_rng(seed)
    history = errors(rng, n) + shift
    other = np.r_[rng.normal(size=n - LENGTH) * 100, history[-LENGTH:]]
    assert residual_states(watch(0, *SUMS), history) == residual_states(watch(0, *SUMS), other)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), cut=st.integers(1, LENGTH // 2))
def test_an_alarm_stays_and_needs_nothing_that_comes_after_it(seed: int, cut: int):
    history = 5 * errors(np.random.default_rng(seed), LENGTH // 2) + 4.0
    early, late = (residual_states(watch(0, "cusum"), history[:end])[0] for end in (cut, LENGTH // 2))
    if early.position is not None:
        assert (early.position, early.onset, early.direction) == (late.position, late.onset, late.direction)
    if late.position is not None:
        assert late.onset <= late.position
        assert residual_states(watch(0, "cusum"), history[: late.position])[0].position is None


@given(n=st.integers(1, 10 * LENGTH), n_chunks=st.integers(2, 30), steps=st.integers(1, 9))
def test_at_most_two_windows_hold_an_element_and_one_always_does(n: int, n_chunks: int, steps: int):
    own = ResidualWatch((), steps, n_chunks, 0.1)
    starts = residuals._window_starts(own, n)
    assert 1 <= len(starts) <= 2
    assert all(start < n <= start + own.length for start in starts)


def test_errors_that_are_missing_are_skipped_and_positions_count_them():
    history = 5 * errors(np.random.default_rng(3), 80)
    history[40:] += 15.0
    plain = residual_states(watch(0, "cusum"), history)[0]
    gappy = residual_states(watch(0, "cusum"), np.insert(history, 10, [np.nan] * 4))[0]
    assert (gappy.position, gappy.onset) == (plain.position + 4, plain.onset + 4)


def test_an_empty_history_and_a_short_backtest_say_why_there_is_no_statistic():
    assert "expected at least 1" in residual_states(watch(0, "cusum"), np.array([]))[0].reason
    short = fit_residual_watch(np.zeros(10), steps_per_chunk=1, n_chunks=10, false_alarms=0.05, seed=0, detectors=["cusum"])
    state = residual_states(short, np.zeros(5))[0]
    assert state.position is None
    assert "expected at least 50" in state.reason


@pytest.mark.parametrize(
    "wrong", [{"n_chunks": 1}, {"steps_per_chunk": 0}, {"detectors": []}, {"false_alarms": 2.0}, {"detectors": ["sonar"]}]
)
def test_arguments_out_of_range_raise_with_what_was_expected(wrong: dict[str, object]):
    plain: dict = {"steps_per_chunk": 1, "n_chunks": 10, "false_alarms": 0.05, "seed": 0, "detectors": ["cusum"]}
    with pytest.raises(ValueError, match="expected"):
        fit_residual_watch(np.random.default_rng(0).normal(size=100), **{**plain, **wrong})


# --- streams and lines -------------------------------------------------------------------------------------------------


def rows_of(n: int = 12) -> pd.DataFrame:
    dates = pd.date_range("2024-01-01", periods=n, freq="D", tz="UTC")
    parts = [
        pd.DataFrame({"unique_id": name, "ds": dates, "h": h, "cutoff": dates - h * pd.Timedelta(days=1), "y": 10.0 + size, "mean": 10.0 * h})
        for name, size in (("a", 1.0), ("b", 4.0)) for h in (1, 2)
    ]  # fmt: skip
    return matured(pd.concat(parts))


def test_one_step_errors_are_outcome_minus_forecast_of_the_shortest_horizon():
    rows = rows_of()
    found = one_step_errors(rows[~((rows["unique_id"] == "b") & (rows["ds"] == rows["ds"].min()))])
    assert found["a"].tolist() == [1.0] * 12
    assert math.isnan(found["b"].iloc[0])
    assert found["b"].iloc[1:].tolist() == [4.0] * 11


def test_many_series_are_one_stream_in_units_of_their_own_spread():
    stream = pooled_errors(one_step_errors(rows_of()), pd.Series({"a": 2.0, "b": 4.0, "c": 1.0, "d": 0.0}))
    assert stream.tolist() == [0.75] * 12


def test_lines_name_the_onset_and_breach_with_an_alarm_only():
    history = 5 * errors(np.random.default_rng(4), 90)
    dates = [str(date.date()) for date in pd.date_range("2024-01-01", periods=90)]
    quiet = residual_lines("c", residual_states(watch(0, *SUMS), history), dates)
    assert not quiet["breach"].any()
    history[60:] += 15.0
    loud = residual_lines("c", residual_states(watch(0, *SUMS), history), dates, segment="unique_id=a")
    own = loud[loud["method"] == "cusum"].iloc[0]
    assert own["breach"]
    assert own["value"] >= own["upper_limit"]
    assert own["reason"].startswith("up: since about 2024-0")
    assert (own["kind"], own["segment"], own["n_rows"]) == ("residual_drift", "unique_id=a", 90)
