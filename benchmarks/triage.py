"""How often is the verdict right? Chunks with a known cause, judged exactly as the stages judge them.

Three base data sets, each cut into rows a model is trained on, rows a second model learns expected losses from, a reference, and
a pool from which chunks are drawn; reference and pool are cut anew for every seed. The weather is real (49 years of one
station, kept in blocks of five days in a row), so is the US census; the car prices are NannyML's synthetic ones.

Classes that hurt are as weak as still moves the expected deciding metric by ``HARM`` of its sampling errors and, where inputs are to
move, some input by ``DRIFT`` of its own; a harmless one moves an input visibly and the metric by at most ``HARMLESS``:
``covariate_harmless`` draws rows towards one side of a feature or direction along which the metric stays; ``covariate_harmful`` draws
towards rows of high expected loss, or blurs, offsets or rewires input columns while outcomes stay; ``concept`` changes
outcomes and leaves inputs; ``data_fault`` breaks the data as data; ``label_shift`` draws by the outcome; ``healthy`` draws alone.

    python benchmarks/triage.py
"""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing import get_context
from typing import TYPE_CHECKING

from common import PROJECT, conclude, quiet
from triage_parts.faults import BOUNDED, CLASSES
from triage_parts.judging import Judged, run
from triage_parts.page import FIRST_SEED, HEALTHY, RIGHT, document, is_missed, rate_of
from triage_parts.worlds import BASES, SEEDS

if TYPE_CHECKING:
    pass


def measured(processes: int, seeds: int) -> list[Judged]:
    """All seeds of all bases, in order."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    found: list[Judged] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        bar = progress.add_task("seeds", total=seeds * len(BASES))
        for done in as_completed([pool.submit(run, name, seed) for seed in range(FIRST_SEED, FIRST_SEED + seeds) for name in BASES]):
            found += done.result()
            progress.advance(bar)
    return sorted(found, key=lambda one: ([*BASES].index(one.base), one.seed))


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all chunks, write the result and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"other than {SEEDS} writes no result")
    options = parser.parse_args(arguments)
    quiet()
    started = time.perf_counter()
    found = measured(options.processes, options.seeds)
    wall, page = time.perf_counter() - started, document(found)
    print(page)
    print(f"{wall:.0f} wall seconds with {options.processes} processes")
    if options.seeds != SEEDS:
        return int(any(is_missed(found, truth) for truth in CLASSES))
    (PROJECT / "docs" / "triage.md").write_text(page, encoding="utf-8")
    rates = {str(truth): {"right": (own := rate_of(found, truth)).right, "chunks": own.chunks, "error": own.error} for truth in CLASSES}
    result = {
        "bound": f"at least {RIGHT:.0%} right verdicts in each of {', '.join(BOUNDED)}; at least {HEALTHY:.0%} healthy without a fault",
        "rates": rates, "wall_s": wall, "processes": options.processes, "chunks": [asdict(one) for one in found],
        "versions": {name: version(name) for name in ("nannyml", "lightgbm", "numpy", "pandas", "scipy", "scikit-learn")},
    }  # fmt: skip
    return conclude("triage", result, not any(is_missed(found, truth) for truth in CLASSES))


if __name__ == "__main__":
    sys.exit(main())
