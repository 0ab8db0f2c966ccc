"""Series as forecasters need them: one row per step, no gaps, no doubles; refused with a reason where they are not.

Belongs here: the contract of ``unique_id, ds, y`` and of the future frame. Does not: columns beside ``y`` (``exogenous``).
Statsforecast takes gaps and doubled dates without a word and forecasts from a shifted season. Reads and writes nothing.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pandas as pd

    from training_assets.recipes.forecast.base import ForecastSpec

KEYS = ["unique_id", "ds"]
_SHOWN = 5


class SeriesError(ValueError):
    """Series no forecaster should be fitted on."""


def checked(spec: "ForecastSpec", frame: "pd.DataFrame") -> "pd.DataFrame":
    """The series, cut to ``max_history`` rows each, after every rule of the contract was found kept.

    Args:
        spec: names the columns, the frequency and how many rows are needed.
        frame: ``unique_id`` (text), ``ds`` (naive times, UTC), ``y`` and declared columns; sorted by ``unique_id, ds``.

    Returns:
        ``(n_rows, …)`` with a fresh index; series too short for the backtest are in it where the specification sends them to
        the fallback.

    Raises:
        SeriesError: naming what was found, where, and what to do.
    """
    from training_assets.recipes.forecast.exogenous import check_exogenous

    check_shape(spec, frame)
    check_exogenous(spec, frame)
    kept = frame if spec.max_history is None else frame.groupby("unique_id", sort=False).tail(spec.max_history)
    if spec.on_short == "refuse":
        _check_length(spec, kept)
    return kept.reset_index(drop=True)


def check_shape(spec: "ForecastSpec", frame: "pd.DataFrame") -> None:
    """Columns, types, order, doubles, gaps and numbers; raises ``SeriesError`` at the first rule broken."""
    _check_columns(spec, frame)
    _check_order(frame)
    _check_gaps(spec, frame)
    for column in ["y", *_declared(spec)]:
        _check_numbers(frame, column)
    if spec.transform == "log" and (frame["y"] <= 0).any():
        low = frame[frame["y"] <= 0]
        raise SeriesError(
            f"y: got {len(low)} values that are not positive, {_rows(low)}; expected positive ones for transform: log; use transform: none"
        )


def short_series(spec: "ForecastSpec", frame: "pd.DataFrame") -> dict[str, int]:
    """Series with fewer rows than the backtest needs, and how many they have."""
    counts = frame.groupby("unique_id", sort=False).size()
    return {str(name): int(count) for name, count in counts[counts < spec.needed_rows].items()}


def newest_in_phase(spec: "ForecastSpec", frame: "pd.DataFrame") -> "pd.DataFrame":
    """The newest ``max_history`` rows of each series and up to a season more, so that whole seasons are cut off the start.

    A fitted exponential smoothing begins with the seasonal states of its first row: run on over rows that begin elsewhere in the season, it
    would add Monday's season to Tuesdays.

    Args:
        frame: ``unique_id, ds, y`` and declared columns, sorted; each series begins where the fitted model's history begins, or whole
            seasons later.
    """
    if spec.max_history is None:
        return frame
    series = frame.groupby("unique_id", sort=False)["ds"]
    surplus = (series.transform("size") - spec.max_history).clip(lower=0)
    return frame[series.cumcount() >= surplus // spec.season * spec.season].reset_index(drop=True)


def fill_gaps(frame: "pd.DataFrame", freq: str, how: Literal["interpolate", "carry"], columns: Collection[str] = ("y",)) -> "pd.DataFrame":
    """Put in the missing steps between the first and last row of each series; never called unasked.

    Args:
        frame: ``unique_id, ds`` and ``columns``; doubles are not repaired.
        freq: pandas alias.
        how: ``interpolate`` draws a line, which uses the value after the gap: for history only; ``carry`` repeats the last value.
        columns: what to fill; others are missing in the new rows.

    Returns:
        The frame sorted by ``unique_id, ds``, without gaps.

    Source: ``utilsforecast.preprocessing.fill_gaps``.
    """
    from utilsforecast.preprocessing import fill_gaps as complete

    ordered = frame.sort_values(KEYS, ignore_index=True)
    full = complete(ordered, freq=freq, start="per_serie", end="per_serie").sort_values(KEYS, ignore_index=True)
    for column in columns:
        grouped = full.groupby("unique_id", sort=False)[column]
        full[column] = grouped.ffill() if how == "carry" else grouped.transform(lambda values: values.interpolate(limit_area="inside"))
    return full


def _declared(spec: "ForecastSpec") -> list[str]:
    return [one.name for one in spec.exogenous]


def _check_columns(spec: "ForecastSpec", frame: "pd.DataFrame") -> None:
    import pandas as pd

    wanted = [*KEYS, "y", *_declared(spec), *(one.known_at for one in spec.exogenous if one.known_at)]
    missing, extra = [one for one in wanted if one not in frame], [one for one in frame if one not in wanted]
    if missing:
        raise SeriesError(f"columns: got {list(frame)}; expected also {missing}; rename or add them")
    if extra:
        raise SeriesError(
            f"columns: got undeclared {extra}; expected {wanted}; drop them, or declare each in `exogenous` with when it is known: "
            "a column whose availability nobody stated may be a leak"
        )
    if frame.empty:
        raise SeriesError("series: got no rows; expected at least one series")
    if not pd.api.types.is_datetime64_dtype(frame["ds"]):
        raise SeriesError(f"ds: got {frame['ds'].dtype}; expected times without a zone (UTC); convert with pandas.to_datetime")
    if not frame["unique_id"].map(type).eq(str).all():
        raise SeriesError("unique_id: got values that are not text; expected text; convert with astype(str)")


def _check_order(frame: "pd.DataFrame") -> None:
    doubled = frame[frame.duplicated(KEYS, keep=False)]
    if len(doubled):
        raise SeriesError(
            f"ds: got {len(doubled)} rows with a doubled date, {_rows(doubled)}; expected one row per series and step; aggregate them"
        )
    if not frame[KEYS].reset_index(drop=True).equals(frame[KEYS].sort_values(KEYS, ignore_index=True)):
        raise SeriesError("order: got unsorted rows; expected rows sorted by unique_id and ds; use sort_values(['unique_id', 'ds'])")


def _check_gaps(spec: "ForecastSpec", frame: "pd.DataFrame") -> None:
    import pandas as pd

    step = pd.tseries.frequencies.to_offset(spec.freq)
    if step is None:
        raise SeriesError(f"freq: got {spec.freq!r}; expected a pandas alias as D, h or 30min")
    last = frame["unique_id"].ne(frame["unique_id"].shift(-1))
    due = pd.Series(pd.DatetimeIndex(frame["ds"]) + step, index=frame.index)
    gaps = frame[~last & due.ne(frame["ds"].shift(-1))]
    if len(gaps):
        raise SeriesError(
            f"ds: got {len(gaps)} gaps, after {_rows(gaps)}; expected a row every {spec.freq}; "
            "fill them on purpose with training_assets.recipes.forecast.series.fill_gaps"
        )


def _check_numbers(frame: "pd.DataFrame", column: str) -> None:
    import numpy as np
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(frame[column]):
        raise SeriesError(f"{column}: got {frame[column].dtype}; expected numbers")
    broken = frame[~np.isfinite(frame[column].to_numpy(dtype="float64"))]
    if len(broken):
        raise SeriesError(
            f"{column}: got {len(broken)} NaN or infinite values, {_rows(broken)}; expected finite numbers; fill or drop these series"
        )


def _check_length(spec: "ForecastSpec", frame: "pd.DataFrame") -> None:
    short = short_series(spec, frame)
    if short:
        shown = ", ".join(f"{name} has {count}" for name, count in list(short.items())[:_SHOWN])
        raise SeriesError(
            f"length: got {len(short)} series that are too short, {shown}; expected at least {spec.needed_rows} rows (two main seasons, "
            "the backtest, the lags); drop them, ask for fewer windows, or set on_short: fallback"
        )


def _rows(frame: "pd.DataFrame") -> str:
    shown = ", ".join(f"{row.unique_id} {row.ds}" for row in frame[KEYS].head(_SHOWN).itertuples())
    return f"{shown}{', …' if len(frame) > _SHOWN else ''}"
