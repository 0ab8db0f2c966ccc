"""A daemon killed at random points of a hundred ticks: no incident is retrained twice, none is lost."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from instances import sqlite_instance

from resources import tables
from resources.catalogue import load_catalogue
from resources.decision_log import read_ledger
from resources.settings import Settings
from resources.vintages import append_vintages, digest_of
from resources.vocabulary import TAG_INCIDENT, Action, Verdict

_PROJECT = Path(__file__).resolve().parents[2]
_TICKS, _KILLS = 100, 7
_RUN_KEY, _PARTITION = "dagster/run_key", "dagster/partition"
#: Ticks on which a chunk is judged harmful; one every three weeks or so.
_HARMFUL = frozenset({9, 31, 32, 60, 61, 98})
#: Harmful ticks whose orders a kill interrupts.
_INTERRUPTED = (9, 31, 60)


def _judge(settings: Settings, policy, instance: dg.DagsterInstance, tick: int) -> None:
    """The verdict of one more chunk, as the monitoring location writes it, and the evaluation that the trigger listens to.

    A monitoring run that was cut off is tried again by Dagster: what is missing is written, what is there is left alone.
    """
    chunk = policy.cadence.shift("2024-02-01", tick)
    verdict = Verdict.CONCEPT if tick in _HARMFUL else Verdict.HEALTHY
    row = pd.DataFrame([{
        "chunk": chunk, "verdict": str(verdict), "confidence": 0.9, "evidence": "", "suspects": "", "recovery": "", "model_version": "external",
        "is_realized": True, "known_at": pd.Timestamp(datetime.now(UTC)), "measured": "[]", "n_rows": 80,
    }])  # fmt: skip
    row["digest"] = digest_of(row)
    append_vintages(settings.lake, policy, row)
    settings.lake.replace(policy.model, tables.VERDICTS, row[list(tables.VERDICTS.columns)], {"chunk": chunk})
    key = dg.AssetKey([policy.model, "verdict"])
    reported = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(key, "no_harm"), limit=3)
    if chunk in {record.partition for record in reported}:
        return
    passed = verdict is Verdict.HEALTHY
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(asset_key=key, check_name="no_harm", passed=passed, partition=chunk, metadata={})
    )


def daemon(home: Path, models: Path) -> None:
    """What Dagster's daemon does, in its order: retry what was cut off; tick, one run per run key, then the cursor. Each tick follows one more verdict."""
    from training_assets.definitions import build_defs

    settings = Settings.of(home, models)
    policy, defs = load_catalogue(models)[0].policy, build_defs(settings)
    sensor = next(one for one in defs.sensors or [] if one.name == "retrain_trigger")
    kept = home / "cursor.json"
    with sqlite_instance(home) as instance:
        _retry_cut_off(instance, defs)
        while True:
            state = json.loads(kept.read_text()) if kept.exists() else {"tick": 0, "cursor": None}
            if state["tick"] >= _TICKS:
                return
            _judge(settings, policy, instance, state["tick"])
            _launch(instance, defs, sensor, settings, state)
            beside = kept.with_suffix(".new")
            beside.write_text(json.dumps({**state, "tick": state["tick"] + 1}))
            beside.replace(kept)


def _retry_cut_off(instance: dg.DagsterInstance, defs: dg.Definitions) -> None:
    """What Dagster's run monitoring and run retries do about runs whose process is gone: they failed, and their work is done again."""
    for run in instance.get_runs():
        if not run.is_finished:
            instance.report_run_failed(run)
            instance.delete_run(run.run_id)
            job = defs.resolve_job_def(run.job_name)
            job.execute_in_process(instance=instance, partition_key=run.tags[_PARTITION], tags=run.tags, raise_on_error=False)


def _launch(instance: dg.DagsterInstance, defs: dg.Definitions, sensor: dg.SensorDefinition, settings: Settings, state: dict) -> None:
    with dg.build_sensor_context(instance=instance, cursor=state["cursor"], resources={"lake": settings.lake}, definitions=defs) as context:
        data = sensor.evaluate_tick(context)
    for request in data.run_requests or []:
        if instance.get_runs(dg.RunsFilter(tags={_RUN_KEY: str(request.run_key)})):
            continue  # one that was launched is not launched twice
        job = defs.resolve_job_def(str(request.job_name))
        tags = {**(job.tags or {}), **request.tags, _RUN_KEY: str(request.run_key)}
        job.execute_in_process(instance=instance, partition_key=request.partition_key, tags=tags, raise_on_error=False)
    state["cursor"] = data.cursor


def _start(home: Path, models: Path) -> subprocess.Popen:
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT), "PYTHONWARNINGS": "ignore", "PLUMBLINE_HOME": str(home)}
    environment |= {"OMP_NUM_THREADS": "1", "PLUMBLINE_MODELS": str(models)}
    environment.pop("PLUMBLINE_LAKE", None)
    with (home / "log.txt").open("a") as log:
        return subprocess.Popen([sys.executable, __file__, str(home), str(models)], cwd=home, env=environment, stdout=log, stderr=log)


def _tick_of(home: Path) -> int:
    kept = home / "cursor.json"
    return json.loads(kept.read_text())["tick"] if kept.exists() else 0


def _wait_for(home: Path, process: subprocess.Popen, tick: int) -> None:
    deadline = time.monotonic() + 240
    while _tick_of(home) < tick and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """Home of a daemon that was killed seven times at random points, its models, and how often it was killed while it worked."""
    from synthetic import declare, make_log

    folder = tmp_path_factory.mktemp("ticks")
    models = declare(
        folder, make_log(50, fault="concept", fault_day=35),
        retrain={"when": {"verdict": {}}, "cooldown": 0, "budget": {"retrainings": 1000}, "windows": ["all", "10d"], "parameters": {"num_iterations": 20}},
    )  # fmt: skip
    home, rng, kills = folder / "home", random.Random(20251121), 0
    points = sorted([*rng.sample(range(3, _TICKS - 2), _KILLS - len(_INTERRUPTED)), *_INTERRUPTED])
    for point in points:
        process = _start(home, models)
        _wait_for(home, process, point)
        time.sleep(rng.uniform(0, 2.0 if point in _INTERRUPTED else 0.5))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    last = _start(home, models)
    assert last.wait(timeout=400) == 0, (home / "log.txt").read_text()[-2000:]
    return home, models, kills


@pytest.mark.slow
@pytest.mark.xdist_group("trigger_kill")
def test_no_incident_is_retrained_twice_and_none_is_lost(killed: tuple[Path, Path, int]) -> None:
    home, models, kills = killed
    assert kills == _KILLS
    policy, lake = load_catalogue(models)[0].policy, Settings.of(home, models).lake
    rows = read_ledger(policy, lake)
    ordered = rows[rows["action"] == Action.RETRAIN]
    harmful = [policy.cadence.shift("2024-02-01", tick) for tick in sorted(_HARMFUL)]
    assert list(ordered["chunk"]) == harmful  # one order for each harmful chunk, in its turn
    with sqlite_instance(home) as instance:
        runs = instance.get_runs(dg.RunsFilter(job_name="shop__retrain"))
    assert sorted(run.tags[TAG_INCIDENT] for run in runs) == sorted(ordered["incident"])  # one run for each order
    assert all(run.is_success for run in runs)
    assert set(lake.partitions(policy.model, tables.EVALUATIONS, "chunk")) == set(harmful)


@pytest.mark.slow
@pytest.mark.xdist_group("trigger_kill")
def test_each_verdict_was_evaluated_once_and_a_healthy_one_ordered_nothing(killed: tuple[Path, Path, int]) -> None:
    home, models, _ = killed
    policy, lake = load_catalogue(models)[0].policy, Settings.of(home, models).lake
    rows = read_ledger(policy, lake)
    assert len(rows) >= _TICKS
    assert list(rows["evaluation"]) == list(range(len(rows)))
    chunks = {policy.cadence.shift("2024-02-01", tick) for tick in range(_TICKS)}
    assert set(rows["chunk"]) == chunks
    calm = rows[~rows["chunk"].isin([policy.cadence.shift("2024-02-01", tick) for tick in _HARMFUL])]
    assert set(calm["action"]) == {Action.HOLD}
    assert timedelta(0) <= rows["evaluated_at"].max() - rows["evaluated_at"].min()


if __name__ == "__main__":
    daemon(Path(sys.argv[1]), Path(sys.argv[2]))
