"""The challenger in the shadow of the champion: it answers the newest served rows, and nobody acts on what it says.

Belongs here: scoring what was served last once more, the comparison side by side, and the check that stops a challenger which cannot
answer live rows. Does not: the proof on outcomes (``gates.py``), moving aliases (``rollout.py``).
Reads: ``prediction_log``, ``outcomes``. Writes: ``shadow_scores``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources import tables
from resources.lake import Lake
from resources.names import key
from resources.outcomes import known_outcomes
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.vocabulary import OF_NUMBERS, Check, Stage
from training_assets.asset import settings
from training_assets.candidate import metrics_of
from training_assets.recipes import load_logged, recipe_of
from training_assets.training_set import order_of

if TYPE_CHECKING:
    import pandas as pd

CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(frozen=True)
class Comparison:
    """Champion and challenger on the same live rows.

    Attributes:
        n_rows: rows both answered.
        unanswered: rows on which the challenger gave no finite answer.
        disagreement: share of rows answered differently (classifiers), or mean absolute difference in units of the champion's standard
            deviation (regression); NaN without rows.
        is_constant: whether the challenger says the same of every row while the champion does not.
        metrics: the declared metrics of each side on the rows whose outcome is known; empty where there are none.
        n_labelled: how many these are.
    """

    n_rows: int
    unanswered: int
    disagreement: float
    is_constant: bool
    metrics: dict[str, dict[str, float]]
    n_labelled: int

    @property
    def is_sound(self) -> bool:
        """Whether the challenger answers every row, and not with one word."""
        return self.unanswered == 0 and not self.is_constant


def compare(policy: MonitoredModel, rows: "pd.DataFrame") -> Comparison:
    """Compare side by side.

    Args:
        policy: declares task and metrics.
        rows: ``(n_rows, ...)`` of ``shadow_scores``, ``y_true`` where known.
    """
    import numpy as np

    champion, challenger = (rows[f"{side}_y_pred"].to_numpy(dtype="float64") for side in (CHAMPION, CHALLENGER))
    answers = [f"{CHALLENGER}_{name}" for name in policy.predictions]
    unanswered = int((~np.isfinite(rows[answers].to_numpy(dtype="float64"))).any(axis=1).sum()) if len(rows) else 0
    # a classifier may rightly give one class to all rows: its probabilities tell more
    telling = (policy.probabilities or ["y_pred"])[0]
    spreads = {side: rows[f"{side}_{telling}"].nunique() for side in (CHAMPION, CHALLENGER)}
    share = float("nan")
    if len(rows):
        differs = np.abs(champion - challenger)
        share = differs.mean() / (np.nanstd(champion) or 1.0) if policy.task in OF_NUMBERS else (differs > 0).mean()
    known = rows.dropna(subset=["y_true"])
    metrics = {
        side: metrics_of(policy, known["y_true"], known[[f"{side}_{name}" for name in policy.predictions]].set_axis(policy.predictions, axis=1))
        for side in (CHAMPION, CHALLENGER)
    } if len(known) and not unanswered else {}  # fmt: skip
    is_constant = len(rows) > 1 and spreads[CHALLENGER] == 1 < spreads[CHAMPION]
    return Comparison(len(rows), unanswered, float(share), bool(is_constant), metrics, len(known))


def shadow_rows(policy: MonitoredModel, lake: Lake, chunk: str, as_of: datetime, model: Any) -> "pd.DataFrame":
    """The newest served rows up to ``chunk`` with the answers of both sides, and outcomes known at ``as_of``.

    Args:
        chunk: the chunk whose decision ordered the run.
        as_of: what may be known.
        model: the challenger.

    Returns:
        ``(n_rows, ...)`` of ``shadow_scores``; empty before anything was served.
    """
    chunks = _served(policy, lake, chunk)
    served = lake.read(policy.model, tables.prediction_log(policy), {"chunk": chunks or [chunk]})
    served = served[served["chunk"].isin(chunks)]
    served = served.sort_values(["time", "prediction_id"], kind="stable").reset_index(drop=True)
    past = lake.read(policy.model, tables.training_sets(policy), {"chunk": chunk})
    scores = recipe_of(policy).predict(policy, model, served, past)
    rows = served[["prediction_id", "time", "model_version"]].rename(columns={"model_version": "champion_version"}).assign(chunk=chunk)
    for name in policy.predictions:
        rows[f"{CHAMPION}_{name}"], rows[f"{CHALLENGER}_{name}"] = served[name].astype("float64"), scores[name].astype("float64")
    outcomes = known_outcomes(policy, lake, policy.cadence.start(min(chunks, default=chunk)), policy.cadence.end(chunk), as_of)
    return rows.merge(outcomes[["prediction_id", "y_true"]], on="prediction_id", how="left")[list(tables.shadow_scores(policy).columns)]


def _served(policy: MonitoredModel, lake: Lake, chunk: str) -> Sequence[str]:
    """The newest chunks that were served, as many as ``rollout.shadow`` says."""
    known = [one for one in lake.partitions(policy.model, tables.prediction_log(policy), "chunk") if one <= chunk]
    return known[-policy.rollout.shadow :] if policy.rollout.shadow else []


def build_shadow_scores(policy: MonitoredModel) -> dg.AssetsDefinition:
    """Let the challenger answer what was served last; one that cannot does not go on."""
    name = Check.SHADOW_IS_SOUND

    @dg.asset(
        **settings(
            policy,
            Stage.SHADOW_SCORES,
            [Stage.MODEL_VERSION, Stage.PREDICTION_LOG],
            {policy.retrain.recipe, "deltalake"},
            "The challenger's answers to the newest served rows beside the champion's; nobody acts on them.",
        ),
        check_specs=[
            dg.AssetCheckSpec(
                str(name), asset=key(policy, Stage.SHADOW_SCORES), blocking=True,
                description="The challenger answers every live row, and not all with one word.",
            )
        ],
    )  # fmt: skip
    def shadow_scores(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> Iterator[dg.MaterializeResult[None]]:
        order = order_of(context, policy, lake)
        accepted = lake.read(policy.model, tables.EVALUATIONS, {"chunk": order.chunk})
        uri = str(accepted.loc[accepted["is_winner"], "model_uri"].iloc[0])
        rows = shadow_rows(policy, lake, order.chunk, order.as_of, load_logged(policy, registry, uri))
        version = lake.replace(policy.model, tables.shadow_scores(policy), rows, {"chunk": order.chunk})
        seen = compare(policy, rows)
        told = (
            f"{seen.n_rows} live rows: {seen.unanswered} without an answer, disagreement {seen.disagreement:.3g}"
            if seen.n_rows else "nothing has been served yet: there is no live row to answer"
        )  # fmt: skip
        check = dg.AssetCheckResult(check_name=str(name), passed=seen.is_sound, severity=dg.AssetCheckSeverity.ERROR, description=told)
        yield dg.MaterializeResult(metadata=_metadata(seen), data_version=dg.DataVersion(version), check_results=[check])

    return shadow_scores


def _metadata(seen: Comparison) -> dict[str, Any]:
    lines = [
        f"| {metric} | {seen.metrics[CHAMPION][metric]:.4f} | {seen.metrics[CHALLENGER][metric]:.4f} |"
        for metric in seen.metrics.get(CHAMPION, {})
    ]
    table = "\n".join([f"| on {seen.n_labelled} rows with outcomes | champion | challenger |", "|---|---|---|", *lines])
    return {
        "live_rows": seen.n_rows,
        "unanswered_rows": seen.unanswered,
        "A/B": dg.MetadataValue.md(table if lines else "no outcome of these rows is known yet"),
        **({"disagreement": seen.disagreement} if seen.disagreement == seen.disagreement else {}),
    }
