"""Which version served a model at any moment, what it learned from, what it was proved against, under which policy, and who approved it.

Belongs here: joining rollout events, version tags and the ledger into one line of governance. Does not: talking to the registry
(``registry.py``), showing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from resources.decision_log import read_ledger
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.rollout_log import events, own_time
from resources.vintages import JudgedChunk, read_vintages
from resources.vocabulary import EXTERNAL, Event

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN = "unknown"
_OUTSIDE = "trained outside the platform"


@dataclass(frozen=True)
class Lineage:
    """Who answered for a model at a moment; what is not known says so.

    Attributes:
        model: its name.
        at: the moment asked about, in the model's own time.
        serving_version: what served then; ``none`` before the first promotion.
        serving_since: when it was promoted or restored; empty where that is not known.
        training_data: table version and predicate of the rows it learned from.
        training_hash: hash of these rows.
        trained_on: first and last moment of these rows.
        code_version: of the platform that trained it.
        baseline: what it was proved against, and the gain.
        reference_window: what production was compared with.
        policy_version: hash of the declaration it was trained and promoted under.
        policy_in_force: hash of the declaration that decided then.
        approver: who let it serve.
        reason: why it serves.
    """

    model: str
    at: datetime
    serving_version: str
    serving_since: str = ""
    training_data: str = UNKNOWN
    training_hash: str = UNKNOWN
    trained_on: str = UNKNOWN
    code_version: str = UNKNOWN
    baseline: str = UNKNOWN
    reference_window: str = UNKNOWN
    policy_version: str = UNKNOWN
    policy_in_force: str = UNKNOWN
    approver: str = UNKNOWN
    reason: str = ""

    @property
    def plain(self) -> dict[str, str]:
        """Every field as text, by name."""
        return {name: f"{value:%Y-%m-%d %H:%M}" if isinstance(value, datetime) else str(value) for name, value in asdict(self).items()}


def lineage_at(
    policy: MonitoredModel,
    log: "pd.DataFrame",
    versions: Sequence[Mapping[str, Any]],
    at: datetime,
    *,
    judged: Sequence[JudgedChunk] = (),
    ledger: "pd.DataFrame | None" = None,
) -> Lineage:
    """The line of governance of one model at one moment; what became known later changes nothing of it.

    Args:
        policy: the monitored model.
        log: rows of ``rollout_events``, oldest first.
        versions: of the registry, as ``Registry.versions`` gives them.
        at: in the model's own time, UTC.
        judged: verdicts; they tell which version served a log that carries its own predictions.
        ledger: rows of ``decisions``; they tell which policy was in force.
    """
    before = [row for row in log.itertuples() if own_time(policy, row) <= at]
    moves = [row for row in before if row.event in (Event.PROMOTED, Event.ROLLED_BACK)]
    in_force = _in_force(policy, ledger, at)
    if policy.log.is_scored_here:
        if not moves:
            return Lineage(policy.model, at, "none", policy_in_force=in_force, reason="no version was promoted yet")
        version = str(moves[-1].to_version)
    else:
        version = _served_outside(policy, judged, at)
    promoted = next((row for row in moves if row.event == Event.PROMOTED and row.to_version == version), None)
    if promoted is None:
        return _external(policy, at, version, in_force)
    moved = next(row for row in reversed(moves) if row.to_version == version)
    tags: Mapping[str, str] = next((one["tags"] for one in versions if one["version"] == version), {})
    return Lineage(
        policy.model, at, version, f"{own_time(policy, moved):%Y-%m-%d %H:%M}",
        training_data=tags.get("data_version", UNKNOWN), training_hash=tags.get("data_hash", UNKNOWN),
        trained_on=_span(promoted.train_start, promoted.train_end), code_version=tags.get("code_version", UNKNOWN),
        baseline=_baseline(promoted, tags), reference_window=tags.get("reference_window", UNKNOWN),
        policy_version=tags.get("policy_hash", UNKNOWN), policy_in_force=in_force, approver=str(moved.approved_by), reason=str(moved.reason),
    )  # fmt: skip


def _external(policy: MonitoredModel, at: datetime, version: str, in_force: str) -> Lineage:
    window = f"{policy.reference.start:%Y-%m-%d} to {policy.reference.end:%Y-%m-%d}"
    return Lineage(
        policy.model, at, version, training_data=_OUTSIDE, training_hash=_OUTSIDE, trained_on=_OUTSIDE, code_version=_OUTSIDE,
        baseline="declared reference window", reference_window=window, policy_version=policy.policy_hash, policy_in_force=in_force,
        approver=f"declared by {', '.join(policy.owners)}", reason="the log carries its own predictions",
    )  # fmt: skip


def _served_outside(policy: MonitoredModel, judged: Sequence[JudgedChunk], at: datetime) -> str:
    """Version that the log names in the newest judged chunk that had begun by ``at``."""
    begun = [one for one in judged if policy.cadence.start(one.chunk) <= at]
    return max(begun, key=lambda one: one.chunk).model_version if begun else EXTERNAL


def _in_force(policy: MonitoredModel, ledger: "pd.DataFrame | None", at: datetime) -> str:
    """Hash of the policy behind the newest decision at ``at``; what is declared now before the first one."""
    own = None if ledger is None or ledger.empty else ledger[(ledger["as_of"] <= at) & ledger["policy_hash"].notna()]
    return policy.policy_hash if own is None or own.empty else str(own["policy_hash"].iloc[-1])


def _span(start: Any, end: Any) -> str:
    return UNKNOWN if start is None or start != start else f"{start:%Y-%m-%d} to {end:%Y-%m-%d}"


def _baseline(promoted: Any, tags: Mapping[str, str]) -> str:
    """What a version was proved against; older versions carry no tag, their event tells the gain."""
    before = promoted.from_version
    against = tags.get("baseline") or ("none: the first model" if before is None or before != before else f"version {before}")
    return f"{against} ({tags.get('gain') or promoted.reason})"


def read_lineage(policy: MonitoredModel, lake: Lake, versions: Sequence[Mapping[str, Any]], at: datetime) -> Lineage:
    """``lineage_at`` over what the lake holds."""
    judged = [] if policy.log.is_scored_here else read_vintages(lake, policy)
    return lineage_at(policy, events(lake, policy), versions, at, judged=judged, ledger=read_ledger(policy, lake))


def markdown(lines: Sequence[Lineage]) -> str:
    """One row per model, one column per fact."""
    names = [name for name in Lineage.__dataclass_fields__ if name != "at"]
    head = [f"| {' | '.join(name.replace('_', ' ') for name in names)} |", "|" + "---|" * len(names)]
    return "\n".join([*head, *(f"| {' | '.join(line.plain[name].replace('|', '/') or '–' for name in names)} |" for line in lines)])
