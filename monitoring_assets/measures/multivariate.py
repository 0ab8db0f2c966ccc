"""Drift of all features together: one fit and one measurement per method, and how a fit is stored.

Belongs here: the registry and the bytes of a state. Does not: any method's arithmetic, which has a module of its own.
A state holds plain numbers and fixed-width text; measuring never changes it, so the number of a chunk depends on the
fit and on the chunk only.
"""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from monitoring_assets.measures.correlation import fit_correlation_shift, measure_correlation_shift
from monitoring_assets.measures.domain_classifier import fit_domain_classifier, measure_domain_classifier
from monitoring_assets.measures.encoding import State
from monitoring_assets.measures.mmd import fit_mmd, measure_mmd
from monitoring_assets.measures.number import Number
from monitoring_assets.measures.reconstruction import fit_pca_reconstruction, measure_pca_reconstruction, pca_row_errors

if TYPE_CHECKING:
    import pandas as pd

    from resources.policy import Features

__all__ = [
    "MEASURES", "State", "dump", "fit_correlation_shift", "fit_domain_classifier", "fit_mmd", "fit_pca_reconstruction", "load",
    "measure_correlation_shift", "measure_domain_classifier", "measure_mmd", "measure_pca_reconstruction", "pca_row_errors",
]  # fmt: skip

Fit = Callable[["pd.DataFrame", "Features", int], State]
Measure = Callable[[State, "pd.DataFrame", "Features"], Number]

#: Name of each method, how it is fitted on the reference and how it measures a chunk.
MEASURES: dict[str, tuple[Fit, Measure]] = {
    "pca_reconstruction": (fit_pca_reconstruction, measure_pca_reconstruction),
    "domain_classifier": (fit_domain_classifier, measure_domain_classifier),
    "mmd": (fit_mmd, measure_mmd),
    "correlation_shift": (fit_correlation_shift, measure_correlation_shift),
}


def dump(state: State) -> bytes:
    """Bytes of a state; ``load`` gives back equal arrays."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **state)
    return buffer.getvalue()


def load(stored: bytes) -> State:
    """State of ``dump``'s bytes.

    Raises:
        ValueError: the bytes hold pickled objects or are no archive of arrays.

    >>> import numpy as np
    >>> load(dump({"scale": np.array([1.0, 2.0])}))
    {'scale': array([1., 2.])}
    """
    import numpy as np

    with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
