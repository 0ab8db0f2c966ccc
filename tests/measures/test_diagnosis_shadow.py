"""A change of concept is told from a change of inputs, and neither is called where nothing changed."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from monitoring_assets.measures.diagnosis.shadow import shadow_refit

BINARY, SEVERAL, REGRESSION = "binary_classification", "multiclass_classification", "regression"
every_task = pytest.mark.parametrize("task", [BINARY, SEVERAL, REGRESSION])


@pytest.fixture
def policies(declare):
    features = {"numeric": ["x1", "x2", "x3"], "categorical": ["site"]}
    outcomes = {task: {"classes": ["a", "b", "c"] if task == SEVERAL else []} for task in (BINARY, SEVERAL, REGRESSION)}
    return {task: declare(task=task, features=features, outcome=own) for task, own in outcomes.items()}


def log(task: str, seed: int, n: int, shift: float = 0.0, concept: str = "", rho: float = 0.0) -> pd.DataFrame:
    """Rows whose served model knows x1 only; ``concept`` is ``flip`` (x1 turns where x2 is positive) or ``slope`` (effects fade)."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, 3))
    for t in range(1, n if rho else 0):
        inputs[t] = rho * inputs[t - 1] + np.sqrt(1 - rho**2) * inputs[t]
    inputs[:, 0] += shift
    first, second, third = inputs.T
    served, truth = 1.3 * first, 1.5 * first + second * third
    truth = {"": truth, "flip": truth - 3 * first * (second > 0), "slope": 0.3 * truth}[concept]
    frame = pd.DataFrame(inputs, columns=["x1", "x2", "x3"]).assign(site=rng.choice(["north", "south"], n))
    if task == REGRESSION:
        return frame.assign(y_true=truth + rng.normal(size=n), y_pred=served)
    if task == SEVERAL:
        stated, happens = (softmax(np.stack([own, -own, np.zeros(n)], axis=1), axis=1) for own in (served, truth))
        drawn = (happens.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).astype(float)
        probabilities = {f"y_pred_proba_{place}": stated[:, place] for place in range(3)}
        return frame.assign(y_true=drawn, y_pred=stated.argmax(axis=1).astype(float), **probabilities)
    chance = 1 / (1 + np.exp(-served))
    return frame.assign(y_true=(rng.random(n) < 1 / (1 + np.exp(-truth))).astype(float), y_pred=(chance > 0.5) * 1.0, y_pred_proba=chance)


@every_task
@pytest.mark.parametrize("concept", ["flip", "slope"])
def test_outcomes_that_follow_differently_are_a_change_of_concept(policies, task: str, concept: str):
    found = [shadow_refit(policies[task], log(task, 0, 2000), log(task, seed, 400, concept=concept)) for seed in range(1, 3)]
    assert [one.says for one in found] == ["concept"] * 2
    assert all(one.gain_inside > 0 and one.n_inside > 350 for one in found)


@every_task
@pytest.mark.parametrize("change", [{}, {"shift": 1.0}, {"rho": 0.8}])
def test_null_twin_unchanged_outcomes_are_no_change_of_concept_whatever_the_inputs_do(policies, task: str, change):
    rho = change.get("rho", 0.0)
    found = [shadow_refit(policies[task], log(task, 0, 2000, rho=rho), log(task, seed, 400, **change)) for seed in range(1, 3)]
    assert [one.says for one in found] == ["neither"] * 2


@every_task
def test_inputs_far_from_the_reference_are_a_change_of_inputs(policies, task: str):
    found = shadow_refit(policies[task], log(task, 0, 2000), log(task, 1, 300, shift=3.0))
    assert found.says == "covariate"
    assert found.n_outside > found.n_inside


def test_a_hundred_rows_are_enough_for_a_gross_change_and_fewer_say_so(policies):
    reference, rows = log(BINARY, 0, 2000), log(BINARY, 1, 120, concept="flip")
    assert shadow_refit(policies[BINARY], reference, rows).says == "concept"
    few = shadow_refit(policies[BINARY], reference, rows.iloc[:60])
    assert few.says == "neither"
    assert "expected at least 100" in few.reason


def test_rows_without_outcome_do_not_count_and_the_callers_support_is_used(policies):
    reference, rows = log(REGRESSION, 0, 1500), log(REGRESSION, 1, 300, concept="flip")
    rows.loc[rows.index[:50], "y_true"] = np.nan
    inside = np.arange(300) < 200
    found = shadow_refit(policies[REGRESSION], reference, rows, inside)
    assert (found.n_inside, found.n_outside) == (150, 100)
    assert found == shadow_refit(policies[REGRESSION], reference, rows, inside)
    with pytest.raises(ValueError, match="one value per row"):
        shadow_refit(policies[REGRESSION], reference, rows, inside[:10])
