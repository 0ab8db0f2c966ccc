"""pmdarima's auto_arima, stepwise, on every series; runs in the peers' environment."""

import pmdarima
from shared import Meter, read, task, write

own = task()
meter = Meter()
series = read(own)
with meter.stage("fit and forecast"):
    answers = {
        name: [float(one) for one in pmdarima.auto_arima(frame["y"].to_numpy(), m=own["season"], error_action="ignore", suppress_warnings=True).predict(own["h"])]
        for name, frame in series.items()
    }  # fmt: skip
write(own, answers)
meter.report(["pmdarima", "numpy", "scipy", "statsmodels"], {"auto_arima": f"defaults, m={own['season']}"})
