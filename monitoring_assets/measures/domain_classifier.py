"""Can a classifier tell the chunk from the reference? Cross-validated area under the ROC curve."""

import math
from typing import TYPE_CHECKING

from monitoring_assets.measures.encoding import State, numbers, refusal_of, refusing, texts
from monitoring_assets.measures.number import Number, refused

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import Features

#: Folds of the cross-validation, and so the fewest rows on either side.
FOLDS = 5
ROUNDS = 100
#: NannyML's default hyperparameters; the last lines silence it and make one thread's sums repeatable.
PARAMETERS = {
    "objective": "binary", "boosting_type": "gbdt", "learning_rate": 0.1, "num_leaves": 31, "max_depth": -1,
    "min_child_samples": 20, "min_child_weight": 0.001, "min_split_gain": 0.0, "reg_alpha": 0.0, "reg_lambda": 0.0,
    "colsample_bytree": 1.0, "subsample": 1.0, "subsample_freq": 0, "subsample_for_bin": 200_000, "random_state": 13,
    "verbosity": -1, "num_threads": 1, "deterministic": True, "force_col_wise": True,
}  # fmt: skip


def chosen(n_rows: int, cap: int, seed: int) -> "np.ndarray":
    """Indices of at most ``cap`` of ``n_rows`` rows, in order; the same for the same arguments."""
    import numpy as np

    if n_rows <= cap:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, cap, replace=False))


def fit_domain_classifier(reference: "pd.DataFrame", features: "Features", seed: int, cap: int = 2000) -> State:
    """Keep at most ``cap`` reference rows: the classifier is trained anew against every chunk.

    Args:
        reference: ``(n_reference, ...)`` in time order; fewer than five rows give a state that refuses.
        features: the columns to use.
        seed: of the choice of rows, on both sides.
        cap: most rows on either side.

    Returns:
        ``numbers`` ``(n_kept, n_numeric)`` with NaN, ``texts`` ``(n_kept, n_categorical)``, ``cap`` and ``seed``.
    """
    import numpy as np

    if len(reference) < FOLDS:
        return refusing(f"got a reference of {len(reference)} rows; expected at least {FOLDS}")
    kept = reference.iloc[chosen(len(reference), cap, seed)]
    return {
        "refusal": np.array(""), "numbers": numbers(kept, sorted(features.numeric)),
        "texts": texts(kept, sorted(features.categorical)), "cap": np.array(cap), "seed": np.array(seed),
    }  # fmt: skip


def measure_domain_classifier(state: State, rows: "pd.DataFrame", features: "Features") -> Number:
    """Area under the ROC curve of a classifier of chunk against reference, in [0, 1]; 0.5 cannot tell them apart.

    ``effect`` is ``2 * value - 1``. ``p_value`` is one-sided (Mann-Whitney with ties, normal approximation, variance
    enlarged because the five models share their training rows) and ``standard_error`` Hanley and McNeil's for the
    scores as they are. Missing numbers are left to LightGBM, a missing category is a category. A chunk of the same rows in the same order as the reference
    gives exactly 0.5. **Rows belong in time order**: folds are not shuffled, so order changes the number slightly.

    Source: NannyML, ``DomainClassifierCalculator``, equal to it while neither side exceeds the cap; Hanley & McNeil
    (1982), The meaning and use of the area under a ROC curve; Nadeau & Bengio (2003), Inference for the generalization
    error, for the enlarged variance.
    """
    import numpy as np

    reason = refusal_of(state, len(rows), FOLDS)
    if reason:
        return refused(reason, len(rows))
    kept = rows.iloc[chosen(len(rows), int(state["cap"]), int(state["seed"]))]
    own_numbers, own_texts = numbers(kept, sorted(features.numeric)), texts(kept, sorted(features.categorical))
    codes = [np.unique(np.r_[before, after], return_inverse=True)[1] for before, after in zip(state["texts"].T, own_texts.T, strict=True)]
    values = np.column_stack([*codes, np.concatenate([state["numbers"], own_numbers])]).astype(float)
    is_chunk = np.r_[np.zeros(len(state["numbers"])), np.ones(len(kept))]
    scores, labels = _scores(values, is_chunk, len(codes))
    area, p_value = _area(scores, labels)
    error = _hanley_mcneil(area, len(kept), len(state["numbers"]))
    return Number(area, len(kept), effect=2 * area - 1, p_value=p_value, standard_error=error)


def _scores(values: "np.ndarray", is_chunk: "np.ndarray", n_categorical: int) -> "tuple[np.ndarray, np.ndarray]":
    """Score of every row by the model of the other folds, and its label; equal scores where no column varies."""
    import lightgbm
    import numpy as np
    from sklearn.model_selection import StratifiedKFold
    from threadpoolctl import threadpool_limits

    varies = [len(np.unique(column)) > 1 for column in values.T]
    categorical = list(range(sum(varies[:n_categorical])))
    values = values[:, varies]
    if not values.shape[1]:
        return np.zeros(len(values)), is_chunk
    scores, labels = [], []
    with threadpool_limits(1):
        for train, test in StratifiedKFold(n_splits=FOLDS).split(values, is_chunk):
            data = lightgbm.Dataset(values[train], is_chunk[train], categorical_feature=categorical, params={"verbosity": -1})
            model = lightgbm.train(PARAMETERS, data, num_boost_round=ROUNDS)
            scores.append(model.predict(values[test]))
            labels.append(is_chunk[test])
    return np.concatenate(scores), np.concatenate(labels)


def _area(scores: "np.ndarray", labels: "np.ndarray") -> tuple[float, float]:
    """Area under the ROC curve and the chance of so large a one without drift."""
    import numpy as np
    from scipy.stats import norm, rankdata

    ones = int(labels.sum())
    zeros = len(labels) - ones
    wins = rankdata(scores)[labels == 1].sum() - ones * (ones + 1) / 2
    area = float(wins / (ones * zeros))
    ties = np.unique(scores, return_counts=True)[1].astype(float)
    n = len(labels)
    enlarged = 1 + FOLDS / (FOLDS - 1)
    variance = enlarged * (n + 1 - (ties**3 - ties).sum() / (n * (n - 1))) / (12 * ones * zeros)
    return area, float(norm.sf((area - 0.5) / math.sqrt(variance))) if variance > 1e-15 else 1.0


def _hanley_mcneil(area: float, ones: int, zeros: int) -> float:
    two_ones, two_zeros = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (ones - 1) * (two_ones - area**2) + (zeros - 1) * (two_zeros - area**2)
    return math.sqrt(max(variance, 0.0) / (ones * zeros))
