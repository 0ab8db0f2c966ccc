"""Business KPIs keep the stated false alarms on dependent rows, count a busy day as none, and see a KPI that moved."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter

from monitoring_assets.measures.kpi import FittedKpi, fit_kpis, kpi_lines
from monitoring_assets.measures.lines import COLUMNS
from resources.expression import Expression, parse

DAYS, ROWS_A_DAY, FALSE_ALARMS = 60, 60, 0.05


def kpi(text: str) -> Expression:
    return parse(text, columns=["y_pred", "amount", "y_true"], aggregates=True)


KPIS = {
    "profit": kpi("sum(y_pred - 1)"), "profit a row": kpi("sum(y_pred - 1) / count()"), "yield": kpi("sum(y_true * amount) / sum(amount)"),
    "high share": kpi("mean(y_pred > 1)"), "revenue": kpi("sum(amount)"),
}  # fmt: skip


@pytest.fixture(scope="module")
def policy(declare):
    return declare(drift={"limit": {"false_alarms": FALSE_ALARMS}})


def log(seed: int, days: int = DAYS, *, rho: float = 0.9, rise: float = 0.0, busy: int = 1) -> pd.DataFrame:
    """Rows whose predictions drift slowly to and fro around zero; ``rise`` lifts them, ``busy`` gives each day as many times the rows."""
    rng = np.random.default_rng(seed)
    n = days * ROWS_A_DAY * busy
    values = lfilter([math.sqrt(1 - rho**2)], [1, -rho], rng.normal(size=n + 300))[300:]
    return pd.DataFrame({
        "time": pd.date_range("2024-01-01", periods=n, freq=f"{24 * 60 * 60 // ROWS_A_DAY // busy}s", tz="UTC"), "y_pred": values + rise,
        "amount": rng.lognormal(0, 1.0, n), "y_true": (rng.random(n) < 0.5 + 0.1 * np.tanh(values + rise)).astype(float),
    })  # fmt: skip


@pytest.fixture(scope="module")
def fitted(policy) -> dict[str, FittedKpi]:
    return fit_kpis(policy, KPIS, log(0))


def test_every_chunk_has_one_line_per_kpi_with_the_value_of_its_rows(policy, fitted: dict[str, FittedKpi]):
    rows = log(1, days=2)
    lines = kpi_lines(policy, KPIS, fitted, rows)
    assert list(lines.columns) == COLUMNS
    assert lines["subject"].tolist() == [*KPIS, *KPIS]
    assert set(lines["kind"]) == {"business_kpi"}
    assert set(lines["method"]) == {"kpi"}
    first = rows.iloc[:ROWS_A_DAY]
    expected = [
        (first["y_pred"] - 1).sum(),
        (first["y_pred"] - 1).mean(),
        np.average(first["y_true"], weights=first["amount"]),
        (first["y_pred"] > 1).mean(),
        first["amount"].sum(),
    ]
    assert lines["value"][:5].tolist() == pytest.approx(expected)
    assert lines["standard_error"][0] == pytest.approx(first["y_pred"].std() * math.sqrt(ROWS_A_DAY))
    assert (lines["standard_error"] > 0).all()
    assert (lines["n_rows"] == ROWS_A_DAY).all()


def test_null_twin_dependent_chunks_alarm_no_more_often_than_stated(policy):
    alarms: list[bool] = []
    for seed in range(6):
        lines = kpi_lines(policy, KPIS, fit_kpis(policy, KPIS, log(seed)), log(100 + seed))
        alarms += lines.groupby("chunk")["breach"].any().tolist()
    assert len(alarms) == 6 * DAYS
    assert np.mean(alarms) <= FALSE_ALARMS + 3 * math.sqrt(FALSE_ALARMS * (1 - FALSE_ALARMS) / len(alarms))


@pytest.mark.parametrize("rise", [3.0, -3.0])
def test_a_kpi_that_moved_up_or_down_is_found_and_its_null_twin_is_not(policy, fitted: dict[str, FittedKpi], rise: float):
    moved, still = (kpi_lines(policy, KPIS, fitted, log(5, days=20, rise=own)) for own in (rise, 0.0))
    for name in ("profit", "profit a row"):
        own = moved[moved["subject"] == name]
        assert own["breach"].mean() >= 0.9
        beyond = own["value"] > own["upper_limit"] if rise > 0 else own["value"] < own["lower_limit"]
        assert beyond.equals(own["breach"])
    assert still["breach"].mean() <= 0.05


def test_a_busy_day_is_shown_but_is_no_breach_of_a_sum(policy, fitted: dict[str, FittedKpi]):
    calm, busy = (kpi_lines(policy, KPIS, fitted, log(6, days=20, busy=own)) for own in (1, 4))
    totals = [own.loc[own["subject"] == "profit", "value"].mean() for own in (calm, busy)]
    assert totals[1] == pytest.approx(4 * totals[0], rel=0.2)
    assert busy["breach"].mean() <= 0.05
    moved = kpi_lines(policy, KPIS, fitted, log(6, days=20, busy=4, rise=3.0))
    assert moved.loc[moved["subject"] == "profit", "breach"].all()


def test_a_sum_and_its_value_a_row_say_the_same(policy, fitted: dict[str, FittedKpi]):
    lines = kpi_lines(policy, KPIS, fitted, log(7, days=20, rise=0.8)).set_index("subject")
    total, row = lines.loc["profit"], lines.loc["profit a row"]
    for column in ("p_value", "breach"):
        assert total[column].tolist() == pytest.approx(row[column].tolist())
    for column in ("value", "lower_limit", "upper_limit"):
        assert total[column].to_numpy() == pytest.approx(row[column].to_numpy() * ROWS_A_DAY)


def test_a_value_breaches_exactly_outside_its_limits(policy, fitted: dict[str, FittedKpi]):
    lines = kpi_lines(policy, KPIS, fitted, log(8, days=20, rise=1.0))
    outside = (lines["value"] < lines["lower_limit"]) | (lines["value"] > lines["upper_limit"])
    assert outside.tolist() == lines["breach"].tolist() == (lines["adjusted_p_value"] < FALSE_ALARMS).tolist()
    assert 0 < lines["breach"].sum() < len(lines)


def test_unit_and_sign_of_a_kpi_do_not_matter(policy):
    plain, scaled = {"own": kpi("mean(y_pred)")}, {"own": kpi("-1000000 * mean(y_pred) - 5")}
    rows = log(9, days=10, rise=0.8)
    first, second = (kpi_lines(policy, own, fit_kpis(policy, own, log(0)), rows) for own in (plain, scaled))
    assert first["p_value"].tolist() == pytest.approx(second["p_value"].tolist(), rel=1e-6)
    assert first["breach"].tolist() == second["breach"].tolist()
    assert first["lower_limit"].to_numpy() * -1e6 - 5 == pytest.approx(second["upper_limit"].to_numpy())


def test_a_sum_less_a_fixed_cost_is_only_compared_on_chunks_as_large_as_a_block(policy):
    own = {"net": kpi("sum(y_pred + 10) - 500")}
    fit = fit_kpis(policy, own, log(0))
    usual, busy = (kpi_lines(policy, own, fit, log(1, days=5, busy=times)) for times in (1, 4))
    assert usual["upper_limit"].notna().all()
    assert not usual["breach"].any()
    assert busy["upper_limit"].isna().all()
    assert busy["reason"].str.contains("grows as no power of the rows").all()
    assert not busy["breach"].any()


def test_rows_without_an_outcome_are_left_out(policy, fitted: dict[str, FittedKpi]):
    rows = log(1, days=2)
    rows.loc[:29, "y_true"] = np.nan
    rows.loc[rows["time"] >= "2024-01-02", "y_true"] = np.nan
    lines = kpi_lines(policy, KPIS, fitted, rows)
    own = lines[lines["subject"] == "yield"].reset_index(drop=True)
    assert own["n_rows"].tolist() == [ROWS_A_DAY - 30, 0]
    assert math.isnan(own["value"][1])
    assert not own["breach"].any()
    assert "got no value" in own["reason"][1]
    assert (lines.loc[lines["subject"] == "profit", "n_rows"] == ROWS_A_DAY).all()


def test_a_kpi_that_never_varies_or_was_hardly_seen_is_shown_and_not_judged(policy):
    own = {"rows": kpi("count()")}
    lines = kpi_lines(policy, own, fit_kpis(policy, own, log(0)), log(1, days=1, busy=4))
    assert lines["value"].tolist() == [4.0 * ROWS_A_DAY]
    assert lines["reason"].str.contains("same value in every block").all()
    short = fit_kpis(policy, KPIS, log(0, days=1).iloc[:6])
    lines = kpi_lines(policy, KPIS, short, log(1, days=1, rise=50.0))
    assert not lines["breach"].any()
    assert lines["reason"].str.contains("too few reference rows").all()


def test_what_is_stored_measures_the_same(policy, fitted: dict[str, FittedKpi]):
    plain = json.loads(json.dumps({name: own.as_plain() for name, own in fitted.items()}, allow_nan=False))
    stored = {name: FittedKpi.from_plain(own) for name, own in plain.items()}
    assert stored == fitted
    rows = log(2, days=2)
    pd.testing.assert_frame_equal(kpi_lines(policy, KPIS, stored, rows), kpi_lines(policy, KPIS, fitted, rows))


def test_a_chunk_alone_gives_what_the_whole_history_gives(policy, fitted: dict[str, FittedKpi]):
    rows = log(2, days=3)
    alone = [kpi_lines(policy, KPIS, fitted, own) for _, own in rows.groupby(rows["time"].dt.date)]
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), kpi_lines(policy, KPIS, fitted, rows))


def test_no_rows_or_no_kpis_give_no_lines(policy, fitted: dict[str, FittedKpi]):
    for lines in (kpi_lines(policy, KPIS, fitted, log(0).iloc[:0]), kpi_lines(policy, {}, {}, log(0, days=1))):
        assert list(lines.columns) == COLUMNS
        assert lines.empty
