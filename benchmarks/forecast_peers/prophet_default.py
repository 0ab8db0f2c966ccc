"""Prophet with its defaults on every series; runs in the peers' environment."""

from prophet import Prophet
from shared import Meter, read, task, write

own = task()
meter = Meter()
series = read(own)
answers = {}
with meter.stage("fit and forecast"):
    for name, frame in series.items():
        model = Prophet().fit(frame[["ds", "y"]])
        future = model.make_future_dataframe(own["h"], freq="D", include_history=False)
        answers[name] = [float(one) for one in model.predict(future)["yhat"]]
write(own, answers)
meter.report(["prophet", "cmdstanpy", "pandas"], {"Prophet": "defaults"})
