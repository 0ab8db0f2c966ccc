"""Read production rows from CSV, Parquet or a read-only DuckDB file, and sort the good from the broken.

Belongs here: the contract of incoming rows, de-duplication, reasons for rejection. Does not: scoring, the lake.
Reads: the declared log source. Writes: nothing; callers store what is returned.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from resources.chunks import as_utc, parse_duration
from resources.forecast_ledger import ROW_TIME
from resources.outcome_source import read_outcomes
from resources.policy import PROBABILITY, MonitoredModel, probability_column
from resources.source import (
    connect,
    escaped,
    expected_outcome,
    instant_sql,
    moment_sql,
    open_source,
    outcome_sql,
    quote,
    reason_sql,
    require_known,
    require_zone,
    text_sql,
)
from resources.vocabulary import Task

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

#: Chunk name of rejected rows whose time cannot be read, so that no chunk claims them.
UNDATED = "undated"
SUPERSEDED = "superseded by a later write of the same prediction id"
#: Probabilities of all classes may sum to one this inexactly; what is stored is divided by their sum, because ROC AUC takes no other.
_INEXACT = 1e-3


@dataclass(frozen=True)
class LogRows:
    """One read of the log: accepted rows, rejected rows with reasons, and what was counted on the way.

    ``accepted`` has ``prediction_id, time, written_at``, the features, ``y_true``, ``observed_at`` (when the outcome became known)
    and, when the log declares them, the predictions and ``model_version``; of several classes ``y_true`` and ``y_pred`` are places in
    ``outcome.classes``, and the probabilities of a row sum to one. ``rejected`` has ``prediction_id, time, reason, row``.
    ``rejected_outcomes`` are the broken rows of an outcome source of its own, all of them; ``None`` where none was read.
    """

    accepted: "pd.DataFrame"
    rejected: "pd.DataFrame"
    n_read: int
    n_duplicates: int
    n_late: int
    rejected_outcomes: "pd.DataFrame | None" = None


def read_log(
    policy: MonitoredModel,
    base: Path,
    start: datetime,
    end: datetime,
    *,
    undated: bool = False,
    with_outcomes: bool = True,
    known_by: datetime | None = None,
) -> LogRows:
    """Read the rows with ``start <= time < end``; within a chunk the last write of a prediction id wins.

    Args:
        policy: declares source, columns and features.
        base: folder that relative paths start from.
        start: first moment, UTC.
        end: first moment after the window, UTC.
        undated: also return rows whose time cannot be read (as rejected rows); scans the whole time column.
        with_outcomes: ``False`` where nobody looks at outcomes: they come as the log has them, and a source of their own is not read.
        known_by: an outcome that became known later is left out, UTC; all outcomes if absent.

    Returns:
        Accepted and rejected rows; ``n_read == len(accepted) + len(rejected)`` always.

    Raises:
        LogSourceError: for a missing file, table or column, or timestamps without a declared zone.
    """
    with _opened(policy, base) as (connection, types, moment):
        window = f"{moment} >= '{start.isoformat()}' AND {moment} < '{end.isoformat()}'"
        if undated:
            window = f"({window}) OR {moment} IS NULL"
        frame = connection.sql(_sorting_query(policy, moment, types, window)).df()
    read = _split(policy, frame)
    return _with_outcomes(policy, base, read, known_by) if with_outcomes else read


def newest_row(policy: MonitoredModel, base: Path, before: datetime) -> datetime | None:
    """Time of the newest row of the log with ``time < before``, UTC; ``None`` where there is none.

    Raises:
        LogSourceError: for a missing file, table or column, or timestamps without a declared zone.
    """
    with _opened(policy, base) as (connection, _, moment):
        [(found,)] = connection.sql(f"SELECT max({moment}) FROM source WHERE {moment} < '{before.isoformat()}'").fetchall()
    return None if found is None else as_utc(found)


def read_observed(policy: MonitoredModel, base: Path, start: datetime, end: datetime) -> "pd.DataFrame":
    """Outcomes of a log that says when it learned them: ``prediction_id, time, observed_at, y_true`` of rows with ``start <= time < end``."""
    log, outcome = policy.log, policy.outcome
    with connect() as connection:
        types = open_source(connection, log, base)
        _require_columns(policy, types)
        moment, observed = (instant_sql(log, name, types[name]) for name in (log.time, outcome.observed_at or log.time))
        frame = connection.sql(
            f"SELECT {_id_sql(policy, moment)} AS prediction_id, {moment} AS time, {observed} AS observed_at, "
            f"{outcome_sql(outcome.column, outcome.classes)} AS y_true "
            f"FROM source WHERE {moment} >= '{start.isoformat()}' AND {moment} < '{end.isoformat()}'"
        ).df()
    return frame.dropna().drop_duplicates("prediction_id", keep="last")


@contextmanager
def _opened(policy: MonitoredModel, base: Path) -> "Iterator[tuple[duckdb.DuckDBPyConnection, dict[str, str], str]]":
    """The log as the view ``source``, the types of its columns, and SQL of a row's moment. Raises LogSourceError."""
    with connect() as connection:
        types = open_source(connection, policy.log, base)
        _require_columns(policy, types)
        require_zone(connection, policy.log, policy.log.time, types)
        yield connection, types, moment_sql(policy.log, policy.log.time, types)


def _with_outcomes(policy: MonitoredModel, base: Path, read: LogRows, known_by: datetime | None) -> LogRows:
    """Accepted rows with ``y_true`` and ``observed_at`` as known by a moment, from wherever outcomes are declared to come."""
    import pandas as pd

    rows = read.accepted
    if policy.outcome.is_given:
        known = read_outcomes(policy, base, ids=rows["prediction_id"], known_by=known_by)
        return replace(read, accepted=rows.merge(known.accepted, on="prediction_id", how="left"), rejected_outcomes=known.rejected)
    if policy.outcome.observed_at is None:
        rows = rows.assign(observed_at=_due(policy, rows["time"]))
    is_known = rows["y_true"].notna() & rows["observed_at"].notna()
    if known_by is not None:
        is_known &= rows["observed_at"] <= pd.Timestamp(known_by)
    return replace(read, accepted=rows.assign(y_true=rows["y_true"].where(is_known), observed_at=rows["observed_at"].where(is_known)))


def _due(policy: MonitoredModel, times: "pd.Series") -> "pd.Series":
    """Moment each outcome is due: prediction time ``(n_rows,)`` plus the label delay, UTC."""
    import pandas as pd

    delay = parse_duration(policy.outcome.delay).normalized()
    offset = pd.DateOffset(years=delay.years, months=delay.months, days=delay.days, hours=delay.hours)
    return (times + offset).astype("datetime64[us, UTC]")


def _require_columns(policy: MonitoredModel, types: dict[str, str]) -> None:
    log, outcome = policy.log, policy.outcome
    wanted = [log.time, *policy.features.all, *policy.segment_columns]
    wanted += [
        name for name in (log.id, log.written_at, log.prediction, log.probability, *log.probabilities.values(), log.model_version) if name
    ]
    if not outcome.is_given:
        wanted += [outcome.column, *([outcome.observed_at] if outcome.observed_at else [])]
    require_known("log", wanted, types)


def _probabilities(policy: MonitoredModel) -> dict[str, str]:
    """Columns of the log with probabilities, by the name they are stored under."""
    log = policy.log
    if log.probabilities:
        return {probability_column(place): log.probabilities[name] for place, name in enumerate(policy.outcome.classes)}
    return {PROBABILITY: log.probability} if log.probability else {}


def _sorting_query(policy: MonitoredModel, moment: str, types: dict[str, str], window: str) -> str:
    """One SELECT: typed columns, the first broken rule of each row as ``reason``, and its rank among duplicates."""
    log = policy.log
    numbers = {name: name for name in policy.features.numeric}
    if not policy.outcome.is_given:
        numbers |= {"y_true": policy.outcome.column}
    if log.prediction:
        numbers |= {"y_pred": log.prediction}
    numbers |= _probabilities(policy)
    values = {name: outcome_sql(column, _classes(policy, name)) for name, column in numbers.items()}
    rules = [
        f"WHEN {moment} IS NULL THEN {reason_sql(log.time, 'a timestamp')}",
        *_unnamed(policy),
        *_unreadable(policy, numbers, values),
        *_impossible(policy, numbers, values),
    ]
    if log.probabilities:
        total = " + ".join(values[name] for name in _probabilities(policy))
        values |= {name: f"{values[name]} / ({total})" for name in _probabilities(policy)}
    observed = None if policy.outcome.is_given else policy.outcome.observed_at
    written = instant_sql(log, log.written_at, types[log.written_at]) if log.written_at else "CAST(NULL AS TIMESTAMPTZ)"
    columns = [
        f"{_id_sql(policy, moment)} AS prediction_id",
        f"{moment} AS time",
        f"{written} AS written_at",
        *(f"{value} AS {quote(name)}" for name, value in values.items()),
        *(f"{text_sql(name)} AS {quote(name)}" for name in [*policy.features.categorical, *policy.segment_columns]),
        *([f"{text_sql(log.model_version)} AS model_version"] if log.model_version else []),
        *([f"{instant_sql(log, observed, types[observed])} AS observed_at"] if observed else []),
        f"CASE {' '.join(rules)} END AS reason",
        "to_json(_plumbline_row)::VARCHAR AS row",
        "_plumbline_position",
    ]
    ordered = f"SELECT *, row_number() OVER () AS _plumbline_position, _plumbline_rows AS _plumbline_row FROM source AS _plumbline_rows WHERE {window}"
    return f"SELECT {', '.join(columns)} FROM ({ordered}) ORDER BY _plumbline_position"


def _id_sql(policy: MonitoredModel, moment: str) -> str:
    """SQL for what names a row: its column, or series and time of a forecaster's, as ``forecast_ledger.row_ids`` writes them."""
    if policy.log.id:
        return text_sql(policy.log.id)
    series = text_sql(policy.series) if policy.series else f"'{escaped(policy.model)}'"
    return f"({series} || '@' || strftime({moment} AT TIME ZONE 'UTC', '{ROW_TIME}'))"


def _unnamed(policy: MonitoredModel) -> list[str]:
    """Rules about rows that nothing names."""
    if policy.log.id:
        return [f"WHEN {text_sql(policy.log.id)} IS NULL THEN 'no prediction id in column ' || '{escaped(policy.log.id)}'"]
    return [f"WHEN {text_sql(policy.series)} IS NULL THEN 'no series in column ' || '{escaped(policy.series)}'"] if policy.series else []


def _classes(policy: MonitoredModel, name: str) -> list[str]:
    """Classes that a stored column holds; none where it holds a number."""
    return policy.outcome.classes if name in ("y_true", "y_pred") else []


def _unreadable(policy: MonitoredModel, numbers: dict[str, str], values: dict[str, str]) -> Iterator[str]:
    """Rules about cells that hold something else than they should; ``numbers`` has the columns, ``values`` their SQL, by stored name."""
    for name, column in numbers.items():
        unreadable = f"({values[name]} IS NULL OR NOT isfinite({values[name]}))"
        broken = f"{text_sql(column)} IS NOT NULL AND lower({text_sql(column)}) <> 'nan' AND {unreadable}"
        yield f"WHEN {broken} THEN {reason_sql(column, expected_outcome(_classes(policy, name)))}"


def _impossible(policy: MonitoredModel, numbers: dict[str, str], values: dict[str, str]) -> Iterator[str]:
    """Rules about predictions and outcomes that can be read and cannot be."""
    probabilities = _probabilities(policy)
    for name in (*(["y_pred"] if policy.log.prediction else []), *probabilities):
        yield f"WHEN {values[name]} IS NULL THEN {reason_sql(numbers[name], 'a prediction in every row')}"
    for name, column in probabilities.items():
        yield f"WHEN {values[name]} NOT BETWEEN 0 AND 1 THEN {reason_sql(column, 'a probability in [0, 1]')}"
    if policy.log.probabilities:
        total, columns = " + ".join(values[name] for name in probabilities), escaped(", ".join(probabilities.values()))
        told = f"'{columns}: got ' || round({total}, 6) || ' in all; expected probabilities that sum to 1'"
        yield f"WHEN abs({total} - 1) > {_INEXACT} THEN {told}"
    if policy.task is Task.BINARY_CLASSIFICATION and not policy.outcome.is_given:
        yield f"WHEN {values['y_true']} NOT IN (0, 1) THEN {reason_sql(numbers['y_true'], 'an outcome of 0 or 1')}"


def _split(policy: MonitoredModel, frame: "pd.DataFrame") -> LogRows:
    good = frame["reason"].isna()
    ordered = frame[good].sort_values(["written_at", "_plumbline_position"], na_position="first", kind="stable")
    chunks = policy.cadence.keys(ordered["time"])
    superseded = ordered[ordered.assign(chunk=chunks).duplicated(["chunk", "prediction_id"], keep="last")]
    accepted = ordered.drop(superseded.index).sort_values("_plumbline_position", kind="stable")
    superseded = superseded.assign(reason=SUPERSEDED)
    keep = ["prediction_id", "time", "reason", "row"]
    import pandas as pd

    rejected = pd.concat([frame.loc[~good, keep], superseded[keep]], ignore_index=True)
    keys = policy.cadence.keys(accepted["time"])
    chunk_end = pd.to_datetime(keys.map({key: policy.cadence.end(key) for key in keys.unique()}), utc=True)
    n_late = int((accepted["written_at"] > chunk_end).sum())
    accepted = accepted.drop(columns=["reason", "row", "_plumbline_position"]).reset_index(drop=True)
    return LogRows(accepted, rejected, len(frame), len(superseded), n_late)
