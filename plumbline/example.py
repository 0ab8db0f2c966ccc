"""Run one of ``examples/`` through the ordinary platform and check what its README promises.

Belongs here: the lake of its own, running schedules and sensors, collecting checks. Does not: anything an example says.
"""

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import dagster as dg
import yaml

from plumbline.driver import Driver
from resources import tables
from resources.catalogue import VARIANTS, load_catalogue, read_declarations, read_mapping
from resources.decision_log import read_ledger
from resources.names import job_name, key
from resources.policy import MonitoredModel
from resources.settings import PROJECT, Settings
from resources.vocabulary import Check, Stage

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = PROJECT / "examples"
#: From this many seeds on a rate is pooled and held to its bound without allowance for chance.
_MANY_SEEDS = 20
_MODULE, _NOTIFICATIONS = "example.py", "notifications.yaml"


class UnknownExampleError(LookupError):
    """There is no example of that name."""


@dataclass(frozen=True)
class Finding:
    """One promise of an example: whether it held, the figure that says so, and on which share of seeds it must hold.

    A promise about a rate also gives ``hits`` out of ``trials`` and the ``bound``: over twenty seeds and more the pooled rate decides.
    """

    name: str
    is_held: bool
    figure: str
    share: float = 1.0
    hits: int = 0
    trials: int = 0
    bound: float = 1.0


@dataclass(frozen=True)
class Size:
    """A part of an example.

    Attributes:
        end: until when its schedules are due.
        models: those that run; all if none is named.
        before: when schedules are due before the end.
        replay: from when until when logs are replayed, instead of what their declarations say.
    """

    end: datetime
    models: tuple[str, ...] = ()
    before: tuple[datetime, ...] = ()
    replay: tuple[datetime, datetime] | None = None


@dataclass(frozen=True)
class Seen:
    """What an example's checks may look at once the platform has come to rest."""

    settings: Settings
    instance: dg.DagsterInstance
    driver: Driver
    seed: int
    is_null_twin: bool
    policies: dict[str, MonitoredModel] = field(default_factory=dict)
    end: datetime = datetime.max

    @cached_property
    def _tables(self) -> dict[tuple[str, str], "pd.DataFrame"]:
        return {}

    def table(self, model: str, table: tables.Table) -> "pd.DataFrame":
        """A table of the lake, sorted by chunk."""
        if (model, table.name) not in self._tables:
            self._tables[model, table.name] = self.settings.lake.read(model, table).sort_values("chunk", kind="stable", ignore_index=True)
        return self._tables[model, table.name]

    def ledger(self, model: str) -> "pd.DataFrame":
        """Every evaluation of the retraining policy, oldest first."""
        return read_ledger(self.policies[model], self.settings.lake)

    def measurements(self, model: str) -> "pd.DataFrame":
        """Everything measured on ``model``."""
        return self.table(model, tables.MEASUREMENTS)

    def failed(self, model: str, stage: Stage, check: Check) -> list[str]:
        """Chunks on which a check's newest evaluation failed, oldest first, as the Dagster UI shows them."""
        history = self.instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key(self.policies[model], stage), str(check)), limit=100_000
        )
        newest: dict[str, bool] = {}
        for record in history:  # newest first
            evaluation = record.event.dagster_event.asset_check_evaluation_data if record.event and record.event.dagster_event else None
            if evaluation is not None and evaluation.partition is not None:
                newest.setdefault(str(evaluation.partition), evaluation.passed)
        return sorted(chunk for chunk, is_passed in newest.items() if not is_passed)

    def metadata(self, model: str, stage: Stage, chunk: str) -> dict[str, Any]:
        """Metadata of the newest materialization of a stage for ``chunk``."""
        asked = dg.AssetRecordsFilter(asset_key=key(self.policies[model], stage), asset_partitions=[chunk])
        records = self.instance.fetch_materializations(asked, limit=1).records
        made = records[0].asset_materialization if records else None
        return {name: value.value for name, value in made.metadata.items()} if made else {}

    def runs(self, model: str, purpose: str) -> list[dg.DagsterRun]:
        """Runs of one of a model's jobs, oldest first, with their tags."""
        asked = dg.RunsFilter(job_name=job_name(self.policies[model], purpose))
        return list(reversed(self.instance.get_runs(asked)))

    def run_again(self, model: str, chunk: str) -> None:
        """Monitor ``chunk`` once more, as a person would from the UI."""
        self.driver.run_job("monitoring", job_name(self.policies[model], "monitor"), chunk)
        self._tables.clear()


def names() -> list[str]:
    """Examples there are."""
    return sorted(path.parent.name for path in EXAMPLES.glob(f"*/{_MODULE}"))


def load(name: str) -> ModuleType:
    """The module of an example: ``END``, ``simulate(folder, seed, is_null_twin)``, ``checks(seen)``, a ``SMALL`` size if it is large.

    ``FULL`` is the size of an example whose schedules are due more than once. Where its platform talks to the world outside,
    ``surroundings(home)`` is a context manager that stands in for it during the run.

    Raises:
        UnknownExampleError: for a name that is none, with those there are.
    """
    if name not in names():
        raise UnknownExampleError(f"got example {name!r}; expected one of {', '.join(names())}")
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / name / _MODULE)
    assert spec is not None  # noqa: S101 - the file was just listed
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declare_replay(models: Path, start: datetime, end: datetime) -> None:
    """Let every declaration that is replayed, a variant too, be replayed from ``start`` until ``end``; what else it says stays.

    Args:
        models: folder of an example's own copies: comments are lost.
        start: chunks before this are handed over at once.
        end: the replay stops here.

    Raises:
        ValueError: where no declaration of the folder has a replay.
        DeclarationError: where one is none with that replay.
    """
    found = 0
    for file in sorted(models.glob("*.yaml")):
        raw, _ = read_mapping(file)
        replays = [one["replay"] for one in (raw, *(raw.get(VARIANTS) or {}).values()) if one.get("replay")]
        for replay in replays:
            replay.update(start=start, end=end)
        if replays:
            file.write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
            read_declarations(file)
        found += len(replays)
    if not found:
        raise ValueError(f"got no declaration with a `replay` in {models.name}; expected one, as the size says when it is replayed")


def size_of(example: ModuleType, *, is_small: bool) -> Size:
    """How much of an example is run: the ``SMALL`` part where it is asked for and there is one, else ``FULL``, or all until ``END``."""
    small = getattr(example, "SMALL", None) if is_small else None
    return small or getattr(example, "FULL", None) or Size(example.END)


def lay_out(name: str, home: Path, size: Size) -> Path:
    """Copy the declarations of an example below ``home``, byte for byte unless the size says when logs are replayed; returns their folder."""
    models = home / "models"
    models.mkdir(parents=True, exist_ok=True)
    for declaration in sorted((EXAMPLES / name).glob("*.yaml")):
        shutil.copyfile(declaration, (home if declaration.name == _NOTIFICATIONS else models) / declaration.name)
    if size.replay is not None:
        declare_replay(models, *size.replay)
    return models


def run_example(
    name: str, seed: int, is_null_twin: bool, home: Path, on_run: Callable[[str, str], None], *, is_small: bool = False
) -> list[Finding]:
    """Simulate, run the platform until nothing is left to do, and check.

    Args:
        name: of the example.
        seed: of the simulator.
        is_null_twin: the same data without the fault.
        home: empty folder for the declarations, the logs, lake and registry.
        on_run: told job and partition before each run.
        is_small: run the ``SMALL`` part of an example that has one.
    """
    example = load(name)
    size = size_of(example, is_small=is_small)
    models = lay_out(name, home, size)
    example.simulate(models, seed, is_null_twin)
    settings = Settings.of(home, models)
    policies = {one.policy.model: one.policy for one in load_catalogue(models)}
    policies = {model: policy for model, policy in policies.items() if model in (size.models or policies)}
    with getattr(example, "surroundings", nullcontext)(home), dg.DagsterInstance.ephemeral() as instance:
        driver = Driver(settings, instance, list(policies))
        for moment in (*size.before, size.end):
            driver.run_schedules(moment, on_run)
            driver.run_until_idle(on_run)
        found = example.checks(Seen(settings, instance, driver, seed, is_null_twin, policies, size.end))
        return [replace(one, is_held=bool(one.is_held)) for one in found]  # numpy's truth is no JSON


def temporary_home(name: str) -> Path:
    """A fresh folder for one run."""
    return Path(tempfile.mkdtemp(prefix=f"plumbline-{name}-"))


@dataclass(frozen=True)
class Line:
    """One check over all seeds."""

    name: str
    is_held: bool
    held: int
    seeds: int
    share: float
    figures: Sequence[str]


def over_seeds(findings: Sequence[Sequence[Finding]]) -> list[Line]:
    """Each check over all seeds; it holds where it held on at least its share of them."""
    lines = []
    for first in findings[0]:
        own = [one for found in findings for one in found if one.name == first.name]
        held = sum(one.is_held for one in own)
        is_held, figures = held >= first.share * len(findings) - 1e-9, [one.figure for one in own]
        trials = sum(one.trials for one in own)
        if trials and len(findings) >= _MANY_SEEDS:
            rate = sum(one.hits for one in own) / trials
            is_held, figures = rate <= first.bound, [f"{rate:.2%} of {trials} (bound {first.bound:.0%})", *figures]
        lines.append(Line(first.name, is_held, held, len(findings), first.share, figures))
    return lines


def write_checks(path: Path, name: str, seeds: Sequence[int], is_null_twin: bool, lines: Sequence[Line]) -> None:
    """Write ``checks.json``."""
    plain = [
        {
            "check": one.name,
            "holds": one.is_held,
            "held_on": one.held,
            "seeds": one.seeds,
            "required_share": one.share,
            "figures": list(one.figures),
        }
        for one in lines
    ]
    told = {"example": name, "seeds": list(seeds), "null_twin": is_null_twin, "checks": plain}
    path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
