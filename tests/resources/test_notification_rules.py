"""Mistakes in ``notifications.yaml`` name file, line and field, and never repeat what may be a secret."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from resources.catalogue import DeclarationError
from resources.notification_rules import load_rules, rules_schema

ROOT = Path(__file__).resolve().parents[2]
VALID = """\
channels:
  - {name: chat, kind: slack, secret: SLACK_WEBHOOK_URL}
  - {name: oncall, kind: pagerduty, secret: PAGERDUTY_ROUTING_KEY}
  - {name: mail, kind: email, secret: SMTP_URL, sender: plumbline@example.com, recipients: [ana@example.com]}
routes:
  - {owners: ["team:shop"], channels: [chat]}
  - {severities: [critical], causes: [harm], models: [demo], channels: [oncall, mail]}
renotify_every: 1d
escalation: {after: 30min, channels: [oncall]}
maintenance:
  - {start: 2026-01-01, end: 2026-01-02, models: [demo], why: move}
"""
SECRET = "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXX"


@pytest.fixture
def load(tmp_path, declare):
    def read(text):
        file = tmp_path / "notifications.yaml"
        file.write_text(text, encoding="utf-8")
        return load_rules(file, [declare(owners=["team:shop"])])

    return read


def test_a_full_file_is_read(load):
    rules = load(VALID)
    assert [one.name for one in rules.channels] == ["chat", "oncall", "mail"]
    assert rules.escalation.severity == "critical"


def test_without_a_file_nobody_is_told(tmp_path, declare):
    assert load_rules(tmp_path / "notifications.yaml", [declare()]) is None


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("secret: SLACK_WEBHOOK_URL", f"secret: '{SECRET}'", "notifications.yaml:2: channels.0.secret: got something else; expected the name of an environment variable"),
        ("secret: PAGERDUTY_ROUTING_KEY", "secret: R0ABCDEFGHIJKLMNOPQRSTUVWXYZ1234", "notifications.yaml:3: channels.1.secret: got something else"),
        ("secret: PAGERDUTY_ROUTING_KEY", "secret: 12345678901234567890", "notifications.yaml:3: channels.1.secret: got something else"),
        ("kind: slack,", f"kind: slack, url: '{SECRET}',", "notifications.yaml:2: channels.0.url: got an unknown field; expected one of kind, name"),
        ("kind: slack,", "kind: slak,", "notifications.yaml:2: channels.0.kind: got 'slak'; expected"),
        ("recipients: [ana@example.com]", "recipients: [ana]", "notifications.yaml:4: channels.2.recipients: got 'ana'; expected an email address"),
        (", sender: plumbline@example.com", "", "notifications.yaml:4: channels.2.recipients: got no sender or no recipient"),
        ("channels: [chat]", "channels: [chatt]", "notifications.yaml:6: routes.0.channels.0: got 'chatt'; expected a declared channel: chat, oncall, mail; did you mean 'chat'?"),
        ('"team:shop"', '"team:shopp"', "notifications.yaml:6: routes.0.owners.0: got 'team:shopp'; expected an owner of a declared model: team:shop; did you mean"),
        ("models: [demo], channels", "models: [dmo], channels", "notifications.yaml:7: routes.1.models.0: got 'dmo'; expected a declared model: demo"),
        ("severities:", "severity:", "notifications.yaml:7: routes.1.severity: got ['critical']; expected one of causes, channels, models, owners, severities; did you mean 'severities'?"),
        ("renotify_every: 1d", "renotify_every: daily", "notifications.yaml:8: renotify_every: got 'daily'; expected a number and a unit"),
        ("renotify_every: 1d", f"slack: {SECRET}", "notifications.yaml:8: slack: got '(not shown)'; expected one of"),
        ("end: 2026-01-02", "end: 2025-01-02", "notifications.yaml:11: maintenance.0.end: got 2025-01-02 00:00; expected a moment after"),
        ("name: oncall", "name: chat", "notifications.yaml:3: channels.1.name: got 'chat' twice"),
        ("routes:", "routes: []\nroute:", "notifications.yaml:5: routes: got []"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_line_and_field_and_never_repeats_a_secret(load, before, after, said):
    assert before in VALID
    with pytest.raises(DeclarationError) as caught:
        load(VALID.replace(before, after))
    assert said in str(caught.value)
    assert "XXXXXXXX" not in str(caught.value)
    assert "IJKLMNOP" not in str(caught.value)
    assert "34567890" not in str(caught.value)


def test_the_committed_schema_is_fresh_and_takes_the_example_of_the_docs():
    assert (ROOT / "models" / "notifications.schema.json").read_text(encoding="utf-8") == rules_schema(), "run: plumbline schema"
    schema = json.loads(rules_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    text = (ROOT / "docs" / "incidents.md").read_text(encoding="utf-8").split("```yaml")[1].split("```")[0]
    jsonschema.validate(json.loads(json.dumps(yaml.safe_load(text), default=str)), schema)
