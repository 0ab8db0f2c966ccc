"""Who serves: registration with lineage, promotion, the next reference, rollback.

Belongs here: every alias move and its event. Does not: judging a candidate (``gates.py``).
Reads: ``evaluations``, ``training_sets``, ``held_out``. Writes: MLflow aliases, ``rollout_events``, ``reference_rows``,
``feature_importances``.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version as package_version
from typing import TYPE_CHECKING

import dagster as dg

from resources import tables
from resources.clock import now
from resources.lake import Lake
from resources.names import job_name
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.rollout_log import append_event, events, previous_version, serving_version
from resources.vocabulary import EXTERNAL, TAG_MODEL, Event, Stage
from training_assets import ledger
from training_assets.asset import settings
from training_assets.candidate import window_rows
from training_assets.recipes import load_version, recipe_of
from training_assets.training_set import HOLDOUT, TRAIN, Order, left_inputs_alone, order_of

if TYPE_CHECKING:
    import pandas as pd


class NotAcceptedError(PermissionError):
    """A candidate that did not pass the gates was about to serve."""


class NothingToRollBackError(LookupError):
    """There is no earlier champion."""


def accepted_candidate(policy: MonitoredModel, lake: Lake, chunk: str) -> "pd.Series":
    """The accepted evaluation of ``chunk``; the only door to registration and promotion.

    Raises:
        NotAcceptedError: when the gates have not accepted a candidate there.
    """
    rows = lake.read(policy.model, tables.EVALUATIONS, {"chunk": chunk})
    accepted = rows[rows["is_winner"] & rows["is_accepted"]]
    if accepted.empty:
        raise NotAcceptedError(
            f"{policy.model}: got no accepted candidate of chunk {chunk}; expected one that passed every gate. See {Stage.CANDIDATE_EVALUATION}."
        )
    return accepted.iloc[0]


def next_reference(policy: MonitoredModel, held_out: "pd.DataFrame", train: "pd.DataFrame", onset: datetime | None) -> "pd.DataFrame":
    """The accepted window, reaching back into the candidate's own training rows where it holds too few chunks.

    Rows from training serve as inputs only (``is_held_out`` is false): a model flatters itself on what it has learned.
    Nothing from before ``onset`` is taken.

    Args:
        held_out: ``(n_rows, ...)`` proof rows with predictions of the candidate.
        train: rows the candidate was trained on.
        onset: start of the new behaviour, if any.
    """
    import pandas as pd

    start = held_out["time"].max() - policy.cadence.step * policy.reference.minimum_chunks
    older = train[(train["time"] >= start) & (train["time"] < held_out["time"].min())]
    if onset is not None:
        older = older[older["time"] >= onset]
    return pd.concat([older.assign(is_held_out=False), held_out.assign(is_held_out=True)], ignore_index=True)


def version_of(policy: MonitoredModel, registry: Registry, accepted: "pd.Series") -> str:
    """Version under which an accepted candidate is registered."""
    return next(str(one["version"]) for one in registry.versions(policy.model) if one["tags"].get("model_uri") == accepted["model_uri"])


def promote(
    policy: MonitoredModel, lake: Lake, registry: Registry, order: Order, version: str, *, approved_by: str | None = None, why: str = ""
) -> str:
    """Make ``version`` the champion: reference rows first, then the alias, then the event; safe to run again.

    Args:
        order: what asked for it.
        version: of the accepted candidate.
        approved_by: the person who signs for it; the policy if absent.
        why: what they say.

    Raises:
        NotAcceptedError: when the chunk has no accepted candidate.
    """

    accepted = accepted_candidate(policy, lake, order.chunk)
    before = serving_version(lake, policy)
    proved_against = accepted["champion_version"]
    proved_against = (
        None if proved_against is None or proved_against != proved_against or proved_against == EXTERNAL else str(proved_against)
    )
    if policy.log.is_scored_here and before not in (version, proved_against):
        raise NotAcceptedError(
            f"{policy.model}: got a candidate proved against version {proved_against or 'none'} while {before or 'none'} serves; "
            f"expected a proof against the serving version. Retrain: materialize {Stage.TRAINING_SET} and what follows for a newer chunk."
        )
    where = {"chunk": order.chunk}
    made = ledger.ordered(policy, lake, order.chunk)
    onset = made["onset"] if made else None
    rows = lake.read(policy.model, tables.training_sets(policy), where)
    champion_end = ledger.promotion_of(events(lake, policy), proved_against).train_end if proved_against else None
    train = window_rows(policy, accepted["window"], rows[rows["part"] == TRAIN], onset, champion_end)
    assert train is not None  # noqa: S101 - the window was trained on, so it exists
    proof = lake.read(policy.model, tables.held_out(policy), where)
    scores = {f"candidate_{name}": name for name in policy.predictions}
    held_out = rows[rows["part"] == HOLDOUT].merge(proof[["prediction_id", *scores]].rename(columns=scores), on="prediction_id")
    table = tables.reference_rows(policy)
    causes = made["inputs"]["causes"] if made is not None else []
    reference = next_reference(policy, held_out, train, None if left_inputs_alone(causes) else onset).assign(reference_version=version)
    lake.replace(policy.model, table, reference.reindex(columns=list(table.columns)), {"reference_version": version})
    _store_importance(policy, lake, registry, version)
    registry.set_champion(policy.model, version)
    if before == version:
        return version
    append_event(
        lake, policy, Event.PROMOTED, reason="; ".join(part for part in (f"window {accepted['window']}: {gain_of(accepted)}", why) if part),
        approved_by=approved_by or f"policy {policy.policy_hash}", as_of=order.as_of,
        chunk=order.chunk, from_version=before, to_version=version, train_start=train["time"].min().to_pydatetime(), train_end=train["time"].max().to_pydatetime(),
        onset=onset, incident=order.incident,
    )  # fmt: skip
    return version


def _store_importance(policy: MonitoredModel, lake: Lake, registry: Registry, version: str) -> None:
    """What the model leans on, for ranking what drifts; monitoring reads it without loading the model."""
    import pandas as pd

    weights = recipe_of(policy).importance(policy, load_version(policy, registry, version))
    rows = [(version, name, weight) for name, weight in weights.items()]
    frame = pd.DataFrame(rows, columns=list(tables.FEATURE_IMPORTANCES.columns))
    lake.replace(policy.model, tables.FEATURE_IMPORTANCES, frame, {"model_version": version})


def content_hash(rows: "pd.DataFrame") -> str:
    """Hash of rows ``(n_rows, ...)`` with ``prediction_id``; the order they were stored in does not matter."""
    import pandas as pd

    ordered = rows.sort_values("prediction_id", kind="stable")
    return hashlib.sha256(pd.util.hash_pandas_object(ordered, index=False).to_numpy().tobytes()).hexdigest()[:32]


def _proved_against(accepted: "pd.Series") -> str:
    against = accepted["champion_version"]
    return "none: the first model" if against is None or against != against else f"version {against}"


def gain_of(accepted: "pd.Series") -> str:
    """The proof of an accepted candidate in words."""
    if accepted["gain"] != accepted["gain"]:
        return f"first model, {accepted['metric']} {accepted['candidate']:.4f}"
    return f"{accepted['metric']} {accepted['champion']:.4f} → {accepted['candidate']:.4f}"


def roll_back(
    policy: MonitoredModel, lake: Lake, registry: Registry, *, reason: str, approved_by: str, to_version: str | None = None
) -> tuple[str, str]:
    """Restore the previous champion, or ``to_version``, and record who and why.

    Returns:
        The version that served and the one that serves now.

    Raises:
        NothingToRollBackError: when there is no such earlier champion.
    """
    log = events(lake, policy)
    current = serving_version(lake, policy)
    champions = set(log.loc[log["event"] == Event.PROMOTED, "to_version"])
    target = to_version or (previous_version(lake, policy, current) if current else None)
    if current is None or target is None or target not in champions or target == current:
        raise NothingToRollBackError(
            f"{policy.model}: got version {target or 'none'} to restore while {current or 'none'} serves; expected an earlier champion, one of {sorted(champions - {current})}"
        )
    registry.set_champion(policy.model, target)
    append_event(
        lake,
        policy,
        Event.ROLLED_BACK,
        reason=reason,
        approved_by=approved_by,
        as_of=now(policy, lake),
        from_version=current,
        to_version=target,
    )
    return current, target


def build_model_version(policy: MonitoredModel) -> dg.AssetsDefinition:
    """Register an accepted candidate as an immutable version with its lineage."""

    @dg.asset(
        **settings(
            policy,
            Stage.MODEL_VERSION,
            [Stage.CANDIDATE_EVALUATION],
            {"mlflow"},
            "An accepted candidate in the MLflow registry, alias challenger, with lineage tags.",
        ),
        output_required=False,
    )
    def model_version(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> Iterator[dg.MaterializeResult[None]]:
        order = order_of(context, policy, lake)
        try:
            accepted = accepted_candidate(policy, lake, order.chunk)
        except NotAcceptedError as rejection:
            context.log.info(f"nothing to register: {rejection}")
            return
        reference = lake.read(policy.model, tables.held_out(policy), {"chunk": order.chunk})["time"]
        learned = lake.read(policy.model, tables.training_sets(policy), {"chunk": order.chunk})
        tags = {
            "data_version": lake.data_version(policy.model, tables.training_sets(policy), {"chunk": order.chunk}),
            "data_hash": content_hash(learned[learned["part"] == TRAIN]),
            "baseline": _proved_against(accepted),
            "gain": gain_of(accepted),
            "code_version": package_version("plumbline"),
            "policy_hash": policy.policy_hash,
            "reference_window": f"{reference.min():%Y-%m-%d} to {reference.max():%Y-%m-%d}",
            "incident": order.incident,
            "clause": order.clause,
            "window": str(accepted["window"]),
            "dagster_run": context.run.run_id,
        }
        version = registry.register(policy.model, str(accepted["model_uri"]), tags)
        yield dg.MaterializeResult(metadata={"version": version, **tags}, data_version=dg.DataVersion(f"{policy.model}/{version}"))

    return model_version


class RollbackConfig(dg.Config):
    """Who rolls back, why, and to what."""

    reason: str = "asked for in the UI"
    approved_by: str = "unknown"
    to_version: str | None = None


def build_rollback_job(policy: MonitoredModel) -> dg.JobDefinition:
    """One job: the previous champion serves again, recorded."""

    @dg.op(name=f"{policy.model}__restore_champion", description="Restore the previous champion and record it.")
    def restore_champion(context: dg.OpExecutionContext, config: RollbackConfig, lake: Lake, registry: Registry) -> None:
        before, after = roll_back(
            policy, lake, registry, reason=config.reason, approved_by=config.approved_by, to_version=config.to_version
        )
        context.log.info(f"version {before} served, version {after} serves now")

    @dg.job(name=job_name(policy, "rollback"), tags={TAG_MODEL: policy.model}, description="Restore the previous champion.")
    def rollback() -> None:
        restore_champion()

    return rollback
