"""Drive both code locations without a daemon: tick the same sensors, run what they request, until nothing is left to do.

Belongs here: a deterministic, single-process stand-in for Dagster's daemon. Does not: any decision of its own.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import dagster as dg

from resources.settings import Settings

RUN_KEY = "dagster/run_key"


@dataclass
class Driver:
    """Both locations of one installation on one instance, with the sensors' cursors."""

    settings: Settings
    instance: dg.DagsterInstance
    models: list[str]
    locations: dict[str, dg.Definitions] = field(init=False)
    cursors: dict[str, str | None] = field(default_factory=dict)
    run_keys: set[tuple[str, str]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Load the definitions of both locations."""
        from monitoring_assets.definitions import build_defs as monitoring
        from training_assets.definitions import build_defs as training

        self.locations = {"monitoring": monitoring(self.settings), "training": training(self.settings, is_paced=False)}

    def run_until_idle(self, on_run: Callable[[str, str], None], *, limit: int = 100_000) -> int:
        """Tick all sensors in turn until a whole round requests nothing; returns the number of runs.

        Args:
            on_run: told the job name and partition (or range) before each run.
            limit: give up after this many runs.

        Raises:
            RuntimeError: when the limit is reached.
        """
        count = 0
        for _ in itertools.count():
            requested = 0
            for location, defs in self.locations.items():
                for sensor in sorted(defs.sensors or [], key=lambda one: one.name):
                    for request in self._tick(location, sensor):
                        on_run(str(request.job_name), request.partition_key or _range(request))
                        self._run(defs, request)
                        requested += 1
            count += requested
            if not requested:
                return count
            if count >= limit:
                raise RuntimeError(f"got {count} runs without coming to rest; expected fewer than {limit}")
        return count

    def run_schedules(self, moment: datetime, on_run: Callable[[str, str], None]) -> int:
        """Tick every schedule of both locations once, as at ``moment``, and run what they request; returns the number of runs.

        Args:
            moment: when the schedules are taken to be due, UTC.
            on_run: told the job name and partition (or range) before each run.
        """
        count = 0
        for defs in self.locations.values():
            resources = defs.resources or {}
            for schedule in sorted(defs.schedules or [], key=lambda one: one.name):
                if not isinstance(schedule, dg.ScheduleDefinition) or str(schedule.job_name).split("__")[0] not in self.models:
                    continue
                needed = {name: resources[name] for name in schedule.required_resource_keys}
                with dg.build_schedule_context(self.instance, moment, needed, defs.get_repository_def()) as context:
                    requests = schedule.evaluate_tick(context).run_requests
                for request in requests or []:
                    on_run(str(schedule.job_name), request.partition_key or _range(request))
                    self._run(defs, request.with_replaced_attrs(job_name=schedule.job_name))
                    count += 1
        return count

    def run_job(self, location: str, job: str, partition: str | None = None, config: Mapping[str, Any] | None = None) -> bool:
        """Run one job of a location, as a person would from the UI; returns whether it succeeded.

        Args:
            location: ``monitoring`` or ``training``.
            job: its name.
            partition: the chunk; none where the job has no partitions.
            config: of its only op.
        """
        found = self.locations[location].resolve_job_def(job)
        filled = None if config is None else {"ops": {found.nodes[0].name: {"config": dict(config)}}}
        return found.execute_in_process(run_config=filled, instance=self.instance, partition_key=partition, raise_on_error=False).success

    def _tick(self, location: str, sensor: dg.SensorDefinition) -> list[dg.RunRequest]:
        cursor_key = f"{location}/{sensor.name}"
        resources = self.locations[location].resources or {}
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(cursor_key),
            resources={name: resources[name] for name in sensor.required_resource_keys},
            definitions=self.locations[location],
        ) as context:
            data = sensor.evaluate_tick(context)
        self.cursors[cursor_key] = data.cursor
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        fresh = []
        for request in data.run_requests or []:
            identity = (cursor_key, str(request.run_key))
            if identity not in self.run_keys and str(request.job_name).split("__")[0] in self.models:
                self.run_keys.add(identity)
                fresh.append(request)
        return fresh

    def _run(self, defs: dg.Definitions, request: dg.RunRequest) -> None:
        job = defs.resolve_job_def(str(request.job_name))
        tags = {**(job.tags or {}), **request.tags, RUN_KEY: str(request.run_key)}
        job.execute_in_process(instance=self.instance, partition_key=request.partition_key, tags=tags, raise_on_error=False)


def _range(request: dg.RunRequest) -> str:
    start, end = (request.tags.get(f"dagster/asset_partition_range_{side}", "") for side in ("start", "end"))
    return f"{start} to {end}" if start else ""
