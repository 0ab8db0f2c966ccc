"""What a path was worth: alarms, retrainings, delay, the metric over time, money.

Belongs here: figures of one path, and the table of several. Does not: walking paths, pictures.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from monitoring_assets.measures.registry import sign_of
from resources.retraining import Cost
from resources.vintages import newest_by_chunk
from resources.vocabulary import Action, Verdict
from training_assets.decide import Clause
from training_assets.replay.evidence import Evidence
from training_assets.replay.path import Path, Step
from training_assets.replay.recorded import Recorded
from training_assets.replay.workshop import Workshop

DAYS_A_MONTH = 30
_NAN = float("nan")
_HARM = (Verdict.COVARIATE_HARMFUL, Verdict.LABEL_SHIFT, Verdict.CONCEPT)
_HELD_BACK = (Clause.COOLDOWN, Clause.BUDGET)


@dataclass(frozen=True)
class Figures:
    """One policy on one history.

    Attributes:
        policy: its name in the comparison.
        evaluations: how often it was asked.
        alarms: chunks on which it called: ordered, opened an incident, or was held back by cooldown or budget; the first training is none.
        alarms_per_month: the same per 30 days.
        retrainings: orders, the first training left out.
        promotions: orders that led to a model that serves; of those as recorded it is not counted whether they did.
        delay_days: from the onset to the first retraining ordered after it; NaN without an onset, or where none was ordered.
        mean_metric: mean of ``metric`` over the chunks where it is defined.
        cost: money of trainings and decay; NaN where the declaration names none.
        metric: deciding metric by chunk, by the model that would have served it.
        retrained: chunks whose evaluation ordered a retraining.
        alarmed: chunks of the alarms.
        departed: when it first ordered something else than was ordered.
        note: what a reader must know, such as trainings beyond the bound.
    """

    policy: str
    evaluations: int
    alarms: int
    alarms_per_month: float
    retrainings: int
    promotions: int
    delay_days: float
    mean_metric: float
    cost: float
    metric: Mapping[str, float]
    retrained: Sequence[str]
    alarmed: Sequence[str]
    departed: str | None
    note: str = ""


@dataclass(frozen=True)
class Money:
    """Declared prices, and the performance below which every row loses money: the mean of the first model's reference chunks."""

    prices: Cost
    normal: float


@dataclass(frozen=True)
class Comparison:
    """Several policies on one history.

    Attributes:
        model: its name.
        metric: the deciding one.
        start: first evaluation.
        end: last evaluation.
        onset: since when delays are counted, and how it is known.
        figures: one per policy.
        reproduced: what came of repeating the live ledger.
        changes: what the new policy changes, in words.
        notes: what a reader must know of all of it.
    """

    model: str
    metric: str
    start: str
    end: str
    onset: str
    figures: Sequence[Figures]
    reproduced: str
    changes: Sequence[str] = ()
    notes: Sequence[str] = field(default_factory=list)

    def of(self, policy: str) -> Figures:
        """Figures of one policy."""
        return next(one for one in self.figures if one.policy == policy)

    def excess(self, most: float | None) -> str:
        """Why the policy that was tried calls too often: the new one, or today's where none was given; empty if it does not."""
        tried = self.figures[-1]
        if most is None or tried.alarms_per_month <= most:
            return ""
        return f"{tried.policy}: got {tried.alarms_per_month:.2f} alarms a month; expected at most {most:g}"

    def as_plain(self) -> dict[str, Any]:
        """Plain data for JSON; what is not known is null."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _plain(own) for name, own in value.items()}
    return [_plain(own) for own in value] if isinstance(value, list | tuple) else value


def is_alarm(step: Step) -> bool:
    """Whether an evaluation called: by an order, an incident, or an order held back by cooldown or budget."""
    held = step.decision.action is Action.HOLD and step.decision.clause in _HELD_BACK
    return (step.decision.action is not Action.HOLD and step.decision.clause != Clause.NO_CHAMPION) or held


def first_harm(path: Path, recorded: Recorded, evidence: Evidence, chunks: Sequence[str]) -> str | None:
    """First chunk that was, or would have been, judged to be harm once its outcomes were due; ``None`` if none was."""
    newest = newest_by_chunk(recorded.vintages)
    for chunk in chunks:
        serving, known = path.serving(chunk), newest.get(chunk)
        if serving is None:
            continue
        if known is None or (known.model_version != serving.version and known.verdict is not Verdict.DATA_FAULT):
            known = evidence.judged(serving, chunk, evidence.policy.outcome_due(chunk), is_due=True, with_drift=False)
        if known.verdict in _HARM:
            return chunk
    return None


def figures_of(name: str, path: Path, workshop: Workshop, chunks: Sequence[str], onset: datetime | None, money: "Money | None") -> Figures:
    """Figures of a path.

    Args:
        name: in the comparison.
        path: what was walked.
        workshop: scores chunks.
        chunks: those the metric is told of.
        onset: since when delays are counted.
        money: what trainings and decay cost; not counted if absent.
    """
    metric = {chunk: value_of(path, workshop, chunk) for chunk in chunks}
    known = [value for value in metric.values() if not math.isnan(value)]
    ordered = [step for step in path.steps if step.is_order and step.decision.clause != Clause.NO_CHAMPION]
    alarmed = sorted({step.decision.chunk for step in path.steps if is_alarm(step)})
    after = [step.as_of for step in ordered if onset is not None and step.as_of > onset]
    return Figures(
        name, len(path.steps), len(alarmed), len(alarmed) / _months(path), len(ordered), sum(step.outcome.startswith("promoted") for step in ordered),
        (after[0] - onset).total_seconds() / 86400 if after and onset is not None else _NAN, sum(known) / len(known) if known else _NAN,
        _cost(path, workshop, metric, len(ordered), money), metric, [step.decision.chunk for step in ordered], alarmed,
        f"{path.departed:%Y-%m-%d %H:%M}" if path.departed else None,
        f"{path.n_refused} orders beyond the bound of {path.n_trained} trainings were not carried out" if path.n_refused else "",
    )  # fmt: skip


def value_of(path: Path, workshop: Workshop, chunk: str) -> float:
    """The deciding metric of a chunk, by the model that would have served it."""
    serving = path.serving(chunk)
    return _NAN if serving is None else workshop.value(serving, chunk)


def _months(path: Path) -> float:
    span = path.steps[-1].as_of - path.steps[0].as_of if path.steps else None
    return max(span.total_seconds() / 86400 / DAYS_A_MONTH, 1e-9) if span else 1.0


def _cost(path: Path, workshop: Workshop, metric: Mapping[str, float], n_ordered: int, money: "Money | None") -> float:
    if money is None:
        return _NAN
    sign = sign_of(path.policy.task, path.policy.metrics[0])
    worse = {chunk: max(0.0, sign * (money.normal - value)) for chunk, value in metric.items() if not math.isnan(value)}
    lost = sum(value * len(workshop.past.chunk(chunk)) for chunk, value in worse.items())
    return n_ordered * money.prices.training_cost + lost * money.prices.loss_per_unit
