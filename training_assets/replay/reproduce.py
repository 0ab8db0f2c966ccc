"""The live ledger again: every evaluation repeated from what it had seen, orders fed back from the repetition itself.

Belongs here: repeating rows, saying where they differ. Does not: another policy (``path.py``), reading the lake.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resources.policy import MonitoredModel
from resources.vocabulary import Action
from training_assets.decide import Decision, Fired, History, decide
from training_assets.ledger import champion_of, row_of
from training_assets.replay.recorded import Recorded, Tick

if TYPE_CHECKING:
    import pandas as pd

#: What must be the same; ``evaluated_at`` is the clock on the wall, and ``onset`` is compared where the decision itself gives one.
COMPARED = (
    "chunk", "evaluation", "action", "clause", "incident", "state_before", "state_after", "update", "inputs", "as_of", "policy_hash",
    "vintages_seen", "events_seen", "overrides_seen",
)  # fmt: skip


@dataclass(frozen=True)
class Reproduction:
    """The ledger as the replay wrote it, where it differs from the live one, and rows it could only take over.

    Attributes:
        rows: as ``decisions``, one per live evaluation.
        differing: a line per difference: evaluation, field, live, replayed.
        taken: evaluations made under a policy that is not given; they are taken over, their orders included, and prove nothing.
    """

    rows: "pd.DataFrame"
    differing: Sequence[str]
    taken: Sequence[int]

    @property
    def is_exact(self) -> bool:
        """Whether every row that could be repeated is the same."""
        return not self.differing


def reproduce(recorded: Recorded, former: Sequence[MonitoredModel] = ()) -> Reproduction:
    """Repeat the live ledger.

    Args:
        recorded: what happened.
        former: declarations that ran before ``recorded.policy``; a row is repeated under the one whose hash it carries.
    """
    import pandas as pd

    policies = {one.policy_hash: one for one in (*former, recorded.policy)}
    fired: list[Fired] = []
    made, differing, taken = [], list[str](), list[int]()
    for place, tick in enumerate(recorded.ticks()):
        if tick.row is None:
            break
        policy = policies.get(tick.position.policy_hash)
        if policy is None:
            row = tick.row.to_frame().T
            taken.append(int(tick.row["evaluation"]))
        else:
            row = row_of(_repeated(policy, recorded, tick, fired), tick.as_of, tick.position, place)
            differing += _differences(tick.row, row.iloc[0])
        made.append(row)
        fired += _order(row.iloc[0])
    rows = pd.concat(made, ignore_index=True) if made else recorded.ledger
    return Reproduction(rows, differing, taken)


def history_of(policy: MonitoredModel, recorded: Recorded, tick: Tick, fired: Sequence[Fired]) -> History:
    """What an evaluation had seen, with the orders given so far."""
    seen = tick.position
    vintages = recorded.vintages[: seen.vintages]
    champion = champion_of(policy, recorded.log.iloc[: seen.events], vintages)
    return History(tick.as_of, vintages, champion, list(fired), recorded.overrides[: seen.overrides])


def _repeated(policy: MonitoredModel, recorded: Recorded, tick: Tick, fired: Sequence[Fired]) -> Decision:
    return decide(policy, history_of(policy, recorded, tick, fired))


def _order(row: "pd.Series") -> list[Fired]:
    is_order = row["action"] == Action.RETRAIN
    return [Fired(str(row["chunk"]), row["as_of"].to_pydatetime(), str(row["clause"]))] if is_order else []


def _differences(live: "pd.Series", own: "pd.Series") -> list[str]:
    names = [*COMPARED, *([] if _is_missing(own["onset"]) else ["onset"])]
    pairs = [(name, _plain(live[name]), _plain(own[name])) for name in names]
    where = f"evaluation {live['evaluation']} of chunk {live['chunk']}"
    return [f"{where}, {name}: live {before!r}, replayed {after!r}" for name, before, after in pairs if before != after]


def _plain(value: Any) -> Any:
    if _is_missing(value):
        return None
    if isinstance(value, str) and value.startswith("{"):
        told: Mapping[str, Any] = json.loads(value)
        return told
    return value


def _is_missing(value: Any) -> bool:
    return value is None or value != value
