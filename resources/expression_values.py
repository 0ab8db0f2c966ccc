"""What a tree is worth on rows, or on sums over rows.

Belongs here: computing with float arrays, NaN where something is not defined. Does not: texts, standard errors (``expression.py``).
"""

from collections.abc import Callable
from functools import cache, reduce
from typing import TYPE_CHECKING, Any

from resources.expression_tree import Call, Column, ExpressionError, Node, Number, Total

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


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


def _computed(node: Node, leaf: Callable[[Node], Any]) -> Any:
    """Value of a tree whose columns or aggregates ``leaf`` gives."""
    import numpy as np

    if not isinstance(node, Call):
        return leaf(node)
    with np.errstate(all="ignore"):  # what is not defined is NaN by rule
        return _operations()[node.name](*[_computed(one, leaf) for one in node.arguments])


def on_rows(node: Node, frame: "pd.DataFrame") -> "np.ndarray":
    """Values ``(n_rows,)`` of a tree without aggregates; see ``Expression.rows``."""
    import numpy as np

    def leaf(own: Node) -> Any:
        return _values(frame, own.name) if isinstance(own, Column) else getattr(own, "value", float("nan"))

    return np.broadcast_to(np.asarray(_computed(node, leaf), dtype="float64"), (len(frame),)).copy()


def _values(frame: "pd.DataFrame", name: str) -> "np.ndarray":
    import numpy as np

    if name not in frame:
        raise ExpressionError(f"got rows without the column {name!r}; expected it: read it with the rows, or change the expression")
    try:
        return np.asarray(frame[name].to_numpy(dtype="float64", na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"got text in the column {name!r}; expected numbers: expressions compute with numbers only") from error


def of_sums(tree: Node, totals: tuple[Total, ...], sums: "np.ndarray", n_rows: int) -> "np.ndarray":
    """Values ``(n_samples,)`` of a tree whose terms sum to ``sums`` ``(n_samples, n_totals)`` over ``n_rows`` rows."""
    import numpy as np

    own = {total: sums[:, place] / (n_rows if total.name == "mean" else 1) for place, total in enumerate(totals)}

    def leaf(node: Node) -> Any:
        return own[node] if isinstance(node, Total) else getattr(node, "value", float("nan"))

    return np.broadcast_to(np.asarray(_computed(tree, leaf), dtype="float64"), (len(sums),))


def excess_of(node: Node, frame: "pd.DataFrame") -> "np.ndarray":
    """How far a condition is from true ``(n_rows,)``; see ``Expression.excess``."""
    import numpy as np

    if isinstance(node, Call) and node.name in ("and", "or"):
        return reduce(np.fmax if node.name == "and" else np.fmin, [excess_of(one, frame) for one in node.arguments])
    if not isinstance(node, Call) or node.name not in ("<", "<=", ">", ">=", "=="):
        return on_rows(Number(0.0), frame)
    left, right = (on_rows(one, frame) for one in node.arguments)
    with np.errstate(invalid="ignore"):  # infinity minus infinity is unknown
        return np.abs(left - right) if node.name == "==" else left - right if node.name in ("<", "<=") else right - left
