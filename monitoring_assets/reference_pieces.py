"""What is fitted on the reference beside drift and NannyML's calculators: one piece each, plain numbers and arrays.

Belongs here: which pieces there are and how each is fitted and stored. Does not: their arithmetic (``measures``).
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from resources.policy import MonitoredModel

if TYPE_CHECKING:
    import pandas as pd

    from monitoring_assets.measures.encoding import State

#: Names of the pieces; each is a component of ``reference_profiles``.
SUPPORT, CALIBRATION, UNCERTAINTY, KPIS, SURROGATE, ESTIMATOR = "support", "calibration", "uncertainty", "kpis", "surrogate", "estimator"
PREDICTIONS, FORECASTS = "predictions", "forecasts"
NAMES = (SUPPORT, CALIBRATION, UNCERTAINTY, KPIS, SURROGATE, ESTIMATOR, PREDICTIONS, FORECASTS)


@dataclass(frozen=True)
class Piece:
    """One fitted piece: plain data, and arrays where it has some."""

    plain: Mapping[str, Any]
    arrays: "State" = field(default_factory=dict)


def fit_pieces(policy: MonitoredModel, rows: "pd.DataFrame", held_out: "pd.DataFrame") -> dict[str, Piece]:
    """Fit every piece that can be fitted.

    Args:
        policy: the declaration.
        rows: reference inputs ``(n_rows, ...)``.
        held_out: those with outcomes the model had not learned from.
    """
    from monitoring_assets.measures import adaptive, kpi, trust, uncertainty
    from monitoring_assets.measures.diagnosis.attribution import fit_attribution
    from monitoring_assets.measures.prediction_drift import fit_predictions
    from monitoring_assets.measures.probabilities import probability_of

    rows, held_out = (own.sort_values("time", kind="stable").reset_index(drop=True) for own in (rows, held_out))
    sizes = rows.groupby(policy.cadence.keys(rows["time"])).size()
    usual, seed = int(sizes.median()) if len(sizes) else 1, policy.retrain.seed
    found = {}
    support = trust.fit_support(rows, policy.features, usual, seed)
    if support is not None:
        found[SUPPORT] = Piece(trust.support_as_plain(support), support.state)
    probability = probability_of(held_out)
    if probability is not None and len(held_out):
        outcomes = held_out["y_true"].to_numpy("float64")
        if probability.ndim == 2:  # of several classes: is the most likely one as often right as it says?
            probability, outcomes = probability.max(axis=1), (probability.argmax(axis=1) == outcomes).astype("float64")
        calibration = trust.reference_calibration(probability, outcomes, seed)
        found[CALIBRATION] = Piece(asdict(calibration))
    if held_out["y_true"].nunique() > 1:
        if policy.estimator in adaptive.ESTIMATORS:
            found[ESTIMATOR] = Piece(adaptive.fit(policy.estimator, policy, held_out).as_plain())
        found[UNCERTAINTY] = Piece(uncertainty.fit_uncertainty(policy, held_out).as_plain())
    served = rows.dropna(subset=policy.predictions)
    if policy.cadence.keys(served["time"]).nunique() >= policy.reference.minimum_chunks:
        predictions = fit_predictions(policy, served, usual)
        found[PREDICTIONS] = Piece(predictions.as_plain(), predictions.arrays())
    if len(served):
        found[SURROGATE] = Piece(fit_attribution(policy, served, usual).as_plain())
    if policy.kpi:
        fitted = kpi.fit_kpis(policy, kpi.declared(policy), served)
        found[KPIS] = Piece({name: one.as_plain() for name, one in fitted.items()})
    return found


def with_limits(policy: MonitoredModel, fresh: Mapping[str, Piece], before: Mapping[str, Piece]) -> dict[str, Piece]:
    """The limits of the estimator before where the fresh one has seen too few chunks to know what is normal."""
    own, old = fresh.get(ESTIMATOR), before.get(ESTIMATOR)
    if own is None or old is None or own.plain["n_chunks"] >= policy.reference.minimum_chunks:
        return dict(fresh)
    return {**fresh, ESTIMATOR: Piece({**own.plain, "limits": old.plain["limits"], "spread": old.plain["spread"]})}


def rows_of(version: str, pieces: Mapping[str, Piece], n_rows: int, n_chunks: int) -> list[dict[str, Any]]:
    """Rows of ``reference_profiles``."""
    from monitoring_assets.measures.multivariate import dump

    common = {"reference_version": version, "n_rows": n_rows, "n_chunks": n_chunks}
    return [
        {**common, "component": name, "limits": json.dumps(one.plain), "state": dump(one.arrays) if one.arrays else b""}
        for name, one in pieces.items()
    ]


def pieces_from(stored: "pd.DataFrame", names: Collection[str] = NAMES) -> dict[str, Piece]:
    """Those of ``names`` that ``rows_of`` gave, from stored rows of one version; others are not decoded, and some are large."""
    from monitoring_assets.measures.multivariate import load

    own = stored[stored["component"].isin(names)]
    return {str(row.component): Piece(json.loads(row.limits), load(bytes(row.state)) if row.state else {}) for row in own.itertuples()}
