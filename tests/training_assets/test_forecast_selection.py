"""Models are chosen by rolling origin only, failures are flagged, intervals cover what they say."""

import numpy as np
import pandas as pd
import pytest
from forecast_series import daily, spec

from training_assets.recipes.forecast import FORECASTER, Backtest, SeriesError
from training_assets.recipes.forecast.exogenous import inputs
from training_assets.recipes.forecast.intervals import half_widths
from training_assets.recipes.forecast.selection import cross_validate, select


def test_no_forecast_of_the_backtest_moves_when_rows_after_its_cutoff_do():
    frame, asked = daily(), spec(candidates=("mstl", "lightgbm"), embargo=2)
    before = cross_validate(asked, frame)
    first = before["cutoff"].min()
    rng = np.random.default_rng(1)
    spoiled = frame.assign(y=frame["y"].where(frame["ds"] <= first, rng.normal(0, 1e4, len(frame))))
    after = cross_validate(asked, spoiled)
    own = before["cutoff"] == first
    pd.testing.assert_frame_equal(before[own][["mstl", "lightgbm", "seasonal_naive"]], after[own][["mstl", "lightgbm", "seasonal_naive"]])
    later = ~own
    assert not np.allclose(before[later]["mstl"], after[later]["mstl"])  # later windows do see them


@pytest.mark.parametrize("embargo", [0, 3])
def test_scored_steps_begin_after_the_embargo(embargo):
    found = cross_validate(spec(embargo=embargo), daily())
    first = found[found["step"] == 1]
    assert ((first["ds"] - first["cutoff"]).dt.days == embargo + 1).all()
    assert found.groupby(["unique_id", "cutoff"]).size().eq(7).all()


def test_issued_steps_begin_after_the_embargo_too():
    forecast = FORECASTER.fit(spec(embargo=3), daily()).forecast()
    assert forecast.groupby("unique_id")["h"].apply(list).map(lambda steps: steps == [4, 5, 6, 7, 8, 9, 10]).all()
    assert ((forecast["ds"] - forecast["cutoff"]).dt.days == forecast["h"]).all()


def test_scores_are_mase_of_the_windows_recomputed_by_hand():
    frame, asked = daily(), spec()
    found, told = cross_validate(asked, frame), select(asked, frame).scores
    own = found[found["unique_id"] == "s0"]
    y = frame[(frame["unique_id"] == "s0") & (frame["ds"] <= own["cutoff"].min())]["y"].to_numpy()
    expected = (own["y"] - own["mstl"]).abs().mean() / np.abs(y[7:] - y[:-7]).mean()
    assert told.set_index(["unique_id", "model"]).loc[("s0", "mstl"), "score"] == pytest.approx(expected)


def test_each_series_keeps_its_own_best_model_and_never_one_worse_than_the_baseline():
    walk = daily(1, seed=2).assign(unique_id="walk")
    walk["y"] = 50 + np.random.default_rng(4).normal(size=len(walk)).cumsum()
    both = pd.concat([daily(1, seed=1), walk], ignore_index=True)
    choices = FORECASTER.fit(spec(candidates=("mstl", "naive"), backtest=Backtest(windows=4)), both).choices.set_index("unique_id")
    assert choices.loc["walk", "models"] == "naive"
    assert choices.loc["s0", "models"] == "mstl"
    assert (choices["score"] <= choices["baseline_score"]).all()
    assert not choices["is_fallback"].any()


def test_an_average_forecasts_the_mean_of_its_members():
    frame = daily()
    fitted = FORECASTER.fit(spec(candidates=("mstl", "auto_theta"), average=3), frame)
    averaged = fitted.choices[fitted.choices["models"].str.contains(r"\+")]
    assert len(averaged)
    name, members = averaged.iloc[0][["unique_id", "models"]]
    single = [
        FORECASTER.fit(spec(candidates=(one,)), frame[frame["unique_id"] == name]) for one in members.split("+") if one != "seasonal_naive"
    ]
    means = [one.forecast()["mean"].to_numpy() for one in single if one.choices["models"].iloc[0] in members.split("+")]
    if "seasonal_naive" in members.split("+"):
        means.append(np.tile(frame[frame["unique_id"] == name]["y"].to_numpy()[-7:], 1))
    own = fitted.forecast()
    assert own[own["unique_id"] == name]["mean"].to_numpy() == pytest.approx(np.mean(means, axis=0))


@pytest.mark.parametrize("how", ["mean", "median", "fade"])
def test_a_combination_of_all_chooses_nothing_and_speaks_in_units_of_y(how):
    names, frame = ("mstl", "seasonal_level", "naive"), daily()
    every = {"candidates": names, "transform": "log", "intervals": "conformal"}
    fades = {"half_life": 3} if how == "fade" else {}
    fitted = FORECASTER.fit(spec(combine=how, **fades, **every), frame)
    assert set(fitted.choices["models"]) == {"mstl+naive+seasonal_level+seasonal_naive"}
    told = cross_validate(spec(**every), inputs(spec(**every), frame))
    if how == "fade":
        left = 0.5 ** (told["step"] / 3)
        middle = told["seasonal_naive"] + left * (told[list(names)].mean(axis=1) - told["seasonal_naive"])
    else:
        middle = getattr(told[["seasonal_naive", *names]], how)(axis=1)
    assert fitted.errors["error"].to_numpy() == pytest.approx((told["y"] - middle).to_numpy())
    # the last window of the backtest is what a forecast from its cutoff says
    last = told["cutoff"].max()
    before = FORECASTER.fit(spec(combine=how, **fades, **every), frame[frame["ds"] <= last].reset_index(drop=True)).forecast()
    assert before["mean"].to_numpy() == pytest.approx(middle[told["cutoff"] == last].to_numpy())
    assert (before["lo-95"] <= before["mean"]).all()


def test_a_combination_stands_on_the_models_that_never_failed(monkeypatch):
    from statsforecast.models import MSTL

    frame, run = daily(2), MSTL.forecast

    def refuse(self, y, **asked):
        if y[0] == frame["y"][0]:
            raise RuntimeError("singular")
        return run(self, y=y, **asked)

    monkeypatch.setattr(MSTL, "forecast", refuse)
    fitted = FORECASTER.fit(spec(candidates=("mstl", "seasonal_level"), combine="mean", intervals="conformal"), frame)
    choices = fitted.choices.set_index("unique_id")
    assert choices["models"].to_dict() == {"s0": "seasonal_level+seasonal_naive", "s1": "mstl+seasonal_level+seasonal_naive"}
    assert not choices["is_fallback"].any()
    assert np.isfinite(fitted.forecast()[["mean", "lo-95"]]).all().all()


def test_a_combination_with_the_baseline_in_it_still_beats_the_baseline_alone():
    frame = daily(30, days=63, seed=11)
    is_held = frame.groupby("unique_id").cumcount(ascending=False) < 7
    asked = spec(candidates=("mstl", "seasonal_level"), combine="mean", intervals="conformal")
    forecast = FORECASTER.fit(asked, frame[~is_held].reset_index(drop=True)).forecast()
    y, last_week = (one[is_held].to_numpy() for one in (frame["y"], frame.groupby("unique_id")["y"].shift(7)))
    assert np.abs(forecast["mean"].to_numpy() - y).mean() < 0.95 * np.abs(last_week - y).mean()


def test_a_series_whose_candidates_fail_gets_the_fallback_flagged_and_with_the_reason(monkeypatch):
    from statsforecast.models import MSTL

    frame = daily()

    def refuse(self, y, X=None):
        if y[0] == frame["y"][0]:
            raise RuntimeError("singular")
        return fit(self, y, X)

    fit = MSTL.fit
    monkeypatch.setattr(MSTL, "fit", refuse)
    fitted = FORECASTER.fit(spec(), frame)
    choices = fitted.choices.set_index("unique_id")
    assert choices.loc["s0", "is_fallback"]
    assert "RuntimeError: singular" in choices.loc["s0", "reason"]
    assert choices.loc["s0", "models"] == "seasonal_naive"
    assert not choices.loc[["s1", "s2"], "is_fallback"].any()
    forecast = fitted.forecast()
    assert forecast[forecast["unique_id"] == "s0"]["is_fallback"].all()
    assert not forecast[forecast["unique_id"] != "s0"]["is_fallback"].any()
    assert np.isfinite(forecast[["mean", "lo-95", "hi-95"]]).all().all()


def test_a_candidate_that_fails_in_the_backtest_is_never_chosen(monkeypatch):
    from statsforecast.models import MSTL

    def refuse(self, **asked):
        raise RuntimeError("singular")

    monkeypatch.setattr(MSTL, "forecast", refuse)
    fitted = FORECASTER.fit(spec(), daily())
    assert set(fitted.choices["models"]) == {"seasonal_naive"}
    assert fitted.scores[fitted.scores["model"] == "mstl"]["score"].isna().all()


@pytest.mark.parametrize(("rows", "model"), [(20, "seasonal_naive"), (5, "naive")])
def test_short_series_fall_back_where_asked_and_are_flagged(rows, model):
    young = daily(1, days=rows, seed=3).assign(unique_id="young")
    both = pd.concat([daily(2), young], ignore_index=True)
    fitted = FORECASTER.fit(spec(on_short="fallback", intervals="conformal"), both)
    own = fitted.choices.set_index("unique_id")
    assert own.loc["young", ["models", "is_fallback"]].tolist() == [model, True]
    assert f"got {rows} rows; expected at least 35" in own.loc["young", "reason"]
    assert not own.drop(index="young")["is_fallback"].any()
    assert np.isfinite(fitted.forecast()["mean"]).all()


@pytest.mark.parametrize(("intervals", "windows"), [("native", 1), ("conformal", 5)])
def test_intervals_cover_about_what_they_say_and_nest(intervals, windows):
    frame = daily(12, days=140, seed=8)
    is_held = frame.groupby("unique_id").cumcount(ascending=False) < 7
    asked = spec(intervals=intervals, candidates=("auto_ets",), backtest=Backtest(windows=windows))
    forecast = FORECASTER.fit(asked, frame[~is_held].reset_index(drop=True)).forecast()
    y = frame[is_held]["y"].to_numpy()
    inside = {level: ((y >= forecast[f"lo-{level}"]) & (y <= forecast[f"hi-{level}"])).mean() for level in (80, 95)}
    # 84 points of 12 series: three standard errors of a binomial
    assert inside[80] == pytest.approx(0.80, abs=0.13)
    assert inside[95] == pytest.approx(0.95, abs=0.075)
    for outer, inner in (("lo-95", "lo-80"), ("lo-80", "mean"), ("mean", "hi-80"), ("hi-80", "hi-95")):
        assert (forecast[outer] <= forecast[inner]).all()


def test_conformal_intervals_are_refused_with_too_few_errors():
    errors = pd.DataFrame({"step": [1, 2, 3], "error": [1.0, -1.0, 2.0]})
    with pytest.raises(SeriesError, match="got 3 errors of the backtest; expected at least 19"):
        half_widths(errors, 3, [95])
    with pytest.raises(SeriesError, match="h: got 9; expected at most 3"):
        half_widths(errors, 9, [50])


def test_the_logarithm_changes_the_scale_of_the_models_not_of_the_forecast():
    frame = daily()
    plain, logged = (FORECASTER.fit(spec(candidates=("seasonal_naive",), transform=one), frame).forecast() for one in ("none", "log"))
    assert logged["mean"].to_numpy() == pytest.approx(plain["mean"].to_numpy())
    assert (logged["lo-95"] > 0).all()


def test_one_lightgbm_model_learns_from_all_series_and_can_win():
    # yesterday's sign decides about today: no season, no trend, but a rule
    rng, frames = np.random.default_rng(0), []
    for index in range(6):
        y = np.zeros(150)
        y[0] = 1.0
        for day in range(1, 150):
            y[day] = (3.0 if y[day - 1] > 0 else -1.0) * (-1 if abs(y[day - 1]) > 2 else 1) + rng.normal(0, 0.05)
        frames.append(pd.DataFrame({"unique_id": f"r{index}", "ds": pd.date_range("2024-01-01", periods=150), "y": y}))
    asked = spec(candidates=("lightgbm", "mstl"), parameters={"lightgbm": {"lags": [1, 2, 3], "calendar": [], "n_estimators": 80}}, h=7)
    fitted = FORECASTER.fit(asked, pd.concat(frames, ignore_index=True))
    assert set(fitted.choices["models"]) == {"lightgbm"}
    assert fitted.booster is not None
    forecast = fitted.forecast()
    assert np.isfinite(forecast[["mean", "lo-80", "hi-80"]]).all().all()
