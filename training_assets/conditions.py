"""Whether the conditions of a retraining policy hold, by folding the judged chunks of the serving version in calendar order.

Belongs here: the value a clause reads from a chunk, hysteresis, persistence, combinations. Does not: what follows (``decide.py``),
reading the lake. Nothing is remembered: the same chunks give the same answer, in whatever process it is asked.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from monitoring_assets.measures.registry import sign_of
from resources.chunks import parse_duration
from resources.policy import MonitoredModel
from resources.retraining import CLAUSES, Basis, Condition, Cost, Decay, DriftBreach, Error, Groups, Score, Signal, Threshold
from resources.vintages import JudgedChunk, Measured
from resources.vocabulary import Kind, Update, Verdict

_NAN = float("nan")
_DRIFT = (Kind.UNIVARIATE_DRIFT, Kind.MULTIVARIATE_DRIFT)
_HALF = 0.5
Value = Callable[[JudgedChunk], float]


@dataclass(frozen=True)
class Known:
    """What conditions may look at.

    Attributes:
        policy: the declaration.
        as_of: the present.
        own: vintages of each chunk of the serving version, chunks in calendar order, vintages in order of arrival.
        last_order: when the last retraining was ordered, if any: evidence known by then has been answered.
        n_rows: rows by chunk, whatever version served it.
    """

    policy: MonitoredModel
    as_of: datetime
    own: Mapping[str, Sequence[JudgedChunk]]
    last_order: datetime | None
    n_rows: Mapping[str, int] = field(default_factory=dict)

    @property
    def since(self) -> datetime:
        """From when time and rows are counted."""
        return self.last_order or self.policy.reference.end

    def is_news(self, moment: datetime) -> bool:
        """Whether what became known at ``moment`` has not been answered by a retraining yet."""
        return self.last_order is None or moment > self.last_order


@dataclass(frozen=True)
class Reading:
    """What one condition says now; written to the ledger.

    Attributes:
        clause: its name.
        kind: field of the declaration.
        is_up: whether it holds.
        is_fresh: whether it holds and no retraining has been ordered since it began to: only then it calls for one.
        value: newest number it read; NaN where none is known.
        fire_above: value above which it holds.
        rearm_below: value below which it ceases to.
        chunk: chunk of the newest number.
        chunks: chunks that say yes, those that began it first.
        update: how the declaration wants the retraining when this clause decides.
        parts: readings of the conditions it combines.
    """

    clause: str
    kind: str
    is_up: bool
    is_fresh: bool
    value: float = _NAN
    fire_above: float = _NAN
    rearm_below: float = _NAN
    chunk: str | None = None
    chunks: Sequence[str] = ()
    update: Update | None = None
    parts: Sequence["Reading"] = ()

    @property
    def deciding(self) -> "Reading":
        """The clause that made it hold: the first fresh one, from the outside in; a conjunction speaks for itself."""
        fresh = [part for part in self.parts if part.is_up and part.is_fresh]
        return fresh[0].deciding if self.kind == "any" and fresh else self

    def leaves(self) -> "Sequence[Reading]":
        """Every single clause."""
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self]


def read_condition(condition: Condition, known: Known) -> Reading:
    """Evaluate a condition with everything below it."""
    if condition.parts:
        return _combined(condition, [read_condition(part, known) for part in condition.parts])
    if condition.two_stage is not None:
        drift, decay = (
            _signal(Condition(**{kind: own}), own, known) for kind, own in (("score", condition.two_stage.drift), ("decay", condition.two_stage.decay))
        )  # fmt: skip
        return _combined(condition, [drift, decay])
    if condition.verdict is not None:
        return _verdict(condition, known)
    if condition.schedule is not None or condition.rows is not None:
        return _clock(condition, known)
    return _signal(condition, getattr(condition, condition.kind), known)


def _combined(condition: Condition, parts: Sequence[Reading]) -> Reading:
    """Holds where enough parts do; calls where one of these is fresh, so that an old excursion can be joined by a new one."""
    up = [part for part in parts if part.is_up]
    needed = len(parts) if condition.two_stage else condition.needed
    is_up = len(up) >= needed
    is_fresh = is_up and any(part.is_fresh for part in up)
    chunks = list(dict.fromkeys(chunk for part in up for chunk in part.chunks)) if is_up else []
    return Reading(
        condition.clause,
        condition.kind,
        is_up,
        is_fresh,
        float(len(up)),
        needed - _HALF,
        chunks=chunks,
        update=condition.update,
        parts=parts,
    )


def _verdict(condition: Condition, known: Known) -> Reading:
    """Harm of the serving version that became known after the last order, in whichever chunk it stands."""
    assert condition.verdict is not None  # noqa: S101 - asked for by its caller
    newest = [vintages[-1] for vintages in known.own.values()]
    harm = [one.chunk for one in newest if one.verdict in condition.verdict.on and known.is_news(one.known_at)]
    said = len(harm) > 0
    last = newest[-1].chunk if newest else None
    return Reading(condition.clause, condition.kind, said, said, float(len(harm)), _HALF, chunk=last, chunks=harm, update=condition.update)


def _clock(condition: Condition, known: Known) -> Reading:
    """Time or rows since the last order, in days or rows."""
    if condition.schedule is not None:
        passed, due = known.as_of - known.since, known.since + parse_duration(condition.schedule.every) - known.since
        value, limit = passed.total_seconds() / 86400, due.total_seconds() / 86400
    else:
        assert condition.rows is not None  # noqa: S101 - asked for by its caller
        value = float(sum(rows for chunk, rows in known.n_rows.items() if known.policy.cadence.end(chunk) > known.since))
        limit = float(condition.rows.rows)
    is_due = value >= limit
    return Reading(condition.clause, condition.kind, is_due, is_due, value, limit, update=condition.update)


@dataclass(frozen=True)
class _Edges:
    """A value above ``fire`` says yes, until one below ``rearm`` (or, without hysteresis, one not above ``fire``) says no."""

    fire: float
    rearm: float | None

    def after(self, is_up: bool, value: float) -> bool:
        """The answer after one more value."""
        if not is_up or self.rearm is None:
            return value > self.fire
        return not value < self.rearm


def _signal(condition: Condition, signal: Signal, known: Known) -> Reading:
    value_of, edges = _value(signal, known.policy), _edges(signal)
    sound = {chunk: vintages for chunk, vintages in known.own.items() if vintages[-1].verdict is not Verdict.DATA_FAULT}
    values = {chunk: value_of(vintages[-1]) for chunk, vintages in sound.items()}
    values = {chunk: value for chunk, value in values.items() if not math.isnan(value)}
    answers, is_yes = {}, False
    for chunk, value in values.items():
        is_yes = edges.after(is_yes, value)
        answers[chunk] = is_yes
    run = _standing(signal, answers, known.policy)
    started = min((_known_since(sound[chunk], value_of) for chunk in run), default=known.as_of)
    newest = max(values, default=None)
    return Reading(
        condition.clause, condition.kind, bool(run), bool(run) and known.is_news(started),
        values[newest] if newest else _NAN, edges.fire, _NAN if edges.rearm is None else edges.rearm, newest,
        [chunk for chunk in answers if run and chunk >= run[0] and answers[chunk]], condition.update,
    )  # fmt: skip


def _standing(signal: Signal, answers: Mapping[str, bool], policy: MonitoredModel) -> list[str]:
    """Chunks of the run, up to the newest one, throughout which enough of the latest chunks said yes; none where the newest says no."""
    chunks, run = list(answers), []
    for place in range(len(chunks) - 1, -1, -1):
        if not _is_sustained(signal, answers, chunks[: place + 1], policy):
            break
        run.append(chunks[place])
    return run[::-1]


def _is_sustained(signal: Signal, answers: Mapping[str, bool], chunks: Sequence[str], policy: MonitoredModel) -> bool:
    if signal.within is None:
        latest = chunks[-(signal.of or signal.chunks) :]
    else:
        start = policy.cadence.end(chunks[-1]) - parse_duration(signal.within)
        latest = []
        for chunk in reversed(chunks):
            if policy.cadence.end(chunk) <= start:
                break
            latest.append(chunk)
    return sum(answers[chunk] for chunk in latest) >= signal.chunks


def _known_since(vintages: Sequence[JudgedChunk], value_of: Value) -> datetime:
    """From when the newest value of a chunk has been known: a verdict reached again on the same number is no news."""
    newest = value_of(vintages[-1])
    first = vintages[-1]
    for one in reversed(vintages):
        if value_of(one) != newest:
            break
        first = one
    return first.known_at


def _edges(signal: Signal) -> _Edges:
    if isinstance(signal, Threshold):
        return _Edges(signal.fire_above, signal.rearm_below)
    if isinstance(signal, Cost):
        return _Edges(signal.training_cost, None)
    return _Edges((signal.at_least if isinstance(signal, Groups) else 1) - _HALF, None)


def _value(signal: Signal, policy: MonitoredModel) -> Value:
    """What a signal reads from a chunk; NaN where it is not known."""
    if isinstance(signal, Score):
        return lambda chunk: composite_score(signal, policy, chunk.measured)
    if isinstance(signal, Cost):
        return lambda chunk: expected_loss(signal, policy, chunk)
    if isinstance(signal, Decay):
        return lambda chunk: decay(policy, chunk, signal.metric, signal.basis)
    if isinstance(signal, Groups):
        return lambda chunk: _groups_adrift(signal.groups, chunk)
    if isinstance(signal, Error):
        return lambda chunk: performance(policy, chunk, signal.metric, signal.basis).value
    assert isinstance(signal, DriftBreach)  # noqa: S101 - there is no other signal
    return lambda chunk: _is_adrift(set(signal.features), chunk)


def composite_score(score: Score, policy: MonitoredModel, measured: Sequence[Measured]) -> float:
    """Weighted mean of one drift number per feature; NaN where a weighted feature has none.

    Args:
        score: weights and methods.
        policy: declares the features, and the methods where the score names none.
        measured: numbers of one chunk, as in the ``measurements`` table.
    """
    methods = {
        **dict.fromkeys(policy.features.numeric, score.numeric or next(iter(policy.drift.numeric), None)),
        **dict.fromkeys(policy.features.categorical, score.categorical or next(iter(policy.drift.categorical), None)),
    }
    weights = score.weights or dict.fromkeys(methods, 1 / len(methods))
    values = {(one.subject, one.method): one.value for one in measured if one.kind == Kind.UNIVARIATE_DRIFT}
    return sum(weight * values.get((name, str(methods[name])), _NAN) for name, weight in weights.items() if weight)


_NOTHING = Measured("", "", "", _NAN, _NAN, None, None, False)


def performance(policy: MonitoredModel, chunk: JudgedChunk, metric: str | None, basis: Basis) -> Measured:
    """Performance of a chunk; ``value`` and ``effect`` are NaN where it is not known."""
    kinds = {
        "realized": (Kind.REALIZED_PERFORMANCE,), "estimated": (Kind.ESTIMATED_PERFORMANCE,),
        "either": (Kind.REALIZED_PERFORMANCE, Kind.ESTIMATED_PERFORMANCE),
    }[basis]  # fmt: skip
    for kind in kinds:
        for one in chunk.numbers(kind):
            if one.subject == (metric or policy.metrics[0]) and not math.isnan(one.value):
                return one
    return _NOTHING


def decay(policy: MonitoredModel, chunk: JudgedChunk, metric: str | None, basis: Basis) -> float:
    """By how much performance is worse than the mean of the reference chunks, in the metric's unit; negative where it is better."""
    return -sign_of(policy.task, metric or policy.metrics[0]) * performance(policy, chunk, metric, basis).effect


def expected_loss(cost: Cost, policy: MonitoredModel, chunk: JudgedChunk) -> float:
    """Money the decay of a chunk would cost over the horizon, at the chunk's number of rows; 0 where performance is no worse."""
    start = policy.cadence.start(chunk.chunk)
    n_chunks = (start + parse_duration(cost.horizon) - start) / (policy.cadence.end(chunk.chunk) - start)
    worse = decay(policy, chunk, cost.metric, cost.basis)
    return worse if math.isnan(worse) else max(worse, 0.0) * cost.loss_per_unit * chunk.n_rows * n_chunks


def _is_adrift(features: set[str], chunk: JudgedChunk) -> float:
    own = [one for one in chunk.numbers(*_DRIFT) if not features or one.subject in features]
    return float(any(one.is_breach for one in own)) if own else _NAN


def _groups_adrift(groups: Mapping[str, Sequence[str]], chunk: JudgedChunk) -> float:
    own = list(chunk.numbers(Kind.UNIVARIATE_DRIFT))
    drifted = {one.subject for one in own if one.is_breach}
    return float(sum(bool(drifted & set(features)) for features in groups.values())) if own else _NAN


#: Every clause a declaration can name, for the documentation's test.
NAMES = tuple(CLAUSES.values())
