"""Writes the two sides of a comparison as seeded Parquet, a row group at a time.

Belongs here: synthetic columns. Does not: measuring.
"""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from meter import task

_ROWS = 100_000  # of a row group; chunks are whole row groups
_STEP_US = 1_000_000


def _numeric(rng: np.random.Generator, index: int, n_rows: int, drift: float) -> pa.Array:
    """Bell, skewed, rounded, counts, or bell with missing values in turn; every second column drifts a little."""
    kind, shift = index % 5, drift if index % 2 else 0.0
    if kind == 1:
        return pa.array(rng.gamma(2.0, 1.0 + shift, n_rows))
    if kind == 2:
        return pa.array(np.round(rng.normal(50.0 + shift, 10.0, n_rows), 1))
    if kind == 3:
        return pa.array(rng.poisson(20.0 + shift, n_rows).astype("float64"))
    values = rng.normal(shift, 1.0, n_rows)
    return pa.array(values, mask=rng.random(n_rows) < 0.01) if kind == 4 else pa.array(values)


def _categorical(rng: np.random.Generator, index: int, n_rows: int, drift: float) -> pa.Array:
    """Few or many categories with falling shares."""
    names = np.array([f"kind {place}" for place in range((3, 5, 8, 20, 50)[index % 5])])
    shares = 1.0 / np.arange(1, len(names) + 1) ** (1.0 + drift * (index % 2))
    return pa.array(names[rng.choice(len(names), n_rows, p=shares / shares.sum())])


def _write(path: str, side: int, asked: dict) -> None:
    names = [f"x{index}" for index in range(asked["numeric"])] + [f"c{index}" for index in range(asked["categorical"])]
    kinds = [pa.float64()] * asked["numeric"] + [pa.string()] * asked["categorical"]
    schema = pa.schema([("time", pa.timestamp("us")), *zip(names, kinds, strict=True)])
    start = int(datetime(2020 + 2 * side, 1, 1).timestamp()) * 1_000_000
    with pq.ParquetWriter(path, schema, use_dictionary=names[asked["numeric"] :]) as writer:
        for first in range(0, asked["rows"], _ROWS):
            count = min(_ROWS, asked["rows"] - first)
            rng = np.random.default_rng([asked["seed"], side, first])
            times = pa.array(start + (first + np.arange(count)) * _STEP_US, pa.timestamp("us"))
            columns = [_numeric(rng, index, count, 0.05 * side) for index in range(asked["numeric"])]
            columns += [_categorical(rng, index, count, 0.05 * side) for index in range(asked["categorical"])]
            writer.write_table(pa.table([times, *columns], schema=schema))


if __name__ == "__main__":
    own = task()
    for number, name in enumerate(("reference", "analysis")):
        _write(own[name], number, own)
