"""Columns that trade places are named exactly; new levels, seasons and dead sensors are no trade."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.measures.diagnosis.permutation import Fit, cycles
from monitoring_assets.measures.diagnosis.remap import Remapping, find_remapping
from monitoring_assets.measures.diagnosis.units import CONVERSIONS, find_unit_changes

SAMPLES = Path(__file__).parents[2] / "models" / "samples"
SENSORS = ["temperature", "dew_point", "sea_level_pressure", "visibility", "avg_wind", "max_wind", "max_temp", "min_temp"]
ROTATION = {name: SENSORS[(place + 1) % 8] for place, name in enumerate(SENSORS)}
MISWIRED = "1982-01-01"


@cache
def weather(name: str = "weather_station_control") -> pd.DataFrame:
    return pd.read_parquet(SAMPLES / f"{name}.parquet")


@cache
def reference() -> pd.DataFrame:
    log = weather()
    return log[(log["date"] >= "1960-01-01") & (log["date"] < "1970-01-01")]


def quarters(log: pd.DataFrame, start: str) -> list[pd.DataFrame]:
    late = log[log["date"] >= start]
    return [own for _, own in late.groupby(late["date"].dt.to_period("Q")) if len(own) > 80]


def swapped(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """Each column carries the next one's signal."""
    return rows.assign(**{name: rows[columns[(place + 1) % len(columns)]] for place, name in enumerate(columns)})


def test_every_quarter_of_the_miswired_weather_station_gives_exactly_the_rotation():
    found = [find_remapping(reference(), rows, SENSORS) for rows in quarters(weather("weather_station"), MISWIRED)[::8]]
    assert len(found) >= 8
    assert all(one.pairs == ROTATION for one in found)


def test_null_twin_the_repaired_log_gives_nothing_in_any_season_or_decade():
    found = [find_remapping(reference(), rows, SENSORS) for rows in quarters(weather(), "1949-01-01")[::13]]
    assert len(found) >= 15
    assert not any(one.is_found for one in found)


@pytest.mark.parametrize("columns", [("dew_point", "visibility"), ("temperature", "avg_wind", "sea_level_pressure"), SENSORS[::-1]])
def test_any_number_of_swapped_columns_is_named(columns):
    rows = quarters(weather(), "1975-01-01")[1]
    expected = {name: columns[(place + 1) % len(columns)] for place, name in enumerate(columns)}
    assert find_remapping(reference(), swapped(rows, *columns), SENSORS).pairs == expected


@pytest.mark.parametrize("fault", ["shift", "scale", "noise", "stuck", "missing", "late"])
@pytest.mark.parametrize("column", ["temperature", "visibility"])
def test_null_twin_one_column_that_moved_or_died_has_not_traded_places(fault: str, column: str):
    rows = quarters(weather(), "1975-01-01")[2].copy()
    own = rows[column]
    noise = np.random.default_rng(0).normal(size=len(rows))
    broken = {"shift": own + 3, "scale": own * 4, "noise": noise, "stuck": 1.0, "missing": np.nan, "late": own.shift(1)}
    rows[column] = broken[fault]
    assert not find_remapping(reference(), rows, SENSORS).is_found


def independent(seed: int, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"a": rng.normal(0, 1, n), "b": rng.normal(3, 1, n), "c": rng.exponential(1, n), "d": rng.uniform(0, 1, n)})


def test_columns_unrelated_to_each_other_are_told_by_their_distributions():
    before, now = independent(0, 2000), independent(1, 91)
    assert find_remapping(before, swapped(now, "a", "b"), list("abcd")).pairs == {"a": "b", "b": "a"}


@pytest.mark.parametrize("moves", [{"a": 3.0}, {"a": 9.0}, {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}])
def test_null_twin_unrelated_columns_that_only_shift_stay_where_they_are(moves):
    now = independent(1, 91)
    assert not find_remapping(
        independent(0, 2000), now.assign(**{name: now[name] + by for name, by in moves.items()}), list("abcd")
    ).is_found


def test_the_recovery_undoes_the_fault():
    rows = quarters(weather("weather_station"), MISWIRED)[0]
    found = find_remapping(reference(), rows, SENSORS)
    text = found.recovery(SENSORS)
    assert text.startswith("temperature now carries dew_point's signal; ")
    order = dict(part.split(" from ") for part in text.rstrip(".").rsplit(": ", 1)[1].split(", "))
    mended = rows.assign(**{name: rows[column] for name, column in order.items()})
    pd.testing.assert_frame_equal(mended[SENSORS], weather().loc[rows.index, SENSORS])
    assert Remapping().recovery(SENSORS) == ""


def test_the_fall_of_an_exchange_is_the_difference_of_the_misfits():
    values = reference()[SENSORS].to_numpy()
    problem = Fit.of(values, [values[i : i + 200] for i in range(0, 2000, 200)]).problem(values[3000:3100])
    order = np.random.default_rng(0).permutation(8)
    other = order.copy()
    other[[2, 5]] = order[[5, 2]]
    assert problem.exchanges(order, 0.3)[2, 5] == pytest.approx(problem.misfit(other, 0.3) - problem.misfit(order, 0.3))


def test_cycles_leave_out_what_stays():
    assert cycles(np.array([1, 0, 2, 4, 5, 3])) == [[0, 1], [3, 4, 5]]


def test_too_few_rows_say_so():
    assert "expected at least" in find_remapping(reference(), reference().iloc[:10], SENSORS).reason


# --- units ------------------------------------------------------------------------------------------------------------


def physical(seed: int, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"celsius": rng.normal(20, 5, n), "wind": rng.gamma(4, 2, n), "level": rng.normal(0, 1, n)})


@pytest.mark.parametrize(
    ("column", "factor", "offset", "what"),
    [
        ("celsius", 1.8, 32.0, "degrees Celsius became degrees Fahrenheit"),
        ("celsius", 1.0, 273.15, "degrees Celsius became kelvin"),
        ("celsius", -1.0, 0.0, "the sign was flipped"),
        ("wind", 2.236936, 0.0, "metres a second became miles an hour"),
        ("wind", 1000.0, 0.0, "its unit became 1/1000 of it"),
    ],
)
def test_a_column_in_another_unit_is_named_with_its_conversion(column, factor, offset, what):
    found = []
    for seed in range(1, 7):
        now = physical(seed, 91)
        now[column] = now[column] * factor + offset
        found += find_unit_changes(physical(0, 4000), now, list(now))
    assert len(found) >= 4
    assert {(one.column, one.what) for one in found} == {(column, what)}
    assert column in found[0].recovery


@pytest.mark.parametrize(("factor", "offset"), [(1.0, 0.0), (1.0, 15.0), (4.0, 0.0)])
def test_null_twin_a_shift_or_scale_that_no_unit_explains_says_nothing(factor: float, offset: float):
    for seed in range(1, 7):
        now = physical(seed, 91)
        assert find_unit_changes(physical(0, 4000), now.assign(celsius=now["celsius"] * factor + offset), list(now)) == []


def test_null_twin_the_repaired_weather_log_has_no_new_unit():
    assert all(find_unit_changes(reference(), rows, SENSORS) == [] for rows in quarters(weather(), "1970-01-01")[::5])


def test_every_conversion_has_its_reverse():
    numbers = list(CONVERSIONS.values())
    for factor, offset in numbers:
        assert any(np.allclose((other * factor, other * offset + back), (1.0, 0.0)) for other, back in numbers)
