"""Incidents out of the lake, and what people say about them.

Belongs here: reading what the fold needs, the append-only ``incident_events``. Does not: the fold (``incident_fold.py``).
Reads: ``verdict_vintages``, ``decisions``. Reads and writes: ``incident_events``.
"""

import difflib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from resources.clock import now
from resources.incident_fold import Finding, drift_findings, fold_incidents, verdict_findings
from resources.incidents import Incident, Order, Said
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import DECISIONS, INCIDENT_EVENTS, VERDICT_VINTAGES
from resources.vintages import read_vintages
from resources.vocabulary import Action, IncidentState


class UnknownIncidentError(LookupError):
    """No incident of that name can be acknowledged or resolved."""


def _verdicts(lake: Lake, policy: MonitoredModel) -> Iterable[Finding]:
    return verdict_findings(read_vintages(lake, policy))


def _drift(lake: Lake, policy: MonitoredModel) -> Iterable[Finding]:
    return drift_findings(policy, read_vintages(lake, policy)) if policy.incidents.drift else ()


Source = Callable[[Lake, MonitoredModel], Iterable[Finding]]
#: Where findings come from; each gives them in the order they became known.
SOURCES: Sequence[Source] = (_verdicts, _drift)
_TABLES = (VERDICT_VINTAGES, DECISIONS, INCIDENT_EVENTS)


def mark_of(lake: Lake, policy: MonitoredModel) -> str:
    """Changes whenever the incidents of a model may have changed."""
    return " ".join([policy.policy_hash, *(lake.data_version(policy.model, table) for table in _TABLES)])


def read_said(lake: Lake, policy: MonitoredModel) -> list[Said]:
    """What people said, oldest first."""
    rows = lake.read(policy.model, INCIDENT_EVENTS).sort_values("at", kind="stable")
    return [Said(row.incident, IncidentState(row.event), row.who, row.why, row.as_of.to_pydatetime()) for row in rows.itertuples()]


def read_orders(lake: Lake, policy: MonitoredModel) -> list[Order]:
    """What the decision ledger ordered, each order once, oldest first."""
    rows = lake.read(policy.model, DECISIONS).sort_values("evaluation", kind="stable")
    ordered = rows[rows["action"] != Action.HOLD].drop_duplicates(["incident", "action"])
    return [Order(row.incident, Action(row.action), row.clause, row.as_of.to_pydatetime()) for row in ordered.itertuples()]


def read_incidents(lake: Lake, policy: MonitoredModel, as_of: datetime | None = None) -> list[Incident]:
    """All incidents of one model as known at ``as_of``, or now."""
    findings = [finding for source in SOURCES for finding in source(lake, policy)]
    return fold_incidents(policy, findings, read_said(lake, policy), read_orders(lake, policy), as_of)


def say(lake: Lake, policies: Sequence[MonitoredModel], incident: str, state: IncidentState, *, who: str, why: str) -> Incident:
    """Record that a person acknowledges or resolves an incident, and return it as it stands then.

    Raises:
        UnknownIncidentError: when there is no such incident, or it is resolved already.
        ValueError: when nobody signs, or no reason is given.
    """
    import pandas as pd

    if not who.strip() or not why.strip():
        raise ValueError(f"got who {who!r} and why {why!r}; expected a name and a reason: both are kept")
    policy = next((one for one in policies if one.model == incident.split("/")[0]), None)
    known = {one.id: one for one in read_incidents(lake, policy)} if policy else {}
    is_over = incident in known and known[incident].is_resolved
    if policy is None or incident not in known or is_over:
        raise UnknownIncidentError(_unknown(incident, known, [one.model for one in policies], is_over=is_over))
    moments = {"at": datetime.now(UTC), "as_of": now(policy, lake)}
    frame = pd.DataFrame([{"incident": incident, "event": str(state), "who": who.strip(), "why": why.strip(), **moments}])
    lake.append(policy.model, INCIDENT_EVENTS, frame.astype(dict.fromkeys(moments, "datetime64[us, UTC]")))
    return next(one for one in read_incidents(lake, policy) if one.id == incident)


def _unknown(incident: str, known: dict[str, Incident], models: Sequence[str], *, is_over: bool) -> str:
    standing = [name for name, one in known.items() if not one.is_resolved]
    if is_over:
        return f"got incident {incident!r}, which is resolved already; open now: {', '.join(standing) or 'none'}"
    options = standing or ([f"<model>/<cause>/<chunk> of {', '.join(models)}"] if not known else ["none: all are resolved"])
    close = difflib.get_close_matches(incident, list(known), n=1)
    return f"got incident {incident!r}; expected one of {', '.join(options)}{f'; did you mean {close[0]!r}?' if close else ''}"
