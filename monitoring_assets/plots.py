"""Pictures for asset metadata: values over chunks with their limits, breaches, onset and promotions.

Belongs here: drawing. Does not: measuring. Reads: ``measurements``, ``rollout_events``.
"""

import base64
import io
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets.measures.registry import sign_of
from resources import tables
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.rollout_log import events
from resources.vocabulary import DRIFT_KINDS, Event, Kind, Stage

if TYPE_CHECKING:
    import pandas as pd

#: Chunks shown in one picture; older ones would only make the newest unreadable.
SHOWN = 48


@dataclass(frozen=True)
class Picture:
    """Which measurements a picture shows, and the stages that measure them: no other stage's files are read."""

    kinds: tuple[Kind, ...]
    stages: tuple[Stage, ...]
    title: str


DRIFT = Picture(DRIFT_KINDS, (Stage.DRIFT_REPORT,), "Drift as a share of its limit, worst number per chunk")
PERFORMANCE = Picture(
    (Kind.ESTIMATED_PERFORMANCE, Kind.REALIZED_PERFORMANCE),
    (Stage.ESTIMATED_PERFORMANCE, Stage.REALIZED_PERFORMANCE),
    "Performance, estimated and realized",
)
UNCERTAINTY = Picture(
    (Kind.UNCERTAINTY,), (Stage.MODEL_UNCERTAINTY, Stage.REALIZED_PERFORMANCE), "The model's uncertainty between its limits"
)
COVERAGE = Picture(
    (Kind.INTERVAL_COVERAGE,),
    (Stage.REALIZED_PERFORMANCE,),
    "Share of outcomes inside their interval, between the limits of the backtest",
)
KPIS = Picture((Kind.BUSINESS_KPI,), (Stage.BUSINESS_KPI,), "Business KPIs between their limits")
ATTRIBUTIONS = Picture((Kind.ATTRIBUTION_DRIFT,), (Stage.DIAGNOSIS,), "What predictions lean on, between its limits")

_COLOURS = {Kind.ESTIMATED_PERFORMANCE: "#7a5cff", Kind.REALIZED_PERFORMANCE: "#0b7a75"}


def history(lake: Lake, policy: MonitoredModel, last: str, picture: Picture) -> dg.MetadataValue:
    """The last ``SHOWN`` chunks up to ``last`` as a markdown image that the Dagster UI renders."""
    return as_markdown(draw(lake, policy, last, picture), picture.title)


def as_markdown(image: bytes | None, title: str) -> dg.MetadataValue:
    """A PNG as a markdown image that the Dagster UI renders; words where there is none."""
    if image is None:
        return dg.MetadataValue.md("Nothing measured yet.")
    return dg.MetadataValue.md(f"![{title}](data:image/png;base64,{base64.b64encode(image).decode()})")


def new_axes() -> tuple[Any, Any]:
    """An empty picture of the size the UI shows, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.6, 3.2), dpi=80)
    # fixed margins: a layout engine draws everything twice
    figure.subplots_adjust(left=0.08, right=0.74, top=0.9, bottom=0.13)
    return figure, figure.add_subplot()


def as_png(figure: Any, axes: Any, title: str, *, is_over_time: bool = True) -> bytes:
    """A finished picture with its title and legend."""
    if is_over_time:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_title(title, loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def draw(lake: Lake, policy: MonitoredModel, last: str, picture: Picture) -> bytes | None:
    """The same as a PNG; ``None`` where nothing was measured."""
    keys = [policy.cadence.shift(last, -steps) for steps in range(SHOWN)]
    rows = lake.read(policy.model, tables.MEASUREMENTS, {"chunk": keys, "stage": [str(stage) for stage in picture.stages]})
    rows = rows[rows["kind"].isin(picture.kinds) & rows["value"].notna()].sort_values("chunk")
    return None if rows.empty else _draw(policy, rows, picture, events(lake, policy))


def _draw(policy: MonitoredModel, rows: "pd.DataFrame", picture: Picture, log: "pd.DataFrame") -> bytes:
    figure, axes = new_axes()
    title = picture.title
    if picture is DRIFT:
        rows = rows[rows["is_deciding"]]
        series = rows.groupby(["method", "subject"]).ngroups
        title = f"{rows['method'].iloc[0]} of {rows['subject'].iloc[0]}" if series == 1 else title
        (_draw_one if series == 1 else _draw_drift)(axes, rows)
    elif picture is COVERAGE:
        _draw_coverage(axes, rows)
    elif picture is not PERFORMANCE:
        _draw_between_limits(axes, rows)
    else:
        _draw_performance(axes, policy, rows)
    first, last = rows["chunk_start"].min(), rows["chunk_end"].max()
    _mark_events(axes, log, first, last)
    for known in policy.events:
        mark: Any = known.at
        if first <= known.at <= last:
            axes.axvline(mark, color="#8e44ad", linewidth=1.2, linestyle="-.", label=f"{known.what} ({known.at:%Y-%m-%d})")
    return as_png(figure, axes, f"{policy.model}: {title}")


def _draw_drift(axes: Any, rows: "pd.DataFrame") -> None:
    share = rows.assign(share=rows["value"] / rows["upper_limit"]).replace([float("inf")], float("nan")).dropna(subset=["share"])
    for method, own in share.groupby("method"):
        worst = own.loc[own.groupby("chunk")["share"].idxmax()]
        axes.plot(worst["chunk_start"], worst["share"], marker="o", markersize=3, linewidth=1, label=str(method))
    axes.axhline(1.0, color="#c0392b", linestyle="--", linewidth=1, label="limit")


def _draw_one(axes: Any, rows: "pd.DataFrame") -> None:
    """A single number is drawn in its own unit, with its limit and its breaches."""
    axes.plot(rows["chunk_start"], rows["value"], marker="o", markersize=3, linewidth=1, label=str(rows["method"].iloc[0]))
    broken = rows[rows["breach"]]
    axes.scatter(broken["chunk_start"], broken["value"], color="#c0392b", zorder=3, s=22, label="breach")
    axes.plot(rows["chunk_start"], rows["upper_limit"], color="#c0392b", linestyle="--", linewidth=1, label="limit")


def _draw_coverage(axes: Any, rows: "pd.DataFrame") -> None:
    """Each level's share with the limits that decide, over all rows of a chunk."""
    own = rows[rows["is_deciding"] & (rows["segment"] == "all")]
    for colour, (level, part) in zip(("#0b7a75", "#7a5cff", "#e67e22"), own.groupby("subject"), strict=False):
        axes.plot(part["chunk_start"], part["value"], marker="o", markersize=3, linewidth=1, color=colour, label=str(level))
        axes.fill_between(part["chunk_start"], part["lower_limit"], part["upper_limit"], color=colour, alpha=0.12, linewidth=0)
    broken = own[own["breach"]]
    axes.scatter(broken["chunk_start"], broken["value"], color="#c0392b", zorder=3, s=22)


def _draw_between_limits(axes: Any, rows: "pd.DataFrame") -> None:
    """Numbers of different units on one scale: -1 and 1 are the limits, and 0 lies in the middle of them."""
    lower = rows["lower_limit"].fillna(-rows["upper_limit"])
    placed = rows.assign(place=(rows["value"] - (lower + rows["upper_limit"]) / 2) / ((rows["upper_limit"] - lower) / 2))
    for (method, subject), own in placed.dropna(subset=["place"]).groupby(["method", "subject"]):
        name = method if subject == "prediction" else subject
        axes.plot(own["chunk_start"], own["place"], marker="o", markersize=3, linewidth=1, label=str(name))
    for edge in (-1.0, 1.0):
        axes.axhline(edge, color="#c0392b", linestyle="--", linewidth=1, label="limits" if edge > 0 else None)


def _draw_performance(axes: Any, policy: MonitoredModel, rows: "pd.DataFrame") -> None:
    metric = policy.metrics[0]
    for kind, colour in _COLOURS.items():
        own = rows[(rows["kind"] == kind) & (rows["subject"] == metric)]
        if own.empty:
            continue
        word = "estimated" if kind is Kind.ESTIMATED_PERFORMANCE else "realized"
        axes.plot(own["chunk_start"], own["value"], marker="o", markersize=3, linewidth=1, color=colour, label=f"{word} {metric}")
        broken = own[own["breach"]]
        axes.scatter(broken["chunk_start"], broken["value"], color="#c0392b", zorder=3, s=22)
        side = own["lower_limit" if sign_of(policy.task, metric) > 0 else "upper_limit"]
        axes.plot(own["chunk_start"], side, color=colour, linestyle="--", linewidth=0.8, label=f"{word} limit")


def _mark_events(axes: Any, log: "pd.DataFrame", first: datetime, last: datetime) -> None:
    promoted = log[(log["event"] == Event.PROMOTED) & log["from_version"].notna()]
    markers = (
        ("onset", promoted["onset"].dropna().unique()[:1], "#e67e22", "-"),
        ("promotion", promoted["as_of"].dropna(), "#2c3e50", ":"),
    )
    for label, moments, colour, style in markers:
        for index, moment in enumerate(moments):
            if first <= moment <= last:
                axes.axvline(moment, color=colour, linewidth=1.2, linestyle=style, label=label if index == 0 else None)
