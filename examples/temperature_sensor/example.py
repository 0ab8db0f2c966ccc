"""A cold room whose sensor drifts: the simulator, and what must be seen of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from scipy.signal import lfilter

from monitoring_assets import plots
from plumbline.example import Finding, Seen, Size
from resources.tables import VERDICTS
from resources.vocabulary import Check, Kind, Stage, Verdict

START, SHIFT, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 3, 31, tzinfo=UTC), datetime(2025, 5, 1, tzinfo=UTC)
#: What the tests run of it: the week from the shift on in which it must be found.
SMALL = Size(datetime(2025, 4, 7, tzinfo=UTC))
PER_DAY = 144
#: Memory of the noise from one reading to the next, ten minutes later.
MEMORY = 0.8
STUCK_DAYS = 3
MODEL, VARIANCE, STUCK = "temperature_sensor", "temperature_sensor_variance", "temperature_sensor_stuck"


def simulate(folder: Path, seed: int, is_null_twin: bool) -> None:
    """Write the three logs: a daily cycle around 5 °C with autocorrelated noise, and one fault each from ``SHIFT`` on.

    Gradual: the mean rises by 0.15 °C a day for twelve days and the noise grows by half. Variance: the noise grows threefold at
    once. Stuck: one value for three days. The null twin has no fault.
    """
    n_rows = (END - START).days * PER_DAY
    for offset, model in enumerate((MODEL, VARIANCE, STUCK)):
        rng = np.random.default_rng([seed, offset])
        day = np.arange(n_rows) / PER_DAY
        noise = lfilter([0.5 * np.sqrt(1 - MEMORY**2)], [1, -MEMORY], rng.normal(size=n_rows))
        since = np.maximum(0.0, day - (SHIFT - START).days)
        ramp = np.zeros(n_rows) if is_null_twin else np.minimum(since / 12, 1.0)
        mean, spread = np.zeros(n_rows), np.ones(n_rows)
        if model == MODEL:
            mean, spread = 1.8 * ramp, 1 + 0.5 * ramp
        elif model == VARIANCE:
            spread = np.where(ramp > 0, 3.0, 1.0)
        reading = np.round(5 + 0.4 * np.sin(2 * np.pi * day) + mean + spread * noise, 3)
        if model == STUCK and not is_null_twin:
            first = (SHIFT - START).days * PER_DAY
            reading[first : first + STUCK_DAYS * PER_DAY] = reading[first]
        true = reading + rng.normal(0, 0.05, n_rows)  # what the second thermometer says
        margin = np.minimum(reading - 2, 8 - reading)
        frame = pd.DataFrame({
            "reading": [f"{model}-{index}" for index in range(n_rows)],
            "read_at": [START + timedelta(minutes=10 * index) for index in range(n_rows)],
            "temperature": reading,
            "p_safe": np.round(1 / (1 + np.exp(-8 * margin)), 6),
            "is_safe": (margin >= 0).astype(int),
            "was_safe": ((true >= 2) & (true <= 8)).astype(int),
        })  # fmt: skip
        frame.to_csv(folder / f"{model}.csv", index=False)


def checks(seen: Seen) -> list[Finding]:
    """What the README promises."""
    drift = seen.measurements(MODEL)
    drift = drift[(drift["method"] == "kolmogorov_smirnov") & (drift["kind"] == Kind.UNIVARIATE_DRIFT)]
    statistic, p_value = _differences_from_scipy(seen, drift)
    alerts = {model: _alerts(seen, model) for model in (MODEL, VARIANCE)}
    picture = plots.draw(seen.settings.lake, seen.policies[MODEL], drift["chunk"].max(), plots.DRIFT)
    if picture is not None:
        (seen.settings.home / "score.png").write_bytes(picture)
    own = [
        Finding(
            "statistic and p-value equal scipy.stats.ks_2samp to 1e-12 on every day",
            len(drift) == _monitored_days(seen) and statistic <= 1e-12 and p_value <= 1e-12,
            f"{len(drift)} days, largest differences {statistic:.1e} and {p_value:.1e}",
        ),
        Finding(
            "the score over time is drawn with the shift annotated", picture is not None, f"{len(picture or b'') / 1000:.0f} kB, score.png"
        ),
    ]
    return own + (_quiet(seen, alerts) if seen.is_null_twin else _found(seen, alerts))


def _monitored_days(seen: Seen) -> int:
    return (seen.end - datetime(2025, 3, 1, tzinfo=UTC)).days


def _differences_from_scipy(seen: Seen, drift: pd.DataFrame) -> tuple[float, float]:
    """Largest differences of statistic and p-value from scipy, computed from the log file alone."""
    log = pd.read_csv(seen.settings.models / f"{MODEL}.csv", parse_dates=["read_at"])
    days = dict(list(log.groupby(log["read_at"].dt.strftime("%Y-%m-%d"))["temperature"]))
    reference = log.loc[log["read_at"] < pd.Timestamp("2025-03-01", tz="UTC"), "temperature"]
    expected = [stats.ks_2samp(reference, days[chunk]) for chunk in drift["chunk"]]
    statistic = np.abs(drift["value"].to_numpy() - [one.statistic for one in expected]).max()
    return float(statistic), float(np.abs(drift["p_value"].to_numpy() - [one.pvalue for one in expected]).max())


def _alerts(seen: Seen, model: str) -> list[datetime]:
    """Days on which the drift check failed: confirmed on two days in a row."""
    return [datetime.fromisoformat(chunk).replace(tzinfo=UTC) for chunk in seen.failed(model, Stage.DRIFT_REPORT, Check.DRIFT)]


def _found(seen: Seen, alerts: dict[str, list[datetime]]) -> list[Finding]:
    first = next((day for day in alerts[MODEL] if day >= SHIFT), None)
    delay = (first - SHIFT).days + 1 if first else float("inf")  # a day is judged when it ends
    wider = [day for day in alerts[VARIANCE] if day >= SHIFT]
    verdicts = seen.table(STUCK, VERDICTS).set_index("chunk")["verdict"]
    hung = [(SHIFT + timedelta(days=day)).strftime("%Y-%m-%d") for day in range(STUCK_DAYS)]
    faults = verdicts[verdicts == Verdict.DATA_FAULT].index.tolist()
    return [
        Finding("first confirmed alert at most 7 days after the shift", delay <= 7, f"after {delay:g} days", share=0.95),
        Finding(
            "a shift of the spread alone is caught", bool(wider), f"{len(wider)} alerts, first {wider[0]:%Y-%m-%d}" if wider else "no alert"
        ),
        Finding("the stuck sensor is a data fault on the days it hangs, and on no other", faults == hung, ", ".join(faults) or "none"),
    ]


def _quiet(seen: Seen, alerts: dict[str, list[datetime]]) -> list[Finding]:
    verdicts = seen.table(STUCK, VERDICTS)["verdict"]
    faults = int((verdicts == Verdict.DATA_FAULT).sum())
    return [
        Finding(
            "no confirmed alert without a shift",
            not alerts[MODEL],
            f"{len(alerts[MODEL])} alerts in {_monitored_days(seen)} days",
            share=0.95,
        ),
        Finding(
            "nor on the twin of the variance shift",
            not alerts[VARIANCE],
            f"{len(alerts[VARIANCE])} alerts in {_monitored_days(seen)} days",
            share=0.95,
        ),
        Finding("no data fault without a stuck sensor", faults == 0, f"{faults} faults in {len(verdicts)} days"),
    ]
