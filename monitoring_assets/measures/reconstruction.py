"""Do rows still lie where the reference's rows lay? Reconstruction error under its principal components."""

from typing import TYPE_CHECKING

from monitoring_assets.measures.encoding import State, encode, fit_encoding, refusal_of, refusing
from monitoring_assets.measures.number import NAN, Number, refused

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import Features

#: Share of the variance that the kept components explain (NannyML's default).
EXPLAINED = 0.65
#: Standardised columns that vary by less vary by rounding alone, and their squares vanish.
_VARIES = 1e-12


def fit_pca_reconstruction(reference: "pd.DataFrame", features: "Features", seed: int, n_components: int | None = None) -> State:
    """Learn the encoding and the principal components that explain 65 % of the reference's variance.

    Args:
        reference: ``(n_reference, ...)``; fewer than two rows give a state that refuses.
        features: the columns to use.
        seed: of the decomposition, which draws nothing below 1,000 features.
        n_components: how many to keep; those that explain 65 % if absent.

    Returns:
        The encoding with ``components`` ``(n_components, n_features)``, ``offset`` ``(n_features,)`` and mean and
        standard deviation of the reference rows' errors.

    Source: NannyML, ``DataReconstructionDriftCalculator``; equal to it within 1e-9.
    """
    import numpy as np
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    if len(reference) < 2:
        return refusing(f"got a reference of {len(reference)} rows; expected at least 2")
    state = fit_encoding(reference, features)
    values = encode(state, reference, features)
    components, offset = np.empty((0, values.shape[1])), values.mean(axis=0)
    if (np.ptp(values, axis=0) > _VARIES).any():
        with threadpool_limits(1):
            fitted = PCA(n_components=n_components or EXPLAINED, random_state=seed).fit(values)
        components, offset = fitted.components_, fitted.mean_
    state = {**state, "components": components, "offset": offset}
    errors = _errors(state, values)
    return {**state, "error_mean": np.array(errors.mean()), "error_sd": np.array(errors.std(ddof=1))}


def _errors(state: State, values: "np.ndarray") -> "np.ndarray":
    import numpy as np
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        centred = values - state["offset"]
        rebuilt = centred @ state["components"].T @ state["components"]
    return np.asarray(np.linalg.norm(centred - rebuilt, axis=1))


def pca_row_errors(state: State, rows: "pd.DataFrame", features: "Features") -> "np.ndarray":
    """Distance of each row ``(n_rows,)`` from its reconstruction, in reference standard deviations; at least 0.

    Raises:
        ValueError: the reference could not be fitted.
    """
    if str(state["refusal"]):
        raise ValueError(str(state["refusal"]))
    return _errors(state, encode(state, rows, features))


def measure_pca_reconstruction(state: State, rows: "pd.DataFrame", features: "Features") -> Number:
    """Mean reconstruction error of the rows, at least 0.

    ``effect`` is its distance from the reference's mean error in standard deviations of single rows, of either
    sign; NaN where every reference row is rebuilt exactly. ``standard_error`` is NaN for one row. The order of rows
    does not matter. Missing values are filled, so a column that vanished *lowers* the error.

    Source: NannyML, ``DataReconstructionDriftCalculator``.
    """
    import numpy as np

    reason = refusal_of(state, len(rows), 1)
    if reason:
        return refused(reason, len(rows))
    errors = pca_row_errors(state, rows, features)
    value, spread = float(errors.mean()), float(state["error_sd"])
    effect = (value - float(state["error_mean"])) / spread if spread > 1e-9 else NAN
    standard_error = float(errors.std(ddof=1) / np.sqrt(len(errors))) if len(errors) > 1 else NAN
    return Number(value, len(rows), effect=effect, standard_error=standard_error)
