"""What drift is measured against: fitted columns and multivariate methods of one reference, stored once.

Belongs here: fitting on the reference rows, storing, reloading, limits that carry over. Does not: measuring, performance.
Reads: ``reference_rows`` (through the caller). Writes: ``reference_profiles``, ``reference_summaries``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from resources import tables
from resources.lake import Lake
from resources.policy import MonitoredModel

if TYPE_CHECKING:
    import pandas as pd

    from monitoring_assets.measures.distribution import Summary
    from monitoring_assets.measures.joint import FittedJoint
    from monitoring_assets.measures.univariate import FittedColumn

#: Components of ``reference_profiles`` that belong to drift.
COLUMNS, JOINT = "columns", "joint"


@dataclass(frozen=True)
class DriftProfile:
    """Everything a chunk's drift is measured against, and how much it was fitted on."""

    columns: "Sequence[FittedColumn]"
    joint: "Sequence[FittedJoint]"
    stuck: Mapping[str, float]
    n_rows: int
    n_chunks: int
    usual_rows: int


def fit(policy: MonitoredModel, rows: "pd.DataFrame", before: DriftProfile | None) -> DriftProfile:
    """Fit drift on the reference.

    Args:
        policy: the declaration.
        rows: reference ``(n_rows, ...)``.
        before: profile of the version before, whose limits a reference shorter than ``reference.minimum_chunks`` keeps.
    """
    from monitoring_assets.measures.joint import fit_joint
    from monitoring_assets.measures.quality import stuck_exemptions
    from monitoring_assets.measures.univariate import fit_columns

    ordered = rows.sort_values("time", kind="stable").reset_index(drop=True)
    sizes = ordered.groupby(policy.cadence.keys(ordered["time"])).size()
    usual = int(sizes.median()) if len(sizes) else 1
    fresh = DriftProfile(
        fit_columns(policy, ordered, usual),
        fit_joint(policy, ordered, usual),
        stuck_exemptions(policy, ordered),
        len(ordered),
        len(sizes),
        usual,
    )
    return _with_limits(fresh, before) if before is not None and fresh.n_chunks < policy.reference.minimum_chunks else fresh


def _with_limits(fresh: DriftProfile, before: DriftProfile) -> DriftProfile:
    """A handful of chunks says nothing about what is normal: distances are to the fresh reference, limits stay."""
    columns = {(one.subject, one.segment): one for one in before.columns}
    joint = {(one.method, one.season): one for one in before.joint}
    kept = [_column_with_limits(one, columns[key]) if (key := (one.subject, one.segment)) in columns else one for one in fresh.columns]
    together = [
        replace(one, null=joint[key].null, chunk_values=joint[key].chunk_values) if (key := (one.method, one.season)) in joint else one
        for one in fresh.joint
    ]
    return replace(fresh, columns=kept, joint=together)


def _column_with_limits(fresh: "FittedColumn", before: "FittedColumn") -> "FittedColumn":
    """The limits of ``before`` where it has some; methods and comparisons it did not know keep the fresh ones."""
    nulls = {name: {**own, **before.nulls.get(name, {})} for name, own in fresh.nulls.items()}
    return replace(fresh, nulls=nulls, chunk_values={**fresh.chunk_values, **before.chunk_values})


def is_of(stored: "pd.DataFrame", fit_hash: str) -> bool:
    """Whether stored rows of ``reference_profiles`` were fitted for the declaration as it is now."""
    own = stored.loc[stored["component"] == COLUMNS, "limits"]
    return len(own) > 0 and json.loads(own.iloc[0]).get("fit_hash") == fit_hash


def stuck_of(stored: "pd.DataFrame") -> Mapping[str, float]:
    """Largest stuck share of any reference chunk by feature, without loading a summary."""
    found: Mapping[str, float] = json.loads(stored.loc[stored["component"] == COLUMNS, "limits"].iloc[0])["stuck"]
    return found


def rows_of(version: str, profile: DriftProfile, fit_hash: str) -> list[dict[str, Any]]:
    """The profile's rows of ``reference_profiles``; ``fit_hash`` names the declaration it was fitted for."""
    from monitoring_assets.measures import multivariate

    common = {"reference_version": version, "n_rows": profile.n_rows, "n_chunks": profile.n_chunks}
    told = {"stuck": dict(profile.stuck), "usual_rows": profile.usual_rows, "fit_hash": fit_hash}
    plain = json.dumps([column.as_plain() for column in profile.columns]).encode()
    rows = [{**common, "component": COLUMNS, "limits": json.dumps(told), "state": plain}]
    for one in profile.joint:
        limits = json.dumps({"null": one.null.as_plain(), "chunk_values": list(one.chunk_values)})
        name = f"{JOINT}/{one.method}" + (f"/{one.season}" if one.season else "")
        rows.append({**common, "component": name, "limits": limits, "state": multivariate.dump(one.state)})
    return rows


def store_summaries(lake: Lake, policy: MonitoredModel, version: str, profile: DriftProfile) -> None:
    """Store the summaries of all columns, a part a row."""
    import pandas as pd

    from monitoring_assets.measures.distribution import pack

    rows = [
        (version, column.subject, column.segment, season, index, piece)
        for column in profile.columns
        for season, summary in column.seasons.items()
        for index, piece in enumerate(pack(summary))
    ]
    frame = pd.DataFrame(rows, columns=list(tables.REFERENCE_SUMMARIES.columns))
    lake.replace(policy.model, tables.REFERENCE_SUMMARIES, frame, {"reference_version": version})


def load(lake: Lake, policy: MonitoredModel, version: str, stored: "pd.DataFrame") -> DriftProfile | None:
    """Rebuild a profile from its rows of ``reference_profiles``; ``None`` where there are none."""
    from monitoring_assets.measures import multivariate
    from monitoring_assets.measures.joint import FittedJoint
    from monitoring_assets.measures.limits import Null
    from monitoring_assets.measures.univariate import FittedColumn

    own = stored[stored["component"] == COLUMNS]
    if own.empty:
        return None
    row = own.iloc[0]
    summaries = _summaries(lake, policy, version)
    plain = json.loads(bytes(row["state"]))
    columns = [FittedColumn.from_plain(one, summaries[one["subject"], one["segment"]]) for one in plain]
    joint = []
    for one in stored[stored["component"].str.startswith(f"{JOINT}/")].itertuples():
        limits = json.loads(one.limits)
        method, _, season = one.component.removeprefix(f"{JOINT}/").partition("/")
        null = Null.from_plain(limits["null"])
        joint.append(FittedJoint(method, multivariate.load(bytes(one.state)), null, tuple(limits["chunk_values"]), season))
    told = json.loads(row["limits"])
    return DriftProfile(columns, joint, told["stuck"], int(row["n_rows"]), int(row["n_chunks"]), told["usual_rows"])


def _summaries(lake: Lake, policy: MonitoredModel, version: str) -> dict[tuple[str, str], dict[str, "Summary"]]:
    from monitoring_assets.measures.distribution import unpack

    rows = lake.read(policy.model, tables.REFERENCE_SUMMARIES, {"reference_version": version}).sort_values("part", kind="stable")
    found: dict[tuple[str, str], dict[str, Summary]] = {}
    for (subject, segment, season), own in rows.groupby(["subject", "segment", "season"], sort=True):
        found.setdefault((subject, segment), {})[season] = unpack([bytes(piece) for piece in own["state"]])
    return found
