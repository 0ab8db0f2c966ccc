"""From the measurements of one chunk to a verdict: what moved, and whether it hurts.

Belongs here: the pure rule. Does not: reading measurements, gathering evidence (``diagnosis``), acting on the verdict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.breaches import ALL_FEATURES
from monitoring_assets.measures.diagnosis.diagnose import FAULTY_COLUMNS, LABEL_SHIFT, PLACEBO, REMAPPING, SHADOW_REFIT, UNIT_CHANGE
from monitoring_assets.measures.forecast.decay import judge_decay
from monitoring_assets.measures.lines import ALL
from monitoring_assets.measures.quality import ROW_COUNT
from monitoring_assets.measures.registry import sign_of
from monitoring_assets.measures.trust import SUPPORT_LOSS
from resources.policy import MonitoredModel
from resources.vocabulary import DRIFT_KINDS, Kind, Task, Verdict

if TYPE_CHECKING:
    import pandas as pd

_RECOVERY = {
    Verdict.HEALTHY: "Nothing to do.",
    Verdict.DATA_FAULT: "Repair the data at its source, then materialize the chunk again. Retraining would teach the fault.",
    Verdict.COVARIATE_HARMLESS: "Inputs moved and the model holds. Look at the listed features; no retraining is needed.",
    Verdict.COVARIATE_HARMFUL: "Inputs moved and the model suffers. Check the listed features for a wiring or unit change; retraining follows.",
    Verdict.LABEL_SHIFT: "Outcomes are more or less frequent than before, and follow from the inputs as ever: the threshold and the probabilities "
    "are off. Re-calibrate or move the threshold at once; retraining on recent rows follows.",
    Verdict.CONCEPT: "Outcomes no longer follow from the inputs as they did. Retraining on rows since the onset follows.",
    Verdict.UNDECIDED: "Too little to judge. Wait for more rows or outcomes, or choose a larger chunk.",
}
_UNTRUSTED = "The estimate of performance is untrusted, and nothing else is known yet. Wait for outcomes, or have some rows labelled."
_NOISE = (
    "The metric is outside its limit, but blocks of the reference of the same size are as bad: it may be chance. Look at the next chunk."
)


@dataclass(frozen=True)
class Judgement:
    """A verdict with how sure it is, the measurements it rests on, and what to do."""

    verdict: Verdict
    confidence: float
    evidence: Sequence[str]
    recovery: str
    is_realized: bool


@dataclass(frozen=True)
class _Seen:
    """Everything measured on one chunk, sorted by what it says."""

    drifted: "pd.DataFrame"
    realized: "pd.DataFrame"
    realized_harm: "pd.DataFrame"
    estimated: "pd.DataFrame"
    estimated_harm: "pd.DataFrame"
    distrust: "pd.DataFrame"
    diagnosis: "pd.DataFrame"

    @property
    def is_noise(self) -> bool:
        """Whether the placebo test takes the harm for chance."""
        own = self.diagnosis[(self.diagnosis["method"] == PLACEBO) & self.diagnosis["p_value"].notna()]
        return len(own) > 0 and not own["breach"].any()

    @property
    def is_unchanged(self) -> bool:
        """Whether a shadow refit could look for another rule of outcomes and found none."""
        return bool(self.says("neither")["p_value"].notna().any())

    def says(self, word: str) -> "pd.DataFrame":
        """The shadow refit's line where it says ``word``."""
        own = self.diagnosis[self.diagnosis["method"] == SHADOW_REFIT]
        return own[own["reason"].str.startswith(f"{word}:")]


def is_harmful_breach(policy: MonitoredModel, metric: str, value: float, lower: float | None, upper: float | None) -> bool:
    """Whether a performance value lies outside its limit on the side that hurts; better than usual is no harm."""
    if sign_of(policy.task, metric) > 0:
        return lower is not None and value < lower
    return upper is not None and value > upper


def judge(policy: MonitoredModel, measurements: "pd.DataFrame") -> Judgement:
    """Judge one chunk.

    Broken data is ``data_fault`` whatever else is seen. Realized performance outweighs the estimate, and an untrusted estimate
    decides nothing by itself. What kind of harm it is follows from the diagnosis, in this order: columns that carry others' signals or
    another unit, and columns that moved while outcomes follow from the rest as ever, are ``covariate_harmful``; outcomes of another
    frequency than the inputs tell, with predictions as ever, are ``label_shift``; harm that a trusted estimate foresaw from inputs that
    moved is ``covariate_harmful``; a shadow model that learns from the chunk what the
    reference did not know, on rows like the reference's, is ``concept``; rows unlike the reference's, or inputs that moved
    where a shadow model has nothing to learn, are ``covariate_harmful``. Where no diagnosis speaks, harm that a trusted estimate sees
    is ``covariate_harmful``, harm that it does not see is ``concept``. A chunk
    below the minimum size, or without any number on performance that can be trusted, is ``undecided``. A forecaster is judged on its
    matured forecasts alone (``forecast.decay``).

    Args:
        policy: declares metrics and the minimum size.
        measurements: rows of the ``measurements`` table of one chunk.
    """
    broken = measurements[(measurements["kind"] == Kind.DATA_QUALITY) & measurements["breach"] & measurements["is_deciding"]]
    if len(broken):
        return _judgement(Verdict.DATA_FAULT, 1.0, [broken], False)
    too_small = measurements[(measurements["method"] == ROW_COUNT) & (measurements["value"] < measurements["lower_limit"])]
    if len(too_small):
        return _judgement(Verdict.UNDECIDED, 0.0, [too_small], False)
    if policy.task is Task.FORECAST:
        return _of_forecasts(policy, measurements)
    seen = _seen(policy, measurements)
    if len(seen.realized_harm) and not seen.is_noise:
        return _harmed(seen)
    if len(seen.realized):
        return _unharmed(seen)
    return _without_outcomes(seen)


def _of_forecasts(policy: MonitoredModel, measurements: "pd.DataFrame") -> Judgement:
    """Matured forecasts speak for themselves: decay is harm, of the inputs where what is known beside the series moved too."""
    found, drifted = judge_decay(measurements), drift_breaches(measurements)
    if found.verdict is Verdict.HEALTHY:
        evidence = drifted if len(drifted) else measurements[measurements["kind"] == Kind.REALIZED_PERFORMANCE]
        return _judgement(Verdict.COVARIATE_HARMLESS if len(drifted) else Verdict.HEALTHY, found.confidence, [evidence], True)
    if found.verdict is Verdict.UNDECIDED:
        return _judgement(Verdict.UNDECIDED, 0.0, [drifted], False)
    beside = drifted[drifted["subject"] != policy.outcome.column]
    verdict = Verdict.COVARIATE_HARMFUL if len(beside) and policy.forecast and policy.forecast.has_exogenous else found.verdict
    keys = [*found.evidence, *(f"{row.kind}/{row.method}/{row.subject}" for row in drifted.itertuples())]
    return Judgement(verdict, found.confidence, list(dict.fromkeys(keys)), found.recovery, True)


def _seen(policy: MonitoredModel, measurements: "pd.DataFrame") -> _Seen:
    realized, estimated = (Kind.REALIZED_PERFORMANCE, Kind.ESTIMATED_PERFORMANCE)
    is_trust = measurements["kind"] == Kind.ESTIMATE_TRUST
    return _Seen(
        drift_breaches(measurements),
        _performance(measurements, realized),
        harmful_breaches(policy, measurements, realized),
        _performance(measurements, estimated),
        harmful_breaches(policy, measurements, estimated),
        measurements[is_trust & measurements["breach"] & measurements["is_deciding"]],
        measurements[measurements["kind"] == Kind.DIAGNOSIS],
    )


def _harmed(seen: _Seen) -> Judgement:
    """Outcomes say that it hurts: what kind of harm is it?"""
    pointing = seen.diagnosis[seen.diagnosis["breach"]]
    wiring = pointing[pointing["method"].isin([REMAPPING, UNIT_CHANGE])]
    shifted = pointing[pointing["method"] == LABEL_SHIFT]
    faulty = pointing[pointing["method"] == FAULTY_COLUMNS]
    beyond = pointing[pointing["method"] == PLACEBO]
    harm = [seen.realized_harm, beyond]
    if len(wiring):
        return _judgement(Verdict.COVARIATE_HARMFUL, 0.95, [*harm, wiring, seen.drifted], True, _told(wiring))
    if len(faulty):
        return _judgement(Verdict.COVARIATE_HARMFUL, 0.85, [*harm, faulty, seen.drifted], True, _told(faulty))
    if len(shifted):
        return _judgement(Verdict.LABEL_SHIFT, 0.8, [*harm, shifted], True, shifted["reason"].iloc[0] + ".")
    if len(seen.estimated_harm) and len(seen.drifted) and seen.distrust.empty:
        return _judgement(Verdict.COVARIATE_HARMFUL, 0.9, [*harm, seen.estimated_harm, seen.drifted], True)
    if len(seen.says("concept")):
        return _judgement(Verdict.CONCEPT, 0.9, [*harm, seen.says("concept"), seen.distrust], True)
    if len(seen.says("covariate")) and len(seen.drifted):
        return _judgement(Verdict.COVARIATE_HARMFUL, 0.9, [*harm, seen.says("covariate"), seen.drifted], True)
    if len(seen.drifted) and seen.is_unchanged:
        return _judgement(Verdict.COVARIATE_HARMFUL, 0.8, [*harm, seen.says("neither"), seen.drifted], True)
    lost = seen.distrust[seen.distrust["method"] == SUPPORT_LOSS]
    if len(seen.drifted) and len(lost):
        return _judgement(Verdict.COVARIATE_HARMFUL, 0.8, [*harm, lost, seen.drifted], True)
    is_explained = (len(seen.estimated_harm) and seen.distrust.empty) or (len(seen.drifted) and seen.estimated.empty)
    if is_explained:
        return _judgement(Verdict.COVARIATE_HARMFUL, 0.7, [*harm, seen.estimated_harm, seen.drifted], True)
    return _judgement(Verdict.CONCEPT, 0.6 if len(seen.drifted) else 0.8, [*harm, seen.drifted], True)


def _unharmed(seen: _Seen) -> Judgement:
    """Outcomes say that the model holds."""
    verdict = Verdict.COVARIATE_HARMLESS if len(seen.drifted) else Verdict.HEALTHY
    evidence = seen.drifted if len(seen.drifted) else seen.realized
    if len(seen.realized_harm):
        return _judgement(verdict, 0.5, [evidence, seen.diagnosis[seen.diagnosis["method"] == PLACEBO]], True, _NOISE)
    return _judgement(verdict, 0.9, [evidence], True)


def _without_outcomes(seen: _Seen) -> Judgement:
    """Only the estimate is known, if that: harm it sees counts where inputs moved too and its assumptions hold."""
    wiring = seen.diagnosis[seen.diagnosis["method"].isin([REMAPPING, UNIT_CHANGE])]
    if len(seen.estimated_harm) and len(wiring):  # the columns say what the estimate says: it does not stand alone
        return _judgement(Verdict.COVARIATE_HARMFUL, 0.7, [seen.estimated_harm, wiring, seen.drifted], False, _told(wiring))
    if len(seen.distrust):
        return _judgement(Verdict.UNDECIDED, 0.2, [seen.distrust, seen.estimated_harm, seen.drifted], False, _UNTRUSTED)
    if len(seen.estimated_harm) and len(seen.drifted):
        return _judgement(Verdict.COVARIATE_HARMFUL, 0.6, [seen.estimated_harm, seen.drifted], False)
    if len(seen.estimated_harm):
        return _judgement(Verdict.UNDECIDED, 0.3, [seen.estimated_harm], False)
    if len(seen.estimated):
        verdict = Verdict.COVARIATE_HARMLESS if len(seen.drifted) else Verdict.HEALTHY
        return _judgement(verdict, 0.5, [seen.drifted if len(seen.drifted) else seen.estimated], False)
    return _judgement(Verdict.UNDECIDED, 0.0, [seen.drifted], False)


def _told(wiring: "pd.DataFrame") -> str:
    """What to do about the columns: the whole remapping or all that are at fault in one sentence, or each column's unit."""
    is_whole = wiring["method"].isin([REMAPPING, FAULTY_COLUMNS]).any()
    whole = wiring[wiring["subject"] == ALL_FEATURES] if is_whole else wiring
    return " ".join(whole["reason"])


def _performance(measurements: "pd.DataFrame", kind: Kind) -> "pd.DataFrame":
    is_whole = measurements["segment"] == ALL
    return measurements[is_whole & (measurements["kind"] == kind) & measurements["value"].notna()]


def drift_breaches(measurements: "pd.DataFrame") -> "pd.DataFrame":
    """Lines of drift that breach and decide."""
    return measurements[measurements["kind"].isin(DRIFT_KINDS) & measurements["breach"] & measurements["is_deciding"]]


def harmful_breaches(policy: MonitoredModel, measurements: "pd.DataFrame", kind: Kind) -> "pd.DataFrame":
    """Harmful breaches of the first metric, the one that decides, on all rows, among performance of ``kind``."""
    performance = _performance(measurements, kind)
    deciding = performance[performance["subject"] == policy.metrics[0]]
    flags = [is_harmful_breach(policy, row.subject, row.value, row.lower_limit, row.upper_limit) for row in deciding.itertuples()]
    return deciding[flags]


def _judgement(verdict: Verdict, confidence: float, evidence: "Sequence[pd.DataFrame]", is_realized: bool, told: str = "") -> Judgement:
    keys = [f"{row.kind}/{row.method}/{row.subject}" for frame in evidence for row in frame.itertuples()]
    recovery = told if told in (_UNTRUSTED, _NOISE) else " ".join(part for part in (told, _RECOVERY[verdict]) if part)
    return Judgement(verdict, confidence, list(dict.fromkeys(keys)), recovery, is_realized)
