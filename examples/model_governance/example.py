"""Thirty-six models of one company over sixty days, five of them at fault: the simulator, and what must be seen of their governance."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from plumbline.example import Finding, Seen, Size
from resources.catalogue import load_catalogue
from resources.incident_log import read_incidents
from resources.incidents import Incident
from resources.lineage import UNKNOWN, read_lineage
from resources.names import job_name
from resources.policy import MonitoredModel
from resources.retraining import CLAUSES, Condition
from resources.tables import VERDICTS
from resources.vocabulary import Cause

START, END = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 30, tzinfo=UTC)
#: What the tests run of it: outcomes of the second fault's first day are due at the end; what is renewed here serves for a day.
SMALL = Size(
    START + timedelta(days=5),
    ("fraud_signups", "personalization", "forecasting_bakery", "forecasting_dairy", "forecasting_returns"),
    replay=(datetime(2025, 4, 12, tzinfo=UTC), datetime(2025, 4, 13, tzinfo=UTC)),
)
PER_HOUR, PER_DAY = 60, 150
#: Before the reference, for the first model to learn from.
PAST = timedelta(days=40)


@dataclass(frozen=True)
class Fault:
    """What goes wrong in a model, and from which day of the sixty on, for how long."""

    what: str
    from_day: float
    days: float


#: Faults are found and repaired by their owners after some days.
FAULTS = {
    "forecasting_dairy": Fault("broken feed", 2, 3),
    "forecasting_bakery": Fault("bias", 3, 5),
    "fraud": Fault("concept change", 20, 1),
    "personalization_email": Fault("harmful shift", 30, 5),
    "personalization_cart": Fault("unit change", 40, 5),
}
#: Models of which their makers deploy another version, and the day they do.
DEPLOYED = {"personalization": 4, "fraud_signups": 9, "personalization_push": 25, "forecasting_drinks": 44}
BEFORE, AFTER = "7", "8"
#: Two models are served here, and renewed when their history is handed over: a person approves the one, another restores the other.
APPROVED, ROLLED_BACK = "personalization_books", "forecasting_returns"
#: False alerts per 1,000 model-days.
MOST_FALSE = 1.0


def simulate(folder: Path, seed: int, is_null_twin: bool) -> None:
    """Write the log of every declared model, with what became of each row.

    Served models know the truth as well as it can be known: until a fault comes, what they get wrong is chance.
    """
    for place, policy in enumerate(one.policy for one in load_catalogue(folder)):
        rng = np.random.default_rng([seed, place])
        log = _FAMILIES[policy.model.split("_")[0]](rng, _times(policy, rng), None if is_null_twin else FAULTS.get(policy.model))
        day = DEPLOYED.get(policy.model)
        changed = log["scored_at"] >= START + timedelta(days=day) if day else False
        log = log.assign(row=[f"{policy.model}-{index}" for index in range(len(log))], version=np.where(changed, AFTER, BEFORE))
        log.to_parquet(folder / str(policy.log.parquet), index=False)


def _times(policy: MonitoredModel, rng: np.random.Generator) -> pd.Series:
    """Moments of the rows: as many in every chunk, anywhere in it. What is trained here also has a past to learn from."""
    chunk, size = (pd.Timedelta(hours=1), PER_HOUR) if policy.chunk == "1h" else (pd.Timedelta(days=1), PER_DAY)
    start = pd.Timestamp(policy.reference.start) - (PAST if policy.log.is_scored_here else timedelta(0))
    n_chunks = int((END - start) / chunk)
    place = np.repeat(np.arange(n_chunks), size) + np.sort(rng.random((n_chunks, size)), axis=1).ravel()
    return pd.Series(start + pd.to_timedelta((place * chunk.total_seconds() * 1000).astype("int64"), unit="ms"))


def _at_fault(time: pd.Series, fault: Fault | None, what: str) -> np.ndarray:
    if fault is None or fault.what != what:
        return np.zeros(len(time), dtype=bool)
    start = START + timedelta(days=fault.from_day)
    return ((time >= start) & (time < start + timedelta(days=fault.days))).to_numpy()


def _classified(rng: np.random.Generator, logit: np.ndarray, true_logit: np.ndarray) -> dict[str, np.ndarray]:
    proba, truth = (np.round(1 / (1 + np.exp(-one)), 6) for one in (logit, true_logit))
    return {"p": proba, "answer": (proba >= 0.5).astype("int64"), "y": (rng.random(len(logit)) < truth).astype("int64")}


def _fraud(rng: np.random.Generator, time: pd.Series, fault: Fault | None) -> pd.DataFrame:
    """Payments; where the concept changes, a ring pays small amounts slowly from old accounts: what was safe is fraud."""
    n_rows = len(time)
    amount, velocity, age = rng.lognormal(3, 1, n_rows), rng.gamma(2, 1, n_rows), rng.exponential(400, n_rows)
    logit = 7 * (np.log(amount) - 3) + 3 * (velocity - 2) - 0.006 * (age - 400) - 6
    ring = _at_fault(time, fault, "concept change")
    return pd.DataFrame(
        {
            "scored_at": time,
            "amount": amount,
            "velocity": velocity,
            "account_age": age,
            **_classified(rng, logit, np.where(ring, -logit, logit)),
        }
    )


def _personalization(rng: np.random.Generator, time: pd.Series, fault: Fault | None) -> pd.DataFrame:
    """Visits; a campaign brings others, who take what they like less, and a price list comes in cents."""
    n_rows = len(time)
    campaign = _at_fault(time, fault, "harmful shift") & (rng.random(n_rows) < 0.7)
    affinity = rng.normal(0, 1, n_rows) + 2.0 * campaign
    recency = rng.exponential(10, n_rows) * np.where(campaign, 0.3, 1.0)
    price = rng.gamma(9, 5, n_rows)
    channel = np.where(campaign, "advertisement", rng.choice(["web", "app", "mail"], n_rows))
    written = np.where(_at_fault(time, fault, "unit change"), price * 100, price)

    def logit(read: np.ndarray) -> np.ndarray:
        return 4 * affinity - 0.1 * (recency - 10) - 0.08 * (read - 45)

    taken = np.where(campaign, -logit(price), logit(price))
    answered = _classified(rng, np.clip(logit(written), -30, 30), taken)
    return pd.DataFrame({"scored_at": time, "affinity": affinity, "recency": recency, "price": written, "channel": channel, **answered})


def _forecasting(rng: np.random.Generator, time: pd.Series, fault: Fault | None) -> pd.DataFrame:
    """Articles; the forecast is too high where a promotion is counted twice, and a feed loses what was sold last week."""
    n_rows = len(time)
    last, discount, warm = rng.gamma(20, 5, n_rows), rng.beta(1, 6, n_rows), rng.normal(12, 6, n_rows)
    expected = 0.9 * last + 80 * discount + 0.8 * warm
    bias = 12.0 * _at_fault(time, fault, "bias")
    lost = _at_fault(time, fault, "broken feed") & (rng.random(n_rows) < 0.4)
    answer, truth = np.round(expected + bias, 3), np.round(expected + rng.normal(0, 5, n_rows), 3)
    return pd.DataFrame(
        {
            "scored_at": time,
            "last_week": np.where(lost, np.nan, last),
            "discount": discount,
            "temperature": warm,
            "answer": answer,
            "y": truth,
        }
    )


_FAMILIES: dict[str, Callable[[np.random.Generator, pd.Series, Fault | None], pd.DataFrame]] = {
    "fraud": _fraud, "personalization": _personalization, "forecasting": _forecasting,
}  # fmt: skip


def checks(seen: Seen) -> list[Finding]:
    """What the README promises."""
    alerts = {model: read_incidents(seen.settings.lake, policy) for model, policy in seen.policies.items()}
    _people_act(seen)
    common = [_false_alerts(seen, alerts), _at_own_cadence(seen), _own_decisions(seen), _table_answers(seen), _histories(seen)]
    return common if seen.is_null_twin else [_exactly_the_faulty(seen, alerts), *common]


def _people_act(seen: Seen) -> None:
    """A person approves the challenger that waits, and another rolls back the renewed model."""
    for model, job, config in (
        (APPROVED, "approve", {"who": "ana@example.com", "why": "same accuracy, fresher books"}),
        (ROLLED_BACK, "rollback", {"approved_by": "ben@example.com", "reason": "the warehouse asks for the old one"}),
    ):
        if model in seen.policies:
            seen.driver.run_job("training", job_name(seen.policies[model], job), config=config)


def _faults(seen: Seen) -> dict[str, Fault]:
    """Faults of the models that ran, as far as the run went."""
    days = (seen.end - START).days
    return {} if seen.is_null_twin else {model: one for model, one in FAULTS.items() if model in seen.policies and one.from_day + 1 < days}


def _is_true(seen: Seen, alert: Incident) -> bool:
    """Whether an alert is of the fault of its model, and begins while it lasts."""
    fault, cadence = _faults(seen).get(alert.model), seen.policies[alert.model].cadence
    if fault is None or alert.cause is not (Cause.DATA_FAULT if fault.what == "broken feed" else Cause.HARM):
        return False
    start = START + timedelta(days=fault.from_day)
    return cadence.end(alert.first_chunk) > start and cadence.start(alert.first_chunk) < start + timedelta(days=fault.days)


def _exactly_the_faulty(seen: Seen, alerts: Mapping[str, Sequence[Incident]]) -> Finding:
    faulty, alerted = set(_faults(seen)), {model for model, own in alerts.items() if own}
    found = {model for model in faulty & alerted if any(_is_true(seen, one) for one in alerts[model])}
    told = ", ".join(f"{one.id} ({len(one.chunks)} chunks)" for own in alerts.values() for one in own)
    return Finding(f"exactly the {len(faulty)} models at fault alert", alerted == faulty == found, told or "no alert")


def _false_alerts(seen: Seen, alerts: Mapping[str, Sequence[Incident]]) -> Finding:
    wrong = [one.id for own in alerts.values() for one in own if not _is_true(seen, one)]
    days = sum((_judged_until(seen, policy) - START).days for policy in seen.policies.values())
    rate = 1000 * len(wrong) / days
    figure = f"{len(wrong)} in {days} model-days, {rate:.2f} per 1,000{'; ' if wrong else ''}{', '.join(wrong)}"
    return Finding("at most one false alert per 1,000 model-days", rate <= MOST_FALSE, figure)


def _judged_until(seen: Seen, policy: MonitoredModel) -> datetime:
    return policy.replay.end if policy.replay else seen.end


def _at_own_cadence(seen: Seen) -> Finding:
    wrong, counts = [], Counter[tuple[str, int]]()
    for model, policy in seen.policies.items():
        judged = set(seen.table(model, VERDICTS)["chunk"])
        wrong += [] if judged == set(policy.cadence.keys_between(START, _judged_until(seen, policy))) else [model]
        counts[policy.chunk, len(judged)] += 1
    told = ", ".join(f"{models} models of chunk {chunk} judged {times} times each" for (chunk, times), models in sorted(counts.items()))
    return Finding(
        "every model was judged at its own cadence, no chunk left out", not wrong, told + "".join(f"; not so: {one}" for one in wrong)
    )


def _clauses(condition: Condition) -> list[str]:
    """Names of a policy's single clauses, as the ledger lists them."""
    if condition.two_stage:
        return [CLAUSES["score"], CLAUSES["decay"]]
    return [name for part in condition.parts for name in _clauses(part)] if condition.parts else [condition.clause]


def _own_decisions(seen: Seen) -> Finding:
    wrong, deciding, rows = [], Counter[str](), 0
    for model, policy in seen.policies.items():
        ledger = seen.ledger(model)
        read = [[one["clause"] for one in json.loads(row)["clauses"]] for row in ledger["inputs"]]
        is_own = set(ledger["policy_hash"]) == {policy.policy_hash} and all(names in ([], _clauses(policy.retrain.when)) for names in read)
        is_disabled = policy.retrain.enabled == ("retraining_disabled" not in set(ledger["clause"]))
        wrong += [] if is_own and any(read) and is_disabled else [model]
        deciding.update(ledger["clause"])
        rows += len(ledger)
    kinds = {" and ".join(_clauses(one.retrain.when)) if one.retrain.enabled else "disabled" for one in seen.policies.values()}
    told = ", ".join(f"{clause} {times}" for clause, times in deciding.most_common())
    figure = f"{rows} decisions under {len(kinds)} kinds of policy; decided by {told}" + "".join(f"; not so: {one}" for one in wrong)
    return Finding("every policy decided for itself: its hash and its clauses stand in the ledger", not wrong, figure)


def _table_answers(seen: Seen) -> Finding:
    """Of every model at three moments; only a log served elsewhere cannot say when its version was deployed."""
    moments = [START + timedelta(days=2), START + (seen.end - START) / 2, seen.end]
    empty, own = [], []
    for model, policy in seen.policies.items():
        versions = seen.settings.registry.versions(model)
        for at in moments:
            line = read_lineage(policy, seen.settings.lake, versions, at).plain
            may_lack = set() if policy.log.is_scored_here else {"serving_since"}
            empty += [f"{model} {name}" for name, value in line.items() if value in ("", UNKNOWN, "none") and name not in may_lack]
            own.append(line)
    declared = sum(line["baseline"] == "declared reference window" for line in own)
    figure = f"{len(own)} lines of {len(own[0])} facts, {declared} of them from a declared reference{'; empty: ' if empty else ''}{', '.join(empty[:5])}"
    return Finding("one table answers for every model at three moments", not empty, figure)


def _histories(seen: Seen) -> Finding:
    """Which version served just before and just after each deployment, promotion and rollback, and who approved it."""
    hour, wrong, told = timedelta(hours=1), [], []

    def expect(model: str, at: datetime, version: str, approver: str) -> None:
        line = read_lineage(seen.policies[model], seen.settings.lake, seen.settings.registry.versions(model), at)
        told.append(f"{model} {at:%d %B %H:%M} version {line.serving_version} by {line.approver}")
        wrong.extend([] if (line.serving_version, line.approver) == (version, approver) else [told[-1]])

    for model in (model for model, day in DEPLOYED.items() if model in seen.policies and START + timedelta(days=day) < seen.end):
        moment, owner = START + timedelta(days=DEPLOYED[model]), f"declared by {seen.policies[model].owners[0]}"
        expect(model, moment - hour, BEFORE, owner)
        expect(model, moment + hour, AFTER, owner)
    for model, version, who in ((APPROVED, "2", "ana@example.com"), (ROLLED_BACK, "1", "ben@example.com")):
        if model in seen.policies:
            by_policy, replay = f"policy {seen.policies[model].policy_hash}", seen.policies[model].replay
            expect(model, replay.start - hour, "1", by_policy)
            if model == ROLLED_BACK:
                expect(model, replay.end - hour, "2", by_policy)
            expect(model, replay.end, version, who)
    return Finding("versions are told right just before and after they change", not wrong and bool(told), "; ".join(wrong or told))
