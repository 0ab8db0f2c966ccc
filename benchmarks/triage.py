"""How often is the verdict right? Chunks with a known cause, judged exactly as the stages judge them.

Three base data sets, each cut into rows a model is trained on, rows a second model learns expected losses from, a reference, and
a pool from which chunks are drawn; reference and pool are cut anew for every seed. The weather is real (49 years of one
station, kept in blocks of five days in a row), so is the US census; the car prices are NannyML's synthetic ones.

Classes that hurt are as weak as still moves the expected deciding metric by ``HARM`` of its sampling errors and, where inputs are to
move, some input by ``DRIFT`` of its own; a harmless one moves an input visibly and the metric by at most ``HARMLESS``:
``covariate_harmless`` draws rows towards one side of a feature or direction along which the metric stays; ``covariate_harmful`` draws
towards rows of high expected loss, or blurs, offsets or rewires input columns while outcomes stay; ``concept`` changes
outcomes and leaves inputs; ``data_fault`` breaks the data as data; ``label_shift`` draws by the outcome; ``healthy`` draws alone.

    python benchmarks/triage.py
"""

import argparse
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property, partial
from importlib.metadata import version
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from common import PROJECT, conclude, quiet

from resources.vocabulary import Kind, Task, Verdict

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from monitoring_assets.drift_profile import DriftProfile
    from monitoring_assets.measures.nanny import Fitted
    from monitoring_assets.measures.trust import Calibration, Support
    from resources.policy import MonitoredModel

SEEDS, NULLS, BEFORE = 20, 3, 4  # chunks without a fault per seed: judged, and labelled ones before the chunk
HARM, HARMLESS = 6.0, 0.5  # sampling errors by which the expected metric moves, at least and at most
DRIFT = {Verdict.COVARIATE_HARMLESS: 12.0, Verdict.COVARIATE_HARMFUL: 8.0}  # sampling errors by which some input moves, in level or spread
FIRST_SEED = 100  # those below were looked at while the rules were written
DRAWS = 24  # chunks from which an expected metric is learned
RIGHT, HEALTHY = 0.90, 0.95  # the bounds
BOUNDED = (Verdict.COVARIATE_HARMLESS, Verdict.COVARIATE_HARMFUL, Verdict.CONCEPT, Verdict.DATA_FAULT)
CLASSES = (Verdict.HEALTHY, *BOUNDED, Verdict.LABEL_SHIFT)
STRENGTHS = (0.15, 0.25, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0)
MECHANISMS = {
    Verdict.HEALTHY: ("nothing",),
    Verdict.COVARIATE_HARMLESS: ("towards a side",),
    Verdict.COVARIATE_HARMFUL: ("towards hard rows", "noise", "offset", "rewired"),
    Verdict.CONCEPT: ("region", "rule", "slope"),
    Verdict.DATA_FAULT: ("missing", "stuck", "out of range", "rule broken"),
    Verdict.LABEL_SHIFT: ("by outcome",),
}
_START = "2024-01-01"


# --- base data --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Base:
    """A data set whose model is trained: rows not learned from with their predictions, the models, and how large a chunk is."""

    name: str
    policy: "MonitoredModel"
    rows: "pd.DataFrame"
    model: Any
    guide: Any
    size: int
    n_reference: int
    block: int

    def scored(self, rows: "pd.DataFrame") -> "pd.DataFrame":
        """Rows with what the model serves for their features as they are now."""
        return rows.assign(**_predicted(self.policy, self.model, rows))

    @cached_property
    def important(self) -> list[str]:
        """Features, those the model gains most from first."""
        gains = self.model.feature_importance("gain")
        return [self.policy.features.all[place] for place in gains.argsort()[::-1]]


def _inputs(policy: "MonitoredModel", rows: "pd.DataFrame") -> "np.ndarray":
    return rows[policy.features.all].to_numpy("float64", na_value=float("nan"))


def _trained(policy: "MonitoredModel", rows: "pd.DataFrame", target: "np.ndarray", objective: str) -> Any:
    import lightgbm

    parameters = {
        "objective": objective, "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 20, "lambda_l2": 1.0, "num_threads": 1,
        "verbosity": -1, "deterministic": True, "force_col_wise": True,
    }  # fmt: skip
    return lightgbm.train(parameters, lightgbm.Dataset(_inputs(policy, rows), target, params=parameters), num_boost_round=150)


def _fitted_on(policy: "MonitoredModel", rows: "pd.DataFrame") -> Any:
    is_binary = policy.task is Task.BINARY_CLASSIFICATION
    return _trained(policy, rows, rows["y_true"].to_numpy(), "binary" if is_binary else "regression")


def _predicted(policy: "MonitoredModel", model: Any, rows: "pd.DataFrame") -> dict[str, "np.ndarray"]:
    served = model.predict(_inputs(policy, rows), num_threads=1)
    if policy.task is Task.BINARY_CLASSIFICATION:
        return {"y_pred": (served >= 0.5).astype("float64"), "y_pred_proba": served}
    return {"y_pred": served}


def _losses(policy: "MonitoredModel", rows: "pd.DataFrame") -> "np.ndarray":
    import numpy as np

    if policy.task is not Task.BINARY_CLASSIFICATION:
        return np.abs(rows["y_true"] - rows["y_pred"]).to_numpy()
    chance = rows["y_pred_proba"].where(rows["y_true"] == 1, 1 - rows["y_pred_proba"])
    return -np.log(chance.clip(0.001).to_numpy())


def _base(name: str, policy: "MonitoredModel", train: "pd.DataFrame", guide: "pd.DataFrame", rest: "pd.DataFrame", **plain: int) -> Base:
    import pandas as pd

    model = _fitted_on(policy, train)
    folds = [train.iloc[place::5] for place in range(5)]
    out = [own.assign(**_predicted(policy, _fitted_on(policy, train.drop(own.index)), own)) for own in folds]
    seen = pd.concat([*out, guide.assign(**_predicted(policy, model, guide))])
    losses = _trained(policy, seen, _losses(policy, seen), "regression")
    rest = rest.assign(**_predicted(policy, model, rest)).reset_index(drop=True)
    return Base(name, policy, rest, model, losses, **plain)


def _policy(task: str, features: Mapping[str, list[str]], **sections: object) -> "MonitoredModel":
    from resources.policy import MonitoredModel

    return MonitoredModel.model_validate({
        "model": "benchmark", "task": task, "log": {"parquet": "log.parquet", "time": "time", "id": "id"}, "features": features,
        "outcome": {"column": "y"}, "reference": {"start": _START, "end": "2025-01-01"}, "chunk": "1d", **sections,
    })  # fmt: skip


def weather() -> Base:
    """Rain at one station as the sample declares it: trained on 1949 to 1959, judged on the years since, wiring as it should be."""
    import pandas as pd
    import yaml

    declared = yaml.safe_load((PROJECT / "models" / "weather_station.yaml").read_text(encoding="utf-8"))
    rules = [{"name": "probability", "holds": "0 <= y_pred_proba <= 1"}]
    policy = _policy(
        declared["task"], declared["features"], validation={**declared["validation"], "rules": rules}, performance=declared["performance"]
    )
    rows = pd.read_parquet(PROJECT / "models" / "samples" / "weather_station_control.parquet").rename(columns={"rain": "y_true"})
    rows["y_true"] = rows["y_true"].astype("float64")
    before, since = rows[rows["date"] < "1960"], rows[rows["date"] >= "1960"]
    is_guide = since.index.to_numpy() // 5 % 7 == 0
    return _base("weather", policy, before, since[is_guide], since[~is_guide], size=500, n_reference=6500, block=2)


def census() -> Base:
    """Employment in Massachusetts in 2015, from NannyML's bundle."""
    import nannyml

    rows = nannyml.load_us_census_ma_employment_data()[0].rename(columns={"employed": "y_true"})
    features = [name for name in rows.columns if name not in {"id", "year", "prediction", "predicted_probability", "y_true"}]
    policy = _policy(
        "binary_classification", {"numeric": ["AGEP"], "categorical": [name for name in features if name != "AGEP"]},
        performance={"metrics": ["accuracy", "roc_auc"]},
        validation={"ranges": {"AGEP": [0, 110]}, "rules": [{"name": "probability", "holds": "0 <= y_pred_proba <= 1"}]},
    )  # fmt: skip
    rows = rows[[*features, "y_true"]].astype({**dict.fromkeys(features, "float64"), "y_true": "float64"})
    rows = rows.sample(frac=1.0, random_state=0, ignore_index=True)
    return _base("census", policy, rows[:12_000], rows[12_000:22_000], rows[22_000:], size=1000, n_reference=20_000, block=1)


def cars() -> Base:
    """Prices of used cars, NannyML's synthetic regression."""
    import nannyml
    import pandas as pd

    rows = nannyml.load_synthetic_car_price_dataset()[0]
    numeric = ["car_age", "km_driven", "price_new", "accident_count", "door_count"]
    policy = _policy(
        "regression", {"numeric": numeric, "categorical": ["fuel", "transmission"]},
        validation={
            "ranges": {"car_age": [0, 60], "km_driven": [0, 600_000], "price_new": [0, 200_000]},
            "rules": [{"name": "price", "holds": "y_pred >= -50000"}, {"name": "distance", "holds": "km_driven >= 0"}],
        },
    )  # fmt: skip
    for name in ("fuel", "transmission"):
        rows[name] = pd.factorize(rows[name], sort=True)[0].astype("float64")
    rows = rows[[*policy.features.all, "y_true"]].astype("float64").sample(frac=1.0, random_state=0, ignore_index=True)
    return _base("cars", policy, rows[:10_000], rows[10_000:18_000], rows[18_000:], size=1000, n_reference=16_000, block=1)


BASES: dict[str, Callable[[], Base]] = {"weather": weather, "census": census, "cars": cars}


@cache
def base_of(name: str) -> Base:
    """A base, trained once per process."""
    return BASES[name]()


# --- one seed: reference, pool, everything fitted ---------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """One cut of a base: everything the stages fit on the reference, and the pool that chunks are drawn from."""

    base: Base
    reference: "pd.DataFrame"
    pool: "pd.DataFrame"
    profile: "DriftProfile"
    components: "Mapping[str, Fitted]"
    support: "Support | None"
    calibration: "Calibration | None"
    before: "pd.DataFrame"
    usual: tuple[float, float]

    @classmethod
    def of(cls, base: Base, rng: "np.random.Generator") -> "World":
        """Cut, and fit on the reference what the stages fit."""
        import numpy as np

        from monitoring_assets import drift_profile
        from monitoring_assets.measures import nanny, trust

        policy, n_blocks = base.policy, len(base.rows) // base.block
        order = rng.permutation(n_blocks)
        places = (order[:, None] * base.block + np.arange(base.block)).ravel()
        reference = dated(base, base.rows.iloc[places[: base.n_reference]])
        pool = base.rows.iloc[places[base.n_reference :]].reset_index(drop=True)
        support = trust.fit_support(reference, policy.features, base.size, 0)
        calibration = None
        if policy.task is Task.BINARY_CLASSIFICATION:
            calibration = trust.reference_calibration(reference["y_pred_proba"].to_numpy(), reference["y_true"].to_numpy(), 0)
        metrics = [metric_of(base, drawn(base, pool, rng)) for _ in range(100)]
        components = {name: nanny.fit(name, policy, reference) for name in nanny.COMPONENTS}
        own = cls(
            base, reference, pool, drift_profile.fit(policy, reference, None), components, support, calibration, reference.iloc[:0],
            (float(np.mean(metrics)), float(np.std(metrics))),
        )  # fmt: skip
        return replace(own, before=performance_before(own, rng))

    def harm_of(self, rows: "pd.DataFrame") -> float:
        """How much worse than usual the deciding metric is, in sampling errors; negative where it is better."""
        from monitoring_assets.measures.registry import sign_of

        mean, error = self.usual
        return sign_of(self.base.policy.task, self.base.policy.metrics[0]) * (mean - metric_of(self.base, rows)) / error

    @cached_property
    def usual_moments(self) -> "np.ndarray":
        """Of chunks without a fault."""
        import numpy as np

        rng = np.random.default_rng(0)
        return np.array([moments(self.base, drawn(self.base, self.pool, rng), self.pool) for _ in range(60)])

    def movement(self, make: "Make", seed: int) -> float:
        """How far the feature that moved most has moved, in level or spread, in sampling errors."""
        import numpy as np

        now = np.mean([moments(self.base, make(np.random.default_rng([seed, draw])), self.pool) for draw in range(6)], axis=0)
        usual = self.usual_moments
        return float((np.abs(now - usual.mean(axis=0)) / np.maximum(usual.std(axis=0), 1e-12)).max())


def moments(base: Base, rows: "pd.DataFrame", usual: "pd.DataFrame") -> "np.ndarray":
    """Mean and mean distance from the usual mean of each feature ``(2 * n_features,)``."""
    import numpy as np

    values, middle = _inputs(base.policy, rows), _inputs(base.policy, usual).mean(axis=0)
    return np.r_[values.mean(axis=0), np.abs(values - middle).mean(axis=0)]


def dated(base: Base, rows: "pd.DataFrame", first: str = _START) -> "pd.DataFrame":
    """Rows with a time, a chunk a day, from ``first`` on."""
    import numpy as np
    import pandas as pd

    places = np.arange(len(rows))
    seconds = places % base.size * (86_000 / base.size)
    time = pd.Timestamp(first, tz="UTC") + pd.to_timedelta(places // base.size, unit="D") + pd.to_timedelta(seconds, unit="s")
    plain = rows.reset_index(drop=True).assign(time=time, prediction_id=[f"{first}/{place}" for place in places])
    categorical = base.policy.features.categorical
    plain[categorical] = plain[categorical].astype("Int64").astype(object)
    return plain.assign(chunk=base.policy.cadence.keys(plain["time"]))


def drawn(base: Base, pool: "pd.DataFrame", rng: "np.random.Generator", leaning: "np.ndarray | None" = None) -> "pd.DataFrame":
    """A chunk of the pool, blocks of rows in a row without replacement; ``leaning`` ``(n_pool,)`` is the logarithm of a row's odds."""
    import numpy as np

    n_blocks = len(pool) // base.block
    chances = rng.gumbel(size=n_blocks)
    if leaning is not None:
        chances += leaning[: n_blocks * base.block].reshape(n_blocks, base.block).mean(axis=1)
    chosen = rng.permutation(np.argsort(-chances)[: base.size // base.block])
    return pool.iloc[(chosen[:, None] * base.block + np.arange(base.block)).ravel()].reset_index(drop=True)


def metric_of(base: Base, rows: "pd.DataFrame") -> float:
    """The deciding metric."""
    from monitoring_assets.measures.diagnosis.placebo import metric_value

    return metric_value(rows, base.policy.metrics[0])


def performance_before(world: World, rng: "np.random.Generator") -> "pd.DataFrame":
    """Estimated beside realized deciding metric of labelled chunks before, without a fault."""
    import pandas as pd

    from monitoring_assets.measures import nanny

    base = world.base
    rows = dated(base, pd.concat([drawn(base, world.pool, rng) for _ in range(BEFORE)], ignore_index=True), "2024-11-01")
    return pd.concat([nanny.measure(world.components[name], base.policy, rows) for name in nanny.COMPONENTS], ignore_index=True)


# --- faults -----------------------------------------------------------------------------------------------------------

#: Gives one chunk, scored.
Make = Callable[["np.random.Generator"], "pd.DataFrame"]


def _normal(values: "np.ndarray") -> "np.ndarray":
    """Normal scores of the ranks: one strength leans alike on every feature."""
    from scipy.stats import norm, rankdata

    return norm.ppf(rankdata(values) / (len(values) + 1))


def harm_expected(world: World, make: Make, seed: int) -> float:
    """Mean harm over a number of chunks."""
    import numpy as np

    return float(np.mean([world.harm_of(make(np.random.default_rng([seed, draw]))) for draw in range(DRAWS)]))


@dataclass(frozen=True)
class Fault:
    """A mechanism at a strength, and the harm expected of it in sampling errors."""

    mechanism: str
    strength: float
    harm: float
    make: Make


def weakest(world: World, mechanism: str, of: Callable[[float], Make], seed: int, has_moved: bool = False) -> Fault:
    """The weakest strength that hurts enough and, where ``has_moved``, moves an input visibly; else the one that hurts most."""
    tried = []
    for strength in STRENGTHS:
        make = of(strength)
        tried.append(Fault(mechanism, strength, harm_expected(world, make, seed), make))
        if tried[-1].harm >= HARM and (not has_moved or world.movement(make, seed) >= DRIFT[Verdict.COVARIATE_HARMFUL]):
            return tried[-1]
    return max(tried, key=lambda fault: fault.harm)


def _leant(world: World, direction: "np.ndarray") -> Callable[[float], Make]:
    return lambda strength: lambda rng: drawn(world.base, world.pool, rng, strength * direction)


def harmless(world: World, rng: "np.random.Generator", seed: int) -> Fault:
    """Towards a side of a feature, or of a random direction, along which the metric stays, and along which some feature moves visibly."""
    import numpy as np

    inputs = _inputs(world.base.policy, world.pool)
    scores = np.column_stack([_normal(column) for column in inputs.T])
    directions = [side * scores[:, place] for place in range(scores.shape[1]) for side in (1, -1)]
    directions += [_normal(scores @ rng.normal(size=scores.shape[1])) for _ in range(6)]
    tried = []
    for place in rng.permutation(len(directions)):
        for strength in STRENGTHS:
            make = _leant(world, directions[place])(strength)
            if world.movement(make, seed) >= DRIFT[Verdict.COVARIATE_HARMLESS]:
                tried.append(Fault("towards a side", strength, harm_expected(world, make, seed), make))
                break
        if tried and abs(tried[-1].harm) <= HARMLESS:
            return tried[-1]
    return min(tried, key=lambda fault: abs(fault.harm))


def harmful(world: World, mechanism: str, rng: "np.random.Generator", seed: int) -> Fault:
    """Towards rows of high expected loss, or input columns that lie."""

    base, policy = world.base, world.base.policy
    if mechanism == "towards hard rows":
        expected = base.guide.predict(_inputs(policy, world.pool), num_threads=1)
        return weakest(world, mechanism, _leant(world, _normal(expected)), seed, has_moved=True)
    limits = {name: (world.reference[name].astype(float).min(), world.reference[name].astype(float).max()) for name in policy.features.all}
    names = [name for name in base.important if name in policy.features.numeric][:2]
    if mechanism == "rewired":
        return rewired(world, rng, seed)
    side = {name: rng.choice([-1.0, 1.0]) for name in names}

    def of(strength: float) -> Make:
        def make(own: "np.random.Generator") -> "pd.DataFrame":
            rows = drawn(base, world.pool, own)
            for name in names:
                spread = strength * world.pool[name].std()
                step = spread * (own.normal(size=len(rows)) if mechanism == "noise" else side[name])
                digits = 0 if (world.pool[name] % 1 == 0).all() else 6
                rows[name] = (rows[name] + step).round(digits).clip(*limits[name])
            return base.scored(rows)

        return make

    return weakest(world, mechanism, of, seed, has_moved=True)


def rewired(world: World, rng: "np.random.Generator", seed: int) -> Fault:
    """Columns in a ring: two important ones and, the stronger, ever more others; of the same kind, since a contract holds types."""
    base, features = world.base, world.base.policy.features
    family = features.numeric if len(features.numeric) > 2 else features.categorical
    usual = [name for name in base.important if name in family]
    if base.policy.validation.ranges and family is features.numeric:  # a range that catches it makes it a data fault, and rightly
        usual = within_ranges(world, usual)

    def of(strength: float) -> Make:
        ring = usual[: min(len(usual), 2 + STRENGTHS.index(strength))]

        def make(own: "np.random.Generator") -> "pd.DataFrame":
            rows = drawn(base, world.pool, own)
            return base.scored(rows.assign(**{name: rows[source] for name, source in zip(ring, [*ring[1:], ring[0]], strict=True)}))

        return make

    return weakest(world, "rewired", of, seed)


def within_ranges(world: World, names: Sequence[str]) -> list[str]:
    """Those of ``names`` whose values fit into the declared ranges of all the others kept, the first ones first."""
    ranges = world.base.policy.validation.ranges

    def fits(source: str, name: str) -> bool:
        low, high = ranges.get(name, (-float("inf"), float("inf")))
        return bool(world.pool[source].between(low, high).mean() > 0.999)

    best: list[str] = []
    for first in names:
        kept = [first]
        for name in names:
            if name not in kept and all(fits(name, one) and fits(one, name) for one in kept):
                kept.append(name)
        best = max(best, kept, key=len)
    return best


def concept(world: World, mechanism: str, rng: "np.random.Generator", seed: int) -> Fault:
    """Other outcomes from the same inputs: in a region, by another rule for a share of rows, or with another slope."""
    import numpy as np

    base, policy, pool = world.base, world.base.policy, world.pool
    is_binary = policy.task is Task.BINARY_CLASSIFICATION
    name = base.important[int(rng.integers(3))]
    direction, spread = _normal(pool[name].to_numpy()), pool["y_true"].std()
    low = np.quantile(pool[name], rng.uniform(0.4, 0.7))
    other = policy.features.all
    swapped = dict(zip(other, [*other[1:], other[0]], strict=True))

    def of(strength: float, side: float) -> Make:
        def make(own: "np.random.Generator") -> "pd.DataFrame":
            place = drawn(base, pool.assign(direction=direction), own)
            rows, chance = place.drop(columns="direction"), own.random(len(place))
            truth = rows["y_true"].to_numpy().copy()
            if mechanism == "region":
                inside = (rows[name] >= low).to_numpy()
                truth = np.where(inside & (chance < strength), 1 - truth, truth) if is_binary else truth + inside * side * strength * spread
            elif mechanism == "rule":
                is_changed = chance < min(0.6, strength)
                theirs = base.scored(rows.assign(**{column: rows[source] for column, source in swapped.items()}))
                drawn_truth = (own.random(len(rows)) < theirs["y_pred_proba"]) * 1.0 if is_binary else theirs["y_pred"]
                truth = np.where(is_changed, drawn_truth, truth)
            elif is_binary:
                served = rows["y_pred_proba"].clip(0.01, 0.99)
                odds = np.log(served / (1 - served)) + 2 * side * strength * place["direction"]
                fresh = own.random(len(rows)) < 1 / (1 + np.exp(-odds))
                truth = np.where(chance < 0.6, fresh * 1.0, truth)
            else:
                truth = truth + side * strength * spread * place["direction"].to_numpy()
            return rows.assign(y_true=truth)

        return make

    sides = rng.permutation([-1.0, 1.0]) if mechanism == "slope" else (1.0,)
    found = [weakest(world, mechanism, partial(of, side=side), seed) for side in sides]
    if max(fault.harm for fault in found) < HARM and mechanism == "slope":  # some slopes make a classifier better
        return concept(world, "rule", rng, seed)
    return next((fault for fault in found if fault.harm >= HARM), found[0])


def label_shift(world: World, rng: "np.random.Generator", seed: int) -> Fault:
    """Rows drawn by their outcome, to the side that hurts; where none does, to a third more of the rarer class."""
    truth = world.pool["y_true"].to_numpy()
    scale = (truth - truth.mean()) / truth.std()
    sides = [weakest(world, "by outcome", _leant(world, side * scale), seed) for side in (1.0, -1.0)]
    return max(sides, key=lambda fault: (fault.harm >= HARM, -fault.strength if fault.harm >= HARM else fault.harm))


def broken(world: World, mechanism: str, rng: "np.random.Generator") -> Fault:
    """Data broken as data, in one column."""

    base, policy = world.base, world.base.policy
    numeric = str(rng.choice(policy.features.numeric[:3]))
    ranged = [name for name in policy.validation.ranges if name in policy.features.numeric]
    share = float(rng.uniform(0.08, 0.3))

    def make(own: "np.random.Generator") -> "pd.DataFrame":
        rows = drawn(base, world.pool, own)
        hit = own.random(len(rows)) < share
        if mechanism == "missing":
            name = str(own.choice(policy.features.all))
            return base.scored(rows.assign(**{name: rows[name].where(~hit)}))
        if mechanism == "stuck":
            start = int(own.integers(len(rows) // 4))
            rows.loc[start : start + int(0.65 * len(rows)), numeric] = rows[numeric].iloc[start]
            return base.scored(rows)
        if mechanism == "out of range":
            name = str(own.choice(ranged))
            return base.scored(rows.assign(**{name: rows[name].mask(hit, -999.0 if own.random() < 0.5 else 999_999.0)}))
        if policy.task is Task.BINARY_CLASSIFICATION:  # percentages instead of shares
            return rows.assign(y_pred_proba=rows["y_pred_proba"].mask(hit, 100 * rows["y_pred_proba"] + 1.5))
        return rows.assign(km_driven=rows["km_driven"].mask(hit, -rows["km_driven"] - 1))

    return Fault(mechanism, share, float("nan"), make)


def fault_of(world: World, truth: Verdict, seed: int) -> Fault:
    """The fault of one class and seed; mechanisms take turns."""
    import numpy as np

    rng = np.random.default_rng([seed, CLASSES.index(truth)])
    mechanism = MECHANISMS[truth][seed % len(MECHANISMS[truth])]
    if truth is Verdict.HEALTHY:
        return Fault(mechanism, 0.0, 0.0, lambda own: drawn(world.base, world.pool, own))
    if truth is Verdict.COVARIATE_HARMLESS:
        return harmless(world, rng, seed)
    if truth is Verdict.DATA_FAULT:
        return broken(world, mechanism, rng)
    if truth is Verdict.LABEL_SHIFT:
        return label_shift(world, rng, seed)
    return (harmful if truth is Verdict.COVARIATE_HARMFUL else concept)(world, mechanism, rng, seed)


# --- judging as the stages do -----------------------------------------------------------------------------------------


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


# --- running ----------------------------------------------------------------------------------------------------------


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


# --- the page ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rate:
    """Right verdicts of one class, with the binomial error, which is never set below that of one miss."""

    right: int
    chunks: int

    @property
    def share(self) -> float:
        """Of right verdicts."""
        return self.right / self.chunks

    @property
    def error(self) -> float:
        """Standard error of the share."""
        misses = min(max(self.chunks - self.right, 1), max(self.chunks - 1, 1))
        return (misses / self.chunks * (1 - misses / self.chunks) / self.chunks) ** 0.5

    def __str__(self) -> str:
        return f"{self.share:.0%} ± {self.error:.0%}"


def bound_of(truth: Verdict) -> float | None:
    """Least share of right verdicts; ``None`` for a class that is only reported."""
    return HEALTHY if truth is Verdict.HEALTHY else RIGHT if truth in BOUNDED else None


def rate_of(found: Iterable[Judged], truth: Verdict) -> Rate:
    """Rate after outcomes arrived."""
    own = [one for one in found if one.truth == truth]
    return Rate(sum(one.after == truth for one in own), len(own))


def is_missed(found: Iterable[Judged], truth: Verdict) -> bool:
    """Whether a class misses its bound over all data sets."""
    bound = bound_of(truth)
    return bound is not None and rate_of(found, truth).share < bound


def _markdown(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(line) + " |" for line in [titles, ["---"] * len(titles), *rows])


def _matrix(found: Sequence[Judged], when: str) -> str:
    """Truth in rows, verdicts in columns."""
    verdicts = [*CLASSES, Verdict.UNDECIDED]
    rows = []
    for truth in CLASSES:
        own = Counter(getattr(one, when) for one in found if one.truth == truth)
        counts = [f"**{own[verdict]}**" if verdict == truth else str(own[verdict] or "") for verdict in verdicts]
        rows.append([truth, *counts, str(Rate(own[truth], own.total()))])
    return _markdown(["truth ↓ verdict →", *verdicts, "right"], rows)


def _magnitudes(found: Sequence[Judged]) -> str:
    import numpy as np

    groups: dict[tuple[str, str, str], list[Judged]] = defaultdict(list)
    for one in found:
        groups[one.base, one.truth, one.mechanism].append(one)
    rows = []
    for (base, truth, mechanism), own in sorted(
        groups.items(), key=lambda item: (item[0][0], [*CLASSES].index(Verdict(item[0][1])), item[0][2])
    ):
        if truth == Verdict.DATA_FAULT:
            told = ["–", "–", "–"]
        else:
            realized = np.array([one.realized_harm for one in own])
            beyond = (np.abs(realized) < 1).mean() if truth in (Verdict.HEALTHY, Verdict.COVARIATE_HARMLESS) else (realized > 4).mean()
            told = [f"{np.mean([one.expected_harm for one in own]):.1f}", f"{realized.mean():.1f} ± {realized.std():.1f}", f"{beyond:.0%}"]
        rows.append([base, truth, mechanism, *told, f"{sum(one.after == one.truth for one in own)} of {len(own)}"])
    return _markdown(["data", "class", "what was done", "expected harm", "realized harm (mean ± sd)", "within 1 / beyond 4", "right"], rows)


def _conclusion(found: Sequence[Judged]) -> str:
    missed = [truth for truth in CLASSES if is_missed(found, truth)]
    bounds = (
        f"Bound: at least {RIGHT:.0%} right verdicts in each of the four bounded classes, at least {HEALTHY:.0%} `healthy` without a fault."
    )
    if not missed:
        return f"{bounds} **Kept.**"
    told = ", ".join(f"`{truth}` ({rate_of(found, truth)})" for truth in missed)
    return f"{bounds} **Missed** by {told}."


def document(found: Sequence[Judged]) -> str:
    """The generated page."""
    sizes = {name: base_of(name) for name in BASES}
    bases = "\n".join(
        f"- `{name}`: {' '.join((BASES[name].__doc__ or '').split())} Chunks of {base.size:,} rows, a reference of {base.n_reference:,}, {base.policy.metrics[0]} decides."
        for name, base in sizes.items()
    )
    own = "\n\n".join(f"### {name}\n\n{_matrix([one for one in found if one.base == name], 'after')}" for name in BASES)
    return f"""# Triage: is the verdict right?

Generated by `python benchmarks/triage.py`, which also writes `benchmarks/results/triage.json`. Do not edit.

{_conclusion(found)}

Chunks with a known cause, {SEEDS} seeds of each class on each data set ({NULLS * SEEDS} without a fault), judged as the stages judge them, with all outcomes
known. Reference and pool are cut anew for every seed; chunks of one seed share a reference. Errors are binomial. The seeds begin at {FIRST_SEED}: those
below were looked at while the rules were written.

{bases}

What is done to a chunk: `covariate_harmless` draws rows of the pool towards one side of a feature, or of a random direction, along which the metric
stays. `covariate_harmful` draws towards rows on which a second model expects large losses (labels are not looked at), or adds noise or an offset
to two important numeric inputs, or wires columns into each other's places; outcomes stay. `concept` leaves the inputs and changes outcomes: in a region,
by another rule for a part of the rows, or with another slope along a feature. `data_fault` makes values missing, stuck, out of range or
breaks a declared rule. `label_shift` draws by the outcome and is reported without a bound.

## All data, outcomes known

{_matrix(found, "after")}

## Each data set, outcomes known

{own}

## All data, before outcomes arrive

No bound: without outcomes a change of concept cannot be seen at all, and `undecided` is an honest answer.

{_matrix(found, "before")}

## Magnitudes

In sampling errors of the deciding metric on a chunk of this size, positive where it got worse. Classes that hurt take the weakest of a
ladder of strengths that is expected to cost at least {HARM:g}; where inputs move and keep their columns it also moves the mean or the mean
deviation of some input by at least {DRIFT[Verdict.COVARIATE_HARMFUL]:g} of its own sampling errors; where no strength does, the one that costs most is taken. `covariate_harmless` moves an
input by at least {DRIFT[Verdict.COVARIATE_HARMLESS]:g} and is expected to cost at most {HARMLESS:g}, better or worse. The last but one column is the share of chunks within 1 sampling error (classes
without harm: 68 % by chance alone) or more than 4 worse (classes with harm).

{_magnitudes(found)}

A label shift does not change how well a model ranks: where ROC AUC decides it hardly hurts, and `covariate_harmless` or `healthy` is what the
declared metric says of it. Where no strength costs {HARM:g} sampling errors, the limit of the metric is not reached on many chunks either.
"""


def measured(processes: int, seeds: int) -> list[Judged]:
    """All seeds of all bases, in order."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    found: list[Judged] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        bar = progress.add_task("seeds", total=seeds * len(BASES))
        for done in as_completed([pool.submit(run, name, seed) for seed in range(FIRST_SEED, FIRST_SEED + seeds) for name in BASES]):
            found += done.result()
            progress.advance(bar)
    return sorted(found, key=lambda one: ([*BASES].index(one.base), one.seed))


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all chunks, write the result and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"other than {SEEDS} writes no result")
    options = parser.parse_args(arguments)
    quiet()
    started = time.perf_counter()
    found = measured(options.processes, options.seeds)
    wall, page = time.perf_counter() - started, document(found)
    print(page)
    print(f"{wall:.0f} wall seconds with {options.processes} processes")
    if options.seeds != SEEDS:
        return int(any(is_missed(found, truth) for truth in CLASSES))
    (PROJECT / "docs" / "triage.md").write_text(page, encoding="utf-8")
    rates = {str(truth): {"right": (own := rate_of(found, truth)).right, "chunks": own.chunks, "error": own.error} for truth in CLASSES}
    result = {
        "bound": f"at least {RIGHT:.0%} right verdicts in each of {', '.join(BOUNDED)}; at least {HEALTHY:.0%} healthy without a fault",
        "rates": rates, "wall_s": wall, "processes": options.processes, "chunks": [asdict(one) for one in found],
        "versions": {name: version(name) for name in ("nannyml", "lightgbm", "numpy", "pandas", "scipy", "scikit-learn")},
    }  # fmt: skip
    return conclude("triage", result, not any(is_missed(found, truth) for truth in CLASSES))


if __name__ == "__main__":
    sys.exit(main())
