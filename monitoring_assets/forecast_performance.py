"""Were the forecasts right? Errors by horizon, intervals, detectors and breaks, as soon as outcomes have arrived.

Belongs here: measuring the matured forecasts of a chunk, their checks and pictures. Does not: issuing forecasts, limits (``measures.forecast``),
the verdict. Reads: ``forecasts``, ``prediction_log``, ``outcomes``, ``reference_profiles``, ``rollout_events``. Writes: ``measurements``,
``performance_vintages``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets import forecast_plots, measurements, plots, reference, vintages
from monitoring_assets.forecast_reference import with_rows
from monitoring_assets.measures.lines import ALL, joined
from monitoring_assets.measuring import served_versions
from monitoring_assets.performance import chunk_report
from monitoring_assets.realized_performance import labelled, labelled_shares
from monitoring_assets.reference_pieces import FORECASTS
from monitoring_assets.stage import CheckReport, ChunkReport, StageReport, build_chunk_asset
from resources.clock import now
from resources.forecast_ledger import issued, row_ids
from resources.lake import Lake
from resources.outcomes import known_outcomes
from resources.policy import MonitoredModel
from resources.rollout_log import events, moves_of
from resources.tables import prediction_log
from resources.vocabulary import Check, Kind, Stage

if TYPE_CHECKING:
    import pandas as pd

    from monitoring_assets.measures.forecast.watch import Watch

#: Rows of the table of parts of a chunk.
_SHOWN = 30
#: Steps that the picture of forecasts looks back.
_STEPS = 56
_WORDS = {
    Check.FORECAST_ERROR: (Kind.FORECAST_ERROR, Kind.REALIZED_PERFORMANCE),
    Check.INTERVAL_COVERAGE: (Kind.INTERVAL_COVERAGE,),
    Check.RESIDUAL_DRIFT: (Kind.RESIDUAL_DRIFT, Kind.STRUCTURAL_BREAK),
}


def watch_of(lake: Lake, policy: MonitoredModel, base: Path, version: str) -> "Watch | None":
    """What ``version`` was accepted with; ``None`` where no backtest of it is kept."""
    from monitoring_assets.measures.forecast.watch import Watch

    piece = reference.pieces_of(lake, policy, base, version, FORECASTS).get(FORECASTS)
    return Watch.from_plain(piece.plain) if piece else None


def _first_chunk(lake: Lake, policy: MonitoredModel, version: str, chunk: str) -> str:
    """First chunk that ``version`` may have served without a break up to ``chunk``."""
    moves = moves_of(events(lake, policy))
    since = moves[(moves["to_version"] == version) & moves["as_of"].notna()]
    keys = [key for key in (policy.cadence.key(moment.to_pydatetime()) for moment in since["as_of"]) if key <= chunk]
    return max(keys, default=policy.cadence.key(policy.reference.end))


def _window(policy: MonitoredModel, first: str, chunk: str) -> list[str]:
    """Chunks the detectors look at: from the start of the older of the two windows that hold ``chunk``; windows begin at ``first``."""
    from monitoring_assets.measures.forecast.watch import WINDOW

    keys = [first]
    while keys[-1] < chunk:
        keys.append(policy.cadence.shift(keys[-1], 1))
    half = -(-WINDOW // 2)
    return keys[max(0, ((len(keys) - 1) // half - 1) * half) :]


def _observed(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> "pd.DataFrame":
    """Observed rows of ``chunks`` with ``y`` and segments."""
    rows = lake.read(policy.model, prediction_log(policy), {"chunk": list(chunks)})
    outcomes = known_outcomes(policy, lake, policy.cadence.start(chunks[0]), policy.cadence.end(chunks[-1]), now(policy, lake))
    return rows.merge(outcomes, on="prediction_id", how="inner").rename(columns={"y_true": "y"})


def measure_chunk(
    lake: Lake, policy: MonitoredModel, watch: "Watch | None", chunk: str, version: str, observed: "pd.DataFrame"
) -> "pd.DataFrame":
    """Lines of one chunk.

    Args:
        watch: what that version was accepted with.
        version: that served it.
        observed: rows of the chunk with ``y``; empty where it is not judged.
    """
    import pandas as pd

    from monitoring_assets.measures.forecast.watch import chunk_lines, served

    told = issued(lake, policy, [chunk])
    rows = with_rows(policy, told, observed) if len(told) and len(observed) else told.iloc[:0].assign(y=[])
    if watch is None or policy.forecast is None or rows.empty:
        return joined([])
    chunks = _window(policy, _first_chunk(lake, policy, version, chunk), chunk)
    before = [key for key in chunks if key != chunk]
    since = [served(rows)]
    if before:
        earlier = served(with_rows(policy, issued(lake, policy, before), _observed(lake, policy, before)))
        since.insert(0, earlier[earlier["model_version"] == version])
    stream = pd.concat([part for part in since if len(part)], ignore_index=True).sort_values("ds", kind="stable", ignore_index=True)
    return chunk_lines(policy, policy.forecast, watch, chunk, rows, stream)


def build_forecast_performance(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Realized performance of a forecaster: its matured forecasts against what happened."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        present = now(policy, lake)
        found = labelled(lake, policy, chunks, present)
        versions, parts = served_versions(found.known), []
        groups = dict(list(found.enough.rename(columns={"y_true": "y"}).groupby("chunk")))
        judged = {chunk: str(versions[chunk]) for chunk in chunks if chunk in groups}
        watches = {version: watch_of(lake, policy, base, version) for version in sorted(set(judged.values()))}
        for chunk, served_by in judged.items():
            parts.append(measure_chunk(lake, policy, watches[served_by], chunk, served_by, groups[chunk]))
        shares = labelled_shares(policy, found)
        long = joined([*parts, shares])
        version = measurements.store(lake, policy, Stage.REALIZED_PERFORMANCE, chunks, long, present, versions)
        vintages.record(lake, policy, chunks, long, found.shares, present)
        reasons = dict(zip(shares["chunk"], shares["reason"], strict=True))
        own_lines = dict(list(long.groupby("chunk")))
        reports = {
            chunk: _report(policy, chunk, own_lines.get(chunk, long.iloc[:0]), reasons.get(chunk), found.shares.get(chunk, 0.0))
            for chunk in chunks
        }
        return StageReport(reports, version, _pictures(lake, policy, chunks[-1], long))

    return build_chunk_asset(
        policy,
        Stage.REALIZED_PERFORMANCE,
        body,
        deps=[Stage.DATA_QUALITY, Stage.OUTCOMES, Stage.REFERENCE_PROFILE, Stage.SCORED_BATCH],
        checks={Check.REALIZED_PERFORMANCE: False, **dict.fromkeys(_WORDS, False)},
        kinds={"deltalake", "scipy"},
        description="Forecasts against what happened: errors by horizon and part, intervals, bias, detectors and breaks; every vintage is kept.",
    )


def _report(policy: MonitoredModel, chunk: str, own: "pd.DataFrame", reason: str | None, share: float) -> ChunkReport:
    absent = reason or f"not judged: outcomes are due on {policy.outcome_due(chunk):%Y-%m-%d}, or the serving version has no backtest"
    performance = own[own["kind"] == Kind.REALIZED_PERFORMANCE]
    report = chunk_report(policy, performance, Check.REALIZED_PERFORMANCE, "realized", absent)
    whole = own[(own["segment"] == ALL) & own["value"].notna() & own["kind"].isin([Kind.FORECAST_ERROR, Kind.INTERVAL_COVERAGE])]
    numbers = {str(row.subject): float(row.value) for row in whole.itertuples()}
    checks = [_check(name, own[own["kind"].isin(kinds) & own["is_deciding"]], absent) for name, kinds in _WORDS.items()]
    return ChunkReport({**report.metadata, **numbers, "labelled_share": share}, [*report.checks, *checks])


def _check(name: Check, lines: "pd.DataFrame", absent: str) -> CheckReport:
    judged, broken = lines[lines["value"].notna()], lines[lines["breach"]]
    if judged.empty:
        return CheckReport(name, True, absent)
    worst = broken.sort_values("p_value", kind="stable").head(5)
    said = "; ".join(f"{row.segment}, {row.method} {row.subject}: {_told(row)}" for row in worst.itertuples())
    text = f"{len(broken)} of {len(judged)} numbers lie outside their limits" + (f": {said}." if said else ".")
    numbers = {f"{row.segment} {row.method} {row.subject}": float(row.value) for row in judged.head(_SHOWN).itertuples()}
    return CheckReport(name, broken.empty, text, dg.AssetCheckSeverity.WARN, numbers)


def _told(row: Any) -> str:
    limits = " to ".join("none" if limit != limit else f"{limit:.4g}" for limit in (row.lower_limit, row.upper_limit))
    return f"{row.value:.4g} (limits {limits}; n = {row.n_rows})" + (f", {row.reason}" if row.reason else "")


def looked_back(policy: MonitoredModel, chunk: str) -> list[str]:
    """Chunks up to ``chunk`` that hold enough steps for a picture."""
    step = policy.forecast.step_length if policy.forecast else policy.cadence.end(chunk) - policy.cadence.start(chunk)
    per_chunk = max(1, (policy.cadence.end(chunk) - policy.cadence.start(chunk)) // step)
    return [policy.cadence.shift(chunk, -place) for place in reversed(range(-(-_STEPS // per_chunk)))]


def _pictures(lake: Lake, policy: MonitoredModel, chunk: str, long: "pd.DataFrame") -> dict[str, Any]:
    own = long[long["chunk"] == chunk]
    return {
        "performance over time": plots.history(lake, policy, chunk, plots.PERFORMANCE),
        "forecast against outcomes": forecast_plots.forecasts(policy, chunk, forecast_rows(lake, policy, looked_back(policy, chunk))),
        "error by horizon": forecast_plots.by_horizon(policy, chunk, own),
        "coverage over time": plots.history(lake, policy, chunk, plots.COVERAGE),
        "errors by part": dg.MetadataValue.md(_table(own)),
        "vintages": dg.MetadataValue.md(vintages.table(lake, policy, chunk)),
    }


def _table(own: "pd.DataFrame") -> str:
    """Numbers of one chunk by part as markdown, breaches first."""
    shown = own[
        own["kind"].isin(
            [Kind.REALIZED_PERFORMANCE, Kind.FORECAST_ERROR, Kind.INTERVAL_COVERAGE, Kind.RESIDUAL_DRIFT, Kind.STRUCTURAL_BREAK]
        )
    ]
    ranked = shown.sort_values(["breach", "is_deciding", "segment", "subject"], ascending=[False, False, True, True], kind="stable").head(
        _SHOWN
    )
    lines = [
        f"| {'**breach**' if row.breach else 'within' if row.is_deciding else 'shown'} | {str(row.segment).replace('|', '/')} | {row.subject} | "
        f"{row.value:.4g} | {row.lower_limit:.4g} | {row.upper_limit:.4g} | {row.n_rows} | {row.reason} |"
        for row in ranked.itertuples()
    ]
    head = "| limit | part | number | value | lower | upper | n | |\n|---|---|---|---|---|---|---|---|"
    return "\n".join([head, *lines]).replace("nan", "–")


def forecast_rows(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> "pd.DataFrame":
    """Forecasts served for times in consecutive ``chunks`` beside the outcomes known now (NaN where none is), in time order."""
    from monitoring_assets.measures.forecast.watch import served

    told = issued(lake, policy, chunks)
    if told.empty:
        return told.assign(y=[])
    observed = _observed(lake, policy, chunks)
    y = observed.set_index("prediction_id")["y"]
    return served(told.assign(y=row_ids(told["unique_id"], told["ds"]).map(y).astype("float64")))
