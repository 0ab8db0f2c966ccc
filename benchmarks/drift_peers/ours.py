"""Plumbline's univariate methods, a column at a time: from Parquet to numbers, or one chunk against stored summaries.

Belongs here: calling the platform's functions the way its assets do. Does not: any statistics.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.signal
import scipy.spatial.distance
import scipy.stats  # noqa: F401
from meter import Meter, task, write_values

from monitoring_assets.measures.distribution import pack, unpack
from monitoring_assets.measures.lines import ALL
from monitoring_assets.measures.univariate import FittedColumn, FrameRows, fit_values, measure_columns
from monitoring_assets.pushdown import LARGE, DuckRows
from resources.policy import MonitoredModel

pa.set_memory_pool(pa.system_memory_pool())  # gives memory back once a column is read
own = task()
columns = [*own["numeric"], *own["categorical"]]
policy = MonitoredModel.model_validate({
    "model": "benchmark", "task": "regression", "log": {"parquet": "log.parquet", "time": "time", "id": "id", "prediction": "p"},
    "features": {"numeric": own["numeric"], "categorical": own["categorical"]}, "outcome": {"column": "y"},
    "reference": {"start": "2020-01-01", "end": "2021-01-01"},
    "drift": {
        "numeric": own["numeric_methods"], "categorical": own["categorical_methods"], "multivariate": [], "outliers": 0,
        **({"limit": own["limit"]} if "limit" in own else {}),
    },
})  # fmt: skip
engine = "DuckDB" if own["chunk_rows"] >= LARGE else "frame"
meter = Meter()


def column_of(path: str, name: str) -> "np.ndarray | pd.Series":
    """One column in the file's order, which is that of time; texts stay a series."""
    with meter.stage("read"), pq.ParquetFile(path, pre_buffer=False) as file:
        if name in own["categorical"]:
            return file.read(columns=[name], use_threads=False).column(name).to_pandas()
        values, at = np.empty(file.metadata.num_rows), 0
        for batch in file.iter_batches(100_000, columns=[name], use_threads=False):
            values[at : at + batch.num_rows] = batch.column(0).to_numpy(zero_copy_only=False)
            at += batch.num_rows
        return values


def fitted(name: str) -> FittedColumn:
    values = column_of(own["reference"], name)
    with meter.stage("fit"):
        return fit_values(policy, values, name=name, segment=ALL, usual=own["chunk_rows"])


def chunk_frames() -> Iterator[FrameRows]:
    with meter.stage("read"):
        file = pq.ParquetFile(own["analysis"])
        batches = file.iter_batches(own["chunk_rows"], columns=["time", *columns], use_threads=False)
    while True:
        with meter.stage("read"):
            batch = next(batches, None)
            frame = None if batch is None else batch.to_pandas()
        if frame is None:
            return
        yield FrameRows(frame)


def measured(fits: list[FittedColumn], rows: "FrameRows | DuckRows", chunk: int) -> dict[str, float]:
    with meter.stage("measure"):
        found, _ = measure_columns(policy, fits, rows)
    return {f"{chunk}|{one.subject}|{one.method}": one.number.value for one in found}


def duck_rows() -> DuckRows:
    with meter.stage("read"):
        connection = duckdb.connect(config={"threads": 1, "memory_limit": "150MB"})
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"CREATE VIEW analysis AS SELECT * FROM read_parquet('{own['analysis']}')")
    return DuckRows(connection, "analysis")


def store(column: FittedColumn) -> None:
    """Keep a fitted column as bytes only: one file per part of its summary."""
    with meter.stage("store"):
        folder = Path(own["stored"]) / column.subject
        folder.mkdir(parents=True)
        for index, piece in enumerate(pack(column.plain())):
            (folder / f"{index:06}").write_bytes(piece)
        (folder / "plain.json").write_text(json.dumps(column.as_plain()), encoding="utf-8")


def stored(name: str) -> FittedColumn:
    with meter.stage("load"):
        folder = Path(own["stored"]) / name
        summary = unpack([path.read_bytes() for path in sorted(folder.glob("[0-9]*"))])
        return FittedColumn.from_plain(json.loads((folder / "plain.json").read_text(encoding="utf-8")), {"": summary})


def main() -> None:
    values: dict[str, float] = {}
    if own["task"] in ("store", "column by column"):
        for name in columns:
            store(fitted(name))
    if own["task"] == "store":
        pass
    elif own["task"] == "scratch" and engine == "frame":
        fits = [fitted(name) for name in columns]
        for chunk, rows in enumerate(chunk_frames()):
            values |= measured(fits, rows, chunk)
    elif own["task"] == "stored":
        fits = [stored(name) for name in columns]
        for rows in chunk_frames():
            values |= measured(fits, rows, 0)
    else:
        rows = duck_rows()
        for name in columns:
            values |= measured([stored(name) if own["task"] == "column by column" else fitted(name)], rows, 0)
    write_values(own, values)
    meter.report(
        ["duckdb", "pandas", "numpy", "scipy", "pyarrow"],
        {"engine": engine, "chunk_rows": own["chunk_rows"], "numbers": len(values), "limit": policy.drift.limit.rule},
    )


if __name__ == "__main__":
    main()
