"""The door: production rows and outcomes enter the lake here, broken ones with their reason.

Belongs here: ingesting rows and outcomes, contract and freshness checks. Does not: judging values (``validation.py``).
Reads: the log source, ``scored_batches``. Writes: ``prediction_log``, ``rejected_rows``, ``outcomes``, ``measurements``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements
from monitoring_assets.measures.lines import FILLED, with_all_columns
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset
from monitoring_assets.verdict import conclude_data_fault
from resources import tables
from resources.chunks import parse_duration
from resources.clock import now
from resources.lake import Lake
from resources.log_source import SUPERSEDED, UNDATED, LogRows, read_log
from resources.names import common, key
from resources.outcomes import record_outcomes
from resources.policy import MonitoredModel
from resources.vocabulary import EXTERNAL, Check, Kind, Role, Stage

if TYPE_CHECKING:
    import pandas as pd

#: Chunk name of rejected rows of an outcome source of its own.
REJECTED_OUTCOMES = "outcomes"


def with_scores(policy: MonitoredModel, rows: "pd.DataFrame", scores: "pd.DataFrame | None") -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Join accepted rows with what was served.

    Args:
        rows: accepted rows of the log with ``chunk``.
        scores: rows of ``scored_batches``; ``None`` where the log itself carries predictions.

    Returns:
        Rows fit for the ``prediction_log`` table, and rows that have no prediction.
    """
    import pandas as pd

    columns = list(tables.prediction_log(policy).columns)
    if scores is None:
        version = rows["model_version"].fillna(EXTERNAL) if "model_version" in rows else EXTERNAL
        served = rows.assign(model_version=version, scored_at=rows["written_at"], role=str(Role.CHAMPION))
        return served[columns], rows.iloc[:0]
    joined = rows.drop(columns=["model_version"], errors="ignore").merge(scores, on=["chunk", "prediction_id"], how="left")
    is_scored = joined["model_version"].notna()
    return joined.loc[is_scored, columns], pd.DataFrame(joined.loc[~is_scored])


def _with_chunk(policy: MonitoredModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    return rows.assign(chunk=policy.cadence.keys(rows["time"]))


def _rejections(policy: MonitoredModel, read: LogRows, unscored: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    missing = pd.DataFrame({
        "prediction_id": unscored["prediction_id"],
        "time": unscored["time"],
        "reason": "not scored: no row in scored_batches; materialize scored_batch for this chunk again",
        "row": [row.to_json(date_format="iso") for _, row in unscored.iterrows()],
    })  # fmt: skip
    rejected = pd.concat([read.rejected, missing], ignore_index=True)
    keys = [UNDATED if pd.isna(moment) else policy.cadence.key(moment) for moment in rejected["time"]]
    return rejected.drop(columns="time").assign(
        chunk=pd.Series(keys, index=rejected.index, dtype=object), rejected_at=pd.Timestamp.now(tz="UTC")
    )


def _require_scored(policy: MonitoredModel, scores: "pd.DataFrame", rows: "pd.DataFrame", chunks: Sequence[str]) -> None:
    missing = sorted((set(chunks) & set(rows["chunk"])) - set(scores["chunk"]))
    if missing:
        raise dg.Failure(
            f"{policy.model}: got no scores for chunk {missing[0]} ({len(missing)} chunks in all); expected rows in scored_batches. "
            f"Materialize {policy.model}/{Stage.SCORED_BATCH} for these partitions first."
        )


def _chunk_report(
    policy: MonitoredModel, chunk: str, accepted: "pd.DataFrame", rejected: "pd.DataFrame", n_late: int
) -> tuple[ChunkReport, float]:
    broken = rejected[rejected["reason"] != SUPERSEDED]
    n_rows = len(accepted) + len(broken)
    share = len(broken) / n_rows if n_rows else 0.0
    limit = policy.validation.rejected_share
    worst = broken["reason"].str.slice(0, 120).value_counts().head(5)
    newest = accepted["time"].max() if len(accepted) else None
    start, end = policy.cadence.start(chunk), policy.cadence.end(chunk)
    deadline = max(end - parse_duration(policy.validation.freshness), start + (end - start) / 2)
    is_fresh = newest is not None and newest >= deadline
    checks = [
        CheckReport(
            Check.DATA_CONTRACT,
            share <= limit,
            f"{len(broken)} of {n_rows} rows break the contract ({share:.2%}); limit {limit:.2%}. Rejected rows are kept in rejected_rows.",
            metadata={"rejected_share": share, "limit": limit, "n_rows": n_rows, "worst_reasons": dg.MetadataValue.md(_table(worst))},
        ),
        CheckReport(
            Check.LOG_FRESHNESS,
            is_fresh,
            f"newest row {newest:%Y-%m-%d %H:%M}; expected one after {deadline:%Y-%m-%d %H:%M}"
            if newest is not None
            else "the chunk holds no row",
            dg.AssetCheckSeverity.WARN,
        ),
    ]
    metadata = {
        "dagster/partition_row_count": len(accepted),
        "rejected_rows": len(broken),
        "duplicate_rows": len(rejected) - len(broken),
        "late_rows": n_late,
        "rejected_share": share,
    }
    return ChunkReport(metadata, checks), share


def _table(counts: "pd.Series") -> str:
    lines = [f"| {str(reason).replace('|', '/')} | {count} |" for reason, count in counts.items()]
    return "\n".join(["| reason | rows |", "|---|---|", *lines]) if lines else "none"


def build_log_source(policy: MonitoredModel) -> dg.AssetSpec:
    """The outside world: the declared file or table."""
    return dg.AssetSpec(
        key(policy, Stage.LOG_SOURCE),
        description=f"Production log outside the platform: {policy.log.kind} `{policy.log.path}`.",
        **common(policy, {policy.log.kind}),
    )


def build_prediction_log(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Ingest the rows of a chunk with the prediction served for each."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        import numpy as np
        import pandas as pd

        start, end = policy.cadence.start(chunks[0]), policy.cadence.end(chunks[-1])
        read = read_log(policy, base, start, end, undated=True, with_outcomes=False)
        rows = _with_chunk(policy, read.accepted)
        scores = None
        if policy.log.is_scored_here:
            scores = lake.read(policy.model, tables.scored_batches(policy), {"chunk": chunks})
            _require_scored(policy, scores, rows, chunks)
        accepted, unscored = with_scores(policy, rows, scores)
        rejected = _rejections(policy, read, unscored)
        version = lake.replace(policy.model, tables.prediction_log(policy), accepted, {"chunk": chunks})
        dated = rejected[rejected["chunk"] != UNDATED]
        if len(dated) or lake.partitions(policy.model, tables.REJECTED_ROWS, "chunk"):
            lake.replace(policy.model, tables.REJECTED_ROWS, dated, {"chunk": chunks})
        if len(rejected) > len(dated):
            lake.replace(policy.model, tables.REJECTED_ROWS, rejected[rejected["chunk"] == UNDATED], {"chunk": UNDATED})
        groups, refused = dict(list(accepted.groupby("chunk"))), dict(list(rejected.groupby("chunk")))
        reports, shares = {}, []
        for chunk in chunks:
            own, bad = groups.get(chunk, accepted.iloc[:0]), refused.get(chunk, rejected.iloc[:0])
            reports[chunk], share = _chunk_report(policy, chunk, own, bad, read.n_late if len(chunks) == 1 else 0)
            limit = policy.validation.rejected_share
            shares.append(
                (chunk, str(Kind.DATA_QUALITY), "rejected_share", "rows", share, np.nan, len(own) + len(bad), np.nan, limit, share > limit)
            )
        long = with_all_columns(pd.DataFrame(shares, columns=FILLED))
        measurements.store(lake, policy, Stage.PREDICTION_LOG, chunks, long, now(policy, lake))
        if len(chunks) == 1 and long["breach"].any():
            conclude_data_fault(context, lake, policy, chunks[0])
        extra = {"undated_rows": len(rejected) - len(dated), "late_rows_in_run": read.n_late}
        return StageReport(reports, version, extra)

    freshness = None
    if policy.replay is None:
        from datetime import timedelta

        window = policy.cadence.start("2001-01-01-00"[: len(policy.cadence.key(policy.reference.start))])
        span = window + policy.cadence.step + parse_duration(policy.validation.freshness) - window
        freshness = dg.FreshnessPolicy.time_window(fail_window=max(span, timedelta(minutes=2)))
    return build_chunk_asset(
        policy,
        Stage.PREDICTION_LOG,
        body,
        deps=[Stage.LOG_SOURCE],
        checks={Check.DATA_CONTRACT: True, Check.LOG_FRESHNESS: False},
        kinds={"deltalake", policy.log.kind},
        description="Rows the model saw in production, with the prediction served; the last write of a prediction id wins.",
        freshness=freshness,
    )


def _keep_rejected(policy: MonitoredModel, lake: Lake, broken: "pd.DataFrame") -> None:
    """Keep the broken rows of the outcome source in ``rejected_rows``, all of them."""
    import pandas as pd

    where = {"chunk": REJECTED_OUTCOMES}
    if len(broken) or REJECTED_OUTCOMES in lake.partitions(policy.model, tables.REJECTED_ROWS, "chunk"):
        lake.replace(policy.model, tables.REJECTED_ROWS, broken.assign(**where, rejected_at=pd.Timestamp.now(tz="UTC")), where)


def build_outcomes(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Append outcomes of a chunk that have become known; running again appends nothing twice."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        present, start, end = now(policy, lake), policy.cadence.start(chunks[0]), policy.cadence.end(chunks[-1])
        read = read_log(policy, base, start, end, known_by=present)
        rows = _with_chunk(policy, read.accepted.dropna(subset=["y_true"]))
        new = record_outcomes(policy, lake, rows, start, end, present)
        arrived, added = rows["chunk"].value_counts(), new["chunk"].value_counts()
        reports = {
            chunk: ChunkReport({"outcomes_known": int(arrived.get(chunk, 0)), "outcomes_new": int(added.get(chunk, 0))}) for chunk in chunks
        }
        if read.rejected_outcomes is not None:
            _keep_rejected(policy, lake, read.rejected_outcomes)
        n_broken = 0 if read.rejected_outcomes is None else len(read.rejected_outcomes)
        return StageReport(reports, lake.data_version(policy.model, tables.OUTCOMES), {"rejected_outcomes": n_broken})

    return build_chunk_asset(
        policy,
        Stage.OUTCOMES,
        body,
        deps=[Stage.LOG_SOURCE],
        checks={},
        kinds={"deltalake"},
        description=f"What really happened (`{policy.outcome.column}`), due {policy.outcome.delay} after the prediction; append-only, corrections included.",
    )
