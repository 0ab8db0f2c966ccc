"""Three base data sets with a served model each, and the worlds that a seed cuts from them.

Belongs here: data, models, drawing chunks, the metric expected of them. Does not: faults, verdicts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from common import PROJECT

from resources.vocabulary import Task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from monitoring_assets.drift_profile import DriftProfile
    from monitoring_assets.measures.nanny import Fitted
    from monitoring_assets.measures.trust import Calibration, Support
    from resources.policy import MonitoredModel

SEEDS, NULLS, BEFORE = 20, 3, 4  # chunks without a fault per seed: judged, and labelled ones before the chunk
DRAWS = 24  # chunks from which an expected metric is learned
_START = "2024-01-01"


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


def inputs_of(policy: "MonitoredModel", rows: "pd.DataFrame") -> "np.ndarray":
    return rows[policy.features.all].to_numpy("float64", na_value=float("nan"))


def _trained(policy: "MonitoredModel", rows: "pd.DataFrame", target: "np.ndarray", objective: str) -> Any:
    import lightgbm

    parameters = {
        "objective": objective, "learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 20, "lambda_l2": 1.0, "num_threads": 1,
        "verbosity": -1, "deterministic": True, "force_col_wise": True,
    }  # fmt: skip
    return lightgbm.train(parameters, lightgbm.Dataset(inputs_of(policy, rows), target, params=parameters), num_boost_round=150)


def _fitted_on(policy: "MonitoredModel", rows: "pd.DataFrame") -> Any:
    is_binary = policy.task is Task.BINARY_CLASSIFICATION
    return _trained(policy, rows, rows["y_true"].to_numpy(), "binary" if is_binary else "regression")


def _predicted(policy: "MonitoredModel", model: Any, rows: "pd.DataFrame") -> dict[str, "np.ndarray"]:
    served = model.predict(inputs_of(policy, rows), num_threads=1)
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

    values, middle = inputs_of(base.policy, rows), inputs_of(base.policy, usual).mean(axis=0)
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


#: Gives one chunk, scored.
Make = Callable[["np.random.Generator"], "pd.DataFrame"]


def normal(values: "np.ndarray") -> "np.ndarray":
    """Normal scores of the ranks: one strength leans alike on every feature."""
    from scipy.stats import norm, rankdata

    return norm.ppf(rankdata(values) / (len(values) + 1))


def harm_expected(world: World, make: Make, seed: int) -> float:
    """Mean harm over a number of chunks."""
    import numpy as np

    return float(np.mean([world.harm_of(make(np.random.default_rng([seed, draw]))) for draw in range(DRAWS)]))
