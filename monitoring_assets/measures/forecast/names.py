"""Fixed names of the forecast measures.

Belongs here: kinds of lines, subjects, segments. Does not: computing.
"""

from enum import StrEnum


class ForecastKind(StrEnum):
    """Kinds of lines on matured forecasts."""

    #: Accuracy of point forecasts and quantiles.
    FORECAST_ERROR = "forecast_error"
    #: Share of outcomes inside their interval.
    INTERVAL_COVERAGE = "interval_coverage"
    #: Detectors over one-step errors in time order.
    RESIDUAL_DRIFT = "residual_drift"
    #: A dated break of level or trend in the errors.
    STRUCTURAL_BREAK = "structural_break"
    #: Inputs against the same season of the reference.
    SEASONAL_DRIFT = "seasonal_drift"


#: Method of lines on matured forecasts, as for every realized number.
REALIZED = "realized"
#: What coverage is compared with beside the reference: the level the interval states.
NOMINAL = "nominal"
#: What skill is compared with.
BASELINE = "seasonal_naive"
#: Subject of lines on one-step errors.
ONE_STEP_ERROR = "one_step_error"
