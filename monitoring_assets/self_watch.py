"""What predictions say without outcomes: how sure the model is of itself, and what they mean for the business.

Belongs here: the assets of a model's uncertainty and of business KPIs, and their checks. Does not: arithmetic, performance.
Reads: ``prediction_log``, ``reference_profiles``. Writes: ``measurements``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements, plots, reference
from monitoring_assets.measures.lines import joined
from monitoring_assets.measuring import served_versions, sound_rows
from monitoring_assets.reference_pieces import KPIS, UNCERTAINTY, Piece
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset
from resources.clock import now
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.vocabulary import Check, Stage

if TYPE_CHECKING:
    import pandas as pd

Measure = Callable[[MonitoredModel, Piece, "pd.DataFrame"], "pd.DataFrame"]


def uncertainty_lines(policy: MonitoredModel, piece: Piece, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Uncertainty of the model on ``rows``; what needs outcomes only where ``y_true`` is among the columns."""
    from monitoring_assets.measures.uncertainty import FittedUncertainty, measure_uncertainty

    return measure_uncertainty(policy, FittedUncertainty.from_plain(piece.plain), rows)


def _kpi_lines(policy: MonitoredModel, piece: Piece, rows: "pd.DataFrame") -> "pd.DataFrame":
    from monitoring_assets.measures import kpi

    fitted = {name: kpi.FittedKpi.from_plain(one) for name, one in piece.plain.items()}
    return kpi.kpi_lines(policy, kpi.declared(policy), fitted, rows)


def measured(lake: Lake, policy: MonitoredModel, base: Path, rows: "pd.DataFrame", name: str, measure: Measure) -> "pd.DataFrame":
    """Measure each chunk of ``rows`` against the piece ``name`` of the version that served it; no line where it could not be fitted."""
    parts = []
    ordered = rows.sort_values("time", kind="stable")
    for version, own in ordered.groupby(ordered["chunk"].map(served_versions(rows))) if len(rows) else ():
        pieces = reference.pieces_of(lake, policy, base, str(version))
        if name in pieces:
            parts.append(measure(policy, pieces[name], own))
    return joined(parts)


def check_of(name: Check, own: "pd.DataFrame", what: str) -> CheckReport:
    """The check of one chunk: breaches with value and limits, all numbers as metadata."""
    broken = own[own["breach"] & own["is_deciding"]]
    said = [
        f"{row.method if row.method != 'kpi' else row.subject} {row.value:.4g} (limits {row.lower_limit:.4g} to {row.upper_limit:.4g}, n = {row.n_rows})"
        for row in broken.itertuples()
    ]
    text = (
        f"{what}: {'; '.join(said)}. Look at the drift report for what moved, and wait for outcomes." if said
        else f"{what}: nothing measured" if own.empty
        else f"{what}: within limits"
    )  # fmt: skip
    return CheckReport(name, broken.empty, text.replace("nan", "–"), dg.AssetCheckSeverity.WARN, numbers_of(own))


def numbers_of(own: "pd.DataFrame") -> dict[str, float]:
    """Every number of a chunk's lines by method, or by subject for KPIs; the UI plots them over time."""
    return {(row.method if row.method != "kpi" else row.subject): float(row.value) for row in own.itertuples() if row.value == row.value}


def _build(
    policy: MonitoredModel,
    base: Path,
    stage: Stage,
    check: Check,
    piece: str,
    measure: Measure,
    what: str,
    description: str,
    picture: plots.Picture,
) -> dg.AssetsDefinition:
    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        rows = sound_rows(lake, policy, chunks)
        long = measured(lake, policy, base, rows, piece, measure)
        version = measurements.store(lake, policy, stage, chunks, long, now(policy, lake), served_versions(rows))
        groups, reports = dict(list(long.groupby("chunk"))), {}
        for chunk in chunks:
            own = groups.get(chunk, long.iloc[:0])
            reports[chunk] = ChunkReport(numbers_of(own), [check_of(check, own, what)])
        return StageReport(reports, version, {"over time": plots.history(lake, policy, chunks[-1], picture)})

    return build_chunk_asset(
        policy, stage, body, deps=[Stage.DATA_QUALITY, Stage.REFERENCE_PROFILE], checks={check: False}, kinds={"deltalake"},
        description=description,
    )  # fmt: skip


def build_model_uncertainty(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Entropy, margin and conformal sets of the predictions, before outcomes arrive."""
    return _build(
        policy, base, Stage.MODEL_UNCERTAINTY, Check.UNCERTAINTY, UNCERTAINTY, uncertainty_lines, "uncertainty of the model",
        "How sure the model is of itself: a shift of confidence alone shows here and nowhere else.", plots.UNCERTAINTY,
    )  # fmt: skip


def build_business_kpi(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """The declared KPIs, beside drift and performance."""
    return _build(
        policy, base, Stage.BUSINESS_KPI, Check.BUSINESS_KPI, KPIS, _kpi_lines, "business KPIs",
        "What the predictions mean for the business: the declared KPIs, with limits from the reference.", plots.KPIS,
    )  # fmt: skip
