"""The closed loop, headless: one real fault and its null twin, from an empty folder to a recovered champion.

Belongs here: driving the platform over the sample stream and reading off what happened. Does not: doing any of it.
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from plumbline.driver import Driver
from resources import tables
from resources.catalogue import load_catalogue
from resources.decision_log import read_ledger
from resources.lake import Lake
from resources.log_source import read_log
from resources.policy import MonitoredModel
from resources.registry import Registry
from resources.rollout_log import events
from resources.settings import Settings
from resources.vocabulary import Action, Event, Kind

if TYPE_CHECKING:
    import pandas as pd

FAULTY, CONTROL = "weather_station", "weather_station_control"
#: Day 12,000 of the log: the sensors are wired one place to the left from here on.
FAULT = datetime(1981, 11, 9, tzinfo=UTC)
#: Day 17,500: up to here the repaired log must not retrain.
CONTROL_UNTIL = datetime(1996, 11, 30, tzinfo=UTC)
_DAYS_AFTER = 2000
_PROMOTION_WITHIN, _RECOVERY_WITHIN, _BREACH_WITHIN = 4, 8, 2
_RECOVERED, _STATIC_AT_MOST, _FAULTY_AT_MOST = 0.80, 0.52, 0.60


@dataclass(frozen=True)
class DemoResult:
    """What the demo saw; dates are ISO days, values are ROC AUC."""

    fault: str
    first_breach_chunk: str | None
    first_estimated_breach_chunk: str | None
    first_realized_breach_chunk: str | None
    dated_onset: str | None
    retrain_decision: str | None
    first_promotion: str | None
    champion_before: str | None
    champion_after: str | None
    auc_reference: float
    auc_first_faulty_chunk: float
    auc_recovered: float
    recovered_within_chunks: int | None
    auc_static_same_days: float
    promotions: int
    rejections: int
    control_retrainings: int
    control_chunks: int
    problems: list[str]

    @property
    def is_closed(self) -> bool:
        """Whether the loop closed and the control stayed quiet."""
        return not self.problems


def run_demo(home: Path, on_run: Callable[[str, str, str], None]) -> DemoResult:
    """Run the loop on the weather station and its control in ``home`` and read off the result.

    Args:
        home: empty folder for lake, registry and results.
        on_run: told model, purpose and partition before each run.
    """
    settings = Settings.of(home)
    with dg.DagsterInstance.ephemeral() as instance:
        for model in (FAULTY, CONTROL):
            driver = Driver(settings, instance, [model])
            driver.run_until_idle(lambda job, partition, model=model: on_run(model, job.removeprefix(f"{model}__"), partition))  # type: ignore[misc]
    policies = {one.policy.model: one.policy for one in load_catalogue(settings.models)}
    return read_result(settings, policies[FAULTY], policies[CONTROL])


def temporary_home() -> Path:
    """A fresh folder for one demo."""
    return Path(tempfile.mkdtemp(prefix="plumbline-demo-"))


def read_result(settings: Settings, policy: MonitoredModel, control: MonitoredModel) -> DemoResult:
    """Read off the lake what happened, and list every promise that was not kept."""
    lake = settings.lake
    registry = settings.registry
    measured = lake.read(policy.model, tables.MEASUREMENTS)
    log = events(lake, policy)
    decisions = read_ledger(policy, lake)
    fault_chunk = policy.cadence.key(FAULT)
    first_whole = policy.cadence.shift(fault_chunk, 1)
    retrained = decisions[(decisions["action"] == Action.RETRAIN) & (decisions["chunk"] >= fault_chunk)]
    promoted = log[(log["event"] == Event.PROMOTED) & log["from_version"].notna()].sort_values("as_of")
    truth = _labelled(policy, settings)
    static = str(promoted["from_version"].iloc[0]) if len(promoted) else "1"
    recovery = _recovery(policy, registry, truth, promoted, static)
    deciding = policy.metrics[0]
    realized = measured[(measured["kind"] == Kind.REALIZED_PERFORMANCE) & (measured["subject"] == deciding)].set_index("chunk")["value"]
    result = DemoResult(
        fault=f"{FAULT:%Y-%m-%d}",
        first_breach_chunk=_first_new_breach(policy, measured, fault_chunk),
        first_estimated_breach_chunk=_first_breach(measured, Kind.ESTIMATED_PERFORMANCE, fault_chunk),
        first_realized_breach_chunk=_first_breach(measured, Kind.REALIZED_PERFORMANCE, fault_chunk),
        dated_onset=f"{retrained['onset'].dropna().iloc[0]:%Y-%m-%d}" if retrained["onset"].notna().any() else None,
        retrain_decision=f"{retrained['as_of'].iloc[0]:%Y-%m-%d}" if len(retrained) else None,
        first_promotion=f"{promoted['as_of'].iloc[0]:%Y-%m-%d}" if len(promoted) else None,
        champion_before=f"v{static}",
        champion_after=f"v{recovery.version}" if recovery else None,
        auc_reference=_reference_auc(lake, policy, static),
        auc_first_faulty_chunk=float(realized.get(first_whole, float("nan"))),
        auc_recovered=recovery.value if recovery else float("nan"),
        recovered_within_chunks=recovery.chunks_after if recovery else None,
        auc_static_same_days=recovery.static_value if recovery else float("nan"),
        promotions=len(promoted),
        rejections=int((log["event"] == Event.REJECTED).sum()),
        control_retrainings=_retrainings_before(lake, control, CONTROL_UNTIL),
        control_chunks=len(lake.partitions(control.model, tables.VERDICTS, "chunk")),
        problems=[],
    )
    return DemoResult(**{**asdict(result), "problems": _problems(policy, result, promoted)})


@dataclass(frozen=True)
class _Recovery:
    version: str
    chunks_after: int
    value: float
    static_value: float


def _labelled(policy: MonitoredModel, settings: Settings) -> "pd.DataFrame":
    rows = read_log(policy, settings.models, FAULT, datetime(1999, 12, 31, tzinfo=UTC)).accepted
    return rows.dropna(subset=["y_true"]).sort_values("time", kind="stable").reset_index(drop=True)


def _auc(policy: MonitoredModel, registry: Registry, version: str, rows: "pd.DataFrame") -> float:
    from monitoring_assets.measures.paired import score
    from training_assets.recipes import load_version, recipe_of

    predicted = recipe_of(policy).predict(policy, load_version(policy, registry, version), rows)
    return score(
        policy.task, policy.metrics[0], rows["y_true"].to_numpy(), predicted["y_pred"].to_numpy(), predicted["y_pred_proba"].to_numpy()
    )


def _recovery(policy: MonitoredModel, registry: Registry, truth: "pd.DataFrame", promoted: "pd.DataFrame", static: str) -> _Recovery | None:
    """The last champion promoted within the allowed chunks, on the next 2,000 days after its promotion."""
    chunk, found = policy.cadence.key(FAULT), None
    for row in promoted.itertuples():
        chunks_after = sum(1 for _ in policy.cadence.keys_between(policy.cadence.end(chunk), row.as_of.to_pydatetime()))
        if chunks_after > _RECOVERY_WITHIN:
            continue
        ahead = truth[truth["time"] >= row.as_of].head(_DAYS_AFTER)
        found = _Recovery(
            str(row.to_version), chunks_after, _auc(policy, registry, str(row.to_version), ahead), _auc(policy, registry, static, ahead)
        )
        if found.value >= _RECOVERED:
            return found
    return found


def _reference_auc(lake: Lake, policy: MonitoredModel, version: str) -> float:
    from monitoring_assets.measures.paired import score

    rows = lake.read(policy.model, tables.reference_rows(policy), {"reference_version": version})
    rows = rows[rows["is_held_out"]]
    return score(policy.task, policy.metrics[0], rows["y_true"].to_numpy(), rows["y_pred"].to_numpy(), rows["y_pred_proba"].to_numpy())


def _first_breach(measured: "pd.DataFrame", kind: Kind, since: str) -> str | None:
    chunks = measured.loc[(measured["kind"] == kind) & measured["breach"] & (measured["chunk"] >= since), "chunk"]
    return None if chunks.empty else str(chunks.min())


def _first_new_breach(policy: MonitoredModel, measured: "pd.DataFrame", since: str) -> str | None:
    """First chunk from ``since`` on with a number outside its limit that was inside in each of the four chunks before."""
    keys = ["kind", "method", "subject"]
    before = {policy.cadence.shift(since, -steps) for steps in range(1, 5)}
    standing = set(measured.loc[measured["chunk"].isin(before) & measured["breach"], keys].itertuples(index=False, name=None))
    later = measured[(measured["chunk"] >= since) & measured["breach"]]
    fresh = [row.chunk for row in later.itertuples() if (row.kind, row.method, row.subject) not in standing]
    return min(fresh, default=None)


def _retrainings_before(lake: Lake, policy: MonitoredModel, until: datetime) -> int:
    decisions = read_ledger(policy, lake)
    return int(((decisions["action"] == Action.RETRAIN) & (decisions["clause"] != "no_champion") & (decisions["as_of"] < until)).sum())


def _problems(policy: MonitoredModel, result: DemoResult, promoted: "pd.DataFrame") -> list[str]:
    chunk = policy.cadence.key(FAULT)
    latest_breach = policy.cadence.shift(chunk, _BREACH_WITHIN)
    latest_promotion = policy.cadence.end(policy.cadence.shift(chunk, _PROMOTION_WITHIN))
    kept = {
        f"first breach by chunk {latest_breach}": bool(result.first_breach_chunk and result.first_breach_chunk <= latest_breach),
        f"champion below {_FAULTY_AT_MOST} in the first wholly faulty chunk": result.auc_first_faulty_chunk < _FAULTY_AT_MOST,
        f"first promotion by {latest_promotion:%Y-%m-%d}": bool(len(promoted))
        and promoted["as_of"].iloc[0].to_pydatetime() <= latest_promotion,
        f"a champion reaches {_RECOVERED} within {_RECOVERY_WITHIN} chunks": result.auc_recovered >= _RECOVERED,
        f"the static model stays at or below {_STATIC_AT_MOST}": result.auc_static_same_days <= _STATIC_AT_MOST,
        "the control does not retrain": result.control_retrainings == 0 and result.control_chunks > 0,
    }
    return [f"not kept: {promise}" for promise, is_kept in kept.items() if not is_kept]


def write_result(result: DemoResult, file: Path) -> None:
    """Write the result as JSON; NaN becomes null."""
    content: dict[str, Any] = {key: None if value != value else value for key, value in asdict(result).items()}
    file.write_text(json.dumps({**content, "is_closed": result.is_closed}, indent=2) + "\n", encoding="utf-8")
