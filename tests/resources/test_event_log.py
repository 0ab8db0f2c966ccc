"""The kept-engine event log stores exactly what Dagster's own class stores, and either can read the other's files."""

import sqlite3
import uuid
from contextlib import closing

import dagster as dg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType, StepMaterializationData
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from resources.event_log import _KEPT_ENGINES, KeptEngineSqliteEventLogStorage

KEY = dg.AssetKey(["shop", "verdict"])
#: Columns that tell when a row was written.
WRITTEN = ("create_timestamp", "migration_completed")


def instance_of(folder):
    storage = {"module": "resources.event_log", "class": "KeptEngineSqliteEventLogStorage", "config": {"base_dir": str(folder / "events")}}
    return dg.DagsterInstance.local_temp(str(folder), overrides={"event_log_storage": storage})


def evaluated(chunk, passed=True):
    evaluation = dg.AssetCheckEvaluation(asset_key=KEY, check_name="no_harm", passed=passed, partition=chunk, metadata={})
    return DagsterEvent(DagsterEventType.ASSET_CHECK_EVALUATION.value, "job", event_specific_data=evaluation)


def report(instance, chunk, run_id, passed=True):
    instance.report_dagster_event(evaluated(chunk, passed), run_id=run_id)


def materialized(chunk):
    material = StepMaterializationData(
        dg.AssetMaterialization(KEY, partition=chunk, metadata={"rows": 3}, tags={"dagster/data_version": chunk})
    )
    return DagsterEvent(DagsterEventType.ASSET_MATERIALIZATION.value, "job", event_specific_data=material)


def entries(events, run_id):
    return [
        EventLogEntry(
            error_info=None, level=20, user_message="", run_id=run_id, timestamp=1e9 + index, step_key=None, job_name="job", dagster_event=event
        )
        for index, event in enumerate(events)
    ]  # fmt: skip


def contents(folder):
    """Every row of every table of every file."""
    found = {}
    for file in sorted(folder.glob("*.db")):
        with closing(sqlite3.connect(file)) as connection:
            for (table,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            ).fetchall():
                columns = [f'"{row[1]}"' for row in connection.execute(f"PRAGMA table_info({table})") if row[1] not in WRITTEN]
                found[file.name, table] = connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchall()
    return found


def test_dagsters_own_class_reads_what_was_stored(tmp_path):
    with instance_of(tmp_path) as instance:
        assert isinstance(instance.event_log_storage, KeptEngineSqliteEventLogStorage)
        for index in range(20):
            report(instance, f"c{index}", str(uuid.uuid4()), passed=index % 2 == 0)
    own = SqliteEventLogStorage(str(tmp_path / "events"))
    records = own.get_asset_check_execution_history(dg.AssetCheckKey(KEY, "no_harm"), limit=100)
    assert {record.partition: record.status.value for record in records} == {
        f"c{index}": "SUCCEEDED" if index % 2 == 0 else "FAILED" for index in range(20)
    }


def test_no_more_engines_are_kept_than_allowed(tmp_path):
    with instance_of(tmp_path) as instance:
        for index in range(3 * _KEPT_ENGINES):
            report(instance, f"c{index}", str(uuid.uuid4()))
        assert len(instance.event_log_storage._engines) <= _KEPT_ENGINES


def test_a_whole_job_runs_on_it(tmp_path):
    @dg.asset
    def shelf():
        return dg.MaterializeResult(metadata={"rows": 3})

    with instance_of(tmp_path) as instance:
        result = dg.materialize([shelf], instance=instance)
        assert result.success
        event = instance.get_latest_materialization_event(shelf.key)
        assert event.asset_materialization.metadata["rows"].value == 3


def test_a_batch_stores_row_for_row_what_dagsters_own_class_stores(tmp_path):
    chunks = [f"c{index}" for index in range(30)]
    events = [*map(materialized, chunks), *(evaluated(chunk, chunk != "c7") for chunk in chunks)]
    stored = entries(events, "11111111-2222-3333-4444-555555555555")
    own, kept = SqliteEventLogStorage(str(tmp_path / "own")), KeptEngineSqliteEventLogStorage(str(tmp_path / "kept"))
    for one in stored:
        own.store_event(one)
    kept.store_event_batch(stored)
    expected = contents(tmp_path / "own")
    assert len(expected["index.db", "asset_check_executions"]) == 30
    assert len(expected["index.db", "asset_keys"]) == 1
    assert contents(tmp_path / "kept") == expected
    kept.dispose()


def test_a_batch_that_fails_leaves_nothing_and_the_next_event_is_stored(tmp_path):
    storage = KeptEngineSqliteEventLogStorage(str(tmp_path))
    run_id = "11111111-2222-3333-4444-555555555555"
    good = entries([evaluated("c0"), materialized("c0")], run_id)
    with pytest.raises(Exception, match="EventLogEntry"):
        storage.store_event_batch([*good, None])
    assert storage.get_logs_for_run(run_id) == []
    assert storage.all_asset_keys() == []
    storage.store_event(good[1])
    assert storage.all_asset_keys() == [KEY]
    storage.dispose()
