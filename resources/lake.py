"""The lake: Delta tables replaced a partition at a time, read out of core with DuckDB.

Belongs here: every path, every table that is opened, data versions, contract checks on write. Does not: what rows mean.
"""

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.source import quote
from resources.tables import Table

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa
    from deltalake import DeltaTable

Where = Mapping[str, str | Sequence[str]]

_WRITE_ATTEMPTS = 8
#: A table that has caught up on this many commits is opened anew: each one makes the next write a little slower.
_COMMITS_CAUGHT_UP = 30
#: Up to so many files of a table that is not cut are read without the engine, which costs more to ask than they do to read.
_FEW_FILES = 8
#: A data version, the columns its predicate names with their quoted values, and one of these.
_DATA_VERSION = re.compile(r"(?P<table>\w+)@(?P<version>\d+)(\[(?P<predicate>.*)\])?", re.DOTALL)
_RESTRICTED = re.compile(r"(\w+) (?:= |IN \()((?:'(?:[^']|'')*'(?:, )?)+)")
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
#: Open tables and the DuckDB engine, per thread: opening a table costs as much as it has files, catching up almost nothing.
_kept = threading.local()


class ContractError(ValueError):
    """Rows do not fit the contract of the table they are meant for."""


class Lake(dg.ConfigurableResource["Lake"]):
    """Tables under one root URL, a folder per model and table."""

    root: str

    def replace(self, model: str, table: Table, rows: "pd.DataFrame", where: Where) -> str:
        """Replace exactly the partitions named by ``where`` with ``rows``, in one commit.

        Running it again gives the same table; a killed run leaves the old version in place.

        Args:
            model: name of the monitored model.
            table: contract; unknown or missing columns and nulls in required columns are refused.
            rows: ``(n_rows, ...)``; may be empty, which clears the partitions.
            where: partition column to value or values; every row must lie inside.

        Returns:
            The data version: table version and predicate.

        Raises:
            ContractError: when rows break the contract or lie outside ``where``.
        """
        from deltalake import write_deltalake

        data = _to_arrow(table, rows)
        for column, allowed in where.items():
            stray = sorted(set(data.column(column).to_pylist()) - set(_values(allowed)))
            if stray:
                raise ContractError(f"table {table.name}: got {column} {stray[:3]}; expected only {_values(allowed)[:3]}")

        if not all(_values(allowed) for allowed in where.values()):
            return self.data_version(model, table, where)

        def commit() -> int:
            target = self._open(model, table, create=True)
            write_deltalake(target, data, mode="overwrite", predicate=_predicate(where))
            target.update_incremental()
            return int(target.version())

        return f"{table.name}@{_retried(commit)}[{_predicate(where)}]"

    def append(self, model: str, table: Table, rows: "pd.DataFrame") -> str:
        """Append ``rows`` in one commit and return the data version. Concurrent appends lose nothing."""
        from deltalake import write_deltalake

        data = _to_arrow(table, rows)

        def commit() -> int:
            target = self._open(model, table, create=True)
            write_deltalake(target, data, mode="append")
            target.update_incremental()
            return int(target.version())

        return f"{table.name}@{_retried(commit)}"

    def read(self, model: str, table: Table, where: Where | None = None, version: int | None = None) -> "pd.DataFrame":
        """Read the rows of ``table`` in the partitions named by ``where``.

        Args:
            version: table version to travel back to; the newest if absent.

        Returns:
            A frame with exactly the contract's columns; empty where nothing was written yet.
        """
        target = self._open(model, table, version=version)
        if target is None:
            return _nothing(table)
        if not where and not table.partition_by and "://" not in self.root:
            files = self._files(target, model, table, None)
            if len(files) <= _FEW_FILES:
                return _plain_read(table, files)
        with self.connect() as connection:
            self.attach(connection, model, table, where, version)
            return connection.sql(f"SELECT * FROM {table.name}").df()

    def restore(self, model: str, table: Table, data_version: str) -> "pd.DataFrame":
        """Read exactly the rows that a data version names, whatever was written to ``table`` since.

        Args:
            data_version: as ``replace``, ``append`` and ``data_version`` give it, such as the tag of a model version.

        Raises:
            ValueError: for the data version of another table, or of one that was never written.
        """
        found = _DATA_VERSION.fullmatch(data_version)
        if found is None or found["table"] != table.name:
            raise ValueError(
                f"got data version {data_version!r}; expected one of table {table.name}, such as {table.name}@3[chunk = '2025-01-01']"
            )
        where = {
            column: [value.replace("''", "'") for value in _QUOTED.findall(values)]
            for column, values in _RESTRICTED.findall(found["predicate"] or "")
        }
        return self.read(model, table, where, int(found["version"]))

    def attach(
        self, connection: "duckdb.DuckDBPyConnection", model: str, table: Table, where: Where | None = None, version: int | None = None
    ) -> None:
        """Make ``table`` a view of the same name on ``connection``, restricted to ``where``; nothing is read yet."""
        target = self._open(model, table, version=version)
        files = [] if target is None else self._files(target, model, table, where)
        # a table written by an older release lacks the columns that came later
        stored = set() if target is None else {one.name for one in target.schema().fields}
        columns = ", ".join(
            f"{quote(name) if name in stored else 'NULL'}::{_DUCKDB[kind]} AS {quote(name)}" for name, kind in table.columns.items()
        )
        if target is None or not files:
            nothing = ", ".join(f"NULL::{_DUCKDB[kind]} AS {quote(name)}" for name, kind in table.columns.items())
            connection.execute(f"CREATE TEMP VIEW {table.name} AS SELECT {nothing} WHERE false")
        elif "://" in self.root:
            dataset = target.to_pyarrow_dataset(file_pruning_predicate=_filters(where))
            connection.register(f"{table.name}_files", dataset)
            connection.execute(f"CREATE TEMP VIEW {table.name} AS SELECT {columns} FROM {table.name}_files")
        else:
            listed = ", ".join(_literal(file) for file in files)
            source = f"read_parquet([{listed}], hive_partitioning = true, hive_types_autocast = false, union_by_name = true)"
            connection.execute(f"CREATE TEMP VIEW {table.name} AS SELECT {columns} FROM {source}")

    @contextmanager
    def connect(self) -> Iterator["duckdb.DuckDBPyConnection"]:
        """A DuckDB connection in UTC, with temporary objects of its own, that installs nothing from the network."""
        import duckdb

        if "engine" not in _kept.__dict__:
            _kept.engine = duckdb.connect(config={"autoinstall_known_extensions": "false"})
        with _kept.engine.cursor() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute("SET enable_progress_bar = false")
            yield connection

    def partitions(self, model: str, table: Table, column: str, where: Where | None = None) -> list[str]:
        """Sorted values of a partition column for which ``table`` holds rows; no row is read."""
        target = self._open(model, table)
        return sorted({part[column] for part in target.partitions(file_pruning_predicate=_filters(where))}) if target else []

    def data_version(self, model: str, table: Table, where: Where | None = None) -> str:
        """Table version and predicate: names exactly the rows a reader sees now."""
        target = self._open(model, table)
        version = target.version() if target else "none"
        return f"{table.name}@{version}[{_predicate(where or {})}]"

    def compact(self, model: str, table: Table) -> dict[str, Any]:
        """Merge the small files of ``table`` in one commit; no version is removed, so none that a model names is lost."""
        done: dict[str, Any] = {}

        def commit() -> int:
            target = self._open(model, table)
            done.update(target.optimize.compact() if target else {})
            return 0

        _retried(commit)
        return done

    def _files(self, target: "DeltaTable", model: str, table: Table, where: Where | None) -> list[str]:
        files = target.file_uris(file_pruning_predicate=_filters(where))
        if "://" in self.root:
            return list(files)
        # the table's own folder comes percent-encoded, the partition folders below it as they are on disk
        encoded, plain = target.table_uri.removeprefix("file://").rstrip("/"), f"{self.root.rstrip('/')}/{model}/{table.name}"
        return [plain + file[len(encoded) :] if file.startswith(encoded) else file for file in files]

    def _open(self, model: str, table: Table, *, create: bool = False, version: int | None = None) -> "DeltaTable | Any":
        from deltalake import DeltaTable

        path = f"{self.root.rstrip('/')}/{model}/{table.name}"
        kept: dict[str, tuple[DeltaTable, int]] = _kept.__dict__.setdefault("tables", {})
        if version is None and path in kept:
            table_now, opened_at = kept[path]
            table_now.update_incremental()
            if table_now.version() < opened_at + _COMMITS_CAUGHT_UP:
                contract = path, tuple(table.columns.items())
                if create and contract not in _kept.__dict__.setdefault("completed", set()):
                    _add_new_columns(table_now, table)
                    _kept.completed.add(contract)
                return table_now
        if not DeltaTable.is_deltatable(path):
            if not create:
                return None
            DeltaTable.create(path, _schema(table), mode="ignore", partition_by=list(table.partition_by) or None)
        if version is not None:
            return DeltaTable(path, version=version)
        opened = DeltaTable(path)
        if create:
            _add_new_columns(opened, table)
        kept[path] = opened, opened.version()
        return opened


_DUCKDB = {"string": "VARCHAR", "double": "DOUBLE", "int64": "BIGINT", "bool": "BOOLEAN", "timestamp": "TIMESTAMPTZ", "binary": "BLOB"}


#: Types of an empty frame, as DuckDB gives them.
_PANDAS = {
    "string": "object",
    "double": "float64",
    "int64": "int64",
    "bool": "bool",
    "timestamp": "datetime64[us, UTC]",
    "binary": "object",
}


def _nothing(table: Table) -> "pd.DataFrame":
    """An empty frame with the columns of ``table``."""
    return _blank(tuple(table.columns.items())).copy()


def _plain_read(table: Table, files: Sequence[str]) -> "pd.DataFrame":
    """All rows of a few files, as the engine would give them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([field.with_nullable(True) for field in _schema(table)])
    parts = [pq.ParquetFile(file).read() for file in files]
    whole = [_completed(part, schema) for part in parts]
    return pa.concat_tables(whole).to_pandas() if whole else _nothing(table)


def _completed(part: "pa.Table", schema: "pa.Schema") -> "pa.Table":
    """The columns of ``schema``; those a file of an older release lacks are empty."""
    import pyarrow as pa

    columns = [part.column(field.name) if field.name in part.column_names else pa.nulls(len(part), field.type) for field in schema]
    return pa.table(columns, names=schema.names).cast(schema)


@lru_cache(maxsize=64)
def _blank(columns: tuple[tuple[str, str], ...]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype=_PANDAS[kind]) for name, kind in columns})


def _add_new_columns(stored: "DeltaTable", table: Table) -> None:
    """Give a table of an older release the columns that came later, empty in its old rows.

    Raises:
        ContractError: when a column is stored with another type; nothing is changed then.
    """
    import pyarrow as pa
    from deltalake import Field, Schema

    known = {field.name: field for field in stored.schema().fields}
    wanted = Schema.from_arrow(pa.schema([field.with_nullable(True) for field in _schema(table)]))
    for field in wanted.fields:
        if field.name in known and known[field.name].type != field.type:
            raise ContractError(
                f"table {table.name}: got column {field.name} of type {known[field.name].type}; expected {field.type}. Move the old lake away."
            )
    missing = [Field(field.name, field.type, nullable=True) for field in wanted.fields if field.name not in known]
    if missing:
        stored.alter.add_columns(missing)


def _retried(commit: Callable[[], int]) -> int:
    """Commit, and again on top of the newest version where another process came first; a failed commit wrote nothing."""
    from deltalake.exceptions import CommitFailedError
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    wait = wait_random_exponential(multiplier=0.05, max=2)
    retrying = Retrying(retry=retry_if_exception_type(CommitFailedError), stop=stop_after_attempt(_WRITE_ATTEMPTS), wait=wait, reraise=True)
    return int(retrying(commit))


def _values(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _predicate(where: Where) -> str:
    parts = []
    for column, value in where.items():
        values = [_literal(item) for item in _values(value)]
        listed = f"{column} IN ({', '.join(values)})" if values else "false"
        parts.append(f"{column} = {values[0]}" if len(values) == 1 else listed)
    return " AND ".join(parts)


def _filters(where: Where | None) -> list[tuple[str, str, Any]] | None:
    return [(column, "in", _values(value)) for column, value in where.items()] if where else None


def _schema(table: Table) -> "pa.Schema":
    import pyarrow as pa

    types = {
        "string": pa.string(), "double": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(),
        "timestamp": pa.timestamp("us", tz="UTC"), "binary": pa.binary(),
    }  # fmt: skip
    return pa.schema([pa.field(name, types[kind], nullable=name not in table.required) for name, kind in table.columns.items()])


def _to_arrow(table: Table, rows: "pd.DataFrame") -> "pa.Table":
    import pyarrow as pa

    unknown, missing = sorted(set(rows.columns) - set(table.columns)), sorted(set(table.columns) - set(rows.columns))
    if unknown or missing:
        raise ContractError(
            f"table {table.name}: got columns {unknown or 'none'} too many and {missing or 'none'} too few; expected {list(table.columns)}"
        )
    try:
        anything = pa.schema([field.with_nullable(True) for field in _schema(table)])
        data = pa.Table.from_pandas(rows[list(table.columns)], schema=anything, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise ContractError(f"table {table.name}: {error}; expected types {dict(table.columns)}") from error
    holes = [name for name in table.required if data.column(name).null_count]
    if holes:
        raise ContractError(f"table {table.name}: got nulls in {sorted(holes)}; expected a value in every row")
    return data.cast(_schema(table))
