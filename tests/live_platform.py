"""Both locations over a synthetic log that ends now: trained, promoted, scored, monitored and decided on, once per module."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import synthetic
from registries import with_registry

from plumbline.driver import Driver
from resources.catalogue import load_catalogue
from resources.settings import Settings

DAYS, LEARNED_DAYS, REFERENCE_DAYS = 36, 12, 14


class LivePlatform:
    """One installation below ``folder``; a copy of it may be broken without harm to the others."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.folder, self.instance = folder, instance
        self.settings = Settings.of(folder / "home", folder / "models")
        self.lake, self.registry = self.settings.lake, self.settings.registry
        self.policy = load_catalogue(self.settings.models)[0].policy

    def copied(self, folder: Path) -> "LivePlatform":
        shutil.copytree(self.folder, folder)
        return LivePlatform(folder, self.instance)


def live_platform(folder: Path, instance: dg.DagsterInstance) -> LivePlatform:
    """Build and run one until nothing is left to do."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - timedelta(days=DAYS - 1)
    rows = synthetic.make_log(DAYS)
    rows["ts"] = [moment + (first - synthetic.START) for moment in rows["ts"]]
    start = first + timedelta(days=LEARNED_DAYS)
    synthetic.declare(
        folder, rows,
        log={"parquet": "log.parquet", "time": "ts", "id": "id"},
        reference={"start": f"{start:%Y-%m-%d}", "end": f"{start + timedelta(days=REFERENCE_DAYS):%Y-%m-%d}"},
        drift={"numeric": ["wasserstein"], "categorical": ["jensen_shannon"], "multivariate": []},
        gates={"holdout": "2d", "resamples": 100},
    )  # fmt: skip
    with_registry(Settings.of(folder / "home"))
    made = LivePlatform(folder, instance)
    driver = Driver(made.settings, instance, ["shop"])

    def quiet(job: str, chunk: str) -> None:
        """Nobody watches."""

    driver.run_until_idle(quiet)
    driver.run_schedules(datetime.now(UTC), quiet)
    driver.run_until_idle(quiet)
    return made
