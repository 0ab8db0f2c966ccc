"""A shop whose seasons are ordinary and whose baskets turn over for a week: the simulator, PagerDuty's stand-in, and what must be seen."""

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pandas as pd

from plumbline.example import Finding, Seen, Size
from resources.incident_log import read_incidents
from resources.incidents import RECOVERED, Incident
from resources.tables import VERDICTS
from resources.vocabulary import HARMLESS, Cause, Check, Kind, Stage

START, RECORDED, MONITORED, TURNED, BACK, END = (
    datetime(*day, tzinfo=UTC) for day in ((2024, 1, 1), (2024, 11, 1), (2025, 1, 1), (2025, 1, 15), (2025, 1, 22), (2025, 3, 1))
)
#: The schedule is due on every midnight around the change; what lies before and after is measured at once.
FULL = Size(END, before=tuple(TURNED + timedelta(days=days) for days in range(12)))
SMALL = Size(BACK + timedelta(days=3), before=(TURNED + timedelta(days=4),))
PER_DAY = 200
MODEL = "sales_drift"
#: Features that are paired anew, and nothing else.
PAIR = ["amount", "items"]
MATCHED, PLAIN = "mmd of all features", "mmd of all features, plain reference"
#: Chance of a breach of any number of a day without drift, as declared; a share is compared with it plus three standard errors.
ALPHA, ERRORS = 0.05, 3.0
_EVENTS, _KEY = "pagerduty.jsonl", "SALES_ROUTING_KEY"


def simulate(folder: Path, seed: int, is_null_twin: bool) -> None:
    """Write the log of receipts: every feature follows the year, which has its height in January.

    From ``TURNED`` to ``BACK`` the amounts of each day are handed out anew among its receipts, the highest to the smallest basket:
    each feature keeps exactly the values it has in the null twin. Returns, recorded since ``RECORDED``, depend on discount, hour and payment alone.
    """
    rng = np.random.default_rng(seed)
    n_rows = (END - START).days * PER_DAY
    day = np.arange(n_rows) // PER_DAY
    moment = pd.Timestamp(START) + pd.to_timedelta(day, unit="D")
    winter = np.cos(2 * np.pi * (moment.dayofyear - 15) / 365.25)
    size = rng.normal(size=n_rows)
    hour = np.clip(rng.normal(14 + 0.8 * winter, 3.5, n_rows), 7, 21.99)
    frame = pd.DataFrame({
        "receipt": [f"receipt-{index}" for index in range(n_rows)],
        "paid_at": moment + pd.to_timedelta(hour, unit="h").floor("ms"),
        "amount": np.round(np.exp(3.5 + 0.15 * winter + 0.7 * (0.97 * size + np.sqrt(1 - 0.97**2) * rng.normal(size=n_rows))), 2),
        "items": np.floor(np.exp(1.2 + 0.7 * size)) + 1,
        "discount": np.round(np.clip(rng.beta(2, 8, n_rows) + 0.04 * winter, 0, 1), 3),
        "hour": np.round(hour, 2),
        "payment": np.where(rng.random(n_rows) < 0.4 + 0.05 * winter, "online", "till"),
    })  # fmt: skip
    if not is_null_twin:
        is_turned = (moment >= TURNED) & (moment < BACK)
        for _, own in frame[is_turned].groupby(day[is_turned]):
            frame.loc[own.sort_values("items", kind="stable").index, "amount"] = np.sort(own["amount"])[::-1]
    logit = -1.5 + 6 * (frame["discount"] - 0.2) - 0.15 * (frame["hour"] - 14) + 1.2 * (frame["payment"] == "online")
    proba = np.round(1 / (1 + np.exp(-logit)), 6)
    frame = frame.assign(
        p_return=proba, will_return=(proba >= 0.5).astype("int64"), returned=(rng.random(n_rows) < proba).astype("float64")
    )
    frame.loc[moment < RECORDED, "returned"] = np.nan
    frame.to_parquet(folder / f"{MODEL}.parquet", index=False)


@contextmanager
def surroundings(home: Path) -> Iterator[None]:
    """PagerDuty's Events API on the loopback; what it is sent is kept, a line each."""
    from apprise.plugins import pagerduty

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with (home / _EVENTS).open("a", encoding="utf-8") as kept:
                kept.write(json.dumps(body) + "\n")
            self.send_response(202)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/v2/enqueue"
    here = dict.fromkeys(pagerduty.PAGERDUTY_API_LOOKUP, address)
    try:
        with patch.dict(pagerduty.PAGERDUTY_API_LOOKUP, here), patch.dict(os.environ, {_KEY: "R0UTINGKEY0F0THE0L00PBACK0000000"}):
            yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def checks(seen: Seen) -> list[Finding]:
    """What the README promises."""
    drift = seen.measurements(MODEL)
    drift = drift[drift["kind"].isin([Kind.UNIVARIATE_DRIFT, Kind.MULTIVARIATE_DRIFT])].assign(
        is_matched=lambda rows: rows["compared_with"] == "same month"
    )
    drift.to_csv(seen.settings.home / "drift.csv", index=False)
    incidents = read_incidents(seen.settings.lake, seen.policies[MODEL])
    own = [_shown(seen, drift), *_season(seen, drift)]
    return [*own, *(_quiet(seen, drift, incidents) if seen.is_null_twin else _found(seen, drift, incidents))]


def _joint(drift: pd.DataFrame, *, is_matched: bool) -> pd.DataFrame:
    own = drift[(drift["method"] == "mmd") & (drift["is_matched"] == is_matched)]
    return own.set_index("chunk")


def _in_row(breaches: pd.Series, confirm: int) -> list[str]:
    """Chunks that end a run of so many breaches."""
    runs = breaches.astype(int).rolling(confirm).sum()
    return [str(chunk) for chunk in runs.index[runs == confirm]]


def _shown(seen: Seen, drift: pd.DataFrame) -> Finding:
    """Each day's two scores and their p-values are stored, and are numbers of the asset, which the UI plots."""
    stored, worst = 0, 0.0
    for is_matched, name in ((True, MATCHED), (False, PLAIN)):
        for row in _joint(drift, is_matched=is_matched).itertuples():
            told = seen.metadata(MODEL, Stage.DRIFT_REPORT, str(row.Index))
            worst = max(worst, abs(told[name] - row.value), abs(told[f"p-value of {name}"] - row.p_value))
            stored += 2
    n_days = (seen.end - MONITORED).days
    return Finding(
        "score and permutation p-value of every day, same months and plain, stand in the lake and on the asset",
        stored == 4 * n_days and worst == 0,
        f"{stored} numbers of {n_days} days, largest difference {worst:g}",
    )


def _season(seen: Seen, drift: pd.DataFrame) -> list[Finding]:
    """The days on which nothing happens but winter."""
    confirm = seen.policies[MODEL].drift.confirm
    calm_days = drift[~drift["chunk"].between(f"{TURNED:%Y-%m-%d}", f"{BACK:%Y-%m-%d}", inclusive="left")]
    winter = {flag: _joint(calm_days, is_matched=flag) for flag in (True, False)}
    n_days = len(winter[True])
    calm, plain = int(winter[True]["breach"].sum()), int(winter[False]["breach"].sum())
    alerts, would = _in_row(winter[True]["breach"], confirm), _in_row(winter[False]["breach"], confirm)
    bound = ALPHA + ERRORS * float(np.sqrt(ALPHA * (1 - ALPHA) / n_days))
    return [
        Finding(
            "an ordinary winter does not alert against the same months",
            not alerts and calm / n_days <= bound,
            f"{calm} of {n_days} days breach, none {confirm} in a row" if not alerts else f"alerts {', '.join(alerts)}",
            hits=calm,
            trials=n_days,
            bound=ALPHA,
        ),
        Finding(
            "it does alert against the plain reference, shown beside it",
            bool(would),
            f"{plain} of {n_days} days breach, {len(would)} alerts, first {would[0]}" if would else f"{plain} of {n_days} days breach",
        ),
    ]


def _events(seen: Seen) -> list[dict[str, str]]:
    file = seen.settings.home / _EVENTS
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def _found(seen: Seen, drift: pd.DataFrame, incidents: list[Incident]) -> list[Finding]:
    by_kernel = _in_row(_joint(drift, is_matched=True)["breach"], seen.policies[MODEL].drift.confirm)
    failed = seen.failed(MODEL, Stage.DRIFT_REPORT, Check.DRIFT)
    alerts = [chunk for chunk in failed if chunk in by_kernel and chunk >= f"{TURNED:%Y-%m-%d}"]
    delay = (datetime.fromisoformat(alerts[0]).replace(tzinfo=UTC) - TURNED).days + 1 if alerts else float("inf")  # judged when it ends
    verdicts = seen.table(MODEL, VERDICTS).set_index("chunk")["verdict"]
    turned = verdicts.loc[f"{TURNED:%Y-%m-%d}" : alerts[-1]] if alerts else verdicts.iloc[:0]
    return [
        Finding("a change of correlation alone is an alert of the kernel discrepancy within 14 days", delay <= 14, f"after {delay:g} days"),
        _silent(seen, drift),
        _same_values(seen),
        Finding(
            "the model holds: no verdict of these days is harm",
            len(turned) > 0 and set(turned) <= {str(one) for one in HARMLESS},
            ", ".join(f"{count} {verdict}" for verdict, count in Counter(turned).items()) or "no alert",
        ),
        *_paged(seen, incidents),
    ]


def _silent(seen: Seen, drift: pd.DataFrame) -> Finding:
    """Kolmogorov-Smirnov tests of the two features while their correlation is turned round."""
    days = drift["chunk"].between(f"{TURNED:%Y-%m-%d}", f"{BACK:%Y-%m-%d}", inclusive="left")
    own = drift[days & drift["is_matched"] & drift["subject"].isin(PAIR)]
    confirmed = [
        name for name, rows in own.groupby("subject") if _in_row(rows.set_index("chunk")["breach"], seen.policies[MODEL].drift.confirm)
    ]
    log = pd.read_parquet(seen.settings.models / f"{MODEL}.parquet")
    turned = log[log["paid_at"].between(TURNED, BACK, inclusive="left")]
    rho = [rows[PAIR].corr(method="spearman").iloc[0, 1] for rows in (log[log["paid_at"] < TURNED], turned)]
    breaches = int(own["breach"].sum())
    return Finding(
        "Kolmogorov-Smirnov tests of both features stay silent",
        len(own) == 2 * (BACK - TURNED).days and not confirmed and breaches <= 1,
        f"{breaches} of {len(own)} breach, smallest p-value {own['p_value'].min():.3f}, while the rank correlation goes from {rho[0]:+.2f} to {rho[1]:+.2f}",
    )


def _same_values(seen: Seen) -> Finding:
    """Day by day, the values of each feature are those of the null twin."""
    names = seen.policies[MODEL].features.all
    with TemporaryDirectory() as folder:
        simulate(Path(folder), seen.seed, is_null_twin=True)
        logs = [pd.read_parquet(place / f"{MODEL}.parquet") for place in (seen.settings.models, Path(folder))]
    differing = 0
    for name in names:
        log, twin = (rows.assign(day=rows["paid_at"].dt.floor("D")).sort_values(["day", name])[name].to_numpy() for rows in logs)
        differing += int((log != twin).sum())
    repaired = int((logs[0]["amount"] != logs[1]["amount"]).sum())
    return Finding(
        "on every day each feature has exactly the values it has without the change",
        differing == 0 and repaired > 0,
        f"{differing} of {len(names) * len(logs[0])} values differ, {repaired} amounts stand beside another basket",
    )


def _paged(seen: Seen, incidents: list[Incident]) -> list[Finding]:
    events, drifted = _events(seen), [one for one in incidents if one.cause is Cause.DRIFT]
    sent = Counter((one["event_action"], one["dedup_key"]) for one in events)
    expected = Counter((action, one.id) for one in drifted for action in ("trigger", "resolve"))
    one = drifted[0] if drifted else None
    return [
        Finding(
            "one incident is opened and ends by itself once the baskets are as ever",
            len(incidents) == 1 and one is not None and one.resolution == RECOVERED,
            "; ".join(f"{one.id}, {len(one.chunks)} days, {one.resolution or 'open'}" for one in incidents) or "no incident",
        ),
        Finding(
            "PagerDuty gets exactly one trigger and one resolve, under the incident's name",
            bool(drifted) and sent == expected and [one["event_action"] for one in events] == ["trigger", "resolve"],
            ", ".join(f"{count} {action} of {key}" for (action, key), count in sent.items()) or "no event",
        ),
    ]


def _quiet(seen: Seen, drift: pd.DataFrame, incidents: list[Incident]) -> list[Finding]:
    own = drift[drift["is_matched"]].groupby("chunk")["breach"].any()
    hits, days, failed = int(own.sum()), len(own), seen.failed(MODEL, Stage.DRIFT_REPORT, Check.DRIFT)
    events = _events(seen)
    return [
        Finding("no alert without a change", not failed, f"{len(failed)} alerts in {days} days"),
        Finding(
            f"any number of a day breaches on at most {ALPHA:.0%} of days, as declared",
            hits / days <= ALPHA + ERRORS * float(np.sqrt(ALPHA * (1 - ALPHA) / days)),
            f"{hits} of {days} days",
            hits=hits,
            trials=days,
            bound=ALPHA,
        ),
        Finding("no incident, and nobody is paged", not incidents and not events, f"{len(incidents)} incidents, {len(events)} events"),
    ]
