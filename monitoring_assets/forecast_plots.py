"""Pictures of forecasts: with intervals against what happened, and errors by horizon.

Belongs here: drawing. Does not: measuring, pictures over chunks (``plots.py``).
"""

import re
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets.plots import as_markdown, as_png, new_axes
from resources.policy import MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import pandas as pd

#: Series drawn in one picture, and steps of each.
SERIES, STEPS = 3, 400
_COLOURS = ("#0b7a75", "#7a5cff", "#e67e22")
_HORIZON = re.compile(r"h=(\d+)")


def forecasts(policy: MonitoredModel, chunk: str, rows: "pd.DataFrame | None") -> dg.MetadataValue:
    """The forecasts served up to a chunk with their widest interval, and outcomes, as a markdown image; of many series the worst ones."""
    image = draw_forecasts(policy, chunk, rows)
    return as_markdown(image, f"Forecasts up to {chunk} against outcomes")


def draw_forecasts(policy: MonitoredModel, chunk: str, rows: "pd.DataFrame | None") -> bytes | None:
    """The same as a PNG; ``None`` without rows.

    Args:
        rows: ``(n_rows, ...)`` with ``unique_id, ds, cutoff, mean, y`` and interval columns.
    """
    from monitoring_assets.measures.forecast.matured import levels_of
    from monitoring_assets.measures.forecast.watch import served

    if rows is None or rows.empty:
        return None
    own = served(rows)
    error = (own["mean"] - own["y"]).abs().groupby(own["unique_id"]).mean().sort_values(ascending=False)
    figure, axes = new_axes()
    levels = levels_of(own)
    for colour, name in zip(_COLOURS, error.index[:SERIES], strict=False):
        part: Any = own[own["unique_id"] == name].sort_values("ds").tail(STEPS)
        few = "o" if len(part) <= 60 else None
        if levels:
            low, high = part[f"lo-{levels[-1]}"], part[f"hi-{levels[-1]}"]
            axes.fill_between(part["ds"], low, high, color=colour, alpha=0.15, linewidth=0, label=f"{levels[-1]} % interval")
        axes.plot(part["ds"], part["mean"], color=colour, linewidth=1.2, marker=few, markersize=3, label=f"forecast {name}")
        own_colour = colour if len(error) > 1 else "#2c3e50"
        axes.plot(
            part["ds"], part["y"], color=own_colour, linewidth=0.9, linestyle=":", marker=few, markersize=2, alpha=0.8, label="outcome"
        )
    return as_png(figure, axes, f"{policy.model}: forecasts up to {chunk} against outcomes")


def by_horizon(policy: MonitoredModel, chunk: str, lines: "pd.DataFrame") -> dg.MetadataValue:
    """Mean absolute error of a chunk by how far ahead was forecast, as a markdown image."""
    return as_markdown(draw_by_horizon(policy, chunk, lines), "Error by horizon")


def draw_by_horizon(policy: MonitoredModel, chunk: str, lines: "pd.DataFrame") -> bytes | None:
    """The same as a PNG; ``None`` where nothing was measured by horizon."""
    rows = lines[(lines["kind"] == Kind.FORECAST_ERROR) & (lines["subject"] == "mae")]
    places = [
        (int(match[1]), float(row.value), float(row.standard_error)) for row in rows.itertuples() if (match := _HORIZON.match(row.segment))
    ]
    places = sorted(place for place in places if place[1] == place[1])
    if not places:
        return None
    figure, axes = new_axes()
    horizons, values, errors = zip(*places, strict=True)
    spread = [error if error == error else 0.0 for error in errors]
    axes.errorbar(
        horizons, values, yerr=spread, marker="o", markersize=3, linewidth=1, capsize=2, color=_COLOURS[0], label="mae ± standard error"
    )
    axes.set_xlabel("steps ahead", fontsize=8)
    return as_png(figure, axes, f"{policy.model}: error by horizon, {chunk}", is_over_time=False)
