"""How every training stage of one model is declared: keys, jobs and partitions in one place."""

from typing import Any

from resources.names import common, key
from resources.partitions import chunk_partitions
from resources.policy import MonitoredModel
from resources.vocabulary import Stage


def settings(policy: MonitoredModel, stage: Stage, deps: list[Stage], kinds: set[str], description: str) -> dict[str, Any]:
    """Arguments every training asset shares; one partition is the chunk whose decision ordered the run."""
    return {
        "key": key(policy, stage),
        "deps": [key(policy, dep) for dep in deps],
        **common(policy, kinds),
        "partitions_def": chunk_partitions(policy),
        "description": description,
    }
