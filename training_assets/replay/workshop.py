"""Models of a replay: those that served, and those a policy would have trained, with the platform's own functions.

Belongs here: predictions by model and chunk, training at a replayed moment. Does not: when to train (``path.py``), evidence.
Reads: the log source through ``Past``; reference rows and versions through what the caller gives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.paired import score
from monitoring_assets.measures.probabilities import probability_of
from resources.policy import MonitoredModel
from resources.vintages import JudgedChunk, broken_chunks
from training_assets.approval import gains_too_little
from training_assets.candidate import NoCandidateError, Predecessor, compete
from training_assets.decide import Decision, Promotion
from training_assets.gates import pass_gates
from training_assets.recipes import recipe_of
from training_assets.replay.past import Past
from training_assets.rollout import next_reference
from training_assets.training_set import (
    HOLDOUT,
    TRAIN,
    NothingToLearnError,
    came_with_inputs,
    chunks_around,
    date_harm,
    left_inputs_alone,
    split,
    without_contaminated,
)

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Serving:
    """A model that serves in a replay.

    Attributes:
        version: as in the record, or ``replayed-1`` and so on.
        promotion: what ``decide`` may know of it.
        model: what the recipe fitted; ``None`` where the log's own predictions are meant.
        reference: rows it was accepted on, with its predictions and ``is_held_out``.
        before: the model before, whose limits it keeps where its reference is short.
    """

    version: str
    promotion: Promotion
    model: Any = None
    reference: "pd.DataFrame | None" = None
    before: "Serving | None" = None


@dataclass(frozen=True)
class Attempt:
    """What became of an order: the model promoted, or why there is none."""

    serving: Serving | None
    reason: str


@dataclass
class Workshop:
    """Trains and scores; the same order given by two policies is carried out once.

    Attributes:
        policy: the model's declaration.
        past: its log.
        load: gives the recorded version of that name, or ``None`` where predictions of the log are meant.
        reference_of: gives the recorded reference rows of a version.
        vintages: recorded verdicts, in the order they became known: nothing is learned from broken data.
    """

    policy: MonitoredModel
    past: Past
    load: Callable[[str], Any] = lambda _: None
    reference_of: "Callable[[str], pd.DataFrame | None]" = lambda _: None
    vintages: Sequence[JudgedChunk] = ()
    _attempts: dict[tuple[Any, ...], Attempt] = field(default_factory=dict)
    _recorded: dict[str, Serving] = field(default_factory=dict)
    _scored: "dict[tuple[str, str], pd.DataFrame]" = field(default_factory=dict)
    _values: dict[tuple[str, str], float] = field(default_factory=dict)

    def recorded(self, promotion: Promotion, before: Serving | None = None) -> Serving:
        """A version of the record."""
        version = promotion.version
        if version not in self._recorded:
            model, reference = self.load(version), self.reference_of(version)
            self._recorded[version] = Serving(version, promotion, model, reference, before)
        return self._recorded[version]

    def predictions(self, serving: Serving, rows: "pd.DataFrame") -> "pd.DataFrame":
        """``policy.predictions`` of a model on some rows, on their index."""
        if serving.model is None:
            return rows[self.policy.predictions]
        return recipe_of(self.policy).predict(self.policy, serving.model, rows)

    def scored(self, serving: Serving, chunk: str) -> "pd.DataFrame":
        """Predictions of a model on a chunk it would have served, on the index of its rows."""
        if (serving.version, chunk) not in self._scored:
            self._scored[serving.version, chunk] = self.predictions(serving, self.past.chunk(chunk))
        return self._scored[serving.version, chunk]

    def value(self, serving: Serving, chunk: str) -> float:
        """The deciding metric of a model on a chunk, on all outcomes there are; NaN where it is undefined."""
        if (serving.version, chunk) not in self._values:
            rows = self.past.chunk(chunk)
            known = rows["y_true"].notna().to_numpy()
            own = self.scored(serving, chunk)[known]
            self._values[serving.version, chunk] = metric_of(self.policy, self.policy.metrics[0], rows["y_true"][known], own)
        return self._values[serving.version, chunk]

    def train(self, policy: MonitoredModel, decision: Decision, as_of: datetime, champion: Serving | None) -> Attempt:
        """Carry out an order at a replayed moment: date the onset, cut, compete, pass the gates, as a live run does.

        Args:
            policy: declares windows, recipe and gates.
            decision: the order.
            as_of: when it was given; nothing known later is used.
            champion: what serves then.
        """
        onset = self._onset(policy, decision, as_of, champion)
        order = (_training_of(policy), as_of, onset, champion.version if champion else None, tuple(decision.causes), decision.update)
        if order not in self._attempts:
            self._attempts[order] = self._attempt(policy, decision, as_of, champion, onset)
        return self._attempts[order]

    def _attempt(
        self, policy: MonitoredModel, decision: Decision, as_of: datetime, champion: Serving | None, onset: datetime | None
    ) -> Attempt:
        try:
            rows = without_contaminated(policy, self.past.labelled(policy, as_of), self._broken(as_of), as_of).rows
            if rows.empty:
                return Attempt(None, "failed: every labelled row is quarantined or broken")
            cut = split(policy, rows, onset, champion.promotion if champion else None).rows
            train, held_out = (cut[cut["part"] == part].reset_index(drop=True) for part in (TRAIN, HOLDOUT))
            if len(held_out) < policy.gates.minimum_rows:
                return Attempt(None, f"rejected: {len(held_out)} held-out rows; expected at least {policy.gates.minimum_rows}")
            best = compete(policy, train, held_out, onset, decision.update, _predecessor(champion))[0]
        except (NothingToLearnError, NoCandidateError) as error:
            return Attempt(None, f"failed: {error}")
        judged = pass_gates(policy, held_out, best.predictions, self.predictions(champion, held_out) if champion else None)
        if not judged.is_accepted:
            return Attempt(None, f"rejected: {judged.reason}")
        if judged.gain is not None and gains_too_little(policy, judged.gain.gain):
            return Attempt(None, f"staged: {judged.reason}")
        reference = next_reference(
            policy, held_out.assign(**best.predictions), best.rows, None if left_inputs_alone(decision.causes) else onset
        )
        first, last = (moment.to_pydatetime() for moment in (best.rows["time"].min(), best.rows["time"].max()))
        version = f"replayed-{1 + sum(one.serving is not None for one in self._attempts.values())}"
        serving = Serving(version, Promotion(version, last, onset, first), best.model, reference, champion)
        return Attempt(serving, f"promoted: window {best.window}, {judged.reason}")

    def _broken(self, as_of: datetime) -> set[str]:
        """Chunks known by then to be a data fault."""
        return broken_chunks([one for one in self.vintages if one.known_at <= as_of])

    def _onset(self, policy: MonitoredModel, decision: Decision, as_of: datetime, champion: Serving | None) -> datetime | None:
        import pandas as pd

        if champion is None or decision.onset is not None or decision.first_harm is None:
            return None if champion is None else decision.onset
        usable = (set(self.past.chunks()) - self._broken(as_of)) | {decision.first_harm}
        chunks = [chunk for chunk in chunks_around(policy, decision.first_harm, as_of) if chunk in usable]
        parts = [self.past.chunk(chunk, as_of) for chunk in chunks]
        if not parts:
            return policy.cadence.start(decision.first_harm)
        is_covariate = came_with_inputs(decision.causes) and len(policy.features.numeric) > 0
        if is_covariate and champion.reference is not None:
            return date_harm(policy, decision.first_harm, pd.concat(parts), champion.reference)
        served = [rows.assign(**self.scored(champion, chunk)) for rows, chunk in zip(parts, chunks, strict=True)]
        return date_harm(policy, decision.first_harm, pd.concat(served).dropna(subset=["y_true"]), None)


def _predecessor(champion: Serving | None) -> Predecessor | None:
    """What an incremental candidate goes on from: a version that was trained here."""
    if champion is None or champion.model is None or champion.promotion.train_end is None:
        return None
    return Predecessor(champion.model, champion.promotion.train_end)


def metric_of(policy: MonitoredModel, metric: str, y_true: "pd.Series", predictions: "pd.DataFrame") -> float:
    """A metric on ``(n_rows,)`` outcomes and predictions; NaN without a row."""
    if not len(y_true):
        return float("nan")
    values = policy.performance.business_value
    return score(policy.task, metric, y_true.to_numpy(), predictions["y_pred"].to_numpy(), probability_of(predictions), values)


def _training_of(policy: MonitoredModel) -> str:
    """Everything of a declaration that makes one training unlike another."""
    retrain = policy.retrain.model_dump_json(include={"recipe", "parameters", "seed", "history_start", "windows", "quarantine", "update"})
    return retrain + policy.gates.model_dump_json() + policy.rollout.model_dump_json(include={"promote_gain"})


def is_trained_alike(policy: MonitoredModel, other: MonitoredModel) -> bool:
    """Whether an order of either declaration would train the same model."""
    return _training_of(policy) == _training_of(other)
