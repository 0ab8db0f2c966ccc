"""Asset keys, job names and what every asset of one model shares, so that both locations draw one graph."""

import warnings
from collections.abc import Iterable
from typing import Any

import dagster as dg

from resources.policy import MonitoredModel
from resources.vocabulary import RETRIED, TAG_MODEL, Stage


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


def asset_job(policy: MonitoredModel, purpose: str, stages: Iterable[Stage], description: str, tags: dict[str, str] | None = None) -> Any:
    """A job over the stages of one model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dg.define_asset_job(
            job_name(policy, purpose),
            selection=dg.AssetSelection.assets(*(key(policy, stage) for stage in stages)),
            tags={TAG_MODEL: policy.model, **RETRIED, **(tags or {})},
            description=description,
        )
