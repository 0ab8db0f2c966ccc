"""The documentation says what the code does."""

import json
import re
from pathlib import Path

import pytest

from resources.catalogue import declaration_table
from resources.policy import MonitoredModel

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_fields_is_fresh():
    assert (ROOT / "docs" / "declaration.md").read_text(encoding="utf-8") == declaration_table(), "run: plumbline schema"


@pytest.mark.parametrize("name", ["run", "test"])
def test_each_command_stands_under_its_marker_for_ci_to_run_as_written(name):
    found = re.findall(rf"<!-- command: {name} -->\n```bash\n(.+)\n```", README)
    assert len(found) == 1
    assert f"command_of {name}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_every_file_the_documentation_links_to_exists():
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert target.startswith("http") or (document.parent / target).exists(), f"{document.name}: {target}"


def default_of(path):
    model = MonitoredModel
    *sections, last = path.split(".")
    for section in sections:
        options = [model.model_fields[section].annotation, *getattr(model.model_fields[section].annotation, "__args__", ())]
        model = next(one for one in options if hasattr(one, "model_fields"))
    return model.model_fields[last].get_default(call_default_factory=True)


@pytest.mark.parametrize("path", [
    "chunk", "validation.missing_share", "validation.minimum_rows", "drift.multivariate", "drift.limit.rule", "drift.limit.false_alarms", "drift.outliers",
    "validation.stuck_share", "drift.severity", "outcome.minimum_share", "outcome.restate_for",
    "retrain.when.verdict.on", "retrain.budget.retrainings", "retrain.windows", "retrain.cooldown", "gates.holdout", "gates.confidence", "reference.minimum_chunks",
])  # fmt: skip
def test_the_defaults_in_the_readme_are_the_real_ones(path):
    row = next(line for line in README.splitlines() if line.startswith("|") and f"`{path}`" in line)
    default = default_of(path)
    for value in default if isinstance(default, list) else [default]:
        assert f"`{value}`" in row, json.dumps(str(value))


def test_the_declaration_in_the_readme_is_valid():
    import yaml

    text = next(block for block in re.findall(r"```yaml\n(.+?)```", README, re.S) if "model: churn" in block)
    assert MonitoredModel.model_validate(yaml.safe_load(text)).model == "churn"


def test_the_table_of_policies_is_the_one_that_was_measured():
    import importlib.util
    import sys

    folder = ROOT / "benchmarks"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location("benchmark_policies", folder / "policies.py")
        benchmark = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = benchmark
        spec.loader.exec_module(benchmark)
    finally:
        sys.path.remove(str(folder))
    found = benchmark.read((folder / "results" / "policies.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    assert page == benchmark.with_section(page, benchmark.document(found)), "run: python benchmarks/policies.py"
