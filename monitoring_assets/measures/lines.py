"""The long shape every measured number has before its stage and time are added: a line.

Belongs here: column names, the segment and comparison names of lines about all rows, filling what a line leaves out. Does not: computing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: Columns of every measured number, before its stage and time are added.
COLUMNS = [
    "chunk", "kind", "method", "subject", "segment", "compared_with", "value", "standard_error", "n_rows", "effect", "p_value",
    "adjusted_p_value", "lower_limit", "upper_limit", "breach", "is_deciding", "reason",
]  # fmt: skip
#: Columns that lines start from; ``with_all_columns`` adds the rest.
FILLED = ["chunk", "kind", "method", "subject", "value", "standard_error", "n_rows", "lower_limit", "upper_limit", "breach"]
#: Segment name of all rows, and name of the plain comparison.
ALL, REFERENCE = "all", "reference"

_TYPES = dict.fromkeys(
    ("value", "standard_error", "effect", "p_value", "adjusted_p_value", "lower_limit", "upper_limit"), "float64"
) | {"n_rows": "int64", "breach": "bool", "is_deciding": "bool"}  # fmt: skip


def with_all_columns(lines: "pd.DataFrame") -> "pd.DataFrame":
    """Lines of all rows against the reference, decided by their limits alone: the columns that say otherwise are filled in."""
    blank = dict.fromkeys(("effect", "p_value", "adjusted_p_value"), float("nan"))
    whole = {"segment": ALL, "compared_with": REFERENCE, "is_deciding": True, "reason": ""}
    return lines.assign(**{name: value for name, value in (blank | whole).items() if name not in lines})[COLUMNS]


def lines_of(rows: Sequence[dict[str, object]]) -> "pd.DataFrame":
    """Lines from plain records, each with at least ``chunk, kind, method, subject, value, n_rows``; typed, also where there is none."""
    import pandas as pd

    numbers = dict.fromkeys(("standard_error", "lower_limit", "upper_limit"), float("nan"))
    filled = [{**numbers, "breach": False, **row} for row in rows]
    frame = pd.DataFrame(filled) if filled else pd.DataFrame(columns=FILLED)
    return typed(with_all_columns(frame))


def typed(lines: "pd.DataFrame") -> "pd.DataFrame":
    """Lines with the column types of the table."""
    return lines.astype(_TYPES)


def joined(parts: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    """Lines of several measures one below the other; those without any are left out."""
    import pandas as pd

    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else lines_of([])
