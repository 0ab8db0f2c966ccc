"""What a report page says about a feature: facts, what moved, and what to do next.

Belongs here: sentences. Does not: choosing and ordering lines (``page_lines.py``), layout.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from monitoring_assets.measures.lines import ALL, REFERENCE
from monitoring_assets.page_lines import CategoryShape, Line, Shape
from monitoring_assets.page_svg import bounded, number
from resources.vocabulary import Kind

ADVICE = {
    "missing": "Values are missing: find the join, sensor or form that stopped delivering and repair it there. Do not retrain on the gap.",
    "outlier": "Some values lie far outside the reference: look for a changed unit, a stuck sensor or a placeholder such as -999, and repair it at the source.",
    "quality": "The data is broken as data: repair it at the source and measure this chunk again before reading anything else into it.",
    "unseen": "A category is new: decide whether it is a spelling or mapping mistake (repair it upstream) or a real newcomer (the model has never learned it).",
    "category": "The mix of categories moved: ask whether a channel, site or product was added or dropped, and look at the segments below for where it happened.",
    "number": "Its values moved: rule out a unit change, recalibration or new default upstream first. If the world moved, read the performance section and retrain only if the verdict says harm.",
    "season": "Against the same season it lies inside its limit: the calendar explains it. Prefer the season-matched number before acting.",
    "segment": "It breaches only inside {}: look for a cause local to it before changing the whole model.",
    "multivariate": "Rows look unlike the reference taken together: look for features that moved jointly, then at the features ranked above.",
    "pair": "Two features no longer move together as they did: check that both still come from the same source, clock and unit.",
}


def facts_on(subject: str, importance: Mapping[str, float], correlation: Mapping[str, float]) -> list[str]:
    """What is known of a feature: its place in the model, and its company with performance."""
    facts = []
    if subject in importance:
        place = 1 + sum(weight > importance[subject] for weight in importance.values())
        facts.append(f"Importance {number(importance[subject])}, place {place} of {len(importance)} in the model.")
    if math.isfinite(correlation.get(subject, math.nan)):
        facts.append(f"Correlation of its drift with performance over past chunks: {number(correlation[subject])}.")
    return facts


def moved_in_words(shape: Shape | CategoryShape | None) -> list[str]:
    """What the picture shows, in words."""
    if shape is None:
        return []
    if isinstance(shape, Shape):
        edges = bounded(shape.edges)
        old, new = ([_quantile(edges, shares, q) for q in (0.25, 0.5, 0.75)] for shares in (shape.reference, shape.chunk))
        if any(math.isnan(one) for one in (*old, *new)):
            return []
        return [
            f"Middle value about {number(old[1])} in the reference, {number(new[1])} in this chunk; "
            f"the middle half spans {number(old[0])} to {number(old[2])}, now {number(new[0])} to {number(new[2])}."
        ]
    rows = list(zip(shape.categories, shape.reference, shape.chunk, strict=True))
    unseen = unseen_in_words(shape)
    gains = sorted(((new - old, name, old, new) for name, old, new in rows if name not in unseen), reverse=True)
    moves = [gain for gain in dict.fromkeys([*gains[:1], *gains[-1:]]) if gain[0] == gain[0] and gain[0]]
    fresh = (
        [f"Not seen in the reference: {', '.join(f'{name} ({new:.1%})' for name, _, new in rows if name in unseen[:5])}."] if unseen else []
    )
    return [*fresh, *(f"{name}: {old:.1%} in the reference, {new:.1%} in this chunk." for _, name, old, new in moves)]


def unseen_in_words(shape: Shape | CategoryShape | None) -> list[str]:
    """Categories that only the chunk has."""
    if not isinstance(shape, CategoryShape):
        return []
    return [name for name, old, new in zip(shape.categories, shape.reference, shape.chunk, strict=True) if old == 0 and new > 0 and name != "other"]  # fmt: skip


def _quantile(edges: Sequence[float], shares: Sequence[float], level: float) -> float:
    """Value below which ``level`` of the mass lies, mass spread evenly inside each bin; NaN without mass."""
    total = sum(share for share in shares if share == share)
    if not total > 0:
        return math.nan
    below = 0.0
    for left, right, share in zip(edges, edges[1:], shares, strict=False):
        if share > 0 and below + share >= level * total:
            return left + (right - left) * (level * total - below) / share
        below += share if share == share else 0.0
    return edges[-1]


def advice_on(lines: Sequence[Line], shape: Shape | CategoryShape | None) -> list[str]:
    """What to do next about one feature: the calendar, then broken data, then what moved."""
    broken = [line for line in lines if line.counts]
    causes = (
        {cause_of(line, shape) for line in broken}
        | ({"unseen"} if unseen_in_words(shape) else set())
        | ({"outlier"} if outlier_reasons(lines) else set())
    )
    advice = [ADVICE[cause] for cause in ("missing", "outlier", "unseen", "quality", "category", "number") if cause in causes]
    if all(line.segment != ALL for line in broken):
        advice.insert(0, ADVICE["segment"].format(", ".join(sorted({line.segment for line in broken}))))
    matched = [line for line in lines if line.compared_with != REFERENCE and line.segment == ALL and line.value == line.value]
    if any(line.breach and line.is_plain for line in lines) and matched and not any(line.breach for line in matched):
        advice.insert(0, ADVICE["season"])
    return advice


def cause_of(line: Line, shape: Shape | CategoryShape | None) -> str:
    """Which advice a breach calls for, by the word in the name of its method."""
    words = {"missing": "missing", "outlier": "outlier", "range": "outlier", "unseen": "unseen"}
    moved = "category" if isinstance(shape, CategoryShape) or line.method == "chi2" else "number"
    return next((cause for word, cause in words.items() if word in line.method), "quality" if line.kind == Kind.DATA_QUALITY else moved)


def outlier_reasons(lines: Iterable[Line]) -> list[str]:
    """What was found far outside the reference; such a number is told and never breaches by itself."""
    return [f"{line.reason.rstrip('.')}." for line in lines if "outlier" in line.method and line.reason and line.value > 0]


def together_advice(lines: Iterable[Line]) -> list[str]:
    """What to do about all features together."""
    found = {"pair" if "correl" in line.method else "multivariate": line.reason for line in lines if line.counts}
    return [ADVICE[kind] + (f" It points at {reason.rstrip('.')}." if reason else "") for kind, reason in found.items()]
