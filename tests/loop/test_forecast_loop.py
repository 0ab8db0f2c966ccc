"""A forecaster from its first model to a retrained one: forecasts kept, measured as they mature, one store fitted again."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd
import pytest
import synthetic_forecast as synthetic
from registries import with_registry

from monitoring_assets.forecast_performance import forecast_rows
from plumbline.driver import Driver
from plumbline.predict import asked, write
from resources import tables
from resources.catalogue import load_catalogue
from resources.decision_log import read_ledger
from resources.forecast_ledger import wide_of
from resources.policy import MonitoredModel
from resources.rollout_log import moves_of, serving_version
from resources.settings import Settings
from resources.vocabulary import HARMFUL, Kind
from training_assets.answering import NoSuchVersionError
from training_assets.recipes import load_version

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("forecast_loop")]


@dataclass
class Ran:
    """A platform that has come to rest."""

    settings: Settings
    policy: MonitoredModel
    rows: pd.DataFrame
    failed: list[str]

    def read(self, table: tables.Table) -> pd.DataFrame:
        return self.settings.lake.read("shop", table)


def _run(folder: Path, *, fault: bool) -> Ran:
    rows = synthetic.make_series(fault=fault)
    settings = with_registry(Settings.of(folder / "home", synthetic.declare(folder, rows)))
    with dg.DagsterInstance.ephemeral() as instance:
        Driver(settings, instance, ["shop"]).run_until_idle(lambda job, chunk: None)
        failed = [run.job_name for run in instance.get_runs() if not run.is_success]
    return Ran(settings, load_catalogue(settings.models)[0].policy, rows, failed)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return _run(tmp_path_factory.mktemp("forecast_fault"), fault=True)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return _run(tmp_path_factory.mktemp("forecast_sound"), fault=False)


def test_every_issued_forecast_is_kept_once_with_its_cutoff_horizon_version_and_levels(faulty: Ran):
    ledger = faulty.read(tables.FORECASTS)
    assert not faulty.failed
    assert not ledger.duplicated(["unique_id", "ds", "cutoff", "level"]).any()
    assert set(ledger["level"]) == {80, 95}
    assert ((ledger["ds"] - ledger["cutoff"]).dt.days == ledger["h"]).all()
    assert (ledger.groupby(["chunk", "unique_id", "level"]).size() == 14).all()
    assert (pd.to_datetime(ledger["chunk"], utc=True) - ledger["cutoff"] == pd.Timedelta(days=1)).all()
    assert (ledger["lower"] <= ledger["mean"]).all()
    assert (ledger["mean"] <= ledger["upper"]).all()


def test_the_baseline_beside_a_forecast_is_the_value_one_season_before(faulty: Ran):
    told = wide_of(faulty.read(tables.FORECASTS))
    observed = faulty.rows.set_index(["store", "day"])["sales"]
    expected = [observed[row.unique_id, row.cutoff - pd.Timedelta(days=(7 - row.h % 7) % 7)] for row in told.itertuples()]
    assert told["baseline"].to_numpy() == pytest.approx(np.array(expected))


def test_what_was_served_is_the_forecast_of_the_newest_cutoff(faulty: Ran):
    chunk = sorted(faulty.read(tables.FORECASTS)["chunk"].unique())[2]
    served = forecast_rows(faulty.settings.lake, faulty.policy, [chunk])
    assert set(served["h"]) == set(range(1, 8))
    logged = faulty.read(tables.prediction_log(faulty.policy)).set_index("prediction_id")["y_pred"]
    names = served["unique_id"] + "@" + served["ds"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert served["mean"].to_numpy() == pytest.approx(names.map(logged).to_numpy())


def test_realized_mase_is_that_of_plain_arithmetic(faulty: Ran):
    lines = faulty.read(tables.MEASUREMENTS)
    own = lines[(lines["kind"] == Kind.REALIZED_PERFORMANCE) & (lines["subject"] == "mase")].sort_values("chunk")
    train = faulty.rows[faulty.rows["day"] < pd.Timestamp(faulty.policy.reference.start)]
    scale = train.sort_values("day").groupby("store")["sales"].apply(lambda y: y.diff(7).abs().mean())
    first = own.iloc[0]
    served = forecast_rows(faulty.settings.lake, faulty.policy, [first["chunk"]])
    expected = ((served["mean"] - served["y"]).abs() / served["unique_id"].map(scale)).mean()
    assert first["value"] == pytest.approx(expected)


def test_errors_are_told_by_horizon_and_intervals_by_level(faulty: Ran):
    lines = faulty.read(tables.MEASUREMENTS)
    last = lines[lines["chunk"] == lines["chunk"].max()]
    errors = last[last["kind"] == Kind.FORECAST_ERROR]
    assert {f"h={h}" for h in range(1, 15)} <= set(errors["segment"])
    assert {"store=s0", "store=s1", "store=s2", "all"} <= set(errors["segment"])
    assert {"coverage_80", "coverage_95"} <= set(last.loc[last["kind"] == Kind.INTERVAL_COVERAGE, "subject"])
    assert set(last.loc[last["kind"] == Kind.RESIDUAL_DRIFT, "method"]) == {"cusum", "cusum_absolute"}


def test_another_week_in_one_store_is_harm_that_names_it_and_only_that_store_is_fitted_again(faulty: Ran):
    verdicts = faulty.read(tables.VERDICTS).sort_values("chunk")
    harmed = verdicts[verdicts["verdict"].isin(HARMFUL)]
    assert f"{synthetic.week(synthetic.FAULT_WEEK):%Y-%m-%d}" in set(harmed["chunk"])
    lines = faulty.read(tables.MEASUREMENTS)
    pointed = lines[lines["breach"] & (lines["chunk"] == harmed["chunk"].iloc[0]) & lines["segment"].str.startswith("store=")]
    assert set(pointed["segment"]) == {"store=s1"}
    registry = faulty.settings.registry
    moves = moves_of(faulty.read(tables.ROLLOUT_EVENTS))
    assert len(moves) >= 2
    before, after = (load_version(faulty.policy, registry, version).states.set_index("unique_id")["state"] for version in ("1", "2"))
    assert before["s0"] == after["s0"]
    assert before["s2"] == after["s2"]
    assert before["s1"] != after["s1"]


def test_without_the_fault_nothing_is_harmful_and_nothing_retrains(sound: Ran):
    assert not sound.failed
    assert not sound.read(tables.VERDICTS)["verdict"].isin(HARMFUL).any()
    ledger = read_ledger(sound.policy, sound.settings.lake)
    assert (ledger["action"] == "retrain").sum() <= 1  # the first model
    assert serving_version(sound.settings.lake, sound.policy) == "1"


def test_any_version_answers_the_same_in_a_fresh_process(faulty: Ran, tmp_path: Path):
    chunk = f"{synthetic.week(synthetic.FAULT_WEEK + 4):%Y-%m-%d}"
    for version in ("1", "2"):
        here, out = asked(faulty.settings, "shop", version, chunk), tmp_path / f"{version}.parquet"
        command = [sys.executable, "-m", "plumbline.cli", "predict", "shop", "--version", version, "--chunk", chunk, "--out", str(out)]
        environment = {**os.environ, "PLUMBLINE_HOME": str(faulty.settings.home), "PLUMBLINE_MODELS": str(faulty.settings.models)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        there = pd.read_parquet(out)
        numbers = ["mean", "lo-80", "hi-80", "lo-95", "hi-95"]
        assert np.abs(there[numbers].to_numpy() - here[numbers].to_numpy()).max() <= 1e-9
        assert set(there["model_version"]) == {version}


def test_a_version_that_is_none_is_refused_with_those_there_are(faulty: Ran, tmp_path: Path):
    with pytest.raises(NoSuchVersionError, match="got version 99; expected a registered one: 1, 2"):
        asked(faulty.settings, "shop", "99", None)
    with pytest.raises(ValueError, match=r"ends in \.csv or \.parquet"):
        write(pd.DataFrame(), tmp_path / "answers.xlsx")


def test_a_run_carries_parameters_errors_cutoff_and_data_version(faulty: Ran):
    registry = faulty.settings.registry
    one = registry.versions("shop")[0]
    with registry.client() as client:
        run = client.get_run(one["run_id"])
    assert {"held_out_mase", "held_out_mae", "backtest_mae", "backtest_rmse"} <= set(run.data.metrics)
    assert run.data.params["cutoff"].startswith(f"{synthetic.week(synthetic.REFERENCE[0]) - pd.Timedelta(days=1):%Y-%m-%d}")
    assert one["tags"]["data_version"].startswith("training_sets@")
    assert json.loads(run.data.params["season_lengths"].replace("(", "[").replace(")", "]")) == [7]
