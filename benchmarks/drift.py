"""What do the drift methods cost beside Evidently and NannyML, on the same data, and how much memory do they need?

Every contender runs in a fresh process with one thread; CPU seconds are those between finished imports and the last
number, memory is the peak of the process, imports included. The data is seeded and synthetic: bell-shaped, skewed,
rounded, counting and partly missing columns, and categories. The peers are installed, with the pins of
``requirements.lock`` where it has them, into environments of their own under ``--peers``.

Bounds, all on CPU seconds or peak memory:
    presets     population stability index, Kolmogorov-Smirnov and Jensen-Shannon on 1,000,000 x 20 rows a side: a twentieth
                of Evidently's DataDriftPreset for the same three methods
    scratch     NannyML's univariate methods, exact, on 1,000,000 + 1,000,000 rows x 20 columns in chunks of 100,000: a fifth
    stored      one further chunk of them against the stored reference: a twentieth
    equality    the numbers of the two agree within 1e-9
    memory      10,000,000 rows a side: at most 500 MB, and at most a tenth of NannyML's memory on the same columns
    wide        356,000 rows a side x 100 columns: at most 10 CPU seconds for those three methods; the default ones are shown beside them

    python benchmarks/drift.py
"""

import argparse
import json
import os
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import ONE_THREAD, PROJECT, QUIET, conclude, median, table, temporary_folder

_SCRIPTS = Path(__file__).resolve().parent / "drift_peers"
_EVIDENTLY = "0.7.23"
_PRESETS = ["psi", "kolmogorov_smirnov", "jensen_shannon"]
_DEFAULT = ["wasserstein", "kolmogorov_smirnov"]
_NUMERIC = ["kolmogorov_smirnov", "jensen_shannon", "wasserstein", "hellinger"]
_CATEGORICAL = ["chi2", "jensen_shannon", "l_infinity", "hellinger"]
_TOLERANCE = 1e-9
_FASTER_THAN_PRESETS, _FASTER_FROM_SCRATCH, _FASTER_STORED = 20.0, 5.0, 20.0
_MOST_MB, _MOST_SHARE, _MOST_CPU_S = 500.0, 0.1, 10.0


@dataclass(frozen=True)
class Sizes:
    """Rows and columns of each comparison."""

    rows: int = 1_000_000
    chunk: int = 100_000
    large_rows: int = 10_000_000
    large_columns: tuple[int, int] = (10, 20)
    wide_rows: int = 356_000
    wide_columns: int = 100
    repeats: int = 3


_QUICK = Sizes(100_000, 20_000, 400_000, (3, 6), 50_000, 20, 1)


@dataclass
class Bench:
    """Runs contenders and gathers what they report and how they did."""

    folder: Path
    pythons: Mapping[str, Path]
    runs: dict[str, Any] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def run(self, name: str, script: str, asked: Mapping[str, Any], repeats: int = 1) -> dict[str, Any]:
        """Median CPU and peak memory of ``repeats`` fresh processes; the values of the last one are kept for comparison."""
        told = [self._once(script, {**asked, "values": str(self.folder / f"{len(self.runs)}.json")}) for _ in range(repeats)]
        cpu, peak = (median(one[key] for one in told) for key in ("cpu_s", "peak_mb"))
        stages = {stage: median(one["stages_cpu_s"][stage] for one in told) for stage in told[0]["stages_cpu_s"]}
        spread = [min(one["cpu_s"] for one in told), max(one["cpu_s"] for one in told)]
        result = {**told[-1], "cpu_s": cpu, "cpu_s_range": spread, "peak_mb": peak, "stages_cpu_s": stages, "repeats": repeats}
        self.runs[name] = result
        detail = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items())
        print(f"  {name}: {cpu:.2f} CPU s ({detail}), {peak:,.0f} MB, {json.dumps(result['settings'])}", flush=True)
        return {**result, "values": self.folder / f"{len(self.runs) - 1}.json"}

    def _once(self, script: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        task = self.folder / "task.json"
        task.write_text(json.dumps(asked), encoding="utf-8")
        python = self.pythons.get(script.partition("_")[0], Path(sys.executable))
        environment = {**os.environ, **QUIET, **ONE_THREAD, "PYTHONWARNINGS": "ignore"}
        done = subprocess.run([python, _SCRIPTS / script, task], capture_output=True, text=True, env=environment, check=False)
        reports = [line for line in done.stdout.splitlines() if line.startswith("REPORT ")]
        if done.returncode or (not reports and script != "write_data.py"):
            raise RuntimeError(f"{script}: got exit code {done.returncode} and {done.stderr[-2000:]}; expected a report")
        return json.loads(reports[-1].removeprefix("REPORT ")) if reports else {}

    def data(self, name: str, rows: int, numeric: int, categorical: int = 0) -> dict[str, Any]:
        """Both sides as Parquet, and what every contender is told of them."""
        print(f"{name}: {rows:,} rows a side, {numeric} numeric and {categorical} categorical columns", flush=True)
        sides = {side: str(self.folder / f"{name}-{side}.parquet") for side in ("reference", "analysis")}
        self._once("write_data.py", {**sides, "rows": rows, "numeric": numeric, "categorical": categorical, "seed": 0})
        lists = {"numeric": [f"x{index}" for index in range(numeric)], "categorical": [f"c{index}" for index in range(categorical)]}
        return {**sides, **lists, "numeric_methods": [], "categorical_methods": ["chi2"], "chunk_rows": rows}

    def judge(self, question: str, ours: float, peer: float | None, figure: float, bound: str, is_kept: bool | None) -> None:
        """One line of the table; ``None`` for a figure without a bound."""
        line = {"question": question, "ours": ours, "peer": peer, "figure": figure, "bound": bound, "is_kept": is_kept}
        self.lines.append(line)

    def faster(self, question: str, ours: Mapping[str, Any], peer: Mapping[str, Any], least: float | None) -> None:
        """Judge a ratio of CPU seconds."""
        ratio = peer["cpu_s"] / ours["cpu_s"]
        bound, is_kept = ("", None) if least is None else (f">= {least:g} x", ratio >= least)
        self.judge(f"{question}, CPU s", ours["cpu_s"], peer["cpu_s"], ratio, bound, is_kept)


def difference(ours: Path, peer: Path) -> tuple[float, int]:
    """Largest difference of numbers with the same key, relative where they exceed one, and how many there are.

    Raises:
        RuntimeError: when one side has numbers the other lacks.
    """
    own, other = (json.loads(path.read_text(encoding="utf-8")) for path in (ours, peer))
    if own.keys() != other.keys() or not own:
        lacking = sorted(own.keys() ^ other.keys())
        raise RuntimeError(f"got {len(own)} and {len(other)} numbers, {lacking[:3]} on one side only; expected the same")
    return max(abs(own[key] - other[key]) / max(1.0, abs(other[key])) for key in own), len(own)


def install(folder: Path) -> dict[str, Path]:
    """An environment for each peer, made once: ``evidently`` and ``nannyml`` to their interpreters."""
    wanted = {"evidently": [f"evidently=={_EVIDENTLY}", "pandas", "pyarrow"], "nannyml": ["nannyml", "statsmodels", "pyarrow"]}
    pythons = {}
    for name, packages in wanted.items():
        home = folder / name
        pythons[name] = (home / "bin" / "python").absolute()
        if not (home / "installed").exists():
            print(f"installing {packages[0]}", flush=True)
            venv.create(home, with_pip=True, clear=True)
            lock = PROJECT / "requirements.lock"  # the same numpy, pandas and scipy for everyone
            subprocess.run([pythons[name], "-m", "pip", "install", "--quiet", "--constraint", lock, *packages], check=True)
            (home / "installed").touch()
    return pythons


def presets(bench: Bench, sizes: Sizes) -> None:
    """Against Evidently."""
    asked = {**bench.data("presets", sizes.rows, 20), "task": "scratch", "numeric_methods": _PRESETS}
    ours = bench.run("presets, ours", "ours.py", asked, sizes.repeats)
    if bench.pythons:
        peer = bench.run("presets, evidently", "evidently_preset.py", {**asked, "methods": ["psi", "ks", "jensenshannon"]})
        bench.faster("PSI, KS and JS, Evidently", ours, peer, _FASTER_THAN_PRESETS)
        default = bench.run("presets, evidently default", "evidently_preset.py", {**asked, "methods": [None]})
        bench.faster("the same, Evidently's default method only", ours, default, None)


def univariate(bench: Bench, sizes: Sizes) -> None:
    """Against NannyML: from scratch, and one chunk against what is stored."""
    methods = {"numeric_methods": _NUMERIC, "categorical_methods": _CATEGORICAL, "chunk_rows": sizes.chunk}
    asked = {**bench.data("univariate", sizes.rows, 15, 5), **methods, "is_exact": True}
    one = {**bench.data("chunk", sizes.chunk, 15, 5), **methods, "is_exact": True}
    ours = bench.run("scratch, ours", "ours.py", {**asked, "task": "scratch"}, sizes.repeats)
    kept = str(bench.folder / "ours")
    bench.run("store, ours", "ours.py", {**asked, "task": "store", "stored": kept})
    chunk = {**one, "reference": asked["reference"], "task": "stored"}
    our_chunk = bench.run("stored, ours", "ours.py", {**chunk, "stored": kept}, sizes.repeats)
    if not bench.pythons:
        return
    for mode in ("exact", "default"):
        is_exact, least = mode == "exact", mode == "exact" or None
        told = {"is_exact": is_exact, "stored": str(bench.folder / f"nannyml-{mode}.pickle")}
        peer = bench.run(f"scratch, nannyml {mode}", "nannyml_univariate.py", {**asked, **told, "task": "scratch"})
        bench.faster(f"8 methods from scratch, NannyML {mode}", ours, peer, least and _FASTER_FROM_SCRATCH)
        bench.run(f"store, nannyml {mode}", "nannyml_univariate.py", {**asked, **told, "task": "store"})
        peer_chunk = bench.run(f"stored, nannyml {mode}", "nannyml_univariate.py", {**chunk, **told}, sizes.repeats)
        bench.faster(f"one chunk against the stored fit, NannyML {mode}", our_chunk, peer_chunk, least and _FASTER_STORED)
        if is_exact:
            for what, own, other in (("from scratch", ours, peer), ("stored", our_chunk, peer_chunk)):
                largest, count = difference(own["values"], other["values"])
                bench.judge(f"{count} numbers {what} as NannyML's, difference", largest, None, largest, "<= 1e-9", largest <= _TOLERANCE)


def memory(bench: Bench, sizes: Sizes) -> None:
    """Ten million rows a side, column by column."""
    few, many = sizes.large_columns
    asked = {**bench.data("memory", sizes.large_rows, many), "numeric_methods": _NUMERIC, "task": "column by column", "is_exact": False}
    ours = bench.run(f"memory, ours {many}", "ours.py", {**asked, "stored": str(bench.folder / "large")})
    bench.judge(
        f"{sizes.large_rows:,} rows x {many}, MB",
        ours["peak_mb"],
        None,
        ours["peak_mb"],
        f"<= {_MOST_MB:g} MB",
        ours["peak_mb"] <= _MOST_MB,
    )
    if bench.pythons:
        fewer = {**asked, "numeric": asked["numeric"][:few]}
        own = bench.run(f"memory, ours {few}", "ours.py", {**fewer, "stored": str(bench.folder / "large-few")})
        peer = bench.run(f"memory, nannyml {few}", "nannyml_univariate.py", {**fewer, "task": "scratch"})
        share = own["peak_mb"] / peer["peak_mb"]
        question = f"{sizes.large_rows:,} rows x {few}, share of NannyML's MB"
        bench.judge(question, own["peak_mb"], peer["peak_mb"], share, f"<= {_MOST_SHARE:g}", share <= _MOST_SHARE)
        bench.faster(f"{sizes.large_rows:,} rows x {few}, NannyML default", own, peer, None)


def wide(bench: Bench, sizes: Sizes) -> None:
    """Many columns."""
    asked = {**bench.data("wide", sizes.wide_rows, sizes.wide_columns), "task": "scratch"}
    for name, methods in (("PSI, KS and JS", _PRESETS), ("default methods", _DEFAULT)):
        cpu = bench.run(f"wide, ours {name}", "ours.py", {**asked, "numeric_methods": methods}, sizes.repeats)["cpu_s"]
        size = f"{sizes.wide_rows:,} x {sizes.wide_columns}"
        is_bound = methods is _PRESETS
        bound = (f"<= {_MOST_CPU_S:g} s", cpu <= _MOST_CPU_S) if is_bound else ("", None)
        bench.judge(f"{size}, {name}, CPU s", cpu, None, cpu, *bound)


_PARTS = {"presets": presets, "univariate": univariate, "memory": memory, "wide": wide}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print; write the result of a full run; 1 when a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: tries everything, judges nothing but equality, writes no result")
    parser.add_argument("--skip-peers", action="store_true", help="ours alone; writes no result")
    parser.add_argument("--peers", type=Path, default=PROJECT / ".benchmark_peers", help="folder of the peers' environments")
    parser.add_argument("--only", choices=_PARTS, action="append", help="these parts alone; writes no result")
    options = parser.parse_args(arguments)
    sizes = _QUICK if options.quick else Sizes()
    with temporary_folder() as folder:
        bench = Bench(folder, {} if options.skip_peers else install(options.peers))
        for name in options.only or _PARTS:
            _PARTS[name](bench, sizes)
    words = {True: "OK", False: "MISS", None: ""}
    rows = [
        [line["question"], f"{line['ours']:.4g}", "" if line["peer"] is None else f"{line['peer']:.4g}", f"{line['figure']:.3g}", line["bound"], words[line["is_kept"]]]
        for line in bench.lines
    ]  # fmt: skip
    print()
    table(["question", "ours", "peer", "figure", "bound", ""], rows)
    missed = [line["question"] for line in bench.lines if line["is_kept"] is False]
    if options.quick:
        return int(any("difference" in question for question in missed))
    if options.skip_peers or options.only:
        return int(bool(missed))
    result = {
        "bound": "; ".join(f"{line['question']} {line['bound']}" for line in bench.lines if line["bound"]),
        "lines": bench.lines,
        "runs": bench.runs,
    }
    return conclude("drift", result, not missed)


if __name__ == "__main__":
    sys.exit(main())
