"""What a forecaster was accepted with: the matured backtest of its version, and what is learned from it.

Belongs here: reading that backtest, the scale of each series, the fitted watch as a piece of the reference profile. Does not: measuring
a chunk (``forecast_performance.py``). Reads: ``forecast_backtests``, ``reference_rows``, ``training_sets``, ``rollout_events``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from monitoring_assets.reference_pieces import FORECASTS, Piece, pieces_from
from resources import tables
from resources.forecast_ledger import backtest, row_ids, series_of
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.rollout_log import events
from resources.vocabulary import Event

if TYPE_CHECKING:
    import pandas as pd


def fit(
    lake: Lake, policy: MonitoredModel, version: str, reference: "pd.DataFrame", stored_before: "pd.DataFrame | None"
) -> Mapping[str, Piece]:
    """Limits, bands and detectors of ``version``; nothing where no backtest of it is kept.

    Args:
        reference: ``(n_rows, ...)`` of ``reference_rows`` of the version; outcomes of its held-out rows.
        stored_before: profile of the version before, whose limits stay where the new backtest is too short.
    """
    from monitoring_assets.measures.forecast.watch import Watch, fit_watch, with_limits

    decided = decided_by(lake, policy, version) or ""
    rows = matured_backtest(lake, policy, decided, reference)
    if policy.forecast is None or rows.empty:
        return {}
    watch = fit_watch(policy, policy.forecast, rows, scales(lake, policy, decided))
    before = pieces_from(stored_before, (FORECASTS,)).get(FORECASTS) if stored_before is not None else None
    if before is not None:
        watch = with_limits(watch, Watch.from_plain(before.plain), policy.reference.minimum_chunks)
    return {FORECASTS: Piece(watch.as_plain())}


def decided_by(lake: Lake, policy: MonitoredModel, version: str) -> str | None:
    """Chunk of the decision that led to ``version``; ``None`` for one that was never promoted."""
    log = events(lake, policy)
    own = log[(log["event"] == Event.PROMOTED) & (log["to_version"] == version)]
    return str(own["chunk"].iloc[0]) if len(own) else None


def matured_backtest(lake: Lake, policy: MonitoredModel, decided: str, reference: "pd.DataFrame") -> "pd.DataFrame":
    """Forecasts of the backtest of one decision with their outcomes ``y`` and the segment columns of their rows."""
    told = backtest(lake, policy, decided)
    known = reference[reference["is_held_out"] & reference["y_true"].notna()]
    return with_rows(policy, told, known.rename(columns={"y_true": "y"})) if len(told) else told.assign(y=[])


def with_rows(policy: MonitoredModel, told: "pd.DataFrame", rows: "pd.DataFrame") -> "pd.DataFrame":
    """Forecasts joined with the observed rows ``(n_rows, prediction_id, y, segments)`` they are about; others are left out."""
    own = rows[["prediction_id", "y", *policy.segment_columns]].drop_duplicates("prediction_id", keep="last")
    return told.assign(prediction_id=row_ids(told["unique_id"], told["ds"])).merge(own, on="prediction_id", how="inner")


def scales(lake: Lake, policy: MonitoredModel, decided: str) -> dict[str, float]:
    """Unit of MASE of each series: its seasonal naive error on the rows that the version of one decision has learned from."""
    rows = lake.read(policy.model, tables.training_sets(policy), {"chunk": decided})
    own = rows.assign(unique_id=series_of(policy, rows)).dropna(subset=["series_scale"]).drop_duplicates("unique_id", keep="last")
    return {str(row.unique_id): float(row.series_scale) for row in own.itertuples()}
