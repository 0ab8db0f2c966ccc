"""What every model is doing now, read from the lake."""

import difflib
from typing import Any

from resources import tables
from resources.catalogue import load_catalogue
from resources.decision_log import read_ledger
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.response_times import recent_times
from resources.rollout_log import serving_version
from resources.settings import Settings


def find_policy(settings: Settings, model: str) -> MonitoredModel:
    """The declaration called ``model``. Raises LookupError that names the known models and the closest one."""
    policies = {one.policy.model: one.policy for one in load_catalogue(settings.models)}
    if model not in policies:
        close = difflib.get_close_matches(model, policies, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise LookupError(f"got model {model!r}; expected one of {', '.join(sorted(policies))}{hint}")
    return policies[model]


def read_status(settings: Settings) -> list[dict[str, Any]]:
    """One row per model: ``model, task, serving_version, newest_chunk, verdict, confidence, decision, clause, incident`` and mean times of a year."""
    lake, rows = settings.lake, []
    for declaration in load_catalogue(settings.models):
        policy = declaration.policy
        verdict = lake.read(policy.model, tables.VERDICTS).sort_values("chunk").tail(1).to_dict("records")
        decision = read_ledger(policy, lake).tail(1).to_dict("records")
        newest, made = (verdict or [{}])[0], (decision or [{}])[0]
        rows.append({
            "model": policy.model,
            "task": str(policy.task),
            "serving_version": serving_version(lake, policy) or "none",
            "newest_chunk": newest.get("chunk", "none"),
            "verdict": newest.get("verdict", "none"),
            "confidence": newest.get("confidence", "none"),
            "decision": made.get("action", "none"),
            "clause": made.get("clause", "none"),
            "incident": made.get("incident") or "none",
            **_hours(policy, lake),
        })  # fmt: skip
    return rows


def _hours(policy: MonitoredModel, lake: Lake) -> dict[str, float | str]:
    times = {name: span for name, span in recent_times(policy, lake).named.items() if name != "order"}
    return {f"hours_to_{name}": round(span.total_seconds() / 3600, 1) if span is not None else "none" for name, span in times.items()}
