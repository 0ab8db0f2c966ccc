"""Is the data broken as data? Windows of the production log and their quality.

Belongs here: the production window and its quality checks. Does not: drift, performance.
Reads: ``prediction_log``, ``reference_profiles``. Writes: ``measurements``.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements, reference
from monitoring_assets.measures import sanity
from monitoring_assets.measures.lines import joined
from monitoring_assets.measures.quality import MISSING_SHARE, OUT_OF_RANGE_SHARE, STUCK_SHARE, quality
from monitoring_assets.measures.sanity import RULE_BROKEN_SHARE, sanity_lines
from monitoring_assets.measuring import served_versions
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset
from monitoring_assets.verdict import conclude_data_fault
from resources import tables
from resources.clock import now
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.vocabulary import Check, Stage

if TYPE_CHECKING:
    import pandas as pd


def _offenders(rows: "pd.DataFrame", method: str) -> tuple["pd.DataFrame", str]:
    """Broken numbers of one method, worst first, and a markdown table of the five worst."""
    own = rows[rows["method"] == method].sort_values("value", ascending=False)
    lines = [f"| {row.subject} | {row.value:.2%} | {row.upper_limit:.2%} |" for row in own.head(5).itertuples()]
    return own[own["breach"]], "\n".join(["| feature | share | limit |", "|---|---|---|", *lines])


def _quality_check(name: Check, method: str, what: str, rows: "pd.DataFrame") -> CheckReport:
    broken, table = _offenders(rows, method)
    worst = f"; worst: {broken.iloc[0]['subject']} at {broken.iloc[0]['value']:.1%}" if len(broken) else ""
    text = f"{len(broken)} features with too many {what}{worst}."
    if len(broken):
        text += " Repair the source and materialize the chunk again; a data fault never retrains."
    n_rows = int(rows["n_rows"].max()) if len(rows) else 0
    return CheckReport(name, broken.empty, text, metadata={"five_worst": dg.MetadataValue.md(table), "n_rows": n_rows})


def _sanity_check(rows: "pd.DataFrame") -> CheckReport:
    """Broken rules with the worst rows; one that blocks is an error, one that flags a warning."""
    own = rows[rows["method"] == RULE_BROKEN_SHARE].sort_values(["breach", "value"], ascending=False, kind="stable")
    broken = own[own["breach"]]
    lines = [
        f"| {row.subject} | {row.value:.2%} | {row.upper_limit:.2%} | {row.n_rows} | {row.reason.replace('|', '/')} |"
        for row in own.itertuples()
    ]
    table = "\n".join(["| rule | share of rows that break it | limit | rows judged | worst rows |", "|---|---|---|---|---|", *lines])
    text = f"{len(broken)} of {len(own)} rules broken" + (f": {', '.join(broken['subject'])}." if len(broken) else ".")
    is_blocked = bool(broken["is_deciding"].any())
    if is_blocked:
        text += " The chunk is not judged: repair the source and materialize it again."
    severity = dg.AssetCheckSeverity.ERROR if is_blocked else dg.AssetCheckSeverity.WARN
    return CheckReport(Check.SANITY_RULES, broken.empty, text, severity, {"rules": dg.MetadataValue.md(table)})


def build_production_window(policy: MonitoredModel) -> dg.AssetsDefinition:
    """The rows of one chunk that monitoring looks at."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        rows = lake.read(policy.model, tables.prediction_log(policy), {"chunk": chunks})
        counts = rows.groupby("chunk")
        sizes, versions = counts.size(), counts["model_version"].agg(lambda served: ", ".join(sorted(served.unique())))
        limit = policy.validation.minimum_rows
        reports = {}
        for chunk in chunks:
            size = int(sizes.get(chunk, 0))
            check = CheckReport(
                Check.MINIMUM_ROWS, size >= limit, f"{size} rows; a chunk below {limit} is undecided", dg.AssetCheckSeverity.WARN
            )
            reports[chunk] = ChunkReport({"dagster/partition_row_count": size, "model_version": str(versions.get(chunk, "none"))}, [check])
        return StageReport(reports, lake.data_version(policy.model, tables.prediction_log(policy), {"chunk": chunks}))

    return build_chunk_asset(
        policy,
        Stage.PRODUCTION_WINDOW,
        body,
        deps=[Stage.PREDICTION_LOG],
        checks={Check.MINIMUM_ROWS: False},
        kinds={"duckdb"},
        description="The analysis window: one chunk of the prediction log.",
    )


def _measured(lake: Lake, policy: MonitoredModel, base: Path, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Data quality of every chunk; what counts as stuck is learned from the reference of the version that served it."""
    import pandas as pd

    if rows.empty:
        return quality(policy, rows)
    versions = rows["chunk"].map(served_versions(rows))
    parts = []
    for version, own in rows.groupby(versions):
        parts.append(quality(policy, own, reference.stuck_of(lake, policy, base, str(version))))
    return pd.concat(parts, ignore_index=True)


def build_data_quality(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Missing values, physical ranges and stuck sensors; a broken chunk goes no further."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        rows = lake.read(policy.model, tables.prediction_log(policy), {"chunk": chunks})
        long = joined([_measured(lake, policy, base, rows), sanity_lines(policy, sanity.declared(policy), rows)])
        version = measurements.store(lake, policy, Stage.DATA_QUALITY, chunks, long, now(policy, lake))
        groups, reports = dict(list(long.groupby("chunk"))), {}
        for chunk in chunks:
            own = groups.get(chunk, long.iloc[:0])
            checks = [
                _quality_check(Check.MISSING_VALUES, MISSING_SHARE, "missing values", own),
                _quality_check(Check.VALUE_RANGES, OUT_OF_RANGE_SHARE, "values out of range", own),
                _quality_check(Check.STUCK_SENSORS, STUCK_SHARE, "rows in one run of a repeated value", own),
                *([_sanity_check(own)] if policy.validation.rules else []),
            ]
            missing = own.loc[own["method"] == MISSING_SHARE, "value"]
            reports[chunk] = ChunkReport({"largest_missing_share": float(missing.max()) if len(missing) else 0.0}, checks)
        if len(chunks) == 1 and (long["breach"] & long["is_deciding"]).any():
            conclude_data_fault(context, lake, policy, chunks[0])
        return StageReport(reports, version)

    return build_chunk_asset(
        policy,
        Stage.DATA_QUALITY,
        body,
        deps=[Stage.PRODUCTION_WINDOW, Stage.REFERENCE_PROFILE],
        checks={
            Check.MISSING_VALUES: True,
            Check.VALUE_RANGES: True,
            Check.STUCK_SENSORS: True,
            **({Check.SANITY_RULES: True} if policy.validation.rules else {}),
        },
        kinds={"deltalake", "duckdb"},
        description="Is the data broken as data? Missing values, physical ranges, stuck sensors and declared constraints.",
    )
