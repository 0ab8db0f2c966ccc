"""What the benchmarks share: a seeded production log with its declaration, range backfills, result files and tables.

Belongs here: synthetic data, driving one location in process, printing. Does not: any bound; each benchmark states its own.
"""

import json
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

PROJECT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
sys.path.insert(0, str(PROJECT))

QUIET = {
    "NML_DISABLE_USAGE_LOGGING": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "DAGSTER_DISABLE_TELEMETRY": "true",
    "MPLBACKEND": "Agg",
}
#: Idle threads of numerical libraries spin, and their CPU seconds would be counted as work.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
os.environ.update({**QUIET, **ONE_THREAD})

if TYPE_CHECKING:
    import dagster as dg

    from resources.policy import MonitoredModel
    from resources.settings import Settings

MODEL = "synthetic"
REFERENCE_START, REFERENCE_CHUNKS = datetime(2022, 1, 1, tzinfo=UTC), 60
ROWS_PER_CHUNK = 200
NUMERIC, CATEGORICAL = [f"x{index}" for index in range(1, 9)], ["region", "device"]

_DECLARATION = f"""\
model: {MODEL}
task: binary_classification
log: {{parquet: log.parquet, time: at, id: row_id, timezone: UTC, prediction: predicted, probability: probability}}
features: {{numeric: [{", ".join(NUMERIC)}], categorical: [{", ".join(CATEGORICAL)}]}}
outcome: {{column: outcome, delay: 7d}}
chunk: 1d
reference: {{start: {REFERENCE_START:%Y-%m-%d}, end: {REFERENCE_START + timedelta(days=REFERENCE_CHUNKS):%Y-%m-%d}}}
"""


def quiet() -> None:
    """Keep third parties' warnings and log lines out of the table."""
    import logging

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="plumbline-benchmark-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_models(folder: Path, n_chunks: int, *, seed: int = 0) -> Path:
    """Write a log of the reference and ``n_chunks`` further days, with predictions and outcomes, and its declaration."""
    import numpy as np
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    n_rows = (REFERENCE_CHUNKS + n_chunks) * ROWS_PER_CHUNK
    step = timedelta(days=1) / ROWS_PER_CHUNK
    numeric = rng.normal(size=(n_rows, len(NUMERIC)))
    frame = pd.DataFrame(numeric, columns=NUMERIC)
    frame["region"] = rng.choice(["north", "south", "east"], n_rows, p=[0.5, 0.3, 0.2])
    frame["device"] = rng.choice(["a", "b"], n_rows)
    probability = 1 / (1 + np.exp(-(numeric @ np.linspace(1.5, 0.1, len(NUMERIC)))))
    frame["at"] = pd.date_range(REFERENCE_START.replace(tzinfo=None), periods=n_rows, freq=step)
    frame["row_id"] = np.arange(n_rows)
    frame["probability"], frame["predicted"] = probability, (probability > 0.5).astype("int64")
    frame["outcome"] = (rng.random(n_rows) < probability).astype("int64")
    frame.to_parquet(folder / "log.parquet", row_group_size=20_000)
    (folder / f"{MODEL}.yaml").write_text(_DECLARATION, encoding="utf-8")
    return folder


def sqlite_instance(folder: Path) -> "dg.DagsterInstance":
    """A Dagster instance on SQLite files in ``folder``, with the event log of the shipped ``dagster.yaml`` and command line."""
    import dagster as dg

    from resources.quiet import settle

    settle()
    folder.mkdir(parents=True, exist_ok=True)
    shipped = {
        "module": "resources.event_log",
        "class": "KeptEngineSqliteEventLogStorage",
        "config": {"base_dir": str(folder / "history" / "runs")},
    }
    return dg.DagsterInstance.local_temp(str(folder), overrides={"event_log_storage": shipped})


def policy_of(settings: "Settings") -> "MonitoredModel":
    """The declared model of a folder written by ``write_models``."""
    from resources.catalogue import load_catalogue

    return load_catalogue(settings.models)[0].policy


def chunk_key(index: int) -> str:
    """Key of the ``index``-th chunk after the reference, from 0."""
    return (REFERENCE_START + timedelta(days=REFERENCE_CHUNKS + index)).strftime("%Y-%m-%d")


def run(defs: "dg.Definitions", instance: "dg.DagsterInstance", purpose: str, chunks: Sequence[str] = ()) -> "dg.ExecuteInProcessResult":
    """Run one job in this process: unpartitioned, for one chunk, or for a range of chunks as a single run."""
    from resources.partitions import range_tags

    job = defs.resolve_job_def(f"{MODEL}__{purpose}")
    tags = range_tags(chunks) if len(chunks) > 1 else {}
    result = job.execute_in_process(
        instance=instance, partition_key=chunks[0] if len(chunks) == 1 else None, tags={**(job.tags or {}), **tags}
    )
    if not result.success:
        raise RuntimeError(f"{purpose} of {list(chunks)[:3]}: got a failed run; expected a green one")
    return result


def step_seconds(instance: "dg.DagsterInstance", run_id: str) -> dict[str, float]:
    """Stage to wall seconds between the start and the end of its step."""
    return {stats.step_key.split("__")[-1]: stats.end_time - stats.start_time for stats in instance.get_run_step_stats(run_id)}


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns."""
    cells = [[f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row] for row in [titles, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(titles))]
    for row in cells:
        print(
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
        )


def conclude(name: str, result: dict[str, Any], is_kept: bool) -> int:
    """Write ``results/<name>.json`` and give the exit code."""
    RESULTS.mkdir(exist_ok=True)
    content = {"benchmark": name, "is_kept": is_kept, "python": platform.python_version(), "cores": os.cpu_count(), **result}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{'kept' if is_kept else 'BROKEN'}: {result['bound']}")
    return 0 if is_kept else 1


__all__ = [
    "MODEL",
    "ONE_THREAD",
    "PROJECT",
    "chunk_key",
    "conclude",
    "median",
    "policy_of",
    "quiet",
    "run",
    "step_seconds",
    "table",
    "temporary_folder",
    "write_models",
]
