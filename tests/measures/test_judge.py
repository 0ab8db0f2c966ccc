"""One test per row of the rule that turns measurements into a verdict."""

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.measures.diagnosis.diagnose import FAULTY_COLUMNS, LABEL_SHIFT, PLACEBO, REMAPPING, SHADOW_REFIT, UNIT_CHANGE
from monitoring_assets.measures.judge import Judgement, is_harmful_breach, judge
from monitoring_assets.measures.lines import with_all_columns
from monitoring_assets.measures.quality import MISSING_SHARE, ROW_COUNT
from resources.vocabulary import Kind, Verdict


def line(
    kind: Kind, method: str, subject: str, value: float, lower: float = np.nan, upper: float = np.nan, breach: bool | None = None
) -> dict:
    outside = bool(value < lower or value > upper) if breach is None else breach
    return {
        "chunk": "2024-01-01",
        "kind": str(kind),
        "method": method,
        "subject": subject,
        "value": value,
        "standard_error": np.nan,
        "n_rows": 100,
        "lower_limit": lower,
        "upper_limit": upper,
        "breach": outside,
        "is_deciding": True,
        "p_value": np.nan,
        "reason": "",
    }


ROWS = line(Kind.DATA_QUALITY, ROW_COUNT, "rows", 100.0, lower=30.0)
FEW_ROWS = line(Kind.DATA_QUALITY, ROW_COUNT, "rows", 29.0, lower=30.0, breach=False)
MISSING = line(Kind.DATA_QUALITY, MISSING_SHARE, "x1", 0.4, upper=0.05)
CALM = line(Kind.UNIVARIATE_DRIFT, "wasserstein", "x1", 0.1, upper=0.5)
DRIFT = line(Kind.UNIVARIATE_DRIFT, "wasserstein", "x1", 0.9, upper=0.5)
JOINT_DRIFT = line(Kind.MULTIVARIATE_DRIFT, "pca_reconstruction", "all features", 3.0, lower=1.0, upper=2.0)
ESTIMATED_GOOD = line(Kind.ESTIMATED_PERFORMANCE, "dle", "mae", 1.0, lower=0.5, upper=1.5)
ESTIMATED_BAD = line(Kind.ESTIMATED_PERFORMANCE, "dle", "mae", 2.0, lower=0.5, upper=1.5)
ESTIMATED_NONE = line(Kind.ESTIMATED_PERFORMANCE, "dle", "mae", np.nan, lower=0.5, upper=1.5)
REALIZED_GOOD = line(Kind.REALIZED_PERFORMANCE, "realized", "mae", 1.0, lower=0.5, upper=1.5)
REALIZED_BAD = line(Kind.REALIZED_PERFORMANCE, "realized", "mae", 2.0, lower=0.5, upper=1.5)
REALIZED_BETTER = line(Kind.REALIZED_PERFORMANCE, "realized", "mae", 0.1, lower=0.5, upper=1.5)
REALIZED_NONE = line(Kind.REALIZED_PERFORMANCE, "realized", "mae", np.nan, lower=0.5, upper=1.5)


@pytest.fixture
def rule(declare):
    def of(*lines: dict, **overrides) -> Judgement:
        return judge(declare(**overrides), with_all_columns(pd.DataFrame(lines)))

    return of


@pytest.mark.parametrize("others", [(), (REALIZED_GOOD,), (REALIZED_BAD, ESTIMATED_BAD, DRIFT)])
def test_broken_data_beats_everything(rule, others):
    judgement = rule(ROWS, MISSING, *others)
    assert judgement.verdict == Verdict.DATA_FAULT
    assert judgement.confidence == 1.0
    assert judgement.evidence == ["data_quality/missing_share/x1"]
    assert not judgement.is_realized
    assert "Repair the data" in judgement.recovery
    assert "Retraining would teach the fault" in judgement.recovery


def test_broken_data_beats_a_small_chunk(rule):
    assert rule(FEW_ROWS, MISSING).verdict == Verdict.DATA_FAULT


def test_a_small_chunk_is_undecided_and_not_healthy(rule):
    judgement = rule(FEW_ROWS, REALIZED_GOOD, ESTIMATED_GOOD)
    assert (judgement.verdict, judgement.confidence) == (Verdict.UNDECIDED, 0.0)
    assert judgement.evidence == ["data_quality/row_count/rows"]
    assert "Wait for more rows" in judgement.recovery


def test_null_twin_a_chunk_of_exactly_the_minimum_size_is_judged(rule):
    assert rule({**FEW_ROWS, "value": 30.0}, REALIZED_GOOD).verdict == Verdict.HEALTHY


def test_realized_harm_that_the_estimate_sees_too_is_covariate_harmful(rule):
    judgement = rule(ROWS, REALIZED_BAD, ESTIMATED_BAD, DRIFT)
    assert judgement.verdict == Verdict.COVARIATE_HARMFUL
    assert judgement.is_realized
    assert judgement.evidence == ["realized_performance/realized/mae", "estimated_performance/dle/mae", "univariate_drift/wasserstein/x1"]


def test_realized_harm_with_drift_and_no_estimate_is_covariate_harmful(rule):
    for estimate in ((), (ESTIMATED_NONE,)):
        assert rule(ROWS, REALIZED_BAD, DRIFT, *estimate).verdict == Verdict.COVARIATE_HARMFUL


def test_realized_harm_the_estimate_does_not_see_is_concept(rule):
    judgement = rule(ROWS, REALIZED_BAD, ESTIMATED_GOOD, CALM)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (Verdict.CONCEPT, 0.8, True)
    assert judgement.evidence == ["realized_performance/realized/mae"]


def test_concept_is_less_sure_where_inputs_moved_too(rule):
    judgement = rule(ROWS, REALIZED_BAD, ESTIMATED_GOOD, DRIFT)
    assert (judgement.verdict, judgement.confidence) == (Verdict.CONCEPT, 0.6)
    assert "univariate_drift/wasserstein/x1" in judgement.evidence


def test_realized_harm_without_drift_and_without_estimate_is_concept(rule):
    assert rule(ROWS, REALIZED_BAD).verdict == Verdict.CONCEPT


@pytest.mark.parametrize("drift", [DRIFT, JOINT_DRIFT])
def test_drift_with_good_realized_performance_is_harmless(rule, drift):
    judgement = rule(ROWS, REALIZED_GOOD, ESTIMATED_GOOD, drift)
    assert (judgement.verdict, judgement.is_realized) == (Verdict.COVARIATE_HARMLESS, True)
    assert judgement.evidence == [f"{drift['kind']}/{drift['method']}/{drift['subject']}"]


def test_drift_that_does_not_decide_is_shown_and_not_judged(rule):
    plain = {**DRIFT, "is_deciding": False}
    assert rule(ROWS, REALIZED_GOOD, ESTIMATED_GOOD, plain).verdict == Verdict.HEALTHY
    assert rule(ROWS, REALIZED_GOOD, ESTIMATED_GOOD, {**DRIFT, "is_deciding": True}).verdict == Verdict.COVARIATE_HARMLESS


def test_good_realized_performance_outweighs_a_bad_estimate(rule):
    assert rule(ROWS, REALIZED_GOOD, ESTIMATED_BAD, DRIFT).verdict == Verdict.COVARIATE_HARMLESS
    assert rule(ROWS, REALIZED_GOOD, ESTIMATED_BAD).verdict == Verdict.HEALTHY


def test_good_realized_performance_without_drift_is_healthy(rule):
    judgement = rule(ROWS, REALIZED_GOOD, ESTIMATED_GOOD, CALM)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (Verdict.HEALTHY, 0.9, True)
    assert judgement.recovery == "Nothing to do."


def test_better_than_usual_is_no_harm(rule):
    assert REALIZED_BETTER["breach"]
    assert rule(ROWS, REALIZED_BETTER).verdict == Verdict.HEALTHY


def test_better_than_usual_is_no_harm_for_a_classifier_either(rule):
    high = line(Kind.REALIZED_PERFORMANCE, "realized", "roc_auc", 0.99, lower=0.7, upper=0.9)
    low = {**high, "value": 0.6}
    assert rule(ROWS, high, task="binary_classification").verdict == Verdict.HEALTHY
    assert rule(ROWS, low, task="binary_classification").verdict == Verdict.CONCEPT


def test_a_bad_estimate_with_drift_is_covariate_harmful_but_less_sure(rule):
    judgement = rule(ROWS, ESTIMATED_BAD, DRIFT, REALIZED_NONE)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (Verdict.COVARIATE_HARMFUL, 0.6, False)
    assert judgement.evidence == ["estimated_performance/dle/mae", "univariate_drift/wasserstein/x1"]


def test_a_bad_estimate_without_drift_is_undecided(rule):
    judgement = rule(ROWS, ESTIMATED_BAD, CALM)
    assert (judgement.verdict, judgement.confidence) == (Verdict.UNDECIDED, 0.3)


def test_drift_with_a_good_estimate_is_harmless_but_less_sure(rule):
    judgement = rule(ROWS, ESTIMATED_GOOD, DRIFT)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (Verdict.COVARIATE_HARMLESS, 0.5, False)


def test_a_good_estimate_without_drift_is_healthy_but_less_sure(rule):
    judgement = rule(ROWS, ESTIMATED_GOOD, CALM)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (Verdict.HEALTHY, 0.5, False)


@pytest.mark.parametrize("lines", [(CALM,), (DRIFT,), (ESTIMATED_NONE, REALIZED_NONE)])
def test_without_any_number_on_performance_a_chunk_is_undecided(rule, lines):
    judgement = rule(ROWS, *lines)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (Verdict.UNDECIDED, 0.0, False)


@pytest.mark.parametrize(
    ("task", "metric", "value", "is_harm"),
    [
        ("regression", "mae", 1.6, True),
        ("regression", "mae", 0.4, False),
        ("regression", "mae", 1.0, False),
        ("regression", "mae", np.nan, False),
        ("binary_classification", "roc_auc", 0.4, True),
        ("binary_classification", "roc_auc", 1.6, False),
        ("binary_classification", "roc_auc", np.nan, False),
    ],
)
def test_only_the_side_that_hurts_is_harm(declare, task: str, metric: str, value: float, is_harm: bool):
    assert is_harmful_breach(declare(task=task), metric, value, 0.5, 1.5) is is_harm


@pytest.mark.parametrize("limit", [None, np.nan])
def test_an_absent_limit_is_never_breached(declare, limit):
    assert not is_harmful_breach(declare(), "mae", 9.0, limit, limit)
    assert not is_harmful_breach(declare(task="binary_classification"), "roc_auc", 0.0, limit, limit)


# --- what the diagnosis adds ------------------------------------------------------------------------------------------


def found(method: str, subject: str = "all features", reason: str = "", breach: bool = True, p_value: float = 0.001) -> dict:
    """A line of the diagnosis; ``breach`` says that it points at what the method is named after."""
    return {**line(Kind.DIAGNOSIS, method, subject, 1.0, breach=breach), "is_deciding": False, "reason": reason, "p_value": p_value}


HARMED = (ROWS, REALIZED_BAD, ESTIMATED_GOOD, found(PLACEBO, "mae"))
REWIRED = (found(REMAPPING, "x1", "x1 now carries x2's signal"), found(REMAPPING, reason="x1 now carries x2's signal: re-map the columns."))
LIES = (found(FAULTY_COLUMNS, "x1", "x1 moved"), found(FAULTY_COLUMNS, reason="x1 moved: check how it is wired."))
TRUSTED = line(Kind.ESTIMATE_TRUST, "support_loss", "estimate", 0.0, upper=0.25)
UNTRUSTED = line(Kind.ESTIMATE_TRUST, "support_loss", "estimate", 0.9, upper=0.25)
#: Lines of a concept change that a shadow refit saw.
CONCEPT = found(SHADOW_REFIT, reason="concept: a model corrected on this chunk gains 0.3")
NEITHER = found(SHADOW_REFIT, reason="neither: a model corrected on this chunk gains 0.0", breach=False, p_value=0.6)


def test_remapped_columns_are_covariate_harmful_and_the_recovery_says_how_to_undo_it(rule):
    judgement = rule(*HARMED, DRIFT, *REWIRED, CONCEPT)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (Verdict.COVARIATE_HARMFUL, 0.95, True)
    assert judgement.recovery.startswith("x1 now carries x2's signal: re-map the columns. Inputs moved")
    assert "diagnosis/remapping/x1" in judgement.evidence


def test_null_twin_a_remapping_that_was_looked_for_and_not_found_changes_nothing(rule):
    absent = tuple({**own, "breach": False} for own in REWIRED)
    assert rule(*HARMED, DRIFT, *absent, CONCEPT).verdict == Verdict.CONCEPT


def test_each_column_in_another_unit_is_told(rule):
    units = (found(UNIT_CHANGE, "x1", "x1: divide by 10."), found(UNIT_CHANGE, "x2", "x2: divide by 1.8."))
    judgement = rule(*HARMED, DRIFT, *units)
    assert judgement.verdict == Verdict.COVARIATE_HARMFUL
    assert judgement.recovery.startswith("x1: divide by 10. x2: divide by 1.8. ")


def test_remapped_columns_beside_a_bad_estimate_need_no_trust_in_it(rule):
    judgement = rule(ROWS, ESTIMATED_BAD, DRIFT, UNTRUSTED, *REWIRED)
    assert (judgement.verdict, judgement.is_realized) == (Verdict.COVARIATE_HARMFUL, False)
    assert "re-map the columns" in judgement.recovery
    assert rule(ROWS, ESTIMATED_BAD, DRIFT, UNTRUSTED).verdict == Verdict.UNDECIDED


def test_columns_that_moved_and_lie_are_covariate_harmful_although_a_shadow_model_learns_to_live_with_them(rule):
    judgement = rule(*HARMED, CALM, *LIES, CONCEPT)
    assert (judgement.verdict, judgement.confidence) == (Verdict.COVARIATE_HARMFUL, 0.85)
    assert judgement.recovery.startswith("x1 moved: check how it is wired. Inputs moved")
    assert "diagnosis/faulty_columns/x1" in judgement.evidence


def test_null_twin_columns_that_are_not_at_fault_leave_it_a_change_of_concept(rule):
    assert rule(*HARMED, CALM, found(FAULTY_COLUMNS, reason="0 of 4 columns moved", breach=False), CONCEPT).verdict == Verdict.CONCEPT


def test_outcomes_of_another_frequency_with_predictions_as_ever_are_label_shift(rule):
    told = "share of class 1 0.6 against 0.3 in the reference"
    judgement = rule(*HARMED, DRIFT, found(LABEL_SHIFT, "outcomes", told), NEITHER)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (Verdict.LABEL_SHIFT, 0.8, True)
    assert judgement.recovery.startswith(f"{told}. Outcomes are more or less frequent")


def test_null_twin_outcomes_as_frequent_as_ever_are_no_label_shift(rule):
    assert rule(*HARMED, DRIFT, found(LABEL_SHIFT, "outcomes", "as ever", breach=False), NEITHER).verdict == Verdict.COVARIATE_HARMFUL


@pytest.mark.parametrize("drift", [CALM, DRIFT])
def test_a_shadow_model_that_learns_what_the_reference_did_not_know_is_concept(rule, drift):
    judgement = rule(*HARMED, drift, CONCEPT)
    assert (judgement.verdict, judgement.confidence) == (Verdict.CONCEPT, 0.9)
    assert "diagnosis/shadow_refit/all features" in judgement.evidence


def test_null_twin_a_shadow_model_with_nothing_to_learn_on_inputs_that_moved_is_covariate_harmful(rule):
    judgement = rule(*HARMED, DRIFT, NEITHER, UNTRUSTED)
    assert (judgement.verdict, judgement.confidence) == (Verdict.COVARIATE_HARMFUL, 0.8)


def test_a_shadow_model_with_nothing_to_learn_proves_nothing_where_no_input_moved_or_rows_are_few(rule):
    assert rule(*HARMED, CALM, NEITHER).verdict == Verdict.CONCEPT
    assert rule(*HARMED, DRIFT, {**NEITHER, "p_value": np.nan}).verdict == Verdict.CONCEPT


def test_harm_that_a_trusted_estimate_foresaw_from_inputs_that_moved_outweighs_a_shadow_model(rule):
    harm = ROWS, REALIZED_BAD, ESTIMATED_BAD, found(PLACEBO, "mae"), CONCEPT
    assert rule(*harm, DRIFT, TRUSTED).verdict == Verdict.COVARIATE_HARMFUL
    assert rule(*harm, DRIFT, UNTRUSTED).verdict == Verdict.CONCEPT
    assert rule(*harm, CALM, TRUSTED).verdict == Verdict.CONCEPT


def test_rows_unlike_the_reference_are_covariate_harmful(rule):
    unlike = found(SHADOW_REFIT, reason="covariate: 90 rows are unlike them", breach=False)
    judgement = rule(*HARMED, DRIFT, unlike)
    assert (judgement.verdict, judgement.confidence) == (Verdict.COVARIATE_HARMFUL, 0.9)


@pytest.mark.parametrize("estimate", [ESTIMATED_GOOD, ESTIMATED_BAD])
def test_an_untrusted_estimate_decides_nothing(rule, estimate):
    judgement = rule(ROWS, estimate, DRIFT, UNTRUSTED)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (Verdict.UNDECIDED, 0.2, False)
    assert judgement.recovery.startswith("The estimate of performance is untrusted")


def test_null_twin_a_trusted_estimate_decides(rule):
    assert rule(ROWS, ESTIMATED_BAD, DRIFT, TRUSTED).verdict == Verdict.COVARIATE_HARMFUL
    assert rule(ROWS, ESTIMATED_GOOD, DRIFT, TRUSTED).verdict == Verdict.COVARIATE_HARMLESS


def test_outcomes_decide_although_the_estimate_is_untrusted(rule):
    assert rule(ROWS, REALIZED_GOOD, ESTIMATED_BAD, UNTRUSTED).verdict == Verdict.HEALTHY


@pytest.mark.parametrize(("drift", "verdict"), [(CALM, Verdict.HEALTHY), (DRIFT, Verdict.COVARIATE_HARMLESS)])
def test_harm_that_blocks_of_the_reference_show_too_is_noise(rule, drift, verdict):
    noise = found(PLACEBO, "mae", breach=False, p_value=0.2)
    judgement = rule(ROWS, REALIZED_BAD, drift, noise, CONCEPT)
    assert (judgement.verdict, judgement.confidence, judgement.is_realized) == (verdict, 0.5, True)
    assert "it may be chance" in judgement.recovery


def test_null_twin_harm_beyond_the_placebo_or_without_one_is_harm(rule):
    unknown = found(PLACEBO, "mae", breach=False, p_value=np.nan)
    assert rule(ROWS, REALIZED_BAD, CALM, found(PLACEBO, "mae")).verdict == Verdict.CONCEPT
    assert rule(ROWS, REALIZED_BAD, CALM, unknown).verdict == Verdict.CONCEPT


def test_attributions_that_changed_decide_nothing(rule):
    leaning = {**line(Kind.ATTRIBUTION_DRIFT, "shap_share", "x1", 0.9, upper=0.5), "is_deciding": True}
    assert rule(ROWS, REALIZED_GOOD, ESTIMATED_GOOD, CALM, leaning).verdict == Verdict.HEALTHY
