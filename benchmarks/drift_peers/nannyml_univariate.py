"""NannyML's UnivariateDriftCalculator: from Parquet to numbers, fitting and storing, or one chunk against a stored fit."""

import io
import logging
import pickle
import warnings
from pathlib import Path

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

import nannyml  # noqa: E402 - its imports warn
import pandas as pd  # noqa: E402
from meter import Meter, task, write_values  # noqa: E402

#: Makes both compute the same numbers; without it NannyML bins from 10,000 reference rows on.
_EXACT = {"kolmogorov_smirnov": {}, "wasserstein": {}, "calculation_method": "exact"}

own = task()
columns = [*own["numeric"], *own["categorical"]]
meter = Meter()


def read(path: str) -> pd.DataFrame:
    with meter.stage("read"):
        return pd.read_parquet(path, columns=["time", *columns])


def fitted() -> nannyml.UnivariateDriftCalculator:
    reference = read(own["reference"])
    with meter.stage("fit"):
        return nannyml.UnivariateDriftCalculator(
            column_names=columns, timestamp_column_name="time", chunk_size=own["chunk_rows"], continuous_methods=own["numeric_methods"],
            categorical_methods=own["categorical_methods"], computation_params=_EXACT if own["is_exact"] else None,
        ).fit(reference)  # fmt: skip


settings = {"mode": "exact" if own["is_exact"] else "default", "chunk_rows": own["chunk_rows"]}
if own["task"] == "store":
    calculator = fitted()
    calculator.result.reference_data = None  # the rows themselves are not needed to calculate, and it is slower with them
    stored = io.BytesIO()
    pickle.dump(calculator, stored)
    Path(own["stored"]).write_bytes(stored.getvalue())
    settings["stored_mb"] = len(stored.getvalue()) / 1e6
else:
    if own["task"] == "stored":
        with meter.stage("load"):
            calculator = pickle.loads(Path(own["stored"]).read_bytes())
    else:
        calculator = fitted()
    analysis = read(own["analysis"])
    with meter.stage("measure"):
        table = calculator.calculate(analysis).filter(period="analysis").to_df()
    values = {
        f"{chunk}|{column}|{method}": float(number)
        for column, method, what in table.columns if what == "value"
        for chunk, number in enumerate(table[column, method, "value"])
    }  # fmt: skip
    write_values(own, values)
    settings["numbers"] = len(values)
meter.report(["nannyml", "pandas", "numpy", "scipy", "pyarrow"], settings)
