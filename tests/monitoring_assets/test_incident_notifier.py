"""From verdicts to people and to the UI: the real sensor on a real instance, with a real server at the other end."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd
import pytest
import synthetic
import yaml
from sinks import http_sink
from synthetic_platform import Platform
from typer.testing import CliRunner

from monitoring_assets import incidents
from monitoring_assets.incidents import INCIDENTS, NOTIFICATIONS, tell
from plumbline import screen
from plumbline.cli import app
from resources import tables
from resources.catalogue import load_catalogue
from resources.clock import now
from resources.delivery_log import read_deliveries
from resources.incident_log import UnknownIncidentError, read_incidents, say
from resources.notification_rules import load_rules
from resources.notifiers import Notifier
from resources.settings import Settings
from resources.vocabulary import IncidentState, Verdict

CHUNKS, BROKEN = ["2024-02-09", "2024-02-10", "2024-02-11"], "2024-02-11"
DATA_FAULT = f"shop/data_fault/{BROKEN}"
RUNNER = CliRunner()


def write_rules(folder, **overrides):
    body = {
        "channels": [{"name": "hook", "kind": "webhook", "secret": "HOOK_URL"}],
        "routes": [{"owners": ["team:shop"], "channels": ["hook"]}],
        "max_age": "20y",
        **overrides,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "notifications.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")


class Sensor:
    """The sensor as the daemon ticks it."""

    def __init__(self, defs, instance):
        self.defs, self.instance, self.cursor = defs, instance, None
        self.sensor = next(one for one in defs.sensors if one.name == "incident_notifier")

    def tick(self):
        resources = {name: self.defs.resources[name] for name in self.sensor.required_resource_keys}
        with dg.build_sensor_context(self.instance, self.cursor, resources=resources, definitions=self.defs) as context:
            data = self.sensor.evaluate_tick(context)
        self.cursor = data.cursor
        for event in data.asset_events:
            self.instance.report_runless_asset_event(event)
        return data.asset_events

    def newest(self, key):
        found = self.instance.get_latest_materialization_event(key)
        return None if found is None else found.asset_materialization.metadata

    def check(self):
        key = dg.AssetCheckKey(NOTIFICATIONS, "notifications_delivered")
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        return records[0].event.dagster_event.asset_check_evaluation_data if records else None


@contextmanager
def monitored(folder, fault, monkeypatch, **rules):
    write_rules(folder, **rules)
    with http_sink() as sink, dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("HOOK_URL", sink.url)
        platform = Platform(folder, instance, synthetic.make_log(fault=fault), owners=["team:shop"])
        yield platform, Sensor(platform.defs, instance), sink


def test_a_fault_is_told_shown_acknowledged_and_over_and_its_twin_is_silent(tmp_path, monkeypatch):
    with monitored(tmp_path, "missing", monkeypatch) as (platform, sensor, sink):
        assert sensor.tick() == []
        platform.run("monitor", BROKEN)
        sensor.tick()
        assert [body["incident"] for body in sink.bodies] == [DATA_FAULT]
        shown = sensor.newest(INCIDENTS)
        assert DATA_FAULT in shown["incidents"].value
        assert (shown["open"].value, shown["severity error"].value) == (1, 1)
        assert sensor.check().passed
        assert sensor.tick() == []

        job = platform.defs.resolve_job_def("incidents__acknowledge")
        signed = {"incident": DATA_FAULT, "who": "ana", "why": "sensor is being replaced"}
        done = job.execute_in_process(instance=platform.instance, run_config={"ops": {"acknowledge_incident": {"config": signed}}})
        assert done.success
        sensor.tick()
        assert sink.bodies[-1]["notice"] == "acknowledged"
        assert sensor.newest(INCIDENTS)["acknowledged"].value == 1

        healthy(platform, "2024-02-12")
        sensor.tick()
        assert [body["notice"] for body in sink.bodies] == ["opened", "acknowledged", "resolved"]
        assert len({body["dedup_key"] for body in sink.bodies}) == 1
        assert sensor.newest(INCIDENTS)["resolved"].value == 1

    with monitored(tmp_path / "twin", None, monkeypatch) as (platform, sensor, sink):
        platform.run("monitor", BROKEN)
        sensor.tick()
        assert platform.verdict(BROKEN) == Verdict.HEALTHY
        assert sink.bodies == []
        assert sensor.newest(INCIDENTS) is None


def healthy(platform, chunk):
    append(platform.lake, chunk, Verdict.HEALTHY, datetime.now(UTC))


def append(lake, chunk, verdict, known_at, model="shop"):
    row = {
        "chunk": chunk, "verdict": str(verdict), "confidence": 0.9, "model_version": "external", "is_realized": False, "n_rows": 80,
        "measured": "[]", "known_at": pd.Timestamp(known_at), "written_at": pd.Timestamp(datetime.now(UTC)), "digest": str(verdict),
    }  # fmt: skip
    frame = pd.DataFrame([row]).astype(dict.fromkeys(("known_at", "written_at"), "datetime64[us, UTC]"))
    lake.append(model, tables.VERDICT_VINTAGES, frame)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Declaration, rules and lake without a single run; yields how to build the location, and the sink."""
    write_rules(tmp_path)
    models = synthetic.declare(tmp_path, synthetic.make_log(days=1))
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PLUMBLINE_MODELS", str(models))
    with http_sink() as sink, dg.DagsterInstance.ephemeral() as instance:
        monkeypatch.setenv("HOOK_URL", sink.url)
        yield Settings.from_environment(), instance, sink


def sensor_of(settings, instance):
    from monitoring_assets.definitions import build_defs

    return Sensor(build_defs(settings), instance)


def yesterday(days=1):
    return f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}"


def test_a_failing_channel_is_retried_reported_and_never_stops_the_others(installed, tmp_path, monkeypatch, caplog):
    settings, instance, sink = installed
    channels = [{"name": "dead", "kind": "webhook", "secret": "DEAD_URL"}, {"name": "hook", "kind": "webhook", "secret": "HOOK_URL"}]
    write_rules(tmp_path, channels=channels, routes=[{"channels": ["dead", "hook"]}])
    append(settings.lake, yesterday(), Verdict.CONCEPT, datetime.now(UTC))
    sensor = sensor_of(settings, instance)
    sensor.tick()
    assert [body["notice"] for body in sink.bodies] == ["opened"]
    check = sensor.check()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "dead: 1 attempts in a row failed" in check.description
    assert "DEAD_URL is not set" in sensor.newest(NOTIFICATIONS)["deliveries"].value
    assert sensor.newest(NOTIFICATIONS)["failed"].value == 1

    policy, rules = policies(settings)[0], load_rules(settings.notifications, policies(settings))
    soon, later = datetime.now(UTC) + timedelta(seconds=20), datetime.now(UTC) + timedelta(minutes=2)
    assert tell(policy, settings.lake, rules, Notifier(), soon).made == []
    (failed,) = tell(policy, settings.lake, rules, Notifier(), later).made
    assert (failed.channel, failed.attempt, failed.is_delivered) == ("dead", 2, False)
    monkeypatch.setenv("DEAD_URL", sink.url)
    (sent,) = tell(policy, settings.lake, rules, Notifier(), later + timedelta(hours=1)).made
    assert (sent.channel, sent.attempt, sent.is_delivered) == ("dead", 3, True)
    assert len(sink.bodies) == 2
    assert not sensor.check().passed  # as the sensor saw it last
    key = dg.AssetCheckKey(NOTIFICATIONS, "notifications_delivered")
    job = sensor.defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection=set(), asset_check_selection={key})
    (seen,) = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    assert seen.passed  # as a person runs it from the UI


def policies(settings):
    return [one.policy for one in load_catalogue(settings.models)]


def test_a_restarted_sensor_that_forgot_its_cursor_sends_nothing_twice(installed):
    settings, instance, sink = installed
    append(settings.lake, yesterday(), Verdict.CONCEPT, datetime.now(UTC))
    for _ in range(3):
        sensor_of(settings, instance).tick()
    assert len(sink.bodies) == 1


def test_history_that_is_backfilled_is_shown_and_pages_nobody(installed, tmp_path):
    settings, instance, sink = installed
    write_rules(tmp_path, max_age="7d")
    for chunk in CHUNKS:
        append(settings.lake, chunk, Verdict.CONCEPT, datetime.now(UTC))
    sensor = sensor_of(settings, instance)
    sensor.tick()
    assert sink.bodies == []
    assert sensor.newest(INCIDENTS)["open"].value == 1


def test_without_rules_incidents_are_shown_and_nobody_is_told(installed, tmp_path):
    settings, instance, sink = installed
    (tmp_path / "notifications.yaml").unlink()
    append(settings.lake, yesterday(), Verdict.CONCEPT, datetime.now(UTC))
    sensor = sensor_of(settings, instance)
    sensor.tick()
    assert sensor.newest(INCIDENTS)["open"].value == 1
    assert sink.bodies == []
    assert read_deliveries(settings.lake, policies(settings)[0]) == []


def test_a_model_that_cannot_be_read_does_not_silence_the_others(installed, monkeypatch):
    settings, instance, sink = installed
    body = yaml.safe_load((settings.models / "shop.yaml").read_text())
    (settings.models / "bakery.yaml").write_text(yaml.safe_dump({**body, "model": "bakery"}))
    for model in ("bakery", "shop"):
        append(settings.lake, yesterday(), Verdict.CONCEPT, datetime.now(UTC), model)
    for file in (settings.home / "lake" / "bakery" / "verdict_vintages").glob("*.parquet"):
        file.write_bytes(b"broken")
    sensor = sensor_of(settings, instance)
    sensor.tick()
    assert [one["model"] for one in sink.bodies] == ["shop"]


def test_a_tick_that_runs_out_of_time_is_gone_on_with_by_the_next(installed, monkeypatch):
    settings, instance, sink = installed
    body = yaml.safe_load((settings.models / "shop.yaml").read_text())
    (settings.models / "bakery.yaml").write_text(yaml.safe_dump({**body, "model": "bakery"}))
    for model in ("bakery", "shop"):
        append(settings.lake, yesterday(), Verdict.CONCEPT, datetime.now(UTC), model)
    monkeypatch.setattr(incidents, "_TICK_SECONDS", -1.0)
    sensor = sensor_of(settings, instance)
    told = []
    for _ in range(2):
        sensor.tick()
        told.append([one["model"] for one in sink.bodies])
    assert told == [["bakery"], ["bakery", "shop"]]


def test_the_command_line_lists_acknowledges_and_resolves(installed, monkeypatch):
    settings, _, _ = installed
    monkeypatch.setattr(screen.console, "width", 240)
    assert "no open incident" in RUNNER.invoke(app, ["incidents"]).output
    chunk = yesterday()
    name = f"shop/harm/{chunk}"
    append(settings.lake, chunk, Verdict.CONCEPT, datetime.now(UTC))
    listed = RUNNER.invoke(app, ["incidents", "--model", "shop"])
    assert name in listed.output.replace("\n", "")
    done = RUNNER.invoke(app, ["acknowledge", name, "--who", "ana", "--why", "looking"])
    assert (done.exit_code, done.output.strip()) == (0, f"{name} is acknowledged")
    done = RUNNER.invoke(app, ["resolve", name, "--who", "ana", "--why", "rewired [again]"])
    assert (done.exit_code, done.output.strip()) == (0, f"{name} is resolved")
    again = RUNNER.invoke(app, ["resolve", name, "--who", "ana", "--why", "rewired"])
    assert (again.exit_code, "resolved already" in again.output) == (1, True)
    assert "no open incident; 1 so far" in RUNNER.invoke(app, ["incidents"]).output
    assert "by ana: rewired [again]" in RUNNER.invoke(app, ["incidents", "--all"]).output
    assert RUNNER.invoke(app, ["incidents", "--model", "shopp"]).exit_code == 1


def test_a_wrong_name_is_answered_with_what_is_open(installed):
    settings, _, _ = installed
    chunk = yesterday()
    append(settings.lake, chunk, Verdict.CONCEPT, datetime.now(UTC))
    with pytest.raises(UnknownIncidentError, match=f"expected one of shop/harm/{chunk}; did you mean"):
        say(settings.lake, policies(settings), "shop/harm/2020-01-01", IncidentState.RESOLVED, who="ana", why="x")
    with pytest.raises(UnknownIncidentError, match="<model>/<cause>/<chunk> of shop"):
        say(settings.lake, policies(settings), "bakery/harm/2020-01-01", IncidentState.RESOLVED, who="ana", why="x")
    with pytest.raises(ValueError, match="expected a name and a reason"):
        say(settings.lake, policies(settings), f"shop/harm/{chunk}", IncidentState.RESOLVED, who=" ", why="x")


def test_a_replayed_log_is_told_by_its_own_present(tmp_path, monkeypatch):
    write_rules(tmp_path, max_age="7d")
    monkeypatch.setenv("HOOK_URL", "http://127.0.0.1:9")
    log = {"parquet": "log.parquet", "time": "ts", "id": "id"}
    replay = {"start": "2024-01-31", "end": "2024-02-20"}
    settings = Settings.of(tmp_path / "home", synthetic.declare(tmp_path, synthetic.make_log(days=1), log=log, replay=replay))
    (policy,) = policies(settings)
    present = now(policy, settings.lake)
    append(settings.lake, "2024-01-30", Verdict.CONCEPT, present)
    assert present < datetime(2024, 3, 1, tzinfo=UTC)
    (made,) = tell(policy, settings.lake, load_rules(settings.notifications, [policy]), Notifier(), datetime.now(UTC)).made
    assert made.as_of == present
    assert read_incidents(settings.lake, policy)[0].opened_at == present
