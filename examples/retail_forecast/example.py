"""Three stores whose weeks change with a law: the simulator, and what must be seen of forecasts, versions and the way back to the first one."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
from scipy.signal import lfilter
from scipy.stats import binom

from plumbline.driver import Driver
from plumbline.example import Finding, Seen, Size, declare_replay
from resources.rollout_log import events, serving_version
from resources.tables import FORECAST_BACKTESTS, FORECASTS, VERDICTS, held_out, training_sets
from resources.vocabulary import HARMFUL, Action, Alias, Event, Kind
from training_assets.recipes import load_version, recipe_of

START, LAW, END = (datetime(*day, tzinfo=UTC) for day in ((2021, 12, 27), (2025, 3, 31), (2025, 6, 30)))
#: What the tests run of it: all weeks up to the sixth under the law are handed over at once, and two follow the retraining.
SMALL = Size(END, replay=(datetime(2025, 5, 12, tzinfo=UTC), datetime(2025, 6, 9, tzinfo=UTC)))
MODEL, STORES, PERSON = "retail_forecast", ("centre", "harbour", "north"), "rosa@example.com"
#: Logarithm of a weekday's sales beside the mean, Monday first; on Sundays only a small counter is open until the law.
BEFORE, AFTER = np.array([-0.05, -0.1, -0.05, 0.0, 0.15, 0.3, -1.2]), np.array([-0.05, -0.1, -0.05, 0.0, 0.1, 0.05, 0.15])
#: How much of what promotions brought they bring after the law.
LIFT_LEFT = 0.3
#: Memory of the noise from one day to the next, and its spread, as a share of sales.
MEMORY, NOISE = 0.3, 0.07
#: Chance of an outcome count outside the band although the intervals are right.
OUTSIDE = 0.01
#: Reads of each version ``<version>.asked.parquet`` and writes ``<version>.told.parquet``.
_FRESH = """
import sys, mlflow, pandas as pd
tracking, model, folder, *versions = sys.argv[1:]
mlflow.set_tracking_uri(tracking)
mlflow.set_registry_uri(tracking)
for version in versions:
    future = pd.read_parquet(f"{folder}/{version}.asked.parquet")
    mlflow.pyfunc.load_model(f"models:/{model}/{version}").predict(future).to_parquet(f"{folder}/{version}.told.parquet")
"""


def simulate(folder: Path, seed: int, is_null_twin: bool) -> None:
    """Write the log: one row per store and day, promotions planned to the last row.

    Sales have a trend, a yearly and a weekly season and autocorrelated noise, all as shares of the level. Every other week brings a promotion from
    Thursday to Saturday, now and then a week early or late. From the law on Sundays are open, and promotions bring a third. The null twin has no law.
    """
    day = np.arange((END - START).days)
    week, weekday = day // 7, day % 7
    is_new = (day >= (LAW - START).days) & (not is_null_twin)
    frames = []
    for place, store in enumerate(STORES):
        rng = np.random.default_rng([seed, place])
        is_planned = ((np.arange(week[-1] + 1) + place) % 2 == 0) ^ (rng.random(week[-1] + 1) < 0.1)
        is_promoted = is_planned[week] & np.isin(weekday, (3, 4, 5))
        own_week = rng.normal(0, 0.05, 7)
        noise = lfilter([NOISE * np.sqrt(1 - MEMORY**2)], [1, -MEMORY], rng.normal(size=len(day)))
        year = 0.06 * np.sin(2 * np.pi * (day / 365.25 - rng.uniform(0.2, 0.3)))
        level = np.log(rng.uniform(150, 400)) + rng.uniform(0.02, 0.06) * day / 365.25
        lift = rng.uniform(0.3, 0.45) * np.where(is_new, LIFT_LEFT, 1.0)
        season = np.where(is_new, AFTER[weekday], BEFORE[weekday]) + own_week[weekday]
        sales = np.exp(level + year + season + lift * is_promoted + noise)
        days = pd.date_range(START.replace(tzinfo=None), periods=len(day))
        frames.append(pd.DataFrame({"day": days, "store": store, "promotion": is_promoted.astype("int64"), "sales": np.round(sales, 1)}))
    pd.concat(frames, ignore_index=True).to_parquet(folder / f"{MODEL}.parquet", index=False)


def checks(seen: Seen) -> list[Finding]:
    """What the README promises."""
    ledger = seen.ledger(MODEL)
    orders = ledger[(ledger["action"] == Action.RETRAIN) & (ledger["clause"] != "no_champion")]
    rows = _issued(seen)
    sound = rows[(rows["ds"] < LAW) | seen.is_null_twin]
    common = [
        _accuracy(rows, is_known=(rows["ds"] < LAW) | (rows["model_version"] != "1") | seen.is_null_twin),
        _same_as_measured(seen, rows),
        _covered(sound),
        _by_horizon(seen),
        *_registered(seen),
        _fresh_process(seen),
    ]
    own = _quiet(seen, orders) if seen.is_null_twin else [*_retrained(seen, orders, rows), *_back_to_the_first(seen)]
    return [*common, *own]


def _log(seen: Seen) -> pd.DataFrame:
    """The log file, with the names the platform uses."""
    log = pd.read_parquet(seen.settings.models / f"{MODEL}.parquet")
    return log.assign(ds=log["day"].dt.tz_localize("UTC")).rename(columns={"store": "unique_id", "sales": "y"})


def _decided(seen: Seen) -> dict[str, str]:
    """The decision behind every version that was promoted."""
    log = events(seen.settings.lake, seen.policies[MODEL])
    return {row.to_version: row.chunk for row in log[log["event"] == Event.PROMOTED].itertuples()}


def _scales(seen: Seen) -> pd.DataFrame:
    """Unit of MASE by version and store, from the log file: the mean weekly move before the first held-out row."""
    log, parts = _log(seen), []
    for version, chunk in _decided(seen).items():
        first = seen.settings.lake.read(MODEL, held_out(seen.policies[MODEL]), {"chunk": chunk})["time"].min()
        before = log[log["ds"] < first]
        moves = before.groupby("unique_id")["y"].diff(7).abs()
        parts.append(moves.groupby(before["unique_id"]).mean().rename("scale").reset_index().assign(model_version=version))
    return pd.concat(parts, ignore_index=True)


def _issued(seen: Seen) -> pd.DataFrame:
    """Every forecast issued in the replayed weeks, one row per level, beside the log file's sales and the unit of MASE."""
    return _beside_log(seen, seen.settings.lake.read(MODEL, FORECASTS)).merge(_scales(seen), on=["unique_id", "model_version"])


def _beside_log(seen: Seen, told: pd.DataFrame) -> pd.DataFrame:
    return told.merge(_log(seen)[["unique_id", "ds", "y"]], on=["unique_id", "ds"])


def _points(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["level"] == rows["level"].max()]


def _mase(rows: pd.DataFrame, name: str = "mean") -> float:
    return float(((rows["y"] - rows[name]).abs() / rows["scale"]).mean())


def _accuracy(rows: pd.DataFrame, is_known: pd.Series) -> Finding:
    """Over all issued forecasts, and over those of a version that has seen the weeks it forecasts: before the law, and after the retraining."""
    points, every = _points(rows[is_known]), _mase(_points(rows))
    own, naive = _mase(points), _mase(points, "baseline")
    return Finding(
        "MASE of the issued forecasts, from the log file alone, is below 1, and below the seasonal naive forecast's where the law is known",
        every < 1 and own < naive,
        f"{every:.3f}; {own:.3f} against {naive:.3f} on {points['chunk'].nunique()} of {rows['chunk'].nunique()} Mondays, {len(points)} forecasts",
    )


def _same_as_measured(seen: Seen, rows: pd.DataFrame) -> Finding:
    measured = seen.measurements(MODEL)
    measured = measured[(measured["kind"] == Kind.REALIZED_PERFORMANCE) & (measured["segment"] == "all")]
    measured = measured.pivot_table(index="chunk", columns="subject", values="value")
    points = _points(rows).assign(error=lambda own: own["y"] - own["mean"])
    own = pd.DataFrame({
        "mase": points.groupby("chunk").apply(_mase, include_groups=False),
        "mae": points["error"].abs().groupby(points["chunk"]).mean(),
        "rmse": (points["error"] ** 2).groupby(points["chunk"]).mean() ** 0.5,
    })  # fmt: skip
    worst = float((measured[list(own)] - own).abs().max().max())
    policy = seen.policies[MODEL]
    n_weeks = (policy.replay.end - policy.reference.end).days // 7
    return Finding(
        "MASE, MAE and RMSE of every week are what the log file gives", len(own) == len(measured) == n_weeks and worst <= 1e-9,
        f"{own.size} numbers of {len(measured)} weeks, largest difference {worst:.1e}",
    )  # fmt: skip


def _covered(sound: pd.DataFrame) -> Finding:
    told, is_held = [], True
    for level, rows in sound.groupby("level"):
        inside = rows["y"].between(rows["lower"], rows["upper"])
        low, high = binom.interval(1 - OUTSIDE, len(rows), level / 100)
        is_held &= low <= inside.sum() <= high
        told.append(f"{level} %: {inside.mean():.1%} ({low / len(rows):.1%} to {high / len(rows):.1%})")
    return Finding("intervals hold what they promise, within the binomial band", is_held, f"{'; '.join(told)}; n = {len(rows)}")


def _by_horizon(seen: Seen) -> Finding:
    lines = seen.measurements(MODEL)
    wanted = {(f"h={h}", subject) for h in range(1, 8) for subject in ("mae", "mase", "coverage_95")}
    lines = lines[lines["segment"].str.startswith("h=") & lines["value"].notna()]
    lacking = sum(not wanted <= set(zip(own["segment"], own["subject"], strict=True)) for _, own in lines.groupby("chunk"))
    return Finding(
        "each week has error and coverage of every day ahead",
        lacking == 0 and len(lines) > 0,
        f"{lines['chunk'].nunique()} weeks, {lacking} without",
    )


def _registered(seen: Seen) -> list[Finding]:
    """What MLflow says of each version, beside what the lake and the log file give."""
    worst, figures, is_logged, cutoffs = 0.0, [], True, []
    for one in seen.settings.registry.versions(MODEL):
        with seen.settings.registry.client() as client:
            run = client.get_run(one["run_id"]).data
        decided = _decided(seen)[one["version"]]
        worst = max(worst, _distance(seen, decided, run.metrics))
        is_logged &= _names_its_rows(seen, decided, one["tags"], run.params)
        figures.append(f"version {one['version']} {run.metrics['held_out_mae']:.2f} and {run.metrics['held_out_rmse']:.2f}")
        cutoffs.append(f"version {one['version']} {run.params['cutoff']}, {one['tags']['data_version']}")
    return [
        Finding("MAE and RMSE of each version in MLflow are those of its held-out forecasts", worst <= 1e-9, f"{'; '.join(figures)}; largest difference {worst:.1e}"),
        Finding("each version names its parameters, its cutoff and the exact rows it has seen", is_logged and bool(cutoffs), "; ".join(cutoffs)),
    ]  # fmt: skip


def _distance(seen: Seen, decided: str, stored: dict[str, float]) -> float:
    """Largest difference of the stored MAE and RMSE from what the kept backtest and the log file give, and from the table ``held_out``."""
    lake = seen.settings.lake
    newest = _points(_beside_log(seen, lake.read(MODEL, FORECAST_BACKTESTS, {"decided": decided})))
    proof = lake.read(MODEL, held_out(seen.policies[MODEL]), {"chunk": decided})
    newest = newest[newest["ds"].between(proof["time"].min(), proof["time"].max())]
    newest = newest.sort_values("cutoff", kind="stable").drop_duplicates(["unique_id", "ds"], keep="last")
    errors = [newest["y"] - newest["mean"], proof["y_true"] - proof["candidate_y_pred"]]
    again = [{"held_out_mae": one.abs().mean(), "held_out_rmse": (one**2).mean() ** 0.5} for one in errors]
    return float(max(abs(stored[name] - value) for one in again for name, value in one.items()))


def _names_its_rows(seen: Seen, decided: str, tags: dict[str, str], params: dict[str, str]) -> bool:
    """Whether the rows behind the data version are those of the log file, and end where the version says it was cut."""
    policy = seen.policies[MODEL]
    version = int(tags["data_version"].split("@")[1].split("[")[0])
    rows = seen.settings.lake.read(MODEL, training_sets(policy), {"chunk": decided}, version=version)
    train, proof = (rows[rows["part"] == part] for part in ("train", "holdout"))
    both = rows.rename(columns={"store": "unique_id", "time": "ds"}).merge(_log(seen), on=["unique_id", "ds"], suffixes=("", "_logged"))
    is_true = len(both) == len(rows) > 0 and (both["y_true"] == both["y"]).all() and (both["promotion"] == both["promotion_logged"]).all()
    last, own = train["time"].max(), policy.forecast
    expected = {
        "cutoff": str(last.tz_localize(None)), "train_end": str(last), "season_lengths": str(own.season_lengths), "h": str(own.horizon),
        "candidates": str(["seasonal_naive", *own.candidates]), "transform": own.transform, "max_history": str(own.max_history),
    }  # fmt: skip
    return bool(is_true and last < proof["time"].min() and expected.items() <= params.items())


def _fresh_process(seen: Seen) -> Finding:
    """Each version as a colleague would load it: another process, MLflow alone, unpickling forbidden."""
    policy, registry, log = seen.policies[MODEL], seen.settings.registry, _log(seen)
    future = log.assign(ds=log["day"].astype("datetime64[us]"))[["unique_id", "ds", "promotion"]].astype({"promotion": "float64"})
    versions, own = [one["version"] for one in registry.versions(MODEL)], {}
    with TemporaryDirectory() as folder:
        for version in versions:
            model = load_version(policy, registry, version)
            asked = future[future["ds"] > model.history["ds"].max()].groupby("unique_id").head(policy.forecast.horizon)
            asked.to_parquet(Path(folder) / f"{version}.asked.parquet", index=False)
            own[version] = model.forecast(future=asked)
        paths = {"PYTHONPATH": os.pathsep.join(sys.path), "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
        command = [sys.executable, "-c", _FRESH, registry.tracking_uri, MODEL, folder, *versions]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **paths})  # noqa: S603 - our own interpreter
        others = {version: pd.read_parquet(Path(folder) / f"{version}.told.parquet") for version in versions}
    differences = {version: _largest_difference(others[version], own[version]) for version in versions}
    return Finding(
        "every version forecasts the same in a fresh process that may not unpickle",
        bool(differences) and max(differences.values()) <= 1e-9,
        ", ".join(f"version {version}: largest difference {value:.1e}" for version, value in differences.items()),
    )


def _largest_difference(other: pd.DataFrame, own: pd.DataFrame) -> float:
    """Of two tables of forecasts; infinite where they are not of the same rows and model."""
    numbers, names = own.select_dtypes("float64").columns, ["unique_id", "ds", "model"]
    return float((other[numbers] - own[numbers]).abs().to_numpy().max()) if other[names].equals(own[names]) else float("inf")


def _retrained(seen: Seen, orders: pd.DataFrame, rows: pd.DataFrame) -> list[Finding]:
    verdicts, log = seen.table(MODEL, VERDICTS), events(seen.settings.lake, seen.policies[MODEL])
    harmful = verdicts.loc[verdicts["verdict"].isin(HARMFUL) & (verdicts["chunk"] >= f"{LAW:%Y-%m-%d}"), "chunk"]
    promoted = log[(log["event"] == Event.PROMOTED) & log["from_version"].notna()]
    onset = orders["onset"].iloc[0] if len(orders) else pd.NaT
    own, first, naive, n_weeks = _after_promotion(seen, rows)
    return [
        Finding("the first week under the law is judged harmful", harmful.min() == f"{LAW:%Y-%m-%d}", f"first {harmful.min()}"),
        Finding(
            "one retraining answers the law: eight weeks later, dated to its first week, proved and promoted",
            len(orders) == len(promoted) == 1 and promoted["reason"].iloc[0].startswith("window") and abs(onset - LAW) < pd.Timedelta("7d"),
            f"{len(orders)} ordered ({', '.join(orders['chunk'])}), {len(promoted)} promoted: {'; '.join(promoted['reason'])}; onset {onset}",
        ),
        Finding("in the weeks that follow it beats what version 1 would have said", own < first, f"MASE {own:.3f} against {first:.3f}, and {naive:.3f} of the seasonal naive forecast; {n_weeks} weeks"),
    ]  # fmt: skip


def _after_promotion(seen: Seen, rows: pd.DataFrame) -> tuple[float, float, float, int]:
    """MASE of what version 2 issued, of what version 1 would have issued, and of the seasonal naive forecast; in how many weeks."""
    policy, log = seen.policies[MODEL], _log(seen)
    points = _points(rows[rows["model_version"] == "2"])
    if points.empty:
        return float("inf"), 0.0, 0.0, 0
    known = log.assign(
        time=log["ds"],
        y_true=log["y"],
        observed_at=log["ds"],
        store=log["unique_id"],
        prediction_id=log["unique_id"] + log["day"].astype(str),
    )
    asked = known[known["ds"].between(points["ds"].min(), points["ds"].max())]
    first = recipe_of(policy).predict(
        policy, load_version(policy, seen.settings.registry, "1"), asked, known[known["ds"] < asked["ds"].min()]
    )
    both = points.merge(asked.assign(first=first["y_pred"])[["unique_id", "ds", "first"]], on=["unique_id", "ds"])
    return _mase(both), _mase(both, "first"), _mase(both, "baseline"), both["chunk"].nunique()


def _back_to_the_first(seen: Seen) -> list[Finding]:
    """The job ``retail_forecast__rollback`` as a person starts it; then the replay goes on for a week."""
    policy, lake, registry = seen.policies[MODEL], seen.settings.lake, seen.settings.registry
    before = serving_version(lake, policy)
    told = {"reason": "the law is repealed", "approved_by": PERSON, "to_version": "1"}
    is_done = seen.driver.run_job("training", f"{MODEL}__rollback", config=told)
    event = events(lake, policy).iloc[-1]
    is_recorded = (event["event"], event["to_version"], event["approved_by"]) == (Event.ROLLED_BACK, "1", PERSON)
    declare_replay(seen.settings.models, policy.replay.start, policy.replay.end + timedelta(weeks=1))
    ahead = Driver(seen.settings, seen.instance, [MODEL], seen.driver.cursors, seen.driver.run_keys)  # what was seen is not asked for again
    ahead.run_until_idle(lambda job, chunk: None)
    issued = lake.read(MODEL, FORECASTS, {"chunk": policy.cadence.key(policy.replay.end)})
    return [
        Finding(
            "one command brings version 1 back, signed",
            is_done and is_recorded and before != "1" and serving_version(lake, policy) == "1" == registry.aliased_version(MODEL, Alias.CHAMPION),
            f"version {before} served, version {serving_version(lake, policy)} serves now, signed by {event['approved_by']}",
        ),
        Finding("it issues the next week", set(issued["model_version"]) == {"1"}, f"{len(_points(issued))} forecasts of version {', '.join(set(issued['model_version']))}"),
    ]  # fmt: skip


def _quiet(seen: Seen, orders: pd.DataFrame) -> list[Finding]:
    verdicts, rate = seen.table(MODEL, VERDICTS), seen.policies[MODEL].forecast.false_alarms
    harmful = verdicts[verdicts["verdict"].isin(HARMFUL)]
    return [
        Finding("nothing is retrained but on day zero", orders.empty, f"{len(orders)} ordered; versions {', '.join(_decided(seen))}"),
        # a detector that cried wolf goes on crying, so one alarm is one stretch of weeks
        Finding("no week is judged harmful", harmful.empty, f"{len(harmful)} of {len(verdicts)} weeks; {rate:.1%} a week are allowed", share=1 - rate * len(verdicts)),
    ]  # fmt: skip
