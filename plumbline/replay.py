"""``plumbline replay`` and ``plumbline policy diff``: what another policy would have done, and what it changes.

Belongs here: options, tables, progress bar, exit codes. Does not: anything the Dagster job cannot do too (``training_assets/replay``).
"""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from plumbline.screen import console, quiet, refuse, refusing
from resources.catalogue import DeclarationError
from resources.policy import MonitoredModel
from resources.policy_changes import changes, read_change
from resources.settings import Settings
from resources.vocabulary import Task

if TYPE_CHECKING:
    from training_assets.replay.figures import Comparison
    from training_assets.replay.run import Asked

policy_app = typer.Typer(no_args_is_help=True, help="Look at a retraining policy.")
_DAYS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


def _found(settings: Settings, model: str) -> MonitoredModel:
    from plumbline.status import find_policy

    with refusing(LookupError, code=2):
        return find_policy(settings, model)


def _changed(file: Path, base: MonitoredModel) -> MonitoredModel:
    with refusing(DeclarationError, OSError, code=2):
        return read_change(file, base).policy


@policy_app.command()
def diff(
    model: Annotated[str, typer.Argument(help="Name of the monitored model.")],
    policy: Annotated[Path, typer.Option(help="The changed declaration, or a file that holds only its section retrain.")],
    against: Annotated[Path | None, typer.Option(help="Compare with this file instead of the declaration that is in force.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say in words what a changed policy changes, clause by clause."""
    declared = _found(Settings.from_environment(), model)
    old = _changed(against, declared) if against is not None else declared
    said = changes(old, _changed(policy, declared))
    if as_json:
        print(json.dumps(said, indent=2))
        return
    for line in said or ["nothing changes"]:
        console.print(f"- {line}", soft_wrap=True, markup=False, highlight=False)


def replay(
    model: Annotated[str, typer.Argument(help="Name of the monitored model.")],
    policy: Annotated[
        Path | None, typer.Option(help="The policy to try: a declaration, or a file that holds only its section retrain.")
    ] = None,
    start: Annotated[
        datetime | None, typer.Option("--from", formats=_DAYS, help="From when it takes over; from the first evaluation if absent.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=_DAYS, help="Where the replay stops; at the last evaluation if absent.")
    ] = None,
    train: Annotated[int, typer.Option(min=0, help="Models trained for each policy at most; beyond it the one that serves is kept.")] = 20,
    every: Annotated[str, typer.Option(help="Fixed schedule to compare with, such as 30d.")] = "30d",
    max_alarms: Annotated[float | None, typer.Option(min=0, help="Fail if the new policy would call more often than this a month.")] = None,
    result: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw the metric of every chunk under each policy into this PNG file.")] = None,
    home: Annotated[Path | None, typer.Option(help="Folder of lake and registry, such as an example's; PLUMBLINE_HOME if absent.")] = None,
) -> None:
    """Say what a policy would have done on recorded history, beside never, every chunk, a fixed schedule and today's policy."""
    quiet()
    from resources.chunks import as_utc, parse_duration
    from training_assets.replay.run import Asked

    settings = Settings.at(home)
    declared = _found(settings, model)
    new = _changed(policy, declared) if policy is not None else None
    if declared.task is Task.FORECAST:
        raise refuse(f"{model}: got a forecaster; expected a model of single rows: a forecast depends on all forecasts before it", 2)
    with refusing(ValueError, code=2):
        parse_duration(every)
    asked = Asked(new, as_utc(start) if start else None, as_utc(end) if end else None, train, every)
    comparison = _replayed(settings, declared, asked)
    _show(comparison)
    _keep(declared, comparison, result, picture)
    if excess := comparison.excess(max_alarms):
        raise refuse(excess)


def _replayed(settings: Settings, declared: MonitoredModel, asked: "Asked") -> "Comparison":
    """The comparison, with a progress bar."""
    from training_assets.replay.run import NothingToReplayError, replay

    registry = settings.registry
    evaluations = TextColumn("{task.completed} evaluations")
    with Progress(
        SpinnerColumn(), TextColumn("{task.description:<24}"), BarColumn(), evaluations, TimeElapsedColumn(), console=console
    ) as progress:
        bar = progress.add_task("reading the record", total=None)

        def told(name: str) -> None:
            progress.update(bar, advance=1, description=name)

        with refusing(NothingToReplayError, code=2):
            found = replay(declared, settings.lake, registry, settings.models, asked, told)
        progress.update(bar, total=progress.tasks[0].completed, description="done")
    return found


def _keep(declared: MonitoredModel, comparison: "Comparison", result: Path | None, picture: Path | None) -> None:
    from training_assets.replay.picture import picture as drawn

    if result is not None:
        result.write_text(json.dumps(comparison.as_plain(), indent=2) + "\n", encoding="utf-8")
        console.print(f"written to {result}", soft_wrap=True)
    if picture is not None:
        picture.write_bytes(drawn(declared, comparison))
        console.print(f"drawn into {picture}", soft_wrap=True)


def _show(comparison: "Comparison") -> None:
    from training_assets.replay.picture import table_rows, titles

    table = Table(title=f"{comparison.model}, {comparison.start} to {comparison.end}")
    for title in titles(comparison):
        table.add_column(title)
    for cells in table_rows(comparison):
        table.add_row(*cells)
    console.print(table)
    lines = [f"onset: {comparison.onset}", f"the record: {comparison.reproduced}", *comparison.changes, *comparison.notes]
    for line in lines:
        console.print(f"- {line}", soft_wrap=True, markup=False, highlight=False)
