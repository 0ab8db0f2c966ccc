"""From a score and the features to the probability of the outcome, so that it stays true when the inputs move.

Belongs here: the two calibrations, each fitted on the reference with outcomes and able to say what it would have said of a
reference chunk it had not seen. Does not: metrics, limits, chunks in time (``adaptive.py``). States are plain arrays and texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.density_ratio import ratio_of_codes

if TYPE_CHECKING:
    import numpy as np

#: Boosting of ``m_cbpe``: most rounds; how many, the folds decide.
MOST_ROUNDS, FOLDS = 200, 5
#: LightGBM's defaults with the last lines to silence it and make its sums repeatable.
PARAMETERS = {
    "objective": "binary", "learning_rate": 0.1, "num_leaves": 31, "min_child_samples": 20, "verbosity": -1, "num_threads": 1,
    "deterministic": True, "force_col_wise": True,
}  # fmt: skip
#: Most reference rows that ``pape`` keeps: it is fitted anew for every chunk.
MOST_ROWS = 100_000
_SMALLEST = 1e-6


@dataclass(frozen=True)
class Sample:
    """Rows ready for a calibration: ``codes`` ``(n, n_features)`` with categories first, ``scores`` in [0, 1], ``outcomes`` 0 or 1."""

    codes: "np.ndarray"
    scores: "np.ndarray"
    outcomes: "np.ndarray"

    def of(self, rows: "np.ndarray") -> "Sample":
        """The chosen rows."""
        return Sample(self.codes[rows], self.scores[rows], self.outcomes[rows])


State = dict[str, Any]


def _logit(scores: "np.ndarray") -> "np.ndarray":
    import numpy as np

    clipped = np.clip(scores, _SMALLEST, 1 - _SMALLEST)
    return np.log(clipped / (1 - clipped))


# --- multi-calibration ------------------------------------------------------------------------------------------------


def fit_multi(sample: Sample, n_categorical: int, seed: int) -> State:
    """Platt scaling of the score, then boosted trees over score and features on top of it.

    The number of trees is the one with the smallest log loss out of fold, 0 included, so that a small reference is not
    over-fitted. Returns ``slope`` and ``intercept`` of the scaling, ``trees`` (LightGBM's text, empty for none) and
    ``out_of_fold`` ``(n,)`` probabilities.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    losses = np.zeros(MOST_ROUNDS + 1)
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(sample.scores, sample.outcomes))
    fits = [_boosted(sample.of(train), sample.of(test), n_categorical) for train, test in folds]
    for (_, test), (*_, curve) in zip(folds, fits, strict=True):
        losses += curve * len(test)
    rounds = int(np.argmin(losses))
    margins = np.zeros(len(sample.scores))
    for (_, test), (slope, intercept, trees, _) in zip(folds, fits, strict=True):
        margins[test] = _margins(sample.of(test), slope, intercept, trees, rounds)
    slope, intercept, trees, _ = _boosted(sample, None, n_categorical, rounds)
    text = trees.model_to_string() if trees is not None else ""
    return {"slope": slope, "intercept": intercept, "trees": text, "out_of_fold": _probability(margins)}


def _boosted(sample: Sample, test: Sample | None, n_categorical: int, rounds: int = MOST_ROUNDS) -> tuple[float, float, Any, "np.ndarray"]:
    """Slope, intercept, trees, and the log loss on ``test`` after 0, 1, … trees."""
    import lightgbm
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss

    scaling = LogisticRegression(C=1e6).fit(_logit(sample.scores)[:, np.newaxis], sample.outcomes)
    slope, intercept = float(scaling.coef_[0, 0]), float(scaling.intercept_[0])
    if not rounds:
        return slope, intercept, None, np.zeros(0)
    data = _dataset(lightgbm, sample, slope, intercept, n_categorical)
    curve: dict[str, Any] = {}
    watched = {} if test is None else {"valid_sets": [_dataset(lightgbm, test, slope, intercept, n_categorical, data)]}
    trees = lightgbm.train(PARAMETERS, data, rounds, callbacks=[lightgbm.record_evaluation(curve)], **watched)
    if test is None:
        return slope, intercept, trees, np.zeros(0)
    start = log_loss(test.outcomes, _probability(_margins(test, slope, intercept, None, 0)), labels=[0, 1])
    return slope, intercept, trees, np.array([start, *curve["valid_0"]["binary_logloss"]])


def _dataset(lightgbm: Any, sample: Sample, slope: float, intercept: float, n_categorical: int, like: Any = None) -> Any:
    return lightgbm.Dataset(
        _columns(sample), sample.outcomes, reference=like, categorical_feature=list(range(n_categorical)), params=PARAMETERS,
        init_score=slope * _logit(sample.scores) + intercept,
    )  # fmt: skip


def _columns(sample: Sample) -> "np.ndarray":
    import numpy as np

    return np.column_stack([sample.codes, sample.scores])


def _margins(sample: Sample, slope: float, intercept: float, trees: Any, rounds: int) -> "np.ndarray":
    """Log odds of the outcome ``(n,)``."""
    import numpy as np

    start = slope * _logit(sample.scores) + intercept
    return start + np.asarray(trees.predict(_columns(sample), raw_score=True, num_iteration=rounds)) if rounds else start


def _probability(margins: "np.ndarray") -> "np.ndarray":
    from scipy.special import expit

    return expit(margins)


def multi_probabilities(state: State, sample: Sample) -> "np.ndarray":
    """Probability of the outcome of every row ``(n,)``, whatever chunk it lies in; outcomes of ``sample`` are not read."""
    import lightgbm

    trees = lightgbm.Booster(model_str=state["trees"]) if state["trees"] else None
    rounds = trees.num_trees() if trees is not None else 0
    return _probability(_margins(sample, state["slope"], state["intercept"], trees, rounds))


# --- adaptive calibration ---------------------------------------------------------------------------------------------


def adaptive_probabilities(reference: Sample, sample: Sample, n_categorical: int, seed: int) -> "np.ndarray":
    """Probability of the outcome given the score ``(n,)``, as it is where the chunk's rows lie.

    Isotonic regression of outcome on score over the reference, every row weighted by how much likelier it is in the
    chunk. Outcomes of ``sample`` are not read.
    """
    import numpy as np
    from sklearn.isotonic import IsotonicRegression

    ratio = ratio_of_codes(reference.codes, sample.codes, n_categorical, seed=seed)
    calibrated = IsotonicRegression(out_of_bounds="clip").fit(reference.scores, reference.outcomes, sample_weight=ratio.weights)
    return np.clip(calibrated.predict(sample.scores), 0.0, 1.0)


def unseen_probabilities(reference: Sample, chunks: "Sequence[np.ndarray]", n_categorical: int, seed: int) -> "list[np.ndarray]":
    """What ``adaptive_probabilities`` says of reference chunks (indices each), every one left out of the reference in turn."""
    import numpy as np

    every = np.arange(len(reference.scores))
    return [adaptive_probabilities(reference.of(np.setdiff1d(every, own)), reference.of(own), n_categorical, seed) for own in chunks]
