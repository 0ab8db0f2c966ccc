"""The comparison as a picture and as a markdown table.

Belongs here: matplotlib and markdown. Does not: computing.
"""

import io
from collections.abc import Iterator, Sequence

from resources.policy import MonitoredModel
from training_assets.replay.figures import Comparison, Figures

TITLES = ("policy", "alarms a month", "retrainings", "delay (days)", "mean {metric}", "total cost")
_COLOURS = ("#8c959f", "#1f6feb", "#bf8700", "#1a7f37", "#cf222e")


def table_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """One row per policy, cells as text, in the order of ``TITLES``."""
    return [
        (
            one.policy, f"{one.alarms_per_month:.2f}", str(one.retrainings), _number(one.delay_days, ".1f"), _number(one.mean_metric, ".4f"),
            _number(one.cost, ",.0f") if one.cost == one.cost else f"{one.retrainings} retrainings",
        )
        for one in comparison.figures
    ]  # fmt: skip


def titles(comparison: Comparison) -> list[str]:
    """Column titles with the metric's name."""
    return [title.format(metric=comparison.metric) for title in TITLES]


def markdown(comparison: Comparison) -> str:
    """The comparison as a markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in table_rows(comparison)]
    return "\n".join([f"| {' | '.join(titles(comparison))} |", "|---" * len(TITLES) + "|", *lines])


def _number(value: float, form: str) -> str:
    return "–" if value != value else format(value, form)


def picture(policy: MonitoredModel, comparison: Comparison) -> bytes:
    """PNG: the metric of every chunk under each policy, a dot where it was retrained, a tick below where it called."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(10, 5.2), dpi=110, layout="constrained")
        FigureCanvasAgg(figure)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        for place, (one, colour) in enumerate(zip(comparison.figures, _COLOURS, strict=False)):
            times = [policy.cadence.start(chunk) for chunk in one.metric]
            upper.plot(times, list(one.metric.values()), color=colour, linewidth=1.2, label=one.policy)
            retrained = list(_marked(one))
            upper.plot(
                [policy.cadence.start(chunk) for chunk in retrained],
                [one.metric[chunk] for chunk in retrained],
                "o",
                color=colour,
                markersize=4,
            )
            alarmed = [policy.cadence.start(chunk) for chunk in one.alarmed]
            lower.plot(alarmed, [-place] * len(alarmed), "|", color=colour, markersize=9)
        upper.set_ylabel(comparison.metric)
        upper.set_title(f"{comparison.model}: what each policy would have done (dots: retrainings)", loc="left")
        upper.legend(loc="best", frameon=False, ncols=len(comparison.figures))
        lower.set_yticks([-place for place in range(len(comparison.figures))], [one.policy for one in comparison.figures])
        lower.set_ylim(-len(comparison.figures) + 0.5, 0.5)
        lower.set_title("alarms", loc="left")
        written = io.BytesIO()
        figure.savefig(written, format="png", metadata={"Software": None})
    return written.getvalue()


def _marked(one: Figures) -> Iterator[str]:
    chunks: Sequence[str] = one.retrained
    return (chunk for chunk in chunks if one.metric.get(chunk) is not None)
