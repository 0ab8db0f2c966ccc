"""Read outcomes that come from a file or table of their own, late and in any order.

Belongs here: the contract of incoming outcomes. Does not: joining them to predictions, the lake.
Reads: the declared outcome source.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from resources.policy import MonitoredModel
from resources.source import (
    connect,
    escaped,
    expected_outcome,
    moment_sql,
    open_source,
    outcome_sql,
    reason_sql,
    require_known,
    require_zone,
    text_sql,
)
from resources.vocabulary import Task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class OutcomeRows:
    """Outcomes of a source of their own: the newest of each prediction (``prediction_id, observed_at, y_true``), and broken rows with reasons."""

    accepted: "pd.DataFrame"
    rejected: "pd.DataFrame"


def read_outcomes(policy: MonitoredModel, base: Path, *, ids: "pd.Series | None" = None, known_by: datetime | None = None) -> OutcomeRows:
    """Read outcomes from the source declared for them; of several for one prediction the one observed last counts.

    Args:
        policy: declares ``outcome`` with a file or table.
        base: folder that relative paths start from.
        ids: predictions asked for; all if absent. Broken rows are given whichever prediction they are of.
        known_by: outcomes observed later are left out, UTC; none if absent.

    Raises:
        LogSourceError: for a missing file, table or column, or timestamps without a declared zone.
    """
    outcome = policy.outcome
    name, observed = outcome.id or policy.log.id, outcome.observed_at or ""
    with connect() as connection:
        types = open_source(connection, outcome, base)
        require_known("outcome", [name, observed, outcome.column], types)
        require_zone(connection, outcome, observed, types)
        moment, number = moment_sql(outcome, observed, types), outcome_sql(outcome.column, outcome.classes)
        allowed = "NOT IN (0, 1)" if policy.task is Task.BINARY_CLASSIFICATION else "IS NULL"
        reason = (
            f"CASE WHEN {text_sql(name)} IS NULL THEN 'no prediction id in column ' || '{escaped(name)}' "
            f"WHEN {moment} IS NULL THEN {reason_sql(observed, 'a timestamp')} "
            f"WHEN {number} IS NULL OR NOT isfinite({number}) THEN {reason_sql(outcome.column, expected_outcome(outcome.classes))} "
            f"WHEN {number} {allowed} THEN {reason_sql(outcome.column, 'an outcome of 0 or 1')} END"
        )
        condition = "true"
        if ids is not None:
            connection.register("asked", ids.to_frame("prediction_id"))
            condition = f"{text_sql(name)} IN (SELECT prediction_id FROM asked) OR ({reason}) IS NOT NULL"
        frame = connection.sql(
            f"SELECT {text_sql(name)} AS prediction_id, {moment} AS observed_at, {number} AS y_true, {reason} AS reason, "
            f"CASE WHEN ({reason}) IS NOT NULL THEN to_json(_plumbline_row)::VARCHAR END AS row "
            f"FROM (SELECT *, _plumbline_rows AS _plumbline_row FROM source AS _plumbline_rows) WHERE {condition}"
        ).df()
    good = frame[frame["reason"].isna()].astype({"observed_at": "datetime64[us, UTC]"})
    good = good if known_by is None else good[good["observed_at"] <= known_by]
    newest = good.sort_values(["observed_at", "y_true"], kind="stable").drop_duplicates("prediction_id", keep="last")
    accepted = newest[["prediction_id", "observed_at", "y_true"]].reset_index(drop=True)
    return OutcomeRows(accepted, frame.loc[frame["reason"].notna(), ["prediction_id", "reason", "row"]])
