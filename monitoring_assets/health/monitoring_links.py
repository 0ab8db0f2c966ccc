"""The first links of the walk: from the log to the trigger.

Belongs here: log, scores, chunks, checks, verdict, outcomes, trigger. Does not: decisions and what follows (``deployment_links.py``).
Reads: the log source, ``scored_batches``, ``measurements``, ``verdicts``, ``verdict_vintages``, ticks.
"""

from datetime import timedelta

import dagster as dg

from monitoring_assets.health.daemon import trigger_findings
from monitoring_assets.health.evidence import GRACE, Evidence
from monitoring_assets.health.findings import moment_told, span_told
from monitoring_assets.health.links import Link, LinkName, State, not_due, ok
from monitoring_assets.health.logs import freshness, overdue_chunks
from resources import tables
from resources.names import key
from resources.outcomes import judgeable
from resources.vocabulary import Check, Stage, Verdict

_LOOK_BACK = 200


def _log(seen: Evidence) -> Link:
    policy = seen.policy
    found = freshness(policy, seen.base, seen.present)
    if found.is_fresh:
        return ok(LinkName.LOG, f"newest row {moment_told(found.newest)}")
    silence = "no row at all" if found.silence is None else f"{span_told(found.silence)} without a row"
    advice = (
        f"Look why {policy.log.kind} `{policy.log.path}` gets no rows; if that is its usual rhythm, declare a longer validation.freshness."
    )
    told = f"{silence}, declared validation.freshness {policy.validation.freshness}"
    return Link(LinkName.LOG, State.BROKEN, told, advice, found.newest)


def _scores(seen: Evidence) -> Link:
    policy, name = seen.policy, LinkName.SCORES
    if not policy.log.is_scored_here:
        return ok(name, "the log carries its own predictions")
    if seen.serving is None:
        return not_due(name, "no version was promoted yet")
    scored = set(seen.lake.partitions(policy.model, tables.scored_batches(policy), "chunk"))
    missing = [chunk for chunk in overdue_chunks(policy, seen.lake, seen.present) if chunk not in scored]
    if not missing:
        return ok(name, f"newest scored chunk {max(scored, default='none yet')}")
    if seen.works("score"):
        return not_due(name, f"{len(missing)} chunks are being scored")
    advice = (
        f"Materialize {policy.model}/{Stage.SCORED_BATCH} for these partitions; look whether the schedule of {policy.model}__score ticks."
    )
    return Link(
        name, State.BROKEN, f"{len(missing)} chunks were never scored, from {missing[0]} on", advice, policy.cadence.end(missing[0])
    )


def _chunks(seen: Evidence) -> Link:
    policy, name = seen.policy, LinkName.CHUNKS
    if policy.log.is_scored_here and seen.serving is None:
        return not_due(name, "no version was promoted yet")
    missing, ingested = overdue_chunks(policy, seen.lake, seen.present), seen.ingested()
    if not missing:
        return ok(name, f"newest chunk {ingested[-1]}") if ingested else not_due(name, "no chunk has ended since the reference")
    if seen.works("monitor", "score"):
        return not_due(name, f"{len(missing)} chunks are being ingested")
    advice = f"Launch {policy.model}__monitor for these partitions; if its runs failed, open the newest one."
    return Link(
        name, State.BROKEN, f"{len(missing)} chunks were never ingested, from {missing[0]} on", advice, policy.cadence.end(missing[0])
    )


def _checks(seen: Evidence) -> Link:
    policy, name = seen.policy, LinkName.CHECKS
    chunk, verdict = seen.newest
    if chunk is None:
        return not_due(name, "no chunk was ingested yet")
    is_measured = chunk in seen.ingested(Stage.DATA_QUALITY) or verdict == Verdict.DATA_FAULT  # a broken chunk goes no further
    is_heard = _is_evaluated(seen, chunk) if seen.instance is not None else True
    if is_measured and is_heard:
        return ok(name, f"chunk {chunk}" + ("" if seen.instance is not None else "; by the lake alone, without an instance"))
    if seen.works("monitor"):
        return not_due(name, f"chunk {chunk} is being measured")
    what = "its checks were never evaluated" if is_measured else "it was ingested and never measured"
    advice = f"Launch {policy.model}__monitor for partition {chunk}; the trigger hears of it through the check {Check.NO_HARM}."
    return Link(name, State.BROKEN, f"chunk {chunk}: {what}", advice, policy.cadence.end(chunk))


def _is_evaluated(seen: Evidence, chunk: str) -> bool:
    """Whether the instance holds an evaluation of the check the trigger listens to."""
    assert seen.instance is not None  # noqa: S101 - asked only where there is one
    asked = dg.AssetCheckKey(key(seen.policy, Stage.VERDICT), str(Check.NO_HARM))
    records = seen.instance.event_log_storage.get_asset_check_execution_history(asked, limit=_LOOK_BACK)
    return any(one.partition == chunk and one.status.value in ("SUCCEEDED", "FAILED") for one in records)


def _verdict(seen: Evidence) -> Link:
    name = LinkName.VERDICT
    chunk, verdict = seen.newest
    if chunk is None:
        return not_due(name, "no chunk was ingested yet")
    # an older release kept no vintages: what its ledger has decided on was seen
    kept = seen.vintages if len(seen.vintages) else seen.ledger
    is_kept = chunk in set(kept["chunk"])
    if verdict is not None and is_kept:
        return ok(name, f"chunk {chunk} is {verdict}")
    if seen.works("monitor"):
        return not_due(name, f"chunk {chunk} is being judged")
    what = "has no verdict" if verdict is None else "has a verdict that decisions cannot see (verdict_vintages lacks it)"
    advice = f"Launch {seen.policy.model}__monitor for partition {chunk}, and open the step {Stage.VERDICT} if it fails."
    return Link(name, State.BROKEN, f"chunk {chunk} {what}", advice, seen.policy.cadence.end(chunk))


def _outcomes(seen: Evidence) -> Link:
    policy, name = seen.policy, LinkName.OUTCOMES
    due = judgeable(policy, seen.lake, seen.present - timedelta(days=1) - GRACE if policy.replay is None else seen.present)
    due = [chunk for chunk in due if chunk in set(seen.ingested(Stage.DATA_QUALITY))]
    if policy.replay:
        due = due[:-1]  # the newest one is being judged right now
    if not due:
        return ok(name, "none is due")
    if seen.works("realize", "monitor"):
        return not_due(name, f"{len(due)} chunks are being judged")
    advice = f"Launch {policy.model}__realize for these partitions; look whether the schedule {policy.model}__outcomes_daily ticks."
    told = f"{len(due)} chunks were never judged on outcomes that are due, from {due[0]} on"
    return Link(name, State.BROKEN, told, advice, policy.outcome_due(due[0]))


def _trigger(seen: Evidence) -> Link:
    name = LinkName.TRIGGER
    found = trigger_findings(seen.instance, seen.wall) if seen.instance is not None else None
    if found is None:
        return Link(name, State.UNKNOWN, "no instance" if seen.instance is None else "no daemon has started a sensor on this instance")
    if not found:
        return ok(name, "it ticks")
    first = found[0]
    return Link(name, State.BROKEN, f"{first.what}: {first.distance}", first.advice, first.since)


LOOKS = {
    LinkName.LOG: _log,
    LinkName.SCORES: _scores,
    LinkName.CHUNKS: _chunks,
    LinkName.CHECKS: _checks,
    LinkName.VERDICT: _verdict,
    LinkName.OUTCOMES: _outcomes,
    LinkName.TRIGGER: _trigger,
}
