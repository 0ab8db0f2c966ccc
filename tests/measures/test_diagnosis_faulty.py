"""Columns that lie are named; a changed rule of outcomes, rows of another kind and chance are not blamed on a column."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring_assets.measures.diagnosis.faulty import FEWEST_ROWS, find_faulty_columns, moved_columns

BINARY, REGRESSION = "binary_classification", "regression"
every_task = pytest.mark.parametrize("task", [BINARY, REGRESSION])
SITES = ["north", "south"]


@pytest.fixture
def policy_of(declare):
    features = {"numeric": ["x1", "x2", "x3"], "categorical": ["site"]}
    return {task: declare(task=task, features=features) for task in (BINARY, REGRESSION)}


def log(task: str, seed: int, n: int, centre: float = 0.0, turn: float = 1.0) -> pd.DataFrame:
    """Rows whose outcome follows from all three numbers; ``centre`` of x1, and ``turn`` times its effect."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["x1", "x2", "x3"]).assign(site=rng.choice(SITES, n))
    frame["x1"] += centre
    told = 2.0 * turn * frame["x1"] + 1.5 * frame["x2"] + frame["x3"]
    if task == REGRESSION:
        return frame.assign(y_true=told + rng.normal(size=n))
    return frame.assign(y_true=(rng.random(n) < 1 / (1 + np.exp(-told))).astype(float))


def lying(rows: pd.DataFrame, fault: str) -> pd.DataFrame:
    """The same rows with a sensor that lies: the outcomes are those of the true state."""
    noise = np.random.default_rng(9).normal(size=len(rows))
    return rows.assign(x1={"offset": rows["x1"] + 2.0, "noise": rows["x1"] + 2.0 * noise, "dead": rows["x1"] * 0.0}[fault])


@every_task
@pytest.mark.parametrize("fault", ["offset", "noise", "dead"])
def test_a_sensor_that_lies_is_named(policy_of, task: str, fault: str):
    found = find_faulty_columns(policy_of[task], log(task, 0, 3000), lying(log(task, 1, 600), fault))
    assert found.columns == ("x1",)
    assert found.recovery.startswith("x1 moved")
    assert found.harm > 3 * found.standard_error
    assert abs(found.left) < found.harm / 2
    assert found.reason == ""


@every_task
@pytest.mark.parametrize("seed", range(1, 6))
def test_null_twin_without_a_fault_no_column_is_named(policy_of, task: str, seed: int):
    found = find_faulty_columns(policy_of[task], log(task, 0, 3000), log(task, seed, 600))
    assert found.columns == ()
    assert found.recovery == ""
    assert "0 of 4 columns moved" in found.reason


@every_task
def test_null_twin_another_rule_from_untouched_inputs_is_blamed_on_no_column(policy_of, task: str):
    found = [find_faulty_columns(policy_of[task], log(task, 0, 3000), log(task, seed, 600, turn=-1.0)) for seed in range(1, 6)]
    assert [one.columns for one in found] == [()] * 5


def test_null_twin_another_rule_together_with_a_moved_column_is_not_blamed_on_it(policy_of):
    rows = log(REGRESSION, 1, 600)
    changed = rows.assign(x3=rows["x3"] + 2.0, y_true=rows["y_true"] + 3.0 * rows["x2"])
    found = find_faulty_columns(policy_of[REGRESSION], log(REGRESSION, 0, 3000), changed)
    assert found.columns == ()
    assert "without x3 outcomes do not follow" in found.reason
    assert found.p_value < 0.01
    assert find_faulty_columns(policy_of[REGRESSION], log(REGRESSION, 0, 3000), rows.assign(x3=rows["x3"] + 2.0)).columns == ("x3",)


@every_task
def test_null_twin_rows_of_another_kind_bring_other_outcomes_and_no_blame(policy_of, task: str):
    found = find_faulty_columns(policy_of[task], log(task, 0, 3000), log(task, 1, 600, centre=1.0))
    assert found.columns == ()
    assert "outcomes are not as frequent" in found.reason


def test_a_category_that_lies_is_named(policy_of):
    def sited(seed: int, n: int) -> pd.DataFrame:
        rows = log(REGRESSION, seed, n)
        return rows.assign(y_true=rows["y_true"] + 4.0 * (rows["site"] == "north"))

    rows = sited(1, 600)
    assert find_faulty_columns(policy_of[REGRESSION], sited(0, 3000), rows.assign(site="south")).columns == ("site",)
    assert find_faulty_columns(policy_of[REGRESSION], sited(0, 3000), rows).columns == ()


def test_too_few_outcomes_say_so(policy_of):
    rows = log(REGRESSION, 1, FEWEST_ROWS)
    rows.loc[0, "y_true"] = np.nan
    found = find_faulty_columns(policy_of[REGRESSION], log(REGRESSION, 0, 3000), rows)
    assert (found.columns, found.n_rows) == ((), FEWEST_ROWS - 1)
    assert f"got 3000 labelled reference rows and {FEWEST_ROWS - 1} of the chunk" in found.reason


def test_columns_are_taken_for_moved_on_about_one_chunk_in_a_hundred(policy_of):
    reference = log(BINARY, 0, 3000)
    alarms = [len(moved_columns(policy_of[BINARY], reference, log(BINARY, seed, 300))) > 0 for seed in range(1, 61)]
    assert np.mean(alarms) <= 0.05


@settings(max_examples=15, deadline=None)
@given(scale=st.floats(0.01, 100), shift=st.floats(-100, 100))
def test_units_do_not_matter_to_what_moved(scale: float, shift: float):
    from resources.policy import MonitoredModel

    policy = MonitoredModel.model_validate({
        "model": "m", "task": REGRESSION, "log": {"parquet": "l", "time": "t", "id": "i"}, "features": {"numeric": ["x1", "x2"]},
        "outcome": {"column": "y"}, "reference": {"start": "2024-01-01", "end": "2024-02-01"},
    })  # fmt: skip
    before, now = log(REGRESSION, 0, 800), log(REGRESSION, 1, 200, centre=0.6)
    usual = moved_columns(policy, before, now)
    assert usual == ("x1",)
    assert moved_columns(policy, *(rows.assign(x1=rows["x1"] * scale + shift) for rows in (before, now))) == usual
