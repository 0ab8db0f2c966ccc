"""The kept-engine event log stores exactly what Dagster's own class stores, and either can read the other's files."""

import uuid

import dagster as dg
from dagster._core.events import DagsterEvent, DagsterEventType
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from resources.event_log import _KEPT_ENGINES, KeptEngineSqliteEventLogStorage

KEY = dg.AssetKey(["shop", "verdict"])


def instance_of(folder):
    storage = {"module": "resources.event_log", "class": "KeptEngineSqliteEventLogStorage", "config": {"base_dir": str(folder / "events")}}
    return dg.DagsterInstance.local_temp(str(folder), overrides={"event_log_storage": storage})


def report(instance, chunk, run_id, passed=True):
    evaluation = dg.AssetCheckEvaluation(asset_key=KEY, check_name="no_harm", passed=passed, partition=chunk, metadata={})
    event = DagsterEvent(DagsterEventType.ASSET_CHECK_EVALUATION.value, "job", event_specific_data=evaluation)
    instance.report_dagster_event(event, run_id=run_id)


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
