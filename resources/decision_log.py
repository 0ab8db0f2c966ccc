"""The decision ledger as everyone reads it: one row per evaluation of a policy, oldest first.

Belongs here: reading and settling ``decisions``. Does not: deciding and writing (``training_assets/ledger.py``).
Reads: ``decisions``.
"""

from typing import TYPE_CHECKING

from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import DECISIONS
from resources.vocabulary import Action

if TYPE_CHECKING:
    import pandas as pd


def read_ledger(policy: MonitoredModel, lake: Lake) -> "pd.DataFrame":
    """All evaluations, oldest first; one that was completed later, with the onset its run has dated, stands once."""
    rows = lake.read(policy.model, DECISIONS)
    if rows["evaluation"].is_monotonic_increasing and rows["evaluation"].is_unique:
        return rows
    rows = rows.sort_values(["evaluation", "evaluated_at"], kind="stable")
    return rows.drop_duplicates("evaluation", keep="last").reset_index(drop=True)


def settled(rows: "pd.DataFrame") -> "pd.DataFrame":
    """One row per chunk, in calendar order: the retraining it ordered, else the last answer about it."""
    is_order = rows["action"] == Action.RETRAIN
    ranked = rows.assign(is_order=is_order).sort_values(["chunk", "is_order", "evaluation"], kind="stable")
    return ranked.drop_duplicates("chunk", keep="last").drop(columns="is_order").reset_index(drop=True)


def newest_decided(policy: MonitoredModel, lake: Lake) -> str | None:
    """Newest chunk that has been decided on, if any."""
    with lake.connect() as connection:
        lake.attach(connection, policy.model, DECISIONS)
        found = connection.execute(f"SELECT max(chunk) FROM {DECISIONS.name}").fetchone()
    return str(found[0]) if found and found[0] is not None else None
