"""Probabilities of a classifier as a measure takes them, whatever columns they are stored in.

Belongs here: which columns those are, and the array of a frame. Does not: what is computed from them.
"""

from itertools import count, takewhile
from typing import TYPE_CHECKING

from resources.policy import PROBABILITY, probability_column

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def probability_columns(rows: "pd.DataFrame") -> list[str]:
    """The stored column of class 1, or those of all classes in their order; none for a regressor."""
    if PROBABILITY in rows:
        return [PROBABILITY]
    return list(takewhile(lambda name: name in rows, map(probability_column, count())))


def probability_of(rows: "pd.DataFrame") -> "np.ndarray | None":
    """Probabilities ``(n_rows,)`` of class 1, or ``(n_rows, n_classes)`` in the order of the classes; ``None`` for a regressor."""
    import numpy as np

    names = probability_columns(rows)
    own = rows[names].to_numpy(dtype="float64", na_value=np.nan)
    return None if not names else own[:, 0] if names == [PROBABILITY] else own
