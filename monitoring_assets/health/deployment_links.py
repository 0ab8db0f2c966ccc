"""The last links of the walk: from the decision to the version that serves.

Belongs here: decision, retraining, history, registration, promotion, alias, serving, reference. Does not: what comes before the decision
(``monitoring_links.py``). Reads: ``verdict_vintages``, ``decisions``, ``evaluations``, ``rollout_events``, ``scored_batches``,
``reference_profiles``, runs, the registry.
"""

from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets.health.evidence import WORKING, Evidence
from monitoring_assets.health.links import Link, LinkName, State, not_due, ok
from resources import tables
from resources.names import job_name
from resources.rollout_log import broken_link
from resources.vocabulary import TAG_INCIDENT, TAG_MODEL, Action, Alias, Event, Stage

if TYPE_CHECKING:
    import pandas as pd


def _decision(seen: Evidence) -> Link:
    name, vintages, ledger = LinkName.DECISION, seen.vintages, seen.ledger
    if vintages.empty and ledger.empty:
        return not_due(name, "no verdict was reached yet")
    count = int(ledger["vintages_seen"].fillna(0).iloc[-1]) if len(ledger) else 0  # an older release did not keep it
    unseen = vintages.iloc[count:]
    if unseen.empty:
        last = ledger.iloc[-1]
        return ok(name, f"{last['action']} by clause {last['clause']}, chunk {last['chunk']}")
    first = unseen.iloc[0]
    if seen.is_recent(unseen["written_at"].iloc[-1]) or seen.works("monitor", "realize"):
        return not_due(name, f"the verdict on chunk {first['chunk']} was reached a moment ago")
    advice = "See that the sensor retrain_trigger of the location training_assets is on and ticks; it catches up by itself."
    told = f"{len(unseen)} verdicts were never decided on, from chunk {first['chunk']} ({first['verdict']}) on"
    return Link(name, State.BROKEN, told, advice, first["written_at"].to_pydatetime())


def _retraining(seen: Evidence) -> Link:
    name, policy = LinkName.RETRAINING, seen.policy
    orders = seen.ledger[seen.ledger["action"] == Action.RETRAIN]
    if orders.empty:
        return not_due(name, "no retraining was ordered yet")
    order = orders.iloc[-1]
    if order["chunk"] in seen.lake.partitions(policy.model, tables.EVALUATIONS, "chunk"):
        return ok(name, f"incident {order['incident']} came to an evaluation")
    return _unanswered(seen, str(order["incident"]), order["evaluated_at"])


def _unanswered(seen: Evidence, incident: str, ordered_at: "pd.Timestamp") -> Link:
    """An order without an evaluation: never launched, at work, failed, or finished without an answer."""
    name = LinkName.RETRAINING
    is_recent, job = seen.is_recent(ordered_at), job_name(seen.policy, "retrain")
    since = ordered_at.to_pydatetime() if ordered_at == ordered_at else None
    advice = f"Launch {job} for the partition of the incident; the trigger asks for it again at every new verdict."
    if seen.instance is None:
        state = State.NOT_DUE if is_recent else State.BROKEN
        return Link(name, state, f"incident {incident} was ordered and has no evaluation", "" if is_recent else advice, since)
    runs = seen.instance.get_runs(dg.RunsFilter(tags={TAG_MODEL: seen.policy.model, TAG_INCIDENT: incident}), limit=1)
    if not runs:
        state = State.NOT_DUE if is_recent else State.BROKEN
        return Link(name, state, f"incident {incident} was ordered and never launched", "" if is_recent else advice, since)
    if runs[0].status in WORKING:
        return not_due(name, f"run {runs[0].run_id} is at work on incident {incident}")
    what = "failed" if runs[0].status is dg.DagsterRunStatus.FAILURE else f"ended ({runs[0].status.value.lower()}) without an evaluation"
    told = f"run {runs[0].run_id} of incident {incident} {what}"
    return Link(name, State.BROKEN, told, "Open the run, repair what its failed step names, then re-execute it.", since)


def _history(seen: Evidence) -> Link:
    name = LinkName.HISTORY
    if seen.log.empty:
        return not_due(name, "nothing was promoted or rejected yet")
    place = broken_link(seen.log)
    if place is None:
        return ok(name, f"{len(seen.log)} events")
    row = seen.log.iloc[place]
    advice = "Restore the table rollout_events from a copy, and find out who changed it: what served when can no longer be proved."
    return Link(
        name, State.BROKEN, f"event {place + 1} ({row['event']}) does not follow from the one before", advice, row["at"].to_pydatetime()
    )


def _accepted(seen: Evidence) -> "pd.Series | None":
    """The newest evaluation, the winning window."""
    chunks = seen.lake.partitions(seen.policy.model, tables.EVALUATIONS, "chunk")
    rows = seen.lake.read(seen.policy.model, tables.EVALUATIONS, {"chunk": chunks[-1:]})
    own = rows[rows["is_winner"]]
    return own.iloc[0] if len(own) else None


def _registration(seen: Evidence) -> Link:
    name, newest = LinkName.REGISTRATION, _accepted(seen)
    if newest is None or not newest["is_accepted"]:
        return not_due(name, "no candidate was accepted yet" if newest is None else "the newest candidate was rejected")
    if seen.registry is None:
        return Link(name, State.UNKNOWN, "the registry cannot be read from here")
    found = [one["version"] for one in seen.registry.versions(seen.policy.model) if one["tags"].get("model_uri") == newest["model_uri"]]
    if found:
        return ok(name, f"version {found[0]}")
    return _unfinished(seen, name, f"the accepted candidate of chunk {newest['chunk']} is no registered version", newest)


def _promotion(seen: Evidence) -> Link:
    name, newest = LinkName.PROMOTION, _accepted(seen)
    if newest is None:
        return not_due(name, "no candidate was evaluated yet")
    wanted = Event.PROMOTED if newest["is_accepted"] else Event.REJECTED
    own = seen.log[(seen.log["event"] == wanted) & (seen.log["chunk"] == newest["chunk"])]
    if len(own):
        return ok(name, f"chunk {newest['chunk']}: {wanted}")
    return _unfinished(seen, name, f"the candidate of chunk {newest['chunk']} was never {wanted}", newest)


def _unfinished(seen: Evidence, name: LinkName, told: str, newest: "pd.Series") -> Link:
    if seen.works("retrain"):
        return not_due(name, f"a retraining of chunk {newest['chunk']} is at work")
    advice = f"Open the newest run of {job_name(seen.policy, 'retrain')}; materialize {Stage.MODEL_VERSION} and {Stage.PROMOTION} of that partition again."
    return Link(name, State.BROKEN, told, advice, seen.policy.cadence.end(str(newest["chunk"])))


def _alias(seen: Evidence) -> Link:
    name = LinkName.ALIAS
    if seen.registry is None:
        return Link(name, State.UNKNOWN, "the registry cannot be read from here")
    champion = seen.registry.aliased_version(seen.policy.model, Alias.CHAMPION)
    if champion == seen.serving:
        return ok(name, f"version {champion}") if champion else not_due(name, "no version was promoted yet")
    if seen.works("retrain", "rollback"):
        return not_due(name, "a promotion is at work")
    told = f"the registry says {champion or 'none'}, rollout_events say {seen.serving or 'none'}"
    advice = f"Find out who moved the alias in MLflow; `plumbline rollback {seen.policy.model} --to-version` moves both and records it."
    return Link(name, State.BROKEN, told, advice)


def _serving(seen: Evidence) -> Link:
    name, policy = LinkName.SERVING, seen.policy
    if not policy.log.is_scored_here:
        return ok(name, "the log says what served; an accepted version is yours to put to work")
    table = tables.scored_batches(policy)
    rows = seen.lake.read(policy.model, table, {"chunk": seen.lake.partitions(policy.model, table, "chunk")[-1:]})
    if rows.empty or seen.serving is None:
        return not_due(name, "nothing was scored yet")
    newest = rows.sort_values("scored_at", kind="stable").iloc[-1]
    moves = seen.log[seen.log["event"].isin([Event.PROMOTED, Event.ROLLED_BACK])]
    if newest["model_version"] == seen.serving:
        return ok(name, f"chunk {newest['chunk']} by version {seen.serving}")
    if newest["scored_at"] <= moves["at"].iloc[-1] or seen.works("score"):
        return not_due(name, f"no batch was scored since version {seen.serving} serves")
    told = f"chunk {newest['chunk']} was scored by version {newest['model_version']} although {seen.serving} serves"
    advice = f"Look at the newest run of {job_name(policy, 'score')}: whatever scored it does not follow rollout_events."
    return Link(name, State.BROKEN, told, advice, newest["scored_at"].to_pydatetime())


def _reference(seen: Evidence) -> Link:
    name, policy = LinkName.REFERENCE, seen.policy
    fitted = seen.lake.partitions(policy.model, tables.REFERENCE_PROFILES, "reference_version")
    version = seen.serving
    if not policy.log.is_scored_here:  # what the log says served is what is compared
        chunk, _ = seen.newest
        rows = seen.lake.read(policy.model, tables.VERDICTS, {"chunk": [chunk] if chunk else []})
        version = str(rows["model_version"].iloc[0]) if len(rows) else None
    if version is None:
        return not_due(name, "nothing serves yet")
    if version in fitted:
        return ok(name, f"version {version}")
    moves = seen.log[seen.log["event"].isin([Event.PROMOTED, Event.ROLLED_BACK])]
    if (len(moves) and seen.is_recent(moves["at"].iloc[-1])) or seen.works("reference", "monitor"):
        return not_due(name, f"the profile of version {version} is being fitted")
    advice = f"Launch {job_name(policy, 'reference')}; the sensor new_champions does it after every promotion."
    return Link(name, State.BROKEN, f"nothing was fitted for version {version}", advice)


LOOKS = {
    LinkName.DECISION: _decision,
    LinkName.RETRAINING: _retraining,
    LinkName.HISTORY: _history,
    LinkName.REGISTRATION: _registration,
    LinkName.PROMOTION: _promotion,
    LinkName.ALIAS: _alias,
    LinkName.SERVING: _serving,
    LinkName.REFERENCE: _reference,
}
