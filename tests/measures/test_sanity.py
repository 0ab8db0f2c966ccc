"""Declared physical constraints: what breaks them is counted and named, sound data is left alone."""

import doctest
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring_assets.measures import sanity
from monitoring_assets.measures.lines import COLUMNS
from monitoring_assets.measures.sanity import RULE_BROKEN_SHARE, RateOfChange, Rule, check_rules, range_condition, sanity_lines
from resources.expression import ExpressionError, parse

ORDERED = Rule("low below high", parse("low <= high", columns=["low", "high"], aggregates=False), allowed_share=0.01)
SPEED = Rule("level moves slowly", RateOfChange("low", most_per_hour=2.0))


def rows(days: int = 2, seed: int = 0) -> pd.DataFrame:
    """Hourly rows of two sites whose low and high move slowly, the low below the high."""
    rng = np.random.default_rng(seed)
    n = days * 24
    level = 10 + 3 * np.sin(np.arange(n) / 12)
    sites = [
        pd.DataFrame({
            "time": pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC"), "site": site, "low": level + offset,
            "high": level + offset + 1 + rng.random(n), "y_pred": level, "prediction_id": [f"{site}{hour}" for hour in range(n)],
        })
        for site, offset in (("a", 0.0), ("b", 50.0))
    ]  # fmt: skip
    return pd.concat(sites, ignore_index=True)


def only(rule: Rule, frame: pd.DataFrame) -> sanity.RuleResult:
    found = check_rules([rule], frame)
    assert len(found) == 1
    return found[0]


def test_the_example_in_the_documentation_holds():
    assert doctest.testmod(sanity).failed == 0


# --- conditions -------------------------------------------------------------------------------------------------------


def test_rows_that_break_a_condition_are_counted_and_the_five_worst_are_named_worst_first():
    frame = rows()
    for place, excess in enumerate([0.5, 3.0, 1.0, 7.0, 2.0, 5.0, 0.1]):
        frame.loc[place, "high"] = frame.loc[place, "low"] - excess
    found = only(ORDERED, frame)
    assert (found.name, found.n_judged, found.n_broken, found.share) == ("low below high", 96, 7, 7 / 96)
    assert [row.prediction_id for row in found.worst] == ["a3", "a5", "a1", "a4", "a2"]
    assert found.worst[0].text == f"low = {frame['low'][3]:.6g}, high = {frame['high'][3]:.6g}"


def test_null_twin_sound_rows_break_nothing():
    for rule in (ORDERED, Rule("range", range_condition("y_pred", 0, 20)), Rule("speed", RateOfChange("low", 2.0, "site"))):
        found = only(rule, rows())
        assert (found.n_broken, found.share, found.worst) == (0, 0.0, ())
        assert found.n_judged >= 94


def test_a_row_on_which_the_condition_is_unknown_is_not_judged():
    frame = rows()
    frame.loc[:9, "high"] = np.nan
    frame.loc[10, "high"] = -1.0
    found = only(ORDERED, frame)
    assert (found.n_judged, found.n_broken) == (86, 1)


def test_a_row_that_is_broken_whatever_the_missing_value_is_says_that_it_is_missing():
    rule = Rule("both", parse("low > 100 and high > 0", columns=["low", "high"], aggregates=False))
    frame = rows().assign(high=pd.array([None] * 96, "Int64"))
    found = only(rule, frame)
    assert (found.n_judged, found.n_broken) == (96, 96)
    assert all(row.text.endswith(", high = missing") for row in found.worst)


def test_where_no_row_can_be_judged_there_is_no_share():
    found = only(ORDERED, rows().assign(high=np.nan))
    assert found.n_judged == 0
    assert math.isnan(found.share)
    assert math.isnan(only(ORDERED, rows().iloc[:0]).share)


@pytest.mark.parametrize(("low", "high", "broken"), [(0, 12, 1), (None, 12, 1), (0, None, 1), (-5, 30, 0), (None, 30, 0)])
def test_a_range_holds_of_any_column_and_its_ends_belong_to_it(low: float | None, high: float | None, broken: int):
    frame = pd.DataFrame({"y_pred": [12.0, 0.0, 30.0 if low is None or high else -5.0], "prediction_id": ["x", "y", "z"]})
    found = only(Rule("range", range_condition("y_pred", low, high)), frame)
    assert found.n_broken == broken
    assert [row.prediction_id for row in found.worst] == ["z"] * broken


@pytest.mark.parametrize(("low", "high"), [(None, None), (3, 2)])
def test_a_range_without_sides_or_the_wrong_way_round_is_refused(low: float | None, high: float | None):
    with pytest.raises(ValueError, match="expected at least one side"):
        range_condition("y_pred", low, high)


def test_an_infinite_value_breaks_a_range():
    frame = pd.DataFrame({"y_pred": [np.inf, 1.0], "prediction_id": ["x", "y"]})
    assert [row.prediction_id for row in only(Rule("range", range_condition("y_pred", 0, 2)), frame).worst] == ["x"]


def test_a_number_is_no_rule():
    with pytest.raises(ExpressionError, match="expected a condition"):
        Rule("difference", parse("low - high", columns=["low", "high"], aggregates=False))


# --- rates of change --------------------------------------------------------------------------------------------------


def of_values(values: list[float], hours: list[float], segments: list[str] | None = None) -> pd.DataFrame:
    times = pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(hours, unit="h")
    names = [f"p{place}" for place in range(len(values))]
    return pd.DataFrame({"low": values, "time": times, "site": segments or "a", "prediction_id": names})


def test_a_jump_breaks_the_rate_at_the_row_it_leads_to_up_and_down():
    found = only(SPEED, of_values([10.0, 11.0, 20.0, 19.0, 12.0], [0, 1, 2, 3, 4]))
    assert (found.n_judged, found.n_broken) == (4, 2)
    assert [row.prediction_id for row in found.worst] == ["p2", "p4"]
    assert found.worst[0].text == "low changed by 9 per hour, to 20"


def test_over_a_gap_the_real_time_counts():
    assert only(SPEED, of_values([10.0, 20.0], [0, 6])).n_broken == 0
    assert only(SPEED, of_values([10.0, 20.0], [0, 4])).n_broken == 1
    assert only(SPEED, of_values([10.0, 11.0], [0, 0.25])).n_broken == 1


def test_missing_values_are_a_gap():
    found = only(SPEED, of_values([10.0, np.nan, np.nan, 20.0], [0, 1, 2, 6]))
    assert (found.n_judged, found.n_broken) == (1, 0)
    assert only(SPEED, of_values([10.0, np.nan, np.nan, 20.0], [0, 1, 2, 3])).n_broken == 1


def test_sites_in_one_log_do_not_follow_each_other():
    mixed = of_values([10.0, 60.0, 11.0, 61.0, 12.0, 70.0], [0, 0.5, 1, 1.5, 2, 2.5], ["a", "b"] * 3)
    apart = only(Rule("speed", RateOfChange("low", 2.0, "site")), mixed)
    assert (apart.n_judged, apart.n_broken, apart.worst[0].prediction_id) == (4, 1, "p5")
    assert only(SPEED, mixed).n_broken == 5


def test_rows_of_the_same_moment_are_not_judged():
    found = only(SPEED, of_values([10.0, 90.0], [1, 1]))
    assert (found.n_judged, found.n_broken) == (0, 0)


def test_a_rate_of_exactly_the_limit_holds_in_spite_of_rounding():
    assert only(SPEED, of_values([10.0, 10.2], [0, 0.1])).n_broken == 0


@given(st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(seed: int):
    frame = rows(seed=seed)
    rng = np.random.default_rng(seed)
    frame.loc[rng.integers(0, 96, 6), "low"] += 30 * rng.random(6)
    rules = [ORDERED, Rule("speed", RateOfChange("low", 2.0, "site"))]
    for one, other in zip(check_rules(rules, frame), check_rules(rules, frame.sample(frac=1, random_state=seed)), strict=True):
        assert (one.n_judged, one.n_broken) == (other.n_judged, other.n_broken)
        assert set(one.worst) == set(other.worst)
    assert check_rules(rules, frame)[0].n_broken <= 6


@pytest.mark.parametrize("lacking", ["low", "time", "site"])
def test_a_frame_without_a_column_of_the_rule_is_refused(lacking: str):
    with pytest.raises(ExpressionError, match=f"without the column '{lacking}'"):
        check_rules([Rule("speed", RateOfChange("low", 2.0, "site"))], rows().drop(columns=lacking))


def test_text_in_a_column_of_a_rate_is_refused():
    with pytest.raises(ExpressionError, match="text in the column 'low'"):
        check_rules([SPEED], rows().assign(low="high"))


# --- lines ------------------------------------------------------------------------------------------------------------


def test_every_chunk_has_one_line_per_rule(declare):
    policy = declare()
    frame = rows()
    frame.loc[[3, 30], "high"] = -1.0
    lines = sanity_lines(policy, [ORDERED, Rule("shown", ORDERED.constraint, blocks=False, allowed_share=0.5)], frame)
    assert list(lines.columns) == COLUMNS
    assert lines["chunk"].tolist() == ["2024-01-01"] * 2 + ["2024-01-02"] * 2
    assert set(lines["kind"]) == {"data_quality"}
    assert set(lines["method"]) == {RULE_BROKEN_SHARE}
    assert lines["subject"].tolist() == ["low below high", "shown"] * 2
    assert lines["value"].tolist() == pytest.approx([1 / 48] * 4)
    assert lines["standard_error"].tolist() == pytest.approx([math.sqrt(1 / 48 * 47 / 48 / 48)] * 4)
    assert lines["upper_limit"].tolist() == [0.01, 0.5] * 2
    assert lines["breach"].tolist() == [True, False] * 2
    assert lines["is_deciding"].tolist() == [True, False] * 2
    assert lines["reason"][0].startswith("a3: low = ")


def test_null_twin_sound_chunks_have_no_breach(declare):
    rules = [ORDERED, Rule("speed", RateOfChange("low", 2.0, "site")), Rule("range", range_condition("y_pred", 0, 20))]
    lines = sanity_lines(declare(), rules, rows())
    assert len(lines) == 6
    assert not lines["breach"].any()
    assert (lines["reason"] == "").all()


def test_a_share_of_exactly_what_is_allowed_is_no_breach(declare):
    frame = rows(days=1)
    frame.loc[:11, "high"] = -1.0
    for allowed, is_breach in ((0.25, False), (0.24, True)):
        lines = sanity_lines(declare(), [Rule("ordered", ORDERED.constraint, allowed_share=allowed)], frame)
        assert lines["breach"].tolist() == [is_breach]


def test_a_chunk_alone_gives_what_the_whole_history_gives(declare):
    frame = rows(days=3)
    frame.loc[24, "low"] = 40.0  # the first row of a day: its jump lies between chunks
    rules = [ORDERED, Rule("speed", RateOfChange("low", 2.0, "site"))]
    whole = sanity_lines(declare(), rules, frame)
    alone = [sanity_lines(declare(), rules, own) for _, own in frame.groupby(frame["time"].dt.date)]
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), whole)
    speed = whole[whole["subject"] == "speed"]
    assert speed["n_rows"].tolist() == [46, 46, 46]
    assert speed["breach"].tolist() == [False, True, False]


def test_a_chunk_that_cannot_be_judged_says_why_and_is_no_breach(declare):
    lines = sanity_lines(declare(), [ORDERED], rows(days=1).assign(high=np.nan))
    assert lines["value"].isna().all()
    assert not lines["breach"].any()
    assert lines["reason"].str.contains("no row on which the rule is known").all()


def test_no_rows_or_no_rules_give_no_lines(declare):
    for lines in (sanity_lines(declare(), [ORDERED], rows().iloc[:0]), sanity_lines(declare(), [], rows())):
        assert list(lines.columns) == COLUMNS
        assert lines.empty
