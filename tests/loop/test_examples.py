"""Every example keeps its promises, with its fault and without."""

import json

import pytest
from registries import with_registry
from typer.testing import CliRunner

from plumbline.cli import app
from plumbline.example import EXAMPLES, Finding, load, names, over_seeds, run_example
from resources.catalogue import load_catalogue
from resources.settings import Settings

#: Every example with its fault and without; the fault of one is run by ``test_workflow.py``, as its own workflow runs it.
RUNS = [(name, twin) for name in names() for twin in (False, True) if (name, twin) != ("iot_temperature_forecast", False)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # third-party warnings; our own are errors in every other test
@pytest.mark.parametrize(("name", "is_null_twin"), RUNS, ids=[f"{name}-{'null_twin' if twin else 'fault'}" for name, twin in RUNS])
def test_the_example_keeps_its_promises(name, is_null_twin, tmp_path):
    with_registry(Settings.of(tmp_path))
    found = run_example(name, 0, is_null_twin, tmp_path, lambda job, chunk: None, is_small=True)
    assert len(found) >= 4
    assert [one for one in found if not one.is_held] == []
    pages = list((tmp_path / "reports").rglob("*.html"))
    assert pages
    assert max(page.stat().st_size for page in pages) <= 1_000_000


def test_every_example_has_a_readme_that_names_its_command():
    assert {
        "temperature_sensor",
        "customer_churn",
        "predictive_maintenance",
        "triggered_retraining",
        "ecommerce_seasonal",
        "sales_drift",
        "model_governance",
        "iot_temperature_forecast",
        "retail_forecast",
    } <= set(names())
    for name in names():
        assert f"plumbline example {name} --null-twin" in " ".join((EXAMPLES / name / "README.md").read_text(encoding="utf-8").split())


def test_the_fleet_is_thirty_six_models_with_policies_of_several_kinds_and_its_small_part_is_a_part_of_it():
    folder, example = EXAMPLES / "model_governance", load("model_governance")
    policies = {one.policy.model: one.policy for one in load_catalogue(folder)}
    assert len(policies) == 36
    assert {policy.chunk for name, policy in policies.items() if name.startswith("fraud")} == {"1h"}
    assert {policy.chunk for name, policy in policies.items() if not name.startswith("fraud")} == {"1d"}
    assert {policy.retrain.when.kind for policy in policies.values()} >= {"verdict", "score", "two_stage", "cost", "any", "schedule"}
    assert any(not policy.retrain.enabled for policy in policies.values())
    assert len(example.FAULTS) == 5
    assert set(example.FAULTS) <= set(policies)
    assert set(example.SMALL.models) < set(policies)
    assert example.START < example.SMALL.end < example.END


def test_an_unknown_example_is_answered_with_those_there_are():
    done = CliRunner().invoke(app, ["example", "temperature"])
    assert done.exit_code == 1
    assert "got example 'temperature'; expected one of" in done.stdout


def test_a_promise_must_hold_on_its_share_of_seeds_and_a_rate_is_pooled():
    sure, likely = Finding("sure", True, "1"), Finding("likely", False, "2", share=0.95)
    assert [line.is_held for line in over_seeds([[sure, likely]])] == [True, False]
    mostly = [[sure, Finding("likely", seed > 0, "2", share=0.95)] for seed in range(20)]
    assert [(line.held, line.is_held) for line in over_seeds(mostly)] == [(20, True), (19, True)]
    rates = [[Finding("rate", True, "", 0.0, hits, 10, 0.05)] for hits in [1] * 11 + [0] * 9]
    assert not over_seeds(rates)[0].is_held
    assert over_seeds(rates[2:] + rates[-2:])[0].is_held
    assert json.dumps([line.figures for line in over_seeds(rates)])
