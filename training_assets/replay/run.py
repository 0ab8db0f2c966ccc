"""One replay from lake to comparison: what the command and the job both call.

Belongs here: gathering what is recorded, walking every policy, putting figures side by side. Does not: printing, pictures, Dagster.
Reads: the log, ``verdict_vintages``, ``rollout_events``, ``overrides``, ``decisions``, ``reference_rows``; the registry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources import tables
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.policy_changes import changes
from resources.registry import Registry
from resources.retraining import Cost
from resources.vocabulary import Event
from training_assets.recipes import load_version
from training_assets.replay.evidence import Evidence
from training_assets.replay.figures import Comparison, Figures, Money, figures_of, first_harm
from training_assets.replay.past import Past
from training_assets.replay.path import Path as Walked
from training_assets.replay.path import Walk
from training_assets.replay.recorded import Recorded, Tick, calendar_ticks, nothing_recorded, read_recorded
from training_assets.replay.reproduce import reproduce
from training_assets.replay.rivals import NEVER, NEW, TODAY, rivals
from training_assets.replay.workshop import Workshop

if TYPE_CHECKING:
    import pandas as pd

#: Models a replay trains for each policy, unless told otherwise.
MOST_TRAININGS = 20
OnTick = Callable[[str], None]


class NothingToReplayError(LookupError):
    """There is no evaluation in the asked stretch of time."""


@dataclass(frozen=True)
class Asked:
    """What a replay is asked for.

    Attributes:
        new: the declaration to try; today's alone if absent.
        start: from when it takes over; before that the live ledger is followed.
        end: last moment that is looked at.
        train: models trained for each policy at most.
        every: of the fixed schedule it is compared with.
        onset: since when a harm is known to have been there; dated or found if absent.
    """

    new: MonitoredModel | None = None
    start: datetime | None = None
    end: datetime | None = None
    train: int = MOST_TRAININGS
    every: str = "30d"
    onset: datetime | None = None


@dataclass
class Scene:
    """History and tools that all policies of one replay share."""

    recorded: Recorded
    workshop: Workshop
    ticks: Sequence[Tick]
    evidence: Evidence = field(init=False)

    def __post_init__(self) -> None:
        """Evidence by the model's own declaration, so that all policies see the same."""
        self.evidence = Evidence(self.recorded.policy, self.workshop)

    def walk(self, policy: MonitoredModel, asked: Asked, on_tick: Callable[[], None], *, heeds_overrides: bool) -> Walked:
        """Walk one policy through this history."""
        walk = Walk(policy, self.recorded, self.evidence, self.workshop, asked.train, asked.start, heeds_overrides)
        return walk.run(self.ticks, on_tick)

    @property
    def chunks(self) -> list[str]:
        """Chunks since the reference that had ended at the last evaluation."""
        policy = self.recorded.policy
        return [
            chunk
            for chunk in self.workshop.past.chunks()
            if policy.cadence.start(chunk) >= policy.reference.end and policy.cadence.end(chunk) <= self.ticks[-1].as_of
        ]


def replay(
    policy: MonitoredModel, lake: Lake, registry: Registry, base: Path, asked: Asked, on_tick: OnTick = lambda _: None
) -> Comparison:
    """Replay the record of a model under several policies.

    Args:
        policy: today's declaration.
        lake: where the record is.
        registry: holds the recorded versions.
        base: folder that the log's path starts from.
        asked: what to try.
        on_tick: told the policy's name before each evaluation.

    Raises:
        NothingToReplayError: when nothing was recorded in the asked stretch of time.
    """
    recorded = read_recorded(policy, lake)
    ticks = [tick for tick in recorded.ticks() if asked.end is None or tick.as_of <= asked.end]
    if not [tick for tick in ticks if asked.start is None or tick.as_of >= asked.start]:
        told = f"got no evaluation {_span(asked)}; expected some: the model has not been monitored then"
        raise NothingToReplayError(f"{policy.model}: {told}")
    past = Past(policy, base, policy.cadence.end(policy.cadence.key(ticks[-1].as_of)))
    workshop = Workshop(policy, past, _loader(policy, registry, recorded), _references(policy, lake, past), recorded.vintages)
    scene = Scene(recorded, workshop, ticks)
    repeated = reproduce(recorded)
    said = "no live ledger to repeat" if recorded.ledger.empty else f"{len(recorded.ledger)} live evaluations repeated"
    if len(recorded.ledger):
        said += (
            f", {len(repeated.taken)} of them taken over as recorded: made under a declaration that is not given" if repeated.taken else ""
        )
        said += ": the same" if repeated.is_exact else f", {len(repeated.differing)} differences: {repeated.differing[0]}"
    return compare(scene, asked, said, on_tick)


def rehearse(policy: MonitoredModel, base: Path, until: datetime) -> Scene:
    """A scene without a record: the model is trained and monitored by the replay itself from the end of its reference on.

    Args:
        policy: the model; its log carries rows from before the reference where the platform scores.
        base: folder that the log's path starts from.
        until: last moment.
    """
    past = Past(policy, base, until)
    workshop = Workshop(policy, past, lambda _: None, lambda _: _declared_reference(policy, past))
    return Scene(nothing_recorded(policy), workshop, calendar_ticks(policy, until))


def compare(scene: Scene, asked: Asked, reproduced: str, on_tick: OnTick = lambda _: None) -> Comparison:
    """Walk never, every chunk, a fixed schedule, today's policy and the new one through one history."""
    today = scene.recorded.policy
    named = {**rivals(today, asked.every), TODAY: today, **({NEW: asked.new} if asked.new is not None else {})}
    paths = {
        name: scene.walk(policy, asked, partial(on_tick, name), heeds_overrides=name in (TODAY, NEW)) for name, policy in named.items()
    }
    chunks = [chunk for chunk in scene.chunks if asked.start is None or today.cadence.end(chunk) > asked.start]
    onset, how = _onset(scene, asked, paths[NEVER], chunks)
    money = _money(scene, paths[NEVER], asked, chunks)
    figures = [figures_of(name, path, scene.workshop, chunks, onset, money) for name, path in paths.items()]
    told = f"{onset:%Y-%m-%d %H:%M}, {how}" if onset is not None else "none: nothing was harmed"
    steps = paths[TODAY].steps
    return Comparison(
        today.model, today.metrics[0], f"{steps[0].as_of:%Y-%m-%d %H:%M}", f"{steps[-1].as_of:%Y-%m-%d %H:%M}", told, figures, reproduced,
        changes(today, asked.new) if asked.new is not None else [], _notes(today, asked, figures),
    )  # fmt: skip


def _notes(today: MonitoredModel, asked: Asked, figures: Sequence[Figures]) -> list[str]:
    notes = [f"{one.policy}: {one.note}; the model that serves is kept" for one in figures if one.note]
    if asked.new is not None and asked.new.fit_hash != today.fit_hash:
        notes.append(
            "the new declaration measures other things; the evidence is as today's declaration measured it, so only retrain is compared"
        )
    return notes


def _onset(scene: Scene, asked: Asked, never: Walked, chunks: Sequence[str]) -> tuple[datetime | None, str]:
    """Since when the harm is there: as given, as a live run dated it, else from the first harmful chunk had nothing been retrained."""
    if asked.onset is not None:
        return asked.onset, "as given"
    ledger, first = scene.recorded.ledger, asked.start
    dated = [] if ledger.empty else [moment.to_pydatetime() for moment in ledger["onset"].dropna()]
    dated = [moment for moment in dated if first is None or moment >= first]
    if dated:
        return min(dated), "as dated live"
    harmed = first_harm(never, scene.recorded, scene.evidence, chunks)
    return (None, "") if harmed is None else (scene.recorded.policy.cadence.start(harmed), "start of the first harmful chunk under never")


def _money(scene: Scene, never: Walked, asked: Asked, chunks: Sequence[str]) -> Money | None:
    declared: list[Cost] = [
        part.cost
        for policy in (asked.new, scene.recorded.policy)
        if policy is not None
        for _, part in policy.retrain.when.walk()
        if part.cost is not None
    ]
    first = next((serving for serving in map(never.serving, chunks) if serving is not None), None)
    if not declared or first is None:
        return None
    pair = scene.evidence.limits(first).pairs.get(scene.recorded.policy.metrics[0])
    return Money(declared[0], pair.mean) if pair is not None else None


def _loader(policy: MonitoredModel, registry: Registry, recorded: Recorded) -> Callable[[str], Any]:
    log = recorded.log
    versions = set(log.loc[log["event"] == Event.PROMOTED, "to_version"].astype(str))
    return lambda version: load_version(policy, registry, version) if version in versions else None


def _references(policy: MonitoredModel, lake: Lake, past: Past) -> "Callable[[str], pd.DataFrame | None]":
    def reference_of(version: str) -> "pd.DataFrame | None":
        rows = lake.read(policy.model, tables.reference_rows(policy), {"reference_version": version})
        return rows if len(rows) else _declared_reference(policy, past)

    return reference_of


def _declared_reference(policy: MonitoredModel, past: Past) -> "pd.DataFrame | None":
    """Rows of the declared reference with the log's own predictions; ``None`` where the log has none."""
    import pandas as pd

    if policy.log.is_scored_here:
        return None
    keys = [chunk for chunk in policy.cadence.keys_between(policy.reference.start, policy.reference.end) if len(past.chunk(chunk))]
    return pd.concat([past.chunk(chunk) for chunk in keys]).assign(is_held_out=True) if keys else None


def _span(asked: Asked) -> str:
    ends: Mapping[str, datetime | None] = {"from": asked.start, "to": asked.end}
    return " ".join(f"{word} {moment:%Y-%m-%d}" for word, moment in ends.items() if moment is not None) or "at all"
