"""The decision ledger: reading history for ``decide`` and keeping each answer, one row per evaluation, also when it is no.

Belongs here: what is known when, the rows of ``decisions``. Does not: deciding, launching runs.
Reads: ``verdict_vintages``, ``rollout_events``, ``overrides``, ``decisions``, ``evaluations``. Writes: ``decisions``.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from resources import tables
from resources.clock import now
from resources.decision_log import read_ledger, settled
from resources.lake import Lake
from resources.overrides import read_overrides
from resources.policy import MonitoredModel
from resources.rollout_log import events
from resources.vintages import JudgedChunk, newest_by_chunk, read_vintages
from resources.vocabulary import EXTERNAL, Action, Event
from training_assets.conditions import Reading
from training_assets.decide import Decision, Fired, History, Promotion, decide

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Position:
    """How much of each append-only record an evaluation had seen; with the policy it tells one evaluation from the next."""

    vintages: int
    events: int
    overrides: int
    policy_hash: str


@dataclass(frozen=True)
class Evaluation:
    """One answer of the policy, and the whole ledger with it."""

    decision: Decision
    rows: "pd.DataFrame"


def read_history(policy: MonitoredModel, lake: Lake) -> History:
    """Everything known now that a decision may rest on."""
    return _history(policy, lake, read_ledger(policy, lake))[0]


def _history(policy: MonitoredModel, lake: Lake, rows: "pd.DataFrame") -> tuple[History, Position]:
    vintages, log, overrides = read_vintages(lake, policy), events(lake, policy), read_overrides(lake, policy)
    history = History(now(policy, lake), vintages, champion_of(policy, log, vintages), fired_of(rows), overrides)
    return history, Position(len(vintages), len(log), len(overrides), policy.policy_hash)


def fired_of(rows: "pd.DataFrame") -> list[Fired]:
    """Retrainings that a ledger has ordered, oldest first."""
    ordered_rows = rows[rows["action"] == Action.RETRAIN]
    columns = (ordered_rows["chunk"], ordered_rows["as_of"], ordered_rows["clause"])
    return [Fired(chunk, as_of.to_pydatetime(), clause) for chunk, as_of, clause in zip(*columns, strict=True)]


def champion_of(policy: MonitoredModel, log: "pd.DataFrame", vintages: Sequence[JudgedChunk]) -> Promotion | None:
    """What serves: the newest promotion or rollback; for a log with predictions, the version its newest chunk names.

    Args:
        log: rows of ``rollout_events`` known so far, oldest first.
        vintages: verdicts known so far.
    """
    if policy.log.is_scored_here:
        moves = log[log["event"].isin([Event.PROMOTED, Event.ROLLED_BACK])]
        if moves.empty:
            return None
        version = str(moves["to_version"].iloc[-1])
    else:
        judged = newest_by_chunk(vintages)
        version = judged[max(judged)].model_version if judged else EXTERNAL
    if log.empty:
        return Promotion(version, None, None)
    own = log[(log["event"] == Event.PROMOTED) & (log["to_version"] == version)]
    if own.empty:
        return Promotion(version, None, None)
    row = own.iloc[0]
    return Promotion(version, _moment(row["train_end"]), _moment(row["onset"]))


def _moment(value: Any) -> datetime | None:
    return None if value is None or value != value else value.to_pydatetime()


def evaluate(policy: MonitoredModel, lake: Lake) -> Evaluation:
    """Decide on all that is known now and keep the answer; on nothing new the last answer stands and nothing is written."""
    import pandas as pd

    rows = read_ledger(policy, lake)
    history, position = _history(policy, lake, rows)
    if len(rows) and _position_of(rows.iloc[-1]) == position:
        before = rows.iloc[:-1]
        return Evaluation(decide(policy, _as_it_was(history, rows.iloc[-1], before)), rows)
    decision = decide(policy, history)
    made = row_of(decision, history.as_of, position, len(rows))
    lake.append(policy.model, tables.DECISIONS, made)
    return Evaluation(decision, pd.concat([rows, made], ignore_index=True) if len(rows) else made)


def _as_it_was(history: History, row: "pd.Series", before: "pd.DataFrame") -> History:
    """The history of an evaluation that has been kept already."""
    return History(row["as_of"].to_pydatetime(), history.verdicts, history.champion, fired_of(before), history.overrides)


def _position_of(row: "pd.Series") -> Position:
    return Position(int(row["vintages_seen"]), int(row["events_seen"]), int(row["overrides_seen"]), str(row["policy_hash"]))


def row_of(decision: Decision, as_of: datetime, position: Position, evaluation: int) -> "pd.DataFrame":
    """The ledger's row of one evaluation."""
    import pandas as pd

    reading = decision.reading
    inputs = {
        "verdicts": list(decision.inputs), "first_harm": decision.first_harm, "causes": list(decision.causes),
        "clauses": [plain(leaf) for leaf in reading.leaves()] if reading else [],
    }  # fmt: skip
    frame = pd.DataFrame([
        {
            "chunk": decision.chunk, "evaluation": evaluation, "action": str(decision.action), "clause": str(decision.clause),
            "incident": decision.incident, "state_before": str(decision.state_before), "state_after": str(decision.state_after),
            "update": str(decision.update), "onset": decision.onset, "inputs": json.dumps(inputs), "as_of": as_of,
            "evaluated_at": datetime.now(UTC), "policy_hash": position.policy_hash, "vintages_seen": position.vintages,
            "events_seen": position.events, "overrides_seen": position.overrides,
        }
    ])  # fmt: skip
    return frame.astype(dict.fromkeys(("onset", "as_of", "evaluated_at"), "datetime64[us, UTC]"))


def plain(leaf: Reading) -> dict[str, Any]:
    """One clause as the ledger keeps it; a number that is not known is null."""
    told = {"clause": leaf.clause, "is_up": leaf.is_up, "is_fresh": leaf.is_fresh, "chunk": leaf.chunk, "chunks": list(leaf.chunks)}
    numbers = {"value": leaf.value, "fire_above": leaf.fire_above, "rearm_below": leaf.rearm_below}
    return told | {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def unanswered_order(policy: MonitoredModel, lake: Lake, rows: "pd.DataFrame | None" = None) -> dict[str, Any] | None:
    """The newest ordered retraining that has produced no evaluation yet: its run may never have been launched."""
    rows = read_ledger(policy, lake) if rows is None else rows
    fired = rows.loc[rows["action"] == Action.RETRAIN, "chunk"]
    if fired.empty or fired.iloc[-1] in lake.partitions(policy.model, tables.EVALUATIONS, "chunk"):
        return None
    return _decoded(rows, fired.iloc[-1])


def ordered(policy: MonitoredModel, lake: Lake, chunk: str) -> dict[str, Any] | None:
    """What was settled about ``chunk`` as a plain mapping, ``inputs`` decoded; ``None`` if nothing was decided."""
    return _decoded(read_ledger(policy, lake), chunk)


def _decoded(rows: "pd.DataFrame", chunk: str) -> dict[str, Any] | None:
    own = settled(rows[rows["chunk"] == chunk])
    if own.empty:
        return None
    row = own.iloc[0].to_dict()
    return {**row, "inputs": json.loads(row["inputs"])}


def keep_onset(policy: MonitoredModel, lake: Lake, chunk: str, onset: datetime) -> None:
    """Complete the order of ``chunk`` with the onset that its run has dated."""
    import pandas as pd

    rows = read_ledger(policy, lake)
    own = rows[(rows["chunk"] == chunk) & (rows["action"] == Action.RETRAIN)].assign(
        onset=pd.Timestamp(onset), evaluated_at=pd.Timestamp(datetime.now(UTC))
    )
    for name in ("onset", "evaluated_at"):
        own[name] = own[name].astype("datetime64[us, UTC]")
    lake.append(policy.model, tables.DECISIONS, own)
