"""An estimate is believed while its assumptions hold, and not a moment longer; without a fault it is believed."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from sklearn.metrics import brier_score_loss

from monitoring_assets.measures.trust import (
    WINDOW,
    fit_support,
    is_outside,
    reconcile,
    reference_calibration,
    support_as_plain,
    support_from_plain,
    support_limit,
    support_loss,
)


@pytest.fixture(scope="module")
def policy(declare):
    return declare(features={"numeric": ["x1", "x2", "x3"], "categorical": ["site"]})


def rows_of(n_rows, seed, memory=0.7):
    """Autocorrelated sensors, two of which move together, and a site."""
    rng = np.random.default_rng(seed)
    x1, x3 = lfilter([np.sqrt(1 - memory**2)], [1, -memory], rng.normal(size=(2, n_rows)))
    return pd.DataFrame({"x1": x1, "x2": 0.9 * x1 + 0.3 * rng.normal(size=n_rows), "x3": x3, "site": rng.choice(["a", "b"], n_rows)})


@pytest.fixture(scope="module")
def support(policy):
    return fit_support(rows_of(8000, 0), policy.features, 200, 0)


def test_chunks_like_the_reference_lose_no_support(policy, support):
    found = [support_loss(support, rows_of(200, seed), policy.features).value for seed in range(1, 61)]
    assert np.mean(found) < 0.03
    assert sum(value > support_limit(support, 0.01, 200) for value in found) == 0


@pytest.mark.parametrize("fault", ["shifted", "swapped", "new range"])
def test_rows_the_reference_never_had_lie_outside(policy, support, fault):
    rows = rows_of(200, 1)
    if fault == "shifted":
        rows["x3"] += 6.0
    elif fault == "swapped":
        rows["x2"] = -rows["x2"]  # every value is ordinary, no pair of values is
    else:
        rows["x1"], rows["x2"] = 9.0, 8.0
    found = support_loss(support, rows, policy.features)
    assert found.value > support_limit(support, 0.01, 200)
    assert found.n_rows == 200
    assert is_outside(support, rows, policy.features).mean() == pytest.approx(found.value)


def test_what_is_stored_says_the_same(policy, support):
    rows = rows_of(300, 5)
    again = support_from_plain(support_as_plain(support), support.state)
    assert support_loss(again, rows, policy.features) == support_loss(support, rows, policy.features)
    assert support_limit(again, 0.01, 300) == support_limit(support, 0.01, 300)


def test_a_reference_too_short_to_be_cut_has_no_support(policy):
    assert fit_support(rows_of(20, 0), policy.features, 5, 0) is None
    assert np.isnan(support_loss(fit_support(rows_of(500, 0), policy.features, 50, 0), rows_of(0, 0), policy.features).value)


def probabilities(n_rows, seed):
    rng = np.random.default_rng(seed)
    own = rng.beta(2, 3, n_rows)
    return own, (rng.random(n_rows) < own).astype("float64"), rng


def test_confidence_that_is_deserved_is_calibrated_and_one_that_changed_is_not():
    off = {"null twin": 0, "fault": 0}
    for seed in range(40):
        own, outcomes, rng = probabilities(4000, seed)
        found = reference_calibration(own, outcomes, seed)
        off["null twin"] += found.value > found.limit
        outcomes[2000:] = rng.random(2000) < own[2000:] * 0.7  # later on, fewer positives than promised
        found = reference_calibration(own, outcomes, seed)
        off["fault"] += found.value > found.limit
    assert off["null twin"] == 0
    assert off["fault"] == 40


def test_squashed_confidence_is_no_fault_because_it_can_be_calibrated():
    own, outcomes, _ = probabilities(6000, 0)
    squashed = 0.4 + 0.2 * own
    assert brier_score_loss(outcomes, squashed) > brier_score_loss(outcomes, own)
    found = reference_calibration(squashed, outcomes, 0)
    assert found.value < found.limit


def test_one_class_alone_says_nothing_about_calibration():
    found = reference_calibration(np.full(50, 0.3), np.zeros(50), 0)
    assert np.isnan(found.value)
    assert found.n_rows == 0


def chunks(seed, bias, spread=0.02, error=0.01):
    rng = np.random.default_rng(seed)
    realized = 0.8 + spread * rng.normal(size=20)
    return list(0.8 + bias + np.zeros(20)), list(realized), spread, [error] * 20


def test_an_estimate_that_agrees_with_outcomes_is_believed_and_a_biased_one_is_not_after_a_window():
    assert sum(reconcile(*chunks(seed, 0.0)).is_off for seed in range(200)) <= 4
    assert all(reconcile(*chunks(seed, 0.08)).is_off for seed in range(200))


@pytest.mark.parametrize(("bias", "after"), [(0.2, 1), (0.05, 2), (0.028, 5), (0.0, None)])
def test_the_larger_the_miss_the_fewer_labelled_chunks_it_takes(bias, after):
    told = [reconcile([0.8 + bias] * count, [0.8] * count, 0.02, [0.0] * count).is_off for count in range(1, 8)]
    assert (told.index(True) + 1 if any(told) else None) == after
    assert np.isnan(reconcile([], [], 0.02, []).bias)


@given(gaps=st.lists(st.floats(-1, 1), min_size=1, max_size=12))
def test_bias_and_error_are_those_of_the_window_that_decided(gaps):
    found = reconcile([0.5 + gap for gap in gaps], [0.5] * len(gaps), 0.1, [0.0] * len(gaps))
    latest = np.array(gaps[-found.n_chunks :])
    assert found.is_off or found.n_chunks == min(WINDOW, len(gaps))
    assert found.bias == pytest.approx(latest.mean(), abs=1e-12)
    assert found.mean_absolute_error == pytest.approx(np.abs(latest).mean(), abs=1e-12)
