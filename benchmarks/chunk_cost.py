"""Does monitoring one more chunk cost the same however much history lies behind it?

Two installations of the same synthetic model (8 numeric and 2 categorical features, 200 rows a day, predictions in the
log, seed 0): one with 60 chunks of history, one with 600. Each has its own SQLite Dagster instance and its own lake.
A third one holds 600 chunks that were committed one at a time, as they are in production, so its Delta logs are long.
Further single chunks run through the ``monitor`` job in this process, the three taking turns; CPU seconds of all
threads are compared by their medians.

Bound: 600 chunks of history cost at most 1.3 times the CPU of 60.

    python benchmarks/chunk_cost.py
"""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common import chunk_key, conclude, median, policy_of, quiet, run, sqlite_instance, step_seconds, table, temporary_folder, write_models

_BOUND = 1.3
_SHORT, _LONG = 60, 600


@dataclass
class Case:
    """One installation with history."""

    name: str
    n_history: int
    settings: object
    defs: object
    instance: object


def _prepare(name: str, home: Path, models: Path, n_history: int) -> Case:
    from monitoring_assets.definitions import build_defs
    from resources.settings import Settings

    settings = Settings.of(home, models)
    instance = sqlite_instance(home / "dagster")
    case = Case(name, n_history, settings, build_defs(settings), instance)
    run(case.defs, instance, "reference")
    run(case.defs, instance, "monitor", [chunk_key(index) for index in range(n_history)])
    return case


def _copy(case: Case, name: str, home: Path, models: Path) -> Case:
    """The same installation a second time."""
    from monitoring_assets.definitions import build_defs
    from resources.settings import Settings

    shutil.copytree(case.settings.home, home)
    settings = Settings.of(home, models)
    return Case(name, case.n_history, settings, build_defs(settings), sqlite_instance(home / "dagster"))


def _commit_one_by_one(case: Case) -> None:
    """Write every stored partition again in a commit of its own: the content stays, the Delta log grows as in production."""
    from resources import tables

    policy, lake = policy_of(case.settings), case.settings.lake
    for contract in (tables.prediction_log(policy), tables.MEASUREMENTS, tables.VERDICTS, tables.OUTCOMES):
        cuts = contract.partition_by
        for where, rows in lake.read(policy.model, contract).groupby(list(cuts)):
            lake.replace(policy.model, contract, rows, dict(zip(cuts, where, strict=True)))


def _monitor_next(case: Case, step: int) -> tuple[float, float, dict[str, float]]:
    cpu, wall = time.process_time(), time.perf_counter()
    result = run(case.defs, case.instance, "monitor", [chunk_key(case.n_history + step)])
    return time.process_time() - cpu, time.perf_counter() - wall, step_seconds(case.instance, result.run_id)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result; 1 when the bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="further chunks per case")
    options = parser.parse_args(arguments)
    quiet()
    with temporary_folder() as folder:
        models = write_models(folder / "models", _LONG + options.repeats + 2)
        cases = [
            _prepare(f"{_SHORT} chunks", folder / "short", models, _SHORT),
            _prepare(f"{_LONG} chunks", folder / "long", models, _LONG),
        ]
        cases.append(_copy(cases[1], f"{_LONG} chunks, {_LONG} commits", folder / "commits", models))
        _commit_one_by_one(cases[2])
        seen: dict[str, list[tuple[float, float, dict[str, float]]]] = {case.name: [] for case in cases}
        for step in range(options.repeats + 1):
            for case in cases[step % 3 :] + cases[: step % 3]:
                seen[case.name].append(_monitor_next(case, step))
        for case in cases:
            case.instance.dispose()
    figures = {}
    for name, runs in seen.items():
        kept = runs[1:]  # the first run of a case pays caches and imports
        stages = {stage: median(steps[stage] for _, _, steps in kept) for stage in kept[0][2]}
        figures[name] = {"cpu_s": median(cpu for cpu, _, _ in kept), "wall_s": median(wall for _, wall, _ in kept), "stage_wall_s": stages}
    base = figures[cases[0].name]
    print(f"one further chunk, median of {options.repeats}, SQLite instance")
    table(
        ["history", "CPU s", "wall s", "CPU ratio"],
        [[name, own["cpu_s"], own["wall_s"], own["cpu_s"] / base["cpu_s"]] for name, own in figures.items()],
    )
    print("\nwall seconds per stage")
    rows = [[stage, *(own["stage_wall_s"][stage] for own in figures.values())] for stage in base["stage_wall_s"]]
    rows.append(["between the stages", *(own["wall_s"] - sum(own["stage_wall_s"].values()) for own in figures.values())])
    table(["stage", *figures], rows)
    ratio = figures[cases[1].name]["cpu_s"] / base["cpu_s"]
    ratio_commits = figures[cases[2].name]["cpu_s"] / base["cpu_s"]
    result = {
        "bound": f"CPU ratio of {_LONG} to {_SHORT} chunks of history at most {_BOUND}",
        "ratio": ratio,
        "ratio_one_commit_per_chunk": ratio_commits,
        "cases": figures,
    }
    return conclude("chunk_cost", result, max(ratio, ratio_commits) <= _BOUND)


if __name__ == "__main__":
    sys.exit(main())
