"""Forecasters as a recipe of the platform: from a declaration and rows of the log to a fitted forecaster, and to issued forecasts.

Belongs here: the declaration as a specification, rows as series, rolling on over rows as production does. Does not: models and
their choice (``forecast``), storing forecasts (``scoring``).
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resources.chunks import parse_duration
from resources.forecast_ledger import row_ids, series_of
from resources.forecast_rules import delay_of
from resources.forecasting import Forecast
from resources.policy import MonitoredModel
from resources.vocabulary import Task

if TYPE_CHECKING:
    import pandas as pd

    from training_assets.recipes.forecast import Fitted, ForecastSpec


def declared(policy: MonitoredModel) -> Forecast:
    """The section ``forecast``.

    Raises:
        ValueError: for a model that has none.
    """
    if policy.forecast is None:
        raise ValueError(f"{policy.model}: got task {policy.task} with recipe {StatsForecast.name}; expected task: forecast")
    return policy.forecast


def spec_of(policy: MonitoredModel) -> "ForecastSpec":
    """The specification that a declaration gives; the label delay is its embargo."""
    from training_assets.recipes.forecast import Backtest, Exogenous, ForecastSpec

    own = declared(policy)
    exogenous = [Exogenous(name=name) for name in own.known_ahead] + [Exogenous(name=name, lag=lag) for name, lag in own.lags.items()]
    return ForecastSpec(
        freq=own.freq,
        season_lengths=tuple(own.season_lengths),
        h=own.horizon,
        levels=tuple(own.levels),
        candidates=tuple(own.candidates),
        average=own.average,
        combine=own.combine,
        half_life=own.half_life,
        exogenous=tuple(exogenous),
        transform=own.transform,
        intervals=own.intervals,
        backtest=Backtest(windows=own.windows, step=own.step, metric=own.metric),
        embargo=delay_of(policy) // own.step_length,
        max_history=own.max_history,
        on_short="fallback",
        n_jobs=own.jobs,
        engine=own.engine,
        scheduler=own.scheduler,
        progress=own.progress,
        parameters=own.parameters,
    )


def known_models() -> list[str]:
    """Names that ``forecast.candidates`` may hold."""
    from training_assets.recipes.forecast.base import LAGS
    from training_assets.recipes.forecast.statistical import STATISTICAL

    return [*STATISTICAL, LAGS]


def check_spec(policy: MonitoredModel) -> None:
    """Refuse a specification that cannot be. Raises ValueError. Settings of candidates are slow to check, so only where some are declared."""
    spec = spec_of(policy)
    if spec.parameters:
        from training_assets.recipes.forecast.statistical import check_parameters

        check_parameters(spec)


def as_series(policy: MonitoredModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    """Labelled rows ``(n_rows, ...)`` with ``time, y_true`` as ``unique_id, ds, y`` and declared columns; gaps are mended as declared.

    Columns beside ``y`` keep the value before them in a mended step.
    """
    own = declared(policy)
    names = [*own.known_ahead, *own.lags]
    frame = rows.dropna(subset=["y_true"])
    series = (
        frame[names].astype("float64").assign(unique_id=series_of(policy, frame), ds=frame["time"].dt.tz_localize(None), y=frame["y_true"])
    )
    series = series.sort_values(["unique_id", "ds"], kind="stable").drop_duplicates(["unique_id", "ds"], keep="last")
    return _mended(own, series[["unique_id", "ds", "y", *names]].astype({"ds": "datetime64[us]"}).reset_index(drop=True))


def _mended(own: Forecast, series: "pd.DataFrame") -> "pd.DataFrame":
    """Series with their gaps mended as declared; columns beside ``y`` keep the value before them."""
    from training_assets.recipes.forecast import fill_gaps

    if own.gaps == "refuse" or series.empty:
        return series
    names = [*own.known_ahead, *own.lags]
    filled = fill_gaps(series, own.freq, own.gaps)
    return fill_gaps(filled, own.freq, "carry", names) if names else filled


class StatsForecast:
    """The best of several models per series, chosen by rolling origin; the seasonal naive one is always among them."""

    name = "statsforecast"
    tasks: Collection[Task] = (Task.FORECAST,)
    needs_much_to_update = False

    def parameters(self, policy: MonitoredModel) -> Mapping[str, Any]:
        """The specification, as plain values."""
        return {name: str(value) for name, value in spec_of(policy).model_dump(mode="json").items()}

    def needed_rows(self, policy: MonitoredModel) -> int:
        """Rows of a series that a choice by backtest needs: two main seasons before the first cutoff, and the backtest."""
        return spec_of(policy).needed_rows

    def can_learn(self, policy: MonitoredModel, rows: "pd.DataFrame") -> bool:
        """Whether any series is long enough for the backtest; shorter ones get the fallback."""
        longest = series_of(policy, rows).value_counts().max() if len(rows) else 0
        return bool(longest >= max(self.needed_rows(policy), policy.gates.minimum_rows))

    def expected(self, policy: MonitoredModel) -> str:
        """Rows of the longest series."""
        return f"a series of at least {max(self.needed_rows(policy), policy.gates.minimum_rows)} rows (two main seasons and the backtest)"

    def fit(self, policy: MonitoredModel, rows: "pd.DataFrame") -> Any:
        """Choose and fit on ``(n_rows, time, series, y_true, declared columns)``."""
        from training_assets.recipes.forecast import FORECASTER

        return FORECASTER.fit(spec_of(policy), as_series(policy, rows))

    def update(self, policy: MonitoredModel, model: Any, rows: "pd.DataFrame", only: Collection[str] | None = None) -> Any:
        """Estimate parameters again on the model's history and ``rows`` behind it; models and orders stay, and so do series outside ``only``."""
        from training_assets.recipes.forecast import FORECASTER

        longer = brought_up(policy, model, rows, None)
        return FORECASTER.refit(longer, longer.history, only)

    def predict(self, policy: MonitoredModel, model: Any, rows: "pd.DataFrame", past: "pd.DataFrame | None" = None) -> "pd.DataFrame":
        """The newest forecast of every row, rolling on chunk by chunk; NaN for a series the model does not know."""
        import pandas as pd

        if rows.empty:
            return pd.DataFrame(columns=policy.predictions, index=rows.index, dtype="float64")
        told = self.issue_over(policy, model, rows, past)
        return pd.DataFrame({"y_pred": newest_forecasts(policy, told, rows)}, index=rows.index)

    def issue_over(self, policy: MonitoredModel, model: Any, rows: "pd.DataFrame", past: "pd.DataFrame | None" = None) -> "pd.DataFrame":
        """Forecasts the model would have issued at the start of each chunk of ``rows``, from what was known then.

        Args:
            rows: ``(n_rows, ...)`` with ``time``, declared columns and, where known, ``y_true, observed_at``.
            past: rows before, with outcomes.

        Returns:
            As ``issue``, of all chunks together.
        """
        import pandas as pd

        both = [frame for frame in (past, rows) if frame is not None and len(frame)]
        every = pd.concat(both, ignore_index=True).drop_duplicates("prediction_id", keep="last")
        known = every if "y_true" in every else every.assign(y_true=float("nan"))
        told = [
            issue(policy, model, known, policy.cadence.start(chunk)).assign(chunk=chunk)
            for chunk in sorted(policy.cadence.keys(rows["time"]).unique())
        ]
        return pd.concat(told, ignore_index=True)

    def importance(self, policy: MonitoredModel, model: Any) -> Mapping[str, float]:
        """Nothing: models of single series do not say."""
        return {}

    def log(self, model: Any) -> str:
        """Log into the active MLflow run as code and plain files; gives the model's URI."""
        from training_assets.recipes.forecast.served import log_forecaster

        return log_forecaster(model)

    def read(self, uri: str) -> Any:
        """The forecaster behind a model URI; its files are data, nothing of them is run."""
        import tempfile

        import mlflow

        from training_assets.recipes.forecast import load
        from training_assets.recipes.forecast.served import ARTIFACT

        with tempfile.TemporaryDirectory() as folder:
            home = mlflow.artifacts.download_artifacts(uri, dst_path=folder)
            return load(Path(home) / "artifacts" / ARTIFACT)

    def logged(self, model: Any) -> tuple[Mapping[str, Any], Mapping[str, float]]:
        """Parameters and numbers of the backtest that a run carries beside the model."""
        from training_assets.recipes.forecast.served import measures, parameters

        return parameters(model), measures(model)


def brought_up(policy: MonitoredModel, model: "Fitted", rows: "pd.DataFrame", cutoff: datetime | None) -> "Fitted":
    """The model with exactly what was observed up to ``cutoff``: newer rows behind its history, none after; parameters stay.

    Args:
        rows: labelled rows ``(n_rows, ...)``; those of unknown series are left aside.
        cutoff: last moment of a row, UTC; everything if absent.
    """
    from dataclasses import replace

    import pandas as pd

    from training_assets.recipes.forecast.series import newest_in_phase

    history, last = model.history, model.history.groupby("unique_id", sort=False)["ds"].last()
    fresh = as_series(policy, rows)
    fresh = fresh[fresh["ds"] > fresh["unique_id"].map(last)][list(history)]
    whole = pd.concat([history, fresh], ignore_index=True).sort_values(["unique_id", "ds"], ignore_index=True)
    if cutoff is not None:
        whole = whole[whole["ds"] <= pd.Timestamp(cutoff).tz_localize(None)]
    return replace(model, history=newest_in_phase(model.spec, _mended(declared(policy), whole.reset_index(drop=True))))


def issue(policy: MonitoredModel, model: "Fitted", rows: "pd.DataFrame", at: datetime) -> "pd.DataFrame":
    """What the model says at ``at`` about the next ``forecast.horizon`` steps of every series, from what was known then.

    A series whose last rows are late is forecast from further back; steps before ``at`` are not issued.

    Args:
        rows: ``(n_rows, ...)`` with ``time, y_true`` and columns known in advance, also of times after ``at``; ``observed_at``
            says when an outcome was known (the end of the label delay without it).
        at: start of a chunk, UTC.

    Returns:
        ``unique_id, ds, h, cutoff, model, is_fallback, mean, lo-<level>…, hi-<level>…, baseline``; times in UTC.
    """
    import pandas as pd

    from training_assets.recipes.forecast.intervals import is_conformal

    own, moment = declared(policy), pd.Timestamp(at)
    delay = parse_duration(policy.outcome.delay).normalized()
    due = pd.Timestamp(at - delay)
    observed = rows["observed_at"] if "observed_at" in rows else rows["time"]
    is_known = rows["y_true"].notna() & (rows["time"] < moment) & (observed.isna() | (observed <= moment))
    first_unknown = due if due < moment else moment
    last = (first_unknown - own.step_length).to_pydatetime()
    ready = brought_up(policy, model, rows[is_known & (rows["time"] < first_unknown)], last)
    late = (moment.tz_localize(None) - own.step_length - ready.history.groupby("unique_id")["ds"].last()).max() // own.step_length
    # conformal intervals end with the horizon of the backtest: a late series is then forecast less far
    is_bound = any(is_conformal(ready.spec, models) for models in ready.choices["models"])
    steps = own.horizon if is_bound else own.horizon + max(int(late) - ready.spec.embargo, 0)
    told = ready.forecast(steps, future=_future(policy, rows)) if own.known_ahead else ready.forecast(steps)
    told["baseline"] = _seasonal_naive(ready, told)
    end = (moment + own.reach).tz_localize(None)
    told = told[(told["ds"] >= moment.tz_localize(None)) & (told["ds"] < end)].reset_index(drop=True)
    return told.assign(**{name: told[name].dt.tz_localize("UTC").astype("datetime64[us, UTC]") for name in ("ds", "cutoff")})


def _future(policy: MonitoredModel, rows: "pd.DataFrame") -> "pd.DataFrame":
    names = declared(policy).known_ahead
    frame = rows[names].astype("float64").assign(unique_id=series_of(policy, rows), ds=rows["time"].dt.tz_localize(None))
    return frame.drop_duplicates(["unique_id", "ds"], keep="last").astype({"ds": "datetime64[us]"})


def _seasonal_naive(model: "Fitted", told: "pd.DataFrame") -> "pd.Series":
    """The value of the same place in the last known season for every row of ``told``; NaN where a series is shorter than a season."""
    import numpy as np
    import pandas as pd

    season = model.spec.season
    tails = {name: own["y"].to_numpy()[-season:] for name, own in model.history.groupby("unique_id", sort=False)}
    values = [tails[row.unique_id][(row.h - 1) % season] if len(tails[row.unique_id]) == season else np.nan for row in told.itertuples()]
    return pd.Series(values, index=told.index, dtype="float64")


def newest_forecasts(policy: MonitoredModel, told: "pd.DataFrame", rows: "pd.DataFrame") -> Any:
    """``(n_rows,)``: of the forecasts for each row, found by series and time, that of the newest cutoff; NaN where there is none."""
    newest = told.sort_values("cutoff", kind="stable").drop_duplicates(["unique_id", "ds"], keep="last")
    named = newest.assign(prediction_id=row_ids(newest["unique_id"], newest["ds"])).set_index("prediction_id")["mean"]
    return row_ids(series_of(policy, rows), rows["time"]).map(named).astype("float64").to_numpy()
