"""The workflow of the forecasting example does on this machine what it does on a runner."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from plumbline.example import EXAMPLES
from resources.catalogue import load_catalogue
from resources.settings import PROJECT, Settings
from resources.tables import training_sets
from training_assets.rollout import content_hash
from training_assets.training_set import TRAIN

MODEL = "iot_temperature_forecast"
WORKFLOW = EXAMPLES / MODEL / ".github" / "workflows" / "retrain.yml"


def commands() -> dict[str, str]:
    job = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]["retrain"]
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step}


def run_step(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """As a runner does it, in a clean folder, with the installed commands on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PLUMBLINE_")}
    environment = {**clean, "PATH": path, "PYTHONPATH": str(PROJECT)}
    asked = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command]
    return subprocess.run(asked, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_workflow_installs_as_the_readme_says_and_runs_on_a_timer():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    installed = re.search(r"<!-- command: run -->\n```bash\n(.*) && \.venv/bin/plumbline dev\n", readme)
    assert installed is not None
    assert commands()["Install"].splitlines() == [installed[1], 'echo "$PWD/.venv/bin" >> "$GITHUB_PATH"']
    told = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    assert told[True]["schedule"]  # YAML 1.1 reads the key "on" as true


@pytest.mark.slow
def test_the_job_passes_here_and_its_versions_restore_their_rows_after_the_table_was_overwritten(tmp_path):
    for name, command in commands().items():
        if name != "Install":
            done = run_step(command, tmp_path)
            assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    lines = json.loads((tmp_path / "checks.json").read_text(encoding="utf-8"))["checks"]
    assert len(lines) >= 4
    assert [line["check"] for line in lines if not line["holds"]] == []
    assert "error_threshold" in {tags["clause"] for tags in restored_tags(tmp_path / "run")}


def restored_tags(home: Path) -> list[dict[str, str]]:
    """Tags of each version, after its training set was overwritten with other numbers and the files were merged."""
    settings = Settings.of(home, home / "models")
    policy = load_catalogue(settings.models)[0].policy
    lake, table = settings.lake, training_sets(policy)
    every = [one["tags"] for one in settings.registry.versions(MODEL)]
    for tags in every:
        before, where = lake.restore(MODEL, table, tags["data_version"]), {"chunk": tags["incident"].split("/")[1]}
        lake.replace(MODEL, table, before.assign(y_true=before["y_true"] + 1), where)
        lake.compact(MODEL, table)
        after, now = lake.restore(MODEL, table, tags["data_version"]), lake.read(MODEL, table, where)
        assert after.to_parquet(index=False) == before.to_parquet(index=False)
        assert content_hash(after[after["part"] == TRAIN]) == tags["data_hash"] != content_hash(now[now["part"] == TRAIN])
    return every
