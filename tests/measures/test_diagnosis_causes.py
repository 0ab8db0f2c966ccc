"""Suspects, label shift and the placebo: each finds what was planted and stays silent on the null twin."""

import doctest
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from monitoring_assets.measures.diagnosis import likely_cause
from monitoring_assets.measures.diagnosis.label_shift import label_shift
from monitoring_assets.measures.diagnosis.likely_cause import rank_events, rank_features
from monitoring_assets.measures.diagnosis.placebo import metric_value, placebo
from monitoring_assets.measures.registry import METRICS, metric_names
from resources.vocabulary import Task

BINARY, SEVERAL, REGRESSION = Task.BINARY_CLASSIFICATION, Task.MULTICLASS_CLASSIFICATION, Task.REGRESSION
#: What a row is worth by outcome and prediction.
VALUES = ((1.0, -2.0), (-3.0, 4.0))
DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)


# --- label shift ------------------------------------------------------------------------------------------------------


def classified(rng: np.random.Generator, n: int, share: float, separation: float = 1.5) -> pd.DataFrame:
    truth = (rng.random(n) < share).astype(float)
    score = 1 / (1 + np.exp(-(rng.normal(size=n) + separation * truth)))
    return pd.DataFrame({"y_true": truth, "y_pred_proba": score, "y_pred": (score > 0.5) * 1.0})


def regressed(rng: np.random.Generator, n: int, mean: float, bias: float = 0.0) -> pd.DataFrame:
    truth = rng.normal(mean, 1, n)
    return pd.DataFrame({"y_true": truth, "y_pred": truth + bias + rng.normal(0, 0.7, n)})


def sorted_out(rng: np.random.Generator, n: int, share: float, separation: float = 1.5) -> pd.DataFrame:
    """Three classes, the first with ``share``."""
    truth = rng.choice(3, n, p=[share, (1 - share) / 2, (1 - share) / 2])
    matrix = softmax(rng.normal(size=(n, 3)) + separation * np.eye(3)[truth], axis=1)
    probabilities = {f"y_pred_proba_{place}": matrix[:, place] for place in range(3)}
    return pd.DataFrame({"y_true": truth.astype(float), "y_pred": matrix.argmax(axis=1).astype(float), **probabilities})


PLANTED = {BINARY: (classified, 0.3, 0.6, -0.5), SEVERAL: (sorted_out, 0.3, 0.6, -0.5), REGRESSION: (regressed, 0.0, 0.8, 1.5)}
every_task = pytest.mark.parametrize("task", PLANTED)


@every_task
def test_a_planted_label_shift_is_found_in_eight_of_ten_chunks(task: Task):
    make, usual, moved, _ = PLANTED[task]
    rng = np.random.default_rng(0)
    reference = make(rng, 3000, usual)
    found = [label_shift(reference, make(rng, 150, moved), task) for _ in range(30)]
    assert np.mean([one.is_shift for one in found]) >= 0.8
    assert found[0].prior_chunk - found[0].prior_reference == pytest.approx(moved - usual, abs=0.25)


@every_task
def test_null_twin_outcomes_as_frequent_as_ever_are_no_label_shift(task: Task):
    make, usual, _, _ = PLANTED[task]
    rng = np.random.default_rng(1)
    reference = make(rng, 3000, usual)
    assert np.mean([label_shift(reference, make(rng, 150, usual), task).is_shift for _ in range(60)]) <= 0.05


@every_task
def test_null_twin_predictions_that_changed_given_the_outcome_are_no_label_shift(task: Task):
    make, usual, moved, other = PLANTED[task]
    rng = np.random.default_rng(2)
    reference = make(rng, 3000, usual)
    assert not any(label_shift(reference, make(rng, 150, moved, other), task).is_shift for _ in range(30))


@pytest.mark.parametrize("task", [BINARY, REGRESSION])
def test_null_twin_outcomes_that_the_predictions_foresaw_are_no_label_shift(task: Task):
    rng = np.random.default_rng(4)

    def drawn(n: int, centre: float) -> pd.DataFrame:
        inputs = rng.normal(centre, 1, n)
        chance = 1 / (1 + np.exp(-inputs))
        truth = (rng.random(n) < chance) * 1.0 if task is BINARY else inputs + rng.normal(0, 0.3, n)
        return pd.DataFrame({"y_true": truth, "y_pred": inputs, "y_pred_proba": chance})

    reference = drawn(3000, 0.0)
    found = [label_shift(reference, drawn(150, 0.6), task) for _ in range(30)]
    assert np.mean([one.p_value < 0.01 for one in found]) > 0.5
    assert np.mean([one.unexplained_p_value < 0.01 for one in found]) <= 0.1
    assert np.mean([one.is_shift for one in found]) <= 0.05


def test_null_twin_long_runs_of_one_class_are_no_label_shift():
    rng = np.random.default_rng(3)
    reference, *chunks = (classified(rng, n, 0.0).assign(y_true=runs(rng, n)) for n in (6000, *[300] * 25))
    naive = np.mean([abs(own["y_true"].mean() - 0.5) > 2.58 * 0.5 / np.sqrt(300) for own in chunks])
    assert naive > 0.3
    assert np.mean([label_shift(reference, own, BINARY).p_value < 0.01 for own in chunks]) <= 0.1


def runs(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.cumsum(rng.random(n) < 0.05) % 2 * 1.0


def test_too_few_outcomes_say_so():
    rows = classified(np.random.default_rng(0), 20, 0.3)
    assert "expected at least 50" in label_shift(rows, rows, BINARY).reason


# --- suspects ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Happening:
    at: datetime
    what: str


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(likely_cause).failed == 0


def test_the_event_before_the_onset_outranks_one_as_far_after_it_and_one_long_ago():
    events = [Happening(START + day * DAY, name) for day, name in ((10, "long ago"), (52, "after"), (48, "before"), (200, "outside"))]
    found = rank_events(events, START + 50 * DAY, (START, START + 100 * DAY), chunk=7 * DAY)
    assert [one.what for one in found] == ["before", "after", "long ago"]
    assert found[0].p_value == pytest.approx(0.12)
    assert found[0].distance_hours == 48.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8), st.integers(0, 1000))
def test_null_twin_at_a_random_moment_the_nearest_event_is_significant_as_often_as_stated(days: list[float], seed: int):
    events = [Happening(START + day * DAY, str(day)) for day in days]
    onsets = np.random.default_rng(seed).uniform(0, 100, 60)
    chances = [min(one.p_value for one in rank_events(events, START + day * DAY, (START, START + 100 * DAY))) for day in onsets]
    assert np.mean(np.array(chances) < 0.2) <= 0.2 + 4 * np.sqrt(0.2 * 0.8 / 60)


def test_an_onset_outside_the_span_is_refused():
    with pytest.raises(ValueError, match="span"):
        rank_events([], START - DAY, (START, START + DAY))


def test_the_drifted_feature_the_model_looks_at_is_the_first_suspect():
    found = rank_features({"age": 0.1, "income": 0.8, "noise": 0.9}, {"age": 0.6, "income": 0.4, "noise": 0.0}, {"income": -0.1})
    assert [one.feature for one in found] == ["income", "age", "noise"]
    assert sum(one.score for one in found) == pytest.approx(1.0)
    assert found[-1].score == 0.0


def test_null_twin_without_drift_no_feature_is_suspect():
    assert [one.score for one in rank_features({"a": 0.0, "b": float("nan")}, {"a": 0.5, "b": 0.5})] == [0.0, 0.0]


# --- placebo ----------------------------------------------------------------------------------------------------------


def served(task: Task, seed: int, n: int, harm: float = 0.0, rho: float = 0.6) -> pd.DataFrame:
    """Rows with errors that depend on their neighbours; ``harm`` makes predictions worse."""
    rng = np.random.default_rng(seed)
    noise, shocks = rng.normal(size=(2, n))
    drift = noise.copy()
    for t in range(1, n):
        drift[t] = rho * drift[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    if task is REGRESSION:
        return pd.DataFrame({"y_true": 10 + shocks, "y_pred": 10 + shocks + (0.5 + harm) * drift})
    if task is SEVERAL:
        truth = rng.choice(3, n)
        ease = (1.5 - harm) + 0.8 * drift + 0.5 * shocks
        matrix = softmax(ease[:, np.newaxis] * np.eye(3)[truth] + 0.1 * rng.normal(size=(n, 3)), axis=1)
        probabilities = {f"y_pred_proba_{place}": matrix[:, place] for place in range(3)}
        return pd.DataFrame({"y_true": truth.astype(float), "y_pred": matrix.argmax(axis=1).astype(float), **probabilities})
    truth = (rng.random(n) < 0.4).astype(float)
    score = 1 / (1 + np.exp(-(2 * truth - 1) * (1.5 - harm) - 0.8 * drift - 0.5 * shocks))
    return pd.DataFrame({"y_true": truth, "y_pred": (score >= 0.5).astype(float), "y_pred_proba": score})


@pytest.mark.parametrize(("task", "metric"), [name for name in METRICS if name[0] is not Task.FORECAST])  # forecasters have no diagnosis
def test_planted_harm_is_more_than_noise_in_every_metric(task: Task, metric: str):
    bad = served(task, 1, 120, harm=1.3)
    found = placebo(served(task, 0, 4000), task, metric, metric_value(bad, metric, VALUES), 120, VALUES)
    assert found.p_value < 0.01
    assert found.counted_p_value == pytest.approx(1 / (1 + found.n_blocks))


@pytest.mark.parametrize(("task", "metric"), [(BINARY, "roc_auc"), (REGRESSION, "mae")])
def test_null_twin_an_ordinary_chunk_is_significant_as_often_as_stated(task: Task, metric: str):
    reference = served(task, 0, 4000)
    chances = [placebo(reference, task, metric, metric_value(served(task, seed, 120), metric), 120).p_value for seed in range(1, 13)]
    assert np.mean(np.array(chances) < 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 12)
    assert 0.25 < np.mean(chances) < 0.75


def test_with_many_blocks_counting_gives_the_chance():
    found = placebo(served(REGRESSION, 0, 4000), REGRESSION, "mae", 100.0, 20)
    assert found.n_separate == 200
    assert found.p_value == found.counted_p_value == pytest.approx(1 / 201)


def test_a_metric_of_another_task_and_a_short_reference_say_so():
    with pytest.raises(ValueError, match="expected one of mae"):
        placebo(served(REGRESSION, 0, 100), REGRESSION, "roc_auc", 0.5, 10)
    assert "at least 160 reference rows" in placebo(served(REGRESSION, 0, 100), REGRESSION, "mae", 0.5, 80).reason


def test_undefined_metrics_are_nan():
    one_class = pd.DataFrame({"y_true": [0.0, 0.0], "y_pred": [0.0, 0.0], "y_pred_proba": [0.1, 0.2]})
    values = {metric: metric_value(one_class, metric, VALUES) for metric in metric_names(BINARY)}
    assert {metric for metric, value in values.items() if np.isnan(value)} == {"roc_auc", "average_precision", "precision", "recall", "f1"}
    assert np.isnan(metric_value(pd.DataFrame({"y_true": [0.0], "y_pred": [1.0]}), "mape"))
