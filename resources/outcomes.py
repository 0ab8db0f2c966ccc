"""When outcomes become known, and which are known for a window. Reads: ``outcomes``."""

from datetime import datetime, timedelta
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


def known_outcomes(policy: MonitoredModel, lake: Lake, start: datetime, end: datetime) -> "pd.DataFrame":
    """Outcomes of predictions made in ``[start, end)``: ``prediction_id, y_true``; the newest of each prediction."""
    delay = parse_duration(policy.outcome.delay)
    day, last, dates = start + delay, end + delay, []
    while day.date() <= last.date():
        dates.append(day.strftime("%Y-%m-%d"))
        day += timedelta(days=1)
    rows = lake.read(policy.model, OUTCOMES, {"observed_date": dates})
    newest = rows.sort_values("observed_at", kind="stable").drop_duplicates("prediction_id", keep="last")
    return newest[["prediction_id", "y_true"]]
