"""Do columns that moved still tell what they told? Where they do not, outcomes follow from the other columns as ever.

Belongs here: which columns moved, and the test that a model of the others is as good as it was. Does not: columns that trade places
(``remap.py``) or units (``units.py``), which need no outcomes.

A sensor that lies (noise, offset, another's signal) leaves the outcome and all other columns alone. A change of concept
changes outcomes given the other columns too. So where the served model suffers, some columns moved, and a model of the others is as
good on the chunk as on the reference, the columns that moved are at fault.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.diagnosis.coding import coded_features
from monitoring_assets.measures.limits import design_effect
from monitoring_assets.measures.number import NAN
from resources.vocabulary import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from resources.policy import MonitoredModel

#: Chance of a moved column, over all columns, and of a rest, or a frequency of outcomes, that is taken for changed although it is not.
FALSE_MOVES, FALSE_CHANGE = 0.01, 0.01
FEWEST_ROWS = 100
_MOST_REFERENCE, _PARTS, _ROUNDS = 4000, 10, 80
_PARAMETERS = {
    "learning_rate": 0.1, "num_leaves": 8, "min_data_in_leaf": 20, "lambda_l2": 5.0, "num_threads": 1, "verbosity": -1,
    "deterministic": True, "force_col_wise": True,
}  # fmt: skip


@dataclass(frozen=True)
class FaultyColumns:
    """Columns at fault.

    Attributes:
        columns: those that moved, where outcomes follow from the others as ever; empty where none are at fault.
        harm: rise of the loss of a model of all columns, chunk less reference: log loss (nats) of classifiers, squared error in units of
            the outcome's variance of regressions; NaN where no column moved.
        left: the same of a model without the columns that moved.
        standard_error: of ``left``, with allowance for autocorrelation.
        p_value: one-sided chance of so much left without a change; NaN where it was not asked.
        n_rows: labelled rows of the chunk.
        reason: why no column is at fault.
    """

    columns: tuple[str, ...] = ()
    harm: float = NAN
    left: float = NAN
    standard_error: float = NAN
    p_value: float = NAN
    n_rows: int = 0
    reason: str = ""

    @property
    def recovery(self) -> str:
        """What to look at; empty where no column is at fault."""
        if not self.columns:
            return ""
        return (
            f"{', '.join(self.columns)} moved, and outcomes follow from the other columns as ever: check how these are measured and wired."
        )


def find_faulty_columns(policy: "MonitoredModel", reference: "pd.DataFrame", rows: "pd.DataFrame") -> FaultyColumns:
    """Tell whether the columns that moved are at fault for harm that was seen.

    Args:
        policy: declares features and task; of several classes nothing is told.
        reference: ``(n_reference, ...)`` in time order with features and ``y_true``; rows without outcome are left out.
        rows: ``(n_rows, ...)`` of one chunk in time order, likewise.

    Returns:
        The columns. Nothing is found where no column moved, or all did, where outcomes are not as frequent as before, or where a model
        of the other columns is worse than on the reference too. That it is not seen to be worse is no proof: the less
        the others tell of the outcome, the weaker the test. Deterministic; two small fits.

    Source: a measurement fault of some columns leaves the joint distribution of the outcome and the other columns alone (for the
    names of these shifts: Moreno-Torres et al., 2012, A unifying view on dataset shift in classification).
    """
    if policy.task is Task.MULTICLASS_CLASSIFICATION:
        return FaultyColumns(reason="got outcomes of several classes; expected two classes or a number")
    before, now = (frame[frame["y_true"].notna()] for frame in (reference, rows))
    if min(len(before), len(now)) < FEWEST_ROWS:
        reason = f"got {len(before)} labelled reference rows and {len(now)} of the chunk; expected at least {FEWEST_ROWS} each"
        return FaultyColumns(n_rows=len(now), reason=reason)
    moved = moved_columns(policy, before, now)
    if not 0 < len(moved) < len(policy.features.all):
        return FaultyColumns(n_rows=len(now), reason=f"{len(moved)} of {len(policy.features.all)} columns moved")
    sides = _Sides.of(policy, before, now)
    if sides.chance_of_outcomes() < FALSE_CHANGE:
        return FaultyColumns(n_rows=len(now), reason="outcomes are not as frequent as in the reference")
    whole, rest = sides.rise(()), sides.rise([policy.features.all.index(name) for name in moved])
    told = (whole.value, rest.value, rest.standard_error, rest.p_value, len(now))
    if rest.p_value < FALSE_CHANGE:
        return FaultyColumns((), *told, f"without {', '.join(moved)} outcomes do not follow from the other columns as before")
    return FaultyColumns(moved, *told)


def moved_columns(policy: "MonitoredModel", before: "pd.DataFrame", now: "pd.DataFrame") -> tuple[str, ...]:
    """Features whose values, or distances from the reference's median, are distributed otherwise; in declared order.

    Args:
        policy: declares features.
        before: ``(n_reference, ...)`` in time order; missing values are left out.
        now: ``(n_rows, ...)`` likewise. Rows count as fewer where neighbours are alike.
    """
    limit = FALSE_MOVES / len(policy.features.all)
    numeric = [name for name in policy.features.numeric if _chance_of_move(*_numbers(before, now, name)) < limit]
    return (*numeric, *(name for name in policy.features.categorical if _chance_of_categories(before[name], now[name]) < limit))


def _numbers(before: "pd.DataFrame", now: "pd.DataFrame", name: str) -> "tuple[np.ndarray, np.ndarray]":
    import numpy as np

    old, new = (frame[name].to_numpy(dtype="float64", na_value=np.nan) for frame in (before, now))
    return old[np.isfinite(old)], new[np.isfinite(new)]


def _chance_of_move(old: "np.ndarray", new: "np.ndarray") -> float:
    """Smaller p-value, doubled, of Kolmogorov-Smirnov tests of the values and of their distances from the median."""
    import numpy as np
    from scipy.stats import ks_2samp, kstwobign

    if not len(old) or not len(new):
        return 1.0
    middle = float(np.median(old))
    found = []
    for own, other in ((old, new), (np.abs(old - middle), np.abs(new - middle))):
        effective = len(own) * len(other) / (len(own) + len(other)) / max(design_effect(own), design_effect(other))
        found.append(float(kstwobign.sf(float(ks_2samp(own, other, method="asymp").statistic) * math.sqrt(effective))))
    return min(1.0, 2 * min(found))


def _chance_of_categories(old: "pd.Series", new: "pd.Series") -> float:
    """Chi-squared p-value of the shares of the categories, missing ones included."""
    import numpy as np
    import pandas as pd
    from scipy.stats import chi2_contingency

    codes, names = pd.factorize(pd.concat([old, new]).astype(str))
    counts = np.array([np.bincount(own, minlength=len(names)) for own in (codes[: len(old)], codes[len(old) :])])
    effect = max(design_effect(codes[: len(old)]), design_effect(codes[len(old) :]))
    return float(chi2_contingency(counts / effect, correction=False).pvalue) if len(names) > 1 else 1.0


@dataclass(frozen=True)
class _Rise:
    """Rise of a mean with its standard error."""

    value: float
    standard_error: float

    @property
    def p_value(self) -> float:
        """One-sided chance of so large a rise without any."""
        from scipy.stats import norm

        return float(norm.sf(self.value / max(self.standard_error, 1e-12)))


@dataclass(frozen=True)
class _Sides:
    """Inputs and outcomes: reference rows to learn from, reference rows to compare with, rows of the chunk."""

    is_binary: bool
    inputs: "tuple[np.ndarray, np.ndarray, np.ndarray]"
    outcomes: "tuple[np.ndarray, np.ndarray, np.ndarray]"

    @classmethod
    def of(cls, policy: "MonitoredModel", before: "pd.DataFrame", now: "pd.DataFrame") -> "_Sides":
        """Every second of ten contiguous parts of the reference is learned from: neighbours know each other's outcome."""
        import numpy as np
        import pandas as pd

        before = before.iloc[np.linspace(0, len(before) - 1, min(len(before), _MOST_REFERENCE)).astype("int64")]
        both = pd.concat([before, now], ignore_index=True)
        with_missing = both.astype(dict.fromkeys(policy.features.categorical, str))  # a missing value is a category: it may tell something
        inputs, outcomes = coded_features(policy.features, with_missing), both["y_true"].to_numpy(dtype="float64")
        part = np.r_[np.arange(len(before)) * _PARTS // len(before) % 2, np.full(len(now), 2)]
        masks = [part == side for side in range(3)]
        own = (tuple(values[mask] for mask in masks) for values in (inputs, outcomes))
        return cls(policy.task is Task.BINARY_CLASSIFICATION, *own)

    def rise(self, without: Sequence[int]) -> _Rise:
        """How much worse a model without these columns is on the chunk than on reference rows it has not seen."""
        import numpy as np

        kept = np.setdiff1d(np.arange(self.inputs[0].shape[1]), without)
        learned, usual, now = (own[:, kept] for own in self.inputs)
        model = self._fitted(learned)
        losses = [
            self._losses(model.predict(own, num_threads=1), truth) for own, truth in ((usual, self.outcomes[1]), (now, self.outcomes[2]))
        ]
        return _Rise(float(losses[1].mean() - losses[0].mean()), math.sqrt(sum(_variance(own) for own in losses)))

    def chance_of_outcomes(self) -> float:
        """Two-sided chance of the chunk's mean outcome without a change."""
        import numpy as np

        usual = np.r_[self.outcomes[0], self.outcomes[1]]
        gap = float(self.outcomes[2].mean() - usual.mean())
        return 2 * _Rise(abs(gap), math.sqrt(_variance(usual) + _variance(self.outcomes[2]))).p_value

    def _fitted(self, inputs: "np.ndarray") -> Any:
        import lightgbm

        own = {**_PARAMETERS, "objective": "binary" if self.is_binary else "regression"}
        return lightgbm.train(own, lightgbm.Dataset(inputs, self.outcomes[0], params=own), num_boost_round=_ROUNDS)

    def _losses(self, predicted: "np.ndarray", truth: "np.ndarray") -> "np.ndarray":
        import numpy as np

        if not self.is_binary:
            return np.asarray((truth - predicted) ** 2 / max(float(self.outcomes[0].var()), 1e-12))
        chance = np.clip(np.where(truth == 1, predicted, 1 - predicted), 0.005, 1.0)
        return np.asarray(-np.log(chance))


def _variance(values: "np.ndarray") -> float:
    """Variance of the mean; neighbours that are alike count as fewer."""
    return float(values.var(ddof=1)) / len(values) * float(design_effect(values))
