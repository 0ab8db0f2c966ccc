"""Where does it hurt? The deciding metric per device, site, category or season, beside the same segment of the reference.

Belongs here: cutting labelled rows into segments and judging each against its own past. Does not: the metric of all rows (``nanny.py``).
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from monitoring_assets.measures.diagnosis.placebo import metric_value, placebo
from monitoring_assets.measures.limits import adjusted
from monitoring_assets.measures.lines import lines_of
from monitoring_assets.measures.univariate import season_of, segment_name, segments_of
from resources.policy import MonitoredModel
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

REALIZED = "realized"


def _segments(policy: MonitoredModel, rows: "pd.DataFrame") -> "Iterator[tuple[str, pd.Series]]":
    """Name of each way to cut, and the segment of every row ``(n_rows,)``."""
    for name in policy.segments:
        yield name, segments_of(rows[name]).map(lambda value, name=name: segment_name(name, value))
    if policy.drift.season:
        yield policy.drift.season, season_of(rows["time"], policy.drift.season)


def segment_lines(policy: MonitoredModel, reference: "pd.DataFrame", rows: "pd.DataFrame") -> "pd.DataFrame":
    """Realized deciding metric of every segment of every chunk.

    Args:
        policy: declares segments and season, the metric, ``validation.minimum_rows``: a smaller segment has no line.
        reference: ``(n_reference, ...)`` labelled rows in time order.
        rows: ``(n_rows, ...)`` labelled rows with ``chunk``.

    Returns:
        Lines of kind ``segment_performance``: ``p_value`` is the chance of so bad a value in blocks of the segment's own reference
        rows, corrected over the segments of the chunk; ``breach`` where it is below ``drift.limit.false_alarms``. They decide nothing.
    """
    metric, values, lines = policy.metrics[0], policy.performance.business_value, []
    past = {name: reference.groupby(own) for name, own in _segments(policy, reference)}
    for chunk, group in rows.groupby("chunk"):
        for name, own in _segments(policy, group):
            for segment, part in group.groupby(own, sort=True):
                if len(part) < policy.validation.minimum_rows:
                    continue
                before = past[name].get_group(segment) if segment in past[name].groups else reference.iloc[:0]
                value = metric_value(part, metric, values)
                found = placebo(before, policy.task, metric, value, len(part), values)
                lines.append({
                    "chunk": chunk, "kind": str(Kind.SEGMENT_PERFORMANCE), "method": REALIZED, "subject": metric, "segment": segment,
                    "value": value, "standard_error": found.standard_deviation, "n_rows": len(part), "effect": value - found.mean,
                    "p_value": found.p_value, "is_deciding": False, "reason": found.reason,
                })  # fmt: skip
    frame = lines_of(lines)
    corrected: pd.Series = frame.groupby("chunk")["p_value"].transform(_corrected) if len(frame) else frame["p_value"]
    return frame.assign(adjusted_p_value=corrected, breach=corrected < policy.drift.limit.false_alarms)


def _corrected(p_values: "pd.Series") -> "np.ndarray":
    return adjusted(p_values.to_numpy(dtype="float64"), "bonferroni")
