"""Which series of a forecaster are fitted again: those that the harmful chunks point at, with their cohort where it is the unit.

Belongs here: from breached lines to names of series. Does not: measuring, fitting. Reads: ``measurements``.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from resources.forecast_ledger import series_of
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import MEASUREMENTS
from resources.vocabulary import Kind, Scope

if TYPE_CHECKING:
    import pandas as pd

_POINTING = (Kind.FORECAST_ERROR, Kind.INTERVAL_COVERAGE, Kind.RESIDUAL_DRIFT, Kind.REALIZED_PERFORMANCE)


def series_at_fault(policy: MonitoredModel, lake: Lake, made: Mapping[str, Any] | None, rows: "pd.DataFrame") -> set[str] | None:
    """Series to fit again for an order.

    Args:
        policy: declares ``forecast.scope``.
        made: the decision behind the order; ``None`` where a person started it.
        rows: ``(n_rows, ...)`` that say which series belong to which cohort.

    Returns:
        Names of series; ``None`` for all of them: where that is the scope, or where no single one was pointed at.
    """
    first = made["inputs"].get("first_harm") if made is not None else None
    if policy.forecast is None or policy.forecast.scope is Scope.ALL or made is None or not first:
        return None
    chunks, chunk = [first], first
    while chunk < made["chunk"]:
        chunk = policy.cadence.shift(chunk, 1)
        chunks.append(chunk)
    lines = lake.read(policy.model, MEASUREMENTS, {"chunk": chunks})
    pointed = lines[lines["breach"] & lines["is_deciding"].fillna(True).astype(bool) & lines["kind"].isin(_POINTING)]
    return named(policy, set(pointed["segment"]), rows) or None


def named(policy: MonitoredModel, segments: set[str], rows: "pd.DataFrame") -> set[str]:
    """Series that lie in any of ``segments`` such as ``store=17`` or ``region=north``; all segments together name none."""
    own, found = series_of(policy, rows), set()
    for segment in segments:
        column, is_one, value = segment.partition("=")
        if is_one and column in rows:
            found |= set(own[rows[column].astype(str) == value])
    return found
