"""What monitoring would have known about a chunk that another model had served.

Belongs here: realized performance against the limits of that model's own reference, drift against its own reference rows, the verdict by the
platform's rule. Does not: estimates of performance, data quality (a data fault does not depend on the model, so the recorded one stays).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from monitoring_assets.measures.breaches import drift_lines
from monitoring_assets.measures.diagnosis.diagnose import NOISE, PLACEBO
from monitoring_assets.measures.diagnosis.placebo import block_values, compared
from monitoring_assets.measures.judge import is_harmful_breach, judge
from monitoring_assets.measures.lines import joined, lines_of
from monitoring_assets.measures.nanny import LimitPair
from monitoring_assets.measures.registry import sign_of
from monitoring_assets.measures.univariate import FittedColumn, FrameRows, fit_columns, measure_columns
from resources.policy import MonitoredModel
from resources.vintages import JudgedChunk, told
from resources.vocabulary import Kind, Verdict
from training_assets.replay.workshop import Serving, Workshop, metric_of

if TYPE_CHECKING:
    import pandas as pd

_UNLIMITED = LimitPair(None, None)
_READ_DRIFT = ("drift", "score", "groups", "two_stage")


def reads_drift(policy: MonitoredModel) -> bool:
    """Whether a clause of the policy reads drift numbers: only then are they measured on every chunk."""
    return any(part.kind in _READ_DRIFT for _, part in policy.retrain.when.walk())


@dataclass(frozen=True)
class Limits:
    """Limits of the metrics on a model's reference, and rows a chunk of it usually holds with an outcome."""

    pairs: Mapping[str, LimitPair]
    usual: float


@dataclass(frozen=True)
class Blocks:
    """The deciding metric on blocks of the reference as large as a chunk, and how many of them fit beside each other."""

    values: Any
    separate: int


@dataclass
class Evidence:
    """Verdicts by model and chunk, each reached once.

    Attributes:
        policy: declares limits, methods and the least share of outcomes.
        workshop: gives rows and predictions.
    """

    policy: MonitoredModel
    workshop: Workshop
    _limits: dict[str, Limits] = field(default_factory=dict)
    _columns: dict[str, list[FittedColumn]] = field(default_factory=dict)
    _drift: "dict[tuple[str, str], pd.DataFrame]" = field(default_factory=dict)
    _blocks: dict[tuple[str, int], Blocks] = field(default_factory=dict)
    _judged: dict[tuple[Any, ...], JudgedChunk] = field(default_factory=dict)

    def judged(self, serving: Serving, chunk: str, known_at: datetime, *, is_due: bool, with_drift: bool) -> JudgedChunk:
        """What is known of a chunk at a moment, had ``serving`` served it.

        Args:
            serving: the model.
            chunk: its key; it has at least one row.
            known_at: the moment.
            is_due: whether its outcomes are due.
            with_drift: whether drift is measured although nothing hurts.
        """
        asked = (serving.version, chunk, is_due, with_drift)
        if asked not in self._judged:
            lines, n_rows = self._lines(serving, chunk, known_at, is_due, with_drift), len(self.workshop.past.chunk(chunk))
            is_small = n_rows < self.policy.validation.minimum_rows
            verdict = Verdict.UNDECIDED if is_small else judge(self.policy, lines).verdict
            is_realized = bool((lines["kind"] == Kind.REALIZED_PERFORMANCE).any())
            self._judged[asked] = JudgedChunk(chunk, verdict, serving.version, known_at, n_rows, is_realized, told(lines))
        return replace(self._judged[asked], known_at=known_at)

    def limits(self, serving: Serving) -> Limits:
        """Mean of each metric over the chunks of the held-out reference rows, and the declared deviations around it.

        A reference of fewer chunks than ``reference.minimum_chunks`` keeps the limits of the model before, as everywhere.
        """
        if serving.version not in self._limits:
            own = self._fitted(serving)
            is_short = own is None or own[1] < self.policy.reference.minimum_chunks
            if is_short and serving.before is not None:
                self._limits[serving.version] = self.limits(serving.before)
            else:
                self._limits[serving.version] = own[0] if own else Limits({}, 1.0)
        return self._limits[serving.version]

    def _fitted(self, serving: Serving) -> tuple[Limits, int] | None:
        if serving.reference is None:
            return None
        rows = serving.reference[serving.reference["is_held_out"].astype(bool)].dropna(subset=["y_true", *self.policy.predictions])
        groups = [own for _, own in rows.groupby(self.policy.cadence.keys(rows["time"]))]
        if not groups:
            return None
        pairs = {}
        for metric in self.policy.metrics:
            pairs[metric] = self._pair([metric_of(self.policy, metric, own["y_true"], own[self.policy.predictions]) for own in groups])
        return Limits(pairs, len(rows) / len(groups)), len(groups)

    def _pair(self, values: Sequence[float]) -> LimitPair:
        import numpy as np

        known = np.asarray(values)[np.isfinite(values)]
        if len(known) < 2:
            return _UNLIMITED
        mean, spread, std = float(known.mean()), float(known.std()), self.policy.performance.limit.std
        # all of the spread counts as sampling error: a chunk of fewer outcomes than usual is allowed the more
        return LimitPair(mean - std * spread, mean + std * spread, std, spread, spread, mean)

    def _lines(self, serving: Serving, chunk: str, known_at: datetime, is_due: bool, with_drift: bool) -> "pd.DataFrame":
        realized = self._realized(serving, chunk, known_at) if is_due else []
        harmed = [one for one in realized if self._is_harm(one)]
        parts = [lines_of([*realized, *(self._placebo(serving, one) for one in harmed)])]
        if with_drift or harmed:
            parts.append(self.drift(serving, chunk))
        return joined(parts)

    def _is_harm(self, line: Mapping[str, Any]) -> bool:
        own = (line["value"], line["lower_limit"], line["upper_limit"])
        return bool(line["subject"] == self.policy.metrics[0] and is_harmful_breach(self.policy, line["subject"], *own))

    def _realized(self, serving: Serving, chunk: str, known_at: datetime) -> list[dict[str, object]]:
        import numpy as np

        rows = self.workshop.past.chunk(chunk, known_at)
        known = rows["y_true"].notna().to_numpy()
        n_known = int(known.sum())
        if not n_known or n_known < self.policy.outcome.minimum_share * len(rows):
            return []
        limits, predicted, lines = self.limits(serving), self.workshop.scored(serving, chunk)[known], []
        for metric in self.policy.metrics:
            pair = limits.pairs.get(metric, _UNLIMITED)
            pair = pair.allowing_for(pair.spread * float(np.sqrt(limits.usual / n_known)))
            value = metric_of(self.policy, metric, rows["y_true"][known], predicted)
            lines.append({
                "chunk": chunk, "kind": str(Kind.REALIZED_PERFORMANCE), "method": "realized", "subject": metric, "value": value, "n_rows": n_known,
                "lower_limit": pair.lower, "upper_limit": pair.upper, "breach": pair.is_breached_by(value), "effect": value - pair.mean,
            })  # fmt: skip
        return lines

    def _placebo(self, serving: Serving, line: Mapping[str, Any]) -> dict[str, object]:
        """Whether blocks of the reference of the same size are as bad: then it may be chance."""
        asked = (serving.version, int(line["n_rows"]))
        if asked not in self._blocks:
            self._blocks[asked] = self._blocks_of(serving, line["subject"], asked[1])
        blocks = self._blocks[asked]
        sign = sign_of(self.policy.task, line["subject"])
        p_value = compared(blocks.values, line["value"], sign, blocks.separate).p_value if blocks.separate > 1 else float("nan")
        return {
            "chunk": line["chunk"], "kind": str(Kind.DIAGNOSIS), "method": PLACEBO, "subject": line["subject"], "value": line["value"],
            "n_rows": line["n_rows"], "p_value": p_value, "breach": p_value <= NOISE, "is_deciding": False,
        }  # fmt: skip

    def _blocks_of(self, serving: Serving, metric: str, n_rows: int) -> Blocks:
        reference = serving.reference
        assert reference is not None  # noqa: S101 - without one there is no limit to break
        own = reference[reference["is_held_out"].astype(bool)].sort_values("time", kind="stable")
        own = own[["y_true", *self.policy.predictions]].dropna()
        separate = len(own) // n_rows
        return Blocks(block_values(own, metric, n_rows, self.policy.performance.business_value) if separate > 1 else None, separate)

    def drift(self, serving: Serving, chunk: str) -> "pd.DataFrame":
        """Univariate drift of a chunk against the model's own reference rows, by the declared methods; none without a reference."""
        if serving.reference is None:
            return lines_of([])
        if (serving.version, chunk) not in self._drift:
            if serving.version not in self._columns:
                self._columns[serving.version] = self._fit(serving.reference)
            rows = self.workshop.past.chunk(chunk)
            measured, outliers = measure_columns(self.policy, self._columns[serving.version], FrameRows(rows))
            self._drift[serving.version, chunk] = drift_lines(self.policy, chunk, measured, outliers, len(rows))
        return self._drift[serving.version, chunk]

    def _fit(self, reference: "pd.DataFrame") -> list[FittedColumn]:
        rows = reference.sort_values("time", kind="stable")
        usual = round(len(rows) / max(1, self.policy.cadence.keys(rows["time"]).nunique()))
        return fit_columns(self.policy, rows, max(usual, 1))
