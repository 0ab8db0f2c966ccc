"""Why does it hurt, or what moved? Feature attributions of every chunk, and for one that drifted or hurts the evidence a verdict rests on.

Belongs here: gathering what the tests need, suspects, the asset. Does not: the tests (``measures/diagnosis``), the verdict.
Reads: ``prediction_log``, ``outcomes``, ``measurements``, ``reference_rows``, ``reference_profiles``. Writes: ``measurements``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements, plots, reference, self_watch
from monitoring_assets.measures.diagnosis.attribution import SHARE
from monitoring_assets.measures.diagnosis.diagnose import KNOWN_EVENT, Symptoms
from monitoring_assets.measures.judge import drift_breaches, harmful_breaches
from monitoring_assets.measures.lines import ALL, joined, lines_of
from monitoring_assets.measuring import served_versions, sound_rows
from monitoring_assets.plain_text import shown
from monitoring_assets.reference_pieces import SUPPORT, SURROGATE, Piece
from monitoring_assets.stage import ChunkReport, StageReport, build_chunk_asset
from resources import tables
from resources.clock import now
from resources.lake import Lake
from resources.outcomes import known_outcomes
from resources.policy import MonitoredModel
from resources.vocabulary import Check, Kind, Stage

if TYPE_CHECKING:
    import pandas as pd

#: Chunks before a drifted or harmed one in which its onset is looked for.
_LOOK_BACK = 8


def symptoms_of(policy: MonitoredModel, own: "pd.DataFrame") -> Symptoms:
    """What the measurements of one chunk call for: drift that decides, and realized harm of the first metric."""
    has_drifted, harm = len(drift_breaches(own)) > 0, harmful_breaches(policy, own, Kind.REALIZED_PERFORMANCE)
    if harm.empty:
        return Symptoms(has_drifted)
    first = harm.iloc[0]
    return Symptoms(has_drifted, str(first["subject"]), float(first["value"]), int(first["n_rows"]))


def _attribution_lines(policy: MonitoredModel, piece: Piece, rows: "pd.DataFrame") -> "pd.DataFrame":
    from monitoring_assets.measures.diagnosis.attribution import Attribution, measure_attribution

    state, rate = Attribution.from_plain(dict(piece.plain)), policy.drift.limit.false_alarms / (len(policy.features.all) + 1)
    return joined([measure_attribution(state, policy, own, str(chunk), rate) for chunk, own in rows.groupby("chunk")])


def _evidence(
    lake: Lake, policy: MonitoredModel, base: Path, rows: "pd.DataFrame", seen: "pd.DataFrame", versions: Mapping[str, str]
) -> "pd.DataFrame":
    """Lines of the diagnosis of every chunk of ``rows`` that drifted or hurts."""
    from monitoring_assets.measures.diagnosis.diagnose import diagnose
    from monitoring_assets.measures.trust import Support, support_from_plain

    found: list[pd.DataFrame] = []
    references: dict[str, pd.DataFrame] = {}
    supports: dict[str, Support | None] = {}
    for chunk, own in rows.groupby("chunk"):
        symptoms = symptoms_of(policy, seen[seen["chunk"] == chunk])
        if not symptoms.has_drifted and not symptoms.metric:
            continue
        version = str(versions[str(chunk)])
        if version not in references:
            references[version] = reference.reference_rows(lake, policy, base, version).sort_values("time", kind="stable")
            piece = reference.pieces_of(lake, policy, base, version, SUPPORT).get(SUPPORT)
            supports[version] = support_from_plain(dict(piece.plain), piece.arrays) if piece else None
        found.append(diagnose(policy, references[version], own, symptoms, supports[version]))
        found.append(_events(lake, policy, str(chunk), references[version], symptoms))
    return joined(found)


def _events(lake: Lake, policy: MonitoredModel, chunk: str, rows_before: "pd.DataFrame", symptoms: Symptoms) -> "pd.DataFrame":
    """Declared events ranked by how well they explain the onset, one line each."""
    from monitoring_assets.measures.diagnosis.likely_cause import rank_events

    if not policy.events:
        return lines_of([])
    onset = _onset(lake, policy, chunk, rows_before, symptoms)
    span = policy.cadence.start(policy.cadence.shift(chunk, -_LOOK_BACK)), policy.cadence.end(chunk)
    width = policy.cadence.end(chunk) - policy.cadence.start(chunk)
    suspects = rank_events(policy.events, onset, span, chunk=width)
    return lines_of([
        {
            "chunk": chunk, "kind": str(Kind.DIAGNOSIS), "method": KNOWN_EVENT, "subject": one.what, "value": one.score, "n_rows": 0,
            "effect": one.distance_hours, "p_value": one.p_value, "breach": False, "is_deciding": False,
            "reason": f"{one.what} on {one.at:%Y-%m-%d %H:%M}, {abs(one.distance_hours):.0f} hours {'before' if one.distance_hours >= 0 else 'after'} "
            f"the onset of {onset:%Y-%m-%d %H:%M}",
        }
        for one in suspects
    ])  # fmt: skip


def _onset(lake: Lake, policy: MonitoredModel, chunk: str, reference_rows: "pd.DataFrame", symptoms: Symptoms) -> datetime:
    """When it began, looked for in the chunks up to this one: by how strange inputs are where they drifted, else by losses."""
    import numpy as np
    import pandas as pd

    from monitoring_assets.measures.onset import date_onset, losses_of, strangeness

    keys = [policy.cadence.shift(chunk, -steps) for steps in range(_LOOK_BACK, -1, -1)]
    rows = lake.read(policy.model, tables.prediction_log(policy), {"chunk": keys}).sort_values(["time", "prediction_id"], kind="stable")
    numeric = policy.features.numeric
    if symptoms.has_drifted and numeric:
        sequence = strangeness(
            reference_rows[numeric].to_numpy("float64", na_value=np.nan), rows[numeric].to_numpy("float64", na_value=np.nan)
        )
    else:
        rows = rows.merge(known_outcomes(policy, lake, policy.cadence.start(keys[0]), policy.cadence.end(chunk)), on="prediction_id")
        sequence = losses_of(policy.task, rows)
    found = date_onset(sequence)
    moment = pd.Timestamp(rows["time"].iloc[found.index]) if found else pd.Timestamp(policy.cadence.start(chunk))
    return moment.to_pydatetime()


def suspects_of(policy: MonitoredModel, own: "pd.DataFrame", importance: Mapping[str, float]) -> list[str]:
    """Likely causes of what one chunk shows, the best first, in words: remapped columns, known events, then features.

    Args:
        policy: the declaration.
        own: rows of ``measurements`` of the chunk.
        importance: weight of features in the model; without any, what the predictions leaned on in the reference weighs.
    """
    from monitoring_assets.measures.diagnosis.likely_cause import rank_features

    evidence = own[own["kind"] == Kind.DIAGNOSIS]
    pointing = evidence[evidence["breach"] & evidence["subject"].isin(policy.features.all)]
    events = evidence[(evidence["method"] == KNOWN_EVENT) & (evidence["value"] > _BELIEVED)].sort_values("value", ascending=False)
    drift = own[(own["kind"] == Kind.UNIVARIATE_DRIFT) & own["is_deciding"] & (own["segment"] == ALL)]
    share = (drift["value"] / drift["upper_limit"].where(drift["upper_limit"] > 0)).groupby(drift["subject"]).max()
    shares = own[(own["kind"] == Kind.ATTRIBUTION_DRIFT) & (own["method"] == SHARE) & own["value"].notna()].set_index("subject")
    importance = importance or (shares["value"] - shares["effect"]).to_dict()
    drifted = set(drift.loc[drift["breach"], "subject"])
    ranked = rank_features(share.to_dict(), importance, shares["effect"].to_dict())
    features = [
        f"{one.feature}: drift {one.effect:.1f} times its limit, importance {one.importance:.0%}, share of the decision {one.attribution_change:+.0%}"
        for one in ranked if one.feature in drifted
    ]  # fmt: skip
    return [*pointing["reason"], *events["reason"], *features][:_SHOWN]


#: An event is a suspect where its score is above this: it lies within about one chunk before the onset.
_BELIEVED = 0.3
_SHOWN = 10


def _report(own: "pd.DataFrame") -> ChunkReport:
    shares = own[(own["kind"] == Kind.ATTRIBUTION_DRIFT)]
    evidence = own[own["kind"] == Kind.DIAGNOSIS]
    numbers = {f"attribution of {row.subject}": float(row.value) for row in shares.itertuples() if row.value == row.value}
    lines = [
        f"| {'**yes**' if row.breach else 'no'} | {row.method} | {row.subject} | {shown(row.value)} | {shown(row.p_value)} | {row.reason.replace('|', '/')} |"
        for row in evidence.itertuples()
    ]
    table = "\n".join(["| points at it | method | subject | value | p | in words |", "|---|---|---|---|---|---|", *lines])
    check = self_watch.check_of(Check.ATTRIBUTION, shares, "what the predictions lean on")
    told = dg.MetadataValue.md(table if lines else "Nothing drifted and nothing hurts.")
    return ChunkReport({**numbers, "evidence": told}, [replace(check, metadata=numbers)])


def labelled_rows(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> "pd.DataFrame":
    """Sound rows of ``chunks`` in time order, with the outcomes known by now where they are due; NaN where not."""
    rows = sound_rows(lake, policy, chunks)
    present = now(policy, lake)
    outcomes = known_outcomes(policy, lake, policy.cadence.start(chunks[0]), policy.cadence.end(chunks[-1]), present)
    joint = rows.merge(outcomes[["prediction_id", "y_true"]], on="prediction_id", how="left")
    due = {chunk: policy.outcome_due(chunk) <= present for chunk in joint["chunk"].unique()}
    joint["y_true"] = joint["y_true"].where(joint["chunk"].map(due).astype(bool))
    return joint.sort_values("time", kind="stable", ignore_index=True)


def diagnosis_lines(lake: Lake, policy: MonitoredModel, base: Path, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Attributions of every chunk of ``rows``, from ``labelled_rows``, and evidence on those chunks that drifted or hurt."""
    attributions = self_watch.measured(lake, policy, base, rows, SURROGATE, _attribution_lines)
    seen = measurements.read(lake, policy, sorted(rows["chunk"].unique())) if len(rows) else lines_of([])
    return joined([attributions, _evidence(lake, policy, base, rows, seen, served_versions(rows).to_dict())])


def build_diagnosis(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Attributions of every chunk, and evidence on those that drifted or hurt."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        rows = labelled_rows(lake, policy, chunks)
        long = diagnosis_lines(lake, policy, base, rows)
        version = measurements.store(lake, policy, Stage.DIAGNOSIS, chunks, long, now(policy, lake), served_versions(rows))
        groups = dict(list(long.groupby("chunk")))
        reports = {chunk: _report(groups.get(chunk, long.iloc[:0])) for chunk in chunks}
        return StageReport(reports, version, {"attributions over time": plots.history(lake, policy, chunks[-1], plots.ATTRIBUTIONS)})

    return build_chunk_asset(
        policy,
        Stage.DIAGNOSIS,
        body,
        deps=[Stage.DRIFT_REPORT, Stage.ESTIMATED_PERFORMANCE, Stage.REALIZED_PERFORMANCE],
        checks={Check.ATTRIBUTION: False},
        kinds={"lightgbm", "scipy", "deltalake"},
        description="Why it hurts, or what moved: feature attributions, placebo test, shadow refit, label shift, remapped columns, known events.",
    )
