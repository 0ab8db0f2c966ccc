"""What does Dagster add to measuring when 200 chunks are backfilled in one run?

The ``monitor`` job runs over 200 chunks as a single-run range on a SQLite instance. The same work is then done without
Dagster, in the same process, by the same functions on the same data into a lake of its own: read the log, store it,
append outcomes, quality, drift, estimated performance, verdicts, pictures. The difference is orchestration: events,
asset checks and metadata of each partition. Both take turns; medians are compared.

Bound: orchestration of 200 chunks takes at most 20 wall seconds.

    python benchmarks/backfill_orchestration.py
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from common import chunk_key, conclude, median, policy_of, quiet, run, sqlite_instance, step_seconds, table, temporary_folder, write_models

_BOUND_SECONDS = 20.0
_CHUNKS = 200


def _with_dagster(home: Path, models: Path, chunks: Sequence[str]) -> tuple[Callable[[], str], object]:
    """The range run as a thunk that gives its run id, and its instance."""
    from monitoring_assets.definitions import build_defs
    from resources.settings import Settings

    instance = sqlite_instance(home / "dagster")
    defs = build_defs(Settings.of(home, models))
    run(defs, instance, "reference")
    return lambda: run(defs, instance, "monitor", chunks).run_id, instance


class _Direct:
    """The stage bodies' work, stage by stage, without Dagster."""

    def __init__(self, home: Path, models: Path, chunks: Sequence[str]) -> None:
        from monitoring_assets import reference
        from resources.settings import Settings
        from resources.vocabulary import EXTERNAL

        self.base, self.chunks = models, list(chunks)
        settings = Settings.of(home, models)
        self.settings, self.policy, self.lake = settings, policy_of(settings), settings.lake
        reference.fit_profile(self.lake, self.policy, models, EXTERNAL)

    def __call__(self) -> dict[str, float]:
        """Do it; seconds per stage."""
        seconds = {}
        for name in (
            "prediction_log",
            "outcomes",
            "production_window",
            "data_quality",
            "drift_report",
            "estimated_performance",
            "model_uncertainty",
            "diagnosis",
            "verdict",
            "report",
        ):
            start = time.perf_counter()
            getattr(self, name)()
            seconds[name] = time.perf_counter() - start
        return seconds

    def prediction_log(self) -> None:
        """Read the log, sort good from broken, store."""
        from monitoring_assets.production_log import with_scores
        from resources import tables

        cadence = self.policy.cadence
        rows = self._read(undated=True, with_outcomes=False)
        served, _ = with_scores(self.policy, rows.assign(chunk=rows["time"].map(cadence.key).astype(object)), None)
        self.lake.replace(self.policy.model, tables.prediction_log(self.policy), served, {"chunk": self.chunks})

    def outcomes(self) -> None:
        """Read the log and append what is known by now."""
        from resources.outcomes import record_outcomes

        cadence = self.policy.cadence
        start, end = cadence.start(self.chunks[0]), cadence.end(self.chunks[-1])
        record_outcomes(self.policy, self.lake, self._read().dropna(subset=["y_true"]), start, end, datetime.now(UTC))

    def production_window(self) -> None:
        """Read the chunks back."""
        from resources import tables

        self.rows = self.lake.read(self.policy.model, tables.prediction_log(self.policy), {"chunk": self.chunks})

    def data_quality(self) -> None:
        """Missing values, ranges and stuck sensors."""
        from monitoring_assets import reference
        from monitoring_assets.measures.quality import quality
        from resources.vocabulary import EXTERNAL, Stage

        self._store(
            Stage.DATA_QUALITY, quality(self.policy, self.rows, reference.drift_of(self.lake, self.policy, self.base, EXTERNAL).stuck)
        )

    def drift_report(self) -> None:
        """Univariate and multivariate drift, and its picture."""
        import pandas as pd

        from monitoring_assets import plots, reference
        from monitoring_assets.drift import measure_chunk, sound_chunks
        from resources.vocabulary import EXTERNAL, Stage

        profile = reference.drift_of(self.lake, self.policy, self.base, EXTERNAL)
        lines = [measure_chunk(self.policy, profile, one) for one in sound_chunks(self.lake, self.policy, self.chunks)]
        self._store(Stage.DRIFT_REPORT, pd.concat(lines, ignore_index=True))
        plots.history(self.lake, self.policy, self.chunks[-1], plots.DRIFT)

    def estimated_performance(self) -> None:
        """CBPE with its assumptions, and its picture."""
        from monitoring_assets import plots, trust
        from monitoring_assets.measures.lines import joined
        from monitoring_assets.measuring import measure_chunks, sound_rows
        from resources.vocabulary import Stage

        rows = sound_rows(self.lake, self.policy, self.chunks)
        estimated = measure_chunks(self.lake, self.policy, self.base, ["estimated"], rows)
        self._store(Stage.ESTIMATED_PERFORMANCE, joined([estimated, trust.assumption_lines(self.lake, self.policy, self.base, rows)]))
        plots.history(self.lake, self.policy, self.chunks[-1], plots.PERFORMANCE)

    def model_uncertainty(self) -> None:
        """Entropy, margin, conformal sets and the spread of predictions, and their picture."""
        from monitoring_assets import plots, self_watch
        from monitoring_assets.measures.lines import joined
        from monitoring_assets.measuring import sound_rows
        from monitoring_assets.reference_pieces import PREDICTIONS, UNCERTAINTY
        from resources.vocabulary import Stage

        rows = sound_rows(self.lake, self.policy, self.chunks)
        watched = {UNCERTAINTY: self_watch.uncertainty_lines, PREDICTIONS: self_watch.spread_lines}
        found = [self_watch.measured(self.lake, self.policy, self.base, rows, piece, measure) for piece, measure in watched.items()]
        self._store(Stage.MODEL_UNCERTAINTY, joined(found))
        plots.history(self.lake, self.policy, self.chunks[-1], plots.UNCERTAINTY)

    def diagnosis(self) -> None:
        """Feature attributions of every chunk, evidence on those that drifted, and their picture."""
        from monitoring_assets import diagnosis, plots
        from resources.vocabulary import Stage

        rows = diagnosis.labelled_rows(self.lake, self.policy, self.chunks)
        self._store(Stage.DIAGNOSIS, diagnosis.diagnosis_lines(self.lake, self.policy, self.base, rows))
        plots.history(self.lake, self.policy, self.chunks[-1], plots.ATTRIBUTIONS)

    def verdict(self) -> None:
        """Judge every chunk."""
        from monitoring_assets.verdict import write_verdicts

        write_verdicts(self.lake, self.policy, self.chunks)

    def report(self) -> None:
        """A page for every chunk, and the history."""
        from monitoring_assets.report import write_pages

        write_pages(self.settings, self.policy, self.lake, self.chunks)

    def _read(self, **options: bool) -> object:
        from resources.log_source import read_log

        cadence = self.policy.cadence
        return read_log(self.policy, self.base, cadence.start(self.chunks[0]), cadence.end(self.chunks[-1]), **options).accepted

    def _store(self, stage: object, long: object) -> None:
        from monitoring_assets import measurements
        from monitoring_assets.measuring import served_versions

        measurements.store(self.lake, self.policy, stage, self.chunks, long, datetime.now(UTC), served_versions(self.rows))


def _timed(work: Callable[[], object]) -> SimpleNamespace:
    cpu, wall = time.process_time(), time.perf_counter()
    answer = work()
    return SimpleNamespace(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall, answer=answer)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write the result; 1 when the bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs")
    options = parser.parse_args(arguments)
    quiet()
    chunks = [chunk_key(index) for index in range(_CHUNKS)]
    seen: dict[str, list[SimpleNamespace]] = {"dagster": [], "direct": []}
    steps = []
    with temporary_folder() as folder:
        models = write_models(folder / "models", _CHUNKS)
        for repeat in range(options.repeats):
            orchestrated, instance = _with_dagster(folder / f"dagster{repeat}", models, chunks)
            direct = _Direct(folder / f"direct{repeat}", models, chunks)
            order = ("dagster", "direct") if repeat % 2 else ("direct", "dagster")
            for name in order:
                seen[name].append(_timed(orchestrated if name == "dagster" else direct))
            steps.append(step_seconds(instance, str(seen["dagster"][-1].answer)))
            instance.dispose()
    wall, cpu = ({name: median(getattr(one, side) for one in runs) for name, runs in seen.items()} for side in ("wall", "cpu"))
    stages = {
        stage: {"dagster": median(one[stage] for one in steps), "direct": median(one.answer[stage] for one in seen["direct"])}
        for stage in steps[0]
    }
    print(f"{_CHUNKS} chunks in one run, median of {options.repeats}, SQLite instance")
    rows = [[stage, own["dagster"], own["direct"], own["dagster"] - own["direct"]] for stage, own in stages.items()]
    between = wall["dagster"] - sum(own["dagster"] for own in stages.values())
    rows.append(["planning and between stages", between, 0.0, between])
    rows.append(["whole run, wall s", wall["dagster"], wall["direct"], wall["dagster"] - wall["direct"]])
    rows.append(["whole run, CPU s", cpu["dagster"], cpu["direct"], cpu["dagster"] - cpu["direct"]])
    table(["stage (wall s)", "with Dagster", "directly", "orchestration"], rows)
    print(f"ratio of the whole run to the measuring: {wall['dagster'] / wall['direct']:.2f} wall, {cpu['dagster'] / cpu['direct']:.2f} CPU")
    added = wall["dagster"] - wall["direct"]
    result = {
        "repeats": options.repeats, "bound": f"orchestration of {_CHUNKS} chunks at most {_BOUND_SECONDS:.0f} wall seconds",
        "orchestration_wall_s": added, "orchestration_cpu_s": cpu["dagster"] - cpu["direct"],
        "wall_s": wall, "cpu_s": cpu, "stage_wall_s": stages,
    }  # fmt: skip
    return conclude("backfill_orchestration", result, added <= _BOUND_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
