"""SQL over files and tables outside the platform, as they come: opening one, and reading its moments, numbers and texts.

Belongs here: what is the same for every source a declaration names. Does not: which columns are wanted, or what rows mean.
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from resources.policy import LogSource, Source

if TYPE_CHECKING:
    import duckdb

#: A time of day that ends in Z or an offset such as +02:00.
_OFFSET = r":\d\d(\.\d+)?\s*(Z|[+-]\d\d(:?\d\d)?)$"


class LogSourceError(ValueError):
    """The declared log source cannot be read as declared."""


def quote(name: str) -> str:
    """Quote a column name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def connect() -> "duckdb.DuckDBPyConnection":
    """An in-memory DuckDB in UTC that installs nothing from the network."""

    import duckdb

    connection = duckdb.connect(config={"autoinstall_known_extensions": "false"})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def open_source(connection: "duckdb.DuckDBPyConnection", log: Source, base: Path) -> dict[str, str]:
    """Make ``log`` the view ``source`` and return its columns with their types."""
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
        raise LogSourceError(f"{_section(log)}: cannot read {wanted}; expected a readable file at this place: {error}") from error
    connection.execute("USE memory")
    relation.create_view("source_rows") if not log.duckdb else connection.execute(
        f"CREATE TEMP VIEW source_rows AS SELECT * FROM log_file.{quote(log.table or '')}"
    )
    connection.execute("CREATE TEMP VIEW source AS SELECT * FROM source_rows")
    source = connection.table("source")
    return dict(zip(source.columns, map(str, source.types), strict=True))


def require_known(section: str, wanted: list[str], types: dict[str, str]) -> None:
    """Refuse a source that lacks a wanted column.

    Raises:
        LogSourceError: with the columns there are and the closest name.
    """
    for name in wanted:
        if name not in types:
            close = difflib.get_close_matches(name, list(types), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise LogSourceError(f"{section}: got columns {sorted(types)}; expected also {name!r}{hint}")


def moment_sql(log: Source, name: str, types: dict[str, str]) -> str:
    """SQL for the moment of a row in UTC. Raises LogSourceError for a type that needs a zone where none is declared."""
    kind = types[name]
    if log.timezone is None and kind != "VARCHAR" and not has_zone(kind):
        raise LogSourceError(_no_zone(log, name, f"of type {kind} without a time zone"))
    return instant_sql(log, name, kind)


def has_zone(kind: str) -> bool:
    """Whether a DuckDB type of moments carries its zone."""
    return "WITH TIME ZONE" in kind or kind.startswith("TIMESTAMPTZ")


def instant_sql(log: Source, name: str, kind: str) -> str:
    """SQL for a column of moments in UTC: its own offset where it has one, else the declared zone."""
    column = quote(name)
    if has_zone(kind):
        return f"CAST({column} AS TIMESTAMPTZ)"
    if log.timezone is None:
        return f"TRY_CAST({column} AS TIMESTAMPTZ)"
    has_offset = f"regexp_matches(trim({column}), '{_OFFSET}')" if kind == "VARCHAR" else "false"
    naive = f"timezone('{escaped(log.timezone)}', TRY_CAST({column} AS TIMESTAMP))"
    return f"CASE WHEN {has_offset} THEN TRY_CAST({column} AS TIMESTAMPTZ) ELSE {naive} END"


def _section(log: Source) -> str:
    return "log" if isinstance(log, LogSource) else "outcome"


def _no_zone(log: Source, name: str, what: str) -> str:
    field = "log.time" if isinstance(log, LogSource) else "outcome.observed_at"
    return f"{field}: got column {name!r} {what}; expected {_section(log)}.timezone to say which it is (timezone: UTC)"


def require_zone(connection: "duckdb.DuckDBPyConnection", log: Source, name: str, types: dict[str, str]) -> None:
    """Refuse text times without an offset where no zone is declared: they would silently pass for UTC."""
    if log.timezone is not None or types[name] != "VARCHAR":
        return
    column = quote(name)
    naive = f"TRY_CAST({column} AS TIMESTAMP) IS NOT NULL AND NOT regexp_matches(trim({column}), '{_OFFSET}')"
    found = connection.execute(f"SELECT {column} FROM source WHERE {naive} LIMIT 1").fetchone()
    if found:
        raise LogSourceError(_no_zone(log, name, f"with {found[0]!r} without a time zone"))


def number_sql(name: str) -> str:
    """SQL for a column read as a number: true and false are 1 and 0, NaN and unreadable text are NULL."""
    numeral = f"CASE WHEN lower({text_sql(name)}) <> 'nan' THEN {text_sql(name)} END"
    return f"CASE lower({text_sql(name)}) WHEN 'true' THEN 1.0 WHEN 'false' THEN 0.0 ELSE TRY_CAST({numeral} AS DOUBLE) END"


def outcome_sql(name: str, classes: Sequence[str]) -> str:
    """SQL for a column of outcomes or predictions: the place of its text among ``classes``, NULL for any other; a number where there are none."""
    if not classes:
        return number_sql(name)
    places = " ".join(f"WHEN '{escaped(one)}' THEN {place}" for place, one in enumerate(classes))
    return f"CAST(CASE {text_sql(name)} {places} END AS DOUBLE)"


def expected_outcome(classes: Sequence[str]) -> str:
    """What ``outcome_sql`` can read, in words, escaped for SQL."""
    return escaped(f"one of {', '.join(classes)}") if classes else "a finite number"


def text_sql(name: str) -> str:
    """SQL for a column read as text; empty is NULL."""
    return f"nullif(CAST({quote(name)} AS VARCHAR), '')"


def escaped(name: str) -> str:
    """``name`` inside a quoted SQL text."""
    return name.replace("'", "''")


def reason_sql(name: str, expected: str) -> str:
    """SQL for the reason a row is rejected: what its column holds, and what was expected."""
    got = f"coalesce({text_sql(name)}, 'nothing')"
    return f"'{escaped(name)}: got ' || {got} || '; expected {expected}'"
