"""One measured number: what every drift method returns."""

from dataclasses import dataclass

NAN = float("nan")


@dataclass(frozen=True)
class Number:
    """A value with what it takes to read it.

    ``value`` is the statistic or distance (0 means identical to the reference), ``effect`` its size in units that do
    not depend on the number of rows, ``p_value`` the chance of so large a value without drift (NaN where the method
    has none), ``n_rows`` the rows that entered, ``moved`` the share of them that would have to change for the value to
    vanish, ``reason`` why the value is NaN or what it points at.
    """

    value: float
    n_rows: int
    effect: float = NAN
    p_value: float = NAN
    standard_error: float = NAN
    reason: str = ""
    moved: float = NAN


def refused(reason: str, n_rows: int = 0) -> Number:
    """A number that could not be computed, and why."""
    return Number(NAN, n_rows, reason=reason)
