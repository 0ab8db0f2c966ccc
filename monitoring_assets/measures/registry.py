"""Names of methods and metrics that a declaration may use, and what each number means.

Belongs here: one entry per method with formula, range, direction, NaN rule and source. Does not: computing.
"""

from dataclasses import dataclass

from resources.vocabulary import Task

#: Columns of every measured number, before its stage and time are added.
COLUMNS = ["chunk", "kind", "method", "subject", "value", "standard_error", "n_rows", "lower_limit", "upper_limit", "breach"]


@dataclass(frozen=True)
class Method:
    """A drift method: 0 means identical to the reference, larger means further away, NaN means not computable."""

    name: str
    meaning: str
    upper_bound: float | None


@dataclass(frozen=True)
class Metric:
    """A performance metric of one task; ``sign`` is +1 where larger is better and -1 where smaller is."""

    name: str
    task: Task
    sign: int
    meaning: str


NUMERIC = {
    method.name: method
    for method in (
        Method("kolmogorov_smirnov", "Largest distance of the two empirical distribution functions (scipy.stats.ks_2samp).", 1.0),
        Method(
            "wasserstein", "Area between the two distribution functions, in the feature's unit (scipy.stats.wasserstein_distance).", None
        ),
        Method("jensen_shannon", "Square root of the base-2 Jensen-Shannon divergence over reference bins.", 1.0),
        Method("hellinger", "Hellinger distance over reference bins.", 1.0),
    )
}
CATEGORICAL = {
    method.name: method
    for method in (
        Method("chi2", "Chi-squared statistic of the two-row contingency table (scipy.stats.chi2_contingency).", None),
        Method("jensen_shannon", "Square root of the base-2 Jensen-Shannon divergence of category shares.", 1.0),
        Method("l_infinity", "Largest difference of any category's share.", 1.0),
        Method("hellinger", "Hellinger distance of category shares.", 1.0),
    )
}
MULTIVARIATE = {
    method.name: method
    for method in (Method("pca_reconstruction", "Mean error of rebuilding a row from the reference's principal components.", None),)
}
METRICS = {
    (metric.task, metric.name): metric
    for metric in (
        Metric("roc_auc", Task.BINARY_CLASSIFICATION, +1, "Chance that a random positive scores above a random negative."),
        Metric("average_precision", Task.BINARY_CLASSIFICATION, +1, "Mean precision over recall steps."),
        Metric("accuracy", Task.BINARY_CLASSIFICATION, +1, "Share of right predictions."),
        Metric("f1", Task.BINARY_CLASSIFICATION, +1, "Harmonic mean of precision and recall."),
        Metric("precision", Task.BINARY_CLASSIFICATION, +1, "Share of predicted positives that are positive."),
        Metric("recall", Task.BINARY_CLASSIFICATION, +1, "Share of positives that were predicted."),
        Metric("specificity", Task.BINARY_CLASSIFICATION, +1, "Share of negatives that were predicted."),
        Metric("mae", Task.REGRESSION, -1, "Mean absolute error, in the outcome's unit."),
        Metric("mse", Task.REGRESSION, -1, "Mean squared error, in the outcome's squared unit."),
        Metric("rmse", Task.REGRESSION, -1, "Root of the mean squared error, in the outcome's unit."),
        Metric("mape", Task.REGRESSION, -1, "Mean absolute error as a share of the outcome."),
    )
}
ESTIMATORS = {"cbpe": Task.BINARY_CLASSIFICATION, "dle": Task.REGRESSION}


def metric_names(task: Task) -> list[str]:
    """Metrics that exist for ``task``."""
    return [name for own, name in METRICS if own is task]


def sign_of(task: Task, metric: str) -> int:
    """+1 where a larger value is better, -1 where a smaller one is."""
    return METRICS[task, metric].sign
