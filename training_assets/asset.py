"""How every training stage of one model is declared: keys, jobs and partitions in one place."""

import warnings
from typing import Any

import dagster as dg

from resources.names import common, job_name, key
from resources.partitions import chunk_partitions
from resources.policy import MonitoredModel
from resources.vocabulary import RETRIED, TAG_MODEL, Stage


def settings(policy: MonitoredModel, stage: Stage, deps: list[Stage], kinds: set[str], description: str) -> dict[str, Any]:
    """Arguments every training asset shares; one partition is the chunk whose decision ordered the run."""
    return {
        "key": key(policy, stage),
        "deps": [key(policy, dep) for dep in deps],
        **common(policy, kinds),
        "partitions_def": chunk_partitions(policy),
        "description": description,
    }


def asset_job(policy: MonitoredModel, purpose: str, stages: list[Stage], description: str, tags: dict[str, str] | None = None) -> Any:
    """A job over the stages of one model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return dg.define_asset_job(
            job_name(policy, purpose),
            selection=dg.AssetSelection.assets(*(key(policy, stage) for stage in stages)),
            tags={TAG_MODEL: policy.model, **RETRIED, **(tags or {})},
            description=description,
        )
