"""What Prometheus is told is what the lake holds, and every panel of the dashboard finds its numbers there."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from monitoring_assets.measures.lines import lines_of
from plumbline import metrics
from plumbline.cli import app
from resources import tables
from resources.catalogue import load_catalogue
from resources.lake import Lake
from resources.rollout_log import append_event
from resources.settings import PROJECT, Settings
from resources.vocabulary import Action, Event, Kind, Stage, Verdict

MODEL, CHUNKS = "pump", ["2025-01-06", "2025-01-13", "2025-01-20"]
DASHBOARD = PROJECT / "deploy" / "grafana" / "predictive_maintenance.json"
STARTED_WITHIN_SECONDS, ANSWERED_WITHIN_SECONDS = 20, 20


def line(chunk, kind, method, subject, value, **more):
    own = {"upper_limit": 1.0, "lower_limit": 0.0, "standard_error": 0.01, "segment": "all", "is_deciding": True, **more}
    return {"chunk": chunk, "kind": str(kind), "method": method, "subject": subject, "value": value, "n_rows": 100, **own}


def measured(chunk, entropy, drift):
    return [
        line(chunk, Kind.ESTIMATED_PERFORMANCE, "cbpe", "accuracy", 0.9),
        line(chunk, Kind.UNCERTAINTY, "entropy", "prediction", entropy, upper_limit=0.1, breach=entropy > 0.1),
        line(chunk, Kind.UNIVARIATE_DRIFT, "wasserstein", "rms", drift, lower_limit=float("nan"), upper_limit=0.5, breach=drift > 0.5),
        line(chunk, Kind.UNIVARIATE_DRIFT, "wasserstein", "load", 0.1, lower_limit=float("nan"), upper_limit=0.5),
        line(chunk, Kind.UNIVARIATE_DRIFT, "wasserstein", "rms", 0.7, segment="north", is_deciding=False),
        line(chunk, Kind.PREDICTION_DRIFT, "wasserstein", "y_pred_proba", 0.1, lower_limit=float("nan"), upper_limit=0.5),
        line(chunk, Kind.ATTRIBUTION_DRIFT, "share", "rms", 0.6),
        line(chunk, Kind.BUSINESS_KPI, "kpi", "downtime_cost", 40_000.0, upper_limit=90_000.0),
    ]


def store(lake, stage, chunk, rows):
    moment = pd.Timestamp(chunk, tz="UTC")
    blank = {
        "stage": str(stage),
        "chunk_start": moment,
        "chunk_end": moment + pd.Timedelta(weeks=1),
        "reference_version": "3",
        "model_version": "3",
    }
    frame = lines_of(rows).assign(**blank, known_at=moment + pd.Timedelta(weeks=1))
    lake.replace(MODEL, tables.MEASUREMENTS, frame[list(tables.MEASUREMENTS.columns)], {"chunk": chunk, "stage": str(stage)})


def judged(lake, chunk, verdict):
    row = {
        "chunk": chunk, "verdict": str(verdict), "confidence": 0.6, "evidence": "", "suspects": "", "recovery": "", "model_version": "3", "is_realized": False,
        "known_at": pd.Timestamp(chunk, tz="UTC"), "digest": "",
    }  # fmt: skip
    lake.replace(MODEL, tables.VERDICTS, pd.DataFrame([row]), {"chunk": chunk})


def known(lake, chunk, verdict):
    """The verdict as decisions see it: known a day after the chunk ended."""
    moment = pd.Timestamp(chunk, tz="UTC") + pd.Timedelta(days=8)
    row = {
        "chunk": chunk, "verdict": str(verdict), "confidence": 0.6, "model_version": "3", "is_realized": False, "n_rows": 100, "measured": "[]",
        "known_at": moment, "written_at": moment, "digest": "",
    }  # fmt: skip
    lake.append(MODEL, tables.VERDICT_VINTAGES, pd.DataFrame([row]))


def decided(lake, chunk, action, clause):
    row = {
        "chunk": chunk, "action": str(action), "clause": clause, "incident": None, "state_before": "armed", "state_after": "armed", "inputs": "{}",
        "onset": None, "as_of": pd.Timestamp(chunk, tz="UTC"), "evaluated_at": pd.Timestamp(chunk, tz="UTC"), "evaluation": 0, "update": "full",
        "policy_hash": "", "vintages_seen": 0, "events_seen": 0, "overrides_seen": 0,
    }  # fmt: skip
    frame = pd.DataFrame([row])
    frame["onset"] = pd.to_datetime(frame["onset"], utc=True)
    frame["evaluation"] = len(lake.read(MODEL, tables.DECISIONS))
    lake.append(MODEL, tables.DECISIONS, frame)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """One model with three judged chunks; outcomes are known of the first alone, and have restated it once."""
    models = tmp_path / "models"
    models.mkdir()
    body = {
        "model": MODEL, "task": "binary_classification", "log": {"csv": "log.csv", "time": "at", "id": "row", "timezone": "UTC"},
        "features": {"numeric": ["rms", "load"]}, "segments": ["site"], "outcome": {"column": "failed", "delay": "7d"}, "chunk": "1w",
        "reference": {"start": "2024-09-02", "end": "2024-12-30"}, "kpi": {"downtime_cost": "sum(y_pred_proba * 12000)"},
    }  # fmt: skip
    (models / "pump.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    settings = Settings.of(tmp_path, models)
    lake, policy = settings.lake, load_catalogue(models)[0].policy
    for chunk, entropy, drift in zip(CHUNKS, (0.05, 0.06, 0.3), (0.1, 0.2, 0.8), strict=True):
        store(lake, Stage.DRIFT_REPORT, chunk, measured(chunk, entropy, drift))
        judged(lake, chunk, Verdict.HEALTHY)
        decided(lake, chunk, Action.HOLD, "no_harm")
    judged(lake, CHUNKS[2], Verdict.COVARIATE_HARMFUL)
    decided(lake, CHUNKS[2], Action.RETRAIN, "harmful_verdict")
    realized = [
        line(CHUNKS[0], Kind.REALIZED_PERFORMANCE, "realized", "accuracy", 0.87),
        line(CHUNKS[0], Kind.DATA_QUALITY, "labelled_share", "outcomes", 0.02, upper_limit=float("nan"), lower_limit=float("nan")),
    ]
    store(lake, Stage.REALIZED_PERFORMANCE, CHUNKS[0], realized)
    for day, value in ((27, 0.9), (30, 0.87)):
        vintage = {"metric": "accuracy", "value": value, "standard_error": 0.01, "n_rows": 20, "labelled_share": 0.02}
        lake.append(
            MODEL,
            tables.PERFORMANCE_VINTAGES,
            pd.DataFrame([{"chunk": CHUNKS[0], "known_at": pd.Timestamp(2025, 1, day, tz="UTC"), **vintage}]),
        )
    append_event(lake, policy, Event.PROMOTED, reason="first", approved_by="test", to_version="3")
    for chunk, verdict in zip(CHUNKS, (Verdict.HEALTHY, Verdict.HEALTHY, Verdict.COVARIATE_HARMFUL), strict=True):
        known(lake, chunk, verdict)
    monkeypatch.setattr(metrics, "now", lambda policy, lake: datetime(2025, 2, 1, tzinfo=UTC))  # the log ended then
    return settings


@pytest.fixture
def served(installed):
    endpoint = metrics.serve(installed, 0)
    yield endpoint
    endpoint.close()


def scrape(endpoint):
    with urllib.request.urlopen(f"http://127.0.0.1:{endpoint.port}/metrics", timeout=10) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    assert len({family.name for family in families}) == len(families)
    found = {}
    for family in families:
        for sample in family.samples:
            at = sample.name, frozenset(sample.labels.items())
            assert at not in found
            found[at] = sample.value
    return found


def value(found, name, **labels):
    own = [number for (own_name, own_labels), number in found.items() if own_name == name and labels.items() <= dict(own_labels).items()]
    assert len(own) == 1, (name, labels, own)
    return own[0]


def test_what_is_scraped_is_what_the_lake_holds_of_the_newest_judged_chunk(served, installed):
    found = scrape(served)
    rows = installed.lake.read(MODEL, tables.MEASUREMENTS, {"chunk": CHUNKS[2]})
    shown = rows[(rows["segment"] == "all") & rows["is_deciding"]]
    for row in shown.itertuples():
        where = {"model": MODEL, "kind": row.kind, "method": row.method, "subject": row.subject}
        assert value(found, "plumbline_measurement_value", **where) == row.value
        assert value(found, "plumbline_breach", **where) == float(row.breach)
        assert value(found, "plumbline_measurement_upper_limit", **where) == row.upper_limit
    assert value(found, "plumbline_chunk_end_timestamp_seconds", model=MODEL) == datetime(2025, 1, 27, tzinfo=UTC).timestamp()
    assert {labels["verdict"]: number for labels, number in verdicts(found)} == {
        str(one): float(one is Verdict.COVARIATE_HARMFUL) for one in Verdict
    }
    assert value(found, "plumbline_verdict_confidence", model=MODEL) == 0.6
    assert value(found, "plumbline_model_version", model=MODEL) == 3
    assert value(found, "plumbline_serving_version_info", model=MODEL, version="3") == 1
    assert value(found, "plumbline_rollout_events_total", model=MODEL, event="promoted") == 1
    assert value(found, "plumbline_model_readable", model=MODEL) == 1


def verdicts(found):
    return [(dict(labels), number) for (name, labels), number in found.items() if name == "plumbline_verdict"]


def test_mean_times_are_those_of_the_episodes_in_the_lake_and_follow_it(served, installed):
    found = scrape(served)
    assert value(found, "plumbline_mean_time_seconds", model=MODEL, phase="detect") == 8 * 86400
    assert not [labels for name, labels in found if name == "plumbline_mean_time_seconds" and ("phase", "recover") in labels]
    assert value(found, "plumbline_harm_episodes_open", model=MODEL) == 1
    row = {
        "chunk": "2025-01-27",
        "verdict": "healthy",
        "confidence": 0.6,
        "model_version": "4",
        "is_realized": False,
        "n_rows": 100,
        "measured": "[]",
    }
    moment = pd.Timestamp("2025-02-04", tz="UTC")
    installed.lake.append(MODEL, tables.VERDICT_VINTAGES, pd.DataFrame([{**row, "known_at": moment, "written_at": moment, "digest": ""}]))
    found = scrape(served)
    assert value(found, "plumbline_mean_time_seconds", model=MODEL, phase="recover") == 7 * 86400
    assert value(found, "plumbline_harm_episodes", model=MODEL) == 1
    assert value(found, "plumbline_harm_episodes_open", model=MODEL) == 0


def test_realized_performance_is_the_newest_there_is_and_says_of_which_chunk(served):
    found, where = scrape(served), {"kind": "realized_performance", "subject": "accuracy"}
    assert value(found, "plumbline_measurement_value", **where) == 0.87
    assert value(found, "plumbline_measurement_chunk_end_timestamp_seconds", **where) == datetime(2025, 1, 13, tzinfo=UTC).timestamp()
    assert value(found, "plumbline_labelled_share", model=MODEL) == 0.02
    assert value(found, "plumbline_performance_vintages", model=MODEL) == 2


def test_a_limit_that_does_not_exist_is_left_out_and_no_number_is_nan(served):
    found = scrape(served)
    lower = [labels for (name, labels) in found if name == "plumbline_measurement_lower_limit"]
    assert not [labels for labels in lower if ("kind", "univariate_drift") in labels]
    assert [labels for labels in lower if ("kind", "uncertainty") in labels]
    assert all(number == number for number in found.values())


def test_segments_are_exposed_only_when_asked_for_and_never_more_lines_than_the_bound(installed, monkeypatch):
    policy = load_catalogue(installed.models)[0].policy
    plain = metrics.LakeCollector(installed.lake, [policy])
    full = metrics.LakeCollector(installed.lake, [policy], is_full=True)
    assert "north" not in segments(plain)
    assert "north" in segments(full)
    monkeypatch.setattr(metrics, "_MOST_LINES", 3)
    bounded = {family.name: family.samples for family in full.collect()}
    assert len(bounded["plumbline_measurement_value"]) == 3
    assert all(sample.labels["segment"] == "all" for sample in bounded["plumbline_measurement_value"])  # what decides comes first
    assert bounded["plumbline_lines_left_out"][0].value > 0
    for collector in (plain, full):
        collector.close()


def segments(collector):
    return {sample.labels["segment"] for family in collector.collect() for sample in family.samples if "segment" in sample.labels}


def test_counters_never_fall_when_the_newest_decision_is_replaced(served, installed):
    def counts(found):
        return {
            (dict(labels)["action"], dict(labels)["clause"]): number
            for (name, labels), number in found.items()
            if name == "plumbline_decisions_total"
        }

    first = counts(scrape(served))
    assert first == {("hold", "no_harm"): 2, ("retrain", "harmful_verdict"): 1}
    decided(installed.lake, "2025-01-27", Action.HOLD, "cooldown")
    assert counts(scrape(served)) == first  # it may still be replaced
    decided(installed.lake, "2025-01-27", Action.RETRAIN, "harmful_verdict")
    decided(installed.lake, "2025-02-03", Action.HOLD, "no_harm")
    found = scrape(served)
    assert counts(found) == {("hold", "no_harm"): 2, ("retrain", "harmful_verdict"): 2}
    assert value(found, "plumbline_retrainings_total", model=MODEL) == 2


def test_a_scrape_reads_only_the_last_partitions_and_the_ledger_only_when_it_has_grown(installed, monkeypatch):
    asked, read = [], Lake.read

    def watched(lake, model, table, where=None, version=None):
        asked.append((table.name, where))
        return read(lake, model, table, where, version)

    monkeypatch.setattr(Lake, "read", watched)
    collector = metrics.LakeCollector(installed.lake, [load_catalogue(installed.models)[0].policy])
    list(collector.collect())
    assert {table: where for table, where in asked if table == "verdicts"} == {"verdicts": {"chunk": CHUNKS[-1:]}}
    assert [where["chunk"] for table, where in asked if table == "measurements"] == [CHUNKS[-1:], CHUNKS[:1]]
    assert [table for table, _ in asked if table == "decisions"] == ["decisions"] * 2  # for the counts, and for the mean times
    asked.clear()
    list(collector.collect())
    assert not [table for table, _ in asked if table == "decisions"]  # nothing has been decided since
    decided(installed.lake, "2025-01-27", Action.HOLD, "no_harm")
    asked.clear()
    list(collector.collect())
    assert [table for table, _ in asked if table == "decisions"] == ["decisions"] * 2
    collector.close()


def test_a_model_that_cannot_be_read_hides_no_other(installed):
    (installed.models / "fan.yaml").write_text((installed.models / "pump.yaml").read_text().replace("model: pump", "model: fan"))
    broken = Path(installed.lake_root) / "fan" / "verdicts" / "_delta_log"
    broken.mkdir(parents=True)
    (broken / "00000000000000000000.json").write_text("no commit")
    endpoint = metrics.serve(installed, 0)
    found = scrape(endpoint)
    endpoint.close()
    assert value(found, "plumbline_model_readable", model="fan") == 0
    assert value(found, "plumbline_model_readable", model=MODEL) == 1
    assert value(found, "plumbline_verdict_confidence", model=MODEL) == 0.6


def test_a_model_nothing_is_known_of_is_exposed_without_numbers(installed):
    (installed.models / "fan.yaml").write_text((installed.models / "pump.yaml").read_text().replace("model: pump", "model: fan"))
    endpoint = metrics.serve(installed, 0)
    found = {(name, labels): number for (name, labels), number in scrape(endpoint).items() if ("model", "fan") in labels}
    endpoint.close()
    assert value(found, "plumbline_model_readable", model="fan") == 1
    assert value(found, "plumbline_retrainings_total", model="fan") == 0
    assert not [name for name, _ in found if name.startswith("plumbline_measurement") or name == "plumbline_verdict"]


def test_only_the_loopback_is_listened_on_and_a_taken_port_is_told(served, installed):
    assert served.server.server_address[0] == "127.0.0.1"
    done = CliRunner().invoke(app, ["metrics", "--port", str(served.port), "--home", str(installed.home)])
    assert done.exit_code == 1
    assert f"got port {served.port} of 127.0.0.1, which cannot be used" in done.stdout


def test_the_command_serves_until_it_is_ended(installed):
    command = [sys.executable, "-m", "plumbline.cli", "metrics", "--port", "0", "--home", str(installed.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        told = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", process.stdout.readline())
        with urllib.request.urlopen(told.group(0), timeout=20) as answer:
            text = answer.read().decode()
        assert process.poll() is None
        process.terminate()
        process.wait(timeout=20)
    assert f'plumbline_verdict{{model="{MODEL}",verdict="covariate_harmful"}} 1.0' in text


# --- the dashboard -------------------------------------------------------------------------------------------------------


def queries():
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    filled = {"$model": MODEL, "$metric": "accuracy"}
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            query = target["expr"]
            for name, own in filled.items():
                query = query.replace(name, own)
            assert "$" not in query
            yield panel["title"], query


def test_the_dashboard_is_whole():
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    variables = {one["name"]: one["type"] for one in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "model": "query", "metric": "query"}
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["description"] and panel["targets"] for panel in panels)
    assert all(target["datasource"]["uid"] == "${datasource}" for panel in panels for target in panel["targets"])
    cells = [(x, y) for panel in panels for x, y in cells_of(panel["gridPos"])]
    assert len(set(cells)) == len(cells)  # no panel hides another
    assert max(x for x, _ in cells) < 24


def cells_of(grid):
    return [(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])]


def test_every_metric_and_label_a_panel_names_is_exposed(served):
    """Holds where there is no Prometheus to ask, too."""
    found = [(name, dict(labels)) for name, labels in scrape(served)]
    asked = [*queries(), *((one["name"], one["definition"]) for one in json.loads(DASHBOARD.read_text())["templating"]["list"][1:])]
    for title, query in asked:
        selectors = re.findall(r"(plumbline_\w+)(?:\{([^}]*)\})?", query)
        assert selectors, title
        for name, inside in selectors:
            wanted = re.findall(r'(\w+)(=~?)"([^"]*)"', inside.replace("$model", MODEL))
            assert [labels for own, labels in found if own == name and all(matches(labels, *one) for one in wanted)], (title, name, wanted)


def matches(labels, name, sign, wanted):
    return name in labels and (re.fullmatch(wanted, labels[name]) is not None if sign == "=~" else labels[name] == wanted)


def free_port():
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


@pytest.fixture
def prometheus(served, tmp_path):
    """The real Prometheus, scraping the endpoint on the loopback every second with the file that is deployed."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("there is no prometheus here; its queries are checked against the exposition instead")
    configuration = yaml.safe_load((PROJECT / "deploy" / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    configuration["global"]["scrape_interval"] = "1s"
    configuration["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{served.port}"]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    port = free_port()
    options = {
        "config.file": tmp_path / "prometheus.yml",
        "storage.tsdb.path": tmp_path / "tsdb",
        "web.listen-address": f"127.0.0.1:{port}",
    }
    with (tmp_path / "prometheus.log").open("w") as log:
        process = subprocess.Popen([binary, *(f"--{name}={one}" for name, one in options.items())], stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=20)


def answer(url, query):
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10) as said:
        body = json.load(said)
    assert body["status"] == "success"
    return body["data"]["result"]


def until(seconds, ask):
    """What ``ask`` gives once it gives something; a server that is still starting refuses connections."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = ask()
        except (urllib.error.URLError, ConnectionError):
            found = None
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"got nothing within {seconds} seconds")


def test_prometheus_answers_every_panel_of_the_dashboard_with_data(prometheus):
    ready = until(STARTED_WITHIN_SECONDS, lambda: answer(prometheus, 'up{job="plumbline"} == 1'))
    assert ready
    until(ANSWERED_WITHIN_SECONDS, lambda: answer(prometheus, "plumbline_model_readable"))
    asked = list(queries())
    assert len(asked) >= 20
    for title, query in asked:
        assert answer(prometheus, query), (title, query)
    [worst] = [query for title, query in asked if title.startswith("Input drift")]
    assert float(answer(prometheus, worst)[0]["value"][1]) == pytest.approx(0.8 / 0.5)
