"""Reading the text of an expression into a tree of allowed parts.

Belongs here: the grammar and its refusals. Does not: computing. Nothing of the text is ever run as Python: ``ast`` only reads it, and whatever
is not on the list below is refused.
"""

import ast
import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass

from resources.expression_tree import AGGREGATES, FUNCTIONS, Call, Column, ExpressionError, Node, Number, Total

MOST_NESTING = 50
_BINARY: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}
_UNARY: dict[type[ast.unaryop], str] = {ast.USub: "negative", ast.Not: "not"}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_LOGIC: dict[type[ast.boolop], str] = {ast.And: "and", ast.Or: "or"}
_ALLOWED = f"columns, numbers, + - * / **, comparisons, and, or, not and the functions {', '.join(FUNCTIONS)}"


@dataclass(frozen=True)
class Read:
    """A text as a tree, and the columns it names in the order of their first use."""

    tree: Node
    columns: tuple[str, ...]


def read(text: str, columns: Collection[str], *, aggregates: bool) -> Read:
    """Read ``text``, which may name ``columns``, and with ``aggregates`` sums them up.

    Raises:
        ExpressionError: it says what the language does not have.
    """
    reader = _Reader(text, columns, aggregates)
    return Read(reader.read(), tuple(dict.fromkeys(reader.used)))


class _Reader:
    """Turns Python's syntax tree of one text into own nodes; what it does not know it refuses."""

    def __init__(self, text: str, columns: Collection[str], aggregates: bool) -> None:
        self.text, self.columns, self.aggregates = text, set(columns), aggregates
        self.quoted: dict[str, str] = {}
        self.used: list[str] = []

    def read(self) -> Node:
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

    def node(self, part: ast.expr, depth: int, *, is_inside: bool) -> Node:
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
        return Call(name, arguments) if name != "chain" else self.chain(part, arguments)

    def chain(self, part: ast.expr, sides: tuple[Node, ...]) -> Node:
        names = [_COMPARISONS.get(type(one)) for one in getattr(part, "ops", [])]
        pairs = [Call(name, (left, right)) for name, left, right in zip(names, sides, sides[1:], strict=False) if name]
        if len(pairs) < len(names):
            raise self.refused("a comparison with is or in", "one of < <= > >= == !=")
        return pairs[0] if len(pairs) == 1 else Call("and", tuple(pairs))

    def number(self, value: object) -> Number:
        try:
            number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else float("nan")
        except OverflowError:
            number = float("inf")
        if not abs(number) < float("inf"):
            raise self.refused(repr(value)[:40], "finite numbers, and columns without quotes")
        return Number(number)

    def column(self, written: str, is_inside: bool) -> Column:
        name = self.quoted.get(written, written)
        if name not in self.columns:
            close = difflib.get_close_matches(name, self.columns, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise self.refused(f"column {name!r}", f"one of {', '.join(sorted(self.columns))}{hint}")
        if not is_inside:
            raise self.refused(f"column {name!r} outside an aggregate", f"it inside one, such as sum({name}) or mean({name})")
        self.used.append(name)
        return Column(name)

    def call(self, part: ast.Call, depth: int, is_inside: bool) -> Node:
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
        return Call(name, tuple(self.node(one, depth + 1, is_inside=is_inside) for one in part.args))

    def total(self, name: str, arguments: list[ast.expr], depth: int, is_inside: bool) -> Total:
        if is_inside:
            where = "inside another aggregate" if self.aggregates else "in a rule that is judged row by row"
            raise self.refused(f"{name}(...) {where}", "aggregates in KPIs only, and none inside another")
        if len(arguments) != (name != "count"):
            raise self.refused(
                f"{name}(...) with {len(arguments)} arguments", "count() without and sum(...) or mean(...) with one argument"
            )
        return Total(name, self.node(arguments[0], depth + 1, is_inside=True) if arguments else Number(1.0))


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
