"""The recorded history of one model, and the moments at which it was, or would have been, evaluated.

Belongs here: the append-only records as a replay sees them, prefix by prefix. Does not: deciding, training.
Reads: ``verdict_vintages``, ``rollout_events``, ``overrides``, ``decisions``.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from resources.chunks import parse_duration
from resources.decision_log import read_ledger
from resources.lake import Lake
from resources.overrides import Ordered, read_overrides
from resources.policy import MonitoredModel
from resources.rollout_log import events
from resources.tables import ROLLOUT_EVENTS
from resources.vintages import JudgedChunk, read_vintages
from resources.vocabulary import Action
from training_assets.ledger import Position

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Tick:
    """One evaluation: when, and how much of each record it had seen.

    Attributes:
        as_of: in the model's own time.
        position: rows of each record, and the policy that was asked.
        row: the live ledger's row, if this was evaluated live.
    """

    as_of: datetime
    position: Position
    row: Any = None

    @property
    def has_fired(self) -> bool:
        """Whether the live policy ordered a retraining here."""
        return self.row is not None and self.row["action"] == Action.RETRAIN


@dataclass(frozen=True)
class Recorded:
    """All a replay reads, each record in the order it was written.

    Attributes:
        policy: the model's declaration.
        vintages: every verdict ever reached.
        log: rows of ``rollout_events``.
        overrides: what people ordered.
        ledger: rows of ``decisions``, oldest first.
    """

    policy: MonitoredModel
    vintages: Sequence[JudgedChunk]
    log: "pd.DataFrame"
    overrides: Sequence[Ordered]
    ledger: "pd.DataFrame"

    def ticks(self) -> list[Tick]:
        """The evaluations of the ledger; without one, a tick for each batch of verdicts that became known together."""
        if len(self.ledger):
            return [Tick(row["as_of"].to_pydatetime(), _position(row), row) for _, row in self.ledger.iterrows()]
        moments = [(place, one.known_at) for place, one in enumerate(self.vintages, 1)]
        batches = [list(group) for _, group in itertools.groupby(moments, key=lambda pair: pair[1])]
        return [Tick(group[-1][1], self._position_at(group[-1][1], group[-1][0])) for group in batches]

    def _position_at(self, as_of: datetime, n_vintages: int) -> Position:
        n_events = sum(moment <= as_of for moment in self.log["as_of"].fillna(self.log["at"]).tolist())
        return Position(n_vintages, n_events, sum(one.as_of <= as_of for one in self.overrides), self.policy.policy_hash)


def _position(row: "pd.Series") -> Position:
    return Position(int(row["vintages_seen"]), int(row["events_seen"]), int(row["overrides_seen"]), str(row["policy_hash"]))


def read_recorded(policy: MonitoredModel, lake: Lake) -> Recorded:
    """Everything recorded about one model."""
    return Recorded(policy, read_vintages(lake, policy), events(lake, policy), read_overrides(lake, policy), read_ledger(policy, lake))


def nothing_recorded(policy: MonitoredModel) -> Recorded:
    """A model that has never run: the replay computes all evidence itself."""
    import pandas as pd

    return Recorded(policy, [], pd.DataFrame(columns=list(ROLLOUT_EVENTS.columns)), [], pd.DataFrame())


def calendar_ticks(policy: MonitoredModel, until: datetime) -> list[Tick]:
    """Ticks of a model that has never run: once the reference is complete, and then whenever a chunk ends, up to ``until``."""
    position = Position(0, 0, 0, policy.policy_hash)
    first = policy.reference.end + parse_duration(policy.outcome.delay)
    ends: Iterable[datetime] = (policy.cadence.end(chunk) for chunk in policy.cadence.keys_between(policy.reference.end, until))
    return [Tick(first, position), *(Tick(end, position) for end in ends if end > first)]
