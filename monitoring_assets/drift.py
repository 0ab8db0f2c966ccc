"""Did the inputs move? Univariate drift per feature and multivariate drift, against the reference alone.

Belongs here: the drift report and its check. Does not: whether it hurts (``verdict.py``).
Reads: ``prediction_log``, ``reference_profiles``. Writes: ``measurements``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements, plots
from monitoring_assets.measuring import measure_chunks, served_versions, sound_rows
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset
from resources.clock import now
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.vocabulary import Check, Kind, Stage

if TYPE_CHECKING:
    import pandas as pd


def _severity_of(row: object) -> float:
    """How far outside its limit a number lies, in units of the limit; for ranking offenders only."""
    limit = row.upper_limit or 0.0  # type: ignore[attr-defined]
    return float(row.value / limit) if limit else float(row.value)  # type: ignore[attr-defined]


def _chunk_report(policy: MonitoredModel, own: "pd.DataFrame") -> ChunkReport:
    broken = sorted(own[own["breach"]].itertuples(), key=_severity_of, reverse=True)
    moved = sorted({row.subject for row in broken})
    lines = [f"| {row.subject} | {row.method} | {row.value:.4g} | {row.upper_limit:.4g} | {row.n_rows} |" for row in broken[:5]]
    table = "\n".join(["| feature | method | value | upper limit | n |", "|---|---|---|---|---|", *lines])
    text = f"{len(broken)} of {len(own)} drift numbers outside their limits: {', '.join(moved) or 'none'}."
    if broken:
        text += " Drift is not damage: the verdict says whether the model suffers."
    severity = dg.AssetCheckSeverity.WARN if policy.drift.severity == "WARN" else dg.AssetCheckSeverity.ERROR
    check = CheckReport(
        Check.DRIFT,
        not broken,
        text,
        severity,
        {"breaches": len(broken), "drifted_features": len(moved), "five_worst": dg.MetadataValue.md(table) if lines else "none"},
    )
    numbers = {f"{row.method} of {row.subject}": row.value for row in own.itertuples() if row.kind == Kind.MULTIVARIATE_DRIFT}
    return ChunkReport({"drifted_features": len(moved), "drift_breaches": len(broken), **_finite(numbers)}, [check])


def _finite(numbers: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items() if value == value}


def build_drift_report(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Measure drift of each chunk against the reference of the version that served it."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        rows = sound_rows(lake, policy, chunks)
        names = ["univariate", *(["multivariate"] if policy.drift.multivariate and len(policy.features.all) > 1 else [])]
        long = measure_chunks(lake, policy, base, names, rows)
        version = measurements.store(lake, policy, Stage.DRIFT_REPORT, chunks, long, now(policy, lake), served_versions(rows))
        groups = dict(list(long.groupby("chunk")))
        reports = {chunk: _chunk_report(policy, groups.get(chunk, long.iloc[:0])) for chunk in chunks}
        return StageReport(reports, version, {"drift over time": plots.history(lake, policy, chunks[-1], plots.DRIFT)})

    return build_chunk_asset(
        policy,
        Stage.DRIFT_REPORT,
        body,
        deps=[Stage.DATA_QUALITY, Stage.REFERENCE_PROFILE],
        checks={Check.DRIFT: False},
        kinds={"nannyml", "deltalake"},
        description="Covariate drift P(X): every feature by itself, and all together.",
    )
