"""What a declaration says about incidents: how loud each cause is, when one is over, and when it is the same one again.

Belongs here: the section ``incidents`` of a declaration. Does not: folding (``incident_fold.py``), who is told (``notification_rules.py``).
"""

from pydantic import Field

from resources.section import Section
from resources.vocabulary import Cause, Severity


class Severities(Section):
    """Severity by cause."""

    data_fault: Severity = Severity.ERROR
    harm: Severity = Severity.ERROR
    drift: Severity = Severity.WARNING
    platform: Severity = Severity.WARNING

    def of(self, cause: Cause) -> Severity:
        """That of one cause."""
        severity: Severity = getattr(self, str(cause))
        return severity


class IncidentRules(Section):
    """When breaches of one cause are one incident, and when it is over."""

    severity: Severities = Severities()
    drift: bool = Field(
        False, description="Whether drift of all rows that drift.confirm confirms is an incident, also where the model holds."
    )
    resolve_after: int = Field(1, ge=1, description="Healthy chunks after the last bad one that end an incident.")
    quiet: int = Field(3, ge=0, description="Within so many chunks after its end, the same cause opens the same incident again.")
