"""Which model forecasts each series: every candidate is tried by rolling origin, the best is kept with its table.

Belongs here: the backtest of all candidates, scores, combinations, the choice. Does not: the final fit (``fitting``).
Reads and writes nothing.
"""

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from training_assets.recipes.forecast.base import BASELINE, LAGS
from training_assets.recipes.forecast.distributed import backtest
from training_assets.recipes.forecast.exogenous import restored
from training_assets.recipes.forecast.lags import backtest_lags
from training_assets.recipes.forecast.statistical import build

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd

    from training_assets.recipes.forecast.base import ForecastSpec

_KEYS = ["unique_id", "cutoff"]
_ALL = "all"
JOIN = "+"


@dataclass(frozen=True)
class Selection:
    """What the backtest said.

    Attributes:
        choices: ``unique_id, models, score, baseline_score``; ``models`` is empty where every candidate failed.
        scores: ``unique_id, model, score``; NaN for a model that failed in any window.
        errors: ``unique_id, cutoff, step, error`` (y - forecast) of the choice.
    """

    choices: "pd.DataFrame"
    scores: "pd.DataFrame"
    errors: "pd.DataFrame"


def select(spec: "ForecastSpec", series: "pd.DataFrame") -> Selection:
    """Try every candidate and keep the best one, the best average of a few, or all of them, as ``combine`` says.

    Args:
        spec: names candidates, windows, metric and embargo.
        series: ``unique_id, ds, y`` and what the models may see (see ``inputs``), every series long enough.

    Returns:
        The choice per series. Of equals the one earlier in the list wins, the baseline first. A model that failed in a window of a
        series is no part of its combination.
    """
    found = cross_validate(spec, series)
    names = [name for name in spec.names if name in found]
    scores = score(spec, found, names, series)
    members = _ranked(scores, names)
    if spec.combine == "best":
        options = [*names, *_with_averages(spec, found, scores, names, members)]
        return Selection(*_chosen(found, score(spec, found, options, series), options, members))
    sound = {key: [one for one in own if isfinite(scores.loc[key, one])] for key, own in members.items()}
    _with_all(spec, found, names, sound)
    return Selection(*_chosen(found, score(spec, found, [*names, _ALL], series), [_ALL], sound))


def _with_averages(
    spec: "ForecastSpec", found: "pd.DataFrame", scores: "pd.DataFrame", names: list[str], members: dict[str, list[str]]
) -> list[str]:
    """Put the averages of the best 2, 3, … beside the candidates; gives the new columns."""
    import numpy as np

    rows, values = scores.index.get_indexer(found["unique_id"]), found[names].to_numpy(dtype="float64")
    sizes = range(2, min(spec.average, len(names)) + 1)
    for size in sizes:
        best = np.array([[names.index(one) for one in members[key][:size]] for key in scores.index])
        found[f"best_{size}"] = np.take_along_axis(values, best[rows], axis=1).mean(axis=1)
    return [f"best_{size}" for size in sizes]


def _with_all(spec: "ForecastSpec", found: "pd.DataFrame", names: list[str], members: dict[str, list[str]]) -> None:
    """Put the combination of a series' members beside the candidates; NaN where it has none."""
    is_member = found["unique_id"].map({key: [name in own for name in names] for key, own in members.items()}).to_list()
    own = found[names].where(is_member)
    found[_ALL] = together(spec, {name: own[name].to_numpy() for name in names}, found["step"].to_numpy() + spec.embargo)


def together(spec: "ForecastSpec", answers: "Mapping[str, np.ndarray]", steps: "np.ndarray") -> "np.ndarray":
    """Several models' forecasts ``(n,)`` as one, as ``combine`` says; a model that is NaN has no part, NaN where none has.

    Args:
        spec: says how.
        answers: forecasts by model.
        steps: ``(n,)`` steps from the cutoff, from 1.
    """
    import warnings

    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of an empty mean
        if spec.combine == "median":
            return np.asarray(np.nanmedian(list(answers.values()), axis=0))
        others = [values for name, values in answers.items() if name != BASELINE]
        if spec.half_life is not None and others and BASELINE in answers:
            apart = np.nan_to_num(np.nanmean(others, axis=0) - answers[BASELINE])
            return np.asarray(answers[BASELINE] + 0.5 ** (steps / spec.half_life) * apart)
        return np.asarray(np.nanmean(list(answers.values()), axis=0))


def cross_validate(spec: "ForecastSpec", series: "pd.DataFrame") -> "pd.DataFrame":
    """Rolling-origin forecasts of all candidates, embargo left out: ``unique_id, ds, cutoff, y, step, <model>…``.

    A model sees rows up to each cutoff; all numbers are in units of ``y``; steps count from 1 after the embargo; NaN where a model failed.
    """
    found = backtest(spec, [build(spec, name) for name in spec.names if name != LAGS], series)
    if LAGS in spec.names:
        found = found.merge(backtest_lags(spec, series), on=["unique_id", "ds", "cutoff"], how="left")
    values = [name for name in found if name not in ("unique_id", "ds", "cutoff")]
    found[values] = restored(spec, found[values])
    found["step"] = found.groupby(_KEYS, sort=False).cumcount() + 1 - spec.embargo
    return found[found["step"] > 0].reset_index(drop=True)


def score(spec: "ForecastSpec", found: "pd.DataFrame", models: list[str], series: "pd.DataFrame") -> "pd.DataFrame":
    """Mean over the windows of the metric: one row per series, one column per model, smaller is better.

    MASE is scaled by the seasonal naive error within the rows before the first cutoff; where that is 0, by nothing.
    NaN where a forecast is missing. Source: ``utilsforecast.losses``.
    """
    from utilsforecast import losses

    metric = spec.backtest.metric
    loss = getattr(losses, "mae" if metric == "mase" else metric)
    windows = loss(found[[*_KEYS, "y", *models]], models=models)
    scores = windows.drop(columns="cutoff").groupby("unique_id", sort=False)[models].agg(lambda own: own.mean(skipna=False))
    if metric != "mase":
        return scores
    first = found.groupby("unique_id", sort=False)["cutoff"].min()
    before = series[series["ds"] <= series["unique_id"].map(first)]
    before = before.assign(y=restored(spec, before["y"]))
    moves = before["y"].sub(before.groupby("unique_id", sort=False)["y"].shift(spec.season)).abs()
    scale = moves.groupby(before["unique_id"], sort=False).mean()
    return scores.div(scale.where(scale > 0, 1.0).reindex(scores.index), axis=0)


def _ranked(scores: "pd.DataFrame", names: list[str]) -> dict[str, list[str]]:
    import numpy as np

    order = np.argsort(scores[names].fillna(np.inf).to_numpy(), axis=1, kind="stable")
    return {str(key): [names[one] for one in own] for key, own in zip(scores.index, order, strict=True)}


def _chosen(
    found: "pd.DataFrame", scores: "pd.DataFrame", options: list[str], members: dict[str, list[str]]
) -> tuple["pd.DataFrame", "pd.DataFrame", "pd.DataFrame"]:
    import numpy as np
    import pandas as pd

    matrix: np.ndarray = scores[options].fillna(np.inf).to_numpy()
    best = matrix.argmin(axis=1)
    is_sound = np.isfinite(matrix.min(axis=1))
    names = [_models(options[one], members[str(key)]) if ok else "" for key, one, ok in zip(scores.index, best, is_sound, strict=True)]
    choices = pd.DataFrame(
        {
            "unique_id": scores.index.astype(str),
            "models": names,
            "score": np.where(is_sound, matrix.min(axis=1), np.nan),
            "baseline_score": scores[BASELINE].to_numpy(),
        }
    )
    forecasts = found[options].to_numpy()[np.arange(len(found)), best[scores.index.get_indexer(found["unique_id"])]]
    errors = found[[*_KEYS, "step"]].assign(error=found["y"] - forecasts).dropna(subset=["error"]).reset_index(drop=True)
    table = scores.rename_axis("unique_id").reset_index().melt("unique_id", var_name="model", value_name="score")
    return choices, table.sort_values(["unique_id", "model"], ignore_index=True), errors


def _models(option: str, ranked: list[str]) -> str:
    if option == _ALL:
        return JOIN.join(sorted(ranked))
    size = option.removeprefix("best_")
    return JOIN.join(sorted(ranked[: int(size)])) if size != option else option
