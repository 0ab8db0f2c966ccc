"""Environment of third-party libraries: nothing phones home or unpickles, no thread spins, events are stored in batches.

Set inside functions just before such a library is first imported, and by the command line for all its children.
"""

import os

SETTINGS = {
    "NML_DISABLE_USAGE_LOGGING": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DAGSTER_DISABLE_TELEMETRY": "true",
    "DAGSTER_EVENT_BATCH_SIZE": "500",  # off by default; a range of chunks stores thousands of events, each with its own commits
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # a forecaster is read at every chunk
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while waiting make a LightGBM fit crawl on a busy machine
    "OPENBLAS_NUM_THREADS": "1",  # so do those of NumPy and SciPy: matrices are small here, and several runs share a machine
}


def settle() -> None:
    """Set what is not set already; what a person has set stays."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
