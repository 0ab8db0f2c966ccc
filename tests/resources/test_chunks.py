"""Calendar chunks: every cadence cuts all of time, without gaps, in order."""

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest
from dateutil.relativedelta import relativedelta
from hypothesis import given
from hypothesis import strategies as st

from resources.chunks import CADENCES, as_utc, parse_duration

MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))
CADENCE = st.sampled_from(sorted(CADENCES.values(), key=lambda cadence: cadence.name))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("1h", relativedelta(hours=1)),
        ("30d", relativedelta(days=30)),
        ("12w", relativedelta(weeks=12)),
        ("6mo", relativedelta(months=6)),
        ("1q", relativedelta(months=3)),
        ("4y", relativedelta(years=4)),
        ("0d", relativedelta()),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, duration: relativedelta):
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "d", "30", "30 d", "-1d", "1.5d", "1m", "1D", "d30", "30d4h", "30d\n"])
def test_anything_else_is_no_duration(text: str):
    with pytest.raises(ValueError, match="expected a number and a unit of min, h, d, w, mo, q or y, such as 30d or 4y") as caught:
        parse_duration(text)
    assert str(caught.value).startswith(f"got {text!r}; ")


def test_a_month_is_a_calendar_month():
    assert utc(2024, 1, 31) + parse_duration("1mo") == utc(2024, 2, 29)


def test_a_naive_moment_is_taken_as_utc():
    assert as_utc(datetime(2024, 1, 1, 12)) == utc(2024, 1, 1, 12)


def test_a_moment_of_another_zone_is_converted():
    there = datetime(2024, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert as_utc(there) == there
    assert as_utc(there).isoformat() == "2023-12-31T23:30:00+00:00"


@pytest.mark.parametrize(
    ("name", "key", "start", "end"),
    [
        ("1h", "2024-05-15-13", utc(2024, 5, 15, 13), utc(2024, 5, 15, 14)),
        ("1d", "2024-05-15", utc(2024, 5, 15), utc(2024, 5, 16)),
        ("1w", "2024-05-13", utc(2024, 5, 13), utc(2024, 5, 20)),
        ("1mo", "2024-05-01", utc(2024, 5, 1), utc(2024, 6, 1)),
        ("1q", "2024-04-01", utc(2024, 4, 1), utc(2024, 7, 1)),
    ],
)
def test_a_moment_falls_in_the_calendar_chunk_around_it(name: str, key: str, start: datetime, end: datetime):
    cadence, moment = CADENCES[name], utc(2024, 5, 15, 13, 14, 15, 16)
    assert cadence.key(moment) == key
    assert cadence.floor(moment) == start
    assert (cadence.start(key), cadence.end(key)) == (start, end)


def test_a_moment_of_another_zone_falls_in_its_utc_chunk():
    late_evening_in_new_york = datetime(2024, 5, 14, 22, tzinfo=timezone(timedelta(hours=-4)))
    assert CADENCES["1d"].key(late_evening_in_new_york) == "2024-05-15"


@given(CADENCE, MOMENTS)
def test_every_moment_lies_in_its_own_chunk(cadence, moment: datetime):
    key = cadence.key(moment)
    assert cadence.start(key) == cadence.floor(moment) <= moment < cadence.end(key)
    assert cadence.floor(cadence.floor(moment)) == cadence.floor(moment)


@given(CADENCE, MOMENTS, MOMENTS)
def test_keys_sort_as_time_does(cadence, one: datetime, other: datetime):
    first, second = sorted([one, other])
    assert cadence.key(first) <= cadence.key(second)
    assert (cadence.key(first) == cadence.key(second)) == (cadence.floor(first) == cadence.floor(second))


@given(CADENCE, MOMENTS, st.integers(-200, 200))
def test_shifting_there_and_back_gives_the_same_chunk(cadence, moment: datetime, steps: int):
    key = cadence.key(moment)
    assert cadence.shift(cadence.shift(key, steps), -steps) == key


@given(CADENCE, MOMENTS)
def test_the_next_chunk_starts_where_this_one_ends(cadence, moment: datetime):
    key = cadence.key(moment)
    following = cadence.shift(key, 1)
    assert cadence.start(following) == cadence.end(key)
    assert cadence.key(cadence.start(following)) == following


@given(CADENCE, MOMENTS, st.integers(0, 40), st.integers(0, 10_000), st.integers(0, 10_000))
def test_keys_between_are_the_chunks_wholly_inside(cadence, start: datetime, steps: int, before: int, after: int):
    first = cadence.key(start)
    last = cadence.shift(first, steps)
    begin, end = cadence.start(first) + timedelta(milliseconds=before), cadence.end(last) + timedelta(milliseconds=after)
    keys = list(cadence.keys_between(begin, end))
    inside = [cadence.shift(first, step) for step in range(steps + 1)]
    assert keys == (inside[1:] if before else inside)


def test_no_chunk_lies_between_moments_of_one_chunk():
    assert list(CADENCES["1d"].keys_between(utc(2024, 5, 15, 1), utc(2024, 5, 15, 23))) == []


def test_no_chunk_lies_in_a_window_that_ends_before_it_starts():
    assert list(CADENCES["1d"].keys_between(utc(2024, 5, 15), utc(2024, 5, 10))) == []


@given(CADENCE, st.datetimes(datetime(1900, 1, 1), datetime(2199, 12, 31)))
def test_the_pandas_period_cuts_time_at_the_same_places(cadence, moment: datetime):
    period = pd.Timestamp(moment).to_period(cadence.period)
    assert period.start_time.to_pydatetime() == cadence.floor(moment).replace(tzinfo=None)


@given(CADENCE, st.lists(MOMENTS, max_size=8))
def test_keys_of_a_column_are_those_of_its_moments(cadence, several: list[datetime]):
    times = pd.Series(several, index=range(10, 10 + len(several)), dtype="datetime64[us, UTC]", name="time")
    expected = pd.Series([cadence.key(one) for one in several], index=times.index, dtype=object, name="time")
    pd.testing.assert_series_equal(cadence.keys(times), expected)
