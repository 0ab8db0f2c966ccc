"""Dagster's SQLite event log with its database engines kept open, and one commit per batch of events.

Dagster's own class builds new engines and makes up to five commits for every event, some ten milliseconds each; a
backfill of two hundred chunks stores seven thousand events. Dagster hands over events in batches when the environment
says so (``resources.quiet``). Belongs here: engines, commits, what is known of the schema. Does not: what is stored.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import create_engine
from sqlalchemy import event as hooks
from sqlalchemy.engine import Connection, Engine

_KEPT_ENGINES = 8
_BUSY_TIMEOUT_SECONDS = 60


class KeptEngineSqliteEventLogStorage(SqliteEventLogStorage):
    """The same files and tables; one engine per shard is kept, the least recently used one is closed."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        """Start without engines; ``base_dir`` is the folder of Dagster's own class."""
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._tables: set[str] = set()
        self._columns: set[str] = set()
        self._batch = threading.local()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "KeptEngineSqliteEventLogStorage":
        """Build from ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events as ``store_event`` would one after the other, with one commit per file; all or none on an error."""
        with self._db_lock, ExitStack() as opened:
            newest: dict[object, tuple[Connection, EventLogEntry, int]] = {}
            self._batch.opened, self._batch.connections, self._batch.newest = opened, {}, newest
            try:
                for one in events:
                    self.store_event(one)
                for connection, event, event_id in newest.values():
                    super()._store_asset_event(connection, event, event_id)
            finally:
                self._batch.connections = self._batch.newest = None

    def _store_asset_event(self, conn: Connection, event: EventLogEntry, event_id: int) -> None:
        """What is known of an asset as a whole is its newest event of each type; in a batch older ones need not be written."""
        newest = getattr(self._batch, "newest", None)
        if newest is None:
            super()._store_asset_event(conn, event, event_id)
        elif event.dagster_event is not None:
            what = event.dagster_event.asset_key, event.dagster_event_type
            newest.pop(what, None)  # the newest of all types comes last
            newest[what] = conn, event, event_id

    def has_table(self, table_name: str) -> bool:
        """Whether the index has the table; asked for with every event, and a table once there stays."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        if column_name not in self._columns and super()._has_asset_key_col_on_connection(conn, column_name):
            self._columns.add(column_name)
        return column_name in self._columns

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        shared: dict[str, Connection] | None = getattr(self._batch, "connections", None)
        if shared is None:
            with self._db_lock, self._transaction(shard) as connection:
                yield connection
            return
        if shard not in shared:
            shared[shard] = self._batch.opened.enter_context(self._transaction(shard))
        yield shared[shard]

    @contextmanager
    def _transaction(self, shard: str) -> Iterator[Connection]:
        engine = self._engine(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        with engine.connect() as connection, connection.begin():
            yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            engine = create_engine(self.conn_string_for_shard(shard), connect_args={"timeout": _BUSY_TIMEOUT_SECONDS})
            hooks.listen(engine, "connect", _relax)
            self._engines[shard] = engine
            while len(self._engines) > _KEPT_ENGINES:
                self._engines.popitem(last=False)[1].dispose()
        self._engines.move_to_end(shard)
        return self._engines[shard]

    def dispose(self) -> None:
        """Close every kept engine."""
        while self._engines:
            self._engines.popitem()[1].dispose()
        super().dispose()


def _relax(connection: Any, _record: object) -> None:
    """With a write-ahead log, NORMAL loses nothing to a crash of the process and saves a disk flush per commit."""
    connection.execute("PRAGMA synchronous=NORMAL")
