"""What does a fleet cost: loading the definitions of 10, 100 and 1,000 models, and deciding about all of them in one tick?

Loading is timed in fresh interpreters, both code locations, from the import to the finished repository. The tick is that of the shipped
trigger sensor in a process that has opened nothing yet, on a lake where every model has 60 judged chunks and a ledger, and a new
verdict has arrived for each: the slowest tick there can be. A second tick, in the same process, follows one more verdict each; a third
one finds nothing new.

Bound: the first tick of 1,000 models takes less than 30 seconds (two cores); loading costs at most 1.3 times as much per model with
1,000 models as with 100.

    python benchmarks/fleet.py
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import QUIET, conclude, quiet, sqlite_instance, table, temporary_folder

if TYPE_CHECKING:
    import dagster as dg
    import pandas as pd

    from resources.lake import Lake
    from resources.policy import MonitoredModel

_BOUND_SECONDS, _BOUND_RATIO = 30.0, 1.3
_SIZES = (10, 100, 1000)
_CHUNKS = 60
_START = datetime(2025, 1, 1, tzinfo=UTC)
_DECLARATION = """\
model: {model}
task: binary_classification
owners: ["team:fleet"]
log: {{parquet: log.parquet, time: at, id: row_id, timezone: UTC, prediction: predicted, probability: probability}}
features: {{numeric: [x1, x2, x3, x4], categorical: [region]}}
outcome: {{column: outcome, delay: 7d}}
reference: {{start: 2024-10-01, end: 2025-01-01}}
retrain:
  when:
    any:
      - verdict: {{}}
      - score: {{fire_above: 0.15, rearm_below: 0.1, chunks: 2, of: 3}}
      - decay: {{fire_above: 0.05}}
"""
_LOAD = """\
import json, resource, sys, time
from pathlib import Path
began = time.perf_counter()
from resources.settings import Settings
settings = Settings.of(Path(sys.argv[1]), Path(sys.argv[2]))
if sys.argv[3] == "monitoring":
    from monitoring_assets.definitions import build_defs
else:
    from training_assets.definitions import build_defs
build_defs(settings).get_repository_def()
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"wall_s": time.perf_counter() - began, "cpu_s": usage.ru_utime + usage.ru_stime, "memory_mb": usage.ru_maxrss / 1024}))
"""


def _declare(folder: Path, n_models: int) -> Path:
    models = folder / f"models_{n_models}"
    models.mkdir(parents=True)
    for index in range(n_models):
        (models / f"model_{index:04}.yaml").write_text(_DECLARATION.format(model=f"model_{index:04}"), encoding="utf-8")
    return models


def _load(folder: Path, models: Path, location: str) -> dict[str, float]:
    import os

    from common import PROJECT

    empty = folder / "empty"
    empty.mkdir(exist_ok=True)
    (empty / "model_0000.yaml").write_text(_DECLARATION.format(model="model_0000"), encoding="utf-8")
    # the modules build their own definitions when they are imported: of one model here
    own = {
        **os.environ,
        **QUIET,
        "PYTHONPATH": str(PROJECT),
        "PLUMBLINE_MODELS": str(empty),
        "PLUMBLINE_HOME": str(folder),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, str(folder), str(models), location], check=True, env=own, capture_output=True, text=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def _vintages(policy: "MonitoredModel", first: int, count: int, rng: Any) -> "pd.DataFrame":
    """Judged chunks of a healthy model with all the numbers a policy may read."""
    import numpy as np
    import pandas as pd

    from resources.vocabulary import Kind, Verdict

    rows = []
    for index in range(first, first + count):
        chunk = f"{_START + index * timedelta(days=1):%Y-%m-%d}"
        known = pd.Timestamp(_START + (index + 1) * timedelta(days=1))
        drift = [
            [str(Kind.UNIVARIATE_DRIFT), method, name, float(value), float(value), None, 0.2, False]
            for name in policy.features.numeric for method, value in zip(policy.drift.numeric, rng.uniform(0, 0.1, 2), strict=True)
        ] + [[str(Kind.UNIVARIATE_DRIFT), "jensen_shannon", "region", 0.05, 0.05, None, 0.2, False]]  # fmt: skip
        known_of = [
            [str(Kind.REALIZED_PERFORMANCE), "realized", metric, 0.9, float(rng.normal(0, 0.01)), 0.85, None, False]
            for metric in policy.metrics
        ]
        rows.append({
            "chunk": chunk, "verdict": str(Verdict.HEALTHY), "confidence": 0.9, "model_version": "external", "is_realized": True, "n_rows": 1000,
            "measured": json.dumps(drift + known_of), "known_at": known, "written_at": pd.Timestamp(datetime.now(UTC)) + pd.Timedelta(microseconds=index),
            "digest": f"{index}{np.round(rng.random(), 6)}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def _arrive(instance: "dg.DagsterInstance", lake: "Lake", policies: Sequence["MonitoredModel"], first: int, count: int) -> None:
    """New verdicts for every model: vintages in the lake, and the evaluation of the check the trigger listens to."""
    import dagster as dg
    import numpy as np

    from resources import tables
    from training_assets.trigger import check_key

    rng = np.random.default_rng(first)
    for policy in policies:
        rows = _vintages(policy, first, count, rng)
        lake.append(policy.model, tables.VERDICT_VINTAGES, rows)
        asked = check_key(policy)
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=asked.asset_key, check_name=asked.name, passed=True, partition=rows["chunk"].iloc[-1], metadata={}
            )
        )


def tick(folder: Path, models: Path) -> dict[str, float]:
    """Seconds of three ticks in this process; the first one opens every table."""
    import dagster as dg

    from resources.catalogue import load_catalogue
    from resources.settings import Settings
    from training_assets.definitions import build_defs

    settings = Settings.of(folder / "home", models)
    policies = [one.policy for one in load_catalogue(models)]
    defs, cursor, seconds = build_defs(settings), None, {}
    sensor = next(one for one in defs.sensors or [] if one.name == "retrain_trigger")
    with sqlite_instance(folder / "dagster") as instance:
        for place, name in enumerate(("first_tick_s", "one_more_verdict_each_s", "nothing_new_s")):
            if name == "one_more_verdict_each_s":
                _arrive(instance, settings.lake, policies, _CHUNKS + 1, 1)
            with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"lake": settings.lake}, definitions=defs) as context:
                before, cpu = time.perf_counter(), time.process_time()
                data = sensor.evaluate_tick(context)
                seconds[name], seconds[name.replace("_s", "_cpu_s")] = time.perf_counter() - before, time.process_time() - cpu
            cursor = data.cursor
            expected = 0 if place == 2 else len(policies)
            if len(data.asset_events) != expected:
                raise RuntimeError(f"{name}: got {len(data.asset_events)} decisions; expected {expected}")
    return seconds


def prepare(folder: Path, models: Path) -> None:
    """A lake with a history and a ledger row for every model, written by another process than the one that is timed."""
    from resources.catalogue import load_catalogue
    from resources.settings import Settings
    from training_assets.ledger import evaluate

    settings = Settings.of(folder / "home", models)
    policies = [one.policy for one in load_catalogue(models)]
    with sqlite_instance(folder / "dagster") as instance:
        _arrive(instance, settings.lake, policies, 0, _CHUNKS)
        for policy in policies:
            evaluate(policy, settings.lake)
        _arrive(instance, settings.lake, policies, _CHUNKS, 1)


def _apart(step: str, folder: Path, models: Path) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, "--step", step, str(folder), str(models)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1]) if step == "tick" else {}


def main() -> int:
    """Measure, print, write the result."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--sizes", type=int, nargs="+", default=list(_SIZES))
    arguments.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    quiet()
    if asked.step:
        step, folder, models = asked.step[0], Path(asked.step[1]), Path(asked.step[2])
        print(json.dumps(tick(folder, models)) if step == "tick" else prepare(folder, models) or "")
        return 0
    loads, ticks = {}, {}
    with temporary_folder() as folder:
        for size in asked.sizes:
            own = folder / str(size)
            models = _declare(own, size)
            loads[size] = {location: _load(own, models, location) for location in ("monitoring", "training")}
            _apart("prepare", own, models)
            ticks[size] = _apart("tick", own, models)
    rows = [
        (size, loads[size]["monitoring"]["wall_s"], loads[size]["training"]["wall_s"], loads[size]["monitoring"]["memory_mb"], *list(ticks[size].values())[::2])
        for size in asked.sizes
    ]  # fmt: skip
    table(["models", "load monitoring s", "load training s", "memory MB", "first tick s", "one more verdict each s", "nothing new s"], rows)
    largest, middle = asked.sizes[-1], asked.sizes[-2] if len(asked.sizes) > 1 else asked.sizes[-1]
    each = {size: sum(one["wall_s"] for one in loads[size].values()) / size for size in asked.sizes}
    ratio = each[largest] / each[middle]
    first = ticks[largest]["first_tick_s"]
    print(
        f"loading per model: {', '.join(f'{size}: {seconds * 1000:.0f} ms' for size, seconds in each.items())}; {largest} against {middle}: {ratio:.2f}"
    )
    result = {
        "bound": f"first tick of {largest} models < {_BOUND_SECONDS:g} s; loading per model ≤ {_BOUND_RATIO} × that of {middle}",
        "first_tick_s": first, "load_ratio": ratio, "loads": loads, "ticks": ticks,
    }  # fmt: skip
    return conclude("fleet", result, first < _BOUND_SECONDS and ratio <= _BOUND_RATIO)


if __name__ == "__main__":
    raise SystemExit(main())
