"""How close do estimates made without outcomes come to the performance realized later, beside NannyML's on the same data?

Classification: NannyML's bundled US census employment data (Massachusetts; reference 2015, analysis 2016 to 2018), chunks of
2,000 rows. Every estimator is fitted on the reference and estimates every analysis chunk; outcomes of the analysis rows are
read once, to report. The error of a perfect estimate is not 0: it is what the realized metric strays by chance, which the
table tells as `chance`: the mean absolute error if outcomes were drawn from the probabilities that `m_cbpe` gives each row.

Regression: NannyML's bundled car prices; its own DLE, as the platform runs it, in ten analysis chunks.

    python benchmarks/estimates.py
"""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from importlib.metadata import version
from io import StringIO
from typing import TYPE_CHECKING

from common import conclude, quiet, table

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import MonitoredModel

ROWS = 2_000  # of a census chunk
METRICS = ("roc_auc", "f1", "accuracy")
#: The estimator that has to keep all three bounds, and the bounds: mean absolute error over the chunks.
DECLARED = "pape"
BOUNDS = {"roc_auc": 0.0053, "f1": 0.0070, "accuracy": 0.0067}
RMSE_BOUND = 13.6
#: Census chunks have no calendar; each becomes a day of its own.
_START, _SPLIT, _END = "2024-01-01", "2024-02-05", "2025-01-01"
_COLUMNS = {"prediction": "y_pred", "predicted_probability": "y_pred_proba", "employed": "y_true"}


def declaration(task: str, numeric: list[str], categorical: list[str], metrics: list[str], **reference: str) -> "MonitoredModel":
    """A policy for data without a file."""
    from resources.policy import MonitoredModel

    return MonitoredModel.model_validate({
        "model": "benchmark", "task": task, "log": {"parquet": "log.parquet", "time": "time", "id": "id"},
        "features": {"numeric": numeric, "categorical": categorical}, "outcome": {"column": "y"}, "reference": reference,
        "performance": {"metrics": metrics}, "chunk": "1d",
    })  # fmt: skip


def census() -> "tuple[MonitoredModel, pd.DataFrame, pd.DataFrame]":
    """Policy, reference and analysis rows, a chunk a day."""
    import nannyml
    import numpy as np
    import pandas as pd

    reference, analysis, outcomes = nannyml.load_us_census_ma_employment_data()
    analysis = analysis.merge(outcomes, on="id", validate="one_to_one")
    features = [name for name in reference.columns if name not in {"id", "year", *_COLUMNS}]
    categorical = [name for name in features if name != "AGEP"]
    policy = declaration("binary_classification", ["AGEP"], categorical, list(METRICS), start=_START, end=_SPLIT)
    frames = []
    for frame, first in ((reference, _START), (analysis, _SPLIT)):
        days = pd.to_timedelta(np.arange(len(frame)) // ROWS, unit="D")
        within = pd.to_timedelta(np.arange(len(frame)) % ROWS, unit="s")
        plain = frame.rename(columns=_COLUMNS).assign(time=pd.Timestamp(first, tz="UTC") + days + within)
        frames.append(plain.astype(dict.fromkeys(categorical, object)))
    return policy, *frames


def realized(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Realized metrics by scikit-learn, one row per chunk."""
    import pandas as pd
    from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

    found = {}
    for chunk, own in rows.groupby(rows["time"].dt.strftime("%Y-%m-%d")):
        labels = own["y_true"], own["y_pred"]
        found[chunk] = roc_auc_score(own["y_true"], own["y_pred_proba"]), f1_score(*labels), accuracy_score(*labels)
    return pd.DataFrame.from_dict(found, orient="index", columns=list(METRICS))


def wide(lines: "pd.DataFrame", value: str = "value") -> "pd.DataFrame":
    """Lines as one row per chunk and one column per metric."""
    return lines.pivot(index="chunk", columns="subject", values=value)[list(METRICS)]


def by_nannyml(policy: "MonitoredModel", reference: "pd.DataFrame", rows: "pd.DataFrame") -> "pd.DataFrame":
    """NannyML's own CBPE, chunks by size as its documentation does it."""
    import nannyml

    estimator = nannyml.CBPE(
        problem_type="classification_binary", y_true="y_true", y_pred="y_pred", y_pred_proba="y_pred_proba", metrics=list(METRICS),
        chunk_size=ROWS,
    )  # fmt: skip
    with redirect_stderr(StringIO()):
        frames = [frame.drop(columns="time") for frame in (reference, rows.drop(columns="y_true"))]
        result = estimator.fit(frames[0]).estimate(frames[1]).filter(period="analysis").to_df()
    found = result[[(metric, "value") for metric in METRICS]].astype(float).set_axis(list(METRICS), axis=1)
    return found.set_axis(sorted(set(rows["time"].dt.strftime("%Y-%m-%d"))), axis=0)


def by_constant(policy: "MonitoredModel", reference: "pd.DataFrame", rows: "pd.DataFrame") -> "pd.DataFrame":
    """The performance of the whole reference, in every chunk."""
    import pandas as pd

    whole = realized(reference.assign(time=reference["time"].iloc[0])).iloc[0]
    chunks = sorted(set(rows["time"].dt.strftime("%Y-%m-%d")))
    return pd.DataFrame([whole] * len(chunks), index=chunks)


def by_platform(name: str) -> "Callable[[MonitoredModel, pd.DataFrame, pd.DataFrame], pd.DataFrame]":
    """One of the platform's estimators."""
    from monitoring_assets.measures.adaptive import estimate, fit

    return lambda policy, reference, rows: wide(estimate(fit(name, policy, reference), policy, rows.drop(columns="y_true")))


def chance(policy: "MonitoredModel", reference: "pd.DataFrame", rows: "pd.DataFrame") -> "np.ndarray":
    """Mean absolute error of a perfect estimate: that of a normal number with the standard error ``m_cbpe`` states."""
    import numpy as np

    from monitoring_assets.measures.adaptive import estimate, fit

    errors = wide(estimate(fit("m_cbpe", policy, reference), policy, rows.drop(columns="y_true")), "standard_error")
    return errors.mean().to_numpy() * np.sqrt(2 / np.pi)


def classification() -> dict[str, dict[str, float]]:
    """Estimator to mean absolute error by metric and the CPU seconds of fitting and estimating."""
    policy, reference, rows = census()
    truth = realized(rows)
    estimators = {"NannyML CBPE": by_nannyml, "constant": by_constant, "m_cbpe": by_platform("m_cbpe"), "pape": by_platform("pape")}
    found = {}
    for name, estimator in estimators.items():
        started = time.process_time()
        misses = estimator(policy, reference, rows) - truth
        cpu = time.process_time() - started
        found[name] = {**misses.abs().mean().to_dict(), **{f"bias_{metric}": misses[metric].mean() for metric in METRICS}, "cpu_s": cpu}
        found[name]["chunks"] = len(misses.dropna())
    found["chance"] = dict(zip(METRICS, chance(policy, reference, rows).tolist(), strict=True))
    return found


def regression() -> dict[str, float]:
    """Mean absolute error of DLE's RMSE over ten chunks of 6,000 car prices."""
    import nannyml
    import numpy as np
    import pandas as pd

    from monitoring_assets.measures import nanny

    reference, analysis, outcomes = nannyml.load_synthetic_car_price_dataset()
    analysis = analysis.merge(outcomes, on="id", validate="one_to_one")
    numeric, categorical = ["car_age", "km_driven", "price_new", "accident_count", "door_count"], ["fuel", "transmission"]
    policy = declaration("regression", numeric, categorical, ["rmse"], start=_START, end=_SPLIT)
    size = len(analysis) // 10
    frames = []
    for frame, first in ((reference, _START), (analysis, _SPLIT)):
        days, within = (pd.to_timedelta(part, unit=unit) for part, unit in zip(np.divmod(np.arange(len(frame)), size), "Ds", strict=True))
        frames.append(frame.assign(time=pd.Timestamp(first, tz="UTC") + days + within))
    started = time.process_time()
    lines = nanny.measure(nanny.fit("estimated", policy, frames[0]), policy, frames[1].drop(columns="y_true"))
    cpu = time.process_time() - started
    squares = (frames[1]["y_true"] - frames[1]["y_pred"]) ** 2
    truth = np.sqrt(squares.groupby(frames[1]["time"].dt.strftime("%Y-%m-%d")).mean())
    misses = lines.set_index("chunk")["value"] - truth
    return {"rmse": float(misses.abs().mean()), "chunks": len(misses), "cpu_s": cpu}


def show(found: Mapping[str, Mapping[str, float]], cars: Mapping[str, float]) -> None:
    """Print both tables."""
    rows = [
        [name, *(f"{own[metric]:.5f}" for metric in METRICS), f"{own['cpu_s']:.0f}" if "cpu_s" in own else ""]
        for name, own in found.items()
    ]
    rows.append([f"bound for {DECLARED}", *(f"{BOUNDS[metric]:.5f}" for metric in METRICS), ""])
    table(["mean absolute error, US census", *METRICS, "CPU s"], rows)
    print()
    table(
        ["mean absolute error, car prices", "rmse", "CPU s"],
        [["NannyML DLE", f"{cars['rmse']:.2f}", f"{cars['cpu_s']:.0f}"], ["bound", f"{RMSE_BOUND:.2f}", ""]],
    )


def main() -> int:
    """Measure, print, write the result."""
    quiet()
    found, cars = classification(), regression()
    show(found, cars)
    is_kept = all(found[DECLARED][metric] <= bound for metric, bound in BOUNDS.items()) and cars["rmse"] <= RMSE_BOUND
    names = ("nannyml", "lightgbm", "scikit-learn", "numpy", "pandas")
    bound = ", ".join(f"{metric} {bound}" for metric, bound in BOUNDS.items())
    result = {
        "bound": f"mean absolute error of {DECLARED} at most: {bound}; of DLE's RMSE at most {RMSE_BOUND}",
        "bounds": {**BOUNDS, "rmse": RMSE_BOUND}, "declared": DECLARED, "rows_per_chunk": ROWS,
        "classification": found, "regression": {"NannyML DLE": cars}, "versions": {name: version(name) for name in names},
    }  # fmt: skip
    return conclude("estimates", result, is_kept)


if __name__ == "__main__":
    sys.exit(main())
