"""How far apart are two samples in all features together? Kernel maximum mean discrepancy."""

import hashlib
from typing import TYPE_CHECKING

from monitoring_assets.measures.encoding import State, encode, fit_encoding, refusal_of, refusing
from monitoring_assets.measures.number import NAN, Number, refused

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import Features

#: Standardised values are clipped here: a single spike is not drift.
WINSOR = 8.0
#: Most rows on either side; the kernel matrix has the square of both together.
CAP = 1000
PERMUTATIONS = 200
FEWEST_ROWS = 5


def fit_mmd(reference: "pd.DataFrame", features: "Features", seed: int) -> State:
    """Keep at most 1,000 encoded reference rows and the median distance between them.

    Args:
        reference: ``(n_reference, ...)``; fewer than five rows give a state that refuses.
        features: the columns to use.
        seed: of the choice of rows and of the permutations.

    Returns:
        The encoding with ``sample`` ``(n_kept, n_features)``, ``bandwidth`` (median heuristic; 1 where all rows are
        equal), ``seed``, and the mean kernel ``inner`` of the kept rows with each other.
    """
    import numpy as np
    from scipy.spatial.distance import pdist, squareform

    if len(reference) < FEWEST_ROWS:
        return refusing(f"got a reference of {len(reference)} rows; expected at least {FEWEST_ROWS}")
    state = fit_encoding(reference, features)
    sample = _sample(encode(state, reference, features), seed)[0]
    pairs = pdist(sample)
    distances = pairs[pairs > 0]
    bandwidth = float(np.median(distances)) if len(distances) else 1.0
    inner = float(np.exp(squareform(pairs) ** 2 / (-2 * bandwidth**2)).mean())
    return {**state, "sample": sample, "bandwidth": np.array(bandwidth), "seed": np.array(seed), "inner": np.array(inner)}


def _sample(values: "np.ndarray", seed: int) -> "tuple[np.ndarray, np.random.Generator]":
    """At most 1,000 clipped rows, and a generator; both depend on the set of rows only, not on their order."""
    import numpy as np

    clipped = np.clip(values, -WINSOR, WINSOR) + 0.0
    ordered = np.ascontiguousarray(clipped[np.lexsort(clipped.T)])
    digest = hashlib.blake2b(ordered.tobytes(), digest_size=8).digest()
    rng = np.random.default_rng([seed, int.from_bytes(digest, "big")])
    if len(ordered) > CAP:
        ordered = ordered[np.sort(rng.choice(len(ordered), CAP, replace=False))]
    return ordered, rng


def measure_mmd(state: State, rows: "pd.DataFrame", features: "Features") -> Number:
    """Maximum mean discrepancy under a Gaussian kernel: at least 0, below sqrt(2), exactly 0 for identical samples.

    ``value`` is the root of the biased estimate, which grows as samples shrink; ``effect`` is the root of the unbiased
    one (0 where that is negative) and does not. ``p_value`` comes from 200 permutations, so it is at least 1/201, and
    is the same for the same rows in any order. ``standard_error`` follows from the delta method, NaN at 0. Sees changes
    that leave every single feature's distribution alone.

    Source: Gretton et al. (2012), A kernel two-sample test, equations 3 and 5 and section 2.3.
    """
    import numpy as np
    from scipy.spatial.distance import cdist
    from threadpoolctl import threadpool_limits

    reason = refusal_of(state, len(rows), FEWEST_ROWS)
    if reason:
        return refused(reason, len(rows))
    before = state["sample"]
    after, rng = _sample(encode(state, rows, features), int(state["seed"]))
    both = np.concatenate([before, after])
    n, m = len(before), len(after)
    with threadpool_limits(1):
        kernel = np.exp(cdist(both, both, "sqeuclidean") / (-2 * float(state["bandwidth"]) ** 2))
        drawn = np.argsort(rng.random((n + m, PERMUTATIONS)), axis=0) < n
        is_before = np.column_stack([np.arange(n + m) < n, drawn]).astype(float)
        within = np.einsum("ij,ij->j", is_before, kernel @ is_before)
        rest = is_before.T @ kernel.sum(axis=1)
    total = float(kernel.sum())
    squares = within / n**2 + (total - 2 * rest + within) / m**2 - 2 * (rest - within) / (n * m)
    square = 0.0 if np.array_equal(before, after) else max(float(squares[0]), 0.0)
    p_value = float((1 + np.sum(squares[1:] >= squares[0] - 1e-12)) / (1 + PERMUTATIONS))
    unbiased = (within[0] - n) / (n * (n - 1)) + (total - 2 * rest[0] + within[0] - m) / (m * (m - 1)) - 2 * (rest[0] - within[0]) / (n * m)
    value, effect = float(np.sqrt(square)), float(np.sqrt(max(unbiased, 0.0)))
    witness = kernel[:, :n].mean(axis=1) - kernel[:, n:].mean(axis=1)
    spread = float(np.sqrt(witness[:n].var() / n + witness[n:].var() / m))
    return Number(value, m, effect=effect, p_value=p_value, standard_error=spread / value if value > 0 else NAN)


def mmd_value(state: State, rows: "pd.DataFrame", features: "Features") -> Number:
    """The ``value`` of ``measure_mmd`` alone, at a fraction of its cost: without permutations the reference is not compared with itself again."""
    import numpy as np
    from scipy.spatial.distance import cdist

    reason = refusal_of(state, len(rows), FEWEST_ROWS)
    if reason:
        return refused(reason, len(rows))
    before, scale = state["sample"], -2 * float(state["bandwidth"]) ** 2
    after, _ = _sample(encode(state, rows, features), int(state["seed"]))
    across, own = (float(np.exp(cdist(left, after, "sqeuclidean") / scale).mean()) for left in (before, after))
    return Number(float(np.sqrt(max(float(state["inner"]) + own - 2 * across, 0.0))), len(after))
