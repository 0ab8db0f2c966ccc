"""``plumbline doctor``: which link between the log and the serving version is broken first, of every model.

Belongs here: finding the instance and the registry of an installation, the rich table and JSON of a walk. Does not: the links
(``monitoring_assets/health``); ``platform/health`` walks the same way in the UI.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from rich.table import Table

from monitoring_assets.health.chain import walk
from monitoring_assets.health.evidence import Evidence
from monitoring_assets.health.links import MEANING, Chain, Link, LinkName, State
from plumbline.status import find_policy
from resources.catalogue import DeclarationError, load_catalogue
from resources.registry import Registry
from resources.rollout_log import serving_version
from resources.settings import Settings

_COLOURS = {State.OK: "green", State.BROKEN: "red", State.UNKNOWN: "yellow", State.NOT_DUE: "dim"}


@contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance | None]:
    """The Dagster instance of an installation: ``DAGSTER_HOME``, else the one ``plumbline dev`` has made; ``None`` without either."""
    named = os.environ.get("DAGSTER_HOME")
    folder = Path(named) if named else settings.home.absolute() / "dagster"
    if not (folder / "dagster.yaml").is_file():
        yield None
        return
    os.environ.setdefault("PLUMBLINE_EVENT_LOG", str(folder / "history" / "runs"))
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        yield instance


def registry_of(settings: Settings) -> Registry:
    """The model registry of an installation."""
    return Registry(tracking_uri=settings.tracking_uri, artifact_root=settings.artifact_root)


def _is_registry_expected(settings: Settings, models: Sequence[str]) -> bool:
    """Whether there is a registry, or something was promoted so that there should be one; asking an absent one would create it."""
    uri = settings.tracking_uri
    if not uri.startswith("sqlite:///") or Path(uri.removeprefix("sqlite:///")).exists():
        return True
    return any(serving_version(settings.lake, find_policy(settings, model)) for model in models)


def examine(settings: Settings, model: str | None = None, *, instance: dg.DagsterInstance | None = None) -> list[Chain]:
    """Walk the chain of every model, or of one.

    Args:
        settings: of the installation.
        model: its name; all if absent.
        instance: whose ticks and runs are looked at, if there is one.

    Returns:
        A chain per model; where declarations cannot be used, one chain that says so.

    Raises:
        LookupError: for an unknown model, with the known names.
    """
    try:
        policies = [one.policy for one in load_catalogue(settings.models)]
    except DeclarationError as error:
        advice = "Correct the file; neither location loads before, so nothing runs."
        return [Chain(model or "all models", [Link(LinkName.DECLARATION, State.BROKEN, str(error), advice)])]
    if model is not None:
        policies = [find_policy(settings, model)]
    registry = registry_of(settings) if _is_registry_expected(settings, [one.model for one in policies]) else None
    return [walk(Evidence(policy, settings.lake, settings.models, instance, registry)) for policy in policies]


def plain(chains: Sequence[Chain]) -> list[dict[str, Any]]:
    """Chains for ``--json``."""
    return [
        {
            "model": chain.model,
            "first_broken": chain.first_broken.name if chain.first_broken else None,
            "links": [
                {
                    "link": str(link.name), "state": str(link.state), "told": link.told, "advice": link.advice,
                    "since": link.since.isoformat() if link.since else None,
                }
                for link in chain.links
            ],
        }
        for chain in chains
    ]  # fmt: skip


def picture(chain: Chain) -> Table:
    """One line per link."""
    first = chain.first_broken
    shown = Table(
        title=f"{chain.model}: " + (f"the first broken link is {first.name}" if first else "no link is broken"), title_justify="left"
    )
    for column in ("link", "state", "what was seen", "what to do"):
        shown.add_column(column, overflow="fold")
    for link in chain.links:
        since = f" (since {link.since:%Y-%m-%d %H:%M})" if link.since and link.state is State.BROKEN else ""
        told = f"{link.told}{since}"
        what = told if link.state is not State.BROKEN else f"{told}; expected: {MEANING[link.name]}"
        shown.add_row(str(link.name), f"[{_COLOURS[link.state]}]{link.state}[/]", _escaped(what), _escaped(link.advice))
    return shown


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
