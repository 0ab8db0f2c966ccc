"""How wrong were the forecasts: per horizon, bucket of horizons, cohort and over all, beside the seasonal naive forecast.

Belongs here: point and quantile errors with their standard errors, as lines. Does not: limits (``error_limits.py``), whether coverage
is right (``coverage.py``). Values come from ``utilsforecast.losses``; errors are forecast minus outcome, so a positive bias is a forecast too high.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.forecast.matured import levels_of
from monitoring_assets.measures.forecast.names import BASELINE, REALIZED
from monitoring_assets.measures.forecast.standard_error import standard_error
from monitoring_assets.measures.lines import REFERENCE, lines_of
from monitoring_assets.measures.number import Number, refused
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: What each number means: unit and range, and what a missing value does. Levels follow as ``winkler_80`` and ``coverage_80``.
METRICS: Mapping[str, str] = {
    "mae": "mean absolute error, unit of y, at least 0",
    "rmse": "root of the mean squared error, unit of y, at least 0",
    "mse": "mean squared error, squared unit of y, at least 0",
    "bias": "mean of forecast minus outcome, unit of y; above 0 the forecasts are too high",
    "smape": "mean of |error| over |forecast| + |outcome|, in [0, 1]; a row with both 0 counts 0",
    "wape": "sum of |error| over sum of |outcome|, at least 0; NaN where all outcomes are 0",
    "mape": "mean of |error| over |outcome|, a share; rows with outcome 0 are left out",
    "tracking_signal": "sum of errors over mean absolute error, in [-n, n]; above 0 the forecasts are too high",
    "mase": "mean of |error| over its series' scale; below 1 is better than the seasonal naive forecast was in training",
    "rmsse": "root of the mean of (error over its series' scale) squared",
    "skill": "1 - MAE over the baseline's MAE on the same rows, at most 1; 0 is no better than the baseline",
    "skill_rmse": "1 - RMSE over the baseline's RMSE on the same rows, at most 1",
    "pinball": "mean quantile loss over the quantiles that the levels and the middle give, unit of y, at least 0",
    "crps": "twice the pinball loss: the continuous ranked probability score, closer the more levels there are",
}
_SKILLS = ("skill", "skill_rmse")
#: Column that says which part a row belongs to.
_PART = "part of the rows"


def scales_of(training: "pd.DataFrame", season_length: int) -> "pd.DataFrame":
    """Scale of each series: the in-sample error of its seasonal naive forecast.

    Args:
        training: ``(n_rows, ...)`` with ``unique_id, ds, y``; without date gaps.
        season_length: rows of one season.

    Returns:
        Index ``unique_id``; ``mase`` is the mean of ``|y_t - y_(t-s)|``, ``rmsse`` the root of its mean square. NaN for a
        series no longer than a season.

    Source: Hyndman & Koehler (2006); the M5 competition for RMSSE.
    """
    import numpy as np
    import pandas as pd

    ordered = training.sort_values(["unique_id", "ds"], kind="stable")
    steps = ordered.groupby("unique_id", sort=True)["y"].diff(season_length)
    grouped = (
        pd.DataFrame({"unique_id": ordered["unique_id"], "mase": steps.abs(), "rmsse": steps**2}).groupby("unique_id", sort=True).mean()
    )
    return grouped.assign(rmsse=np.sqrt(grouped["rmsse"]))


def metrics_of(rows: "pd.DataFrame", scales: "pd.DataFrame | None") -> list[str]:
    """Every number that can be had from these columns."""
    levels = levels_of(rows)
    lacking = {
        *(() if scales is not None else ("mase", "rmsse")),
        *(() if "baseline" in rows else _SKILLS),
        *(() if levels else ("pinball", "crps")),
    }
    return [
        *(name for name in METRICS if name not in lacking),
        *(f"{what}_{level}" for what in ("winkler", "coverage") for level in levels),
    ]


def measure_parts(
    parts: "Mapping[str, pd.DataFrame]", scales: "pd.DataFrame | None" = None, metrics: Sequence[str] | None = None
) -> dict[str, dict[str, Number]]:
    """Measure several sets of rows at once; asking the library once for all of them is what makes many parts cheap.

    Args:
        parts: name to rows from ``matured`` (or a segment of it), all with the same columns.
        scales: from ``scales_of``; a row whose series has no positive scale is left out of ``mase`` and ``rmsse``.
        metrics: names from ``metrics_of``; all of them without it.

    Returns:
        By part, then by metric; ``standard_error`` allows for dependence between series and dates. ``n_rows`` are the rows that entered.

    Raises:
        KeyError: a metric these columns cannot give.
    """
    import pandas as pd

    if not parts:
        return {}
    every = pd.concat([rows.assign(**{_PART: name}) for name, rows in parts.items()], ignore_index=True)
    known = metrics_of(every, scales)
    wanted = known if metrics is None else list(metrics)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise KeyError(f"got {', '.join(unknown)}; expected some of {', '.join(known)}: baseline, scales and levels each allow more")
    by_metric = {name: _numbers(name, every, scales) for name in wanted}
    nothing = {part: f"got {len(rows)} rows, none of which can enter" for part, rows in parts.items()}
    return {
        part: {name: found[part] if part in found else refused(f"{nothing[part]} {name}; expected some", 0) for name, found in by_metric.items()}
        for part in parts
    }  # fmt: skip


def _numbers(name: str, every: "pd.DataFrame", scales: "pd.DataFrame | None") -> dict[str, Number]:
    """One metric of each part that has rows to enter it."""
    own = _that_enter(name, every, scales)
    if own.empty:
        return {}
    values = _values(name, own)
    return {str(part): _number(name, rows, float(values[part])) for part, rows in own.groupby(_PART, sort=False)}


def _number(name: str, own: "pd.DataFrame", value: float) -> Number:
    if not math.isfinite(value):
        return refused(f"got a {name} that is no number, from outcomes or a baseline error of 0; expected some above 0", len(own))
    return Number(value, len(own), standard_error=standard_error(own, _influence(name, own, value)))


def _that_enter(name: str, rows: "pd.DataFrame", scales: "pd.DataFrame | None") -> "pd.DataFrame":
    """Rows that enter a number; for scaled ones in units of their series' scale."""
    import numpy as np

    if name in ("mase", "rmsse") and scales is not None:
        scale = rows["unique_id"].map(scales[name]).to_numpy(dtype="float64")
        usable = np.isfinite(scale) & (scale > 0)
        return rows[usable].assign(**{column: rows.loc[usable, column] / scale[usable] for column in ("y", "mean")})
    if name == "mape":
        return rows[rows["y"] != 0]
    if name in _SKILLS:
        return rows[np.isfinite(rows["baseline"].astype("float64"))]
    needed = [column for level in _levels_in(name, rows) for column in (f"lo-{level}", f"hi-{level}")]
    return rows[np.isfinite(rows[needed].astype("float64")).all(axis=1)] if needed else rows


def _levels_in(name: str, rows: "pd.DataFrame") -> list[str]:
    what, _, level = name.partition("_")
    if what in ("winkler", "coverage"):
        return [level]
    return levels_of(rows) if name in ("pinball", "crps") else []


def _library(loss: str, rows: "pd.DataFrame", models: Any, **settings: Any) -> "pd.Series":
    """A loss of utilsforecast over all rows of each part together, by part."""
    from utilsforecast import losses

    frame = rows.drop(columns=["unique_id", "cutoff"]).rename(columns={_PART: "unique_id"})
    return getattr(losses, loss)(frame, models=models, **settings).set_index("unique_id").iloc[:, -1].astype("float64")


def _values(name: str, rows: "pd.DataFrame") -> "pd.Series":
    import numpy as np

    plain = {"mase": "mae", "rmsse": "rmse"}.get(name, name)
    if plain in ("mae", "mse", "rmse", "bias", "smape", "wape", "mape"):
        with np.errstate(invalid="ignore", divide="ignore"):
            return _library(plain, rows, ["mean"])
    if name == "tracking_signal":
        return _ratio(_library("cfe", rows, ["mean"]), _library("mae", rows, ["mean"]))
    if name in _SKILLS:
        loss = "mae" if name == "skill" else "rmse"
        return 1 - _ratio(_library(loss, rows, ["mean"]), _library(loss, rows, ["baseline"]))
    if name in ("pinball", "crps"):
        columns = _quantiles(rows)
        mean_loss = _library("mqloss", rows, {"mean": list(columns.values())}, quantiles=np.array(list(columns)))
        return mean_loss * (2 if name == "crps" else 1)
    what, _, level = name.partition("_")
    bounds = rows.rename(columns={f"{side}-{level}": f"mean-{side}-{level}" for side in ("lo", "hi")})
    return _library({"winkler": "winkler_score", "coverage": "coverage"}[what], bounds, ["mean"], level=_plain(level))


def _ratio(above: "pd.Series", below: "pd.Series") -> "pd.Series":
    """NaN where there is nothing to divide by."""
    return above / below.where(below > 0)


def _plain(level: str) -> float | int:
    return float(level) if "." in level else int(level)


def _quantiles(rows: "pd.DataFrame") -> dict[float, str]:
    """Column of each quantile; the point forecast is taken for the median."""
    found = {0.5: "mean"}
    for level in levels_of(rows):
        tail = (1 - float(level) / 100) / 2
        found |= {tail: f"lo-{level}", 1 - tail: f"hi-{level}"}
    return dict(sorted(found.items()))


def _influence(name: str, rows: "pd.DataFrame", value: float) -> "np.ndarray":
    """Influence of each row ``(n_rows,)`` on the number: the first-order change of it (delta method)."""
    import numpy as np

    error = (rows["mean"] - rows["y"]).to_numpy(dtype="float64")
    size, n = np.abs(error), len(error)
    if name in ("rmse", "rmsse"):
        return (error**2 - value**2) / (2 * max(value, 1e-300) * n)
    if name == "wape":
        outcome = rows["y"].abs().to_numpy(dtype="float64")
        return (size - value * outcome) / outcome.sum()
    if name == "tracking_signal":
        return (error - error.mean() - value / n * (size - size.mean())) / size.mean()
    if name in _SKILLS:
        naive = np.abs((rows["baseline"] - rows["y"]).to_numpy(dtype="float64"))
        if name == "skill":
            return -(size - (1 - value) * naive) / naive.sum()
        return -(error**2 - (1 - value) ** 2 * naive**2) / (2 * max(1 - value, 1e-300) * (naive**2).sum())
    terms = row_terms(name, rows)
    return (terms - terms.mean()) / n


def row_terms(name: str, rows: "pd.DataFrame") -> "np.ndarray":
    """What each row ``(n_rows,)`` adds to a number that is a plain mean; for ``mase``, rows are in units of their scale.

    Raises:
        KeyError: the number is no plain mean.
    """
    import numpy as np

    y, mean = (rows[column].to_numpy(dtype="float64") for column in ("y", "mean"))
    size = np.abs(mean - y)
    what, _, level = name.partition("_")
    if what in ("winkler", "coverage"):
        low, high = (rows[f"{side}-{level}"].to_numpy(dtype="float64") for side in ("lo", "hi"))
        if what == "coverage":
            return ((low <= y) & (y <= high)).astype("float64")
        return high - low + 2 / (1 - float(level) / 100) * (np.maximum(low - y, 0) + np.maximum(y - high, 0))
    if name in ("pinball", "crps"):
        columns = _quantiles(rows)
        losses = [np.maximum(q * (y - rows[column]), (q - 1) * (y - rows[column])) for q, column in columns.items()]
        return np.asarray(np.mean(losses, axis=0) * (2 if name == "crps" else 1))
    total = np.abs(mean) + np.abs(y)
    plain: dict[str, Callable[[], np.ndarray]] = {
        "mae": lambda: size,
        "mase": lambda: size,
        "mse": lambda: size**2,
        "bias": lambda: mean - y,
        "mape": lambda: size / np.abs(y),
        "smape": lambda: np.divide(size, total, out=np.zeros_like(size), where=total > 0),
    }
    return plain[name]()


def accuracy_lines(
    chunk: str, segments: "Mapping[str, pd.DataFrame]", scales: "pd.DataFrame | None" = None, metrics: Sequence[str] | None = None
) -> "pd.DataFrame":
    """Lines of one chunk without limits: shown, never a breach.

    Args:
        chunk: its key.
        segments: from ``segments_of``.
        scales: from ``scales_of``.
        metrics: names from ``metrics_of``; all of them without it.
    """
    lines: list[dict[str, object]] = []
    for segment, numbers in measure_parts(segments, scales, metrics).items():
        for name, number in numbers.items():
            compared = BASELINE if name in _SKILLS else REFERENCE
            lines.append({
                "chunk": chunk, "kind": str(Kind.FORECAST_ERROR), "method": REALIZED, "subject": name, "segment": segment,
                "compared_with": compared, "value": number.value, "standard_error": number.standard_error, "n_rows": number.n_rows,
                "is_deciding": False, "reason": number.reason,
            })  # fmt: skip
    return lines_of(lines)
