"""Declared physical constraints: what must hold on every row, and how fast a value may change.

Belongs here: judging rows against rules, counting and naming what broke them. Does not: the language of rules (``expression.py``), ranges
of features (``quality.py``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitoring_assets.measures.lines import lines_of
from monitoring_assets.measures.number import NAN
from resources.expression import Expression, ExpressionError, parse
from resources.policy import MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

RULE_BROKEN_SHARE = "rule_broken_share"
WORST_ROWS = 5
#: A rate this little beyond its limit is a rounding error of the division by time.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class RateOfChange:
    """``column`` changes by at most ``most_per_hour`` (its unit per hour), up or down, within each value of ``segment`` where one is given."""

    column: str
    most_per_hour: float
    segment: str | None = None


@dataclass(frozen=True)
class Rule:
    """A declared constraint.

    Attributes:
        name: what the rule is called in the lake and the UI.
        constraint: a condition that is true on every sound row, or the fastest sound change.
        blocks: whether a breach stops the chunk from being judged; else it is only shown.
        allowed_share: largest share of judged rows that may break it, in [0, 1].

    Raises:
        ExpressionError: the expression is a number, not a condition.
    """

    name: str
    constraint: Expression | RateOfChange
    blocks: bool = True
    allowed_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a number: it would be true wherever it is not zero."""
        if isinstance(self.constraint, Expression) and not self.constraint.is_condition:
            raise ExpressionError(f"rule {self.name}: got {self.constraint.text!r}, a number; expected a condition, such as a <= b")


@dataclass(frozen=True)
class WorstRow:
    """A row that broke a rule, and what it holds."""

    prediction_id: str
    text: str


@dataclass(frozen=True)
class RuleResult:
    """How often a rule was broken: ``share`` of the judged rows, NaN where none could be judged, and up to five rows, the worst first."""

    name: str
    n_judged: int
    n_broken: int
    share: float
    worst: tuple[WorstRow, ...]


def declared(policy: MonitoredModel) -> list[Rule]:
    """The rules of a declaration, parsed; a rate of change is that within each value of the first segment column."""
    columns = [*policy.features.all, *policy.predictions]
    segment = next(iter(policy.segments), None)
    constraints = [
        parse(rule.holds, columns=columns, aggregates=False)
        if rule.holds
        else RateOfChange(rule.column or "", rule.most_per_hour or 0.0, segment)
        for rule in policy.validation.rules
    ]
    return [Rule(rule.name, own, rule.blocks, rule.share) for rule, own in zip(policy.validation.rules, constraints, strict=True)]


def range_condition(column: str, low: float | None, high: float | None) -> Expression:
    """The condition that ``column``, also ``y_pred`` or ``y_pred_proba``, lies within ``[low, high]``; ``None`` leaves a side open.

    Raises:
        ValueError: both sides are open, or they are the wrong way round.

    >>> range_condition("y_pred_proba", 0, 1).text
    '0.0 <= `y_pred_proba` <= 1.0'
    """
    if (low is None and high is None) or (low is not None and high is not None and low > high):
        raise ValueError(f"got the range {low} to {high} of {column!r}; expected at least one side, and the lower one first")
    sides = ("" if low is None else f"{float(low)!r} <= ", "" if high is None else f" <= {float(high)!r}")
    return parse(f"{sides[0]}`{column}`{sides[1]}", columns=[column], aggregates=False)


def check_rules(rules: Sequence[Rule], frame: "pd.DataFrame") -> list[RuleResult]:
    """Judge every rule on the rows of one chunk.

    Args:
        rules: any number.
        frame: ``(n_rows, ...)`` with ``prediction_id``, the columns of the rules and, for rates of change, ``time``; in any order.

    Returns:
        One result per rule, in order. A condition is not judged where it is unknown because of a NaN. A rate is judged on every row with
        a value that has an earlier one in its segment, over the time that really passed between the two: missing values
        and gaps only make that longer. Rows of the same moment are not judged. The row before the chunk is not looked at,
        so that a chunk gives the same result alone.

    Raises:
        ExpressionError: the frame lacks a column of a rule, or holds text in one.
    """
    return [_result(rule, frame, _excess(rule.constraint, frame)) for rule in rules]


def _excess(constraint: Expression | RateOfChange, frame: "pd.DataFrame") -> "np.ndarray":
    """How badly each row breaks the constraint ``(n_rows,)``: above zero where broken, negative infinity where it holds, NaN where unknown."""
    import numpy as np

    if isinstance(constraint, RateOfChange):
        rate, most = _rates(constraint, frame), constraint.most_per_hour
        return np.where(np.isnan(rate), np.nan, np.where(rate > most * (1 + _ROUNDING), rate, -np.inf))
    holds = constraint.rows(frame)
    amount = np.nan_to_num(np.abs(constraint.excess(frame)), nan=0.0) + np.finfo("float64").tiny
    return np.where(np.isnan(holds), np.nan, np.where(holds == 0, amount, -np.inf))


def _rates(rate: RateOfChange, frame: "pd.DataFrame") -> "np.ndarray":
    """Absolute change per hour since the last value of the segment ``(n_rows,)``, in the order of ``frame``."""
    import numpy as np
    import pandas as pd

    lacking = [name for name in (rate.segment, "time") if name is not None and name not in frame]
    if lacking:
        raise ExpressionError(f"got rows without the column {lacking[0]!r}; expected it: read it with the rows, or change the rule")
    values = parse(f"`{rate.column}`", columns=[rate.column], aggregates=False).rows(frame)
    own = pd.DataFrame({"value": values, "time": frame["time"].reset_index(drop=True)})
    own["segment"] = "" if rate.segment is None else frame[rate.segment].astype(object).to_numpy()
    known = own.dropna(subset=["value"]).sort_values("time", kind="stable")
    before = known.groupby("segment", dropna=False)[["value", "time"]].shift()
    hours = ((known["time"] - before["time"]).dt.total_seconds() / 3600).to_numpy()
    change = np.abs(known["value"] - before["value"]).to_numpy()
    found = np.full(len(frame), np.nan)
    found[known.index.to_numpy()] = np.divide(change, hours, out=np.full(len(hours), np.nan), where=hours > 0)
    return found


def _result(rule: Rule, frame: "pd.DataFrame", excess: "np.ndarray") -> RuleResult:
    import numpy as np

    judged, broken = int((~np.isnan(excess)).sum()), np.flatnonzero(excess > 0)
    worst = broken[np.argsort(-excess[broken], kind="stable")][:WORST_ROWS]
    told = tuple(WorstRow(str(frame["prediction_id"].iloc[place]), _text(rule.constraint, frame, excess, place)) for place in worst)
    return RuleResult(rule.name, judged, len(broken), len(broken) / judged if judged else NAN, told)


def _text(constraint: Expression | RateOfChange, frame: "pd.DataFrame", excess: "np.ndarray", place: int) -> str:
    if isinstance(constraint, RateOfChange):
        return f"{constraint.column} changed by {excess[place]:.4g} per hour, to {_shown(frame, constraint.column, place)}"
    return ", ".join(f"{name} = {_shown(frame, name, place)}" for name in constraint.columns)


def _shown(frame: "pd.DataFrame", name: str, place: int) -> str:
    import pandas as pd

    value = frame[name].iloc[place]
    return "missing" if pd.isna(value) else f"{float(value):.6g}"


def sanity_lines(policy: MonitoredModel, rules: Sequence[Rule], rows: "pd.DataFrame") -> "pd.DataFrame":
    """Judge every rule on every chunk in ``rows``; chunk by chunk gives the same numbers.

    Args:
        policy: declares the chunk.
        rules: any number.
        rows: ``(n_rows, ...)`` with ``time``, ``prediction_id`` and the columns of the rules.

    Returns:
        Lines of kind ``data_quality``, one per chunk and rule: the share of judged rows that broke it with its binomial standard error, the
        allowed share as upper limit, and the worst rows as reason. Lines of rules that do not block do not decide. NaN where
        no row could be judged, and never a breach then.
    """
    chunks = rows.groupby(policy.cadence.keys(rows["time"]), sort=True)
    return lines_of([
        {"chunk": chunk, **_line(rule, result)} for chunk, own in chunks for rule, result in zip(rules, check_rules(rules, own), strict=True)
    ])  # fmt: skip


def _line(rule: Rule, result: RuleResult) -> dict[str, object]:
    share, judged = result.share, result.n_judged
    told = "; ".join(f"{one.prediction_id}: {one.text}" for one in result.worst)
    return {
        "kind": str(Kind.DATA_QUALITY), "method": RULE_BROKEN_SHARE, "subject": result.name, "value": share,
        "standard_error": (share * (1 - share) / judged) ** 0.5 if judged else NAN, "n_rows": judged, "upper_limit": rule.allowed_share,
        "breach": share > rule.allowed_share, "is_deciding": rule.blocks,
        "reason": told if judged else "got no row on which the rule is known; expected values in its columns",
    }  # fmt: skip
