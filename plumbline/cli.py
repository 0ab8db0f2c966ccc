"""``plumbline``: demo, dev, example, report, status, rollback, approve, override, predict, replay, policy diff, metrics, incidents, doctor, lineage, schema. Every command calls functions that Dagster jobs call too."""

import json
import os
import shutil
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from plumbline import incident_commands
from plumbline.predict import predict
from plumbline.replay import policy_app, replay
from plumbline.screen import console, quiet, refuse, refusing
from resources.quiet import settle
from resources.settings import PROJECT, Settings
from resources.vocabulary import Override

if TYPE_CHECKING:
    import subprocess

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Keeps production models true.", pretty_exceptions_enable=False)
#: Stands in every home folder that `plumbline dev` has made, so that --fresh deletes no other.
_MARKER = ".plumbline-home"
#: Runs one demo takes, measured; only for the progress bar.
_EXPECTED_RUNS = 255


@app.command()
def demo(
    home: Annotated[Path | None, typer.Option(help="Folder for lake and registry; a temporary one if absent.")] = None,
    result: Annotated[Path, typer.Option(help="Where the result is written.")] = Path("demo_result.json"),
) -> None:
    """Run the closed loop headless on a real sensor fault and on its repaired twin."""
    quiet()
    from plumbline.demo import run_demo, temporary_home, write_result

    folder = home or temporary_home()
    columns = (SpinnerColumn(), TextColumn("{task.description:<58}"), BarColumn(), TextColumn("{task.completed} runs"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("starting", total=_EXPECTED_RUNS)
        seen = run_demo(folder, lambda model, purpose, chunk: progress.update(bar, advance=1, description=f"{model}: {purpose} {chunk}"))
        progress.update(bar, total=progress.tasks[0].completed, description="done")
    write_result(seen, result)
    table = Table(title="One real fault, from production log to recovered production", show_header=True)
    for title in ("what", "weather_station", "control"):
        table.add_column(title)
    rows = [
        ("fault", seen.fault, "none"),
        ("first breach (chunk)", seen.first_breach_chunk, ""),
        ("first estimated-performance breach (chunk)", seen.first_estimated_breach_chunk, ""),
        ("first realized-performance breach (chunk)", seen.first_realized_breach_chunk, ""),
        ("onset as dated by the platform", seen.dated_onset, ""),
        ("retrain decision", seen.retrain_decision, f"{seen.control_retrainings} in {seen.control_chunks} chunks"),
        ("first promotion", seen.first_promotion, ""),
        ("champion before → recovered", f"{seen.champion_before} → {seen.champion_after}", ""),
        ("promotions, rejections", f"{seen.promotions}, {seen.rejections}", ""),
        ("ROC AUC on the reference", f"{seen.auc_reference:.3f}", ""),
        ("ROC AUC in the first wholly faulty chunk", f"{seen.auc_first_faulty_chunk:.3f}", ""),
        ("ROC AUC of the recovered champion, next 2,000 days", f"{seen.auc_recovered:.3f}", ""),
        ("ROC AUC of the static model, same days", f"{seen.auc_static_same_days:.3f}", ""),
        ("recovered within chunks", str(seen.recovered_within_chunks), ""),
    ]
    for what, faulty, control in rows:
        table.add_row(what, str(faulty), control)
    console.print(table)
    console.print(f"written to {result}; lake and registry in {folder}")
    for problem in seen.problems:
        console.print(problem, style="red", markup=False, highlight=False)
    raise typer.Exit(0 if seen.is_closed else 1)


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000,
    host: Annotated[str, typer.Option(help="Address of the UI.")] = "127.0.0.1",
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget everything in the home folder first.")] = False,
    reports_port: Annotated[int, typer.Option(help="Port of the HTML reports; 0 serves none.")] = 3001,
) -> None:
    """Open the platform: Dagster UI, both code locations, daemon, schedules and sensors on."""
    settings = Settings.from_environment()
    home = settings.home.absolute()
    marker = home / _MARKER
    if fresh and home.exists():
        if not marker.exists():
            raise refuse(
                f"--fresh: got the folder {home}, which plumbline has not made; expected one that holds {_MARKER}. Empty it by hand."
            )
        shutil.rmtree(home)
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    marker.touch()
    shutil.copyfile(PROJECT / "dagster.yaml", dagster_home / "dagster.yaml")
    event_log = dagster_home / "history" / "runs"  # where Dagster's own class keeps it
    own = {"DAGSTER_HOME": dagster_home, "PLUMBLINE_HOME": home, "PLUMBLINE_EVENT_LOG": event_log, "PYTHONWARNINGS": "ignore"}
    os.environ.update({name: str(value) for name, value in own.items()})
    binary = str(Path(sys.executable).parent / "dagster")
    import subprocess

    # two processes that initialise a fresh SQLite home at once can corrupt it: the first touch is alone
    subprocess.run([binary, "instance", "info"], check=True, stdout=subprocess.DEVNULL, cwd=PROJECT)  # noqa: S603 - our own interpreter's dagster
    from plumbline.leftovers import end_left_over_runs

    ended = end_left_over_runs()
    if ended:
        console.print(f"{ended} runs of a session that was killed are marked as failed and tried again")
    with settings.registry.client():
        pass
    if reports_port:
        command = [sys.executable, "-m", "plumbline.reports", str(settings.reports.absolute()), host, str(reports_port)]
        served = subprocess.Popen(command, cwd=PROJECT)  # noqa: S603 - our own interpreter and module
        os.environ["PLUMBLINE_REPORTS_URL"] = f"http://{host}:{reports_port}"
        if _ends_at_once(served):
            console.print(f"[yellow]reports are not served: port {reports_port} is taken; choose another with --reports-port[/yellow]")
            del os.environ["PLUMBLINE_REPORTS_URL"]
    console.print(f"Plumbline opens on http://{host}:{port} — the weather station's fault is found and repaired within minutes.")
    os.chdir(PROJECT)
    os.execv(binary, [binary, "dev", "-w", "workspace.yaml", "-h", host, "-p", str(port)])  # noqa: S606


def _ends_at_once(process: "subprocess.Popen[bytes]") -> bool:
    """Whether a server could not take its port; one that could has not ended after a second."""
    import subprocess

    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return False
    return True


@app.command()
def example(
    name: Annotated[str, typer.Argument(help="Folder below examples/.")],
    seed: Annotated[int, typer.Option(help="Seed of the simulator; the first one of several.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds to run, one after the other.")] = 1,
    null_twin: Annotated[bool, typer.Option("--null-twin", help="The same data without the fault.")] = False,
    small: Annotated[bool, typer.Option("--small", help="Only the part of a large example that the tests run.")] = False,
    home: Annotated[Path | None, typer.Option(help="Folder for declaration, log and lake; a temporary one if absent.")] = None,
    result: Annotated[Path, typer.Option(help="Where the checks are written.")] = Path("checks.json"),
) -> None:
    """Run an example through the platform and check what its README promises."""
    quiet()
    from plumbline.example import UnknownExampleError, load, over_seeds, run_example, temporary_home, write_checks

    with refusing(UnknownExampleError):
        load(name)
    asked, found = range(seed, seed + seeds), []
    folder = home or temporary_home(name)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<64}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total} seeds"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("starting", total=seeds)
        for one in asked:
            own = folder / f"seed_{one}" if seeds > 1 else folder

            def told(job: str, chunk: str, one: int = one) -> None:
                progress.update(bar, description=f"seed {one}: {job} {chunk}")

            found.append(run_example(name, one, null_twin, own, told, is_small=small))
            progress.update(bar, advance=1)
    lines = over_seeds(found)
    write_checks(result, name, asked, null_twin, lines)
    for line in lines:
        figure = (
            line.figures[0]
            if seeds == 1
            else f"on {line.held} of {line.seeds} seeds (required share {line.share:.0%}); first: {line.figures[0]}"
        )
        word = "[green]holds[/green]" if line.is_held else "[red]FAILS[/red]"
        console.print(f"{word}  {escape(line.name)}: {escape(figure)}", soft_wrap=True)
    console.print(f"written to {result}; lake and reports in {folder}", soft_wrap=True)
    raise typer.Exit(0 if all(line.is_held for line in lines) else 1)


@app.command()
def report(
    model: Annotated[str, typer.Argument(help="Name of the monitored model.")],
    chunk: Annotated[str | None, typer.Option(help="Key of a chunk; the newest judged one if absent.")] = None,
) -> None:
    """Write the HTML report of a chunk and of the model's history, and say where they are."""
    quiet()
    from monitoring_assets.report import write_pages
    from plumbline.status import find_policy
    from resources import tables

    settings = Settings.from_environment()
    with refusing(LookupError):
        policy = find_policy(settings, model)
        judged = settings.lake.partitions(model, tables.VERDICTS, "chunk")
        if not judged or (chunk and chunk not in judged):
            wanted = f"chunk {chunk}" if chunk else "no judged chunk"
            raise LookupError(f"{model}: got {wanted}; expected one of {judged[-5:] or 'none yet: materialize the model first'}")
    for what, file in write_pages(settings, policy, settings.lake, [chunk or judged[-1]]).files.items():
        console.print(f"{what}: {file}", soft_wrap=True)


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say for every model: serving version, newest verdict, newest decision."""
    quiet()
    from plumbline.status import read_status

    rows = read_status(Settings.from_environment())
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(title="Monitored models")
    for column in rows[0]:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="Name of the monitored model.")],
    reason: Annotated[str, typer.Option(help="Why; kept in rollout_events.")],
    approved_by: Annotated[str, typer.Option(envvar="USER", help="Who; kept in rollout_events.")] = "unknown",
    to_version: Annotated[str | None, typer.Option(help="An earlier champion; the previous one if absent.")] = None,
) -> None:
    """Restore the previous champion and record it."""
    quiet()
    from plumbline.status import find_policy
    from training_assets.rollout import NothingToRollBackError, roll_back

    settings = Settings.from_environment()
    registry = settings.registry
    with refusing(NothingToRollBackError, LookupError):
        policy = find_policy(settings, model)
        before, after = roll_back(policy, settings.lake, registry, reason=reason, approved_by=approved_by, to_version=to_version)
    console.print(f"{model}: version {before} served, version {after} serves now")


@app.command()
def approve(
    model: Annotated[str, typer.Argument(help="Name of the monitored model.")],
    why: Annotated[str, typer.Option(help="Why; kept in rollout_events.")],
    who: Annotated[str, typer.Option(envvar="USER", help="Who; kept in rollout_events.")] = "unknown",
) -> None:
    """Promote the challenger that waits for a review."""
    quiet()
    from plumbline.status import find_policy
    from training_assets.approval import NothingStagedError
    from training_assets.approval import approve as promote_staged
    from training_assets.rollout import NotAcceptedError

    settings = Settings.from_environment()
    registry = settings.registry
    with refusing(NothingStagedError, NotAcceptedError, LookupError):
        version = promote_staged(find_policy(settings, model), settings.lake, registry, who=who, why=why)
    console.print(f"{model}: version {version} serves now")


@app.command()
def override(
    model: Annotated[str, typer.Argument(help="Name of the monitored model.")],
    order: Annotated[Override, typer.Argument(help="hold, retrain or release.")],
    until: Annotated[datetime, typer.Option(help="When it ends, UTC.")],
    why: Annotated[str, typer.Option(help="Why; kept in overrides and in the decision ledger.")],
    who: Annotated[str, typer.Option(envvar="USER", help="Who; kept in overrides and in the decision ledger.")] = "unknown",
) -> None:
    """Hold or order retraining beside the policy until a moment, or release an earlier order."""
    quiet()
    from plumbline.status import find_policy
    from resources.overrides import EndedOverrideError, append_override

    settings = Settings.from_environment()
    with refusing(EndedOverrideError, LookupError):
        made = append_override(settings.lake, find_policy(settings, model), order, until, who=who, why=why)
    console.print(f"{model}: {made.told}; the trigger acts on it at its next tick")


@app.command()
def metrics(
    port: Annotated[int, typer.Option(help="Port of the endpoint.")] = 9464,
    host: Annotated[str, typer.Option(help="Address of the endpoint.")] = "127.0.0.1",
    home: Annotated[Path | None, typer.Option(help="Folder of the lake, such as an example's; PLUMBLINE_HOME if absent.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also segments, and measurements that decide nothing.")] = False,
) -> None:
    """Serve the newest numbers of every model to Prometheus, until interrupted."""
    quiet()
    from plumbline.metrics import serve

    settings = Settings.at(home)
    try:
        served = serve(settings, port, host, is_full=every)
    except OSError as error:
        raise refuse(f"got port {port} of {host}, which cannot be used ({error}); choose another with --port") from error
    # whoever starts a server in the background may have set these to be ignored, and then nothing but a kill would end it
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.default_int_handler)
    console.print(f"metrics of {settings.lake_root} on http://{host}:{served.port}/metrics", soft_wrap=True)
    try:
        served.thread.join()
    except KeyboardInterrupt:
        served.close()


app.command("incidents")(incident_commands.incidents)
app.command("acknowledge")(incident_commands.acknowledge)
app.command("resolve")(incident_commands.resolve)


@app.command()
def doctor(
    model: Annotated[str | None, typer.Argument(help="Name of the monitored model; all if absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Walk from the log to the serving version and name the first broken link; exits 1 if there is one."""
    quiet()
    from plumbline.doctor import examine, instance_of, picture, plain

    settings = Settings.from_environment()
    with refusing(LookupError), instance_of(settings) as instance:
        chains = examine(settings, model, instance=instance)
    if as_json:
        print(json.dumps(plain(chains), indent=2))
    else:
        for chain in chains:
            console.print(picture(chain))
    raise typer.Exit(1 if any(chain.first_broken for chain in chains) else 0)


@app.command()
def lineage(
    model: Annotated[str | None, typer.Argument(help="Name of the monitored model; all if absent.")] = None,
    at: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M"], help="Moment in the model's own time, UTC; now if absent.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what served at a moment, what it learned from, what it was proved against, under which policy, and who approved it."""
    quiet()
    from plumbline.governance import picture, read_governance

    with refusing(LookupError):
        lines = read_governance(Settings.from_environment(), model, at)
    if as_json:
        print(json.dumps([line.plain for line in lines], indent=2))
        return
    console.print(picture(lines))


@app.command()
def schema() -> None:
    """Write the JSON Schema of a declaration for editors, the table of its fields and the table of methods."""
    from monitoring_assets.measures.registry import methods_table
    from resources.catalogue import declaration_table, json_schema
    from resources.notification_rules import rules_schema

    for file, text in (
        (PROJECT / "models" / "schema.json", json_schema()),
        (PROJECT / "models" / "notifications.schema.json", rules_schema()),
        (PROJECT / "docs" / "declaration.md", declaration_table()),
        (PROJECT / "docs" / "methods.md", methods_table()),
    ):
        file.write_text(text, encoding="utf-8")
        console.print(f"written: {file.relative_to(PROJECT)}")


app.command()(replay)
app.command()(predict)
app.add_typer(policy_app, name="policy")


def main() -> None:
    """Entry point: nothing phones home, then the command."""
    settle()
    app()


if __name__ == "__main__":
    main()
