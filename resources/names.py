"""Asset keys, job names and what every asset of one model shares, so that both locations draw one graph."""

from typing import Any

import dagster as dg

from resources.policy import MonitoredModel
from resources.vocabulary import TAG_MODEL, Stage


def key(policy: MonitoredModel, stage: Stage) -> dg.AssetKey:
    """Asset key of a stage."""
    return dg.AssetKey([policy.model, str(stage)])


def job_name(policy: MonitoredModel, purpose: str) -> str:
    """Name of a job: model and purpose."""
    return f"{policy.model}__{purpose}"


def common(policy: MonitoredModel, kinds: set[str]) -> dict[str, Any]:
    """What every asset of one model shares: group, owners, kinds, tags."""
    return {
        "group_name": policy.model,
        "owners": policy.owners,
        "kinds": kinds,
        "tags": {TAG_MODEL: policy.model, "task": str(policy.task)},
    }
