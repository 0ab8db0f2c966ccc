"""Who is suspect? Known events near the dated onset, and features that drifted where the model looks.

Belongs here: ranking what is already measured, with the chance of a coincidence. Does not: measuring, or proof; nearness
in time is a hint.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol


class DatedEvent(Protocol):
    """Something that happened to the process, such as ``resources.policy.KnownEvent``."""

    @property
    def at(self) -> datetime:
        """When, with its time zone."""

    @property
    def what(self) -> str:
        """What, in a few words."""


@dataclass(frozen=True)
class Suspect:
    """One event as the cause of a fault.

    Attributes:
        what: of the event.
        at: when it happened.
        distance_hours: onset less event; negative where the event came after the onset.
        score: in (0, 1], 1 at the onset itself.
        p_value: chance that some event of the list lies as near to a moment drawn at random from the span; in [0, 1].
    """

    what: str
    at: datetime
    distance_hours: float
    score: float
    p_value: float


def rank_events(
    events: Sequence[DatedEvent],
    onset: datetime,
    span: tuple[datetime, datetime],
    *,
    uncertainty: timedelta = timedelta(0),
    chunk: timedelta = timedelta(days=1),
) -> list[Suspect]:
    """Rank events by how well they explain an onset.

    Args:
        events: in any order; those outside ``span`` are left out.
        onset: when the harm began, inside ``span``.
        span: first and last moment at which an onset could have been dated.
        uncertainty: standard error of the onset.
        chunk: length of a chunk; nothing is dated much finer.

    Returns:
        Suspects, the best first. The score falls by ``e`` per ``sqrt(uncertainty² + chunk²)`` of distance, and twice as fast for an event after
        the onset, since causes come first. Many events make a near one likely by chance: ``p_value`` says how likely.

    Raises:
        ValueError: the span is empty or does not hold the onset.

    >>> from types import SimpleNamespace
    >>> days = [datetime(2024, 1, day) for day in (1, 10, 11, 31)]
    >>> found = rank_events([SimpleNamespace(at=days[1], what="new sensor")], days[2], (days[0], days[3]))
    >>> found[0].what, found[0].distance_hours, round(found[0].p_value, 3)
    ('new sensor', 24.0, 0.067)
    """
    first, last = span
    if not first <= onset <= last or first == last:
        raise ValueError(f"got onset {onset} and span {first} to {last}; expected a span of some length that holds the onset")
    scale = math.hypot(_hours(uncertainty), _hours(chunk))
    inside = [event for event in events if first <= event.at <= last]
    suspects = [_suspect(event, inside, onset, span, scale) for event in inside]
    return sorted(suspects, key=lambda suspect: (-suspect.score, suspect.at, suspect.what))


def _hours(length: timedelta) -> float:
    return length / timedelta(hours=1)


def _suspect(event: DatedEvent, events: Sequence[DatedEvent], onset: datetime, span: tuple[datetime, datetime], scale: float) -> Suspect:
    distance = _hours(onset - event.at)
    felt = distance if distance >= 0 else -2 * distance
    score = math.exp(-felt / scale) if scale > 0 else float(felt == 0)
    return Suspect(event.what, event.at, distance, score, _coincidence(events, abs(onset - event.at), span))


def _coincidence(events: Sequence[DatedEvent], reach: timedelta, span: tuple[datetime, datetime]) -> float:
    """Share of the span that lies within ``reach`` of some event: the exact value a permutation of the onset would near."""
    first, last = span
    covered, until = timedelta(0), first
    for at in sorted(event.at for event in events):
        start, end = max(at - reach, until), min(at + reach, last)
        if end > start:
            covered += end - start
            until = end
    return covered / (last - first)


@dataclass(frozen=True)
class FeatureSuspect:
    """One feature as the way in of a fault; scores of all features sum to 1 unless nothing drifted."""

    feature: str
    score: float
    effect: float
    importance: float
    attribution_change: float


def rank_features(
    effects: Mapping[str, float], importance: Mapping[str, float], attribution_changes: Mapping[str, float] | None = None
) -> list[FeatureSuspect]:
    """Rank features by drift where the model looks, or newly looks.

    Args:
        effects: feature to its drift effect, any one unit; the sign does not matter, NaN counts as none.
        importance: feature to the share of the model's decision it carries in the reference, in [0, 1]; a missing one counts 0.
        attribution_changes: feature to the change of that share in the chunk, in [-1, 1].

    Returns:
        Features of ``effects``, the best first: ``|effect| * (importance + |change|)``, as a share of the sum. A feature that
        did not drift, or that the model never looks at, scores 0.
    """
    changes = attribution_changes or {}
    raw = {name: (_size(effect), _size(importance.get(name, 0.0)), changes.get(name, 0.0)) for name, effect in effects.items()}
    weights = {name: effect * (share + _size(change)) for name, (effect, share, change) in raw.items()}
    total = sum(weights.values())
    suspects = [FeatureSuspect(name, weights[name] / total if total else 0.0, *raw[name]) for name in raw]
    return sorted(suspects, key=lambda suspect: (-suspect.score, suspect.feature))


def _size(number: float) -> float:
    return abs(number) if math.isfinite(number) else 0.0
