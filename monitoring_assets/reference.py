"""What everything is compared with: the reference window of a model version and the state fitted on it, once.

Belongs here: reference rows, fitting and reloading the reference profile, limits that carry over. Does not: measuring.
Reads: ``reference_rows`` (written at promotion) or the log, ``rollout_events``. Writes: ``reference_rows``, ``reference_profiles``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources import tables
from resources.lake import Lake
from resources.log_source import read_log
from resources.names import common, key
from resources.policy import MonitoredModel
from resources.rollout_log import previous_version, serving_version
from resources.vocabulary import EXTERNAL, Stage

if TYPE_CHECKING:
    import pandas as pd

    from monitoring_assets.measures.nanny import Fitted, LimitPair

    Limits = Mapping[tuple[str, str], LimitPair]


class NoReferenceError(LookupError):
    """There is nothing to compare with yet."""


def reference_rows(lake: Lake, policy: MonitoredModel, base: Path, version: str) -> "pd.DataFrame":
    """Rows of the reference of ``version``: those its promotion accepted, or the declared window of a log with predictions.

    Raises:
        NoReferenceError: when neither exists.
    """
    rows = lake.read(policy.model, tables.reference_rows(policy), {"reference_version": version})
    if len(rows):
        return rows
    if policy.log.is_scored_here:
        raise NoReferenceError(f"{policy.model}: got no reference rows of version {version}; expected its promotion to have written them")
    window = read_log(policy, base, policy.reference.start, policy.reference.end).accepted
    if window.empty:
        raise NoReferenceError(
            f"{policy.model}: got no row between reference.start {policy.reference.start:%Y-%m-%d} and "
            f"reference.end {policy.reference.end:%Y-%m-%d}; expected the window in which the model was accepted"
        )
    rows = window.assign(reference_version=version, is_held_out=window["y_true"].notna())
    rows = rows[list(tables.reference_rows(policy).columns)]
    lake.replace(policy.model, tables.reference_rows(policy), rows, {"reference_version": version})
    return rows


def fit_profile(lake: Lake, policy: MonitoredModel, base: Path, version: str) -> dict[str, "Fitted"]:
    """Fit every component on the reference of ``version`` and store it.

    Drift is fitted on all reference inputs, performance on the held-out rows alone: on rows a model has learned from,
    its performance is flattered. A reference shorter than ``reference.minimum_chunks`` keeps the limits of the version
    before it: a handful of chunks says nothing about what is normal.
    """
    from monitoring_assets.measures import nanny

    rows = reference_rows(lake, policy, base, version)
    held_out = rows[rows["is_held_out"] & rows["y_true"].notna()]
    before = previous_version(lake, policy, version)
    fitted = {}
    for component in nanny.components_of(policy):
        own = rows if component in nanny.INPUT_COMPONENTS else held_out
        if component in nanny.PERFORMANCE_COMPONENTS and own["y_true"].nunique() < 2:
            continue
        fresh = nanny.fit(component, policy, own)
        if fresh.n_chunks < policy.reference.minimum_chunks and before:
            fresh = _with_limits(fresh, _stored_limits(lake, policy, before, component))
        fitted[component] = fresh
    _store(lake, policy, version, fitted)
    return fitted


def component(lake: Lake, policy: MonitoredModel, base: Path, version: str, name: str) -> "Fitted | None":
    """One fitted component of ``version``; fitted and stored first if nobody has. ``None`` where it cannot be fitted."""
    from monitoring_assets.measures.fitted_state import load_state
    from monitoring_assets.measures.nanny import Fitted

    stored = lake.read(policy.model, tables.REFERENCE_PROFILES, {"reference_version": version})
    if stored.empty:
        return fit_profile(lake, policy, base, version).get(name)
    own = stored[stored["component"] == name]
    if own.empty:
        return None
    row = own.iloc[0]
    return Fitted(name, load_state(bytes(row["state"])), _limits_from(row["limits"]), int(row["n_rows"]), int(row["n_chunks"]))


def _with_limits(fresh: "Fitted", limits: "Limits") -> "Fitted":
    from dataclasses import replace

    return replace(fresh, limits={**fresh.limits, **limits})


def _limits_from(text: str) -> "Limits":
    from monitoring_assets.measures.nanny import LimitPair

    return {(method, subject): LimitPair(lower, upper) for method, subject, lower, upper in json.loads(text)}


def _stored_limits(lake: Lake, policy: MonitoredModel, version: str, component: str) -> "Limits":
    stored = lake.read(policy.model, tables.REFERENCE_PROFILES, {"reference_version": version})
    own = stored.loc[stored["component"] == component, "limits"]
    return _limits_from(own.iloc[0]) if len(own) else {}


def _store(lake: Lake, policy: MonitoredModel, version: str, fitted: Mapping[str, "Fitted"]) -> str:
    import pandas as pd

    from monitoring_assets.measures.fitted_state import dump_state

    frame = pd.DataFrame([
        {
            "reference_version": version,
            "component": name,
            "limits": json.dumps([[method, subject, pair.lower, pair.upper] for (method, subject), pair in one.limits.items()]),
            "state": dump_state(one.calculator),
            "n_rows": one.n_rows,
            "n_chunks": one.n_chunks,
        }
        for name, one in fitted.items()
    ])  # fmt: skip
    return lake.replace(policy.model, tables.REFERENCE_PROFILES, frame, {"reference_version": version})


def _serving(lake: Lake, policy: MonitoredModel) -> str:
    version = serving_version(lake, policy)
    if version is None and policy.log.is_scored_here:
        raise dg.Failure(
            f"{policy.model}: got no champion; expected one promotion first. The trigger sensor of the training location starts it."
        )
    return version or EXTERNAL


def build_reference_window(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """The rows the serving version is compared with."""

    @dg.asset(
        key=key(policy, Stage.REFERENCE_WINDOW),
        deps=[key(policy, Stage.LOG_SOURCE)],
        description="The accepted window of the serving version: held-out rows it was proved on, and older inputs where those are few.",
        **common(policy, {"deltalake"}),
    )
    def reference_window(lake: Lake) -> dg.MaterializeResult[None]:
        version = _serving(lake, policy)
        rows = reference_rows(lake, policy, base, version)
        metadata: dict[str, Any] = {
            "reference_version": version,
            "dagster/row_count": len(rows),
            "held_out_rows": int(rows["is_held_out"].sum()),
            "first_row": str(rows["time"].min()),
            "last_row": str(rows["time"].max()),
        }
        where = {"reference_version": version}
        return dg.MaterializeResult(
            metadata=metadata, data_version=dg.DataVersion(lake.data_version(policy.model, tables.reference_rows(policy), where))
        )

    return reference_window


def build_reference_profile(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """State and limits fitted on the reference."""

    @dg.asset(
        key=key(policy, Stage.REFERENCE_PROFILE),
        deps=[key(policy, Stage.REFERENCE_WINDOW)],
        description="Everything fitted on the reference, once: calculators and limits. A chunk is measured against it alone.",
        **common(policy, {"nannyml", "deltalake"}),
    )
    def reference_profile(lake: Lake) -> dg.MaterializeResult[None]:
        version = _serving(lake, policy)
        fitted = fit_profile(lake, policy, base, version)
        lines = [
            f"| {name} | {method} | {subject} | {_show(pair.lower)} | {_show(pair.upper)} | {one.n_rows} | {one.n_chunks} |"
            for name, one in fitted.items()
            for (method, subject), pair in one.limits.items()
        ]
        table = "\n".join(["| component | method | subject | lower | upper | rows | chunks |", "|---|---|---|---|---|---|---|", *lines])
        where = {"reference_version": version}
        return dg.MaterializeResult(
            metadata={"reference_version": version, "components": len(fitted), "limits": dg.MetadataValue.md(table)},
            data_version=dg.DataVersion(lake.data_version(policy.model, tables.REFERENCE_PROFILES, where)),
        )

    return reference_profile


def _show(limit: float | None) -> str:
    return "–" if limit is None else f"{limit:.4g}"
