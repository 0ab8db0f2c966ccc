"""What do forecasters cost and how good are they, beside pmdarima and Prophet, on real demand, and on a thousand series?

Every contender runs in a fresh process with one thread; CPU seconds are those between finished imports and the last number, memory is
the peak of the process, imports included. The daily series are seeded and simulated: level, drift, a weekly season, and noise that
depends on yesterday's. The peers are installed into an environment of their own under ``--peers``.

Bounds:
    electricity   half-hourly demand, last 336 points held out: MAPE <= 1.224 % and MASE <= 0.631 (seasonal naive, 336), and the
                  share of points inside each interval within the binomial band of as many independent points as a week is worth;
                  a week ahead from every third midnight before, the same of all those weeks together
    peers         on the same 100 daily series: auto_arima at least 20 times as fast as pmdarima's, at no worse MASE
    thousand      1,000 daily series of two years: fitted, forecast, logged and registered on two processes; the same forecasts on Dask

    python benchmarks/forecasts.py
"""

import argparse
import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from common import ONE_THREAD, PROJECT, QUIET, conclude, quiet, table, temporary_folder

_SCRIPTS = Path(__file__).resolve().parent / "forecast_peers"
_PEERS = ["pmdarima==2.1.1", "prophet==1.5.0", "pandas==2.3.3", "pyarrow"]
_SEASON, _H = 7, 14
_MOST_MAPE, _MOST_MASE, _FASTER = 1.224, 0.631, 20.0
_SAME = 4e-6
_FRAME = pd.DataFrame


def daily_series(count: int, days: int, seed: int = 0) -> _FRAME:
    """``unique_id, ds, y``: ``count`` series of ``days`` rows."""
    rng = np.random.default_rng(seed)
    at = np.arange(days)
    frames = []
    for index in range(count):
        noise = np.zeros(days)
        shocks = rng.normal(0, 3, days)
        for day in range(1, days):
            noise[day] = 0.5 * noise[day - 1] + shocks[day]
        week = np.tile(rng.normal(0, 8, _SEASON), days // _SEASON + 1)[:days]
        y = 100 + rng.normal(0, 20) + rng.normal(0, 0.02) * at + week + noise
        frames.append(pd.DataFrame({"unique_id": f"series_{index:04d}", "ds": pd.date_range("2023-01-01", periods=days), "y": y}))
    return pd.concat(frames, ignore_index=True)


def mase(series: _FRAME, answers: Mapping[str, Sequence[float]], held: _FRAME) -> float:
    """Mean over the series; scaled by the seasonal naive error of the rows before the forecast."""
    scores = []
    for name, own in series.groupby("unique_id", sort=False):
        y = own["y"].to_numpy()
        scale = np.abs(y[_SEASON:] - y[:-_SEASON]).mean()
        scores.append(np.abs(held[held["unique_id"] == name]["y"].to_numpy() - np.array(answers[str(name)])).mean() / scale)
    return float(np.mean(scores))


def install(folder: Path) -> Path:
    """The peers' interpreter; their environment is made once."""
    python = (folder / "forecasters" / "bin" / "python").absolute()
    if not python.exists():
        print(f"installing {_PEERS[:2]}", flush=True)
        venv.create(folder / "forecasters", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_PEERS], check=True)
    return python


def peers(folder: Path, python: Path | None, count: int, days: int) -> dict[str, Any]:
    """Time, memory and MASE of every contender on the same series."""
    every = daily_series(count, days + _H)
    cut = every.groupby("unique_id").cumcount() >= days
    series, held = every[~cut], every[cut]
    series.to_parquet(folder / "series.parquet")
    ours = {
        "ours, auto_arima": {"candidates": ["auto_arima"], "is_selecting": False},
        "ours, shipped choice of four by backtest": {"candidates": ["auto_ets", "auto_arima", "auto_theta", "mstl"], "is_selecting": True},
        "ours, seasonal naive": {"candidates": ["seasonal_naive"], "is_selecting": False},
    }
    runs = {name: (Path(sys.executable), "ours.py", own) for name, own in ours.items()}
    if python is not None:
        runs |= {"Prophet": (python, "prophet_default.py", {}), "pmdarima, auto_arima": (python, "pmdarima_auto.py", {})}
    found = {}
    for name, (interpreter, script, own) in runs.items():
        asked = {"series": str(folder / "series.parquet"), "answers": str(folder / "answers.json"), "season": _SEASON, "h": _H, **own}
        found[name] = _once(interpreter, script, asked, folder)
        found[name]["mase"] = mase(series, json.loads((folder / "answers.json").read_text(encoding="utf-8")), held)
        print(f"  {name}: {found[name]['cpu_s']:.1f} CPU s, {found[name]['peak_mb']:.0f} MB, MASE {found[name]['mase']:.4f}", flush=True)
    base = found["ours, auto_arima"]
    for one in found.values():
        one["ratios_to_our_auto_arima"] = {key: one[key] / base[key] for key in ("cpu_s", "peak_mb", "mase")}
    return {"n_series": count, "days": days, "h": _H, "runs": found}


def _once(python: Path, script: str, asked: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    told = folder / "task.json"
    told.write_text(json.dumps(asked), encoding="utf-8")
    environment = {**os.environ, **QUIET, **ONE_THREAD, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([python, _SCRIPTS / script, told], capture_output=True, text=True, env=environment, check=False)
    reports = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
    if done.returncode or not reports:
        raise RuntimeError(f"{script}: got exit code {done.returncode} and {done.stderr[-2000:]}; expected a report")
    return json.loads(reports[-1].removeprefix("REPORT "))


def electricity() -> dict[str, Any]:
    """The shipped recipe on the half-hourly sample; the last week is seen by nothing but the score."""
    from training_assets.recipes.forecast.shipped import HALF_HOURLY_DEMAND

    log = pd.read_parquet(PROJECT / "models" / "samples" / "electricity_demand.parquet")
    frame = pd.DataFrame({"unique_id": "demand", "ds": log["timestamp"], "y": log["load_mw"]})
    started = time.perf_counter()
    last, fitted = _a_week_ahead(frame, len(frame) - 336)
    bands = {}
    for level in HALF_HOURLY_DEMAND.levels:
        inside = fitted.errors.assign(size=fitted.errors["error"].abs()).groupby("step")["size"].transform(_below(level))
        bands[str(level)] = _band(last["inside"][level], inside.groupby(fitted.errors["cutoff"]).mean(), level, weeks=1.0)
    scores = dict(zip(fitted.scores["model"], fitted.scores["score"], strict=True))
    found = {"ours": last["ours"], "seasonal naive": last["seasonal naive"], "coverage": bands}
    return {
        **found, "chosen": fitted.choices["models"].iloc[0], "backtest_mase": scores, "wall_s": time.perf_counter() - started,
        "rolled": rolled(frame, last),
    }  # fmt: skip


def rolled(frame: _FRAME, last: Mapping[str, Any]) -> dict[str, Any]:
    """A week ahead from every third midnight that leaves enough rows to learn from, and the last one: mean errors, and coverage of all weeks."""
    from training_assets.recipes.forecast.shipped import HALF_HOURLY_DEMAND

    cuts = range(len(frame) - 336, HALF_HOURLY_DEMAND.needed_rows - 1, -3 * 48)
    weeks = [last, *(_a_week_ahead(frame, cut)[0] for cut in cuts[1:])]
    errors = {
        name: {key: float(np.mean([one[name][key] for one in weeks])) for key in weeks[0][name]} for name in ("ours", "seasonal naive")
    }
    apart = (cuts[0] - cuts[-1]) / 336 + 1
    shares = {level: pd.Series([one["inside"][level] for one in weeks]) for level in HALF_HOURLY_DEMAND.levels}
    coverage = {str(level): _band(float(own.mean()), own, level, apart) for level, own in shares.items()}
    return {**errors, "n_origins": len(weeks), "weeks_apart": apart, "coverage": coverage}


def _a_week_ahead(frame: _FRAME, cut: int) -> tuple[dict[str, Any], Any]:
    """Errors of the shipped recipe and of seasonal naive on the 336 rows from ``cut`` on, the share inside each interval; and the fit."""
    from training_assets.recipes.forecast import FORECASTER
    from training_assets.recipes.forecast.shipped import HALF_HOURLY_DEMAND

    y, held = frame["y"].iloc[:cut].to_numpy(), frame["y"].iloc[cut : cut + 336].to_numpy()
    fitted = FORECASTER.fit(HALF_HOURLY_DEMAND, frame.iloc[:cut])
    told = fitted.forecast()
    scale = np.abs(y[336:] - y[:-336]).mean()
    inside = {level: float(np.mean((held >= told[f"lo-{level}"]) & (held <= told[f"hi-{level}"]))) for level in HALF_HOURLY_DEMAND.levels}
    return {
        "ours": _errors(told["mean"].to_numpy(), held, scale),
        "seasonal naive": _errors(y[-336:], held, scale),
        "inside": inside,
    }, fitted


def _below(level: int) -> Any:
    return lambda own: own <= own.quantile(level / 100)


def _band(inside: float, shares: pd.Series, level: int, weeks: float) -> dict[str, Any]:
    """Where the share inside belongs: the binomial band of as many independent points as ``weeks`` are worth, and were all points independent.

    A week tells as much as that many independent points as make shares scatter as they do between the weeks of ``shares``.
    """
    from monitoring_assets.measures.forecast.coverage import nominal_band

    target = level / 100
    worth = weeks * max(1.0, target * (1 - target) / float(shares.var(ddof=1)))
    own, every = (nominal_band(inside, points, target, 0.05) for points in (worth, weeks * 336))
    return {
        "share_inside": inside, "independent_points": worth, "band": [own.lower, own.upper], "is_kept": own.lower <= inside <= own.upper,
        "band_were_all_points_independent": [every.lower, every.upper],
    }  # fmt: skip


def _errors(values: Any, held: Any, scale: float) -> dict[str, float]:
    return {"mape_percent": float(np.mean(np.abs(values - held) / held) * 100), "mase": float(np.mean(np.abs(values - held)) / scale)}


def thousand(folder: Path, count: int) -> dict[str, Any]:
    """Fit, forecast, log and register on two processes; then the same on a local Dask cluster."""
    from training_assets.recipes.forecast import FORECASTER, Backtest, ForecastSpec
    from training_assets.recipes.forecast.served import log_forecaster, measures

    series = daily_series(count, 730, seed=1)
    spec = ForecastSpec(
        freq="D", season_lengths=(7,), h=14, candidates=("auto_ets", "mstl", "lightgbm"), backtest=Backtest(windows=2), n_jobs=2
    )
    seconds = {}
    started = time.perf_counter()
    fitted = FORECASTER.fit(spec, series)
    seconds["fit"], started = time.perf_counter() - started, time.perf_counter()
    forecast = fitted.forecast()
    seconds["forecast"], started = time.perf_counter() - started, time.perf_counter()
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("forecast", artifact_location=str(folder / "artifacts")))
    seconds["make the registry"], started = time.perf_counter() - started, time.perf_counter()
    with mlflow.start_run():
        mlflow.log_metrics(dict(measures(fitted)))
        uri = log_forecaster(fitted)
    seconds["log"], started = time.perf_counter() - started, time.perf_counter()
    version = mlflow.register_model(uri, "thousand").version
    seconds["register"], started = time.perf_counter() - started, time.perf_counter()
    loaded = mlflow.pyfunc.load_model(f"models:/thousand/{version}").predict(pd.DataFrame({"none": [0]}))
    seconds["load and forecast"], started = time.perf_counter() - started, time.perf_counter()
    spread = FORECASTER.fit(spec.model_copy(update={"engine": "dask"}), series)
    seconds["fit on Dask"] = time.perf_counter() - started
    numbers = [column for column in forecast if column == "mean" or column[:3] in ("lo-", "hi-")]
    local = spread.__class__(**{**vars(spread), "spec": spec}).forecast()
    return {
        "n_series": count,
        "seconds": seconds,
        "chosen": fitted.choices["models"].value_counts().to_dict(),
        "largest_difference_loaded": float(np.abs(loaded[numbers] - forecast[numbers]).to_numpy().max()),
        "largest_difference_dask": float(np.abs(local[numbers] - forecast[numbers]).to_numpy().max()),
        "mase": float(fitted.choices["score"].mean()),
        "baseline_mase": float(fitted.choices["baseline_score"].mean()),
    }


def _coverage(what: str, bands: Mapping[str, Mapping[str, Any]]) -> list[list[object]]:
    """Lines of the table: the share inside each interval and its band."""
    return [
        [f"{what}, inside {level} %", band["share_inside"], f"{band['band'][0]:.3f} to {band['band'][1]:.3f}", band["is_kept"]]
        for level, band in bands.items()
    ]


def judged(found: Mapping[str, Any]) -> list[list[object]]:
    """Lines of the table: question, figure, bound, whether it is kept."""
    lines: list[list[object]] = []
    if "electricity" in found:
        own = found["electricity"]
        lines.append(["demand, MAPE %", own["ours"]["mape_percent"], f"<= {_MOST_MAPE}", own["ours"]["mape_percent"] <= _MOST_MAPE])
        lines.append(["demand, MASE", own["ours"]["mase"], f"<= {_MOST_MASE}", own["ours"]["mase"] <= _MOST_MASE])
        lines += _coverage("demand", own["coverage"])
        weeks, ours, naive = own["rolled"], own["rolled"]["ours"]["mape_percent"], own["rolled"]["seasonal naive"]["mape_percent"]
        lines.append([f"the same, {weeks['n_origins']} weeks, MAPE %", ours, f"< naive's {naive:.3f}", ours < naive])
        lines += _coverage("the same", weeks["coverage"])
    if "pmdarima, auto_arima" in found.get("peers", {}).get("runs", {}):
        ratios = found["peers"]["runs"]["pmdarima, auto_arima"]["ratios_to_our_auto_arima"]
        lines.append(["pmdarima's CPU s by ours", ratios["cpu_s"], f">= {_FASTER:g}", ratios["cpu_s"] >= _FASTER])
        lines.append(["pmdarima's MASE by ours", ratios["mase"], ">= 1", ratios["mase"] >= 1])
    if "thousand" in found:
        own = found["thousand"]
        for where in ("loaded", "dask"):
            figure = own[f"largest_difference_{where}"]
            bound = 1e-9 if where == "loaded" else _SAME
            lines.append([f"thousand, difference {where}", figure, f"<= {bound:g}", figure <= bound])
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print; write the result; 1 when a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes; writes no result")
    parser.add_argument("--peers", type=Path, default=PROJECT / ".benchmark_peers", help="folder of the peers' environment")
    parser.add_argument(
        "--only", choices=["electricity", "peers", "thousand"], action="append", help="these parts alone; others keep their last result"
    )
    options = parser.parse_args(arguments)
    parts = options.only or ["electricity", "peers", "thousand"]
    kept = Path(__file__).resolve().parent / "results" / "forecasts.json"
    earlier = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() and options.only else {}
    found = {name: earlier[name] for name in ("electricity", "peers", "thousand") if name in earlier}
    quiet()
    with temporary_folder() as folder:
        if "electricity" in parts:
            found["electricity"] = electricity()
        if "peers" in parts:
            found["peers"] = peers(folder, install(options.peers), 4 if options.quick else 100, 182)
        if "thousand" in parts:
            found["thousand"] = thousand(folder, 20 if options.quick else 1_000)
    lines = judged(found)
    table(["question", "figure", "bound", "kept"], lines)
    if options.quick:
        return 0
    return conclude("forecasts", {"bound": "; ".join(f"{line[0]} {line[2]}" for line in lines), **found}, all(line[3] for line in lines))


if __name__ == "__main__":
    sys.exit(main())
