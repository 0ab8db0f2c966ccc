"""What is due to be said: once, to the right people, at the right time, whatever restarts and failures happen between."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.incident_fold import fold_incidents, verdict_findings
from resources.notification_rules import NotificationRules
from resources.notifications import FIRST_WAIT, LONGEST_WAIT, Delivery, due_notifications, wait_after
from resources.policy import MonitoredModel
from resources.vintages import JudgedChunk
from resources.vocabulary import IncidentState, Notice, Severity, Verdict

HOUR, DAY, START = timedelta(hours=1), timedelta(days=1), datetime(2024, 3, 1, tzinfo=UTC)
BODY = {
    "model": "shop", "task": "binary_classification", "owners": ["team:shop"], "log": {"parquet": "log.parquet", "time": "ts", "id": "id"},
    "features": {"numeric": ["x1"]}, "outcome": {"column": "y", "delay": "5d"}, "chunk": "1d", "reference": {"start": "2024-01-01", "end": "2024-02-01"},
}  # fmt: skip
CHANNELS = [
    {"name": "chat", "kind": "slack", "secret": "CHAT_URL"},
    {"name": "oncall", "kind": "pagerduty", "secret": "ONCALL_KEY"},
    {"name": "boss", "kind": "webhook", "secret": "BOSS_URL"},
]
GOOD, BAD = Verdict.HEALTHY, Verdict.CONCEPT


def rules(**overrides):
    return NotificationRules.model_validate({"channels": CHANNELS, "routes": [{"channels": ["chat"]}], **overrides})


def incidents_of(*verdicts, until=None, **body):
    policy = MonitoredModel.model_validate({**BODY, **body})
    seen = [JudgedChunk(f"{START + day * DAY:%Y-%m-%d}", verdict, "1", START + (day + 1) * DAY) for day, verdict in enumerate(verdicts)]
    return fold_incidents(policy, verdict_findings(seen), as_of=until)


def delivered(due, now, *, is_delivered=True):
    return [
        Delivery(one.incident.id, one.incident.opening, one.notice, one.step, one.channel, one.attempt, now, now, is_delivered)
        for one in due
    ]


def said(due):
    return [(str(one.notice), one.channel) for one in due]


def tick(found, log, own, now):
    """One tick whose deliveries all succeed."""
    due = due_notifications(found, log, own, now, now)
    log += delivered(due, now)
    return said(due)


OPENED = START + DAY


def test_an_incident_is_told_once_and_its_end_once():
    log, own = [], rules(routes=[{"channels": ["chat", "oncall"]}])
    assert tick(incidents_of(BAD), log, own, OPENED) == [("opened", "chat"), ("opened", "oncall")]
    assert tick(incidents_of(BAD, BAD), log, own, OPENED + DAY) == []
    assert tick(incidents_of(BAD, BAD, GOOD), log, own, OPENED + 2 * DAY) == [("resolved", "chat"), ("resolved", "oncall")]
    assert tick(incidents_of(BAD, BAD, GOOD), log, own, OPENED + 3 * DAY) == []


def test_healthy_data_tell_nobody_anything():
    assert due_notifications(incidents_of(GOOD, Verdict.COVARIATE_HARMLESS, Verdict.UNDECIDED), [], rules(), OPENED, OPENED) == []


@pytest.mark.parametrize(
    ("route", "channels"),
    [
        ({"owners": ["team:shop"]}, ["chat"]),
        ({"owners": ["team:other"]}, []),
        ({"models": ["shop"]}, ["chat"]),
        ({"models": ["bakery"]}, []),
        ({"severities": ["critical", "error"]}, ["chat"]),
        ({"severities": ["warning"]}, []),
        ({"causes": ["harm"], "owners": ["team:shop"]}, ["chat"]),
        ({"causes": ["data_fault"], "owners": ["team:shop"]}, []),
    ],
)
def test_routes_go_by_owner_model_severity_and_cause(route, channels):
    due = due_notifications(incidents_of(BAD), [], rules(routes=[{**route, "channels": ["chat"]}]), OPENED, OPENED)
    assert [one.channel for one in due] == channels


def test_two_routes_to_one_channel_tell_it_once():
    own = rules(routes=[{"channels": ["chat"]}, {"models": ["shop"], "channels": ["chat", "boss"]}])
    assert said(due_notifications(incidents_of(BAD), [], own, OPENED, OPENED)) == [("opened", "chat"), ("opened", "boss")]


def test_nothing_is_said_during_maintenance_and_what_is_still_open_is_said_after_it():
    window = {"start": START.isoformat(), "end": (OPENED + 2 * HOUR).isoformat(), "owners": ["team:shop"], "why": "move"}
    own = rules(maintenance=[window])
    assert said(due_notifications(incidents_of(BAD), [], own, OPENED + HOUR, OPENED)) == []
    assert said(due_notifications(incidents_of(BAD), [], own, OPENED + 2 * HOUR, OPENED)) == [("opened", "chat")]
    assert said(due_notifications(incidents_of(BAD, GOOD), [], own, OPENED + DAY, OPENED)) == []  # over before anybody could act
    other = rules(maintenance=[{**window, "owners": [], "models": ["bakery"]}])
    assert said(due_notifications(incidents_of(BAD), [], other, OPENED + HOUR, OPENED)) == [("opened", "chat")]


def test_an_end_within_maintenance_is_said_after_it():
    log, later = [], {"start": (OPENED + HOUR).isoformat(), "end": (OPENED + 2 * DAY).isoformat(), "why": "move"}
    own = rules(maintenance=[later])
    assert tick(incidents_of(BAD), log, own, OPENED) == [("opened", "chat")]
    assert tick(incidents_of(BAD, GOOD), log, own, OPENED + DAY) == []
    assert tick(incidents_of(BAD, GOOD), log, own, OPENED + 2 * DAY) == [("resolved", "chat")]


def test_what_nobody_acknowledges_is_escalated_once():
    log, own, found = [], rules(escalation={"after": "4h", "channels": ["boss"]}), incidents_of(BAD)
    assert tick(found, log, own, OPENED) == [("opened", "chat")]
    assert tick(found, log, own, OPENED + 4 * HOUR - timedelta(seconds=1)) == []
    (raised,) = due_notifications(found, log, own, OPENED + 4 * HOUR, OPENED)
    assert (raised.notice, raised.channel, raised.severity) == (Notice.ESCALATED, "boss", Severity.CRITICAL)
    assert tick(found, log, own, OPENED + 4 * HOUR) == [("escalated", "boss")]
    assert tick(found, log, own, OPENED + 8 * HOUR) == []
    assert tick(incidents_of(BAD, GOOD), log, own, OPENED + DAY) == [("resolved", "chat"), ("resolved", "boss")]


def test_it_is_escalated_although_the_first_channel_takes_nothing():
    own, found = rules(escalation={"after": "4h", "channels": ["boss"]}), incidents_of(BAD)
    log = delivered(due_notifications(found, [], own, OPENED, OPENED), OPENED, is_delivered=False)
    assert ("escalated", "boss") in said(due_notifications(found, log, own, OPENED + 4 * HOUR, OPENED))


def test_an_acknowledged_incident_is_neither_escalated_nor_repeated_and_chats_are_told_who_took_it():
    log, own = [], rules(routes=[{"channels": ["chat", "oncall"]}], escalation={"after": "4h", "channels": ["boss"]}, renotify_every="1h")
    (one,) = incidents_of(BAD)
    tick([one], log, own, OPENED)
    taken = replace(one, state=IncidentState.ACKNOWLEDGED, acknowledged_by="ana", acknowledged_at=OPENED + HOUR)
    assert tick([taken], log, own, OPENED + HOUR) == [("acknowledged", "chat")]
    assert tick([taken], log, own, OPENED + 9 * HOUR) == []


def test_an_open_incident_is_repeated_at_its_interval_and_what_was_missed_is_not_made_up_for():
    log, own, found = [], rules(routes=[{"channels": ["chat", "oncall"]}], renotify_every="6h"), incidents_of(BAD)
    tick(found, log, own, OPENED)
    assert tick(found, log, own, OPENED + 5 * HOUR) == []
    assert tick(found, log, own, OPENED + 6 * HOUR) == [("repeated", "chat")]  # PagerDuty reminds by itself
    assert tick(found, log, own, OPENED + 7 * HOUR) == []
    assert tick(found, log, own, OPENED + 25 * HOUR) == [("repeated", "chat")]
    assert tick(found, log, own, OPENED + 26 * HOUR) == []


def test_last_years_history_is_shown_and_nobody_is_told():
    old = incidents_of(BAD, BAD)
    assert said(due_notifications(old, [], rules(), OPENED + 8 * DAY, OPENED)) == [("opened", "chat")]
    assert due_notifications(old, [], rules(), OPENED + 9 * DAY, OPENED) == []
    assert due_notifications(old, [], rules(max_age="1d"), OPENED + 3 * DAY, OPENED) == []


def test_a_failed_delivery_is_tried_again_after_a_wait_that_grows():
    log, own, found, now = [], rules(), incidents_of(BAD), OPENED
    waits = []
    for _ in range(9):
        due = due_notifications(found, log, own, now, now)
        assert said(due) == [("opened", "chat")]
        log += delivered(due, now, is_delivered=False)
        before = now
        while not due_notifications(found, log, own, now, now):
            now += timedelta(seconds=30)
        waits.append(now - before)
    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits[-1] == LONGEST_WAIT == wait_after(100)
    assert log[-1].attempt == 9


def test_an_incident_that_comes_back_is_told_again_under_the_same_name():
    log, own = [], rules()
    tick(incidents_of(BAD), log, own, OPENED)
    tick(incidents_of(BAD, GOOD), log, own, OPENED + DAY)
    (again,) = due_notifications(incidents_of(BAD, GOOD, BAD), log, own, OPENED + 2 * DAY, OPENED + 2 * DAY)
    assert (again.notice, again.incident.opening) == (Notice.OPENED, 2)
    assert "(opened again)" in again.title
    assert {again.incident.id} == {one.incident for one in log}


def test_a_channel_that_is_no_longer_declared_is_left_alone():
    log = []
    tick(incidents_of(BAD), log, rules(), OPENED)
    own = NotificationRules.model_validate({"channels": CHANNELS[1:], "routes": [{"channels": ["boss"]}]})
    assert due_notifications(incidents_of(BAD, GOOD), log, own, OPENED + DAY, OPENED + DAY) == []


VERDICTS = st.lists(st.sampled_from([GOOD, BAD, Verdict.UNDECIDED, Verdict.DATA_FAULT]), min_size=1, max_size=12)
RULES = rules(
    routes=[{"channels": ["chat", "oncall"]}], escalation={"after": "20h", "channels": ["boss"]}, renotify_every="15h", max_age="60d"
)


@given(VERDICTS, st.lists(st.integers(1, 900), min_size=1, max_size=40), st.lists(st.booleans(), max_size=60), st.integers(0, 3))
def test_whatever_ticks_restarts_and_failures_nothing_is_said_twice_and_nothing_is_lost(verdicts, gaps, failures, lost_after):
    """A tick may be killed after any delivery: what it had still to send is sent by the next one."""
    log, now, outcome = [], OPENED, iter(failures)
    ends = OPENED + len(verdicts) * DAY
    moments = [now := now + timedelta(minutes=gap) for gap in gaps] + [ends + hours * HOUR for hours in range(1, 40)]
    for number, moment in enumerate(sorted(moments)):
        found = incidents_of(*verdicts, until=moment)
        due = due_notifications(found, log, RULES, moment, moment)
        kept = due[:lost_after] if number < len(gaps) and number % 3 == 0 else due
        for one in kept:
            log += delivered([one], moment, is_delivered=not next(outcome, False))
    good = Counter((one.incident, one.opening, one.notice, one.step, one.channel) for one in log if one.is_delivered)
    assert max(good.values(), default=0) <= 1
    told = {key[:2] + key[4:] for key in good if key[2] in (Notice.OPENED, Notice.ESCALATED)}
    over = {key[:2] + key[4:] for key in good if key[2] is Notice.RESOLVED}
    assert over <= told
    for one in incidents_of(*verdicts):
        mine = {key for key in told if key[:2] == (one.id, one.opening)}
        if one.is_resolved:
            assert mine == {key for key in over if key[:2] == (one.id, one.opening)}
        else:
            assert {channel for _, _, channel in mine} == {"chat", "oncall", "boss"}
