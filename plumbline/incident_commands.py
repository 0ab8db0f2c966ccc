"""``plumbline incidents``, ``acknowledge`` and ``resolve``.

Belongs here: arguments and tables of these commands. Does not: incidents (``resources/incidents.py``, ``incident_log.py``).
"""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from plumbline.screen import console, quiet, refusing
from resources.settings import Settings

if TYPE_CHECKING:
    from resources.incidents import Incident
    from resources.vocabulary import IncidentState

_COLOURS = {"warning": "yellow", "error": "red", "critical": "bold red"}

Name = Annotated[str, typer.Argument(metavar="INCIDENT", help="As `plumbline incidents` names it.")]
Who = Annotated[str, typer.Option(envvar="USER", help="Who says so; kept.")]
Why = Annotated[str, typer.Option(help="Why; kept.")]


def incidents(
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
) -> None:
    """List open incidents: what it is, since when, who looks after it, what the platform did."""
    quiet()
    from plumbline.status import find_policy
    from resources.catalogue import load_catalogue
    from resources.incident_log import read_incidents

    settings = Settings.from_environment()
    with refusing(LookupError):
        policies = [find_policy(settings, model)] if model else [one.policy for one in load_catalogue(settings.models)]
    found = [one for policy in policies for one in read_incidents(settings.lake, policy)]
    shown = [one for one in found if every or not one.is_resolved]
    if not shown:
        console.print(f"no {'' if every else 'open '}incident; {len(found)} so far")
        return
    console.print(_table(shown))


def _table(shown: "list[Incident]") -> Table:
    table = Table(title="Incidents")
    for column in ("incident", "severity", "state", "found", "chunks", "opened", "detected after", "the platform ordered", "over"):
        table.add_column(column, overflow="fold")
    for one in shown:
        colour = "dim" if one.is_resolved else _COLOURS[one.severity]
        table.add_row(
            one.id,
            f"[{colour}]{one.severity}[/{colour}]",
            f"{one.state} by {escape(one.acknowledged_by)}" if one.acknowledged_by else str(one.state),
            one.found,
            f"{one.first_chunk} – {one.last_chunk}",
            f"{one.opened_at:%Y-%m-%d %H:%M}",
            _told(one.time_to_detect),
            "\n".join(f"{order.action} {order.name}" for order in one.orders[-3:]) or "–",
            f"{one.resolved_at:%Y-%m-%d %H:%M}, {escape(one.resolution)}" if one.resolved_at else "–",
        )
    return table


def _told(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.0f} d"


def acknowledge(incident: Name, why: Why, who: Who = "unknown") -> None:
    """Say that somebody looks after an incident: no more reminders, no escalation."""
    from resources.vocabulary import IncidentState

    _say(incident, IncidentState.ACKNOWLEDGED, who, why)


def resolve(incident: Name, why: Why, who: Who = "unknown") -> None:
    """Say that an incident is over."""
    from resources.vocabulary import IncidentState

    _say(incident, IncidentState.RESOLVED, who, why)


def _say(incident: str, state: "IncidentState", who: str, why: str) -> None:
    quiet()
    from resources.catalogue import load_catalogue
    from resources.incident_log import say

    settings = Settings.from_environment()
    policies = [one.policy for one in load_catalogue(settings.models)]
    with refusing(LookupError, ValueError):
        made = say(settings.lake, policies, incident, state, who=who, why=why)
    console.print(f"{made.id} is {made.state}", soft_wrap=True)
