"""Streaming detectors keep the false alarms they were calibrated for, on dependent errors too, and still find faults."""

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import drift

from monitoring_assets.measures import detectors
from monitoring_assets.measures.detectors import DETECTORS, Context
from monitoring_assets.measures.sequential import Detector, block_length, detect, fit_detector

LENGTH, FALSE_ALARMS, REFERENCE = 150, 0.1, 1500
N_REFERENCES, PER_REFERENCE = 4, 50
#: Smallest share of sequences shifted by 0.7 deviations that must be found: (independent, dependent errors). HDDM_W and
#: KSWIN see little of it under dependence: keeping the promise costs them their sensitivity.
POWER = {
    "cusum": (0.95, 0.8), "page_hinkley": (0.95, 0.8), "adwin": (0.95, 0.8), "hddm_w": (0.8, 0.1), "kswin": (0.4, 0.2),
}  # fmt: skip

every_detector = pytest.mark.parametrize("name", DETECTORS)
every_dependence = pytest.mark.parametrize("rho", [0.0, 0.5])


def errors(rng: np.random.Generator, n: int, rho: float, count: int = 1) -> np.ndarray:
    """Sequences ``(count, n)`` of first-order autoregressive errors with mean 0 and deviation 1."""
    noise = rng.normal(size=(count, n + 50))
    values = noise.copy()
    for t in range(1, n + 50):
        values[:, t] = rho * values[:, t - 1] + math.sqrt(1 - rho**2) * noise[:, t]
    return values[:, 50:]


@cache
def fitted(name: str, rho: float, number: int) -> Detector:
    reference = errors(np.random.default_rng(number), REFERENCE, rho)[0]
    return fit_detector(name, 3 + 2 * reference, LENGTH, FALSE_ALARMS, seed=number, resamples=200 if name == "hddm_w" else 300)


def alarms(name: str, rho: float, change, per_reference: int = PER_REFERENCE) -> list[str]:
    """Directions (empty without an alarm) of fresh sequences under several references."""
    found = []
    for number in range(1 if name == "hddm_w" else N_REFERENCES):
        for sequence in errors(np.random.default_rng(1000 + number), LENGTH, rho, per_reference):
            found.append(detect(fitted(name, rho, number), 3 + 2 * change(sequence)).direction)
    return found


@pytest.mark.slow
@every_detector
@every_dependence
def test_null_twin_clean_sequences_alarm_no_more_often_than_stated(name: str, rho: float):
    found = alarms(name, rho, lambda clean: clean)
    assert np.mean([direction != "" for direction in found]) <= FALSE_ALARMS + 3 * math.sqrt(FALSE_ALARMS * (1 - FALSE_ALARMS) / len(found))


@pytest.mark.slow
@pytest.mark.parametrize("name", POWER)
@every_dependence
def test_a_shift_from_the_first_element_on_is_found_with_its_direction(name: str, rho: float):
    for sign, expected in ((1, "up"), (-1, "down")):
        found = alarms(name, rho, lambda clean, sign=sign: clean + sign * 0.7, per_reference=10)
        assert np.mean([direction == expected for direction in found]) >= POWER[name][int(rho > 0)]


@pytest.mark.slow
@every_dependence
def test_a_wider_scale_is_found_by_the_absolute_sum(rho: float):
    wider = alarms("cusum_absolute", rho, lambda clean: clean * 1.5, per_reference=10)
    assert np.mean([direction == "up" for direction in wider]) >= 0.8


# --- laws -------------------------------------------------------------------------------------------------------------


@cache
def small(name: str) -> Detector:
    """A quickly fitted detector of white noise."""
    return fit_detector(name, np.random.default_rng(0).normal(size=200), 60, 0.1, seed=0, resamples=30)


@every_detector
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_the_result_of_a_chunk_depends_on_the_detector_and_the_chunk_only(name: str, seed: int):
    chunk, other = np.random.default_rng(seed).normal(0.4, 1.2, (2, 60))
    alone = detect(small(name), chunk)
    detect(small(name), other)
    assert detect(small(name), chunk.copy()) == alone


@every_detector
def test_the_same_reference_gives_the_same_detector(name: str):
    again = fit_detector(name, np.random.default_rng(0).normal(size=200), 60, 0.1, seed=0, resamples=30)
    assert again == small(name)


@every_detector
@settings(max_examples=10)
@given(seed=st.integers(0, 1000), shift=st.floats(-3, 3))
def test_it_alarms_exactly_where_the_statistic_reaches_the_threshold(name: str, seed: int, shift: float):
    found = detect(small(name), np.random.default_rng(seed).normal(shift, 1, 60))
    assert (found.index is not None) == (found.statistic >= found.threshold) == (found.direction != "")


@every_detector
@settings(max_examples=10)
@given(seed=st.integers(0, 1000))
def test_an_alarm_needs_nothing_that_comes_after_it(name: str, seed: int):
    chunk = np.random.default_rng(seed).normal(1.5, 1.5, 60)
    found = detect(small(name), chunk)
    if found.index is not None:
        assert detect(small(name), chunk[: found.index + 1]).index == found.index
        assert detect(small(name), chunk[: found.index]).index is None


@every_detector
def test_elements_that_are_not_finite_are_skipped_and_the_index_counts_them(name: str):
    chunk = np.random.default_rng(3).normal(2.5, 2.5, 60)
    plain = detect(small(name), chunk)
    broken = detect(small(name), np.insert(chunk, [0, 0, 60], [np.nan, np.inf, -np.inf]))
    assert plain.index is not None
    assert broken.index == plain.index + 2
    assert (broken.statistic, broken.n_elements) == (plain.statistic, 60)


@every_detector
def test_unit_and_level_of_the_losses_do_not_matter(name: str):
    reference, chunk = np.random.default_rng(0).normal(size=200), np.random.default_rng(3).normal(1.5, 1.0, 60)
    scaled = fit_detector(name, 1000 * reference - 7, 60, 0.1, seed=0, resamples=30)
    assert scaled.threshold == pytest.approx(small(name).threshold)
    assert detect(scaled, 1000 * chunk - 7).index == detect(small(name), chunk).index


def test_fewer_false_alarms_need_a_higher_threshold():
    reference = np.random.default_rng(0).normal(size=500)
    thresholds = [fit_detector("cusum", reference, 100, share, seed=0).threshold for share in (0.5, 0.1, 0.02)]
    assert thresholds == sorted(set(thresholds))


def test_dependent_errors_need_a_higher_threshold():
    white, dependent = (errors(np.random.default_rng(0), 1500, rho)[0] for rho in (0.0, 0.5))
    low, high = (fit_detector("cusum", reference, 100, 0.1, seed=0) for reference in (white, dependent))
    assert high.threshold > 1.3 * low.threshold
    assert high.block_length > low.block_length


def test_a_block_is_the_cube_root_times_the_autocorrelation_time():
    white, dependent = (errors(np.random.default_rng(1), 8000, rho)[0] for rho in (0.0, 0.5))
    assert 20 <= block_length(white) <= 24
    assert block_length(dependent) == pytest.approx(60, rel=0.25)
    assert block_length(np.ones(100)) == 5
    assert block_length(np.ones(1)) == 1


# --- edges ------------------------------------------------------------------------------------------------------------


@every_detector
@pytest.mark.parametrize("sequence", [[], [np.nan, np.inf]])
def test_a_sequence_without_elements_is_refused_by_name(name: str, sequence: list[float]):
    found = detect(small(name), np.array(sequence))
    assert math.isnan(found.statistic)
    assert found.index is None
    assert "expected at least 1" in found.reason


@every_detector
@pytest.mark.parametrize("sequence", [[0.3], [0.0] * 60, [1e300, -1e300, 1e308], [5.0] * 60])
def test_one_element_constants_and_huge_numbers_give_a_statistic(name: str, sequence: list[float]):
    found = detect(small(name), np.array(sequence))
    assert not math.isnan(found.statistic)
    assert found.n_elements == len(sequence)


@every_detector
@pytest.mark.parametrize("reference", [[], [1.0] * 10, [1.0] * 100, [0.1] * 100, [np.nan] * 100])
def test_a_reference_that_is_short_or_constant_is_refused_by_name(name: str, reference: list[float]):
    detector = fit_detector(name, np.array(reference), 50, 0.1, seed=0)
    found = detect(detector, np.zeros(50))
    assert math.isnan(found.statistic)
    assert "got a reference" in found.reason
    assert "expected" in found.reason


@every_detector
def test_a_longer_sequence_than_calibrated_says_so(name: str):
    assert "expected at most 60" in detect(small(name), np.zeros(61)).reason
    assert detect(small(name), np.zeros(60)).reason == ""


def test_a_detector_that_cannot_keep_the_promise_stays_silent_and_says_so():
    walk = np.cumsum(np.random.default_rng(0).normal(size=400))
    detector = fit_detector("kswin", walk, 200, 0.01, seed=0)
    assert detector.threshold == math.inf
    found = detect(detector, walk[:200] + 100)
    assert found.index is None
    assert "weaker dependence" in found.reason


@pytest.mark.parametrize("arguments", [("sonar", 50, 0.1), ("cusum", 0, 0.1), ("cusum", 50, 0.0), ("cusum", 50, 1.0)])
def test_arguments_out_of_range_raise_with_what_was_expected(arguments: tuple[str, int, float]):
    name, length, share = arguments
    with pytest.raises(ValueError, match="expected"):
        fit_detector(name, np.zeros(100), length, share, seed=0)


# --- River ------------------------------------------------------------------------------------------------------------


def test_the_distances_of_kswin_are_those_river_compares():
    sequence = np.random.default_rng(4).normal(size=160)
    distances = detectors._ks_distances(sequence[np.newaxis], seed=9)[0]
    river = drift.KSWIN(alpha=0.0, seed=9)
    p_values = []
    for value in sequence.tolist():
        river.update(value)
        p_values.append(river.p_value)
    assert p_values[99:] == pytest.approx([detectors.ks_p_value(distance) for distance in distances])


@pytest.mark.parametrize("name", ["page_hinkley", "adwin", "hddm_w", "kswin"])
def test_a_stricter_step_of_the_ladder_never_alarms_earlier(name: str):
    sequence = np.random.default_rng(5).normal(0.8, 1, 60)
    context = Context(small(name).quantiles, 0)
    levels = DETECTORS[name].levels[::4]
    places = [detectors._river_place(name, sequence, level, context) for level in levels]
    numbers = [math.inf if place is None else place for place in places]
    start = next(i for i, level in enumerate(levels) if level >= small(name).threshold / 2)
    assert numbers[start:] == sorted(numbers[start:])


def test_the_absolute_sum_sees_scale_and_the_plain_one_direction():
    wide = np.random.default_rng(6).normal(0, 2.0, 60)
    assert detect(small("cusum_absolute"), wide).direction == "up"
    assert detect(small("cusum_absolute"), np.zeros(60)).direction == "down"
