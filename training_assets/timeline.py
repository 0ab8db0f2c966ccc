"""The ledger as a picture and a table for the asset's page: what was decided when, and by which clause.

Belongs here: SVG and markdown of ledger rows. Does not: deciding.
"""

import base64
import json
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

from resources.vocabulary import Action

if TYPE_CHECKING:
    import pandas as pd

_COLOURS = {Action.RETRAIN: "#1f6feb", Action.OPEN_INCIDENT: "#d29922", Action.HOLD: "#c9d1d9"}
_WIDTH, _BAR, _TOP, _HEIGHT = 860, 34, 10, 78
_MOST_BARS, _MOST_ROWS = 120, 20


def picture(rows: "pd.DataFrame") -> str:
    """A bar per chunk, newest to the right, as a markdown image: the retraining it ordered, else the last answer about it.

    Args:
        rows: rows of ``decisions``, oldest first.
    """
    settled: dict[str, tuple[str, str]] = {}
    for chunk, action, clause in zip(rows["chunk"], rows["action"], rows["clause"], strict=True):
        if settled.get(chunk, ("", ""))[0] != Action.RETRAIN:
            settled[chunk] = action, clause
    shown = sorted(settled.items())[-_MOST_BARS:]
    step = _WIDTH / max(len(shown), 1)
    bars = [
        f'<rect x="{place * step:.1f}" y="{_TOP}" width="{max(step - 1, 1):.1f}" height="{_BAR}" fill="{_COLOURS[Action(action)]}">'
        f"<title>{escape(f'{chunk}: {action} by {clause}')}</title></rect>"
        for place, (chunk, (action, clause)) in enumerate(shown)
    ]
    ends = [(0, "start", shown[0][0]), (_WIDTH, "end", shown[-1][0])] if shown else []
    texts = [f'<text x="{x}" y="{_TOP + _BAR + 14}" text-anchor="{anchor}">{escape(chunk)}</text>' for x, anchor, chunk in ends]
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="#57606a">{"".join([*bars, *texts, *_legend()])}</svg>'
    )
    return f"![decisions over time](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def _legend() -> Iterator[str]:
    for place, (action, colour) in enumerate(_COLOURS.items()):
        x, y = place * 130, _HEIGHT - 12
        yield f'<rect x="{x}" y="{y}" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="{y + 9}">{str(action).replace("_", " ")}</text>'


def table(rows: "pd.DataFrame") -> str:
    """The latest evaluations as a markdown table, newest first."""
    lines = [
        f"| {row.chunk} | {row.as_of:%Y-%m-%d %H:%M} | {row.action} | {row.clause} | {row.state_before} → {row.state_after} | {_read(row.inputs)} |"
        for row in rows.tail(_MOST_ROWS).iloc[::-1].itertuples()
    ]
    return "\n".join(["| chunk | as of | action | clause | state | what the clauses read |", "|---|---|---|---|---|---|", *lines])


def _read(inputs: str) -> str:
    clauses = json.loads(inputs).get("clauses", [])
    return (
        ", ".join(
            f"{one['clause']} {_show(one['value'])} / {_show(one['fire_above'])}{' **holds**' if one['is_up'] else ''}" for one in clauses
        )
        or "–"
    )


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
