"""The monitoring location over one synthetic log, for tests that run whole stages."""

from pathlib import Path

import dagster as dg
import pandas as pd
import synthetic

from monitoring_assets.definitions import build_defs
from resources import tables
from resources.catalogue import load_catalogue
from resources.partitions import range_tags
from resources.settings import Settings
from resources.vocabulary import Check, Stage


class Platform:
    """The monitoring location over one synthetic log."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, rows: pd.DataFrame, **overrides: object) -> None:
        self.settings = Settings.of(folder / "home", synthetic.declare(folder, rows, **overrides))
        self.instance, self.defs = instance, build_defs(self.settings)
        self.policy = load_catalogue(self.settings.models)[0].policy
        self.lake = self.settings.lake

    def run(self, purpose, *chunks):
        job = self.defs.resolve_job_def(f"shop__{purpose}")
        where = {} if not chunks else {"partition_key": chunks[0]} if len(chunks) == 1 else {"tags": {**job.tags, **range_tags(chunks)}}
        return job.execute_in_process(instance=self.instance, raise_on_error=False, **where)

    def check(self, stage: Stage, check: Check, chunk: str) -> tuple[bool, dg.AssetCheckSeverity, str]:
        key = dg.AssetCheckKey(dg.AssetKey(["shop", str(stage)]), str(check))
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=500)
        record = next(one for one in records if one.partition == chunk and one.status.value in ("SUCCEEDED", "FAILED"))
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        return evaluation.passed, evaluation.severity, evaluation.description

    def verdict(self, chunk: str) -> str:
        rows = self.lake.read("shop", tables.VERDICTS, {"chunk": chunk})
        assert len(rows) == 1
        return str(rows["verdict"].iloc[0])
