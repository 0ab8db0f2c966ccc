"""Where the walk of ``plumbline doctor`` looks: the lake, and Dagster's instance and the model registry where there are any.

Belongs here: reading each table once per walk. Does not: judging a link.
Reads: ``measurements``, ``verdicts``, ``verdict_vintages``, ``decisions``, ``rollout_events``.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources import tables
from resources.clock import now
from resources.decision_log import read_ledger
from resources.lake import Lake
from resources.names import job_name
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.rollout_log import events, serving_version
from resources.vocabulary import Stage

if TYPE_CHECKING:
    import pandas as pd

#: What has happened a moment ago is still being answered: not due, rather than broken.
GRACE = timedelta(minutes=15)
#: Statuses of runs that wait or work.
WORKING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]


@dataclass
class Evidence:
    """Where the walk looks.

    Attributes:
        policy: the model.
        lake: its tables.
        base: folder that relative paths of declarations start from.
        instance: Dagster's storage, if there is one.
        registry: the model registry, where it can be read.
        wall: what time it is, UTC.
    """

    policy: MonitoredModel
    lake: Lake
    base: Path
    instance: dg.DagsterInstance | None = None
    registry: Registry | None = None
    wall: datetime = field(default_factory=lambda: datetime.now(UTC))

    @cached_property
    def present(self) -> datetime:
        """The model's own time."""
        return now(self.policy, self.lake) if self.policy.replay else self.wall

    @cached_property
    def log(self) -> "pd.DataFrame":
        """Rollout events."""
        return events(self.lake, self.policy)

    @cached_property
    def serving(self) -> str | None:
        """What serves by the events."""
        return serving_version(self.lake, self.policy)

    @cached_property
    def ledger(self) -> "pd.DataFrame":
        """Decisions."""
        return read_ledger(self.policy, self.lake)

    @cached_property
    def vintages(self) -> "pd.DataFrame":
        """Verdicts as they became known, without the numbers behind them."""
        with self.lake.connect() as connection:
            self.lake.attach(connection, self.policy.model, tables.VERDICT_VINTAGES)
            return connection.sql("SELECT chunk, verdict, known_at, written_at FROM verdict_vintages ORDER BY written_at, chunk").df()

    def ingested(self, stage: Stage = Stage.PREDICTION_LOG) -> list[str]:
        """Chunks a stage has measured, oldest first."""
        return self.lake.partitions(self.policy.model, tables.MEASUREMENTS, "chunk", {"stage": str(stage)})

    def is_recent(self, moment: Any) -> bool:
        """Whether something happened so lately that its answer may be on its way."""
        return bool(moment is not None and moment == moment and self.wall - moment.to_pydatetime() < GRACE)

    def works(self, *purposes: str) -> bool:
        """Whether a run of the model's jobs waits or works; unknown without an instance counts as no."""
        if self.instance is None:
            return False
        return any(
            self.instance.get_runs_count(dg.RunsFilter(job_name=job_name(self.policy, purpose), statuses=WORKING)) for purpose in purposes
        )

    @cached_property
    def newest(self) -> tuple[str | None, str | None]:
        """The newest ingested chunk and its verdict, where there is one."""
        ingested = self.ingested()
        if not ingested:
            return None, None
        rows = self.lake.read(self.policy.model, tables.VERDICTS, {"chunk": ingested[-1]})
        return ingested[-1], str(rows["verdict"].iloc[0]) if len(rows) else None
