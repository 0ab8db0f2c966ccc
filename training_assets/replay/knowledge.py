"""What is known of each chunk at each evaluation of a path that has left the record.

Belongs here: which recorded verdicts still hold, and from when computed ones are known. Does not: computing them (``evidence.py``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from resources.policy import MonitoredModel
from resources.vintages import JudgedChunk
from resources.vocabulary import Verdict
from training_assets.replay.evidence import Evidence, reads_drift
from training_assets.replay.moves import Moves
from training_assets.replay.recorded import Recorded, Tick
from training_assets.replay.workshop import Serving


class Knowledge:
    """Verdicts in the order they become known, as ``decide`` takes them.

    A recorded verdict holds where the chunk had ended before the path left the record, where the same version serves it, and where its
    data is broken. Every other chunk is judged as if the path's model had served it: once it has ended, and again once its outcomes are due.
    """

    def __init__(self, policy: MonitoredModel, recorded: Recorded, evidence: Evidence, moves: Moves) -> None:
        """Nothing is known before the first evaluation."""
        self.policy, self.recorded, self.evidence, self.moves = policy, recorded, evidence, moves
        self._with_drift = reads_drift(policy)
        self._departed: Tick | None = None
        self._verdicts: list[JudgedChunk] = []
        self._seen = 0
        self._newest: dict[str, JudgedChunk] = {}
        self._judged: set[str] = set()
        chunks = [chunk for chunk in evidence.workshop.past.chunks() if policy.cadence.start(chunk) >= policy.reference.end]
        self._open = {chunk: (policy.cadence.end(chunk), policy.outcome_due(chunk)) for chunk in chunks}
        self._versions: dict[str, set[str]] = {}
        for one in recorded.vintages:
            self._versions.setdefault(one.chunk, set()).add(one.model_version)

    def depart(self, tick: Tick) -> None:
        """The path leaves the record here."""
        self._departed = tick

    def at(self, tick: Tick) -> list[JudgedChunk]:
        """All that is known at an evaluation; evaluations must be asked for in order."""
        for one in self.recorded.vintages[self._seen : tick.position.vintages]:
            self._newest[one.chunk] = one
            self._verdicts += self._as_served(one, tick)
        self._seen = max(self._seen, tick.position.vintages)
        for chunk, serving, is_due in list(self._to_judge(tick)):
            self._verdicts.append(self.evidence.judged(serving, chunk, tick.as_of, is_due=is_due, with_drift=self._with_drift))
            self._judged.add(chunk)
            if is_due:
                del self._open[chunk]
        return list(self._verdicts)

    def _as_served(self, one: JudgedChunk, tick: Tick) -> Sequence[JudgedChunk]:
        serving = self.moves.serving(one.chunk, tick)
        if serving is None or serving.version == one.model_version or self._is_older(self.policy.cadence.end(one.chunk)):
            return [one]
        return [replace(one, model_version=serving.version)] if one.verdict is Verdict.DATA_FAULT else []

    def _is_older(self, end: datetime) -> bool:
        """Whether a chunk had ended when the path left the record: then it was served and judged as recorded."""
        return len(self.recorded.vintages) > 0 and self._departed is not None and end <= self._departed.as_of

    def _to_judge(self, tick: Tick) -> Iterator[tuple[str, Serving, bool]]:
        """Ended chunks that the record says nothing about on this path, with what serves them and whether outcomes are due."""
        for chunk, (end, due) in list(self._open.items()):
            if end > tick.as_of:
                return
            serving = self.moves.serving(chunk, tick)
            if serving is None or self._is_broken(chunk):
                continue
            if self._is_older(end) or serving.version in self._versions.get(chunk, ()):
                del self._open[chunk]
            elif due <= tick.as_of or chunk not in self._judged:
                yield chunk, serving, due <= tick.as_of

    def _is_broken(self, chunk: str) -> bool:
        return chunk in self._newest and self._newest[chunk].verdict is Verdict.DATA_FAULT
