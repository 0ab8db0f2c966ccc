"""A shop whose customers change: the simulator, and what must be seen of the retraining that a composite score triggers."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from plumbline.example import Finding, Seen, Size
from resources.tables import ROLLOUT_EVENTS, shadow_scores, training_sets
from resources.vocabulary import Action, Event, Kind, Stage
from training_assets.training_set import labelled_rows

START, FAULT, END = (datetime(2025, *day, tzinfo=UTC) for day in ((2, 1), (4, 12), (4, 23)))
#: What the tests run of it: the first two days of the marketplace are handed over at once; three days follow the shadow.
SMALL = Size(END, replay=(datetime(2025, 4, 14, tzinfo=UTC), datetime(2025, 4, 20, tzinfo=UTC)))
#: Days until all quotes come by way of the new marketplace.
RAMP_DAYS = 1
PER_DAY = 400
MODEL, METRIC = "triggered_retraining", "roc_auc"
_CHANNELS = ["web", "app", "phone"]


def simulate(folder: Path, seed: int, is_null_twin: bool) -> None:
    """Write the log of quotes with what became of them.

    A quote is accepted the more likely the cheaper it is beside the market, but the marketplace's customers, whose baskets are dear, are
    bound to what they saw first: there a dearer quote is accepted more often. The old model has never seen such baskets.
    """
    rng = np.random.default_rng(seed)
    n_rows = (END - START).days * PER_DAY
    day = np.arange(n_rows) / PER_DAY
    share = np.clip((day - (FAULT - START).days) / RAMP_DAYS, 0, 1) * (not is_null_twin)
    is_new = rng.random(n_rows) < share
    price = rng.normal(1.0, 0.15, n_rows) + 0.12 * is_new
    basket = rng.normal(60, 15, n_rows) + 70 * is_new
    distance = rng.gamma(4, 20, n_rows) * np.where(is_new, 1.8, 1.0)
    channel = np.where(is_new, rng.choice(_CHANNELS, n_rows, p=[0.3, 0.6, 0.1]), rng.choice(_CHANNELS, n_rows, p=[0.5, 0.35, 0.15]))
    slope = np.where(basket > 105, 9.0, -9.0)
    logit = slope * (price - 1.05) + 0.01 * (80 - distance) + 0.4 * (channel == "app")
    pd.DataFrame({
        "quote": [f"quote-{index}" for index in range(n_rows)],
        "quoted_at": pd.Timestamp(START) + pd.to_timedelta((day * 86_400_000).astype("int64"), unit="ms"),
        "price_ratio": np.round(price, 4), "distance": np.round(distance, 2), "basket": np.round(basket, 2), "channel": channel,
        "accepted": (rng.random(n_rows) < 1 / (1 + np.exp(-logit))).astype("int64"),
    }).to_parquet(folder / f"{MODEL}.parquet", index=False)  # fmt: skip


def checks(seen: Seen) -> list[Finding]:
    """What the README promises."""
    ledger = seen.ledger(MODEL)
    orders = ledger[(ledger["action"] == Action.RETRAIN) & (ledger["clause"] != "no_champion")]
    common = [_score_is_reproducible(seen, ledger), _fires_as_the_rule_says(seen, ledger, orders), _versions_name_their_rows(seen)]
    return common + (_quiet(orders, ledger) if seen.is_null_twin else _retrained(seen, ledger, orders))


def _scores(seen: Seen) -> pd.Series:
    """The composite score of each chunk, recomputed from the drift report's table."""
    drift = seen.measurements(MODEL)
    drift = drift[(drift["kind"] == Kind.UNIVARIATE_DRIFT) & drift["is_deciding"] & (drift["segment"] == "all")]
    weights = seen.policies[MODEL].retrain.when.score.weights
    by_feature = drift.pivot_table(index="chunk", columns="subject", values="value")
    return sum(by_feature[name] * weight for name, weight in weights.items())


def _read(row: str) -> dict:
    return json.loads(row)["clauses"][0]


def _score_is_reproducible(seen: Seen, ledger: pd.DataFrame) -> Finding:
    scores = _scores(seen)
    read = [_read(row) for row in ledger["inputs"] if json.loads(row)["clauses"]]
    known = [one for one in read if one["value"] is not None]
    worst = max(abs(one["value"] - scores[one["chunk"]]) for one in known)
    return Finding(
        "the score in the ledger is the weighted sum of the drift report",
        worst <= 1e-12,
        f"{len(known)} evaluations, largest difference {worst:.1e}",
    )


def _fires_as_the_rule_says(seen: Seen, ledger: pd.DataFrame, orders: pd.DataFrame) -> Finding:
    """The rule walked once more by hand, over the days each version served."""
    scores, versions = _scores(seen), seen.measurements(MODEL).dropna(subset=["model_version"]).groupby("chunk")["model_version"].last()
    expected, up, latest, fired, version = [], False, [], False, None
    for chunk, score in scores.items():
        if versions[chunk] != version:
            version, up, latest, fired = versions[chunk], False, [], False
        up = score > 0.15 if not up else not score < 0.10
        latest = [*latest, up][-4:]
        stands = sum(latest) >= 3
        if stands and not fired:
            expected.append(chunk)
        fired = stands
    got = orders["chunk"].tolist()
    return Finding("it fires on the days the declared rule says, and on no other", got == expected, f"{', '.join(got) or 'never'}")


def _versions_name_their_rows(seen: Seen) -> Finding:
    """The rows a data version names are those the cut gives when it is made again."""
    policy, lake = seen.policies[MODEL], seen.settings.lake
    registry = seen.settings.registry
    orders = seen.ledger(MODEL).set_index("incident")["as_of"]
    same, versions = [], registry.versions(MODEL)
    for one in versions:
        version, chunk = one["tags"]["data_version"].split("@")[1].split("[")[0], one["tags"]["incident"].split("/")[1]
        rows = lake.read(MODEL, training_sets(policy), {"chunk": chunk}, version=int(version))
        again = labelled_rows(policy, seen.settings.models, orders[one["tags"]["incident"]].to_pydatetime())
        both = rows.merge(again, on="prediction_id", suffixes=("", "_again"))
        same.append(
            len(both) == len(rows) > 0 and all((both[name] == both[f"{name}_again"]).all() for name in (*policy.features.all, "y_true"))
        )
    return Finding(
        "every model version names the exact rows it has seen",
        all(same) and bool(same),
        f"{len(same)} versions, {len(rows)} rows in the last",
    )


def _retrained(seen: Seen, ledger: pd.DataFrame, orders: pd.DataFrame) -> list[Finding]:
    events = seen.settings.lake.read(MODEL, ROLLOUT_EVENTS).sort_values("at")
    promoted = events[(events["event"] == Event.PROMOTED) & events["from_version"].notna()]
    policy, scores = seen.policies[MODEL], _scores(seen)
    order = orders["chunk"].iloc[0] if len(orders) else None
    delay = (datetime.fromisoformat(order).replace(tzinfo=UTC) - FAULT).days + 1 if order else float("inf")
    shadow = seen.settings.lake.read(MODEL, shadow_scores(policy), {"chunk": order}) if order else pd.DataFrame({"champion_version": []})
    after = scores[scores.index > order].tail(3) if order else scores.iloc[:0]
    gain = seen.metadata(MODEL, Stage.CANDIDATE_EVALUATION, order) if order else {}
    states = ledger.loc[ledger["chunk"] >= f"{FAULT:%Y-%m-%d}", "state_before"].tolist()
    return [
        Finding("one retraining answers the new marketplace within six days", len(orders) == 1 and delay <= 6, f"{len(orders)} ordered, first after {delay} days"),
        Finding(
            "the candidate was proved on held-out rows and promoted", len(promoted) == 1 and gain.get("gain_lower", -1) > 0,
            f"{METRIC} {gain.get(f'champion {METRIC}', float('nan')):.3f} → {gain.get(f'candidate {METRIC}', float('nan')):.3f}, gain at least {gain.get('gain_lower', float('nan')):.3f}",
        ),
        Finding(
            "it answered two days of live rows in the champion's shadow first",
            len(shadow) == 2 * PER_DAY and set(shadow["champion_version"]) == {"1"}, f"{len(shadow)} rows beside version {', '.join(set(shadow['champion_version']))}",
        ),
        Finding("the score is below 0.10 again, and the clause armed", bool(len(after)) and after.max() < 0.10 and states[-1] == "armed", f"{after.max():.3f}; {' → '.join(dict.fromkeys(states))} → {states[-1]}"),
    ]  # fmt: skip


def _quiet(orders: pd.DataFrame, ledger: pd.DataFrame) -> list[Finding]:
    values = [one["value"] for one in map(_read, ledger.loc[ledger["clause"] != "no_champion", "inputs"]) if one["value"] is not None]
    return [
        Finding("nothing is retrained but on day zero", orders.empty, f"{len(orders)} in {len(ledger)} evaluations"),
        Finding("the score stays below the level that re-arms", max(values) < 0.10, f"highest {max(values):.3f}"),
    ]
