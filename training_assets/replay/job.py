"""The replay as a Dagster job, so that whatever the command line can do the UI can do: its result is the asset ``replay``.

Belongs here: the job, its configuration, the materialization. Does not: replaying.
"""

import base64
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from resources.chunks import as_utc
from resources.lake import Lake
from resources.names import common, job_name, key
from resources.policy import MonitoredModel
from resources.policy_changes import read_change
from resources.registry import Registry
from resources.vocabulary import TAG_MODEL, Stage
from training_assets.replay import picture
from training_assets.replay.figures import Comparison
from training_assets.replay.run import MOST_TRAININGS, Asked, replay

_TEXT = "policy.yaml"


class ReplayConfig(dg.Config):
    """What to try; the same as the options of ``plumbline replay``.

    ``policy`` is the path of a file or its text: a declaration, or one that holds only ``retrain``; today's policy alone if empty.
    """

    policy: str = ""
    start: str = ""
    end: str = ""
    train: int = MOST_TRAININGS
    every: str = "30d"
    max_alarms: float | None = None


def asked_by(config: ReplayConfig, policy: MonitoredModel) -> Asked:
    """The configuration as the replay takes it.

    Raises:
        DeclarationError: for a policy that cannot be used, with file, line and field.
    """
    start, end = (as_utc(datetime.fromisoformat(moment)) if moment else None for moment in (config.start, config.end))
    return Asked(_declared(config.policy, policy), start, end, config.train, config.every)


def _declared(text: str, policy: MonitoredModel) -> MonitoredModel | None:
    if not text.strip():
        return None
    if "\n" not in text and ":" not in text:
        return read_change(Path(text), policy).policy
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _TEXT
        file.write_text(text, encoding="utf-8")
        return read_change(file, policy).policy


def metadata_of(policy: MonitoredModel, comparison: Comparison) -> dict[str, Any]:
    """Table, picture and figures for the page of the asset; numbers that are not known are left out."""
    drawn = base64.b64encode(picture.picture(policy, comparison)).decode()
    tried = comparison.figures[-1]
    numbers = {
        "alarms a month": tried.alarms_per_month, "retrainings": tried.retrainings, "delay in days": tried.delay_days,
        f"mean {comparison.metric}": tried.mean_metric, "total cost": tried.cost,
    }  # fmt: skip
    return {
        "comparison": dg.MetadataValue.md(picture.markdown(comparison)),
        "picture": dg.MetadataValue.md(f"![metric over time](data:image/png;base64,{drawn})"),
        "changes": dg.MetadataValue.md("\n".join(f"- {line}" for line in comparison.changes) or "none"),
        "notes": dg.MetadataValue.md("\n".join(f"- {line}" for line in comparison.notes) or "none"),
        "span": f"{comparison.start} to {comparison.end}",
        "onset": comparison.onset,
        "the record": comparison.reproduced,
        "figures": dg.MetadataValue.json(comparison.as_plain()),
        **{name: value for name, value in numbers.items() if value == value},
    }


def build_replay(policy: MonitoredModel) -> dg.AssetSpec:
    """The newest comparison as an asset, materialized by the job of the same name."""
    return dg.AssetSpec(
        key(policy, Stage.REPLAY),
        deps=[key(policy, Stage.DECISION)],
        **common(policy, {"matplotlib"}),
        description="What a retraining policy would have done on recorded history, beside never, every chunk, a schedule and today's policy.",
    )


def build_replay_job(policy: MonitoredModel, base: Path) -> dg.JobDefinition:
    """One job: replay, compare, show; it fails where the policy would call more often than ``max_alarms`` a month."""

    @dg.op(name=f"{policy.model}__replay_policy", description="Replay recorded history under a policy.")
    def replay_policy(context: dg.OpExecutionContext, config: ReplayConfig, lake: Lake, registry: Registry) -> None:
        comparison = replay(policy, lake, registry, base, asked_by(config, policy))
        context.log_event(
            dg.AssetMaterialization(key(policy, Stage.REPLAY), description="replayed", metadata=metadata_of(policy, comparison))
        )
        excess = comparison.excess(config.max_alarms)
        if excess:
            raise dg.Failure(f"{policy.model}: {excess}")

    @dg.job(
        name=job_name(policy, "replay"), tags={TAG_MODEL: policy.model}, description="What a policy would have done on recorded history."
    )
    def replayed() -> None:
        replay_policy()

    return replayed
