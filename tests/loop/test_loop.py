"""The whole loop on real data: the mis-wired weather station recovers by itself, its repaired twin stays quiet."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from registries import with_registry

from monitoring_assets.measures.trust import RECONCILIATION, WINDOWS
from plumbline.driver import Driver
from plumbline.example import declare_replay
from resources import tables
from resources.catalogue import load_catalogue
from resources.decision_log import read_ledger
from resources.rollout_log import events, serving_version
from resources.settings import PROJECT, Settings
from resources.vocabulary import TAG_INCIDENT, Action, Alias, Event, Kind, Verdict

REPLAY = datetime(1981, 10, 1, tzinfo=UTC), datetime(1982, 10, 1, tzinfo=UTC)


@contextmanager
def driven(folder: Path, model: str, declaration: str = "weather_station", replay: tuple[datetime, datetime] = REPLAY) -> Iterator[tuple]:
    """The shipped declaration with a shorter replay, driven to rest: policy, settings and instance."""
    models = folder / "models"
    models.mkdir()
    (models / "samples").symlink_to(PROJECT / "models" / "samples")
    shutil.copy(PROJECT / "models" / f"{declaration}.yaml", models)
    declare_replay(models, *replay)
    settings = with_registry(Settings.of(folder / "home", models))
    policy = next(one.policy for one in load_catalogue(models) if one.policy.model == model)
    with dg.DagsterInstance.ephemeral() as instance:
        Driver(settings, instance, [model]).run_until_idle(lambda job, chunk: None)
        yield policy, settings, instance


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # third-party warnings of a hundred steps; our own are errors in every other test
def test_the_mis_wired_station_recovers_by_itself(tmp_path):
    with driven(tmp_path, "weather_station") as (policy, settings, instance):
        lake = settings.lake
        log = events(lake, policy)
        promoted = log[log["event"] == Event.PROMOTED]
        assert len(promoted) >= 3
        assert promoted["as_of"].iloc[1].to_pydatetime() <= datetime(1982, 10, 1, tzinfo=UTC)
        assert f"{promoted['onset'].iloc[1]:%Y-%m-%d}" == "1981-11-09"
        runs = [run for run in instance.get_runs() if run.job_name == "weather_station__retrain"]
        incidents = [run.tags[TAG_INCIDENT] for run in runs]
        assert len(incidents) == len(set(incidents))  # at most one run per incident
        verdicts = lake.read(policy.model, tables.VERDICTS).set_index("chunk")
        assert verdicts.loc["1982-01-01", "verdict"] == Verdict.COVARIATE_HARMFUL
        recovery = verdicts.loc["1982-01-01", "recovery"]
        carried = [*policy.features.numeric[1:], policy.features.numeric[0]]  # the wires sit one place to the left
        for column, source in zip(policy.features.numeric, carried, strict=True):
            assert f"{column} now carries {source}'s signal" in recovery
        assert "re-map the columns in this order: temperature from min_temp, dew_point from temperature" in recovery
        assert "temperature now carries dew_point's signal" in verdicts.loc["1982-01-01", "suspects"]
        scored = lake.read(policy.model, tables.scored_batches(policy)).groupby("chunk")["model_version"].unique()
        assert list(scored["1982-01-01"]) == ["1"]
        assert list(scored["1982-04-01"]) == ["2"]  # the chunk after the promotion is the new model's
        registry = settings.registry
        assert registry.aliased_version(policy.model, Alias.CHAMPION) == serving_version(lake, policy) == promoted["to_version"].iloc[-1]
        profiles = lake.partitions(policy.model, tables.REFERENCE_PROFILES, "reference_version")
        assert {"1", "2"} <= set(profiles)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_repaired_station_retrains_nothing(tmp_path):
    with driven(tmp_path, "weather_station_control") as (policy, settings, _):
        decisions = read_ledger(policy, settings.lake)
    ordered = decisions[decisions["action"] == Action.RETRAIN]
    assert list(ordered["clause"]) == ["no_champion"]
    assert len(decisions) > 4
    verdicts = settings.lake.read(policy.model, tables.VERDICTS)
    assert set(verdicts["verdict"]) == {Verdict.HEALTHY}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_sensor_that_loses_sensitivity_is_a_concept_drift_that_only_outcomes_show(tmp_path):
    replay = datetime(2010, 6, 30, tzinfo=UTC), datetime(2010, 7, 6, tzinfo=UTC)
    with driven(tmp_path, "glucose_sensor", "glucose_sensor", replay) as (policy, settings, _):
        lines = settings.lake.read(policy.model, tables.MEASUREMENTS)
        verdicts = settings.lake.read(policy.model, tables.VERDICTS).set_index("chunk")
    harmed = "2010-07-02"
    assert verdicts.loc[harmed, "verdict"] == Verdict.CONCEPT
    own = lines[lines["chunk"] == harmed]
    assert not own.loc[own["kind"].isin([Kind.UNIVARIATE_DRIFT, Kind.MULTIVARIATE_DRIFT, Kind.ESTIMATED_PERFORMANCE]), "breach"].any()
    agreement = lines[(lines["method"] == RECONCILIATION) & lines["is_deciding"]].set_index("chunk")
    labelled = [chunk for chunk in agreement.index if chunk >= harmed]
    assert agreement.loc[labelled[: WINDOWS[0]], "breach"].any()  # untrusted within the documented number of labelled chunks
    healthy = verdicts.sort_index().loc["2010-05-05":"2010-07-01", "verdict"]
    assert (healthy == Verdict.HEALTHY).mean() > 0.9


def plumbline(*words, home, **settings):
    env = {**os.environ, "PLUMBLINE_HOME": str(home), "PYTHONWARNINGS": "ignore", "COLUMNS": "220"}
    return subprocess.run([sys.executable, "-m", "plumbline.cli", *words], capture_output=True, text=True, env=env, timeout=120, **settings)


def test_status_of_an_empty_home_names_every_model(tmp_path):
    done = plumbline("status", "--json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {row["model"]: row for row in json.loads(done.stdout)}
    assert {"weather_station", "weather_station_control", "glucose_sensor"} <= set(rows)
    assert rows["weather_station"]["serving_version"] == "none"


def test_rollback_says_what_is_wrong(tmp_path):
    unknown = plumbline("rollback", "weather_statio", "--reason", "x", home=tmp_path)
    assert unknown.returncode == 1
    assert "got model 'weather_statio'" in unknown.stdout
    assert "did you mean 'weather_station'?" in unknown.stdout
    nothing = plumbline("rollback", "weather_station", "--reason", "x", home=tmp_path)
    assert nothing.returncode == 1
    assert "expected an earlier champion" in nothing.stdout


def test_fresh_deletes_no_folder_that_plumbline_has_not_made(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = plumbline("dev", "--fresh", home=tmp_path)
    assert done.returncode == 1
    assert "which plumbline has not made" in done.stdout
    assert (tmp_path / "thesis.txt").exists()
