"""Rows of the production log as they were known at a moment, read once for all policies of a replay.

Belongs here: which rows and outcomes a replayed moment knew. Does not: the lake, models.
Reads: the log source.
"""

from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from resources.log_source import read_log
from resources.policy import MonitoredModel
from training_assets.training_set import NothingToLearnError, labelled_rows

if TYPE_CHECKING:
    import pandas as pd

_EPOCH = datetime.fromisoformat("1900-01-01T00:00:00+00:00")


class Past:
    """The log up to a moment."""

    def __init__(self, policy: MonitoredModel, base: Path, until: datetime) -> None:
        """Name the log; nothing is read before it is asked for.

        Args:
            policy: declares the log.
            base: folder that relative paths start from.
            until: rows from then on are never looked at, UTC.
        """
        self.policy, self.base, self.until = policy, base, until

    @cached_property
    def _rows(self) -> "pd.DataFrame":
        rows = read_log(self.policy, self.base, _EPOCH, self.until).accepted.sort_values("time", kind="stable")
        return rows.assign(chunk=self.policy.cadence.keys(rows["time"])).reset_index(drop=True)

    @cached_property
    def _places(self) -> "dict[str, pd.Index]":
        return {str(chunk): own.index for chunk, own in self._rows.groupby("chunk")}

    def chunks(self) -> list[str]:
        """Chunks with a row, oldest first."""
        return sorted(self._places)

    def chunk(self, key: str, as_of: datetime | None = None) -> "pd.DataFrame":
        """Accepted rows of a chunk in time order; outcomes that became known after ``as_of`` are missing."""
        rows = self._rows.loc[self._places[key]] if key in self._places else self._rows.iloc[:0]
        if as_of is None:
            return rows
        if self.policy.outcome.is_given and len(rows):  # an outcome may have been corrected since
            span = (self.policy.cadence.start(key), self.policy.cadence.end(key))
            known = read_log(self.policy, self.base, *span, known_by=as_of).accepted.set_index("prediction_id")["y_true"]
            return rows.assign(y_true=known.reindex(rows["prediction_id"]).to_numpy())
        return rows.assign(y_true=rows["y_true"].where(rows["observed_at"] <= as_of))

    def labelled(self, policy: MonitoredModel, as_of: datetime) -> "pd.DataFrame":
        """What ``labelled_rows`` gives, without reading the file again where outcomes stand in the log.

        Raises:
            NothingToLearnError: when no outcome is known yet.
        """
        if policy.outcome.is_given:
            return labelled_rows(policy, self.base, as_of)
        rows, start = self._rows, policy.retrain.history_start or _EPOCH
        is_known = (rows["time"] >= start) & (rows["time"] < as_of) & (rows["observed_at"] <= as_of) & rows["y_true"].notna()
        if not is_known.any():
            raise NothingToLearnError(f"{policy.model}: got no labelled row known at {as_of:%Y-%m-%d}; expected some")
        return rows[is_known].drop(columns="chunk").reset_index(drop=True)
