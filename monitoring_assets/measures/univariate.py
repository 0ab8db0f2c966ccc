"""One column at a time: what is fitted on the reference, and measuring a chunk against it.

Belongs here: fitting columns (summary, bins, fences, nulls), measuring them, season-matched comparison, segments. Does not:
which numbers breach (``breaches.py``), where rows come from (a ``Rows``), storage.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from monitoring_assets.measures import distances, limits
from monitoring_assets.measures.distribution import Categories, Numbers, Summary, finite, merge, summarize_categories, summarize_numbers
from monitoring_assets.measures.limits import Null
from monitoring_assets.measures.lines import ALL, REFERENCE
from monitoring_assets.measures.number import NAN, Number, refused
from monitoring_assets.measures.registry import CATEGORICAL, NUMERIC, Method
from resources.policy import MonitoredModel

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Distance of a fence from the quartiles, in interquartile ranges: four times Tukey's whisker, far outside for any bell.
_FENCE = 6.0
#: From this many rows on, blocks are cut along eighths of a usual chunk.
_LARGE_BLOCK = 4096
#: A reference of at most so many rows keeps its moments and sorted eighths at hand while blocks are measured.
_INDEXED_ROWS = 2_000_000
#: A season-matched reference needs this many rows per row of the chunk: the same season at least once more.
_SEASON_RATIO = 1.5


@dataclass(frozen=True)
class Counts:
    """Rows of one column of a chunk: finite values, values missing (or infinite), and those beyond the fences."""

    n_rows: int
    n_missing: int
    n_outside: int = 0


class Rows(Protocol):
    """The rows of one chunk (or of one segment of it), wherever they are."""

    @property
    def n_rows(self) -> int:
        """Number of rows."""

    def counts(self, columns: Mapping[str, tuple[float, float]]) -> dict[str, Counts]:
        """Counts of numeric ``columns``, each with its fences; one scan for all of them."""

    def take(self, column: str, low: float, high: float, has_ties: bool) -> distances.Take:
        """Gives finite values of ``column`` within ``[low, high]`` that lie in a range; ``has_ties`` says whether many are equal."""

    def categories(self, column: str) -> Categories:
        """How often each category of ``column`` occurs."""

    def seasons(self, season: str) -> dict[str, float]:
        """Share of rows in each season (hour, weekday or month)."""

    def segments(self, column: str) -> Iterator[tuple[str, "Rows"]]:
        """Each value of ``column`` with its rows."""


@dataclass(frozen=True)
class FittedColumn:
    """All that is kept of one column of the reference, or of one segment of it."""

    subject: str
    segment: str
    is_numeric: bool
    seasons: Mapping[str, Summary]
    bins: distances.Bins | None
    fences: tuple[float, float]
    nulls: Mapping[str, Mapping[str, Null]] = field(default_factory=dict)
    chunk_values: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    design_effect: float = 1.0

    def plain(self) -> Summary:
        """The summary of all its rows."""
        return merge(list(self.seasons.values())) if len(self.seasons) > 1 else next(iter(self.seasons.values()))

    def matched(self, shares: Mapping[str, float]) -> Summary:
        """The reference with the seasons of the chunk: each season's rows weigh as much as they do in the chunk.

        Raises:
            LookupError: when the reference has no row of a season the chunk has.
        """
        lacking = sorted(name for name in shares if name not in self.seasons or not self.seasons[name].total)
        if lacking:
            raise LookupError(f"got {', '.join(lacking)}, which the reference does not hold; expected a reference of a whole cycle")
        own = [self.seasons[name] for name in shares]
        if len(own) == 1:
            return own[0]
        total = sum(summary.total for summary in own)
        weights = [share * total / summary.total for share, summary in zip(shares.values(), own, strict=True)]
        return merge(own, weights)

    def as_plain(self) -> dict[str, Any]:
        """Everything but the summaries, as plain data for storage."""
        bins = self.bins
        return {
            "subject": self.subject, "segment": self.segment, "is_numeric": self.is_numeric, "fences": list(self.fences),
            "bins": None if bins is None else [bins.edges.tolist(), bins.deciles.tolist(), bins.deviation],
            "nulls": {name: {method: null.as_plain() for method, null in own.items()} for name, own in self.nulls.items()},
            "chunk_values": {method: list(values) for method, values in self.chunk_values.items()}, "design_effect": self.design_effect,
        }  # fmt: skip

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any], seasons: Mapping[str, Summary]) -> "FittedColumn":
        """What ``as_plain`` gave, with the summaries by season."""
        import numpy as np

        bins = plain["bins"]
        return cls(
            plain["subject"],
            plain["segment"],
            plain["is_numeric"],
            seasons,
            None if bins is None else distances.Bins(np.array(bins[0]), np.array(bins[1]), bins[2]),
            (plain["fences"][0], plain["fences"][1]),
            {name: {method: Null.from_plain(null) for method, null in own.items()} for name, own in plain["nulls"].items()},
            {method: tuple(values) for method, values in plain["chunk_values"].items()},
            plain["design_effect"],
        )


class FrameRows:
    """Rows of a chunk held in memory."""

    def __init__(self, frame: "pd.DataFrame") -> None:
        """``frame`` has the features, ``time`` and the segment columns; missing values may be NaN or None."""
        self.frame = frame
        self.n_rows = len(frame)
        self._sorted: dict[str, np.ndarray] = {}

    def _ascending(self, column: str) -> "np.ndarray":
        import numpy as np

        if column not in self._sorted:
            self._sorted[column] = np.sort(finite(self.frame[column].to_numpy(dtype="float64", na_value=np.nan)))
        return self._sorted[column]

    def counts(self, columns: Mapping[str, tuple[float, float]]) -> dict[str, Counts]:
        """See ``Rows``."""
        import numpy as np

        found = {}
        for name, (low, high) in columns.items():
            own = self._ascending(name)
            inside = np.searchsorted(own, high, "right") - np.searchsorted(own, low, "left")
            found[name] = Counts(len(own), self.n_rows - len(own), int(len(own) - inside))
        return found

    def take(self, column: str, low: float, high: float, has_ties: bool) -> distances.Take:
        """See ``Rows``."""
        import numpy as np

        own = self._ascending(column)
        return distances.slices_of(own[np.searchsorted(own, low, "left") : np.searchsorted(own, high, "right")])

    def categories(self, column: str) -> Categories:
        """See ``Rows``."""
        return summarize_categories(self.frame[column])

    def seasons(self, season: str) -> dict[str, float]:
        """See ``Rows``."""
        names = season_of(self.frame["time"], season)
        return {str(name): float(share) for name, share in names.value_counts(normalize=True).sort_index().items()}

    def segments(self, column: str) -> Iterator[tuple[str, "FrameRows"]]:
        """See ``Rows``."""
        for name, own in self.frame.groupby(segments_of(self.frame[column]), sort=True):
            yield str(name), FrameRows(own)


def season_of(times: "pd.Series", season: str) -> "pd.Series":
    """Season of each moment ``(n_rows,)``: ``hour 07``, ``weekday 0`` (Monday) or ``month 03``, UTC."""
    parts = {"hour": times.dt.hour, "weekday": times.dt.weekday, "month": times.dt.month}
    return f"{season} " + parts[season].astype(str).str.zfill(1 if season == "weekday" else 2)


def methods_of(policy: MonitoredModel, is_numeric: bool) -> dict[str, Method]:
    """Declared methods of numeric or categorical features."""
    known, declared = (NUMERIC, policy.drift.numeric) if is_numeric else (CATEGORICAL, policy.drift.categorical)
    return {name: known[name] for name in declared}


def fit_columns(policy: MonitoredModel, reference: "pd.DataFrame", usual: int) -> list[FittedColumn]:
    """Fit every feature of every segment.

    Args:
        policy: declares features, methods, limit, season and segments.
        reference: ``(n_rows, ...)`` in time order with ``time``, features and segment columns.
        usual: rows a chunk usually holds.
    """
    fitted = [fit_column(policy, reference, name, ALL, usual) for name in policy.features.all]
    for column in policy.segments:
        for value, own in reference.groupby(segments_of(reference[column]), sort=True):
            own_usual = max(1, round(usual * len(own) / len(reference)))
            fitted += [
                fit_column(policy, own, name, segment_name(column, str(value)), own_usual) for name in policy.features.all if name != column
            ]
    return fitted


def segments_of(values: "pd.Series") -> "pd.Series":
    """Segment of each row ``(n_rows,)`` as text; a missing value is a segment too."""
    return values.astype(object).fillna("missing").astype(str)


def segment_name(column: str, value: str) -> str:
    """How a segment is called in the lake and the UI."""
    return f"{column}={value}"


def fit_column(policy: MonitoredModel, rows: "pd.DataFrame", name: str, segment: str, usual: int) -> FittedColumn:
    """Fit one column of the reference: ``rows`` ``(n_rows, ...)`` in time order."""
    import numpy as np

    is_numeric = name in policy.features.numeric
    names = season_of(rows["time"], policy.drift.season) if policy.drift.season else None
    values = rows[name].to_numpy(dtype="float64", na_value=np.nan) if is_numeric else rows[name]
    chunks = policy.cadence.keys(rows["time"]).to_numpy() if policy.drift.limit.rule == "std" else None
    seasons = names.to_numpy() if names is not None else None
    return fit_values(policy, values, name=name, segment=segment, usual=usual, seasons=seasons, chunks=chunks)


def fit_values(
    policy: MonitoredModel,
    values: "np.ndarray | pd.Series",
    *,
    name: str,
    segment: str,
    usual: int,
    seasons: "np.ndarray | None" = None,
    chunks: "np.ndarray | None" = None,
) -> FittedColumn:
    """Fit one column given as values.

    Args:
        policy: declares methods and the limit.
        values: ``(n_rows,)`` in time order; float64 for a numeric column, a series of texts for a categorical one.
        name: the column.
        segment: whose rows these are.
        usual: rows a chunk of this segment usually holds.
        seasons: ``(n_rows,)`` season of each row, for a season-matched comparison.
        chunks: ``(n_rows,)`` chunk of each row, for limits from the reference chunks.
    """
    import numpy as np

    is_numeric = name in policy.features.numeric
    summarize: Any = summarize_numbers if is_numeric else summarize_categories
    groups = {"": values} if seasons is None else {str(one): values[seasons == one] for one in np.unique(seasons)}
    column = FittedColumn(name, segment, is_numeric, {one: summarize(own) for one, own in groups.items()}, None, (-np.inf, np.inf))
    if is_numeric:
        plain = column.plain()
        assert isinstance(plain, Numbers)  # noqa: S101 - a numeric column was summarized
        if plain.total:
            column = replace(column, bins=distances.fit_bins(plain), fences=fences_of(plain))
        effect = limits.design_effect(np.asarray(values))
    else:
        effect = _categorical_design_effect(values)
    column = replace(column, design_effect=effect)
    sampler = _Sampler(policy, column, values)
    nulls = {REFERENCE: sampler.nulls(usual, None)}
    if seasons is not None:
        nulls[matched_name(policy)] = sampler.nulls(usual, seasons)
    return replace(column, nulls=nulls, chunk_values=sampler.chunk_values(chunks) if chunks is not None else {})


def matched_name(policy: MonitoredModel) -> str:
    """What the season-matched comparison is called."""
    return f"same {policy.drift.season}"


def fences_of(reference: Numbers) -> tuple[float, float]:
    """Where outliers begin: beyond the reference's range, and six interquartile ranges beyond its quartiles."""
    import numpy as np

    n = int(reference.total)
    smallest, low, high, largest = reference.at(np.array([0, n // 4, min(n - 1, 3 * n // 4), n - 1], dtype="float64"))
    reach = _FENCE * (high - low)
    return float(min(smallest, low - reach)), float(max(largest, high + reach))


def _categorical_design_effect(values: "pd.Series") -> float:
    """The largest design effect of the five most frequent categories."""
    latest = values[-limits.LOOKED_AT :]
    frequent = latest.value_counts().index[:5]
    return max([limits.design_effect((latest == name).to_numpy(dtype="float64")) for name in frequent], default=1.0)


class _Sampler:
    """Measures blocks of the reference against the rest of it."""

    def __init__(self, policy: MonitoredModel, column: FittedColumn, values: "np.ndarray | pd.Series") -> None:
        import pandas as pd

        self.methods = methods_of(policy, column.is_numeric)
        self.column, self.values, self.plain = column, values, column.plain()
        self.mixtures: dict[tuple[tuple[str, float], ...], Summary] = {}
        self.runs: dict[int, np.ndarray | None] = {}
        if isinstance(self.plain, Numbers) and "wasserstein" in self.methods and self.plain.total <= _INDEXED_ROWS:
            self.plain = Numbers([part.indexed() for part in self.plain.parts], self.plain.n_missing)
        if not column.is_numeric:
            assert isinstance(self.plain, Categories)  # noqa: S101 - a categorical column was summarized
            self.names = {name: place for place, name in enumerate(self.plain.counts)}
            texts = pd.Series(values).reset_index(drop=True)
            known = texts.dropna().astype(str).map(self.names)
            self.codes = known.reindex(texts.index).fillna(-1).astype("int64").to_numpy()

    def nulls(self, usual: int, seasons: "np.ndarray | None") -> dict[str, Null]:
        """The null of every method against the plain reference, or, with ``seasons``, the season-matched one."""
        n_rows, samples = len(self.values), {name: dict[int, list[float]]() for name in self.methods}
        step = usual // 8 if usual >= _LARGE_BLOCK else 1  # large blocks are whole eighths, which are sorted once
        if step not in self.runs:  # the plain and the season-matched comparison ask for the same blocks
            self.runs = {step: self._ascending_runs(step)}
        runs = self.runs[step]
        for size in limits.block_sizes(n_rows, usual // step * step):
            most = limits.MOST_BLOCKS if "cramer_von_mises" not in self.methods else max(20, min(limits.MOST_BLOCKS, 20_000_000 // n_rows))
            for start in limits.block_starts(n_rows, size, most, is_usual=size == usual // step * step) // step * step:
                block = slice(start, start + size)
                for name, value in self._left_out(block, None if seasons is None else seasons[block], runs).items():
                    samples[name].setdefault(size, []).append(value)
        return {
            name: limits.fit_null(samples[name], power=method.power, n_reference=self.plain.total) for name, method in self.methods.items()
        }

    def _ascending_runs(self, step: int) -> "np.ndarray | None":
        """Every ``step`` rows of a numeric column sorted by themselves, so that blocks made of them need only be merged; ``None`` where that is no gain."""
        import numpy as np

        if step == 1 or not self.column.is_numeric or len(self.values) > _INDEXED_ROWS:
            return None
        whole = len(self.values) // step * step
        runs = np.array(self.values, dtype="float64")
        runs[:whole].reshape(-1, step).sort(axis=1)
        return runs

    def chunk_values(self, chunks: "np.ndarray") -> dict[str, tuple[float, ...]]:
        """What each reference chunk gives against the reference it is part of, in time order: what NannyML fits its limits on."""
        import numpy as np

        starts = np.flatnonzero(np.concatenate([[True], chunks[1:] != chunks[:-1]]))
        found: dict[str, list[float]] = {name: [] for name in self.methods}
        for first, last in zip(starts, [*starts[1:], len(chunks)], strict=True):
            for name, value in self._against(slice(first, last)).items():
                found[name].append(value)
        return {name: tuple(values) for name, values in found.items()}

    def _against(self, block: slice) -> dict[str, float]:
        import numpy as np

        values = self.values[block]
        if not self.column.is_numeric:
            assert isinstance(self.plain, Categories)  # noqa: S101
            measured = distances.between_categories(self.plain, summarize_categories(values), list(self.methods))
        elif self.column.bins is None:
            return dict.fromkeys(self.methods, NAN)
        else:
            assert isinstance(self.plain, Numbers)  # noqa: S101
            own = np.sort(finite(np.asarray(values)))
            counts = (len(own), len(values) - len(own))
            measured = distances.between_numbers(self.plain, distances.slices_of(own), *counts, self.column.bins, list(self.methods))
        return {name: number.value for name, number in measured.items()}

    def _left_out(self, block: slice, seasons: "np.ndarray | None", runs: "np.ndarray | None") -> dict[str, float]:
        reference, ratio = self._rest(block, seasons)
        if reference is None or ratio <= 1.0:
            return {}
        return (
            self._numbers_left_out(block, reference, ratio, runs)
            if self.column.is_numeric
            else self._categories_left_out(block, reference, ratio)
        )

    def _rest(self, block: slice, seasons: "np.ndarray | None") -> tuple[Summary | None, float]:
        """The reference a block is compared with, and how many rows of it there are for each of the block."""
        import numpy as np

        if seasons is None:
            return self.plain, len(self.values) / (block.stop - block.start)
        names, counts = np.unique(seasons, return_counts=True)
        totals = [self.column.seasons[str(name)].total for name in names]
        ratio = min(total / count for total, count in zip(totals, counts, strict=True))
        if ratio < _SEASON_RATIO:
            return None, ratio
        shares = {str(name): round(float(count / counts.sum()), 2) for name, count in zip(names, counts, strict=True)}
        mixture = tuple((name, share) for name, share in shares.items() if share)
        if mixture not in self.mixtures:
            self.mixtures[mixture] = self.column.matched(dict(mixture))
        return self.mixtures[mixture], float(ratio)

    def _numbers_left_out(self, block: slice, reference: Summary, ratio: float, runs: "np.ndarray | None") -> dict[str, float]:
        import numpy as np

        assert isinstance(reference, Numbers)  # noqa: S101
        values = np.asarray(self.values[block])
        own = np.sort(finite(values)) if runs is None else finite(np.sort(runs[block], kind="stable"))
        found: dict[str, float] = {}
        if "missing_shift" in self.methods:
            found["missing_shift"] = abs(1 - len(own) / len(values) - reference.missing_share) * ratio / (ratio - 1)
        asked = [name for name in self.methods if name != "missing_shift"]
        if len(own) and self.column.bins is not None and asked:
            walked = distances.walk(reference, distances.slices_of(own), len(own), self.column.bins, asked)
            walked = distances.left_out(walked, ratio)
            found |= {name: distances.value_of(walked, name) for name in asked}
        return found

    def _categories_left_out(self, block: slice, reference: Summary, ratio: float) -> dict[str, float]:
        import numpy as np

        assert isinstance(reference, Categories)  # noqa: S101
        codes = self.codes[block]
        own = np.bincount(codes[codes >= 0], minlength=len(self.names)).astype("float64")
        shares = np.array([reference.counts.get(name, 0.0) for name in self.names])
        found: dict[str, float] = {}
        if "missing_shift" in self.methods:
            found["missing_shift"] = abs(float((codes < 0).mean()) - reference.missing_share) * ratio / (ratio - 1)
        known = np.maximum(shares / max(shares.sum(), 1.0) * ratio * own.sum() - own, 0.0)
        if own.sum() and known.sum():
            known = np.where(known < 0.5, 0.0, known)  # what only the block had is unseen
            found |= {name: distances.between_counts(known, own, name)[0] for name in self.methods if name != "missing_shift"}
        return found


@dataclass(frozen=True)
class Measured:
    """One number of one column of one chunk, with the null it is read against."""

    subject: str
    segment: str
    compared_with: str
    method: str
    number: Number
    null: Null | None
    chunk_values: tuple[float, ...] = ()
    n_reference: float = 0.0
    n_categories: int = 0
    design_effect: float = 1.0

    def critical_value(self, alpha: float) -> float:
        """The value whose limiting p-value is ``alpha``."""
        sizes = (self.n_reference, float(self.number.n_rows))
        return distances.critical_value(self.method, alpha, *sizes, self.n_categories, self.design_effect)


def measure_columns(policy: MonitoredModel, fitted: Iterable[FittedColumn], rows: Rows) -> tuple[list[Measured], dict[str, float]]:
    """Measure one chunk.

    Args:
        policy: as for ``fit_columns``.
        fitted: what it gave.
        rows: the chunk.

    Returns:
        Every number, and the share of outliers by feature. Up to ``drift.outliers`` of the rows far outside the reference are set
        aside; more than that is drift and is kept.
    """
    by_segment: dict[str, list[FittedColumn]] = {}
    for column in fitted:
        by_segment.setdefault(column.segment, []).append(column)
    measured, outliers = _measure_segment(policy, by_segment.get(ALL, []), rows)
    for name in policy.segments:
        seen: set[str] = set()
        for value, own in rows.segments(name):
            segment = segment_name(name, value)
            seen.add(segment)
            if own.n_rows < policy.validation.minimum_rows:
                measured.append(_silent(policy, name, segment, own.n_rows))
                continue
            if segment not in by_segment:
                told = f"got segment {segment}, which the reference does not hold; expected one of it"
                measured += [
                    Measured(feature, segment, REFERENCE, method, refused(told, own.n_rows), None)
                    for feature in policy.features.all if feature != name
                    for method in methods_of(policy, feature in policy.features.numeric)
                ]  # fmt: skip
                continue
            measured += _measure_segment(policy, by_segment[segment], own)[0]
        gone = sorted(segment for segment in by_segment if segment.startswith(segment_name(name, "")) and segment not in seen)
        measured += [_silent(policy, name, segment, 0) for segment in gone]
    return measured, outliers


def _silent(policy: MonitoredModel, column: str, segment: str, n_rows: int) -> Measured:
    """One line that says a segment of the reference has too few rows in the chunk to be measured, or none."""
    feature = next(name for name in policy.features.all if name != column)
    method = next(iter(methods_of(policy, feature in policy.features.numeric)), "none")
    told = f"got {n_rows} rows of segment {segment}; expected at least {policy.validation.minimum_rows}"
    return Measured(feature, segment, REFERENCE, method, refused(told, n_rows), None)


def _measure_segment(policy: MonitoredModel, columns: Sequence[FittedColumn], rows: Rows) -> tuple[list[Measured], dict[str, float]]:
    import numpy as np

    counts = rows.counts({column.subject: column.fences for column in columns if column.is_numeric})
    shares = rows.seasons(policy.drift.season) if policy.drift.season and rows.n_rows else {}
    found: list[Measured] = []
    outliers: dict[str, float] = {}
    for column in columns:
        if column.is_numeric:
            own = counts[column.subject]
            outliers[column.subject] = own.n_outside / own.n_rows if own.n_rows else NAN
            set_aside = 0 < own.n_outside <= policy.drift.outliers * own.n_rows
            fences = column.fences if set_aside else (-np.inf, np.inf)
            n_rows = own.n_rows - own.n_outside if set_aside else own.n_rows
            measure = _numeric_measure(policy, column, rows, fences, n_rows, own.n_missing)
        else:
            measure = _categorical_measure(policy, column, rows.categories(column.subject))
        found += _compare(policy, column, REFERENCE, measure, column.plain())
        if shares:
            try:
                found += _compare(policy, column, matched_name(policy), measure, column.matched(shares))
            except LookupError as lacking:
                found += [
                    Measured(column.subject, column.segment, matched_name(policy), method, refused(str(lacking), rows.n_rows), None)
                    for method in methods_of(policy, column.is_numeric)
                ]
    return found, outliers


Measure = Callable[[Summary], dict[str, Number]]


def _numeric_measure(
    policy: MonitoredModel, column: FittedColumn, rows: Rows, fences: tuple[float, float], n_rows: int, n_missing: int
) -> Measure:
    methods = methods_of(policy, True)

    def measure(reference: Summary) -> dict[str, Number]:

        assert isinstance(reference, Numbers)  # noqa: S101
        take = rows.take(column.subject, *fences, has_ties=any(part.mass is not None for part in reference.parts))
        if column.bins is None:
            return {name: refused("got no finite value in the reference; expected at least one", n_rows) for name in methods}
        found = distances.between_numbers(reference, take, n_rows, n_missing, column.bins, list(methods))
        number = found.get("kolmogorov_smirnov")
        if number is not None and number.value == number.value:
            p_value = distances.ks_p_value(reference, take, n_rows, number.value)
            found["kolmogorov_smirnov"] = replace(number, p_value=p_value)
        return found

    return measure


def _categorical_measure(policy: MonitoredModel, column: FittedColumn, own: Categories) -> Measure:
    def measure(reference: Summary) -> dict[str, Number]:
        assert isinstance(reference, Categories)  # noqa: S101
        found = distances.between_categories(reference, own, list(methods_of(policy, False)))
        number = found.get("chi2")
        if number is not None and number.value == number.value:
            p_value, told = distances.chi2_p_value(reference, own)
            found["chi2"] = replace(number, p_value=p_value, reason="; ".join(part for part in (number.reason, told) if part))
        return found

    return measure


def _compare(policy: MonitoredModel, column: FittedColumn, compared_with: str, measure: Measure, reference: Summary) -> list[Measured]:
    nulls = column.nulls.get(compared_with, {})
    values = column.chunk_values if compared_with == REFERENCE else {}
    n_categories = len(reference.counts) if isinstance(reference, Categories) else 0
    is_effective = policy.drift.limit.autocorrelation == "effective_sample_size"
    return [
        Measured(
            column.subject, column.segment, compared_with, method, number, nulls.get(method), values.get(method, ()),
            reference.total, n_categories, column.design_effect if is_effective else 1.0,
        )
        for method, number in measure(reference).items()
    ]  # fmt: skip
