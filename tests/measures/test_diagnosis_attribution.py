"""What the predictions lean on: a feature that gains weight is named, ordinary chunks are not, and the state is plain data."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from monitoring_assets.measures.diagnosis.attribution import ALL_FEATURES, SHARE, TOTAL, Attribution, fit_attribution, measure_attribution
from monitoring_assets.measures.lines import COLUMNS

ROWS = 100


@pytest.fixture(scope="module")
def policy(declare):
    features = {"numeric": ["x1", "x2", "x3"], "categorical": ["site"]}
    return declare(task="binary_classification", features=features)


def log(seed: int, n: int, spread: float = 1.0, rho: float = 0.5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, 3))
    for t in range(1, n):
        inputs[t] = rho * inputs[t - 1] + np.sqrt(1 - rho**2) * inputs[t]
    inputs[:, 1] *= spread
    site = rng.choice(["north", "south"], n)
    odds = inputs[:, 0] + 0.5 * inputs[:, 1] + 0.3 * (site == "north")
    chance = 1 / (1 + np.exp(-odds))
    return pd.DataFrame(inputs, columns=["x1", "x2", "x3"]).assign(site=site, y_pred=(chance > 0.5) * 1.0, y_pred_proba=chance)


@pytest.fixture(scope="module")
def state(policy) -> Attribution:
    return Attribution.from_plain(json.loads(json.dumps(fit_attribution(policy, log(0, 3000), ROWS).as_plain())))


def test_the_surrogate_follows_the_served_predictions_and_finds_their_weights(policy, state):
    assert state.fidelity > 0.95
    shares = dict(zip(state.features, state.shares, strict=True))
    assert shares["x1"] == pytest.approx(2 * shares["x2"], rel=0.15)
    assert shares["x3"] < 0.05
    assert state == fit_attribution(policy, log(0, 3000), ROWS)


def test_a_feature_that_gained_weight_breaches_and_its_effect_is_the_change(policy, state):
    lines = measure_attribution(state, policy, log(1, ROWS, spread=3.0), "2024-01-01").set_index(["method", "subject"])
    assert list(lines.reset_index()[COLUMNS].columns) == COLUMNS
    assert lines.loc[(SHARE, "x2"), "breach"]
    assert lines.loc[(SHARE, "x2"), "effect"] > 0.1
    assert lines.loc[(TOTAL, ALL_FEATURES), "breach"]
    assert lines.loc[SHARE, "value"].sum() == pytest.approx(1.0)
    assert lines.loc[(TOTAL, ALL_FEATURES), "value"] == pytest.approx(lines.loc[SHARE, "effect"].abs().sum() / 2)


def test_null_twin_ordinary_chunks_breach_about_as_often_as_stated(policy, state):
    lines = pd.concat([measure_attribution(state, policy, log(seed, ROWS), "c", rate=0.05) for seed in range(100, 160)])
    for _, own in lines.groupby("method"):
        assert own["breach"].mean() <= 0.05 + 4 * np.sqrt(0.05 * 0.95 / 60)


def test_what_decides_between_several_classes_is_found(declare):
    policy = declare(
        task="multiclass_classification",
        outcome={"classes": ["a", "b", "c"]},
        features={"numeric": ["x1", "x2", "x3"], "categorical": ["site"]},
    )

    def several(seed: int, n: int, spread: float = 1.0) -> pd.DataFrame:
        rows = log(seed, n, spread).drop(columns="y_pred_proba")
        matrix = softmax(np.stack([rows["x1"], 0.5 * rows["x2"], np.zeros(n)], axis=1), axis=1)
        probabilities = {f"y_pred_proba_{place}": matrix[:, place] for place in range(3)}
        return rows.assign(y_pred=matrix.argmax(axis=1).astype(float), **probabilities)

    state = Attribution.from_plain(json.loads(json.dumps(fit_attribution(policy, several(0, 3000), ROWS).as_plain())))
    assert state.fidelity > 0.9
    shares = dict(zip(state.features, state.shares, strict=True))
    assert shares["x1"] > shares["x2"] > 3 * max(shares["x3"], shares["site"])
    spread, usual = (measure_attribution(state, policy, several(1, ROWS, own), "c").set_index(["method", "subject"]) for own in (3.0, 1.0))
    assert spread.loc[(SHARE, "x2"), "value"] > usual.loc[(SHARE, "x2"), "value"]
    assert spread.loc[(TOTAL, ALL_FEATURES), "breach"]
    assert not usual.loc[(TOTAL, ALL_FEATURES), "breach"]  # null twin
    assert spread.loc[SHARE, "value"].sum() == pytest.approx(1.0)


def test_unseen_categories_and_missing_values_are_explained_too(policy, state):
    rows = log(2, ROWS).assign(site="moon", x3=np.nan)
    assert measure_attribution(state, policy, rows, "c")["value"].notna().all()


def test_predictions_no_feature_explains_and_short_chunks_give_nan_and_say_why(policy, state):
    noise = log(0, 600).assign(y_pred_proba=np.random.default_rng(0).random(600))
    unexplained = fit_attribution(policy, noise, ROWS)
    for own, rows, reason in ((unexplained, log(1, ROWS), "fidelity"), (state, log(1, 5), "5 rows")):
        lines = measure_attribution(own, policy, rows, "c")
        assert lines["value"].isna().all()
        assert not lines["breach"].any()
        assert lines["reason"].str.contains(reason).all()
    assert "expected at least" in fit_attribution(policy, log(0, 20), ROWS).refusal
