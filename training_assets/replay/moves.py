"""What serves when on a replayed path: recorded promotions that belong to it, and its own.

Belongs here: versions by moment and by chunk. Does not: deciding, training.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from resources.vocabulary import EXTERNAL, Event
from training_assets.decide import Promotion
from training_assets.ledger import champion_of
from training_assets.replay.recorded import Recorded, Tick
from training_assets.replay.workshop import Serving, Workshop


@dataclass(frozen=True)
class Move:
    """Chunks that end after ``as_of`` are served by ``serving``."""

    as_of: datetime
    serving: Serving


@dataclass
class Moves:
    """Moves of one path, oldest first.

    Attributes:
        recorded: what happened; its ``rollout_events`` count as far as the path followed the record.
        workshop: gives recorded versions.
        ticks: the evaluations.
    """

    recorded: Recorded
    workshop: Workshop
    ticks: Sequence[Tick]
    _own: list[Move] = field(default_factory=list)
    _incidents: set[str] = field(default_factory=set)
    _departed: Tick | None = None
    _known: dict[tuple[int, int], list[Move]] = field(default_factory=dict)

    def follow(self, incident: object) -> None:
        """An order was the recorded one: so is what came of it, whenever that was."""
        self._incidents.add(str(incident))

    def depart(self, tick: Tick) -> None:
        """From now on recorded events count only where they answer an order of this path."""
        self._departed = tick

    def promote(self, as_of: datetime, serving: Serving) -> None:
        """A model of the replay serves."""
        self._own.append(Move(as_of, serving))

    def known_at(self, tick: Tick | None) -> list[Move]:
        """All moves that an evaluation could know of; all there are if absent."""
        n_events = len(self.recorded.log) if tick is None else tick.position.events
        asked = (n_events, len(self._own))
        if asked not in self._known:
            self._known[asked] = sorted([*self._of_the_record(n_events), *self._own], key=lambda move: move.as_of)
        return self._known[asked]

    def champion(self, tick: Tick) -> Serving | None:
        """What serves at an evaluation."""
        moves = [move for move in self.known_at(tick) if move.as_of <= tick.as_of]
        return moves[-1].serving if moves else self.served_elsewhere(tick)

    def served_elsewhere(self, tick: Tick | None) -> Serving | None:
        """The model behind the log's own predictions; none where the platform scores."""
        policy = self.recorded.policy
        if policy.log.is_scored_here:
            return None
        vintages = self.recorded.vintages[: tick.position.vintages] if tick is not None else self.recorded.vintages
        found = champion_of(policy, self.recorded.log.iloc[:0], vintages) or Promotion(EXTERNAL, None, None)
        return self.workshop.recorded(found)

    def serving(self, chunk: str, tick: Tick | None = None) -> Serving | None:
        """What serves a chunk; the first model of the platform also serves the history before it."""
        end, moves = self.recorded.policy.cadence.end(chunk), self.known_at(tick)
        own = [move for move in moves if move.as_of < end]
        if own:
            return own[-1].serving
        return moves[0].serving if moves and self.recorded.policy.log.is_scored_here else self.served_elsewhere(tick)

    def _of_the_record(self, n_events: int) -> Iterator[Move]:
        n_followed = self._departed.position.events if self._departed else n_events
        before: Serving | None = None
        for place, row in enumerate(self.recorded.log.iloc[:n_events].itertuples()):
            is_ours = place < n_followed or row.incident in self._incidents
            if row.event in (Event.PROMOTED, Event.ROLLED_BACK) and is_ours:
                before = self.workshop.recorded(self._promotion(str(row.to_version)), before)
                yield Move(self._moment(place, row.as_of), before)

    def _promotion(self, version: str) -> Promotion:
        log = self.recorded.log
        own = log[(log["event"] == Event.PROMOTED) & (log["to_version"] == version)]
        if own.empty:
            return Promotion(version, None, None)
        return Promotion(version, _or_none(own["train_end"].iloc[0]), _or_none(own["onset"].iloc[0]))

    def _moment(self, place: int, as_of: Any) -> datetime:
        """When an event took effect, in the model's own time: as it says, else at the last evaluation that had not seen it."""
        said = _or_none(as_of)
        unseen = [tick.as_of for tick in self.ticks if tick.position.events <= place]
        return said or (unseen[-1] if unseen else self.recorded.policy.reference.end)


def _or_none(value: Any) -> datetime | None:
    return None if value is None or value != value else value.to_pydatetime()
