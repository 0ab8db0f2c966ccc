"""When outcomes become known, and which are known for a window. Reads: ``outcomes``."""

from datetime import datetime
from typing import TYPE_CHECKING

from resources.chunks import parse_duration
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import OUTCOMES

if TYPE_CHECKING:
    import pandas as pd


def observed_at(policy: MonitoredModel, times: "pd.Series") -> "pd.Series":
    """Moment each outcome becomes known: prediction time ``(n_rows,)`` plus the label delay, UTC."""
    import pandas as pd

    delay = parse_duration(policy.outcome.delay).normalized()
    offset = pd.DateOffset(years=delay.years, months=delay.months, days=delay.days, hours=delay.hours)
    return (times + offset).astype("datetime64[us, UTC]")


def observed_dates(policy: MonitoredModel, moments: "pd.Series") -> "pd.Series":
    """Partition of ``outcomes`` for each moment ``(n_rows,)``: its day, or its month where a chunk is longer than a day."""
    return moments.dt.strftime("%Y-%m-%d" if policy.chunk in ("1h", "1d") else "%Y-%m-01").astype(object)


def known_outcomes(policy: MonitoredModel, lake: Lake, start: datetime, end: datetime) -> "pd.DataFrame":
    """Outcomes of predictions made in ``[start, end)``: ``prediction_id, y_true``; the newest of each prediction."""
    import pandas as pd

    delay = parse_duration(policy.outcome.delay)
    days = pd.Series(pd.date_range((start + delay).date(), (end + delay).date(), freq="D", tz="UTC"))
    dates = list(observed_dates(policy, days).unique())
    rows = lake.read(policy.model, OUTCOMES, {"observed_date": dates})
    newest = rows.sort_values("observed_at", kind="stable").drop_duplicates("prediction_id", keep="last")
    return newest[["prediction_id", "y_true"]]
