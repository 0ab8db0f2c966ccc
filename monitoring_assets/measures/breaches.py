"""From measured numbers to lines of the ``measurements`` table: limits, corrected p-values, breaches.

Belongs here: applying the declared limit to all numbers of one chunk at once. Does not: measuring, storing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from monitoring_assets.measures.distances import ks_limiting_p_value
from monitoring_assets.measures.limits import FEWEST_BLOCKS, adjusted
from monitoring_assets.measures.lines import ALL, COLUMNS, REFERENCE, typed
from monitoring_assets.measures.number import NAN
from monitoring_assets.measures.registry import MULTIVARIATE
from monitoring_assets.measures.univariate import Measured, matched_name
from resources.policy import DriftLimit, MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import pandas as pd

    from monitoring_assets.measures.univariate import FittedColumn

#: Subject of numbers on all features together.
ALL_FEATURES = "all features"
OUTLIER_SHARE = "outlier_share"


def drift_lines(
    policy: MonitoredModel, chunk: str, measured: Sequence[Measured], outliers: Mapping[str, float], n_rows: int
) -> "pd.DataFrame":
    """Lines of one chunk.

    Args:
        policy: declares the limit, the correction and the smallest effect that counts.
        chunk: its key.
        measured: every number of the chunk, univariate and multivariate.
        outliers: share of outliers by feature; shown, never a breach.
        n_rows: rows of the chunk.

    Returns:
        ``COLUMNS``; a NaN value carries its reason and never breaches. ``p_value`` is the method's own where it has one (scipy's, taking rows
        for independent), else that of the calibrated null; ``adjusted_p_value`` is the one that decides, after the null and the correction. The stated rate holds for the whole chunk: it is shared out over the
        numbers that decide, half of it to segments where some are declared.
    """
    import pandas as pd

    lines: list[dict[str, object]] = []
    deciding = matched_name(policy) if policy.drift.season else REFERENCE
    for is_whole in (True, False):
        for decides in (True, False):
            family = [one for one in measured if (one.segment == ALL) is is_whole and (one.compared_with == deciding) is decides]
            share = 0.5 if policy.segments else 1.0
            for one, line in zip(family, _judged(policy, family, share), strict=True):
                kind = Kind.MULTIVARIATE_DRIFT if _is_joint(one) else Kind.UNIVARIATE_DRIFT
                lines.append({"chunk": chunk, "kind": str(kind), "is_deciding": decides, **_named(one), **line})
    for name, outlier_share in outliers.items():
        blank = dict.fromkeys(("standard_error", "effect", "p_value", "adjusted_p_value", "lower_limit", "upper_limit"), NAN)
        lines.append({
            "chunk": chunk, "kind": str(Kind.DATA_QUALITY), "method": OUTLIER_SHARE, "subject": name, "segment": ALL, "compared_with": REFERENCE,
            "value": outlier_share, "n_rows": n_rows, "breach": False, "is_deciding": False, "reason": _told(policy, outlier_share), **blank,
        })  # fmt: skip
    return typed(pd.DataFrame(lines, columns=COLUMNS))


def _told(policy: MonitoredModel, share: float) -> str:
    if share != share or share == 0:
        return ""
    if share <= policy.drift.outliers:
        return f"{share:.2%} of the rows lie far outside the reference; set aside as outliers"
    return f"{share:.2%} of the rows lie far outside the reference; more than {policy.drift.outliers:.2%}, so they count as drift"


def _is_joint(one: Measured) -> bool:
    return one.method in MULTIVARIATE and one.subject == ALL_FEATURES


def _named(one: Measured) -> dict[str, object]:
    return {
        "method": one.method,
        "subject": one.subject,
        "segment": one.segment,
        "compared_with": one.compared_with,
        "n_rows": one.number.n_rows,
    }


def _judged(policy: MonitoredModel, family: Sequence[Measured], share: float) -> list[dict[str, object]]:
    """Value, limits, p-values and breach of each number of a family that is corrected together."""
    limit = policy.drift.limit
    if limit.rule in ("calibrated", "p_value"):
        return _by_p_value(policy, family, limit, share)
    lines = []
    for one in family:
        lower, upper = _fixed_limits(limit, one)
        breach = one.number.value > upper or one.number.value < lower
        lines.append(_line(policy, one, NAN, NAN, (lower, upper), breach))
    return lines


def _by_p_value(policy: MonitoredModel, family: Sequence[Measured], limit: DriftLimit, share: float) -> list[dict[str, object]]:
    rate = share * (limit.false_alarms if limit.rule == "calibrated" else limit.alpha)
    p_values = [_p_value(limit, one) for one in family]
    corrected = adjusted_list(p_values, limit.correction)
    known = sum(p == p for p in p_values)
    own_rate = rate if limit.correction == "none" else rate / max(1, known)
    lines = []
    for one, p_value, after in zip(family, p_values, corrected, strict=True):
        blocks = len(one.null.values) if one.null is not None else 0
        if limit.rule == "p_value" and limit.autocorrelation == "block_permutation" and own_rate * (blocks + 1) <= 1:
            told = f"got {blocks} reference blocks for {known} numbers; expected more: no p-value can fall below {1 / (blocks + 1):.2g}, so no limit can be set"
            lines.append(_line(policy, replace(one, number=replace(one.number, reason=told)), p_value, NAN, (NAN, NAN), False))
            continue
        if limit.rule == "calibrated":
            bounds = _calibrated_limits(one, own_rate)
        else:
            bounds = (NAN, one.critical_value(own_rate) if limit.autocorrelation != "block_permutation" else NAN)
        lines.append(_line(policy, one, p_value, after, bounds, after < rate))
    return lines


def _calibrated_limits(one: Measured, rate: float) -> tuple[float, float]:
    """Limits of the null; no lower than what the number would be if only so many rows had moved as may move by chance."""
    null, number = one.null, one.number
    if null is None or number.value != number.value:
        return NAN, NAN
    lower, upper = null.limits(rate, number.n_rows)
    if number.moved > 0 and null.is_known and not null.is_two_sided:
        by_rows = number.value * null.share_limit(rate, number.n_rows) / number.moved
        return lower, max(upper, by_rows) if null.has_moved else by_rows
    return lower, upper


def adjusted_list(p_values: Sequence[float], correction: str) -> list[float]:
    """``adjusted`` for a list."""
    import numpy as np

    return [float(p) for p in adjusted(np.asarray(p_values, dtype="float64"), correction)]


def _p_value(limit: DriftLimit, one: Measured) -> float:
    number = one.number
    if limit.rule == "calibrated":
        if one.null is None or number.value != number.value:
            return NAN
        moved = number.moved * number.n_rows if number.moved == number.moved else float(number.n_rows)
        return one.null.p_value(number.value, number.n_rows, moved)
    if limit.autocorrelation == "block_permutation":
        return one.null.permutation_p_value(number.value) if one.null is not None else NAN
    return effective_p_value(one)


def effective_p_value(one: Measured) -> float:
    """The method's own p-value, for as many rows as the autocorrelated ones are worth."""
    from scipy.stats import chi2

    number = one.number
    if one.design_effect <= 1.05 or number.p_value != number.p_value:
        return number.p_value
    if one.method == "kolmogorov_smirnov":
        return ks_limiting_p_value(number.value, one.n_reference / one.design_effect, number.n_rows / one.design_effect)
    if one.method == "chi2":
        freedom = max(1, one.n_categories - 1)
        return float(chi2.sf(chi2.isf(number.p_value, freedom) / one.design_effect, freedom))
    return number.p_value


def _fixed_limits(limit: DriftLimit, one: Measured) -> tuple[float, float]:
    import numpy as np

    if limit.rule == "constant":
        return NAN, limit.values.get(one.method, NAN)
    if limit.rule == "quantile":
        values = np.asarray(one.null.values if one.null is not None else (), dtype="float64")
        if not len(values):
            return NAN, NAN
        tail = (1 - limit.quantile) / 2 if _is_two_sided(one) else 1 - limit.quantile
        return float(np.quantile(values, tail)) if _is_two_sided(one) else NAN, float(np.quantile(values, 1 - tail))
    values = np.asarray(one.chunk_values, dtype="float64")
    if not np.isfinite(values).any():
        return NAN, NAN
    mean, deviation = float(np.nanmean(values)), float(np.nanstd(values))
    return (max(0.0, mean - limit.std * deviation) if _is_two_sided(one) else NAN), mean + limit.std * deviation


def _is_two_sided(one: Measured) -> bool:
    return one.method in MULTIVARIATE and MULTIVARIATE[one.method].is_two_sided


def _line(
    policy: MonitoredModel, one: Measured, p_value: float, after: float, bounds: tuple[float, float], breach: bool
) -> dict[str, object]:
    number, smallest = one.number, policy.drift.minimum_effect.get(one.method, 0.0)
    reason = number.reason
    if breach and number.effect == number.effect and abs(number.effect) < smallest:
        breach, reason = False, f"effect {number.effect:.3g} below the declared minimum {smallest:g}"
    if not reason and number.value == number.value and after != after and bounds[0] != bounds[0] and bounds[1] != bounds[1]:
        reason = f"got fewer than {FEWEST_BLOCKS} reference blocks or chunks to learn from; expected more: no limit can be set"
    deviation = number.standard_error
    if deviation != deviation and one.null is not None:
        deviation = one.null.deviation(number.n_rows)
    shown = number.p_value if number.p_value == number.p_value else p_value
    return {
        "value": number.value, "standard_error": deviation, "effect": number.effect, "p_value": shown, "adjusted_p_value": after,
        "lower_limit": bounds[0], "upper_limit": bounds[1], "breach": bool(breach), "reason": reason,
    }  # fmt: skip


def raw_alarm_share(policy: MonitoredModel, columns: "Sequence[FittedColumn]", usual: int) -> tuple[float, int]:
    """How often the rule ``p < alpha``, uncorrected and blind to autocorrelation, would alarm where nothing drifted.

    Args:
        policy: declares the methods and ``alpha``.
        columns: fitted on the reference.
        usual: rows a chunk usually holds; a reference of few chunks holds smaller stretches only.

    Returns:
        Share of left-out stretches of the reference on which any number of any feature alarms, and how many stretches there are.
    """
    import numpy as np

    from monitoring_assets.measures.distances import critical_value
    from monitoring_assets.measures.distribution import Categories

    alarms = []
    for column in columns:
        if column.segment != ALL:
            continue
        plain = column.plain()
        n_categories = len(plain.counts) if isinstance(plain, Categories) else 0
        for method, null in column.nulls[REFERENCE].items():
            size = null.sizes[-1] if null.is_known else usual
            critical = critical_value(method, policy.drift.limit.alpha, plain.total, size, n_categories, 1.0)
            if critical == critical and null.values:
                alarms.append(np.asarray(null.values) > critical)
    blocks = min((len(flags) for flags in alarms), default=0)
    return (float(np.any([flags[:blocks] for flags in alarms], axis=0).mean()), blocks) if blocks else (NAN, 0)
