"""All features together: a null of their own, outliers set aside, a single feature is no joint."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from test_univariate import policy_of

from monitoring_assets.measures.breaches import ALL_FEATURES, drift_lines
from monitoring_assets.measures.joint import fit_joint, measure_joint, methods_of
from monitoring_assets.measures.registry import MULTIVARIATE
from monitoring_assets.measures.univariate import fit_columns

pytestmark = pytest.mark.xdist_group("joint")  # fits are shared within one worker
ROWS = 100
CHEAP = ["pca_reconstruction", "mmd", "correlation_shift"]


def rows_of(chunks: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = chunks * ROWS
    x = rng.normal(size=n)
    time = pd.Timestamp("2023-01-01", tz="UTC") + pd.to_timedelta(np.arange(n) * 86_400 / ROWS, unit="s")
    return pd.DataFrame({"time": time, "x": x, "y": x + rng.normal(0, 0.4, n), "c": rng.choice(["a", "b"], n)})


@cache
def fitted(rule: str = "calibrated"):
    policy = policy_of(multivariate=CHEAP, limit={"rule": rule})
    return policy, fit_joint(policy, rows_of(30, 0), ROWS), fit_columns(policy, rows_of(30, 0), ROWS)


def lines_of(rows: pd.DataFrame, rule: str = "calibrated") -> pd.DataFrame:
    policy, joint, columns = fitted(rule)
    return drift_lines(policy, "2024-01-01", measure_joint(policy, joint, columns, rows), {}, len(rows))


def test_a_broken_correlation_breaches_though_no_feature_moved():
    rows = rows_of(1, 5)
    turned = lines_of(rows.assign(y=-rows["y"])).set_index("method")
    assert turned.loc[["pca_reconstruction", "correlation_shift"], "breach"].all()
    assert set(turned["kind"]) == {"multivariate_drift"}
    assert set(turned["subject"]) == {ALL_FEATURES}
    assert turned["is_deciding"].all()


def test_null_twin_chunks_like_the_reference_do_not_breach_and_carry_limits():
    found = pd.concat([lines_of(rows_of(1, seed)) for seed in range(5, 20)])
    assert found["breach"].sum() <= 1
    assert found["upper_limit"].notna().all()
    assert found.loc[found["method"] == "pca_reconstruction", "lower_limit"].notna().all()  # the error can also be too small


def test_the_nulls_are_out_of_sample_and_of_two_sizes():
    for one in fitted()[1]:
        assert one.null.sizes == (ROWS // 4, ROWS)
        assert one.null.is_two_sided == MULTIVARIATE[one.method].is_two_sided
        assert min(one.null.blocks) >= 20


def test_the_rule_of_nannyml_takes_the_reference_chunks_themselves():
    _, joint, _ = fitted("std")
    for one in joint:
        assert len(one.chunk_values) == 30
        assert not one.null.is_known
    lines = lines_of(rows_of(1, 5), "std").set_index("method")
    values = np.array(next(one.chunk_values for one in joint if one.method == "pca_reconstruction"))
    assert lines.loc["pca_reconstruction", "upper_limit"] == pytest.approx(values.mean() + 3 * values.std())


def test_a_spike_is_set_aside_and_many_are_kept():
    rows = rows_of(1, 5)
    clean = lines_of(rows.iloc[1:]).set_index("method")["value"]
    one_spike = lines_of(rows.assign(x=np.where(np.arange(ROWS) == 0, 1e6, rows["x"]))).set_index("method")["value"]
    pd.testing.assert_series_equal(one_spike, clean)
    many = lines_of(rows.assign(x=np.where(np.arange(ROWS) < 10, 1e6, rows["x"]))).set_index("method")
    assert many.loc["pca_reconstruction", "breach"]


def test_one_feature_alone_has_nothing_to_be_joined_with():
    assert methods_of(policy_of(numbers=("x",), texts=(), multivariate=CHEAP)) == []
    assert methods_of(policy_of(multivariate=CHEAP)) == CHEAP


def test_measuring_changes_nothing():
    rows = rows_of(1, 5)
    before = rows.copy()
    first = lines_of(rows)
    lines_of(rows.assign(x=9.0))
    pd.testing.assert_frame_equal(lines_of(rows), first)
    pd.testing.assert_frame_equal(rows, before)
