"""The model registry: MLflow versions, aliases and lineage tags, kept beside the lake.

Belongs here: every call to MLflow. Does not: deciding which version should serve (``training_assets``).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources.quiet import settle
from resources.vocabulary import Alias

if TYPE_CHECKING:
    from mlflow import MlflowClient

_TAG = "plumbline."


class Registry(dg.ConfigurableResource["Registry"]):
    """An MLflow tracking store and registry; SQLite and a local folder unless a server is named."""

    tracking_uri: str
    artifact_root: str

    @contextmanager
    def client(self) -> Iterator["MlflowClient"]:
        """A client of the store; the first process to come creates it, the others wait."""
        settle()
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow
            from filelock import FileLock

            mlflow.set_tracking_uri(self.tracking_uri)
            mlflow.set_registry_uri(self.tracking_uri)
            if self.tracking_uri.startswith("sqlite:///"):
                database = Path(self.tracking_uri.removeprefix("sqlite:///"))
                database.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(f"{database}.lock"):
                    mlflow.MlflowClient().search_experiments(max_results=1)
            yield mlflow.MlflowClient()

    def log_candidate(
        self,
        model: str,
        log: Callable[[], str],
        params: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        name: str,
    ) -> str:
        """Log one run with its model, which ``log`` writes into it, and return the model's URI."""
        with self.client():
            import mlflow

            self._experiment(model)
            with mlflow.start_run(run_name=name, tags=_prefixed(tags)):
                mlflow.log_params(dict(params))
                mlflow.log_metrics({key: value for key, value in metrics.items() if value == value})
                return log()

    def log_run(self, model: str, params: Mapping[str, Any], metrics: Mapping[str, float], tags: Mapping[str, str], name: str) -> None:
        """Log a run without a model: a training window that lost."""
        with self.client():
            import mlflow

            self._experiment(model)
            with mlflow.start_run(run_name=name, tags=_prefixed(tags)):
                mlflow.log_params(dict(params))
                mlflow.log_metrics({key: value for key, value in metrics.items() if value == value})

    def register(self, model: str, model_uri: str, tags: Mapping[str, str]) -> str:
        """Register a logged model as the next immutable version, tag its lineage, and alias it challenger.

        Registering the same logged model again returns the version it already has.
        """
        with self.client() as client:
            import mlflow

            source_tag = f"{_TAG}model_uri"
            known = [str(one.version) for one in client.search_model_versions(f"name = '{model}'") if one.tags.get(source_tag) == model_uri]
            if known:
                aliases = client.get_registered_model(model).aliases
                if known[0] not in {str(version) for version in aliases.values()}:
                    client.set_registered_model_alias(model, str(Alias.CHALLENGER), known[0])
                return known[0]
            version = str(
                mlflow.register_model(model_uri, model, tags={**_prefixed(tags), source_tag: model_uri}, await_registration_for=0).version
            )
            client.set_registered_model_alias(model, str(Alias.CHALLENGER), version)
            return version

    def set_champion(self, model: str, version: str) -> None:
        """Move the champion alias to ``version``; the challenger alias leaves it."""
        with self.client() as client:
            client.set_registered_model_alias(model, str(Alias.CHAMPION), version)
            aliases = client.get_registered_model(model).aliases
            if str(aliases.get(str(Alias.CHALLENGER))) == version:
                client.delete_registered_model_alias(model, str(Alias.CHALLENGER))

    def aliased_version(self, model: str, alias: Alias) -> str | None:
        """Version behind ``alias``; ``None`` where the model or alias does not exist."""
        with self.client() as client:
            from mlflow.exceptions import MlflowException

            try:
                return str(client.get_model_version_by_alias(model, str(alias)).version)
            except MlflowException as error:
                if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                    return None
                raise

    def versions(self, model: str) -> list[dict[str, Any]]:
        """Every version, oldest first: ``version, tags, aliases, run_id``."""
        with self.client() as client:
            found = client.search_model_versions(f"name = '{model}'")
            aliases: dict[str, list[str]] = {}
            if found:
                for alias, version in client.get_registered_model(model).aliases.items():
                    aliases.setdefault(str(version), []).append(alias)
            return [
                {
                    "version": str(one.version),
                    "tags": {key.removeprefix(_TAG): value for key, value in one.tags.items()},
                    "aliases": aliases.get(str(one.version), []),
                    "run_id": one.run_id,
                }
                for one in sorted(found, key=lambda item: int(item.version))
            ]

    def load(self, model: str, version: str, read: Callable[[str], Any]) -> Any:
        """One version, as ``read`` reads a model URI."""
        return self.load_uri(f"models:/{model}/{version}", read)

    def load_uri(self, model_uri: str, read: Callable[[str], Any]) -> Any:
        """A logged model that may have no version yet, as ``read`` reads its URI."""
        with self.client():
            return read(model_uri)

    def _experiment(self, model: str) -> None:
        import mlflow
        from mlflow.exceptions import MlflowException

        if mlflow.get_experiment_by_name(model) is None:
            try:
                mlflow.create_experiment(model, artifact_location=f"{self.artifact_root.rstrip('/')}/{model}")
            except MlflowException:
                if mlflow.get_experiment_by_name(model) is None:
                    raise
        mlflow.set_experiment(model)


def _prefixed(tags: Mapping[str, str]) -> dict[str, str]:
    return {f"{_TAG}{key}": value for key, value in tags.items()}
