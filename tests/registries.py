"""An empty MLflow registry in an instant: its tables are made once in a process, by the platform's own first call, and laid out as often as asked."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from resources.settings import Settings


@cache
def _empty() -> bytes:
    with TemporaryDirectory() as folder:
        home = Path(folder)
        assert Settings.of(home, home).registry.versions("none") == []
        return (home / "mlflow" / "mlflow.db").read_bytes()


def with_registry(settings: Settings) -> Settings:
    """The same settings; their home has the registry that the first call would make there."""
    database = settings.home / "mlflow" / "mlflow.db"
    database.parent.mkdir(parents=True, exist_ok=True)
    database.write_bytes(_empty())
    return settings
