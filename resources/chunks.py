"""Calendar chunks and durations: from ``1q`` and ``30d`` to instants and back.

Belongs here: pure calendar arithmetic in UTC. Does not: Dagster partitions (``partitions.py``), data.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dateutil.relativedelta import relativedelta

if TYPE_CHECKING:
    import pandas as pd

_UNITS = {"min": "minutes", "h": "hours", "d": "days", "w": "weeks", "mo": "months", "q": "months", "y": "years"}
_DURATION = re.compile(r"(\d+)(min|h|d|w|mo|q|y)")


def parse_duration(text: str) -> relativedelta:
    """Turn ``30d``, ``4y``, ``6mo``, ``1q``, ``12w``, ``1h`` or ``30min`` into a calendar duration.

    Raises:
        ValueError: for anything else, with the accepted forms.

    >>> parse_duration("1q")
    relativedelta(months=+3)
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"got {text!r}; expected a number and a unit of min, h, d, w, mo, q or y, such as 30d or 4y")
    count, unit = int(match[1]), match[2]
    return relativedelta(**{_UNITS[unit]: count * (3 if unit == "q" else 1)})  # type: ignore[arg-type]


def as_utc(moment: datetime) -> datetime:
    """Give a moment in UTC; a naive one is taken as UTC already."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass(frozen=True)
class Cadence:
    """One way to cut time: the size of a chunk, its cron line, key format and pandas period."""

    name: str
    step: relativedelta
    cron: str
    key_format: str
    period: str

    def floor(self, moment: datetime) -> datetime:
        """Start of the chunk that holds ``moment`` (UTC)."""
        day = as_utc(moment).replace(minute=0, second=0, microsecond=0)
        if self.name == "1h":
            return day
        day = day.replace(hour=0)
        if self.name == "1w":
            return day - timedelta(days=day.weekday())
        if self.name == "1mo":
            return day.replace(day=1)
        if self.name == "1q":
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        return day

    def key(self, moment: datetime) -> str:
        """Key of the chunk that holds ``moment``: its start, sortable as text."""
        return self.floor(moment).strftime(self.key_format)

    def keys(self, times: "pd.Series") -> "pd.Series":
        """Key of the chunk of every moment ``(n_rows,)``, UTC."""
        import pandas as pd

        codes, periods = pd.factorize(times.dt.tz_convert("UTC").dt.tz_localize(None).dt.to_period(self.period))
        named = pd.PeriodIndex(periods).start_time.strftime(self.key_format)
        return pd.Series(named.astype(object).take(codes), index=times.index, name=times.name)

    def start(self, key: str) -> datetime:
        """First instant of the chunk called ``key``."""
        return datetime.strptime(key, self.key_format).replace(tzinfo=UTC)

    def end(self, key: str) -> datetime:
        """First instant after the chunk called ``key``."""
        return self.start(key) + self.step

    def shift(self, key: str, steps: int) -> str:
        """Key of the chunk ``steps`` later (negative: earlier)."""
        return (self.start(key) + self.step * steps).strftime(self.key_format)

    def keys_between(self, start: datetime, end: datetime) -> Iterator[str]:
        """Keys of the chunks that lie wholly inside ``[start, end)``, oldest first."""
        key = self.key(start)
        if self.start(key) < as_utc(start):
            key = self.shift(key, 1)
        while self.end(key) <= as_utc(end):
            yield key
            key = self.shift(key, 1)


CADENCES: dict[str, Cadence] = {
    cadence.name: cadence
    for cadence in (
        Cadence("1h", relativedelta(hours=1), "0 * * * *", "%Y-%m-%d-%H", "h"),
        Cadence("1d", relativedelta(days=1), "0 0 * * *", "%Y-%m-%d", "D"),
        Cadence("1w", relativedelta(weeks=1), "0 0 * * 1", "%Y-%m-%d", "W"),
        Cadence("1mo", relativedelta(months=1), "0 0 1 * *", "%Y-%m-%d", "M"),
        Cadence("1q", relativedelta(months=3), "0 0 1 1,4,7,10 *", "%Y-%m-%d", "Q"),
    )
}
