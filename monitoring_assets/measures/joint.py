"""All features together: fitting the multivariate methods with a null of their own, and measuring a chunk.

Belongs here: what is common to all of them. Does not: their arithmetic (``multivariate.py``).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from monitoring_assets.measures import limits
from monitoring_assets.measures.breaches import ALL_FEATURES
from monitoring_assets.measures.limits import Null
from monitoring_assets.measures.lines import ALL, REFERENCE
from monitoring_assets.measures.mmd import mmd_value
from monitoring_assets.measures.multivariate import MEASURES, State, fit_pca_reconstruction
from monitoring_assets.measures.number import refused
from monitoring_assets.measures.registry import MULTIVARIATE
from monitoring_assets.measures.univariate import FittedColumn, Measured, matched_name, season_of
from resources.policy import MonitoredModel

if TYPE_CHECKING:
    import pandas as pd

#: The reference is cut into this many parts; blocks of each are measured against a fit on the others.
_PARTS = 5
#: Blocks of one size; a classifier is trained for each block of ``domain_classifier``.
_BLOCKS = {"domain_classifier": 20}
_USUAL_BLOCKS = 60


@dataclass(frozen=True)
class FittedJoint:
    """One multivariate method fitted on the reference, or, with ``season``, on its rows of those seasons together."""

    method: str
    state: State
    null: Null
    chunk_values: tuple[float, ...]
    season: str = ""


def methods_of(policy: MonitoredModel) -> list[str]:
    """Declared multivariate methods that make sense: one feature alone has nothing to be joined with."""
    return list(policy.drift.multivariate) if len(policy.features.all) > 1 else []


def fit_joint(policy: MonitoredModel, reference: "pd.DataFrame", usual: int) -> list[FittedJoint]:
    """Fit every declared multivariate method, on the whole reference and, with ``drift.season``, for the seasons of every chunk of it.

    Args:
        policy: declares features, methods, season and the limit.
        reference: ``(n_rows, ...)`` in time order.
        usual: rows a chunk usually holds.
    """
    fitted = _fit(policy, reference, usual)
    if policy.drift.season is None or not fitted:
        return fitted
    keys, names = policy.cadence.keys(reference["time"]), season_of(reference["time"], policy.drift.season)
    known, matched = set(names.unique()), list[FittedJoint]()
    for span in sorted({spanned_seasons(policy, str(key)) for key in keys.unique()}):
        if known.issuperset(span):
            own = fitted if known == set(span) else _fit(policy, reference[names.isin(span)].reset_index(drop=True), usual)
            matched += [replace(one, season=_label(span)) for one in own]
    return fitted + matched


def spanned_seasons(policy: MonitoredModel, chunk: str) -> tuple[str, ...]:
    """Seasons that the time of ``chunk`` touches, whatever rows it holds: of a week one month or two, of a day every hour."""
    import pandas as pd

    assert policy.drift.season is not None  # noqa: S101 - the caller asked for seasons
    hours = pd.Series(pd.date_range(policy.cadence.start(chunk), policy.cadence.end(chunk), freq="h", inclusive="left"))
    return tuple(sorted(season_of(hours, policy.drift.season).unique()))


def _label(span: tuple[str, ...]) -> str:
    return " + ".join(span)


def _fit(policy: MonitoredModel, reference: "pd.DataFrame", usual: int) -> list[FittedJoint]:
    fitted = []
    for method in methods_of(policy):
        fit, measure = MEASURES[method]
        state = fit(reference, policy.features, policy.retrain.seed)
        values: list[float] = []
        if policy.drift.limit.rule == "std":
            keys = policy.cadence.keys(reference["time"])
            values = [measure(state, own, policy.features).value for _, own in reference.groupby(keys, sort=True)]
        null = _null(policy, method, reference, usual, state)
        fitted.append(FittedJoint(method, state, null, tuple(values)))
    return fitted


def _null(policy: MonitoredModel, method: str, reference: "pd.DataFrame", usual: int, whole: State) -> Null:
    """Blocks of each part measured against a fit on the other parts: out of sample, but as many components as the ``whole`` fit keeps."""
    import numpy as np
    import pandas as pd

    fit, measure = MEASURES[method]
    if method == "pca_reconstruction" and len(whole.get("components", ())):
        fit = partial(fit_pca_reconstruction, n_components=len(whole["components"]))
    if method == "mmd":
        measure = mmd_value  # of blocks no p-value is kept
    entry, samples = MULTIVARIATE[method], dict[int, list[float]]()
    n_parts = min(_PARTS, len(reference) // max(1, usual))
    if policy.drift.limit.rule in ("calibrated", "quantile", "p_value") and n_parts > 1:
        edges = np.linspace(0, len(reference), n_parts + 1).astype("int64")
        for first, last in pairwise(edges):
            rest = pd.concat([reference.iloc[:first], reference.iloc[last:]])
            state = fit(rest, policy.features, policy.retrain.seed)
            for size in {max(2, usual // 4), usual}:
                for start in limits.block_starts(last - first, size, max(1, _BLOCKS.get(method, _USUAL_BLOCKS) // n_parts)):
                    block = reference.iloc[first + start : first + start + size]
                    samples.setdefault(size, []).append(measure(state, block, policy.features).value)
    return limits.fit_null(samples, power=entry.power, is_two_sided=entry.is_two_sided, n_reference=len(reference))


def measure_joint(
    policy: MonitoredModel, fitted: Iterable[FittedJoint], columns: Iterable[FittedColumn], rows: "pd.DataFrame"
) -> list[Measured]:
    """Measure one chunk ``(n_rows, ...)``; rows with an outlier in any feature are set aside where there are few of them.

    With ``drift.season`` each method gives two numbers: against the whole reference, and against the same season of it.
    """
    is_outlier = rows.index != rows.index
    for column in columns:
        if column.is_numeric and column.segment == ALL:
            is_outlier |= ~rows[column.subject].astype("float64").between(*column.fences) & rows[column.subject].notna()
    if is_outlier.sum() <= policy.drift.outliers * len(rows):
        rows = rows[~is_outlier]
    fitted = list(fitted)
    measured = [_measured(policy, one, rows, REFERENCE) for one in fitted if not one.season]
    if policy.drift.season is None or not measured or rows.empty:
        return measured
    season = _label(spanned_seasons(policy, str(policy.cadence.keys(rows["time"].iloc[:1]).iloc[0])))
    matched = {one.method: one for one in fitted if one.season == season}
    told = f"got {season}, which no chunk of the reference spans; expected a reference of a whole cycle"
    return measured + [
        _measured(policy, matched[plain.method], rows, matched_name(policy))
        if plain.method in matched
        else replace(plain, compared_with=matched_name(policy), number=refused(told, len(rows)), null=None, chunk_values=())
        for plain in measured
    ]


def _measured(policy: MonitoredModel, one: FittedJoint, rows: "pd.DataFrame", compared_with: str) -> Measured:
    number = MEASURES[one.method][1](one.state, rows, policy.features)
    return Measured(ALL_FEATURES, ALL, compared_with, one.method, number, one.null, one.chunk_values)
