"""Fixed names of the forecast measures.

Belongs here: subjects, methods, what lines are compared with. Does not: computing.
"""

#: Method of lines on matured forecasts, as for every realized number.
REALIZED = "realized"
#: What coverage is compared with beside the reference: the level the interval states.
NOMINAL = "nominal"
#: What skill is compared with.
BASELINE = "seasonal_naive"
#: Subject of lines on one-step errors.
ONE_STEP_ERROR = "one_step_error"
