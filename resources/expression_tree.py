"""The parts an expression is made of, and what can be told of a tree without any rows.

Belongs here: nodes, aggregates among them, growth. Does not: reading texts (``expression_reader.py``), values (``expression_values.py``).
"""

from dataclasses import dataclass

AGGREGATES = ("sum", "mean", "count")
#: Functions with the fewest and most arguments.
FUNCTIONS = {"abs": (1, 1), "min": (2, 20), "max": (2, 20), "log": (1, 1), "exp": (1, 1), "sqrt": (1, 1), "where": (3, 3)}
#: Operators whose value is true, false or unknown.
CONDITIONS = {"<", "<=", ">", ">=", "==", "!=", "and", "or", "not"}


class ExpressionError(ValueError):
    """The text says something the language does not have, or a frame lacks what it names."""


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Column:
    """A column by its name."""

    name: str


@dataclass(frozen=True)
class Total:
    """An aggregate of a row-wise term; ``count()`` has the term 1."""

    name: str
    term: "Node"


@dataclass(frozen=True)
class Call:
    """An operator or function with what it takes."""

    name: str
    arguments: tuple["Node", ...]


Node = Number | Column | Total | Call


def totals_of(node: Node) -> tuple[Total, ...]:
    """Every aggregate of a tree, once."""
    if isinstance(node, Total):
        return (node,)
    own = node.arguments if isinstance(node, Call) else ()
    return tuple(dict.fromkeys(total for one in own for total in totals_of(one)))


def growth_of(node: Node) -> float | None:
    """The power of the number of rows an aggregate follows; ``None`` for none."""
    if isinstance(node, Total):
        return 0.0 if node.name == "mean" else 1.0
    if not isinstance(node, Call):
        return 0.0
    if node.name == "**":
        base, exponent = growth_of(node.arguments[0]), node.arguments[1]
        fixed = exponent.value if isinstance(exponent, Number) else 0.0 if base == 0 and growth_of(exponent) == 0 else None
        return None if base is None or fixed is None else base * fixed
    if node.name == "where":
        return _shared_growth(node.arguments[1:]) if growth_of(node.arguments[0]) == 0 else None
    if node.name in ("*", "/"):
        left, right = (growth_of(one) for one in node.arguments)
        return None if left is None or right is None else left + right if node.name == "*" else left - right
    own = _shared_growth(node.arguments)
    if node.name == "sqrt":
        return None if own is None else own / 2
    if node.name in CONDITIONS:
        return None if own is None else 0.0
    return own if node.name not in ("log", "exp") or own == 0 else None


def _shared_growth(nodes: tuple[Node, ...]) -> float | None:
    """The growth all have in common; a zero goes with any."""
    found = {growth_of(one) for one in nodes if not (isinstance(one, Number) and one.value == 0)}
    return found.pop() if len(found) == 1 else None if found else 0.0
