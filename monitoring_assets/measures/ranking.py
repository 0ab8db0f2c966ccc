"""Which drifted feature deserves the first look? Weight in the model, and company with performance.

Belongs here: pure ranking. Does not: reading measurements, drawing.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from monitoring_assets.measures.lines import ALL
from resources.vocabulary import Kind

if TYPE_CHECKING:
    import pandas as pd

#: Fewer chunks than this say nothing about a correlation.
FEWEST_CHUNKS = 6


def drift_by_chunk(lines: "pd.DataFrame") -> "pd.DataFrame":
    """Worst share of its limit of every feature, one row per chunk, one column per feature; only numbers that decide on all rows."""
    own = lines[(lines["kind"] == Kind.UNIVARIATE_DRIFT) & lines["is_deciding"] & (lines["segment"] == ALL)]
    share = own.assign(share=own["value"] / own["upper_limit"].where(own["upper_limit"] > 0))
    return share.pivot_table(index="chunk", columns="subject", values="share", aggfunc="max")


def performance_correlation(lines: "pd.DataFrame", metric: str) -> dict[str, float]:
    """Correlation of each feature's drift with how far performance strayed, over chunks.

    Args:
        lines: rows of ``measurements`` of several chunks.
        metric: the deciding metric; realized values where there are some, else estimated ones.

    Returns:
        Feature to Pearson's r in [-1, 1]; features with fewer than ``FEWEST_CHUNKS`` chunks or without variation are left out.

    Source: NannyML's ``CorrelationRanker``: drift against the absolute difference of performance from its mean.
    """
    import numpy as np
    from scipy.stats import pearsonr

    drift = drift_by_chunk(lines)
    performance = lines[(lines["subject"] == metric) & lines["value"].notna()]
    for kind in (Kind.REALIZED_PERFORMANCE, Kind.ESTIMATED_PERFORMANCE):
        own = performance[performance["kind"] == kind].drop_duplicates("chunk", keep="last").set_index("chunk")["value"]
        strayed = (own - own.mean()).abs()
        joined = drift.join(strayed.rename("__strayed"), how="inner")
        if len(joined) >= FEWEST_CHUNKS:
            break
    else:
        return {}
    found = {}
    for name in drift.columns:
        pair = joined[[name, "__strayed"]].dropna()
        if len(pair) >= FEWEST_CHUNKS and np.ptp(pair[name]) > 0 and np.ptp(pair["__strayed"]) > 0:
            found[str(name)] = float(pearsonr(pair[name], pair["__strayed"]).statistic)
    return found


def ranked(lines: "pd.DataFrame", importance: Mapping[str, float], correlation: Mapping[str, float]) -> "pd.DataFrame":
    """Features of one chunk, the one to look at first on top.

    Args:
        lines: rows of ``measurements`` of one chunk.
        importance: weight of features in the model; those without one count as average.
        correlation: from ``performance_correlation``.

    Returns:
        ``feature, share_of_limit, breach, importance, score, performance_correlation``; the score is the share of the limit times the
        relative importance.
    """
    import pandas as pd

    drift = drift_by_chunk(lines)
    worst = drift.iloc[-1] if len(drift) else pd.Series(dtype="float64")
    mean = sum(importance.values()) / len(importance) if importance else 0.0
    breached = set(lines.loc[lines["breach"] & lines["is_deciding"], "subject"])
    rows = [
        (str(name), float(share), str(name) in breached, importance.get(str(name), float("nan")), float(share) * (importance.get(str(name), mean) / mean if mean else 1.0),
         correlation.get(str(name), float("nan")))
        for name, share in worst.items()
    ]  # fmt: skip
    columns = ["feature", "share_of_limit", "breach", "importance", "score", "performance_correlation"]
    return pd.DataFrame(rows, columns=columns).sort_values(
        ["breach", "score", "feature"], ascending=[False, False, True], ignore_index=True
    )
