"""The newest numbers of every model for Prometheus, read from the lake whenever it asks.

Belongs here: names, labels and meaning of the exposed metrics, the endpoint. Does not: measuring, judging, drawing.
Reads: the last partitions of ``measurements`` and ``verdicts``, ``decisions``, ``rollout_events``, ``performance_vintages``.

A gauge is what is known now about the newest judged chunk. Outcomes come late: realized performance is that of the newest chunk judged on
them, and ``plumbline_measurement_chunk_end_timestamp_seconds`` says which.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from monitoring_assets.measures.lines import ALL
from resources import tables
from resources.catalogue import load_catalogue
from resources.chunks import parse_duration
from resources.clock import now
from resources.decision_log import read_ledger, settled
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.response_times import WINDOW, Episode, MeanTimes, mean_times, read_episodes
from resources.rollout_log import events
from resources.settings import Settings
from resources.vocabulary import EXTERNAL, Action, Event, Kind, Stage, Verdict

if TYPE_CHECKING:
    import threading
    from wsgiref.simple_server import WSGIServer

    import pandas as pd

LOOPBACK = "127.0.0.1"
#: Labelled chunks looked back at for realized performance: the newest may hold too few outcomes to be judged.
_LOOK_BACK = 5
#: Lines of one model that are exposed; every line is six series.
_MOST_LINES = 1000
_LINE = ["kind", "method", "subject", "segment", "compared_with"]
#: Metric, column and meaning of what is exposed of every line.
_OF_A_LINE = (
    ("plumbline_measurement_value", "value", "Value of a measurement, in its own unit."),
    ("plumbline_measurement_standard_error", "standard_error", "Sampling error of the value, where known."),
    ("plumbline_measurement_lower_limit", "lower_limit", "Lower limit of the value, where there is one."),
    ("plumbline_measurement_upper_limit", "upper_limit", "Upper limit of the value, where there is one."),
    ("plumbline_breach", "breach", "1 where the value lies outside its limits."),
    ("plumbline_measurement_chunk_end_timestamp_seconds", "chunk_end", "End of the chunk that was measured."),
)
_OF_A_MODEL = {
    "plumbline_chunk_end_timestamp_seconds": "End of the newest judged chunk.",
    "plumbline_verdict_confidence": "Confidence of the newest verdict, 0 to 1.",
    "plumbline_verdict_is_realized": "1 where the newest verdict rests on outcomes, 0 where on the estimate.",
    "plumbline_labelled_share": "Share of rows with an outcome, of the newest chunk whose outcomes are due.",
    "plumbline_performance_vintages": "How often realized performance of the newest chunk judged on outcomes was reported, restatements included.",
    "plumbline_model_version": "Version that serves, where versions are numbers.",
    "plumbline_lines_left_out": "Measurements that are not exposed because the model has too many.",
}  # fmt: skip

_logger = logging.getLogger(__name__)


@dataclass
class Decided:
    """What is kept of a model's ledger between scrapes: action and clause by chunk, as of a version of the table."""

    version: str = ""
    by_chunk: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: Versions of the tables that episodes of harm were folded from, and these.
    folded: tuple[str, ...] = ()
    episodes: list[Episode] = field(default_factory=list)


@dataclass(frozen=True)
class Reading:
    """Everything exposed of one model.

    Attributes:
        model: its name.
        lines: one row per measured line with ``_LINE``, the columns of ``_OF_A_LINE`` and ``chunk``.
        numbers: values of ``_OF_A_MODEL`` that are known.
        verdict: of the newest judged chunk, if any.
        retrainings: ordered so far.
        decisions: how many chunks were decided by action and clause.
        events: rollout events by kind.
        version: what serves.
        times: how fast harm was answered in the last year of the model's own time.
    """

    model: str
    lines: "pd.DataFrame"
    numbers: Mapping[str, float]
    verdict: str | None
    retrainings: int
    decisions: Mapping[tuple[str, str], int]
    events: Mapping[str, int]
    version: str
    times: MeanTimes


class LakeCollector(Collector):
    """Reads the lake when it is scraped; always in one thread, which keeps tables open between scrapes.

    A model that cannot be read is logged and shows as ``plumbline_model_readable`` 0; the others are exposed all the same.
    """

    def __init__(self, lake: Lake, policies: Sequence[MonitoredModel], *, is_full: bool = False) -> None:
        """Expose ``policies``; ``is_full`` also exposes measurements of segments and those that decide nothing."""
        self._lake, self._policies, self._is_full = lake, policies, is_full
        self._decided = {policy.model: Decided() for policy in policies}
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    def collect(self) -> Iterator[Metric]:
        """All metric families, as known now."""
        readings = self._reader.submit(self._read_all).result()
        readable = GaugeMetricFamily("plumbline_model_readable", "1 where the lake could be read for a model.", labels=["model"])
        for policy in self._policies:
            readable.add_metric([policy.model], float(policy.model in readings))
        yield readable
        yield from _line_families(list(readings.values()))
        yield from _model_families(list(readings.values()))
        yield from _count_families(list(readings.values()))
        yield from _time_families(list(readings.values()))

    def close(self) -> None:
        """End the thread that reads."""
        self._reader.shutdown()

    def _read_all(self) -> dict[str, Reading]:
        found = {}
        for policy in self._policies:
            try:
                found[policy.model] = read(self._lake, policy, self._decided[policy.model], is_full=self._is_full)
            except Exception:  # one model's trouble must not hide the others
                _logger.exception("%s: its metrics could not be read", policy.model)
        return found


def read(lake: Lake, policy: MonitoredModel, decided: Decided, *, is_full: bool = False) -> Reading:
    """Read what is exposed of one model: partitions of its last chunks, and decisions that are new since ``decided``."""
    judged = lake.partitions(policy.model, tables.VERDICTS, "chunk")
    verdict = lake.read(policy.model, tables.VERDICTS, {"chunk": judged[-1:]})
    lines = _newest_lines(lake, policy, judged[-1:])
    is_shown = (lines["is_deciding"] & (lines["segment"] == ALL)) | is_full
    shown = lines[is_shown].head(_MOST_LINES)
    log = events(lake, policy)
    version = _version(log, verdict)
    numbers = {"plumbline_lines_left_out": float(is_shown.sum() - len(shown)), **_realized(lake, policy, lines)}
    if len(verdict):
        numbers["plumbline_chunk_end_timestamp_seconds"] = policy.cadence.end(judged[-1]).timestamp()
        numbers["plumbline_verdict_confidence"] = float(verdict["confidence"].iloc[0])
        numbers["plumbline_verdict_is_realized"] = float(bool(verdict["is_realized"].iloc[0]))
    if version.isdecimal():
        numbers["plumbline_model_version"] = float(version)
    counts = _decisions(lake, policy, decided)
    retrainings = sum(count for (action, _), count in counts.items() if action == Action.RETRAIN)
    named = str(verdict["verdict"].iloc[0]) if len(verdict) else None
    times = _times(lake, policy, decided)
    return Reading(policy.model, shown, numbers, named, retrainings, counts, Counter(log["event"]), version, times)


def _times(lake: Lake, policy: MonitoredModel, decided: Decided) -> MeanTimes:
    """Mean times of a year; episodes are folded anew only where a table they rest on has changed."""
    rest_on = (tables.VERDICT_VINTAGES, tables.DECISIONS, tables.ROLLOUT_EVENTS)
    versions = tuple(lake.data_version(policy.model, table) for table in rest_on)
    if versions != decided.folded:
        decided.episodes, decided.folded = read_episodes(policy, lake), versions
    return mean_times(decided.episodes, now(policy, lake) - parse_duration(WINDOW))


def _newest_lines(lake: Lake, policy: MonitoredModel, newest: list[str]) -> "pd.DataFrame":
    """Lines of the newest judged chunk, and those that need outcomes from the newest chunk that has them; each line once, those that decide first."""
    import pandas as pd

    where = {"stage": str(Stage.REALIZED_PERFORMANCE)}
    known = [chunk for chunk in lake.partitions(policy.model, tables.MEASUREMENTS, "chunk", where) if chunk <= max(newest, default="")]
    own = lake.read(policy.model, tables.MEASUREMENTS, {"chunk": newest})
    labelled = lake.read(policy.model, tables.MEASUREMENTS, {"chunk": known[-_LOOK_BACK:], **where})
    both = pd.concat([one for one in (own, labelled) if len(one)] or [own])
    both = both[both["value"].notna()].sort_values(["chunk", "is_deciding"], ascending=False, kind="stable").drop_duplicates(_LINE)
    return both.sort_values(["is_deciding", "chunk", *_LINE], ascending=[False, False, *[True] * len(_LINE)], kind="stable")


def _realized(lake: Lake, policy: MonitoredModel, lines: "pd.DataFrame") -> dict[str, float]:
    shares = lines[(lines["kind"] == Kind.DATA_QUALITY) & (lines["method"] == "labelled_share")]
    found = {"plumbline_labelled_share": float(shares["value"].iloc[0])} if len(shares) else {}
    realized = lines[(lines["kind"] == Kind.REALIZED_PERFORMANCE) & (lines["segment"] == ALL)]
    if len(realized):
        vintages = lake.read(policy.model, tables.PERFORMANCE_VINTAGES, {"chunk": str(realized["chunk"].max())})
        found["plumbline_performance_vintages"] = float(vintages["known_at"].nunique())
    return found


def _decisions(lake: Lake, policy: MonitoredModel, decided: Decided) -> dict[tuple[str, str], int]:
    """Decisions by action and clause. The newest may still be replaced, so it counts only where it orders a retraining, which is final: counters never fall."""
    version = lake.data_version(policy.model, tables.DECISIONS)
    if version != decided.version:
        for row in settled(read_ledger(policy, lake)).itertuples():
            decided.by_chunk[str(row.chunk)] = str(row.action), str(row.clause)
        decided.version = version
    newest = max(decided.by_chunk, default="")
    return Counter(made for chunk, made in decided.by_chunk.items() if chunk != newest or made[0] == Action.RETRAIN)


def _version(log: "pd.DataFrame", verdict: "pd.DataFrame") -> str:
    moves = log[log["event"].isin([Event.PROMOTED, Event.ROLLED_BACK])]
    if len(moves):
        return str(moves["to_version"].iloc[-1])
    return str(verdict["model_version"].iloc[0]) if len(verdict) else EXTERNAL


def _line_families(readings: Sequence[Reading]) -> Iterator[Metric]:
    for name, column, meaning in _OF_A_LINE:
        family = GaugeMetricFamily(name, meaning, labels=["model", *_LINE])
        for reading in readings:
            lines = reading.lines
            values = [end.timestamp() for end in lines["chunk_end"]] if column == "chunk_end" else lines[column].astype("float64")
            for labels, value in zip(lines[_LINE].to_numpy(), values, strict=True):
                if value == value:
                    family.add_metric([reading.model, *map(str, labels)], float(value))
        yield family


def _model_families(readings: Sequence[Reading]) -> Iterator[Metric]:
    for name, meaning in _OF_A_MODEL.items():
        family = GaugeMetricFamily(name, meaning, labels=["model"])
        for reading in readings:
            if name in reading.numbers:
                family.add_metric([reading.model], reading.numbers[name])
        yield family
    verdicts = GaugeMetricFamily(
        "plumbline_verdict", "1 for the verdict of the newest judged chunk, 0 for all others.", labels=["model", "verdict"]
    )
    versions = InfoMetricFamily("plumbline_serving_version", "Name of the version that serves.", labels=["model"])
    for reading in readings:
        for verdict in Verdict if reading.verdict else ():
            verdicts.add_metric([reading.model, str(verdict)], float(verdict == reading.verdict))
        versions.add_metric([reading.model], {"version": reading.version})
    yield from (verdicts, versions)


def _count_families(readings: Sequence[Reading]) -> Iterator[Metric]:
    retrainings = CounterMetricFamily("plumbline_retrainings", "Retrainings ordered, the first training included.", labels=["model"])
    decisions = CounterMetricFamily("plumbline_decisions", "Chunks decided for good.", labels=["model", "action", "clause"])
    rollouts = CounterMetricFamily("plumbline_rollout_events", "Candidates promoted or rejected, and rollbacks.", labels=["model", "event"])
    for reading in readings:
        retrainings.add_metric([reading.model], reading.retrainings)
        for (action, clause), count in sorted(reading.decisions.items()):
            decisions.add_metric([reading.model, action, clause], count)
        for event in Event:
            rollouts.add_metric([reading.model, str(event)], reading.events.get(str(event), 0))
    yield from (retrainings, decisions, rollouts)


def _time_families(readings: Sequence[Reading]) -> Iterator[Metric]:
    mean = GaugeMetricFamily(
        "plumbline_mean_time_seconds",
        "Mean time of the last year's episodes of harm: onset to detection, detection to order, to promotion (retrain), to recovery.",
        labels=["model", "phase"],
    )
    episodes = GaugeMetricFamily("plumbline_harm_episodes", "Episodes of harm detected in the last year.", labels=["model"])
    still_open = GaugeMetricFamily("plumbline_harm_episodes_open", "Those that have not ended.", labels=["model"])
    for reading in readings:
        for phase, span in reading.times.named.items():
            if span is not None:
                mean.add_metric([reading.model, phase], span.total_seconds())
        episodes.add_metric([reading.model], reading.times.n_episodes)
        still_open.add_metric([reading.model], reading.times.n_open)
    yield from (mean, episodes, still_open)


@dataclass(frozen=True)
class Served:
    """A running endpoint; ``close`` ends it."""

    server: "WSGIServer"
    thread: "threading.Thread"
    collector: LakeCollector

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server.server_port)

    def close(self) -> None:
        """Stop listening and reading."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        self.collector.close()


def serve(settings: Settings, port: int, host: str = LOOPBACK, *, is_full: bool = False) -> Served:
    """Serve ``/metrics`` of every declared model in a thread of its own.

    Args:
        settings: where declarations and the lake are.
        port: to listen on; 0 takes a free one.
        host: to listen on; the loopback unless asked for more.
        is_full: also expose measurements of segments and those that decide nothing.

    Raises:
        OSError: when the port is taken.
    """
    collector = LakeCollector(settings.lake, [one.policy for one in load_catalogue(settings.models)], is_full=is_full)
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError:
        collector.close()
        raise
    return Served(server, thread, collector)
