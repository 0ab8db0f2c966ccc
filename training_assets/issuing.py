"""Forecasts are issued: at the start of each chunk for the whole horizon, and kept for ever with the version that made them.

Belongs here: issuing a chunk, what a candidate would have issued over held-out rows. Does not: row-wise scoring (``scoring.py``),
measuring. Reads: the log source, the registry. Writes: ``forecasts``, ``scored_batches``, ``forecast_backtests``.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources import tables
from resources.forecast_ledger import long_of, row_ids, wide_of
from resources.lake import Lake
from resources.log_source import read_log
from resources.policy import MonitoredModel
from resources.vocabulary import Role
from training_assets.recipes.statsforecast import StatsForecast, declared, issue, newest_forecasts
from training_assets.scoring import batch_asset

if TYPE_CHECKING:
    import pandas as pd

_RECIPE = StatsForecast()
#: Series of the table of forecasts in the UI.
_SHOWN = 20


def backtested(
    policy: MonitoredModel, lake: Lake, decided: str, model: Any, held_out: "pd.DataFrame", past: "pd.DataFrame"
) -> "pd.DataFrame":
    """What a candidate would have issued over the held-out rows, kept: the errors a version is accepted with are its reference.

    Args:
        decided: chunk of the decision that ordered the candidate.
        held_out: ``(n_rows, ...)`` with outcomes.
        past: rows before.

    Returns:
        ``y_pred`` on the index of ``held_out``: the newest forecast of each row.
    """
    import pandas as pd

    told = _RECIPE.issue_over(policy, model, held_out, past).assign(model_version="candidate", issued_at=pd.Timestamp(datetime.now(UTC)))
    frame = long_of(told, declared(policy).levels).assign(decided=decided)
    lake.replace(policy.model, tables.FORECAST_BACKTESTS, _typed(frame, tables.FORECAST_BACKTESTS), {"decided": decided})
    return pd.DataFrame({"y_pred": newest_forecasts(policy, told, held_out)}, index=held_out.index)


def issue_chunks(
    policy: MonitoredModel, lake: Lake, base: Path, model: Any, version: str, chunks: Sequence[str], moment: datetime
) -> "pd.DataFrame":
    """Issue forecasts at the start of each chunk that has none yet, from what was known then; issued ones are never rewritten.

    Args:
        model: the champion, as the registry loaded it.
        version: its version.
        chunks: consecutive chunks, oldest first.
        moment: the wall clock.

    Returns:
        Rows of ``forecasts`` of all ``chunks``.
    """
    import pandas as pd

    kept = lake.read(policy.model, tables.FORECASTS, {"chunk": list(chunks)})
    missing = [chunk for chunk in chunks if chunk not in set(kept["chunk"])]
    if not missing:
        return kept
    oldest = model.history.groupby("unique_id", sort=False)["ds"].last().min().tz_localize("UTC").to_pydatetime()
    first = min(oldest, policy.cadence.start(missing[0])) - declared(policy).reach
    last = policy.cadence.start(missing[-1])
    ahead = last + declared(policy).reach if declared(policy).known_ahead else last
    rows = read_log(policy, base, first, ahead).accepted
    told = [issue(policy, model, rows, policy.cadence.start(chunk)).assign(chunk=chunk) for chunk in missing]
    fresh = pd.concat(told, ignore_index=True).assign(model_version=version, issued_at=pd.Timestamp(moment))
    frame = _typed(long_of(fresh, declared(policy).levels), tables.FORECASTS)
    return pd.concat([kept, frame], ignore_index=True) if len(kept) else frame


def _typed(frame: "pd.DataFrame", table: tables.Table) -> "pd.DataFrame":
    return frame[list(table.columns)].astype({"is_fallback": "bool", "h": "int64", "level": "int64"})


def served_rows(policy: MonitoredModel, ledger: "pd.DataFrame") -> "pd.DataFrame":
    """What is served for each row of its own chunk: the forecast issued at the chunk's start, as rows of ``scored_batches``."""
    wide = wide_of(ledger)
    own = wide[policy.cadence.keys(wide["ds"]) == wide["chunk"]]
    rows = own.assign(
        prediction_id=row_ids(own["unique_id"], own["ds"]), scored_at=own["issued_at"], role=str(Role.CHAMPION), y_pred=own["mean"]
    )
    return rows[list(tables.scored_batches(policy).columns)].drop_duplicates(["chunk", "prediction_id"], keep="last")


def build_issued_forecasts(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Issue the forecasts of a chunk with the champion."""

    def answer(lake: Lake, model: Any, version: str, chunks: list[str]) -> tuple[str, Mapping[str, Mapping[str, Any]]]:
        ledger = issue_chunks(policy, lake, base, model, version, chunks, datetime.now(UTC))
        lake.replace(policy.model, tables.FORECASTS, ledger, {"chunk": chunks})
        data_version = lake.replace(policy.model, tables.scored_batches(policy), served_rows(policy, ledger), {"chunk": chunks})
        return data_version, {str(chunk): _metadata(own, is_last=chunk == chunks[-1]) for chunk, own in ledger.groupby("chunk")}

    description = (
        "The champion's forecasts at the start of a chunk for the whole horizon, with intervals and its version; every one is kept."
    )
    return batch_asset(policy, description, "forecast", answer)


def _metadata(own: "pd.DataFrame", *, is_last: bool) -> dict[str, Any]:
    single = own[own["level"] == own["level"].max()]
    told: dict[str, Any] = {
        "dagster/partition_row_count": len(single),
        "n_series": int(single["unique_id"].nunique()),
        "n_fallback": int(single.loc[single["is_fallback"], "unique_id"].nunique()),
        "mean_forecast": float(single["mean"].mean()),
        "mean_interval_width": float((single["upper"] - single["lower"]).mean()),
    }
    if is_last:
        lines = [
            f"| {name} | {one['model'].iloc[0]} | {one['ds'].min():%Y-%m-%d %H:%M} | {one['ds'].max():%Y-%m-%d %H:%M} | {one['mean'].mean():.5g} |"
            for name, one in list(single.groupby("unique_id"))[:_SHOWN]
        ]
        head = "| series | model | first step | last step | mean forecast |\n|---|---|---|---|---|"
        told["series"] = dg.MetadataValue.md("\n".join([head, *lines]))
    return told
