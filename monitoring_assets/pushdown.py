"""Large chunks are measured inside DuckDB, over the lake's Parquet files, a range of one column at a time.

Belongs here: the SQL behind ``Rows``. Does not: any statistics: both engines hand the same values to the same functions.
Reads: a view of the ``prediction_log``.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from monitoring_assets.measures.distribution import LARGEST, Categories, Part, ascending
from monitoring_assets.measures.univariate import Counts
from resources.source import quote

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

#: From this many rows on, ``engine: auto`` leaves a chunk in DuckDB.
LARGE = 200_000
#: Multivariate methods look at about this many rows of a large chunk, always the same ones.
SAMPLE = 100_000

_SEASONS = {
    "hour": "printf('hour %02d', hour(time))",
    "weekday": "printf('weekday %d', isodow(time) - 1)",
    "month": "printf('month %02d', month(time))",
}


@dataclass(frozen=True)
class DuckRows:
    """Rows of one chunk that stay in DuckDB.

    Attributes:
        connection: in UTC.
        view: view or table with the features, ``time``, ``prediction_id`` and segment columns.
        where: condition on its rows, with values as parameters.
        parameters: of ``where``.
    """

    connection: "duckdb.DuckDBPyConnection"
    view: str
    where: str = "true"
    parameters: tuple[object, ...] = field(default_factory=tuple)

    @cached_property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self._one("count(*)")[0])

    def _select(self, what: str, condition: str = "true", more: tuple[object, ...] = ()) -> "duckdb.DuckDBPyConnection":
        return self.connection.execute(
            f"SELECT {what} FROM {self.view} WHERE {self.where} AND {condition}",
            [*self.parameters, *more],
        )

    def _one(self, what: str) -> tuple[int, ...]:
        row = self._select(what).fetchone()
        return tuple(row) if row else ()

    def counts(self, columns: Mapping[str, tuple[float, float]]) -> dict[str, Counts]:
        """See ``univariate.Rows``; one scan."""
        if not columns:
            return {}
        asked = []
        for name, (low, high) in columns.items():
            own = quote(name)
            asked += [f"count(*) FILTER ({_finite(own)})", f"count(*) FILTER ({_finite(own)} AND NOT ({_within(own, low, high)}))"]
        found = self._one(", ".join(["count(*)", *asked]))
        total, pairs = found[0], zip(found[1::2], found[2::2], strict=True)
        return {name: Counts(finite, total - finite, outside) for name, (finite, outside) in zip(columns, pairs, strict=True)}

    def take(self, column: str, low: float, high: float, has_ties: bool) -> "Callable[[float, float], Part]":
        """See ``univariate.Rows``; one scan of one column a range. Columns with ties are counted where they are."""
        own = quote(column)

        def values(above: float, upto: float) -> Part:
            import numpy as np

            condition = f"{_finite(own)} AND {_within(own, low, high)} AND {_over(own, above)} AND {_within(own, -np.inf, upto)}"
            if has_ties:
                found = self._select(f"{own}::DOUBLE AS value, count(*)::DOUBLE AS mass", f"{condition} GROUP BY 1 ORDER BY 1").fetchnumpy()
                mass = np.ma.getdata(found["mass"])
                return Part(np.ma.getdata(found["value"]), None if (mass == 1.0).all() else mass)
            result = np.ma.getdata(self._select(f"{own}::DOUBLE AS value", condition).fetchnumpy()["value"])
            result.sort()
            return ascending(result, overwrite=True)

        return values

    def categories(self, column: str) -> Categories:
        """See ``univariate.Rows``; one scan of one column."""
        own = quote(column)
        rows = self.connection.execute(
            f"SELECT {own}, count(*) FROM {self.view} WHERE {self.where} GROUP BY 1 ORDER BY 1 NULLS LAST", list(self.parameters)
        ).fetchall()
        counts = {str(name): float(count) for name, count in rows if name is not None}
        return Categories(counts, sum(int(count) for name, count in rows if name is None))

    def seasons(self, season: str) -> dict[str, float]:
        """See ``univariate.Rows``."""
        rows = self.connection.execute(
            f"SELECT {_SEASONS[season]} AS season, count(*) FROM {self.view} WHERE {self.where} GROUP BY 1 ORDER BY 1",
            list(self.parameters),
        ).fetchall()
        total = sum(count for _, count in rows)
        return {name: count / total for name, count in rows}

    def segments(self, column: str) -> Iterator[tuple[str, "DuckRows"]]:
        """See ``univariate.Rows``."""
        own = f"coalesce({quote(column)}, 'missing')"
        names = self.connection.execute(
            f"SELECT DISTINCT {own} FROM {self.view} WHERE {self.where} ORDER BY 1", list(self.parameters)
        ).fetchall()
        for (name,) in names:
            yield str(name), DuckRows(self.connection, self.view, f"{self.where} AND {own} = ?", (*self.parameters, name))

    def sample(self, columns: list[str]) -> "pd.DataFrame":
        """About ``SAMPLE`` rows of ``columns``, chosen by a hash of the prediction id: always the same, in whatever order they lie."""
        share = max(1, self.n_rows // SAMPLE)
        listed = ", ".join(quote(name) for name in columns)
        return self._select(listed, f"hash(prediction_id) % {share} = 0").df()


def _finite(column: str) -> str:
    """As ``distribution.finite``; NaN compares as larger than every number."""
    return f"abs({column}) <= {LARGEST!r}::DOUBLE"


def _within(column: str, low: float, high: float) -> str:
    parts = [f"{column} >= {low!r}::DOUBLE"] if low != float("-inf") else []
    parts += [f"{column} <= {high!r}::DOUBLE"] if high != float("inf") else []
    return " AND ".join(parts) or "true"


def _over(column: str, low: float) -> str:
    return f"{column} > {low!r}::DOUBLE" if low != float("-inf") else "true"
