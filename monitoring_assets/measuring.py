"""Measure a range of chunks, each against the reference of the version that served it.

Belongs here: grouping chunks by serving version and leaving broken ones out. Does not: the numbers (``measures``).
Reads: ``prediction_log``, ``reference_profiles``, ``measurements``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from monitoring_assets import measurements, reference
from monitoring_assets.measures.lines import joined
from monitoring_assets.reference_pieces import ESTIMATOR
from resources import tables
from resources.lake import Lake
from resources.policy import MonitoredModel

if TYPE_CHECKING:
    import pandas as pd


def sound_rows(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> "pd.DataFrame":
    """Rows of those ``chunks`` that are not broken as data and not below the minimum size."""
    rows = lake.read(policy.model, tables.prediction_log(policy), {"chunk": list(chunks)})
    sizes = rows.groupby("chunk")["prediction_id"].transform("size")
    return rows[~rows["chunk"].isin(measurements.faulted(lake, policy, chunks)) & (sizes >= policy.validation.minimum_rows)]


def served_versions(rows: "pd.DataFrame") -> "pd.Series":
    """Chunk to the version that scored most of its rows; of equals the one of the latest row, then the last by name."""
    counted = rows.groupby(["chunk", "model_version"])["time"].agg(["size", "max"]).reset_index()
    return counted.sort_values(["size", "max", "model_version"], kind="stable").groupby("chunk")["model_version"].last()


def measure_chunks(lake: Lake, policy: MonitoredModel, base: Path, components: Sequence[str], rows: "pd.DataFrame") -> "pd.DataFrame":
    """Measure ``components`` on ``rows`` of whole chunks; a component that could not be fitted gives no line."""
    from monitoring_assets.measures import adaptive, nanny

    frames = []
    for version, own in rows.groupby(rows["chunk"].map(served_versions(rows))):
        for name in components:
            if name == "estimated" and policy.estimator not in nanny.ESTIMATORS:
                piece = reference.pieces_of(lake, policy, base, str(version), ESTIMATOR).get(ESTIMATOR)
                frames += [adaptive.estimate(adaptive.FittedEstimator.from_plain(piece.plain), policy, own)] if piece else []
                continue
            fitted = reference.component(lake, policy, base, str(version), name)
            frames += [nanny.measure(fitted, policy, own)] if fitted is not None else []
    return joined(frames)
