"""How long after a failed check does the retraining run start, on the shipped settings?

``plumbline dev`` is started on a free port with its home in a temporary folder: the shipped ``dagster.yaml``, the shipped
models, daemon, both code locations and the UI. The weather station's log is replayed until its first harmful verdict
has ordered a retraining; day zero does not count. Times are read from the instance: from the timestamp of the failing
``no_harm`` evaluation to the start of the run that carries the incident, with what lies between.

Bound: at most 8 seconds.

    python benchmarks/trigger_latency.py
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import ONE_THREAD, PROJECT, conclude, median, quiet, table, temporary_folder

if TYPE_CHECKING:
    import dagster as dg

_BOUND_SECONDS = 8.0
_MODEL = "weather_station"
_POLL_SECONDS, _GRACE_SECONDS = 2.0, 15.0


@dataclass(frozen=True)
class Reaction:
    """One retraining after a harmful verdict; seconds after the failing evaluation."""

    incident: str
    requested: float
    launched: float
    started: float
    waited_for: str


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _platform(home: Path) -> Iterator[subprocess.Popen]:
    """``plumbline dev`` as a process group of its own; the whole group ends with the block."""
    environment = {**os.environ, "PLUMBLINE_HOME": str(home), "PYTHONPATH": str(PROJECT)}
    for name in (*ONE_THREAD, "PLUMBLINE_MODELS", "PLUMBLINE_LAKE", "PLUMBLINE_MLFLOW", "PLUMBLINE_ARTIFACTS"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "plumbline.cli", "dev", "--port", str(_free_port())]
    with (home / "dev.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
    try:
        yield process
    finally:
        _end_group(process)


def _end_group(process: subprocess.Popen) -> None:
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and _is_alive(process):
            time.sleep(0.2)


def _is_alive(process: subprocess.Popen) -> bool:
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return False
    return True


def _failures(instance: "dg.DagsterInstance", model: str) -> list[float]:
    """Timestamps of failing ``no_harm`` evaluations that name a harm, oldest first."""
    import dagster as dg

    from resources.vocabulary import Check, Stage, Verdict

    check = dg.AssetCheckKey(dg.AssetKey([model, str(Stage.VERDICT)]), str(Check.NO_HARM))
    harmful = {str(Verdict.COVARIATE_HARMFUL), str(Verdict.CONCEPT)}
    moments = []
    for record in instance.event_log_storage.get_asset_check_execution_history(check, limit=5000):
        evaluation = record.evaluation
        if evaluation and not evaluation.passed and "verdict" in evaluation.metadata and evaluation.metadata["verdict"].value in harmful:
            moments.append(record.event.timestamp)
    return sorted(moments)


def _reactions(instance: "dg.DagsterInstance") -> list[Reaction]:
    """Every retraining that a harmful verdict has started so far."""
    import dagster as dg
    from dagster import DagsterEventType

    from resources.vocabulary import TAG_CLAUSE, TAG_INCIDENT, TAG_MODEL

    found = []
    for record in instance.get_run_records(dg.RunsFilter(tags={TAG_CLAUSE: "harmful_verdict"})):
        tags = record.dagster_run.tags
        if record.start_time is None:
            continue
        requested = record.create_timestamp.timestamp()
        failed = [moment for moment in _failures(instance, tags[TAG_MODEL]) if moment <= requested]
        launched = [entry.timestamp for entry in instance.all_logs(record.dagster_run.run_id, of_type=DagsterEventType.PIPELINE_STARTING)]
        if failed and launched:
            seconds = [moment - failed[-1] for moment in (requested, launched[0], record.start_time)]
            found.append(Reaction(tags[TAG_INCIDENT], *seconds, _holding_up(instance, tags[TAG_MODEL], requested, launched[0])))
    return sorted(found, key=lambda reaction: reaction.incident)


def _holding_up(instance: "dg.DagsterInstance", model: str, requested: float, launched: float) -> str:
    """Jobs of the same model that ended while the run stood in the queue: one model's runs go one at a time."""
    import dagster as dg

    from resources.vocabulary import TAG_MODEL

    records = instance.get_run_records(dg.RunsFilter(tags={TAG_MODEL: model}))
    return (
        ", ".join(
            record.dagster_run.job_name.removeprefix(f"{model}__")
            for record in records
            if record.end_time and requested < record.end_time < launched
        )
        or "nothing"
    )


def _observe(home: Path, timeout: float) -> list[Reaction]:
    import dagster as dg

    os.environ["PLUMBLINE_EVENT_LOG"] = str(home / "dagster" / "history" / "runs")  # the shipped dagster.yaml asks for it
    with _platform(home) as process:
        deadline = time.monotonic() + timeout
        while not (home / "dagster" / "history" / "runs.db").exists():
            _require_alive(process, home, deadline)
        with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
            while True:
                reactions = _reactions(instance)
                if any(reaction.incident.startswith(f"{_MODEL}/") for reaction in reactions):
                    return reactions
                _require_alive(process, home, deadline)


def _require_alive(process: subprocess.Popen, home: Path, deadline: float) -> None:
    time.sleep(_POLL_SECONDS)
    if process.poll() is not None or time.monotonic() > deadline:
        tail = "\n".join((home / "dev.log").read_text(encoding="utf-8").splitlines()[-20:])
        raise RuntimeError(
            f"got no retraining of {_MODEL} (platform {'ended' if process.poll() is not None else 'is up'}); its log ends with\n{tail}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result; 1 when the bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1, help="fresh installations, one after the other")
    parser.add_argument("--timeout", type=float, default=480.0, help="seconds to wait for the retraining of one installation")
    options = parser.parse_args(arguments)
    quiet()
    reactions = []
    for _ in range(options.repeats):
        with temporary_folder() as home:
            reactions += _observe(home, options.timeout)
    own = [reaction for reaction in reactions if reaction.incident.startswith(f"{_MODEL}/")]
    print("seconds after the failing no_harm evaluation")
    rows = [[one.incident, one.requested, one.launched, one.started, one.started / _BOUND_SECONDS, one.waited_for] for one in reactions]
    table(["incident", "run requested", "left the queue", "run started", "share of the bound", "queued behind"], rows)
    latency = median(reaction.started for reaction in own)
    result = {
        "bound": f"median from failing check to started run of {_MODEL} at most {_BOUND_SECONDS:.0f} s",
        "latency_s": latency, "ratio_to_bound": latency / _BOUND_SECONDS, "load_average": os.getloadavg()[0],
        "reactions": [asdict(reaction) for reaction in reactions],
    }  # fmt: skip
    return conclude("trigger_latency", result, latency <= _BOUND_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
