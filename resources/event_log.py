"""Dagster's SQLite event log with its database engines kept open.

Dagster's own class builds a new engine and connection for every event, some ten milliseconds each; a backfill of two
hundred chunks stores three thousand events. Belongs here: keeping engines. Does not: what is stored, or how.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection, Engine

_KEPT_ENGINES = 8
_BUSY_TIMEOUT_SECONDS = 60


class KeptEngineSqliteEventLogStorage(SqliteEventLogStorage):
    """The same files and tables; one engine per shard is kept, the least recently used one is closed."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        """Start without engines; ``base_dir`` is the folder of Dagster's own class."""
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "KeptEngineSqliteEventLogStorage":
        """Build from ``dagster.yaml``."""
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._engines:
            engine = create_engine(self.conn_string_for_shard(shard), connect_args={"timeout": _BUSY_TIMEOUT_SECONDS})
            event.listen(engine, "connect", _relax)
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
