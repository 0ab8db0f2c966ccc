"""The doctor names exactly the link that was broken, and finds none in a sound platform: the same one, unbroken."""

import json
import shutil
from datetime import UTC, datetime, timedelta

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from deltalake import write_deltalake
from live_platform import live_platform
from rich.console import Console
from typer.testing import CliRunner

from monitoring_assets.definitions import build_defs as monitoring
from monitoring_assets.health.chain import chain_is_whole, walk
from monitoring_assets.health.evidence import Evidence
from monitoring_assets.health.links import LinkName, State
from plumbline.cli import app
from plumbline.doctor import examine, picture, plain
from resources import tables
from resources.rollout_log import append_event, events
from resources.vocabulary import Action, Event, Stage
from training_assets.definitions import build_defs as training

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("doctor")]
LONG_AGO = pd.Timestamp(datetime.now(UTC) - timedelta(hours=3))


@pytest.fixture(scope="module")
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def sound(tmp_path_factory, instance):
    return live_platform(tmp_path_factory.mktemp("sound"), instance)


@pytest.fixture
def platform(sound, tmp_path):
    """A copy to break. MLflow keeps where its artifacts are; no link loads a model."""
    return sound.copied(tmp_path / "copy")


def doctor(platform, *, has_instance=True):
    [chain] = examine(platform.settings, "shop", instance=platform.instance if has_instance else None)
    return chain


def states(chain):
    return {link.name: link.state for link in chain.links}


def test_a_sound_platform_has_no_broken_link(sound):
    chain = doctor(sound)
    assert chain.first_broken is None, chain.first_broken
    assert states(chain) == {name: State.UNKNOWN if name is LinkName.TRIGGER else State.OK for name in LinkName}


def test_lake_and_registry_alone_are_enough(sound):
    chain = doctor(sound, has_instance=False)
    assert chain.first_broken is None
    assert [name for name, state in states(chain).items() if state is State.UNKNOWN] == [LinkName.TRIGGER]


# --- each link, broken ---------------------------------------------------------------------------------------------------


def break_log(platform):
    rows = pd.read_parquet(platform.settings.models / "log.parquet")
    rows[rows["ts"] < rows["ts"].max() - pd.Timedelta(days=4)].to_parquet(platform.settings.models / "log.parquet", index=False)


def lose_log(platform):
    (platform.settings.models / "log.parquet").unlink()


def newest_chunks(platform, count):
    return platform.lake.partitions("shop", tables.scored_batches(platform.policy), "chunk")[-count:]


def clear(platform, table, where):
    platform.lake.replace("shop", table, platform.lake.read("shop", table).iloc[:0], where)


def break_scores(platform):
    chunks = newest_chunks(platform, 3)
    clear(platform, tables.scored_batches(platform.policy), {"chunk": chunks})
    clear(platform, tables.MEASUREMENTS, {"chunk": chunks})


def break_chunks(platform):
    clear(platform, tables.MEASUREMENTS, {"chunk": newest_chunks(platform, 3)})


def break_checks(platform):
    stages = platform.lake.read("shop", tables.MEASUREMENTS)["stage"].unique()
    later = [stage for stage in stages if stage != Stage.PREDICTION_LOG]
    clear(platform, tables.MEASUREMENTS, {"chunk": newest_chunks(platform, 1), "stage": later})


def break_verdict(platform):
    clear(platform, tables.VERDICTS, {"chunk": newest_chunks(platform, 1)})


def break_outcomes(platform):
    clear(platform, tables.MEASUREMENTS, {"chunk": newest_chunks(platform, 5)[0], "stage": str(Stage.REALIZED_PERFORMANCE)})


def break_decision(platform):
    vintages = platform.lake.read("shop", tables.VERDICT_VINTAGES).tail(1).assign(written_at=LONG_AGO, digest="another")
    platform.lake.append("shop", tables.VERDICT_VINTAGES, vintages)


def break_retraining(platform):
    ledger = platform.lake.read("shop", tables.DECISIONS).sort_values("evaluation").tail(1)
    order = ledger.assign(action=str(Action.RETRAIN), incident="shop/lost", evaluation=ledger["evaluation"] + 1, evaluated_at=LONG_AGO)
    platform.lake.append("shop", tables.DECISIONS, order)


def break_history(platform):
    """Someone rewrites who approved."""
    log = events(platform.lake, platform.policy).assign(approved_by="someone else")
    write_deltalake(str(platform.settings.home / "lake" / "shop" / "rollout_events"), pa.Table.from_pandas(log), mode="overwrite")


def accepted(platform, chunk, **changes):
    rows = platform.lake.read("shop", tables.EVALUATIONS)
    own = rows[rows["is_winner"]].assign(chunk=chunk, is_accepted=True, **changes)
    platform.lake.replace("shop", tables.EVALUATIONS, own, {"chunk": chunk})


def break_registration(platform):
    accepted(platform, newest_chunks(platform, 1)[0], model_uri="models:/m-never-registered")
    append_event(
        platform.lake, platform.policy, Event.PROMOTED, reason="x", approved_by="x", chunk=newest_chunks(platform, 1)[0], to_version="1"
    )


def break_promotion(platform):
    accepted(platform, newest_chunks(platform, 1)[0])


def break_alias(platform):
    with platform.registry.client() as client:
        client.delete_registered_model_alias("shop", "champion")


def break_serving(platform):
    table, chunk = tables.scored_batches(platform.policy), newest_chunks(platform, 1)[0]
    rows = platform.lake.read("shop", table, {"chunk": chunk}).assign(model_version="0")
    platform.lake.replace("shop", table, rows, {"chunk": chunk})


def break_reference(platform):
    """A version serves for hours and nobody has fitted its reference."""
    clear(platform, tables.REFERENCE_PROFILES, {"reference_version": "1"})


BREAKS = {
    LinkName.LOG: break_log,
    LinkName.SCORES: break_scores,
    LinkName.CHUNKS: break_chunks,
    LinkName.CHECKS: break_checks,
    LinkName.VERDICT: break_verdict,
    LinkName.OUTCOMES: break_outcomes,
    LinkName.DECISION: break_decision,
    LinkName.RETRAINING: break_retraining,
    LinkName.HISTORY: break_history,
    LinkName.REGISTRATION: break_registration,
    LinkName.PROMOTION: break_promotion,
    LinkName.ALIAS: break_alias,
    LinkName.SERVING: break_serving,
    LinkName.REFERENCE: break_reference,
}


@pytest.mark.parametrize("name", BREAKS, ids=str)
@pytest.mark.parametrize("has_instance", [True, False], ids=["instance", "lake_only"])
def test_exactly_the_broken_link_is_named(platform, name, has_instance, monkeypatch):
    monkeypatch.setattr("monitoring_assets.health.evidence.GRACE", timedelta(0))  # the platform was built a moment ago
    BREAKS[name](platform)
    chain = doctor(platform, has_instance=has_instance)
    assert chain.first_broken is not None
    assert chain.first_broken.name is name
    assert chain.first_broken.advice
    # what comes before is as it was; a chunk nobody has scored was not ingested either
    follows = {LinkName.SCORES: {LinkName.CHUNKS}}.get(name, set())
    assert {link.name for link in chain.links if link.state is State.BROKEN} <= {name} | follows


def test_every_link_that_a_lake_can_break_is_broken_here():
    assert set(LinkName) - set(BREAKS) == {LinkName.DECLARATION, LinkName.TRIGGER}  # those have tests of their own


def test_a_log_that_is_gone_is_named_with_what_was_looked_for(platform):
    lose_log(platform)
    first = doctor(platform).first_broken
    assert first.name is LinkName.LOG
    assert "log.parquet" in first.told


def test_what_happened_a_moment_ago_is_not_due_rather_than_broken(platform):
    vintages = platform.lake.read("shop", tables.VERDICT_VINTAGES).tail(1)
    platform.lake.append("shop", tables.VERDICT_VINTAGES, vintages.assign(written_at=pd.Timestamp.now(tz="UTC"), digest="another"))
    assert states(doctor(platform))[LinkName.DECISION] is State.NOT_DUE


def test_a_table_with_damaged_files_breaks_the_link_that_needs_it_and_the_walk_goes_on(platform):
    for file in (platform.settings.home / "lake" / "shop" / "decisions" / "_delta_log").glob("*.json"):
        file.write_text("no commit")
    chain = doctor(platform)
    assert chain.first_broken.name is LinkName.DECISION
    assert len(chain.links) == len(LinkName)
    assert states(chain)[LinkName.ALIAS] is State.OK


def test_a_registry_that_is_gone_is_noticed(platform):
    shutil.rmtree(platform.settings.home / "mlflow")
    assert doctor(platform).first_broken.name is LinkName.REGISTRATION


def test_a_retraining_run_that_failed_is_named_by_its_id(platform):
    break_retraining(platform)

    @dg.op
    def fail():
        raise RuntimeError("no memory")

    @dg.job(tags={"plumbline/model": "shop", "plumbline/incident": "shop/lost"})
    def lost():
        fail()

    with dg.DagsterInstance.ephemeral() as other:
        run = lost.execute_in_process(instance=other, raise_on_error=False)
        found = walk(Evidence(platform.policy, platform.lake, platform.settings.models, other))
    link = next(link for link in found.links if link.name is LinkName.RETRAINING)
    assert link.state is State.BROKEN
    assert run.run_id in link.told


# --- the declaration, the command, and the same walk in the UI ------------------------------------------------------------


def test_a_declaration_that_cannot_be_used_is_the_first_link(platform):
    file = platform.settings.models / "shop.yaml"
    file.write_text(file.read_text().replace("task: binary", "task: binery"), encoding="utf-8")
    [chain] = examine(platform.settings)
    assert chain.first_broken.name is LinkName.DECLARATION
    assert "shop.yaml" in chain.first_broken.told


@pytest.fixture
def command(platform, monkeypatch):
    monkeypatch.setenv("PLUMBLINE_HOME", str(platform.settings.home))
    monkeypatch.setenv("PLUMBLINE_MODELS", str(platform.settings.models))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    return lambda *words: CliRunner().invoke(app, list(words))


def test_the_command_exits_1_where_a_link_is_broken_and_0_where_none_is(platform, command):
    done = command("doctor", "shop", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[0]["first_broken"] is None
    break_alias(platform)
    done = command("doctor")
    assert done.exit_code == 1
    assert "the first broken link is alias" in done.stdout
    assert "no_such" not in command("doctor", "no_such").stdout.split("expected")[1]
    assert command("doctor", "no_such").exit_code == 1


def test_the_json_holds_what_the_table_shows(platform):
    break_alias(platform)
    chain = doctor(platform)
    [told] = plain([chain])
    assert [link["link"] for link in told["links"]] == list(LinkName)
    console = Console(width=250, record=True)
    console.print(picture(chain))
    text = console.export_text()
    for link in told["links"]:
        assert link["told"] in text


def test_the_instance_of_a_home_folder_is_found_and_its_ticks_are_looked_at(platform, command):
    home = platform.settings.home / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}}))
    done = command("doctor", "shop", "--json")
    links = {link["link"]: link for link in json.loads(done.stdout)[0]["links"]}
    assert links["trigger"]["told"] == "no daemon has started a sensor on this instance"
    assert links["checks"]["state"] == "broken"  # that instance has never heard of the check


def results(defs, job, instance, lake):
    done = defs.resolve_job_def(job).execute_in_process(instance=instance, resources={**(defs.resources or {}), "lake": lake})
    assert done.success
    return {one.check_name: one for one in done.get_asset_check_evaluations()}, done


def test_the_ui_walks_the_same_way(platform):
    defs = monitoring(platform.settings)
    checks, done = results(defs, "platform__doctor", platform.instance, platform.lake)
    assert all(one.passed for one in checks.values()), [(name, one.description) for name, one in checks.items() if not one.passed]
    metadata = done.get_asset_materialization_events()[0].step_materialization_data.materialization.metadata
    assert "shop" in metadata["mean_times_of_1y"].value
    assert metadata["failed_checks"].value == 0
    break_chunks(platform)
    checks, _ = results(defs, "platform__doctor", platform.instance, platform.lake)
    assert {name for name, one in checks.items() if not one.passed} == {"chain_is_whole", "chunks_complete"}
    assert "link chunks is broken" in checks["chain_is_whole"].description


def test_the_registry_half_of_the_walk_is_checked_beside_the_table_of_lineage(platform):
    defs = training(platform.settings)
    checks, done = results(defs, "platform__write_lineage", platform.instance, platform.lake)
    assert all(one.passed for one in checks.values())
    table = done.get_asset_materialization_events()[0].step_materialization_data.materialization.metadata["lineage"].value
    assert platform.policy.policy_hash in table
    break_alias(platform)
    break_history(platform)
    checks, _ = results(defs, "platform__write_lineage", platform.instance, platform.lake)
    assert not any(one.passed for one in checks.values())
    assert "the registry says none, rollout_events say 1" in checks["registry_agrees"].description


def test_the_lineage_command_answers_for_now_and_for_before_the_first_promotion(platform, command):
    [line] = json.loads(command("lineage", "shop", "--json").stdout)
    tags = platform.registry.versions("shop")[0]["tags"]
    assert line["serving_version"] == "1"
    assert (line["training_hash"], line["training_data"]) == (tags["data_hash"], tags["data_version"])
    assert line["policy_version"] == line["policy_in_force"] == platform.policy.policy_hash
    assert line["approver"] == f"policy {platform.policy.policy_hash}"
    assert line["baseline"].startswith("none: the first model")
    [before] = json.loads(command("lineage", "shop", "--at", "2020-01-01T12:00", "--json").stdout)
    assert before["serving_version"] == "none"
    assert "Who answers" in command("lineage").stdout


def test_a_chain_check_names_model_link_and_what_was_expected(platform):
    break_log(platform)
    found = chain_is_whole([doctor(platform)])
    assert "shop: link log is broken" in found.told
    assert found.numbers["broken_chains"] == 1
