"""Have one-step forecast errors left the level or the scale they had in the backtest?

Belongs here: the stream of one-step errors, detectors over it whose false alarms are set for a number of chunks, when it
began. Does not: the detectors themselves (``sequential.py``, ``detectors.py``). Nothing is remembered between chunks: the state
is derived from the errors since the version serves, so a restart changes nothing. Errors here are outcome minus forecast: ``up``
means outcomes above their forecasts (or, for ``cusum_absolute``, a wider scale).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from monitoring_assets.measures.detectors import ALLOWANCE
from monitoring_assets.measures.forecast.names import ONE_STEP_ERROR
from monitoring_assets.measures.lines import ALL, lines_of
from monitoring_assets.measures.sequential import LARGEST, Detection, Detector, detect, fit_detector
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: A shift either way, a change of scale, and a slow deviation from the running mean.
WATCHED = ("cusum", "cusum_absolute", "page_hinkley")


#: Share of the threshold from which a detector that has alarmed before is about to do so again.
_BUILDING_UP = 0.5


@dataclass(frozen=True)
class ResidualWatch:
    """Calibrated detectors, and the promise: at most ``false_alarms`` alarms per ``n_chunks`` chunks of ``steps_per_chunk`` steps."""

    detectors: tuple[Detector, ...]
    steps_per_chunk: int
    n_chunks: int
    false_alarms: float

    @property
    def length(self) -> int:
        """Steps of one window."""
        return self.steps_per_chunk * self.n_chunks


@dataclass(frozen=True)
class ResidualState:
    """What one detector says of the newest window of a history.

    ``position`` is the element of the history that alarmed (``None`` without an alarm), ``onset`` the estimated first
    element after the change, ``direction`` ``up``, ``down`` or empty.
    """

    detector: str
    statistic: float
    threshold: float
    position: int | None
    direction: str
    onset: int | None
    n_steps: int
    reason: str


def one_step_errors(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Errors of the shortest horizon: outcome minus forecast, in units of y.

    Args:
        rows: from ``matured``.

    Returns:
        Dates ``ds`` ascending by ``unique_id``; NaN where a series has no such forecast. Of several cutoffs for one date
        (there is none on a regular grid) the newest counts.
    """
    shortest = rows[rows["h"] == rows["h"].min()].sort_values("cutoff", kind="stable")
    newest = shortest.drop_duplicates(["unique_id", "ds"], keep="last")
    return newest.assign(error=newest["y"] - newest["mean"]).pivot(index="ds", columns="unique_id", values="error").sort_index()


def pooled_errors(errors: "pd.DataFrame", spreads: "pd.Series") -> "pd.Series":
    """One stream of many series: the mean over series of standardised errors, by date.

    Args:
        errors: from ``one_step_errors``.
        spreads: standard deviation of each series' errors in the backtest; a series without a positive one is left out.
    """
    usable = spreads[spreads > 0].index.intersection(errors.columns)
    return (errors[usable] / spreads[usable]).mean(axis=1)


def fit_residual_watch(
    residuals: "np.ndarray",
    *,
    steps_per_chunk: int,
    n_chunks: int,
    false_alarms: float,
    seed: int,
    detectors: Sequence[str] = WATCHED,
    resamples: int = 500,
) -> ResidualWatch:
    """Calibrate detectors on the errors of the backtest by a moving-block bootstrap.

    Windows of ``n_chunks`` chunks begin every half window and each is watched by every detector, so each is given
    ``false_alarms / 2 / len(detectors)``: together they alarm at most so often per ``n_chunks`` chunks.

    Args:
        residuals: ``(n,)`` one-step errors of the rolling-origin backtest in time order; the longer, the surer the promise.
        steps_per_chunk: steps of a chunk, at least 1.
        n_chunks: chunks for which the promise is given, at least 2.
        false_alarms: share of windows without a fault that may alarm, in (0, 1).
        seed: of the bootstrap.
        detectors: names in ``sequential.DETECTORS``.
        resamples: sequences drawn.

    Raises:
        ValueError: a number out of range, or an unknown detector.
    """
    if steps_per_chunk < 1 or n_chunks < 2 or not detectors:
        raise ValueError(
            f"got {steps_per_chunk} steps a chunk, {n_chunks} chunks and {len(detectors)} detectors; expected at least 1, 2 and 1"
        )
    length, rate = steps_per_chunk * n_chunks, false_alarms / 2 / len(detectors)
    fitted = tuple(fit_detector(name, residuals, length, rate, seed, resamples) for name in detectors)
    return ResidualWatch(fitted, steps_per_chunk, n_chunks, false_alarms)


def residual_states(watch: ResidualWatch, history: "np.ndarray") -> list[ResidualState]:
    """State of every detector after the last element of ``history``.

    Args:
        watch: from ``fit_residual_watch``.
        history: ``(n,)`` one-step errors since the version serves, one per step in time order; NaN where there is none.

    Returns:
        One per detector. An alarm stays while its window does, at least half a window; then watching starts anew. Only
        the last ``watch.length`` elements matter.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> watch = fit_residual_watch(rng.normal(size=500), steps_per_chunk=1, n_chunks=100, false_alarms=0.05, seed=0, detectors=["cusum"])
    >>> state = residual_states(watch, np.r_[rng.normal(size=60), rng.normal(2.0, 1.0, size=20)])[0]
    >>> state.direction, abs(state.onset - 60) <= 3
    ('up', True)
    """
    starts = _window_starts(watch, len(history))
    return [_state(detector, history, starts) for detector in watch.detectors]


def standing_states(watch: ResidualWatch, history: "np.ndarray", recent: int) -> list[ResidualState]:
    """State of every detector where watching starts anew after an alarm, which stands for ``recent`` elements or while the next one builds up.

    A lasting change alarms again and again; one that has passed, or that the model has followed, is forgotten.

    Args:
        watch: from ``fit_residual_watch``.
        history: as for ``residual_states``.
        recent: newest elements in which an alarm still counts, at least 1.
    """
    return [_standing(replace(watch, detectors=(detector,)), history, recent) for detector in watch.detectors]


def _standing(watch: ResidualWatch, history: "np.ndarray", recent: int) -> ResidualState:
    start, alarmed = 0, None
    while True:
        state = residual_states(watch, history[start:])[0]
        if state.position is None or state.onset is None:
            break
        alarmed = replace(state, position=start + state.position, onset=start + state.onset)
        start += state.position + 1
    if alarmed is None or alarmed.position is None:
        return state
    newest = residual_states(watch, history[max(start, len(history) - 2 * recent) :])[0]
    is_recent = alarmed.position >= len(history) - recent
    return alarmed if is_recent or newest.statistic >= _BUILDING_UP * newest.threshold else state


def _window_starts(watch: ResidualWatch, n_steps: int) -> list[int]:
    """Starts of the windows that hold the newest element: one, or two that overlap."""
    step = -(-watch.n_chunks // 2) * watch.steps_per_chunk
    newest = max(n_steps - 1, 0)
    return [start for start in range(newest // step * step, -1, -step) if newest - start < watch.length]


def _state(detector: Detector, history: "np.ndarray", starts: Sequence[int]) -> ResidualState:
    found = [(start, detect(detector, history[start:])) for start in starts]
    alarmed = [(start, one) for start, one in found if one.index is not None]
    start, worst = min(alarmed, key=lambda own: own[0] + (own[1].index or 0)) if alarmed else max(found, key=_strength)
    position = None if worst.index is None else start + worst.index
    onset = None if position is None else start + _onset(detector, history[start : position + 1], worst.direction)
    return ResidualState(detector.name, worst.statistic, worst.threshold, position, worst.direction, onset, worst.n_elements, worst.reason)


def _strength(found: tuple[int, Detection]) -> float:
    return found[1].statistic if found[1].statistic == found[1].statistic else -1.0


def _onset(detector: Detector, sequence: "np.ndarray", direction: str) -> int:
    """Where the cumulative sum that alarmed last was at its lowest: the first element after it.

    Source: Page (1954); Hinkley (1971), Inference about the change-point from cumulative sum tests.
    """
    import numpy as np

    kept = np.flatnonzero(np.isfinite(sequence))
    values = sequence[kept]
    values = np.abs(values - detector.center) if detector.name == "cusum_absolute" else values
    standardised = np.clip((values - detector.mean) / detector.scale, -LARGEST, LARGEST)
    walk = np.cumsum((1 if direction == "up" else -1) * standardised - ALLOWANCE)
    before = np.r_[0.0, walk[:-1]]
    return int(kept[len(before) - 1 - int(np.argmin(before[::-1]))])


def residual_lines(
    chunk: str, states: "Sequence[ResidualState]", dates: "Sequence[object] | None" = None, segment: str = ALL
) -> "pd.DataFrame":
    """Lines of one chunk, one per detector.

    Args:
        chunk: its key.
        states: from ``residual_states``.
        dates: ``(n,)`` of the history, to name the onset; without it the element is named.
        segment: whose errors these are, ``all`` or say ``unique_id=store_1``.
    """
    return lines_of([
        {
            "chunk": chunk, "kind": str(Kind.RESIDUAL_DRIFT), "method": state.detector, "subject": ONE_STEP_ERROR, "segment": segment,
            "value": state.statistic, "upper_limit": state.threshold, "n_rows": state.n_steps, "breach": state.position is not None,
            "reason": _told(state, dates),
        }
        for state in states
    ])  # fmt: skip


def _told(state: ResidualState, dates: "Sequence[object] | None") -> str:
    if state.position is None or state.onset is None:
        return state.reason
    since, seen = (str(dates[place]) if dates is not None else f"step {place}" for place in (state.onset, state.position))
    return f"{state.direction}: since about {since}, seen at {seen}"
