"""Has a stream of losses or residuals left its reference level? Detectors whose false alarms are set, not assumed.

Belongs here: fitting a detector's threshold on the reference and running it over one chunk. Does not: each detector's
own statistic (``detectors.py``). Textbook thresholds take errors for independent; real errors are not, and such
detectors cry wolf. Here the threshold is the one that at most the stated share of block-resampled reference sequences
reaches. A detector is plain numbers, and the result of a chunk depends on the detector and the chunk only.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.detectors import DETECTORS, Context, silent_above
from monitoring_assets.measures.number import NAN

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DETECTORS", "Detection", "Detector", "block_length", "detect", "fit_detector"]

#: Fewest finite reference elements from which a threshold is calibrated.
FEWEST_ELEMENTS = 50
#: Standardised elements are clipped here, so that a broken value cannot overflow.
LARGEST = 50.0
N_QUANTILES = 101
#: Rehearsed calibrations, and sequences in each.
REHEARSALS, REHEARSED = 60, 200


@dataclass(frozen=True)
class Detector:
    """A calibrated detector: plain numbers, nothing else.

    ``center`` is what ``cusum_absolute`` subtracts before taking absolute values, ``mean`` and ``scale`` standardise,
    ``quantiles`` (101) are the standardised reference, ``threshold`` is on the scale of ``Detection.statistic``,
    ``length`` the number of elements for which ``false_alarms`` is the share of clean sequences that alarm,
    ``block_length`` the block of the bootstrap, ``refusal`` why nothing could be fitted (else empty).
    """

    name: str
    center: float
    mean: float
    scale: float
    quantiles: tuple[float, ...]
    threshold: float
    length: int
    false_alarms: float
    seed: int
    block_length: int
    refusal: str = ""


@dataclass(frozen=True)
class Detection:
    """What a detector says of one sequence.

    It alarms where ``statistic`` reaches ``threshold``; ``index`` is the first alarming element of the sequence as
    given (``None`` without an alarm), ``direction`` is ``up`` or ``down`` (empty without an alarm) and ``n_elements``
    counts those that were finite. ``reason`` says why there is no statistic, or how the stated false alarms do not hold.
    """

    statistic: float
    threshold: float
    index: int | None
    direction: str
    n_elements: int
    reason: str = ""


def block_length(reference: "np.ndarray") -> int:
    """Block of a moving-block bootstrap: the cube root of ``n`` times the integrated autocorrelation time.

    Args:
        reference: ``(n,)`` finite elements in time order.

    Returns:
        At least 1 and at most ``n / 4``. The autocorrelation time is 1 for white noise; its sum ends at the first lag
        that is not clearly positive.

    Source: Künsch (1989) for the rate; Sokal (1997), Monte Carlo methods in statistical mechanics, for the time.
    """
    import numpy as np

    n = len(reference)
    centred = reference - reference.mean()
    power = float(centred @ centred)
    time = 1.0
    for lag in range(1, n // 4):
        correlation = float(centred[:-lag] @ centred[lag:]) / power if power > 0 else 0.0
        if correlation < 2 / np.sqrt(n):
            break
        time += 2 * correlation
    return int(np.clip(math.ceil(n ** (1 / 3) * time), 1, max(n // 4, 1)))


def fit_detector(name: str, reference: "np.ndarray", length: int, false_alarms: float, seed: int, resamples: int = 300) -> Detector:
    """Calibrate the detector ``name`` on a clean reference.

    Args:
        name: one of ``DETECTORS``.
        reference: ``(n,)`` losses or residuals in time order; what is not finite is skipped.
        length: number of elements of the sequences that will be judged, at least 1.
        false_alarms: largest share of clean sequences of that length that may alarm, in (0, 1).
        seed: of the bootstrap.
        resamples: sequences drawn; below ``1 / false_alarms`` the threshold is the largest of them all.

    Returns:
        The detector. Every resampled sequence is standardised with the mean and deviation of a reference resampled
        in the same way, so that the threshold allows for how well those are known. Too short or constant a reference
        gives a detector that refuses; an infinite ``threshold`` is one that cannot keep the promise and stays silent.

    Raises:
        ValueError: unknown name, or a length or share out of range.
    """
    import numpy as np

    if name not in DETECTORS:
        raise ValueError(f"got {name!r}; expected one of {', '.join(DETECTORS)}")
    if length < 1 or not 0 < false_alarms < 1:
        raise ValueError(f"got length {length} and false alarms {false_alarms}; expected a length from 1 and a share between 0 and 1")
    values = np.asarray(reference, dtype=float)
    values = values[np.isfinite(values)]
    center = float(values.mean()) if name == "cusum_absolute" and len(values) else 0.0
    series = np.abs(values - center) if name == "cusum_absolute" else values
    spread = float(series.std(ddof=1)) if len(series) >= FEWEST_ELEMENTS else 0.0
    refusal = ""
    if len(values) < FEWEST_ELEMENTS:
        refusal = f"got a reference of {len(values)} finite elements; expected at least {FEWEST_ELEMENTS}"
    elif not 1e-12 * max(1.0, abs(float(series.mean()))) < spread < np.inf:
        refusal = f"got a reference with standard deviation {spread:g}; expected elements that vary"
    if refusal:
        return Detector(name, NAN, NAN, NAN, (), NAN, length, false_alarms, seed, 1, refusal)
    mean = float(series.mean())
    standardised = (series - mean) / spread
    levels = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    context = Context(tuple(np.quantile(standardised, levels).tolist()), seed)
    block = block_length(series)
    rng = np.random.default_rng(seed)
    level = _level(standardised, length, block, false_alarms, rng)
    statistics = DETECTORS[name].statistics(_resampled(standardised, length, block, resamples, rng), context)
    largest = np.sort(statistics)[::-1][min(int(level * resamples), resamples - 1)]
    threshold = silent_above(DETECTORS[name].levels, float(largest))
    return Detector(name, center, mean, spread, context.quantiles, threshold, length, false_alarms, seed, block)


def _blocks(series: "np.ndarray", length: int, block: int, count: int, rng: "np.random.Generator") -> "np.ndarray":
    """Sequences ``(count, length)`` made of blocks of consecutive elements."""
    import numpy as np

    starts = rng.integers(0, len(series) - block + 1, (count, -(-length // block)))
    return np.asarray(series[(starts[:, :, np.newaxis] + np.arange(block)).reshape(count, -1)[:, :length]])


def _level(standardised: "np.ndarray", length: int, block: int, false_alarms: float, rng: "np.random.Generator") -> float:
    """Share of resampled sequences above the threshold that makes ``false_alarms`` come true for new ones.

    A threshold read at ``false_alarms`` itself is too low: a short reference knows neither its level nor its dependence
    exactly, and blocks cut dependence. So the whole calibration is rehearsed on references resampled from the
    reference, whose clean sequences are known, and the level is the one that would have kept the promise there.
    The cumulative sum, the cheapest statistic, stands in for every detector.

    Source: Beran (1988), Prepivoting test statistics: a bootstrap view of asymptotic refinements.
    """
    import numpy as np

    statistics, context = DETECTORS["cusum"].statistics, Context((), 0)
    shares = []
    for _ in range(REHEARSALS):
        reference = _blocks(standardised, len(standardised), block, 1, rng)[0]
        mean, spread = reference.mean(), max(float(reference.std()), 1e-3)
        own = np.sort(statistics(_resampled((reference - mean) / spread, length, block, REHEARSED, rng), context))
        fresh = statistics((_blocks(standardised, length, block, REHEARSED, rng) - mean) / spread, context)
        shares.append(1 - np.searchsorted(own, fresh) / REHEARSED)
    return float(min(np.quantile(np.concatenate(shares), false_alarms), false_alarms))


def _resampled(standardised: "np.ndarray", length: int, block: int, resamples: int, rng: "np.random.Generator") -> "np.ndarray":
    """Clean sequences ``(resamples, length)`` of moving blocks, each standardised by a resampled reference of its own."""
    import numpy as np

    n = len(standardised)
    sequences = _blocks(standardised, length, block, resamples, rng)
    own = rng.integers(0, n - block + 1, (resamples, max(n // block, 1)))
    sums, squares = (np.r_[0.0, np.cumsum(standardised**power)] for power in (1, 2))
    size = own.shape[1] * block
    means = (sums[own + block] - sums[own]).sum(axis=1) / size
    variances = (squares[own + block] - squares[own]).sum(axis=1) / size - means**2
    centred = sequences - means[:, np.newaxis]
    return np.clip(centred / np.sqrt(np.maximum(variances, 1e-6))[:, np.newaxis], -LARGEST, LARGEST)


def detect(detector: Detector, sequence: "np.ndarray") -> Detection:
    """Run the detector over one sequence.

    Args:
        detector: from ``fit_detector``.
        sequence: ``(n,)`` losses or residuals in time order, in the reference's unit; what is not finite is skipped.

    Returns:
        The detection. The detectors of River start warm, from the reference's quantiles, so that a sequence that is
        shifted from its first element on is seen too.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cusum = fit_detector("cusum", rng.normal(size=500), length=100, false_alarms=0.05, seed=0)
    >>> detect(cusum, np.r_[rng.normal(size=50), rng.normal(1.5, 1.0, size=50)]).direction
    'up'
    >>> detect(cusum, rng.normal(size=100)).index is None
    True
    """
    import numpy as np

    values = np.asarray(sequence, dtype=float)
    kept = np.flatnonzero(np.isfinite(values))
    if detector.refusal or not len(kept):
        reason = detector.refusal or f"got {len(values)} elements, none of them finite; expected at least 1"
        return Detection(NAN, detector.threshold, None, "", len(kept), reason)
    series = values[kept]
    with np.errstate(over="ignore"):  # clipped in the next line
        if detector.name == "cusum_absolute":
            series = np.abs(series - detector.center)
        standardised = (series - detector.mean) / detector.scale
    standardised = np.clip(standardised, -LARGEST, LARGEST)
    method, context = DETECTORS[detector.name], Context(detector.quantiles, detector.seed)
    statistic = float(method.statistics(standardised[np.newaxis], context)[0])
    reason = ""
    if math.isinf(detector.threshold):
        reason = f"got no threshold that keeps false alarms below {detector.false_alarms:g}; expected a reference with weaker dependence"
    elif len(kept) > detector.length:
        reason = f"got {len(kept)} elements; expected at most {detector.length}, for which false alarms were calibrated"
    if not statistic >= detector.threshold:
        return Detection(statistic, detector.threshold, None, "", len(kept), reason)
    place, direction = method.first_alarm(standardised, detector.threshold, context)
    return Detection(statistic, detector.threshold, int(kept[place]), direction, len(kept), reason)
