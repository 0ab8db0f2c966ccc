"""Do outcomes follow differently from the same inputs? A shadow model learns from the drifted rows and is compared where inputs are alike.

Belongs here: the two models, the rows that lie inside the reference's support, the test of the gain. Does not: retraining of
the model that serves.

Two models fitted apart differ by chance more than by concept on a few hundred rows. So the shadow is a small correction, learned
from the drifted rows, on top of the reference model's score: without a change of concept it has nothing to add.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from monitoring_assets.measures.diagnosis.coding import coded_features
from monitoring_assets.measures.limits import design_effect
from monitoring_assets.measures.number import NAN
from monitoring_assets.measures.probabilities import probability_columns, probability_of
from resources.vocabulary import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import MonitoredModel

Saying = Literal["concept", "covariate", "neither"]

#: Chance of calling unchanged outcomes a change of concept.
FALSE_ALARMS = 0.02
#: Fewest labelled rows of the chunk, and fewest of them inside.
FEWEST_ROWS, FEWEST_INSIDE = 100, 50
#: A row is outside where the domain classifier gives the chunk at least this probability, both sides weighing the same.
OUTSIDE = 0.9
#: A larger share of rows outside is a change of inputs.
OUTSIDE_SHARE = 0.1
#: Where most rows are outside, those inside are its margin and prove no change of concept.
MOSTLY_OUTSIDE = 0.5
FOLDS = 5
_MOST_REFERENCE = 5000
_COMMON = {"num_threads": 1, "verbosity": -1, "deterministic": True, "force_col_wise": True, "learning_rate": 0.05}
_BASE = {**_COMMON, "num_leaves": 8, "min_data_in_leaf": 20, "lambda_l2": 5.0}
_CORRECTION = {**_COMMON, "num_leaves": 4, "min_data_in_leaf": 15, "lambda_l2": 10.0}
_BASE_ROUNDS, _CORRECTION_ROUNDS, _DOMAIN_ROUNDS = 250, 40, 60
#: Reference blocks on which the same comparison is rehearsed.
_REHEARSALS = 3


@dataclass(frozen=True)
class ShadowRefit:
    """What the drifted rows teach that the reference did not.

    Attributes:
        gain_inside: mean fall of the loss by the correction on rows inside the reference's support: log loss (nats) of classifiers,
            squared error in units of the reference's residual variance of regressions. Negative where the correction only adds noise.
        gain_outside: the same on the other rows; NaN where there are none.
        standard_error: of ``gain_inside``, with allowance for autocorrelation.
        p_value: one-sided chance of so large a gain inside without a change of concept; NaN where it cannot be told.
        n_inside: labelled rows inside.
        n_outside: labelled rows outside.
        says: ``concept`` where the gain inside is significant and at most half of the rows are outside; else ``covariate`` where more
            than a tenth of the rows are outside; else ``neither``.
        reason: why nothing could be told.
    """

    gain_inside: float
    gain_outside: float
    standard_error: float
    p_value: float
    n_inside: int
    n_outside: int
    says: Saying
    reason: str = ""


def shadow_refit(
    policy: "MonitoredModel", reference: "pd.DataFrame", rows: "pd.DataFrame", is_inside: "np.ndarray | None" = None
) -> ShadowRefit:
    """Separate a change of concept from a change of inputs.

    Args:
        policy: declares features and task.
        reference: ``(n_reference, ...)`` with features, ``y_true`` and the served predictions; rows without outcome are left out.
        rows: ``(n_rows, ...)`` of one or more chunks in time order, likewise.
        is_inside: ``(n_rows,)`` whether a row lies in the reference's support; without it a cross-fitted domain classifier tells.

    Returns:
        The comparison. Deterministic. It costs some thirty small fits.

    Raises:
        ValueError: ``is_inside`` is not as long as ``rows``.

    Source: cross-fitting as in Chernozhukov et al. (2018), Double/debiased machine learning; the reference model is weighted towards
    the chunk's inputs as in Shimodaira (2000), so that it does not lose only because they moved.
    """
    import numpy as np

    if is_inside is not None and len(is_inside) != len(rows):
        raise ValueError(f"got is_inside of {len(is_inside)} for {len(rows)} rows; expected one value per row")
    is_labelled = _is_labelled(policy, rows)
    before, now = reference[_is_labelled(policy, reference)], rows[is_labelled]
    if min(len(before), len(now)) < FEWEST_ROWS:
        reason = f"got {len(before)} labelled reference rows and {len(now)} of the chunk; expected at least {FEWEST_ROWS} each"
        return ShadowRefit(NAN, NAN, NAN, NAN, 0, 0, "neither", reason)
    before = before.iloc[np.linspace(0, len(before) - 1, min(len(before), _MOST_REFERENCE)).astype("int64")]
    sides = _Sides.of(policy, before, now)
    weights, probability = _domain(sides)
    inside = probability < OUTSIDE if is_inside is None else np.asarray(is_inside, dtype=bool)[is_labelled]
    return _judged(_gains(sides, weights), inside)


def _is_labelled(policy: "MonitoredModel", rows: "pd.DataFrame") -> "np.ndarray":
    names = probability_columns(rows) if policy.task is not Task.REGRESSION else ["y_pred"]
    return rows[["y_true", *names]].notna().all(axis=1).to_numpy()


def _scored(policy: "MonitoredModel", rows: "pd.DataFrame") -> "tuple[np.ndarray, np.ndarray]":
    """Served scores and outcomes ``(n_rows,)``; of several classes how likely the first choice is, and whether it happened."""
    truth = rows["y_true"].to_numpy(dtype="float64")
    probability = None if policy.task is Task.REGRESSION else probability_of(rows)
    if probability is None:
        return rows["y_pred"].to_numpy(dtype="float64"), truth
    if probability.ndim == 2:
        return probability.max(axis=1), (probability.argmax(axis=1) == truth).astype("float64")
    return probability, truth


@dataclass(frozen=True)
class _Sides:
    """Inputs, served scores (log odds of classifiers, else in the outcome's unit) and outcomes of both samples."""

    is_binary: bool
    inputs: "np.ndarray"
    scores: "np.ndarray"
    outcomes: "np.ndarray"
    n_reference: int

    @classmethod
    def of(cls, policy: "MonitoredModel", before: "pd.DataFrame", now: "pd.DataFrame") -> "_Sides":
        import numpy as np
        import pandas as pd

        both = pd.concat([before, now], ignore_index=True)
        scores, outcomes = _scored(policy, both)
        is_binary = policy.task is not Task.REGRESSION
        if is_binary:
            clipped = np.clip(scores, 0.005, 0.995)
            scores = np.log(clipped / (1 - clipped))
        inputs = np.column_stack([coded_features(policy.features, both), scores])
        return cls(is_binary, inputs, scores, outcomes, len(before))

    def losses(self, scores: "np.ndarray", places: "np.ndarray") -> "np.ndarray":
        """Loss of each row of ``places`` under ``scores``."""
        import numpy as np

        truth = self.outcomes[places]
        return np.logaddexp(0.0, scores) - truth * scores if self.is_binary else (truth - scores) ** 2


def _fitted(objective: str, parameters: dict[str, Any], rounds: int, *data: "np.ndarray | None") -> Any:
    """Booster of ``inputs, target, weight, starting score``."""
    import lightgbm

    inputs, target, weight, start = data
    own = {**parameters, "objective": objective}
    dataset = lightgbm.Dataset(inputs, target, weight=weight, init_score=start, params=own)
    return lightgbm.train(own, dataset, num_boost_round=rounds)


def _folds(n_rows: int) -> "np.ndarray":
    """Fold of each row ``(n_rows,)``: contiguous parts, since neighbours know each other's outcome."""
    import numpy as np

    return np.arange(n_rows) * FOLDS // n_rows


def _domain(sides: _Sides) -> "tuple[np.ndarray, np.ndarray]":
    """Cross-fitted density ratio of the reference rows (clipped to [0.05, 20], mean 1), and chunk probability of the chunk's rows."""
    import numpy as np

    n, m = sides.n_reference, len(sides.inputs) - sides.n_reference
    is_chunk = np.r_[np.zeros(n), np.ones(m)]
    weight = np.where(is_chunk == 1, 0.5 / m, 0.5 / n) * (n + m)
    folds = np.random.default_rng(0).permutation(n + m) % FOLDS
    probability = np.empty(n + m)
    inputs = sides.inputs[:, :-1]  # the score is a function of the inputs
    for fold in range(FOLDS):
        own = folds != fold
        model = _fitted("binary", _BASE, _DOMAIN_ROUNDS, inputs[own], is_chunk[own], weight[own], None)
        probability[~own] = model.predict(inputs[~own], num_threads=1)
    ratio = np.clip(probability[:n] / (1 - probability[:n]), 0.05, 20.0)
    return ratio / ratio.mean(), probability[n:]


def _gains(sides: _Sides, weights: "np.ndarray") -> "np.ndarray":
    """Fall of the loss of each chunk row ``(n_rows,)`` by the correction, less what it gains on reference rows left out.

    A reference model that has not learned all there is can be improved on any rows; the rehearsal takes that off.
    """
    import numpy as np

    n, count = sides.n_reference, len(sides.inputs)
    before, now = np.arange(n), np.arange(n, count)
    gains = _corrected_gains(sides, weights, before, now)
    size = min(count - n, n // 5)
    rehearsed = []
    for start in np.linspace(0, n - size, _REHEARSALS).astype("int64"):
        held = before[start : start + size]
        own = _corrected_gains(sides, weights, np.setdiff1d(before, held), held)
        rehearsed.append(float(np.average(own, weights=weights[held])))
    return gains - max(float(np.mean(rehearsed)), 0.0)


def _corrected_gains(sides: _Sides, weights: "np.ndarray", before: "np.ndarray", now: "np.ndarray") -> "np.ndarray":
    """Fall of the loss of the rows ``now`` by a correction, learned from their other folds, of a model fitted on the rows ``before``."""
    import numpy as np

    objective = "binary" if sides.is_binary else "regression"
    base = _fitted(objective, _BASE, _BASE_ROUNDS, sides.inputs[before], sides.outcomes[before], weights[before], sides.scores[before])
    scores = sides.scores[now] + base.predict(sides.inputs[now], raw_score=True, num_threads=1)
    inputs, outcomes = np.column_stack([sides.inputs[now], scores]), sides.outcomes[now]
    corrected, folds = np.empty(len(now)), _folds(len(now))
    for fold in range(FOLDS):
        own = folds != fold
        model = _fitted(objective, _CORRECTION, _CORRECTION_ROUNDS, inputs[own], outcomes[own], None, scores[own])
        corrected[~own] = scores[~own] + model.predict(inputs[~own], raw_score=True, num_threads=1)
    scale = 1.0 if sides.is_binary else max(float(np.var((sides.outcomes - sides.scores)[before])), 1e-12)
    return np.asarray((sides.losses(scores, now) - sides.losses(corrected, now)) / scale)


def _judged(gains: "np.ndarray", inside: "np.ndarray") -> ShadowRefit:
    """Test the gain inside; neighbouring gains that are alike count as fewer."""
    from scipy.stats import t

    own, other = gains[inside], gains[~inside]
    outside = float(other.mean()) if len(other) else NAN
    moved: Saying = "covariate" if len(other) > OUTSIDE_SHARE * len(gains) else "neither"
    if len(own) < FEWEST_INSIDE:
        reason = f"got {len(own)} labelled rows inside the reference's support; expected at least {FEWEST_INSIDE}"
        return ShadowRefit(NAN, outside, NAN, NAN, len(own), len(other), moved, reason)
    effective = len(own) / design_effect(own)
    gain, error = float(own.mean()), float(own.std(ddof=1)) / math.sqrt(effective)
    chance = float(t.sf(gain / max(error, 1e-12), max(effective - 1, 1)))
    is_concept = chance < FALSE_ALARMS and len(other) <= MOSTLY_OUTSIDE * len(gains)
    return ShadowRefit(gain, outside, error, chance, len(own), len(other), "concept" if is_concept else moved)
