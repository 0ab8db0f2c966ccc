"""What a person orders beside the policy, signed and with an end: hold, retrain, or release either.

Belongs here: the append-only ``overrides`` and which of them stands. Does not: deciding (``training_assets/decide.py``).
Reads and writes: ``overrides``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from resources.chunks import as_utc
from resources.clock import now
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import OVERRIDES
from resources.vocabulary import Override


class EndedOverrideError(ValueError):
    """An override would end before it begins."""


@dataclass(frozen=True)
class Ordered:
    """One override: from ``as_of`` (the model's own time) until ``until``."""

    override: Override
    as_of: datetime
    until: datetime
    who: str
    why: str

    @property
    def told(self) -> str:
        """In words, for the ledger."""
        return f"{self.override} until {self.until:%Y-%m-%d %H:%M} by {self.who}: {self.why}"


def standing(overrides: Sequence[Ordered], as_of: datetime) -> Ordered | None:
    """The newest override that has not expired at ``as_of``; none after a release."""
    begun = [one for one in overrides if one.as_of <= as_of]
    if not begun or begun[-1].override is Override.RELEASE or begun[-1].until <= as_of:
        return None
    return begun[-1]


def append_override(lake: Lake, policy: MonitoredModel, override: Override, until: datetime, *, who: str, why: str) -> Ordered:
    """Record an override from now on.

    Raises:
        EndedOverrideError: when ``until`` is not after the model's present.
    """
    import pandas as pd

    present, until = now(policy, lake), as_utc(until)
    if until <= present and override is not Override.RELEASE:
        raise EndedOverrideError(
            f"{policy.model}: got an override until {until:%Y-%m-%d %H:%M}; expected a moment after {present:%Y-%m-%d %H:%M}"
        )
    made = Ordered(override, present, until, who, why)
    moments = {"at": datetime.now(UTC), "as_of": present, "until": until}
    frame = pd.DataFrame([{**moments, "override": str(override), "who": who, "why": why}])
    lake.append(policy.model, OVERRIDES, frame.astype(dict.fromkeys(moments, "datetime64[us, UTC]")))
    return made


def read_overrides(lake: Lake, policy: MonitoredModel) -> list[Ordered]:
    """All overrides in the order they were made."""
    rows = lake.read(policy.model, OVERRIDES)
    if rows.empty:
        return []
    rows = rows.sort_values("at", kind="stable")
    return [
        Ordered(Override(row.override), row.as_of.to_pydatetime(), row.until.to_pydatetime(), row.who, row.why) for row in rows.itertuples()
    ]
