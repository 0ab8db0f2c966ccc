"""What does loading the monitoring code location cost, next to one that holds a single empty asset?

Every run of Dagster starts processes that load the location, so each heavy import at its top level is paid again and
again. Both locations are imported in fresh interpreters, taking turns; CPU seconds (user and system) and wall seconds
are compared by their medians. The heavy libraries must not be loaded at all.

Bound: the monitoring location costs at most 2.0 times the CPU of the empty one and loads none of the heavy libraries.

    python benchmarks/location_load.py
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from common import PROJECT, conclude, median, table, temporary_folder

_BOUND = 2.0
_HEAVY = ("nannyml", "lightgbm", "mlflow", "sklearn", "scipy", "matplotlib", "statsforecast")
_LOCATION = "monitoring_assets.definitions"
_EMPTY = """\
import dagster as dg

@dg.asset
def nothing() -> None: ...

defs = dg.Definitions(assets=[nothing])
"""


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "PLUMBLINE_HOME": str(home), "PYTHONPATH": f"{PROJECT}{os.pathsep}{home}", "PYTHONWARNINGS": "ignore"}


def _cost(module: str, home: Path) -> tuple[float, float]:
    """CPU and wall seconds of a fresh interpreter that imports ``module``."""
    before, start = os.times(), time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True, env=_environment(home), cwd=home)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system, time.perf_counter() - start


def _loaded(home: Path) -> list[str]:
    code = f"import json, sys, {_LOCATION}; print(json.dumps(sorted(name for name in {_HEAVY!r} if name in sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, env=_environment(home), cwd=home, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _costliest(home: Path) -> list[tuple[str, float, float]]:
    """The ten imports with the most time of their own: name, own ms, cumulative ms."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {_LOCATION}"],
        check=True,
        env=_environment(home),
        cwd=home,
        capture_output=True,
        text=True,
    )
    lines = [line.removeprefix("import time:").split("|") for line in done.stderr.splitlines() if line.startswith("import time:")]
    imports = [(name.strip(), int(own) / 1000, int(cumulative) / 1000) for own, cumulative, name in lines if own.strip().isdigit()]
    return sorted(imports, key=lambda one: one[1], reverse=True)[:10]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result; 1 when the bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7, help="fresh interpreters per location")
    options = parser.parse_args(arguments)
    with temporary_folder() as home:
        (home / "empty_location.py").write_text(_EMPTY, encoding="utf-8")
        modules = {"empty location": "empty_location", "monitoring": _LOCATION}
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in modules}
        for repeat in range(options.repeats + 1):
            for name, module in modules.items():
                cost = _cost(module, home)
                if repeat:  # the first pair warms the disk cache and writes byte code
                    seen[name].append(cost)
        heavy, imports = _loaded(home), _costliest(home)
    figures = {name: {"cpu_s": median(cpu for cpu, _ in runs), "wall_s": median(wall for _, wall in runs)} for name, runs in seen.items()}
    base = figures["empty location"]
    print(f"import in a fresh interpreter, median of {options.repeats}")
    table(
        ["location", "CPU s", "wall s", "CPU ratio", "wall ratio"],
        [
            [name, own["cpu_s"], own["wall_s"], own["cpu_s"] / base["cpu_s"], own["wall_s"] / base["wall_s"]]
            for name, own in figures.items()
        ],
    )
    print("\nten costliest imports of the monitoring location")
    table(["module", "own ms", "cumulative ms"], imports)
    print(f"\nheavy libraries loaded: {', '.join(heavy) or 'none'}")
    ratio = figures["monitoring"]["cpu_s"] / base["cpu_s"]
    result = {
        "bound": f"CPU ratio at most {_BOUND}, and none of {', '.join(_HEAVY)} loaded",
        "ratio": ratio, "locations": figures, "heavy_loaded": heavy,
        "costliest_imports_ms": [{"module": name, "own": own, "cumulative": cumulative} for name, own, cumulative in imports],
    }  # fmt: skip
    return conclude("location_load", result, ratio <= _BOUND and not heavy)


if __name__ == "__main__":
    sys.exit(main())
