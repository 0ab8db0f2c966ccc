"""What do the predictions lean on? Shares of the features in the explanation of the served predictions, chunk against reference.

Belongs here: a surrogate of the serving model, its Shapley values, their shares and what these do without drift. Does not: causes.

Only served predictions are at hand, not the model. A surrogate of gradient-boosted trees learns them from the features; its
fidelity says how far its explanation is the model's. A fitted state is plain data: numbers, names and LightGBM's text.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.limits import Null, adjusted, block_sizes, block_starts, fit_null
from monitoring_assets.measures.lines import lines_of
from monitoring_assets.measures.number import NAN
from monitoring_assets.measures.probabilities import probability_columns
from resources.vocabulary import Kind, Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import MonitoredModel

SHARE, TOTAL = "shap_share", "shap_total_variation"
#: Subject of the number over all features.
ALL_FEATURES = "all"
#: Most rows a surrogate learns from or a chunk is explained by.
MOST_ROWS = 5000
FEWEST_ROWS, FEWEST_TO_FIT = 30, 200
#: A surrogate that follows the predictions less than this explains nothing.
LEAST_FIDELITY = 0.5
_MOST_BLOCKS, _ROWS_OF_BLOCK = 40, 500
_ROUNDS = 100
_PARAMETERS = {
    "objective": "regression", "learning_rate": 0.1, "num_leaves": 15, "min_data_in_leaf": 20, "num_threads": 1, "verbosity": -1,
    "deterministic": True, "force_col_wise": True,
}  # fmt: skip


@dataclass(frozen=True)
class Attribution:
    """A fitted surrogate: plain data.

    Attributes:
        features: in the order of the surrogate's columns, numeric ones first.
        levels: categories of each categorical feature in the order of their codes; others count as missing.
        models: LightGBM's text of a surrogate for the number or the log odds served, of several classes one for each.
        fidelity: R² of the surrogate on reference rows it has not seen, at most 1.
        shares: of the reference, ``(n_features,)``, sum 1.
        nulls: of each share.
        total: null of the total variation distance of the shares.
        refusal: why nothing was fitted (else empty).
    """

    features: tuple[str, ...] = ()
    levels: tuple[tuple[str, ...], ...] = ()
    models: tuple[str, ...] = ()
    fidelity: float = NAN
    shares: tuple[float, ...] = ()
    nulls: tuple[Null, ...] = ()
    total: Null | None = None
    refusal: str = ""

    @cached_property
    def boosters(self) -> list[Any]:
        """The surrogates, read from their text once for all chunks."""
        import lightgbm

        return [lightgbm.Booster(model_str=text) for text in self.models]

    def as_plain(self) -> dict[str, Any]:
        """Plain data that JSON holds."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Attribution":
        """What ``as_plain`` gave."""
        return cls(
            tuple(plain["features"]), tuple(tuple(own) for own in plain["levels"]), tuple(plain["models"]), float(plain["fidelity"]),
            tuple(plain["shares"]), tuple(Null.from_plain(own) for own in plain["nulls"]),
            None if plain["total"] is None else Null.from_plain(plain["total"]), plain["refusal"],
        )  # fmt: skip


def fit_attribution(policy: "MonitoredModel", reference: "pd.DataFrame", usual: int) -> Attribution:
    """Fit the surrogate and learn how its shares vary without drift.

    Args:
        policy: declares features and task.
        reference: ``(n_reference, ...)`` in time order with features and the served probabilities (classifiers, explained as log odds)
            or ``y_pred``; rows without a prediction are left out.
        usual: rows of a usual chunk.

    Returns:
        The state; the same for the same arguments. Blocks of consecutive reference rows stand for chunks without drift.
    """
    target = _target(policy, reference)
    import numpy as np

    known = np.isfinite(target).all(axis=1)
    rows, target = reference[known], target[known]
    if len(rows) < FEWEST_TO_FIT or np.ptp(target, axis=0).max() < 1e-12:
        return Attribution(
            refusal=f"got {len(rows)} reference rows with predictions; expected at least {FEWEST_TO_FIT}, and predictions that differ"
        )
    levels = tuple(tuple(sorted(rows[name].dropna().astype(str).unique())) for name in policy.features.categorical)
    features = (*policy.features.numeric, *policy.features.categorical)
    chosen = _evenly(len(rows), MOST_ROWS)
    inputs = _inputs(policy, levels, rows)
    fidelity = _fidelity(inputs[chosen], target[chosen])
    if fidelity < LEAST_FIDELITY:
        return Attribution(
            features, levels, fidelity=fidelity, refusal=f"got a surrogate of fidelity {fidelity:.2f}; expected at least {LEAST_FIDELITY}"
        )
    models = _trained(inputs[chosen], target[chosen])
    shares = _shares(models, inputs[chosen])
    by_size = {size: _of_blocks(models, inputs, size) for size in block_sizes(len(rows), usual)}
    nulls = [
        fit_null({size: [float(own[i]) for own in blocks] for size, blocks in by_size.items()}, power=1.0, is_two_sided=True)
        for i in range(len(features))
    ]
    distances = {size: [_total_variation(own, shares) for own in blocks] for size, blocks in by_size.items()}
    total = fit_null(distances, power=0.5, n_reference=float(len(rows)))
    texts = tuple(one.model_to_string() for one in models)
    return Attribution(features, levels, texts, fidelity, tuple(map(float, shares)), tuple(nulls), total)


def measure_attribution(
    state: Attribution, policy: "MonitoredModel", rows: "pd.DataFrame", chunk: str, rate: float = 0.01
) -> "pd.DataFrame":
    """Measure one chunk: a line per feature, and one of the total variation distance of all shares.

    Args:
        state: from ``fit_attribution``.
        policy: the declaration it was fitted with.
        rows: ``(n_rows, ...)`` of the chunk with the features; predictions are not needed.
        chunk: its name.
        rate: chance of a breach without drift, of each line.

    Returns:
        Lines. ``value`` is the feature's share of the summed mean |SHAP|, in [0, 1], shares sum to 1; ``effect`` its change
        against the reference. For all features ``value`` and ``effect`` are the half sum of absolute changes. Without a surrogate, or
        below ``FEWEST_ROWS`` rows, values are NaN, nothing breaches and ``reason`` says why.

    Source: Lundberg et al. (2020), From local explanations to global understanding with explainable AI for trees; LightGBM's ``pred_contrib``.
    """
    import numpy as np

    reason = state.refusal or ("" if len(rows) >= FEWEST_ROWS else f"got {len(rows)} rows; expected at least {FEWEST_ROWS}")
    names = state.features or (*policy.features.numeric, *policy.features.categorical)
    common: dict[str, object] = {"chunk": chunk, "kind": str(Kind.ATTRIBUTION_DRIFT), "n_rows": len(rows), "reason": reason}
    if reason:
        subjects = [*((SHARE, name) for name in names), (TOTAL, ALL_FEATURES)]
        return lines_of([{**common, "method": method, "subject": subject, "value": NAN} for method, subject in subjects])
    kept = rows.iloc[_evenly(len(rows), MOST_ROWS)]
    shares = _shares(state.boosters, _inputs(policy, state.levels, kept))
    numbers = [(SHARE, name, float(share), float(share - usual)) for name, share, usual in zip(names, shares, state.shares, strict=True)]
    distance = _total_variation(shares, np.array(state.shares))
    lines = [_line(*number, null, len(kept), rate) for number, null in zip(numbers, state.nulls, strict=True)]
    lines.append(_line(TOTAL, ALL_FEATURES, distance, distance, state.total, len(kept), rate))
    fixed = adjusted(np.array([line["p_value"] for line in lines[:-1]], dtype="float64"), "benjamini_hochberg")
    for line, p_value in zip(lines, [*fixed, lines[-1]["p_value"]], strict=True):
        line.update({**common, "adjusted_p_value": p_value})
    return lines_of(lines)


def _line(method: str, subject: str, value: float, effect: float, null: Null | None, n_rows: int, rate: float) -> dict[str, object]:
    known = null if null is not None and null.is_known else None
    lower, upper = known.limits(rate, n_rows) if known else (NAN, NAN)
    return {
        "method": method, "subject": subject, "value": value, "effect": effect, "lower_limit": lower, "upper_limit": upper,
        "standard_error": known.deviation(n_rows) if known else NAN, "p_value": known.p_value(value, n_rows, 0.0) if known else NAN,
        "breach": value < lower or value > upper,
    }  # fmt: skip


def _target(policy: "MonitoredModel", rows: "pd.DataFrame") -> "np.ndarray":
    """What surrogates learn ``(n_rows, n_surrogates)``: log odds of the served probability, of several classes those of each, or the served number."""
    import numpy as np

    if policy.task is Task.REGRESSION:
        return rows[["y_pred"]].to_numpy(dtype="float64", na_value=np.nan)
    probability = np.clip(rows[probability_columns(rows)].to_numpy(dtype="float64", na_value=np.nan), 0.001, 0.999)
    return np.asarray(np.log(probability / (1 - probability)))


def _inputs(policy: "MonitoredModel", levels: tuple[tuple[str, ...], ...], rows: "pd.DataFrame") -> "np.ndarray":
    """Features ``(n_rows, n_features)``: numbers, then codes of categories with NaN for those the reference never had."""
    import numpy as np
    import pandas as pd

    numbers = rows[policy.features.numeric].to_numpy(dtype="float64", na_value=np.nan)
    columns = [numbers]
    for name, own in zip(policy.features.categorical, levels, strict=True):
        codes = pd.Categorical(rows[name].astype(object).where(rows[name].isna(), rows[name].astype(str)), categories=list(own)).codes
        columns.append(np.where(codes < 0, np.nan, codes.astype("float64"))[:, np.newaxis])
    return np.concatenate(columns, axis=1)


def _trained(inputs: "np.ndarray", target: "np.ndarray") -> list[Any]:
    import lightgbm

    return [lightgbm.train(_PARAMETERS, lightgbm.Dataset(inputs, own, params=_PARAMETERS), num_boost_round=_ROUNDS) for own in target.T]


def _fidelity(inputs: "np.ndarray", target: "np.ndarray") -> float:
    """R² on every fifth row by surrogates of the others, the mean of theirs."""
    import numpy as np
    from sklearn.metrics import r2_score

    is_held = np.arange(len(target)) % 5 == 4
    predicted = [one.predict(inputs[is_held], num_threads=1) for one in _trained(inputs[~is_held], target[~is_held])]
    return float(r2_score(target[is_held], np.column_stack(predicted)))


def _shares(models: list[Any], inputs: "np.ndarray") -> "np.ndarray":
    """Each feature's share ``(n_features,)`` of the summed mean |SHAP|; equal shares where no surrogate ever splits."""
    import numpy as np

    sizes = np.sum([np.abs(one.predict(inputs, pred_contrib=True, num_threads=1)[:, :-1]).mean(axis=0) for one in models], axis=0)
    return np.asarray(sizes / sizes.sum() if sizes.sum() > 0 else np.full(len(sizes), 1 / len(sizes)))


def _evenly(n_rows: int, most: int) -> "np.ndarray":
    import numpy as np

    return np.linspace(0, n_rows - 1, min(n_rows, most)).astype("int64")


def _of_blocks(models: list[Any], inputs: "np.ndarray", size: int) -> "list[np.ndarray]":
    """Shares in blocks of ``size`` consecutive rows; of a large block evenly spread rows."""
    return [
        _shares(models, inputs[start : start + size][_evenly(size, _ROWS_OF_BLOCK)])
        for start in block_starts(len(inputs), size, _MOST_BLOCKS)
    ]


def _total_variation(shares: "np.ndarray", others: "np.ndarray") -> float:
    import numpy as np

    return float(np.abs(shares - np.asarray(others)).sum() / 2)
