"""One page per chunk and one per model, to be read without the platform: what moved, how far, what to do.

Belongs here: gathering what a page shows, writing pages. Does not: rendering (``page.py``), measuring.
Reads: ``measurements``, ``verdicts``, ``reference_profiles``, ``feature_importances``. Writes: HTML files in the folder of reports.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from monitoring_assets import forecast_plots, measurements, plots, reference
from monitoring_assets.drift import ChunkRows, false_alarm_note, rule_in_words, sound_chunks
from monitoring_assets.forecast_performance import forecast_rows, looked_back
from monitoring_assets.plain_text import cell, shown
from monitoring_assets.stage import ChunkReport, StageReport, build_chunk_asset
from resources import tables
from resources.lake import Lake
from resources.policy import MonitoredModel
from resources.settings import Settings
from resources.vocabulary import Kind, Stage, Task

if TYPE_CHECKING:
    import pandas as pd

    from monitoring_assets.drift_profile import DriftProfile
    from monitoring_assets.page_lines import CategoryShape, Heading, Shape

#: Chunks before it that a page looks back on.
LOOK_BACK = 48
#: Bins of a picture, and categories before the rest is one.
_BINS, _CATEGORIES = 24, 12


@dataclass(frozen=True)
class Pages:
    """Files that were written, by chunk and ``history``, and the measurements they show."""

    files: dict[str, Path]
    measured: "pd.DataFrame"


def write_pages(settings: Settings, policy: MonitoredModel, lake: Lake, chunks: Sequence[str]) -> Pages:
    """Write the page of every chunk in ``chunks`` and the page of the model's history; what lies further back is not read."""
    from monitoring_assets.page import chunk_page, history_page

    folder = settings.reports / policy.model
    folder.mkdir(parents=True, exist_ok=True)
    history, verdicts = _look_back(lake, policy, chunks)
    meanings, files = method_meanings(policy.task), dict[str, Path]()
    profiles: dict[str, DriftProfile] = {}
    sound = {
        one.chunk: shapes_of(policy, _profile(settings, policy, lake, profiles, one.version), one)
        for one in sound_chunks(lake, policy, chunks)
    }
    importance_of = measurements.importances(policy, lake, history)
    for chunk in chunks:
        recent = _between(history, policy.cadence.shift(chunk, -LOOK_BACK), chunk)
        own = _between(recent, chunk, chunk)
        weights, company = importance_of(own), _correlation(policy, recent)
        heading = _heading(policy, chunk, own, verdicts, profiles)
        files[chunk] = folder / f"{chunk}.html"
        files[chunk].write_text(
            chunk_page(
                heading,
                own,
                recent,
                sound.get(chunk, {}),
                weights,
                company,
                meanings=meanings,
                pictures=_pictures(lake, policy, chunk, own),
            ),
            encoding="utf-8",
        )
    last = max([*lake.partitions(policy.model, tables.VERDICTS, "chunk"), *chunks])
    recent, shown = (history, verdicts) if last in chunks else _look_back(lake, policy, [last])
    first = policy.cadence.shift(last, -LOOK_BACK)
    recent, shown = recent[recent["chunk"] >= first], shown[shown["chunk"] >= first]
    links = {chunk: f"{chunk}.html" for chunk in shown["chunk"] if (folder / f"{chunk}.html").exists()}
    files["history"] = folder / "history.html"
    own = recent[recent["chunk"] == last]
    page = history_page(_heading(policy, last, own, shown, profiles), recent, shown, links, meanings=meanings)
    files["history"].write_text(page, encoding="utf-8")
    return Pages(files, history)


def _pictures(lake: Lake, policy: MonitoredModel, chunk: str, own: "pd.DataFrame") -> list[tuple[str, bytes]]:
    """Pictures of a forecaster: forecasts against outcomes, error by horizon, coverage over time; none of other models."""
    if policy.task is not Task.FORECAST or Kind.REALIZED_PERFORMANCE not in set(own["kind"]):
        return []
    drawn = {
        f"Forecasts up to {chunk} with their widest interval, against outcomes": forecast_plots.draw_forecasts(
            policy, chunk, forecast_rows(lake, policy, looked_back(policy, chunk))
        ),
        "Mean absolute error by steps ahead": forecast_plots.draw_by_horizon(policy, chunk, own),
        plots.COVERAGE.title: plots.draw(lake, policy, chunk, plots.COVERAGE),
    }
    return [(title, image) for title, image in drawn.items() if image is not None]


def _between(history: "pd.DataFrame", first: str, last: str) -> "pd.DataFrame":
    """Rows from chunk ``first`` to ``last``, of rows sorted by chunk: looking for them in a long history each time is slow."""
    chunks = history["chunk"]
    return history.iloc[chunks.searchsorted(first, "left") : chunks.searchsorted(last, "right")]


def _look_back(lake: Lake, policy: MonitoredModel, chunks: Sequence[str]) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Measurements and verdicts of ``chunks`` and of ``LOOK_BACK`` chunks before them."""
    keys = sorted({*(policy.cadence.shift(chunks[0], -steps) for steps in range(1, LOOK_BACK + 1)), *chunks})
    measured = measurements.read(lake, policy, keys).sort_values(["chunk", "stage"], kind="stable")
    return measured, lake.read(policy.model, tables.VERDICTS, {"chunk": keys}).sort_values("chunk", kind="stable")


def _profile(settings: Settings, policy: MonitoredModel, lake: Lake, profiles: "dict[str, DriftProfile]", version: str) -> "DriftProfile":
    if version not in profiles:
        profiles[version] = reference.drift_of(lake, policy, settings.models, version)
    return profiles[version]


def method_meanings(task: Task) -> dict[str, str]:
    """What each method and each metric of ``task`` means, for the glossary."""
    from monitoring_assets.measures.registry import CATEGORICAL, EVIDENCE, METRICS, MULTIVARIATE, NUMERIC

    methods = {**CATEGORICAL, **MULTIVARIATE, **NUMERIC}
    told = {name: f"{method.meaning} Formula: {method.formula}. Source: {method.source}." for name, method in methods.items()}
    return told | EVIDENCE | {name: metric.meaning for (own, name), metric in METRICS.items() if own is task}


def _correlation(policy: MonitoredModel, recent: "pd.DataFrame") -> dict[str, float]:
    from monitoring_assets.measures.ranking import performance_correlation

    return performance_correlation(recent, policy.metrics[0])


def _heading(
    policy: MonitoredModel, chunk: str, own: "pd.DataFrame", verdicts: "pd.DataFrame", profiles: "Mapping[str, DriftProfile]"
) -> "Heading":
    from monitoring_assets.page_lines import Heading

    verdict = verdicts[verdicts["chunk"] == chunk]
    found = verdict.iloc[-1] if len(verdict) else None
    versions = [str(version) for version in own["reference_version"].dropna().unique()]
    version = versions[-1] if versions else ""
    profile = profiles.get(version)
    note = false_alarm_note(policy, profile) if profile is not None else ""
    season = f"The comparison with the same {policy.drift.season} decides; the plain one is shown beside it." if policy.drift.season else ""
    size = f" ({profile.n_rows} rows, {profile.n_chunks} chunks)" if profile is not None else ""
    return Heading(
        policy.model,
        policy.description,
        str(policy.task),
        chunk,
        policy.cadence.start(chunk),
        policy.cadence.end(chunk),
        f"version {version}{size}" if version else "none",
        _rows_of(own),
        str(found["verdict"]) if found is not None else "undecided",
        float(found["confidence"]) if found is not None else 0.0,
        str(found["recovery"]) if found is not None else "Not judged yet.",
        rule_in_words(policy),
        tuple(part for part in (note, season) if part),
        tuple(str(found["suspects"] or "").splitlines()) if found is not None else (),
    )


def _rows_of(own: "pd.DataFrame") -> int:
    """Rows of the chunk: as counted by data quality, else the most any drift number saw."""
    from monitoring_assets.measures.quality import ROW_COUNT

    counted = own.loc[own["method"] == ROW_COUNT, "value"]
    drift = own.loc[own["kind"] == Kind.UNIVARIATE_DRIFT, "n_rows"]
    return int(counted.iloc[0]) if len(counted) else int(drift.max()) if len(drift) else 0


def shapes_of(policy: MonitoredModel, profile: "DriftProfile", one: ChunkRows) -> "dict[str, Shape | CategoryShape]":
    """Reference and chunk of every feature as shares of the same bins or categories."""
    from monitoring_assets.measures.distribution import Categories, Numbers
    from monitoring_assets.measures.lines import ALL

    found: dict[str, Shape | CategoryShape] = {}
    for column in profile.columns:
        plain = column.plain() if column.segment == ALL else None
        if isinstance(plain, Categories):
            found[column.subject] = _category_shape(plain, one.rows.categories(column.subject))
        elif isinstance(plain, Numbers) and plain.total:
            found[column.subject] = _number_shape(plain, one, column.subject)
    return found


def _category_shape(known: Any, own: Any) -> "CategoryShape":
    from monitoring_assets.page_lines import CategoryShape

    totals = known.total or 1.0, own.total or 1.0
    names = sorted(
        {*known.counts, *own.counts}, key=lambda name: -(known.counts.get(name, 0) / totals[0] + own.counts.get(name, 0) / totals[1])
    )
    shown = names[:_CATEGORIES]
    sides = [[side.counts.get(name, 0.0) / total for name in shown] for side, total in zip((known, own), totals, strict=True)]
    if len(names) > len(shown):
        shown = [*shown, "other"]
        sides = [[*side, max(0.0, 1.0 - sum(side))] for side in sides]
    return CategoryShape(tuple(shown), tuple(sides[0]), tuple(sides[1]))


def _number_shape(known: Any, one: ChunkRows, name: str) -> "Shape":
    import numpy as np

    from monitoring_assets.page_lines import Shape

    n = known.total
    low, high = known.at(np.array([int(0.005 * (n - 1)), int(np.ceil(0.995 * (n - 1)))], dtype="float64"))
    inner = np.linspace(low, high if high > low else low + 1.0, _BINS - 1)
    edges = np.concatenate([[-np.inf], inner, [np.inf]])
    own = one.rows.take(name, -np.inf, np.inf, has_ties=known.parts[0].mass is not None)(-np.inf, np.inf)
    sides = [
        np.sum([np.diff(part.below(np.asarray(np.searchsorted(part.values, edges, "left")))) for part in parts], axis=0)
        for parts in (known.parts, [own])
    ]
    sides = [side / max(1.0, side.sum()) for side in sides]
    return Shape(tuple(edges.tolist()), tuple(sides[0].tolist()), tuple(sides[1].tolist()))


def _ranking(rows: "pd.DataFrame") -> str:
    lines = [
        f"| {cell(row.feature)} | {row.share_of_limit:.2f} | {'yes' if row.breach else 'no'} | {shown(row.importance)} | {shown(row.performance_correlation)} |"
        for row in rows.head(10).itertuples()
    ]
    head = "| feature | worst share of its limit | outside | importance | correlation with performance |\n|---|---|---|---|---|"
    return "\n".join([head, *lines])


def build_report(policy: MonitoredModel, settings: Settings) -> dg.AssetsDefinition:
    """Write the pages of each chunk and link them."""

    def body(context: dg.AssetExecutionContext, lake: Lake, chunks: list[str]) -> StageReport:
        from monitoring_assets.measures.ranking import ranked

        pages, reports = write_pages(settings, policy, lake, chunks), {}
        files, rows = pages.files, pages.measured
        company = _correlation(policy, rows[rows["chunk"] >= policy.cadence.shift(chunks[-1], -LOOK_BACK)])
        for chunk in chunks:
            own = rows[rows["chunk"] == chunk]
            drifted = own[own["kind"].isin([Kind.UNIVARIATE_DRIFT]) & own["breach"] & own["is_deciding"]]
            metadata: dict[str, Any] = {
                "page": link(settings, files[chunk]),
                "history": link(settings, files["history"]),
                "size_kilobytes": files[chunk].stat().st_size / 1000,
                "drifted_features": int(drifted["subject"].nunique()),
            }
            if chunk == chunks[-1]:
                table = ranked(own, measurements.importances(policy, lake, own)(own), company)
                metadata["ranking"] = dg.MetadataValue.md(_ranking(table)) if len(table) else "nothing measured"
            reports[chunk] = ChunkReport(metadata)
        return StageReport(reports, f"{policy.model}/report@{lake.data_version(policy.model, tables.MEASUREMENTS)}")

    return build_chunk_asset(
        policy,
        Stage.REPORT,
        body,
        deps=[Stage.VERDICT],
        checks={},
        kinds={"html"},
        description="One self-contained page per chunk and one of the model's history: offenders first, each with its picture and what to do.",
    )


def link(settings: Settings, file: Path) -> dg.MetadataValue:
    """Where a page is read: its address where reports are served, else its path."""
    if settings.reports_url:
        return dg.MetadataValue.url(f"{settings.reports_url.rstrip('/')}/{file.relative_to(settings.reports).as_posix()}")
    return dg.MetadataValue.path(file)
