"""What was it, and does it hurt? One verdict per chunk, which the training location's trigger acts on.

Belongs here: writing verdicts and the ``no_harm`` check. Does not: the rule (``measures/judge.py``), acting on it.
Reads: ``measurements``. Writes: ``verdicts``, ``verdict_vintages``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import diagnosis, measurements, trust
from monitoring_assets.jobs import has_stage
from monitoring_assets.measures.judge import Judgement, judge
from monitoring_assets.measuring import served_versions
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset, report_checks
from resources import tables
from resources.clock import now
from resources.lake import Lake
from resources.names import key
from resources.policy import MonitoredModel
from resources.rollout_log import serving_version
from resources.vintages import append_vintages, digest_of, told
from resources.vocabulary import EXTERNAL, HARMLESS, Check, Stage, Verdict

if TYPE_CHECKING:
    import pandas as pd


_JUDGED = (
    Stage.DATA_QUALITY, Stage.DRIFT_REPORT, Stage.ESTIMATED_PERFORMANCE, Stage.MODEL_UNCERTAINTY, Stage.BUSINESS_KPI, Stage.REALIZED_PERFORMANCE,
    Stage.DIAGNOSIS,
)  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """Judgement and ranked suspects by chunk, the measurements they rest on, and the data version of the verdicts written."""

    judgements: dict[str, Judgement]
    suspects: dict[str, list[str]]
    measurements: "pd.DataFrame"
    version: str


def write_verdicts(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> Judged:
    """Judge ``chunks`` on everything measured so far and replace their verdicts."""
    import pandas as pd

    rows = measurements.read(lake, policy, chunks)
    served = rows.dropna(subset=["model_version"]).groupby("chunk")["model_version"].last()
    agreement = trust.known_agreement(lake, policy, chunks, served.to_dict())
    groups = dict(list(pd.concat([rows, agreement]).groupby("chunk"))) if len(agreement) else dict(list(rows.groupby("chunk")))
    importance_of = measurements.importances(policy, lake, rows)
    seen = {chunk: groups.get(chunk, rows.iloc[:0]) for chunk in chunks}
    judgements = {chunk: judge(policy, own) for chunk, own in seen.items()}
    suspects = {chunk: diagnosis.suspects_of(policy, own, importance_of(own)) for chunk, own in seen.items()}
    unmeasured = [chunk for chunk in chunks if chunk not in served.index]
    versions = served_versions(lake.read(policy.model, tables.prediction_log(policy), {"chunk": unmeasured})) if unmeasured else {}
    serving = serving_version(lake, policy) or EXTERNAL
    frame = pd.DataFrame({
        "chunk": list(judgements),
        "verdict": [str(one.verdict) for one in judgements.values()],
        "confidence": [one.confidence for one in judgements.values()],
        "evidence": ["\n".join(one.evidence) for one in judgements.values()],
        "suspects": ["\n".join(suspects[chunk]) for chunk in judgements],
        "recovery": [one.recovery for one in judgements.values()],
        "model_version": [served.get(chunk, versions.get(chunk, serving)) for chunk in judgements],
        "is_realized": [one.is_realized for one in judgements.values()],
        "known_at": pd.Timestamp(now(policy, lake)),
    })  # fmt: skip
    frame["measured"] = [told(own) for own in seen.values()]
    frame["n_rows"] = [int(own["n_rows"].max()) if len(own) else 0 for own in seen.values()]
    frame["digest"] = digest_of(frame)
    append_vintages(lake, policy, frame)
    version = lake.replace(policy.model, tables.VERDICTS, frame[list(tables.VERDICTS.columns)], {"chunk": list(chunks)})
    return Judged(judgements, suspects, rows, version)


def _check(judgement: Judgement, suspects: Sequence[str]) -> CheckReport:
    severity = dg.AssetCheckSeverity.WARN if judgement.verdict is Verdict.UNDECIDED else dg.AssetCheckSeverity.ERROR
    basis = "realized" if judgement.is_realized else "estimated"
    text = f"{judgement.verdict} (confidence {judgement.confidence:.1f}, on {basis} performance). {judgement.recovery}"
    metadata = {
        "verdict": str(judgement.verdict),
        "confidence": judgement.confidence,
        "evidence": dg.MetadataValue.md("\n".join(f"- `{item}`" for item in judgement.evidence) or "none"),
        "suspects": dg.MetadataValue.md("\n".join(f"1. {item}" for item in suspects) or "none"),
    }
    return CheckReport(Check.NO_HARM, judgement.verdict in HARMLESS, text, severity, metadata)


def conclude_data_fault(context: dg.AssetExecutionContext, lake: Lake, policy: MonitoredModel, chunk: str) -> None:
    """Write the verdict of a chunk whose run is about to be blocked: the verdict step will not be reached."""
    judged = write_verdicts(lake, policy, [chunk])
    report_checks(context, key(policy, Stage.VERDICT), [(chunk, _check(judged.judgements[chunk], judged.suspects[chunk]))])


def _evidence_table(rows: "pd.DataFrame") -> str:
    ranked = rows.sort_values(["breach", "kind", "subject"], ascending=[False, True, True]).head(25)
    lines = [
        f"| {'**breach**' if row.breach else 'within'} | {row.kind} | {row.method} | {row.subject} | {row.value:.4g} | {row.lower_limit:.4g} | {row.upper_limit:.4g} | {row.n_rows} |"
        for row in ranked.itertuples()
    ]
    return "\n".join(
        ["| limit | kind | method | subject | value | lower | upper | n |", "|---|---|---|---|---|---|---|---|", *lines]
    ).replace("nan", "–")


def build_verdict(policy: MonitoredModel) -> dg.AssetsDefinition:
    """Judge each chunk on all its measurements."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        judged = write_verdicts(lake, policy, chunks)
        rows = judged.measurements
        groups = dict(list(rows.groupby("chunk")))
        reports = {}
        for chunk, judgement in judged.judgements.items():
            own = groups.get(chunk, rows.iloc[:0])
            metadata = {
                "verdict": str(judgement.verdict),
                "confidence": judgement.confidence,
                "is_harmful": int(judgement.verdict not in HARMLESS and judgement.verdict is not Verdict.UNDECIDED),
                "breaches": int(own["breach"].sum()),
                "recovery": judgement.recovery,
            }
            if len(chunks) == 1 or chunk == chunks[-1]:
                metadata["measurements"] = dg.MetadataValue.md(_evidence_table(own))
            reports[chunk] = ChunkReport(metadata, [_check(judgement, judged.suspects[chunk])])
        return StageReport(reports, judged.version)

    return build_chunk_asset(
        policy,
        Stage.VERDICT,
        body,
        deps=[stage for stage in _JUDGED if has_stage(policy, stage)],
        checks={Check.NO_HARM: False},
        kinds={"deltalake"},
        description="healthy, data_fault, covariate_harmless, covariate_harmful, label_shift, concept or undecided, with evidence, suspects and recovery.",
    )
