"""What time it is for a model: the wall clock, or for a replayed log the end of the newest chunk handed over."""

from datetime import UTC, datetime

from resources.chunks import parse_duration
from resources.decision_log import newest_decided
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import MEASUREMENTS, scored_batches
from resources.vocabulary import Stage


def unmonitored_chunks(policy: MonitoredModel, lake: Lake, moment: datetime) -> list[str]:
    """Chunks since the reference that have ended by ``moment`` and were never ingested, oldest first."""
    where = {"stage": str(Stage.PREDICTION_LOG)}
    ingested = set(lake.partitions(policy.model, MEASUREMENTS, "chunk", where))
    return [chunk for chunk in policy.cadence.keys_between(policy.reference.end, moment) if chunk not in ingested]


def now(policy: MonitoredModel, lake: Lake) -> datetime:
    """The present of ``policy``, UTC.

    A replayed log's present is the end of its newest scored chunk; before the first one, the moment the outcomes
    of the reference window are complete. It is derived from the lake, so a restart changes nothing.
    """
    if policy.replay is None:
        return datetime.now(UTC)
    scored = lake.partitions(policy.model, scored_batches(policy), "chunk")
    if scored:
        # a chunk without a single row leaves no scores, but it is judged and decided on
        return policy.cadence.end(max(scored[-1], newest_decided(policy, lake) or ""))
    return policy.reference.end + parse_duration(policy.outcome.delay)
