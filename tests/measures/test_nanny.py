"""Performance by NannyML behind one face: its own numbers, its own limits, chunk by chunk, from the reference alone."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn import metrics as sklearn_metrics

from monitoring_assets.measures.lines import COLUMNS
from monitoring_assets.measures.nanny import COMPONENTS, Fitted, LimitPair, fit, measure
from monitoring_assets.measures.registry import metric_names
from resources.policy import MonitoredModel
from resources.vocabulary import Kind, Task

KEYS = ["chunk", "method", "subject"]
NUMBERS = ["value", "standard_error", "lower_limit", "upper_limit"]
TASKS = ["binary_classification", "multiclass_classification", "regression"]
CLASSES = ["ebb", "flood", "slack"]
PROBABILITIES = ["y_pred_proba_0", "y_pred_proba_1", "y_pred_proba_2"]
KINDS = dict(zip(COMPONENTS, [Kind.ESTIMATED_PERFORMANCE, Kind.REALIZED_PERFORMANCE], strict=True))

pytestmark = pytest.mark.xdist_group("nanny")  # fits are shared within one worker
every_task = pytest.mark.parametrize("task", TASKS)
every_component = pytest.mark.parametrize("component", COMPONENTS)


@cache
def policy_of(task: str, std: float = 3.0, metrics: tuple[str, ...] = (), **performance: object) -> MonitoredModel:
    return MonitoredModel.model_validate(
        {
            "model": "demo", "task": task, "log": {"csv": "log.csv", "time": "at", "id": "row_id"}, "outcome": {"column": "y", "classes": CLASSES if task == "multiclass_classification" else []},
            "features": {"numeric": ["x1", "x2", "x3"], "categorical": ["kind"] if task == "binary_classification" else []},
            "reference": {"start": "2024-01-01", "end": "2024-01-13"},
            "performance": {"limit": {"std": std}, "metrics": list(metrics), **performance},
        }
    )  # fmt: skip


@cache
def rows_of(task: str, seed: int, start: str, days: int, per_day: int = 150) -> pd.DataFrame:
    """Rows of a world in which ``x1`` and ``kind`` tell the outcome and ``x2`` moves with ``x1``."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    x1 = rng.normal(size=n)
    kind = rng.choice(["blue", "green", "red"], n, p=[0.5, 0.3, 0.2])
    frame = pd.DataFrame(
        {
            "time": pd.date_range(start, periods=n, freq=pd.Timedelta(days=1) / per_day, tz="UTC"),
            "x1": x1, "x2": x1 + rng.normal(0, 0.1, n), "x3": rng.normal(size=n), "kind": kind,
        }
    )  # fmt: skip
    if task == "regression":
        return frame.assign(y_pred=2 * x1, y_true=2 * x1 + rng.normal(0, 0.2 + 0.8 * (x1 > 1), n))
    if task == "multiclass_classification":
        matrix = softmax(np.stack([2 * x1, -2 * x1, 1.0 * (kind == "red")], axis=1), axis=1)
        drawn = (matrix.cumsum(axis=1) < rng.uniform(size=(n, 1))).sum(axis=1)
        return frame.assign(**dict(zip(PROBABILITIES, matrix.T, strict=True)), y_pred=matrix.argmax(axis=1) * 1.0, y_true=drawn * 1.0)
    probability = 1 / (1 + np.exp(-(2 * x1 + (kind == "red"))))
    return frame.assign(
        y_pred_proba=probability, y_pred=(probability > 0.5).astype(float), y_true=(rng.uniform(size=n) < probability).astype(float)
    )


def reference(task: str) -> pd.DataFrame:
    return rows_of(task, 0, "2024-01-01", 12)


def production(task: str) -> pd.DataFrame:
    return rows_of(task, 1, "2024-02-01", 3)


@cache
def fitted_of(task: str, component: str, std: float = 3.0) -> Fitted:
    return fit(component, policy_of(task, std), reference(task))


def measured(task: str, component: str, rows: pd.DataFrame) -> pd.DataFrame:
    return measure(fitted_of(task, component), policy_of(task), rows)


def assert_same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    one, other = (frame.sort_values(KEYS).reset_index(drop=True) for frame in (one, other))
    pd.testing.assert_frame_equal(one, other, rtol=1e-9, atol=1e-12)


@every_task
@every_component
def test_a_measurement_has_chunk_number_size_and_limits(task: str, component: str):
    frame = measured(task, component, production(task))
    assert list(frame.columns) == COLUMNS
    assert frame["is_deciding"].all()
    assert sorted(frame["chunk"].unique()) == ["2024-02-01", "2024-02-02", "2024-02-03"]
    assert set(frame["kind"]) == {str(KINDS[component])}
    assert set(frame["n_rows"]) == {150}
    assert frame["value"].notna().all()
    assert not frame.duplicated(KEYS).any()


@every_task
def test_every_declared_metric_is_measured(task: str):
    policy = policy_of(task)
    for component, method in (("estimated", policy.estimator), ("realized", "realized")):
        frame = measured(task, component, production(task))
        assert set(zip(frame["method"], frame["subject"], strict=True)) == {(method, metric) for metric in policy.metrics}


@every_task
@every_component
def test_a_chunk_alone_gives_the_same_numbers_as_the_whole_history(task: str, component: str):
    rows = production(task)
    alone = [measured(task, component, own.reset_index(drop=True)) for _, own in rows.groupby(rows["time"].dt.date)]
    assert len(alone) == 3
    assert_same(pd.concat(alone), measured(task, component, rows))


@every_task
@every_component
def test_measuring_twice_gives_the_same_numbers(task: str, component: str):
    first = measured(task, component, production(task))
    measured(task, component, rows_of(task, 9, "2024-03-01", 1))
    assert_same(first, measured(task, component, production(task)))


@every_task
@every_component
def test_the_order_of_rows_does_not_matter(task: str, component: str):
    shuffled = production(task).sample(frac=1, random_state=0)
    assert_same(measured(task, component, shuffled), measured(task, component, production(task)))


def nannyml_directly(task: str, component: str):
    """The same question put to NannyML without the project in between."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nannyml as nml

        policy = policy_of(task)
        features = policy.features.all
        common = {"timestamp_column_name": "time", "chunk_period": "D"}
        scores = {"y_true": "y_true", "y_pred": "y_pred", "metrics": policy.metrics}
        is_binary, is_several = task == "binary_classification", task == "multiclass_classification"
        by_class = {"problem_type": "classification_multiclass", "y_pred_proba": dict(zip(CLASSES, PROBABILITIES, strict=True))}
        if component == "estimated" and is_several:
            calculator = nml.CBPE(**by_class, **scores, **common)
        elif component == "estimated" and is_binary:
            calculator = nml.CBPE(y_pred_proba="y_pred_proba", problem_type="classification_binary", **scores, **common)
        elif component == "estimated":
            calculator = nml.DLE(feature_column_names=features, **scores, **common)
        else:
            kind = (
                {"problem_type": "classification_binary", "y_pred_proba": "y_pred_proba"} if is_binary else {"problem_type": "regression"}
            )
            calculator = nml.PerformanceCalculator(**(by_class if is_several else kind), **scores, **common)
        naive = [frame.assign(time=frame["time"].dt.tz_localize(None)) for frame in (reference(task), production(task))]
        if is_binary:
            naive = [frame.astype({"y_true": int, "y_pred": int}) for frame in naive]
        if is_several:  # with the names of the classes
            named = {name: lambda frame, name=name: np.array(CLASSES)[frame[name].astype(int)] for name in ("y_true", "y_pred")}
            naive = [frame.assign(**named) for frame in naive]
        calculator.fit(naive[0])
        run = calculator.estimate if component == "estimated" else calculator.calculate
        result = run(naive[1]).to_df()
    period = next(column for column in result.columns if column[0] == "chunk" and column[-1] == "period")
    return result[result[period] == "analysis"].sort_index(axis=1)


@every_task
@every_component
def test_values_and_limits_are_those_of_nannyml(task: str, component: str):
    result = nannyml_directly(task, component)
    frame = measured(task, component, production(task))
    compared = 0
    for subject, own in frame.groupby("subject"):
        direct = result[subject]
        np.testing.assert_allclose(own["value"], direct["value"].astype(float), rtol=1e-9)
        for limit, threshold in (("lower_limit", "lower_threshold"), ("upper_limit", "upper_threshold")):
            np.testing.assert_allclose(own[limit], direct[threshold].astype(float), rtol=1e-9)
        assert own["breach"].tolist() == direct["alert"].astype(bool).tolist()
        if "sampling_error" in direct:
            np.testing.assert_allclose(own["standard_error"], direct["sampling_error"].astype(float), rtol=1e-9)
        compared += 1
    assert compared == len(frame) / 3


@every_component
def test_a_narrower_declared_limit_narrows_every_fitted_limit(component: str):
    wide, narrow = (fitted_of("binary_classification", component, std).limits for std in (3.0, 1.0))
    assert wide.keys() == narrow.keys()
    for key in wide:
        assert narrow[key].upper is None or wide[key].upper is None or narrow[key].upper < wide[key].upper


def test_the_estimate_may_have_a_limit_of_its_own():
    policy = policy_of("regression").model_copy(
        update={"performance": policy_of("regression").performance.model_validate({"estimated_limit": {"std": 1.0}})}
    )
    own, common = fit("estimated", policy, reference("regression")), fitted_of("regression", "estimated")
    assert own.limits["dle", "mae"].upper < common.limits["dle", "mae"].upper
    realized = fit("realized", policy, reference("regression"))
    assert realized.limits == fitted_of("regression", "realized").limits


def unlearned(rows: pd.DataFrame) -> pd.DataFrame:
    """Outcomes no longer follow from the inputs."""
    return rows.assign(y_true=rows["y_true"].sample(frac=1, random_state=0).to_numpy())


@every_task
def test_a_chunk_whose_outcomes_do_not_follow_breaches(task: str):
    frame = measured(task, "realized", unlearned(production(task)))
    assert frame.loc[frame["subject"] == policy_of(task).metrics[0], "breach"].all()


@every_task
def test_null_twin_the_same_chunk_with_its_own_outcomes_does_not_breach(task: str):
    frame = measured(task, "realized", production(task))
    assert not frame.loc[frame["subject"] == policy_of(task).metrics[0], "breach"].any()


def harder(task: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Inputs move to where the model is less sure."""
    if task == "regression":
        return rows.assign(x1=rows["x1"].abs() + 1.5)
    if task == "multiclass_classification":
        return rows.assign(**{name: 1 / 3 + (rows[name] - 1 / 3) * 0.2 for name in PROBABILITIES})
    near_even = 0.5 + (rows["y_pred_proba"] - 0.5) * 0.2
    return rows.assign(y_pred_proba=near_even)


@every_task
def test_the_estimate_breaches_where_inputs_move_to_hard_places(task: str):
    frame = measured(task, "estimated", harder(task, production(task)).drop(columns="y_true"))
    assert frame.loc[frame["subject"] == policy_of(task).metrics[1], "breach"].all()


@every_task
def test_null_twin_the_estimate_of_unmoved_inputs_does_not_breach(task: str):
    frame = measured(task, "estimated", production(task).drop(columns="y_true"))
    assert not frame["breach"].any()


@every_component
def test_missing_inputs_drop_no_chunk(component: str):
    rows = production("binary_classification").copy()
    rows.loc[::10, "x3"] = np.nan
    rows.loc[::15, "kind"] = None
    frame = measured("binary_classification", component, rows)
    assert frame["chunk"].nunique() == 3
    assert set(frame["n_rows"]) == {150}
    assert frame["value"].notna().all()


@every_task
def test_times_of_another_zone_are_measured_in_utc_chunks(task: str):
    moved = production(task).assign(time=production(task)["time"].dt.tz_convert("America/New_York"))
    assert_same(measured(task, "realized", moved), measured(task, "realized", production(task)))


def test_outcomes_of_one_class_give_no_roc_auc_and_no_breach():
    rows = production("binary_classification").assign(y_true=1.0)
    frame = measured("binary_classification", "realized", rows)
    own = frame[frame["subject"] == "roc_auc"]
    assert own["value"].isna().all()
    assert not own["breach"].any()


def test_outcomes_without_one_of_the_classes_give_no_roc_auc_and_no_breach_but_an_accuracy():
    rows = production("multiclass_classification")
    frame = measured("multiclass_classification", "realized", rows[rows["y_true"] < 2])
    own = frame[frame["subject"] == "roc_auc"]
    assert own["value"].isna().all()
    assert not own["breach"].any()
    assert frame.loc[frame["subject"] == "accuracy", "value"].notna().all()


def each_chunk(rows: pd.DataFrame) -> list[pd.DataFrame]:
    return [own for _, own in rows.groupby(rows["time"].dt.date)]


MACRO = {"average": "macro", "labels": [0, 1, 2]}
OF_CLASSES = {
    "roc_auc": lambda rows: sklearn_metrics.roc_auc_score(rows["y_true"], rows[PROBABILITIES], multi_class="ovr", **MACRO),
    "accuracy": lambda rows: sklearn_metrics.accuracy_score(rows["y_true"], rows["y_pred"]),
    "f1": lambda rows: sklearn_metrics.f1_score(rows["y_true"], rows["y_pred"], **MACRO),
    "precision": lambda rows: sklearn_metrics.precision_score(rows["y_true"], rows["y_pred"], **MACRO),
    "recall": lambda rows: sklearn_metrics.recall_score(rows["y_true"], rows["y_pred"], **MACRO),
    "specificity": lambda rows: np.mean([sklearn_metrics.recall_score(rows["y_true"] != own, rows["y_pred"] != own) for own in range(3)]),
}


def test_every_metric_of_several_classes_equals_scikit_learn():
    task = "multiclass_classification"
    assert list(OF_CLASSES) == metric_names(Task(task))
    policy = policy_of(task, metrics=tuple(OF_CLASSES))
    frame = measure(fit("realized", policy, reference(task)), policy, production(task))
    for metric, function in OF_CLASSES.items():
        expected = [function(own) for own in each_chunk(production(task))]
        np.testing.assert_allclose(frame.loc[frame["subject"] == metric, "value"], expected, rtol=0, atol=1e-12, err_msg=metric)
    estimated = measure(fit("estimated", policy, reference(task)), policy, production(task))
    assert set(estimated["subject"]) == set(OF_CLASSES)
    for metric in OF_CLASSES:  # the model states the truth
        own = estimated["subject"] == metric
        np.testing.assert_allclose(estimated.loc[own, "value"], frame.loc[frame["subject"] == metric, "value"], atol=0.1)


def test_on_the_data_nannyml_ships_the_estimate_equals_its_own_and_sees_the_fall_that_happened():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nannyml as nml

        shipped = nml.load_synthetic_multiclass_classification_dataset()
        names = sorted(shipped[0]["y_true"].unique())
        head = [frame.iloc[::6].rename(columns={"timestamp": "time"}) for frame in (shipped[0], shipped[1].merge(shipped[2], on="id"))]
        columns = {name: f"y_pred_proba_{name}" for name in names}
        common = {
            "y_true": "y_true",
            "y_pred": "y_pred",
            "metrics": ["roc_auc", "f1"],
            "timestamp_column_name": "time",
            "chunk_period": "M",
        }
        direct = nml.CBPE(y_pred_proba=columns, problem_type="classification_multiclass", **common).fit(head[0])
        direct = direct.estimate(head[1].drop(columns="y_true")).filter(period="analysis").to_df()
    policy = policy_of("multiclass_classification").model_copy(update={"chunk": "1mo"})
    policy = policy.model_copy(update={"performance": policy.performance.model_copy(update={"metrics": ["roc_auc", "f1"]})})
    placed = []
    for frame in head:
        own = frame.assign(time=pd.to_datetime(frame["time"]).dt.tz_localize("UTC"), x1=0.0, x2=0.0, x3=0.0)
        own = own.assign(**{f"y_pred_proba_{place}": frame[columns[name]] for place, name in enumerate(names)})
        placed.append(own.assign(**{name: frame[name].map(names.index).astype(float) for name in ("y_true", "y_pred")}))
    estimated = measure(fit("estimated", policy, placed[0]), policy, placed[1].drop(columns="y_true"))
    realized = measure(fit("realized", policy, placed[0]), policy, placed[1])
    for metric, within in (("roc_auc", 0.02), ("f1", 0.04)):
        own, happened = (frame.loc[frame["subject"] == metric, "value"].to_numpy() for frame in (estimated, realized))
        assert len(own) >= 5
        np.testing.assert_allclose(own, direct[metric, "value"].astype(float), rtol=1e-9)
        np.testing.assert_allclose(own[:2], happened[:2], atol=within)
        for values in (own, happened):  # both see the fall from the third month on
            assert (values[2:] < values[:2].min() - 0.05).all()
        assert estimated.loc[estimated["subject"] == metric, "breach"].tolist() == direct[metric, "alert"].astype(bool).tolist()


def test_cells_are_shares_of_the_rows_and_the_business_value_is_that_of_a_mean_row():
    task, cells = "binary_classification", ("true_negative", "false_positive", "false_negative", "true_positive")
    values = ((1.0, -2.0), (-30.0, 4.0))
    policy = policy_of(task, metrics=("roc_auc", *cells, "business_value"), business_value=values)
    rows = production(task)
    rows = rows[(rows["time"] < "2024-02-03") | (rows.index % 3 == 0)]  # the last chunk is a third as large
    limits = {}
    for component in COMPONENTS:
        fitted = fit(component, policy, reference(task))
        frame = measure(fitted, policy, rows).pivot(index="chunk", columns="subject", values="value")
        assert set(frame.columns) == {"roc_auc", *cells, "business_value"}
        np.testing.assert_allclose(frame[list(cells)].sum(axis=1), 1, atol=1e-12)
        worth = frame[list(cells)].to_numpy() @ np.ravel(values)
        np.testing.assert_allclose(frame["business_value"], worth, rtol=1e-9)
        limits[component] = fitted.limits[policy.estimator if component == "estimated" else "realized", "business_value"]
        if component == "realized":
            shares = [sklearn_metrics.confusion_matrix(own["y_true"], own["y_pred"], normalize="all").ravel() for own in each_chunk(rows)]
            np.testing.assert_allclose(frame[list(cells)], shares, atol=1e-12)
    days = each_chunk(reference(task))
    of_days = [np.array(values)[own["y_true"].astype(int), own["y_pred"].astype(int)].mean() for own in days]
    for pair in limits.values():  # NannyML's rule, on what happened
        assert pair.lower == pytest.approx(np.mean(of_days) - 3 * np.std(of_days))
        assert pair.upper == pytest.approx(np.mean(of_days) + 3 * np.std(of_days))
    assert limits["realized"].standard_error == pytest.approx(
        np.median(
            np.std(np.concatenate([np.array(values)[own["y_true"].astype(int), own["y_pred"].astype(int)] for own in days])) / np.sqrt(150)
        )
    )


def test_what_a_fit_says_about_its_reference():
    fitted = fitted_of("regression", "realized")
    assert (fitted.component, fitted.n_rows, fitted.n_chunks) == ("realized", 1800, 12)
    assert set(fitted.limits) == {("realized", "mae"), ("realized", "rmse")}


def test_neither_fitting_nor_measuring_changes_the_rows_given():
    rows = rows_of("binary_classification", 5, "2024-01-01", 12).copy()
    before = rows.copy()
    measure(fit("realized", policy_of("binary_classification"), rows), policy_of("binary_classification"), rows)
    pd.testing.assert_frame_equal(rows, before)


@pytest.mark.parametrize(
    ("lower", "upper", "value", "is_breached"),
    [
        (0.0, 1.0, 0.5, False), (0.0, 1.0, 0.0, False), (0.0, 1.0, 1.0, False), (0.0, 1.0, -0.1, True), (0.0, 1.0, 1.1, True),
        (None, 1.0, -9.0, False), (0.0, None, 9.0, False), (None, None, 9.0, False), (0.0, 1.0, float("nan"), False),
    ],
)  # fmt: skip
def test_a_limit_is_breached_only_outside(lower, upper, value: float, is_breached: bool):
    assert LimitPair(lower, upper).is_breached_by(value) is is_breached
