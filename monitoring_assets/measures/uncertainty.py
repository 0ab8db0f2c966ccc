"""How sure a monitored model is of itself, and whether that is deserved, chunk by chunk beside the reference.

Belongs here: which numbers a task has, fitting their limits, measuring chunks. Does not: the numbers (``confidence.py``), limits
(``calibrated.py``), whether the metric holds (``nanny.py``), storage.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.calibrated import Calibrated, block_values, calibrate, line_of, usual_rows
from monitoring_assets.measures.confidence import (
    SetCoverage,
    brier,
    calibration_error,
    conformal_rank,
    conformal_scores,
    conformal_width,
    entropy,
    interval_coverage,
    margin,
    set_coverage,
)
from monitoring_assets.measures.lines import lines_of
from monitoring_assets.measures.number import NAN, Number, refused
from monitoring_assets.measures.probabilities import probability_columns, probability_of
from resources.policy import MonitoredModel
from resources.vocabulary import Kind, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

ENTROPY, MARGIN, SET_SIZE = "entropy", "margin", "set_size"
CALIBRATION_ERROR, BRIER, SET_COVERAGE, INTERVAL_COVERAGE = "calibration_error", "brier", "set_coverage", "interval_coverage"
SUBJECT = "prediction"
#: Numbers that outcomes are needed for.
NEEDS_OUTCOMES = (CALIBRATION_ERROR, BRIER, SET_COVERAGE, INTERVAL_COVERAGE)
#: Share of outcomes that conformal intervals and sets are made to hold.
LEVEL = 0.9


@dataclass(frozen=True)
class _Measure:
    """One number of a chunk: how it is computed, and how its blocks are distributed."""

    number: Callable[["pd.DataFrame", float], Number]
    needs_outcome: bool
    power: float = 1.0
    is_two_sided: bool = True
    is_share_near_one: bool = False

    def calibrated(self, samples: dict[int, list[float]], n_rows: int, usual: int) -> Calibrated:
        """A share near one is skewed; the root of what it lacks is near normal."""
        shift, scale = (1.0, -1.0) if self.is_share_near_one else (0.0, 1.0)
        return calibrate(samples, n_rows=n_rows, usual=usual, power=self.power, is_two_sided=self.is_two_sided, shift=shift, scale=scale)


def _columns(rows: "pd.DataFrame", *names: str) -> "list[np.ndarray]":
    import numpy as np

    return [rows[name].to_numpy(dtype="float64", na_value=np.nan) for name in names]


def _probability(rows: "pd.DataFrame") -> "np.ndarray":
    own = probability_of(rows)
    if own is None:
        raise ValueError(f"got columns {list(rows)}; expected also the probability of class 1, or that of every class")
    return own


def _outcome_and_probability(rows: "pd.DataFrame") -> "tuple[np.ndarray, np.ndarray]":
    return _columns(rows, "y_true")[0], _probability(rows)


def _sets(rows: "pd.DataFrame", width: float) -> SetCoverage:
    return set_coverage(*_outcome_and_probability(rows), width)


def _interval(rows: "pd.DataFrame", width: float) -> Number:
    outcome, predicted = _columns(rows, "y_true", "y_pred")
    own = interval_coverage(outcome, predicted - width, predicted + width)
    return Number(own.value, own.n_rows, standard_error=own.standard_error)


#: Calibration error has no lower limit: below the reference's is no fault, and it falls as a chunk grows.
_OF_CLASSES = {
    ENTROPY: _Measure(lambda rows, _: entropy(_probability(rows)), False),
    MARGIN: _Measure(lambda rows, _: margin(_probability(rows)), False),
    SET_SIZE: _Measure(lambda rows, width: _sets(rows, width).size, False),
    CALIBRATION_ERROR: _Measure(lambda rows, _: calibration_error(*_outcome_and_probability(rows)), True, 0.5, False),
    BRIER: _Measure(lambda rows, _: brier(*_outcome_and_probability(rows)), True),
    SET_COVERAGE: _Measure(lambda rows, width: _sets(rows, width).coverage, True, 0.5, is_share_near_one=True),
}
_MEASURES: dict[Task, dict[str, _Measure]] = {
    Task.BINARY_CLASSIFICATION: _OF_CLASSES,
    Task.MULTICLASS_CLASSIFICATION: _OF_CLASSES,
    Task.REGRESSION: {INTERVAL_COVERAGE: _Measure(_interval, True, 0.5, is_share_near_one=True)},
}
_NEEDS_WIDTH = (SET_SIZE, SET_COVERAGE, INTERVAL_COVERAGE)


@dataclass(frozen=True)
class FittedUncertainty:
    """What is kept of the reference: the conformal width (NaN where too few outcomes gave none) and each number's limits."""

    width: float
    numbers: Mapping[str, Calibrated]

    def as_plain(self) -> dict[str, Any]:
        """Plain data for storage; no width is ``None``."""
        width = self.width if self.width == self.width else None
        return {"width": width, "numbers": {name: own.as_plain() for name, own in self.numbers.items()}}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "FittedUncertainty":
        """What ``as_plain`` gave, also after a way through JSON."""
        width = NAN if plain["width"] is None else float(plain["width"])
        return cls(width, {name: Calibrated.from_plain(own) for name, own in plain["numbers"].items()})


def fit_uncertainty(policy: MonitoredModel, reference: "pd.DataFrame", level: float = LEVEL) -> FittedUncertainty:
    """Learn the conformal width and how far each number strays without a fault.

    Args:
        policy: declares the task and the chunk.
        reference: ``(n_rows, ...)`` in time order with ``time``, ``y_true`` and ``y_pred`` or probabilities, of rows the model has not
            learned from.
        level: of conformal intervals and sets.

    Returns:
        Plain numbers only. The width of each block is that of the rest of the reference, as a new chunk's is.
    """
    scores = _scores(policy.task, reference)
    width = conformal_width(scores, level)
    width = width if width < float("inf") else NAN
    numbers = {}
    for name, measure in _MEASURES[policy.task].items():
        own = _that_enter(policy.task, reference, measure)
        usual = usual_rows(policy, own["time"])
        left_out = _LeftOut(scores, level) if name in _NEEDS_WIDTH else None
        samples = block_values(_of_block(policy.task, own, measure, left_out), len(own), usual)
        numbers[name] = measure.calibrated(samples, len(own), usual)
    return FittedUncertainty(width, numbers)


def _scores(task: Task, rows: "pd.DataFrame") -> "np.ndarray":
    """Conformal scores of the rows with outcomes: absolute residuals, or one minus the probability of what happened."""
    import numpy as np

    if task is not Task.REGRESSION:
        return conformal_scores(*_outcome_and_probability(rows))
    outcome, predicted = _columns(rows, "y_true", "y_pred")
    scores = np.abs(outcome - predicted)
    return np.asarray(scores[~np.isnan(scores)])


def _that_enter(task: Task, rows: "pd.DataFrame", measure: _Measure) -> "pd.DataFrame":
    answers = ["y_pred"] if task is Task.REGRESSION else probability_columns(rows)
    names = [*answers, *(["y_true"] if measure.needs_outcome else [])]
    return rows[rows[names].notna().all(axis=1)]


def _of_block(task: Task, rows: "pd.DataFrame", measure: _Measure, left_out: "_LeftOut | None") -> Callable[[slice], float]:
    def value(block: slice) -> float:
        own = rows.iloc[block]
        width = NAN if left_out is None else left_out.width(_scores(task, own))
        return measure.number(own, width).value

    return value


class _LeftOut:
    """The conformal width of the reference without some of its rows."""

    def __init__(self, scores: "np.ndarray", level: float) -> None:
        import numpy as np

        self.ascending, self.level = np.sort(scores), level

    def width(self, scores: "np.ndarray") -> float:
        import numpy as np

        rank = conformal_rank(len(self.ascending) - len(scores), self.level)
        asked = self.ascending[rank - 1 : rank + len(scores)]
        left = np.searchsorted(self.ascending, asked, "right") - np.searchsorted(np.sort(scores), asked, "right")
        return float(asked[np.argmax(left >= rank)]) if (left >= rank).any() else NAN


def measure_uncertainty(policy: MonitoredModel, fitted: FittedUncertainty, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Measure every chunk in ``rows``; chunk by chunk gives the same numbers.

    Args:
        policy: declares the task, the chunk and ``drift.limit.false_alarms``, which the numbers of a chunk share equally (Bonferroni).
        fitted: from ``fit_uncertainty``.
        rows: ``(n_rows, ...)`` with ``time`` and predictions; numbers that need ``y_true`` come from the rows that have it, and a chunk
            without any has no line for them.

    Returns:
        Lines of kind ``uncertainty``: the value with its standard error, which takes rows for independent, and limits for its own number
        of rows that a chunk like the reference breaks with the stated chance, dependent rows included. Where nothing can be said, ``reason`` says why.

    Raises:
        ValueError: an outcome of a classifier is none of its classes.
    """
    rate = policy.drift.limit.false_alarms / len(fitted.numbers)
    measures = _MEASURES[policy.task]
    rows = rows if "y_true" in rows else rows.assign(y_true=NAN)
    lines: list[dict[str, object]] = []
    for chunk, group in rows.groupby(policy.cadence.keys(rows["time"]), sort=True):
        for name, calibrated in fitted.numbers.items():
            own = _that_enter(policy.task, group, measures[name])
            if len(own):
                number = _measured(name, measures[name], own, fitted.width)
                judged = calibrated.judged(number, rate)
                lines.append({"chunk": chunk, **line_of(Kind.UNCERTAINTY, name, SUBJECT, number, judged, len(fitted.numbers))})
    return lines_of(lines)


def _measured(name: str, measure: _Measure, rows: "pd.DataFrame", width: float) -> Number:
    if name in _NEEDS_WIDTH and width != width:
        return refused("got too few outcomes in the reference; expected enough for a conformal width", len(rows))
    return measure.number(rows, width)
