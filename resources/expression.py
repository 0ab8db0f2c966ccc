"""A small language for declared rules and KPIs: arithmetic, comparisons and a few functions over named columns.

Belongs here: what a read expression offers. Does not: its grammar (``expression_reader.py``), its arithmetic (``expression_values.py``), what
a rule or a KPI means, Dagster.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from resources.expression_reader import read
from resources.expression_tree import CONDITIONS, Call, ExpressionError, Node, Total, growth_of, totals_of
from resources.expression_values import excess_of, of_sums, on_rows

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

__all__ = ["BLOCKS", "MOST_CHARACTERS", "Aggregate", "Expression", "ExpressionError", "parse"]

MOST_CHARACTERS = 500
#: Blocks of consecutive rows, each left out in turn, from which the standard error of a compound aggregate is learned.
BLOCKS = 20


@dataclass(frozen=True)
class Aggregate:
    """What a KPI is on some rows: its value, its standard error, and the rows that entered."""

    value: float
    standard_error: float
    n_rows: int


@dataclass(frozen=True)
class Expression:
    """A text that was read and found sound.

    Attributes:
        text: as declared.
        columns: the columns it names, in the order of their first use.
        is_condition: whether it is a comparison, or several joined with and, or, not.
        growth: how an aggregate grows when the same rows come twice: 1 for a sum or a count, 0 for a mean or a ratio of sums, ``None`` where
            it follows no power of the number of rows (a sum plus a constant).
    """

    text: str
    columns: tuple[str, ...]
    is_condition: bool
    growth: float | None
    _tree: Node = field(repr=False, compare=False)

    def rows(self, frame: "pd.DataFrame") -> "np.ndarray":
        """Value on every row.

        Args:
            frame: ``(n_rows, ...)`` with numeric ``columns``; a missing value counts as NaN.

        Returns:
            ``(n_rows,)`` float64. A comparison is 1 where true, 0 where false and NaN, "unknown", where a side is NaN; ``and``, ``or`` and
            ``not`` keep that: unknown and false is false, unknown or true is true, all else with an unknown is unknown. What is not defined is NaN
            without a warning: a division by zero, the logarithm of a number that is not positive, the root of a negative one.

        Raises:
            ExpressionError: the frame lacks a column or holds text in one, or the expression is an aggregate.

        >>> import pandas as pd
        >>> rule = parse("low <= high", columns=["low", "high"], aggregates=False)
        >>> rule.rows(pd.DataFrame({"low": [1.0, 3.0, None], "high": [2.0, 2.0, 2.0]})).tolist()
        [1.0, 0.0, nan]
        """
        self._require(is_aggregate=False)
        return on_rows(self._tree, frame)

    def excess(self, frame: "pd.DataFrame") -> "np.ndarray":
        """How far a condition is from true on every row, for ordering what broke it.

        Args:
            frame: as for ``rows``.

        Returns:
            ``(n_rows,)``: of a comparison the distance between its sides in their unit, positive where broken; the largest of what ``and`` joins,
            the smallest of what ``or`` joins; 0 where nothing can be measured; NaN where unknown.

        Raises:
            ExpressionError: as ``rows``.
        """
        self._require(is_aggregate=False)
        return excess_of(self._tree, frame)

    def aggregate(self, frame: "pd.DataFrame") -> Aggregate:
        """Value over all rows.

        Args:
            frame: ``(n_rows, ...)`` in time order with numeric ``columns``.

        Returns:
            Value, standard error and the rows that entered: a row on which any aggregated term is NaN or infinite is left out of the whole
            expression, ``count()`` included, so that numerators and denominators are about the same rows. No rows give NaN. The standard
            error takes the number of rows as given: for one ``sum`` or ``mean`` it is the usual one of the terms, for what is made of several
            that of a jackknife over ``BLOCKS`` blocks of rows in the order given. It is NaN for fewer than two rows.

        Raises:
            ExpressionError: the frame lacks a column or holds text in one, or the expression is no aggregate.

        Source: Quenouille (1956) and Künsch (1989) for the jackknife over blocks.

        >>> import pandas as pd
        >>> share = parse("sum(won) / count()", columns=["won"], aggregates=True)
        >>> share.aggregate(pd.DataFrame({"won": [1, 0, 1, 1]})).value
        0.75
        """
        import numpy as np

        self._require(is_aggregate=True)
        totals = totals_of(self._tree)
        terms = np.stack([on_rows(total.term, frame) for total in totals], axis=1)
        terms = terms[np.isfinite(terms).all(axis=1)]
        n = len(terms)
        if not n:
            return Aggregate(float("nan"), float("nan"), 0)
        value = float(of_sums(self._tree, totals, terms.sum(axis=0)[np.newaxis], n)[0])
        return Aggregate(value, self._standard_error(totals, terms), n)

    def _standard_error(self, totals: tuple[Total, ...], terms: "np.ndarray") -> float:
        import numpy as np

        n = len(terms)
        if n < 2:
            return float("nan")
        if isinstance(self._tree, Total):
            return float(terms[:, 0].std(ddof=1) * np.sqrt(n if self._tree.name != "mean" else 1 / n))
        starts = np.linspace(0, n, min(BLOCKS, n) + 1).astype("int64")
        sizes = np.diff(starts)[:, np.newaxis]
        left = (terms.sum(axis=0) - np.add.reduceat(terms, starts[:-1], axis=0)) * n / (n - sizes)
        values = of_sums(self._tree, totals, left, n)
        return float(np.sqrt((len(values) - 1) * values.var()))

    def _require(self, *, is_aggregate: bool) -> None:
        if bool(totals_of(self._tree)) is not is_aggregate:
            kinds = ("an expression of rows", "an aggregate")
            raise ExpressionError(f"got {kinds[not is_aggregate]}: {self.text!r}; expected {kinds[is_aggregate]}")


def parse(text: str, *, columns: Collection[str], aggregates: bool) -> Expression:
    """Read a declared expression.

    Args:
        text: at most 500 characters. A column whose name is not a plain word stands in backticks.
        columns: names it may use.
        aggregates: whether it must be made of ``sum(...)``, ``mean(...)`` and ``count()`` (a KPI) or must do without (a rule).

    Raises:
        ExpressionError: what was got, what was expected, what to do.

    >>> parse("sum(`unit price` * 2) / count()", columns=["unit price"], aggregates=True).columns
    ('unit price',)
    >>> parse("tempo > 3", columns=["temp"], aggregates=False)
    Traceback (most recent call last):
    ...
    resources.expression_tree.ExpressionError: got column 'tempo' in 'tempo > 3'; expected one of temp; did you mean 'temp'?
    """
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(
            f"got {len(text)} characters; expected at most {MOST_CHARACTERS}: split the expression or compute a column upstream"
        )
    found = read(text, columns, aggregates=aggregates)
    tree = found.tree
    if aggregates and not totals_of(tree):
        raise ExpressionError(f"got {text!r}, which sums up no row; expected at least one of sum(...), mean(...), count()")
    is_condition = isinstance(tree, Call) and tree.name in CONDITIONS
    return Expression(text, found.columns, is_condition, growth_of(tree) if aggregates else None, tree)
