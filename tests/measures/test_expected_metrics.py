"""Expected classification metrics, and how far the realized ones stray."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from monitoring_assets.measures import expected_metrics
from monitoring_assets.measures.expected_metrics import METRICS, expected

every_metric = pytest.mark.parametrize("metric", METRICS)
_SKLEARN = {
    "roc_auc": lambda y, scores, labels: sklearn_metrics.roc_auc_score(y, scores),
    "average_precision": lambda y, scores, labels: sklearn_metrics.average_precision_score(y, scores),
    "accuracy": lambda y, scores, labels: sklearn_metrics.accuracy_score(y, labels),
    "f1": lambda y, scores, labels: sklearn_metrics.f1_score(y, labels),
    "precision": lambda y, scores, labels: sklearn_metrics.precision_score(y, labels),
    "recall": lambda y, scores, labels: sklearn_metrics.recall_score(y, labels),
    "specificity": lambda y, scores, labels: sklearn_metrics.recall_score(y, labels, pos_label=0),
}


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(expected_metrics).failed == 0


def world(seed: int, n: int, digits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.random.Generator]:
    """Probabilities, scores with ties, predictions."""
    rng = np.random.default_rng(seed)
    scores = rng.random(n).round(digits)
    return np.clip(scores + rng.normal(0, 0.2, n), 0, 1), scores, (scores > 0.5).astype(float), rng


@every_metric
@given(seed=st.integers(0, 10_000), n=st.integers(20, 80), digits=st.integers(1, 6))
def test_with_outcomes_for_probabilities_the_metric_is_the_realized_one_and_has_no_error(metric: str, seed: int, n: int, digits: int):
    probabilities, scores, labels, rng = world(seed, n, digits)
    outcomes = (rng.random(n) < probabilities).astype(float)
    outcomes[:2], labels[:2] = [0, 1], [1, 0]
    found = expected(metric, outcomes, scores, labels)
    assert found.value == pytest.approx(_SKLEARN[metric](outcomes, scores, labels), abs=1e-12)
    assert found.standard_error == 0


@every_metric
@pytest.mark.parametrize("digits", [1, 6])
def test_value_and_error_are_mean_and_deviation_of_realized_metrics(metric: str, digits: int):
    probabilities, scores, labels, rng = world(3, 400, digits)
    drawn = [expected(metric, (rng.random(400) < probabilities).astype(float), scores, labels).value for _ in range(2000)]
    found = expected(metric, probabilities, scores, labels)
    assert found.value == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(2000) + 5e-4)
    assert found.standard_error == pytest.approx(np.std(drawn), rel=0.1)


@every_metric
@given(seed=st.integers(0, 1000))
def test_order_does_not_matter_and_the_value_is_a_share(metric: str, seed: int):
    probabilities, scores, labels, rng = world(seed, 50, 1)
    order = rng.permutation(50)
    one = expected(metric, probabilities, scores, labels)
    other = expected(metric, probabilities[order], scores[order], labels[order])
    assert 0 <= one.value <= 1
    assert (other.value, other.standard_error) == pytest.approx((one.value, one.standard_error))


@pytest.mark.parametrize(
    ("metric", "probabilities", "labels"),
    [("roc_auc", [1.0, 1.0], [1.0, 0.0]), ("average_precision", [0.0, 0.0], [1.0, 0.0]), ("precision", [0.3, 0.4], [0.0, 0.0]),
     ("recall", [0.0, 0.0], [1.0, 0.0]), ("specificity", [1.0, 1.0], [1.0, 0.0]), ("f1", [0.0, 0.0], [0.0, 0.0]), ("accuracy", [], [])],
)  # fmt: skip
def test_a_metric_without_denominator_is_nan(metric: str, probabilities: list[float], labels: list[float]):
    found = expected(metric, np.array(probabilities), np.linspace(0.1, 0.9, len(labels)), np.array(labels))
    assert np.isnan(found.value)
    assert np.isnan(found.standard_error)


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="expected one of roc_auc, average_precision"):
        expected("glory", np.ones(2), np.ones(2), np.ones(2))
