"""The forecaster: a first fit, and keeping it fresh at three prices.

``refresh`` keeps every parameter and goes on from new rows; ``refit`` estimates parameters again and keeps models and orders;
``search`` does everything anew. Belongs here: these four. Does not: when to call which (``trigger``). Reads and writes nothing.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from training_assets.recipes.forecast.base import LAGS, Fitted, ForecastSpec
from training_assets.recipes.forecast.distributed import one_cluster, over_series
from training_assets.recipes.forecast.exogenous import inputs
from training_assets.recipes.forecast.fitting import fall_back_series, fit_series, statistical_models
from training_assets.recipes.forecast.lags import fit_lags
from training_assets.recipes.forecast.selection import Selection, select
from training_assets.recipes.forecast.series import SeriesError, check_shape, checked, newest_in_phase, short_series

if TYPE_CHECKING:
    import pandas as pd


class SeriesForecaster:
    """Per series the best of several models by rolling origin, or all together; the seasonal naive one is always among them."""

    name = "forecast"

    def fit(self, spec: ForecastSpec, series: "pd.DataFrame") -> Fitted:
        """Choose by backtest, then fit each series' choice on all its rows.

        Args:
            spec: what to do.
            series: ``unique_id, ds, y`` and declared columns, sorted, without gaps.

        Returns:
            The fitted forecaster; a series whose models failed has the fallback, flagged and with the reason.

        Raises:
            SeriesError: for series that break the contract, or columns that leak.
        """
        import pandas as pd

        history = checked(spec, series)
        seen = inputs(spec, history)
        short = short_series(spec, history)
        long = seen[~seen["unique_id"].isin(short)]
        reasons = {name: f"too short: got {count} rows; expected at least {spec.needed_rows}" for name, count in short.items()}
        with one_cluster(spec):
            told = select(spec, long) if len(long) else _nothing()
            choices = dict(zip(told.choices["unique_id"], told.choices["models"], strict=True))
            reasons |= {name: "every candidate failed in the backtest" for name, models in choices.items() if not models}
            sound = {name: models for name, models in choices.items() if models}
            answers = _fit(spec, seen, sound, {}) | _fall_back(spec, seen, reasons)
        table = _choices(seen, sound, answers, told.choices)
        errors = told.errors[told.errors["unique_id"].isin(table.loc[~table["is_fallback"], "unique_id"])].reset_index(drop=True)
        uses_lags = table["models"].str.split("+").map(lambda models: LAGS in models).any()
        booster = fit_lags(spec, pd.DataFrame(long)) if uses_lags else None
        return Fitted(spec, history, table, told.scores, errors, _states(answers, table), booster)

    def refresh(self, fitted: Fitted, new_rows: "pd.DataFrame") -> Fitted:
        """Put new rows behind the history; fitted parameters run on over them at the next forecast.

        Args:
            fitted: stays as it is.
            new_rows: as for ``fit``, the steps right after what is known; not every series needs some.

        Raises:
            SeriesError: for gaps, doubles, unknown series or broken numbers, also between old and new rows.
        """
        import pandas as pd

        unknown = sorted(set(new_rows["unique_id"]) - set(fitted.choices["unique_id"]))
        if unknown:
            raise SeriesError(f"new rows: got unknown series {unknown[:5]}; expected fitted ones; fit these first")
        both = pd.concat([fitted.history, new_rows[list(fitted.history)]]).sort_values(["unique_id", "ds"], ignore_index=True)
        check_shape(fitted.spec, both)
        return replace(fitted, history=newest_in_phase(fitted.spec, both))

    def refit(self, fitted: Fitted, series: "pd.DataFrame", only: Collection[str] | None = None) -> Fitted:
        """Estimate parameters on ``series`` with models and orders held; series outside ``only`` are not touched.

        LightGBM learns from all series, so it is fitted again where ``only`` names a series that uses it. Errors of the
        backtest, and with them conformal intervals, stay those of the last search.

        Raises:
            SeriesError: for series that break the contract, or other series than were fitted.
        """
        import pandas as pd

        spec, history = fitted.spec, checked(fitted.spec, series)
        wanted = set(fitted.choices["unique_id"]) if only is None else set(only)
        lacking = sorted(wanted - set(history["unique_id"]) | wanted - set(fitted.choices["unique_id"]))
        if lacking:
            raise SeriesError(f"refit: got no rows or no earlier fit for {lacking[:5]}; expected both; fit new series first")
        seen = inputs(spec, history)
        own = seen[seen["unique_id"].isin(wanted)]
        is_wanted = fitted.choices["unique_id"].isin(wanted)
        models = fitted.choices[is_wanted].set_index("unique_id")["models"].to_dict()
        held = _states_by_series(fitted.states[fitted.states["unique_id"].isin(wanted)])
        answers = _fit(spec, own, models, held)
        fresh = _choices(own, models, answers, fitted.choices[is_wanted], fitted.choices[is_wanted])
        choices = pd.concat([fitted.choices[~is_wanted], fresh]).sort_values("unique_id", ignore_index=True)
        kept = fitted.states[~fitted.states["unique_id"].isin(wanted)]
        states = pd.concat([kept, _states(answers, fresh)]).sort_values(["unique_id", "model"], ignore_index=True)
        uses_lags = any(LAGS in names.split("+") for names in models.values())
        rows = pd.concat([fitted.history[~fitted.history["unique_id"].isin(wanted)], history[history["unique_id"].isin(wanted)]])
        rows = rows.sort_values(["unique_id", "ds"], ignore_index=True)
        booster = fit_lags(spec, inputs(spec, rows)) if uses_lags else fitted.booster
        return replace(fitted, history=rows, choices=choices, states=states, booster=booster)

    def search(self, fitted: Fitted, series: "pd.DataFrame | None" = None) -> Fitted:
        """Choose again, by a new backtest on ``series`` or on the history; dear, and rarely needed."""
        return self.fit(fitted.spec, fitted.history if series is None else series)


def _fit(spec: ForecastSpec, seen: "pd.DataFrame", models: dict[str, str], held: dict[str, dict[str, str]]) -> dict[str, Any]:
    own = {name: {"models": statistical_models(chosen), "states": held.get(name, {})} for name, chosen in models.items()}
    tasks = {name: {**task, **own[name]} for name, task in _tasks(spec, seen, set(own)).items() if own[name]["models"]}
    nothing = {name: {"states": {}, "reason": ""} for name, task in own.items() if not task["models"]}
    return nothing | over_series(spec, fit_series, tasks, "fit")


def _fall_back(spec: ForecastSpec, seen: "pd.DataFrame", reasons: dict[str, str]) -> dict[str, Any]:
    tasks = {name: {**task, "reason": reasons[name]} for name, task in _tasks(spec, seen, set(reasons)).items()}
    return over_series(spec, fall_back_series, tasks, "fallback")


def _tasks(spec: ForecastSpec, seen: "pd.DataFrame", wanted: set[str]) -> dict[str, dict[str, Any]]:
    told, names = spec.model_dump_json(), [one.used for one in spec.exogenous]
    return {
        str(key): {"spec": told, "y": own["y"].tolist(), "x": own[names].to_numpy().tolist() if names else None}
        for key, own in seen.groupby("unique_id", sort=False)
        if key in wanted
    }


def _choices(
    seen: "pd.DataFrame", models: dict[str, str], answers: dict[str, Any], scored: "pd.DataFrame", earlier: "pd.DataFrame | None" = None
) -> "pd.DataFrame":
    """One row per series; a series that fell back before and was only fitted again is still one that fell back."""
    import pandas as pd

    until = seen.groupby("unique_id", sort=False)["ds"].last()
    reasons = {name: answer["reason"] for name, answer in answers.items()}
    if earlier is not None:
        before = dict(zip(earlier["unique_id"], earlier["reason"], strict=True))
        reasons = {name: reason or before.get(name, "") for name, reason in reasons.items()}
    names = [models[name] if not answers[name]["reason"] else "+".join(answers[name]["states"]) for name in answers]
    table = pd.DataFrame({"unique_id": list(answers), "models": names, "reason": list(reasons.values())})
    table["is_fallback"] = table["reason"] != ""
    table["fitted_until"] = table["unique_id"].map(until)
    merged = table.merge(scored[["unique_id", "score", "baseline_score"]], on="unique_id", how="left")
    return merged.sort_values("unique_id", ignore_index=True)


def _states(answers: dict[str, Any], choices: "pd.DataFrame") -> "pd.DataFrame":
    import pandas as pd

    wanted = set(choices["unique_id"])
    rows = [(name, model, text) for name, answer in answers.items() if name in wanted for model, text in answer["states"].items()]
    return pd.DataFrame(rows, columns=["unique_id", "model", "state"]).sort_values(["unique_id", "model"], ignore_index=True)


def _states_by_series(states: "pd.DataFrame") -> dict[str, dict[str, str]]:
    return {str(key): dict(zip(own["model"], own["state"], strict=True)) for key, own in states.groupby("unique_id", sort=False)}


def _nothing() -> Selection:
    import pandas as pd

    return Selection(
        pd.DataFrame({"unique_id": pd.Series(dtype="object"), "models": pd.Series(dtype="object"), "score": [], "baseline_score": []}),
        pd.DataFrame({"unique_id": pd.Series(dtype="object"), "model": pd.Series(dtype="object"), "score": []}),
        pd.DataFrame(
            {
                "unique_id": pd.Series(dtype="object"),
                "cutoff": pd.Series(dtype="datetime64[us]"),
                "step": pd.Series(dtype="int64"),
                "error": [],
            }
        ),
    )


FORECASTER = SeriesForecaster()
