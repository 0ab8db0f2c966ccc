"""Business KPIs: a declared number per chunk, and whether the reference knows such values.

Belongs here: measuring declared aggregates and their limits from blocks of the reference. Does not: the language of KPIs
(``expression.py``), whether a KPI that moved is the model's fault.

A KPI that grows with the rows, such as a sum, is shown as it is but compared per row: a busy day is no fault of the model, and how many
rows there are is watched elsewhere. Its limits are those of one row times the chunk's rows. A KPI that grows as no power
of the rows, such as a sum less a fixed cost, is only compared where the chunk is as large as some block of the reference.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.calibrated import Calibrated, Judged, block_values, calibrate, line_of, not_judged, usual_rows
from monitoring_assets.measures.lines import lines_of
from monitoring_assets.measures.number import Number
from resources.expression import Expression, parse
from resources.policy import MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import pandas as pd

KPI = "kpi"
#: Exponent under which the null takes KPIs for normal, and where their mean may lie before it, in standard deviations above zero.
_POWER = 0.125
_DISTANCES = (1000.0, 50.0, 25.0, 15.0, 10.0, 7.0, 5.0, 4.0)


@dataclass(frozen=True)
class FittedKpi:
    """What is kept of one KPI: how it grows with the rows (``None``: as no power of them) and its limits, per row to that power."""

    growth: float | None
    calibrated: Calibrated

    def as_plain(self) -> dict[str, Any]:
        """Plain data for storage."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "FittedKpi":
        """What ``as_plain`` gave, also after a way through JSON."""
        return cls(plain["growth"], Calibrated.from_plain(plain["calibrated"]))

    def unit(self, n_rows: int) -> float:
        """What a value of ``n_rows`` is divided by before it is compared."""
        return float(max(n_rows, 1) ** (self.growth or 0.0))


def declared(policy: MonitoredModel) -> dict[str, Expression]:
    """The KPIs of a declaration, parsed."""
    columns = [*policy.features.numeric, *policy.predictions]
    return {name: parse(text, columns=columns, aggregates=True) for name, text in policy.kpi.items()}


def fit_kpis(policy: MonitoredModel, kpis: Mapping[str, Expression], reference: "pd.DataFrame") -> dict[str, FittedKpi]:
    """Learn how far each KPI strays without a fault.

    Args:
        policy: declares the chunk.
        kpis: aggregates by name.
        reference: ``(n_rows, ...)`` in time order with ``time`` and the columns of the KPIs. Rows on which a KPI is not
            known, such as those without an outcome, are left out of its blocks.

    Returns:
        Plain numbers by KPI, from blocks of consecutive rows.
    """
    return {name: _fit_kpi(policy, kpi, reference) for name, kpi in kpis.items()}


def _fit_kpi(policy: MonitoredModel, kpi: Expression, reference: "pd.DataFrame") -> FittedKpi:
    known = reference[reference[list(kpi.columns)].notna().all(axis=1)]
    usual = usual_rows(policy, known["time"])
    own = known[list(kpi.columns)]

    def value(block: slice) -> float:
        found = kpi.aggregate(own.iloc[block])
        return found.value / max(found.n_rows, 1) ** (kpi.growth or 0.0)

    samples = block_values(value, len(own), usual)
    shift, scale = _straight(samples)
    return FittedKpi(kpi.growth, calibrate(samples, n_rows=len(own), usual=usual, power=_POWER, shift=shift, scale=scale))


def _straight(samples: Mapping[int, list[float]]) -> tuple[float, float]:
    """Shift and scale after which the power of the blocks' values is least skewed.

    Far from zero a power is a straight line, near zero it bends: the more, the nearer. Amounts of money have long tails, and limits
    that take them for normal are broken too often. Blocks of all sizes are looked at, each by the mean of its size.
    """
    import numpy as np
    from scipy.stats import skew

    sizes = [np.array([one for one in values if np.isfinite(one)]) for values in samples.values()]
    sizes = [values for values in sizes if len(values) and values.std() > 0]
    if not sizes:
        return 0.0, 1.0
    centre, spread = float(sizes[-1].mean()), float(np.concatenate(sizes).std())
    scored = np.concatenate([(values - values.mean()) / values.std() for values in sizes])
    sign = 1.0 if skew(scored) >= 0 else -1.0
    bent = {distance: abs(float(skew(np.maximum(distance + sign * scored, 0.0) ** _POWER))) for distance in _DISTANCES}
    return centre - sign * min(bent, key=lambda distance: bent[distance]) * spread, sign * spread


def kpi_lines(
    policy: MonitoredModel, kpis: Mapping[str, Expression], fitted: Mapping[str, FittedKpi], rows: "pd.DataFrame"
) -> "pd.DataFrame":
    """Measure every KPI of every chunk in ``rows``; chunk by chunk gives the same numbers.

    Args:
        policy: declares the chunk and ``drift.limit.false_alarms``, which the KPIs share equally (Bonferroni).
        kpis: the aggregates ``fitted`` was learned from.
        fitted: from ``fit_kpis``.
        rows: ``(n_rows, ...)`` in time order with ``time`` and the columns of the KPIs.

    Returns:
        Lines of kind ``business_kpi``, in the KPI's own unit: value, standard error given the number of rows, and two-sided limits
        for the chunk's own number of rows. ``n_rows`` counts the rows that entered; without any the value is NaN and no breach.
    """
    rate = policy.drift.limit.false_alarms / max(len(kpis), 1)
    chunks = rows.groupby(policy.cadence.keys(rows["time"]), sort=True)
    return lines_of([
        {"chunk": chunk, **_line(name, kpi, fitted[name], own, rate, len(kpis))} for chunk, own in chunks for name, kpi in kpis.items()
    ])  # fmt: skip


def _line(name: str, kpi: Expression, fitted: FittedKpi, rows: "pd.DataFrame", rate: float, n_kpis: int) -> dict[str, object]:
    found = kpi.aggregate(rows)
    number = Number(found.value, found.n_rows, standard_error=found.standard_error)
    return line_of(Kind.BUSINESS_KPI, KPI, name, number, _judged(fitted, number, rate), n_kpis)


def _judged(fitted: FittedKpi, number: Number, rate: float) -> Judged:
    """Judge a KPI per row, and give its limits in its own unit."""
    reason = _refusal(fitted, number)
    if reason:
        return not_judged(reason)
    unit = fitted.unit(number.n_rows)
    judged = fitted.calibrated.judged(replace(number, value=number.value / unit), rate)
    return replace(judged, lower_limit=judged.lower_limit * unit, upper_limit=judged.upper_limit * unit)


def _refusal(fitted: FittedKpi, number: Number) -> str:
    sizes = fitted.calibrated.null.sizes
    if number.value != number.value:
        return "got no value; expected rows on which the KPI is known and defined"
    if fitted.growth is None and sizes and number.n_rows > sizes[-1]:
        return f"got {number.n_rows} rows; expected at most {sizes[-1]:.0f}, the largest block: this KPI grows as no power of the rows"
    return ""
