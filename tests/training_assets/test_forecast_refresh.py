"""Refreshing keeps parameters, refitting keeps orders, storing loses nothing, and where it runs changes nothing."""

import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from forecast_series import daily, next_rows, spec

from training_assets.recipes.forecast import FORECASTER, ForecastSpec, SeriesError, load, save
from training_assets.recipes.forecast.fitting import fit_series
from training_assets.recipes.forecast.plain import from_json, to_json
from training_assets.recipes.forecast.statistical import STATISTICAL, build, held_fast
from training_assets.recipes.statsforecast import StatsForecast, brought_up

Y = daily(1, days=150)["y"].to_numpy()
LEVELS = [80, 95]


#: A search tries orders that do not converge, and says so for each.
pytestmark = [
    pytest.mark.filterwarnings("ignore:possible convergence problem"),
    pytest.mark.xdist_group("forecast_refresh"),  # one forecaster of every kind is fitted by one worker
]


def fitted_models(name):
    return build(ForecastSpec(freq="D", season_lengths=(7,), h=7), name).fit(Y)


@pytest.mark.parametrize("name", STATISTICAL)
def test_a_model_rebuilt_from_json_forecasts_the_same_bits(name):
    model = fitted_models(name)
    again = from_json(to_json(model))
    for own, other in (
        (model.predict(14, level=LEVELS), again.predict(14, level=LEVELS)),
        (model.forward(Y[:-3], 14, level=LEVELS), again.forward(Y[:-3], 14, level=LEVELS)),
    ):
        assert own.keys() == other.keys()
        assert all(np.array_equal(own[key], other[key]) for key in own)


@pytest.mark.parametrize("name", STATISTICAL)
def test_a_refit_holds_the_order_and_finds_the_same_model_on_the_same_rows(name):
    model = fitted_models(name)
    again = held_fast(model).fit(Y)
    assert again.predict(7)["mean"] == pytest.approx(model.predict(7)["mean"], rel=0.02)
    for key in ("arma", "components", "modeltype"):
        if key in getattr(model, "model_", {}):
            assert again.model_[key] == model.model_[key]


def test_only_listed_classes_are_built_from_json():
    with pytest.raises(ValueError, match="got model 'AutoCES'; expected one of"):
        from_json('{"kind":"model","class":"AutoCES","value":{"kind":"mapping","value":[]}}')
    with pytest.raises(TypeError, match=r"got a builtins\.set"):
        to_json({1, 2})


CANDIDATES = ("auto_ets", "auto_arima", "auto_theta", "mstl", "lightgbm")


@pytest.fixture(scope="module")
def every():
    """Five series, each with another model, LightGBM among them."""
    frame = daily(5)
    asked = spec(candidates=CANDIDATES, intervals="conformal", parameters={"lightgbm": {"n_estimators": 20}}, backtest={"windows": 3})
    fitted = FORECASTER.fit(asked.model_copy(update={"candidates": ("mstl",)}), frame)  # what would win is not used
    names = ["auto_arima", "auto_ets", "auto_theta+mstl", "lightgbm", "lightgbm+mstl"]
    choices = fitted.choices.assign(models=names)
    states = []
    for name, models in zip(choices["unique_id"], names, strict=True):
        own = frame[frame["unique_id"] == name]["y"].tolist()
        told = [one for one in models.split("+") if one != "lightgbm"]
        answer = fit_series({"spec": asked.model_dump_json(), "models": told, "states": {}, "y": own, "x": None})
        states += [(name, model, text) for model, text in answer["states"].items()]
    from training_assets.recipes.forecast.lags import fit_lags

    return replace(
        fitted,
        spec=asked,
        choices=choices,
        states=pd.DataFrame(states, columns=["unique_id", "model", "state"]),
        booster=fit_lags(asked, frame),
    )


def test_a_stored_forecaster_forecasts_the_same_in_a_fresh_process(every, tmp_path):
    save(every, tmp_path / "kept")
    code = (
        "import sys; from training_assets.recipes.forecast import load; "
        "load(sys.argv[1]).forecast().to_parquet(sys.argv[2])"
    )  # fmt: skip
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "kept"), str(tmp_path / "told.parquet")], check=True)
    told, own = pd.read_parquet(tmp_path / "told.parquet"), every.forecast()
    numbers = ["mean", "lo-80", "hi-80", "lo-95", "hi-95"]
    assert np.abs(told[numbers] - own[numbers]).to_numpy().max() <= 1e-9
    assert told["model"].tolist() == own["model"].tolist()
    assert {path.suffix for path in (tmp_path / "kept").iterdir()} == {".json", ".parquet", ".lgb"}


def test_a_folder_that_is_no_forecaster_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"without \['spec.json'"):
        load(tmp_path)


def test_a_refresh_goes_on_from_new_rows_with_every_parameter_kept(every):
    fresh = FORECASTER.refresh(every, next_rows(every.history, 2))
    assert (fresh.forecast()["cutoff"] == every.forecast()["cutoff"] + pd.Timedelta(days=2)).all()
    pd.testing.assert_frame_equal(fresh.states, every.states)
    assert fresh.booster == every.booster
    model = from_json(every.states.set_index("unique_id").loc["s0", "state"])
    y = fresh.history[fresh.history["unique_id"] == "s0"]["y"].to_numpy()
    own = fresh.forecast()
    assert own[own["unique_id"] == "s0"]["mean"].to_numpy() == pytest.approx(model.forward(y, 7)["mean"], abs=1e-12)


def test_a_refreshed_forecaster_survives_storing(every, tmp_path):
    fresh = FORECASTER.refresh(every, next_rows(every.history))
    pd.testing.assert_frame_equal(load(save(fresh, tmp_path)).forecast(), fresh.forecast())


@pytest.mark.parametrize("how", ["mean", "median"])
def test_a_combination_is_kept_by_storing_refreshing_and_refitting(how, tmp_path):
    frame, middle = daily(2), {"mean": np.mean, "median": np.median}[how]
    fitted = FORECASTER.fit(spec(candidates=("mstl", "seasonal_level"), combine=how, intervals="conformal"), frame)
    fresh = FORECASTER.refresh(load(save(fitted, tmp_path)), next_rows(frame, 3))
    for again in (fresh, FORECASTER.refit(fitted, fresh.history), FORECASTER.search(fresh)):
        assert set(again.choices["models"]) == {"mstl+seasonal_level+seasonal_naive"}
        y = again.history[again.history["unique_id"] == "s1"]["y"].to_numpy()
        models = [from_json(text) for text in again.states[again.states["unique_id"] == "s1"]["state"]]
        own = again.forecast()
        told = own[own["unique_id"] == "s1"]["mean"].to_numpy()
        assert told == pytest.approx(middle([model.forward(y, 7)["mean"] for model in models], axis=0))


def test_a_refresh_refuses_gaps_doubles_and_strangers(every):
    rows = next_rows(every.history)
    with pytest.raises(SeriesError, match="gaps"):
        FORECASTER.refresh(every, rows.assign(ds=rows["ds"] + pd.Timedelta(days=1)))
    with pytest.raises(SeriesError, match="doubled"):
        FORECASTER.refresh(every, rows.assign(ds=rows["ds"] - pd.Timedelta(days=1)))
    with pytest.raises(SeriesError, match=r"unknown series \['s9'\]"):
        FORECASTER.refresh(every, rows.assign(unique_id="s9"))


def test_a_refit_touches_only_the_series_named(every):
    longer = pd.concat([every.history, next_rows(every.history, 5)]).sort_values(["unique_id", "ds"], ignore_index=True)
    again = FORECASTER.refit(every, longer, only=["s0"])
    before, after = (one.states.set_index(["unique_id", "model"])["state"] for one in (every, again))
    assert before.loc["s0"].iloc[0] != after.loc["s0"].iloc[0]
    assert all(before[key] == after[key] for key in before.index if key[0] != "s0")
    others = again.forecast()["unique_id"] != "s0"
    pd.testing.assert_frame_equal(again.forecast()[others], every.forecast()[others])
    order = [from_json(one.loc["s0"].iloc[0]).model_["arma"] for one in (before, after)]
    assert order[0] == order[1]


def test_a_search_on_the_same_rows_finds_the_same_forecaster():
    fitted = FORECASTER.fit(spec(), daily())
    pd.testing.assert_frame_equal(FORECASTER.search(fitted).forecast(), fitted.forecast())


def test_a_progress_bar_is_shown_only_when_asked(capsys):
    FORECASTER.fit(spec(), daily())
    assert "fit" not in capsys.readouterr().err
    FORECASTER.fit(spec(progress=True), daily())
    assert "fit: 100%" in capsys.readouterr().err


@pytest.fixture
def scheduler():
    """Address of a cluster that runs already: its workers are threads of this process."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


SPREAD = ("mstl", "auto_theta", "lightgbm")


@cache
def alone_fitted(*how):
    """Fitted in this process, once for all places it is compared with."""
    return FORECASTER.fit(spec(candidates=SPREAD, **dict(how)), daily(4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "how"),
    [
        ({"n_jobs": 2}, {"average": 2}),
        ({"n_jobs": 2, "engine": "dask"}, {"average": 2}),
        ({"n_jobs": 2, "engine": "dask", "scheduler": "given"}, {"combine": "median"}),
    ],
    ids=["processes", "dask", "a given scheduler, all together"],
)
@pytest.mark.filterwarnings("ignore")  # of dask and distributed
def test_where_it_runs_changes_no_bit(where, how, request):
    if "scheduler" in where:
        where = {**where, "scheduler": request.getfixturevalue("scheduler")}
    alone, spread = alone_fitted(*how.items()), FORECASTER.fit(spec(candidates=SPREAD, **how, **where), daily(4))
    assert spread.choices["models"].tolist() == alone.choices["models"].tolist()
    assert spread.states["state"].tolist() == alone.states["state"].tolist()
    numbers = ["mean", "lo-80", "hi-80", "lo-95", "hi-95"]
    difference = np.abs(spread.forecast()[numbers] - alone.forecast()[numbers]).to_numpy()
    assert difference.max() <= 1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of mlflow
def test_a_logged_forecaster_loads_without_unpickling_and_forecasts_the_same(every, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    import mlflow

    from training_assets.recipes.forecast.served import log_forecaster

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("forecast", artifact_location=str(tmp_path / "artifacts")))
    with mlflow.start_run():
        uri = log_forecaster(every)
    version = mlflow.register_model(uri, "forecast").version
    model = mlflow.pyfunc.load_model(f"models:/forecast/{version}")
    own, told = every.forecast(5, [90]), model.predict(pd.DataFrame({"none": [0]}), params={"h": 5, "levels": "90"})
    numbers = ["mean", "lo-90", "hi-90"]
    assert list(told) == list(own)
    assert np.abs(told[numbers] - own[numbers]).to_numpy().max() <= 1e-9


@pytest.mark.parametrize("max_history", [None, 57])
def test_a_model_that_learns_from_its_newest_rows_keeps_its_season_in_step_as_rows_come(max_history):
    rows = daily(1, days=120)
    rows = rows.assign(y=50 + np.tile([0.0, 10, 30, 40, 20, -20, -50], 18)[: len(rows)] + np.random.default_rng(0).normal(0, 1, len(rows)))
    own = spec(candidates=("auto_ets",), max_history=max_history, levels=())
    fitted = FORECASTER.fit(own, rows.iloc[:96])
    assert fitted.choices["models"].tolist() == ["auto_ets"]
    for count in range(8):
        ready = FORECASTER.refresh(fitted, rows.iloc[96 : 96 + count])
        error = ready.forecast()["mean"].to_numpy() - rows["y"].to_numpy()[96 + count : 103 + count]
        assert (error**2).mean() < 4  # out of step by a day it is some hundreds
        assert len(ready.history) <= (max_history or 120) + 6


def test_rows_that_production_puts_behind_a_model_cut_whole_seasons_off_its_start(declare):
    own = {"freq": "D", "horizon": 7, "season_lengths": [7], "candidates": ["mstl"], "max_history": 57}
    policy = declare(
        task="forecast", log={"csv": "log.csv", "time": "at", "id": "", "timezone": "UTC"}, features={"numeric": []}, forecast=own
    )
    series = daily(1, days=120)
    rows = pd.DataFrame({"time": series["ds"].dt.tz_localize("UTC"), "y_true": series["y"]})
    model = StatsForecast().fit(policy, rows.iloc[:96])
    for count in range(1, 15):
        history = brought_up(policy, model, rows.iloc[: 96 + count], None).history
        assert (history["ds"].iloc[0] - model.history["ds"].iloc[0]).days % 7 == 0
        assert 57 <= len(history) < 57 + 7
        assert history["y"].tolist() == series["y"].iloc[96 + count - len(history) : 96 + count].tolist()
