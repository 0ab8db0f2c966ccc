"""How soon is a decayed forecaster seen, and how often is one accused that has not decayed?

Daily series are simulated (level, trend, weekly season, autoregressive noise of standard deviation 1) and forecast seven days ahead
every day by two models: a regression on trend and weekday that stays frozen, and an ETS (AAA) of statsforecast whose parameters
stay frozen while its state is brought up to date every day. The real half-hourly electricity demand is forecast a step and a day
ahead by its seasonal naive forecast with damped drift. Every model is fitted on the first part, its backtest is the second part, and
the watch is the third; faults are planted in the watch, and the twin without a fault is the same series.

Faults: a step of the level, a kink of the trend, another season, a larger variance.

    python benchmarks/forecast_decay.py
"""

import argparse
import json
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from typing import TYPE_CHECKING

from common import PROJECT, RESULTS, quiet

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

STATED = 0.05  # false alarms of each kind of evidence per watch
SERIES = 100
NONE = "none"
SIMULATED = {
    NONE: "none", "level": "level + 2 sd of noise", "trend": "trend + 0.05 sd a day", "season": "weekdays moved by three days",
    "variance": "noise × 2",
}  # fmt: skip
ELECTRICITY = {
    NONE: "none", "level": "level + 5 % of demand", "trend": "trend + 1 % of demand a day", "season": "day moved by two hours",
    "variance": "noise of 2 sd of one-step errors",
}  # fmt: skip
REGRESSION, ETS, NAIVE = "frozen regression", "ETS, refreshed daily", "seasonal naive with drift"
DETECTORS = ("cusum", "cusum_absolute", "page_hinkley")
#: What may accuse: each detector of one-step errors, errors of a chunk, coverage of a chunk, and the rule over all of them.
EVIDENCE = (*DETECTORS, "residuals", "errors", "coverage", "decay")
#: Looked for once, in the one-step errors of the whole watch.
BREAKS = ("level", "trend")


@dataclass(frozen=True)
class Plan:
    """Lengths in steps: training, backtest, watch, chunk and season; horizons that are issued at every step."""

    training: int
    backtest: int
    watch: int
    chunk: int
    season: int
    horizons: tuple[int, ...]
    refit: int

    @property
    def start(self) -> int:
        """First step of the watch."""
        return self.training + self.backtest


DAILY = Plan(365, 365, 182, 7, 7, tuple(range(1, 8)), 91)
HALF_HOURLY = Plan(28 * 48, 28 * 48, 28 * 48, 48, 336, (1, 48), 7 * 48)
#: A fault of the electricity sample begins at the noon of one of these days of the watch.
FAULT_DAYS = tuple(range(4, 16))


@dataclass(frozen=True)
class Task:
    """One simulated series under one model, or the electricity sample; all faults of it."""

    model: str
    seed: int
    sample: str


@dataclass(frozen=True)
class Seen:
    """When evidence first accused, in steps of the watch at the end of the chunk, and what was said."""

    model: str
    fault: str
    evidence: str
    seed: int
    at: int | None
    first: int | None
    decay: str = ""
    onset: int | None = None


def simulated(seed: int, plan: Plan = DAILY) -> "tuple[np.ndarray, np.ndarray, np.ndarray]":
    """Level with trend ``(n,)``, weekly pattern ``(7,)`` and noise ``(n,)``."""
    import numpy as np
    from scipy.signal import lfilter

    rng = np.random.default_rng([seed, 6])
    n = plan.start + plan.watch
    noise = lfilter([np.sqrt(1 - 0.3**2)], [1, -0.3], rng.normal(size=n + 100))[100:]
    week = rng.normal(0, 2, plan.season)
    steps = np.arange(n)
    return 50 + rng.normal(0, 0.005) * steps, week, noise


def with_fault(seed: int, fault: str, plan: Plan = DAILY) -> "tuple[np.ndarray, int]":
    """The series and the first step of its fault; the same series up to there whatever the fault."""
    import numpy as np

    base, week, noise = simulated(seed, plan)
    first = plan.start + 56 + seed % plan.season
    steps = np.arange(len(base))
    since = steps >= first
    season = week[steps % plan.season]
    if fault == "level":
        base = base + 2.0 * since
    elif fault == "trend":
        base = base + 0.05 * np.maximum(steps - first + 1, 0)
    elif fault == "season":
        season = np.where(since, week[(steps + 3) % plan.season], season)
    elif fault == "variance":
        noise = np.where(since, 2 * noise, noise)
    return base + season + noise, first


def electricity(sample: str, fault: str, day: int, plan: Plan = HALF_HOURLY) -> "tuple[np.ndarray, int]":
    """The real sample with a fault from the noon of one day of the watch on."""
    import numpy as np
    import pandas as pd

    load = pd.read_parquet(sample)["load_mw"].to_numpy(dtype="float64")
    first, steps = plan.start + day * 48 + 24, np.arange(len(load))
    since = steps >= first
    if fault == "level":
        return load + 0.05 * load.mean() * since, first
    if fault == "trend":
        return load + 0.01 * load.mean() / 48 * np.maximum(steps - first + 1, 0), first
    if fault == "season":
        return np.where(since, np.roll(load, 4), load), first
    if fault == "variance":
        spread = np.std(np.diff(load, n=1)[: plan.training] - np.diff(np.roll(load, 336))[: plan.training])
        return load + 2 * spread * since * np.random.default_rng(day).normal(size=len(load)), first
    return load, first


# --- the models: forecasts (n_steps, n_horizons), row t issued after step t -------------------------------------------------


def regression(series: "np.ndarray", origins: "np.ndarray", plan: Plan) -> "np.ndarray":
    """Trend and weekday by least squares, fitted anew every ``refit`` steps of the backtest and frozen at the watch."""
    import numpy as np

    n = len(series) + max(plan.horizons)
    design = np.column_stack([np.arange(n) / 1000, np.arange(n)[:, np.newaxis] % plan.season == np.arange(plan.season)]).astype("float64")
    found = np.full((len(series), len(plan.horizons)), np.nan)
    for fitted_at, own in _epochs(origins, plan):
        weights = np.linalg.lstsq(design[:fitted_at], series[:fitted_at], rcond=None)[0]
        for column, h in enumerate(plan.horizons):
            found[own, column] = design[own + h] @ weights
    return found


def ets(series: "np.ndarray", origins: "np.ndarray", plan: Plan) -> "np.ndarray":
    """ETS (AAA), parameters fitted as those of the regression, state brought up to date at every step."""
    import numpy as np
    from statsforecast.models import AutoETS

    found = np.full((len(series), len(plan.horizons)), np.nan)
    for fitted_at, own in _epochs(origins, plan):
        model = AutoETS(season_length=plan.season, model="AAA").fit(series[:fitted_at])
        for origin in own.tolist():
            found[origin] = model.forward(series[: origin + 1], h=max(plan.horizons))["mean"][np.array(plan.horizons) - 1]
    return found


def naive_with_drift(series: "np.ndarray", origins: "np.ndarray", plan: Plan) -> "np.ndarray":
    """The step a season ago, plus how far the newest step lies from its own a season ago, damped with the horizon."""
    import numpy as np

    found = np.full((len(series), len(plan.horizons)), np.nan)
    for fitted_at, own in _epochs(origins, plan):
        apart = series[plan.season : fitted_at] - series[: fitted_at - plan.season]
        damping = float(apart[1:] @ apart[:-1] / (apart[:-1] @ apart[:-1]))
        for column, h in enumerate(plan.horizons):
            found[own, column] = series[own + h - plan.season] + damping**h * (series[own] - series[own - plan.season])
    return found


def _epochs(origins: "np.ndarray", plan: Plan) -> "Iterable[tuple[int, np.ndarray]]":
    """Where the model is fitted, and the origins it serves: every ``refit`` steps in the backtest, once for the watch."""
    starts = [*range(plan.training, plan.start, plan.refit), plan.start]
    for start, end in zip(starts, [*starts[1:], 10**9], strict=True):
        own = origins[(origins >= start - 1) & (origins < end - 1)]
        if len(own):
            yield start, own


MODELS: Mapping[str, "Callable[[np.ndarray, np.ndarray, Plan], np.ndarray]"] = {REGRESSION: regression, ETS: ets, NAIVE: naive_with_drift}


def frame_of(series: "np.ndarray", forecasts: "np.ndarray", spreads: "np.ndarray", plan: Plan, first: int, last: int) -> "pd.DataFrame":
    """Matured forecasts of the steps ``[first, last)``, in the shape of the ledger."""
    import numpy as np
    import pandas as pd
    from scipy.stats import norm

    unit = pd.Timedelta(days=1) if plan.season == 7 else pd.Timedelta(minutes=30)
    parts, steps = [], np.arange(first, last)
    for column, h in enumerate(plan.horizons):
        mean = forecasts[steps - h, column]
        part = pd.DataFrame(
            {"unique_id": "series", "ds": pd.Timestamp("2020-01-06", tz="UTC") + steps * unit, "h": h, "y": series[steps], "mean": mean}
        )
        part["cutoff"], part["baseline"] = part["ds"] - h * unit, series[steps - plan.season * -(-h // plan.season)]
        for level in (80, 95):
            reach = float(norm.isf((1 - level / 100) / 2)) * spreads[column]
            part[f"lo-{level}"], part[f"hi-{level}"] = mean - reach, mean + reach
        parts.append(part)
    from monitoring_assets.measures.forecast.matured import matured

    return matured(pd.concat(parts))


class Watch:
    """Everything fitted on the backtest of one series under one model."""

    def __init__(self, series: "np.ndarray", forecasts: "np.ndarray", plan: Plan, seed: int) -> None:
        """``forecasts`` hold the backtest; the first season of it sets the width of intervals."""
        import numpy as np

        from monitoring_assets.measures.forecast.coverage import fit_coverage
        from monitoring_assets.measures.forecast.error_limits import fit_error_limits
        from monitoring_assets.measures.forecast.matured import segments_of
        from monitoring_assets.measures.forecast.residuals import fit_residual_watch

        self.plan, begin = plan, plan.training + max(plan.horizons)
        steps = np.arange(begin, plan.start)
        errors = np.array([series[steps] - forecasts[steps - h, column] for column, h in enumerate(plan.horizons)])
        self.spreads = errors.std(axis=1)
        backtest = frame_of(series, forecasts, self.spreads, plan, begin, plan.start)
        self.limits = fit_error_limits(segments_of(backtest, by_horizon=False), plan.chunk)
        self.coverage = fit_coverage(backtest)
        self.residuals = fit_residual_watch(
            errors[0], steps_per_chunk=plan.chunk, n_chunks=plan.watch // plan.chunk, false_alarms=STATED, seed=seed, detectors=DETECTORS
        )

    def follow(self, series: "np.ndarray", forecasts: "np.ndarray", chunks: Iterable[int]) -> "list[pd.DataFrame]":
        """Lines of some chunks of the watch."""
        plan = self.plan
        whole = frame_of(series, forecasts, self.spreads, plan, plan.start, plan.start + plan.watch)
        per_chunk = plan.chunk * len(plan.horizons)
        return [self.judge(series, forecasts, whole.iloc[chunk * per_chunk : (chunk + 1) * per_chunk], chunk) for chunk in chunks]

    def judge(self, series: "np.ndarray", forecasts: "np.ndarray", rows: "pd.DataFrame", chunk: int) -> "pd.DataFrame":
        """Lines of one chunk with these matured forecasts."""
        import numpy as np

        from monitoring_assets.measures.forecast.coverage import coverage_lines
        from monitoring_assets.measures.forecast.error_limits import error_lines
        from monitoring_assets.measures.forecast.residuals import residual_lines, residual_states
        from monitoring_assets.measures.lines import ALL, joined

        plan, segments = self.plan, {ALL: rows}
        rate = STATED / (plan.watch // plan.chunk)
        steps = np.arange(plan.start, plan.start + (chunk + 1) * plan.chunk)
        states = residual_states(self.residuals, series[steps] - forecasts[steps - 1, 0])
        parts = [
            error_lines("", segments, self.limits, rate),
            coverage_lines("", segments, self.coverage, rate),
            residual_lines("", states),
        ]
        return joined(parts)


def follow(task: Task, series_of: "Callable[[str], tuple[np.ndarray, int]]", faults: Iterable[str], plan: Plan) -> list[Seen]:
    """Watch the series without a fault, then with each; chunks before a fault are those without one and are judged once."""
    import numpy as np

    clean, first = series_of(NONE)
    model = MODELS[task.model]
    forecasts = model(clean, np.arange(plan.training - 1, len(clean) - 1), plan)
    watch = Watch(clean, forecasts, plan, task.seed)
    n_chunks = plan.watch // plan.chunk
    untouched = (first - plan.start) // plan.chunk
    lines = watch.follow(clean, forecasts, range(n_chunks))
    found = []
    for fault in faults:
        series, current, own = clean, forecasts, lines
        if fault != NONE:
            series = series_of(fault)[0]
            later = model(series, np.arange(max(first - 1, 0), len(series) - 1), plan)
            current = np.where(np.isnan(later), forecasts, later)
            own = [*lines[:untouched], *watch.follow(series, current, range(untouched, n_chunks))]
        begun = None if fault == NONE else first - plan.start
        found += [*_seen(task, fault, own, begun, plan), *_breaks(task, fault, series, current, begun, plan)]
    return found


def _breaks(task: Task, fault: str, series: "np.ndarray", forecasts: "np.ndarray", first: int | None, plan: Plan) -> list[Seen]:
    """Breaks of level and trend in the one-step errors of the whole watch, and whether the interval of the date holds the true one."""
    from monitoring_assets.measures.forecast.breaks import date_break

    result = []
    for shape in BREAKS if task.model == REGRESSION else ():
        errors = series[plan.start :] - forecasts[plan.start - 1 : -1, 0]
        one = date_break(errors, "level" if shape == "level" else "trend", seed=task.seed)
        holds = first is not None and one.earliest is not None and one.latest is not None and one.earliest <= first <= one.latest
        at = plan.watch if one.p_value < STATED else None
        result.append(Seen(task.model, fault, f"break_{shape}", task.seed, at, first, "inside" if holds else "outside", one.index))
    return result


def _seen(task: Task, fault: str, lines: "Sequence[pd.DataFrame]", first: int | None, plan: Plan) -> list[Seen]:
    from monitoring_assets.measures.forecast.decay import Decay, judge_decay

    accused: dict[str, list[bool]] = defaultdict(list)
    said, onsets = [], []
    for own in lines:
        deciding = own[own["is_deciding"] & own["breach"]]
        for name in DETECTORS:
            accused[name].append(bool((deciding["method"] == name).any()))
        for name, kind in (("residuals", "residual_drift"), ("errors", "forecast_error"), ("coverage", "interval_coverage")):
            accused[name].append(bool((deciding["kind"] == kind).any()))
        judged = judge_decay(own)
        said.append(str(judged.decay))
        accused["decay"].append(judged.decay not in (Decay.NONE, Decay.UNDECIDED))
        told = deciding.loc[deciding["kind"] == "residual_drift", "reason"]
        onsets.append(int(told.iloc[0].split("step ")[1].split(",")[0]) if len(told) else None)
    result = []
    for name in EVIDENCE:
        place = accused[name].index(True) if any(accused[name]) else None
        at = None if place is None else (place + 1) * plan.chunk
        onset = onsets[place] if place is not None and name == "residuals" else None
        result.append(
            Seen(task.model, fault, name, task.seed, at, first, said[place] if place is not None and name == "decay" else "", onset)
        )
    return result


def run(task: Task) -> list[Seen]:
    """All faults of one series."""
    quiet()
    if task.model != NAIVE:
        return follow(task, lambda fault: with_fault(task.seed, fault), SIMULATED, DAILY)
    return follow(task, lambda fault: electricity(task.sample, fault, task.seed), ELECTRICITY, HALF_HOURLY)


# --- the page ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """Of ``n`` series: the share that was accused (after the fault, of those not accused before it) and the median delay in steps."""

    share: float
    n: int
    delay: float | None
    early: float

    @property
    def error(self) -> float:
        """Standard error of the share, never below that of one series."""
        hits = min(max(self.share * self.n, 1), self.n - 1) if self.n > 1 else 1
        return (hits / self.n * (1 - hits / self.n) / self.n) ** 0.5 if self.n > 1 else 1.0


Key = tuple[str, str, str]


def summarized(seen: Iterable[Seen]) -> dict[Key, Rate]:
    """Rates by model, fault and evidence."""
    import numpy as np

    groups: dict[Key, list[Seen]] = defaultdict(list)
    for one in seen:
        groups[one.model, one.fault, one.evidence].append(one)
    rates = {}
    for key, own in groups.items():
        if key[1] == NONE:
            rates[key] = Rate(float(np.mean([one.at is not None for one in own])), len(own), None, 0.0)
            continue
        late = [one for one in own if one.at is None or one.first is None or one.at > one.first]
        delays = [one.at - one.first for one in late if one.at is not None and one.first is not None]
        share = len(delays) / len(late) if late else 0.0
        rates[key] = Rate(share, len(late), float(np.median(delays)) if delays else None, 1 - len(late) / len(own))
    return rates


def _markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [titles, ["---"] * len(titles), *rows])


NAMES = {
    "cusum": "`cusum` of one-step errors", "cusum_absolute": "`cusum_absolute`", "page_hinkley": "`page_hinkley`", "residuals": "any of these three",
    "errors": "MAE or bias of a chunk", "coverage": "coverage of a chunk", "decay": "**any evidence (`judge_decay`)**",
}  # fmt: skip


def table(rates: Mapping[Key, Rate], model: str, faults: Mapping[str, str], per_day: int) -> str:
    """Evidence by fault."""
    rows = []
    for evidence in EVIDENCE:
        cells = []
        for fault in faults:
            rate = rates[model, fault, evidence]
            if fault == NONE:
                told = f"{rate.share:.1%} ± {rate.error:.1%}" if rate.n > 1 else ("alarm" if rate.share else "silent")
            else:
                told = f"{rate.share:.0%}" + (f", {rate.delay / per_day:.{0 if per_day == 1 else 1}f} d" if rate.delay is not None else "")
            cells.append(told)
        rows.append([NAMES[evidence], *cells])
    return _markdown(["evidence", *(f"{text}{': false alarms' if name == NONE else ''}" for name, text in faults.items())], rows)


def _named(seen: Sequence[Seen], model: str, faults: Mapping[str, str]) -> str:
    words = ("bias", "error_growth", "coverage")
    rows = []
    for fault, text in faults.items():
        own = [one for one in seen if (one.model, one.fault, one.evidence) == (model, fault, "decay") and one.at is not None]
        own = [one for one in own if one.first is None or (one.at or 0) > one.first]
        rows.append([text, str(len(own)), *(f"{sum(one.decay == word for one in own) / len(own):.0%}" if own else "" for word in words)])
    return _markdown(["fault", "series accused", *(f"`{word}`" for word in words)], rows)


def _onsets(seen: Sequence[Seen], model: str, faults: Mapping[str, str]) -> str:
    import numpy as np

    rows = []
    for fault, text in faults.items():
        own = [
            abs(one.onset - one.first) for one in seen
            if (one.model, one.fault, one.evidence) == (model, fault, "residuals") and one.onset is not None and one.first is not None and (one.at or 0) > one.first
        ]  # fmt: skip
        if own:
            rows.append([text, str(len(own)), f"{np.median(own):.0f} d", f"{np.quantile(own, 0.9):.0f} d"])
    return _markdown(["fault", "series", "median error of the onset", "nine of ten within"], rows)


def _dated(seen: Sequence[Seen], model: str, faults: Mapping[str, str]) -> str:
    import numpy as np

    rows = []
    for fault, text in faults.items():
        for shape in BREAKS:
            own = [one for one in seen if (one.model, one.fault, one.evidence) == (model, fault, f"break_{shape}")]
            hit = [one for one in own if one.at is not None and one.onset is not None and one.first is not None]
            told = ["", ""]
            if fault == shape and hit:
                apart = np.median([abs((one.onset or 0) - (one.first or 0)) for one in hit])
                told = [f"{apart:.0f} d", f"{np.mean([one.decay == 'inside' for one in hit]):.0%}"]
            rows.append([text, shape, f"{np.mean([one.at is not None for one in own]):.1%} of {len(own)}", *told])
    return _markdown(["fault", "shape", "found", "median error of the date", "interval holds it"], rows)


def document(seen: Sequence[Seen]) -> str:
    """The generated page."""
    rates = summarized(seen)
    n = {model: rates[model, NONE, "decay"].n for model in (REGRESSION, ETS)}
    promised = max(rates[model, NONE, "residuals"].share for model in (REGRESSION, ETS))
    return f"""# Decay of forecasts: delay and false alarms

Generated by `python benchmarks/forecast_decay.py`, which also writes `benchmarks/results/forecast_decay.json`. Do not edit.

How to read it: each kind of evidence (the three detectors of one-step errors together, the errors of a chunk, the coverage of a chunk) states
**{STATED:.0%} false alarms per watch** ({DAILY.watch} days in chunks of {DAILY.chunk} for the simulated series); the rule over all of them adds these up, so it may reach
{3 * STATED:.0%}. The column *none* is the share of series without a fault that were accused at least once in the watch, with its standard error. A cell under a
fault is the share accused after it began (of those not accused before, within {DAILY.watch - 63} to {DAILY.watch - 56} days) and the median delay to the end of the chunk
that accused. Every limit and threshold is learned from the backtest of the same series, none from the watch. How `judge_decay` tells bias from growth was changed once after
looking at one series of each model below, so that naming is a little flattered; what is accused, and when, did not change.

## Simulated daily series, frozen regression on trend and weekday ({n[REGRESSION]} series)

{table(rates, REGRESSION, SIMULATED, 1)}

## Simulated daily series, ETS with frozen parameters, refreshed daily ({n[ETS]} series)

A model that is refreshed follows the fault: its state learns a new level within weeks, so evidence is strongest at first and may pass.

{table(rates, ETS, SIMULATED, 1)}

## Real electricity demand, seasonal naive with damped drift

Half-hourly, horizons of a step and of a day, chunks of a day, a watch of 28 days. Each fault begins at the noon of one of
{len(FAULT_DAYS)} days. It is one series, so these looks share their data and are no independent repetitions; *none* is one stretch of four weeks under {len(FAULT_DAYS)} seeds
of the bootstrap.

{table(rates, NAIVE, ELECTRICITY, 48)}

## What the rule says at first

{REGRESSION}:

{_named(seen, REGRESSION, SIMULATED)}

{ETS}:

{_named(seen, ETS, SIMULATED)}

## When it began

Onset estimated at the first alarm of a detector of one-step errors, {REGRESSION}:

{_onsets(seen, REGRESSION, SIMULATED)}

A break looked for once, in the one-step errors of the whole watch (`date_break`, p < {STATED:g}), {REGRESSION}; the interval of its date states 90 %:

{_dated(seen, REGRESSION, SIMULATED)}

The largest share of clean series accused by the detectors together is {promised:.1%}, stated {STATED:.0%}.
"""


def run_all(tasks: Sequence[Task], processes: int) -> list[Seen]:
    """All tasks, in any order; the result is in a fixed one."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    seen = list[Seen]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        bar = progress.add_task("series", total=len(tasks))
        for done in as_completed([pool.submit(run, task) for task in tasks]):
            seen += done.result()
            progress.advance(bar)
    seen.sort(key=lambda one: (one.model, one.fault, one.evidence, one.seed))
    return seen


def publish(seen: Sequence[Seen]) -> None:
    """Write the result and the page."""
    from importlib.metadata import version

    rates = [dict(zip(("model", "fault", "evidence"), key, strict=True)) | asdict(rate) for key, rate in summarized(seen).items()]
    content = {
        "benchmark": "forecast_decay", "python": platform.python_version(), "stated_rate": STATED, "series": SERIES,
        "versions": {name: version(name) for name in ("numpy", "scipy", "pandas", "river", "statsforecast", "utilsforecast")}, "rates": rates,
    }  # fmt: skip
    (RESULTS / "forecast_decay.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (PROJECT / "docs" / "forecast_decay.md").write_text(document(seen), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all tasks, print the page and, of a whole run, write it and the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument(
        "--series", type=int, default=SERIES, help=f"simulated series under each model; other than {SERIES} writes no result"
    )
    parser.add_argument("--electricity", default=str(PROJECT / "models" / "samples" / "electricity_demand.parquet"), help="the real sample")
    options = parser.parse_args(arguments)
    tasks = [
        *(Task(NAIVE, day, options.electricity) for day in FAULT_DAYS),
        *(Task(model, seed, "") for model in (ETS, REGRESSION) for seed in range(options.series)),
    ]
    started = time.perf_counter()
    seen = run_all(tasks, options.processes)
    print(document(seen))
    print(f"{time.perf_counter() - started:.0f} wall seconds with {options.processes} processes")
    if options.series == SERIES:
        publish(seen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
