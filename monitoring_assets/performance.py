"""Does the model still perform? Estimated from inputs and confidence before outcomes arrive.

Belongs here: estimated performance, and how performance of a chunk is reported. Does not: outcomes (``realized_performance.py``), the verdict.
Reads: ``prediction_log``, ``reference_profiles``. Writes: ``measurements``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements, plots, trust
from monitoring_assets.measures.judge import is_harmful_breach
from monitoring_assets.measures.lines import joined
from monitoring_assets.measuring import measure_chunks, served_versions, sound_rows
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset
from resources.clock import now
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.vocabulary import Check, Kind, Stage

if TYPE_CHECKING:
    import pandas as pd


def chunk_report(policy: MonitoredModel, own: "pd.DataFrame", name: Check, word: str, absent: str) -> ChunkReport:
    """Numbers and the check of one chunk; ``absent`` says why there is no number."""
    if own.empty:
        return ChunkReport({}, [CheckReport(name, True, absent)])
    harmed = [row for row in own.itertuples() if is_harmful_breach(policy, row.subject, row.value, row.lower_limit, row.upper_limit)]
    said = [f"{row.subject} {row.value:.3f} (limits {_show(row.lower_limit)} to {_show(row.upper_limit)})" for row in own.itertuples()]
    text = f"{word}: {', '.join(said)}; n = {int(own['n_rows'].max())}."
    if harmed:
        text += " The verdict names the kind of harm; the trigger acts on it."
    numbers = {f"{word} {row.subject}": float(row.value) for row in own.itertuples() if row.value == row.value}
    errors = {
        f"{word} {row.subject} standard error": float(row.standard_error)
        for row in own.itertuples()
        if row.standard_error == row.standard_error
    }
    return ChunkReport({**numbers, **errors}, [CheckReport(name, not harmed, text, metadata=numbers)])


def _show(limit: float) -> str:
    return "none" if limit != limit else f"{limit:.3f}"


def build_estimated_performance(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Estimate performance before outcomes arrive: CBPE for classifiers, DLE for regressors."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        rows = sound_rows(lake, policy, chunks)
        versions = served_versions(rows)
        long = joined([measure_chunks(lake, policy, base, ["estimated"], rows), trust.assumption_lines(lake, policy, base, rows)])
        version = measurements.store(lake, policy, Stage.ESTIMATED_PERFORMANCE, chunks, long, now(policy, lake), versions)
        long = joined([long, trust.known_agreement(lake, policy, chunks, versions)])
        groups = dict(list(long.groupby("chunk")))
        absent = "no estimate: the chunk is broken or too small, or the reference holds too few labelled rows (some of every class)"
        reports = {}
        for chunk in chunks:
            own = groups.get(chunk, long.iloc[:0])
            report = chunk_report(policy, own[own["kind"] == Kind.ESTIMATED_PERFORMANCE], Check.ESTIMATED_PERFORMANCE, "estimated", absent)
            trusted = trust.check(own[own["kind"] == Kind.ESTIMATE_TRUST])
            reports[chunk] = ChunkReport({**report.metadata, **trusted.metadata}, [*report.checks, trusted])
        return StageReport(reports, version, {"performance over time": plots.history(lake, policy, chunks[-1], plots.PERFORMANCE)})

    return build_chunk_asset(
        policy,
        Stage.ESTIMATED_PERFORMANCE,
        body,
        deps=[Stage.DATA_QUALITY, Stage.REFERENCE_PROFILE],
        checks={Check.ESTIMATED_PERFORMANCE: False, Check.ESTIMATE_TRUSTED: False},
        kinds={"nannyml", "deltalake"},
        description=f"Performance without outcomes, by {policy.estimator.upper().replace('_', '-')}, and whether that is to be believed; blind to concept drift.",
    )
