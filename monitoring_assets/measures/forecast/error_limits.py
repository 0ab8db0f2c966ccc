"""When is a forecast error too large? Its behaviour in the rolling-origin backtest, by number of dates, and lines with limits.

Belongs here: fitting and applying limits to errors that are means over rows. Does not: the errors (``accuracy.py``).
The reference is the matured backtest of the model that serves; blocks of consecutive dates keep what makes neighbours alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.calibrated import Calibrated, Judged, calibrate
from monitoring_assets.measures.forecast.accuracy import measure_parts, row_terms
from monitoring_assets.measures.forecast.names import REALIZED
from monitoring_assets.measures.limits import block_sizes, block_starts
from monitoring_assets.measures.lines import lines_of
from monitoring_assets.measures.number import Number
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import pandas as pd

#: Numbers that limits can be fitted for, beside ``winkler_<level>``: means over rows, and the root of one.
LIMITED = ("mae", "mase", "mse", "rmse", "bias", "smape", "mape", "pinball", "crps")
#: Numbers that can also be too small; of the others only growth is harm.
TWO_SIDED = ("bias",)


@dataclass(frozen=True)
class ErrorLimits:
    """Limits by ``(segment, metric)``; sizes are numbers of dates, ``usual`` is that of a chunk."""

    numbers: Mapping[tuple[str, str], Calibrated]
    usual: int


def fit_error_limits(
    segments: "Mapping[str, pd.DataFrame]", usual_dates: int, metrics: Sequence[str] = ("mae", "bias"), scales: "pd.DataFrame | None" = None
) -> ErrorLimits:
    """Learn how large errors are without a fault.

    Args:
        segments: of the matured backtest, from ``segments_of``.
        usual_dates: dates of a chunk, at least 1.
        metrics: those of ``LIMITED``, and ``winkler_<level>``.
        scales: from ``scales_of``, for ``mase``.
    """
    found = {}
    for segment, rows in segments.items():
        for metric in metrics:
            totals = _by_date(rows, metric, scales)
            sizes = block_sizes(len(totals), usual_dates) if usual_dates > 1 else [1]
            samples = {size: _block_values(metric, totals, size, is_usual=size == usual_dates) for size in sizes}
            found[segment, metric] = _calibrated(metric, samples, len(totals), usual_dates)
    return ErrorLimits(found, usual_dates)


def _by_date(rows: "pd.DataFrame", metric: str, scales: "pd.DataFrame | None") -> "pd.DataFrame":
    """Sum and number of row terms of each date, in time order."""
    import numpy as np
    import pandas as pd

    terms = row_terms("mse" if metric == "rmse" else metric, rows)
    if metric == "mase" and scales is not None:
        terms = terms / rows["unique_id"].map(scales["mase"]).to_numpy(dtype="float64")
    is_finite = np.isfinite(terms)
    frame = pd.DataFrame({"ds": rows["ds"].to_numpy()[is_finite], "term": terms[is_finite]})
    return frame.groupby("ds", sort=True)["term"].agg(["sum", "size"])


def _block_values(metric: str, totals: "pd.DataFrame", size: int, *, is_usual: bool) -> list[float]:
    import numpy as np

    starts = block_starts(len(totals), size, is_usual=is_usual)
    sums = [np.r_[0.0, np.cumsum(totals[name].to_numpy(dtype="float64"))] for name in ("sum", "size")]
    term, count = (own[starts + size] - own[starts] for own in sums)
    values = np.sqrt(term / count) if metric == "rmse" else term / count
    return list(map(float, values))


def _calibrated(metric: str, samples: dict[int, list[float]], n_dates: int, usual: int) -> Calibrated:
    """Errors are positive, and their root is near normal; a bias is moved to where it is positive."""
    import numpy as np

    if metric not in TWO_SIDED:
        return calibrate(samples, n_rows=n_dates, usual=usual, power=0.5, is_two_sided=False)
    values = np.array([value for own in samples.values() for value in own])
    reach = 1000 * max(float(np.ptp(values)), 1e-12) if len(values) else 1.0
    return calibrate(samples, n_rows=n_dates, usual=usual, shift=(float(values.mean()) if len(values) else 0.0) - reach)


def error_lines(
    chunk: str, segments: "Mapping[str, pd.DataFrame]", limits: ErrorLimits, false_alarms: float, scales: "pd.DataFrame | None" = None
) -> "pd.DataFrame":
    """Lines of one chunk with limits: these decide.

    Args:
        chunk: its key.
        segments: of the chunk, from ``segments_of``; a segment without fitted limits has no line.
        limits: from ``fit_error_limits``.
        false_alarms: share of chunks without a fault of which any line may breach, in (0, 1); it is shared out.
        scales: those the limits were fitted with.
    """
    lines: list[dict[str, object]] = []
    rate = false_alarms / max(1, len(limits.numbers))
    known = [(segment, metric) for segment, metric in limits.numbers if segment in segments]
    judged_parts = {segment: segments[segment] for segment, _ in known}
    measured = measure_parts(judged_parts, scales, list(dict.fromkeys(metric for _, metric in known)))
    for segment, metric in known:
        number, calibrated = measured[segment][metric], limits.numbers[segment, metric]
        n_dates = segments[segment]["ds"].nunique()
        judged = calibrated.judged(Number(number.value, n_dates, reason=number.reason), rate)
        lines.append({"chunk": chunk, "segment": segment, **_line(metric, number, judged, len(limits.numbers))})
    return lines_of(lines)


def _line(metric: str, number: Number, judged: Judged, n_numbers: int) -> dict[str, object]:
    corrected = min(1.0, judged.p_value * n_numbers) if judged.p_value == judged.p_value else judged.p_value
    return {
        "kind": str(Kind.FORECAST_ERROR), "method": REALIZED, "subject": metric, "value": number.value,
        "standard_error": number.standard_error, "n_rows": number.n_rows, **asdict(judged), "adjusted_p_value": corrected,
    }  # fmt: skip
