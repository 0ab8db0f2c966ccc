"""Code location 1: each declared model becomes its family of assets, checks, jobs, schedules; nothing else."""

from collections.abc import Mapping
from functools import partial

import dagster as dg

from monitoring_assets import (
    diagnosis,
    drift,
    forecast_performance,
    incidents,
    maintenance,
    performance,
    production_log,
    realized_performance,
    reference,
    report,
    self_watch,
    validation,
    verdict,
)
from monitoring_assets.arrivals import build_arrivals_sensor, build_outcomes_schedule, build_promotions_sensor, build_schedule
from monitoring_assets.health.platform_health import build_health_schedule, build_platform_health, health_job
from monitoring_assets.jobs import monitor_job, outcomes_job, reference_job
from monitoring_assets.measures.registry import CATEGORICAL, DETECTORS, ESTIMATORS, MULTIVARIATE, NUMERIC, Method, metric_names
from resources.catalogue import Declaration, FieldPath, load_catalogue, require_known
from resources.notification_rules import load_rules
from resources.notifiers import Notifier
from resources.policy import DriftLimit, MonitoredModel
from resources.settings import Settings
from resources.vocabulary import Task


def _drift_methods(section: str, policy: MonitoredModel) -> dict[FieldPath, str]:
    return {("drift", section, index): name for index, name in enumerate(getattr(policy.drift, section))}


def check_names(declarations: list[Declaration]) -> None:
    """Refuse method and metric names that no registry knows, with file, line and the known names."""
    methods = {"numeric": NUMERIC, "categorical": CATEGORICAL, "multivariate": MULTIVARIATE}
    for section, registry in methods.items():
        require_known(declarations, partial(_drift_methods, section), registry)
    for declaration in declarations:
        _check_drift_limit(declaration)
        task = declaration.policy.task
        require_known(
            [declaration], lambda policy: {("performance", "metrics", i): name for i, name in enumerate(policy.metrics)}, metric_names(task)
        )
        require_known(
            [declaration],
            lambda policy: {("performance", "detectors", i): name for i, name in enumerate(policy.performance.detectors)},
            DETECTORS,
        )
        if task is not Task.FORECAST:
            require_known(
                [declaration],
                lambda policy: {("performance", "estimator"): policy.estimator},
                [name for name, tasks in ESTIMATORS.items() if task in tasks],
            )


def _has_p_value(limit: DriftLimit, method: Method) -> bool:
    """Whether a method has a p-value of its own that allows for autocorrelation as declared."""
    return method.has_p_value and (limit.autocorrelation == "ignored" or method.name not in MULTIVARIATE)


def _check_drift_limit(declaration: Declaration) -> None:
    """Refuse a limit that could never be broken by a declared method."""
    policy, limit = declaration.policy, declaration.policy.drift.limit
    sections = {"numeric": (NUMERIC, bool(policy.features.numeric)), "categorical": (CATEGORICAL, bool(policy.features.categorical))}
    sections["multivariate"] = (MULTIVARIATE, len(policy.features.all) > 1)
    used = {
        (section, index): (registry[name], name)
        for section, (registry, has_features) in sections.items()
        if has_features
        for index, name in enumerate(getattr(policy.drift, section))
    }
    for (section, index), (method, name) in used.items():
        field: FieldPath = ("drift", section, index)
        if limit.rule == "p_value" and limit.autocorrelation != "block_permutation" and not _has_p_value(limit, method):
            able = sorted(one.name for one in sections[section][0].values() if _has_p_value(limit, one))
            raise declaration.error(
                field, name, f"a method with a p-value of its own ({', '.join(able) or 'none of these'}), none at all ({section}: []), "
                "or limit.autocorrelation: block_permutation, which gives every method one",
            )  # fmt: skip
        if limit.rule == "constant" and name not in limit.values:
            raise declaration.error(field, name, f"an upper limit for it in drift.limit.values, which has {sorted(limit.values)}")
    names = sorted({name for _, name in used.values()})
    for path, given in ((("drift", "limit", "values"), limit.values), (("drift", "minimum_effect"), policy.drift.minimum_effect)):
        for name in given:
            if name not in names:
                raise declaration.error((*path, name), name, f"a declared method: {', '.join(names)}")


def family(policy: MonitoredModel, settings: Settings) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """All monitoring assets of one model."""
    base = settings.models
    kpi = [self_watch.build_business_kpi(policy, base)] if policy.kpi else []
    if policy.task is Task.FORECAST:
        measured = [*kpi, forecast_performance.build_forecast_performance(policy, base)]
    else:
        measured = [
            performance.build_estimated_performance(policy, base),
            self_watch.build_model_uncertainty(policy, base),
            *kpi,
            realized_performance.build_realized_performance(policy, base),
            diagnosis.build_diagnosis(policy, base),
        ]
    return [
        production_log.build_log_source(policy),
        production_log.build_prediction_log(policy, base),
        production_log.build_outcomes(policy, base),
        reference.build_reference_window(policy, base),
        reference.build_reference_profile(policy, base),
        validation.build_production_window(policy),
        validation.build_data_quality(policy, base),
        drift.build_drift_report(policy, base),
        *measured,
        verdict.build_verdict(policy),
        report.build_report(policy, settings),
    ]


def build_defs(settings: Settings | None = None, resource_overrides: Mapping[str, object] | None = None) -> dg.Definitions:
    """Definitions of the monitoring location.

    Args:
        settings: folders; those of the environment if absent.
        resource_overrides: resources to use instead of the default ones.

    Raises:
        DeclarationError: for any declaration that cannot be used.
    """
    settings = settings or Settings.from_environment()
    declarations = load_catalogue(settings.models)
    check_names(declarations)
    policies = [declaration.policy for declaration in declarations]
    rules = load_rules(settings.notifications, policies)
    looking = [job for policy in policies for job in (monitor_job(policy), outcomes_job(policy))]
    fitting = [reference_job(policy) for policy in policies]
    return dg.Definitions(
        assets=[
            *(asset for policy in policies for asset in family(policy, settings)),
            maintenance.build_compaction(policies),
            build_platform_health(policies, settings.models),
            *incidents.build_incident_assets(),
        ],
        asset_checks=[incidents.build_delivery_check(policies, rules)],
        jobs=[*looking, *fitting, health_job(), *incidents.build_incident_jobs(policies)],
        schedules=[
            *(schedule for policy in policies for schedule in (build_schedule(policy), build_outcomes_schedule(policy, settings.models))),
            maintenance.build_compaction_schedule(),
            build_health_schedule(),
        ],
        sensors=[
            build_arrivals_sensor(policies, looking, settings.models),
            build_promotions_sensor(policies, fitting),
            incidents.build_incident_notifier(policies, rules),
        ],
        resources={"lake": settings.lake, "notifier": Notifier(), **(resource_overrides or {})},
        executor=dg.in_process_executor,
    )


defs = build_defs()
