"""How sure the model is of itself, and whether that is deserved: entropy, margin, calibration, conformal coverage.

Belongs here: these numbers, and their limits from blocks of the reference. Does not: whether the metric holds (``nanny.py``), storage.
A probability is ``(n_rows,)`` of class 1 or a matrix ``(n_rows, n_classes)``. A row with a probability that is missing or outside [0, 1], or
whose classes do not sum to 1, is left out, and so is a row without an outcome where one is needed; ``n_rows`` counts what entered.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.limits import Null, block_sizes, block_starts, design_effect, fit_null
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
N_BINS = 10
#: Classes may sum to one this inexactly, as 32-bit probabilities do.
_INEXACT = 1e-3
_NO_ROW = "got no row with a probability in [0, 1]; expected at least one"
_NO_OUTCOME = "got no row with an outcome and a prediction; expected at least one"


@dataclass(frozen=True)
class Coverage:
    """Share of outcomes inside their interval, in [0, 1], with its Wilson interval."""

    value: float
    standard_error: float
    n_rows: int
    lower: float
    upper: float


@dataclass(frozen=True)
class SetCoverage:
    """Share of outcomes inside their conformal set, in [0, 1], and how many classes a set holds on average."""

    coverage: Number
    size: Number


def entropy(probability: "np.ndarray") -> Number:
    """Mean of ``-sum(p ln p)`` in nats: 0 where the model is sure, ``ln(n_classes)`` where it has no idea.

    Source: ``scipy.special.entr``.

    >>> import numpy as np
    >>> round(entropy(np.array([0.5, 0.5])).value, 4), entropy(np.array([0.0, 1.0])).value
    (0.6931, 0.0)
    """
    from scipy.special import entr

    return _mean(entr(_usable(probability)).sum(axis=1))


def margin(probability: "np.ndarray") -> Number:
    """Mean of the largest probability minus the second, in [0, 1]: 1 where the model is sure."""
    import numpy as np

    ordered = np.sort(_usable(probability), axis=1)
    return _mean(ordered[:, -1] - ordered[:, -2])


def confidence(probability: "np.ndarray") -> Number:
    """Mean of the largest probability, in ``[1 / n_classes, 1]``."""
    return _mean(_usable(probability).max(axis=1, initial=0.0))


def brier(outcome: "np.ndarray", probability: "np.ndarray") -> Number:
    """Mean squared distance of probabilities from what happened; smaller is better.

    Args:
        outcome: ``(n_rows,)`` class of each row, 0 or 1 or the column of the matrix; NaN where not known.
        probability: of class 1, or a matrix.

    Returns:
        In [0, 1] for the probability of class 1; in [0, 2] for a matrix, summed over its classes.

    Source: Brier (1950); equal to scikit-learn's ``brier_score_loss``.
    """
    import numpy as np

    own, classes = _with_outcomes(outcome, probability)
    happened = np.eye(own.shape[1])[classes]
    squared = ((own - happened) ** 2).sum(axis=1)
    return _mean(squared / 2 if np.ndim(probability) == 1 else squared, _NO_OUTCOME)


def calibration_error(outcome: "np.ndarray", probability: "np.ndarray") -> Number:
    """Expected calibration error over 10 bins of equal width: how far stated probabilities are from shares that came true.

    Bins are ``[0, 0.1), [0.1, 0.2), ... [0.9, 1]`` of the probability of class 1, or for a matrix of the largest probability, whose class is
    then right or wrong. The error is the sum over bins of the bin's share of rows times the distance between the mean probability and
    the share of rows where it came true.

    Args:
        outcome: as for ``brier``.
        probability: as for ``brier``.

    Returns:
        In [0, 1]. Positive for a perfectly calibrated model too, by about the root of bins per row, so compare chunks of like size. The
        standard error takes the sign of each bin's distance as known: right where bins are clearly off, too large where they are nearly right.

    Source: Naeini, Cooper & Hauskrecht (2015); Guo et al. (2017) for the largest probability of several.
    """
    import numpy as np

    own, classes = _with_outcomes(outcome, probability)
    is_binary = np.ndim(probability) == 1
    stated = own[:, 1] if is_binary else own.max(axis=1, initial=0.0)
    came_true = classes == (1 if is_binary or not len(own) else own.argmax(axis=1))
    bins = np.digitize(stated, np.arange(1, N_BINS) / N_BINS)
    gaps = np.bincount(bins, came_true - stated, N_BINS)
    return _mean((came_true - stated) * np.sign(gaps)[bins], _NO_OUTCOME)


def interval_coverage(outcome: "np.ndarray", lower: "np.ndarray", upper: "np.ndarray", level: float = 0.95) -> Coverage:
    """Share of outcomes inside ``[lower, upper]``, ends included.

    Args:
        outcome: ``(n_rows,)``; a row with a NaN in any of the three is left out.
        lower: ``(n_rows,)``.
        upper: ``(n_rows,)``.
        level: of the Wilson interval, which takes rows for independent.

    Source: ``scipy.stats.binomtest``; Wilson (1927).
    """
    import numpy as np
    from scipy.stats import binomtest

    known = ~(np.isnan(outcome) | np.isnan(lower) | np.isnan(upper))
    inside = _mean(((outcome >= lower) & (outcome <= upper))[known].astype("float64"), _NO_OUTCOME)
    if not inside.n_rows:
        return Coverage(NAN, NAN, 0, NAN, NAN)
    wilson = binomtest(round(inside.value * inside.n_rows), inside.n_rows).proportion_ci(level, method="wilson")
    return Coverage(inside.value, inside.standard_error, inside.n_rows, float(wilson.low), float(wilson.high))


def conformal_width(residuals: "np.ndarray", level: float) -> float:
    """Half the width of the interval around a prediction that holds a new outcome with chance ``level``.

    Args:
        residuals: ``(n_rows,)`` residuals, or scores, of rows the model has not learned from; NaN are left out, signs do not matter.
        level: in (0, 1).

    Returns:
        The ``ceil((n + 1) * level)``-th smallest absolute residual; infinity where there are too few for any finite one.

    Raises:
        ValueError: the level is out of range.

    Source: Lei et al. (2018), Distribution-free predictive inference for regression; what MAPIE's ``AbsoluteConformityScore`` computes with a
    model that is fitted already (``BaseConformityScore.get_quantile``), which gives the largest residual where this gives infinity.

    >>> import numpy as np
    >>> conformal_width(np.arange(-9.0, 10.0), 0.9)
    9.0
    """
    import numpy as np

    if not 0 < level < 1:
        raise ValueError(f"got level {level}; expected a share between 0 and 1, such as 0.9")
    scores = np.abs(residuals[~np.isnan(residuals)])
    rank = _rank(len(scores), level)
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else float("inf")


def conformal_scores(outcome: "np.ndarray", probability: "np.ndarray") -> "np.ndarray":
    """One minus the probability of the class that happened, for every row that has both.

    Source: Sadinle, Lei & Wasserman (2019), Least ambiguous set-valued classifiers; MAPIE's ``LACConformityScore``.
    """
    own, classes = _with_outcomes(outcome, probability)
    return 1 - own[range(len(own)), classes]


def set_coverage(outcome: "np.ndarray", probability: "np.ndarray", width: float) -> SetCoverage:
    """Coverage of the sets of all classes whose score is at most ``width``, and their mean size.

    Args:
        outcome: as for ``brier``; needed for the coverage only.
        probability: as for ``brier``.
        width: ``conformal_width`` of the reference's ``conformal_scores``.

    Returns:
        Coverage in [0, 1]; size in ``[0, n_classes]``, of every row with a probability. A set may be empty: no class is likely enough.
    """
    sizes = (1 - _usable(probability) <= width).sum(axis=1).astype("float64")
    covered = (conformal_scores(outcome, probability) <= width).astype("float64")
    return SetCoverage(_mean(covered, _NO_OUTCOME), _mean(sizes))


def _rank(n_rows: int, level: float) -> int:
    import math

    return math.ceil((n_rows + 1) * level - 1e-9)


def _mean(values: "np.ndarray", reason: str = _NO_ROW) -> Number:
    n = len(values)
    if not n:
        return refused(reason)
    return Number(float(values.mean()), n, standard_error=float(values.std(ddof=1) / n**0.5) if n > 1 else NAN)


def _matrix(probability: "np.ndarray") -> "np.ndarray":
    """All classes of every row, NaN where a row cannot be used."""
    import numpy as np

    own = np.asarray(probability, dtype="float64")
    own = np.stack([1 - own, own], axis=1) if own.ndim == 1 else own
    sound = ((own >= 0) & (own <= 1)).all(axis=1) & (np.abs(own.sum(axis=1) - 1) <= _INEXACT)
    return np.where(sound[:, np.newaxis], own, np.nan)


def _usable(probability: "np.ndarray") -> "np.ndarray":
    import numpy as np

    own = _matrix(probability)
    return own[~np.isnan(own[:, 0])]


def _with_outcomes(outcome: "np.ndarray", probability: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Probabilities and classes of the rows that have both.

    Raises:
        ValueError: an outcome is no class of the matrix.
    """
    import numpy as np

    own, classes = _matrix(probability), np.asarray(outcome, dtype="float64")
    known = ~np.isnan(own[:, 0]) & ~np.isnan(classes)
    own, classes = own[known], classes[known]
    strange = classes[~np.isin(classes, np.arange(own.shape[1]))]
    if len(strange):
        raise ValueError(f"got outcome {strange[0]:g}; expected a class from 0 to {own.shape[1] - 1}, one for each probability")
    return own, classes.astype("int64")


# --- limits from blocks of the reference --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judged:
    """P-value, limits (NaN on a side without one) and breach of a value, and why there are none."""

    p_value: float
    lower_limit: float
    upper_limit: float
    breach: bool
    reason: str = ""


def not_judged(reason: str) -> Judged:
    """No limits and no breach, and why."""
    return Judged(NAN, NAN, NAN, False, reason)


@dataclass(frozen=True)
class Calibrated:
    """The null of a number, on the scale ``(value - shift) / scale``, which is positive as a null needs it; a share near one is turned round.

    ``usual`` is how many rows of a chunk usually enter the number.
    """

    null: Null
    shift: float = 0.0
    scale: float = 1.0
    usual: int = 0

    def judged(self, number: Number, rate: float) -> Judged:
        """What a number is at the false-alarm ``rate``, for the rows that entered it."""
        reason = number.reason or self._refusal(number.n_rows)
        if reason or number.value != number.value:
            return not_judged(reason)
        bounds = [limit * self.scale + self.shift for limit in self.null.limits(rate, number.n_rows)]
        lower, upper = bounds if self.scale > 0 else reversed(bounds)
        p_value = self.null.p_value((number.value - self.shift) / self.scale, number.n_rows, number.n_rows)
        return Judged(p_value, lower, upper, p_value < rate)

    def _refusal(self, n_rows: int) -> str:
        if not self.null.is_known:
            return "got too few reference rows for this number; expected at least four chunks of them"
        if max(self.null.spreads) < 1e-12:
            return "got the same value in every block of the reference; expected one that varies: nothing is known of its spread"
        if n_rows < self.null.sizes[0]:
            return f"got {n_rows} rows; expected at least {self.null.sizes[0]:.0f}, the smallest block that was learned from"
        return ""

    def as_plain(self) -> dict[str, Any]:
        """Plain data for storage."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Calibrated":
        """What ``as_plain`` gave, also after a way through JSON."""
        return cls(**{**plain, "null": Null.from_plain(dict(plain["null"]))})


def block_values(measure: Callable[[slice], float], n_rows: int, usual: int) -> dict[int, list[float]]:
    """What blocks of consecutive reference rows give, by block size, in time order.

    Args:
        measure: the number of the rows of a slice.
        n_rows: rows of the reference.
        usual: rows a chunk usually holds.
    """
    return {
        size: [measure(slice(start, start + size)) for start in block_starts(n_rows, size, is_usual=size == usual).tolist()]
        for size in block_sizes(n_rows, usual)
    }


def calibrate(
    samples: dict[int, list[float]],
    *,
    n_rows: int,
    usual: int,
    power: float = 1.0,
    is_two_sided: bool = True,
    shift: float = 0.0,
    scale: float = 1.0,
) -> Calibrated:
    """Fit a null on what ``block_values`` gave.

    Blocks that resemble their neighbours tell less than as many independent ones: their number is divided by their design effect, and their
    spread, which such blocks understate, is widened. Blocks with heavy tails count as so few that Student's t has such tails too.

    Args:
        samples: by block size, in time order.
        n_rows: rows of the reference.
        usual: rows a chunk usually holds.
        power: exponent under which the number is near normal.
        is_two_sided: whether a value can also be too small.
        shift: of the scale on which the number is positive and near normal.
        scale: of it; negative to turn the number round.
    """
    import numpy as np

    moved = {size: [(value - shift) / scale for value in values] for size, values in samples.items()}
    null = fit_null(moved, power=power, is_two_sided=is_two_sided, n_reference=n_rows)
    effects = [design_effect(np.array(moved[int(size)])) for size in null.sizes]
    large = [np.array(moved[int(size)]) for size in null.sizes if 2 * size >= max(null.sizes)]
    powered = [np.maximum(values, 0.0) ** power for values in large]
    return Calibrated(_widened(null, effects, _most_blocks(powered)), shift, scale, usual)


def _most_blocks(powered: "list[np.ndarray]") -> float:
    """The blocks whose Student's t has tails as heavy as those of the large blocks: its excess kurtosis is ``6 / (degrees of freedom - 4)``."""
    import numpy as np
    from scipy.stats import kurtosis

    finite = [values[np.isfinite(values)] for values in powered]
    scored = [(values - values.mean()) / values.std() for values in finite if len(values) and values.std() > 0]
    excess = float(kurtosis(np.concatenate(scored))) if scored else 0.0
    return 5 + 6 / excess if excess > 0 else float("inf")


def _widened(null: Null, effects: list[float], most: float) -> Null:
    """The null with as many blocks as there are independent ones, and at most ``most``; Wilks (2011) for effective sample sizes."""
    own = [min(effect, blocks / 2) for effect, blocks in zip(effects, null.blocks, strict=True)]
    wider = [(blocks - 1) / (blocks - effect) for effect, blocks in zip(own, null.blocks, strict=True)]
    return replace(
        null,
        blocks=tuple(max(2, int(min(blocks / effect, most))) for effect, blocks in zip(own, null.blocks, strict=True)),
        spreads=tuple(spread * more**0.5 for spread, more in zip(null.spreads, wider, strict=True)),
    )


def usual_rows(policy: MonitoredModel, times: "pd.Series") -> int:
    """Median number of rows of a chunk of the reference."""
    sizes = policy.cadence.keys(times).value_counts()
    return int(sizes.median()) if len(sizes) else 1


# --- the numbers of a monitored model -----------------------------------------------------------------------------------


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

        rank = _rank(len(self.ascending) - len(scores), self.level)
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


def line_of(kind: Kind, method: str, subject: str, number: Number, judged: Judged, n_numbers: int) -> dict[str, object]:
    """A line of one of ``n_numbers`` numbers that share the false alarms; the chunk's key is left to the caller."""
    adjusted = min(1.0, judged.p_value * n_numbers) if judged.p_value == judged.p_value else NAN
    return {
        "kind": str(kind), "method": method, "subject": subject, "value": number.value, "standard_error": number.standard_error,
        "n_rows": number.n_rows, **asdict(judged), "adjusted_p_value": adjusted,
    }  # fmt: skip
