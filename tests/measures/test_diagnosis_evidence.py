"""Evidence becomes lines: which tests run when, and what their lines say."""

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.measures.breaches import ALL_FEATURES
from monitoring_assets.measures.diagnosis.diagnose import (
    FAULTY_COLUMNS,
    LABEL_SHIFT,
    PLACEBO,
    REMAPPING,
    SHADOW_REFIT,
    UNIT_CHANGE,
    Symptoms,
    diagnose,
)
from monitoring_assets.measures.lines import COLUMNS
from resources.vocabulary import Kind

HARM = {PLACEBO, LABEL_SHIFT, SHADOW_REFIT, FAULTY_COLUMNS}


@pytest.fixture
def policy(declare):
    return declare(task="regression", features={"numeric": ["x1", "x2", "x3"]})


def log(seed: int, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["x1", "x2", "x3"]).assign(chunk="2024-01-01")
    frame["x2"] = 5 + 0.8 * frame["x1"] + 0.6 * frame["x2"]
    told = 2 * frame["x1"] + frame["x2"]
    return frame.assign(y_true=told + rng.normal(size=n), y_pred=told)


def served(rows: pd.DataFrame) -> pd.DataFrame:
    """What the model says of the columns as they are."""
    return rows.assign(y_pred=2 * rows["x1"] + rows["x2"])


def symptoms_of(rows: pd.DataFrame, has_drifted: bool = True) -> Symptoms:
    return Symptoms(has_drifted, "mae", float((rows["y_true"] - rows["y_pred"]).abs().mean()), len(rows))


def pointing(lines: pd.DataFrame) -> set[str]:
    return set(lines.loc[lines["breach"], "method"])


def test_a_sensor_that_lies_is_named_in_a_line_of_its_own_and_in_one_over_all(policy):
    rows = served(log(1, 500).assign(x1=lambda own: own["x1"] + 3.0))
    lines = diagnose(policy, log(0, 3000), rows, symptoms_of(rows), None)
    own = lines[lines["method"] == FAULTY_COLUMNS].set_index("subject")
    assert list(own.index) == ["x1", ALL_FEATURES]
    assert own["breach"].all()
    assert own["reason"].iloc[1].startswith("x1 moved")
    assert {PLACEBO, FAULTY_COLUMNS} <= pointing(lines)


def test_null_twin_on_a_sound_chunk_the_same_tests_point_at_nothing(policy):
    rows = log(1, 500)
    lines = diagnose(policy, log(0, 3000), rows, symptoms_of(rows), None)
    assert set(lines["method"]) == HARM
    assert pointing(lines) == set()


def test_without_harm_only_columns_are_looked_at(policy):
    rows = log(1, 500)
    swapped = served(rows.assign(x1=rows["x2"], x2=rows["x1"]))
    found = diagnose(policy, log(0, 3000), swapped, Symptoms(has_drifted=True), None)
    assert set(found["method"]) == {REMAPPING}
    assert set(found["subject"]) > {"x1", "x2"}
    assert diagnose(policy, log(0, 3000), rows, Symptoms(has_drifted=True), None).empty


def test_columns_in_another_unit_are_told_where_none_trade_places(policy):
    rows = log(1, 500).assign(x2=lambda own: own["x2"] * 25.4)
    found = diagnose(policy, log(0, 3000), served(rows), Symptoms(has_drifted=True), None)
    assert list(found["method"]) == [UNIT_CHANGE]
    assert "inches became millimetres" in found["reason"].iloc[0]


def test_nothing_is_asked_where_nothing_moved_and_nothing_hurts(policy):
    lines = diagnose(policy, log(0, 3000), log(1, 500), Symptoms(has_drifted=False), None)
    assert lines.empty
    assert list(lines.columns) == COLUMNS


def test_evidence_decides_nothing_by_itself(policy):
    rows = log(1, 500)
    lines = diagnose(policy, log(0, 3000), rows, symptoms_of(rows), None)
    assert not lines["is_deciding"].any()
    assert (lines["kind"] == Kind.DIAGNOSIS).all()
    assert (lines["chunk"] == "2024-01-01").all()
