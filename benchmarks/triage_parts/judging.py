"""One chunk judged exactly as the stages judge it, and all classes of one seed.

Belongs here: the stages' work without a lake. Does not: rates, the page.
"""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common import quiet

from resources.vocabulary import Kind, Verdict
from triage_parts.faults import CLASSES, fault_of
from triage_parts.worlds import BASES, NULLS, World, base_of, dated

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Verdicts:
    """The verdict before and after outcomes arrive, and the measurements of the latter."""

    before: Verdict
    after: Verdict
    lines: "pd.DataFrame"


def verdict_of(world: World, rows: "pd.DataFrame") -> Verdicts:
    """Judge one chunk: data quality, drift, estimate and its trust, outcomes, diagnosis, verdict.

    Attributions, uncertainty, KPIs and events are left out: no verdict rests on them.
    """
    from monitoring_assets.drift import ChunkRows, measure_chunk
    from monitoring_assets.measures import nanny, sanity
    from monitoring_assets.measures.judge import judge
    from monitoring_assets.measures.lines import joined
    from monitoring_assets.measures.quality import quality
    from monitoring_assets.measures.univariate import FrameRows

    policy = world.base.policy
    sound = joined([quality(policy, rows, world.profile.stuck), sanity.sanity_lines(policy, sanity.declared(policy), rows)])
    if (sound["breach"] & sound["is_deciding"]).any():
        verdict = judge(policy, sound).verdict
        return Verdicts(verdict, verdict, sound)
    chunk = str(rows["chunk"].iloc[0])
    drift = measure_chunk(policy, world.profile, ChunkRows(chunk, "external", FrameRows(rows), rows))
    estimated, realized = (nanny.measure(world.components[name], policy, rows) for name in nanny.COMPONENTS)
    trusted = trust_lines(world, rows, chunk)
    known = joined([sound, drift, estimated, trusted, agreement(world, chunk, world.before)])
    early = joined([known, diagnosis_of(world, rows.assign(y_true=float("nan")), known)])
    both = joined([estimated, realized])
    known = joined([sound, drift, estimated, trusted, realized, agreement(world, chunk, joined([world.before, both]))])
    lines = joined([known, diagnosis_of(world, rows, known)])
    return Verdicts(judge(policy, early).verdict, judge(policy, lines).verdict, lines)


def diagnosis_of(world: World, rows: "pd.DataFrame", known: "pd.DataFrame") -> "pd.DataFrame":
    """What the diagnosis stage writes."""
    from monitoring_assets.diagnosis import symptoms_of
    from monitoring_assets.measures.diagnosis.diagnose import diagnose
    from monitoring_assets.measures.lines import lines_of

    symptoms = symptoms_of(world.base.policy, known)
    if not symptoms.has_drifted and not symptoms.metric:
        return lines_of([])
    return diagnose(world.base.policy, world.reference, rows, symptoms, world.support)


def trust_lines(world: World, rows: "pd.DataFrame", chunk: str) -> "pd.DataFrame":
    """Support and calibration, as the stage of the estimate writes them."""
    from monitoring_assets.measures import trust
    from monitoring_assets.measures.lines import lines_of

    policy, lines = world.base.policy, list[dict[str, object]]()
    common = {"chunk": chunk, "kind": str(Kind.ESTIMATE_TRUST), "subject": "estimate", "n_rows": len(rows)}
    if world.support is not None:
        loss = trust.support_loss(world.support, rows, policy.features).value
        limit = trust.support_limit(world.support, policy.drift.limit.false_alarms, len(rows))
        lines.append({**common, "method": trust.SUPPORT_LOSS, "value": loss, "upper_limit": limit, "breach": loss > limit})
    if world.calibration is not None:
        own = world.calibration
        breach = own.value > own.limit
        lines.append({**common, "method": trust.CALIBRATION_ERROR, "value": own.value, "upper_limit": own.limit, "breach": breach})
    return lines_of(lines)


def agreement(world: World, chunk: str, performance: "pd.DataFrame") -> "pd.DataFrame":
    """Whether the estimate agrees with outcomes over the labelled chunks there are."""
    from monitoring_assets.measures import trust
    from monitoring_assets.measures.lines import lines_of

    metric = world.base.policy.metrics[0]
    own = performance[performance["subject"] == metric]
    estimated, realized = (own[own["kind"] == kind] for kind in (Kind.ESTIMATED_PERFORMANCE, Kind.REALIZED_PERFORMANCE))
    pairs = realized.merge(estimated[["chunk", "value"]], on="chunk", suffixes=("", "_estimated")).sort_values("chunk").tail(trust.WINDOW)
    spread = world.components["realized"].limits["realized", metric].spread
    found = trust.reconcile(pairs["value_estimated"].tolist(), pairs["value"].tolist(), spread, pairs["standard_error"].tolist())
    return lines_of([{
        "chunk": chunk, "kind": str(Kind.ESTIMATE_TRUST), "method": trust.RECONCILIATION, "subject": metric, "value": found.bias,
        "n_rows": int(pairs["n_rows"].sum()), "breach": found.is_off,
    }])  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """One chunk: what was done to it, what was said, and the harm in sampling errors, expected and realized."""

    base: str
    seed: int
    truth: str
    mechanism: str
    strength: float
    expected_harm: float
    realized_harm: float
    before: str
    after: str
    seconds: float
    signs: list[str]


def signs_of(lines: "pd.DataFrame") -> list[str]:
    """What a wrong verdict rests on: breaches that decide, and the diagnosis."""
    own = lines[(lines["breach"] & lines["is_deciding"]) | (lines["kind"] == Kind.DIAGNOSIS)]
    return [f"{row.method} of {row.subject}: {row.value:.3g} (p {row.p_value:.2g}) {row.reason}".strip() for row in own.itertuples()]


def run(name: str, seed: int) -> list[Judged]:
    """All classes of one seed of one base."""
    import numpy as np

    quiet()
    base = base_of(name)
    world = World.of(base, np.random.default_rng([seed, sorted(BASES).index(name)]))
    found = list[Judged]()
    for truth in [*[Verdict.HEALTHY] * NULLS, *CLASSES[1:]]:
        started, number = time.perf_counter(), len(found)
        fault = fault_of(world, truth, seed)
        rows = dated(base, fault.make(np.random.default_rng([seed, 99, number])), "2024-11-05")
        harm = world.harm_of(rows) if truth is not Verdict.DATA_FAULT else float("nan")
        said = verdict_of(world, rows)
        found.append(Judged(
            name, seed, str(truth), fault.mechanism, fault.strength, fault.harm, harm, str(said.before), str(said.after),
            time.perf_counter() - started, [] if said.after is truth else signs_of(said.lines),
        ))  # fmt: skip
    return found
