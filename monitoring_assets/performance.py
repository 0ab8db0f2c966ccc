"""Does the model still perform? Estimated from inputs and confidence at once, realized when outcomes have arrived.

Belongs here: estimated and realized performance and their checks. Does not: the verdict drawn from them.
Reads: ``prediction_log``, ``outcomes``, ``reference_profiles``. Writes: ``measurements``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements, plots, reference
from monitoring_assets.measures.judge import is_harmful_breach
from monitoring_assets.measures.lines import FILLED, with_all_columns
from monitoring_assets.measuring import measure_chunks, served_versions, sound_rows
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


def _chunk_report(policy: MonitoredModel, own: "pd.DataFrame", name: Check, word: str, absent: str) -> ChunkReport:
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
        long = measure_chunks(lake, policy, base, ["estimated"], rows)
        version = measurements.store(lake, policy, Stage.ESTIMATED_PERFORMANCE, chunks, long, now(policy, lake), served_versions(rows))
        groups = dict(list(long.groupby("chunk")))
        absent = "no estimate: the chunk is broken or too small, or the reference holds too few labelled rows"
        reports = {
            chunk: _chunk_report(policy, groups.get(chunk, long.iloc[:0]), Check.ESTIMATED_PERFORMANCE, "estimated", absent)
            for chunk in chunks
        }
        return StageReport(reports, version, {"performance over time": plots.history(lake, policy, chunks[-1], plots.PERFORMANCE)})

    return build_chunk_asset(
        policy,
        Stage.ESTIMATED_PERFORMANCE,
        body,
        deps=[Stage.DATA_QUALITY, Stage.REFERENCE_PROFILE],
        checks={Check.ESTIMATED_PERFORMANCE: False},
        kinds={"nannyml", "deltalake"},
        description=f"Performance without outcomes, by {policy.estimator.upper()}; blind to concept drift.",
    )


def _labelled_shares(due: list[str], rows: "pd.DataFrame", labelled: "pd.DataFrame") -> "pd.DataFrame":
    """Share of rows with an outcome, one line per chunk that is due: it also says that the chunk was looked at."""
    import pandas as pd

    sizes, known = rows.groupby("chunk").size(), labelled.groupby("chunk").size()
    shares = [known.get(chunk, 0) / sizes[chunk] if chunk in sizes.index else 0.0 for chunk in due]
    frame = pd.DataFrame({"chunk": due, "value": shares, "n_rows": [int(sizes.get(chunk, 0)) for chunk in due]})
    frame = frame.assign(kind=str(Kind.DATA_QUALITY), method="labelled_share", subject=LABELLED, breach=False)
    numbers = ["standard_error", "lower_limit", "upper_limit"]
    return with_all_columns(frame.assign(**dict.fromkeys(numbers, float("nan"))))


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


def build_realized_performance(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Realized performance of chunks whose outcomes are complete."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        import pandas as pd

        present = now(policy, lake)
        due = [chunk for chunk in chunks if policy.outcome_due(chunk) <= present]
        rows = sound_rows(lake, policy, due) if due else sound_rows(lake, policy, chunks).iloc[:0]
        outcomes = known_outcomes(policy, lake, policy.cadence.start(chunks[0]), policy.cadence.end(chunks[-1]))
        labelled = rows.merge(outcomes, on="prediction_id", how="inner")
        long = measure_chunks(lake, policy, base, ["realized"], labelled)
        sequences = _loss_sequences(lake, policy, base, labelled) if policy.performance.detectors else long.iloc[:0]
        parts = [frame for frame in (long, sequences, _labelled_shares(due, rows, labelled)) if len(frame)]
        long = pd.concat(parts, ignore_index=True) if parts else long
        version = measurements.store(lake, policy, Stage.REALIZED_PERFORMANCE, chunks, long, present, served_versions(labelled))
        groups, reports = dict(list(long.groupby("chunk"))), {}
        shares = labelled.groupby("chunk").size() / rows.groupby("chunk").size()
        for chunk in chunks:
            absent = (
                f"not judged: outcomes are due on {policy.outcome_due(chunk):%Y-%m-%d}" if chunk not in due else "no outcome has arrived"
            )
            own = groups.get(chunk, long.iloc[:0])
            report = _chunk_report(policy, own[own["kind"] == Kind.REALIZED_PERFORMANCE], Check.REALIZED_PERFORMANCE, "realized", absent)
            sequence = [_sequence_check(own[own["kind"] == Kind.LOSS_SEQUENCE])] if policy.performance.detectors else []
            reports[chunk] = ChunkReport({**report.metadata, "labelled_share": float(shares.get(chunk, 0.0))}, [*report.checks, *sequence])
        return StageReport(reports, version, {"performance over time": plots.history(lake, policy, chunks[-1], plots.PERFORMANCE)})

    return build_chunk_asset(
        policy,
        Stage.REALIZED_PERFORMANCE,
        body,
        deps=[Stage.DATA_QUALITY, Stage.OUTCOMES, Stage.REFERENCE_PROFILE],
        checks={Check.REALIZED_PERFORMANCE: False, **({Check.LOSS_SEQUENCE: False} if policy.performance.detectors else {})},
        kinds={"nannyml", "deltalake"},
        description="Performance once outcomes have arrived; a chunk is judged when all of them are due.",
    )
