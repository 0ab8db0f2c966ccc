"""Estimates of performance without outcomes: right under covariate shift too."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.measures import nanny
from monitoring_assets.measures.adaptive import ESTIMATORS, FittedEstimator, estimate, estimate_group, fit
from monitoring_assets.measures.expected_metrics import METRICS, expected
from monitoring_assets.measures.lines import COLUMNS
from resources.policy import MonitoredModel

every_estimator = pytest.mark.parametrize("name", ESTIMATORS)
USUAL, MOVED = 0.35, 0.9


@cache
def policy_of(**limits: float) -> MonitoredModel:
    return MonitoredModel.model_validate({
        "model": "demo", "task": "binary_classification", "log": {"parquet": "log.parquet", "time": "time", "id": "id"},
        "features": {"numeric": ["x1", "x2"], "categorical": ["site"]}, "outcome": {"column": "y"},
        "reference": {"start": "2024-01-01", "end": "2024-01-21"},
        "performance": {"metrics": list(METRICS), **{name: {"std": std} for name, std in limits.items()}},
    })  # fmt: skip


@cache
def rows_of(seed: int, start: str, days: int, per_day: int, noisy: float = USUAL) -> pd.DataFrame:
    """Rows of a world in which the score means much at a steady site and little at a noisy one; their mix may move."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    x1, is_noisy = rng.normal(size=n), rng.random(n) < noisy
    truth = 1 / (1 + np.exp(-np.where(is_noisy, 0.3, 3.0) * x1))
    score = 1 / (1 + np.exp(-2 * x1))
    frame = pd.DataFrame({
        "time": pd.date_range(start, periods=n, freq=pd.Timedelta(days=1) / per_day, tz="UTC"), "x1": x1, "x2": rng.normal(size=n),
        "site": np.where(is_noisy, "noisy", "steady").astype(object), "y_pred_proba": score, "y_pred": (score > 0.5).astype(float),
        "y_true": (rng.random(n) < truth).astype(float),
    })  # fmt: skip
    frame.loc[rng.random(n) < 0.05, "x2"] = np.nan
    return frame


def reference() -> pd.DataFrame:
    return rows_of(0, "2024-01-01", 20, 500)


def production(noisy: float = USUAL) -> pd.DataFrame:
    return rows_of(1, "2024-02-01", 3, 1500, noisy)


def fresh() -> pd.DataFrame:
    """A month like the reference."""
    return rows_of(2, "2024-03-01", 30, 500)


@cache
def fitted_of(name: str) -> FittedEstimator:
    return fit(name, policy_of(), reference())


def lines_of(name: str, rows: pd.DataFrame) -> pd.DataFrame:
    return estimate(fitted_of(name), policy_of(), rows.drop(columns="y_true", errors="ignore"))


def realized(rows: pd.DataFrame) -> pd.Series:
    """Realized metrics by chunk and metric."""
    found = {
        (chunk, metric): expected(metric, *(own[column].to_numpy() for column in ("y_true", "y_pred_proba", "y_pred"))).value
        for chunk, own in rows.groupby(rows["time"].dt.strftime("%Y-%m-%d")) for metric in METRICS
    }  # fmt: skip
    return pd.Series(found).rename_axis(["chunk", "subject"])


def misses(lines: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    return lines.set_index(["chunk", "subject"])["value"] - realized(rows)


@every_estimator
def test_under_covariate_shift_estimates_are_the_realized_performance_within_sampling_error(name: str):
    lines = lines_of(name, production(MOVED))
    errors = lines.set_index(["chunk", "subject"])["standard_error"]
    missed = misses(lines, production(MOVED))
    assert (missed.abs() <= 3.5 * errors).all()
    of_means = errors.groupby(level=1).mean() / np.sqrt(3)
    assert (missed.groupby(level=1).mean().abs() <= 4 * of_means).all()


@every_estimator
def test_null_twin_without_a_shift_estimates_are_right_too(name: str):
    lines = lines_of(name, production())
    errors = lines.set_index(["chunk", "subject"])["standard_error"]
    assert (misses(lines, production()).abs() <= 3.5 * errors).all()


@every_estimator
def test_under_covariate_shift_the_error_is_a_fraction_of_that_of_cbpe(name: str):
    rows = production(MOVED)
    plain = nanny.measure(nanny.fit("estimated", policy_of(), reference()), policy_of(), rows.drop(columns="y_true"))
    plain_error = misses(plain, rows).abs().groupby(level=1).mean()
    own_error = misses(lines_of(name, rows), rows).abs().groupby(level=1).mean()
    assert (own_error <= plain_error / 3).all()


@every_estimator
def test_null_twin_without_a_shift_estimates_agree_with_cbpe(name: str):
    rows = production()
    plain = nanny.measure(nanny.fit("estimated", policy_of(), reference()), policy_of(), rows.drop(columns="y_true"))
    both = lines_of(name, rows).merge(plain, on=["chunk", "subject"])
    assert (both["value_x"] - both["value_y"]).abs().max() <= 0.025


@every_estimator
def test_a_harmful_shift_breaches(name: str):
    assert lines_of(name, rows_of(1, "2024-02-01", 3, 500, MOVED))["breach"].all()


@every_estimator
def test_null_twin_chunks_like_the_reference_hardly_ever_breach(name: str):
    assert lines_of(name, fresh())["breach"].mean() <= 0.05


@every_estimator
def test_a_line_has_chunk_metric_size_and_limits(name: str):
    lines = lines_of(name, production())
    assert list(lines.columns) == COLUMNS
    assert set(lines["method"]) == {name}
    assert set(lines["kind"]) == {"estimated_performance"}
    assert set(lines["n_rows"]) == {1500}
    assert sorted(set(lines["chunk"])) == ["2024-02-01", "2024-02-02", "2024-02-03"]
    assert lines["standard_error"].between(0, 0.1, inclusive="neither").all()
    assert not lines.duplicated(["chunk", "subject"]).any()
    assert len(lines) == 3 * len(METRICS)


@every_estimator
def test_a_chunk_alone_gives_the_same_numbers_as_the_whole_history(name: str):
    rows = production(MOVED)
    alone = pd.concat([lines_of(name, own.reset_index(drop=True)) for _, own in rows.groupby(rows["time"].dt.date)], ignore_index=True)
    pd.testing.assert_frame_equal(alone, lines_of(name, rows))


@every_estimator
def test_stored_and_loaded_it_gives_identical_numbers(name: str):
    text = json.dumps(fitted_of(name).as_plain(), allow_nan=False)
    loaded = FittedEstimator.from_plain(json.loads(text))
    own = estimate(loaded, policy_of(), production(MOVED))
    pd.testing.assert_frame_equal(own, lines_of(name, production(MOVED)), check_exact=True)
    assert (loaded.limits, loaded.spread) == (fitted_of(name).limits, fitted_of(name).spread)
    assert json.dumps(loaded.as_plain()) == text


@every_estimator
def test_the_same_reference_gives_the_same_estimator_and_neither_step_changes_the_rows(name: str):
    before = reference().copy()
    again = fit(name, policy_of(), reference())
    assert again.as_plain() == fitted_of(name).as_plain()
    pd.testing.assert_frame_equal(reference(), before)


@every_estimator
def test_the_order_of_rows_does_not_matter(name: str):
    shuffled = production(MOVED).sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(lines_of(name, shuffled), lines_of(name, production(MOVED)), rtol=1e-9)


@every_estimator
def test_outcomes_of_the_chunk_are_not_read(name: str):
    rows = production(MOVED)
    told = estimate(fitted_of(name), policy_of(), rows.assign(y_true=1 - rows["y_true"]))
    pd.testing.assert_frame_equal(told, lines_of(name, rows), check_exact=True)


@every_estimator
def test_limits_and_spread_are_those_of_chunks_the_calibration_had_not_seen(name: str):
    fitted = fitted_of(name)
    assert (fitted.n_rows, fitted.n_chunks) == (10_000, 20)
    lines = lines_of(name, fresh())
    missed = misses(lines, fresh())
    for metric in METRICS:
        assert missed.xs(metric, level=1).std() == pytest.approx(fitted.spread[metric], rel=0.6)
        values = lines.loc[lines["subject"] == metric, "value"]
        assert abs(values.mean() - reference_middle(fitted, metric)) <= values.std()


def reference_middle(fitted: FittedEstimator, metric: str) -> float:
    pair = fitted.limits[metric]
    assert pair.lower is not None
    assert pair.upper is not None
    return (pair.lower + pair.upper) / 2


def test_the_estimate_may_have_a_limit_of_its_own():
    narrow = fit("m_cbpe", policy_of(limit=3.0, estimated_limit=1.0), reference()).limits["accuracy"]
    common = fitted_of("m_cbpe").limits["accuracy"]
    assert common.lower < narrow.lower < narrow.upper < common.upper
    assert common.upper - common.lower == pytest.approx(3 * (narrow.upper - narrow.lower))


@every_estimator
@pytest.mark.parametrize("n", [0, 1])
def test_a_group_without_two_scored_rows_has_no_estimate_and_no_breach(name: str, n: int):
    rows = production().head(30).copy()
    rows.loc[rows.index[n:], "y_pred_proba"] = np.nan
    lines = lines_of(name, rows)
    assert lines["value"].isna().all()
    assert not lines["breach"].any()
    assert set(lines["n_rows"]) == {30}


@every_estimator
def test_a_handful_of_rows_and_unknown_categories_still_give_an_estimate(name: str):
    rows = production().head(40).assign(site="nowhere")
    found = estimate_group(fitted_of(name), policy_of(), rows)
    assert all(0 <= own.value <= 1 for own in found.values())


@every_estimator
def test_a_small_reference_misses_by_no_more_than_its_own_sampling_error(name: str):
    small = fit(name, policy_of(), rows_of(5, "2024-01-01", 20, 15))
    rows = production()
    missed = misses(estimate(small, policy_of(), rows.drop(columns="y_true")), rows)
    assert missed.xs("accuracy", level=1).abs().mean() <= 3 * np.sqrt(0.2 * 0.8 / 300)


def test_an_unknown_estimator_and_a_reference_of_one_class_are_refused_with_what_was_expected():
    with pytest.raises(ValueError, match="expected one of m_cbpe, pape"):
        fit("oracle", policy_of(), reference())
    with pytest.raises(ValueError, match="rarer class; expected at least 5"):
        fit("pape", policy_of(), reference().assign(y_true=1.0))
