"""Rows of the ``measurements`` table: finishing, storing, reading, which chunks are broken as data, and what weighs a feature.

Reads and writes: ``measurements``. Reads: ``feature_importances``.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import FEATURE_IMPORTANCES, MEASUREMENTS
from resources.vocabulary import Kind, Stage

if TYPE_CHECKING:
    import pandas as pd


def store(
    lake: Lake,
    policy: MonitoredModel,
    stage: Stage,
    chunks: Sequence[str],
    long: "pd.DataFrame",
    known_at: datetime,
    versions: "pd.Series | None" = None,
) -> str:
    """Replace what ``stage`` measured on ``chunks`` and return the data version.

    Args:
        long: rows of ``measures``: ``chunk, kind, method, subject, value, standard_error, n_rows, limits, breach``.
        known_at: the model's present, UTC.
        versions: chunk to model version; a chunk's reference is that of the version that served it.
    """
    import pandas as pd

    rows = long.copy()
    rows["stage"] = str(stage)
    rows["chunk_start"] = pd.to_datetime([policy.cadence.start(chunk) for chunk in rows["chunk"]], utc=True).astype("datetime64[us, UTC]")
    rows["chunk_end"] = pd.to_datetime([policy.cadence.end(chunk) for chunk in rows["chunk"]], utc=True).astype("datetime64[us, UTC]")
    served = rows["chunk"].map(versions) if versions is not None else None
    rows["model_version"] = served
    rows["reference_version"] = served
    rows["known_at"] = pd.Timestamp(known_at)
    return lake.replace(policy.model, MEASUREMENTS, rows, {"chunk": list(chunks), "stage": str(stage)})


def read(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> "pd.DataFrame":
    """Everything measured on ``chunks``, by whatever stage."""
    rows = lake.read(policy.model, MEASUREMENTS, {"chunk": list(chunks)}) if chunks else lake.read(policy.model, MEASUREMENTS)
    # rows of an older release say nothing of segments and seasons: they were of all rows against the reference, and decided
    old = {"segment": "all", "compared_with": "reference", "is_deciding": True, "reason": ""}
    return rows.fillna(old).astype({"is_deciding": "bool"}) if len(rows) and rows["is_deciding"].isna().any() else rows


def faulted(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> set[str]:
    """Those of ``chunks`` whose data is broken; nothing is measured on them until it is repaired."""
    where = {"chunk": list(chunks), "stage": [str(Stage.PREDICTION_LOG), str(Stage.DATA_QUALITY)]}
    rows = lake.read(policy.model, MEASUREMENTS, where)
    return set(rows.loc[rows["breach"] & rows["is_deciding"].fillna(True).astype(bool) & (rows["kind"] == Kind.DATA_QUALITY), "chunk"])


def importances(policy: MonitoredModel, lake: Lake, rows: "pd.DataFrame") -> Callable[["pd.DataFrame"], Mapping[str, float]]:
    """Importance of features by measurements of a chunk: as declared, else of the version that served it; empty where neither is known.

    The importances of every version in ``rows`` are read once.
    """
    versions = [] if policy.importance else sorted(map(str, rows["model_version"].dropna().unique()))
    known = lake.read(policy.model, FEATURE_IMPORTANCES, {"model_version": versions}) if versions else None

    def of(own: "pd.DataFrame") -> Mapping[str, float]:
        if known is None:
            return policy.importance
        served = known[known["model_version"].isin(own["model_version"].dropna().unique())]
        return {str(row.feature): float(row.importance) for row in served.itertuples()}

    return of
