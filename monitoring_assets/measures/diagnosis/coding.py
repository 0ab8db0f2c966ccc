"""Features as numbers for the trees of a diagnosis.

Belongs here: codes of categories. Does not: codes that must be the same for another chunk (``density_ratio.py``).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import Features


def coded_features(features: "Features", rows: "pd.DataFrame") -> "np.ndarray":
    """Features ``(n_rows, n_features)``: numbers, then each category's place among those of ``rows`` in ascending order, -1 where missing."""
    import numpy as np
    import pandas as pd

    numbers = rows[features.numeric].to_numpy(dtype="float64", na_value=np.nan)
    codes = [pd.factorize(rows[name], sort=True)[0].astype("float64") for name in features.categorical]
    return np.column_stack([numbers, *codes])
