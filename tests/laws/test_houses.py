"""Laws of the architecture: who may import whom, no cycles, each sensor in its own house, names that do not drift."""

import ast
import json
import subprocess
import sys
import textwrap
from graphlib import TopologicalSorter
from pathlib import Path

import dagster as dg
import pytest

from monitoring_assets.definitions import build_defs as monitoring
from resources.settings import Settings
from training_assets.definitions import build_defs as training

ROOT = Path(__file__).resolve().parents[2]
HOUSES = ("resources", "monitoring_assets", "training_assets", "plumbline")
SNAPSHOT = Path(__file__).with_name("names.json")


def modules():
    return [path for house in HOUSES for path in sorted((ROOT / house).rglob("*.py"))]


def imports_of(path, *, only_on_loading=False):
    found, tree = set(), ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.iter_child_nodes(tree) if only_on_loading else ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def breaks(names, *forbidden):
    return sorted(name for name in names if any(name == one or name.startswith(one + ".") for one in forbidden))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_import_law_holds(path):
    names, house = imports_of(path), path.relative_to(ROOT).parts[0]
    if house == "resources":
        assert not breaks(names, "monitoring_assets", "training_assets", "plumbline")
    if path.stem in ("vocabulary", "tables", "policy", "chunks"):
        assert not breaks(names, "dagster")
    if house == "monitoring_assets":
        assert not breaks(names, "training_assets", "plumbline", "mlflow", "statsforecast")
        # measures that are models import it when they run; nothing else may
        assert not breaks(imports_of(path, only_on_loading="measures" in path.parts), "lightgbm")
    if "measures" in path.parts:
        assert not breaks(names, "dagster", "duckdb", "mlflow", "deltalake", "resources.lake", "resources.registry")
    if house == "training_assets":
        assert not breaks(names, "plumbline")
        foreign = [name for name in breaks(names, "monitoring_assets") if not name.startswith("monitoring_assets.measures")]
        assert not foreign
    if path.stem != "definitions" and path.name != "driver.py":  # the driver stands in for the daemon, which loads both
        assert not [name for name in names if name.endswith(".definitions") and name.split(".")[0] in HOUSES]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_evaluates_or_unpickles_what_comes_from_elsewhere(path):
    calls = [node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    named = {call.id for call in calls if isinstance(call, ast.Name)}
    assert not named & {"eval", "exec", "__import__"}
    assert not breaks(imports_of(path), "pickle", "cloudpickle", "joblib", "dill")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_opens_with_a_charter(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def locations(tmp_path_factory):
    settings = Settings.of(tmp_path_factory.mktemp("home"))
    return {"monitoring_assets": monitoring(settings), "training_assets": training(settings)}


def test_the_union_of_both_locations_has_no_cycle(locations):
    graph, makers = {}, {}
    for location, defs in locations.items():
        for spec in defs.resolve_all_asset_specs():
            graph.setdefault(spec.key, set()).update(dep.asset_key for dep in spec.deps)
        for assets in defs.assets:
            if isinstance(assets, dg.AssetsDefinition):
                for key in assets.keys:
                    assert makers.setdefault(key, location) == location, f"{key} is made in both houses"
    order = list(TopologicalSorter(graph).static_order())
    assert len(order) == len(graph)


def test_sensors_and_schedules_target_jobs_of_their_own_house(locations):
    for defs in locations.values():
        own = {job.name for job in defs.resolve_all_job_defs()}
        targets = {job.name for sensor in defs.sensors or [] if sensor.has_jobs for job in sensor.jobs} | {
            schedule.job_name for schedule in defs.schedules or []
        }
        assert targets
        assert targets <= own


def test_sensors_and_schedules_are_on_by_default(locations):
    for defs in locations.values():
        assert all(sensor.default_status is dg.DefaultSensorStatus.RUNNING for sensor in defs.sensors or [])
        assert all(schedule.default_status is dg.DefaultScheduleStatus.RUNNING for schedule in defs.schedules or [])


def test_asset_keys_check_names_and_jobs_are_the_committed_ones(locations):
    found = {
        location: {
            "assets": sorted(spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()),
            "checks": sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in defs.resolve_asset_graph().asset_check_keys),
            "jobs": sorted(job.name for job in defs.resolve_all_job_defs() if not job.name.startswith("__")),
        }
        for location, defs in locations.items()
    }
    assert found == json.loads(SNAPSHOT.read_text()), (
        f"if the change of names is meant, write this into {SNAPSHOT.name}:\n{json.dumps(found, indent=1)}"
    )


def test_every_asset_is_described_owned_grouped_and_has_a_kind(locations):
    for defs in locations.values():
        for spec in defs.resolve_all_asset_specs():
            if spec.group_name == "default":  # a stub of the other house's asset, only a dependency here
                continue
            assert spec.description, spec.key
            assert spec.owners, spec.key
            assert spec.kinds, spec.key
            assert spec.group_name == spec.key.path[0]


def test_monitoring_loads_without_the_training_libraries_and_without_anything_heavy():
    script = textwrap.dedent("""
        import sys, importlib.abc
        class Refuse(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path, target=None):
                if name.split(".")[0] in ("lightgbm", "mlflow", "statsforecast", "training_assets"):
                    raise ImportError(f"refused: {name}")
        sys.meta_path.insert(0, Refuse())
        import monitoring_assets.definitions as location
        assert location.defs.resolve_all_job_defs()
        heavy = {"nannyml", "sklearn", "scipy", "matplotlib", "pandas", "deltalake", "duckdb"} & set(sys.modules)
        assert not heavy, heavy
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


def test_telemetry_is_off_in_the_shipped_settings():
    import yaml

    assert yaml.safe_load((ROOT / "dagster.yaml").read_text())["telemetry"] == {"enabled": False}
