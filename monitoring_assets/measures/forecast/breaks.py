"""When did a sequence of errors break, and how surely? One change of level, or one kink of the trend, with an interval for its date.

Belongs here: the supremum statistic, its p-value and the interval. Does not: the upward onset of losses (``onset.py``), which has neither
direction, nor kink, nor interval. What is left over is taken for a first-order autoregression, whose
coefficient is corrected for the break that was fitted away with it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from monitoring_assets.measures.forecast.names import ONE_STEP_ERROR
from monitoring_assets.measures.lines import ALL, lines_of
from monitoring_assets.measures.number import NAN
from resources.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import pandas as pd

Shape = Literal["level", "trend"]
#: Share of the sequence on either side in which no break is looked for.
TRIM = 0.05
#: Most places that are tried; of a longer sequence, evenly spread ones.
PLACES = 500
FEWEST = 30
#: Coefficients whose clean sequences are rehearsed, and sequences of each.
MEMORIES = (0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8, 0.9, 0.95)
REHEARSED = 60


@dataclass(frozen=True)
class Break:
    """The most likely break.

    ``index`` is the first element after it, within ``[earliest, latest]`` with the stated confidence; ``size`` the step
    of the level, or the change of slope per element; ``statistic`` the largest F over all places and ``p_value`` the chance of
    so large a one without a break. ``reason`` says why there is none.
    """

    shape: Shape
    index: int | None
    earliest: int | None
    latest: int | None
    size: float
    statistic: float
    p_value: float
    n_elements: int
    reason: str = ""


def date_break(
    values: "np.ndarray", shape: Shape = "level", *, confidence: float = 0.9, seed: int = 0, resamples: int = 499, margin: int | None = None
) -> Break:
    """Date one break.

    Args:
        values: ``(n,)`` in time order, ``n`` at least 30; NaN are left out and indices count them.
        shape: ``level``, a step of the mean; ``trend``, a kink in a straight line.
        confidence: of the interval of the date, in (0, 1).
        seed: of the bootstrap.
        resamples: of the bootstrap; the p-value is at least one in so many.
        margin: elements on either side in which no break is looked for; 5 % without it, and at least 5.

    Returns:
        The break, whether or not it is significant. Too short or constant a sequence gives a named refusal.

    Source: Andrews (1993), supremum of the F statistic; Hušková & Kirch (2008), Bootstrapping confidence intervals for the
    change-point of time series, for the interval; both with an autoregressive sieve (Bühlmann 1997).

    >>> import numpy as np
    >>> date_break(np.random.default_rng(0).normal(size=200) + 4.0 * (np.arange(200) >= 120)).index
    120
    """
    import numpy as np

    own = np.asarray(values, dtype="float64")
    kept = np.flatnonzero(np.isfinite(own))
    series = own[kept]
    if len(series) < FEWEST or float(np.ptp(series)) <= 1e-12 * max(1.0, float(np.abs(series).max())):
        told = f"got {len(series)} finite elements{' that are all equal' if len(series) >= FEWEST else ''}; expected at least {FEWEST} that vary"
        return Break(shape, None, None, None, NAN, NAN, NAN, len(series), told)
    search = _search(len(series), shape, margin)
    place, f = search.best(series[np.newaxis])
    fitted, left = search.fit(series, int(place[0]))
    rng = np.random.default_rng(seed)
    draws = _autoregressive(left, _memory(search, left, rng), resamples, rng)
    null = search.best(draws[0])[1]
    p_value = float((1 + (null >= f[0]).sum()) / (1 + resamples))
    again = search.best(fitted + draws[1])[0]
    low, high = np.quantile(again - place[0], [(1 - confidence) / 2, (1 + confidence) / 2], method="nearest")
    first, last = (int(np.clip(place[0] - shift, 0, len(series) - 1)) for shift in (high, low))
    size = search.size(series, int(place[0]))
    return Break(shape, int(kept[place[0]]), int(kept[first]), int(kept[last]), size, float(f[0]), p_value, len(series))


@dataclass(frozen=True)
class _Search:
    """All candidate breaks of one length: ``base`` ``(n, p)`` without a break, ``steps`` ``(n_places, n)`` with one, orthonormal to it."""

    places: "np.ndarray"
    base: "np.ndarray"
    raw: "np.ndarray"
    steps: "np.ndarray"

    def residuals(self, sequences: "np.ndarray") -> "np.ndarray":
        """What the base leaves over."""
        return sequences - (sequences @ self.base) @ self.base.T

    def best(self, sequences: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        """Most likely place and largest F of each of ``(n_sequences, n)``."""
        import numpy as np

        left = self.residuals(sequences)
        gained = (left @ self.steps.T) ** 2
        chosen = gained.argmax(axis=1)
        most, total = gained[np.arange(len(gained)), chosen], (left**2).sum(axis=1)
        freedom = sequences.shape[1] - self.base.shape[1] - 1
        return self.places[chosen], most * freedom / np.maximum(total - most, 1e-300)

    def rest(self, sequences: "np.ndarray") -> "np.ndarray":
        """What a fit with the most likely break leaves over of each sequence."""
        import numpy as np

        left = self.residuals(sequences)
        gained = left @ self.steps.T
        chosen = (gained**2).argmax(axis=1)
        return left - np.take_along_axis(gained, chosen[:, np.newaxis], axis=1) * self.steps[chosen]

    def fit(self, series: "np.ndarray", place: int) -> "tuple[np.ndarray, np.ndarray]":
        """Fitted values with a break at ``place``, and what they leave over."""
        import numpy as np

        step = self.steps[int(np.searchsorted(self.places, place))]
        left = self.residuals(series)
        rest = left - (left @ step) * step
        return series - rest, rest

    def size(self, series: "np.ndarray", place: int) -> float:
        """Step of the level or change of slope at ``place``."""
        import numpy as np

        row = int(np.searchsorted(self.places, place))
        return float((series @ self.steps[row]) / (self.raw[row] @ self.steps[row]))


def _search(n: int, shape: Shape, margin: int | None) -> _Search:
    import numpy as np

    edge = max(5, round(TRIM * n)) if margin is None else margin
    places = np.unique(np.linspace(edge, n - edge, min(PLACES, n - 2 * edge + 1)).astype("int64"))
    time: np.ndarray = np.arange(n, dtype="float64")
    base = np.linalg.qr(np.column_stack([np.ones(n), time][: 1 if shape == "level" else 2]))[0]
    since = time[np.newaxis] - places[:, np.newaxis]
    raw = (since >= 0).astype("float64") if shape == "level" else np.maximum(since, 0.0)
    steps = raw - (raw @ base) @ base.T
    return _Search(places, base, raw, steps / np.linalg.norm(steps, axis=1)[:, np.newaxis])


def _memory(search: _Search, left: "np.ndarray", rng: "np.random.Generator") -> float:
    """Autoregressive coefficient, at least 0, of errors of which a fit with a break left over these.

    The fit takes dependence for a break and leaves less of it over. So clean sequences of known coefficients are fitted
    the same way, and the one that leaves over as much as was seen is taken.

    Source: Gouriéroux, Phillips & Yu (2010), Indirect inference for dynamic models, for the correction.
    """
    import numpy as np

    seen = []
    for coefficient in MEMORIES:
        noise = rng.normal(size=(REHEARSED, len(left)))
        seen.append(float(np.mean(_lagged(search.rest(_filtered(noise, coefficient))))))
    return float(np.interp(float(_lagged(left[np.newaxis])[0]), np.maximum.accumulate(seen), MEMORIES))


def _lagged(sequences: "np.ndarray") -> "np.ndarray":
    """First autocorrelation of each sequence; 0 of one that is all zeros."""
    import numpy as np

    power = (sequences**2).sum(axis=1)
    return np.asarray((sequences[:, 1:] * sequences[:, :-1]).sum(axis=1) / np.maximum(power, 1e-300))


def _filtered(noise: "np.ndarray", coefficient: float) -> "np.ndarray":
    """Autoregressive sequences from innovations, started in their steady state."""
    import numpy as np
    from scipy.signal import lfilter

    start = noise[:, :1] / np.sqrt(1 - coefficient**2)
    return np.asarray(lfilter([1.0], [1.0, -coefficient], np.concatenate([start, noise[:, 1:]], axis=1), axis=1))


def _autoregressive(left: "np.ndarray", coefficient: float, count: int, rng: "np.random.Generator") -> "np.ndarray":
    """Sequences ``(2, count, n)`` with the innovations of what the fit left over, drawn with replacement."""

    innovations = left[1:] - coefficient * left[:-1]
    drawn = rng.choice(innovations - innovations.mean(), (2 * count, len(left)))
    return _filtered(drawn, coefficient).reshape(2, count, len(left))


def break_lines(
    chunk: str, found: "Sequence[Break]", false_alarms: float, dates: "Sequence[object] | None" = None, segment: str = ALL
) -> "pd.DataFrame":
    """Lines of one chunk, one per shape looked for.

    Args:
        chunk: its key.
        found: from ``date_break``.
        false_alarms: share of sequences without a break of which any line may breach, in (0, 1); it is shared out.
        dates: ``(n,)`` of the sequence, to name the break; without it the element is named.
        segment: whose errors these are.
    """
    rate = false_alarms / max(1, len(found))
    return lines_of([
        {
            "chunk": chunk, "kind": str(Kind.STRUCTURAL_BREAK), "method": f"sup_f_{one.shape}", "subject": ONE_STEP_ERROR,
            "segment": segment, "value": one.statistic, "n_rows": one.n_elements, "effect": one.size, "p_value": one.p_value,
            "breach": one.p_value < rate, "reason": _told(one, dates),
        }
        for one in found
    ])  # fmt: skip


def _told(one: Break, dates: "Sequence[object] | None") -> str:
    if one.index is None or one.earliest is None or one.latest is None:
        return one.reason
    at, first, last = (str(dates[place]) if dates is not None else f"step {place}" for place in (one.index, one.earliest, one.latest))
    return f"{'up' if one.size > 0 else 'down'}: at {at}, between {first} and {last}"
