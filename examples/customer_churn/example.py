"""Weekly batches of customers, one of them changed: the simulator, and what must be seen of it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from plumbline.example import Finding, Seen
from resources.vocabulary import Check, Kind, Stage

START, REFERENCE_END, END = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)
FAULTY_WEEK = "2024-05-20"
#: From this week on a payment method appears that the training data never had, on a handful of customers: news, not drift.
NEW_METHOD_WEEK = "2024-06-10"
SHIFTED = {"monthly_charges", "contract"}
MODEL = "customer_churn"
PER_WEEK = 400
ALPHA = 0.05
#: A share is compared with the promise plus three standard errors of so many weeks.
_ERRORS = 3.0


def simulate(folder: Path, seed: int, is_null_twin: bool) -> None:
    """Write the log: independent customers; in ``FAULTY_WEEK`` charges are 15 % higher and the mix of contracts has changed."""
    rng = np.random.default_rng(seed)
    weeks = (END - START).days // 7
    n_rows = weeks * PER_WEEK
    week = np.repeat(np.arange(weeks), PER_WEEK)
    monday = np.array([(START + timedelta(weeks=int(index))).strftime("%Y-%m-%d") for index in range(weeks)])[week]
    faulty = (monday == FAULTY_WEEK) & (not is_null_twin)
    tenure = np.floor(rng.gamma(1.5, 20, n_rows))
    charges = np.round(rng.normal(65, 22, n_rows).clip(15) * np.where(faulty, 1.15, 1.0), 2)
    calls = rng.poisson(1.2, n_rows)
    data = np.round(rng.lognormal(2.5, 0.8, n_rows), 3)
    contract = np.where(
        faulty,
        rng.choice(["monthly", "one year", "two years"], n_rows, p=[0.36, 0.42, 0.22]),
        rng.choice(["monthly", "one year", "two years"], n_rows, p=[0.55, 0.25, 0.20]),
    )
    payment = rng.choice(["card", "transfer", "direct debit", "cheque"], n_rows, p=[0.45, 0.30, 0.245, 0.005])
    payment = np.where((monday >= NEW_METHOD_WEEK) & (rng.random(n_rows) < 0.004), "wallet", payment)
    region = rng.choice(["north", "south", "east", "west"], n_rows, p=[0.3, 0.3, 0.25, 0.15])
    logit = -1.0 - 0.03 * tenure + 0.012 * charges + 0.35 * calls + np.where(contract == "monthly", 0.9, -0.6)
    proba = np.round(1 / (1 + np.exp(-logit)), 6)
    moment = [
        START + timedelta(weeks=int(index), minutes=25 * int(place))
        for index, place in zip(week, np.arange(n_rows) % PER_WEEK, strict=True)
    ]
    pd.DataFrame({
        "score_id": [f"score-{index}" for index in range(n_rows)], "scored_at": moment, "tenure_months": tenure, "monthly_charges": charges,
        "support_calls": calls, "data_gigabytes": data, "contract": contract, "payment_method": payment, "region": region, "p_leave": proba,
        "will_leave": (proba >= 0.5).astype(int), "left": (rng.random(n_rows) < proba).astype(int),
    }).to_csv(folder / f"{MODEL}.csv", index=False)  # fmt: skip


def checks(seen: Seen) -> list[Finding]:
    """What the README promises."""
    drift = seen.measurements(MODEL)
    drift = drift[drift["kind"] == Kind.UNIVARIATE_DRIFT]
    results = drift[["chunk", "subject", "method", "value", "p_value", "adjusted_p_value", "effect", "n_rows", "breach", "reason"]]
    results.to_csv(seen.settings.home / "results.csv", index=False)
    own = [_complete(results), _equal_to_scipy(seen, results), _calm(results, seen.is_null_twin), _unseen(results), _idempotent(seen)]
    return own if seen.is_null_twin else [*own, _named(seen, results)]


def _complete(results: pd.DataFrame) -> Finding:
    weeks, features = results["chunk"].nunique(), results["subject"].nunique()
    numbers = ["value", "p_value", "adjusted_p_value", "n_rows"]
    is_whole = len(results) == weeks * features == 13 * 7 and results[numbers].notna().all(axis=None)
    return Finding(
        "every feature-week is logged: test, statistic, p raw, p corrected, n, reason",
        bool(is_whole),
        f"{len(results)} rows in results.csv",
    )


def _equal_to_scipy(seen: Seen, results: pd.DataFrame) -> Finding:
    """Statistics and raw p-values from the log file alone."""
    log = pd.read_csv(seen.settings.models / f"{MODEL}.csv", parse_dates=["scored_at"])
    reference = log[log["scored_at"] < REFERENCE_END]
    monday = log["scored_at"].dt.tz_localize(None).dt.to_period("W").dt.start_time.dt.strftime("%Y-%m-%d")
    worst = 0.0
    for row in results.itertuples():
        own = log.loc[monday == row.chunk, row.subject]
        if row.method == "kolmogorov_smirnov":
            expected = stats.ks_2samp(reference[row.subject], own)
            pair = (expected.statistic, expected.pvalue)
        else:
            table = pd.concat([reference[row.subject].value_counts(), own.value_counts()], axis=1).fillna(0).to_numpy().T
            expected = stats.chi2_contingency(table)
            pair = (expected.statistic, row.p_value if row.reason else expected.pvalue)  # with a reason, rare categories were tested as one
        worst = max(worst, abs(row.value - pair[0]) / max(1.0, pair[0]), abs(row.p_value - pair[1]))
    return Finding("statistics and p-values equal scipy's to 1e-9", worst <= 1e-9, f"largest difference {worst:.1e}")


def _calm(results: pd.DataFrame, is_null_twin: bool) -> Finding:
    quiet = results if is_null_twin else results[results["chunk"] != FAULTY_WEEK]
    alarmed = quiet.groupby("chunk")["breach"].any()
    share = float(alarmed.mean())
    bound = ALPHA + _ERRORS * float(np.sqrt(ALPHA * (1 - ALPHA) / len(alarmed)))
    hits, trials = int(alarmed.sum()), len(alarmed)
    name = "at most 5 % of weeks without a fault alarm on any feature (one seed: within three standard errors)"
    return Finding(name, share <= bound, f"{hits} of {trials} weeks", 0.0, hits, trials, ALPHA)


def _unseen(results: pd.DataFrame) -> Finding:
    own = results[(results["subject"] == "payment_method") & (results["chunk"] >= NEW_METHOD_WEEK)]
    told = own["reason"].str.contains("the reference never had|expected count below 5", regex=True)
    figure = own.loc[told, "reason"].iloc[0] if told.any() else "no reason given"
    return Finding(
        "rare and unseen categories are tested as one and named, not an error", bool(told.any()) and own["p_value"].notna().all(), figure
    )


def _idempotent(seen: Seen) -> Finding:
    names = ["chunk", "subject", "method", "value", "p_value", "adjusted_p_value", "upper_limit", "n_rows", "breach", "reason"]

    def week() -> pd.DataFrame:
        rows = seen.measurements(MODEL)
        own = rows[(rows["chunk"] == FAULTY_WEEK) & (rows["kind"] == Kind.UNIVARIATE_DRIFT)]
        return own[names].sort_values(["subject", "method"], ignore_index=True)

    before, everything = week(), len(seen.measurements(MODEL))
    seen.run_again(MODEL, FAULTY_WEEK)
    is_same = before.equals(week()) and len(seen.measurements(MODEL)) == everything
    return Finding("running a week again changes nothing", is_same, f"{len(before)} rows compared, {everything} in all")


def _named(seen: Seen, results: pd.DataFrame) -> Finding:
    week = results[results["chunk"] == FAULTY_WEEK].sort_values("adjusted_p_value")
    first, is_failed = list(week["subject"][:2]), FAULTY_WEEK in seen.failed(MODEL, Stage.DRIFT_REPORT, Check.DRIFT)
    is_named = set(first) == SHIFTED and week["breach"][:2].all() and is_failed
    figure = ", ".join(f"{row.subject} (p {row.adjusted_p_value:.1e})" for row in week[:3].itertuples())
    return Finding("the faulty week fails its check and names exactly the two shifted features first", bool(is_named), figure, 0.95)
