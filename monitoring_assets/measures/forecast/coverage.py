"""Do prediction intervals hold as many outcomes as they state?

Belongs here: coverage against its binomial band. Does not: widths and scores (``accuracy.py``).
Forecasts of one date for several horizons share an outcome, and neighbours are alike, so rows tell less than as many
independent ones: the band is that of the effective number of rows, learned from the backtest.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.forecast.accuracy import measure_parts, row_terms
from monitoring_assets.measures.forecast.matured import levels_of
from monitoring_assets.measures.forecast.names import NOMINAL, REALIZED
from monitoring_assets.measures.forecast.standard_error import design_effect
from monitoring_assets.measures.lines import REFERENCE, lines_of
from monitoring_assets.measures.number import NAN, Number
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ReferenceCoverage:
    """Coverage of one level in the backtest: its share, effective number of rows, and rows per effective one."""

    share: float
    n_effective: float
    design_effect: float


@dataclass(frozen=True)
class Band:
    """Shares that so many independent rows show with the stated chance, and the p-value of what was seen."""

    lower: float
    upper: float
    p_value: float


def fit_coverage(reference: "pd.DataFrame") -> dict[str, ReferenceCoverage]:
    """Coverage and design effect of every level in the matured backtest ``(n_rows, ...)``."""
    import numpy as np

    found = {}
    for level in levels_of(reference):
        hits = row_terms(f"coverage_{level}", reference)
        effect = design_effect(reference, hits)
        found[level] = ReferenceCoverage(float(np.mean(hits)) if len(hits) else NAN, len(hits) / effect, effect)
    return found


def nominal_band(share: float, n_effective: float, level: float, false_alarms: float) -> Band:
    """Band of the coverage of an interval that holds what it states: exact binomial, two-sided.

    Args:
        share: coverage seen, in [0, 1].
        n_effective: effective number of rows, at least 1; rounded down.
        level: coverage stated, in (0, 1).
        false_alarms: chance of a share outside, at most.

    Source: Christoffersen (1998), unconditional coverage; the exact binomial test of scipy's ``binom``.

    >>> nominal_band(0.5, 40, 0.8, 0.01).p_value < 0.01
    True
    """
    from scipy.stats import binom

    return _band(binom(int(n_effective), level), share, int(n_effective), false_alarms)


def reference_band(share: float, n_effective: float, reference: ReferenceCoverage, false_alarms: float) -> Band:
    """Band of the coverage of an interval that holds as many as in the backtest, which itself is known from so many rows only.

    Args:
        share: coverage seen, in [0, 1].
        n_effective: effective number of rows, at least 1; rounded down.
        reference: of the same level.
        false_alarms: chance of a share outside, at most.

    Source: beta-binomial predictive distribution with Jeffreys' prior; Brown, Cai & DasGupta (2001).
    """
    from scipy.stats import betabinom

    hits = reference.share * reference.n_effective
    known = betabinom(int(n_effective), hits + 0.5, reference.n_effective - hits + 0.5)
    return _band(known, share, int(n_effective), false_alarms)


def _band(distribution: Any, share: float, n: int, false_alarms: float) -> Band:
    seen = round(share * n)
    lower, upper = (float(side(false_alarms / 2)) / n for side in (distribution.ppf, distribution.isf))
    below, above = float(distribution.cdf(seen)), float(distribution.sf(seen - 1))
    return Band(lower, upper, min(1.0, 2 * min(below, above)))


def coverage_lines(
    chunk: str, segments: "Mapping[str, pd.DataFrame]", reference: Mapping[str, ReferenceCoverage], false_alarms: float
) -> "pd.DataFrame":
    """Lines of one chunk: every level against what it states and against the backtest; the latter decides.

    An interval that never held what it states is a fault of the model from its first day, seen in the nominal line;
    decay is that it holds less (or more) than it did.

    Args:
        chunk: its key.
        segments: of the chunk, from ``segments_of``.
        reference: from ``fit_coverage``; a level it lacks has no line.
        false_alarms: share of chunks without a fault of which any deciding line may breach, in (0, 1); it is shared out.
    """
    lines = []
    levels = [level for level in levels_of(next(iter(segments.values()))) if level in reference] if segments else []
    rate = false_alarms / max(1, len(levels) * len(segments))
    for segment, numbers in measure_parts(segments, None, [f"coverage_{level}" for level in levels]).items():
        for level in levels:
            for compared in (NOMINAL, REFERENCE):
                line = _line(numbers[f"coverage_{level}"], level, reference[level], compared, rate)
                lines.append({"chunk": chunk, "segment": segment, "compared_with": compared, **line})
    return lines_of(lines)


def _line(number: Number, level: str, reference: ReferenceCoverage, compared: str, rate: float) -> dict[str, object]:
    n_effective = number.n_rows / reference.design_effect
    line = {
        "kind": str(Kind.INTERVAL_COVERAGE), "method": REALIZED, "subject": f"coverage_{level}", "value": number.value, "n_rows": number.n_rows,
        "standard_error": number.standard_error, "is_deciding": compared == REFERENCE,
    }  # fmt: skip
    if number.reason or n_effective < 1:
        short = f"got {number.n_rows} rows, worth {n_effective:.2g} independent ones; expected at least one"
        return {**line, "reason": number.reason or short}
    if compared == NOMINAL:
        band = nominal_band(number.value, n_effective, float(level) / 100, rate)
    else:
        band = reference_band(number.value, n_effective, reference, rate)
    told = f"{number.n_rows} rows are worth {n_effective:.1f} independent ones"
    return {
        **line,
        "lower_limit": band.lower,
        "upper_limit": band.upper,
        "p_value": band.p_value,
        "breach": band.p_value < rate,
        "reason": told,
    }
