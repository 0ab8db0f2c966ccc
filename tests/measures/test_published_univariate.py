"""The univariate tables of NannyML's documentation come out of our own arithmetic."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from measures import published

from monitoring_assets.measures.distances import Bins, between_categories, between_numbers, fit_bins, slices_of, walk
from monitoring_assets.measures.distribution import Numbers, summarize_categories, summarize_numbers

pytestmark = pytest.mark.xdist_group("published")  # the data set is shared within one worker

CHUNK_ROWS, NANNYML_BINS = 5000, 10_000
NUMERIC = {*published.NUMERIC_COLUMNS, "y_pred_proba"}


@cache
def car_loans() -> tuple[pd.DataFrame, pd.DataFrame]:
    with warnings.catch_warnings():  # the loader uses a deprecated reader of package data
        warnings.simplefilter("ignore")
        import nannyml

        reference, analysis, _ = nannyml.load_synthetic_car_loan_dataset()
    return reference, analysis


def chunk(column: str, period: str, number: int) -> pd.Series:
    rows = car_loans()[0 if period == "reference" else 1]
    return rows[column].iloc[number * CHUNK_ROWS : (number + 1) * CHUNK_ROWS]


@cache
def reference_of(column: str) -> tuple[Numbers, Bins]:
    summary = summarize_numbers(car_loans()[0][column].to_numpy(dtype="float64"))
    return summary, fit_bins(summary)


def ours(column: str, period: str, number: int, method: str) -> float:
    rows = chunk(column, period, number)
    if column not in NUMERIC:
        known = summarize_categories(car_loans()[0][column])
        return between_categories(known, summarize_categories(rows), [method])[method].value
    summary, bins = reference_of(column)
    own = np.sort(rows.to_numpy(dtype="float64"))
    return between_numbers(summary, slices_of(own), len(own), 0, bins, [method])[method].value


def binned_kolmogorov_smirnov(column: str, period: str, number: int) -> float:
    """Our walk over NannyML's bins: the largest difference at their edges."""
    summary, bins = reference_of(column)
    values = summary.expanded()
    own = np.sort(chunk(column, period, number).to_numpy(dtype="float64"))
    edges = np.linspace(values[0], values[-1], NANNYML_BINS + 1)
    walked = walk(summary, slices_of(own), len(own), Bins(edges, bins.deciles, bins.deviation), ["kolmogorov_smirnov"])
    below = (own < edges[0]).mean()
    return float(np.abs(np.cumsum(walked.reference_edges) - np.cumsum(walked.chunk_edges) - below).max())


def cells() -> list[tuple[str, str, str, int, float, int]]:
    """Every printed number: column, method, period, chunk, value and how many digits are printed."""
    found = [
        (column, method, period, number, value, 6 if method == "jensen_shannon" else 5)
        for (column, method, period), values in published.UNIVARIATE.items()
        for number, value in enumerate(values)
    ]
    for method, values in published.UNIVARIATE_DEBT_TO_INCOME.items():
        digits = 6 if method == "jensen_shannon" else 5
        found += [("debt_to_income_ratio", method, "analysis", number, value, digits) for number, value in enumerate(values)]
    for (method, period), values in published.UNIVARIATE_OTHER_RELEASE.items():
        if method == "jensen_shannon":
            found += [("debt_to_income_ratio", method, period, number, value, 6) for number, value in enumerate(values)]
    return found


def rows() -> list[tuple[str, int, str, str, float]]:
    """The table in full width, six significant digits."""
    return [
        (period, number, column, method, value)
        for (period, number), columns in published.UNIVARIATE_ROWS.items()
        for column, methods in columns.items()
        for method, value in methods.items()
    ]


def test_every_printed_jensen_shannon_comes_out_digit_for_digit():
    printed = [cell for cell in cells() if cell[1] == "jensen_shannon"]
    assert len(printed) >= 90
    wrong = [
        (cell, ours(cell[0], cell[2], cell[3], cell[1]))
        for cell in printed
        if round(ours(cell[0], cell[2], cell[3], cell[1]), cell[5]) != cell[4]
    ]
    assert wrong == []


def test_every_printed_kolmogorov_smirnov_comes_out_over_the_bins_of_nannyml():
    printed = [cell for cell in cells() if cell[1] == "kolmogorov_smirnov"]
    assert len(printed) >= 50
    wrong = [(cell, found) for cell in printed if round(found := binned_kolmogorov_smirnov(cell[0], cell[2], cell[3]), 5) != cell[4]]
    assert wrong == []


def test_the_exact_kolmogorov_smirnov_lies_at_most_the_width_of_a_bin_above_the_printed_one():
    for column, method, period, number, value, _ in cells():
        if method == "kolmogorov_smirnov":
            assert -1e-9 <= ours(column, period, number, method) - value <= 0.00031


def test_the_printed_rows_of_all_columns_come_out():
    for period, number, column, method, value in rows():
        if method == "kolmogorov_smirnov":
            assert binned_kolmogorov_smirnov(column, period, number) == pytest.approx(value, rel=5e-6)
        else:
            assert float(f"{ours(column, period, number, method):.6g}") == value, (period, number, column, method)
