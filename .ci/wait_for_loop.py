"""Wait until the running platform has closed the loop by itself; fail after ten minutes with what it had done.

The loop is closed when the weather station's fault was answered by a run the sensor launched, a new champion serves,
and a later chunk is scored by it.
"""

import json
import sys
import time
import urllib.request

from resources import tables
from resources.catalogue import load_catalogue
from resources.rollout_log import serving_version
from resources.settings import Settings
from resources.vocabulary import Alias

MODEL, LIMIT_SECONDS = "weather_station", 600
RUNS = """{ runsOrError(filter: {pipelineName: "weather_station__retrain"}) { ... on Runs { results { runId status tags { key value } } } } }"""


def runs() -> list[dict[str, str]]:
    """Tags of the retraining runs, from the UI's own API."""
    request = urllib.request.Request(
        "http://127.0.0.1:3000/graphql", json.dumps({"query": RUNS}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback only
        results = json.load(answer)["data"]["runsOrError"]["results"]
    return [{tag["key"]: tag["value"] for tag in run["tags"]} | {"status": run["status"]} for run in results]


def main() -> int:
    """Poll lake, registry and UI."""
    settings, started = Settings.from_environment(), time.monotonic()
    policy = next(one.policy for one in load_catalogue(settings.models) if one.policy.model == MODEL)
    lake, registry = settings.lake, settings.registry
    while time.monotonic() - started < LIMIT_SECONDS:
        version = serving_version(lake, policy)
        scored = set(lake.read(MODEL, tables.scored_batches(policy))["model_version"])
        if version and int(version) > 1 and scored - {"1"}:
            launched = [run for run in runs() if run.get("dagster/sensor_name") == "retrain_trigger" and "plumbline/incident" in run]
            champion = registry.aliased_version(MODEL, Alias.CHAMPION)
            print(f"loop closed after {time.monotonic() - started:.0f} s: version {champion} serves, versions {sorted(scored)} scored")
            for run in launched:
                print({key: run[key] for key in ("status", "plumbline/incident", "plumbline/clause", "dagster/sensor_name")})
            return 0 if len(launched) >= 2 and champion == version else 1
        time.sleep(3)
    print(f"the loop did not close in {LIMIT_SECONDS} s: version {version} serves, versions {sorted(scored)} scored")
    return 1


if __name__ == "__main__":
    sys.exit(main())
