"""How much more there is to learn from than the champion has learned from.

Belongs here: what the promotion of the serving version says of its training, the history a candidate ordered now would have beyond it.
Does not: the clause that asks (``conditions.py``), the cut itself (``training_set.py``).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from resources.chunks import parse_duration
from resources.policy import MonitoredModel


@dataclass(frozen=True)
class Promotion:
    """The promotion that made the serving version serve.

    Attributes:
        version: its name.
        train_end: last row it learned from; ``None`` where it was trained elsewhere.
        onset: start of the harm it was trained to end.
        train_start: first row it learned from.
    """

    version: str
    train_end: datetime | None
    onset: datetime | None
    train_start: datetime | None = None


@dataclass(frozen=True)
class Growth:
    """History beyond what was learned from.

    Attributes:
        learned: span from the first row the champion learned from, or its onset if that is later, to the last row that it, or a candidate ordered
            since, could learn from; that of the reference where its training is not known.
        gained: span that a candidate ordered now could learn from beyond that; may be negative.
    """

    learned: timedelta
    gained: timedelta


def learnable_until(policy: MonitoredModel, as_of: datetime, onset: datetime | None) -> datetime:
    """Last moment that a candidate ordered at ``as_of`` learns from, by the rules of the cut: the held-out rows come after it, and the label delay."""
    delay = parse_duration(policy.outcome.delay)
    known = as_of - delay
    held_out = known - parse_duration(policy.gates.holdout)
    if onset is not None and onset <= known:  # half of what is known since the onset is learned from
        held_out = max(held_out, onset + (known - onset) / 2)
    return held_out - delay


def growth_of(policy: MonitoredModel, champion: Promotion, as_of: datetime, last_order: datetime | None) -> Growth:
    """What a candidate would learn from now, beside what the champion has learned from.

    Args:
        policy: declares outcome delay, held-out rows and the reference, which stands for a training that is not known.
        champion: what serves.
        as_of: the present.
        last_order: when a training was last ordered. What could be learned from then counts as seen, also if the candidate was rejected, and
            also of the first training, which leaves the reference to its proof.
    """
    start, end = champion.train_start, champion.train_end
    if end is None:
        start, end = policy.reference.start, policy.reference.end
    start = max(start or policy.reference.start, champion.onset or start or policy.reference.start)
    seen = end if last_order is None else max(end, learnable_until(policy, last_order, champion.onset))
    return Growth(max(seen - start, timedelta(0)), learnable_until(policy, as_of, champion.onset) - seen)
