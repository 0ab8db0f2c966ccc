"""Errors of forecasts are those of plain arithmetic and of the library, and their standard errors allow for dependence."""

import doctest
import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from monitoring_assets.measures.forecast import matured as matured_module
from monitoring_assets.measures.forecast import standard_error as error_module
from monitoring_assets.measures.forecast.accuracy import (
    METRICS,
    accuracy_lines,
    measure_parts,
    metrics_of,
    row_terms,
    scales_of,
)
from monitoring_assets.measures.forecast.matured import levels_of, matured, segments_of
from monitoring_assets.measures.forecast.standard_error import design_effect, standard_error
from monitoring_assets.measures.lines import ALL, COLUMNS
from monitoring_assets.measures.number import Number
from resources.tables import MEASUREMENTS

DAY = pd.Timedelta(days=1)
Z = {80: 1.2815515655446004, 97.5: 2.241402727604945}


def measured(rows: pd.DataFrame, scales: pd.DataFrame | None = None, metrics: list[str] | None = None) -> dict[str, Number]:
    """Of one set of rows."""
    return measure_parts({ALL: rows}, scales, metrics)[ALL]


def ledger(seed: int, *, n_series: int = 3, n_days: int = 30, horizons: int = 3, rho: float = 0.0, shared: float = 0.0) -> pd.DataFrame:
    """Matured forecasts whose errors are autoregressive with deviation 1; ``shared`` is the share of variance all series have in common."""
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2024-01-01", periods=n_days, freq="D", tz="UTC")
    common = lfilter([math.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=n_days + 50))[50:]
    parts = []
    for number in range(n_series):
        own = lfilter([math.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=n_days + 50))[50:]
        y = 20 + number + math.sqrt(shared) * common + math.sqrt(1 - shared) * own
        for h in range(1, horizons + 1):
            mean = 20 + number + 0.1 * rng.normal(size=n_days)
            part = pd.DataFrame(
                {
                    "unique_id": f"series {number}",
                    "ds": dates,
                    "h": h,
                    "cutoff": dates - h * DAY,
                    "model_version": "1",
                    "y": y,
                    "mean": mean,
                }
            )
            part["baseline"] = 20 + number + rng.normal(size=n_days)
            for level, z in Z.items():
                part[f"lo-{level}"], part[f"hi-{level}"] = mean - z, mean + z
            parts.append(part.assign(region="north" if number % 2 else "south"))
    return pd.concat(parts, ignore_index=True)


def by_hand(rows: pd.DataFrame, scales: pd.DataFrame) -> dict[str, float]:
    """Every number, written out without the library."""
    y, mean, baseline = (rows[name].to_numpy() for name in ("y", "mean", "baseline"))
    error = mean - y
    found = {
        "mae": np.abs(error).mean(), "mse": (error**2).mean(), "rmse": np.sqrt((error**2).mean()), "bias": error.mean(),
        "smape": (np.abs(error) / (np.abs(mean) + np.abs(y))).mean(), "wape": np.abs(error).sum() / np.abs(y).sum(),
        "mape": (np.abs(error) / np.abs(y)).mean(), "tracking_signal": error.sum() / np.abs(error).mean(),
        "mase": (np.abs(error) / rows["unique_id"].map(scales["mase"])).mean(),
        "rmsse": np.sqrt(((error / rows["unique_id"].map(scales["rmsse"])) ** 2).mean()),
        "skill": 1 - np.abs(error).mean() / np.abs(baseline - y).mean(),
        "skill_rmse": 1 - np.sqrt((error**2).mean() / ((baseline - y) ** 2).mean()),
    }  # fmt: skip
    losses, columns = [], {0.5: "mean"}
    for level in Z:
        low, high, alpha = rows[f"lo-{level}"].to_numpy(), rows[f"hi-{level}"].to_numpy(), 1 - level / 100
        columns |= {alpha / 2: f"lo-{level}", 1 - alpha / 2: f"hi-{level}"}
        found[f"coverage_{level}"] = ((y >= low) & (y <= high)).mean()
        found[f"winkler_{level}"] = (high - low + 2 / alpha * (np.maximum(low - y, 0) + np.maximum(y - high, 0))).mean()
    for q, column in columns.items():
        short = y - rows[column].to_numpy()
        losses.append(np.where(short >= 0, q * short, (q - 1) * short).mean())
    return found | {"pinball": np.mean(losses), "crps": 2 * np.mean(losses)}


def test_the_examples_in_the_documentation_hold():
    assert doctest.testmod(matured_module).failed == 0
    assert doctest.testmod(error_module).failed == 0


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), n_series=st.integers(1, 4), n_days=st.integers(1, 12))
def test_every_number_is_that_of_plain_arithmetic(seed: int, n_series: int, n_days: int):
    rows = matured(ledger(seed, n_series=n_series, n_days=n_days))
    scales = scales_of(ledger(seed + 1, n_series=n_series, horizons=1), 7)
    found = measured(rows, scales)
    expected = by_hand(rows, scales)
    assert set(found) == set(expected)
    assert {name: number.value for name, number in found.items()} == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_parts_measured_together_are_what_each_is_alone():
    rows, scales = matured(ledger(5, n_series=4)), scales_of(ledger(6, n_series=3, horizons=1), 7)  # one series has no scale
    parts = {**segments_of(rows, cohorts=["unique_id"]), "none": rows.iloc[:0]}
    together = measure_parts(parts, scales)
    assert list(together) == list(parts)
    for name, own in parts.items():
        alone = measured(own, scales)
        assert [(one, repr(number)) for one, number in together[name].items()] == [(one, repr(number)) for one, number in alone.items()]
    assert "got 0 rows" in together["none"]["mae"].reason
    assert together["unique_id=series 3"]["mase"].n_rows == 0 < together["unique_id=series 2"]["mase"].n_rows
    assert measure_parts({}, scales) == {}


def test_the_terms_of_rows_average_to_the_number():
    rows = matured(ledger(3))
    found = measured(rows)
    for name in ("mae", "bias", "smape", "mape", "pinball", "crps", "winkler_80", "coverage_97.5"):
        assert row_terms(name, rows).mean() == pytest.approx(found[name].value, rel=1e-12)


def test_a_forecast_that_is_too_high_has_positive_bias_and_tracking_signal():
    rows = matured(ledger(0).assign(mean=lambda frame: frame["y"] + 2.0))
    found = measured(rows, metrics=["bias", "tracking_signal"])
    assert found["bias"].value == pytest.approx(2.0)
    assert found["tracking_signal"].value == pytest.approx(len(rows))


def test_skill_is_zero_for_the_baseline_itself_and_one_for_a_perfect_forecast():
    rows = matured(ledger(0))
    same, perfect = rows.assign(mean=rows["baseline"]), rows.assign(mean=rows["y"])
    assert measured(same, metrics=["skill"])["skill"].value == pytest.approx(0.0, abs=1e-15)
    assert measured(perfect, metrics=["skill", "skill_rmse"])["skill_rmse"].value == 1.0


def test_scales_are_the_errors_of_the_seasonal_naive_forecast_in_training():
    training = pd.DataFrame({"unique_id": "a", "ds": pd.date_range("2024-01-01", periods=6), "y": [1.0, 2.0, 4.0, 4.0, 5.0, 1.0]})
    scales = scales_of(training.sample(frac=1, random_state=0), 2)
    assert scales.loc["a", "mase"] == pytest.approx(np.mean([3, 2, 1, 3]))
    assert scales.loc["a", "rmsse"] == pytest.approx(math.sqrt(np.mean([9, 4, 1, 9])))
    assert math.isnan(scales_of(training, 6).loc["a", "mase"])


def test_outcomes_of_zero_leave_mape_and_refuse_wape_by_name():
    rows = matured(ledger(0).assign(y=0.0))
    found = measured(rows, metrics=["mape", "wape", "smape"])
    assert math.isnan(found["mape"].value)
    assert "none of which can enter mape" in found["mape"].reason
    assert "expected some above 0" in found["wape"].reason
    assert found["smape"].value == 1.0
    half = rows.assign(y=np.where(rows["h"] == 1, 5.0, 0.0), mean=6.0)
    assert measured(half, metrics=["mape"])["mape"].value == pytest.approx(0.2)
    assert measured(half, metrics=["mape"])["mape"].n_rows == (rows["h"] == 1).sum()


def test_a_series_without_a_scale_is_left_out_of_scaled_errors_alone():
    rows = matured(ledger(0))
    scales = scales_of(ledger(1, horizons=1), 7)
    scales.loc["series 1", "mase"] = 0.0
    found = measured(rows, scales, ["mase", "mae"])
    assert found["mase"].n_rows == (rows["unique_id"] != "series 1").sum()
    assert found["mae"].n_rows == len(rows)


def test_numbers_that_columns_cannot_give_are_absent_and_asking_for_them_raises():
    rows = matured(ledger(0)[["unique_id", "ds", "h", "cutoff", "mean", "y"]])
    assert set(metrics_of(rows, None)) == set(METRICS) - {"mase", "rmsse", "skill", "skill_rmse", "pinball", "crps"}
    with pytest.raises(KeyError, match="expected some of"):
        measured(rows, metrics=["skill"])


# --- standard errors ---------------------------------------------------------------------------------------------------


MEASURED = ["mae", "rmse", "bias", "wape", "skill", "tracking_signal", "coverage_80"]


@cache
def repetitions(n_series: int, rho: float, shared: float) -> list[dict[str, Number]]:
    """Numbers of 40 worlds."""
    frames = (ledger(seed, n_series=n_series, n_days=150, horizons=2, rho=rho, shared=shared) for seed in range(40))
    return [measured(matured(frame), metrics=MEASURED) for frame in frames]


@pytest.mark.xdist_group("forecast_repetitions")  # they are shared within one worker
@pytest.mark.parametrize("metric", MEASURED)
@pytest.mark.parametrize("world", [(1, 0.0, 0.0), (1, 0.5, 0.0), (12, 0.0, 0.6)])
def test_the_standard_error_is_the_spread_over_repetitions(metric: str, world: tuple[int, float, float]):
    found = [one[metric] for one in repetitions(*world)]
    spread, stated = np.std([one.value for one in found]), np.mean([one.standard_error for one in found])
    assert 0.65 < stated / spread < 1.5


def test_taking_rows_for_independent_would_understate_the_error_of_overlapping_horizons():
    rows = matured(ledger(0, n_series=1, n_days=300, horizons=5, rho=0.5))
    bias = measured(rows, metrics=["bias"])["bias"]
    independent = (rows["mean"] - rows["y"]).std() / math.sqrt(len(rows))
    assert bias.standard_error > 2 * independent
    assert design_effect(rows, row_terms("bias", rows)) > 5


def test_null_twin_independent_rows_have_a_design_effect_of_about_one():
    rows = matured(ledger(0, n_series=1, n_days=2000, horizons=1))
    assert design_effect(rows, row_terms("bias", rows)) < 1.3


def test_fewer_than_eight_dates_and_series_have_no_standard_error():
    rows = matured(ledger(0, n_series=2, n_days=7))
    assert math.isnan(standard_error(rows, np.zeros(len(rows))))
    assert measured(matured(ledger(0, n_series=9, n_days=1)), metrics=["mae"])["mae"].standard_error > 0


# --- frames and lines --------------------------------------------------------------------------------------------------


def test_rows_without_outcome_or_forecast_are_not_matured():
    frame = ledger(0)
    frame.loc[0, "y"], frame.loc[1, "mean"] = np.nan, np.inf
    assert len(matured(frame)) == len(frame) - 2


def test_a_frame_that_breaks_the_contract_is_refused_by_name():
    with pytest.raises(ValueError, match="without cutoff"):
        matured(ledger(0).drop(columns="cutoff"))
    with pytest.raises(ValueError, match="rows twice"):
        matured(pd.concat([ledger(0), ledger(0).head(1)]))


def test_segments_are_horizons_buckets_and_cohorts_and_cover_every_row():
    rows = matured(ledger(0))
    segments = segments_of(rows, buckets=[(1, 2), (3, 9), (10, 20)], cohorts=["region"])
    assert set(segments) == {"all", "h=1", "h=2", "h=3", "h=1-2", "h=3-9", "region=north", "region=south"}
    assert len(segments["h=1-2"]) + len(segments["h=3-9"]) == len(segments["region=north"]) + len(segments["region=south"]) == len(rows)


def test_levels_keep_their_decimals():
    assert levels_of(ledger(0)) == ["80", "97.5"]


def test_lines_have_the_shape_of_the_table_and_never_breach():
    rows = matured(ledger(0))
    lines = accuracy_lines("2024-01", segments_of(rows, cohorts=["region"]), scales_of(ledger(1, horizons=1), 7))
    assert list(lines) == COLUMNS
    assert set(COLUMNS) <= set(MEASUREMENTS.columns)
    assert not lines["breach"].any()
    assert not lines["is_deciding"].any()
    assert set(lines.loc[lines["subject"].str.startswith("skill"), "compared_with"]) == {"seasonal_naive"}
    own = lines[(lines["segment"] == "h=2") & (lines["subject"] == "mae")]
    assert own["value"].item() == pytest.approx((rows["mean"] - rows["y"])[rows["h"] == 2].abs().mean())
    assert own["n_rows"].item() == (rows["h"] == 2).sum()
