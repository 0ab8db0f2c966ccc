"""A room that is put to another use twice: the simulator, and what must be seen of the retraining that its forecast error triggers."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from plumbline.example import Finding, Seen, Size
from resources.forecast_ledger import row_ids, wide_of
from resources.tables import FORECASTS, ROLLOUT_EVENTS, training_sets
from resources.vocabulary import Action, Event, Kind, Stage
from training_assets.ledger import promotion_of
from training_assets.rollout import content_hash
from training_assets.training_set import TRAIN, labelled_rows, split, with_scale

START, END = datetime(2025, 1, 6, tzinfo=UTC), datetime(2025, 3, 3, tzinfo=UTC)
#: The office becomes a bakery, the bakery a gym.
CHANGES = (datetime(2025, 2, 15, tzinfo=UTC), datetime(2025, 2, 23, tzinfo=UTC))
#: What the tests run of it: the bakery, whose first two days are handed over at once, and two days after the retraining; the second change is left out.
SMALL = Size(CHANGES[1], replay=(datetime(2025, 2, 17, tzinfo=UTC), CHANGES[1]))
PER_DAY = 8
#: Standard deviation of the noise in °C, and its memory from one reading to the next.
NOISE, MEMORY = 0.4, 0.2
#: Level and half the daily swing of each sensor in °C.
SENSORS = {"ceiling": (20.0, 4.0), "door": (19.0, 3.0), "window": (17.0, 3.5)}
MODEL, METRIC, CLAUSE = "iot_temperature_forecast", "mse", "error_threshold"


def simulate(folder: Path, seed: int, is_null_twin: bool) -> None:
    """Write the log of all sensors.

    The office is warmest in the afternoon, the bakery at night, the gym in the morning and in the evening. The null twin stays an office.
    """
    rng = np.random.default_rng(seed)
    day = np.arange((END - START).days * PER_DAY) / PER_DAY
    turn = 2 * np.pi * day
    office, bakery, gym = -np.cos(turn - np.pi / 4), np.cos(turn - np.pi / 4), -np.cos(2 * turn)
    is_bakery, is_gym = (day >= (change - START).days for change in CHANGES)
    profile = office if is_null_twin else np.select([is_gym, is_bakery], [gym, bakery], office)
    frames = []
    for sensor, (level, swing) in SENSORS.items():
        noise = lfilter([NOISE * np.sqrt(1 - MEMORY**2)], [1, -MEMORY], rng.normal(size=len(day)))
        read_at = pd.Timestamp(START) + pd.to_timedelta(day * 24, unit="h")
        frames.append(pd.DataFrame({"sensor": sensor, "read_at": read_at, "temperature": np.round(level + swing * profile + noise, 2)}))
    pd.concat(frames).sort_values(["read_at", "sensor"]).to_parquet(folder / f"{MODEL}.parquet", index=False)


def checks(seen: Seen) -> list[Finding]:
    """What the README promises."""
    ledger = seen.ledger(MODEL)
    orders = ledger[(ledger["action"] == Action.RETRAIN) & (ledger["clause"] != "no_champion")]
    common = [_error_is_reproducible(seen), _bytes_are_restored(seen)]
    return common + (_quiet(seen, orders) if seen.is_null_twin else _retrained(seen, ledger, orders))


def _errors(seen: Seen) -> pd.Series:
    """The mean squared error of each chunk, as the platform measured it."""
    own = seen.measurements(MODEL)
    own = own[(own["kind"] == Kind.REALIZED_PERFORMANCE) & (own["subject"] == METRIC) & (own["segment"] == "all")]
    return own.set_index("chunk")["value"]


def _error_is_reproducible(seen: Seen) -> Finding:
    """The error once more, from the table of issued forecasts and the log."""
    errors, log = _errors(seen), pd.read_parquet(seen.settings.models / f"{MODEL}.parquet")
    truth = pd.Series(log["temperature"].to_numpy(), index=row_ids(log["sensor"], log["read_at"]))
    told = wide_of(seen.table(MODEL, FORECASTS))
    squared = (row_ids(told["unique_id"], told["ds"]).map(truth) - told["mean"]) ** 2
    again = squared.groupby(told["chunk"]).mean()
    worst = float((errors - again[errors.index]).abs().max())
    return Finding(
        "the error is the mean square of outcome minus issued forecast, on every day",
        worst <= 1e-9 and len(errors) == len(again),
        f"{len(errors)} days, largest difference {worst:.1e} °C²",
    )


def _bytes_are_restored(seen: Seen) -> Finding:
    """The rows behind each version, by time travel and by cutting the log anew as it was known then."""
    policy, lake, table = seen.policies[MODEL], seen.settings.lake, training_sets(seen.policies[MODEL])
    log, onsets = lake.read(MODEL, ROLLOUT_EVENTS).sort_values("at"), seen.ledger(MODEL).set_index("chunk")["onset"]
    promoted, same, told = log[log["event"] == Event.PROMOTED].set_index("to_version"), [], []
    for one in seen.settings.registry.versions(MODEL):
        made, tags = promoted.loc[one["version"]], one["tags"]
        restored = lake.restore(MODEL, table, tags["data_version"])
        champion = None if made["from_version"] is None else promotion_of(log, made["from_version"])
        onset = onsets[made["chunk"]] if champion and pd.notna(onsets[made["chunk"]]) else None
        cut = split(policy, labelled_rows(policy, seen.settings.models, made["as_of"].to_pydatetime()), onset, champion)
        again = with_scale(policy, cut.rows.assign(chunk=made["chunk"]))[list(table.columns)]
        stored, fresh = (_as_bytes(rows) for rows in (restored, again))
        is_named = tags["data_version"] == seen.metadata(MODEL, Stage.TRAINING_SET, made["chunk"])["manifest"]
        same.append(is_named and stored == fresh and content_hash(restored[restored["part"] == TRAIN]) == tags["data_hash"])
        told.append(f"version {one['version']}: {len(restored)} rows, sha256 {hashlib.sha256(stored).hexdigest()[:8]}")
    return Finding("the data version of each model version restores identical bytes", all(same) and bool(same), "; ".join(told))


def _as_bytes(rows: pd.DataFrame) -> bytes:
    """Rows as a Parquet file, whatever order they were stored in."""
    return bytes(rows.sort_values("prediction_id", kind="stable").to_parquet(index=False))


def _crossings(seen: Seen) -> list[list[str]]:
    """The declared hysteresis walked by hand: days from one above ``fire_above`` on, until one below ``rearm_below``."""
    error, found, is_up = seen.policies[MODEL].retrain.when.error, [], False
    for chunk, value in _errors(seen).items():
        was_up, is_up = is_up, value > error.fire_above or (is_up and value >= error.rearm_below)
        if is_up:
            found = [*found[:-1], [*found[-1], str(chunk)]] if was_up else [*found, [str(chunk)]]
    return found


def _retrained(seen: Seen, ledger: pd.DataFrame, orders: pd.DataFrame) -> list[Finding]:
    policy, crossings, errors = seen.policies[MODEL], _crossings(seen), _errors(seen)
    limits, changes = policy.retrain.when.error, [change for change in CHANGES if change < policy.replay.end]
    answers = [[chunk for chunk in orders["chunk"] if chunk in days] for days in crossings]
    is_matched = [days[0] for days in crossings] == [f"{change:%Y-%m-%d}" for change in changes] and {*orders["clause"]} == {CLAUSE}
    above = errors[(errors > limits.fire_above) & (errors.index >= policy.cadence.shift(policy.cadence.key(policy.replay.start), -1))].index
    held = ledger[ledger["chunk"].isin(above) & (ledger["action"] == Action.HOLD)]
    cooling = ledger[ledger["state_before"] == "cooling"]
    ends = [f"{change:%Y-%m-%d}" for change in (*changes[1:], policy.replay.end)]
    before = [errors[days] for days in crossings]
    after = [errors[(errors.index > days[-1]) & (errors.index < end)] for days, end in zip(crossings, ends, strict=False)]
    proofs = [seen.metadata(MODEL, Stage.CANDIDATE_EVALUATION, chunk)["gain_lower"] for own in answers for chunk in own]
    return [
        Finding(
            "each crossing of the limit is answered by exactly one retraining",
            is_matched and [len(own) for own in answers] == [1] * len(changes) and len(orders) == len(crossings),
            "; ".join(f"above since {days[0]}, retrained on {', '.join(own) or 'no day'}" for days, own in zip(crossings, answers, strict=True)),
        ),
        Finding(
            "days above the limit order nothing twice, nor does the cooldown",
            len(held) == len(above) - len(orders) and not (cooling["action"] == Action.RETRAIN).any(),
            f"{len(above)} days above {limits.fire_above}: {len(orders)} ordered, {len(held)} held; {len(cooling)} evaluations while cooling ordered nothing",
        ),
        Finding(
            "the error is lower after each retraining, and below the level that re-arms",
            len(after) == len(changes) and all(len(own) >= 2 and own.max() < limits.rearm_below for own in after),
            ", ".join(f"{old.mean():.2f} → {own.mean():.2f} °C² (at most {own.max():.2f} on {len(own)} days)" for old, own in zip(before, after, strict=False)),
        ),
        Finding(
            "each candidate was proved on held-out rows before it served",
            len(proofs) == len(changes) and min(proofs) > 0, f"gains at least {', '.join(f'{one:.2f}' for one in proofs)} °C²",
        ),
    ]  # fmt: skip


def _quiet(seen: Seen, orders: pd.DataFrame) -> list[Finding]:
    policy, errors = seen.policies[MODEL], _errors(seen)
    limit = policy.retrain.when.error.fire_above
    n_days, below = (policy.replay.end - policy.reference.end) // timedelta(days=1), errors < limit
    return [
        Finding("nothing is retrained but on day zero", orders.empty, f"{len(orders)} retrainings on {len(errors)} days"),
        Finding(
            "the error stays below the limit",
            bool(below.all()) and len(errors) == n_days,
            f"below {limit} on {below.sum()} of {n_days} days, highest {errors.max():.2f} °C²",
        ),
    ]
