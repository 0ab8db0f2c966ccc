"""How much likelier is each row in the chunk than in the reference?

Belongs here: features as codes for trees, the cross-fitted ratio of densities, its effective sample size.
Does not: what the ratio is used for (``adaptive.py``), rows the reference does not know (``trust.py``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.domain_classifier import chosen
from monitoring_assets.measures.encoding import numbers, texts

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import Features

#: Most rows of a side that a classifier is trained on; every row is weighted.
MOST_ROWS = 100_000
#: Categories beyond this many of a feature, the rarest, share one code.
MOST_LEVELS = 250
#: Folds; most trees, and after how many without gain on the fold left out the growing stops.
FOLDS, ROUNDS, PATIENCE = 2, 200, 15
#: Small, shrunken trees: a ratio must not follow the accidents of a chunk. The last lines silence LightGBM and make its sums repeatable.
PARAMETERS = {
    "objective": "binary", "learning_rate": 0.05, "num_leaves": 5, "min_child_samples": 50, "lambda_l2": 10.0, "max_bin": 63,
    "verbosity": -1, "num_threads": 1, "deterministic": True, "force_col_wise": True,
}  # fmt: skip

Levels = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class DensityRatio:
    """The ratio ``p_chunk(x) / p_reference(x)`` at every row.

    Attributes:
        weights: ``(n_reference,)`` at the reference rows, mean 1, above 0.
        row_weights: ``(n_rows,)`` at the chunk's rows on the same scale, above 0; each from trees that did not see the row.
        effective_share: effective sample size of ``weights`` as a share of the reference, in (0, 1]; 1 without drift.
    """

    weights: "np.ndarray"
    row_weights: "np.ndarray"
    effective_share: float


def fit_levels(reference: "pd.DataFrame", features: "Features") -> dict[str, list[str]]:
    """Categories of every categorical feature, the commonest ``MOST_LEVELS`` in alphabetical order; a missing one is a category."""
    import numpy as np

    levels = {}
    for name, column in zip(features.categorical, texts(reference, features.categorical).T, strict=True):
        found, counts = np.unique(column, return_counts=True)
        levels[name] = sorted(found[np.argsort(-counts, kind="stable")[:MOST_LEVELS]].tolist())
    return levels


def coded(rows: "pd.DataFrame", features: "Features", levels: Levels) -> "np.ndarray":
    """Rows as ``(n_rows, n_features)`` for trees: codes of categories, then numbers with NaN; unknown categories share the code after the last."""
    import numpy as np

    codes = np.empty((len(rows), len(features.categorical)))
    for i, column in enumerate(texts(rows, features.categorical).T):
        known = np.array(levels[features.categorical[i]], dtype=str)
        place = np.minimum(np.searchsorted(known, column), max(len(known) - 1, 0))
        codes[:, i] = np.where(known[place] == column, place, len(known)) if len(known) else 0
    return np.column_stack([codes, numbers(rows, features.numeric)])


def ratio_of_codes(before: "np.ndarray", after: "np.ndarray", n_categorical: int, *, seed: int = 0) -> DensityRatio:
    """How much likelier every row is in the chunk than in the reference.

    Args:
        before: ``(n_reference, n_features)`` from ``coded``, at least ``FOLDS`` rows. Missing values are values: their share may drift too.
        after: ``(n_rows, n_features)`` of the chunk, as many rows at least.
        n_categorical: how many of the columns, the first ones, are codes of categories.
        seed: of the folds.

    Returns:
        The ratio. The same rows and seed give the same numbers; the order of the chunk's rows does not matter.

    Raises:
        ValueError: too few rows on a side.

    Source: Bickel, Brückner & Scheffer (2009), Discriminative learning under covariate shift: odds of a classifier of chunk against
    reference, divided by the odds of the sides.

    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> before, same, far = (rng.normal(at, 1, (2000, 1)) for at in (0, 0, 6))
    >>> [bool(np.median(ratio_of_codes(before, rows, 0).row_weights) > 20) for rows in (same, far)]
    [False, True]
    """
    import numpy as np

    if min(len(before), len(after)) < FOLDS:
        raise ValueError(f"got {len(before)} reference rows and {len(after)} rows; expected at least {FOLDS} of each")
    order = np.lexsort(after.T)  # folds follow the values, so that the order of rows does not matter
    on_reference, on_rows = _log_ratios(*_with_components(before, after[order], n_categorical), n_categorical, seed)
    scale = np.exp(on_reference).mean()
    weights, row_weights = np.exp(on_reference) / scale, np.empty(len(after))
    row_weights[order] = np.exp(on_rows) / scale
    share = float(1 / np.mean(weights**2))
    return DensityRatio(weights, row_weights, share)


def _with_components(before: "np.ndarray", after: "np.ndarray", n_categorical: int) -> "tuple[np.ndarray, np.ndarray]":
    """Both sides with the reference's principal components of the numbers beside them: trees cut along axes and would hardly see a broken correlation."""
    import numpy as np

    known, asked = before[:, n_categorical:], after[:, n_categorical:]
    varies = np.array([len(np.unique(column[np.isfinite(column)])) > 1 for column in known.T], dtype=bool)
    if varies.sum() < 2:
        return before, after
    known, asked = known[:, varies], asked[:, varies]
    center, scale = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    standard = [np.nan_to_num((side - center) / np.maximum(scale, 1e-300)) for side in (known, asked)]
    directions = np.linalg.eigh(np.cov(standard[0].T))[1]
    return np.column_stack([before, standard[0] @ directions]), np.column_stack([after, standard[1] @ directions])


def _log_ratios(before: "np.ndarray", after: "np.ndarray", n_categorical: int, seed: int) -> "tuple[np.ndarray, np.ndarray]":
    """Logarithm of the ratio at the rows of both sides, each from trees of the other folds; 0 where trees tell nothing of left-out rows."""
    import numpy as np

    rng = np.random.default_rng(seed)
    sides = before, after
    folds = [rng.permutation(np.arange(len(side)) % FOLDS) for side in sides]
    results = np.zeros(len(before)), np.zeros(len(after))
    for fold in range(FOLDS):
        train, test = ([side[(own == fold) == is_test] for side, own in zip(sides, folds, strict=True)] for is_test in (False, True))
        trees = _trees([side[chosen(len(side), MOST_ROWS, seed)] for side in train], test, n_categorical)
        prior = np.log(min(len(train[1]), MOST_ROWS) / min(len(train[0]), MOST_ROWS))
        for rows, own, result in zip(test, folds, results, strict=True):
            result[own == fold] = np.asarray(trees.predict(rows, raw_score=True)) - prior if trees is not None else 0.0
    return results


def _trees(train: "list[np.ndarray]", test: "list[np.ndarray]", n_categorical: int) -> Any:
    """Classifier of chunk against reference, stopped where left-out rows gain nothing more; ``None`` where they never do."""
    import lightgbm
    import numpy as np
    from sklearn.metrics import log_loss

    labels, asked = (np.r_[np.zeros(len(pair[0])), np.ones(len(pair[1]))] for pair in (train, test))
    data = lightgbm.Dataset(np.concatenate(train), labels, categorical_feature=list(range(n_categorical)), params=PARAMETERS)
    watched = lightgbm.Dataset(np.concatenate(test), asked, reference=data, params=PARAMETERS)
    trees = lightgbm.train(PARAMETERS, data, ROUNDS, [watched], callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)])
    without = log_loss(asked, np.full(len(asked), labels.mean()), labels=[0, 1])
    return trees if trees.best_score["valid_0"]["binary_logloss"] < without else None
