"""What a version was accepted with, and what a chunk says beside it: with a fault, and on the same errors without."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_forecast as synthetic

from monitoring_assets.measures.forecast.residuals import fit_residual_watch, standing_states
from monitoring_assets.measures.forecast.watch import Watch, chunk_lines, fit_watch, served, stream, with_limits
from monitoring_assets.measures.judge import judge
from monitoring_assets.measures.lines import joined, lines_of
from resources.catalogue import load_catalogue
from resources.policy import MonitoredModel
from resources.vocabulary import HARMFUL, Kind, Verdict

SCALES = {"s0": 2.0, "s1": 2.0, "s2": 2.0}
WEEKS = 60


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> MonitoredModel:
    return load_catalogue(synthetic.declare(tmp_path_factory.mktemp("watch"), synthetic.make_series(weeks=4)))[0].policy


def issued(weeks: int, seed: int = 0, *, bias: float = 0.0, scale: float = 1.0, store: str | None = None, first: int = 0) -> pd.DataFrame:
    """Matured forecasts a week ahead of three stores; errors remember yesterday's."""
    rng, frames = np.random.default_rng(seed), []
    for name in SCALES:
        days = pd.date_range(synthetic.week(first), periods=7 * weeks, freq="D")
        error = rng.normal(0, 1, len(days))
        for day in range(1, len(days)):
            error[day] += 0.3 * error[day - 1]
        is_hit = store in (None, name)
        error = error * (scale if is_hit else 1.0) + (bias if is_hit else 0.0)
        mean = 100 + rng.normal(0, 5, len(days))
        frame = pd.DataFrame(
            {"unique_id": name, "store": name, "ds": days, "h": np.tile(np.arange(1, 8), weeks), "mean": mean, "y": mean + error}
        )
        frame["cutoff"] = frame["ds"] - pd.to_timedelta(frame["h"], unit="D")
        frames.append(frame.assign(baseline=mean + rng.normal(0, 2, len(days)), model_version="1"))
    rows = pd.concat(frames, ignore_index=True)
    for level, z in ((80, 1.2816), (95, 1.96)):
        rows[f"lo-{level}"], rows[f"hi-{level}"] = rows["mean"] - z * 1.05, rows["mean"] + z * 1.05
    return rows


@pytest.fixture(scope="module")
def watch(policy: MonitoredModel) -> Watch:
    assert policy.forecast is not None
    return fit_watch(policy, policy.forecast, issued(WEEKS), SCALES)


def judged(policy: MonitoredModel, watch: Watch, rows: pd.DataFrame, before: pd.DataFrame | None = None) -> tuple[pd.DataFrame, Verdict]:
    """Lines and verdict of the last week of ``rows``."""
    assert policy.forecast is not None
    chunk = policy.cadence.key(rows["ds"].max().to_pydatetime())
    own = rows[policy.cadence.keys(rows["ds"]) == chunk]
    since = rows if before is None else pd.concat([before, rows], ignore_index=True)
    lines = chunk_lines(policy, policy.forecast, watch, chunk, own, served(since))
    return lines, judge(policy, lines).verdict


def test_a_watch_survives_storage(watch: Watch):
    assert Watch.from_plain(json.loads(json.dumps(watch.as_plain()))).as_plain() == watch.as_plain()


def test_weeks_without_a_fault_are_healthy(policy: MonitoredModel, watch: Watch):
    verdicts = [judged(policy, watch, issued(1, seed, first=WEEKS))[1] for seed in range(100, 140)]
    assert sum(verdict in HARMFUL for verdict in verdicts) <= 2


@pytest.mark.parametrize(
    ("fault", "method"), [({"bias": 4.0}, "realized"), ({"scale": 4.0}, "realized"), ({"bias": 4.0, "store": "s1"}, "realized")]
)
def test_a_fault_is_a_concept_and_names_its_store(policy: MonitoredModel, watch: Watch, fault: dict[str, object], method: str):
    lines, verdict = judged(policy, watch, issued(1, 7, first=WEEKS, **fault))  # type: ignore[arg-type]
    assert verdict is Verdict.CONCEPT
    broken = lines[lines["breach"] & lines["is_deciding"]]
    assert method in set(broken["method"])
    if "store" in fault:
        assert set(broken["segment"]) - {"all"} == {"store=s1"}


def test_declared_metrics_of_all_rows_are_realized_performance_with_their_distance_from_the_usual(policy: MonitoredModel, watch: Watch):
    lines, _ = judged(policy, watch, issued(1, 8, first=WEEKS))
    own = lines[lines["kind"] == Kind.REALIZED_PERFORMANCE].set_index("subject")
    assert set(own.index) == {"mase", "mae"}
    assert own["effect"].to_numpy() == pytest.approx(own["value"].to_numpy() - np.array([watch.usual[name] for name in own.index]))


def test_a_slow_bias_is_found_by_the_detectors_and_dated(policy: MonitoredModel, watch: Watch):
    before = issued(6, 20, first=WEEKS)
    drifted = issued(4, 21, first=WEEKS + 6, bias=1.2)
    lines, verdict = judged(policy, watch, drifted, before)
    own = lines[(lines["kind"] == Kind.RESIDUAL_DRIFT) & lines["breach"] & (lines["segment"] == "all")]
    assert verdict in HARMFUL
    assert len(own)
    assert own["reason"].str.contains("since about").all()
    assert len(lines[lines["kind"] == Kind.STRUCTURAL_BREAK]) == 2
    sound, quiet = judged(policy, watch, issued(4, 21, first=WEEKS + 6), before)
    assert not sound.loc[sound["kind"] == Kind.RESIDUAL_DRIFT, "breach"].any()
    assert quiet is Verdict.HEALTHY
    assert sound[sound["kind"] == Kind.STRUCTURAL_BREAK].empty


def test_too_short_a_backtest_keeps_the_limits_before_it(policy: MonitoredModel, watch: Watch):
    assert policy.forecast is not None
    short = fit_watch(policy, policy.forecast, issued(5, 3), SCALES)
    kept = with_limits(short, watch, 8)
    assert kept.limits.numbers == watch.limits.numbers
    assert kept.residuals == watch.residuals
    assert kept.usual == short.usual
    long = fit_watch(policy, policy.forecast, issued(WEEKS, 4), SCALES)
    assert with_limits(long, watch, 8).limits.numbers == long.limits.numbers


def test_errors_forecast_at_once_are_put_together_where_they_are_one_error(policy: MonitoredModel):
    rows = issued(40)
    shared = rows.groupby(["unique_id", "cutoff"])["y"].transform("size") * 0.0
    drawn = np.random.default_rng(0).normal(0, 2, rows["cutoff"].nunique())
    alike = rows.assign(y=rows["mean"] + shared + drawn[pd.factorize(rows["ds"].dt.strftime("%G%V"))[0] % len(drawn)])
    assert policy.forecast is not None
    together = fit_watch(policy, policy.forecast, alike, SCALES)
    assert together.block > 1
    times, errors = stream(together.spreads, alike, together.block)
    assert len(errors) == len(times) < alike["ds"].nunique()


def test_an_alarm_stands_while_it_is_news_and_a_lasting_shift_alarms_again():
    rng = np.random.default_rng(0)
    watch = fit_residual_watch(rng.normal(size=600), steps_per_chunk=1, n_chunks=60, false_alarms=0.05, seed=0, detectors=["cusum"])
    passing = np.r_[rng.normal(size=20), rng.normal(4, 1, 6), rng.normal(size=25)]
    lasting = np.r_[rng.normal(size=20), rng.normal(2, 1, 31)]
    states = {name: standing_states(watch, own, 3)[0] for name, own in (("passing", passing), ("lasting", lasting))}
    assert standing_states(watch, passing[:24], 3)[0].position is not None
    assert states["passing"].position is None
    assert states["lasting"].position is not None
    standing = [standing_states(watch, lasting[:end], 3)[0].position is not None for end in range(30, len(lasting))]
    assert np.mean(standing) > 0.8
    assert standing_states(watch, rng.normal(size=51), 3)[0].position is None


def test_harm_with_moved_exogenous_inputs_is_covariate(tmp_path: Path, watch: Watch):
    forecast = {**synthetic.declared()["forecast"], "known_ahead": ["promotion"]}  # type: ignore[dict-item]
    models = synthetic.declare(tmp_path, synthetic.make_series(weeks=4), forecast=forecast, features={"numeric": ["promotion"]})
    policy = load_catalogue(models)[0].policy
    lines, verdict = judged(policy, watch, issued(1, 7, first=WEEKS, bias=4.0))
    moved = [
        lines_of(
            [
                {
                    "chunk": "c",
                    "kind": str(Kind.UNIVARIATE_DRIFT),
                    "method": "wasserstein",
                    "subject": name,
                    "value": 9.0,
                    "n_rows": 21,
                    "breach": True,
                }
            ]
        )
        for name in ("promotion", "sales")
    ]
    assert verdict is Verdict.CONCEPT
    assert judge(policy, joined([lines, moved[0]])).verdict is Verdict.COVARIATE_HARMFUL
    assert judge(policy, joined([lines, moved[1]])).verdict is Verdict.CONCEPT
    quiet = judged(policy, watch, issued(1, 8, first=WEEKS))[0]
    assert judge(policy, joined([quiet, moved[1]])).verdict is Verdict.COVARIATE_HARMLESS


def test_a_chunk_without_matured_forecasts_is_undecided(policy: MonitoredModel):
    assert judge(policy, lines_of([])).verdict is Verdict.UNDECIDED
