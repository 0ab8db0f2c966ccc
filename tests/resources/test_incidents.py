"""Breaches of one cause are one incident, and the fold of what was known at a moment is what was known then."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.incident_fold import Finding, drift_findings, fold_incidents, verdict_findings
from resources.incidents import RECOVERED, WITHDRAWN, Order, Said, incident_times
from resources.notifications import Notification
from resources.policy import MonitoredModel
from resources.vintages import JudgedChunk
from resources.vocabulary import Action, Cause, IncidentState, Kind, Notice, Severity, Verdict

DAY, START = timedelta(days=1), datetime(2024, 3, 1, tzinfo=UTC)
BODY = {
    "model": "shop", "task": "binary_classification", "owners": ["team:shop"], "log": {"parquet": "log.parquet", "time": "ts", "id": "id"},
    "features": {"numeric": ["x1"]}, "outcome": {"column": "y", "delay": "5d"}, "chunk": "1d", "reference": {"start": "2024-01-01", "end": "2024-02-01"},
}  # fmt: skip
GOOD, BAD, BROKEN, UNSURE = Verdict.HEALTHY, Verdict.COVARIATE_HARMFUL, Verdict.DATA_FAULT, Verdict.UNDECIDED


def policy(**rules):
    return MonitoredModel.model_validate({**BODY, "incidents": rules})


def chunk(day):
    return f"{START + day * DAY:%Y-%m-%d}"


def judged(day, verdict, known=None, *, realized=False):
    return JudgedChunk(chunk(day), verdict, "1", START + (day + 1 if known is None else known) * DAY, 100, realized)


def fold(vintages, *said, orders=(), as_of=None, **rules):
    return fold_incidents(policy(**rules), verdict_findings(vintages), said, orders, as_of)


def series(*verdicts):
    return [judged(day, verdict) for day, verdict in enumerate(verdicts)]


def test_breaches_of_one_cause_on_neighbouring_chunks_are_one_incident_until_a_healthy_chunk():
    (one,) = fold(series(GOOD, BAD, Verdict.CONCEPT, Verdict.LABEL_SHIFT, GOOD))
    assert one.id == f"shop/harm/{chunk(1)}"
    assert one.chunks == (chunk(1), chunk(2), chunk(3))
    assert (one.state, one.resolution, one.severity) == (IncidentState.RESOLVED, RECOVERED, Severity.ERROR)
    assert (one.opened_at, one.resolved_at) == (START + 2 * DAY, START + 5 * DAY)


def test_healthy_history_has_no_incident():
    assert fold(series(GOOD, Verdict.COVARIATE_HARMLESS, UNSURE, GOOD)) == []


def test_two_causes_are_two_incidents_and_a_broken_chunk_says_nothing_about_harm():
    fault, harm = sorted(fold(series(BAD, BROKEN, BAD)), key=lambda one: one.cause)
    assert (fault.cause, fault.state) == (Cause.DATA_FAULT, IncidentState.RESOLVED)  # the next chunk's data are sound
    assert (harm.cause, harm.state, harm.chunks) == (Cause.HARM, IncidentState.OPEN, (chunk(0), chunk(2)))


def test_undecided_chunks_neither_prolong_nor_end_an_incident():
    (one,) = fold(series(BAD, UNSURE, UNSURE))
    assert (one.state, one.chunks) == (IncidentState.OPEN, (chunk(0),))


@pytest.mark.parametrize(("resolve_after", "is_over"), [(1, True), (2, True), (3, False)])
def test_it_ends_after_the_declared_number_of_healthy_chunks(resolve_after, is_over):
    (one,) = fold(series(BAD, GOOD, UNSURE, GOOD), resolve_after=resolve_after)
    assert one.is_resolved is is_over


@pytest.mark.parametrize(("quiet", "count"), [(0, 2), (1, 2), (2, 1)])
def test_the_same_cause_within_the_quiet_time_is_the_same_incident_opened_again(quiet, count):
    found = fold(series(BAD, GOOD, GOOD, BAD), quiet=quiet)
    assert len(found) == count
    if count == 1:
        assert (found[0].opening, found[0].state, found[0].active_since) == (2, IncidentState.OPEN, START + 4 * DAY)
        assert found[0].opened_at == START + DAY


def test_outcomes_that_take_back_every_breach_withdraw_the_incident():
    (one,) = fold([judged(0, BAD), judged(1, UNSURE), judged(0, GOOD, 6, realized=True)])
    assert (one.state, one.resolution, one.resolved_at) == (IncidentState.RESOLVED, WITHDRAWN, START + 6 * DAY)
    assert incident_times([one]).incidents == 0


def test_estimates_do_not_end_what_outcomes_showed():
    blind = [*series(GOOD, GOOD, GOOD), judged(0, Verdict.CONCEPT, 6, realized=True), judged(6, GOOD)]
    (one,) = fold(blind)
    assert (one.state, one.opened_at) == (IncidentState.OPEN, START + 6 * DAY)
    (over,) = fold([*blind, judged(1, GOOD, 8, realized=True)])
    assert (over.state, over.resolved_at) == (IncidentState.RESOLVED, START + 8 * DAY)


def test_outcomes_reopen_what_an_estimate_had_ended_but_only_confirm_what_outcomes_had():
    estimated = series(BAD, GOOD)
    (again,) = fold([*estimated, judged(0, Verdict.CONCEPT, 3, realized=True)])
    assert (again.state, again.opening) == (IncidentState.OPEN, 2)
    realized = [judged(0, BAD), judged(1, GOOD, 2, realized=True), judged(0, Verdict.CONCEPT, 3, realized=True)]
    (over,) = fold(realized)
    assert (over.state, over.opening, over.found) == (IncidentState.RESOLVED, 1, "concept")


def test_an_older_chunk_restated_after_the_recovery_joins_and_keeps_the_name():
    (one,) = fold([judged(3, BAD), judged(5, GOOD), judged(2, BAD, 7), judged(4, BAD, 7)])
    assert (one.id, one.chunks) == (f"shop/harm/{chunk(3)}", (chunk(2), chunk(3), chunk(4)))
    assert one.is_resolved


def test_a_withdrawn_incident_whose_chunk_is_found_bad_again_keeps_its_name_however_late():
    (one,) = fold([judged(0, BAD), judged(0, GOOD, 3, realized=True), judged(0, BAD, 30, realized=True)], quiet=1)
    assert (one.opened_at, one.active_since, one.opening) == (START + DAY, START + 30 * DAY, 2)


def test_a_breach_between_healthy_chunks_starts_the_count_anew():
    (one,) = fold(series(BAD, GOOD, BAD, GOOD), resolve_after=2)
    assert not one.is_resolved
    (over,) = fold(series(BAD, GOOD, BAD, GOOD, GOOD), resolve_after=2)
    assert over.resolved_at == START + 5 * DAY


def test_people_acknowledge_and_resolve_and_later_breaches_open_it_again():
    name = f"shop/harm/{chunk(0)}"
    seen = Said(name, IncidentState.ACKNOWLEDGED, "ana", "looking", START + 1.5 * DAY)
    done = Said(name, IncidentState.RESOLVED, "ana", "rewired", START + 2.5 * DAY)
    (one,) = fold(series(BAD, BAD), seen)
    assert (one.state, one.acknowledged_by, one.time_to_acknowledge) == (IncidentState.ACKNOWLEDGED, "ana", DAY / 2)
    (over,) = fold(series(BAD, BAD), seen, done)
    assert (over.state, over.resolution) == (IncidentState.RESOLVED, "by ana: rewired")
    (again,) = fold([*series(BAD, BAD, BAD), judged(0, Verdict.CONCEPT, 2.7, realized=True)], seen, done)
    assert (again.state, again.opening, again.acknowledged_by) == (IncidentState.OPEN, 2, "")


def test_what_people_say_about_something_unknown_or_over_changes_nothing():
    over = series(BAD, GOOD)
    late = Said(f"shop/harm/{chunk(0)}", IncidentState.RESOLVED, "ana", "late", START + 9 * DAY)
    assert fold(over, late, replace(late, incident="shop/harm/never")) == fold(over)


def test_orders_of_the_ledger_are_attached_while_the_incident_was_open():
    def order(day, action=Action.RETRAIN):
        return Order(f"shop/{chunk(day)}", action, "harmful_verdict", START + (day + 1) * DAY)

    orders = [order(0), order(2), order(2, Action.OPEN_INCIDENT), order(6)]
    (one,) = fold(series(GOOD, BAD, BAD, BAD, GOOD), orders=orders)
    assert [made.name for made in one.orders] == [f"shop/{chunk(2)}"]
    assert (one.time_to_detect, one.time_to_retrain, one.time_to_recover) == (timedelta(0), DAY, 3 * DAY)
    times = incident_times([one])
    assert (times.to_retrain, times.to_recover, times.to_acknowledge) == (DAY, 3 * DAY, None)


def test_severity_is_declared_by_cause():
    found = fold(series(BAD, BROKEN), severity={"harm": "critical"})
    assert {one.cause: one.severity for one in found} == {Cause.HARM: Severity.CRITICAL, Cause.DATA_FAULT: Severity.ERROR}


def test_another_source_of_findings_needs_nothing_but_findings():
    signs = [Finding(Cause.PLATFORM, chunk(0), START, True, what="log is stale"), Finding(Cause.PLATFORM, chunk(0), START + DAY, False)]
    (one,) = fold_incidents(policy(), signs)
    assert (one.id, one.severity, one.resolution) == (f"shop/platform/{chunk(0)}", Severity.WARNING, WITHDRAWN)


VINTAGES = st.lists(st.tuples(st.integers(0, 12), st.sampled_from(list(Verdict)), st.booleans(), st.integers(0, 2)), max_size=40)


def vintages_of(drawn):
    """Vintages in the order they became known: each chunk at the earliest when it ended, some late, some restated."""
    moment, made = 0, []
    for day, verdict, realized, later in drawn:
        moment = max(moment + later, day + 1)
        made.append(judged(day, verdict, moment, realized=realized))
    return made


@given(VINTAGES, st.integers(0, 40))
def test_what_becomes_known_later_never_renames_or_redates_what_was_known(drawn, day):
    seen, moment = vintages_of(drawn), START + day * DAY
    then = fold(seen, as_of=moment)
    assert then == fold([one for one in seen if one.known_at <= moment])
    now = {one.id: one for one in fold(seen)}
    assert len(now) == len(fold(seen))
    for one in then:
        assert (now[one.id].opened_at, now[one.id].opening >= one.opening) == (one.opened_at, True)
        assert set(one.chunks) <= set(now[one.id].chunks)


@given(VINTAGES)
def test_at_most_one_incident_of_a_cause_is_open_and_each_has_a_breach(drawn):
    seen = vintages_of(drawn)
    found = fold(seen)
    for cause in Cause:
        assert sum(one.cause is cause and not one.is_resolved for one in found) <= 1
    harmful = {one.chunk for one in seen if one.verdict in (BAD, Verdict.CONCEPT, Verdict.LABEL_SHIFT)}
    assert {name for one in found if one.cause is Cause.HARM for name in one.chunks} == harmful


HARMLESS = Verdict.COVARIATE_HARMLESS


def moved(day, *features, verdict=HARMLESS, known=None, realized=False):
    """A chunk on which both features were measured, and those named breach."""
    told = json.dumps([[str(Kind.UNIVARIATE_DRIFT), "wasserstein", name, 0.4, None, None, 0.2, name in features] for name in ("x1", "x2")])
    return replace(judged(day, verdict, known, realized=realized), told=told)


def drifts(vintages, *, confirm=1, as_of=None, **rules):
    body = {**BODY, "drift": {"confirm": confirm}, "incidents": {"drift": True, **rules}}
    own = MonitoredModel.model_validate(body)
    return fold_incidents(own, [*verdict_findings(vintages), *drift_findings(own, vintages)], as_of=as_of)


def test_drift_is_an_incident_of_its_own_where_declared_though_the_model_holds():
    seen = [moved(0), moved(1, "x1"), moved(2, "x1", "x2"), moved(3)]
    (one,) = drifts(seen)
    assert (one.id, one.cause, one.severity) == (f"shop/drift/{chunk(1)}", Cause.DRIFT, Severity.WARNING)
    assert (one.chunks, one.resolution, one.found) == ((chunk(1), chunk(2)), RECOVERED, "drift of x1, x2")
    assert (one.opened_at, one.resolved_at) == (START + 2 * DAY, START + 4 * DAY)
    assert (
        Notification(one, Notice.OPENED, 0, "oncall", one.severity).title == f"[warning] shop: inputs have moved since {chunk(1)} (opened)"
    )
    assert list(drift_findings(policy(), seen)) == []  # not declared


def test_null_twin_without_breaches_there_is_no_drift_incident():
    assert drifts([moved(day) for day in range(5)]) == []


def test_only_drift_that_the_drift_check_confirms_is_an_incident():
    assert drifts([moved(0, "x1"), moved(1, "x2"), moved(2, "x1")], confirm=2) == []
    (one,) = drifts([moved(0, "x1"), moved(1, "x1", "x2"), moved(2, "x2"), moved(3, "x1")], confirm=2)
    assert (one.chunks, one.resolution) == ((chunk(1), chunk(2)), RECOVERED)


def test_a_chunk_without_drift_numbers_neither_prolongs_nor_ends_it_and_interrupts_a_run():
    (one,) = drifts([moved(0, "x1"), judged(1, BROKEN), judged(2, UNSURE)])[:1]
    assert (one.state, one.chunks) == (IncidentState.OPEN, (chunk(0),))
    assert [own.cause for own in drifts([moved(0, "x1"), judged(1, BROKEN), moved(2, "x1")], confirm=2)] == [Cause.DATA_FAULT]


def test_outcomes_that_arrive_later_say_nothing_new_about_drift():
    seen = [moved(0, "x1"), moved(1)]
    late = [moved(0, "x1", verdict=Verdict.CONCEPT, known=6, realized=True), moved(1, verdict=GOOD, known=7, realized=True)]
    before, after = drifts(seen), [one for one in drifts([*seen, *late], quiet=9) if one.cause is Cause.DRIFT]
    assert after == before


def test_a_chunk_measured_late_completes_the_run_of_those_after_it():
    seen = [moved(0, "x1"), moved(2, "x1")]
    assert drifts(seen, confirm=3) == []
    (one,) = drifts([*seen, moved(1, "x1", known=5)], confirm=3)
    assert (one.chunks, one.opened_at) == ((chunk(2),), START + 5 * DAY)


def test_drift_that_is_measured_again_and_was_none_is_withdrawn():
    (one,) = drifts([moved(0, "x1"), moved(0, known=3)])
    assert (one.resolution, one.resolved_at) == (WITHDRAWN, START + 3 * DAY)


@given(st.lists(st.booleans(), max_size=25), st.integers(1, 4), st.integers(0, 25))
def test_drift_incidents_hold_exactly_the_chunks_that_end_a_run_and_hindsight_changes_none(flags, confirm, day):
    seen = [moved(place, *(["x2"] if flag else [])) for place, flag in enumerate(flags)]
    found = drifts(seen, confirm=confirm, quiet=0)
    ends = {chunk(place) for place in range(confirm - 1, len(flags)) if all(flags[place + 1 - confirm : place + 1])}
    assert {name for one in found for name in one.chunks} == ends
    then = drifts(seen, confirm=confirm, quiet=0, as_of=START + day * DAY)
    assert then == drifts([one for one in seen if one.known_at <= START + day * DAY], confirm=confirm, quiet=0)
