"""Where the work on many series runs: this process, processes beside it, or a Dask cluster. One setting decides.

Belongs here: spreading work and nothing about forecasting. Does not: the work. Nixtla's Fugue backend rounds answers to single
precision and cannot fit, so backtests go through it in double precision, and fits through the same Fugue transform.
"""

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from resources.quiet import settle

if TYPE_CHECKING:
    import pandas as pd

    from training_assets.recipes.forecast.base import ForecastSpec

_BATCHES_PER_JOB = 8


def over_series(
    spec: "ForecastSpec", work: Callable[[dict[str, Any]], dict[str, Any]], tasks: dict[str, dict[str, Any]], title: str
) -> dict[str, dict[str, Any]]:
    """Do ``work`` for every series, wherever the specification says.

    Args:
        spec: its ``engine``, ``n_jobs``, ``scheduler`` and ``progress``.
        work: a function of a module, from plain data to plain data.
        tasks: series to its task; JSON must be able to carry it.
        title: beside the progress bar.

    Returns:
        Series to answer, in the order of ``tasks``; the same wherever it ran.
    """
    import pandas as pd

    if not tasks:
        return {}
    if spec.engine == "local" and spec.n_jobs == 1:
        return {name: work(task) for name, task in _watched(tasks.items(), len(tasks), spec, title)}
    texts = [json.dumps(task) for task in tasks.values()]
    frame = pd.DataFrame(
        {"unique_id": list(tasks), "text": texts, "batch": [i % (spec.n_jobs * _BATCHES_PER_JOB) for i in range(len(texts))]}
    )
    answers = _on_dask(spec, work, frame) if spec.engine == "dask" else _in_processes(spec, work, frame, title)
    told = dict(zip(answers["unique_id"], answers["text"], strict=True))
    return {name: json.loads(told[name]) for name in tasks}


def backtest(spec: "ForecastSpec", models: list[Any], frame: "pd.DataFrame") -> "pd.DataFrame":
    """Rolling-origin forecasts of statsforecast models: ``unique_id, ds, cutoff, y, <model>…``; NaN where a model failed.

    The horizon covers the embargo; whoever scores leaves its steps out.
    """
    if spec.engine == "dask":
        return _backtest_on_dask(spec, models, frame)
    ids = frame["unique_id"].drop_duplicates().tolist()
    count = min(len(ids), max(1, spec.n_jobs * _BATCHES_PER_JOB) if spec.n_jobs > 1 or spec.progress else 1)
    batches = [frame[frame["unique_id"].isin(set(ids[start::count]))] for start in range(count)]
    return _joined(_calls(spec, _backtest, [(spec, models, batch) for batch in batches], "backtest"))


def _backtest(spec: "ForecastSpec", models: list[Any], frame: "pd.DataFrame") -> "pd.DataFrame":
    from statsforecast import StatsForecast

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a search tries orders that do not converge, and says so for each
        return StatsForecast(models, freq=spec.freq, fallback_model=_missing()).cross_validation(df=frame, **_windows(spec))


def _windows(spec: "ForecastSpec") -> dict[str, Any]:
    return {"h": spec.reach, "n_windows": spec.backtest.windows, "step_size": spec.step, "input_size": spec.max_history}


def _missing() -> Any:
    """Statsforecast does not say that its fallback answered; NaN does."""
    from statsforecast.models import NaNModel

    return NaNModel()


def _backtest_on_dask(spec: "ForecastSpec", models: list[Any], frame: "pd.DataFrame") -> "pd.DataFrame":
    import dask.dataframe as dd
    import pyarrow as pa
    from fugue_dask import DaskExecutionEngine
    from statsforecast.distributed.fugue import FugueBackend
    from triad import Schema

    class DoublePrecision(FugueBackend):  # type: ignore[misc] # fugue is untyped
        def _get_output_schema(self, **asked: Any) -> Schema:
            single = super()._get_output_schema(**asked)
            return Schema([(one.name, pa.float64() if pa.types.is_floating(one.type) else one.type) for one in single.fields])

    with _cluster(spec) as client:
        own = {"test_size": None, "level": None, "refit": True, "fitted": False, "prediction_intervals": None}
        columns = {"id_col": "unique_id", "time_col": "ds", "target_col": "y"}
        windows = {**_windows(spec), "test_size": spec.backtest_rows, "n_windows": None}
        spread = dd.from_pandas(frame, npartitions=spec.n_jobs * 2, sort=False)
        backend = DoublePrecision(DaskExecutionEngine(client))
        answer = backend.cross_validation(
            df=spread, freq=spec.freq, models=models, fallback_model=_missing(), **{**own, **windows, **columns}
        )
        found = answer.compute()
    # dask answers in Arrow's types
    numbers = {name: "float64" for name in found if name not in ("unique_id", "ds", "cutoff")}
    own = found.astype({"unique_id": "object", "ds": frame["ds"].dtype, "cutoff": frame["ds"].dtype, **numbers})
    return own.sort_values(["unique_id", "cutoff", "ds"], ignore_index=True)


def _in_processes(spec: "ForecastSpec", work: Callable[..., Any], frame: "pd.DataFrame", title: str) -> "pd.DataFrame":
    return _joined(_calls(spec, _batch, [(one, work) for _, one in frame.groupby("batch")], title))


def _calls(spec: "ForecastSpec", function: Callable[..., Any], asked: list[tuple[Any, ...]], title: str) -> Iterator[Any]:
    """Answers in the order asked, from this process or from ``n_jobs`` beside it."""
    if spec.n_jobs == 1:
        yield from _watched((function(*one) for one in asked), len(asked), spec, title)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    settle()
    methods = multiprocessing.get_all_start_methods()
    # a plain fork copies locks that threads of this process may hold; the fork server has none and imports once
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(["statsforecast", __name__, "training_assets.recipes.forecast.fitting"])
    with ProcessPoolExecutor(spec.n_jobs, mp_context=context) as pool:
        yield from _watched(pool.map(function, *zip(*asked, strict=True)), len(asked), spec, title)


def _on_dask(spec: "ForecastSpec", work: Callable[..., Any], frame: "pd.DataFrame") -> "pd.DataFrame":
    import dask.dataframe as dd
    import fugue.api as fa
    import pandas as pd

    # Fugue reads the annotations, so they must name what is imported
    def batch(own: pd.DataFrame) -> pd.DataFrame:
        return _batch(own, work)

    with _cluster(spec) as client:
        spread = dd.from_pandas(frame, npartitions=spec.n_jobs * 2, sort=False)
        schema, by = "unique_id:str,text:str", {"by": "batch"}
        answer = fa.transform(spread, batch, schema=schema, partition=by, engine=client)
        return answer.compute()


def _batch(frame: "pd.DataFrame", work: Any) -> "pd.DataFrame":
    import pandas as pd

    texts = [json.dumps(work(json.loads(text))) for text in frame["text"]]
    return pd.DataFrame({"unique_id": frame["unique_id"].astype(str).to_list(), "text": texts})


#: Client of the Dask cluster that is open; each thread and task has its own.
_open: ContextVar[Any] = ContextVar("_open", default=None)


@contextmanager
def one_cluster(spec: "ForecastSpec") -> Iterator[None]:
    """All work inside shares one Dask cluster, which takes longer to start than many a fit; nothing happens where no Dask is asked for."""
    if spec.engine != "dask":
        yield
        return
    with _cluster(spec) as client:
        token = _open.set(client)
        try:
            yield
        finally:
            _open.reset(token)


@contextmanager
def _cluster(spec: "ForecastSpec") -> Iterator[Any]:
    from distributed import Client, LocalCluster

    if _open.get() is not None:
        yield _open.get()
        return
    if spec.scheduler is not None:
        with Client(spec.scheduler) as client:
            yield client
        return
    with (
        LocalCluster(n_workers=spec.n_jobs, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _watched(items: Any, total: int, spec: "ForecastSpec", title: str) -> Iterator[Any]:
    from tqdm.auto import tqdm

    return iter(tqdm(items, total=total, desc=title, disable=not spec.progress))


def _joined(frames: Iterator["pd.DataFrame"]) -> "pd.DataFrame":
    import pandas as pd

    kept = pd.concat(list(frames), ignore_index=True)
    return kept.sort_values([column for column in ("unique_id", "cutoff", "ds") if column in kept], ignore_index=True)
