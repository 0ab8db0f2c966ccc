"""A small language for declared rules and KPIs: arithmetic, comparisons and a few functions over named columns.

Belongs here: reading a text into a tree of allowed parts, computing it on a frame. Does not: what a rule or a KPI means, Dagster.
Nothing of the text is ever run as Python: ``ast`` only reads it, and whatever is not on the list below is refused.
"""

import ast
import difflib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cache, reduce
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

MOST_CHARACTERS = 500
MOST_NESTING = 50
#: Blocks of consecutive rows, each left out in turn, from which the standard error of a compound aggregate is learned.
BLOCKS = 20
AGGREGATES = ("sum", "mean", "count")
#: Functions with the fewest and most arguments.
FUNCTIONS = {"abs": (1, 1), "min": (2, 20), "max": (2, 20), "log": (1, 1), "exp": (1, 1), "sqrt": (1, 1), "where": (3, 3)}
_BINARY: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_UNARY: dict[type[ast.unaryop], str] = {ast.USub: "negative", ast.Not: "not"}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_LOGIC: dict[type[ast.boolop], str] = {ast.And: "and", ast.Or: "or"}
_CONDITIONS = {*_COMPARISONS.values(), "and", "or", "not"}
_ALLOWED = f"columns, numbers, + - * / **, comparisons, and, or, not and the functions {', '.join(FUNCTIONS)}"


class ExpressionError(ValueError):
    """The text says something the language does not have, or a frame lacks what it names."""


@dataclass(frozen=True)
class Aggregate:
    """What a KPI is on some rows: its value, its standard error, and the rows that entered."""

    value: float
    standard_error: float
    n_rows: int


@dataclass(frozen=True)
class _Number:
    value: float


@dataclass(frozen=True)
class _Column:
    name: str


@dataclass(frozen=True)
class _Total:
    """An aggregate of a row-wise term; ``count()`` has the term 1."""

    name: str
    term: "_Node"


@dataclass(frozen=True)
class _Call:
    name: str
    arguments: tuple["_Node", ...]


_Node = _Number | _Column | _Total | _Call


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
    _tree: _Node = field(repr=False, compare=False)

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
        return _on_rows(self._tree, frame)

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
        return _excess(self._tree, frame)

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
        totals = _totals(self._tree)
        terms = np.stack([_on_rows(total.term, frame) for total in totals], axis=1)
        terms = terms[np.isfinite(terms).all(axis=1)]
        n = len(terms)
        if not n:
            return Aggregate(float("nan"), float("nan"), 0)
        value = float(_of_sums(self._tree, totals, terms.sum(axis=0)[np.newaxis], n)[0])
        return Aggregate(value, self._standard_error(totals, terms), n)

    def _standard_error(self, totals: tuple[_Total, ...], terms: "np.ndarray") -> float:
        import numpy as np

        n = len(terms)
        if n < 2:
            return float("nan")
        if isinstance(self._tree, _Total):
            return float(terms[:, 0].std(ddof=1) * np.sqrt(n if self._tree.name != "mean" else 1 / n))
        starts = np.linspace(0, n, min(BLOCKS, n) + 1).astype("int64")
        sizes = np.diff(starts)[:, np.newaxis]
        left = (terms.sum(axis=0) - np.add.reduceat(terms, starts[:-1], axis=0)) * n / (n - sizes)
        values = _of_sums(self._tree, totals, left, n)
        return float(np.sqrt((len(values) - 1) * values.var()))

    def _require(self, *, is_aggregate: bool) -> None:
        if bool(_totals(self._tree)) is not is_aggregate:
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
    resources.expression.ExpressionError: got column 'tempo' in 'tempo > 3'; expected one of temp; did you mean 'temp'?
    """
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(
            f"got {len(text)} characters; expected at most {MOST_CHARACTERS}: split the expression or compute a column upstream"
        )
    reader = _Reader(text, columns, aggregates)
    tree = reader.read()
    if aggregates and not _totals(tree):
        raise ExpressionError(f"got {text!r}, which sums up no row; expected at least one of sum(...), mean(...), count()")
    is_condition = isinstance(tree, _Call) and tree.name in _CONDITIONS
    return Expression(text, tuple(dict.fromkeys(reader.used)), is_condition, _growth(tree) if aggregates else None, tree)


class _Reader:
    """Turns Python's syntax tree of one text into own nodes; what it does not know it refuses."""

    def __init__(self, text: str, columns: Collection[str], aggregates: bool) -> None:
        self.text, self.columns, self.aggregates = text, set(columns), aggregates
        self.quoted: dict[str, str] = {}
        self.used: list[str] = []

    def read(self) -> _Node:
        prefix = "quoted"
        while prefix in self.text:
            prefix += "_"

        def renamed(match: re.Match[str]) -> str:
            name = f"{prefix}{len(self.quoted)}"
            self.quoted[name] = match[1]
            return f" {name} "

        plain = " ".join(re.sub(r"`([^`]+)`", renamed, self.text).split())
        if "`" in plain or "#" in plain:
            raise self.refused("a lone backtick or a #", "column names in pairs of backticks and no comments")
        try:
            body = ast.parse(plain, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            what = getattr(error, "msg", None) or "something too deep"
            raise self.refused(f"no expression ({what})", f"{_ALLOWED}; names that are no plain words in backticks") from error
        return self.node(body, 0, is_inside=not self.aggregates)

    def refused(self, got: str, expected: str) -> ExpressionError:
        return ExpressionError(f"got {got} in {self.text!r}; expected {expected}")

    def node(self, part: ast.expr, depth: int, *, is_inside: bool) -> _Node:
        """One part; ``is_inside`` says whether rows may be named here: everywhere in a rule, only inside an aggregate in a KPI."""
        if depth > MOST_NESTING:
            raise self.refused("parts nested too deep", f"at most {MOST_NESTING} levels: split it or compute a column upstream")
        if isinstance(part, ast.Constant):
            return self.number(part.value)
        if isinstance(part, ast.Name):
            return self.column(part.id, is_inside)
        if isinstance(part, ast.Call):
            return self.call(part, depth, is_inside)
        found = _operator(part)
        if found is None:
            raise self.refused(f"{type(part).__name__}, which is no part of the language,", _ALLOWED)
        name, operands = found
        arguments = tuple(self.node(one, depth + 1, is_inside=is_inside) for one in operands)
        return _Call(name, arguments) if name != "chain" else self.chain(part, arguments)

    def chain(self, part: ast.expr, sides: tuple[_Node, ...]) -> _Node:
        names = [_COMPARISONS.get(type(one)) for one in getattr(part, "ops", [])]
        pairs = [_Call(name, (left, right)) for name, left, right in zip(names, sides, sides[1:], strict=False) if name]
        if len(pairs) < len(names):
            raise self.refused("a comparison with is or in", "one of < <= > >= == !=")
        return pairs[0] if len(pairs) == 1 else _Call("and", tuple(pairs))

    def number(self, value: object) -> _Number:
        try:
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
        except OverflowError:
            number = float("inf")
        if not abs(number) < float("inf"):
            raise self.refused(repr(value)[:40], "finite numbers, and columns without quotes")
        return _Number(number)

    def column(self, written: str, is_inside: bool) -> _Column:
        name = self.quoted.get(written, written)
        if name not in self.columns:
            close = difflib.get_close_matches(name, self.columns, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise self.refused(f"column {name!r}", f"one of {', '.join(sorted(self.columns))}{hint}")
        if not is_inside:
            raise self.refused(f"column {name!r} outside an aggregate", f"it inside one, such as sum({name}) or mean({name})")
        self.used.append(name)
        return _Column(name)

    def call(self, part: ast.Call, depth: int, is_inside: bool) -> _Node:
        name = part.func.id if isinstance(part.func, ast.Name) else type(part.func).__name__
        if part.keywords or any(isinstance(one, ast.Starred) for one in part.args):
            raise self.refused(f"{name}(...) with named or starred arguments", "plain arguments in order")
        if name in AGGREGATES:
            return self.total(name, part.args, depth, is_inside)
        if name not in FUNCTIONS:
            known = [*FUNCTIONS, *(AGGREGATES if self.aggregates else ())]
            close = difflib.get_close_matches(name, known, 1)
            raise self.refused(f"function {name!r}", f"one of {', '.join(known)}" + (f"; did you mean {close[0]!r}?" if close else ""))
        fewest, most = FUNCTIONS[name]
        if not fewest <= len(part.args) <= most:
            raise self.refused(f"{name}(...) with {len(part.args)} arguments", f"{fewest}" if fewest == most else f"{fewest} to {most}")
        return _Call(name, tuple(self.node(one, depth + 1, is_inside=is_inside) for one in part.args))

    def total(self, name: str, arguments: list[ast.expr], depth: int, is_inside: bool) -> _Total:
        if is_inside:
            where = "inside another aggregate" if self.aggregates else "in a rule that is judged row by row"
            raise self.refused(f"{name}(...) {where}", "aggregates in KPIs only, and none inside another")
        if len(arguments) != (name != "count"):
            raise self.refused(
                f"{name}(...) with {len(arguments)} arguments", "count() without and sum(...) or mean(...) with one argument"
            )
        return _Total(name, self.node(arguments[0], depth + 1, is_inside=True) if arguments else _Number(1.0))


def _operator(part: ast.expr) -> tuple[str, list[ast.expr]] | None:
    """Name and operands of an operator; ``chain`` for comparisons, ``None`` for what the language does not have."""
    if isinstance(part, ast.Compare):
        return "chain", [part.left, *part.comparators]
    if isinstance(part, ast.BoolOp):
        return _LOGIC[type(part.op)], part.values
    if isinstance(part, ast.BinOp) and type(part.op) in _BINARY:
        return _BINARY[type(part.op)], [part.left, part.right]
    if isinstance(part, ast.UnaryOp) and type(part.op) in _UNARY:
        return _UNARY[type(part.op)], [part.operand]
    return None


@cache
def _operations() -> dict[str, Callable[..., Any]]:
    """How each part is computed on float arrays; every one gives NaN where it is not defined."""
    import numpy as np

    def known(value: Any, *parts: Any) -> Any:
        return np.where(reduce(np.logical_or, [np.isnan(part) for part in parts]), np.nan, value)

    def compared(compare: Callable[..., Any]) -> Callable[..., Any]:
        return lambda left, right: known(compare(left, right), left, right)

    def joined(parts: tuple[Any, ...], settles: Callable[[Any], Any], settled: float) -> Any:
        is_settled = reduce(np.logical_or, [settles(part) & ~np.isnan(part) for part in parts])
        return np.where(is_settled, settled, known(1 - settled, *parts))

    def power(base: Any, exponent: Any) -> Any:
        value = np.power(base, exponent)
        return np.where(np.isinf(value) & np.isfinite(base) & np.isfinite(exponent), np.nan, value)

    comparisons = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal}
    return {
        "+": np.add, "-": np.subtract, "*": np.multiply, "**": power, "negative": np.negative, "abs": np.abs, "exp": np.exp, "sqrt": np.sqrt,
        "/": lambda left, right: np.where(right == 0, np.nan, np.divide(left, right)),
        "log": lambda value: np.where(value > 0, np.log(value), np.nan),
        "min": lambda *parts: reduce(np.minimum, parts),
        "max": lambda *parts: reduce(np.maximum, parts),
        "where": lambda condition, yes, no: known(np.where(condition != 0, yes, no), condition),
        "not": lambda value: known(value == 0, value),
        "and": lambda *parts: joined(parts, lambda part: part == 0, 0.0),
        "or": lambda *parts: joined(parts, lambda part: part != 0, 1.0),
        **{name: compared(compare) for name, compare in comparisons.items()},
    }  # fmt: skip


def _computed(node: _Node, leaf: Callable[[_Node], Any]) -> Any:
    """Value of a tree whose columns or aggregates ``leaf`` gives."""
    import numpy as np

    if not isinstance(node, _Call):
        return leaf(node)
    with np.errstate(all="ignore"):  # what is not defined is NaN by rule
        return _operations()[node.name](*[_computed(one, leaf) for one in node.arguments])


def _on_rows(node: _Node, frame: "pd.DataFrame") -> "np.ndarray":
    import numpy as np

    def leaf(own: _Node) -> Any:
        return _values(frame, own.name) if isinstance(own, _Column) else getattr(own, "value", float("nan"))

    return np.broadcast_to(np.asarray(_computed(node, leaf), dtype="float64"), (len(frame),)).copy()


def _values(frame: "pd.DataFrame", name: str) -> "np.ndarray":
    import numpy as np

    if name not in frame:
        raise ExpressionError(f"got rows without the column {name!r}; expected it: read it with the rows, or change the expression")
    try:
        return np.asarray(frame[name].to_numpy(dtype="float64", na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"got text in the column {name!r}; expected numbers: expressions compute with numbers only") from error


def _totals(node: _Node) -> tuple[_Total, ...]:
    """Every aggregate of a tree, once."""
    if isinstance(node, _Total):
        return (node,)
    own = node.arguments if isinstance(node, _Call) else ()
    return tuple(dict.fromkeys(total for one in own for total in _totals(one)))


def _of_sums(tree: _Node, totals: tuple[_Total, ...], sums: "np.ndarray", n_rows: int) -> "np.ndarray":
    """Values ``(n_samples,)`` of a tree whose terms sum to ``sums`` ``(n_samples, n_totals)`` over ``n_rows`` rows."""
    import numpy as np

    own = {total: sums[:, place] / (n_rows if total.name == "mean" else 1) for place, total in enumerate(totals)}

    def leaf(node: _Node) -> Any:
        return own[node] if isinstance(node, _Total) else getattr(node, "value", float("nan"))

    return np.broadcast_to(np.asarray(_computed(tree, leaf), dtype="float64"), (len(sums),))


def _excess(node: _Node, frame: "pd.DataFrame") -> "np.ndarray":
    import numpy as np

    if isinstance(node, _Call) and node.name in ("and", "or"):
        return reduce(np.fmax if node.name == "and" else np.fmin, [_excess(one, frame) for one in node.arguments])
    if not isinstance(node, _Call) or node.name not in ("<", "<=", ">", ">=", "=="):
        return _on_rows(_Number(0.0), frame)
    left, right = (_on_rows(one, frame) for one in node.arguments)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is unknown
        return np.abs(left - right) if node.name == "==" else left - right if node.name in ("<", "<=") else right - left


def _growth(node: _Node) -> float | None:
    """The power of the number of rows an aggregate follows; ``None`` for none."""
    if isinstance(node, _Total):
        return 0.0 if node.name == "mean" else 1.0
    if not isinstance(node, _Call):
        return 0.0
    if node.name == "**":
        base, exponent = _growth(node.arguments[0]), node.arguments[1]
        fixed = exponent.value if isinstance(exponent, _Number) else 0.0 if base == 0 and _growth(exponent) == 0 else None
        return None if base is None or fixed is None else base * fixed
    if node.name == "where":
        return _shared_growth(node.arguments[1:]) if _growth(node.arguments[0]) == 0 else None
    if node.name in ("*", "/"):
        left, right = (_growth(one) for one in node.arguments)
        return None if left is None or right is None else left + right if node.name == "*" else left - right
    own = _shared_growth(node.arguments)
    if node.name == "sqrt":
        return None if own is None else own / 2
    if node.name in _CONDITIONS:
        return None if own is None else 0.0
    return own if node.name not in ("log", "exp") or own == 0 else None


def _shared_growth(nodes: tuple[_Node, ...]) -> float | None:
    """The growth all have in common; a zero goes with any."""
    found = {_growth(one) for one in nodes if not (isinstance(one, _Number) and one.value == 0)}
    return found.pop() if len(found) == 1 else None if found else 0.0
