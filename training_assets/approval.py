"""Accepted, but not by enough to go alone: a challenger is staged until a person promotes it.

Belongs here: whether a gain promotes by itself, what is staged, approving it. Does not: the proof (``gates.py``), the promotion itself
(``rollout.py``).
Reads: ``rollout_events``, ``evaluations``. Writes: ``rollout_events``, through ``rollout.promote``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.lake import Lake
from resources.names import job_name, key
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.rollout_log import append_event, events, serving_version
from resources.vocabulary import TAG_MODEL, Event, Stage
from training_assets.asset import settings
from training_assets.rollout import accepted_candidate, gain_of, promote, version_of
from training_assets.training_set import Order, order_of

if TYPE_CHECKING:
    import pandas as pd


class NothingStagedError(LookupError):
    """No challenger waits for a review."""


def needs_review(policy: MonitoredModel, accepted: "pd.Series") -> bool:
    """Whether an accepted candidate gains too little to be promoted by itself; the first model has nothing to gain on."""
    wanted, gain = policy.rollout.promote_gain, accepted["gain"]
    return wanted is not None and gain == gain and float(gain) < wanted


def stage(policy: MonitoredModel, lake: Lake, order: Order, version: str, accepted: "pd.Series") -> None:
    """Record that ``version`` waits for a person; safe to run again."""
    waiting = staged(policy, lake)
    if waiting is not None and waiting["to_version"] == version:
        return
    append_event(
        lake, policy, Event.STAGED, chunk=order.chunk, to_version=version, incident=order.incident, as_of=order.as_of,
        from_version=None if accepted["champion_version"] != accepted["champion_version"] else accepted["champion_version"],
        reason=f"gain {accepted['gain']:+.4f} of {accepted['metric']} is below rollout.promote_gain {policy.rollout.promote_gain:g}",
        approved_by=f"policy {policy.policy_hash}",
    )  # fmt: skip


def staged(policy: MonitoredModel, lake: Lake) -> "pd.Series | None":
    """The event that staged the challenger that waits now; ``None`` once anything was promoted or rolled back after it."""
    log = events(lake, policy)
    moves = log[log["event"].isin([Event.STAGED, Event.PROMOTED, Event.ROLLED_BACK])]
    return moves.iloc[-1] if len(moves) and moves["event"].iloc[-1] == Event.STAGED else None


def approve(policy: MonitoredModel, lake: Lake, registry: Registry, *, who: str, why: str) -> str:
    """Promote the challenger that waits, signed by a person; returns its version.

    Raises:
        NothingStagedError: when none waits.
        NotAcceptedError: when another version has come to serve since it was proved.
    """
    waiting = staged(policy, lake)
    if waiting is None:
        raise NothingStagedError(f"{policy.model}: got no challenger that waits for a review; expected one staged since the last promotion")
    order = Order(str(waiting["chunk"]), waiting["as_of"].to_pydatetime(), str(waiting["incident"]), "approval")
    return promote(policy, lake, registry, order, str(waiting["to_version"]), approved_by=who, why=why)


def promote_or_stage(policy: MonitoredModel, lake: Lake, registry: Registry, order: Order) -> str | None:
    """Promote the accepted candidate of an order, or stage it; returns the version that serves now by it, or ``None``."""
    accepted = accepted_candidate(policy, lake, order.chunk)
    version = version_of(policy, registry, accepted)
    if needs_review(policy, accepted):
        stage(policy, lake, order, version, accepted)
        return None
    return promote(policy, lake, registry, order, version)


def build_promotion(policy: MonitoredModel) -> dg.AssetsDefinition:
    """Move the champion alias and hand the accepted window over as the next reference, or stage the challenger."""

    @dg.asset(
        **settings(
            policy,
            Stage.PROMOTION,
            [Stage.SHADOW_SCORES],
            {"mlflow", "deltalake"},
            "The challenger becomes champion, and its accepted window the next reference; or it is staged for a person.",
        ),
        output_required=False,
    )
    def promotion(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> Iterator[dg.MaterializeResult[None]]:
        order = order_of(context, policy, lake)
        accepted, before = accepted_candidate(policy, lake, order.chunk), serving_version(lake, policy)
        version = promote_or_stage(policy, lake, registry, order)
        if version is None:
            context.log.info(f"{policy.model}: the challenger is staged; job {job_name(policy, 'approve')} promotes it")
            return
        metadata: dict[str, Any] = {
            "version": int(version),
            "from_version": before or "none",
            "window": str(accepted["window"]),
            "incident": order.incident,
            "gain": gain_of(accepted),
        }
        yield dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(f"{policy.model}@champion={version}"))

    return promotion


class ApprovalConfig(dg.Config):
    """Who promotes the staged challenger, and why."""

    who: str
    why: str


def build_approval_job(policy: MonitoredModel) -> dg.JobDefinition:
    """One job: the staged challenger becomes champion, signed."""

    @dg.op(name=f"{policy.model}__promote_staged", description="Promote the challenger that waits for a review, and record who did.")
    def promote_staged(context: dg.OpExecutionContext, config: ApprovalConfig, lake: Lake, registry: Registry) -> None:
        waiting = staged(policy, lake)
        version = approve(policy, lake, registry, who=config.who, why=config.why)
        chunk = None if waiting is None else str(waiting["chunk"])
        metadata: dict[str, Any] = {"version": int(version), "approved_by": config.who, "reason": config.why}
        context.log_event(dg.AssetMaterialization(key(policy, Stage.PROMOTION), partition=chunk, metadata=metadata))

    @dg.job(name=job_name(policy, "approve"), tags={TAG_MODEL: policy.model}, description="Promote the challenger that waits for a review.")
    def approval() -> None:
        promote_staged()

    return approval
