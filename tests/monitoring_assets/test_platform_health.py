"""The monitor is monitored: each broken part of the platform is named, with since when and how far, and a sound one is left alone."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import synthetic
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._utils.error import SerializableErrorInfo
from hypothesis import given
from hypothesis import strategies as st

from monitoring_assets.health.daemon import last_due, queue_moves, runs_succeed, schedules_tick, sensors_tick
from monitoring_assets.health.findings import PROMISES, Finding, Health, HealthCheck, findings_table
from monitoring_assets.health.logs import chunks_complete, freshness, lake_readable, logs_fresh, overdue_chunks, unusual_sizes
from resources import tables
from resources.catalogue import load_catalogue
from resources.lake import Lake
from training_assets.definitions import build_defs as training

AT = datetime(2026, 5, 4, 9, 30, tzinfo=UTC)  # a Monday
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """One instance on disk for all tests: it takes seconds to set one up."""
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("instance"))) as instance:
        yield instance


@pytest.fixture
def instance(storage):
    yield storage
    storage.wipe()
    storage.schedule_storage.wipe()


class Daemon:
    """Writes what a daemon would write: the state of a schedule or sensor, and its ticks."""

    def __init__(self, instance):
        self.instance = instance

    def add(self, name, location, *ticks, cron=None, status=InstigatorStatus.DECLARED_IN_CODE, started=AT - timedelta(days=3)):
        """``ticks`` are moments, or pairs of a moment and an error message, oldest first."""
        origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__"), name)
        kind = InstigatorType.SCHEDULE if cron else InstigatorType.SENSOR
        data = (
            ScheduleInstigatorData(cron, started.timestamp())
            if cron
            else SensorInstigatorData(min_interval=3, last_sensor_start_timestamp=started.timestamp())
        )
        state = InstigatorState(origin, kind, status, data)
        self.instance.add_instigator_state(state)
        for tick in ticks:
            moment, error = tick if isinstance(tick, tuple) else (tick, None)
            made = SerializableErrorInfo(f"{error}\n", [], "ValueError") if error else None
            status_of = TickStatus.FAILURE if error else TickStatus.SKIPPED
            self.instance.create_tick(
                TickData(state.instigator_origin_id, name, kind, status_of, moment.timestamp(), error=made, selector_id=state.selector_id)
            )


@pytest.fixture
def daemon(instance):
    return Daemon(instance)


def sound(daemon):
    daemon.add("retrain_trigger", "training_assets", AT - MINUTE)
    daemon.add("log_arrivals", "monitoring_assets", AT - MINUTE)
    daemon.add("shop__outcomes_daily", "monitoring_assets", AT.replace(hour=6, minute=0), cron="0 6 * * *")
    daemon.add("platform__lineage_hourly", "training_assets", AT.replace(minute=20), cron="20 * * * *")


def schedules(instance, at=AT):
    return schedules_tick(instance, ["shop"], at)


def test_a_platform_that_ticks_has_no_finding(instance, daemon):
    sound(daemon)
    for found in (schedules(instance), sensors_tick(instance, AT), runs_succeed(instance, AT), queue_moves(instance, AT)):
        assert found.is_passed, found
        assert "nothing is broken" in found.told
    assert "2 schedules" in schedules(instance).looked_at
    assert "2 sensors" in sensors_tick(instance, AT).looked_at


def test_without_a_daemon_nothing_is_held_against_the_platform():
    with dg.DagsterInstance.ephemeral() as memory:
        assert schedules(memory).is_passed
        assert sensors_tick(memory, AT).is_passed
        assert "no daemon" in sensors_tick(memory, AT).told


def test_a_schedule_that_missed_its_moment_is_named_with_when_it_was_due(instance, daemon):
    sound(daemon)
    daemon.add("shop__every_1d", "monitoring_assets", AT - timedelta(days=2), cron="0 0 * * *")
    [one] = schedules(instance).findings
    assert "shop__every_1d" in one.what
    assert one.since == AT.replace(hour=0, minute=0)
    assert "9.5 h" in one.distance
    assert one.advice


def test_a_schedule_is_given_time_to_tick_and_a_new_one_owes_nothing_yet(instance, daemon):
    daemon.add("shop__a", "monitoring_assets", AT - timedelta(hours=1), cron="30 * * * *")  # due this very minute
    daemon.add("shop__b", "monitoring_assets", cron="0 6 * * *", started=AT - timedelta(hours=1))
    assert schedules(instance).is_passed
    assert not schedules(instance, AT + 6 * MINUTE).is_passed


def test_schedules_of_models_that_are_no_longer_declared_are_left_alone(instance, daemon):
    daemon.add("gone__every_1d", "monitoring_assets", AT - timedelta(days=9), cron="0 0 * * *")
    assert schedules(instance).is_passed


def test_a_sensor_that_stands_still_is_named_with_its_last_tick(instance, daemon):
    sound(daemon)
    daemon.add("new_champions", "monitoring_assets", AT - timedelta(hours=4))
    found = sensors_tick(instance, AT)
    [one] = found.findings
    assert "new_champions" in one.what
    assert one.since == AT - timedelta(hours=4)
    assert "4.0 h" in one.distance
    assert found.numbers["oldest_sensor_tick_minutes"] == 240


def test_ticks_of_the_other_location_that_fail_are_seen_since_the_first_of_them_with_their_error(instance, daemon):
    daemon.add("log_arrivals", "monitoring_assets", AT - MINUTE)
    failing = [(AT - minutes * MINUTE, "the lake is gone") for minutes in (3, 2, 1)]
    daemon.add("retrain_trigger", "training_assets", AT - 4 * MINUTE, *failing)
    [one] = sensors_tick(instance, AT).findings
    assert "retrain_trigger fails" in one.what
    assert one.since == AT - 3 * MINUTE
    assert "3 ticks" in one.distance
    assert "the lake is gone" in one.distance


def test_failures_before_a_tick_that_went_well_are_forgotten(instance, daemon):
    daemon.add("retrain_trigger", "training_assets", (AT - 3 * MINUTE, "boom"), AT - MINUTE)
    assert sensors_tick(instance, AT).is_passed


def test_a_training_location_that_never_loaded_is_seen_from_the_other_one(instance, daemon):
    daemon.add("log_arrivals", "monitoring_assets", AT - MINUTE)
    [one] = sensors_tick(instance, AT).findings
    assert "retrain_trigger was never started" in one.what
    assert "training_assets" in one.advice


def test_what_a_person_has_switched_off_is_worth_knowing_and_the_trigger_is_an_error(instance, daemon):
    sound(daemon)
    daemon.add("replay_clock", "training_assets", AT - timedelta(days=1), status=InstigatorStatus.STOPPED)
    found = sensors_tick(instance, AT)
    assert "switched off" in found.told
    assert not found.has_error
    instance.schedule_storage.wipe()
    daemon.add("retrain_trigger", "training_assets", AT - timedelta(days=1), status=InstigatorStatus.STOPPED)
    assert sensors_tick(instance, AT).has_error


def test_the_trigger_that_is_looked_for_is_the_one_of_the_training_location():
    assert "retrain_trigger" in {sensor.name for sensor in training().sensors}


def test_the_last_due_moment_of_a_cron_line_is_found():
    assert last_due("0 6 * * *", AT) == AT.replace(hour=6, minute=0)
    assert last_due("30 9 * * 1", AT) == AT
    assert last_due("0 0 1 * *", AT) == datetime(2026, 5, 1, tzinfo=UTC)


# --- runs and the queue --------------------------------------------------------------------------------------------------


@dg.asset(check_specs=[dg.AssetCheckSpec("sound", asset="batch", blocking=True)], partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def batch(context: dg.AssetExecutionContext):
    mood = context.run.tags["mood"]
    if mood == "crash":
        raise RuntimeError("no space left")
    yield dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name="sound", passed=mood != "blocked")])


@dg.asset(deps=[batch], partitions_def=dg.StaticPartitionsDefinition(["a", "b"]))
def after():
    return None


@pytest.fixture
def run(instance):
    job = dg.Definitions(assets=[batch, after], jobs=[dg.define_asset_job("shop__monitor", selection="*")]).resolve_job_def("shop__monitor")

    def launch(mood, partition="a"):
        return job.execute_in_process(instance=instance, partition_key=partition, tags={"mood": mood}, raise_on_error=False).run_id

    return launch


def now():
    return datetime.now(UTC)


def test_a_failed_run_is_named_by_job_and_id_until_the_same_work_succeeds(instance, run):
    failed = run("crash")
    found = runs_succeed(instance, now())
    [one] = found.findings
    assert "shop__monitor" in one.what
    assert failed in one.distance
    assert found.numbers["failed_runs_left"] == 1
    run("fine", "b")  # another partition repairs nothing
    assert not runs_succeed(instance, now()).is_passed
    run("fine", "a")
    healed = runs_succeed(instance, now())
    assert healed.is_passed
    assert healed.numbers == {"failed_runs": 1, "failed_runs_left": 0, "runs_stopped_by_checks": 0}


def test_a_run_that_a_blocking_check_stopped_has_done_its_duty(instance, run):
    run("blocked")
    found = runs_succeed(instance, now())
    assert found.is_passed
    assert found.numbers["runs_stopped_by_checks"] == 1


def test_failures_older_than_a_day_are_forgotten(instance, run):
    run("crash")
    assert runs_succeed(instance, now() + timedelta(days=2)).is_passed


def test_runs_that_wait_while_others_start_are_a_queue_and_while_none_starts_a_standstill(instance, run):
    job = dg.Definitions(assets=[batch, after]).resolve_implicit_global_asset_job_def()
    instance.create_run_for_job(job)
    assert queue_moves(instance, now()).is_passed
    late = queue_moves(instance, now() + timedelta(hours=2))
    [one] = late.findings
    assert "1 runs wait" in one.distance
    assert late.numbers["waiting_runs"] == 1
    assert one.since is not None


# --- logs, chunks and the lake --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    models = synthetic.declare(folder, synthetic.make_log(days=40))
    return load_catalogue(models)[0].policy, models


END = synthetic.START + timedelta(days=40)


def test_a_log_is_fresh_as_long_as_declared_and_not_a_minute_longer(shop):
    policy, models = shop
    newest = freshness(policy, models, END).newest
    assert END - newest < timedelta(hours=1)
    assert freshness(policy, models, newest + timedelta(days=2)).is_fresh
    late = freshness(policy, models, newest + timedelta(days=2, minutes=1))
    assert not late.is_fresh
    assert late.bound == timedelta(days=2)


def test_rows_of_the_future_do_not_make_a_log_fresh(shop):
    policy, models = shop
    seen = freshness(policy, models, synthetic.START + timedelta(days=5))
    assert seen.newest < synthetic.START + timedelta(days=5)


def test_a_silent_log_and_one_that_cannot_be_read_are_named_apart(shop, lake, declare):
    policy, models = shop
    found = logs_fresh([policy, declare()], lake, models)
    silent, unreadable = found.findings
    assert silent.what == "shop: its log is silent"
    assert "declared 2d" in silent.distance
    assert END - silent.since < timedelta(hours=1)
    assert unreadable.what == "demo: its log cannot be read"
    assert "log.csv" in unreadable.distance
    assert found.numbers["worst_silence_over_bound"] > 1


def test_chunks_that_ended_and_were_never_ingested_are_missing_after_a_grace(shop, lake):
    policy, _ = shop
    ended = policy.reference.end + timedelta(days=2)
    assert overdue_chunks(policy, lake, ended) == [policy.cadence.key(policy.reference.end)]  # the newest may be at work
    assert len(overdue_chunks(policy, lake, ended + timedelta(hours=2))) == 2


def test_missing_chunks_are_named_from_the_first_on(shop, lake):
    policy, _ = shop
    found = chunks_complete([policy], lake)  # by the clock on the wall everything since 2024 is missing
    [one] = found.findings
    assert one.what.startswith(f"shop: chunks {policy.cadence.key(policy.reference.end)} to ")
    assert one.since == policy.reference.end + timedelta(days=1)
    assert found.numbers["missing_chunks"] > 500


def sized(*sizes):
    return {f"2024-01-{place + 1:02}": size for place, size in enumerate(sizes)}


def test_a_chunk_of_half_or_twice_its_usual_size_is_unusual_and_an_empty_one_always():
    usual = [100, 104, 98, 101, 99, 103, 97, 100, 102]
    assert unusual_sizes(sized(*usual, 101)) == {}
    for size in (0, 40, 260):
        assert list(unusual_sizes(sized(*usual, size))) == ["2024-01-10"]
    assert unusual_sizes(sized(100, 100, 0)) == {}  # too few to say what is usual


def test_a_weekly_rhythm_is_usual():
    weeks = [200, 210, 190, 205, 195, 90, 80] * 4
    assert unusual_sizes(sized(*weeks)) == {}


@given(st.lists(st.integers(80, 120), min_size=9, max_size=31))
def test_sizes_that_vary_by_a_fifth_never_alarm(sizes):
    assert unusual_sizes(sized(*sizes)) == {}


def test_a_table_that_does_not_open_is_named_and_hides_no_other(shop, declare, tmp_path):
    policy, _ = shop
    own = Lake(root=str(tmp_path / "lake"))
    assert lake_readable([policy, declare()], own).is_passed
    broken = tmp_path / "lake" / "demo" / tables.VERDICTS.name / "_delta_log"
    broken.mkdir(parents=True)
    (broken / "00000000000000000000.json").write_text("no commit")
    found = lake_readable([declare(), policy], own)
    assert [one.what for one in found.findings] == ["demo: its tables cannot be read"]
    assert found.numbers["free_disk_gb"] > 0


# --- how it is told -------------------------------------------------------------------------------------------------------


def test_every_check_has_a_promise():
    assert set(PROMISES) == set(HealthCheck)


def test_a_finding_is_told_in_one_line_and_the_table_survives_any_text():
    broken = Finding("a | b", AT, "2 h, at most 1 h", "Repair it.")
    health = Health(HealthCheck.LOGS_FRESH, [broken, broken], "2 logs")
    assert health.told == "a | b since 2026-05-04 09:30: 2 h, at most 1 h. Repair it. 1 more below."
    assert len({line.count("|") for line in findings_table(health.findings).splitlines()}) == 1
