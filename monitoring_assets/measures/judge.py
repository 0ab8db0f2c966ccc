"""From the measurements of one chunk to a verdict: what moved, and whether it hurts.

Belongs here: the pure rule. Does not: reading measurements, acting on the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.quality import ROW_COUNT
from monitoring_assets.measures.registry import sign_of
from resources.policy import MonitoredModel
from resources.vocabulary import Kind, Verdict

if TYPE_CHECKING:
    import pandas as pd

_RECOVERY = {
    Verdict.HEALTHY: "Nothing to do.",
    Verdict.DATA_FAULT: "Repair the data at its source, then materialize the chunk again. Retraining would teach the fault.",
    Verdict.COVARIATE_HARMLESS: "Inputs moved and the model holds. Look at the listed features; no retraining is needed.",
    Verdict.COVARIATE_HARMFUL: "Inputs moved and the model suffers. Check the listed features for a wiring or unit change; retraining follows.",
    Verdict.CONCEPT: "Outcomes no longer follow from the inputs as they did. Retraining on rows since the onset follows.",
    Verdict.UNDECIDED: "Too little to judge. Wait for more rows or outcomes, or choose a larger chunk.",
}


@dataclass(frozen=True)
class Judgement:
    """A verdict with how sure it is, the measurements it rests on, and what to do."""

    verdict: Verdict
    confidence: float
    evidence: Sequence[str]
    recovery: str
    is_realized: bool


def is_harmful_breach(policy: MonitoredModel, metric: str, value: float, lower: float | None, upper: float | None) -> bool:
    """Whether a performance value lies outside its limit on the side that hurts; better than usual is no harm."""
    if sign_of(policy.task, metric) > 0:
        return lower is not None and value < lower
    return upper is not None and value > upper


def judge(policy: MonitoredModel, measurements: "pd.DataFrame") -> Judgement:
    """Judge one chunk.

    Broken data is ``data_fault`` whatever else is seen. Realized performance outweighs the estimate. Harm that the
    estimate sees too comes with the inputs (``covariate_harmful``); harm that only outcomes show, while the
    estimate from the inputs stays inside its limit, is ``concept``. A chunk below the minimum size, or without any
    number on performance, is ``undecided``.

    Args:
        policy: declares metrics and the minimum size.
        measurements: rows of the ``measurements`` table of one chunk.
    """
    broken = measurements[(measurements["kind"] == Kind.DATA_QUALITY) & measurements["breach"] & measurements["is_deciding"]]
    if len(broken):
        return _judgement(Verdict.DATA_FAULT, 1.0, broken, False)
    too_small = measurements[(measurements["method"] == ROW_COUNT) & (measurements["value"] < measurements["lower_limit"])]
    if len(too_small):
        return _judgement(Verdict.UNDECIDED, 0.0, too_small, False)
    is_drift = measurements["kind"].isin([Kind.UNIVARIATE_DRIFT, Kind.MULTIVARIATE_DRIFT])
    drifted = measurements[is_drift & measurements["breach"] & measurements["is_deciding"]]
    realized, estimated = (_performance(measurements, kind) for kind in (Kind.REALIZED_PERFORMANCE, Kind.ESTIMATED_PERFORMANCE))
    realized_harm, estimated_harm = _harmful(policy, realized), _harmful(policy, estimated)
    if len(realized_harm):
        if len(estimated_harm) or (len(drifted) and estimated.empty):
            return _judgement(Verdict.COVARIATE_HARMFUL, 0.9, [realized_harm, estimated_harm, drifted], True)
        return _judgement(Verdict.CONCEPT, 0.8 if len(drifted) else 0.9, [realized_harm, drifted], True)
    if len(realized):
        verdict = Verdict.COVARIATE_HARMLESS if len(drifted) else Verdict.HEALTHY
        return _judgement(verdict, 0.9, drifted if len(drifted) else realized, True)
    if len(estimated_harm):
        if len(drifted):
            return _judgement(Verdict.COVARIATE_HARMFUL, 0.6, [estimated_harm, drifted], False)
        return _judgement(Verdict.UNDECIDED, 0.3, estimated_harm, False)
    if len(estimated):
        verdict = Verdict.COVARIATE_HARMLESS if len(drifted) else Verdict.HEALTHY
        return _judgement(verdict, 0.5, drifted if len(drifted) else estimated, False)
    return _judgement(Verdict.UNDECIDED, 0.0, drifted, False)


def _performance(measurements: "pd.DataFrame", kind: Kind) -> "pd.DataFrame":
    return measurements[(measurements["kind"] == kind) & measurements["value"].notna()]


def _harmful(policy: MonitoredModel, performance: "pd.DataFrame") -> "pd.DataFrame":
    """Harmful breaches of the first metric: the one that decides."""
    deciding = performance[performance["subject"] == policy.metrics[0]]
    flags = [is_harmful_breach(policy, row.subject, row.value, row.lower_limit, row.upper_limit) for row in deciding.itertuples()]
    return deciding[flags]


def _judgement(verdict: Verdict, confidence: float, evidence: "pd.DataFrame | list[pd.DataFrame]", is_realized: bool) -> Judgement:
    frames = evidence if isinstance(evidence, list) else [evidence]
    keys = [f"{row.kind}/{row.method}/{row.subject}" for frame in frames for row in frame.itertuples()]
    return Judgement(verdict, confidence, keys, _RECOVERY[verdict], is_realized)
