"""``plumbline lineage``: who answered for which model at which moment.

Belongs here: asking lake and registry, the rich table. Does not: joining the facts (``resources/lineage.py``).
"""

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table

from plumbline.doctor import registry_of
from plumbline.status import find_policy
from resources.catalogue import load_catalogue
from resources.chunks import as_utc
from resources.clock import now
from resources.lineage import Lineage, read_lineage
from resources.settings import Settings


def read_governance(settings: Settings, model: str | None = None, at: datetime | None = None) -> list[Lineage]:
    """A line per model, or of one.

    Args:
        settings: of the installation.
        model: its name; all if absent.
        at: in the model's own time, UTC; its present if absent.

    Raises:
        LookupError: for an unknown model, with the known names.
    """
    policies = [find_policy(settings, model)] if model else [one.policy for one in load_catalogue(settings.models)]
    registry, lake = registry_of(settings), settings.lake
    return [read_lineage(one, lake, registry.versions(one.model), as_utc(at) if at else now(one, lake)) for one in policies]


def picture(lines: Sequence[Lineage]) -> Table:
    """One model reads down, several read across."""
    shown = Table(title="Who answers for what serves", title_justify="left")
    plain = [line.plain for line in lines]
    if len(plain) == 1:
        for column in ("fact", plain[0]["model"]):
            shown.add_column(column, overflow="fold")
        for name, value in plain[0].items():
            shown.add_row(name.replace("_", " "), value.replace("[", "\\["))
        return shown
    for name in plain[0]:
        shown.add_column(name.replace("_", " "), overflow="fold")
    for line in plain:
        shown.add_row(*(value.replace("[", "\\[") for value in line.values()))
    return shown
