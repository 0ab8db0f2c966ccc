"""What any version would answer: a chunk scored, or forecast from its start, without a trace in what was served.

Belongs here: answers of a chosen version, the job that shows them. Does not: serving (``scoring.py``, ``issuing.py``).
Reads: the log source, the registry. Writes: nothing in the lake.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.clock import now
from resources.lake import Lake
from resources.log_source import read_log
from resources.names import job_name, key
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.rollout_log import serving_version
from resources.vocabulary import TAG_MODEL, Stage, Task
from training_assets.recipes import load_version, recipe_of
from training_assets.recipes.statsforecast import declared, issue

if TYPE_CHECKING:
    import pandas as pd

#: Rows shown in the UI.
_SHOWN = 50


class NoSuchVersionError(LookupError):
    """A version was asked for that is not registered."""


def answers(
    policy: MonitoredModel, lake: Lake, registry: Registry, base: Path, version: str | None = None, chunk: str | None = None
) -> "pd.DataFrame":
    """What a version answers for a chunk.

    Args:
        policy: the monitored model.
        lake: says what serves and which chunk is the newest.
        registry: holds the version.
        base: folder that relative paths start from.
        version: a registered one; the serving one if absent.
        chunk: key of a chunk; the newest if absent, of a forecaster the one that begins now.

    Returns:
        Of a forecaster the frame of ``statsforecast.issue`` with ``model_version``: every step of the horizon from the start of the
        chunk, from what was known then. Of other models ``prediction_id, time, model_version`` and ``policy.predictions``, one row per
        accepted row of the log.

    Raises:
        NoSuchVersionError: for a version that is not registered, with those there are.
        ValueError: for a chunk that is none.
    """
    wanted = version or serving_version(lake, policy)
    known = [one["version"] for one in registry.versions(policy.model)]
    if wanted is None or wanted not in known:
        raise NoSuchVersionError(
            f"{policy.model}: got version {wanted or 'none'}; expected a registered one: {', '.join(known) or 'none yet'}"
        )
    model, present = load_version(policy, registry, wanted), policy.cadence.key(now(policy, lake))
    if policy.task is Task.FORECAST:
        asked = chunk or present
        at = policy.cadence.start(asked)
        first = model.history["ds"].min().tz_localize("UTC").to_pydatetime()
        ahead = at + declared(policy).reach if declared(policy).known_ahead else at
        return issue(policy, model, read_log(policy, base, first, ahead).accepted, at).assign(model_version=wanted)
    asked = chunk or policy.cadence.shift(present, -1)
    rows = read_log(policy, base, policy.cadence.start(asked), policy.cadence.end(asked), with_outcomes=False).accepted
    return rows[["prediction_id", "time"]].assign(model_version=wanted).join(recipe_of(policy).predict(policy, model, rows))


class PredictConfig(dg.Config):
    """Which version answers, and for which chunk; the serving one and the newest if empty."""

    version: str = ""
    chunk: str = ""


def build_predict_job(policy: MonitoredModel, base: Path) -> dg.JobDefinition:
    """One job: what a version would answer, as an observation of the scored batch."""
    stage = Stage.SCORED_BATCH if policy.log.is_scored_here else Stage.LOG_SOURCE

    @dg.op(name=f"{policy.model}__answer", description="Answer for a chunk with any registered version; nothing is served.")
    def answer(context: dg.OpExecutionContext, config: PredictConfig, lake: Lake, registry: Registry) -> None:
        told = answers(policy, lake, registry, base, config.version or None, config.chunk or None)
        metadata: dict[str, Any] = {
            "rows": len(told),
            "model_version": str(told["model_version"].iloc[0]) if len(told) else "none",
            "answers": dg.MetadataValue.md(told.head(_SHOWN).to_markdown(index=False)),
        }
        context.log_event(dg.AssetObservation(key(policy, stage), metadata=metadata, description="answers of a chosen version"))

    @dg.job(
        name=job_name(policy, "predict"), tags={TAG_MODEL: policy.model}, description="What any registered version answers for a chunk."
    )
    def predict() -> None:
        answer()

    return predict
