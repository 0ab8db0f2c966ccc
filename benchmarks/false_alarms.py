"""How often does each drift method alarm where nothing drifted, and how soon where something did?

Every method of the registry is declared alone with the default limit, so its stated rate holds for the whole chunk; beside
it stand the default declaration, NannyML's rule (mean plus three standard deviations of the reference chunks) and the plain
rule p < 0.05 that knows neither the number of features nor autocorrelation. The data is synthetic and seeded: four numeric
features (two normal ones, one rounded with missing values, one skewed) and four categorical ones (the last with a long tail of
rare categories and missing values), each driven by a series of its own: white noise, autoregressive with 0.5 or 0.9, a
season of one chunk, a season of twenty chunks. Chunks of one seed share a reference, so standard errors are those of the
mean over seeds.

Changes: the mean of one numeric feature by 0.1, 0.3 or 1 standard deviations, its deviation times 1.5, the correlation of
two features from 0 to 0.6, a tenth of all rows from one category to another; at once, or growing over ten chunks.

    python benchmarks/false_alarms.py
"""

import argparse
import json
import platform
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from common import PROJECT, RESULTS, quiet

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from monitoring_assets.measures.univariate import FittedColumn, Measured
    from resources.policy import MonitoredModel

ROWS = 300  # of a chunk
LONG_SEASON, RAMP = 20, 10  # chunks
RATE = 0.01
KINDS = {
    "white": "white noise",
    "ar 0.5": "AR 0.5",
    "ar 0.9": "AR 0.9",
    "season 1": "season of a chunk",
    "season 20": "season of 20 chunks",
}
CHANGES = {
    "mean 0.1": "mean +0.1 sd", "mean 0.3": "mean +0.3 sd", "mean 1": "mean +1 sd", "sd 1.5": "sd × 1.5", "correlation 0.6": "correlation 0 → 0.6",
    "share 0.2": "a tenth of the rows change category",
}  # fmt: skip
DEFAULT, STD, RAW = "default declaration", "rule std (NannyML's)", "rule p < 0.05, uncorrected"
UNIVARIATE, SLOW = "univariate", ("mmd", "domain_classifier")
_NUMERIC, _CATEGORICAL = ["x0", "x1", "x2", "x3"], ["c0", "c1", "c2", "c3"]
_START = "2024-01-01"


@dataclass(frozen=True)
class Task:
    """One seed of one situation: fit on ``reference`` chunks, then judge ``chunks`` further ones (times ``size``), for every change."""

    group: str
    kind: str
    reference: int
    seed: int
    chunks: int
    size: float = 1.0
    changes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """Alarms of one method in one seed: how many of how many chunks, and the first of them, from 1."""

    method: str
    kind: str
    reference: int
    size: float
    change: str
    speed: str
    chunks: int
    alarms: int
    first: int | None


def policy_of(numeric: Sequence[str], categorical: Sequence[str], multivariate: Sequence[str], **limit: object) -> "MonitoredModel":
    """A declaration with these methods; without ``limit`` the default one."""
    from resources.policy import MonitoredModel

    return MonitoredModel.model_validate({
        "model": "benchmark", "task": "regression", "log": {"parquet": "log.parquet", "time": "time", "id": "id", "prediction": "p"},
        "features": {"numeric": _NUMERIC, "categorical": _CATEGORICAL}, "outcome": {"column": "y"},
        "reference": {"start": _START, "end": "2025-01-01"},
        "drift": {
            "numeric": list(numeric), "categorical": list(categorical), "multivariate": list(multivariate), **({"limit": limit} if limit else {}),
        },
    })  # fmt: skip


def series(rng: "np.random.Generator", kind: str, n: int) -> "np.ndarray":
    """``(n,)`` of standard deviation 1."""
    import numpy as np
    from scipy.signal import lfilter

    name, _, figure = kind.partition(" ")
    if name == "white":
        return rng.normal(size=n)
    if name == "ar":
        rho = float(figure)
        return lfilter([np.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=n + 500))[500:]
    wave = np.sin(2 * np.pi * (np.arange(n) / (ROWS * float(figure)) + rng.random()))
    return (wave + series(rng, "ar 0.5", n)) / np.sqrt(1.5)


def frame_of(rng: "np.random.Generator", kind: str, n_chunks: int) -> "pd.DataFrame":
    """Rows of ``n_chunks`` days."""
    import numpy as np
    import pandas as pd
    from scipy.stats import norm

    n = n_chunks * ROWS
    numeric = [series(rng, kind, n) for _ in _NUMERIC]
    frame = pd.DataFrame(dict(zip(_NUMERIC, numeric, strict=True)))
    frame["x2"] = frame["x2"].round(1).where(rng.random(n) >= 0.02)
    frame["x3"] = np.exp(0.7 * frame["x3"])
    tail = np.full(20, 0.0005)
    for name, shares in zip(_CATEGORICAL, ([0.5, 0.3, 0.2], [0.6, 0.4], [0.4, 0.3, 0.2, 0.07, 0.03], [0.6, 0.39, *tail]), strict=True):
        names = np.array([f"kind {place}" for place in range(len(shares))], dtype=object)
        places = np.searchsorted(np.cumsum(shares)[:-1], norm.cdf(series(rng, kind, n)), "right")
        frame[name] = names[places]
    frame["c3"] = frame["c3"].where(rng.random(n) >= 0.02)
    frame["time"] = pd.date_range(_START, periods=n, freq=pd.Timedelta(days=1) / ROWS, tz="UTC")
    return frame


def changed(chunk: "pd.DataFrame", change: str, share: float, rng: "np.random.Generator") -> "pd.DataFrame":
    """The chunk with ``share`` of the change."""
    import numpy as np

    if not change:
        return chunk
    what, _, figure = change.partition(" ")
    chunk, size = chunk.copy(), float(figure)
    if what == "mean":
        chunk["x0"] += size * share
    elif what == "sd":
        chunk["x0"] *= 1 + (size - 1) * share
    elif what == "correlation":
        chunk["x1"] = size * share * chunk["x0"] + np.sqrt(1 - (size * share) ** 2) * chunk["x1"]
    else:
        moves = (chunk["c0"] == "kind 0") & (rng.random(len(chunk)) < size * share)
        chunk.loc[moves, "c0"] = "kind 1"
    return chunk


#: Judges a chunk; the second argument says whether the rules for comparison, which are slower, judge it too.
Judge = Callable[["pd.DataFrame", bool], dict[str, bool]]
_COMPARED = 4  # one chunk in so many


def _p_values(policy: "MonitoredModel", measured: "Iterable[Measured]") -> list[float]:
    from monitoring_assets.measures import breaches

    return [breaches._p_value(policy.drift.limit, one) for one in measured]  # the rule itself: stays true when the rule changes


def _alarms(policy: "MonitoredModel", measured: "Sequence[Measured]") -> bool:
    """Whether these numbers, declared alone, make the drift check fail."""
    import numpy as np

    from monitoring_assets.measures.limits import adjusted

    limit = policy.drift.limit
    return bool((adjusted(np.array(_p_values(policy, measured)), limit.correction) < limit.false_alarms).any())


def univariate_judge(reference: "pd.DataFrame") -> Judge:
    """Every univariate method alone, the default declaration, the two rules for comparison, and the two quick multivariate methods."""
    from monitoring_assets.measures.breaches import drift_lines
    from monitoring_assets.measures.joint import fit_joint, measure_joint
    from monitoring_assets.measures.registry import CATEGORICAL, NUMERIC
    from monitoring_assets.measures.univariate import FrameRows, fit_columns, measure_columns

    every = policy_of(list(NUMERIC), list(CATEGORICAL), ["pca_reconstruction", "correlation_shift"])
    default = policy_of(
        every.drift.model_fields["numeric"].default, every.drift.model_fields["categorical"].default, ["pca_reconstruction"]
    )
    std = policy_of(default.drift.numeric, default.drift.categorical, default.drift.multivariate, rule="std")
    raw = policy_of(["kolmogorov_smirnov"], ["chi2"], [], rule="p_value", correction="none", autocorrelation="ignored")
    with_chunks = policy_of(
        list(NUMERIC), list(CATEGORICAL), [], rule="std"
    )  # nulls do not depend on the rule; this one keeps the chunks too
    columns: list[FittedColumn] = fit_columns(with_chunks, reference, ROWS)
    joint, joint_std = fit_joint(every, reference, ROWS), fit_joint(std, reference, ROWS)
    names = {(True, name): name for name in NUMERIC} | {(False, name): f"{name} (categories)" for name in CATEGORICAL}

    def judge(chunk: "pd.DataFrame", is_compared: bool) -> dict[str, bool]:
        rows = FrameRows(chunk)
        found, outliers = measure_columns(every, columns, rows)
        together = measure_joint(every, joint, columns, chunk)
        families: dict[str, list[Measured]] = defaultdict(list)
        for one in found:
            families[names[one.subject in _NUMERIC, one.method]].append(one)
        for one in together:
            families[one.method].append(one)
        verdicts = {name: _alarms(every, family) for name, family in families.items()}
        declared = [one for one in found if one.method in (default.drift.numeric if one.subject in _NUMERIC else default.drift.categorical)]

        def fails(policy: "MonitoredModel", numbers: "list[Measured]") -> bool:
            lines = drift_lines(policy, "chunk", numbers, outliers, len(chunk))
            return bool((lines["breach"] & lines["is_deciding"]).any())

        verdicts[DEFAULT] = fails(default, [*declared, *together[:1]])
        if is_compared:
            verdicts[STD] = fails(std, [*declared, *measure_joint(std, joint_std, columns, chunk)])
            verdicts[RAW] = fails(raw, measure_columns(raw, columns, rows)[0])
        return verdicts

    return judge


def joint_judge(method: str, reference: "pd.DataFrame") -> Judge:
    """One multivariate method."""
    from monitoring_assets.measures.joint import fit_joint, measure_joint

    policy = policy_of(["kolmogorov_smirnov"], ["chi2"], [method])
    joint = fit_joint(policy, reference, ROWS)
    return lambda chunk, _: {method: _alarms(policy, measure_joint(policy, joint, [], chunk))}


def sequential_judge(name: str, reference: "pd.DataFrame", seed: int) -> Judge:
    """One streaming detector over one feature, as over losses."""
    from monitoring_assets.measures.sequential import detect, fit_detector

    detector = fit_detector(name, reference["x0"].to_numpy(), ROWS, RATE, seed)
    return lambda chunk, _: {name: detect(detector, chunk["x0"].to_numpy()).index is not None}


def run(task: Task) -> list[Outcome]:
    """Fit once, judge every chunk of every change."""
    import numpy as np

    quiet()
    rng = np.random.default_rng([task.seed, task.reference, sorted(KINDS).index(task.kind), bool(task.changes)])
    rows = frame_of(rng, task.kind, task.reference + task.chunks)
    reference, later = rows.iloc[: task.reference * ROWS], rows.iloc[task.reference * ROWS :]
    if task.group == UNIVARIATE:
        judge = univariate_judge(reference)
    elif task.group in SLOW:
        judge = joint_judge(task.group, reference)
    else:
        judge = sequential_judge(task.group, reference, task.seed)
    found = []
    sizes = (1.0, task.size) if task.size != 1.0 else (1.0,)
    for change, speed, size in (
        [(change, speed, 1.0) for change in task.changes for speed in ("abrupt", "gradual")]
        if task.changes
        else [("", "", size) for size in sizes]
    ):
        alarms: dict[str, list[bool]] = defaultdict(list)
        for number in range(task.chunks):
            chunk = later.iloc[number * ROWS : number * ROWS + round(ROWS * size)].reset_index(drop=True)
            share = 1.0 if speed != "gradual" else min(1.0, (number + 1) / RAMP)
            for method, alarm in judge(changed(chunk, change, share, rng), bool(change) or number % _COMPARED == 0).items():
                alarms[method].append(alarm)
        found += [
            Outcome(
                method,
                task.kind,
                task.reference,
                size,
                change,
                speed,
                len(flags),
                sum(flags),
                flags.index(True) + 1 if any(flags) else None,
            )
            for method, flags in alarms.items()
        ]
    return found


def tasks(scale: float) -> list[Task]:
    """All seeds of all situations, the slow ones first."""
    from monitoring_assets.measures.detectors import DETECTORS

    def seeds(count: int) -> range:
        return range(max(2, round(count * scale)))

    every = tuple(CHANGES)
    few = {"hddm_w": 4}
    return [
        *(Task("domain_classifier", kind, 40, seed, 20) for kind in ("white", "ar 0.9") for seed in seeds(4)),
        *(Task("domain_classifier", "white", 40, seed, 8, changes=("mean 0.3", "mean 1", "sd 1.5", "correlation 0.6")) for seed in seeds(2)),
        *(Task("mmd", kind, 40, seed, 30) for kind in ("white", "ar 0.9", "season 20") for seed in seeds(8)),
        *(Task("mmd", "white", 10, seed, 30) for seed in seeds(8)),
        *(Task("mmd", "white", 40, seed, 15, changes=every) for seed in seeds(4)),
        *(Task(name, kind, 40, seed, 50) for name in DETECTORS for kind in ("white", "ar 0.5", "ar 0.9") for seed in seeds(few.get(name, 20))),
        *(Task(name, "white", 40, seed, 20, changes=every[:4]) for name in DETECTORS for seed in seeds(few.get(name, 12) // 2)),
        *(Task(UNIVARIATE, "white", 40, seed, 15, changes=every) for seed in seeds(10)),
        *(
            Task(UNIVARIATE, kind, 40, seed, 40, size=0.5 if kind in ("white", "ar 0.9") else 1.0)
            for kind in KINDS for seed in seeds(26)
        ),
        *(Task(UNIVARIATE, kind, 10, seed, 40) for kind in KINDS for seed in seeds(26 if not kind.startswith("season") else 13)),
    ]  # fmt: skip


@dataclass(frozen=True)
class Rate:
    """Share of chunks that alarm, with its standard error over seeds, and the mean chunk of the first alarm."""

    share: float
    error: float
    chunks: int
    seeds: int
    found: float
    delay: float | None

    @property
    def exceeds(self) -> bool:
        """Whether it is above the stated rate by more than two standard errors."""
        return self.share - 2 * self.error > RATE


Key = tuple[str, str, int, float, str, str]


def summarized(outcomes: Iterable[Outcome]) -> dict[Key, Rate]:
    """Outcomes of all seeds as rates."""
    import numpy as np

    groups: dict[Key, list[Outcome]] = defaultdict(list)
    for one in outcomes:
        groups[one.method, one.kind, one.reference, one.size, one.change, one.speed].append(one)
    rates = {}
    for key, own in groups.items():
        shares = np.array([one.alarms / one.chunks for one in own])
        chunks, alarms = sum(one.chunks for one in own), sum(one.alarms for one in own)
        least = np.sqrt(max(alarms, 1) * max(chunks - alarms, 1) / chunks) / chunks  # never below that of independent chunks
        error = max(float(shares.std(ddof=1) / np.sqrt(len(own))), float(least))
        firsts = [one.first for one in own if one.first is not None]
        rates[key] = Rate(alarms / chunks, error, chunks, len(own), len(firsts) / len(own), float(np.mean(firsts)) if firsts else None)
    return rates


def _order(rates: Mapping[Key, Rate]) -> list[str]:
    from monitoring_assets.measures.detectors import DETECTORS
    from monitoring_assets.measures.registry import CATEGORICAL, MULTIVARIATE, NUMERIC

    known = [DEFAULT, *NUMERIC, *(f"{name} (categories)" for name in CATEGORICAL), *MULTIVARIATE, *DETECTORS, STD, RAW]
    present = {key[0] for key in rates}
    return [name for name in known if name in present]


def _cell(rate: Rate | None) -> str:
    if rate is None:
        return ""
    text = f"{1000 * rate.share:.0f} ± {1000 * rate.error:.0f}"
    return f"**{text}**" if rate.exceeds else text


def _markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _false_table(rates: Mapping[Key, Rate], reference: int, size: float) -> str:
    kinds = [kind for kind in KINDS if any(key[1:] == (kind, reference, size, "", "") for key in rates)]
    rows = []
    for name in _order(rates):
        own = [rates.get((name, kind, reference, size, "", "")) for kind in kinds]
        if any(own):
            counts = sorted({f"{rate.chunks:,}" for rate in own if rate})
            rows.append([name, *(_cell(rate) for rate in own), " to ".join(dict.fromkeys((counts[0], counts[-1])))])
    return _markdown(["method", *(KINDS[kind] for kind in kinds), "chunks each"], rows)


def _power_table(rates: Mapping[Key, Rate]) -> str:
    def cell(name: str, change: str) -> str:
        abrupt, gradual = (rates.get((name, "white", 40, 1.0, change, speed)) for speed in ("abrupt", "gradual"))
        if abrupt is None or gradual is None:
            return ""
        delays = [
            f"{rate.delay:.1f}" + ("" if rate.found == 1 else f" ({rate.found:.0%})") if rate.delay else "never"
            for rate in (abrupt, gradual)
        ]
        return f"{abrupt.share:.0%} / {' / '.join(delays)}"

    rows = [[name, *(cell(name, change) for change in CHANGES)] for name in _order(rates)]
    return _markdown(["method", *CHANGES.values()], [row for row in rows if any(row[1:])])


def _list(rates: Mapping[Key, Rate], is_told: Callable[[Rate], bool]) -> str:
    """The situations without drift of which ``is_told`` says so, by method."""
    told = []
    for name in _order(rates):
        if name in (STD, RAW):
            continue
        own = [
            f"{KINDS[kind]}, {reference} reference chunks{'' if size == 1.0 else ', half-sized chunks'}: {1000 * rate.share:.0f} ± {1000 * rate.error:.0f}"
            for (method, kind, reference, size, change, _), rate in rates.items() if method == name and not change and is_told(rate)
        ]  # fmt: skip
        if own:
            told.append(f"- `{name}`: {'; '.join(sorted(own))}.")
    return "\n".join(told) or "None."


def document(rates: Mapping[Key, Rate]) -> str:
    """The generated page."""
    power = [rate for key, rate in rates.items() if key[4]]
    seeds = sorted({rate.seeds for rate in power})
    return f"""# False alarms and detection

Generated by `python benchmarks/false_alarms.py`, which also writes `benchmarks/results/false_alarms.json`. Do not edit.

How to read it: each method is declared alone on four features with the default limit, which states **10 alarms per 1,000 chunks** without drift;
the alarm is that of the whole chunk, whichever feature raised it. A cell holds alarms per 1,000 chunks and their standard error over seeds (chunks
of one seed share a reference; the error is never set below that of independent chunks). **Bold** is more than two standard errors above the stated
rate. The streaming detectors run over one series instead of features, with the same stated rate. The two rules at the end are for comparison and
state no rate for a chunk: NannyML's limit on the methods of the default declaration, and p < 0.05 for Kolmogorov-Smirnov and chi-squared, neither
corrected for the number of features nor for autocorrelation; without drift these two judge every fourth chunk. Chunks hold {ROWS} rows.

## Above the stated rate

More than two standard errors above it:

{_list(rates, lambda rate: rate.exceeds)}

At least twice the stated rate, but within two standard errors of it. Where the error is about as large as the rate, a few
references alarm on most of their chunks and the others hardly at all.

{_list(rates, lambda rate: not rate.exceeds and rate.share >= 2 * RATE)}

A season of {LONG_SEASON} chunks is fully seen by 40 reference chunks and half seen by 10: there the chunks do lie outside the reference, and an alarm is right
as a statement about it. Declare `drift.season`, or a reference of whole cycles. With many cells, one in forty is expected to be bold by chance alone.

## Without drift, 40 reference chunks

{_false_table(rates, 40, 1.0)}

## Without drift, 10 reference chunks

{_false_table(rates, 10, 1.0)}

## Without drift, chunks of half the usual size, 40 reference chunks

{_false_table(rates, 40, 0.5)}

## With drift: white noise, 40 reference chunks, one of the four features changed

Share of changed chunks that alarm where the change comes at once / chunks until the first alarm where it comes at once / where it grows over
{RAMP} chunks (1 is the first changed chunk; in brackets the share of seeds that alarmed at all, means are over those). {seeds[0]} to {seeds[-1]} seeds a cell, 8 to 20 chunks
each: differences of a few per cent between methods mean nothing. A method that alarms too often without drift looks better here than it is.

{_power_table(rates)}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all tasks, write the result and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of seeds; other than 1 writes no result")
    parser.add_argument(
        "--group", action="append", help="these groups alone (univariate, mmd, domain_classifier or a detector); writes no result"
    )
    options = parser.parse_args(arguments)
    asked = [task for task in tasks(options.scale) if not options.group or task.group in options.group]
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    started, outcomes = time.perf_counter(), list[Outcome]()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        bar = progress.add_task("seeds", total=len(asked))
        for done in as_completed([pool.submit(run, task) for task in asked]):
            outcomes += done.result()
            progress.advance(bar)
    wall, used = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    rates = summarized(outcomes)
    page = document(rates)
    print(page)
    print(f"{wall:.0f} wall seconds, {cpu:.0f} CPU seconds with {options.processes} processes")
    if options.scale == 1.0 and not options.group:
        from importlib.metadata import version

        names = ("method", "kind", "reference_chunks", "size", "change", "speed")
        plain = [dict(zip(names, key, strict=True)) | vars(rate) for key, rate in rates.items()]
        content = {
            "benchmark": "false_alarms", "python": platform.python_version(), "rows_per_chunk": ROWS, "stated_rate": RATE,
            "versions": {name: version(name) for name in ("numpy", "scipy", "pandas", "scikit-learn", "lightgbm", "river")},
            "wall_s": wall, "cpu_s": cpu, "processes": options.processes, "rates": plain,
        }  # fmt: skip
        (RESULTS / "false_alarms.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        Path(PROJECT / "docs" / "false_alarms.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
