"""Is the estimate of a chunk to be believed? One line for each assumption, and the check that shows a broken one.

Belongs here: gathering what ``measures/trust.py`` compares, and the check. Does not: arithmetic, estimates.
Reads: ``measurements``, ``reference_profiles``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from monitoring_assets import measurements, reference
from monitoring_assets.measures.lines import COLUMNS, joined, lines_of
from monitoring_assets.measures.uncertainty import CALIBRATION_ERROR
from monitoring_assets.measuring import served_versions
from monitoring_assets.reference_pieces import CALIBRATION, SUPPORT
from monitoring_assets.stage import CheckReport
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.tables import MEASUREMENTS
from resources.vocabulary import Check, Kind, Stage

if TYPE_CHECKING:
    import pandas as pd

_REALIZED = {"stage": str(Stage.REALIZED_PERFORMANCE)}
#: Labelled chunks looked back at: enough for a window of the serving version after another one served some.
_LOOK_BACK = 15


def assumption_lines(lake: Lake, policy: MonitoredModel, base: Path, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Calibration and support of every chunk in ``rows``; the first is that of the reference and the same for all its chunks."""
    from monitoring_assets.measures import trust

    lines: list[dict[str, object]] = []
    for version, own in rows.groupby(rows["chunk"].map(served_versions(rows))) if len(rows) else ():
        pieces = reference.pieces_of(lake, policy, base, str(version), SUPPORT, CALIBRATION)
        support = trust.support_from_plain(dict(pieces[SUPPORT].plain), pieces[SUPPORT].arrays) if SUPPORT in pieces else None
        for chunk, chunk_rows in own.groupby("chunk"):
            common = {"chunk": chunk, "kind": str(Kind.ESTIMATE_TRUST), "subject": "estimate"}
            if support is not None:
                found = trust.support_loss(support, chunk_rows, policy.features)
                limit = trust.support_limit(support, policy.drift.limit.false_alarms, len(chunk_rows))
                told = f"{found.value:.0%} of the rows lie where the reference has none: the estimate extrapolates"
                is_off = found.value > limit
                lines.append({
                    **common, "method": trust.SUPPORT_LOSS, "value": found.value, "standard_error": found.standard_error, "n_rows": found.n_rows,
                    "upper_limit": limit, "breach": is_off, "reason": told if is_off else found.reason,
                })  # fmt: skip
            if CALIBRATION in pieces:
                own_error = pieces[CALIBRATION].plain
                is_off = own_error["value"] > own_error["limit"]
                told = f"calibration error of {own_error['value']:.3f} on the later half of the reference: confidence is not deserved"
                lines.append({
                    **common, "method": CALIBRATION_ERROR, "value": own_error["value"], "n_rows": own_error["n_rows"],
                    "upper_limit": own_error["limit"], "breach": is_off, "reason": told if is_off else "",
                })  # fmt: skip
    return lines_of(lines)


def reconciliation_lines(
    lake: Lake, policy: MonitoredModel, base: Path, chunks: Sequence[str], versions: "pd.Series", realized: "pd.DataFrame"
) -> "pd.DataFrame":
    """Agreement of the estimate with outcomes over the labelled chunks up to each chunk.

    Args:
        lake: where measurements are.
        policy: the monitored model.
        base: folder of the declaration.
        chunks: those a line is wanted for.
        versions: chunk to the version that served it; only chunks of the same version are compared.
        realized: realized lines of these chunks, which are not stored yet.
    """
    import pandas as pd

    from monitoring_assets.measures import trust

    labelled = lake.partitions(policy.model, MEASUREMENTS, "chunk", _REALIZED)
    known = measurements.read(lake, policy, sorted({*[chunk for chunk in labelled if chunk < chunks[0]][-_LOOK_BACK:], *chunks}))
    known = known[~((known["stage"] == str(Stage.REALIZED_PERFORMANCE)) & known["chunk"].isin(chunks))]
    known = pd.concat([known, realized.assign(model_version=realized["chunk"].map(versions))], ignore_index=True)
    spreads = {version: reference.realized_spreads(lake, policy, base, version) for version in {str(one) for one in versions}}
    lines = []
    for metric in policy.metrics:
        pairs = _pairs(known, metric)
        for chunk in sorted(set(pairs["chunk"]) & set(chunks)):
            own = pairs[(pairs["chunk"] <= chunk) & (pairs["model_version"] == versions[chunk])].tail(trust.WINDOW)
            lines.append(_line(policy, chunk, metric, own, spreads[str(versions[chunk])].get(metric, 0.0)))
    return lines_of(lines)


def known_agreement(lake: Lake, policy: MonitoredModel, chunks: Sequence[str], versions: "Mapping[str, str]") -> "pd.DataFrame":
    """What the newest labelled chunk before each chunk said of the estimate: lines of that chunk under the name of this one.

    Only outcomes that were due by the end of the chunk count, and only those of the version that served it.
    """
    labelled = lake.partitions(policy.model, MEASUREMENTS, "chunk", _REALIZED)
    first = [chunk for chunk in labelled if chunk < chunks[0]][-_LOOK_BACK:]
    within = [chunk for chunk in labelled if chunks[0] <= chunk < chunks[-1]]
    if not first and not within:
        return lines_of([])
    known = lake.read(policy.model, MEASUREMENTS, {"chunk": [*first, *within], **_REALIZED})
    known = known[(known["kind"] == Kind.ESTIMATE_TRUST)]
    due = {chunk: policy.outcome_due(chunk) for chunk in known["chunk"].unique()}
    found = []
    for chunk in chunks:
        is_of = known["chunk"].map(lambda own, chunk=chunk: own < chunk and due[own] <= policy.cadence.end(chunk)).astype(bool)
        own = known[is_of & (known["model_version"] == versions.get(chunk))]
        found.append(own[own["chunk"] == own["chunk"].max()].assign(chunk=chunk))
    return joined([one[COLUMNS] for one in found])


def _pairs(known: "pd.DataFrame", metric: str) -> "pd.DataFrame":
    """Estimated beside realized ``metric`` of every chunk that has both, oldest first."""
    own = known[(known["subject"] == metric) & known["value"].notna()]
    estimated, realized = (own[own["kind"] == kind] for kind in (Kind.ESTIMATED_PERFORMANCE, Kind.REALIZED_PERFORMANCE))
    both = realized.merge(estimated[["chunk", "value"]], on="chunk", suffixes=("", "_estimated"))
    return both.sort_values("chunk", kind="stable")


def _line(policy: MonitoredModel, chunk: str, metric: str, pairs: "pd.DataFrame", spread: float) -> dict[str, object]:
    from monitoring_assets.measures import trust

    found = trust.reconcile(pairs["value_estimated"].tolist(), pairs["value"].tolist(), spread, pairs["standard_error"].tolist())
    told = (
        f"over the last {found.n_chunks} labelled chunks the estimate of {metric} was off by {found.bias:+.3g} on average "
        f"(mean absolute error {found.mean_absolute_error:.3g}); chance explains {found.limit:.3g}"
    )
    return {
        "chunk": chunk, "kind": str(Kind.ESTIMATE_TRUST), "method": trust.RECONCILIATION, "subject": metric, "value": found.bias,
        "n_rows": int(pairs["n_rows"].sum()), "lower_limit": -found.limit, "upper_limit": found.limit, "breach": found.is_off,
        "effect": found.mean_absolute_error, "is_deciding": metric == policy.metrics[0], "reason": told if found.is_off else "",
    }  # fmt: skip


def check(own: "pd.DataFrame") -> CheckReport:
    """The check of one chunk on its lines about trust."""
    broken = own[own["breach"] & own["is_deciding"]]
    numbers = {f"{row.method} {row.subject}": float(row.value) for row in own.itertuples() if row.value == row.value}
    if own.empty:
        text = "nothing is known about the assumptions of the estimate"
    elif broken.empty:
        text = "The assumptions of the estimate hold: " + ", ".join(f"{name} {value:.3g}" for name, value in numbers.items()) + "."
    else:
        text = f"The estimate is untrusted and decides nothing by itself: {'; '.join(broken['reason'])}. Wait for outcomes, or sample some."
    return CheckReport(Check.ESTIMATE_TRUSTED, broken.empty, text, dg.AssetCheckSeverity.WARN, numbers)
