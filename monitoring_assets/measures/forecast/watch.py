"""Everything that is known of a forecaster when it starts to serve, and what a chunk of its forecasts says beside that.

Belongs here: fitting limits, bands and detectors on the matured backtest of a version, and the lines of one chunk. Does not: each
number (``accuracy``, ``coverage``, ``residuals``, ``breaks``), what they mean together (``decay``), reading the ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.calibrated import Calibrated
from monitoring_assets.measures.forecast.accuracy import accuracy_lines, measure_parts, metrics_of
from monitoring_assets.measures.forecast.breaks import break_lines, date_break
from monitoring_assets.measures.forecast.coverage import ReferenceCoverage, coverage_lines, fit_coverage
from monitoring_assets.measures.forecast.error_limits import LIMITED, ErrorLimits, error_lines, fit_error_limits
from monitoring_assets.measures.forecast.matured import levels_of, matured, segments_of
from monitoring_assets.measures.forecast.residuals import ResidualWatch, fit_residual_watch, residual_lines, standing_states
from monitoring_assets.measures.lines import ALL, joined
from monitoring_assets.measures.sequential import Detector
from monitoring_assets.measures.univariate import segment_name
from resources.forecasting import Forecast
from resources.policy import MonitoredModel
from resources.vocabulary import Kind, Scope

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Chunks of a window for which the detectors keep their promise.
WINDOW = 60
#: Horizons that get a line each; longer ones are put together, each bucket twice as long as the one before it.
_MOST_HORIZONS = 31
_BY_HORIZON = ("mae", "mase", "bias", "skill")
#: Fewest errors of a series at one horizon from which their spread is taken.
_FEWEST = 8
#: Newest errors in which a break is looked for.
_LOOKED_AT = 400
#: Chunks for which an alarm of a detector counts; a change that lasts alarms again.
_RECENT = 3
#: Chance of a break being named where there is none.
_BREAK = 0.01
UNIQUE_ID = "unique_id"


@dataclass(frozen=True)
class Watch:
    """What one version was accepted with.

    Attributes:
        limits: of errors of the forecasts served, by segment and metric.
        coverage: of their intervals, by level.
        residuals: detectors by segment.
        usual: mean of each metric over the chunks of the backtest.
        spreads: standard deviation of errors, by series, then by horizon as text; ``all`` is over all horizons.
        scales: unit of MASE by series.
        block: steps that are put together before the detectors see them: errors of half an hour and the next are one error.
    """

    limits: ErrorLimits
    coverage: Mapping[str, ReferenceCoverage]
    residuals: Mapping[str, ResidualWatch]
    usual: Mapping[str, float]
    spreads: Mapping[str, Mapping[str, float]]
    scales: Mapping[str, float]
    block: int = 1

    def as_plain(self) -> dict[str, Any]:
        """Plain data for storage."""
        numbers = [[*names, one.as_plain()] for names, one in self.limits.numbers.items()]
        return {
            "limits": {"numbers": numbers, "usual": self.limits.usual},
            "coverage": {level: asdict(one) for level, one in self.coverage.items()},
            "residuals": {segment: asdict(one) for segment, one in self.residuals.items()},
            "usual": dict(self.usual), "spreads": {name: dict(own) for name, own in self.spreads.items()}, "scales": dict(self.scales),
            "block": self.block,
        }  # fmt: skip

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Watch":
        """What ``as_plain`` gave, also after a way through JSON."""
        numbers = {(segment, metric): Calibrated.from_plain(one) for segment, metric, one in plain["limits"]["numbers"]}
        return cls(
            ErrorLimits(numbers, plain["limits"]["usual"]),
            {level: ReferenceCoverage(**one) for level, one in plain["coverage"].items()},
            {segment: _residuals(one) for segment, one in plain["residuals"].items()},
            plain["usual"],
            plain["spreads"],
            plain["scales"],
            plain["block"],
        )


def _residuals(plain: Mapping[str, Any]) -> ResidualWatch:
    detectors = tuple(Detector(**{**one, "quantiles": tuple(one["quantiles"])}) for one in plain["detectors"])
    return ResidualWatch(**{**plain, "detectors": detectors})


def served(rows: "pd.DataFrame") -> "pd.DataFrame":
    """Of the forecasts for each series and time the one of the newest cutoff: what was acted on."""
    newest = rows.sort_values("cutoff", kind="stable").drop_duplicates([UNIQUE_ID, "ds"], keep="last")
    return newest.sort_values(["ds", UNIQUE_ID], kind="stable").reset_index(drop=True)


def fit_watch(policy: MonitoredModel, own: Forecast, rows: "pd.DataFrame", scales: Mapping[str, float]) -> Watch:
    """Learn what is normal from the backtest that a version was accepted with.

    Args:
        policy: declares metrics, scope and false alarms.
        own: its section ``forecast``.
        rows: backtest with outcomes, as ``matured`` wants it, and the segment columns.
        scales: unit of MASE by series.
    """
    import numpy as np

    answered = served(matured(rows))
    per_chunk = policy.cadence.keys(answered["ds"])
    steps = max(1, int(answered.groupby(per_chunk)["ds"].nunique().median()))
    parts, units = watched(policy, own, answered), _units(scales)
    metrics = [name for name in dict.fromkeys([*policy.metrics, "bias"]) if name in LIMITED]
    spreads = _spreads(answered)
    block = _block(stream(spreads, answered)[1], steps)
    residuals = {
        segment: fit_residual_watch(
            stream(spreads, part, block)[1],
            steps_per_chunk=-(-steps // block),
            n_chunks=WINDOW,
            false_alarms=min(0.5, WINDOW * own.false_alarms / 3 / len(parts)),
            seed=policy.retrain.seed,
            detectors=own.detectors,
            resamples=300,
        )
        for segment, part in parts.items()
    }
    chunks = measure_parts({str(key): part for key, part in answered.groupby(per_chunk)}, units, policy.metrics).values()
    usual = {name: float(np.nanmean([one[name].value for one in chunks])) for name in policy.metrics} if chunks else {}
    return Watch(fit_error_limits(parts, steps, metrics, units), fit_coverage(answered), residuals, usual, spreads, dict(scales), block)


def with_limits(fresh: Watch, before: Watch, fewest: int) -> Watch:
    """The limits of the version before where the fresh backtest says too little: learned from fewer than ``fewest`` independent chunks.

    Detectors are kept together with the spreads they standardise by.
    """
    old = before.limits.numbers
    numbers = {
        name: old[name] if name in old and _independent_chunks(one) < fewest <= _independent_chunks(old[name]) else one
        for name, one in fresh.limits.numbers.items()
    }
    is_silent = any(detector.refusal for one in fresh.residuals.values() for detector in one.detectors)
    limits = replace(fresh.limits, numbers=numbers)
    if not is_silent:
        return replace(fresh, limits=limits)
    return replace(fresh, limits=limits, residuals=before.residuals, spreads={**fresh.spreads, **before.spreads})


def _independent_chunks(one: Calibrated) -> int:
    """Independent blocks that the widest known limit rests on; 0 where nothing is known."""
    return min(one.null.blocks, default=0) if one.null.is_known else 0


def watched(policy: MonitoredModel, own: Forecast, rows: "pd.DataFrame") -> "Mapping[str, pd.DataFrame]":
    """Parts that have limits of their own: all rows, and each cohort or series where that is the scope."""
    if own.scope is Scope.SERIES and policy.series:
        parts = {segment_name(policy.series, str(name)): part for name, part in rows.groupby(UNIQUE_ID, sort=True)}
        return {ALL: rows, **parts}
    return segments_of(rows, by_horizon=False, cohorts=policy.segments if own.scope is Scope.COHORT else ())


def _units(scales: Mapping[str, float]) -> "pd.DataFrame":
    import pandas as pd

    unit = pd.Series(scales, dtype="float64")
    return pd.DataFrame({"mase": unit, "rmsse": unit})


def _spreads(rows: "pd.DataFrame") -> dict[str, dict[str, float]]:
    """Standard deviation of errors by series and horizon."""
    errors = rows.assign(error=rows["y"] - rows["mean"])
    found: dict[str, dict[str, float]] = {}
    for name, own in errors.groupby(UNIQUE_ID, sort=True):
        by_horizon = own.groupby("h")["error"].agg(["std", "size"])
        kept = by_horizon[(by_horizon["size"] >= _FEWEST) & (by_horizon["std"] > 0)]["std"]
        found[str(name)] = {ALL: float(own["error"].std()), **{str(h): float(one) for h, one in kept.items()}}
    return found


def _block(errors: "np.ndarray", steps: int) -> int:
    """Steps of a chunk that tell as much as one independent one: the integrated autocorrelation time, a whole part of the chunk."""
    import numpy as np

    from monitoring_assets.measures.sequential import block_length

    finite = errors[np.isfinite(errors)]
    if steps < 2 or len(finite) < _FEWEST:
        return 1
    time = block_length(finite) / max(1, round(len(finite) ** (1 / 3)))
    return int(min(steps, max(1, round(time))))


def stream(spreads: Mapping[str, Mapping[str, float]], rows: "pd.DataFrame", block: int = 1) -> "tuple[Sequence[Any], np.ndarray]":
    """Times, and the mean over series of standardised errors (outcome minus forecast) of the forecasts served, one per time ``(n,)``.

    Each error is divided by the spread that errors of its series and horizon had in the backtest, so that a chunk forecast at once is
    one stream with what is forecast a step ahead. ``block`` consecutive steps that were forecast at once give one element: their mean.
    """
    import numpy as np

    spread = np.array([
        spreads.get(row.unique_id, {}).get(str(row.h), spreads.get(row.unique_id, {}).get(ALL, np.nan)) for row in rows.itertuples()
    ])  # fmt: skip
    error = (rows["y"] - rows["mean"]).to_numpy(dtype="float64")
    with np.errstate(divide="ignore", invalid="ignore"):
        standardised = np.where(spread > 0, error / spread, np.nan)
    by_time = rows[["ds", "cutoff"]].assign(z=standardised).groupby("ds", sort=True).agg({"z": "mean", "cutoff": "max"})
    if block == 1:
        return list(by_time.index), by_time["z"].to_numpy()
    place = by_time.groupby("cutoff", sort=False).cumcount() // block
    parts = by_time.reset_index().assign(place=place.to_numpy()).groupby(["cutoff", "place"], sort=False)
    blocks = parts.agg(ds=("ds", "max"), z=("z", "mean")).sort_values("ds")
    return list(blocks["ds"]), blocks["z"].to_numpy()


def chunk_lines(
    policy: MonitoredModel, own: Forecast, watch: Watch, chunk: str, rows: "pd.DataFrame", since: "pd.DataFrame"
) -> "pd.DataFrame":
    """Lines of one chunk.

    Args:
        policy: declares metrics, scope and false alarms.
        own: its section ``forecast``.
        watch: of the version that served the chunk.
        chunk: its key.
        rows: all matured forecasts for times in the chunk, with the segment columns.
        since: forecasts served by that version up to the end of the chunk, from the start of a window on.
    """
    every = matured(rows)
    answered, units = served(every), _units(watch.scales)
    parts, rate = watched(policy, own, answered), own.false_alarms / 3
    limited = _as_performance(policy, watch, error_lines(chunk, parts, watch.limits, rate, units))
    has_limits = set(watch.limits.numbers)
    shown = [name for name in metrics_of(answered, units) if (ALL, name) not in has_limits and not name.startswith("coverage_")]
    whole = _as_performance(policy, watch, accuracy_lines(chunk, {ALL: answered}, units, shown))
    widest = [f"coverage_{levels_of(every)[-1]}"] if levels_of(every) else []
    by_horizon = accuracy_lines(chunk, _by_horizon(every), units, [*(n for n in _BY_HORIZON if n in metrics_of(every, units)), *widest])
    covered = coverage_lines(chunk, parts, watch.coverage, rate)
    seen = served(matured(since))
    drifted = [_residual_lines(chunk, watch, segment, part) for segment, part in watched(policy, own, seen).items()]
    found = joined([limited, whole, by_horizon, covered, *drifted])
    return joined([found, _break_lines(chunk, watch, found, seen)])


def _by_horizon(rows: "pd.DataFrame") -> "Mapping[str, pd.DataFrame]":
    longest = int(rows["h"].max()) if len(rows) else 0
    if longest <= _MOST_HORIZONS:
        found = segments_of(rows)
    else:
        buckets, first = [], 1
        while first <= longest:
            buckets.append((first, min(2 * first - 1, longest)))
            first *= 2
        found = segments_of(rows, by_horizon=False, buckets=buckets)
    return {name: own for name, own in found.items() if name != ALL}


def _as_performance(policy: MonitoredModel, watch: Watch, lines: "pd.DataFrame") -> "pd.DataFrame":
    """Declared metrics of all rows are realized performance, as of every model; the effect is the distance from the backtest's mean."""
    is_metric = (lines["segment"] == ALL) & lines["subject"].isin(policy.metrics)
    usual = lines["subject"].map(dict(watch.usual)).astype("float64")
    kind = lines["kind"].mask(is_metric, str(Kind.REALIZED_PERFORMANCE))
    is_deciding = lines["is_deciding"] | is_metric
    return lines.assign(kind=kind, effect=lines["effect"].mask(is_metric, lines["value"] - usual), is_deciding=is_deciding)


def _residual_lines(chunk: str, watch: Watch, segment: str, rows: "pd.DataFrame") -> "pd.DataFrame":
    if segment not in watch.residuals:
        return joined([])
    times, errors = stream(watch.spreads, rows, watch.block)
    named = [f"{moment:%Y-%m-%d %H:%M}" for moment in times]
    own = watch.residuals[segment]
    return residual_lines(chunk, standing_states(own, errors, _RECENT * own.steps_per_chunk), named, segment)


def _break_lines(chunk: str, watch: Watch, found: "pd.DataFrame", seen: "pd.DataFrame") -> "pd.DataFrame":
    """Where anything decides against the forecasts: when their errors broke, if they did at once."""
    if not (found["breach"] & found["is_deciding"]).any():
        return joined([])
    times, errors = stream(watch.spreads, seen, watch.block)
    named = [f"{moment:%Y-%m-%d %H:%M}" for moment in times][-_LOOKED_AT:]
    newest = errors[-_LOOKED_AT:]
    return break_lines(chunk, [date_break(newest, "level"), date_break(newest, "trend")], _BREAK, named)
