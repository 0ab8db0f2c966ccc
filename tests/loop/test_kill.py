"""Killed at any moment and started again, the platform ends where it would have ended undisturbed.

Run as a script, this file backfills both passes over a log; the test starts it, kills it, and starts it again.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pandas as pd
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from instances import sqlite_instance

from resources import tables
from resources.catalogue import load_catalogue
from resources.decision_log import read_ledger
from resources.partitions import range_tags
from resources.policy import MonitoredModel
from resources.settings import Settings

_PROJECT = Path(__file__).resolve().parents[2]
_DAYS, _FAULT_DAY = 36, 33
#: Commits a process lives to see before it is killed: while the reference is stored, amid measuring, and near the end.
_KILLED_AFTER_COMMITS = (3, 5, 8)
_KNOWN_LATER = {"known_at", "recorded_at", "scored_at", "rejected_at", "state"}


def backfill(home: Path, models: Path) -> None:
    """Fit the reference, monitor and realize every chunk of the log, each as one range run on a SQLite instance."""
    from monitoring_assets.definitions import build_defs

    settings = Settings.of(home, models)
    policy = _policy(models)
    last = policy.cadence.shift(policy.cadence.key(policy.reference.end), _DAYS - 31)
    tags = range_tags([policy.cadence.key(policy.reference.end), last])
    with sqlite_instance(home) as instance:
        defs = build_defs(settings)
        for purpose in ("reference", "monitor", "realize"):
            job = defs.resolve_job_def(f"{policy.model}__{purpose}")
            assert job.execute_in_process(instance=instance, tags={} if purpose == "reference" else tags).success


def _policy(models: Path) -> MonitoredModel:
    return load_catalogue(models)[0].policy


def _start(home: Path, models: Path) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(_PROJECT), "PYTHONWARNINGS": "ignore", "PLUMBLINE_HOME": str(home)}
    environment |= {"OMP_NUM_THREADS": "1"}  # two processes at once: their idle threads would only spin
    for name in ("PLUMBLINE_MODELS", "PLUMBLINE_LAKE"):
        environment.pop(name, None)
    home.mkdir(exist_ok=True)
    with (home / "log.txt").open("a") as log:
        return subprocess.Popen([sys.executable, __file__, str(home), str(models)], cwd=home, env=environment, stdout=log, stderr=log)


def _commits(home: Path) -> int:
    return sum(1 for _ in (home / "lake").glob("*/*/_delta_log/*.json"))


def _start_and_kill(home: Path, models: Path, after_commits: int, delay: float) -> None:
    seen = _commits(home)
    process = _start(home, models)
    try:
        while _commits(home) < seen + after_commits and process.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, f"ended before commit {after_commits}: {(home / 'log.txt').read_text()[-2000:]}"


def _tables(policy: MonitoredModel) -> list[tables.Table]:
    return [
        tables.prediction_log(policy), tables.OUTCOMES, tables.MEASUREMENTS, tables.PERFORMANCE_VINTAGES, tables.VERDICTS, tables.reference_rows(policy), tables.REFERENCE_PROFILES,
    ]  # fmt: skip


def _content(home: Path, models: Path) -> dict[str, pd.DataFrame]:
    """Every table without the moments of computing, in an order of its own."""
    policy, lake = _policy(models), Settings.of(home, models).lake
    content = {}
    for table in _tables(policy):
        columns = [name for name in table.columns if name not in _KNOWN_LATER]
        content[table.name] = lake.read(policy.model, table)[columns].sort_values(columns, kind="stable").reset_index(drop=True)
    return content


def _tick(home: Path, models: Path, instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """One tick of the trigger that has forgotten everything."""
    from training_assets.definitions import build_defs

    settings = Settings.of(home, models)
    defs = build_defs(settings)
    sensor = next(one for one in defs.sensors or [] if one.name == "retrain_trigger")
    with dg.build_sensor_context(instance=instance, cursor=None, resources={"lake": settings.lake}, definitions=defs) as context:
        return list(sensor.evaluate_tick(context).run_requests or [])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log whose outcomes stop following from its inputs, and its declaration."""
    from synthetic import declare, make_log

    return declare(tmp_path_factory.mktemp("kill"), make_log(_DAYS, fault="concept", fault_day=_FAULT_DAY))


@pytest.fixture(scope="module")
def undisturbed_and_killed(models: Path) -> tuple[Path, Path]:
    """Homes of a run that nobody disturbed and of one that was killed three times before it could finish."""
    undisturbed, killed = models.parent / "undisturbed", models.parent / "killed"
    rng = random.Random(20240101)
    beside = _start(undisturbed, models)
    try:
        for after_commits in _KILLED_AFTER_COMMITS:
            _start_and_kill(killed, models, after_commits, delay=rng.uniform(0, 0.03))
        last = _start(killed, models)
        assert last.wait(timeout=120) == 0, (killed / "log.txt").read_text()[-2000:]
        assert beside.wait(timeout=120) == 0, (undisturbed / "log.txt").read_text()[-2000:]
    finally:
        beside.kill()
        beside.wait()
    return undisturbed, killed


@pytest.mark.slow
@pytest.mark.xdist_group("kill")
def test_a_killed_backfill_started_again_leaves_what_an_undisturbed_one_leaves(
    undisturbed_and_killed: tuple[Path, Path], models: Path
) -> None:
    undisturbed, killed = undisturbed_and_killed
    expected, got = _content(undisturbed, models), _content(killed, models)
    for name in expected:
        pd.testing.assert_frame_equal(got[name], expected[name], obj=name)


@pytest.mark.slow
@pytest.mark.xdist_group("kill")
def test_nothing_is_stored_twice_after_a_kill(undisturbed_and_killed: tuple[Path, Path], models: Path) -> None:
    content = _content(undisturbed_and_killed[1], models)
    chunks = {f"{day:%Y-%m-%d}" for day in pd.date_range("2024-01-31", periods=_DAYS - 30)}
    keys = {
        "prediction_log": ["prediction_id"], "outcomes": ["prediction_id"], "measurements": ["chunk", "kind", "method", "subject"],
        "verdicts": ["chunk"], "reference_rows": ["prediction_id"], "reference_profiles": ["reference_version", "component"],
    }  # fmt: skip
    for name, key in keys.items():
        assert len(content[name]), name
        assert not content[name].duplicated(key).any(), name
    assert set(content["verdicts"]["chunk"]) == chunks == set(content["prediction_log"]["chunk"])


@pytest.mark.slow
@pytest.mark.xdist_group("kill")
def test_a_half_written_file_is_never_read(undisturbed_and_killed: tuple[Path, Path], models: Path) -> None:
    killed = undisturbed_and_killed[1]
    before = _content(killed, models)
    for table in _tables(_policy(models)):
        folder = killed / "lake" / _policy(models).model / table.name
        files = [Path(uri) for uri in DeltaTable(str(folder)).file_uris()]
        rows = sum(pq.ParquetFile(file).read().num_rows for file in files)
        assert rows == len(before[table.name])
        torn = files[0].read_bytes()[:200]
        (files[0].parent / "part-00000-torn.snappy.parquet").write_bytes(torn)
        (files[0].parent / "part-00000-torn.snappy.parquet.tmp").write_bytes(torn)
        (folder / "_delta_log" / "_commit_torn.json.tmp").write_bytes(b'{"add":')
    after = _content(killed, models)
    for name in before:
        pd.testing.assert_frame_equal(after[name], before[name], obj=name)


@pytest.mark.slow
@pytest.mark.xdist_group("kill")
def test_a_trigger_that_lost_its_cursor_asks_for_the_same_run_again(undisturbed_and_killed: tuple[Path, Path], models: Path) -> None:
    killed = undisturbed_and_killed[1]
    with sqlite_instance(killed) as instance:
        first, again = _tick(killed, models, instance), _tick(killed, models, instance)
    assert len(first) == len(again) == 1
    assert first[0].run_key == again[0].run_key
    assert (first[0].job_name, first[0].partition_key, first[0].tags) == (again[0].job_name, again[0].partition_key, again[0].tags)
    policy = _policy(models)
    decisions = read_ledger(policy, Settings.of(killed, models).lake)
    assert list(decisions["action"]) == ["retrain"]
    assert list(decisions["incident"]) == [first[0].run_key]


if __name__ == "__main__":
    backfill(Path(sys.argv[1]), Path(sys.argv[2]))
