"""From numbers to breaches: the stated rate of false alarms is kept, faults are found, every rule does what it says."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.signal import lfilter
from test_univariate import breaches, lines_of, policy_of

from monitoring_assets import drift_profile
from monitoring_assets.measures.breaches import drift_lines, raw_alarm_share
from monitoring_assets.measures.limits import fit_null
from monitoring_assets.measures.lines import ALL, COLUMNS, REFERENCE
from monitoring_assets.measures.number import Number, refused
from monitoring_assets.measures.registry import CATEGORICAL, NUMERIC
from monitoring_assets.measures.univariate import FittedColumn, FrameRows, Measured, fit_columns

DAYS, PER_DAY = 60, 80


def series(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    if kind == "autoregressive":
        return lfilter([1.0], [1.0, -0.5], rng.normal(size=n + 300))[300:]
    if kind == "seasonal":
        return 0.5 * rng.normal(size=n) + np.sin(2 * np.pi * np.arange(n) / PER_DAY)
    if kind == "skewed":
        return rng.lognormal(size=n)
    return rng.normal(size=n)


def rows_of(kind: str, n: int, rng: np.random.Generator) -> pd.DataFrame:
    hidden = series(kind, n, rng)
    return pd.DataFrame({
        "time": pd.Timestamp("2023-01-01", tz="UTC") + pd.to_timedelta(np.arange(n) * 86_400 / PER_DAY, unit="s"),
        "x": series(kind, n, rng), "y": series(kind, n, rng), "c": np.array(["a", "b", "d"])[np.digitize(hidden, [0.0, 1.0])],
    })  # fmt: skip


@cache
def fitted_on(kind: str, seed: int, rule: str = "calibrated", autocorrelation: str = "") -> list[FittedColumn]:
    return fit_columns(policy(rule, autocorrelation), rows_of(kind, DAYS * PER_DAY, np.random.default_rng([seed, 0])), PER_DAY)


@cache
def policy(rule: str = "calibrated", autocorrelation: str = ""):
    if rule == "p_value":
        own = {"autocorrelation": autocorrelation} if autocorrelation else {}
        return policy_of(numeric=["kolmogorov_smirnov"], categorical=["chi2"], limit={"rule": rule, "alpha": 0.05, **own})
    return policy_of(limit={"rule": "calibrated", "false_alarms": 0.05})


def alarms(
    kind: str, share: float, *, references: int = 3, chunks: int = 50, rule: str = "calibrated", autocorrelation: str = ""
) -> tuple[int, int]:
    """Chunks without drift on which anything breaches, over several references, and how many chunks there were."""
    size, count = round(PER_DAY * share), 0
    for seed in range(references):
        fitted = fitted_on(kind, seed, rule, autocorrelation)
        rows = rows_of(kind, size * chunks, np.random.default_rng([seed, 1, size]))
        for first in range(0, len(rows), size):
            lines = lines_of(policy(rule, autocorrelation), fitted, FrameRows(rows.iloc[first : first + size]))
            count += bool(breaches(lines))
    return count, references * chunks


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("kind", ["white", "autoregressive", "seasonal", "skewed"])
def test_a_chunk_of_any_size_without_drift_alarms_no_oftener_than_stated(kind: str, share: float):
    count, chunks = alarms(kind, share)
    assert count <= stats.binom(chunks, 0.05).isf(0.001), (count, chunks)


def test_the_calibrated_limit_is_no_wider_than_it_must_be():
    count, chunks = alarms("white", 1.0, chunks=100)
    assert count >= stats.binom(chunks, 0.05 / 8).ppf(0.01)


FAULTS = {
    "mean": lambda rows: rows.assign(x=rows["x"] + 1.0),
    "spread": lambda rows: rows.assign(x=rows["x"] * 3.0),
    "category": lambda rows: rows.assign(c="a"),
    "new category": lambda rows: rows.assign(c=rows["c"].replace("a", "e")),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_breaches_and_its_twin_does_not(fault: str):
    rows = rows_of("white", PER_DAY, np.random.default_rng(99))
    faulty, twin = (breaches(lines_of(policy(), fitted_on("white", 0), FrameRows(own))) for own in (FAULTS[fault](rows), rows))
    assert faulty == {("all", "c" if "category" in fault else "x")}
    assert twin == set()


def test_effective_sample_size_holds_the_rate_on_autocorrelated_rows_where_the_raw_rule_alarms_many_times_too_often():
    raw, chunks = alarms("autoregressive", 1.0, rule="p_value", autocorrelation="ignored")
    effective, _ = alarms("autoregressive", 1.0, rule="p_value", autocorrelation="effective_sample_size")
    assert raw > 5 * 0.05 * chunks
    assert effective <= stats.binom(chunks, 0.05).isf(0.001)
    share, stretches = raw_alarm_share(policy("p_value"), fitted_on("autoregressive", 0, "p_value"), PER_DAY)
    assert stretches == DAYS
    assert share > 0.25
    calm, _ = raw_alarm_share(policy("p_value"), fitted_on("white", 0, "p_value"), PER_DAY)
    assert calm < 0.3


def test_the_raw_alarm_share_of_a_short_reference_is_that_of_smaller_stretches():
    fitted = fit_columns(policy("p_value"), rows_of("white", 3 * PER_DAY, np.random.default_rng(5)), PER_DAY)
    share, stretches = raw_alarm_share(policy("p_value"), fitted, PER_DAY)
    assert stretches >= 4
    assert share <= 0.5


def measured(
    value: float = 0.5,
    *,
    method: str = "wasserstein",
    null=None,
    subject: str = "x",
    segment: str = ALL,
    compared_with: str = REFERENCE,
    **more,
) -> Measured:
    return Measured(
        subject,
        segment,
        compared_with,
        method,
        Number(value, 100, effect=more.pop("effect", value), p_value=more.pop("p_value", np.nan), moved=0.5),
        null,
        **more,
    )


NULL = fit_null({100: np.linspace(0.1, 0.3, 50).tolist()}, power=1.0, n_reference=5_000)


def judged(limit: dict, *numbers: Measured, **drift) -> pd.DataFrame:
    lines = drift_lines(policy_of(limit=limit, **drift), "2024-01-01", numbers, {}, 100)
    assert list(lines.columns) == COLUMNS
    return lines


@pytest.mark.parametrize(
    ("limit", "upper"),
    [
        ({"rule": "constant", "values": {"wasserstein": 0.4}}, 0.4),
        ({"rule": "quantile", "quantile": 0.9}, np.quantile(np.linspace(0.1, 0.3, 50), 0.9)),
        ({"rule": "std", "std": 2.0}, 2.0 + 2 * np.std([1.0, 2.0, 3.0])),
    ],
    ids=["constant", "quantile", "std"],
)
def test_fixed_rules_breach_above_their_limit_only(limit: dict, upper: float):
    for value, is_breach in ((upper * 1.001, True), (upper, False), (0.0, False), (np.nan, False)):
        line = judged(limit, measured(value, null=NULL, chunk_values=(1.0, 2.0, 3.0))).iloc[0]
        assert line["upper_limit"] == pytest.approx(upper)
        assert np.isnan(line["lower_limit"])
        assert line["breach"] == is_breach


def test_a_method_without_a_declared_constant_has_no_limit():
    line = judged({"rule": "constant", "values": {"psi": 0.2}}, measured(9.0, null=NULL)).iloc[0]
    assert np.isnan(line["upper_limit"])
    assert not line["breach"]


@pytest.mark.parametrize(
    ("correction", "found"),
    [("none", [True, True, True, False]), ("benjamini_hochberg", [True, True, True, False]), ("bonferroni", [True, True, False, False])],
)
def test_p_values_are_corrected_over_all_numbers_that_decide(correction: str, found: list[bool]):
    numbers = [measured(p_value=p, method="kolmogorov_smirnov", subject=str(n)) for n, p in enumerate([0.001, 0.012, 0.03, 0.2])]
    lines = judged({"rule": "p_value", "alpha": 0.05, "correction": correction, "autocorrelation": "ignored"}, *numbers)
    assert lines["breach"].tolist() == found
    assert lines["p_value"].tolist() == [0.001, 0.012, 0.03, 0.2]


def test_a_number_without_a_value_neither_breaches_nor_counts_as_looked_at():
    missing = Measured("y", ALL, REFERENCE, "wasserstein", refused("got no finite value in the chunk; expected at least one"), NULL)
    alone, beside = judged({}, measured(0.34, null=NULL)), judged({}, measured(0.34, null=NULL), missing)
    assert beside.iloc[0].drop("reason").equals(alone.iloc[0].drop("reason"))
    assert beside.iloc[1]["reason"].startswith("got no finite value")
    assert not beside.iloc[1]["breach"]


def test_a_small_effect_is_told_and_no_breach():
    found, calm = (
        judged({}, measured(9.0, effect=0.3, null=NULL)),
        judged({}, measured(9.0, effect=0.3, null=NULL), minimum_effect={"wasserstein": 0.4}),
    )
    assert found["breach"].tolist() == [True]
    assert calm["breach"].tolist() == [False]
    assert calm["reason"].item() == "effect 0.3 below the declared minimum 0.4"


def test_the_stated_rate_is_shared_between_what_decides_and_not_with_what_is_only_shown():
    joint, season_joint = (
        measured(0.9, method="mmd", subject="all features", null=NULL, compared_with=compared) for compared in ("reference", "same hour")
    )
    matched = [measured(0.2, null=NULL, compared_with="same hour", subject=str(n)) for n in range(3)]
    plain = [measured(0.2, null=NULL, subject=str(n)) for n in range(3)]
    lines = judged({}, *matched, *plain, joint, season_joint, season="hour")
    deciding = lines[lines["is_deciding"]]
    assert set(zip(deciding["compared_with"], deciding["subject"], strict=True)) == {
        ("same hour", "0"),
        ("same hour", "1"),
        ("same hour", "2"),
        ("same hour", "all features"),
    }
    assert (deciding["adjusted_p_value"] == np.minimum(1.0, deciding["p_value"] * 4)).all()


def test_with_segments_half_of_the_rate_is_left_to_all_rows():
    whole = judged({}, measured(0.2, null=NULL))["upper_limit"].item()
    halved = drift_lines(
        policy_of(segments=("site",)), "2024-01-01", [measured(0.2, null=NULL), measured(0.2, null=NULL, segment="site=a")], {}, 100
    )
    assert (halved["upper_limit"] > whole).all()
    assert halved["upper_limit"].nunique() == 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_breach_and_limit_never_disagree(value: float):
    everything = policy_of(numeric=list(NUMERIC), categorical=list(CATEGORICAL))
    rng = np.random.default_rng(8)
    reference = rows_of("white", 20 * PER_DAY, rng).assign(y=value)
    fitted = fit_columns(everything, reference, PER_DAY)
    for changed in (0, 1, 3, 8, 40):
        rows = rows_of("white", PER_DAY, rng)
        rows = rows.assign(
            y=np.where(np.arange(PER_DAY) < changed, 5.0, value),
            x=rows["x"] + changed / 10,
            c=np.where(np.arange(PER_DAY) < changed, "new", rows["c"]),
        )
        lines = lines_of(
            everything.model_copy(update={"drift": everything.drift.model_copy(update={"outliers": 0.0})}), fitted, FrameRows(rows)
        )
        known = lines[lines["upper_limit"].notna() & lines["value"].notna()]
        assert (known["breach"] == (known["value"] > known["upper_limit"])).all(), known[
            known["breach"] != (known["value"] > known["upper_limit"])
        ]
        own = lines[(lines["subject"] == "y") & (lines["method"] != "missing_shift") & (lines["kind"] == "univariate_drift")]
        assert own["breach"].any() == (changed >= 3), changed


def test_too_few_reference_chunks_set_no_limit_say_why_and_breach_nothing():
    fitted = fit_columns(policy_of(), rows_of("white", 30, np.random.default_rng(1)), PER_DAY)
    lines = lines_of(policy_of(), fitted, FrameRows(rows_of("white", PER_DAY, np.random.default_rng(2)).assign(x=99.0)))
    own = lines[lines["kind"] == "univariate_drift"]
    assert not own["breach"].any()
    assert own["upper_limit"].isna().all()
    assert own["reason"].str.startswith("got fewer than 4 reference blocks or chunks to learn from; expected more").all()


def test_a_short_later_reference_keeps_the_limits_of_the_one_before():
    own = policy_of(multivariate=["pca_reconstruction"])
    before = drift_profile.fit(own, rows_of("white", 20 * PER_DAY, np.random.default_rng(1)), None)
    short = rows_of("white", 4 * PER_DAY, np.random.default_rng(2)).assign(x=lambda rows: rows["x"] + 5.0)
    alone, kept = drift_profile.fit(own, short, None), drift_profile.fit(own, short, before)
    assert [column.nulls for column in kept.columns] == [column.nulls for column in before.columns]
    assert kept.joint[0].null == before.joint[0].null
    assert kept.columns[0].bins is not before.columns[0].bins  # distances are to the fresh reference
    assert alone.columns[0].nulls != kept.columns[0].nulls
    chunk = FrameRows(rows_of("white", PER_DAY, np.random.default_rng(3)).assign(x=lambda rows: rows["x"] + 5.0))
    assert breaches(lines_of(policy_of(), list(kept.columns), chunk)) == set()


def test_the_rule_of_nannyml_gives_its_alerts_on_its_own_data():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import nannyml as nml

        reference, analysis, _ = nml.load_synthetic_car_loan_dataset()
        numeric, categorical = (
            ["car_value", "debt_to_income_ratio", "loan_length", "driver_tenure"],
            ["salary_range", "repaid_loan_on_prev_car", "size_of_downpayment"],
        )
        frames = [
            frame.astype(dict.fromkeys(numeric, "float64"))
            .astype(dict.fromkeys(categorical, object))
            .assign(time=pd.to_datetime(frame["timestamp"], format="mixed"))
            for frame in (reference, analysis)
        ]
        methods = {
            "numeric": ["jensen_shannon", "wasserstein", "kolmogorov_smirnov", "hellinger"],
            "categorical": ["jensen_shannon", "l_infinity", "hellinger"],
        }
        calculator = nml.UnivariateDriftCalculator(
            column_names=[*numeric, *categorical], treat_as_categorical=categorical, timestamp_column_name="time", chunk_period="M",
            continuous_methods=methods["numeric"], categorical_methods=methods["categorical"],
            computation_params={"kolmogorov_smirnov": {}, "wasserstein": {}, "calculation_method": "exact"},
        )  # fmt: skip
        result = calculator.fit(frames[0]).calculate(frames[1]).to_df()
    result = result[result["chunk", "chunk", "period"] == "analysis"]
    own = policy_of(numbers=tuple(numeric), texts=tuple(categorical), chunk="1mo", limit={"rule": "std"}, outliers=0.0, **methods)
    ours = [frame.assign(time=frame["time"].dt.tz_localize("UTC")).sort_values("time", kind="stable") for frame in frames]
    fitted = fit_columns(own, ours[0].reset_index(drop=True), 5_000)
    compared = 0
    for (_, rows), (_, printed) in zip(ours[1].groupby(own.cadence.keys(ours[1]["time"]), sort=True), result.iterrows(), strict=True):
        lines = lines_of(own, fitted, FrameRows(rows))
        for line in lines[lines["kind"] == "univariate_drift"].itertuples():
            assert line.value == pytest.approx(float(printed[line.subject, line.method, "value"]), abs=1e-9)
            assert line.upper_limit == pytest.approx(float(printed[line.subject, line.method, "upper_threshold"]), abs=1e-9)
            assert line.breach == bool(printed[line.subject, line.method, "alert"]), (line.subject, line.method)
            compared += 1
    assert compared == len(result) * (4 * 4 + 3 * 3)
