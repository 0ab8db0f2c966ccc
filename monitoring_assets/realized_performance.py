"""Does the model still perform, now that outcomes have arrived? Late and corrected ones restate what was said before.

Belongs here: realized performance, its vintages, the losses in time order. Does not: recording outcomes, the verdict.
Reads: ``prediction_log``, ``outcomes``, ``reference_profiles``. Writes: ``measurements``, ``performance_vintages``.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements, plots, reference, self_watch, trust, vintages
from monitoring_assets.measures.lines import FILLED, joined, lines_of, with_all_columns
from monitoring_assets.measures.uncertainty import NEEDS_OUTCOMES
from monitoring_assets.measuring import measure_chunks, served_versions, sound_rows
from monitoring_assets.performance import chunk_report
from monitoring_assets.reference_pieces import UNCERTAINTY
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset
from resources.clock import now
from resources.lake import Lake
from resources.outcomes import known_outcomes
from resources.policy import MonitoredModel
from resources.vocabulary import Check, Kind, Stage

if TYPE_CHECKING:
    import pandas as pd

#: Subject of the line that says how many rows of a chunk have an outcome.
LABELLED = "outcomes"
_SHOWN_SEGMENTS = 30


@dataclass(frozen=True)
class Labelled:
    """Rows of chunks that are due, those of them with an outcome, and the chunks of which enough is known to be judged."""

    due: list[str]
    rows: "pd.DataFrame"
    known: "pd.DataFrame"
    enough: "pd.DataFrame"

    @cached_property
    def shares(self) -> dict[str, float]:
        """Share of rows with an outcome by due chunk; 0 for a chunk without rows."""
        sizes, known = self.rows.groupby("chunk").size(), self.known.groupby("chunk").size()
        return {chunk: float(known.get(chunk, 0) / sizes[chunk]) if chunk in sizes.index else 0.0 for chunk in self.due}


def labelled(lake: Lake, policy: MonitoredModel, chunks: list[str], present: datetime) -> Labelled:
    """Join sound rows of ``chunks`` with the outcomes known at ``present``; a chunk that is not due by then is left out."""
    due = [chunk for chunk in chunks if policy.outcome_due(chunk) <= present]
    rows = sound_rows(lake, policy, due)
    outcomes = known_outcomes(policy, lake, policy.cadence.start(chunks[0]), policy.cadence.end(chunks[-1]), present)
    known = rows.merge(outcomes, on="prediction_id", how="inner")
    found = Labelled(due, rows, known, known)
    is_enough = known["chunk"].map(found.shares) >= policy.outcome.minimum_share
    is_enough &= known.groupby("chunk")["chunk"].transform("size") >= policy.validation.minimum_rows
    return replace(found, enough=known[is_enough.astype(bool)])


def labelled_shares(policy: MonitoredModel, found: Labelled) -> "pd.DataFrame":
    """Share of rows with an outcome, one line per chunk that is due: it also says that the chunk was looked at."""
    sizes, judged = found.rows.groupby("chunk").size(), set(found.enough["chunk"])
    return lines_of([
        {
            "chunk": chunk, "kind": str(Kind.DATA_QUALITY), "method": "labelled_share", "subject": LABELLED, "value": share,
            "n_rows": int(sizes.get(chunk, 0)), "reason": "" if chunk in judged else _too_few(policy, share, int(sizes.get(chunk, 0))),
        }
        for chunk, share in found.shares.items()
    ])  # fmt: skip


def _too_few(policy: MonitoredModel, share: float, n_rows: int) -> str:
    if not share:
        return "no outcome has arrived"
    return (
        f"not judged: got outcomes of {share:.1%} of {n_rows} rows; expected {policy.outcome.minimum_share:.1%} (outcome.minimum_share) "
        f"and {policy.validation.minimum_rows} rows (validation.minimum_rows)"
    )


def _loss_sequences(lake: Lake, policy: MonitoredModel, base: Path, labelled: "pd.DataFrame") -> "pd.DataFrame":
    """What each declared detector says of the losses of each chunk, one line each; it breaches where it alarms."""
    import pandas as pd

    from monitoring_assets.measures.onset import losses_of
    from monitoring_assets.measures.sequential import detect

    lines, reasons = [], []
    for version, served in labelled.groupby(labelled["chunk"].map(served_versions(labelled))) if len(labelled) else ():
        for name, detector in reference.detectors_of(lake, policy, base, str(version)).items():
            for chunk, own in served.sort_values("time", kind="stable").groupby("chunk"):
                seen = detect(detector, losses_of(policy.task, own))
                alarmed = seen.index is not None
                lines.append(
                    (
                        chunk,
                        str(Kind.LOSS_SEQUENCE),
                        name,
                        "losses",
                        seen.statistic,
                        float("nan"),
                        seen.n_elements,
                        float("nan"),
                        seen.threshold,
                        alarmed,
                    )
                )
                reasons.append(f"{seen.direction} from {own['time'].iloc[seen.index]:%Y-%m-%d %H:%M} on" if alarmed else seen.reason)
    frame = with_all_columns(pd.DataFrame(lines, columns=FILLED))
    return frame.assign(reason=reasons, is_deciding=False)


def _segment_lines(lake: Lake, policy: MonitoredModel, base: Path, labelled: "pd.DataFrame") -> "pd.DataFrame":
    """The deciding metric of every segment, each against the same segment of the reference of the version that served it."""
    from monitoring_assets.measures.segment_performance import segment_lines

    parts = []
    cut = policy.segments or policy.drift.season
    for version, own in labelled.groupby(labelled["chunk"].map(served_versions(labelled))) if cut and len(labelled) else ():
        rows = reference.reference_rows(lake, policy, base, str(version))
        known = rows[rows["is_held_out"] & rows["y_true"].notna()].sort_values("time", kind="stable")
        parts.append(segment_lines(policy, known, own.sort_values("time", kind="stable")))
    return joined(parts)


def _segment_table(own: "pd.DataFrame") -> str:
    """Segments of one chunk as markdown, the worst first."""
    ranked = own.sort_values(["breach", "p_value"], ascending=[False, True], kind="stable").head(_SHOWN_SEGMENTS)
    lines = [
        f"| {'**yes**' if row.breach else 'no'} | {row.segment.replace('|', '/')} | {row.value:.4g} | {row.effect:+.3g} | {row.p_value:.2g} | {row.n_rows} |"
        for row in ranked.itertuples()
    ]
    head = "| worse than its own past | segment | realized | against its reference | p | outcomes |\n|---|---|---|---|---|---|"
    return "\n".join([head, *lines]).replace("nan", "–") if lines else "No segment is declared, or none has enough outcomes."


def _sequence_check(own: "pd.DataFrame") -> CheckReport:
    alarms = own[own["breach"]]
    said = "; ".join(f"{row.method}: {row.reason}" for row in alarms.itertuples())
    text = f"{len(alarms)} of {len(own)} detectors see the losses leave their reference level" + (f": {said}." if said else ".")
    return CheckReport(
        Check.LOSS_SEQUENCE,
        alarms.empty,
        text,
        dg.AssetCheckSeverity.WARN,
        {row.method: float(row.value) for row in own.itertuples() if row.value == row.value},
    )


def _of_last(long: "pd.DataFrame", chunk: str) -> "pd.DataFrame":
    return long[(long["chunk"] == chunk) & (long["kind"] == Kind.SEGMENT_PERFORMANCE)]


def build_realized_performance(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Realized performance of chunks whose outcomes are complete."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        present = now(policy, lake)
        found = labelled(lake, policy, chunks, present)
        long = measure_chunks(lake, policy, base, ["realized"], found.enough)
        sequences = _loss_sequences(lake, policy, base, found.enough) if policy.performance.detectors else long.iloc[:0]
        shares = labelled_shares(policy, found)
        versions = served_versions(found.known)
        deserved = self_watch.measured(lake, policy, base, found.enough, UNCERTAINTY, self_watch.uncertainty_lines)
        deserved = deserved[deserved["method"].isin(NEEDS_OUTCOMES)]
        segments = _segment_lines(lake, policy, base, found.enough)
        agreement = trust.reconciliation_lines(lake, policy, base, chunks, versions, long)
        long = joined([long, sequences, shares, agreement, deserved, segments])
        version = measurements.store(lake, policy, Stage.REALIZED_PERFORMANCE, chunks, long, present, versions)
        vintages.record(lake, policy, chunks, long, found.shares, present)
        reasons = dict(zip(shares["chunk"], shares["reason"], strict=True))
        groups, reports = dict(list(long.groupby("chunk"))), {}
        for chunk in chunks:
            absent = reasons.get(chunk, f"not judged: outcomes are due on {policy.outcome_due(chunk):%Y-%m-%d}")
            own = groups.get(chunk, long.iloc[:0])
            report = chunk_report(policy, own[own["kind"] == Kind.REALIZED_PERFORMANCE], Check.REALIZED_PERFORMANCE, "realized", absent)
            sequence = [_sequence_check(own[own["kind"] == Kind.LOSS_SEQUENCE])] if policy.performance.detectors else []
            confidence = own[own["kind"] == Kind.UNCERTAINTY]
            deserved_check = self_watch.check_of(Check.CALIBRATION, confidence, "the model's confidence against outcomes")
            told = {
                **self_watch.numbers_of(confidence),
                "labelled_share": found.shares.get(chunk, 0.0),
                "missing_outcome_share": 1 - found.shares.get(chunk, 0.0),
            }
            reports[chunk] = ChunkReport({**report.metadata, **told}, [*report.checks, deserved_check, *sequence])
        pictures = {
            "performance over time": plots.history(lake, policy, chunks[-1], plots.PERFORMANCE),
            "segments": dg.MetadataValue.md(_segment_table(_of_last(long, chunks[-1]))),
            "vintages": dg.MetadataValue.md(vintages.table(lake, policy, chunks[-1])),
        }
        return StageReport(reports, version, pictures)

    return build_chunk_asset(
        policy,
        Stage.REALIZED_PERFORMANCE,
        body,
        deps=[Stage.DATA_QUALITY, Stage.OUTCOMES, Stage.REFERENCE_PROFILE],
        checks={
            Check.REALIZED_PERFORMANCE: False,
            Check.CALIBRATION: False,
            **({Check.LOSS_SEQUENCE: False} if policy.performance.detectors else {}),
        },
        kinds={"nannyml", "deltalake"},
        description="Performance once outcomes are due; outcomes that arrive later or are corrected restate it, and every vintage is kept.",
    )
