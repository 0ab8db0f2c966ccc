"""What a link of the chain is: its name, its state, what was seen, what to do.

Belongs here: the words of the walk. Does not: looking (``monitoring_links.py``, ``deployment_links.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    """What a link turned out to be."""

    OK = "ok"
    BROKEN = "broken"
    #: Nobody can tell from here, such as ticks without an instance.
    UNKNOWN = "unknown"
    #: Its time has not come: nothing before it has happened yet, or it is being worked on.
    NOT_DUE = "not due"


class LinkName(StrEnum):
    """Links in the order of the walk: monitoring, integrity of the pipeline, trigger, deployment."""

    DECLARATION = "declaration"
    LOG = "log"
    SCORES = "scores"
    CHUNKS = "chunks"
    CHECKS = "checks"
    VERDICT = "verdict"
    OUTCOMES = "outcomes"
    TRIGGER = "trigger"
    DECISION = "decision"
    RETRAINING = "retraining"
    HISTORY = "history"
    REGISTRATION = "registration"
    PROMOTION = "promotion"
    ALIAS = "alias"
    SERVING = "serving"
    REFERENCE = "reference"


#: What each link means, in words.
MEANING = {
    LinkName.DECLARATION: "every declaration can be used",
    LinkName.LOG: "the log is readable and fresh",
    LinkName.SCORES: "the champion scored every chunk that has ended",
    LinkName.CHUNKS: "every chunk that has ended was ingested",
    LinkName.CHECKS: "the checks of the newest chunk were evaluated",
    LinkName.VERDICT: "the newest chunk has a verdict",
    LinkName.OUTCOMES: "chunks whose outcomes are due were judged on them",
    LinkName.TRIGGER: "the trigger ticks and does not fail",
    LinkName.DECISION: "the newest verdict was decided on",
    LinkName.RETRAINING: "what was ordered was launched and came to an evaluation",
    LinkName.HISTORY: "rollout_events is whole: every hash follows from the one before",
    LinkName.REGISTRATION: "an accepted candidate is a registered version",
    LinkName.PROMOTION: "an accepted candidate was promoted, a rejected one recorded",
    LinkName.ALIAS: "the registry's champion is the version that serves",
    LinkName.SERVING: "the newest batch was scored by the version that serves",
    LinkName.REFERENCE: "a reference profile was fitted for the version that serves",
}


@dataclass(frozen=True)
class Link:
    """One link of the chain.

    Attributes:
        name: which.
        state: ok, broken, unknown or not due.
        told: what was seen.
        advice: what to do; empty unless it is broken.
        since: from when on, UTC, where that is known.
    """

    name: LinkName
    state: State
    told: str
    advice: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class Chain:
    """The links of one model in the order of the walk."""

    model: str
    links: Sequence[Link]

    @property
    def first_broken(self) -> Link | None:
        """The first broken link; everything after it may suffer from it."""
        return next((link for link in self.links if link.state is State.BROKEN), None)


def ok(name: LinkName, told: str) -> Link:
    """A link that holds."""
    return Link(name, State.OK, told)


def not_due(name: LinkName, told: str) -> Link:
    """A link whose time has not come."""
    return Link(name, State.NOT_DUE, told)
