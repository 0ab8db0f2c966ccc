"""Names of methods and metrics that a declaration may use, and what each number means.

Belongs here: one entry per method with formula, range, direction, NaN rule and source. Does not: computing.
"""

from dataclasses import dataclass

from resources.vocabulary import Task


@dataclass(frozen=True)
class Method:
    """A drift method. Larger means further from the reference; 0 means identical unless ``neutral`` says otherwise.

    Attributes:
        name: as in the declaration.
        meaning: what is computed, in words.
        formula: the same as a formula of F (reference) and G (chunk), or of their shares r and c.
        upper_bound: largest value there is; ``None`` for none.
        unit: of the value.
        missing: what becomes of missing values.
        source: paper or library.
        power: exponent under which its values are near normal without drift.
        neutral: value of a chunk that is like the reference.
        is_two_sided: whether a value can also be too small.
        has_p_value: whether it has a p-value of its own.
    """

    name: str
    meaning: str
    formula: str
    upper_bound: float | None
    unit: str
    missing: str
    source: str
    power: float = 0.5
    neutral: float = 0.0
    is_two_sided: bool = False
    has_p_value: bool = False


@dataclass(frozen=True)
class Metric:
    """A performance metric of one task; ``sign`` is +1 where larger is better and -1 where smaller is."""

    name: str
    task: Task
    sign: int
    meaning: str


_LEFT_OUT = "left out; NaN where a side has no finite value"
_NO_CATEGORY = "left out; NaN where a side has no category"
_NANNYML = "NannyML, scipy.spatial.distance.jensenshannon"


def _by_name(*methods: Method) -> dict[str, Method]:
    return {method.name: method for method in methods}


_SHARED = {
    "jensen_shannon": ("Square root of the Jensen-Shannon divergence of shares", "sqrt((KL(r|m) + KL(c|m)) / 2), m = (r + c) / 2, base 2", 1.0, _NANNYML, 1 / 4),
    "hellinger": ("Hellinger distance of shares", "sqrt(sum (sqrt r - sqrt c)²) / sqrt 2", 1.0, "NannyML; Hellinger (1909)", 1 / 4),
    "psi": ("Population stability index of shares, a share of zero counting as 0.0001", "sum (c - r) ln(c / r)", None, "Siddiqi (2006), Credit Risk Scorecards", 1 / 8),
    "kullback_leibler": ("Kullback-Leibler divergence of the chunk's shares from the reference's, a share of zero counting as 0.0001", "sum c ln(c / r), nats", None, "scipy.stats.entropy", 1 / 8),
    "total_variation": ("Half the summed differences of shares: the rows that would have to move", "sum |r - c| / 2", 1.0, "Levin & Peres (2017), ch. 4", 1 / 4),
    "l_infinity": ("Largest difference of any share", "max |r - c|", 1.0, "NannyML", 1 / 4),
}  # fmt: skip


def _over_shares(name: str, where: str, missing: str) -> Method:
    meaning, formula, bound, source, power = _SHARED[name]
    return Method(name, f"{meaning}; {where}.", formula, bound, "none", missing, source, power)


_MISSING_SHIFT = Method(
    "missing_shift", "How much the share of missing values moved.", "|missing share of the chunk - of the reference|", 1.0, "share of rows",
    "what is measured; infinite values count as missing", "two-sample difference of proportions",
)  # fmt: skip
NUMERIC = _by_name(
    Method(
        "kolmogorov_smirnov", "Largest distance of the two empirical distribution functions, exact at any size.", "max |F - G|", 1.0, "share of rows",
        _LEFT_OUT, "scipy.stats.ks_2samp", 1 / 4, has_p_value=True,
    ),
    Method(
        "wasserstein", "Area between the two distribution functions, exact at any size.", "integral of |F - G|", None, "the feature's unit", _LEFT_OUT,
        "scipy.stats.wasserstein_distance", 1 / 6,
    ),
    Method(
        "cramer_von_mises", "Mean squared difference of the two distribution functions over the rows of both.", "integral of (F - G)² over pooled rows",
        1.0, "none", _LEFT_OUT, "scipy.stats.cramervonmises_2samp: its statistic, without ties, is n m / (n + m) times this", 1 / 8,
    ),
    *(_over_shares(name, "shares over Doane's bins of the reference", _LEFT_OUT) for name in ("jensen_shannon", "hellinger")),
    *(_over_shares(name, "shares over deciles of the reference", _LEFT_OUT) for name in ("psi", "kullback_leibler", "total_variation", "l_infinity")),
    _MISSING_SHIFT,
)  # fmt: skip
CATEGORICAL = _by_name(
    Method(
        "chi2", "Chi-squared statistic of the two-row contingency table.", "sum (observed - expected)² / expected", None, "none", _NO_CATEGORY,
        "scipy.stats.chi2_contingency", 1 / 8, has_p_value=True,
    ),
    *(_over_shares(name, "shares of categories", _NO_CATEGORY) for name in _SHARED),
    Method(
        "unseen_share", "Share of rows in categories the reference never had.", "sum of c where r = 0", 1.0, "share of rows", _NO_CATEGORY,
        "NannyML's UnseenValuesCalculator, without missing values",
    ),
    _MISSING_SHIFT,
)  # fmt: skip
_FILLED = "numbers: the reference's mean; categories: the most frequent one"
MULTIVARIATE = _by_name(
    Method(
        "pca_reconstruction", "Mean error of rebuilding a row from the reference's principal components.", "mean |x - decoded(encoded x)|", None,
        "standard deviations", _FILLED, "NannyML's DataReconstructionDriftCalculator", 1.0, float("nan"), is_two_sided=True,
    ),
    Method(
        "domain_classifier", "How well a classifier tells the chunk's rows from the reference's, cross-validated.", "area under its ROC curve", 1.0, "none",
        "left to the classifier", "NannyML's DomainClassifierCalculator", 1.0, 0.5, has_p_value=True,
    ),
    Method(
        "mmd", "Maximum mean discrepancy with a Gaussian kernel: sees changes of any kind, correlations included.", "|mean of k in the reference - in the chunk|", None,
        "none", _FILLED, "Gretton et al. (2012), A kernel two-sample test", 0.5, has_p_value=True,
    ),
    Method(
        "correlation_shift", "Largest change of the rank correlation of any two numeric features.", "max |Spearman's rho of the chunk - of the reference|", 2.0,
        "none", "left out pair by pair", "scipy.stats.spearmanr", 0.5,
    ),
)  # fmt: skip
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
        Metric("true_positive", Task.BINARY_CLASSIFICATION, +1, "Share of all rows that are positive and predicted so."),
        Metric("true_negative", Task.BINARY_CLASSIFICATION, +1, "Share of all rows that are negative and predicted so."),
        Metric("false_positive", Task.BINARY_CLASSIFICATION, -1, "Share of all rows that are negative and predicted positive."),
        Metric("false_negative", Task.BINARY_CLASSIFICATION, -1, "Share of all rows that are positive and predicted negative."),
        Metric("business_value", Task.BINARY_CLASSIFICATION, +1, "Mean declared value of a row, in the declaration's unit."),
        Metric(
            "roc_auc", Task.MULTICLASS_CLASSIFICATION, +1, "Area under the ROC curve of each class against the rest; mean over classes."
        ),
        Metric("accuracy", Task.MULTICLASS_CLASSIFICATION, +1, "Share of right predictions."),
        Metric("f1", Task.MULTICLASS_CLASSIFICATION, +1, "Harmonic mean of precision and recall of each class; mean over classes."),
        Metric("precision", Task.MULTICLASS_CLASSIFICATION, +1, "Share of rows predicted as a class that are of it; mean over classes."),
        Metric("recall", Task.MULTICLASS_CLASSIFICATION, +1, "Share of rows of a class that were predicted so; mean over classes."),
        Metric(
            "specificity", Task.MULTICLASS_CLASSIFICATION, +1, "Share of rows of other classes not predicted as a class; mean over classes."
        ),
        Metric("mae", Task.REGRESSION, -1, "Mean absolute error, in the outcome's unit."),
        Metric("mse", Task.REGRESSION, -1, "Mean squared error, in the outcome's squared unit."),
        Metric("rmse", Task.REGRESSION, -1, "Root of the mean squared error, in the outcome's unit."),
        Metric("mape", Task.REGRESSION, -1, "Mean absolute error as a share of the outcome."),
        Metric(
            "mase",
            Task.FORECAST,
            -1,
            "Mean absolute error in units of its series' seasonal naive error in training (Hyndman & Koehler, 2006).",
        ),
        Metric("mae", Task.FORECAST, -1, "Mean absolute error of the forecasts served, in the outcome's unit."),
        Metric("mse", Task.FORECAST, -1, "Mean squared error of the forecasts served, in the outcome's squared unit."),
        Metric("rmse", Task.FORECAST, -1, "Root of the mean squared error of the forecasts served, in the outcome's unit."),
        Metric("smape", Task.FORECAST, -1, "Mean of |error| over |forecast| + |outcome|, in [0, 1]."),
        Metric("mape", Task.FORECAST, -1, "Mean absolute error as a share of the outcome; rows with outcome 0 are left out."),
    )
}
#: Streaming detectors over the losses of rows in time order; ``sequential.py`` calibrates and runs them.
DETECTORS = {
    "cusum": "Two-sided cumulative sum of standardised losses beyond half a standard deviation (Page, 1954).",
    "cusum_absolute": "Cumulative sum of absolute standardised losses: a change of scale (Page, 1954).",
    "page_hinkley": "Page-Hinkley test of the mean (River).",
    "adwin": "Adaptive windowing: two parts of the window differ in their mean (Bifet & Gavaldà, 2007; River).",
    "hddm_w": "Hoeffding bound on weighted means (Frías-Blanco et al., 2015; River).",
    "kswin": "Kolmogorov-Smirnov test of a sliding window against the rows before it (Raab et al., 2020; River).",
}
#: What else is measured of a chunk, by the method's name in the lake.
EVIDENCE = {
    "cbpe": "Estimate from calibrated confidence (NannyML).",
    "dle": "Estimate of each row's loss from its inputs (NannyML).",
    "m_cbpe": "Estimate from confidence calibrated on score and inputs together (Białek et al., 2024).",
    "pape": "Estimate from confidence calibrated on the reference rows that resemble the chunk (Białek et al., 2024).",
    "support_loss": "Share of rows lying where the reference has none: there an estimate extrapolates.",
    "reconciliation": "Mean of estimate minus realized over the latest labelled chunks.",
    "entropy": "Mean of -sum p ln p: how unsure the model is, in nats.",
    "margin": "Mean probability of the likeliest class minus the second.",
    "set_size": "Mean number of classes in a conformal set that holds the right one nine times in ten.",
    "set_coverage": "Share of outcomes in their conformal set.",
    "interval_coverage": "Share of outcomes in a conformal interval made to hold nine in ten.",
    "calibration_error": "Mean distance of confidence from the share that was right, over ten bins.",
    "brier": "Mean squared distance of probability from outcome.",
    "kpi": "A declared business KPI.",
    "shap_share": "Share of a feature in the summed size of SHAP values of a surrogate of the served predictions.",
    "shap_total_variation": "Half the summed changes of these shares.",
    "placebo": "Chance of so bad a metric in blocks of the reference of the same size.",
    "label_shift": "Whether outcomes are more or less frequent while predictions of equal outcomes are as before.",
    "shadow_refit": "What a model corrected on the chunk gains on rows like the reference's: more than chance means that outcomes follow differently.",
    "faulty_columns": "Columns that moved while outcomes follow from the other columns as ever: they are at fault.",
    "remapping": "Columns that carry each other's signals.",
    "unit_change": "A column in another unit.",
    "realized": "Measured on outcomes.",
    "sup_f_level": "Largest F statistic of a step in the forecast errors (Andrews, 1993): dates a structural break.",
    "sup_f_trend": "Largest F statistic of a kink in the forecast errors: dates a change of trend.",
    "known_event": "A declared event, ranked by how well it explains the onset.",
    "rule_broken_share": "Share of rows that break a declared constraint.",
    "labelled_share": "Share of rows whose outcome is known.",
}
#: Estimators of performance without outcomes, and the tasks each can be used for.
ESTIMATORS = {
    "cbpe": (Task.BINARY_CLASSIFICATION, Task.MULTICLASS_CLASSIFICATION),
    "m_cbpe": (Task.BINARY_CLASSIFICATION,),
    "pape": (Task.BINARY_CLASSIFICATION,),
    "dle": (Task.REGRESSION,),
}


def metric_names(task: Task) -> list[str]:
    """Metrics that exist for ``task``."""
    return [name for own, name in METRICS if own is task]


def sign_of(task: Task, metric: str) -> int:
    """+1 where a larger value is better, -1 where a smaller one is."""
    return METRICS[task, metric].sign


def methods_table() -> str:
    """Every drift method and detector as markdown; committed as ``docs/methods.md``."""
    sections = (("Numeric features", NUMERIC), ("Categorical features", CATEGORICAL), ("All features together", MULTIVARIATE))
    lines = [
        "# Methods",
        "",
        "Generated by `plumbline schema` from the registry. F and G are the distribution functions of reference and chunk, r and c their shares.",
        "",
    ]
    for title, methods in sections:
        lines += [
            f"## {title}",
            "",
            "| method | meaning | formula | range | unit | missing values | own p-value | source |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for one in methods.values():
            upper = "no bound" if one.upper_bound is None else f"{one.upper_bound:.3g}"
            cells = (
                f"`{one.name}`",
                one.meaning,
                one.formula,
                f"0 to {upper}",
                one.unit,
                one.missing,
                "yes" if one.has_p_value else "no",
                one.source,
            )
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    lines += ["## Evidence on performance and its causes", "", "| method | meaning |", "|---|---|"]
    lines += [*(f"| `{name}` | {meaning} |" for name, meaning in EVIDENCE.items()), ""]
    lines += ["## Detectors over the losses of rows", "", "| detector | meaning |", "|---|---|"]
    return "\n".join([*lines, *(f"| `{name}` | {meaning} |" for name, meaning in DETECTORS.items())]) + "\n"
