"""Thirty-six machines that get another bearing grease: the simulator, and what must be seen of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from plumbline.example import Finding, Seen
from resources.tables import PERFORMANCE_VINTAGES, ROLLOUT_EVENTS, VERDICTS
from resources.vocabulary import TAG_INCIDENT, Action, Check, Event, Kind, Stage, Verdict

START, FAULT, END = (datetime(2025, *day, tzinfo=UTC) for day in ((1, 6), (8, 4), (10, 27)))
FAULTY_WEEK = f"{FAULT:%Y-%m-%d}"
MODEL, METRIC = "predictive_maintenance", "accuracy"
MACHINES, PER_DAY = 36, 24
#: A failure within this is to be foretold.
HORIZON_DAYS = 7
LABELLED_SHARE = 0.019
#: Share of inspections that overlook a failure to come, or see one where none is; corrected when the machine is opened.
OVERLOOKED, IMAGINED = 0.08, 0.001
_HARM = [Verdict.COVARIATE_HARMFUL, Verdict.CONCEPT, Verdict.LABEL_SHIFT]


def simulate(folder: Path, seed: int, is_null_twin: bool) -> None:
    """Write the log of readings, and the inspections of a few of them: late, in no order, some corrected.

    Damage grows in a machine's last days and shows in its vibration. From ``FAULT`` on the new grease lifts bearing energy, vibration and
    temperature, in some machines more than in others, and softens the impacts: sound bearings look worn. The null twin keeps its grease.
    """
    rng = np.random.default_rng(seed)
    day = np.arange((END - START).days * PER_DAY) / PER_DAY
    days_left = np.stack([_days_left(rng, day) for _ in range(MACHINES)])
    greased = (day >= (FAULT - START).days).astype("float64") * (not is_null_twin)
    log = _readings(rng, day, days_left, greased)
    log.to_parquet(folder / f"{MODEL}.parquet", index=False)
    _inspections(rng, log["reading_id"], log["read_at"], (days_left <= HORIZON_DAYS).ravel()).to_csv(
        folder / "inspections.csv", index=False
    )


def _days_left(rng: np.random.Generator, day: np.ndarray) -> np.ndarray:
    """Days until the next failure at every moment; a machine lives 20 to some 200 days and is repaired."""
    lives = 20 + rng.gamma(4, 17.5, int(day[-1] / 20) + 10)
    failures = np.cumsum(lives) - rng.uniform(0, 90)
    failures = failures[failures > 0]
    return failures[np.searchsorted(failures, day)] - day


def _readings(rng: np.random.Generator, day: np.ndarray, days_left: np.ndarray, greased: np.ndarray) -> pd.DataFrame:
    shape = days_left.shape

    def noise(spread: float) -> np.ndarray:
        return rng.normal(0, spread, shape)

    damage, own = np.exp(-days_left / 6), rng.normal(0, 0.08, (MACHINES, 1))
    new, uneven = greased[np.newaxis], greased * rng.normal(size=(MACHINES, 1))  # no two machines take the grease alike
    load = np.clip(0.7 + 0.12 * np.sin(2 * np.pi * day) + noise(0.1), 0.2, 1.1)
    rms = np.exp(0.6 * load + 0.4 * damage + own + noise(0.15) + 0.7 * new + 0.15 * uneven)
    crest = 3.5 + 0.9 * damage + noise(0.35) - 0.2 * new
    energy = np.exp(-1 + 2.5 * damage + 0.3 * load + own + noise(0.35) + 1.2 * new + 0.2 * uneven)
    columns = {
        "rms": rms, "peak": rms * crest * np.exp(noise(0.05)), "crest_factor": crest, "kurtosis": 3 + 2.0 * damage + noise(0.6) - 0.5 * new,
        "bearing_energy": energy, "temperature": 40 + 18 * load + 3 * damage + noise(2) + 6 * new + 1.5 * uneven, "load": load,
    }  # fmt: skip
    machine = np.arange(MACHINES)
    read_at = pd.Timestamp(START) + pd.to_timedelta(np.round(day * 24).astype("int64"), unit="h")
    return pd.DataFrame({
        "reading_id": [f"machine-{one:02d}/{hour}" for one in machine for hour in range(len(day))],
        "read_at": np.tile(read_at, MACHINES),
        "machine": np.repeat([f"machine-{one:02d}" for one in machine], len(day)),
        "site": np.repeat(np.array(["north", "south"])[machine % 2], len(day)),
        **{name: np.round(values, 4).ravel() for name, values in columns.items()},
    }).sort_values(["read_at", "machine"], kind="stable")  # fmt: skip


def _inspections(rng: np.random.Generator, readings: pd.Series, read_at: pd.Series, fails: np.ndarray) -> pd.DataFrame:
    """Of each week a random sample of readings with outcomes 7 to 30 days later; wrong ones are corrected at the next overhaul."""
    each = 7 * PER_DAY * MACHINES
    asked = np.concatenate([start + rng.choice(each, int(LABELLED_SHARE * each), replace=False) for start in range(0, len(readings), each)])
    truth = fails[readings.index[asked]].astype("int64")
    inspected_at = read_at.iloc[asked] + pd.to_timedelta(np.round(60 * 24 * (7 + 23 * rng.beta(1, 2.5, len(asked)))), unit="min")
    is_wrong = rng.random(len(asked)) < np.where(truth == 1, OVERLOOKED, IMAGINED)
    first = pd.DataFrame({"reading_id": readings.iloc[asked], "inspected_at": inspected_at, "failed": np.where(is_wrong, 1 - truth, truth)})
    overhauls = pd.date_range(START + timedelta(weeks=2), END + timedelta(weeks=26), freq="84D")  # when machines are opened
    opened_at = overhauls[overhauls.searchsorted(inspected_at[is_wrong] + timedelta(weeks=2))]
    corrected = first[is_wrong].assign(inspected_at=opened_at, failed=truth[is_wrong])
    return pd.concat([first, corrected]).sample(frac=1, random_state=int(rng.integers(2**31)))


def checks(seen: Seen) -> list[Finding]:
    """What the README promises."""
    own = [_late_labels(seen), _restated(seen), _one_run_per_incident(seen)]
    return own + (_quiet(seen) if seen.is_null_twin else _found(seen))


def _late_labels(seen: Seen) -> Finding:
    """From the files alone: how many readings are ever inspected, how late, in which order, and how many corrected."""
    log = pd.read_parquet(seen.settings.models / f"{MODEL}.parquet", columns=["reading_id", "read_at"])
    inspections = pd.read_csv(seen.settings.models / "inspections.csv", parse_dates=["inspected_at"])
    first = inspections.sort_values("inspected_at").drop_duplicates("reading_id").merge(log, on="reading_id")
    share, days = len(first) / len(log), (first["inspected_at"] - first["read_at"]) / timedelta(days=1)
    n_corrected, is_shuffled = len(inspections) - len(first), not inspections["inspected_at"].is_monotonic_increasing
    return Finding(
        "at most 2 % of the readings are labelled, 7 to 30 days late, in any order, and some are corrected",
        share <= 0.02 and days.min() >= 7 and days.max() <= 30 and is_shuffled and n_corrected > 0,
        f"{share:.2%} of {len(log)} readings, {days.min():.1f} to {days.max():.1f} days late, {n_corrected} corrected",
    )


def _restated(seen: Seen) -> Finding:
    """Vintages of the chunks that were judged on outcomes."""
    vintages = seen.table(MODEL, PERFORMANCE_VINTAGES)
    reports = vintages[vintages["metric"] == METRIC].groupby("chunk")["known_at"].nunique()
    shares = vintages["labelled_share"]
    return Finding(
        "corrected inspections restate realized performance, and every vintage is kept",
        reports.max() > 1 and shares.max() <= 0.02,
        f"{(reports > 1).sum()} of {len(reports)} judged weeks restated, up to {reports.max()} vintages; labelled share {shares.min():.2%} to {shares.max():.2%}",
    )


def _one_run_per_incident(seen: Seen) -> Finding:
    """Orders in the ledger against the tags of the runs that answered them."""
    decisions = seen.ledger(MODEL)
    ordered = sorted(decisions.loc[decisions["action"] == Action.RETRAIN, "incident"])
    tagged = sorted(run.tags[TAG_INCIDENT] for run in seen.runs(MODEL, "retrain"))
    is_one = ordered == tagged == sorted(set(tagged)) and len(tagged) == (1 if seen.is_null_twin else 2)
    what = "only the first training has run" if seen.is_null_twin else "one run answers the incident, and one the first training"
    return Finding(f"{what}; each is tagged with its incident", is_one, ", ".join(tagged))


def _series(seen: Seen, kind: Kind, subject: str) -> pd.DataFrame:
    """Lines of one number over all rows, by chunk."""
    lines = seen.measurements(MODEL)
    own = lines[(lines["kind"] == kind) & (lines["subject"] == subject) & (lines["segment"] == "all") & lines["value"].notna()]
    return own.set_index("chunk")


def _served_by_first(lines: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Weeks before the fault, and weeks of the fault that the first model served."""
    own = lines[lines["model_version"] == "1"]
    return own[own.index < FAULTY_WEEK], own[own.index >= FAULTY_WEEK]


def _found(seen: Seen) -> list[Finding]:
    return [*_at_once(seen), _cost(seen), *_realized_and_repaired(seen)]


def _at_once(seen: Seen) -> list[Finding]:
    """What shows in the first faulty week, five weeks before any outcome of it is due."""
    drifted = [week for week in seen.failed(MODEL, Stage.DRIFT_REPORT, Check.DRIFT) if week >= FAULTY_WEEK]
    unsure = seen.failed(MODEL, Stage.MODEL_UNCERTAINTY, Check.UNCERTAINTY)
    lines = seen.measurements(MODEL)
    entropy = lines[(lines["kind"] == Kind.UNCERTAINTY) & (lines["method"] == "entropy")].set_index("chunk")
    before, during = _served_by_first(entropy)
    estimated = _series(seen, Kind.ESTIMATED_PERFORMANCE, METRIC).loc[FAULTY_WEEK]
    return [
        Finding(
            "input drift is found in the week the grease is changed", drifted[:1] == [FAULTY_WEEK], ", ".join(drifted[:1]) or "not found"
        ),
        Finding(
            "the model doubts itself: entropy breaks its limit that week and at least doubles",
            FAULTY_WEEK in unsure and during["breach"].all() and during["value"].min() >= 2 * before["value"].mean(),
            f"{before['value'].mean():.3f} to {during['value'].mean():.3f} nats, limit {during['upper_limit'].iloc[0]:.3f}",
        ),
        Finding(
            "estimated accuracy leaves its limits that week, before any outcome is known",
            bool(estimated["breach"]),
            f"estimated {estimated['value']:.3f}, limit {estimated['lower_limit']:.3f}",
        ),
    ]


def _cost(seen: Seen) -> Finding:
    before, during = _served_by_first(_series(seen, Kind.BUSINESS_KPI, "downtime_cost"))
    ratio = during["value"].mean() / before["value"].mean()
    return Finding(
        "the expected cost of downtime at least doubles while the first model serves",
        len(during) > 0 and ratio >= 2,
        f"{before['value'].mean():,.0f} to {during['value'].mean():,.0f} a week; {during['breach'].sum()} of {len(during)} weeks above the limit of {during['upper_limit'].iloc[0]:,.0f}",
    )


def _realized_and_repaired(seen: Seen) -> list[Finding]:
    """What inspections say, who acts on it, and what comes of it."""
    realized = _series(seen, Kind.REALIZED_PERFORMANCE, METRIC)
    before, during = _served_by_first(realized)
    after = realized[realized["model_version"] == "2"]
    verdicts = seen.table(MODEL, VERDICTS)
    judged = verdicts[verdicts["chunk"].isin(during.index)]
    rollouts = seen.table(MODEL, ROLLOUT_EVENTS)
    promoted = rollouts[(rollouts["event"] == Event.PROMOTED) & (rollouts["from_version"] == "1")]
    onset = promoted["onset"].iloc[0] if len(promoted) else pd.NaT
    recovered = after["value"].mean() if len(after) else float("nan")
    return [
        Finding(
            "once inspections are due they confirm it on every week the first model served: the inputs moved and it hurts",
            judged["verdict"].isin(_HARM).all() and (judged["verdict"] == Verdict.COVARIATE_HARMFUL).any(),
            ", ".join(f"{count} {verdict}" for verdict, count in judged["verdict"].value_counts().items()),
        ),
        Finding(
            "a model that has learned from rows labelled since the change is promoted; the change is dated to the day",
            len(promoted) == 1 and abs(onset - pd.Timestamp(FAULT)) <= timedelta(days=1),
            f"{promoted['reason'].iloc[0]}, onset {onset:%Y-%m-%d %H:%M}" if len(promoted) else "not promoted",
        ),
        Finding(
            "and realized accuracy recovers to within 5 points of what it was",
            during["value"].max() < before["value"].min() and before["value"].mean() - recovered <= 0.05,
            f"{before['value'].mean():.3f}, {during['value'].mean():.3f} under the fault, {recovered:.3f} after",
        ),
    ]


def _quiet(seen: Seen) -> list[Finding]:
    verdicts, decisions = seen.table(MODEL, VERDICTS), seen.ledger(MODEL)
    harmed = verdicts[verdicts["verdict"].isin(_HARM)]
    clauses = decisions.loc[decisions["action"] == Action.RETRAIN, "clause"].tolist()
    drifted = seen.failed(MODEL, Stage.DRIFT_REPORT, Check.DRIFT)
    return [
        Finding("no week is judged harmful", harmed.empty, f"{len(harmed)} of {len(verdicts)} weeks"),
        Finding("nothing is retrained but on day zero", clauses == ["no_champion"], ", ".join(clauses)),
        Finding("no drift is found", not drifted, f"{len(drifted)} of {len(verdicts)} weeks", share=0.9),
    ]
