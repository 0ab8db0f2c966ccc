"""Did the inputs move? Univariate drift per feature and segment and multivariate drift, against the reference alone.

Belongs here: the drift report and its check. Does not: whether it hurts (``verdict.py``), the page (``report.py``).
Reads: ``prediction_log``, ``reference_profiles``, ``reference_summaries``. Writes: ``measurements``.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets import measurements, plots, reference
from monitoring_assets.measures.judge import drift_breaches
from monitoring_assets.plain_text import cell, shown
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset
from resources import tables
from resources.clock import now
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.vocabulary import DRIFT_KINDS, Check, Kind, Stage

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    from monitoring_assets.drift_profile import DriftProfile
    from monitoring_assets.measures.univariate import Rows


@dataclass(frozen=True)
class ChunkRows:
    """The rows of one sound chunk, the version that served it, and a frame for methods that need whole rows."""

    chunk: str
    version: str
    rows: "Rows"
    frame: "pd.DataFrame"


def sound_chunks(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> Iterator[ChunkRows]:
    """Chunks that are not broken as data and not below the minimum size; large ones stay in DuckDB.

    Yields:
        One at a time; its rows may be read until the next one is asked for.
    """
    from monitoring_assets.measures.joint import methods_of
    from monitoring_assets.measures.univariate import FrameRows
    from monitoring_assets.pushdown import LARGE, DuckRows

    broken = measurements.faulted(lake, policy, chunks)
    table = tables.prediction_log(policy)
    columns = ["time", *policy.features.all, *policy.segment_columns]
    with lake.connect() as connection:
        lake.attach(connection, policy.model, table, {"chunk": list(chunks)})
        by_version = f"SELECT chunk, model_version, count(*) AS own, max(time) AS latest FROM {table.name} GROUP BY ALL"
        counted = connection.execute(
            f"SELECT chunk, sum(own)::BIGINT, arg_max(model_version, (own, latest, model_version)) FROM ({by_version}) GROUP BY chunk ORDER BY chunk"
        ).fetchall()
        sound = [one for one in counted if one[0] not in broken and one[1] >= policy.validation.minimum_rows]
        frames: dict[str, pd.DataFrame] = {}
        for place, (chunk, size, version) in enumerate(sound):
            if policy.drift.engine == "duckdb" or (policy.drift.engine == "auto" and size >= LARGE):
                duck = DuckRows(connection, table.name, "chunk = ?", (chunk,))
                yield ChunkRows(
                    chunk, version, duck, duck.sample(columns) if methods_of(policy) else connection.sql("SELECT 1 WHERE false").df()
                )
            else:
                if chunk not in frames:
                    frames = _frames(connection, table.name, sound[place:], LARGE)
                frame = frames.pop(chunk)
                yield ChunkRows(chunk, version, FrameRows(frame), frame)


def _frames(
    connection: "duckdb.DuckDBPyConnection", table: str, following: Sequence[tuple[str, int, str]], most: int
) -> "dict[str, pd.DataFrame]":
    """Rows of the first and the following chunks by chunk, as long as they are fewer than ``most`` together: a query each is slow."""
    sizes = itertools.accumulate(size for _, size, _ in following)
    wanted = [chunk for (chunk, _, _), total in zip(following, sizes, strict=True) if total < most or chunk == following[0][0]]
    rows = connection.execute(f"SELECT * FROM {table} WHERE chunk IN (SELECT unnest(?))", [wanted]).df()
    return {str(chunk): own.reset_index(drop=True) for chunk, own in rows.groupby("chunk")}


def measure_chunk(policy: MonitoredModel, profile: "DriftProfile", one: ChunkRows) -> "pd.DataFrame":
    """Every drift number of one chunk as lines of ``measurements``."""
    from monitoring_assets.measures.breaches import drift_lines
    from monitoring_assets.measures.joint import measure_joint
    from monitoring_assets.measures.univariate import measure_columns

    measured, outliers = measure_columns(policy, profile.columns, one.rows)
    measured += measure_joint(policy, profile.joint, profile.columns, one.frame)
    return drift_lines(policy, one.chunk, measured, outliers, one.rows.n_rows)


def rule_in_words(policy: MonitoredModel) -> str:
    """How limits are set, and how often they may alarm without drift."""
    limit = policy.drift.limit
    correction = {
        "none": "not corrected for looking at many numbers",
        "bonferroni": "over all its numbers together, by Bonferroni",
        "benjamini_hochberg": "false ones among its alarms, by Benjamini and Hochberg",
    }[limit.correction]
    return {
        "calibrated": f"Limits are calibrated on the reference for a chunk of this size: without drift the check fails on at most {limit.false_alarms:.1%} of "
        f"chunks ({correction}).",
        "std": f"Limits are the mean of the reference chunks plus {limit.std:g} standard deviations (NannyML's rule), for each number; they ignore the "
        "size of the chunk and how many numbers are looked at.",
        "quantile": f"Limits are the {limit.quantile:.1%} quantile of blocks as large as a reference chunk, each left out of the reference in turn, for each "
        "number; how many are looked at is ignored.",
        "constant": "Limits are the declared constants; nothing is said about how often they alarm falsely.",
        "p_value": f"A number breaches when its p-value is below {limit.alpha:g} ({correction}; autocorrelation: {limit.autocorrelation}).",
    }[limit.rule]


def false_alarm_note(policy: MonitoredModel, profile: "DriftProfile") -> str:
    """How often the plain rule ``p < alpha`` would have alarmed on the reference itself; empty for other rules."""
    from monitoring_assets.measures.breaches import raw_alarm_share

    if policy.drift.limit.rule != "p_value":
        return ""
    share, blocks = raw_alarm_share(policy, profile.columns, profile.usual_rows)
    return (
        f"The uncorrected rule p < {policy.drift.limit.alpha:g} would alarm on {share:.0%} of {blocks} stretches of the reference, where nothing drifted."
        if blocks
        else ""
    )


def confirmed(policy: MonitoredModel, breaches: Sequence[set[str]]) -> set[str]:
    """Features that breach in the newest chunk and in the ``drift.confirm - 1`` before it.

    Args:
        breaches: features that breach in each of the last chunks, oldest first, the chunk itself last.
    """
    recent = list(breaches)[-policy.drift.confirm :]
    return set.intersection(*recent) if len(recent) == policy.drift.confirm else set()


def _breaches_by_chunk(lake: Lake, policy: MonitoredModel, chunks: Sequence[str], long: "pd.DataFrame") -> dict[str, set[str]]:
    """Features whose deciding numbers breach: of ``chunks`` as measured in ``long``, and of those before that confirmation looks back on."""
    before = [policy.cadence.shift(chunks[0], -steps) for steps in range(1, policy.drift.confirm)]
    measured = [long, measurements.read(lake, policy, before)] if before else [long]
    return {str(chunk): set(own["subject"]) for one in measured for chunk, own in drift_breaches(one).groupby("chunk")}


def _chunk_report(policy: MonitoredModel, own: "pd.DataFrame", note: str, lasting: set[str]) -> ChunkReport:
    drift = own[own["kind"].isin(DRIFT_KINDS)]
    deciding = drift[drift["is_deciding"]]
    broken = _ranked(deciding[deciding["breach"]])
    moved = list(dict.fromkeys(broken["subject"]))
    limits = ["lower_limit", "upper_limit", "adjusted_p_value"]
    unjudged = deciding[deciding["value"].isna() | deciding[limits].isna().all(axis=1)]
    text = f"{len(broken)} of {len(deciding)} drift numbers outside their limits: {', '.join(moved) or 'none'}."
    if drift.empty:
        text = f"Not measured: the chunk is broken or holds fewer than {policy.validation.minimum_rows} rows."
    elif len(unjudged):
        text += f" {len(unjudged)} have no value or no limit, for a reason given below."
    if policy.drift.confirm > 1:
        text += f" Confirmed over {policy.drift.confirm} chunks in a row: {', '.join(sorted(lasting)) or 'none'}."
    if len(broken):
        text += " Drift is not damage: the verdict says whether the model suffers."
    others = drift[~drift["is_deciding"] & drift["breach"] & ~drift["subject"].isin(moved)]
    if len(others):
        text += f" The plain reference would name {', '.join(dict.fromkeys(others['subject']))}; the season-matched one decides."
    severity = dg.AssetCheckSeverity.WARN if policy.drift.severity == "WARN" else dg.AssetCheckSeverity.ERROR
    refusals = unjudged[unjudged["reason"] != ""]
    outliers = own[(own["method"] == "outlier_share") & (own["value"] > 0)]
    metadata: dict[str, Any] = {
        "breaches": len(broken),
        "drifted_features": len(moved),
        "confirmed_features": len(lasting),
        "five_worst": dg.MetadataValue.md(_table(broken.head(5))) if len(broken) else "none",
        "limits": " ".join(part for part in (rule_in_words(policy), note) if part),
    }
    if len(refusals):
        metadata["not_measured"] = "; ".join(f"{row.method} of {row.subject}: {row.reason}" for row in refusals.head(5).itertuples())
    if len(outliers):
        metadata["outliers"] = "; ".join(f"{row.subject}: {row.reason}" for row in outliers.head(5).itertuples())
    is_judged = drift.empty or len(unjudged) < len(deciding)
    check = CheckReport(Check.DRIFT, is_judged and not lasting, text, severity if is_judged else dg.AssetCheckSeverity.WARN, metadata)
    shares = {"largest_share_of_limit": float((deciding["value"] / deciding["upper_limit"]).max())}
    return ChunkReport({"drifted_features": len(moved), "drift_breaches": len(broken), **_finite(shares | _joint_numbers(drift))}, [check])


def _joint_numbers(drift: "pd.DataFrame") -> dict[str, float]:
    """Value and p-value of every method over all features together; the UI plots each over time."""
    numbers: dict[str, float] = {}
    for row in drift[drift["kind"] == Kind.MULTIVARIATE_DRIFT].itertuples():
        name = f"{row.method} of {row.subject}{'' if row.is_deciding else ', plain reference'}"
        numbers |= {name: row.value, f"p-value of {name}": row.p_value}
    return numbers


def _ranked(broken: "pd.DataFrame") -> "pd.DataFrame":
    """Furthest outside its limit first; for ranking offenders only."""
    share = (broken["value"] / broken["upper_limit"]).fillna(float("inf"))
    return broken.assign(share=share).sort_values(["share", "effect"], ascending=False, kind="stable").drop(columns="share")


def _table(rows: "pd.DataFrame") -> str:
    lines = [
        f"| {cell(row.subject)} | {cell(row.segment)} | {row.method} | {row.value:.4g} | {shown(row.lower_limit)} | {shown(row.upper_limit)} | {shown(row.effect)} | "
        f"{shown(row.adjusted_p_value)} | {row.n_rows} |"
        for row in rows.itertuples()
    ]
    head = "| feature | segment | method | value | lower limit | upper limit | effect | corrected p | n |\n|---|---|---|---|---|---|---|---|---|"
    return "\n".join([head, *lines])


def _finite(numbers: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in numbers.items() if value == value and abs(value) != float("inf")}


def build_drift_report(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Measure drift of each chunk against the reference of the version that served it."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        import pandas as pd

        from monitoring_assets.measures.lines import lines_of

        profiles: dict[str, DriftProfile] = {}
        frames, versions, notes = [], {}, dict[str, str]()
        for one in sound_chunks(lake, policy, chunks):
            if one.version not in profiles:
                profiles[one.version] = reference.drift_of(lake, policy, base, one.version)
                notes[one.version] = false_alarm_note(policy, profiles[one.version])
            frames.append(measure_chunk(policy, profiles[one.version], one))
            versions[one.chunk] = one.version
        long = pd.concat(frames, ignore_index=True) if frames else lines_of([])
        stored = pd.Series(versions, dtype=object)
        version = measurements.store(lake, policy, Stage.DRIFT_REPORT, chunks, long, now(policy, lake), stored)
        groups, breaches, reports = dict(list(long.groupby("chunk"))), _breaches_by_chunk(lake, policy, chunks, long), {}
        for chunk in chunks:
            recent = [breaches.get(policy.cadence.shift(chunk, -steps), set()) for steps in range(policy.drift.confirm - 1, -1, -1)]
            own = groups.get(chunk, long.iloc[:0])
            reports[chunk] = _chunk_report(policy, own, notes.get(versions.get(chunk, ""), ""), confirmed(policy, recent))
        return StageReport(reports, version, {"drift over time": plots.history(lake, policy, chunks[-1], plots.DRIFT)})

    return build_chunk_asset(
        policy,
        Stage.DRIFT_REPORT,
        body,
        deps=[Stage.DATA_QUALITY, Stage.REFERENCE_PROFILE],
        checks={Check.DRIFT: False},
        kinds={"scipy", "duckdb", "deltalake"},
        description="Covariate drift P(X): every feature by itself and by segment, and all together.",
    )
