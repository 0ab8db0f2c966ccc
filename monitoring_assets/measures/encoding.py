"""Features as numbers: numeric columns filled, categories replaced by their share of the reference, all in reference standard deviations.

Belongs here: reading frames into arrays and the fitted encoding that the multivariate methods share. Does not: any
distance between samples. A state holds plain arrays only, so that it can be stored without pickle.
"""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import Features

#: What a fit leaves behind: names and plain numeric or fixed-width text arrays.
State = dict[str, "np.ndarray"]

#: Numbers of larger magnitude would overflow when squared; they count as missing, as infinities do.
LARGEST = 1e100
#: Stands for a missing category; the last code point sorts after every text.
MISSING = "\U0010ffff"
_LONGEST_TEXT = 128


def numbers(rows: "pd.DataFrame", names: list[str]) -> "np.ndarray":
    """Read numeric columns ``(n_rows, n_names)``; infinities and magnitudes beyond 1e100 become NaN."""
    import numpy as np

    values = np.empty((len(rows), len(names)))
    for i, name in enumerate(names):
        values[:, i] = rows[name].to_numpy(dtype=float, na_value=np.nan)
    values[~(np.abs(values) <= LARGEST)] = np.nan
    return values


def _text(category: object) -> str:
    """Text of a category; what is too long for a fixed-width array ends in its digest, NUL is escaped (arrays strip it)."""
    text = str(category).replace("\0", "\\0")
    if len(text) <= _LONGEST_TEXT:
        return text
    return text[: _LONGEST_TEXT - 32] + hashlib.blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def texts(rows: "pd.DataFrame", names: list[str]) -> "np.ndarray":
    """Read categorical columns as text ``(n_rows, n_names)``; missing values become ``MISSING``."""
    import numpy as np
    import pandas as pd

    columns = []
    for name in names:
        codes, found = pd.factorize(rows[name].to_numpy(dtype=object))
        known = np.array([*(_text(category) for category in found), MISSING], dtype=str)
        columns.append(known[codes])
    return np.stack(columns, axis=1) if columns else np.empty((len(rows), 0), dtype="U1")


def refusing(reason: str) -> State:
    """State of a reference that cannot be fitted, and why."""
    import numpy as np

    return {"refusal": np.array(reason)}


def refusal_of(state: State, n_rows: int, minimum: int) -> str:
    """Why nothing can be measured with this state on so many rows; empty where it can."""
    if str(state["refusal"]):
        return str(state["refusal"])
    return f"got {n_rows} rows; expected at least {minimum}" if n_rows < minimum else ""


def fit_encoding(reference: "pd.DataFrame", features: "Features") -> State:
    """Learn means, category shares, centre and scale of every feature.

    Args:
        reference: ``(n_reference, ...)`` with at least one row.
        features: the numeric and categorical columns to use.

    Returns:
        ``filling`` ``(n_numeric,)`` means; ``levels``, ``shares`` of all categories and ``starts``
        ``(n_categorical + 1,)`` where each feature's begin; ``top`` ``(n_categorical,)`` share of the commonest;
        ``center`` and ``scale`` ``(n_features,)``. A numeric feature without any value gets an infinite scale: it
        says nothing. A constant feature gets scale 1.

    Source: the preparation of NannyML's ``DataReconstructionDriftCalculator``: mean and most frequent imputation,
    ``CountEncoder(normalize=True)``, ``StandardScaler``. Unlike there, ``None`` is imputed as NaN is.
    """
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    values = numbers(reference, features.numeric)
    counts = np.sum(~np.isnan(values), axis=0)
    filling = np.nansum(values, axis=0) / np.maximum(counts, 1)
    levels, shares, top = [], [], []
    for column in texts(reference, features.categorical).T:
        found, sizes = np.unique(column[column != MISSING], return_counts=True)
        if len(found):
            sizes[np.argmax(sizes)] += len(column) - sizes.sum()
        levels.append(found)
        shares.append(sizes / len(column))
        top.append(shares[-1].max(initial=0.0))
    state: State = {
        "refusal": np.array(""), "filling": filling,
        "levels": np.concatenate([np.empty(0, dtype="U1"), *levels]), "shares": np.concatenate([np.empty(0), *shares]),
        "starts": np.cumsum([0, *map(len, levels)]), "top": np.array(top, dtype=float),
    }  # fmt: skip
    scaler = StandardScaler().fit(_filled(state, reference, features))
    silent = np.r_[counts == 0, np.zeros(len(features.categorical), dtype=bool)]
    return {**state, "center": scaler.mean_, "scale": np.where(silent, np.inf, scaler.scale_)}


def _filled(state: State, rows: "pd.DataFrame", features: "Features") -> "np.ndarray":
    """Numbers with means for missing values, then shares of categories ``(n_rows, n_features)``; unseen ones have share 0."""
    import numpy as np

    values = numbers(rows, features.numeric)
    columns = [np.where(np.isnan(values), state["filling"], values)]
    for i, column in enumerate(texts(rows, features.categorical).T):
        own = slice(state["starts"][i], state["starts"][i + 1])
        levels, shares = state["levels"][own], state["shares"][own]
        place = np.minimum(np.searchsorted(levels, column), max(len(levels) - 1, 0))
        known = levels[place] == column if len(levels) else np.zeros(len(column), dtype=bool)
        share = np.where(known, shares[place], 0.0) if len(levels) else np.zeros(len(column))
        columns.append(np.where(column == MISSING, state["top"][i], share)[:, np.newaxis])
    return np.concatenate(columns, axis=1)


def encode(state: State, rows: "pd.DataFrame", features: "Features") -> "np.ndarray":
    """Rows as ``(n_rows, n_features)`` finite numbers in reference standard deviations, numeric features first."""
    import numpy as np

    with np.errstate(over="ignore"):  # a tiny scale: the clip below is what such a value becomes
        standardised = (_filled(state, rows, features) - state["center"]) / state["scale"]
    return np.asarray(np.clip(standardised, -LARGEST, LARGEST))
