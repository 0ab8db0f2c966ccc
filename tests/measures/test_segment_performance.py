"""A fault at one device is found at that device, and nowhere without it."""

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.measures.segment_performance import segment_lines


@pytest.fixture(scope="module")
def policy(declare):
    return declare(segments=["device"], drift={"season": "weekday"}, task="regression")


def rows_of(days, seed, fault=None):
    """Hourly readings of four devices; ``fault`` is the device whose model is off."""
    rng = np.random.default_rng(seed)
    times = pd.date_range("2024-01-01", periods=24 * days, freq="h", tz="UTC").repeat(4)
    device = np.tile(["a", "b", "c", "d"], 24 * days)
    true = rng.normal(size=len(times))
    error = rng.normal(scale=np.where(device == fault, 1.6, 0.5))
    return pd.DataFrame({"time": times, "device": device, "y_true": true, "y_pred": true + error, "chunk": "week"})


def test_the_faulty_device_is_named_and_its_healthy_twin_is_not(policy):
    reference = rows_of(60, 0)
    found = segment_lines(policy, reference, rows_of(7, 1, fault="c"))
    by_device = found[found["segment"].str.startswith("device=")].set_index("segment")
    assert by_device.index[by_device["breach"]].tolist() == ["device=c"]
    twin = segment_lines(policy, reference, rows_of(7, 1))
    assert not twin["breach"].any()
    assert not found["is_deciding"].any()


def test_each_segment_has_its_own_metric(policy):
    rows = rows_of(7, 2)
    found = segment_lines(policy, rows_of(60, 0), rows).set_index("segment")["value"]
    own = rows[rows["device"] == "b"]
    assert found["device=b"] == pytest.approx((own["y_true"] - own["y_pred"]).abs().mean(), abs=1e-12)
    monday = rows[rows["time"].dt.weekday == 0]
    assert found["weekday 0"] == pytest.approx((monday["y_true"] - monday["y_pred"]).abs().mean(), abs=1e-12)


def test_a_small_or_unknown_segment_is_not_judged(policy):
    rows = rows_of(7, 3)
    rows.loc[rows.index[:10], "device"] = "tiny"
    rows.loc[rows["device"] == "a", "device"] = "new"
    found = segment_lines(policy, rows_of(60, 0), rows).set_index("segment")
    assert "device=tiny" not in found.index
    assert not found.loc["device=new", "breach"]
    assert "reference rows" in found.loc["device=new", "reason"]
