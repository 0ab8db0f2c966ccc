"""The walk of ``plumbline doctor``: from the log to the version that serves, and the first link that is broken.

Belongs here: going through the links, what the walk means for ``platform/health``. Does not: single links, repairing, printing
(``plumbline/doctor.py``). Writes nothing.
"""

from collections.abc import Callable, Sequence

from monitoring_assets.health import deployment_links, monitoring_links
from monitoring_assets.health.evidence import Evidence
from monitoring_assets.health.findings import Finding, Health, HealthCheck, table
from monitoring_assets.health.links import MEANING, Chain, Link, LinkName, State, ok


def walk(seen: Evidence) -> Chain:
    """Look at every link in order; one that cannot be read is broken, and the walk goes on."""
    looks = {**monitoring_links.LOOKS, **deployment_links.LOOKS}
    declared = ok(LinkName.DECLARATION, f"policy {seen.policy.policy_hash}")
    return Chain(seen.policy.model, [declared, *(_looked_at(name, look, seen) for name, look in looks.items())])


def _looked_at(name: LinkName, look: Callable[[Evidence], Link], seen: Evidence) -> Link:
    try:
        return look(seen)
    except Exception as error:  # whatever keeps a link from being read is what the doctor is asked for
        told = f"cannot be read: {type(error).__name__}: {str(error)[:300]}"
        return Link(name, State.BROKEN, told, "Repair what the message names; restore the table from a copy if its files are damaged.")


def chain_is_whole(chains: Sequence[Chain]) -> Health:
    """The first broken link of every model, as a check of the platform."""
    findings = [_finding(chain.model, chain.first_broken) for chain in chains if chain.first_broken]
    rows = [(chain.model, *(f"**{link.state}**" if link.state is State.BROKEN else link.state for link in chain.links)) for chain in chains]
    text = {"chains": table(["model", *LinkName], rows)}
    return Health(HealthCheck.CHAIN_IS_WHOLE, findings, f"chains of {len(chains)} models", {"broken_chains": len(findings)}, text)


def _finding(model: str, link: Link) -> Finding:
    return Finding(f"{model}: link {link.name} is broken", link.since, f"{link.told}; expected: {MEANING[link.name]}", link.advice)
