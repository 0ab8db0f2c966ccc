"""A Dagster instance on SQLite files, for tests that start processes of their own."""

from pathlib import Path

import dagster as dg


def sqlite_instance(home: Path) -> dg.DagsterInstance:
    """SQLite files below ``home`` with the event log of the shipped ``dagster.yaml``."""
    folder = home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shipped = {
        "module": "resources.event_log",
        "class": "KeptEngineSqliteEventLogStorage",
        "config": {"base_dir": str(folder / "history" / "runs")},
    }
    return dg.DagsterInstance.local_temp(str(folder), overrides={"event_log_storage": shipped})
