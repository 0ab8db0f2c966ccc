"""The decision ledger: reading history for ``decide`` and writing each answer. Reads: ``verdicts``, ``rollout_events``, ``decisions``. Writes: ``decisions``."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

from resources import tables
from resources.clock import now
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.rollout_log import events
from resources.vocabulary import EXTERNAL, Action, Event, Verdict
from training_assets.decide import Decision, Fired, History, JudgedChunk, Promotion

if TYPE_CHECKING:
    import pandas as pd


def read_history(policy: MonitoredModel, lake: Lake) -> History:
    """Everything known now that a decision may rest on."""
    verdicts = lake.read(policy.model, tables.VERDICTS)
    decisions = lake.read(policy.model, tables.DECISIONS)
    fired = decisions[decisions["action"] == Action.RETRAIN]
    return History(
        as_of=now(policy, lake),
        verdicts=[
            JudgedChunk(row.chunk, Verdict(row.verdict), row.model_version, row.known_at.to_pydatetime())
            for row in verdicts.sort_values("chunk").itertuples()
        ],
        champion=_champion(policy, events(lake, policy), verdicts),
        fired=[Fired(row.chunk, row.as_of.to_pydatetime()) for row in fired.sort_values("chunk").itertuples()],
    )


def _champion(policy: MonitoredModel, log: "pd.DataFrame", verdicts: "pd.DataFrame") -> Promotion | None:
    """What serves: the newest promotion or rollback; for a log with predictions, the version its newest chunk names."""
    moves = log[log["event"].isin([Event.PROMOTED, Event.ROLLED_BACK])]
    if not policy.log.is_scored_here:
        version = str(verdicts.sort_values("chunk")["model_version"].iloc[-1]) if len(verdicts) else EXTERNAL
    elif moves.empty:
        return None
    else:
        version = str(moves["to_version"].iloc[-1])
    own = log[(log["event"] == Event.PROMOTED) & (log["to_version"] == version)]
    if own.empty:
        return Promotion(version, None, None)
    row = own.iloc[0]
    return Promotion(version, _moment(row["train_end"]), _moment(row["onset"]))


def _moment(value: Any) -> datetime | None:
    return None if value is None or value != value else value.to_pydatetime()


def write_decision(policy: MonitoredModel, lake: Lake, decision: Decision, as_of: datetime) -> None:
    """Write one answer; a chunk for which a retraining was ordered keeps that answer for good."""
    import pandas as pd

    frame = pd.DataFrame([
        {
            "chunk": decision.chunk,
            "action": str(decision.action),
            "clause": str(decision.clause),
            "incident": decision.incident,
            "state_before": str(decision.state_before),
            "state_after": str(decision.state_after),
            "onset": pd.Timestamp(decision.onset) if decision.onset else pd.NaT,
            "inputs": json.dumps({"verdicts": list(decision.inputs), "first_harm": decision.first_harm, "causes": list(decision.causes)}),
            "as_of": pd.Timestamp(as_of),
        }
    ])  # fmt: skip
    frame["onset"] = pd.to_datetime(frame["onset"], utc=True).astype("datetime64[us, UTC]")
    lake.replace(policy.model, tables.DECISIONS, frame, {"chunk": decision.chunk})


def unanswered_order(policy: MonitoredModel, lake: Lake) -> dict[str, Any] | None:
    """The newest ordered retraining that has produced no evaluation yet: its run may never have been launched."""
    decisions = lake.read(policy.model, tables.DECISIONS)
    fired = decisions.loc[decisions["action"] == Action.RETRAIN, "chunk"]
    evaluated = lake.partitions(policy.model, tables.EVALUATIONS, "chunk")
    return None if fired.empty or fired.max() in evaluated else ordered(policy, lake, fired.max())


def ordered(policy: MonitoredModel, lake: Lake, chunk: str) -> dict[str, Any] | None:
    """The ledger row of ``chunk`` as a plain mapping, ``inputs`` decoded; ``None`` if nothing was decided."""
    rows = lake.read(policy.model, tables.DECISIONS, {"chunk": chunk})
    if rows.empty:
        return None
    row = rows.iloc[0].to_dict()
    return {**row, "inputs": json.loads(row["inputs"])}
