"""The declared value of right and wrong predictions as the metric that decides: a fault, and its null twin."""

import dagster as dg
import pytest
import synthetic
from synthetic_platform import Platform

from resources import tables
from resources.vocabulary import Kind, Verdict

CHUNK = "2024-02-12"
PERFORMANCE = {"metrics": ["business_value", "false_negative"], "business_value": [[0, -10], [-50, 40]]}


@pytest.mark.parametrize(("fault", "verdicts", "worth"), [
    ("concept", {Verdict.CONCEPT}, (-50, 0)),
    (None, {Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS}, (5, 20)),
])  # fmt: skip
def test_a_model_that_starts_to_cost_money_is_harm_and_its_null_twin_is_not(tmp_path, fault, verdicts, worth):
    with dg.DagsterInstance.ephemeral() as instance:
        platform = Platform(tmp_path, instance, synthetic.make_log(fault=fault), performance=PERFORMANCE)
        assert platform.run("monitor", CHUNK).success
        assert platform.run("realize", CHUNK).success
        assert platform.verdict(CHUNK) in verdicts
        rows = platform.lake.read("shop", tables.MEASUREMENTS, {"chunk": CHUNK})
        realized, estimated = (
            rows[rows["kind"] == kind].set_index("subject") for kind in (Kind.REALIZED_PERFORMANCE, Kind.ESTIMATED_PERFORMANCE)
        )
        assert set(realized.index) == set(estimated.index) == set(PERFORMANCE["metrics"])
        assert worth[0] < realized["value"]["business_value"] < worth[1]
        assert (realized["breach"]["business_value"]) == (fault is not None)
        assert estimated["value"]["business_value"] > 5  # blind to concept drift
