"""Every issued forecast in the lake, and the frame that its readers want: wide.

Belongs here: names of rows, long to wide and back. Does not: making forecasts, measuring them, their outcomes.
Reads: ``forecasts``, ``forecast_backtests``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import FORECAST_BACKTESTS, FORECASTS

if TYPE_CHECKING:
    import pandas as pd

#: How the time of a row is written in its name; it sorts as text.
ROW_TIME = "%Y-%m-%dT%H:%M:%SZ"
_KEYS = ["chunk", "unique_id", "ds", "h", "cutoff", "model_version", "model", "is_fallback", "mean", "baseline", "issued_at"]


def row_ids(series: "pd.Series", times: "pd.Series") -> "pd.Series":
    """Names of rows ``(n_rows,)``: series and UTC time, as the log of a forecaster is read."""
    return series.astype(str) + "@" + times.dt.strftime(ROW_TIME)


def series_of(policy: MonitoredModel, rows: "pd.DataFrame") -> "pd.Series":
    """Series of each row ``(n_rows,)``; the model's name where there is only one."""
    import pandas as pd

    return pd.Series(policy.model, index=rows.index, dtype=object) if policy.series is None else rows[policy.series].astype(str)


def long_of(wide: "pd.DataFrame", levels: Sequence[int]) -> "pd.DataFrame":
    """One row per level: ``level, lower, upper`` out of the columns ``lo-<level>, hi-<level>``."""
    import pandas as pd

    parts = [
        wide[[name for name in wide if name[:3] not in ("lo-", "hi-")]].assign(
            level=level, lower=wide[f"lo-{level}"].astype("float64"), upper=wide[f"hi-{level}"].astype("float64")
        )
        for level in levels
    ]
    return pd.concat(parts, ignore_index=True)


def wide_of(rows: "pd.DataFrame") -> "pd.DataFrame":
    """One row per forecast, with ``lo-<level>, hi-<level>``: what ``long_of`` was made from."""
    import pandas as pd

    parts = {level: own.set_index(["unique_id", "ds", "cutoff", "model_version"]) for level, own in rows.groupby("level", sort=True)}
    if not parts:
        return pd.DataFrame(columns=_KEYS)
    whole = next(iter(parts.values())).drop(columns=["level", "lower", "upper"])
    for level, own in parts.items():
        whole[f"lo-{level}"], whole[f"hi-{level}"] = own["lower"], own["upper"]
    return whole.reset_index()


def issued(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> "pd.DataFrame":
    """Forecasts for times inside consecutive ``chunks``, whenever they were issued; wide, in time order."""
    if policy.forecast is None or not chunks:
        raise ValueError(f"{policy.model}: got task {policy.task} and {len(chunks)} chunks; expected a forecaster and at least one chunk")
    start, end = policy.cadence.start(min(chunks)), policy.cadence.end(max(chunks))
    first = policy.cadence.key(start - policy.forecast.reach)
    known = [chunk for chunk in lake.partitions(policy.model, FORECASTS, "chunk") if first <= chunk <= max(chunks)]
    rows = lake.read(policy.model, FORECASTS, {"chunk": known}) if known else lake.read(policy.model, FORECASTS, {"chunk": first})
    return wide_of(rows[(rows["ds"] >= start) & (rows["ds"] < end)]).sort_values(["ds", "unique_id", "cutoff"], ignore_index=True)


def backtest(lake: Lake, policy: MonitoredModel, decided: str) -> "pd.DataFrame":
    """What the candidate of one decision would have issued over its held-out rows; wide."""
    return wide_of(lake.read(policy.model, FORECAST_BACKTESTS, {"decided": decided}).drop(columns="decided"))
