"""A changed policy is told in words, clause by clause, and a file that cannot be used is named with line and field."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.catalogue import DeclarationError
from resources.policy_changes import changes, read_change

SCORE = {"fire_above": 0.2, "rearm_below": 0.1}
KEPT = "what was fitted on the reference still holds: nothing is fitted anew"


def test_nothing_changed_says_nothing(declare):
    assert changes(declare(), declare()) == []


def test_thresholds_budgets_and_cooldowns_are_told_in_words(declare):
    old = declare(retrain={"when": {"score": SCORE}, "budget": {"retrainings": 4}, "cooldown": 1})
    new = declare(retrain={"when": {"score": {"fire_above": 0.15}}, "budget": {"retrainings": 2}, "cooldown": 3})
    assert changes(old, new) == [
        "composite_score fires above 0.15 instead of 0.2",
        "composite_score re-arms as soon as it is no longer above what fires it instead of below 0.1",
        "budget falls from 4 retrainings per 30d to 2 retrainings per 30d",
        "cooldown rises from 1 to 3 chunks",
        KEPT,
    ]


def test_clauses_that_come_go_or_combine_otherwise_are_told(declare):
    old = declare(retrain={"when": {"any": [{"verdict": {}}, {"score": SCORE}]}})
    new = declare(retrain={"when": {"all": [{"verdict": {"on": ["concept"]}}, {"decay": {"fire_above": 0.05, "chunks": 2, "of": 3}}]}})
    assert changes(old, new) == [
        "harmful_verdict: on is concept instead of covariate_harmful, label_shift, concept",
        "composite_score is removed: it called when score is above 0.2, re-armed below 0.1, on the newest chunk",
        "performance_decay is added: it calls when decay is above 0.05, re-armed as soon as it is no longer above what fires it, basis is either, "
        "on 2 of the latest 3 chunks",
        "the condition reads harmful_verdict and performance_decay instead of harmful_verdict or composite_score",
        KEPT,
    ]


def test_persistence_two_stages_and_how_to_update_are_told(declare):
    stage = {"drift": {"fire_above": 0.2}, "decay": {"fire_above": 0.02, "chunks": 3, "of": 5}}
    old = declare(retrain={"when": {"two_stage": stage}})
    new = declare(
        retrain={"when": {"two_stage": {**stage, "decay": {"fire_above": 0.03, "chunks": 3, "within": "7d"}}, "update": "incremental"}}
    )
    assert changes(old, new)[:-1] == [
        "two_stage updates the model by incremental instead of retrain.update",
        "two_stage.decay must hold on 3 of the chunks of 7d instead of 3 of the latest 5 chunks",
        "two_stage.decay fires above 0.03 instead of 0.02",
    ]


def test_a_change_of_what_is_fitted_is_said(declare):
    said = changes(declare(), declare(drift={"numeric": ["psi"]}, gates={"holdout": "9d"}))
    assert "drift.numeric is psi instead of wasserstein, kolmogorov_smirnov" in said
    assert "gates.holdout is 9d instead of 120d" in said
    assert said[-1].startswith("what was fitted on the reference does not hold any more and is fitted anew (fit ")
    assert changes(declare(), declare(gates={"holdout": "9d"}))[-1] == KEPT  # the null twin: gates change nothing that is fitted


def test_switching_off_and_quarantines_are_told(declare):
    bad = {"start": "2024-03-01", "end": "2024-03-04", "who": "ana", "why": "bus down"}
    said = changes(declare(), declare(retrain={"enabled": False, "quarantine": [bad]}))
    assert said[:2] == [
        "retraining is switched off: nothing is trained, whatever is seen",
        "rows from 2024-03-01 00:00 to 2024-03-04 00:00 are quarantined by ana: bus down",
    ]
    assert "the quarantine from 2024-03-01 00:00 to 2024-03-04 00:00 is lifted or changed" in changes(
        declare(retrain={"quarantine": [bad]}), declare()
    )


@given(st.floats(0.01, 0.9), st.floats(0.01, 0.9), st.integers(0, 9), st.integers(0, 9))
def test_something_is_said_exactly_when_the_policies_differ(declare, fire, other, cooldown, later):
    old = declare(retrain={"when": {"score": {"fire_above": fire}}, "cooldown": cooldown})
    new = declare(retrain={"when": {"score": {"fire_above": other}}, "cooldown": later})
    assert bool(changes(old, new)) is (old.policy_hash != new.policy_hash)


def test_a_file_with_only_retrain_is_merged_over_the_declaration(declare, tmp_path):
    base = declare(
        retrain={"when": {"score": SCORE}, "cooldown": 4, "budget": {"retrainings": 2, "per": "7d"}}, drift={"limit": {"rule": "std"}}
    )
    file = tmp_path / "new.yaml"
    file.write_text("retrain:\n  when: {verdict: {on: [concept]}}\n  budget: {retrainings: 5}\n")
    new = read_change(file, base).policy
    assert new.retrain.when.kind == "verdict"
    assert (new.retrain.cooldown, new.retrain.budget.retrainings, new.retrain.budget.per) == (4, 5, "7d")
    assert new.model_copy(update={"retrain": base.retrain}).policy_hash == base.policy_hash


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("retrain:\n  when:\n    score: {fire_abov: 0.2}\n", r"new.yaml:3: retrain.when.score.fire_above?: got"),
        ("retrain:\n  budget: {retrainings: 0}\n", "new.yaml:2: retrain.budget.retrainings: got 0; expected"),
        (
            "retrain:\n  when: {drift: {features: [x9]}}\n",
            r"new.yaml:2: retrain.when.drift.features.0: got 'x9'; expected a feature: \['x1', 'x2'\]",
        ),
        ("cooldown: 3\n", "new.yaml:1: .whole file.: got cooldown; expected a full declaration that starts with `model: <name>`"),
        ("retrain: [\n", "new.yaml:.*expected valid YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_line_and_field(declare, tmp_path, text, told):
    file = tmp_path / "new.yaml"
    file.write_text(text)
    with pytest.raises(DeclarationError, match=told):
        read_change(file, declare())


def test_the_declaration_of_another_model_is_refused(declare, tmp_path):
    from resources.settings import PROJECT

    with pytest.raises(DeclarationError, match="model: got 'glucose_sensor'; expected 'demo', the model that is compared"):
        read_change(PROJECT / "models" / "glucose_sensor.yaml", declare())
