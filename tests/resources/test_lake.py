"""The lake keeps its promises: whole partitions, one commit, nothing lost, nothing twice."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resources.lake import ContractError, Lake
from resources.settings import PROJECT
from resources.tables import MEASUREMENTS, REFERENCE_PROFILES, Table

ROWS = Table(
    "rows",
    {
        "chunk": "string",
        "part": "string",
        "name": "string",
        "value": "double",
        "count": "int64",
        "is_odd": "bool",
        "at": "timestamp",
        "state": "binary",
    },
    ("chunk", "part"),
    frozenset({"chunk", "part", "name"}),
)
MOMENT = pd.Timestamp("2024-01-01 12:34:56.123456", tz="UTC")


def rows(chunk: str, names: list[str], part: str = "a") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "chunk": chunk, "part": part, "name": names, "value": [float(index) for index in range(len(names))],
            "count": range(len(names)), "is_odd": [index % 2 == 1 for index in range(len(names))], "at": MOMENT, "state": b"\x00\xff",
        }
    )  # fmt: skip


def names_in(lake: Lake, where=None, version=None, model: str = "demo") -> list[str]:
    return sorted(lake.read(model, ROWS, where, version)["name"])


def test_what_is_written_is_read_back_with_its_types(lake: Lake):
    lake.replace("demo", ROWS, rows("c1", ["x", "y"]), {"chunk": "c1"})
    back = lake.read("demo", ROWS).sort_values("name")
    assert list(back.columns) == list(ROWS.columns)
    assert back["name"].tolist() == ["x", "y"]
    assert back["value"].tolist() == [0.0, 1.0]
    assert back["count"].tolist() == [0, 1]
    assert back["is_odd"].tolist() == [False, True]
    assert back["at"].tolist() == [MOMENT, MOMENT]
    assert [bytes(state) for state in back["state"]] == [b"\x00\xff"] * 2


@pytest.mark.parametrize("n_commits", [1, 3, 12])
def test_a_small_table_that_is_not_cut_reads_the_same_without_the_engine(lake: Lake, n_commits: int, monkeypatch: pytest.MonkeyPatch):
    """Below eight files the engine is not asked; the frame must be the one it gives, empty values and types included."""
    uncut = Table("uncut", dict(ROWS.columns), (), ROWS.required)
    for commit in range(n_commits):
        more = rows(f"c{commit}", ["x", "y"])
        more.loc[0, ["value", "state"]] = None
        lake.append("demo", uncut, more)
    direct = lake.read("demo", uncut)
    monkeypatch.setattr("resources.lake._FEW_FILES", -1)
    by_engine = lake.read("demo", uncut)
    assert len(direct) == 2 * n_commits
    assert dict(direct.dtypes) == dict(by_engine.dtypes)
    order = ["chunk", "name"]
    left, right = (frame.sort_values(order, ignore_index=True) for frame in (direct, by_engine))
    pd.testing.assert_frame_equal(left.drop(columns="state"), right.drop(columns="state"))
    contents = [[None if pd.isna(one) else bytes(one) for one in frame["state"]] for frame in (left, right)]
    assert contents[0] == contents[1]


def test_a_file_of_an_older_release_lacks_columns_and_is_read_all_the_same(lake: Lake):
    older = Table("uncut", {"chunk": "string", "name": "string"}, (), frozenset({"chunk", "name"}))
    lake.append("demo", older, pd.DataFrame({"chunk": ["c1"], "name": ["x"]}))
    back = lake.read("demo", Table("uncut", dict(ROWS.columns), (), frozenset({"chunk"})))
    assert back["name"].tolist() == ["x"]
    assert back["value"].isna().all()


def test_a_table_never_written_reads_as_no_rows_with_the_contracts_columns(lake: Lake):
    empty = lake.read("demo", MEASUREMENTS)
    assert list(empty.columns) == list(MEASUREMENTS.columns)
    assert len(empty) == 0
    assert lake.partitions("demo", MEASUREMENTS, "chunk") == []
    assert lake.data_version("demo", MEASUREMENTS) == "measurements@none[]"


def test_replacing_twice_gives_the_same_rows_once(lake: Lake):
    for _ in range(2):
        lake.replace("demo", ROWS, rows("c1", ["x", "y"]), {"chunk": "c1"})
    assert names_in(lake) == ["x", "y"]


def test_replacing_touches_only_its_own_predicate(lake: Lake):
    lake.replace("demo", ROWS, rows("c1", ["x"]), {"chunk": "c1"})
    lake.replace("demo", ROWS, rows("c2", ["y"]), {"chunk": "c2"})
    lake.replace("demo", ROWS, rows("c2", ["z"], part="b"), {"chunk": "c2", "part": "b"})
    lake.replace("demo", ROWS, rows("c1", ["new"]), {"chunk": "c1"})
    assert names_in(lake) == ["new", "y", "z"]
    assert names_in(lake, {"chunk": "c2", "part": "b"}) == ["z"]


def test_several_partitions_are_replaced_in_one_commit(lake: Lake):
    lake.replace("demo", ROWS, rows("c1", ["x"]), {"chunk": "c1"})
    both = pd.concat([rows("c1", ["p"]), rows("c2", ["q"])])
    assert lake.replace("demo", ROWS, both, {"chunk": ["c1", "c2"]}) == "rows@2[chunk IN ('c1', 'c2')]"
    assert names_in(lake) == ["p", "q"]


def test_replacing_with_no_rows_clears_the_partition(lake: Lake):
    lake.replace("demo", ROWS, rows("c1", ["x"]), {"chunk": "c1"})
    lake.replace("demo", ROWS, rows("c2", ["y"]), {"chunk": "c2"})
    lake.replace("demo", ROWS, rows("c1", []), {"chunk": "c1"})
    assert names_in(lake) == ["y"]
    assert lake.partitions("demo", ROWS, "chunk") == ["c2"]


def test_replacing_no_partition_changes_nothing(lake: Lake):
    lake.replace("demo", ROWS, rows("c1", ["x"]), {"chunk": "c1"})
    lake.replace("demo", ROWS, rows("c1", []), {"chunk": []})
    assert names_in(lake) == ["x"]


def test_asking_for_no_partition_gives_no_rows(lake: Lake):
    lake.replace("demo", ROWS, rows("c1", ["x"]), {"chunk": "c1"})
    assert names_in(lake, {"chunk": []}) == []


def test_models_do_not_see_each_others_rows(lake: Lake):
    lake.replace("demo", ROWS, rows("c1", ["x"]), {"chunk": "c1"})
    lake.replace("other", ROWS, rows("c1", ["y"]), {"chunk": "c1"})
    assert names_in(lake) == ["x"]
    assert names_in(lake, model="other") == ["y"]


def refusal(lake: Lake, frame: pd.DataFrame, where=None) -> str:
    lake.replace("demo", ROWS, rows("c1", ["before"]), {"chunk": "c1"})
    with pytest.raises(ContractError) as caught:
        lake.replace("demo", ROWS, frame, where or {"chunk": "c1"})
    assert names_in(lake) == ["before"]
    return str(caught.value)


def test_rows_outside_the_predicate_are_refused(lake: Lake):
    message = refusal(lake, pd.concat([rows("c1", ["x"]), rows("c2", ["y"])]))
    assert message == "table rows: got chunk ['c2']; expected only ['c1']"


def test_an_unknown_column_is_refused(lake: Lake):
    message = refusal(lake, rows("c1", ["x"]).assign(surprise=1))
    assert message.startswith("table rows: got columns ['surprise'] too many and none too few; expected ['chunk', 'part', 'name'")


def test_a_missing_column_is_refused(lake: Lake):
    message = refusal(lake, rows("c1", ["x"]).drop(columns="value"))
    assert message.startswith("table rows: got columns none too many and ['value'] too few; expected ['chunk'")


def test_nulls_in_required_columns_are_refused(lake: Lake):
    assert refusal(lake, rows("c1", ["x", None])) == "table rows: got nulls in ['name']; expected a value in every row"


def test_a_null_partition_value_is_refused(lake: Lake):
    assert "expected" in refusal(lake, rows("c1", ["x", "y"]).assign(chunk=["c1", None]))


def test_nulls_elsewhere_are_kept(lake: Lake):
    lake.replace("demo", ROWS, rows("c1", ["x", "y"]).assign(value=[1.0, np.nan], at=[pd.NaT, MOMENT]), {"chunk": "c1"})
    back = lake.read("demo", ROWS).sort_values("name")
    assert back["value"].isna().tolist() == [False, True]
    assert back["at"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("value", "seven"),
        ("count", 1.5),
        ("is_odd", "yes"),
        ("name", 7),
        ("at", "noon"),
        ("value", MOMENT),
        ("value", [[1.0]]),
        ("count", 2**70),
    ],
)
def test_a_wrong_type_is_refused(lake: Lake, column: str, value: object):
    frame = rows("c1", ["x"])
    frame[column] = pd.Series([value])
    message = refusal(lake, frame)
    assert message.startswith("table rows: ")
    assert "expected types {'chunk': 'string'" in message


HOSTILE = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


@settings(max_examples=12)
@given(HOSTILE)
@example("it's")
@example("'; DROP TABLE rows; --")
@example('c"1')
@example("a/b")
@example("../up")
@example("50%")
@example("a b=c")
@example("%20")
@example("é 東")
def test_any_text_is_a_partition_value(tmp_path_factory, chunk: str):
    lake = Lake(root=str(tmp_path_factory.mktemp("lake")))
    lake.replace("demo", ROWS, rows("c1", ["kept"]), {"chunk": "c1"})
    for _ in range(2):
        lake.replace("demo", ROWS, rows(chunk, ["x"]), {"chunk": chunk})
    assert names_in(lake) == ["kept", "x"]
    assert lake.read("demo", ROWS, {"chunk": chunk})["chunk"].tolist() == [chunk]
    assert lake.partitions("demo", ROWS, "chunk") == sorted(["c1", chunk])


def test_a_model_name_with_quotes_is_only_a_folder(lake: Lake):
    for model in ("o'brien", 'say "x"', "two words"):
        lake.replace(model, ROWS, rows("c1", [model]), {"chunk": "c1"})
        assert names_in(lake, model=model) == [model]


@pytest.mark.parametrize("folder", ["My Projects", "50% é #1", "o'brien"])
def test_the_lake_may_lie_in_a_folder_of_any_name(tmp_path, folder: str):
    lake = Lake(root=str(tmp_path / folder))
    for chunk in ("c1", "c 2%"):
        lake.replace("demo", ROWS, rows(chunk, [chunk]), {"chunk": chunk})
    assert names_in(lake) == ["c 2%", "c1"]
    assert names_in(lake, {"chunk": "c 2%"}) == ["c 2%"]


def test_an_older_version_can_be_read_again(lake: Lake):
    first = lake.replace("demo", ROWS, rows("c1", ["old"]), {"chunk": "c1"})
    lake.replace("demo", ROWS, rows("c1", ["new"]), {"chunk": "c1"})
    version = int(first.split("@")[1].split("[")[0])
    assert names_in(lake, version=version) == ["old"]
    assert names_in(lake) == ["new"]


def test_compaction_keeps_rows_and_older_versions(lake: Lake):
    for index in range(4):
        lake.append("demo", ROWS, rows("c1", [f"n{index}"]))
    version = int(lake.data_version("demo", ROWS).split("@")[1].split("[")[0])
    lake.compact("demo", ROWS)
    assert names_in(lake) == ["n0", "n1", "n2", "n3"]
    assert names_in(lake, version=version) == ["n0", "n1", "n2", "n3"]
    assert int(lake.data_version("demo", ROWS).split("@")[1].split("[")[0]) == version + 1


def test_the_data_version_names_table_version_and_predicate(lake: Lake):
    written = lake.replace("demo", ROWS, rows("c1", ["x"]), {"chunk": "c1", "part": "a"})
    assert written == "rows@1[chunk = 'c1' AND part = 'a']"
    assert lake.data_version("demo", ROWS, {"chunk": "c1", "part": "a"}) == written
    assert lake.data_version("demo", ROWS, {"chunk": ["c1", "c2"]}) == "rows@1[chunk IN ('c1', 'c2')]"
    assert lake.data_version("demo", ROWS) == "rows@1[]"


def test_partitions_lists_the_sorted_values_that_hold_rows(lake: Lake):
    for chunk, part in (("c2", "a"), ("c1", "b"), ("c3", "b")):
        lake.replace("demo", ROWS, rows(chunk, ["x"], part), {"chunk": chunk, "part": part})
    assert lake.partitions("demo", ROWS, "chunk") == ["c1", "c2", "c3"]
    assert lake.partitions("demo", ROWS, "part") == ["a", "b"]
    assert lake.partitions("demo", ROWS, "chunk", {"part": "b"}) == ["c1", "c3"]


def test_several_tables_can_be_joined_without_reading_them_first(lake: Lake):
    lake.replace("demo", ROWS, rows("c1", ["x", "y"]), {"chunk": "c1"})
    profile = {"reference_version": "1", "component": "x", "limits": "{}", "state": None, "n_rows": 1, "n_chunks": 1}
    lake.replace("demo", REFERENCE_PROFILES, pd.DataFrame([profile]), {"reference_version": "1"})
    with lake.connect() as connection:
        lake.attach(connection, "demo", ROWS)
        lake.attach(connection, "demo", REFERENCE_PROFILES)
        joined = connection.sql("SELECT name FROM rows JOIN reference_profiles ON component = name").fetchall()
    assert joined == [("x",)]


def test_a_connection_speaks_utc(lake: Lake):
    with lake.connect() as connection:
        assert connection.sql("SELECT strftime(TIMESTAMPTZ '2024-07-01 12:00:00+02', '%H')").fetchall() == [("10",)]


def test_appending_keeps_what_is_there(lake: Lake):
    assert lake.append("demo", ROWS, rows("c1", ["x"])) == "rows@1"
    assert lake.append("demo", ROWS, rows("c1", ["x", "y"])) == "rows@2"
    assert names_in(lake) == ["x", "x", "y"]


def test_appending_checks_the_contract_too(lake: Lake):
    with pytest.raises(ContractError, match="got nulls in \\['name'\\]"):
        lake.append("demo", ROWS, rows("c1", [None]))


def test_concurrent_appends_lose_nothing(lake: Lake):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda index: lake.append("demo", ROWS, rows("c1", [f"n{index:02}"])), range(16)))
    assert names_in(lake) == [f"n{index:02}" for index in range(16)]


def test_threads_that_replace_disjoint_partitions_lose_nothing(lake: Lake):
    def write(worker: int) -> None:
        for step in range(4):
            chunk = f"c{worker}-{step}"
            lake.replace("demo", ROWS, rows(chunk, [chunk]), {"chunk": chunk})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert names_in(lake) == [f"c{worker}-{step}" for worker in range(4) for step in range(4)]


def test_threads_that_replace_the_same_partition_are_retried_and_leave_one_of_them_whole(lake: Lake):
    def write(worker: int) -> None:
        for _ in range(3):
            lake.replace("demo", ROWS, rows("c1", [f"w{worker}-{index}" for index in range(20)]), {"chunk": "c1"})

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    names = names_in(lake)
    assert len(names) == 20
    assert len({name.split("-")[0] for name in names}) == 1


WRITER = textwrap.dedent(
    """
    import sys
    import pandas as pd
    from resources.lake import Lake
    from resources.tables import OUTCOMES

    root, worker, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
    lake = Lake(root=root)
    moment = pd.Timestamp("2024-01-01", tz="UTC")
    for step in range(steps):
        day = f"{worker}-{step % 5}"
        ids = [f"{day}-{index}" for index in range(200)]
        frame = pd.DataFrame({"observed_date": day, "prediction_id": ids, "observed_at": moment, "recorded_at": moment, "y_true": float(step)})
        lake.replace("demo", OUTCOMES, frame, {"observed_date": day})
        print(step, flush=True)
    """
)


def start_writer(lake: Lake, worker: str, steps: int) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, lake.root, worker, str(steps)], stdout=subprocess.PIPE, text=True, env=environment
    )


def outcomes(lake: Lake) -> pd.DataFrame:
    from resources.tables import OUTCOMES

    return lake.read("demo", OUTCOMES)


def test_processes_that_replace_disjoint_partitions_lose_nothing(lake: Lake):
    writers = [start_writer(lake, worker, 5) for worker in ("a", "b")]
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    found = outcomes(lake)
    assert found.groupby("observed_date").size().to_dict() == {f"{worker}-{step}": 200 for worker in "ab" for step in range(5)}
    assert found["prediction_id"].is_unique


@pytest.mark.parametrize("delay_ms", [0, 7, 23])
def test_a_write_killed_midway_leaves_a_readable_table_without_duplicates(lake: Lake, delay_ms: int):
    writer = start_writer(lake, "a", 100_000)
    assert writer.stdout is not None
    for _ in range(7):
        writer.stdout.readline()
    time.sleep(delay_ms / 1000)
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    found = outcomes(lake)
    assert found["prediction_id"].is_unique
    assert found.groupby("observed_date").size().to_dict() == {f"a-{step}": 200 for step in range(5)}
    assert (found.groupby("observed_date")["y_true"].nunique() == 1).all()
    writer = start_writer(lake, "a", 5)
    writer.communicate(timeout=60)
    assert sorted(outcomes(lake)["y_true"].unique()) == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_times_of_other_zones_are_stored_as_utc(lake: Lake):
    there = pd.Timestamp("2024-01-01 01:00", tz="Europe/Berlin")
    lake.replace("demo", ROWS, rows("c1", ["x"]).assign(at=there), {"chunk": "c1"})
    assert lake.read("demo", ROWS)["at"].iloc[0] == pd.Timestamp(datetime(2024, 1, 1, tzinfo=UTC))


def test_a_table_of_an_older_release_gets_its_new_columns_and_keeps_its_rows(lake):
    older = Table("growing", {"chunk": "string", "value": "double"}, ("chunk",), frozenset({"chunk"}))
    newer = Table(
        "growing", {"chunk": "string", "value": "double", "reason": "string", "n": "int64"}, ("chunk",), frozenset({"chunk", "n"})
    )
    lake.replace("m", older, pd.DataFrame({"chunk": ["a"], "value": [1.0]}), {"chunk": "a"})
    before = lake.read("m", newer)
    assert before["value"].tolist() == [1.0]
    assert before[["reason", "n"]].isna().all(axis=None)
    lake.replace("m", newer, pd.DataFrame({"chunk": ["b"], "value": [2.0], "reason": ["new"], "n": [3]}), {"chunk": "b"})
    rows = lake.read("m", newer).sort_values("chunk", ignore_index=True)
    assert rows["value"].tolist() == [1.0, 2.0]
    assert rows["reason"].isna().tolist() == [True, False]


def test_a_column_that_changed_its_type_is_refused_with_got_and_expected(lake):
    older = Table("changing", {"chunk": "string", "value": "double"}, ("chunk",))
    newer = Table("changing", {"chunk": "string", "value": "string"}, ("chunk",))
    lake.replace("m", older, pd.DataFrame({"chunk": ["a"], "value": [1.0]}), {"chunk": "a"})
    fresh = Lake(root=lake.root + "/")  # nothing of it is kept open
    with pytest.raises(ContractError, match="got column value of type"):
        fresh.replace("m", newer, pd.DataFrame({"chunk": ["b"], "value": ["x"]}), {"chunk": "b"})


@settings(max_examples=15)
@given(chunks=st.lists(st.text("ab'] =,(IN)", min_size=1, max_size=6), min_size=1, max_size=3, unique=True))
@example(chunks=["it's", "b', 'c"])
def test_a_data_version_restores_the_same_bytes_after_the_rows_were_overwritten_and_the_files_merged(tmp_path_factory, chunks):
    lake = Lake(root=str(tmp_path_factory.mktemp("lake")))
    frame = pd.concat([rows(chunk, ["x", "y"]) for chunk in chunks], ignore_index=True)
    version = lake.replace("demo", ROWS, frame, {"chunk": chunks})
    assert version == lake.data_version("demo", ROWS, {"chunk": chunks})
    first = lake.restore("demo", ROWS, version).to_parquet(index=False)
    lake.replace("demo", ROWS, frame.assign(value=-1.0), {"chunk": chunks})
    lake.append("demo", ROWS, rows("later", ["z"]))
    lake.compact("demo", ROWS)
    restored = lake.restore("demo", ROWS, version)
    assert restored.to_parquet(index=False) == first
    assert sorted(restored["chunk"].unique()) == sorted(chunks)
    assert sorted(restored["value"].unique()) == [0.0, 1.0]
    assert len(lake.restore("demo", ROWS, lake.data_version("demo", ROWS))) == len(frame) + 1


def test_a_data_version_of_another_table_or_of_nothing_is_refused(lake: Lake):
    for wrong in ("measurements@1[chunk = 'c1']", "rows@none[chunk = 'c1']", "rows"):
        with pytest.raises(ValueError, match="expected one of table rows, such as rows@3"):
            lake.restore("demo", ROWS, wrong)
