"""Read production rows from CSV, Parquet or a read-only DuckDB file, and sort the good from the broken.

Belongs here: the contract of incoming rows, de-duplication, reasons for rejection. Does not: scoring, the lake.
Reads: the declared log source. Writes: nothing; callers store what is returned.
"""

import difflib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from resources.policy import LogSource, MonitoredModel

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

#: Chunk name of rejected rows whose time cannot be read, so that no chunk claims them.
UNDATED = "undated"
SUPERSEDED = "superseded by a later write of the same prediction id"
#: A time of day that ends in Z or an offset such as +02:00.
_OFFSET = r":\d\d(\.\d+)?\s*(Z|[+-]\d\d(:?\d\d)?)$"


class LogSourceError(ValueError):
    """The declared log source cannot be read as declared."""


@dataclass(frozen=True)
class LogRows:
    """One read of the log: accepted rows, rejected rows with reasons, and what was counted on the way.

    ``accepted`` has ``prediction_id, time, written_at``, the features, ``y_true`` and, when the log declares them,
    ``y_pred``, ``y_pred_proba`` and ``model_version``. ``rejected`` has ``prediction_id, time, reason, row``.
    """

    accepted: "pd.DataFrame"
    rejected: "pd.DataFrame"
    n_read: int
    n_duplicates: int
    n_late: int


def quote(name: str) -> str:
    """Quote a column name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def read_log(policy: MonitoredModel, base: Path, start: datetime, end: datetime, *, undated: bool = False) -> LogRows:
    """Read the rows with ``start <= time < end``; within a chunk the last write of a prediction id wins.

    Args:
        policy: declares source, columns and features.
        base: folder that relative paths start from.
        start: first moment, UTC.
        end: first moment after the window, UTC.
        undated: also return rows whose time cannot be read (as rejected rows); scans the whole time column.

    Returns:
        Accepted and rejected rows; ``n_read == len(accepted) + len(rejected)`` always.

    Raises:
        LogSourceError: for a missing file, table or column, or timestamps without a declared zone.
    """
    import duckdb

    with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        source = _open_source(connection, policy.log, base)
        types = dict(zip(source.columns, map(str, source.types), strict=True))
        _require_columns(policy, types)
        _require_zone(connection, policy.log, types)
        moment = _moment(policy.log, types)
        window = f"{moment} >= '{start.isoformat()}' AND {moment} < '{end.isoformat()}'"
        if undated:
            window = f"({window}) OR {moment} IS NULL"
        frame = connection.sql(_sorting_query(policy, moment, types, window)).df()
    return _split(policy, frame)


def _open_source(connection: "duckdb.DuckDBPyConnection", log: LogSource, base: Path) -> "duckdb.DuckDBPyRelation":
    import duckdb

    path = str(log.path) if "://" in str(log.path) else str(base / log.path)
    try:
        if log.parquet:
            relation = connection.read_parquet(path)
        elif log.csv:
            relation = connection.read_csv(path, all_varchar=True, header=True, quotechar='"', escapechar='"')
        else:
            connection.execute(f"ATTACH '{path.replace(chr(39), chr(39) * 2)}' AS log_file (READ_ONLY)")
            connection.execute("USE log_file")
            relation = connection.sql(f"SELECT * FROM {quote(log.table or '')}")
    except (duckdb.Error, FileNotFoundError) as error:
        wanted = f"{log.kind} file {log.path}" + (f" with table {log.table}" if log.table else "")
        raise LogSourceError(f"log: cannot read {wanted}; expected a readable file at this place: {error}") from error
    connection.execute("USE memory")
    relation.create_view("source_rows") if not log.duckdb else connection.execute(
        f"CREATE TEMP VIEW source_rows AS SELECT * FROM log_file.{quote(log.table or '')}"
    )
    connection.execute("CREATE TEMP VIEW source AS SELECT * FROM source_rows")
    return connection.table("source")


def _require_columns(policy: MonitoredModel, types: dict[str, str]) -> None:
    log = policy.log
    wanted = [log.time, log.id, *policy.features.all, *policy.segment_columns, policy.outcome.column]
    wanted += [name for name in (log.written_at, log.prediction, log.probability, log.model_version) if name]
    for name in wanted:
        if name not in types:
            close = difflib.get_close_matches(name, list(types), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise LogSourceError(f"log: got columns {sorted(types)}; expected also {name!r}{hint}")


def _moment(log: LogSource, types: dict[str, str]) -> str:
    """SQL for the moment of a row in UTC. Raises LogSourceError for a type that needs a zone where none is declared."""
    kind = types[log.time]
    if log.timezone is None and kind != "VARCHAR" and not _has_zone(kind):
        raise LogSourceError(_no_zone(log, f"of type {kind} without a time zone"))
    return _instant(log, log.time, kind)


def _has_zone(kind: str) -> bool:
    return "WITH TIME ZONE" in kind or kind.startswith("TIMESTAMPTZ")


def _instant(log: LogSource, name: str, kind: str) -> str:
    """SQL for a column of moments in UTC: its own offset where it has one, else the declared zone."""
    column = quote(name)
    if _has_zone(kind):
        return f"CAST({column} AS TIMESTAMPTZ)"
    if log.timezone is None:
        return f"TRY_CAST({column} AS TIMESTAMPTZ)"
    has_offset = f"regexp_matches(trim({column}), '{_OFFSET}')" if kind == "VARCHAR" else "false"
    naive = f"timezone('{_plain(log.timezone)}', TRY_CAST({column} AS TIMESTAMP))"
    return f"CASE WHEN {has_offset} THEN TRY_CAST({column} AS TIMESTAMPTZ) ELSE {naive} END"


def _no_zone(log: LogSource, what: str) -> str:
    return f"log.time: got column {log.time!r} {what}; expected log.timezone to say which it is (timezone: UTC)"


def _require_zone(connection: "duckdb.DuckDBPyConnection", log: LogSource, types: dict[str, str]) -> None:
    """Refuse text times without an offset where no zone is declared: they would silently pass for UTC."""
    if log.timezone is not None or types[log.time] != "VARCHAR":
        return
    column = quote(log.time)
    naive = f"TRY_CAST({column} AS TIMESTAMP) IS NOT NULL AND NOT regexp_matches(trim({column}), '{_OFFSET}')"
    found = connection.execute(f"SELECT {column} FROM source WHERE {naive} LIMIT 1").fetchone()
    if found:
        raise LogSourceError(_no_zone(log, f"with {found[0]!r} without a time zone"))


def _number(name: str) -> str:
    text = f"CASE WHEN lower({_text(name)}) <> 'nan' THEN {_text(name)} END"
    return f"CASE lower({_text(name)}) WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 ELSE TRY_CAST({text} AS DOUBLE) END"


def _text(name: str) -> str:
    return f"nullif(CAST({quote(name)} AS VARCHAR), '')"


def _sorting_query(policy: MonitoredModel, moment: str, types: dict[str, str], window: str) -> str:
    """One SELECT: typed columns, the first broken rule of each row as ``reason``, and its rank among duplicates."""
    log = policy.log
    numbers = {name: name for name in policy.features.numeric} | {"y_true": policy.outcome.column}
    if log.prediction:
        numbers |= {"y_pred": log.prediction}
    if log.probability:
        numbers |= {"y_pred_proba": log.probability}
    rules = [
        f"WHEN {moment} IS NULL THEN {_reason(log.time, 'a timestamp')}",
        f"WHEN {_text(log.id)} IS NULL THEN 'no prediction id in column ' || '{_plain(log.id)}'",
    ]
    for column in numbers.values():
        unreadable = f"({_number(column)} IS NULL OR NOT isfinite({_number(column)}))"
        broken = f"{_text(column)} IS NOT NULL AND lower({_text(column)}) <> 'nan' AND {unreadable}"
        rules.append(f"WHEN {broken} THEN {_reason(column, 'a finite number')}")
    for name in (log.prediction, log.probability):
        if name:
            rules.append(f"WHEN {_number(name)} IS NULL THEN {_reason(name, 'a prediction in every row')}")
    if log.probability:
        rules.append(f"WHEN {_number(log.probability)} NOT BETWEEN 0 AND 1 THEN {_reason(log.probability, 'a probability in [0, 1]')}")
    written = _instant(log, log.written_at, types[log.written_at]) if log.written_at else "CAST(NULL AS TIMESTAMPTZ)"
    columns = [
        f"{_text(log.id)} AS prediction_id",
        f"{moment} AS time",
        f"{written} AS written_at",
        *(f"{_number(column)} AS {quote(name)}" for name, column in numbers.items()),
        *(f"{_text(name)} AS {quote(name)}" for name in [*policy.features.categorical, *policy.segment_columns]),
        *([f"{_text(log.model_version)} AS model_version"] if log.model_version else []),
        f"CASE {' '.join(rules)} END AS reason",
        "to_json(_plumbline_row)::VARCHAR AS row",
        "_plumbline_position",
    ]
    ordered = f"SELECT *, row_number() OVER () AS _plumbline_position, _plumbline_rows AS _plumbline_row FROM source AS _plumbline_rows WHERE {window}"
    return f"SELECT {', '.join(columns)} FROM ({ordered}) ORDER BY _plumbline_position"


def _plain(name: str) -> str:
    return name.replace("'", "''")


def _reason(name: str, expected: str) -> str:
    got = f"coalesce({_text(name)}, 'nothing')"
    return f"'{_plain(name)}: got ' || {got} || '; expected {expected}'"


def _split(policy: MonitoredModel, frame: "pd.DataFrame") -> LogRows:
    good = frame["reason"].isna()
    ordered = frame[good].sort_values(["written_at", "_plumbline_position"], na_position="first", kind="stable")
    chunks = policy.cadence.keys(ordered["time"])
    superseded = ordered[ordered.assign(chunk=chunks).duplicated(["chunk", "prediction_id"], keep="last")]
    accepted = ordered.drop(superseded.index).sort_values("_plumbline_position", kind="stable")
    superseded = superseded.assign(reason=SUPERSEDED)
    keep = ["prediction_id", "time", "reason", "row"]
    import pandas as pd

    rejected = pd.concat([frame.loc[~good, keep], superseded[keep]], ignore_index=True)
    keys = policy.cadence.keys(accepted["time"])
    chunk_end = pd.to_datetime(keys.map({key: policy.cadence.end(key) for key in keys.unique()}), utc=True)
    n_late = int((accepted["written_at"] > chunk_end).sum())
    accepted = accepted.drop(columns=["reason", "row", "_plumbline_position"]).reset_index(drop=True)
    return LogRows(accepted, rejected, len(frame), len(superseded), n_late)
