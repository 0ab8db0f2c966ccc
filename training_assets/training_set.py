"""Which rows may be learned from: everything known at the cut, and nothing else.

Belongs here: the time cut, the embargo of the label delay, quarantine, the onset, the held-out rows. Does not: fitting.
Reads: the log source, ``rollout_events``, ``decisions``, ``verdict_vintages``. Writes: ``training_sets``.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from resources import tables
from resources.chunks import parse_duration
from resources.clock import now
from resources.forecast_ledger import series_of
from resources.lake import Lake
from resources.log_source import read_log
from resources.outcomes import known_outcomes
from resources.policy import MonitoredModel
from resources.vintages import broken_chunks, read_vintages
from resources.vocabulary import OF_OUTCOMES, TAG_AS_OF, TAG_CLAUSE, TAG_INCIDENT, TAG_UPDATE, Stage, Task, Update, Verdict
from training_assets import ledger
from training_assets.asset import settings
from training_assets.decide import Promotion

if TYPE_CHECKING:
    import pandas as pd

TRAIN, HOLDOUT = "train", "holdout"
#: Chunks before the first harmful one in which the onset is looked for.
_LOOK_BACK = 8
#: Below this the date of a break is a guess; the start of the first harmful chunk is taken instead.
_MINIMUM_STATISTIC = 15.0
_EPOCH = datetime.fromisoformat("1900-01-01T00:00:00+00:00")


class NothingToLearnError(ValueError):
    """No labelled row is known at the cut."""


@dataclass(frozen=True)
class Order:
    """What a retraining run was asked to do; from its tags, or made up when a person starts it by hand."""

    chunk: str
    as_of: datetime
    incident: str
    clause: str
    update: Update = Update.FULL


def order_of(context: dg.AssetExecutionContext, policy: MonitoredModel, lake: Lake) -> Order:
    """The order behind the running step."""
    tags = context.run.tags
    chunk = context.partition_key
    as_of = datetime.fromisoformat(tags[TAG_AS_OF]) if TAG_AS_OF in tags else now(policy, lake)
    incident, clause = tags.get(TAG_INCIDENT, f"{policy.model}/{chunk}/by-hand"), tags.get(TAG_CLAUSE, "by_hand")
    return Order(chunk, as_of, incident, clause, Update(tags.get(TAG_UPDATE, policy.retrain.update)))


@dataclass(frozen=True)
class Split:
    """Rows known at the cut with ``part``: ``train``, ``holdout``, or dropped by the embargo; and where they meet."""

    rows: "pd.DataFrame"
    holdout_start: datetime
    n_embargoed: int


def split(policy: MonitoredModel, labelled: "pd.DataFrame", onset: datetime | None, champion: Promotion | None) -> Split:
    """Cut the rows known at ``as_of`` into what is learned from and what the proof is made on.

    The held-out rows are the latest ``gates.holdout``, but never more than half of the rows since the onset (the new
    behaviour must be learnable too), and never rows the champion has learned from. On day zero they are the declared
    reference. Those of a forecaster begin with a whole chunk. A training row's outcome must have been known before the first held-out row: the model in production
    never knew more.

    Args:
        labelled: ``(n_rows, ...)`` with ``time`` and ``observed_at``, time order.
        onset: dated start of the fault, if any.
        champion: the serving version, ``None`` on day zero.
    """
    import pandas as pd

    if champion is None:
        start, end = pd.Timestamp(policy.reference.start), pd.Timestamp(policy.reference.end)
        labelled = labelled[labelled["time"] < end]
    else:
        last = labelled["time"].max()
        start = pd.Timestamp(last - parse_duration(policy.gates.holdout))
        if onset is not None:
            since = labelled.loc[labelled["time"] >= pd.Timestamp(onset), "time"]
            if len(since):
                start = max(start, since.iloc[len(since) // 2])
        if champion.train_end is not None:
            start = max(start, pd.Timestamp(champion.train_end))
        if policy.task is Task.FORECAST:
            # a chunk is forecast from its start: a candidate that had learned from its first rows would know too much
            start = pd.Timestamp(policy.cadence.floor(start.to_pydatetime()))
    is_held_out = labelled["time"] >= start
    if champion is not None and champion.train_end is not None:
        is_held_out &= labelled["time"] > pd.Timestamp(champion.train_end)
    is_known = labelled["observed_at"] <= start
    part = pd.Series(TRAIN, index=labelled.index).mask(is_held_out, HOLDOUT)
    kept = is_held_out | is_known
    return Split(labelled.assign(part=part)[kept], start.to_pydatetime(), int((~kept).sum()))


def find_onset(policy: MonitoredModel, lake: Lake, first_harm: str, as_of: datetime, *, is_covariate: bool) -> datetime:
    """Date the start of the harm around the first harmful chunk.

    Harm that came with the inputs is dated by how strange they are to the champion's reference, all together; harm
    that only outcomes show, by the losses of the served predictions. Losses alone follow the seasons. Chunks judged to be a data
    fault are passed over: broken values are stranger than any change of the world.
    """
    broken = broken_chunks(read_vintages(lake, policy))
    chunks = [chunk for chunk in chunks_around(policy, first_harm, as_of) if chunk == first_harm or chunk not in broken]
    served = lake.read(policy.model, tables.prediction_log(policy), {"chunk": chunks}).sort_values(["time", "prediction_id"], kind="stable")
    if is_covariate and policy.features.numeric:
        version = served.loc[served["chunk"] >= first_harm, "model_version"].iloc[0]
        reference = lake.read(policy.model, tables.reference_rows(policy), {"reference_version": version})
        return date_harm(policy, first_harm, served, reference)
    outcomes = known_outcomes(policy, lake, policy.cadence.start(chunks[0]), as_of)
    return date_harm(policy, first_harm, served.merge(outcomes, on="prediction_id"), None)


def chunks_around(policy: MonitoredModel, first_harm: str, as_of: datetime) -> list[str]:
    """Chunks in which the start of the harm is looked for: some before the first harmful one, and all that began since."""
    chunks, key = [], policy.cadence.shift(first_harm, -_LOOK_BACK)
    while policy.cadence.start(key) < as_of:
        chunks.append(key)
        key = policy.cadence.shift(key, 1)
    return chunks


def date_harm(policy: MonitoredModel, first_harm: str, rows: "pd.DataFrame", reference: "pd.DataFrame | None") -> datetime:
    """The most likely start of the harm in some rows; the start of the first harmful chunk where that would be a guess.

    Args:
        policy: declares features and task.
        first_harm: first harmful chunk.
        rows: ``(n_rows, ...)`` served rows in time order; with predictions and outcomes where ``reference`` is absent.
        reference: dates by how strange the inputs are to these rows; by the losses if absent.
    """
    import pandas as pd

    from monitoring_assets.measures.onset import date_onset, losses_of, strangeness

    numeric = policy.features.numeric
    sequence = losses_of(policy.task, rows) if reference is None else strangeness(reference[numeric].to_numpy(), rows[numeric].to_numpy())
    found = date_onset(sequence)
    if found is None or found.statistic < _MINIMUM_STATISTIC:
        return policy.cadence.start(first_harm)
    moment: datetime = pd.Timestamp(rows["time"].iloc[found.index]).to_pydatetime()
    return min(moment, policy.cadence.end(first_harm))


@dataclass(frozen=True)
class Trusted:
    """Rows that may be used, and how many were set aside, by reason."""

    rows: "pd.DataFrame"
    set_aside: Mapping[str, int]


def without_contaminated(policy: MonitoredModel, rows: "pd.DataFrame", broken: Collection[str], as_of: datetime) -> Trusted:
    """Leave out rows of a quarantine that has not expired at ``as_of`` and rows of chunks judged to be a data fault.

    Args:
        rows: ``(n_rows, ...)`` with ``time``.
        broken: chunks whose newest verdict is ``data_fault``.
    """
    set_aside, kept = {}, rows
    for one in policy.retrain.quarantine:
        if one.expires is None or one.expires > as_of:
            is_inside = (kept["time"] >= one.start) & (kept["time"] < one.end)
            set_aside[f"quarantine {one.start:%Y-%m-%d} to {one.end:%Y-%m-%d} by {one.who}: {one.why}"] = int(is_inside.sum())
            kept = kept[~is_inside]
    if broken:
        is_broken = policy.cadence.keys(kept["time"]).isin(list(broken))
        set_aside["chunks judged to be a data fault"] = int(is_broken.sum())
        kept = kept[~is_broken]
    return Trusted(kept.reset_index(drop=True), {reason: count for reason, count in set_aside.items() if count})


def labelled_rows(policy: MonitoredModel, base: Path, as_of: datetime) -> "pd.DataFrame":
    """Accepted rows of the log whose outcome is known at ``as_of``, in time order.

    Raises:
        NothingToLearnError: when there is none.
    """
    rows = read_log(policy, base, policy.retrain.history_start or _EPOCH, as_of, known_by=as_of).accepted.dropna(subset=["y_true"])
    rows = rows.sort_values("time", kind="stable").reset_index(drop=True)
    if rows.empty:
        raise NothingToLearnError(
            f"{policy.model}: got no labelled row known at {as_of:%Y-%m-%d}; expected outcomes in column {policy.outcome.column!r} "
            f"at most {policy.outcome.delay} after the prediction. Check outcome.column and outcome.delay."
        )
    return rows


def with_scale(policy: MonitoredModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Rows of a forecaster ``(n_rows, ...)`` with the scale of their series: its seasonal naive error on the rows to learn from."""
    if policy.forecast is None:
        return rows
    from monitoring_assets.measures.forecast.accuracy import scales_of

    own, train = series_of(policy, rows), rows[rows["part"] == TRAIN]
    known = train[["time", "y_true"]].rename(columns={"time": "ds", "y_true": "y"}).assign(unique_id=own[train.index])
    return rows.assign(series_scale=own.map(scales_of(known, policy.forecast.season_lengths[0])["mase"]).astype("float64"))


def build_training_set(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Cut the training set of the decision that ordered the run."""

    @dg.asset(
        **settings(
            policy,
            Stage.TRAINING_SET,
            [Stage.DECISION],
            {"deltalake"},
            "Rows known when the retraining was ordered: to learn from, and held out. The data version names exactly these rows.",
        )
    )
    def training_set(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult[None]:
        order = order_of(context, policy, lake)
        history = ledger.read_history(policy, lake)
        champion = history.champion
        onset = _onset(policy, lake, order, champion)
        known = labelled_rows(policy, base, order.as_of)
        trusted = without_contaminated(policy, known, broken_chunks(history.verdicts), order.as_of)
        if trusted.rows.empty:
            raise NothingToLearnError(
                f"{policy.model}: got {len(known)} labelled rows, all set aside: {dict(trusted.set_aside)}; expected some outside. "
                "Shorten retrain.quarantine, or repair the broken chunks."
            )
        cut = split(policy, trusted.rows, onset, champion)
        table = tables.training_sets(policy)
        rows = with_scale(policy, cut.rows.assign(chunk=order.chunk))[list(table.columns)]
        version = lake.replace(policy.model, table, rows, {"chunk": order.chunk})
        train = rows[rows["part"] == TRAIN]
        metadata: dict[str, Any] = {
            "incident": order.incident,
            "clause": order.clause,
            "as_of": str(order.as_of),
            "onset": str(onset) if onset else "none",
            "train_rows": len(train),
            "held_out_rows": len(rows) - len(train),
            "embargoed_rows": cut.n_embargoed,
            "rows_set_aside": sum(trusted.set_aside.values()),
            "set aside": dg.MetadataValue.md(
                "\n".join(f"- {count} rows: {reason}" for reason, count in trusted.set_aside.items()) or "none"
            ),
            "train_start": str(train["time"].min()),
            "train_end": str(train["time"].max()),
            "holdout_start": str(cut.holdout_start),
            "manifest": version,
        }
        return dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(version))

    return training_set


def came_with_inputs(causes: Collection[str]) -> bool:
    """Whether the onset of what verdicts ``causes`` tell is dated from inputs: harm that came with them, or drift without harm."""
    return Verdict.COVARIATE_HARMFUL in causes or set(causes).isdisjoint(OF_OUTCOMES)


def left_inputs_alone(causes: Collection[str]) -> bool:
    """Whether only outcomes changed: then the inputs before the onset are as good as any."""
    return len(causes) > 0 and set(causes) <= set(OF_OUTCOMES)


def _onset(policy: MonitoredModel, lake: Lake, order: Order, champion: Promotion | None) -> datetime | None:
    made = ledger.ordered(policy, lake, order.chunk)
    if champion is None or made is None:
        return None
    onset: datetime | None = made["onset"]
    first_harm = made["inputs"]["first_harm"]
    if onset is None and first_harm:
        onset = find_onset(policy, lake, first_harm, order.as_of, is_covariate=came_with_inputs(made["inputs"]["causes"]))
        ledger.keep_onset(policy, lake, order.chunk, onset)
    return onset
