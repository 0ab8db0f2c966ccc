"""Does the default policy retrain when it pays, and only then? Policies on real and simulated streams, walked by the replay's own engine.

Every stream is a log the platform scores: its first model is trained on what came before the declared reference, and from then on each
policy decides, trains, proves and promotes as the platform does, on evidence about the model that would have served. Streams that are
simulated: ``abrupt`` (outcomes follow another rule from one day on), ``gradual`` (the rule turns slowly), ``recurring`` (two rules take
turns), ``harmless`` (inputs move, the rule stays and the model knows it there), ``none``. Real ones: the weather station with its rewired
sensors and its repaired twin, the glucose sensor that loses sensitivity, employment in the US census of five years.

Benefit of a policy: (its mean metric - that of never) / (that of every chunk - that of never), pooled over the streams on which
retraining every chunk gains at least ``HELPS``; on the others its retrainings are told.

    python benchmarks/policies.py
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import PROJECT, conclude, quiet, temporary_folder

if TYPE_CHECKING:
    import numpy as np

    from resources.policy import MonitoredModel

FIRST_SEED, SEEDS = 100, 2  # those below were looked at while defaults were chosen
BENEFIT, RETRAINS = 0.95, 0.20  # the bounds: share of the benefit of every chunk, and of its retrainings
HELPS = 0.01  # gain of every chunk over never, in the metric's unit, from which retraining is said to help
DAYS_BEFORE, DAYS_OF_REFERENCE, DAYS_AFTER, ROWS_A_DAY = 60, 30, 100, 100
SIMULATED = ("abrupt", "gradual", "recurring", "harmless", "none")
REAL = ("weather", "weather repaired", "glucose", "census")
_START = datetime(2023, 1, 2, tzinfo=UTC)
_DOCUMENT = PROJECT / "docs" / "policies.md"
_MARKS = ("<!-- benchmark: start -->", "<!-- benchmark: end -->")
#: Proofs by a bootstrap of 2,000 samples would be most of the time of the benchmark.
_RESAMPLES = 100
#: Rounds of boosting: the streams are small, and hundreds of models are trained.
_PARAMETERS = {"num_iterations": 40}


@dataclass(frozen=True)
class Stream:
    """A declaration without a policy of its own, where its log lies, and the last moment."""

    declaration: Mapping[str, Any]
    base: Path
    until: datetime


# --- streams ----------------------------------------------------------------------------------------------------------


def simulated(kind: str, seed: int, folder: Path) -> Stream:
    """A seeded stream of ``ROWS_A_DAY`` rows: outcomes follow six inputs by a rule that changes as ``kind`` says, 30 days after the reference."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng([seed, SIMULATED.index(kind)])
    n_days = DAYS_BEFORE + DAYS_OF_REFERENCE + DAYS_AFTER
    day = np.repeat(np.arange(n_days), ROWS_A_DAY)
    since = day - (DAYS_BEFORE + DAYS_OF_REFERENCE + 30)
    x = rng.normal(size=(len(day), 6))
    if kind == "harmless":
        x[:, 2] += np.where(since >= 0, 1.0, 0.0)
    logit = rule(x, turned(kind, since))
    frame = pd.DataFrame(x, columns=[f"x{place}" for place in range(1, 7)])
    step = pd.Timedelta(days=1) / ROWS_A_DAY
    frame["at"] = pd.date_range(_START, periods=len(frame), freq=step)
    frame["row"] = np.arange(len(frame))
    frame["y"] = (rng.random(len(frame)) < 1 / (1 + np.exp(-logit))).astype("int64")
    file = folder / f"{kind.replace(' ', '_')}_{seed}.parquet"
    frame.to_parquet(file, index=False)
    start = _START + timedelta(days=DAYS_BEFORE)
    declaration = {
        "model": "stream", "task": "binary_classification", "log": {"parquet": file.name, "time": "at", "id": "row"},
        "features": {"numeric": [f"x{place}" for place in range(1, 7)]}, "outcome": {"column": "y", "delay": "2d"}, "chunk": "1d",
        "reference": {"start": f"{start:%Y-%m-%d}", "end": f"{start + timedelta(days=DAYS_OF_REFERENCE):%Y-%m-%d}"},
        "retrain": {"windows": ["all", "30d", "since_onset"], "parameters": _PARAMETERS},
        "gates": {"holdout": "10d", "resamples": _RESAMPLES},
    }  # fmt: skip
    return Stream(declaration, folder, _START + timedelta(days=n_days))


def turned(kind: str, since: "np.ndarray") -> "np.ndarray":
    """How far the rule has turned, in radians, by days since the change ``(n_rows,)``."""
    import numpy as np

    if kind == "abrupt":
        return np.where(since >= 0, np.pi / 2, 0.0)
    if kind == "gradual":
        return np.clip(since / 60, 0.0, 1.0) * np.pi / 2
    if kind == "recurring":
        return np.where((since >= 0) & (since // 30 % 2 == 0), np.pi / 2, 0.0)
    return np.zeros(len(since))


def rule(x: "np.ndarray", angle: "np.ndarray") -> "np.ndarray":
    """Log odds ``(n_rows,)``: the direction that matters turns from the first two inputs to the next two."""
    import numpy as np

    old, new = x[:, 0] * 1.6 - x[:, 1] * 1.2, x[:, 3] * 1.6 - x[:, 4] * 1.2
    return np.cos(angle) * old + np.sin(angle) * new + 0.5 * np.tanh(x[:, 2])


def shipped(name: str, model: str, until: datetime) -> Stream:
    """A sample of the project as it is declared, without the policy: its windows and gates stay."""
    from resources.catalogue import read_declarations

    base = PROJECT / "models"
    found = next(one.policy for one in read_declarations(base / f"{name}.yaml") if one.policy.model == model)
    declaration = found.model_dump(mode="json", exclude_unset=True, exclude={"replay"})
    declaration["retrain"] = {"windows": found.retrain.windows, "parameters": _PARAMETERS}
    declaration["gates"] = {**declaration["gates"], "resamples": _RESAMPLES}
    return Stream(declaration, base, until)


def census(folder: Path) -> Stream:
    """Employment in Massachusetts, 2014 to 2018, from NannyML's bundle: rows of a year spread evenly over it, a chunk a month."""
    import nannyml
    import numpy as np
    import pandas as pd

    reference, analysis, outcomes = nannyml.load_us_census_ma_employment_data()
    rows = pd.concat([reference, analysis.merge(outcomes, on="id")], ignore_index=True)
    rows = rows.sample(15_000, random_state=0).sort_values("year", kind="stable", ignore_index=True)
    place = rows.groupby("year").cumcount() / rows.groupby("year")["id"].transform("size")
    year = pd.to_datetime(rows["year"].astype(int).astype(str), utc=True)
    rows["at"] = year + pd.to_timedelta((place * 364.9).to_numpy(), unit="D")
    features = [name for name in reference.columns if name not in {"id", "year", "prediction", "predicted_probability", "employed"}]
    rows["row"] = np.arange(len(rows))
    rows[[*features, "at", "row", "employed"]].to_parquet(folder / "census.parquet", index=False)
    first = int(rows["year"].min())
    declaration = {
        "model": "stream", "task": "binary_classification", "log": {"parquet": "census.parquet", "time": "at", "id": "row"},
        "features": {"numeric": features}, "outcome": {"column": "employed", "delay": "30d"}, "chunk": "1mo",
        "reference": {"start": f"{first + 1}-01-01", "end": f"{first + 2}-01-01"},
        "retrain": {"windows": ["all", "1y", "since_onset"], "parameters": _PARAMETERS}, "gates": {"holdout": "180d", "resamples": _RESAMPLES},
    }  # fmt: skip
    return Stream(declaration, folder, datetime(int(rows["year"].max()) + 1, 1, 1, tzinfo=UTC))


def stream_of(name: str, seed: int, folder: Path) -> Stream:
    """A stream by its name."""
    real: dict[str, Callable[[], Stream]] = {
        "weather": lambda: shipped("weather_station", "weather_station", datetime(1998, 7, 1, tzinfo=UTC)),
        "weather repaired": lambda: shipped("weather_station", "weather_station_control", datetime(1998, 7, 1, tzinfo=UTC)),
        "glucose": lambda: shipped("glucose_sensor", "glucose_sensor", datetime(2010, 10, 10, tzinfo=UTC)),
        "census": lambda: census(folder),
    }
    return real[name]() if name in real else simulated(name, seed, folder)


# --- policies ---------------------------------------------------------------------------------------------------------


def policies_of(stream: Stream) -> "dict[str, MonitoredModel]":
    """Every policy on one stream; all but the default one have no cooldown and no budget."""
    from resources.policy import MonitoredModel
    from training_assets.replay.rivals import EVERY_CHUNK, NEVER, rivals, with_condition

    default = MonitoredModel.model_validate(stream.declaration)
    own = rivals(default, "7d")
    return {
        NEVER: own[NEVER],
        EVERY_CHUNK: own[EVERY_CHUNK],
        "weekly": own["fixed schedule"],
        "any drift": with_condition(default, {"drift": {}}),
        "default": default,
    }


@dataclass(frozen=True)
class Walked:
    """One policy on one stream."""

    stream: str
    seed: int
    policy: str
    mean_metric: float
    retrainings: int
    promotions: int
    most_in_budget: int
    budget: int
    sign: int
    seconds: float


def most_within(moments: Sequence[datetime], days: float) -> int:
    """Most orders in any stretch of so many days."""
    return max((sum(0 <= (later - first).total_seconds() < days * 86400 for later in moments) for first in moments), default=0)


def walk(name: str, seed: int, only: Iterable[str] = ()) -> list[Walked]:
    """All policies on one stream."""
    quiet()
    from monitoring_assets.measures.registry import sign_of
    from training_assets.decide import Clause
    from training_assets.replay.figures import figures_of
    from training_assets.replay.run import Asked, rehearse

    found = []
    with temporary_folder() as folder:
        stream = stream_of(name, seed, folder)
        policies = policies_of(stream)
        scene = rehearse(policies["default"], stream.base, stream.until)
        for policy_name, policy in policies.items():
            if only and policy_name not in only:
                continue
            began = time.process_time()
            path = scene.walk(policy, Asked(train=100_000), lambda: None, heeds_overrides=False)
            own = figures_of(policy_name, path, scene.workshop, scene.chunks, None, None)
            ordered = [step.as_of for step in path.steps if step.is_order and step.decision.clause != Clause.NO_CHAMPION]
            budget = policies["default"].retrain.budget
            found.append(Walked(
                name, seed, policy_name, own.mean_metric, own.retrainings, own.promotions, most_within(ordered, 30), budget.retrainings,
                sign_of(policy.task, policy.metrics[0]), time.process_time() - began,
            ))  # fmt: skip
    return found


# --- what it comes to -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pooled:
    """A policy over the streams on which retraining helps: share of the benefit and of the retrainings of every chunk."""

    policy: str
    benefit: float
    retrains: float


def of(found: Sequence[Walked], stream: str, policy: str) -> list[Walked]:
    """Every seed of one policy on one stream."""
    return [one for one in found if (one.stream, one.policy) == (stream, policy)]


def gain(found: Sequence[Walked], stream: str, policy: str) -> float:
    """Mean over seeds of how much better than never a policy is, in the metric's unit; positive is better."""
    pairs = zip(of(found, stream, policy), of(found, stream, "never"), strict=True)
    gains = [own.sign * (own.mean_metric - never.mean_metric) for own, never in pairs]
    return sum(gains) / len(gains)


def streams(found: Sequence[Walked]) -> list[str]:
    """Names, in the order of the page."""
    return [name for name in (*SIMULATED, *REAL) if any(one.stream == name for one in found)]


def helped(found: Sequence[Walked]) -> list[str]:
    """Streams on which retraining every chunk helps, judged by how far it moves the metric away from never's own."""
    return [name for name in streams(found) if gain(found, name, "every chunk") >= HELPS * scale(found, name)]


def scale(found: Sequence[Walked], stream: str) -> float:
    """What a gain is measured in: one for shares and areas, never's own error where the metric is an error."""
    never = of(found, stream, "never")
    return 1.0 if never[0].sign > 0 else sum(one.mean_metric for one in never) / len(never)


def pooled(found: Sequence[Walked], policy: str) -> Pooled:
    """Sums over the streams where retraining helps, each in its own scale and weighing the same."""
    own = helped(found)
    gains = {name: sum(gain(found, stream, name) / scale(found, stream) for stream in own) for name in (policy, "every chunk")}
    counts = {name: sum(one.retrainings for stream in own for one in of(found, stream, name)) for name in (policy, "every chunk")}
    return Pooled(policy, gains[policy] / gains["every chunk"], counts[policy] / counts["every chunk"])


def is_within_budget(found: Sequence[Walked]) -> bool:
    """Whether the default policy never ordered more within 30 days than its budget."""
    return all(one.most_in_budget <= one.budget for one in found if one.policy == "default")


def names(found: Sequence[Walked]) -> list[str]:
    """Policies, in the order they were walked."""
    return list(dict.fromkeys(one.policy for one in found))


def document(found: Sequence[Walked]) -> str:
    """The section of ``docs/policies.md`` between its marks."""
    own, titles = helped(found), names(found)
    lines = [
        "Generated by `python benchmarks/policies.py`, which also writes `benchmarks/results/policies.json`. Do not edit this section.", "",
        f"| stream | seeds | {' | '.join(titles)} | benefit of default |", "|---|---:" + "|---:" * (len(titles) + 1) + "|",
    ]  # fmt: skip
    for stream in streams(found):
        cells = []
        for policy in titles:
            runs = of(found, stream, policy)
            mean, orders = (sum(values) / len(runs) for values in ([one.mean_metric for one in runs], [one.retrainings for one in runs]))
            cells.append(f"{mean:.4g} ({orders:.3g})")
        share = gain(found, stream, "default") / gain(found, stream, "every chunk") if stream in own else None
        told = f"{share:.0%}" if share is not None else "retraining does not help"
        lines.append(f"| {stream} | {len(of(found, stream, 'never'))} | {' | '.join(cells)} | {told} |")
    lines += [
        "",
        "Cells: mean metric over all chunks (retrainings, mean over seeds).",
        "",
        "| pooled where retraining helps | benefit | retrainings |",
        "|---|---:|---:|",
    ]
    lines += [f"| {one.policy} | {one.benefit:.0%} | {one.retrains:.1%} |" for one in (pooled(found, name) for name in titles)]
    return "\n".join(lines)


def with_section(page: str, section: str) -> str:
    """A page with the text between its marks replaced."""
    before, rest = page.split(_MARKS[0])
    return f"{before}{_MARKS[0]}\n{section}\n{_MARKS[1]}{rest.split(_MARKS[1])[1]}"


def measured(seeds: int, first: int, processes: int) -> list[Walked]:
    """All policies on all streams; real streams have no seed."""
    asked = [(name, 0) for name in REAL] + [(name, first + place) for name in SIMULATED for place in range(seeds)]
    found: dict[tuple[str, int], list[Walked]] = {}
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(walk, *one): one for one in asked}
        for place, done in enumerate(as_completed(running), 1):
            found[running[done]] = done.result()
            print(f"{place} of {len(asked)}: {' '.join(map(str, running[done]))}", flush=True)
    return [one for key in asked for one in found[key]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Walk all policies on all streams, judge the default one, write the result and the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of every simulated stream")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="seed")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args(arguments)
    found = measured(asked.seeds, asked.first, asked.processes)
    own = pooled(found, "default")
    _DOCUMENT.write_text(with_section(_DOCUMENT.read_text(encoding="utf-8"), document(found)), encoding="utf-8")
    print(document(found))
    result = {
        "bound": f"the default policy reaches at least {BENEFIT:.0%} of the benefit of retraining every chunk, with at most {RETRAINS:.0%} of its retrainings, within its budget",
        "benefit": own.benefit, "retrainings": own.retrains, "is_within_budget": is_within_budget(found), "helped": helped(found),
        "walked": [asdict(one) for one in found],
    }  # fmt: skip
    return conclude("policies", result, own.benefit >= BENEFIT and own.retrains <= RETRAINS and is_within_budget(found))


def read(text: str) -> list[Walked]:
    """What a result file holds."""
    return [Walked(**one) for one in json.loads(text)["walked"]]


if __name__ == "__main__":
    sys.exit(main())
