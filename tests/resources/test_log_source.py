"""Production rows from CSV, Parquet and DuckDB: the same rows, the same reasons, whatever they are called."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resources.log_source import LogRows, read_log
from resources.policy import RESERVED
from resources.source import LogSourceError, quote

START, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 4, tzinfo=UTC)


def plain_log(**columns: Any) -> pd.DataFrame:
    """Four rows, twelve hours apart."""
    times = pd.date_range("2024-01-01", periods=4, freq="12h")
    return pd.DataFrame(
        {"at": times, "row_id": ["a", "b", "c", "d"], "x1": [1.0, 2.0, 3.0, 4.0], "x2": [0.5, 0.25, 0.75, 1.0], "y": [1.0, 0.0, 1.0, 0.0]}
        | columns
    )


def as_csv(frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
    frame.to_csv(folder / "log.csv", index=False)
    return {"csv": "log.csv"}


def as_parquet(frame: pd.DataFrame, folder: Path) -> dict[str, Any]:
    frame.to_parquet(folder / "log.parquet", index=False)
    return {"csv": None, "parquet": "log.parquet"}


def as_duckdb(frame: pd.DataFrame, folder: Path, table: str = "rows") -> dict[str, Any]:
    with duckdb.connect(str(folder / "log.duckdb")) as connection:
        connection.register("frame", frame)
        connection.execute(f"CREATE TABLE {quote(table)} AS SELECT * FROM frame")
    return {"csv": None, "duckdb": "log.duckdb", "table": table}


WRITERS = [as_csv, as_parquet, as_duckdb]
every_format = pytest.mark.parametrize("write", WRITERS, ids=lambda writer: writer.__name__)


@pytest.fixture
def read(declare, tmp_path: Path):
    def of(frame: pd.DataFrame, write=as_csv, *, undated: bool = False, log: dict[str, Any] | None = None, **overrides: Any) -> LogRows:
        policy = declare(log={**write(frame, tmp_path), **(log or {})}, **overrides)
        return read_log(policy, tmp_path, START, END, undated=undated)

    return of


def ids(frame: pd.DataFrame) -> list[str]:
    return sorted(frame["prediction_id"])


@every_format
def test_every_format_gives_the_same_rows(read, write):
    frame = plain_log(x2=["low", "high", "low", None], x1=[1.0, np.nan, 3.0, 4.5])
    rows = read(frame, write, features={"numeric": ["x1"], "categorical": ["x2"]})
    assert list(rows.accepted.columns) == ["prediction_id", "time", "written_at", "x1", "y_true", "x2", "observed_at"]
    assert rows.accepted["prediction_id"].tolist() == ["a", "b", "c", "d"]
    assert rows.accepted["time"].tolist() == list(pd.date_range("2024-01-01", periods=4, freq="12h", tz="UTC"))
    assert rows.accepted["x1"].fillna(-1).tolist() == [1.0, -1.0, 3.0, 4.5]
    assert rows.accepted["y_true"].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert rows.accepted["x2"].fillna("none").tolist() == ["low", "high", "low", "none"]
    assert len(rows.rejected) == 0
    assert (rows.n_read, rows.n_duplicates, rows.n_late) == (4, 0, 0)


@every_format
def test_only_rows_of_the_window_are_read(read, write):
    frame = plain_log(at=pd.to_datetime(["2023-12-31 23:59:59", "2024-01-01 00:00:00", "2024-01-03 23:59:59", "2024-01-04 00:00:00"]))
    assert ids(read(frame, write).accepted) == ["b", "c"]


@every_format
def test_an_empty_window_gives_no_rows(read, write):
    rows = read(plain_log(at=pd.date_range("2020-01-01", periods=4)), write)
    assert (len(rows.accepted), len(rows.rejected), rows.n_read) == (0, 0, 0)


def test_a_database_that_may_only_be_read_is_enough(declare, tmp_path: Path):
    log = as_duckdb(plain_log(), tmp_path)
    file = tmp_path / "log.duckdb"
    file.chmod(0o444)
    before = file.read_bytes()
    with duckdb.connect(str(file), read_only=True):
        rows = read_log(declare(log=log), tmp_path, START, END)
    assert rows.n_read == 4
    assert file.read_bytes() == before


@every_format
def test_a_later_write_of_the_same_prediction_id_wins(read, write):
    frame = plain_log(
        row_id=["a", "b", "a", "a"],
        at=pd.Timestamp("2024-01-01"),
        written=pd.to_datetime(["2024-01-01", "2024-01-01", "2024-01-03", "2024-01-02"]),
    )
    rows = read(frame, write, log={"written_at": "written"})
    assert dict(zip(rows.accepted["prediction_id"], rows.accepted["x1"], strict=True)) == {"a": 3.0, "b": 2.0}
    assert rows.n_duplicates == 2


@every_format
def test_without_a_time_of_writing_the_last_row_of_the_file_wins(read, write):
    rows = read(plain_log(row_id=["a", "b", "a", "c"]), write)
    assert dict(zip(rows.accepted["prediction_id"], rows.accepted["x1"], strict=True)) == {"a": 3.0, "b": 2.0, "c": 4.0}


@every_format
def test_a_superseded_row_is_kept_with_its_reason(read, write):
    rows = read(plain_log(row_id=["a", "a", "b", "c"]), write)
    (rejected,) = rows.rejected.to_dict("records")
    assert rejected["prediction_id"] == "a"
    assert rejected["reason"] == "superseded by a later write of the same prediction id"
    assert float(json.loads(rejected["row"])["x1"]) == 1.0
    assert rejected["time"] == pd.Timestamp("2024-01-01", tz="UTC")


def test_a_broken_later_write_does_not_supersede_a_good_row(read):
    rows = read(plain_log(row_id=["a", "b", "a", "c"], x1=["1", "2", "broken", "4"]))
    assert ids(rows.accepted) == ["a", "b", "c"]
    assert rows.n_duplicates == 0


def test_rows_written_after_their_chunk_ended_are_counted_as_late(read):
    frame = plain_log(
        at=pd.Timestamp("2024-01-01 12:00"), written=pd.to_datetime(["2024-01-01 13:00", "2024-01-02 00:00", "2024-01-02 00:01", None])
    )
    assert read(frame, log={"written_at": "written"}).n_late == 1
    assert read(frame).n_late == 0


REJECTIONS = [
    pytest.param({"x1": ["1", "two", "3", "4"]}, {}, "x1: got two; expected a finite number", id="text for a number"),
    pytest.param({"x1": ["1", "inf", "3", "4"]}, {}, "x1: got inf; expected a finite number", id="infinity"),
    pytest.param({"x2": ["1", "-inf", "3", "4"]}, {}, "x2: got -inf; expected a finite number", id="minus infinity"),
    pytest.param({"y": ["1", "rain", "0", "1"]}, {}, "y: got rain; expected a finite number", id="text for the outcome"),
    pytest.param({"row_id": ["a", None, "c", "d"]}, {}, "no prediction id in column row_id", id="no prediction id"),
    pytest.param({"p": ["1", "", "3", "4"]}, {"prediction": "p"}, "p: got nothing; expected a prediction in every row", id="no prediction"),
    pytest.param(
        {"p": ["1", "nan", "3", "4"]}, {"prediction": "p"}, "p: got nan; expected a prediction in every row", id="nan for a prediction"
    ),
    pytest.param(
        {"p": ["1", "NaN", "3", "4"]}, {"prediction": "p"}, "p: got NaN; expected a prediction in every row", id="NaN for a prediction"
    ),
    pytest.param(
        {"p": 1, "q": ["0.1", "1.5", "0", "1"]},
        {"prediction": "p", "probability": "q"},
        "q: got 1.5; expected a probability in [0, 1]",
        id="a probability above one",
    ),
    pytest.param(
        {"p": 1, "q": ["0.1", "-0.5", "0", "1"]},
        {"prediction": "p", "probability": "q"},
        "q: got -0.5; expected a probability in [0, 1]",
        id="a probability below zero",
    ),
]


@pytest.mark.parametrize(("columns", "log", "reason"), REJECTIONS)
@every_format
def test_a_broken_row_is_kept_with_what_was_got_and_expected(read, write, columns, log, reason: str):
    rows = read(plain_log(**columns), write, log=log)
    (rejected,) = rows.rejected.to_dict("records")
    assert rejected["reason"] == reason
    assert len(rows.accepted) == 3
    assert rows.n_read == 4
    assert str(json.loads(rejected["row"])["x2"]) in ("0.25", "-inf")


@pytest.mark.parametrize(("columns", "log", "reason"), REJECTIONS)
def test_null_twin_the_same_log_without_the_fault_is_accepted_whole(read, columns, log, reason: str):
    repaired = {
        name: [values[0]] * 4 if isinstance(values, list) and name != "row_id" else ["a", "b", "c", "d"] if name == "row_id" else values
        for name, values in columns.items()
    }
    rows = read(plain_log(**repaired), log=log)
    assert (len(rows.accepted), len(rows.rejected)) == (4, 0)


@pytest.mark.parametrize("missing", ["", "nan", "NaN", None])
def test_missing_values_are_missing_and_not_rejected(read, missing):
    rows = read(plain_log(x1=["1", missing, "3", "4"], y=["1", missing, "0", "1"]))
    assert len(rows.rejected) == 0
    assert rows.accepted["x1"].isna().tolist() == [False, True, False, False]
    assert rows.accepted["y_true"].isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize("write", [as_parquet, as_duckdb], ids=lambda writer: writer.__name__)
def test_nan_and_null_of_typed_columns_are_missing_and_not_rejected(read, write):
    rows = read(plain_log(x1=[1.0, np.nan, 3.0, 4.0], x2=pd.array([1, None, 3, 4], dtype="Int64")), write)
    assert len(rows.rejected) == 0
    assert rows.accepted["x1"].isna().tolist() == [False, True, False, False]
    assert rows.accepted["x2"].isna().tolist() == [False, True, False, False]


@pytest.mark.parametrize("write", [as_parquet, as_duckdb], ids=lambda writer: writer.__name__)
def test_an_outcome_of_true_and_false_is_one_and_zero(read, write):
    rows = read(plain_log(y=[True, False, True, False]), write)
    assert rows.accepted["y_true"].tolist() == [1.0, 0.0, 1.0, 0.0]


@pytest.mark.parametrize("when", ["yesterday", "", "2024-02-30"])
def test_a_row_without_a_readable_time_is_rejected_once_asked_for(read, when: str):
    frame = plain_log(at=["2024-01-01", when, "2024-01-02", "2024-01-03"])
    assert read(frame).n_read == 3
    rows = read(frame, undated=True)
    (rejected,) = rows.rejected.to_dict("records")
    assert rejected["reason"] == f"at: got {when or 'nothing'}; expected a timestamp"
    assert pd.isna(rejected["time"])
    assert rows.n_read == 4


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c", ""]),
            st.sampled_from(["1", "", "nan", "x", "inf"]),
            st.sampled_from(["2024-01-01", "2024-01-02 13:00", "never", "2030-01-01"]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_no_row_is_lost_between_accepted_and_rejected(declare, tmp_path: Path, cells):
    frame = pd.DataFrame(cells, columns=["row_id", "x1", "at"]).assign(x2=1, y=0)
    rows = read_log(declare(log=as_csv(frame, tmp_path)), tmp_path, START, END, undated=True)
    assert rows.n_read == len(rows.accepted) + len(rows.rejected) == (frame["at"] != "2030-01-01").sum()
    assert not rows.accepted.assign(day=rows.accepted["time"].dt.date).duplicated(["prediction_id", "day"]).any()
    assert rows.rejected["reason"].notna().all()


@pytest.mark.parametrize(
    ("log", "wanted"),
    [
        ({"csv": "gone.csv"}, "csv file gone.csv"),
        ({"csv": None, "parquet": "gone.parquet"}, "parquet file gone.parquet"),
        ({"csv": None, "duckdb": "gone.duckdb", "table": "rows"}, "duckdb file gone.duckdb with table rows"),
    ],
)
def test_a_missing_file_is_named(declare, tmp_path: Path, log, wanted: str):
    with pytest.raises(LogSourceError, match=rf"log: cannot read {wanted}; expected a readable file at this place: "):
        read_log(declare(log=log), tmp_path, START, END)


def test_a_missing_table_is_named(declare, tmp_path: Path):
    log = as_duckdb(plain_log(), tmp_path)
    with pytest.raises(LogSourceError, match=r"cannot read duckdb file log.duckdb with table lines; expected"):
        read_log(declare(log={**log, "table": "lines"}), tmp_path, START, END)


def test_a_file_of_another_kind_is_named(declare, tmp_path: Path):
    as_csv(plain_log(), tmp_path)
    with pytest.raises(LogSourceError, match=r"cannot read parquet file log.csv; expected"):
        read_log(declare(log={"csv": None, "parquet": "log.csv"}), tmp_path, START, END)


@every_format
def test_a_missing_column_is_named_with_the_closest_one(read, write):
    with pytest.raises(LogSourceError) as caught:
        read(plain_log(), write, features={"numeric": ["x1", "x22"]})
    assert str(caught.value) == "log: got columns ['at', 'row_id', 'x1', 'x2', 'y']; expected also 'x22'; did you mean 'x2'?"


@pytest.mark.parametrize("name", ["written_at", "prediction", "model_version"])
def test_a_declared_column_the_log_lacks_is_an_error(read, name: str):
    with pytest.raises(LogSourceError, match=r"expected also 'absent'$"):
        read(plain_log(), log={name: "absent"})


@every_format
def test_times_without_a_zone_are_an_error_until_the_zone_is_declared(read, write):
    with pytest.raises(LogSourceError) as caught:
        read(plain_log(), write, log={"timezone": None})
    assert "log.time: got" in str(caught.value)
    assert "without a time zone; expected log.timezone to say which it is (timezone: UTC)" in str(caught.value)


@every_format
def test_times_that_carry_a_zone_need_no_declared_one(read, write):
    frame = plain_log(at=pd.date_range("2024-01-01", periods=4, freq="12h", tz="UTC"))
    assert read(frame, write, log={"timezone": None}).accepted["time"].tolist() == list(frame["at"])


@every_format
def test_times_of_a_declared_zone_are_converted_to_utc(read, write):
    frame = plain_log(at=pd.to_datetime(["2024-01-01 00:30", "2024-01-01 01:30", "2024-01-02 12:00", "2024-01-04 00:30"]))
    rows = read(frame, write, log={"timezone": "Europe/Berlin"})
    assert rows.accepted["time"].tolist() == [
        pd.Timestamp(text, tz="UTC") for text in ("2024-01-01 00:30", "2024-01-02 11:00", "2024-01-03 23:30")
    ]


@every_format
def test_a_declared_zone_does_not_move_times_that_carry_their_own(read, write):
    frame = plain_log(at=pd.date_range("2024-01-01", periods=4, freq="12h", tz="UTC"))
    assert read(frame, write, log={"timezone": "America/New_York"}).accepted["time"].tolist() == list(frame["at"])


def test_an_unknown_zone_is_refused_in_the_declaration(read):
    with pytest.raises(ValueError, match="got 'Middle/Earth'; expected an IANA time zone"):
        read(plain_log(), log={"timezone": "Middle/Earth"})


NAMES = (
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\"), min_size=1, max_size=10)
    .map(str.strip)
    .filter(lambda name: name and name.lower() not in RESERVED)
)


@settings(max_examples=15)
@given(NAMES)
@example('x"; DROP TABLE source; --')
@example("it's")
@example("' || (SELECT 1) || '")
@example("{x}")
@example("select")
@example("position")
@example("row_of")
@example("s")
@example("source")
@example("source_rows")
@example("?")
@example("$1")
def test_any_column_name_is_read_as_a_name(declare, tmp_path: Path, name: str):
    frame = pd.DataFrame({"at": "2024-01-01", "row_id": ["a", "b", "b"], name: ["1", "oops", "2"], "y": 0})
    if len({column.lower() for column in frame}) < 4:
        return
    for write in (as_csv, as_parquet):
        policy = declare(log=write(frame, tmp_path), features={"numeric": [name]})
        rows = read_log(policy, tmp_path, START, END)
        assert rows.accepted[name].tolist() == [1.0, 2.0]
        assert rows.rejected["reason"].tolist() == [f"{name}: got oops; expected a finite number"]
        assert set(json.loads(rows.rejected["row"].iloc[0])) == {"at", "row_id", name, "y"}


@pytest.mark.parametrize("role", ["time", "id", "outcome", "written_at", "prediction", "probability", "model_version", "categorical"])
def test_a_hostile_name_works_in_every_role(declare, tmp_path: Path, role: str):
    name = 'it\'s; "x" DROP -- é'
    frame = plain_log(written="2024-01-01", p=1, q=0.5, version="v1", colour="red")
    own = {
        "time": "at",
        "id": "row_id",
        "outcome": "y",
        "written_at": "written",
        "prediction": "p",
        "probability": "q",
        "model_version": "version",
        "categorical": "colour",
    }
    frame = frame.rename(columns={own[role]: name})
    own[role] = name
    outcome, categorical = own.pop("outcome"), own.pop("categorical")
    policy = declare(
        log={**as_csv(frame, tmp_path), **own},
        outcome={"column": outcome},
        features={"numeric": ["x1", "x2"], "categorical": [categorical]},
    )
    rows = read_log(policy, tmp_path, START, END)
    assert (len(rows.accepted), len(rows.rejected)) == (4, 0)


@pytest.mark.parametrize("table", ['odd "table"', "a.b", "it's", "select"])
def test_any_table_name_is_read_as_a_name(declare, tmp_path: Path, table: str):
    policy = declare(log=as_duckdb(plain_log(), tmp_path, table))
    assert read_log(policy, tmp_path, START, END).n_read == 4


def test_a_folder_with_a_quote_in_its_name_is_read(declare, tmp_path: Path):
    folder = tmp_path / "o'brien"
    folder.mkdir()
    for write in WRITERS:
        assert read_log(declare(log=write(plain_log(), folder)), folder, START, END).n_read == 4


def test_predictions_served_elsewhere_come_with_the_row(read):
    frame = plain_log(p=[1, 0, 1, 0], q=[0.9, 0.2, 0.6, 0.1], version=["v1", "v1", None, "v2"])
    rows = read(frame, log={"prediction": "p", "probability": "q", "model_version": "version"}, task="binary_classification")
    assert rows.accepted["y_pred"].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert rows.accepted["y_pred_proba"].tolist() == [0.9, 0.2, 0.6, 0.1]
    assert rows.accepted["model_version"].fillna("none").tolist() == ["v1", "v1", "none", "v2"]


TIDES = ["ebb", "flood", "it's slack"]
SEVERAL = {
    "task": "multiclass_classification", "outcome": {"column": "y", "classes": TIDES},
    "log": {"prediction": "p", "probabilities": {"flood": "q2", "ebb": "q1", "it's slack": "q 3"}},
}  # fmt: skip


def tides(**columns: Any) -> pd.DataFrame:
    """Four rows with an outcome, a predicted class and a probability of each class."""
    served = {
        "p": ["ebb", "flood", "it's slack", "ebb"],
        "q1": [0.5, 0.25, 0.125, 1.0],
        "q2": [0.25, 0.75, 0.125, 0.0],
        "q 3": [0.25, 0.0, 0.75, 0.0],
    }
    return plain_log(**{"y": ["ebb", "it's slack", None, "flood"], **served, **columns})


@every_format
def test_classes_are_read_as_their_places_and_probabilities_in_the_order_of_the_classes(read, write):
    rows = read(tides(), write, **SEVERAL)
    assert len(rows.rejected) == 0
    assert rows.accepted["y_true"].fillna(-1).tolist() == [0.0, 2.0, -1.0, 1.0]
    assert rows.accepted["y_pred"].tolist() == [0.0, 1.0, 2.0, 0.0]
    assert rows.accepted[["y_pred_proba_0", "y_pred_proba_1", "y_pred_proba_2"]].to_numpy().T.tolist() == [
        [0.5, 0.25, 0.125, 1.0], [0.25, 0.75, 0.125, 0.0], [0.25, 0.0, 0.75, 0.0],
    ]  # fmt: skip
    assert set(map(str, rows.accepted[["y_true", "y_pred", "y_pred_proba_0"]].dtypes)) == {"float64"}


@every_format
@pytest.mark.parametrize(("column", "cell", "reason"), [
    ("y", "neap", "y: got neap; expected one of ebb, flood, it's slack"),
    ("y", "EBB", "y: got EBB; expected one of ebb, flood, it's slack"),
    ("p", "neap", "p: got neap; expected one of ebb, flood, it's slack"),
    ("p", None, "p: got nothing; expected a prediction in every row"),
    ("q2", None, "q2: got nothing; expected a prediction in every row"),
    ("q1", 1.5, "q1: got 1.5; expected a probability in [0, 1]"),
    ("q1", -0.25, "q1: got -0.25; expected a probability in [0, 1]"),
    ("q1", 0.25, "q1, q2, q 3: got 0.75 in all; expected probabilities that sum to 1"),
])  # fmt: skip
def test_a_row_that_is_no_prediction_of_a_class_is_rejected_with_its_reason(read, write, column: str, cell: Any, reason: str):
    frame = tides()
    frame.loc[0, column] = cell
    rows = read(frame, write, **SEVERAL)
    assert ids(rows.accepted) == ["b", "c", "d"]
    assert rows.rejected["reason"].tolist() == [reason]


@settings(max_examples=15)
@given(st.integers(0, 1000))
def test_inexact_probabilities_are_stored_so_that_they_sum_to_one(declare, tmp_path: Path, seed: int):
    matrix = np.random.default_rng(seed).dirichlet([1, 1, 1], 4).round(4)
    frame = tides(**dict(zip(["q1", "q2", "q 3"], matrix.T, strict=True)))
    policy = declare(**{**SEVERAL, "log": {**as_parquet(frame, tmp_path), **SEVERAL["log"]}})
    stored = read_log(policy, tmp_path, START, END).accepted[policy.probabilities].to_numpy()
    np.testing.assert_allclose(stored.sum(axis=1), 1, atol=1e-15)
    np.testing.assert_allclose(stored, matrix, atol=1e-3)


def test_classes_are_read_by_a_model_scored_here_too(read):
    rows = read(tides(), **{**SEVERAL, "log": {}})
    assert rows.accepted["y_true"].fillna(-1).tolist() == [0.0, 2.0, -1.0, 1.0]
    assert not {"y_pred", "y_pred_proba_0"} & set(rows.accepted)


def test_outcomes_known_later_are_read_as_places_too(declare, tmp_path: Path):
    from resources.log_source import read_observed

    frame = tides(seen="2024-01-05")
    policy = declare(
        **{**SEVERAL, "log": {**as_csv(frame, tmp_path), **SEVERAL["log"]}, "outcome": {**SEVERAL["outcome"], "observed_at": "seen"}}
    )
    assert read_observed(policy, tmp_path, START, END)["y_true"].tolist() == [0.0, 2.0, 1.0]
