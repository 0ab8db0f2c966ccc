"""What every replay is compared with: never, every chunk, a fixed schedule. Ordinary declarations, walked like any other.

Belongs here: declarations of the rivals. Does not: walking them.
"""

from collections.abc import Mapping

from resources.policy import MonitoredModel
from resources.retraining import Retrain

NEVER, EVERY_CHUNK, SCHEDULE, TODAY, NEW = "never", "every chunk", "fixed schedule", "today's policy", "new policy"
#: As good as no budget.
_UNBOUNDED = {"retrainings": 1_000_000_000}
#: Longer than any record.
_NEVER = "1000y"


def with_condition(policy: MonitoredModel, when: Mapping[str, object]) -> MonitoredModel:
    """The same model retrained by one condition alone: no cooldown, no budget, nobody's caution; trained and proved as declared."""
    given = policy.retrain.model_dump(exclude={"when", "cooldown", "budget", "provisional_until", "enabled"})
    retrain = Retrain.model_validate({**given, "when": when, "cooldown": 0, "budget": _UNBOUNDED})
    return policy.model_copy(update={"retrain": retrain})


def rivals(policy: MonitoredModel, every: str) -> dict[str, MonitoredModel]:
    """Declarations by name.

    Args:
        policy: the model.
        every: of the fixed schedule, such as ``30d``.
    """
    return {
        NEVER: with_condition(policy, {"schedule": {"every": _NEVER}}),
        EVERY_CHUNK: with_condition(policy, {"rows": {"rows": 1}}),
        SCHEDULE: with_condition(policy, {"schedule": {"every": every}}),
    }
