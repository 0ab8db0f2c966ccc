"""Where things live: one folder for lake, registry and Dagster, read from the environment when definitions load."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

from resources.lake import Lake
from resources.registry import Registry

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Folders of one installation. ``PLUMBLINE_HOME``, ``_MODELS``, ``_LAKE``, ``_MLFLOW``, ``_ARTIFACTS`` and ``_NOTIFICATIONS`` override the project's own;
    ``PLUMBLINE_REPORTS_URL`` is where the folder of reports is served, if it is."""

    models: Path
    home: Path
    lake_root: str
    tracking_uri: str
    artifact_root: str
    reports_url: str = ""
    notifications_file: Path | None = None

    @classmethod
    def of(cls, home: Path, models: Path | None = None) -> "Settings":
        """Settings with everything below ``home``."""
        return cls(
            models=models or PROJECT / "models",
            home=home,
            lake_root=str(home / "lake"),
            tracking_uri=f"sqlite:///{home / 'mlflow' / 'mlflow.db'}",
            artifact_root=str(home / "mlflow" / "artifacts"),
        )

    @classmethod
    def from_environment(cls) -> "Settings":
        """The settings of the running installation."""
        models, notifications = os.environ.get("PLUMBLINE_MODELS"), os.environ.get("PLUMBLINE_NOTIFICATIONS")
        own = cls.of(Path(os.environ.get("PLUMBLINE_HOME") or PROJECT / ".plumbline"), Path(models) if models else None)
        return replace(
            own,
            lake_root=os.environ.get("PLUMBLINE_LAKE") or own.lake_root,
            tracking_uri=os.environ.get("PLUMBLINE_MLFLOW") or own.tracking_uri,
            artifact_root=os.environ.get("PLUMBLINE_ARTIFACTS") or own.artifact_root,
            reports_url=os.environ.get("PLUMBLINE_REPORTS_URL", ""),
            notifications_file=Path(notifications) if notifications else None,
        )

    @classmethod
    def at(cls, home: Path | None) -> "Settings":
        """The settings of a folder such as an example's, with the declarations it holds; the environment's without a folder."""
        if home is None:
            return cls.from_environment()
        return cls.of(home, home / "models" if (home / "models").is_dir() else None)

    @property
    def reports(self) -> Path:
        """Folder of the HTML reports."""
        return self.home / "reports"

    @property
    def notifications(self) -> Path:
        """Who is told about incidents; beside the declarations' folder unless set. Without the file nobody is told."""
        return self.notifications_file or self.models.parent / "notifications.yaml"

    @property
    def registry(self) -> Registry:
        """The registry resource."""
        return Registry(tracking_uri=self.tracking_uri, artifact_root=self.artifact_root)

    @property
    def lake(self) -> Lake:
        """The lake resource."""
        return Lake(root=self.lake_root)
