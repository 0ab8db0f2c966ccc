"""Evidently's DataDriftPreset from Parquet to numbers; runs in Evidently's own environment."""

import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
from meter import Meter, task, write_values

own = task()
meter = Meter()
with meter.stage("read"):
    frames = [pd.read_parquet(own[side], columns=own["numeric"]) for side in ("reference", "analysis")]
with meter.stage("drift"):
    definition = DataDefinition(numerical_columns=own["numeric"])
    reference, analysis = (Dataset.from_pandas(frame, data_definition=definition) for frame in frames)
    presets = [DataDriftPreset(num_method=method) if method else DataDriftPreset() for method in own["methods"]]
    found = Report(presets).run(analysis, reference).dict()
values = {
    f"0|{one['config']['column']}|{one['config']['method']}": float(one["value"]) for one in found["metrics"] if "column" in one["config"]
}
write_values(own, values)
meter.report(
    ["evidently", "pandas", "numpy", "scipy", "scikit-learn", "pyarrow"],
    {"presets": [f"num_method={method}" if method else "default" for method in own["methods"]], "numbers": len(values)},
)
