"""Series no forecaster should be fitted on are refused, and say why."""

import numpy as np
import pandas as pd
import pytest
from forecast_series import daily, spec

from training_assets.recipes.forecast import FORECASTER, Backtest, Exogenous, SeriesError, fill_gaps
from training_assets.recipes.forecast.series import check_shape, checked


def gap(frame):
    return frame.drop(index=[30, 31])


def doubled(frame):
    return pd.concat([frame, frame.iloc[[10]]]).sort_values(["unique_id", "ds"])


def with_value(value):
    return lambda frame: frame.assign(y=frame["y"].where(frame.index != 5, value))


BROKEN = {
    "gaps": (gap, "got 1 gaps, after s0 2024-01-30.*fill_gaps"),
    "doubles": (doubled, "got 2 rows with a doubled date, s0 2024-01-11.*aggregate"),
    "order": (lambda frame: frame.iloc[::-1], "unsorted.*sort_values"),
    "nan": (with_value(np.nan), "y: got 1 NaN or infinite.*s0 2024-01-06"),
    "infinite": (with_value(np.inf), "y: got 1 NaN or infinite"),
    "short": (lambda frame: frame.groupby("unique_id").head(20), "s0 has 20.*at least 35 rows.*on_short"),
    "zone": (lambda frame: frame.assign(ds=frame["ds"].dt.tz_localize("UTC")), "ds: got datetime64.*without a zone"),
    "ids": (lambda frame: frame.assign(unique_id=1), "unique_id.*astype"),
    "missing": (lambda frame: frame.drop(columns="y"), r"expected also \['y'\]"),
    "undeclared": (lambda frame: frame.assign(price=1.0), r"undeclared \['price'\].*leak"),
    "text": (lambda frame: frame.assign(y="many"), "y: got object; expected numbers"),
    "empty": (lambda frame: frame.iloc[:0], "no rows"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_series_are_refused_with_what_was_got_expected_and_to_do(name):
    breaks, message = BROKEN[name]
    with pytest.raises(SeriesError, match=message):
        checked(spec(), breaks(daily()))


def test_sound_series_pass_unchanged():
    frame = daily()
    pd.testing.assert_frame_equal(checked(spec(), frame), frame)


def test_history_is_cut_to_the_rows_asked_for():
    kept = checked(spec(max_history=40), daily())
    assert kept.groupby("unique_id").size().eq(40).all()
    assert kept["ds"].max() == daily()["ds"].max()


def test_a_logarithm_is_refused_where_y_is_not_positive():
    with pytest.raises(SeriesError, match=r"y: got 1 values that are not positive.*transform: none"):
        check_shape(spec(transform="log"), with_value(0.0)(daily()))


@pytest.mark.parametrize("how", ["interpolate", "carry"])
def test_gaps_are_filled_only_when_asked_and_only_between_rows(how):
    filled = fill_gaps(gap(daily()), "D", how)
    check_shape(spec(), filled)
    own, before = filled[filled["unique_id"] == "s0"]["y"].to_numpy(), daily()["y"].to_numpy()
    between = before[29] if how == "carry" else before[29] + (before[32] - before[29]) / 3
    assert own[30] == pytest.approx(between)
    assert len(filled) == len(daily())


def test_a_specification_names_the_models_it_could_have_meant():
    with pytest.raises(ValueError, match=r"got \['auto_arma'\]; expected names out of .*auto_arima"):
        spec(candidates=("auto_arma",))
    with pytest.raises(ValueError, match="lag below 7"):
        spec(exogenous=(Exogenous(name="temperature", lag=3),))
    with pytest.raises(ValueError, match="levels: got"):
        spec(levels=(0,))
    with pytest.raises(ValueError, match="max_history: got 10"):
        spec(max_history=10)
    with pytest.raises(ValueError, match="average: got 2 with combine: median"):
        spec(average=2, combine="median")
    with pytest.raises(ValueError, match="backtest: got 7 errors per series"):
        spec(combine="mean", backtest=Backtest(windows=1))
    with pytest.raises(ValueError, match="fallback: got 'lightgbm'"):
        spec(fallback="lightgbm")


def driven(seed=0):
    """Series with a promotion that lifts them, and the same promotion for the week after."""
    frame, rng = daily(seed=seed), np.random.default_rng(5)
    frame["promotion"] = (rng.random(len(frame)) < 0.3).astype("float64")
    frame["y"] += 20 * frame["promotion"]
    future = frame.groupby("unique_id").tail(7)[["unique_id", "ds"]]
    return frame, future.assign(ds=future["ds"] + pd.Timedelta(days=7), promotion=[1.0, 0, 0, 0, 0, 0, 0] * 3)


PROMOTED = {"exogenous": (Exogenous(name="promotion"),), "candidates": ("auto_arima",)}


def test_a_column_known_in_advance_moves_the_forecast_and_is_no_leak():
    frame, future = driven()
    fitted = FORECASTER.fit(spec(**PROMOTED), frame)
    with_promotion = fitted.forecast(future=future)
    without = fitted.forecast(future=future.assign(promotion=0.0))
    lift = (with_promotion["mean"] - without["mean"]).to_numpy().reshape(3, 7)
    assert set(fitted.choices["models"]) == {"auto_arima"}
    assert lift[:, 0] == pytest.approx(20, abs=4)
    assert np.abs(lift[:, 1:]).max() < 1e-9


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda frame: None, "future: got none; expected unique_id, ds and"),
        (lambda frame: frame.drop(columns="promotion"), "not known for the future.*give it a lag"),
        (lambda frame: frame.iloc[1:], "no finite .* for 1 steps, first s0"),
        (lambda frame: frame.assign(y=1.0), "got a column y"),
        (lambda frame: pd.concat([frame, frame]), "doubled"),
    ],
)
def test_a_future_frame_without_what_was_declared_known_is_refused(spoil, message):
    frame, future = driven()
    fitted = FORECASTER.fit(spec(exogenous=(Exogenous(name="promotion"),), candidates=("seasonal_naive",)), frame)
    with pytest.raises(SeriesError, match=message):
        fitted.forecast(future=spoil(future))


@pytest.mark.parametrize("lead", [0, 1, 7])
def test_a_planted_leak_of_y_is_refused(lead):
    frame = daily()
    leak = frame.groupby("unique_id")["y"].shift(-lead) * 2 + 1
    frame["oracle"] = leak.fillna(100.0)
    with pytest.raises(SeriesError, match=f"'oracle'.*copy of y {lead} steps ahead"):
        FORECASTER.fit(spec(exogenous=(Exogenous(name="oracle"),)), frame)


def test_y_of_last_week_is_no_leak():
    frame = daily()
    frame["last_week"] = frame.groupby("unique_id")["y"].shift(7).fillna(100.0)
    checked(spec(exogenous=(Exogenous(name="last_week"),)), frame)


def published(delay_days, n_series=3):
    """A noisy indicator of y, published ``delay_days`` after its day; negative: planned before."""
    frame, rng = daily(n_series), np.random.default_rng(3)
    frame["indicator"] = frame["y"] + rng.normal(0, 20, len(frame))
    return frame.assign(published=frame["ds"] + pd.Timedelta(days=delay_days))


def test_a_value_known_only_after_the_cutoff_is_refused_by_its_known_at():
    told = Exogenous(name="indicator", known_at="published")
    with pytest.raises(SeriesError, match=r"values the cutoff .* would use before published says they were known"):
        checked(spec(exogenous=(told,)), published(1))
    with pytest.raises(SeriesError, match="would use before"):
        checked(spec(exogenous=(told.model_copy(update={"lag": 7}),)), published(1))


def test_the_same_column_known_in_time_is_accepted():
    told = Exogenous(name="indicator", known_at="published")
    checked(spec(exogenous=(told,)), published(-7))
    checked(spec(exogenous=(told.model_copy(update={"lag": 8}),)), published(1))


def test_a_measured_column_enters_only_at_its_lag_and_needs_no_future_frame():
    told = Exogenous(name="indicator", lag=8)
    frame = published(0, n_series=1).drop(columns="published")
    asked = spec(exogenous=(told,), candidates=("auto_arima",))
    fitted = FORECASTER.fit(asked, frame)
    before = fitted.forecast()
    spoiled = frame.assign(indicator=frame["indicator"].where(frame["ds"] < frame["ds"].max(), 1e6))
    after = FORECASTER.fit(asked, spoiled).forecast()
    # the last value is due eight steps later, one after the horizon: it can change nothing
    pd.testing.assert_frame_equal(before, after)
