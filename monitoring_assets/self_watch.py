"""What predictions say without outcomes: how sure the model is of itself, and what they mean for the business.

Belongs here: the assets of a model's uncertainty and of business KPIs, and their checks. Does not: arithmetic, performance.
Reads: ``prediction_log``, ``reference_profiles``. Writes: ``measurements``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements, plots, reference
from monitoring_assets.measures.kpi import KPI
from monitoring_assets.measures.lines import joined
from monitoring_assets.measures.uncertainty import SUBJECT
from monitoring_assets.measuring import served_versions, sound_rows
from monitoring_assets.reference_pieces import KPIS, PREDICTIONS, UNCERTAINTY, Piece
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset
from resources.clock import now
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.vocabulary import Check, Kind, Stage

if TYPE_CHECKING:
    import pandas as pd

Measure = Callable[[MonitoredModel, Piece, "pd.DataFrame"], "pd.DataFrame"]


def uncertainty_lines(policy: MonitoredModel, piece: Piece, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Uncertainty of the model on ``rows``; what needs outcomes only where ``y_true`` is among the columns."""
    from monitoring_assets.measures.uncertainty import FittedUncertainty, measure_uncertainty

    return measure_uncertainty(policy, FittedUncertainty.from_plain(piece.plain), rows)


def spread_lines(policy: MonitoredModel, piece: Piece, rows: "pd.DataFrame") -> "pd.DataFrame":
    """How the predictions of ``rows`` spread, chunk by chunk."""
    from monitoring_assets.measures.prediction_drift import FittedPredictions, prediction_lines

    return prediction_lines(policy, FittedPredictions.from_plain(dict(piece.plain), piece.arrays), rows)


def _kpi_lines(policy: MonitoredModel, piece: Piece, rows: "pd.DataFrame") -> "pd.DataFrame":
    from monitoring_assets.measures import kpi

    fitted = {name: kpi.FittedKpi.from_plain(one) for name, one in piece.plain.items()}
    return kpi.kpi_lines(policy, kpi.declared(policy), fitted, rows)


def measured(lake: Lake, policy: MonitoredModel, base: Path, rows: "pd.DataFrame", name: str, measure: Measure) -> "pd.DataFrame":
    """Measure each chunk of ``rows`` against the piece ``name`` of the version that served it; no line where it could not be fitted."""
    parts = []
    ordered = rows.sort_values("time", kind="stable")
    for version, own in ordered.groupby(ordered["chunk"].map(served_versions(rows))) if len(rows) else ():
        pieces = reference.pieces_of(lake, policy, base, str(version), name)
        if name in pieces:
            parts.append(measure(policy, pieces[name], own))
    return joined(parts)


def check_of(name: Check, own: "pd.DataFrame", what: str) -> CheckReport:
    """The check of one chunk: breaches with value and limits, all numbers as metadata."""
    broken = own[own["breach"] & own["is_deciding"]]
    said = [
        f"{_name(row.method, row.subject)} {row.value:.4g} (limits {row.lower_limit:.4g} to {row.upper_limit:.4g}, n = {row.n_rows})"
        for row in broken.itertuples()
    ]
    text = (
        f"{what}: {'; '.join(said)}. Look at the drift report for what moved, and wait for outcomes." if said
        else f"{what}: nothing measured" if own.empty
        else f"{what}: within limits"
    )  # fmt: skip
    return CheckReport(name, broken.empty, text.replace("nan", "–"), dg.AssetCheckSeverity.WARN, numbers_of(own))


def numbers_of(own: "pd.DataFrame") -> dict[str, float]:
    """Every number of a chunk's lines by its name; the UI plots them over time."""
    return {_name(row.method, row.subject): float(row.value) for row in own.itertuples() if row.value == row.value}


def _name(method: str, subject: str) -> str:
    """What a number is called in the UI: a KPI by its own name, what is said of all predictions by the method."""
    return subject if method == KPI else method if subject == SUBJECT else f"{method} of {subject}"


@dataclass(frozen=True)
class _Watched:
    """One thing an asset measures of every chunk: the piece it is measured against, and the check that shows it."""

    piece: str
    measure: Measure
    check: Check
    kind: Kind
    what: str


def _build(
    policy: MonitoredModel, base: Path, stage: Stage, watched: Sequence[_Watched], picture: plots.Picture, description: str
) -> dg.AssetsDefinition:
    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        rows = sound_rows(lake, policy, chunks)
        long = joined([measured(lake, policy, base, rows, one.piece, one.measure) for one in watched])
        version = measurements.store(lake, policy, stage, chunks, long, now(policy, lake), served_versions(rows))
        groups, reports = dict(list(long.groupby("chunk"))), {}
        for chunk in chunks:
            own = groups.get(chunk, long.iloc[:0])
            checks = [check_of(one.check, own[own["kind"] == one.kind], one.what) for one in watched]
            reports[chunk] = ChunkReport(numbers_of(own), checks)
        return StageReport(reports, version, {"over time": plots.history(lake, policy, chunks[-1], picture)})

    return build_chunk_asset(
        policy, stage, body, deps=[Stage.DATA_QUALITY, Stage.REFERENCE_PROFILE], checks={one.check: False for one in watched},
        kinds={"deltalake"}, description=description,
    )  # fmt: skip


def build_model_uncertainty(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Entropy, margin and conformal sets of the predictions, and how they spread, before outcomes arrive."""
    watched = [
        _Watched(UNCERTAINTY, uncertainty_lines, Check.UNCERTAINTY, Kind.UNCERTAINTY, "uncertainty of the model"),
        _Watched(PREDICTIONS, spread_lines, Check.PREDICTION_DRIFT, Kind.PREDICTION_DRIFT, "spread of the predictions"),
    ]
    return _build(
        policy, base, Stage.MODEL_UNCERTAINTY, watched, plots.UNCERTAINTY,
        "How sure the model is of itself, and how its predictions spread: a shift of confidence alone shows here and nowhere else.",
    )  # fmt: skip


def build_business_kpi(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """The declared KPIs, beside drift and performance."""
    return _build(
        policy, base, Stage.BUSINESS_KPI, [_Watched(KPIS, _kpi_lines, Check.BUSINESS_KPI, Kind.BUSINESS_KPI, "business KPIs")], plots.KPIS,
        "What the predictions mean for the business: the declared KPIs, with limits from the reference.",
    )  # fmt: skip
