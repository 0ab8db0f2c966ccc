"""A shop whose seasons change who buys what: the simulator, and what must be seen of the retraining that a divergence triggers."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import entropy

from monitoring_assets.measures.distances import SMALLEST_SHARE
from monitoring_assets.measures.distribution import Categories, Summary, unpack
from plumbline.example import Finding, Seen, Size
from resources.incident_log import read_incidents
from resources.rollout_log import serving_version
from resources.tables import EVALUATIONS, REFERENCE_PROFILES, REFERENCE_SUMMARIES, ROLLOUT_EVENTS, prediction_log, training_sets
from resources.vocabulary import Action, Cause, Event, Kind, Stage
from training_assets.approval import approve
from training_assets.candidate import metrics_of
from training_assets.recipes import load_version, recipe_of
from training_assets.training_set import labelled_rows, without_contaminated

START, MONITORED, SALE, GIFTS, END = (datetime(2025, *day, tzinfo=UTC) for day in ((9, 29), (11, 1), (11, 14), (11, 25), (12, 1)))
#: Days of the broken price feed: prices missing, then in cents.
BROKEN = ["2025-11-19", "2025-11-20"]
#: What the tests run of it: until the price feed is sound again, so what the gift season promises is left out.
SMALL = Size(END, replay=(datetime(2025, 11, 15, tzinfo=UTC), datetime(2025, 11, 22, tzinfo=UTC)))
PER_DAY = 500
MODEL, METRIC, METHOD = "ecommerce_seasonal", "business_value", "kullback_leibler"
#: How much less a visit may earn than under retraining daily, in euros.
TOLERANCE = 0.12
PERSON = "ines@example.com"
_CATEGORIES = ["fashion", "home", "toys"]


def simulate(folder: Path, seed: int, is_null_twin: bool) -> None:
    """Write the log of visits with what became of them.

    Usually the cheap is bought. In the sale prices are cut, and what was dear is bought. In the gift season, while the sale goes on, half of the
    visitors look for gifts: they come often, look at dear toys, and buy the cheaper ones.
    """
    rng = np.random.default_rng(seed)
    n_rows = (END - START).days * PER_DAY
    day = np.arange(n_rows) / PER_DAY
    is_sale = (day >= (SALE - START).days) & (not is_null_twin)
    is_gift = (day >= (GIFTS - START).days) & (rng.random(n_rows) < 0.5) & (not is_null_twin)
    price = rng.lognormal(np.log(50), 0.4, n_rows) * np.where(is_sale, 0.8, 1.0) * np.where(is_gift, 1.7, 1.0)
    discount = np.where(is_sale, rng.uniform(0.25, 0.6, n_rows), rng.uniform(0.0, 0.2, n_rows))
    visits = rng.poisson(np.where(is_gift, 9.0, 3.0), n_rows).astype("float64")
    device = rng.choice(["phone", "tablet", "desktop"], n_rows, p=[0.6, 0.1, 0.3])
    category = np.where(is_gift, rng.choice(_CATEGORIES, n_rows, p=[0.2, 0.2, 0.6]), rng.choice(_CATEGORIES, n_rows, p=[0.5, 0.35, 0.15]))
    dearness = np.log(price / 50)
    usual = -4.0 * dearness + 8.0 * (discount - 0.1) + 0.3 * (visits - 3)
    sale = 5.0 * (dearness + 0.22) + 3.0 * (discount - 0.42) + 0.2 * (visits - 3)
    gift = -6.0 * (dearness - 0.3) + 3.0 * (discount - 0.42)
    logit = np.where(is_gift, gift, np.where(is_sale, sale, usual)) + 0.3 * (device == "desktop")
    frame = pd.DataFrame({
        "visit": [f"visit-{index}" for index in range(n_rows)],
        "seen_at": pd.Timestamp(START) + pd.to_timedelta((day * 86_400_000).astype("int64"), unit="ms"),
        "price": np.round(price, 2), "discount": np.round(discount, 3), "visits": visits, "device": device, "category": category,
        "bought": (rng.random(n_rows) < 1 / (1 + np.exp(-logit))).astype("int64"),
    })  # fmt: skip
    if not is_null_twin:
        date = frame["seen_at"].dt.strftime("%Y-%m-%d")
        frame.loc[(date == BROKEN[0]) & (rng.random(n_rows) < 0.4), "price"] = np.nan
        frame.loc[date == BROKEN[1], "price"] *= 100
    frame.to_parquet(folder / f"{MODEL}.parquet", index=False)


def checks(seen: Seen) -> list[Finding]:
    """What the README promises."""
    ledger = seen.ledger(MODEL)
    orders = ledger[(ledger["action"] == Action.RETRAIN) & (ledger["clause"] != "no_champion")]
    common = [_divergence_is_scipys(seen), _fires_as_declared(seen, ledger, orders)]
    if seen.is_null_twin:
        return [*common, *_quiet(seen, ledger, orders)]
    is_whole = GIFTS in _seasons(seen)
    feed = [_broken_feed(seen, ledger), *([_set_aside(seen, orders)] if is_whole else [])]
    rollouts = [_promoted(seen, orders), *(_staged(seen, orders) if is_whole else [])]
    return [*common, *feed, _dated(seen, orders), *_earnings(seen, orders), *rollouts]


def _seasons(seen: Seen) -> list[datetime]:
    """Beginnings of the seasons that the replay reaches."""
    return [season for season in (SALE, GIFTS) if season < seen.policies[MODEL].replay.end]


def _log(seen: Seen) -> pd.DataFrame:
    """The rows of the log the shop wrote from the first monitored day on, with their chunk."""
    rows = pd.read_parquet(seen.settings.models / f"{MODEL}.parquet")
    rows = rows[rows["seen_at"].between(MONITORED, seen.policies[MODEL].replay.end, inclusive="left")]
    rows = rows.rename(columns={"visit": "prediction_id", "bought": "y_true"})
    return rows.assign(chunk=rows["seen_at"].dt.strftime("%Y-%m-%d"))


def _drift(seen: Seen) -> pd.DataFrame:
    drift = seen.measurements(MODEL)
    return drift[(drift["kind"] == Kind.UNIVARIATE_DRIFT) & (drift["method"] == METHOD) & (drift["segment"] == "all")]


def _references(seen: Seen) -> Iterator[tuple[str, str, Summary, "np.ndarray | None"]]:
    """Version, feature, stored summary and stored bins (of a number) of every reference."""
    lake = seen.settings.lake
    stored = lake.read(MODEL, REFERENCE_SUMMARIES).sort_values("part", kind="stable")
    profiles = lake.read(MODEL, REFERENCE_PROFILES)
    for row in profiles[profiles["component"] == "columns"].itertuples():
        for one in json.loads(bytes(row.state)):
            own = stored[(stored["reference_version"] == row.reference_version) & (stored["subject"] == one["subject"])]
            bins = None if one["bins"] is None else np.array(one["bins"][1])
            yield row.reference_version, one["subject"], unpack([bytes(piece) for piece in own["state"]]), bins


def _divergence(known: Summary, edges: "np.ndarray | None", values: pd.Series) -> float:
    """``scipy.stats.entropy`` of a chunk and a reference on the stored bins, one more bin for what lies outside, no share below the least."""
    values = values.dropna()
    if isinstance(known, Categories):
        names = list(known.counts)
        counts = values.value_counts()
        reference, own = np.array([known.counts[name] for name in names]), counts.reindex(names, fill_value=0).to_numpy(dtype="float64")
    else:
        reference = np.histogram(known.expanded(), edges)[0].astype("float64")
        own = np.histogram(values, edges)[0].astype("float64")
    outside = len(values) - own.sum()
    if outside:
        reference, own = np.append(reference, 0.0), np.append(own, outside)
    return float(entropy(np.maximum(own / own.sum(), SMALLEST_SHARE), np.maximum(reference / reference.sum(), SMALLEST_SHARE)))


def _divergence_is_scipys(seen: Seen) -> Finding:
    references = {(version, name): (known, edges) for version, name, known, edges in _references(seen)}
    chunks = dict(list(_log(seen).groupby("chunk")))
    drift = _drift(seen)
    differences = [
        abs(row.value - _divergence(*references[row.reference_version, row.subject], chunks[row.chunk][row.subject]))
        for row in drift.itertuples()
    ]
    n_sound = len(chunks) - (0 if seen.is_null_twin else len(BROKEN))
    is_whole = len(differences) == n_sound * len(seen.policies[MODEL].features.all)
    return Finding(
        "every Kullback-Leibler divergence is scipy's entropy on the stored bins",
        is_whole and max(differences) <= 1e-12,
        f"{len(differences)} numbers against {drift['reference_version'].nunique()} references, largest difference {max(differences):.1e}",
    )


def _scores(seen: Seen) -> pd.Series:
    """The declared score of each sound day, recomputed from the drift report's table."""
    by_feature = _drift(seen).pivot_table(index="chunk", columns="subject", values="value")
    return sum(by_feature[name] * weight for name, weight in seen.policies[MODEL].retrain.when.score.weights.items())


def _fires_as_declared(seen: Seen, ledger: pd.DataFrame, orders: pd.DataFrame) -> Finding:
    """The rule walked once more by hand, over the sound days each version served."""
    scores, rule = _scores(seen), seen.policies[MODEL].retrain.when.score
    versions = seen.table(MODEL, prediction_log(seen.policies[MODEL])).groupby("chunk")["model_version"].last()
    expected, up, latest, fired, version = [], False, [], False, None
    for chunk, score in scores.items():
        if versions[chunk] != version:
            version, up, latest, fired = versions[chunk], False, [], False
        up = score > rule.fire_above if not up else not score < rule.rearm_below
        latest = [*latest, up][-rule.of :]
        stands = sum(latest) >= rule.chunks
        if stands and not fired:
            expected.append(chunk)
        fired = stands
    read = [json.loads(row)["clauses"][0] for row in ledger["inputs"] if json.loads(row)["clauses"]]
    worst = max(abs(one["value"] - scores[one["chunk"]]) for one in read if one["value"] is not None)
    got, clauses = orders["chunk"].tolist(), set(orders["clause"])
    return Finding(
        "the divergence clause fires on the days the declared rule says, and on no other",
        got == expected and clauses <= {"kl_divergence"} and worst <= 1e-12,
        f"{', '.join(got) or 'never'}; its value differs by at most {worst:.1e} in {len(read)} evaluations",
    )


def _broken_feed(seen: Seen, ledger: pd.DataFrame) -> Finding:
    faults = [one for one in read_incidents(seen.settings.lake, seen.policies[MODEL]) if one.cause is Cause.DATA_FAULT]
    told = ledger[ledger["chunk"].isin(BROKEN)]
    return Finding(
        "the broken price feed opens one incident and orders no retraining",
        [list(one.chunks) for one in faults] == [BROKEN] and set(told["action"]) == {Action.OPEN_INCIDENT} and set(told["clause"]) == {"data_fault"},
        f"{', '.join(one.id for one in faults) or 'no incident'}; {len(told)} evaluations: {', '.join(sorted(set(told['action'])))}",
    )  # fmt: skip


def _set_aside(seen: Seen, orders: pd.DataFrame) -> Finding:
    """Of the set of the last retraining, which comes after the broken feed."""
    last = orders["chunk"].iloc[-1] if len(orders) else None
    rows = seen.settings.lake.read(MODEL, training_sets(seen.policies[MODEL]), {"chunk": last or ""})
    learned = int(rows["time"].dt.strftime("%Y-%m-%d").isin(BROKEN).sum())
    aside = seen.metadata(MODEL, Stage.TRAINING_SET, last).get("rows_set_aside", 0) if last else 0
    return Finding(
        "its rows are set aside from training", learned == 0 and aside == len(BROKEN) * PER_DAY, f"{aside} rows set aside, {learned} in the {len(rows)} of the set of {last}"
    )  # fmt: skip


def _dated(seen: Seen, orders: pd.DataFrame) -> Finding:
    """Broken prices are stranger than gifts, and yet not what has changed."""
    onsets, seasons = [pd.Timestamp(one) for one in orders["onset"]], _seasons(seen)
    is_held = len(onsets) == len(seasons) and all(
        abs(onset - season) <= timedelta(days=1) for onset, season in zip(onsets, seasons, strict=True)
    )
    name = "both changes are dated to their day, not to the broken feed" if len(seasons) == 2 else "the change is dated to its day"
    return Finding(name, is_held, ", ".join(f"{one:%Y-%m-%d %H:%M}" for one in onsets))


def _served(seen: Seen) -> pd.DataFrame:
    served = seen.table(MODEL, prediction_log(seen.policies[MODEL]))
    return served.merge(_log(seen)[["prediction_id", "y_true"]], on="prediction_id")


def _never(seen: Seen, served: pd.DataFrame) -> float:
    policy = seen.policies[MODEL]
    first = load_version(seen.policies[MODEL], seen.settings.registry, "1")
    return metrics_of(policy, served["y_true"], recipe_of(policy).predict(policy, first, served))[METRIC]


def _daily(seen: Seen, served: pd.DataFrame) -> float:
    """Each day answered by a model trained at its start on every sound row whose outcome is known then, none held out."""
    policy, answers = seen.policies[MODEL], []
    recipe = recipe_of(policy)
    for chunk, rows in served.groupby("chunk"):
        as_of = policy.cadence.start(str(chunk))
        known = labelled_rows(policy, seen.settings.models, as_of)
        model = recipe.fit(policy, without_contaminated(policy, known, BROKEN, as_of).rows)
        answers.append(recipe.predict(policy, model, rows))
    return metrics_of(policy, served["y_true"], pd.concat(answers).loc[served.index])[METRIC]


def _earnings(seen: Seen, orders: pd.DataFrame) -> list[Finding]:
    policy, served = seen.policies[MODEL], _served(seen)
    budget, n_days = policy.retrain.budget, served["chunk"].nunique()
    own, never, daily = metrics_of(policy, served["y_true"], served)[METRIC], _never(seen, served), _daily(seen, served)
    return [
        Finding("retrainings stay within the budget", 1 <= len(orders) <= budget.retrainings, f"{len(orders)} of {budget.retrainings} in {n_days} days"),
        Finding("the served predictions earn at least as much as without any retraining", own >= never, f"{own:.3f} against {never:.3f} euros a visit, {len(served)} visits"),
        Finding(
            f"they earn at most {TOLERANCE} euros less than under retraining daily, with a third of its retrainings at most",
            n_days == (policy.replay.end - MONITORED) // timedelta(days=1) and own >= daily - TOLERANCE and len(orders) <= (n_days - 1) / 3,
            f"{own:.3f} against {daily:.3f} euros a visit, {len(orders)} retrainings against {n_days - 1}",
        ),
    ]  # fmt: skip


def _gains(seen: Seen) -> pd.Series:
    """The gain of each chunk's best candidate, in euros a visit."""
    evaluations = seen.settings.lake.read(MODEL, EVALUATIONS)
    return evaluations[evaluations["is_winner"]].set_index("chunk")["gain"]


def _promoted(seen: Seen, orders: pd.DataFrame) -> Finding:
    wanted, log = seen.policies[MODEL].rollout.promote_gain, _rollouts(seen)
    promoted = log[(log["event"] == Event.PROMOTED) & log["from_version"].notna()]
    sale = _gains(seen).get(orders["chunk"].iloc[0], float("nan")) if len(orders) == len(_seasons(seen)) else float("nan")
    return Finding(
        "the large gain of the sale is promoted by itself",
        promoted["chunk"].tolist() == orders["chunk"].tolist()[:1] and sale >= wanted and promoted["approved_by"].iloc[0].startswith("policy "),
        f"{sale:+.3f} euros a visit, {wanted:g} asked",
    )  # fmt: skip


def _staged(seen: Seen, orders: pd.DataFrame) -> list[Finding]:
    wanted, log = seen.policies[MODEL].rollout.promote_gain, _rollouts(seen)
    staged = log[log["event"] == Event.STAGED]
    gifts = _gains(seen).get(orders["chunk"].iloc[1], float("nan")) if len(orders) == len(_seasons(seen)) else float("nan")
    return [
        Finding(
            "the small gain of the gift season is staged for review",
            staged["chunk"].tolist() == orders["chunk"].tolist()[1:] and 0 < gifts < wanted,
            f"{gifts:+.3f} euros a visit",
        ),
        _approved(seen, staged),
    ]


def _rollouts(seen: Seen) -> pd.DataFrame:
    return seen.settings.lake.read(MODEL, ROLLOUT_EVENTS).sort_values("at")


def _approved(seen: Seen, staged: pd.DataFrame) -> Finding:
    """A person promotes what is staged, as the job ``ecommerce_seasonal__approve`` does; until then it must have served nobody."""
    policy, lake = seen.policies[MODEL], seen.settings.lake
    name = "it serves nobody until a person approves it, who then signs for it"
    if staged.empty:
        return Finding(name, False, "nothing was staged")
    waiting, served = str(staged["to_version"].iloc[-1]), set(_served(seen)["model_version"])
    registry = seen.settings.registry
    version = approve(policy, lake, registry, who=PERSON, why="gifts are bought until Christmas")
    signed = lake.read(MODEL, ROLLOUT_EVENTS).sort_values("at").iloc[-1]
    is_held = waiting not in served and version == waiting == serving_version(lake, policy) and signed["approved_by"] == PERSON
    return Finding(
        name, is_held, f"versions {', '.join(sorted(served))} served; version {version} serves now, signed by {signed['approved_by']}"
    )


def _quiet(seen: Seen, ledger: pd.DataFrame, orders: pd.DataFrame) -> list[Finding]:
    incidents, highest = read_incidents(seen.settings.lake, seen.policies[MODEL]), _scores(seen).max()
    served = _served(seen)
    own, never = metrics_of(seen.policies[MODEL], served["y_true"], served)[METRIC], _never(seen, served)
    return [
        Finding("nothing is retrained but on day zero", orders.empty, f"{len(orders)} in {len(ledger)} evaluations"),
        Finding("no incident is opened", not incidents, f"{len(incidents)} in {served['chunk'].nunique()} days"),
        Finding("the score stays below the level that re-arms", highest < 0.10, f"highest {highest:.3f}"),
        Finding("what is served earns what the first model earns", own == never, f"{own:.3f} euros a visit"),
    ]
