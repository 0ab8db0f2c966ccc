"""How long harm went unseen, unanswered and unhealed: episodes of harm and their mean times, in the model's own time.

Belongs here: folding verdicts, orders and rollout events into episodes. Does not: judging, deciding, showing.
Reads: ``verdict_vintages``, ``decisions``, ``rollout_events``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from resources.chunks import parse_duration
from resources.clock import now
from resources.decision_log import read_ledger
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.rollout_log import events, own_time
from resources.tables import VERDICT_VINTAGES
from resources.vintages import JudgedChunk
from resources.vocabulary import Action, Event, Verdict

if TYPE_CHECKING:
    import pandas as pd

#: Episodes detected within this long count in the means.
WINDOW = "1y"
_HARM = (Verdict.COVARIATE_HARMFUL, Verdict.LABEL_SHIFT, Verdict.CONCEPT)
_HARMLESS = (Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS)


@dataclass(frozen=True)
class Episode:
    """One stretch of harm, from its onset to the first healthy chunk of the version that answered it; all moments in the model's own time.

    Attributes:
        first_harm: first chunk that was judged to be harm.
        onset: when it began: as the ledger dated it, else the start of ``first_harm``.
        is_dated: whether the onset was dated.
        detected_at: when the first harmful verdict became known.
        ordered_at: when the first retraining was ordered for it.
        promoted_at: when the version that answered it was promoted.
        recovered_at: when the first harmless verdict about another version than the harmed one became known.
        ceased_at: when harm turned out to have ended without another version.
        incident: what the first order was named.
    """

    first_harm: str
    onset: datetime
    is_dated: bool
    detected_at: datetime
    ordered_at: datetime | None = None
    promoted_at: datetime | None = None
    recovered_at: datetime | None = None
    ceased_at: datetime | None = None
    incident: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the model still suffers, as far as is known."""
        return self.recovered_at is None and self.ceased_at is None

    @property
    def to_detect(self) -> timedelta:
        """From the onset to the first harmful verdict; never negative."""
        return max(self.detected_at - self.onset, timedelta(0))

    @property
    def to_order(self) -> timedelta | None:
        """From detection to the order of a retraining."""
        return self._since_detection(self.ordered_at)

    @property
    def to_retrain(self) -> timedelta | None:
        """From detection to the promotion that answered."""
        return self._since_detection(self.promoted_at)

    @property
    def to_recover(self) -> timedelta | None:
        """From detection to the first harmless verdict about the version that answered."""
        return self._since_detection(self.recovered_at)

    def _since_detection(self, moment: datetime | None) -> timedelta | None:
        return None if moment is None else max(moment - self.detected_at, timedelta(0))


@dataclass(frozen=True)
class MeanTimes:
    """Means over episodes; ``None`` where no episode got that far.

    Attributes:
        n_episodes: how many there were.
        n_open: how many have not ended.
        n_recovered: how many ended with another version.
        to_detect: onset to the first harmful verdict.
        to_order: detection to the order.
        to_retrain: detection to the promotion.
        to_recover: detection to the first healthy chunk of the new version.
    """

    n_episodes: int
    n_open: int
    n_recovered: int
    to_detect: timedelta | None
    to_order: timedelta | None
    to_retrain: timedelta | None
    to_recover: timedelta | None

    @property
    def named(self) -> dict[str, timedelta | None]:
        """The four means by name."""
        return {"detect": self.to_detect, "order": self.to_order, "retrain": self.to_retrain, "recover": self.to_recover}


@dataclass(frozen=True)
class _Order:
    """A retraining that was ordered, and how it was answered so far."""

    at: datetime
    incident: str
    onset: datetime | None
    rejected_at: datetime | None
    promoted_at: datetime | None

    def is_pending(self, moment: datetime, *, is_served_here: bool) -> bool:
        """Whether another version is still to come of it; a log served elsewhere may go on with the old one."""
        ended = (self.rejected_at, None if is_served_here else self.promoted_at)
        return self.at <= moment and not any(one is not None and one <= moment for one in ended)


@dataclass
class _Open:
    """An episode that has not ended: which version suffers, and its harmful chunks as known now."""

    version: str
    detected_at: datetime
    first_harm: str
    harmful: set[str] = field(default_factory=set)
    last_harm: str = ""
    ceasing_at: datetime | None = None


def episodes(policy: MonitoredModel, vintages: Sequence[JudgedChunk], ledger: "pd.DataFrame", log: "pd.DataFrame") -> list[Episode]:
    """Stretches of harm, oldest first.

    An episode begins when a harmful verdict about the version that serves becomes known. It has recovered when a later chunk of another
    version is judged harmless; it has ceased when a later chunk of the same version is, or the harmful verdicts are withdrawn, and no
    retraining is on its way.

    Args:
        policy: the monitored model.
        vintages: verdicts in the order they became known.
        ledger: rows of ``decisions``.
        log: rows of ``rollout_events``, oldest first.
    """
    orders = list(_orders(policy, ledger, log))
    found: list[Episode] = []
    current: _Open | None = None
    newest = ""
    serving: str | None = None
    for moment, batch in groupby(vintages, key=lambda one: one.known_at):
        if current and current.ceasing_at and not _waits(policy, orders, current, moment):
            found.append(_closed(policy, current, orders, ceased_at=current.ceasing_at))
            current = None
        for one in sorted(batch, key=lambda own: own.chunk):
            if one.chunk >= newest:
                newest, serving = one.chunk, one.model_version
            current = _follow(current, one, serving)
            if current and _is_recovered(current, one):
                found.append(_closed(policy, current, orders, recovered_at=moment))
                current = None
    if current:
        ceased = (
            current.ceasing_at if not _waits(policy, orders, current, datetime.max.replace(tzinfo=current.detected_at.tzinfo)) else None
        )
        found.append(_closed(policy, current, orders, ceased_at=ceased))
    return found


def _follow(current: _Open | None, one: JudgedChunk, serving: str | None) -> _Open | None:
    """The open episode after one more verdict."""
    if current is None:
        if one.verdict not in _HARM or one.model_version != serving:  # harm of a version that is gone was another episode's
            return None
        return _Open(one.model_version, one.known_at, one.chunk, {one.chunk}, one.chunk)
    if one.verdict in _HARM:
        current.harmful.add(one.chunk)
        current.last_harm, current.ceasing_at = max(current.last_harm, one.chunk), None
        if one.model_version == current.version:
            current.first_harm = min(current.first_harm, one.chunk)
    elif one.verdict in _HARMLESS:
        current.harmful.discard(one.chunk)
        is_after = one.chunk > current.last_harm and one.model_version == current.version
        if (is_after or not current.harmful) and current.ceasing_at is None:
            current.ceasing_at = one.known_at
    return current


def _is_recovered(current: _Open, one: JudgedChunk) -> bool:
    return one.verdict in _HARMLESS and one.model_version != current.version and one.chunk > current.last_harm


def _waits(policy: MonitoredModel, orders: Sequence[_Order], current: _Open, before: datetime) -> bool:
    """Whether a retraining ordered since detection may still bring another version."""
    own = [one for one in orders if current.detected_at <= one.at < before]
    return any(one.is_pending(before, is_served_here=policy.log.is_scored_here) for one in own)


def _closed(
    policy: MonitoredModel, current: _Open, orders: Sequence[_Order], *, recovered_at: datetime | None = None, ceased_at: datetime | None = None
) -> Episode:  # fmt: skip
    """The episode with what was ordered and promoted between its detection and its end."""
    ends = [moment for moment in (recovered_at, ceased_at) if moment is not None]
    own = [one for one in orders if one.at >= current.detected_at and all(one.at <= end for end in ends)]
    promoted = [one.promoted_at for one in own if one.promoted_at is not None]
    dated = [one.onset for one in own if one.onset is not None]
    episode = Episode(
        current.first_harm, policy.cadence.start(current.first_harm), False, current.detected_at,
        promoted_at=min(promoted, default=None), recovered_at=recovered_at, ceased_at=ceased_at,
    )  # fmt: skip
    if own:
        episode = replace(episode, ordered_at=own[0].at, incident=own[0].incident)
    return replace(episode, onset=dated[0], is_dated=True) if dated else episode


def _orders(policy: MonitoredModel, ledger: "pd.DataFrame", log: "pd.DataFrame") -> Iterator[_Order]:
    answers = {
        event: {str(row.incident): own_time(policy, row) for row in log[log["event"] == event].itertuples()}
        for event in (Event.REJECTED, Event.PROMOTED)
    }
    for row in ledger[ledger["action"] == Action.RETRAIN].sort_values("as_of", kind="stable").itertuples():
        incident, onset = str(row.incident), row.onset
        dated = onset.to_pydatetime() if onset is not None and onset == onset else None
        rejected, promoted = (answers[event].get(incident) for event in (Event.REJECTED, Event.PROMOTED))
        yield _Order(row.as_of.to_pydatetime(), incident, dated, rejected, promoted)


def mean_times(found: Iterable[Episode], since: datetime | None = None) -> MeanTimes:
    """Means over the episodes detected at or after ``since``; over all if absent."""
    own = [one for one in found if since is None or one.detected_at >= since]

    def mean(read: Callable[[Episode], timedelta | None]) -> timedelta | None:
        known = [value for value in map(read, own) if value is not None]
        return sum(known, timedelta(0)) / len(known) if known else None

    return MeanTimes(
        len(own), sum(one.is_open for one in own), sum(one.recovered_at is not None for one in own),
        mean(lambda one: one.to_detect), mean(lambda one: one.to_order), mean(lambda one: one.to_retrain), mean(lambda one: one.to_recover),
    )  # fmt: skip


def read_episodes(policy: MonitoredModel, lake: Lake) -> list[Episode]:
    """The episodes of one model as the lake holds them; only the columns that are needed are read."""
    with lake.connect() as connection:
        lake.attach(connection, policy.model, VERDICT_VINTAGES)
        judged = connection.sql("SELECT chunk, verdict, model_version, known_at FROM verdict_vintages ORDER BY written_at, chunk").df()
    ledger = read_ledger(policy, lake)
    orders = ledger[ledger["action"] == Action.RETRAIN]
    vintages = [
        JudgedChunk(row.chunk, Verdict(row.verdict), row.model_version, row.known_at.to_pydatetime()) for row in judged.itertuples()
    ]
    return episodes(policy, vintages, orders, events(lake, policy))


def told(span: timedelta | None) -> str:
    """A time in words: hours below two days, days above; a dash where it is not known."""
    if span is None:
        return "–"
    hours = span.total_seconds() / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} d"


def recent_times(policy: MonitoredModel, lake: Lake, present: datetime | None = None) -> MeanTimes:
    """Mean times over the episodes of the last year of the model's own time."""
    since = (present or now(policy, lake)) - parse_duration(WINDOW)
    return mean_times(read_episodes(policy, lake), since)
