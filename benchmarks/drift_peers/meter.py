"""What one contender costs: CPU seconds, wall seconds and peak memory of its own process.

Belongs here: metering and the report on standard output, with the standard library only, because it runs in every contender's
environment. Does not: any work.
"""

import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any


def cpu_seconds() -> float:
    """CPU seconds of this process and of those it has waited for."""
    own, waited = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + waited.ru_utime + waited.ru_stime


def peak_mb() -> float:
    """Largest resident memory so far, in MB; the parent must be small, because a child starts with its parent's figure."""
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return largest * (1 if sys.platform == "darwin" else 1024) / 1e6  # bytes there, units of 1,024 bytes elsewhere


class Meter:
    """Adds up what each stage costs; imports come before the first one and are told apart."""

    def __init__(self) -> None:
        self.imports, self.stages = cpu_seconds(), dict[str, float]()
        self.imported_mb, self._wall = peak_mb(), time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what happens inside towards ``name``."""
        before = cpu_seconds()
        yield
        self.stages[name] = self.stages.get(name, 0.0) + cpu_seconds() - before

    def report(self, packages: Sequence[str], settings: Mapping[str, Any]) -> None:
        """Print the one line the benchmark reads."""
        told = {
            "cpu_s": sum(self.stages.values()), "wall_s": time.perf_counter() - self._wall, "peak_mb": peak_mb(), "stages_cpu_s": self.stages,
            "imports_cpu_s": self.imports, "imports_mb": self.imported_mb, "versions": {name: version(name) for name in packages},
            "settings": dict(settings),
        }  # fmt: skip
        print("REPORT " + json.dumps(told), flush=True)


def task() -> dict[str, Any]:
    """The task file named on the command line."""
    return json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))


def write_values(task: Mapping[str, Any], values: Mapping[str, float]) -> None:
    """Leave the numbers, keyed ``chunk|feature|method``, where the benchmark compares them."""
    if task.get("values"):
        Path(task["values"]).write_text(json.dumps(dict(values)), encoding="utf-8")
