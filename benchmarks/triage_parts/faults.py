"""What is done to a chunk: each class of verdict by its mechanisms, as weak as still shows.

Belongs here: making chunks with a known cause. Does not: judging them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from resources.vocabulary import Task, Verdict
from triage_parts.worlds import Make, World, drawn, harm_expected, inputs_of, normal

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


HARM, HARMLESS = 6.0, 0.5  # sampling errors by which the expected metric moves, at least and at most
DRIFT = {Verdict.COVARIATE_HARMLESS: 12.0, Verdict.COVARIATE_HARMFUL: 8.0}  # sampling errors by which some input moves, in level or spread
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

    inputs = inputs_of(world.base.policy, world.pool)
    scores = np.column_stack([normal(column) for column in inputs.T])
    directions = [side * scores[:, place] for place in range(scores.shape[1]) for side in (1, -1)]
    directions += [normal(scores @ rng.normal(size=scores.shape[1])) for _ in range(6)]
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
        expected = base.guide.predict(inputs_of(policy, world.pool), num_threads=1)
        return weakest(world, mechanism, _leant(world, normal(expected)), seed, has_moved=True)
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
    direction, spread = normal(pool[name].to_numpy()), pool["y_true"].std()
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
