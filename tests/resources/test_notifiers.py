"""What really arrives at the other end of each channel, and what a failing one is said to be."""

import json
from datetime import UTC, datetime

import jsonschema
import pytest
from sinks import free_port, http_sink, smtp_sink

from resources.incidents import Incident
from resources.notification_rules import Channel
from resources.notifications import Notification
from resources.notifiers import KINDS, Notifier
from resources.vocabulary import Cause, IncidentState, Notice, Severity

KEY = "0123456789abcdef0123456789abcdef"
#: Events API v2, "PD-CEF event format" and "Send an alert event": https://developer.pagerduty.com/docs/send-alert-event
PAGERDUTY = {
    "type": "object",
    "required": ["routing_key", "event_action"],
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "maxLength": 255},
        "client": {"type": "string"},
        "client_url": {"type": "string"},
        "payload": {
            "type": "object",
            "required": ["summary", "source", "severity"],
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "source": {"type": "string", "minLength": 1},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "component": {"type": "string"},
                "group": {"type": "string"},
                "class": {"type": "string"},
                "custom_details": {"type": "object"},
            },
            "additionalProperties": False,
        },
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}},
    "then": {"required": ["payload"]},
    "else": {"required": ["dedup_key"]},
    "additionalProperties": False,
}
#: Incoming webhooks and secondary attachments: https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
#: https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments
SLACK = {
    "type": "object",
    "anyOf": [{"required": ["text"]}, {"required": ["attachments"]}, {"required": ["blocks"]}],
    "properties": {
        "text": {"type": "string", "minLength": 1},
        "mrkdwn": {"type": "boolean"},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "anyOf": [{"required": ["fallback"]}, {"required": ["text"]}],
                "properties": {
                    "title": {"type": "string"},
                    "text": {"type": "string", "minLength": 1},
                    "color": {"type": "string", "pattern": "^(good|warning|danger|#[0-9A-Fa-f]{6})$"},
                },
            },
        },
    },
}
#: "Post to a channel when a webhook request is received": https://learn.microsoft.com/en-us/connectors/teams/#microsoft-teams-webhook,
#: cards: https://adaptivecards.io/explorer/AdaptiveCard.html
TEAMS = {
    "type": "object",
    "required": ["type", "attachments"],
    "properties": {
        "type": {"const": "message"},
        "attachments": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["contentType", "content"],
                "properties": {
                    "contentType": {"const": "application/vnd.microsoft.card.adaptive"},
                    "contentUrl": {"type": ["string", "null"]},
                    "content": {
                        "type": "object",
                        "required": ["type", "version", "body"],
                        "properties": {
                            "type": {"const": "AdaptiveCard"},
                            "version": {"type": "string", "pattern": r"^1\.\d$"},
                            "body": {
                                "type": "array",
                                "minItems": 1,
                                "items": {
                                    "type": "object",
                                    "required": ["type", "text"],
                                    "properties": {"type": {"const": "TextBlock"}, "text": {"type": "string", "minLength": 1}},
                                },
                            },
                        },
                    },
                },
            },
        },
    },
}
_MOST_TEAMS_BYTES = 28_000


def notification(notice=Notice.OPENED, severity=Severity.ERROR, state=IncidentState.OPEN):
    moment = datetime(2026, 3, 2, tzinfo=UTC)
    over = {"resolved_at": moment, "resolution": "recovered"} if notice is Notice.RESOLVED else {}
    one = Incident(
        "shop/harm/2026-03-01", "shop", ("team:shop", "ana@example.com"), Cause.HARM, severity, state, moment, moment, 1, ("2026-03-01",), moment,
        moment, moment, "concept", **over,
    )  # fmt: skip
    return Notification(one, notice, 0, "out", severity)


def channel(kind, **more):
    return Channel(name="out", kind=kind, secret="OUT_SECRET", **more)


@pytest.fixture
def sink():
    with http_sink() as served:
        yield served


@pytest.fixture
def on_loopback(monkeypatch, sink):
    """Vendors' own addresses lead to the sink; returns how to send through a kind."""
    from apprise.plugins import pagerduty, slack, workflows

    monkeypatch.setattr(slack.NotifySlack, "webhook_url", f"{sink.url}/services")
    monkeypatch.setattr(pagerduty, "PAGERDUTY_API_LOOKUP", dict.fromkeys(pagerduty.PAGERDUTY_API_LOOKUP, f"{sink.url}/v2/enqueue"))
    real = workflows.requests.post
    monkeypatch.setattr(workflows.requests, "post", lambda url, **more: real(url.replace("https://127", "http://127"), **more))
    secrets = {
        "slack": "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7",
        "pagerduty": KEY,
        "teams": f"https://127.0.0.1:{sink.port}/workflows/abc123/triggers/manual/paths/invoke?api-version=2016-06-01&sig=iXxBdkFJ",
        "webhook": f"{sink.url}/hook?from=plumbline",
    }

    def send(kind, *given):
        monkeypatch.setenv("OUT_SECRET", secrets[kind])
        return [Notifier().send(channel(kind), one) for one in given or (notification(),)]

    return send


def test_pagerduty_gets_one_trigger_and_one_resolve_under_the_incidents_name(sink, on_loopback):
    sent = on_loopback("pagerduty", notification(severity=Severity.CRITICAL), notification(Notice.RESOLVED))
    assert all(one.is_delivered for one in sent)
    trigger, resolve = sink.bodies
    for body in sink.bodies:
        jsonschema.validate(body, PAGERDUTY)
    assert sink.paths == ["/v2/enqueue"] * 2
    assert (trigger["event_action"], resolve["event_action"]) == ("trigger", "resolve")
    assert trigger["dedup_key"] == resolve["dedup_key"] == "shop/harm/2026-03-01"
    payload = trigger["payload"]
    assert (payload["severity"], payload["source"], payload["component"], payload["group"]) == (
        "critical",
        "shop",
        "harm",
        "team:shop, ana@example.com",
    )
    assert payload["custom_details"]["found"] == "concept"
    assert "since 2026-03-01" in payload["summary"]


@pytest.mark.parametrize(("kind", "schema"), [("slack", SLACK), ("teams", TEAMS)])
@pytest.mark.parametrize("notice", list(Notice))
def test_chats_get_what_their_vendors_document(sink, on_loopback, kind, schema, notice):
    (sent,) = on_loopback(kind, notification(notice))
    assert sent.is_delivered, sent.error
    (body,) = sink.bodies
    jsonschema.validate(body, schema)
    text = json.dumps(body)
    assert len(text) < _MOST_TEAMS_BYTES
    for said in ("shop", "2026-03-01", "concept", "team:shop", str(notice)):
        assert said in text


def test_a_webhook_gets_every_detail_by_name(sink, on_loopback):
    (sent,) = on_loopback("webhook")
    assert sent.is_delivered, sent.error
    (body,) = sink.bodies
    assert sink.paths == ["/hook?from=plumbline"]
    told = {
        "notice": "opened",
        "incident": "shop/harm/2026-03-01",
        "dedup_key": "shop/harm/2026-03-01",
        "severity": "error",
        "cause": "harm",
    }
    assert {name: body[name] for name in told} == told
    assert "plumbline acknowledge shop/harm/2026-03-01" in body["message"]


def test_an_email_goes_to_every_recipient_in_plain_text(monkeypatch):
    with smtp_sink() as box:
        monkeypatch.setenv("OUT_SECRET", f"smtp://127.0.0.1:{box.port}")
        mail = channel("email", sender="plumbline@example.com", recipients=["ana@example.com", "bob@example.com"])
        sent = Notifier().send(mail, notification())
    assert sent.is_delivered, sent.error
    assert sorted(box.recipients) == ["ana@example.com", "bob@example.com"]
    message = box.messages[0]
    assert message["Subject"] == "[error] shop: predictions are worse than allowed since 2026-03-01 (opened)"
    assert "plumbline@example.com" in message["From"]
    assert "found: concept" in message.get_content()


def test_a_mail_server_that_refuses_is_a_failed_delivery(monkeypatch):
    with smtp_sink() as box:
        box.is_refusing = True
        monkeypatch.setenv("OUT_SECRET", f"smtp://127.0.0.1:{box.port}")
        sent = Notifier().send(channel("email", sender="plumbline@example.com", recipients=["ana@example.com"]), notification())
    assert not sent.is_delivered
    assert sent.error


@pytest.mark.parametrize("kind", ["slack", "teams", "pagerduty", "webhook"])
def test_a_server_error_is_a_failed_delivery_that_names_it(sink, on_loopback, kind):
    sink.status = 500
    (sent,) = on_loopback(kind)
    assert not sent.is_delivered
    assert "500" in sent.error


def test_a_server_that_does_not_answer_is_given_up_in_time(sink, monkeypatch):
    sink.delay_seconds = 2.0
    monkeypatch.setenv("OUT_SECRET", sink.url)
    sent = Notifier(timeout_seconds=0.2).send(channel("webhook"), notification())
    assert not sent.is_delivered
    assert sent.error


def test_a_server_that_is_not_there_is_a_failed_delivery_and_the_secret_is_not_told(monkeypatch):
    monkeypatch.setenv("OUT_SECRET", f"http://ana:hunter22hunter22@127.0.0.1:{free_port()}/secret-path")
    sent = Notifier().send(channel("webhook"), notification())
    assert not sent.is_delivered
    assert "hunter22" not in sent.error
    assert "secret-path" not in sent.error


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_missing_or_wrong_secret_is_a_failed_delivery_that_names_the_variable_alone(monkeypatch, kind):
    own = channel(kind, **({"sender": "a@example.com", "recipients": ["b@example.com"]} if kind == "email" else {}))
    monkeypatch.delenv("OUT_SECRET", raising=False)
    assert Notifier().send(own, notification()).error == "the environment variable OUT_SECRET is not set"
    if kind == "pagerduty":  # any text may be a key: only PagerDuty can tell
        return
    monkeypatch.setenv("OUT_SECRET", "topsecretnonsense")
    sent = Notifier().send(own, notification())
    assert not sent.is_delivered
    assert "OUT_SECRET" in sent.error
    assert "topsecret" not in sent.error
