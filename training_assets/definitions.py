"""Code location 2: each declared model becomes its training family, jobs and sensors; nothing else."""

from collections.abc import Mapping

import dagster as dg

from monitoring_assets.measures.registry import sign_of
from resources.catalogue import Declaration, load_catalogue, require_known
from resources.names import asset_job
from resources.policy import MonitoredModel
from resources.settings import Settings
from resources.vocabulary import TAG_LANE, Stage, Task
from training_assets import answering, approval, candidate, gates, governance, issuing, rollout, scoring, shadow, training_set, trigger
from training_assets.recipes import RECIPES
from training_assets.recipes.statsforecast import check_spec, known_models
from training_assets.replay import job as replay_job

_RETRAIN = [Stage.TRAINING_SET, Stage.CANDIDATE, Stage.CANDIDATE_EVALUATION, Stage.MODEL_VERSION, Stage.SHADOW_SCORES, Stage.PROMOTION]


def family(policy: MonitoredModel, settings: Settings) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """All training assets of one model."""
    base = settings.models
    own: list[dg.AssetsDefinition | dg.AssetSpec] = [
        trigger.build_decision(policy),
        training_set.build_training_set(policy, base),
        candidate.build_candidate(policy),
        gates.build_candidate_evaluation(policy, base),
        rollout.build_model_version(policy),
        shadow.build_shadow_scores(policy),
        approval.build_promotion(policy),
    ]
    if policy.task is Task.FORECAST:
        return [*own, issuing.build_issued_forecasts(policy, base)]
    own.append(replay_job.build_replay(policy))
    return [*own, scoring.build_scored_batch(policy, base)] if policy.log.is_scored_here else own


def _check_errors(declaration: Declaration) -> None:
    """Refuse an error threshold on a metric of which more is better."""
    policy = declaration.policy
    for path, condition in policy.retrain.when.walk(("retrain", "when")):
        metric = (condition.error.metric or policy.metrics[0]) if condition.error else None
        if metric is not None and sign_of(policy.task, metric) > 0:
            raise declaration.error((*path, "error"), metric, "an error such as mse; use decay for a metric of which more is better")


def _check_candidates(declaration: Declaration) -> None:
    """Refuse models that no recipe of forecasters knows, and what the specification of a forecaster does not allow."""
    policy = declaration.policy
    if policy.forecast is None:
        return
    names = policy.forecast.candidates
    require_known([declaration], lambda _: {("forecast", "candidates", i): name for i, name in enumerate(names)}, known_models())
    try:
        check_spec(policy)
    except ValueError as error:
        said = "; ".join(str(one["msg"]) for one in error.errors()) if hasattr(error, "errors") else str(error)
        raise declaration.error(("forecast",), names, said) from error


def build_defs(
    settings: Settings | None = None, resource_overrides: Mapping[str, object] | None = None, *, is_paced: bool = True
) -> dg.Definitions:
    """Definitions of the training location.

    Args:
        settings: folders; those of the environment if absent.
        resource_overrides: resources to use instead of the default ones.
        is_paced: whether replayed logs keep their declared pace.

    Raises:
        DeclarationError: for any declaration that cannot be used.
    """
    settings = settings or Settings.from_environment()
    declarations = load_catalogue(settings.models)
    for declaration in declarations:
        task = declaration.policy.task
        able = [name for name, recipe in RECIPES.items() if task in recipe.tasks]
        require_known([declaration], lambda policy: {("retrain", "recipe"): policy.retrain.recipe}, able)
        _check_candidates(declaration)
        _check_errors(declaration)
    policies = [declaration.policy for declaration in declarations]
    served = [policy for policy in policies if policy.log.is_scored_here]
    retrain = [
        asset_job(
            policy,
            "retrain",
            _RETRAIN,
            "Train, prove, register and promote, or reject.",
            {"dagster/priority": "10"},
        )
        for policy in policies
    ]
    score = [
        asset_job(policy, "score", [Stage.SCORED_BATCH], "The champion scores a chunk.", {TAG_LANE: policy.model}) for policy in served
    ]
    return dg.Definitions(
        assets=[*(asset for policy in policies for asset in family(policy, settings)), governance.build_lineage(policies)],
        jobs=[
            *retrain,
            *score,
            *(
                build(policy)
                for policy in policies
                for build in (rollout.build_rollback_job, trigger.build_override_job, approval.build_approval_job)
            ),
            *(replay_job.build_replay_job(policy, settings.models) for policy in policies if policy.task is not Task.FORECAST),
            *(answering.build_predict_job(policy, settings.models) for policy in policies),
            governance.lineage_job(),
        ],
        schedules=[*(scoring.build_score_schedule(policy) for policy in served), governance.build_lineage_schedule()],
        sensors=[
            trigger.build_trigger(policies, retrain),
            *([scoring.build_replay_clock(served, score, is_paced=is_paced)] if served else []),
        ],
        resources={
            "lake": settings.lake,
            "registry": settings.registry,
            **(resource_overrides or {}),
        },
        executor=dg.in_process_executor,
    )


defs = build_defs()
