"""What everything is compared with: the reference window of a model version and the state fitted on it, once.

Belongs here: reference rows, fitting and reloading the reference profile, limits that carry over. Does not: measuring.
Reads: ``reference_rows`` (written at promotion) or the log, ``rollout_events``. Writes: ``reference_rows``, ``reference_profiles``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets import drift_profile, forecast_reference, reference_pieces
from monitoring_assets.drift_profile import DriftProfile
from monitoring_assets.reference_pieces import Piece, fit_pieces
from resources import tables
from resources.lake import Lake
from resources.log_source import read_log
from resources.names import common, key
from resources.policy import MonitoredModel
from resources.rollout_log import events, previous_version, serving_version
from resources.vocabulary import EXTERNAL, Stage

if TYPE_CHECKING:
    import pandas as pd

    from monitoring_assets.measures.nanny import Fitted, LimitPair
    from monitoring_assets.measures.sequential import Detector

    Limits = Mapping[tuple[str, str], LimitPair]


#: Components that are streaming detectors.
_DETECTOR = "detector/"
#: Rows of the table of limits; with many segments it would be too long to read.
_SHOWN_LIMITS = 60


class NoReferenceError(LookupError):
    """There is nothing to compare with yet."""


def reference_rows(lake: Lake, policy: MonitoredModel, base: Path, version: str) -> "pd.DataFrame":
    """Rows of the reference of ``version``: those its promotion accepted, or the declared window of a log with predictions, read anew.

    Raises:
        NoReferenceError: when neither exists.
    """
    if policy.log.is_scored_here or version in set(events(lake, policy)["to_version"]):
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


@dataclass(frozen=True)
class Profile:
    """Everything fitted on the reference of one version: drift, and the performance components that could be fitted."""

    drift: DriftProfile
    performance: "Mapping[str, Fitted]"
    detectors: "Mapping[str, Detector]"
    pieces: "Mapping[str, Piece]"


def fit_profile(lake: Lake, policy: MonitoredModel, base: Path, version: str) -> Profile:
    """Fit everything on the reference of ``version`` and store it.

    Drift is fitted on all reference inputs, performance on the held-out rows alone: on rows a model has learned from,
    its performance is flattered. A reference shorter than ``reference.minimum_chunks`` keeps the limits of the version
    before it: a handful of chunks says nothing about what is normal.
    """
    from monitoring_assets.measures import nanny

    rows = reference_rows(lake, policy, base, version)
    held_out = rows[rows["is_held_out"] & rows["y_true"].notna()]
    before = previous_version(lake, policy, version)
    stored_before = _stored(lake, policy, before) if before else None
    drift = drift_profile.fit(
        policy, rows, drift_profile.load(lake, policy, before, stored_before) if stored_before is not None and before else None
    )
    if policy.forecast is not None:
        profile = Profile(drift, {}, {}, forecast_reference.fit(lake, policy, version, rows, stored_before))
        _store(lake, policy, version, profile)
        return profile
    fitted, own = {}, [name for name in nanny.COMPONENTS if name != "estimated" or policy.estimator in nanny.ESTIMATORS]
    for component in own if held_out["y_true"].nunique() >= policy.fewest_outcomes else ():
        fresh = nanny.fit(component, policy, held_out)
        if fresh.n_chunks < policy.reference.minimum_chunks and stored_before is not None:
            fresh = _with_limits(fresh, _stored_limits(stored_before, component))
        fitted[component] = fresh
    pieces = fit_pieces(policy, rows, held_out)
    if stored_before is not None:
        pieces = reference_pieces.with_limits(policy, pieces, reference_pieces.pieces_from(stored_before, {reference_pieces.ESTIMATOR}))
    profile = Profile(drift, fitted, _fit_detectors(policy, held_out), pieces)
    _store(lake, policy, version, profile)
    return profile


def _fit_detectors(policy: MonitoredModel, held_out: "pd.DataFrame") -> dict[str, "Detector"]:
    """Detectors calibrated on the losses of the held-out reference rows, for sequences as long as a usual chunk."""
    from monitoring_assets.measures.onset import losses_of
    from monitoring_assets.measures.sequential import fit_detector

    if not policy.performance.detectors or held_out.empty:
        return {}
    ordered = held_out.sort_values("time", kind="stable")
    length = int(ordered.groupby(policy.cadence.keys(ordered["time"])).size().median())
    losses, rate = losses_of(policy.task, ordered), policy.performance.detector_false_alarms
    return {name: fit_detector(name, losses, length, rate, policy.retrain.seed) for name in policy.performance.detectors}


def detectors_of(lake: Lake, policy: MonitoredModel, base: Path, version: str) -> "Mapping[str, Detector]":
    """Detectors of ``version`` by name; everything is fitted and stored first if nobody has."""
    from monitoring_assets.measures.sequential import Detector

    stored = _fitted(lake, policy, version)
    if stored.empty:
        return fit_profile(lake, policy, base, version).detectors
    rows = stored[stored["component"].str.startswith(_DETECTOR)]
    plain = {str(row.component).removeprefix(_DETECTOR): json.loads(row.limits) for row in rows.itertuples()}
    return {name: Detector(**{**one, "quantiles": tuple(one["quantiles"])}) for name, one in plain.items()}


def drift_of(lake: Lake, policy: MonitoredModel, base: Path, version: str) -> DriftProfile:
    """The drift profile of ``version``; everything is fitted and stored first if nobody has."""
    found = drift_profile.load(lake, policy, version, _fitted(lake, policy, version))
    return found if found is not None else fit_profile(lake, policy, base, version).drift


def stuck_of(lake: Lake, policy: MonitoredModel, base: Path, version: str) -> Mapping[str, float]:
    """Largest stuck share of any reference chunk by feature; no summary is loaded for it."""
    stored = _fitted(lake, policy, version)
    return drift_profile.stuck_of(stored) if len(stored) else fit_profile(lake, policy, base, version).drift.stuck


def _fitted(lake: Lake, policy: MonitoredModel, version: str) -> "pd.DataFrame":
    """Stored rows of the profile; none where it was fitted for another declaration, so that it is fitted anew."""
    stored = _stored(lake, policy, version)
    return stored if drift_profile.is_of(stored, policy.fit_hash) else stored.iloc[:0]


def _stored(lake: Lake, policy: MonitoredModel, version: str) -> "pd.DataFrame":
    return lake.read(policy.model, tables.REFERENCE_PROFILES, {"reference_version": version})


def pieces_of(lake: Lake, policy: MonitoredModel, base: Path, version: str, *names: str) -> "Mapping[str, Piece]":
    """Those of the pieces ``names`` that ``version`` has; everything is fitted and stored first if nobody has."""
    stored = _fitted(lake, policy, version)
    return reference_pieces.pieces_from(stored, names) if len(stored) else fit_profile(lake, policy, base, version).pieces


def realized_spreads(lake: Lake, policy: MonitoredModel, base: Path, version: str) -> dict[str, float]:
    """Standard deviation of each realized metric over the reference chunks of ``version``; none where it could not be fitted."""
    stored = _fitted(lake, policy, version)
    if stored.empty:
        fit_profile(lake, policy, base, version)
        stored = _fitted(lake, policy, version)
    return {metric: pair.spread for (_, metric), pair in _stored_limits(stored, "realized").items()}


def component(lake: Lake, policy: MonitoredModel, base: Path, version: str, name: str) -> "Fitted | None":
    """One fitted performance component of ``version``; fitted and stored first if nobody has. ``None`` where it cannot be fitted."""
    from monitoring_assets.measures.fitted_state import load_state
    from monitoring_assets.measures.nanny import Fitted

    stored = _fitted(lake, policy, version)
    if stored.empty:
        return fit_profile(lake, policy, base, version).performance.get(name)
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

    return {(method, subject): LimitPair(*numbers) for method, subject, *numbers in json.loads(text)}


def _stored_limits(stored: "pd.DataFrame", component: str) -> "Limits":
    own = stored.loc[stored["component"] == component, "limits"]
    return _limits_from(own.iloc[0]) if len(own) else {}


def _store(lake: Lake, policy: MonitoredModel, version: str, profile: Profile) -> str:
    """Summaries first: a profile that is found is complete."""
    import pandas as pd

    from monitoring_assets.measures.fitted_state import dump_state

    drift_profile.store_summaries(lake, policy, version, profile.drift)
    rows = drift_profile.rows_of(version, profile.drift, policy.fit_hash)
    for name, detector in profile.detectors.items():
        own = {"reference_version": version, "component": f"{_DETECTOR}{name}", "limits": json.dumps(asdict(detector)), "state": b""}
        rows.append({**own, "n_rows": profile.drift.n_rows, "n_chunks": profile.drift.n_chunks})
    rows += reference_pieces.rows_of(version, profile.pieces, profile.drift.n_rows, profile.drift.n_chunks)
    for name, one in profile.performance.items():
        limits = json.dumps([[*name, *astuple(pair)] for name, pair in one.limits.items()])
        rows.append({
            "reference_version": version, "component": name, "limits": limits, "state": dump_state(one.calculator),
            "n_rows": one.n_rows, "n_chunks": one.n_chunks,
        })  # fmt: skip
    return lake.replace(policy.model, tables.REFERENCE_PROFILES, pd.DataFrame(rows), {"reference_version": version})


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
        **common(policy, {"nannyml", "scipy", "deltalake"}),
    )
    def reference_profile(lake: Lake) -> dg.MaterializeResult[None]:
        version = _serving(lake, policy)
        profile = fit_profile(lake, policy, base, version)
        table = "\n".join(
            [
                "| component | method | subject | lower | upper | rows | chunks |",
                "|---|---|---|---|---|---|---|",
                *_limit_lines(policy, profile),
            ]
        )
        where = {"reference_version": version}
        return dg.MaterializeResult(
            metadata={
                "reference_version": version,
                "reference_rows": profile.drift.n_rows,
                "reference_chunks": profile.drift.n_chunks,
                "columns": len(profile.drift.columns),
                "limits of a usual chunk": dg.MetadataValue.md(table),
            },
            data_version=dg.DataVersion(lake.data_version(policy.model, tables.REFERENCE_PROFILES, where)),
        )

    return reference_profile


def _limit_lines(policy: MonitoredModel, profile: Profile) -> list[str]:
    """Rows of the table of limits; those of drift for one number alone, before they are shared out over all of a chunk."""
    drift, rate = profile.drift, policy.drift.limit.false_alarms
    nulls = [
        (f"{column.segment} against {name}", method, column.subject, null)
        for column in drift.columns for name, own in column.nulls.items() for method, null in own.items()
    ] + [("all features", one.method, "all features", one.null) for one in drift.joint]  # fmt: skip
    lines = []
    for name, method, subject, null in nulls[:_SHOWN_LIMITS]:
        lower, upper = null.limits(rate, drift.usual_rows)
        lines.append(f"| {name} | {method} | {subject} | {_show(lower)} | {_show(upper)} | {drift.n_rows} | {drift.n_chunks} |")
    lines += [
        f"| {name} | {method} | {subject} | {_show(pair.lower)} | {_show(pair.upper)} | {one.n_rows} | {one.n_chunks} |"
        for name, one in profile.performance.items()
        for (method, subject), pair in one.limits.items()
    ]
    return lines


def _show(limit: float | None) -> str:
    return "–" if limit is None or limit != limit else f"{limit:.4g}"
