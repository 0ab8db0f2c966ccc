"""From the lines of one chunk: has the forecaster decayed, and in which way?

Belongs here: the pure rule. Does not: measuring, the verdict of a monitored model (``judge.py``), acting on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from resources.vocabulary import Kind, Verdict

if TYPE_CHECKING:
    import pandas as pd


class Decay(StrEnum):
    """What is wrong with the forecasts of one chunk."""

    NONE = "none"
    #: A break of level or trend that also shows as bias or growth: rows before it teach the wrong lesson.
    STRUCTURAL_BREAK = "structural_break"
    #: Forecasts lie on one side of the outcomes.
    BIAS = "bias"
    #: Errors are larger, on both sides.
    ERROR_GROWTH = "error_growth"
    #: Points hold, intervals do not.
    COVERAGE = "coverage"
    #: Nothing could be measured.
    UNDECIDED = "undecided"


_RECOVERY = {
    Decay.NONE: "Nothing to do.",
    Decay.STRUCTURAL_BREAK: "The series broke at the date named. Refit on rows since then where they hold a season; else keep the level and refit the rest.",
    Decay.BIAS: "Forecasts are off to one side. Refit with the same order on recent rows; look for a change of level or a promotion the model does not know.",
    Decay.ERROR_GROWTH: "Errors grew on both sides. Look at the season and at new noise; refit, and search the order anew if that does not help.",
    Decay.COVERAGE: "Points hold, intervals do not. Calibrate the intervals anew (conformal, on recent errors); the model itself may stay.",
    Decay.UNDECIDED: "Too little to judge. Wait for more outcomes, or choose a larger chunk.",
}
#: What a decay is as a verdict of the monitored model.
VERDICTS = {
    Decay.NONE: Verdict.HEALTHY,
    Decay.STRUCTURAL_BREAK: Verdict.CONCEPT,
    Decay.BIAS: Verdict.CONCEPT,
    Decay.ERROR_GROWTH: Verdict.CONCEPT,
    Decay.COVERAGE: Verdict.CONCEPT,
    Decay.UNDECIDED: Verdict.UNDECIDED,
}
#: Detectors that point at a lasting shift, and the one that points at a wider scale.
_SHIFT, _SCALE = ("cusum", "page_hinkley"), "cusum_absolute"
_ERRORS = (str(Kind.FORECAST_ERROR), str(Kind.REALIZED_PERFORMANCE))
_KINDS = (*_ERRORS, str(Kind.INTERVAL_COVERAGE), str(Kind.RESIDUAL_DRIFT))

#: Lines whose reason names a date.
_DATED = (str(Kind.RESIDUAL_DRIFT), str(Kind.STRUCTURAL_BREAK))


@dataclass(frozen=True)
class DecayJudgement:
    """What is wrong, as a verdict, how sure that is, the lines it rests on, and what to do.

    ``confidence`` is in [0, 1]: 0.9 where limits and a detector agree, 0.7 for one of them alone. Evidence is written as in ``judge.py``.
    """

    decay: Decay
    verdict: Verdict
    confidence: float
    evidence: Sequence[str]
    recovery: str


def judge_decay(lines: "pd.DataFrame") -> DecayJudgement:
    """Judge the deciding lines of one chunk and one segment.

    In this order: a significant break together with bias or growth is ``structural_break``; a bias outside its limit, or a detector of
    shifts, is ``bias``; an error above its limit, or the detector of scale upward, is ``error_growth`` (of these two the stronger where both
    speak); coverage outside its band alone is ``coverage``. Errors that fall, and a break that hurts nothing, are no decay.

    Args:
        lines: of the kinds that forecasts have, columns of ``lines.COLUMNS``; others are ignored.
    """
    own = lines[lines["is_deciding"]]
    if not (own["kind"].isin(_KINDS) & own["value"].notna()).any():
        return _judged(Decay.UNDECIDED, 0.0, [])
    breached = own[own["breach"]]
    error, coverage, residual, broken = (
        breached[breached["kind"].isin(kinds)]
        for kinds in (_ERRORS, [Kind.INTERVAL_COVERAGE], [Kind.RESIDUAL_DRIFT], [Kind.STRUCTURAL_BREAK])
    )
    shifted = residual[residual["method"].isin(_SHIFT)]
    wider = residual[(residual["method"] == _SCALE) & residual["reason"].str.startswith("up")]
    biased = error[error["subject"] == "bias"]
    grown = error[(error["subject"] != "bias") & (error["value"] > error["upper_limit"])]
    bias, growth = [biased, shifted], [grown, wider]
    hurts = any(len(part) for part in (*bias, *growth))
    if len(broken) and hurts:
        return _judged(Decay.STRUCTURAL_BREAK, 0.9, [broken, *bias, *growth, coverage])
    if hurts and _is_bias(biased, grown, shifted, wider):
        return _judged(Decay.BIAS, _confidence(bias), [*bias, *growth, coverage])
    if hurts:
        return _judged(Decay.ERROR_GROWTH, _confidence(growth), [*growth, *bias, coverage])
    if len(coverage):
        return _judged(Decay.COVERAGE, 0.7, [coverage])
    return _judged(Decay.NONE, 0.9, [own[own["kind"].isin(_KINDS) & own["value"].notna()]])


def _is_bias(biased: "pd.DataFrame", grown: "pd.DataFrame", shifted: "pd.DataFrame", wider: "pd.DataFrame") -> bool:
    """Whether a shift explains more than a wider scale: a shift widens errors too, and a wider scale trips the detectors of shifts.

    Detectors decide where any alarmed, by how far they exceed their thresholds; else the errors of the chunk, by their p-values.
    """
    if len(shifted) or len(wider):
        excess = [float((own["value"] / own["upper_limit"]).max()) if len(own) else 0.0 for own in (shifted, wider)]
        return excess[0] >= excess[1]
    chance = [float(own["p_value"].min()) if len(own) else 2.0 for own in (biased, grown)]
    return chance[0] <= chance[1]


def _confidence(parts: "Sequence[pd.DataFrame]") -> float:
    return 0.9 if all(len(part) for part in parts) else 0.7


def _judged(decay: Decay, confidence: float, evidence: "Sequence[pd.DataFrame]") -> DecayJudgement:
    keys = [f"{row.kind}/{row.method}/{row.subject}" for frame in evidence for row in frame.itertuples()]
    told = [str(row.reason) for frame in evidence for row in frame.itertuples() if row.breach and row.kind in _DATED and row.reason]
    recovery = " ".join(part for part in (f"{told[0]}." if told else "", _RECOVERY[decay]) if part)
    return DecayJudgement(decay, VERDICTS[decay], confidence, list(dict.fromkeys(keys)), recovery)
