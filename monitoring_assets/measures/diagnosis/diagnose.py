"""All evidence on one chunk that drifted or hurts, as lines: is it more than noise, what kind of change, which columns.

Belongs here: which tests are run when, and how each becomes a line. Does not: the tests, the verdict drawn from them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.breaches import ALL_FEATURES
from monitoring_assets.measures.diagnosis.faulty import find_faulty_columns
from monitoring_assets.measures.diagnosis.label_shift import CONDITIONAL_ALARMS, label_shift
from monitoring_assets.measures.diagnosis.placebo import placebo
from monitoring_assets.measures.diagnosis.remap import find_remapping
from monitoring_assets.measures.diagnosis.shadow import shadow_refit
from monitoring_assets.measures.diagnosis.units import find_unit_changes
from monitoring_assets.measures.lines import lines_of
from monitoring_assets.measures.trust import Support, is_outside
from resources.policy import MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

PLACEBO, LABEL_SHIFT, SHADOW_REFIT, REMAPPING, UNIT_CHANGE = "placebo", "label_shift", "shadow_refit", "remapping", "unit_change"
FAULTY_COLUMNS = "faulty_columns"
#: A known event that may explain the onset.
KNOWN_EVENT = "known_event"
#: Chance of harm this large without a fault above which it is taken for noise.
NOISE = 0.05


@dataclass(frozen=True)
class Symptoms:
    """What was seen of a chunk before anybody asked why.

    Attributes:
        has_drifted: a deciding drift number lies outside its limit.
        metric: the deciding metric, where its realized value breaches on the side that hurts.
        value: that value.
        n_labelled: rows it was realized on.
    """

    has_drifted: bool
    metric: str = ""
    value: float = float("nan")
    n_labelled: int = 0


def diagnose(
    policy: MonitoredModel, reference: "pd.DataFrame", rows: "pd.DataFrame", symptoms: Symptoms, support: Support | None
) -> "pd.DataFrame":
    """Gather the evidence on one chunk; none where nothing moved and nothing hurts.

    Args:
        policy: the declaration.
        reference: ``(n_reference, ...)`` in time order with features, predictions, and ``y_true`` where known.
        rows: ``(n_rows, ...)`` of the chunk in time order, likewise, with ``chunk``.
        symptoms: what calls for a diagnosis.
        support: where the reference lies; the shadow refit has a rule of its own without it.

    Returns:
        Lines of kind ``diagnosis``. ``breach`` says that the evidence points at what the method is named after, ``reason`` says it in words.
    """
    found: list[dict[str, object]] = []
    if symptoms.metric:
        found += [_placebo(policy, reference, symptoms), _label_shift(policy, reference, rows), _shadow(policy, reference, rows, support)]
        found += _faulty(policy, reference, rows)
    if symptoms.has_drifted and policy.features.numeric:
        found += _columns(policy, reference, rows)
    chunk = str(rows["chunk"].iloc[0]) if len(rows) else ""
    return lines_of([{"chunk": chunk, "kind": str(Kind.DIAGNOSIS), "subject": ALL_FEATURES, "is_deciding": False, **one} for one in found])


def _placebo(policy: MonitoredModel, reference: "pd.DataFrame", symptoms: Symptoms) -> dict[str, object]:
    found = placebo(reference, policy.task, symptoms.metric, symptoms.value, symptoms.n_labelled, policy.performance.business_value)
    told = (
        f"{symptoms.metric} {symptoms.value:.4g}; blocks of as many reference rows give {found.mean:.4g} ± {found.standard_deviation:.2g}, "
        f"chance of so bad a value {found.p_value:.2g}"
    )
    return {
        "method": PLACEBO, "subject": symptoms.metric, "value": symptoms.value, "standard_error": found.standard_deviation,
        "effect": symptoms.value - found.mean, "n_rows": symptoms.n_labelled, "p_value": found.p_value, "breach": found.p_value <= NOISE,
        "reason": found.reason or told,
    }  # fmt: skip


def _label_shift(policy: MonitoredModel, reference: "pd.DataFrame", rows: "pd.DataFrame") -> dict[str, object]:
    found = label_shift(reference, rows, policy.task)
    name = 1 if not policy.outcome.classes else policy.outcome.classes[found.place]
    what = f"share of class {name}" if policy.probabilities else "mean outcome"
    told = (
        f"{what} {found.prior_chunk:.4g} against {found.prior_reference:.4g} in the reference (chance {found.p_value:.2g}); "
        f"what the predictions do not account for: chance {found.unexplained_p_value:.2g}; predictions of equal outcomes are "
        f"{'as' if found.conditional_p_value >= CONDITIONAL_ALARMS else 'not as'} before (chance {found.conditional_p_value:.2g})"
    )
    return {
        "method": LABEL_SHIFT, "subject": "outcomes", "value": found.prior_chunk, "effect": found.prior_chunk - found.prior_reference,
        "n_rows": found.n_rows, "p_value": found.p_value, "breach": found.is_shift, "reason": found.reason or told,
    }  # fmt: skip


def _shadow(policy: MonitoredModel, reference: "pd.DataFrame", rows: "pd.DataFrame", support: Support | None) -> dict[str, object]:
    inside: np.ndarray | None = None if support is None else ~is_outside(support, rows, policy.features)
    found = shadow_refit(policy, reference, rows, inside)
    told = (
        f"{found.says}: a model corrected on this chunk gains {found.gain_inside:.3g} ± {found.standard_error:.2g} on {found.n_inside} rows like "
        f"the reference's (chance {found.p_value:.2g}); {found.n_outside} rows are unlike them"
    )
    return {
        "method": SHADOW_REFIT, "value": found.gain_inside, "standard_error": found.standard_error, "n_rows": found.n_inside,
        "effect": found.n_outside / max(found.n_inside + found.n_outside, 1), "p_value": found.p_value, "breach": found.says == "concept",
        "reason": f"{found.says}: {found.reason}" if found.reason else told,
    }  # fmt: skip


def _faulty(policy: MonitoredModel, reference: "pd.DataFrame", rows: "pd.DataFrame") -> list[dict[str, object]]:
    """A line over all features, and one for each column at fault."""
    found = find_faulty_columns(policy, reference, rows)
    common = {
        "method": FAULTY_COLUMNS, "value": found.left, "standard_error": found.standard_error, "effect": found.harm, "n_rows": found.n_rows,
        "p_value": found.p_value, "breach": bool(found.columns),
    }  # fmt: skip
    told = [{**common, "subject": name, "reason": f"{name} moved, and outcomes follow without it as ever"} for name in found.columns]
    return [*told, {**common, "reason": found.recovery or found.reason}]


def _columns(policy: MonitoredModel, reference: "pd.DataFrame", rows: "pd.DataFrame") -> list[dict[str, object]]:
    numeric = policy.features.numeric
    remapping = find_remapping(reference, rows, numeric)
    found: list[dict[str, object]] = [
        {
            "method": REMAPPING, "subject": column, "value": remapping.gain, "n_rows": len(rows), "p_value": remapping.p_value, "breach": True,
            "reason": f"{column} now carries {source}'s signal",
        }
        for column, source in remapping.pairs.items()
    ]  # fmt: skip
    if remapping.is_found:
        told = {"method": REMAPPING, "value": remapping.gain, "n_rows": len(rows), "p_value": remapping.p_value, "breach": True}
        return [*found, {**told, "reason": remapping.recovery(numeric)}]
    return [
        {
            "method": UNIT_CHANGE, "subject": one.column, "value": one.factor, "n_rows": len(rows), "p_value": one.p_value, "breach": True,
            "reason": one.recovery,
        }
        for one in find_unit_changes(reference, rows, numeric)
    ]  # fmt: skip
