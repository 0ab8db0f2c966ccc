"""Who is told about incidents, through what, how often, and when not: the platform's ``notifications.yaml``.

Belongs here: the fields of the file, their rules, reading it. Does not: what is due (``notifications.py``), sending (``notifiers.py``).
Reads: ``notifications.yaml``.
"""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from resources.catalogue import read_section
from resources.incidents import Incident
from resources.policy import MonitoredModel
from resources.section import Duration, FieldError, Moment, Section
from resources.vocabulary import Cause, Severity

#: The underscore tells a name from a key: PagerDuty's are capitals and digits too.
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
_NO_SECRET = "expected the name of an environment variable, such as SLACK_WEBHOOK_URL: a secret never stands in a file"  # noqa: S105 - says so
_ADDRESS = re.compile(r"[^@\s,<>]+@[^@\s,<>]+")


class Channel(Section):
    """One way to reach people. What it got wrong is never repeated in an error: it may be a secret."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", description="What routes call it.")
    kind: Literal["slack", "pagerduty", "teams", "email", "webhook"]
    secret: str = Field(
        description="Environment variable that holds the address: the webhook URL of slack, teams (a workflow's) and webhook, the routing key "
        "of pagerduty, smtp://user:password@host:port of email (smtps:// for TLS)."
    )
    sender: str | None = Field(None, description="From address; of email alone.")
    recipients: list[str] = Field(default_factory=list, description="To addresses; of email alone.")

    @model_validator(mode="before")
    @classmethod
    def _only_known_fields(cls, given: Any) -> Any:
        unknown = next((name for name in given if name not in cls.model_fields), None) if isinstance(given, dict) else None
        if unknown is not None:
            raise FieldError((unknown,), f"got an unknown field; expected one of {', '.join(sorted(cls.model_fields))}")
        return given

    @field_validator("secret", mode="before")
    @classmethod
    def _secret_is_a_name(cls, secret: Any) -> Any:
        if not isinstance(secret, str) or not _VARIABLE.fullmatch(secret):
            raise ValueError(f"got something else; {_NO_SECRET}")
        return secret

    @model_validator(mode="after")
    def _email_has_addresses(self) -> Self:
        given = [*([self.sender] if self.sender else []), *self.recipients]
        if self.kind != "email" and given:
            raise FieldError(("recipients",), f"got {given} with kind {self.kind}; expected none: only email has a sender and recipients")
        if self.kind == "email" and not (self.sender and self.recipients):
            raise FieldError(("recipients",), "got no sender or no recipient; expected both with kind email")
        wrong = next((one for one in given if not _ADDRESS.fullmatch(one)), None)
        if wrong is not None:
            raise FieldError(("recipients",), f"got {wrong!r}; expected an email address")
        return self


class Route(Section):
    """Which incidents go to which channels; what is not named is not restricted. Every route that fits counts."""

    owners: list[str] = Field(default_factory=list, description="Owners of the model, as in its declaration.")
    models: list[str] = Field(default_factory=list)
    causes: list[Cause] = Field(default_factory=list)
    severities: list[Severity] = Field(default_factory=list)
    channels: list[str] = Field(min_length=1)

    def fits(self, incident: Incident) -> bool:
        """Whether the incident goes this way."""
        return (
            (not self.owners or bool(set(self.owners) & set(incident.owners)))
            and (not self.models or incident.model in self.models)
            and (not self.causes or incident.cause in self.causes)
            and (not self.severities or incident.severity in self.severities)
        )


class Escalation(Section):
    """Who is told when nobody has acknowledged an incident in time."""

    after: Duration
    channels: list[str] = Field(min_length=1)
    severity: Severity = Severity.CRITICAL


class Maintenance(Section):
    """A planned window: incidents are recorded, nobody is told until it is over."""

    start: Moment
    end: Moment
    owners: list[str] = Field(default_factory=list)
    models: list[str] = Field(default_factory=list, description="Neither owners nor models: all of them.")
    why: str = Field(min_length=1)

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.end <= self.start:
            raise FieldError(("end",), f"got {self.end:%Y-%m-%d %H:%M}; expected a moment after start {self.start:%Y-%m-%d %H:%M}")
        return self

    def covers(self, incident: Incident, moment: datetime) -> bool:
        """Whether nothing may be said about the incident at ``moment``."""
        is_everybody = not self.owners and not self.models
        is_meant = is_everybody or incident.model in self.models or bool(set(self.owners) & set(incident.owners))
        return self.start <= moment < self.end and is_meant


class NotificationRules(Section):
    """``notifications.yaml``: who is told about incidents. Durations and windows are in the model's own time."""

    channels: list[Channel] = Field(min_length=1)
    routes: list[Route] = Field(min_length=1)
    renotify_every: Duration | None = Field(None, description="An open incident nobody has acknowledged is told again so often.")
    escalation: Escalation | None = None
    maintenance: list[Maintenance] = Field(default_factory=list)
    max_age: Duration = Field("7d", description="What could have been judged longer ago is history: it is shown and nobody is told.")

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        names = [channel.name for channel in self.channels]
        twice = next((place for place, name in enumerate(names) if names.index(name) != place), None)
        if twice is not None:
            raise FieldError(("channels", twice, "name"), f"got {names[twice]!r} twice; expected every channel to have a name of its own")
        for place, route in enumerate(self.routes):
            _require(("routes", place, "channels"), route.channels, names, "a declared channel")
        if self.escalation is not None:
            _require(("escalation", "channels"), self.escalation.channels, names, "a declared channel")
        return self

    def channel(self, name: str) -> Channel:
        """The channel of that name."""
        return next(one for one in self.channels if one.name == name)

    def channels_of(self, incident: Incident) -> list[str]:
        """Channels an incident goes to, each once."""
        return list(dict.fromkeys(name for route in self.routes if route.fits(incident) for name in route.channels))

    def is_in_maintenance(self, incident: Incident, moment: datetime) -> bool:
        """Whether nobody may be told at ``moment``."""
        return any(window.covers(incident, moment) for window in self.maintenance)


def _require(path: tuple[str | int, ...], given: Sequence[str], known: Sequence[str], expected: str) -> None:
    for place, name in enumerate(given):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise FieldError((*path, place), f"got {name!r}; expected {expected}: {', '.join(known)}{hint}")


def load_rules(file: Path, policies: Sequence[MonitoredModel]) -> NotificationRules | None:
    """Read ``notifications.yaml``; ``None`` where there is none, and nobody is told.

    Raises:
        DeclarationError: naming file, line, field, what was got and what is expected; also for an owner or model no declaration has.
    """
    if not file.exists():
        return None
    models, owners = sorted(one.model for one in policies), sorted({owner for one in policies for owner in one.owners})

    def check(rules: NotificationRules) -> None:
        sections: Mapping[str, Sequence[Route | Maintenance]] = {"routes": rules.routes, "maintenance": rules.maintenance}
        for section, parts in sections.items():
            for place, part in enumerate(parts):
                _require((section, place, "models"), part.models, models, "a declared model")
                _require((section, place, "owners"), part.owners, owners, "an owner of a declared model")

    return read_section(file, NotificationRules, check)


def rules_schema() -> str:
    """JSON Schema of ``notifications.yaml``, for editors; committed as ``models/notifications.schema.json``."""
    return json.dumps(NotificationRules.model_json_schema(), indent=2, sort_keys=True) + "\n"
