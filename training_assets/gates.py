"""The proof: candidate and champion on identical held-out rows, and the gates it must pass.

Belongs here: the paired comparison and its checks. Does not: moving aliases (``rollout.py``).
Reads: ``training_sets``, ``evaluations``, the log (for a champion served elsewhere). Writes: ``evaluations``, ``held_out``, ``forecast_backtests``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets.measures.registry import sign_of
from resources import tables
from resources.lake import Lake
from resources.log_source import read_log
from resources.names import key
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.rollout_log import append_event, serving_version
from resources.vocabulary import EXTERNAL, Check, Event, Stage, Task
from training_assets.asset import settings
from training_assets.candidate import scale_of
from training_assets.issuing import backtested
from training_assets.recipes import load_logged, load_version, recipe_of
from training_assets.training_set import HOLDOUT, TRAIN, order_of

if TYPE_CHECKING:
    import pandas as pd

    from monitoring_assets.measures.paired import PairedGain


@dataclass(frozen=True)
class GateResult:
    """Whether the candidate may serve, and what each gate said; the only thing a promotion accepts."""

    is_accepted: bool
    reason: str
    has_enough_rows: bool
    beats_champion: bool
    gain: "PairedGain | None"


def champion_scores(
    policy: MonitoredModel, lake: Lake, registry: Registry, base: Path, held_out: "pd.DataFrame", past: "pd.DataFrame | None" = None
) -> "tuple[str | None, pd.DataFrame | None]":
    """Version and predictions of the champion on the held-out rows; nothing on day zero.

    The champion is scored again on the very rows of the candidate. One served elsewhere is taken from the log.
    """
    if policy.log.is_scored_here:
        version = serving_version(lake, policy)
        if version is None:
            return None, None
        return version, recipe_of(policy).predict(policy, load_version(policy, registry, version), held_out, past)
    first, last = held_out["time"].min().to_pydatetime(), held_out["time"].max().to_pydatetime()
    log = read_log(policy, base, first, last + policy.cadence.step, with_outcomes=False).accepted
    columns = policy.predictions
    served = held_out[["prediction_id"]].merge(log[["prediction_id", *columns]], on="prediction_id", how="left")
    return EXTERNAL, served[columns].set_index(held_out.index)


def pass_gates(policy: MonitoredModel, held_out: "pd.DataFrame", candidate: "pd.DataFrame", champion: "pd.DataFrame | None") -> GateResult:
    """Judge the candidate on identical rows ``(n_rows, ...)`` with ``y_true``; without a champion only the row count is asked for.

    Errors of forecasts issued together are alike: those of a chunk are resampled together.
    """
    import numpy as np

    from monitoring_assets.measures.paired import in_units, paired_gain, score
    from monitoring_assets.measures.probabilities import probability_of

    gates, metric = policy.gates, policy.metrics[0]
    y_true = held_out["y_true"]
    enough = len(y_true) >= gates.minimum_rows
    if champion is None:
        return GateResult(
            enough, "first model: there is no champion to beat" if enough else _too_few(policy, len(y_true)), enough, True, None
        )
    truth, scale = y_true.to_numpy(), scale_of(held_out)
    units = None if scale is None else scale.to_numpy()
    together = policy.cadence.keys(held_out["time"]).to_numpy() if policy.task is Task.FORECAST else None

    def valued(predictions: "pd.DataFrame") -> Any:
        true, pred = in_units(metric, truth, predictions["y_pred"].to_numpy(), units)
        proba, values = probability_of(predictions), policy.performance.business_value
        return lambda rows: score(policy.task, metric, true[rows], pred[rows], None if proba is None else proba[rows], values)

    gain = paired_gain(
        valued(champion),
        valued(candidate),
        len(truth),
        sign_of(policy.task, metric),
        confidence=gates.confidence,
        resamples=gates.resamples,
        rng=np.random.default_rng(policy.retrain.seed),
        groups=together,
    )
    better = bool(gain.lower > gates.minimum_gain)
    said = f"{metric} {gain.champion:.4f} → {gain.candidate:.4f} on {gain.n_rows} rows; gain {gain.gain:+.4f}, {gates.confidence:.0%} interval {gain.lower:+.4f} to {gain.upper:+.4f}"
    reason = said if enough else _too_few(policy, len(truth))
    return GateResult(enough and better, reason, enough, better, gain)


def _too_few(policy: MonitoredModel, n_rows: int) -> str:
    return f"{n_rows} held-out rows; expected at least {policy.gates.minimum_rows} (gates.minimum_rows)"


def build_candidate_evaluation(policy: MonitoredModel, base: Path) -> dg.AssetsDefinition:
    """Compare on identical rows; a rejected candidate ends the run here, in green."""
    names = (Check.ENOUGH_HELD_OUT_ROWS, Check.BEATS_CHAMPION)

    @dg.asset(
        **settings(
            policy,
            Stage.CANDIDATE_EVALUATION,
            [Stage.CANDIDATE],
            {policy.retrain.recipe, "deltalake"},
            "Candidate and champion on identical held-out rows, with a paired bootstrap interval of the gain; the gates are its checks.",
        ),
        check_specs=[dg.AssetCheckSpec(str(name), asset=key(policy, Stage.CANDIDATE_EVALUATION)) for name in names],
    )
    def candidate_evaluation(context: dg.AssetExecutionContext, lake: Lake, registry: Registry) -> Iterator[dg.MaterializeResult[None]]:
        order = order_of(context, policy, lake)
        where = {"chunk": order.chunk}
        rows = lake.read(policy.model, tables.training_sets(policy), where)
        held_out = rows[rows["part"] == HOLDOUT].sort_values(["time", "prediction_id"], kind="stable").reset_index(drop=True)
        evaluations = lake.read(policy.model, tables.EVALUATIONS, where)
        winner = evaluations[evaluations["is_winner"]].iloc[0]
        past = rows[rows["part"] == TRAIN].sort_values(["time", "prediction_id"], kind="stable").reset_index(drop=True)
        model = load_logged(policy, registry, winner["model_uri"])
        if policy.task is Task.FORECAST:
            candidate = backtested(policy, lake, order.chunk, model, held_out, past)
        else:
            candidate = recipe_of(policy).predict(policy, model, held_out)
        version, champion = champion_scores(policy, lake, registry, base, held_out, past)
        result = pass_gates(policy, held_out, candidate, champion)
        lake.replace(policy.model, tables.held_out(policy), _side_by_side(policy, order.chunk, held_out, candidate, champion), where)
        data_version = lake.replace(policy.model, tables.EVALUATIONS, _completed(evaluations, result, version), where)
        if not result.is_accepted:
            append_event(
                lake,
                policy,
                Event.REJECTED,
                reason=result.reason,
                approved_by=f"policy {policy.policy_hash}",
                as_of=order.as_of,
                chunk=order.chunk,
                from_version=version,
                incident=order.incident,
            )
        severity = dg.AssetCheckSeverity.WARN
        checks = [
            dg.AssetCheckResult(
                check_name=str(names[0]), passed=result.has_enough_rows, severity=severity, description=f"{len(held_out)} held-out rows"
            ),
            dg.AssetCheckResult(check_name=str(names[1]), passed=result.beats_champion, severity=severity, description=result.reason),
        ]
        metadata: dict[str, Any] = {
            "is_accepted": int(result.is_accepted),
            "reason": result.reason,
            "champion_version": version or "none",
            "incident": order.incident,
            **_numbers(policy, result),
        }
        yield dg.MaterializeResult(metadata=metadata, data_version=dg.DataVersion(data_version), check_results=checks)

    return candidate_evaluation


def _numbers(policy: MonitoredModel, result: GateResult) -> dict[str, float]:
    if result.gain is None:
        return {}
    gain, metric = result.gain, policy.metrics[0]
    return {
        f"champion {metric}": gain.champion,
        f"candidate {metric}": gain.candidate,
        "gain": gain.gain,
        "gain_lower": gain.lower,
        "gain_upper": gain.upper,
    }


def _side_by_side(
    policy: MonitoredModel, chunk: str, held_out: "pd.DataFrame", candidate: "pd.DataFrame", champion: "pd.DataFrame | None"
) -> "pd.DataFrame":
    import numpy as np

    frame = held_out[["prediction_id", "time", "y_true"]].assign(chunk=chunk)
    for name in candidate.columns:
        frame[f"candidate_{name}"] = candidate[name]
        frame[f"champion_{name}"] = np.nan if champion is None else champion[name]
    return frame


def _completed(evaluations: "pd.DataFrame", result: GateResult, version: str | None) -> "pd.DataFrame":
    frame = evaluations.copy()
    winner = frame["is_winner"]
    frame.loc[winner, "is_accepted"] = result.is_accepted
    frame["champion_version"] = version
    if result.gain is not None:
        frame.loc[winner, ["champion", "gain", "gain_lower", "gain_upper"]] = [
            result.gain.champion,
            result.gain.gain,
            result.gain.lower,
            result.gain.upper,
        ]
    return frame
