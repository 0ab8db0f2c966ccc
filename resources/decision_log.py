"""The rows of ``decisions`` as both locations and the command line read them.

Belongs here: reading the ledger, what was settled about each chunk. Does not: deciding, or writing an answer (``training_assets/ledger.py``).
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
    """All evaluations, oldest first."""
    return lake.read(policy.model, DECISIONS).sort_values(["evaluation", "chunk"], kind="stable", ignore_index=True)


def settled(rows: "pd.DataFrame") -> "pd.DataFrame":
    """One row per chunk, in calendar order: the retraining it ordered, else the last answer about it."""
    is_order = rows["action"] == Action.RETRAIN
    ranked = rows.assign(is_order=is_order).sort_values(["chunk", "is_order", "evaluation"], kind="stable")
    return ranked.drop_duplicates("chunk", keep="last").drop(columns="is_order").reset_index(drop=True)
