"""Training windows compete: all past, recent, since the onset; the best on the held-out rows becomes the candidate.

Belongs here: fitting one model per window, choosing, logging to MLflow. Does not: comparing with the champion (``gates.py``).
Reads: ``training_sets``, ``decisions``. Writes: ``evaluations``; MLflow runs.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets.measures.registry import sign_of
from resources import tables
from resources.chunks import parse_duration
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.vocabulary import Stage, Update
from training_assets import ledger
from training_assets.asset import settings
from training_assets.recipes import load_version, recipe_of
from training_assets.recipes.cohorts import series_at_fault
from training_assets.training_set import HOLDOUT, TRAIN, order_of

if TYPE_CHECKING:
    import pandas as pd


class NoCandidateError(ValueError):
    """No training window holds enough rows."""


@dataclass(frozen=True)
class Contender:
    """One fitted training window, its predictions on the held-out rows and the metrics they earn."""

    window: str
    model: Any
    rows: "pd.DataFrame"
    predictions: "pd.DataFrame"
    metrics: Mapping[str, float]


#: Window of rows the champion has not learned from; the candidate goes on from it.
SINCE_CHAMPION = "since_champion"


@dataclass(frozen=True)
class Predecessor:
    """The champion that an incremental candidate goes on from, and the last row it has learned from."""

    model: Any
    train_end: datetime


def window_rows(
    policy: MonitoredModel, window: str, train: "pd.DataFrame", onset: datetime | None, champion_train_end: datetime | None = None
) -> "pd.DataFrame | None":
    """Rows of one training window; ``None`` where the window does not exist (no onset, no champion) or is all of the past anyway."""
    if window == "all":
        return train
    if window == SINCE_CHAMPION:
        return None if champion_train_end is None else train[train["time"] > champion_train_end]
    if window == "since_onset":
        return None if onset is None else train[train["time"] >= onset]
    start = train["time"].max() - parse_duration(window)
    return None if train.empty or start <= train["time"].min() else train[train["time"] >= start]


def metrics_of(
    policy: MonitoredModel, y_true: "pd.Series", predictions: "pd.DataFrame", scale: "pd.Series | None" = None
) -> dict[str, float]:
    """The declared metrics on ``(n_rows,)`` outcomes and predictions.

    Args:
        scale: ``(n_rows,)`` unit of each row for scaled errors; they are NaN without it.
    """
    from monitoring_assets.measures.paired import in_units, score
    from monitoring_assets.measures.probabilities import probability_of

    truth, predicted, probability = y_true.to_numpy(), predictions["y_pred"].to_numpy(), probability_of(predictions)
    values, units = policy.performance.business_value, None if scale is None else scale.to_numpy()
    return {
        metric: score(policy.task, metric, *in_units(metric, truth, predicted, units), probability, values) for metric in policy.metrics
    }


def compete(
    policy: MonitoredModel, train: "pd.DataFrame", held_out: "pd.DataFrame", onset: datetime | None,
    update: Update = Update.FULL, predecessor: Predecessor | None = None, only: Collection[str] | None = None,
) -> list[Contender]:  # fmt: skip
    """Fit every window that ``update`` asks for and score it on the held-out rows; best first.

    An incremental candidate goes on from ``predecessor`` on rows it has not seen; where there is none, or too few such rows, the
    declared windows are trained in full.

    Args:
        only: series of a forecaster that an incremental candidate fits again; all if absent.

    Raises:
        NoCandidateError: when no window holds enough rows: ``gates.minimum_rows`` and, for classifiers, two classes; for forecasters
            a series long enough for its backtest.
    """
    recipe, contenders, seen = recipe_of(policy), [], {}
    goes_on = predecessor if update is not Update.FULL else None
    for window in (*([SINCE_CHAMPION] if goes_on else []), *policy.retrain.windows):
        rows = window_rows(policy, window, train, onset, goes_on.train_end if goes_on else None)
        seen[window] = 0 if rows is None else len(rows)
        is_update = goes_on is not None and window == SINCE_CHAMPION
        if rows is None or rows.empty or not (recipe.can_learn(policy, rows) or (is_update and not recipe.needs_much_to_update)):
            continue
        model = recipe.update(policy, goes_on.model, rows, only) if goes_on and is_update else recipe.fit(policy, rows)
        predictions = recipe.predict(policy, model, held_out, train)
        contenders.append(
            Contender(window, model, rows, predictions, metrics_of(policy, held_out["y_true"], predictions, scale_of(held_out)))
        )
        if window == SINCE_CHAMPION and update is Update.INCREMENTAL:
            break
    if not contenders:
        raise NoCandidateError(
            f"{policy.model}: got rows per training window {seen}; expected {recipe.expected(policy)} in one of them. "
            "Wait for outcomes, widen retrain.windows or shorten gates.holdout."
        )
    deciding = policy.metrics[0]
    sign = sign_of(policy.task, deciding)
    return sorted(
        contenders, key=lambda one: -sign * one.metrics[deciding] if one.metrics[deciding] == one.metrics[deciding] else float("inf")
    )


def scale_of(rows: "pd.DataFrame") -> "pd.Series | None":
    """Unit of each row for scaled errors; ``None`` where the task has none."""
    return rows.get("series_scale", None)


def build_candidate(policy: MonitoredModel) -> dg.AssetsDefinition:
    """Fit the competing windows and log them."""

    @dg.asset(
        **settings(
            policy,
            Stage.CANDIDATE,
            [Stage.TRAINING_SET],
            {policy.retrain.recipe, "mlflow"},
            "The best of the competing training windows on the held-out rows; every window is an MLflow run.",
        )
    )
    def candidate(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> dg.MaterializeResult[None]:
        import pandas as pd

        order = order_of(context, policy, lake)
        table = tables.training_sets(policy)
        rows = lake.read(policy.model, table, {"chunk": order.chunk}).sort_values(["time", "prediction_id"], kind="stable")
        train, held_out = (rows[rows["part"] == part].reset_index(drop=True) for part in (TRAIN, HOLDOUT))
        made = ledger.ordered(policy, lake, order.chunk)
        onset = made["onset"] if made else None
        predecessor = _predecessor(policy, lake, registry) if order.update is not Update.FULL else None
        only = series_at_fault(policy, lake, made, train) if predecessor else None
        contenders = compete(policy, train, held_out, onset, order.update, predecessor, only)
        data_version = lake.data_version(policy.model, table, {"chunk": order.chunk})
        tags = {
            "incident": order.incident,
            "data_version": data_version,
            "policy_hash": policy.policy_hash,
            "dagster_run": context.run.run_id,
        }
        uri = _log(policy, registry, contenders, tags, onset)
        deciding = policy.metrics[0]
        frame = pd.DataFrame([
            {
                "chunk": order.chunk, "incident": order.incident, "window": one.window, "metric": deciding, "champion": None,
                "candidate": one.metrics[deciding], "gain": None, "gain_lower": None, "gain_upper": None, "n_rows": len(held_out),
                "is_winner": rank == 0, "is_accepted": False, "model_uri": uri if rank == 0 else None, "champion_version": None,
            }
            for rank, one in enumerate(contenders)
        ])  # fmt: skip
        numbers = ["champion", "gain", "gain_lower", "gain_upper"]
        version = lake.replace(policy.model, tables.EVALUATIONS, frame.astype(dict.fromkeys(numbers, "float64")), {"chunk": order.chunk})
        lines = [f"| {one.window} | {len(one.rows)} | {one.metrics[deciding]:.4f} |" for one in contenders]
        best = contenders[0]
        metadata: dict[str, Any] = {
            "update": str(order.update),
            "winning_window": best.window,
            f"held-out {deciding}": best.metrics[deciding],
            "train_rows": len(best.rows),
            "held_out_rows": len(held_out),
            "windows": dg.MetadataValue.md("\n".join([f"| window | rows | held-out {deciding} |", "|---|---|---|", *lines])),
            **({} if only is None else {"series fitted again": ", ".join(sorted(only)[:20]), "n_series_fitted_again": len(only)}),
            "model_uri": uri,
        }
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(version))

    return candidate


def _predecessor(policy: MonitoredModel, lake: Lake, registry: Registry) -> Predecessor | None:
    """The serving version, where the platform has trained it."""
    champion = ledger.read_history(policy, lake).champion
    if champion is None or champion.train_end is None:
        return None
    return Predecessor(load_version(policy, registry, champion.version), champion.train_end)


def _log(policy: MonitoredModel, registry: Registry, contenders: list[Contender], tags: Mapping[str, str], onset: datetime | None) -> str:
    recipe, uri = recipe_of(policy), ""
    for rank, one in enumerate(contenders):
        span = {"train_start": str(one.rows["time"].min()), "train_end": str(one.rows["time"].max()), "train_rows": len(one.rows)}
        found, numbers = recipe.logged(one.model)
        params = {**recipe.parameters(policy), **found, "recipe": recipe.name, "window": one.window, "onset": str(onset), **span}
        metrics = {**numbers, **{f"held_out_{name}": value for name, value in one.metrics.items()}}
        name = f"{tags['incident']} {one.window}"
        if rank == 0:
            uri = registry.log_candidate(
                policy.model,
                partial(recipe.log, one.model),
                params,
                metrics,
                {**tags, **{key: str(value) for key, value in span.items()}, "window": one.window},
                name,
            )
        else:
            registry.log_run(policy.model, params, metrics, tags, name)
    return uri
