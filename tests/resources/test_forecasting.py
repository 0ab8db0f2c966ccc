"""The declaration of a forecaster, the names of its rows, and its ledger in both shapes."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic as rowwise
import synthetic_forecast as synthetic

from resources.catalogue import DeclarationError, load_catalogue
from resources.forecast_ledger import issued, long_of, row_ids, series_of, wide_of
from resources.lake import Lake
from resources.log_source import read_log
from resources.partitions import chunk_partitions
from resources.tables import FORECASTS
from resources.vocabulary import Scope, Update

FORECAST = {"freq": "D", "horizon": 14, "season_lengths": [7]}


def policy_of(folder: Path, **overrides: object):
    return load_catalogue(synthetic.declare(folder, synthetic.make_series(n_series=1, weeks=4), **overrides))[0].policy


def test_what_was_observed_is_an_input_and_defaults_are_those_of_a_forecaster(tmp_path: Path):
    policy = policy_of(tmp_path)
    assert policy.features.numeric == ["sales"]
    assert policy.metrics == ["mase", "mae"]
    assert (policy.retrain.recipe, policy.retrain.update, policy.retrain.windows) == ("statsforecast", Update.INCREMENTAL, ["all"])
    assert (policy.validation.minimum_rows, policy.gates.minimum_rows) == (5, 7)
    assert policy.predictions == ["y_pred"]
    assert policy.segment_columns == ["store"]


def test_an_outcome_that_is_known_late_is_no_input(tmp_path: Path):
    assert policy_of(tmp_path, outcome={"column": "sales", "delay": "2d"}).features.numeric == []


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"forecast": None}, "task: got forecast without the section forecast"),
        ({"forecast": {**FORECAST, "horizon": 3}}, "forecast.horizon: got 3 steps of D; expected at least a chunk of 1w"),
        ({"forecast": {**FORECAST, "freq": "M"}}, "forecast.freq: got 'M'; expected a number and min, h or D"),
        ({"forecast": {**FORECAST, "levels": [80, 120]}}, "forecast.levels: got [80, 120]; expected different percentages"),
        ({"forecast": {**FORECAST, "season_lengths": [0]}}, "forecast.season_lengths"),
        ({"forecast": {**FORECAST, "known_ahead": ["price"]}}, "forecast.known_ahead: got 'price'; expected a numeric feature"),
        ({"forecast": {**FORECAST, "known_ahead": ["sales"]}}, "not the outcome itself"),
        (
            {"forecast": {**FORECAST, "lags": {"promotion": 3}}, "features": {"numeric": ["promotion"]}},
            "forecast.lags.promotion: got 3; expected at least the horizon 14",
        ),
        ({"forecast": {**FORECAST, "scope": "cohort"}}, "forecast.scope: got cohort without segments"),
        ({"forecast": {**FORECAST, "scope": "series"}, "series": None}, "forecast.scope: got series, and no column names them"),
        ({"log": {"parquet": "log.parquet", "time": "day", "id": "store"}}, "log.id: got 'store'; expected none"),
        ({"log": {"parquet": "log.parquet", "time": "day", "prediction": "sales"}}, "log.prediction: got 'sales'; expected none"),
        ({"series": "sales"}, "series: got 'sales', which is also a feature or the outcome"),
        ({"features": {"categorical": ["store"]}, "series": None}, "features.categorical: got ['store']; expected numbers only"),
        ({"performance": {"estimator": "dle"}}, "performance.estimator: got 'dle'; expected none"),
        ({"outcome": {"column": "sales", "delay": "5h"}}, "outcome.delay: got 5h; expected whole steps of D"),
        ({"retrain": {"parameters": {"num_leaves": 7}}}, "retrain.parameters: got {'num_leaves': 7}; expected none"),
        ({"task": "regression"}, "only forecast has it"),
    ],
)
def test_a_mistake_in_the_declaration_of_a_forecaster_is_named(tmp_path: Path, overrides: dict[str, object], said: str):
    told = {name: value for name, value in synthetic.declared(**overrides).items() if value is not None}
    dropped = [name for name, value in overrides.items() if value is None]
    models = synthetic.declare(tmp_path, synthetic.make_series(n_series=1, weeks=4), **told)
    if dropped:
        text = (models / "shop.yaml").read_text(encoding="utf-8")
        import yaml

        (models / "shop.yaml").write_text(
            yaml.safe_dump({k: v for k, v in yaml.safe_load(text).items() if k not in dropped}), encoding="utf-8"
        )
    with pytest.raises(DeclarationError) as raised:
        load_catalogue(models)
    assert said in str(raised.value)
    assert "shop.yaml:" in str(raised.value)


def test_rows_of_the_log_are_named_by_series_and_time(tmp_path: Path):
    policy = policy_of(tmp_path)
    rows = read_log(policy, tmp_path / "models", synthetic.START, synthetic.week(1)).accepted
    assert rows["prediction_id"].iloc[0] == "s0@2023-01-02T00:00:00Z"
    assert (row_ids(series_of(policy, rows), rows["time"]) == rows["prediction_id"]).all()


def test_a_row_without_a_series_is_kept_aside_with_its_reason(tmp_path: Path):
    frame = synthetic.make_series(n_series=1, weeks=4)
    frame.loc[3, "store"] = None
    models = synthetic.declare(tmp_path, frame)
    read = read_log(load_catalogue(models)[0].policy, models, synthetic.START, synthetic.week(1))
    assert read.rejected["reason"].tolist() == ["no series in column store"]
    assert len(read.accepted) == 6


def test_one_series_needs_no_column(tmp_path: Path):
    policy = policy_of(tmp_path, series=None, forecast=FORECAST)
    rows = read_log(policy, tmp_path / "models", synthetic.START, synthetic.week(1)).accepted
    assert set(series_of(policy, rows)) == {"shop"}
    assert rows["prediction_id"].iloc[0].startswith("shop@")


def _wide(policy, chunk: str, cutoff: str, version: str = "1") -> pd.DataFrame:
    days = pd.date_range(chunk, periods=14, freq="D", tz="UTC").astype("datetime64[us, UTC]")
    frame = pd.DataFrame({"chunk": chunk, "unique_id": "s0", "ds": days, "h": range(1, 15), "mean": np.arange(14.0), "baseline": 0.0})
    frame = frame.assign(cutoff=pd.Timestamp(cutoff, tz="UTC"), model_version=version, model="auto_ets", is_fallback=False)
    frame = frame.assign(issued_at=pd.Timestamp(cutoff, tz="UTC"))
    return frame.assign(**{"lo-80": -1.0, "hi-80": 1.0, "lo-95": -2.0, "hi-95": 2.0})


def test_long_and_wide_hold_the_same_forecasts(tmp_path: Path):
    wide = _wide(None, "2023-01-02", "2023-01-01")
    long = long_of(wide, [80, 95])
    assert len(long) == 28
    back = wide_of(long)[list(wide)].sort_values("h", ignore_index=True)
    pd.testing.assert_frame_equal(back, wide, check_dtype=False)
    assert wide_of(long.iloc[:0]).empty


def test_forecasts_for_a_chunk_come_from_every_chunk_that_reached_into_it(tmp_path: Path):
    policy, lake = policy_of(tmp_path), Lake(root=str(tmp_path / "lake"))
    for chunk, cutoff in (("2023-01-02", "2023-01-01"), ("2023-01-09", "2023-01-08")):
        lake.replace("shop", FORECASTS, long_of(_wide(policy, chunk, cutoff), [80, 95])[list(FORECASTS.columns)], {"chunk": chunk})
    found = issued(lake, policy, ["2023-01-09"])
    assert sorted(found.groupby("cutoff").size()) == [7, 7]
    assert set(found.loc[found["chunk"] == "2023-01-02", "h"]) == set(range(8, 15))


def test_the_chunk_that_begins_is_a_partition_of_a_forecaster_alone(tmp_path: Path):
    live = policy_of(tmp_path, replay=None)
    begun = live.cadence.key(datetime.now(UTC))
    assert begun in chunk_partitions(live).get_partition_keys()
    ended = load_catalogue(rowwise.declare(tmp_path / "rows", rowwise.make_log(days=2)))[0].policy
    assert ended.cadence.key(datetime.now(UTC)) not in chunk_partitions(ended).get_partition_keys()
    assert live.forecast is not None
    assert live.forecast.scope is Scope.SERIES
