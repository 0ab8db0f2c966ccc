"""The statistic of each streaming detector and where it first crosses a threshold.

Belongs here: cumulative sums, and River's detectors run over standardised sequences. Does not: choosing a threshold
(``sequential.py``). River's detectors have a sensitivity instead of a statistic; it is read on a ladder of strictness,
and the statistic of a sequence is the strictest step at which it still alarms.
"""

import random
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

#: Allowance of the cumulative sums: half of the smallest shift worth finding, in reference standard deviations.
ALLOWANCE = 0.5
#: Elements that decide the direction of an alarm of River's detectors.
RECENT = 30
KS_WINDOW, KS_RECENT = 100, 30
INFINITY = float("inf")


@dataclass(frozen=True)
class Context:
    """What a detector knows of the reference: its standardised quantiles, evenly spaced, and a seed."""

    quantiles: tuple[float, ...]
    seed: int


@dataclass(frozen=True)
class Method:
    """One detector.

    ``statistics`` maps standardised sequences ``(n_sequences, n)`` to ``(n_sequences,)``, larger is stronger evidence;
    ``first_alarm`` gives place and direction in one sequence that reaches the threshold. ``levels`` are the values the
    statistic can take, ascending; empty where it is continuous.
    """

    meaning: str
    statistics: "Callable[[np.ndarray, Context], np.ndarray]"
    first_alarm: "Callable[[np.ndarray, float, Context], tuple[int, str]]"
    levels: tuple[float, ...] = ()


def silent_above(levels: tuple[float, ...], statistic: float) -> float:
    """Smallest threshold that a sequence of this statistic does not reach; infinite at the top of the ladder."""
    import math

    if not levels:
        return math.nextafter(statistic, math.inf)
    place = bisect_right(levels, statistic)
    return levels[place] if place < len(levels) else math.inf


def _cusum_paths(sequences: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
    """Upper and lower cumulative sums ``(n_sequences, n)``, each reset at 0."""
    import numpy as np

    paths = []
    for sign in (1.0, -1.0):
        walk = np.cumsum(sign * sequences - ALLOWANCE, axis=1)
        paths.append(walk - np.minimum(np.minimum.accumulate(walk, axis=1), 0.0))
    return paths[0], paths[1]


def _cusum(sequences: "np.ndarray", context: Context) -> "np.ndarray":
    import numpy as np

    return np.maximum(*_cusum_paths(sequences)).max(axis=1)


def _cusum_alarm(sequence: "np.ndarray", threshold: float, context: Context) -> tuple[int, str]:
    import numpy as np

    up, down = (path[0] for path in _cusum_paths(sequence[None]))
    place = int(np.argmax(np.maximum(up, down) >= threshold))
    return place, "up" if up[place] >= down[place] else "down"


def _ks_distances(sequences: "np.ndarray", seed: int) -> "np.ndarray":
    """Kolmogorov-Smirnov distances ``(n_sequences, n - 99)`` that KSWIN compares, of all sequences at once."""
    import numpy as np

    draw = random.Random(seed)  # noqa: S311 - KSWIN's own generator: it must choose the same elements
    distances = np.zeros((len(sequences), max(sequences.shape[1] - KS_WINDOW + 1, 0)))
    for step in range(distances.shape[1]):
        recent = sequences[:, step + KS_WINDOW - KS_RECENT : step + KS_WINDOW]
        before = sequences[:, [step + place for place in draw.sample(range(KS_WINDOW - KS_RECENT), KS_RECENT)]]
        at = np.concatenate([recent, before], axis=1)[:, :, np.newaxis]
        below = [(group[:, np.newaxis, :] <= at).sum(axis=2) for group in (recent, before)]
        distances[:, step] = np.abs(below[0] - below[1]).max(axis=1) / KS_RECENT
    return distances


def _warm_up(context: Context) -> "np.ndarray":
    """The reference's quantiles in a fixed random order: what River's detectors see before the sequence."""
    import numpy as np

    return np.random.default_rng(context.seed).permutation(np.array(context.quantiles))


def _ks(sequences: "np.ndarray", context: Context) -> "np.ndarray":
    import numpy as np

    warm = np.broadcast_to(_warm_up(context), (len(sequences), len(context.quantiles)))
    return np.asarray(_ks_distances(np.concatenate([warm, sequences], axis=1), context.seed).max(axis=1))


def ks_p_value(distance: float) -> float:
    """Exact two-sample Kolmogorov-Smirnov p-value of a distance between two samples of 30."""
    import numpy as np
    from scipy.stats import ks_2samp

    one = np.arange(KS_RECENT)
    return float(ks_2samp(one, one + round(distance * KS_RECENT) - 0.5).pvalue)


def _ranks(sequence: "np.ndarray", context: Context) -> "np.ndarray":
    """Place of each element in the reference's distribution, in [0, 1]."""
    import numpy as np

    levels = (np.arange(len(context.quantiles)) + 0.5) / len(context.quantiles)
    return np.interp(sequence, context.quantiles, levels)


def _river(name: str, strictness: float, seed: int) -> Any:
    """River's detector at one step of its ladder."""
    from river import drift

    library: Any = drift  # River types its detectors in part only
    if name == "page_hinkley":
        return library.PageHinkley(threshold=strictness, min_instances=1)
    if name == "adwin":
        return library.ADWIN(delta=10.0**-strictness, clock=1)
    if name == "kswin":
        return library.KSWIN(alpha=ks_p_value(strictness) * (1 + 1e-9), window_size=KS_WINDOW, stat_size=KS_RECENT, seed=seed)
    confidence = 10.0**-strictness
    return library.binary.HDDMW(drift_confidence=confidence, warning_confidence=confidence, two_sided_test=True)


def _river_place(name: str, sequence: "np.ndarray", strictness: float, context: Context) -> int | None:
    """First element at which River's detector alarms at this strictness.

    A step so lenient that the reference's own quantiles alarm counts as an alarm at the first element: after it the
    detector would start anew and take a shifted sequence for normal.
    """
    import numpy as np

    detector = _river(name, strictness, context.seed)
    values = np.concatenate([_warm_up(context), sequence])
    for place, value in enumerate((_ranks(values, context) if name == "hddm_w" else values).tolist(), -len(context.quantiles)):
        detector.update(value)
        if detector.drift_detected:
            return max(place, 0)
    return None


def _river_statistics(name: str, levels: tuple[float, ...]) -> "Callable[[np.ndarray, Context], np.ndarray]":
    """Strictest step of the ladder at which each sequence still alarms; -inf where none does."""

    def strictest(sequence: "np.ndarray", context: Context) -> float:
        low, high = -1, len(levels)
        while high - low > 1:
            middle = (low + high) // 2
            if _river_place(name, sequence, levels[middle], context) is None:
                high = middle
            else:
                low = middle
        return levels[low] if low >= 0 else -INFINITY

    def statistics(sequences: "np.ndarray", context: Context) -> "np.ndarray":
        import numpy as np

        return np.array([strictest(sequence, context) for sequence in sequences])

    return statistics


def _river_alarm(name: str) -> "Callable[[np.ndarray, float, Context], tuple[int, str]]":
    """Where River's detector alarms; the direction is that of the mean of the last elements up to there."""

    def first_alarm(sequence: "np.ndarray", threshold: float, context: Context) -> tuple[int, str]:
        place = _river_place(name, sequence, threshold, context)
        if place is None:
            raise ValueError(f"got no alarm of {name} at strictness {threshold:g}; expected one: the sequence's statistic reaches it")
        return place, "up" if sequence[max(place + 1 - RECENT, 0) : place + 1].mean() >= 0 else "down"

    return first_alarm


def _ladder(first: float, last: float, steps: int) -> tuple[float, ...]:
    ratio = (last / first) ** (1 / (steps - 1))
    return tuple(first * ratio**step for step in range(steps))


def _on_ladder(name: str, meaning: str, levels: tuple[float, ...]) -> Method:
    return Method(meaning, _river_statistics(name, levels), _river_alarm(name), levels)


#: Every detector by name. Strictness runs from so lenient that clean sequences alarm to beyond what any sequence reaches.
DETECTORS: dict[str, Method] = {
    "cusum": Method(
        "Two-sided cumulative sum of the standardised value beyond half a standard deviation (Page 1954): a lasting shift of the mean.",
        _cusum, _cusum_alarm,
    ),
    "cusum_absolute": Method(
        "The same of the absolute deviation from the reference's mean: a lasting change of scale, up is wider.", _cusum, _cusum_alarm
    ),
    "page_hinkley": _on_ladder(
        "page_hinkley", "Cumulative deviation from the running mean (River, PageHinkley); strictness is its threshold.", _ladder(2, 2000, 128)
    ),
    "adwin": _on_ladder(
        "adwin", "Means of two adaptive windows (River, ADWIN; Bifet & Gavalda 2007); strictness is -log10 of delta.", _ladder(0.01, 300, 128)
    ),
    "hddm_w": _on_ladder(
        "hddm_w",
        "Weighted mean of the reference rank against McDiarmid's bound (River, HDDM_W; Frías-Blanco et al. 2014), weak on dependent errors; "
        "strictness is -log10 of the confidence.",
        _ladder(0.2, 20, 48),
    ),
    "kswin": Method(
        "Kolmogorov-Smirnov distance of the last 30 elements from 30 of the 70 before (River, KSWIN; Raab et al. 2020).",
        _ks, _river_alarm("kswin"), tuple(step / KS_RECENT for step in range(4, KS_RECENT + 1)),
    ),
}  # fmt: skip
