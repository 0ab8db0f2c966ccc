"""Forecasts are issued from what was known, and from nothing else."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_forecast as synthetic

from monitoring_assets.arrivals import ended
from resources.catalogue import DeclarationError, load_catalogue
from resources.lake import Lake
from resources.log_source import read_log
from resources.policy import MonitoredModel
from resources.settings import Settings
from resources.vocabulary import Scope, Task
from training_assets.decide import Promotion
from training_assets.definitions import build_defs as definitions
from training_assets.issuing import issue_chunks, served_rows
from training_assets.recipes import RECIPES
from training_assets.recipes.cohorts import named
from training_assets.recipes.forecast import SeriesError
from training_assets.recipes.forecast.plain import from_json
from training_assets.recipes.statsforecast import as_series, brought_up, issue
from training_assets.scoring import due_chunks, next_chunks
from training_assets.training_set import TRAIN, split

NUMBERS = ["mean", "lo-80", "hi-80", "lo-95", "hi-95", "baseline"]
RECIPE = RECIPES["statsforecast"]
AT = synthetic.week(40)


def platform(folder: Path, rows: pd.DataFrame | None = None, **overrides: object) -> tuple[MonitoredModel, Path]:
    models = synthetic.declare(folder, synthetic.make_series() if rows is None else rows, **overrides)
    return load_catalogue(models)[0].policy, models


def log_of(policy: MonitoredModel, models: Path, end_week: int = synthetic.WEEKS) -> pd.DataFrame:
    return read_log(policy, models, synthetic.START, synthetic.week(end_week)).accepted


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory):
    policy, models = platform(tmp_path_factory.mktemp("issuing"))
    rows = log_of(policy, models)
    return policy, models, rows, RECIPE.fit(policy, rows[rows["time"] < pd.Timestamp(synthetic.week(30))])


def test_nothing_after_the_start_of_the_chunk_changes_a_forecast(fitted):
    policy, _, rows, model = fitted
    late = rows["time"] >= pd.Timestamp(AT)
    poisoned = rows.assign(y_true=rows["y_true"].where(~late, 1e6), sales=rows["sales"].where(~late, 1e6))
    told = [issue(policy, model, own, AT) for own in (rows, poisoned, rows[~late])]
    for other in told[1:]:
        assert np.array_equal(told[0][NUMBERS].to_numpy(), other[NUMBERS].to_numpy())
    early = rows["time"] == pd.Timestamp(AT) - pd.Timedelta(days=1)
    moved = issue(policy, model, rows.assign(y_true=rows["y_true"].where(~early, rows["y_true"] + 50)), AT)
    assert np.abs(moved["mean"] - told[0]["mean"]).max() > 1  # null twin: what was known does change it


def test_an_outcome_that_was_not_known_yet_is_not_used(fitted, tmp_path: Path):
    policy, models = platform(tmp_path, outcome={"column": "sales", "delay": "2d"})
    _, _, rows, model = fitted
    rows = log_of(policy, models)
    model = RECIPE.fit(policy, rows[rows["time"] < pd.Timestamp(synthetic.week(30))])
    unknown = (rows["time"] >= pd.Timestamp(AT) - pd.Timedelta(days=2)) & (rows["time"] < pd.Timestamp(AT))
    plain, poisoned = (issue(policy, model, own, AT) for own in (rows, rows.assign(y_true=rows["y_true"].where(~unknown, 1e6))))
    assert np.array_equal(plain[NUMBERS].to_numpy(), poisoned[NUMBERS].to_numpy())
    assert plain["h"].min() == 3
    assert set(plain["cutoff"]) == {pd.Timestamp(AT) - pd.Timedelta(days=3)}
    assert plain["ds"].min() == pd.Timestamp(AT)


def test_a_newer_version_asked_about_the_past_sees_the_past_alone(fitted):
    policy, _, rows, model = fitted
    newer = brought_up(policy, model, rows, None)
    old, new = (issue(policy, own, rows, AT) for own in (model, newer))
    assert np.allclose(old[NUMBERS].to_numpy(), new[NUMBERS].to_numpy(), rtol=0, atol=1e-9)


def test_rolling_over_rows_equals_issuing_each_chunk(fitted):
    policy, _, rows, model = fitted
    asked = rows[(rows["time"] >= pd.Timestamp(AT)) & (rows["time"] < pd.Timestamp(synthetic.week(42)))]
    past = rows[rows["time"] < pd.Timestamp(AT)]
    together = RECIPE.issue_over(policy, model, asked, past)
    for chunk, own in together.groupby("chunk"):
        alone = issue(policy, model, rows, policy.cadence.start(str(chunk)))
        assert np.array_equal(own[NUMBERS].to_numpy(), alone[NUMBERS].to_numpy())
    told = RECIPE.predict(policy, model, asked, past)["y_pred"]
    assert np.isfinite(told).all()
    named_otherwise = [rows.assign(prediction_id=rows["store"] + rows["time"].astype(str)) for rows in (asked, past)]
    assert RECIPE.predict(policy, model, *named_otherwise)["y_pred"].equals(told)


def test_a_series_whose_last_rows_are_missing_is_forecast_from_further_back(fitted):
    policy, _, rows, model = fitted
    is_late = (rows["store"] == "s1") & (rows["time"] >= pd.Timestamp(AT) - pd.Timedelta(days=3)) & (rows["time"] < pd.Timestamp(AT))
    told = issue(policy, model, rows[~is_late], AT)
    own = told[told["unique_id"] == "s1"]
    assert own["ds"].min() == pd.Timestamp(AT)
    assert len(own) == 14
    assert set(own["h"]) == set(range(4, 18))


def test_a_late_series_with_conformal_intervals_is_forecast_less_far_and_the_others_as_ever(tmp_path: Path):
    forecast = {**synthetic.declared()["forecast"], "candidates": ["auto_ets"], "intervals": "conformal", "windows": 3}  # type: ignore[dict-item]
    policy, models = platform(tmp_path, forecast=forecast)
    rows = log_of(policy, models)
    model = RECIPE.fit(policy, rows[rows["time"] < pd.Timestamp(synthetic.week(30))])
    is_late = (rows["store"] == "s1") & (rows["time"] >= pd.Timestamp(AT) - pd.Timedelta(days=3)) & (rows["time"] < pd.Timestamp(AT))
    counts = issue(policy, model, rows[~is_late], AT).groupby("unique_id").size()
    assert counts.to_dict() == {"s0": 14, "s1": 11, "s2": 14}


def test_gaps_are_mended_or_refused_as_declared(tmp_path: Path):
    rows = synthetic.make_series(n_series=1).drop(index=[100, 101])
    for gaps, is_mended in (("interpolate", True), ("carry", True), ("refuse", False)):
        forecast = {**synthetic.declared()["forecast"], "gaps": gaps}  # type: ignore[dict-item]
        policy, models = platform(tmp_path / gaps, rows, forecast=forecast)
        series = as_series(policy, log_of(policy, models, 30))
        assert len(series) == 210 - (0 if is_mended else 2)
        if not is_mended:
            with pytest.raises(SeriesError, match="got 1 gaps"):
                RECIPE.fit(policy, log_of(policy, models, 30))


def test_a_feature_that_copies_the_outcome_is_refused_when_it_claims_to_be_known_in_advance(tmp_path: Path):
    leaking = synthetic.make_series(n_series=1).assign(promotion=lambda frame: 2 * frame["sales"] + 1)
    forecast = {**synthetic.declared()["forecast"], "known_ahead": ["promotion"]}  # type: ignore[dict-item]
    for name, frame, leaks in (("leak", leaking, True), ("sound", synthetic.make_series(n_series=1), False)):
        policy, models = platform(tmp_path / name, frame, forecast=forecast, features={"numeric": ["promotion"]})
        rows = log_of(policy, models, 40)
        if leaks:
            with pytest.raises(SeriesError, match="got a copy of y"):
                RECIPE.fit(policy, rows)
        else:
            assert RECIPE.fit(policy, rows).choices["models"].notna().all()


def test_settings_of_a_candidate_bound_its_search(tmp_path: Path):
    bounds = {"max_p": 1, "max_q": 0, "max_P": 0, "max_Q": 0, "max_d": 0}
    forecast = {**synthetic.declared()["forecast"], "candidates": ["auto_arima"], "combine": "mean", "parameters": {"auto_arima": bounds}}  # type: ignore[dict-item]
    policy, models = platform(tmp_path, synthetic.make_series(n_series=1), forecast=forecast)
    definitions(Settings.of(tmp_path / "home", models))
    states = RECIPE.fit(policy, log_of(policy, models, 20)).states.set_index("model")["state"]
    p, q, seasonal_p, seasonal_q, _, d, _ = from_json(states["auto_arima"]).model_["arma"]
    assert p <= 1
    assert (q, seasonal_p, seasonal_q, d) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"auto_arima": {"max_pp": 1}}, "max_pp"),
        ({"mstl": {}}, "got some of ['mstl']; expected those of candidates"),
        ({"auto_arma": {}}, "models: got ['auto_arma']; expected names out of"),
    ],
)
def test_settings_that_no_candidate_has_are_refused_when_the_platform_loads(tmp_path: Path, settings: dict[str, object], said: str):
    forecast = {**synthetic.declared()["forecast"], "candidates": ["auto_arima"], "parameters": settings}  # type: ignore[dict-item]
    _, models = platform(tmp_path, synthetic.make_series(n_series=1, weeks=4), forecast=forecast)
    with pytest.raises(DeclarationError) as raised:
        definitions(Settings.of(tmp_path / "home", models))
    assert said in str(raised.value)


def test_issued_forecasts_are_never_rewritten(fitted, tmp_path: Path):
    policy, models, _, model = fitted
    lake = Lake(root=str(tmp_path / "lake"))
    chunk = policy.cadence.key(AT)
    from resources import tables

    first = issue_chunks(policy, lake, models, model, "1", [chunk], AT)
    lake.replace("shop", tables.FORECASTS, first, {"chunk": chunk})
    again = issue_chunks(policy, lake, models, model, "2", [chunk], AT)
    assert set(again["model_version"]) == {"1"}
    served = served_rows(policy, first)
    assert len(served) == 21
    assert served["prediction_id"].is_unique


def test_a_replay_that_starts_where_the_reference_ends_begins_with_its_first_chunk(tmp_path: Path):
    span = {"start": f"{synthetic.week(synthetic.REFERENCE[1]):%Y-%m-%d}", "end": f"{synthetic.week(60):%Y-%m-%d}"}
    policy, _ = platform(tmp_path, replay=span)
    assert next_chunks(policy, Lake(root=str(tmp_path / "lake"))) == [span["start"]]


def test_a_live_forecaster_is_due_when_its_chunk_begins_and_watched_when_it_has_ended(tmp_path: Path):
    policy, _ = platform(tmp_path, replay=None)
    lake, moment = Lake(root=str(tmp_path / "lake")), synthetic.week(56)
    begins = policy.cadence.key(moment)
    due = due_chunks(policy, lake, moment)
    assert due[0] == policy.cadence.key(policy.reference.end)
    assert due[-1] == begins
    ahead = policy.cadence.key(datetime.now(UTC))
    assert ended(policy, lake, [begins, ahead]) == [begins]
    rowwise = policy.model_copy(update={"task": Task.REGRESSION})
    assert due_chunks(rowwise, lake, moment)[-1] == policy.cadence.shift(begins, -1)
    assert ended(rowwise, lake, [begins, ahead]) == [begins, ahead]


def test_held_out_rows_begin_with_a_whole_chunk_so_that_a_candidate_has_seen_none_of_it(fitted):
    policy, _, rows, _ = fitted
    known = rows.assign(observed_at=rows["time"]).sort_values("time", kind="stable")
    known = known[known["time"] < pd.Timestamp(synthetic.week(50)) + pd.Timedelta(days=3)]
    champion = Promotion("1", None, synthetic.week(30))
    cut = split(policy, known, None, champion)  # three weeks before a Wednesday
    assert cut.holdout_start == synthetic.week(47)
    assert cut.rows.loc[cut.rows["part"] == TRAIN, "time"].max() <= pd.Timestamp(cut.holdout_start)
    rowwise = split(policy.model_copy(update={"task": Task.REGRESSION}), known, None, champion)
    assert rowwise.holdout_start > synthetic.week(47)


def test_segments_name_their_series(tmp_path: Path):
    frame = synthetic.make_series().assign(region=lambda own: np.where(own["store"] == "s2", "south", "north"))
    forecast = {**synthetic.declared()["forecast"], "scope": "cohort"}  # type: ignore[dict-item]
    policy, models = platform(tmp_path, frame, segments=["region"], forecast=forecast)
    assert policy.forecast is not None
    assert policy.forecast.scope is Scope.COHORT
    rows = log_of(policy, models, 4)
    assert named(policy, {"region=north"}, rows) == {"s0", "s1"}
    assert named(policy, {"store=s2", "all"}, rows) == {"s2"}
    assert named(policy, {"all"}, rows) == set()


@pytest.mark.parametrize(
    "declared",
    [
        {"candidates": ["lightgbm"], "intervals": "conformal", "windows": 3},
        {"candidates": ["auto_ets", "lightgbm"], "average": 2, "windows": 3},
        {"candidates": ["auto_ets"], "combine": "fade", "half_life": 7, "windows": 3},
        {"candidates": ["auto_arima"], "known_ahead": ["promotion"]},
        {"candidates": ["auto_ets"], "lags": {"promotion": 14}},
    ],
    ids=["lags of all series", "averages", "fading", "known ahead", "lagged feature"],
)
def test_every_kind_of_forecaster_sees_the_past_alone_and_updates_only_what_it_is_told_to(tmp_path: Path, declared: dict[str, object]):
    features = {"numeric": ["promotion"]} if {"known_ahead", "lags"} & set(declared) else {}
    forecast = {"freq": "D", "horizon": 14, "season_lengths": [7], "windows": 2, **declared}
    policy, models = platform(tmp_path, forecast=forecast, features=features)
    rows = log_of(policy, models, 45)
    model = RECIPE.fit(policy, rows[rows["time"] < pd.Timestamp(AT)])
    late = rows["time"] >= pd.Timestamp(synthetic.week(42))
    plain, poisoned = (
        issue(policy, model, own, synthetic.week(42)) for own in (rows, rows.assign(y_true=rows["y_true"].where(~late, 1e6), sales=0.0))
    )
    assert np.array_equal(plain["mean"].to_numpy(), poisoned["mean"].to_numpy())
    updated = RECIPE.update(policy, model, rows[rows["time"] >= pd.Timestamp(AT)], {"s1"})
    before, after = (one.states.set_index(["unique_id", "model"])["state"] for one in (model, updated))
    moved = set(before.index[before != after.reindex(before.index)].get_level_values(0))
    assert moved <= {"s1"}
    assert updated.history["ds"].max() == pd.Timestamp(synthetic.week(45)).tz_localize(None) - pd.Timedelta(days=1)
