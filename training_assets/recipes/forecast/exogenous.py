"""Columns beside ``y``: when each is known, what the models may see of it, and leaks that are refused.

Belongs here: availability of exogenous columns at every cutoff and in the future frame. Does not: the shape of series
(``series``). Reads and writes nothing.
"""

from typing import TYPE_CHECKING, Any

from training_assets.recipes.forecast.series import KEYS, SeriesError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from training_assets.recipes.forecast.base import Exogenous, ForecastSpec

#: Changes of a real driver and of y never run in step to one part in a thousand; those of a copy do.
_COPY = 0.999
_FEWEST_CHANGES = 20


def check_exogenous(spec: "ForecastSpec", frame: "pd.DataFrame") -> None:
    """Refuse columns that know what nobody knew.

    Two rules for a column declared as known in advance: it must not be a copy of ``y`` at the same or a later step, and where it
    has a ``known_at`` column, no cutoff of the backtest may use a value before it was known.

    Raises:
        SeriesError: naming the column, the evidence and what to do.
    """
    for one in spec.exogenous:
        if one.lag is None:
            _check_copy(spec, frame, one.name)
        if one.known_at is not None:
            _check_known(spec, frame, one)


def inputs(spec: "ForecastSpec", frame: "pd.DataFrame") -> "pd.DataFrame":
    """``unique_id, ds, y`` and what the models may see: ``y`` transformed, columns known in advance, and measured ones at their lag.

    Rows whose lagged values lie before the history are left out.
    """
    own = frame[[*KEYS, "y"]].copy()
    own["y"] = transformed(spec, own["y"])
    for one in spec.exogenous:
        values = frame[one.name].astype("float64")
        own[one.used] = values if one.lag is None else values.groupby(frame["unique_id"], sort=False).shift(one.lag)
    return own.dropna().reset_index(drop=True)


def transformed(spec: "ForecastSpec", values: "pd.Series") -> "pd.Series":
    """``y`` on the scale of the models."""
    import numpy as np

    return np.log(values) if spec.transform == "log" else values


def restored(spec: "ForecastSpec", values: Any) -> Any:
    """Numbers of models in units of ``y``; undoes ``transformed``."""
    import numpy as np

    return np.exp(values) if spec.transform == "log" else values


def future_inputs(spec: "ForecastSpec", history: "pd.DataFrame", h: int, future: "pd.DataFrame | None") -> "pd.DataFrame":
    """``unique_id, ds, cutoff, step`` and what the models may see, for ``embargo + h`` steps after each series' last row.

    Args:
        spec: declares the columns.
        history: as given to ``checked``.
        h: steps after the embargo.
        future: ``unique_id, ds`` and all columns known in advance; other rows than those asked for are left aside.

    Raises:
        SeriesError: where a column, a row or a number is missing, or where ``y`` is in the frame.
    """
    import pandas as pd

    steps = _steps(spec, history, spec.embargo + h)
    told = [one for one in spec.exogenous if one.lag is None]
    if told:
        steps = steps.merge(_checked_future(told, steps, future), on=KEYS, how="left")
    for one in spec.exogenous:
        if one.lag is not None:
            tails = history.groupby("unique_id", sort=False)[one.name].apply(lambda values, own=one: _lagged(values, own, spec.embargo + h))
            steps[one.used] = pd.Series(tails.explode().to_numpy(dtype="float64"), index=steps.index)
    return steps


def _lagged(values: "pd.Series", one: "Exogenous", count: int) -> "list[float]":
    start = len(values) - (one.lag or 0)
    return values.iloc[start : start + count].tolist()


def _steps(spec: "ForecastSpec", history: "pd.DataFrame", count: int) -> "pd.DataFrame":
    import numpy as np
    import pandas as pd

    last = history.groupby("unique_id", sort=False)["ds"].last()
    offset = pd.tseries.frequencies.to_offset(spec.freq)
    times = [pd.date_range(cutoff, periods=count + 1, freq=offset)[1:] for cutoff in last]
    return pd.DataFrame(
        {
            "unique_id": np.repeat(last.index.to_numpy(), count),
            "ds": np.concatenate([one.to_numpy() for one in times]),
            "cutoff": np.repeat(last.to_numpy(), count),
            "step": np.tile(np.arange(1, count + 1), len(last)),
        }
    )


def _checked_future(told: "list[Exogenous]", steps: "pd.DataFrame", future: "pd.DataFrame | None") -> "pd.DataFrame":
    import numpy as np

    names = [one.name for one in told]
    if future is None:
        raise SeriesError(f"future: got none; expected unique_id, ds and {names}, which are declared as known in advance")
    if "y" in future:
        raise SeriesError("future: got a column y; expected a frame without outcomes; drop it")
    missing = [one for one in [*KEYS, *names] if one not in future]
    if missing:
        raise SeriesError(
            f"future: got {list(future)}; expected also {missing}; a column that is not known for the future cannot be declared as known in "
            "advance: give it a lag"
        )
    if future.duplicated(KEYS).any():
        raise SeriesError("future: got doubled dates; expected one row per series and step")
    met = steps[KEYS].merge(future[[*KEYS, *names]], on=KEYS, how="left")
    lacking = met[~np.isfinite(met[names].to_numpy(dtype="float64")).all(axis=1)]
    if len(lacking):
        first = lacking.iloc[0]
        raise SeriesError(
            f"future: got no finite {names} for {len(lacking)} steps, first {first['unique_id']} {first['ds']}; expected all of them"
        )
    return met


def _check_copy(spec: "ForecastSpec", frame: "pd.DataFrame", name: str) -> None:
    for key, own in frame.groupby("unique_id", sort=False):
        y, x = own["y"].to_numpy(dtype="float64"), own[name].to_numpy(dtype="float64")
        for lead in range(min(spec.reach, len(y) // 4) + 1):
            likeness = _likeness(x[: len(x) - lead], y[lead:], spec.season)
            if likeness >= _COPY:
                raise SeriesError(
                    f"exogenous {name!r}: got a copy of y {lead} steps ahead (correlation {likeness:.4f} of the changes, series {key}) declared "
                    f"as known in advance; expected something known before the outcome; drop it, or declare a lag of at least {spec.reach}"
                )


def _likeness(x: "np.ndarray", y: "np.ndarray", season: int) -> float:
    """Absolute correlation of changes from season to season, whose likeness a shared season cannot explain; 0 where there is none."""
    import numpy as np

    if len(y) < season + _FEWEST_CHANGES:
        return 0.0
    dx, dy = x[season:] - x[:-season], y[season:] - y[:-season]
    # a feature that seldom changes says too little to be called a copy
    if np.count_nonzero(dx) < _FEWEST_CHANGES or dx.std() == 0 or dy.std() == 0:
        return 0.0
    return float(abs(np.corrcoef(dx, dy)[0, 1]))


def _check_known(spec: "ForecastSpec", frame: "pd.DataFrame", one: "Exogenous") -> None:
    """At each cutoff, every value the window uses must have been known: those of the horizon, or those one lag before it."""
    import pandas as pd

    rows = frame[["unique_id", "ds"]].copy()
    known, last = pd.to_datetime(frame[one.known_at]), frame.groupby("unique_id", sort=False).cumcount(ascending=False)
    for window in range(spec.backtest.windows):
        end = (spec.backtest.windows - 1 - window) * spec.step
        cutoff_at = end + spec.reach
        cutoffs = rows[last == cutoff_at].set_index("unique_id")["ds"]
        is_used = (last >= end + (one.lag or 0)) & (last < cutoff_at + (one.lag or 0))
        late = is_used & ~(known <= rows["unique_id"].map(cutoffs))
        if late.any():
            first = rows[late].iloc[0]
            raise SeriesError(
                f"exogenous {one.name!r}: got {int(late.sum())} values the cutoff {cutoffs[first['unique_id']]} of the backtest would use before "
                f"{one.known_at} says they were known, first {first['unique_id']} {first['ds']}; expected values known at the cutoff; "
                f"declare a lag of at least {spec.reach} plus their delay, or drop the column"
            )
