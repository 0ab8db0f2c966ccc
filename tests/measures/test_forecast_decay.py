"""Each kind of evidence is named for what it is, and lines that do not hurt name nothing."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.measures.forecast.breaks import break_lines, date_break
from monitoring_assets.measures.forecast.coverage import coverage_lines, fit_coverage
from monitoring_assets.measures.forecast.decay import VERDICTS, Decay, judge_decay
from monitoring_assets.measures.forecast.error_limits import error_lines, fit_error_limits
from monitoring_assets.measures.forecast.matured import matured, segments_of
from monitoring_assets.measures.forecast.residuals import fit_residual_watch, residual_lines, residual_states
from monitoring_assets.measures.lines import joined, lines_of
from resources.vocabulary import Verdict

QUIET = {
    "mae": {"kind": "forecast_error", "method": "realized", "subject": "mae", "value": 1.0, "upper_limit": 2.0, "p_value": 0.5},
    "bias": {
        "kind": "forecast_error",
        "method": "realized",
        "subject": "bias",
        "value": 0.1,
        "lower_limit": -1.0,
        "upper_limit": 1.0,
        "p_value": 0.5,
    },
    "coverage": {"kind": "interval_coverage", "method": "realized", "subject": "coverage_80", "value": 0.8},
    "cusum": {"kind": "residual_drift", "method": "cusum", "subject": "one_step_error", "value": 3.0, "upper_limit": 10.0},
    "scale": {"kind": "residual_drift", "method": "cusum_absolute", "subject": "one_step_error", "value": 3.0, "upper_limit": 10.0},
    "break": {"kind": "structural_break", "method": "sup_f_level", "subject": "one_step_error", "value": 5.0},
}
LOUD = {
    "mae": {"value": 3.0, "p_value": 1e-4}, "bias": {"value": -2.0, "p_value": 1e-6}, "coverage": {"value": 0.4},
    "cusum": {"value": 15.0, "reason": "up: since about 2024-03-01, seen at 2024-03-09"},
    "scale": {"value": 12.0, "reason": "up: since about 2024-03-02, seen at 2024-03-09"},
    "break": {"value": 60.0, "reason": "up: at 2024-03-01, between 2024-02-28 and 2024-03-02"},
}  # fmt: skip


def lines(*loud: str, **changes: dict[str, object]) -> pd.DataFrame:
    return lines_of([
        {"chunk": "c", "n_rows": 49, **plain, **({**LOUD[name], "breach": True} if name in loud else {}), **changes.get(name, {})}
        for name, plain in QUIET.items()
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("loud", "decay"),
    [
        ((), Decay.NONE),
        (("bias",), Decay.BIAS),
        (("cusum",), Decay.BIAS),
        (("cusum", "scale"), Decay.BIAS),
        (("bias", "mae", "coverage"), Decay.BIAS),
        (("mae",), Decay.ERROR_GROWTH),
        (("scale", "coverage"), Decay.ERROR_GROWTH),
        (("coverage",), Decay.COVERAGE),
        (("break",), Decay.NONE),
        (("break", "coverage"), Decay.COVERAGE),
        (("break", "cusum"), Decay.STRUCTURAL_BREAK),
        (("break", "mae"), Decay.STRUCTURAL_BREAK),
    ],
)
def test_what_breaches_names_the_decay(loud: tuple[str, ...], decay: Decay):
    found = judge_decay(lines(*loud))
    assert found.decay is decay
    assert found.verdict is VERDICTS[decay]
    assert (found.verdict is Verdict.HEALTHY) == (decay is Decay.NONE)


def test_a_wider_scale_that_trips_the_detector_of_shifts_too_is_growth():
    assert judge_decay(lines("cusum", "scale", scale={"value": 40.0})).decay is Decay.ERROR_GROWTH
    assert judge_decay(lines("mae", "bias", mae={"p_value": 1e-9})).decay is Decay.ERROR_GROWTH


def test_errors_that_fall_are_no_decay():
    assert judge_decay(lines("scale", scale={"reason": "down: since about 2024-03-02, seen at 2024-03-09"})).decay is Decay.NONE
    assert judge_decay(lines("mae", mae={"value": 0.1})).decay is Decay.NONE


def test_lines_that_do_not_decide_name_nothing():
    assert judge_decay(lines("bias", "coverage", "cusum").assign(is_deciding=False)).decay is Decay.UNDECIDED
    own = lines("coverage")
    own.loc[own["breach"], "is_deciding"] = False
    assert judge_decay(own).decay is Decay.NONE


def test_without_a_number_nothing_is_decided():
    assert judge_decay(lines_of([])).verdict is Verdict.UNDECIDED
    assert judge_decay(lines().assign(value=np.nan)).decay is Decay.UNDECIDED
    assert judge_decay(lines().query("kind == 'structural_break'")).decay is Decay.UNDECIDED


def test_the_recovery_names_the_date_and_the_evidence_its_lines():
    found = judge_decay(lines("break", "cusum"))
    assert found.recovery.startswith("up: at 2024-03-01, between 2024-02-28 and 2024-03-02.")
    assert list(found.evidence) == ["structural_break/sup_f_level/one_step_error", "residual_drift/cusum/one_step_error"]


def test_evidence_that_agrees_is_surer_than_one_alone():
    assert judge_decay(lines("cusum", "bias")).confidence > judge_decay(lines("cusum")).confidence


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(sorted(QUIET))), st.sets(st.sampled_from(sorted(QUIET))))
def test_more_breaches_never_make_a_decay_vanish(first: set[str], more: set[str]):
    few, many = judge_decay(lines(*first)), judge_decay(lines(*first, *more))
    assert (few.decay is Decay.NONE) or (many.decay is not Decay.NONE)


@settings(max_examples=15, deadline=None)
@given(st.permutations(list(QUIET)), st.sets(st.sampled_from(sorted(QUIET))))
def test_the_order_of_lines_does_not_matter(order: list[str], loud: set[str]):
    own = lines(*loud)
    shuffled = own.iloc[[list(QUIET).index(name) for name in order]]
    assert judge_decay(shuffled).decay is judge_decay(own).decay


# --- end to end --------------------------------------------------------------------------------------------------------


def ledger(seed: int, fault: str, n: int = 500, first: int = 430) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    since = np.arange(n) >= first
    noise = rng.normal(size=n) * np.where(since & (fault == "variance"), 3.0, 1.0) + np.where(since & (fault == "level"), 3.0, 0.0)
    dates = pd.date_range("2023-01-01", periods=n, freq="D", tz="UTC")
    width = np.where(since & (fault == "intervals"), 0.15, 1.2815515655446004)
    parts = [
        pd.DataFrame({"unique_id": "a", "ds": dates, "h": h, "cutoff": dates - pd.Timedelta(days=h), "y": 10 + noise, "mean": 10.0, "lo-80": 10 - width, "hi-80": 10 + width})
        for h in (1, 2)
    ]  # fmt: skip
    return matured(pd.concat(parts))


def judged(seed: int, fault: str) -> Decay:
    """Backtest of 400 days, judged after 28 days since the fault."""
    frame = ledger(seed, fault)
    edge, chunk = frame["ds"].min() + pd.Timedelta(days=400), frame["ds"].min() + pd.Timedelta(days=472)
    backtest, later = frame[frame["ds"] < edge], frame[frame["ds"] >= edge]
    newest = segments_of(later[later["ds"] >= chunk], by_horizon=False)
    errors = [(own["y"] - own["mean"])[own["h"] == 1].to_numpy() for own in (backtest, later)]
    watch = fit_residual_watch(errors[0], steps_per_chunk=28, n_chunks=4, false_alarms=0.05, seed=0, detectors=["cusum", "cusum_absolute"])
    broken = [date_break(errors[1], "level", seed=seed)]
    return judge_decay(joined([
        error_lines("c", newest, fit_error_limits(segments_of(backtest, by_horizon=False), 28), 0.01),
        coverage_lines("c", newest, fit_coverage(backtest), 0.01),
        residual_lines("c", residual_states(watch, errors[1])),
        break_lines("c", broken, 0.01),
    ])).decay  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "decay"),
    [("level", Decay.STRUCTURAL_BREAK), ("variance", Decay.ERROR_GROWTH), ("intervals", Decay.COVERAGE), ("", Decay.NONE)],
)
def test_simulated_faults_are_named_and_their_twin_is_none(fault: str, decay: Decay):
    found = [judged(seed, fault) for seed in range(4)]
    assert sum(one is decay for one in found) >= 3, found
