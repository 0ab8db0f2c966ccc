"""One class per channel: what a notification looks like there. All of them are sent through apprise.

Belongs here: addresses, payloads, one attempt and its error. Does not: what is due (``notifications.py``), retries.
Reads: the environment variables that channels name.
"""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import dagster as dg

from resources.notification_rules import Channel
from resources.notifications import Notification
from resources.vocabulary import Notice, Severity

#: Longest wait for an answer; a tick sends to several channels.
TIMEOUT_SECONDS = 5.0
_LONGEST_SUMMARY = 1000
_TYPES = {Severity.WARNING: "warning", Severity.ERROR: "failure", Severity.CRITICAL: "failure"}


class AddressError(ValueError):
    """What an environment variable holds is no address of its channel; the value is never repeated."""


@dataclass(frozen=True)
class Sent:
    """How one attempt ended; ``error`` is empty where it was delivered."""

    is_delivered: bool
    error: str = ""


@dataclass(frozen=True)
class Message:
    """What apprise is given: the arguments of its plugin, and what is said."""

    target: Mapping[str, Any]
    title: str
    body: str


class Kind(Protocol):
    """One kind of channel."""

    def message(self, channel: Channel, secret: str, notification: Notification) -> Message:
        """What is sent through ``channel``, whose address is ``secret``."""
        ...


class Slack:
    """An incoming webhook."""

    def message(self, channel: Channel, secret: str, notification: Notification) -> Message:
        """Title and details as an attachment in the colour of the severity."""
        target = _native(secret, "slack", "an incoming webhook of Slack: https://hooks.slack.com/services/…")
        return Message({**target, "include_image": False, "include_footer": False, "format": "text"}, notification.title, notification.text)


class Teams:
    """A workflow of Microsoft Teams that posts to a channel when a webhook request is received."""

    def message(self, channel: Channel, secret: str, notification: Notification) -> Message:
        """An adaptive card."""
        target = _native(secret, "workflow", "a workflow of Teams: https://…/workflows/…/triggers/manual/paths/invoke?…&sig=…")
        # a card breaks lines at blank ones only
        return Message({**target, "include_image": False}, notification.title, notification.text.replace("\n", "\n\n"))


class PagerDuty:
    """Events API v2: one trigger and one resolve, tied by the incident's name."""

    def message(self, channel: Channel, secret: str, notification: Notification) -> Message:
        """Trigger or resolve."""
        one = notification.incident
        target = {
            "schema": "pagerduty", "apikey": secret, "integrationkey": secret, "source": one.model, "component": str(one.cause),
            "group": ", ".join(one.owners) or None, "class_id": str(notification.notice), "severity": str(notification.severity),
            "include_image": False, "dedup": one.id, "action": "resolve" if notification.is_end else "trigger", "details": notification.details,
        }  # fmt: skip
        return Message(target, "", notification.title[:_LONGEST_SUMMARY])


class Email:
    """SMTP."""

    def message(self, channel: Channel, secret: str, notification: Notification) -> Message:
        """A plain text message to all recipients."""
        found = urlsplit(secret)
        if found.scheme not in ("smtp", "smtps") or not found.hostname:
            raise AddressError("expected smtp://user:password@host:port, or smtps:// for TLS")
        is_secure = found.scheme == "smtps"
        target = {
            "schema": "mailtos" if is_secure else "mailto", "secure": is_secure, "host": found.hostname, "port": found.port,
            "smtp_host": found.hostname, "from_addr": channel.sender, "targets": list(channel.recipients), "format": "text",
            "user": unquote(found.username) if found.username else None, "password": unquote(found.password) if found.password else None,
        }  # fmt: skip
        return Message(target, notification.title, notification.text)


class Webhook:
    """Any address that takes JSON: title, message and the incident by name."""

    def message(self, channel: Channel, secret: str, notification: Notification) -> Message:
        """A POST with everything that is known."""
        found = urlsplit(secret)
        if found.scheme not in ("http", "https") or not found.hostname:
            raise AddressError("expected a URL, https://…")
        one = notification.incident
        told = {name.replace(" ", "_"): value for name, value in notification.details.items()}
        extra = {**told, "notice": str(notification.notice), "opening": one.opening, "dedup_key": one.id, "attachments": ""}
        target = {
            "schema": "jsons" if found.scheme == "https" else "json", "secure": found.scheme == "https", "host": found.hostname,
            "port": found.port, "fullpath": found.path or "/", "params": _parameters(found.query), "payload": extra,
            "user": unquote(found.username) if found.username else None, "password": unquote(found.password) if found.password else None,
        }  # fmt: skip
        return Message(target, notification.title, notification.text)


KINDS: Mapping[str, Kind] = {"slack": Slack(), "teams": Teams(), "pagerduty": PagerDuty(), "email": Email(), "webhook": Webhook()}


def _native(url: str, schema: str, expected: str) -> dict[str, Any]:
    """The arguments of a plugin out of the address as its vendor shows it."""
    from apprise.plugins import url_to_dict

    found = url_to_dict(url, secure_logging=True) or {}  # type: ignore[no-untyped-call]
    if not str(found.get("schema", "")).startswith(schema):
        raise AddressError(f"expected {expected}")
    return found


def _parameters(query: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    return dict(parse_qsl(query, keep_blank_values=True))


class Notifier(dg.ConfigurableResource["Notifier"]):
    """Sends one notification; a failure is an answer, never an exception."""

    timeout_seconds: float = TIMEOUT_SECONDS

    def send(self, channel: Channel, notification: Notification) -> Sent:
        """Try once.

        Args:
            channel: where to.
            notification: what.

        Returns:
            Whether the other side took it, and what it said if not; the secret is never part of that.
        """
        secret = (dg.EnvVar(channel.secret).get_value() or "").strip()
        if not secret:
            return Sent(False, f"the environment variable {channel.secret} is not set")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # apprise loads every plugin it has, some of which import what is deprecated
                said = self._send(KINDS[channel.kind].message(channel, secret, notification), notification)
        except AddressError as error:
            said = f"what {channel.secret} holds is no address of {channel.kind}; {error}"
        except Exception as error:  # whatever a library does, monitoring goes on
            said = f"{type(error).__name__}: {error}"
        return Sent(not said, said.replace(secret, "(secret)"))

    def _send(self, message: Message, notification: Notification) -> str:
        """Nothing, or why it failed."""
        import apprise

        asset = apprise.AppriseAsset(app_id="Plumbline", app_desc="Plumbline", app_url="", storage_mode=apprise.PersistentStoreMode.MEMORY)
        limits = {"cto": self.timeout_seconds, "rto": self.timeout_seconds}
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as log:  # type: ignore[no-untyped-call]
            plugin = apprise.Apprise.instantiate({**message.target, **limits}, asset=asset, suppress_exceptions=False)
            if plugin is None:
                return f"refused by the library: {log.getvalue().strip()}"
            is_sent = plugin.notify(body=message.body, title=message.title, notify_type=_type(notification))
            return "" if is_sent else log.getvalue().strip().replace("\n", "; ") or "failed without a reason"


def _type(notification: Notification) -> str:
    if notification.is_end:
        return "success"
    return "info" if notification.notice is Notice.ACKNOWLEDGED else _TYPES[notification.severity]
