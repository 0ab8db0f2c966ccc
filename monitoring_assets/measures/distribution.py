"""What is kept of a column: a mergeable summary that every univariate method can be computed from.

Belongs here: building, merging, storing and mixing summaries of numbers and of categories. Does not: distances
(``distances.py``), where rows come from, where summaries are stored.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Distinct values in one stored part; a part is what a measure holds in memory of a large reference at a time.
PART = 500_000
#: Values that are worked on at a time where a part is large: their temporaries stay in the processor's cache.
BLOCK = 65_536
#: A larger value counts as infinite: its square would be.
LARGEST = 1e150


class SummaryError(ValueError):
    """Stored bytes are no summary."""


@dataclass(frozen=True)
class Part:
    """A run of distinct finite ``values`` in ascending order, and the ``mass`` (rows) at each; ``None`` stands for one row each.

    ``prefix`` holds the moments of the first 0, 1, 2 … values where they are asked for many times (``indexed``).
    """

    values: "np.ndarray"
    mass: "np.ndarray | None" = None
    prefix: "np.ndarray | None" = None

    @property
    def _cumulative(self) -> "np.ndarray":
        """Mass of the first 0, 1, 2 … values; kept for small parts only."""
        import numpy as np

        kept: np.ndarray | None = self.__dict__.get("_kept")
        if kept is not None:
            return kept
        found = np.concatenate([[0.0], np.cumsum(self.mass, dtype="float64")])
        if len(self.values) <= 2 * BLOCK:
            self.__dict__["_kept"] = found
        return found

    def below(self, count: "np.ndarray | int") -> Any:
        """Mass of the first ``count`` values, for one count or many; without masses that is the count."""
        import numpy as np

        if self.mass is None:
            return np.asarray(count, dtype="float64") if isinstance(count, np.ndarray) else float(count)
        return self._cumulative[count]

    def reaching(self, mass: "np.ndarray") -> "np.ndarray":
        """Smallest number of first values that hold at least ``mass`` ``(k,)``; one more than there are where all do not."""
        import numpy as np

        if self.mass is None:
            return np.clip(np.ceil(mass), 0, len(self.values) + 1).astype("int64")
        return np.asarray(np.searchsorted(self._cumulative, mass, "left"))

    def moments(self, counts: "np.ndarray") -> "np.ndarray":
        """Summed mass times distance from the part's first value, of the first ``counts`` values ``(k,)``; no copy of the part is made."""
        import numpy as np

        if self.prefix is not None or len(self.values) <= max(BLOCK, 4 * len(counts)):
            prefix = self.indexed().prefix
            assert prefix is not None  # noqa: S101 - it was just made
            return np.asarray(prefix[counts])
        asked, places = np.unique(counts, return_inverse=True)
        sums, total = np.zeros(len(asked)), 0.0
        for start in range(0, len(self.values), BLOCK):
            offset = self.values[start : start + BLOCK] - self.values[0]
            if self.mass is not None:
                offset *= self.mass[start : start + BLOCK]
            first, last = (int(np.searchsorted(asked, edge, "right")) for edge in (start, start + len(offset)))
            cuts = np.concatenate([[0], asked[first:last] - start, [len(offset)]])
            pieces = np.add.reduceat(np.append(offset, 0.0), cuts[:-1]) * (np.diff(cuts) > 0)
            within = total + np.cumsum(pieces)
            sums[first:last] = within[:-1]
            total = float(within[-1])
        return np.asarray(sums[places])

    def indexed(self) -> "Part":
        """The same part with its moments at hand: eight bytes a value."""
        import numpy as np

        if self.prefix is not None:
            return self
        offset = self.values - self.values[0]
        return Part(self.values, self.mass, np.concatenate([[0.0], np.cumsum(offset if self.mass is None else offset * self.mass)]))

    def cut(self, start: int, stop: int) -> "Part":
        """The values from ``start`` up to ``stop``; nothing is copied."""
        return Part(self.values[start:stop], None if self.mass is None else self.mass[start:stop])

    def expanded(self) -> "np.ndarray":
        """Every value as often as it occurred, ascending; whole masses only."""
        import numpy as np

        return self.values if self.mass is None else np.repeat(self.values, self.mass.astype("int64"))

    @property
    def total(self) -> float:
        """Mass of the whole part."""
        return float(len(self.values)) if self.mass is None else float(self.mass.sum())


@dataclass(frozen=True)
class Numbers:
    """The empirical distribution of a numeric column: parts of ascending ranges; missing and infinite values are counted."""

    parts: Sequence[Part]
    n_missing: int = 0

    @cached_property
    def total(self) -> float:
        """Rows with a finite value."""
        return float(sum(part.total for part in self.parts))

    @property
    def missing_share(self) -> float:
        """Share of rows without a finite value, NaN for no row."""
        rows = self.total + self.n_missing
        return self.n_missing / rows if rows else float("nan")

    def at(self, ranks: "np.ndarray") -> "np.ndarray":
        """Values at ``ranks`` ``(k,)``, from 0, of all values in ascending order; whole masses only."""
        import numpy as np

        found, below = np.empty(len(ranks)), 0.0
        for part in self.parts:
            inside = (ranks >= below) & (ranks < below + part.total)
            if inside.any():
                found[inside] = part.values[part.reaching(ranks[inside] - below + 1) - 1]
            below += part.total
        return found

    def blocks(self) -> "Iterator[tuple[np.ndarray, np.ndarray | None]]":
        """Values and masses in ascending order, a piece that fits the processor's cache at a time."""
        for part in self.parts:
            for start in range(0, len(part.values), BLOCK):
                cut = slice(start, start + BLOCK)
                yield part.values[cut], None if part.mass is None else part.mass[cut]

    def expanded(self) -> "np.ndarray":
        """Every value as often as it occurred, ascending ``(total,)``; whole masses only. Large: for small references."""
        import numpy as np

        pieces = [part.expanded() for part in self.parts]
        return np.concatenate(pieces) if pieces else np.empty(0)


@dataclass(frozen=True)
class Categories:
    """How often each category occurred; missing values are counted apart."""

    counts: Mapping[str, float] = field(default_factory=dict)
    n_missing: int = 0

    @cached_property
    def total(self) -> float:
        """Rows with a category."""
        return float(sum(self.counts.values()))

    @property
    def missing_share(self) -> float:
        """Share of rows without a category, NaN for no row."""
        rows = self.total + self.n_missing
        return self.n_missing / rows if rows else float("nan")


Summary = Numbers | Categories


def ascending(values: "np.ndarray", overwrite: bool = False) -> Part:
    """Turn sorted finite ``values`` ``(n,)`` into distinct values and their mass, kept in the smallest whole type.

    ``overwrite`` allows the distinct values to be written over ``values``: a large column has no room for another copy.
    """
    import numpy as np

    if not len(values) or not (values[1:] == values[:-1]).any():
        return Part(values)
    distinct, masses = values if overwrite else np.empty(len(values)), []
    done = start = 0
    while start < len(values):  # in pieces that end with a run, so that places of the whole column are never held
        stop = int(np.searchsorted(values[start:], values[min(start + PART, len(values)) - 1], "right")) + start
        piece = values[start:stop]
        starts = np.flatnonzero(np.concatenate([[True], piece[1:] != piece[:-1]]))
        mass = np.diff(starts, append=len(piece))
        distinct[done : done + len(starts)] = piece[starts]
        masses.append(mass.astype(np.min_scalar_type(mass.max())))
        done, start = done + len(starts), stop
    kept = distinct[:done]
    return Part(kept if 2 * done > len(values) else kept.copy(), np.concatenate(masses))  # few values do not hold a long column


def finite(values: "np.ndarray") -> "np.ndarray":
    """The finite ones of ``values`` ``(n,)`` as float64: within ``LARGEST`` of zero."""
    import numpy as np

    numbers = np.asarray(values, dtype="float64")
    if not len(numbers) or max(abs(float(numbers.min())), abs(float(numbers.max()))) <= LARGEST:  # false for NaN
        return numbers
    return numbers[(numbers <= LARGEST) & (numbers >= -LARGEST)]


def summarize_numbers(values: "np.ndarray") -> Numbers:
    """Summarize a numeric column ``(n_rows,)``; NaN and infinite values count as missing.

    >>> import numpy as np
    >>> summarize_numbers(np.array([2.0, 1.0, 2.0, np.nan])).parts[0].values
    array([1., 2.])
    """
    import numpy as np

    own = finite(values)
    if own is values or own.base is not None:
        own = np.sort(own)
    else:
        own.sort()  # a copy already: a large column is not copied twice
    return Numbers(cut(ascending(own, overwrite=True)), len(values) - len(own))


def summarize_categories(values: "pd.Series") -> Categories:
    """Summarize a categorical column ``(n_rows,)``; numbers are named as text, a missing value is no category."""
    import numpy as np
    import pandas as pd

    codes, names = pd.factorize(values, use_na_sentinel=True)
    counts = np.bincount(codes[codes >= 0], minlength=len(names))
    found: dict[str, float] = {}
    for name, count in zip(names, counts, strict=True):  # numbers and their texts are one category
        found[str(name)] = found.get(str(name), 0.0) + float(count)
    return Categories({name: found[name] for name in sorted(found)}, int((codes < 0).sum()))


def cut(part: Part) -> list[Part]:
    """Cut a part into parts of at most ``PART`` values."""
    return [part.cut(start, start + PART) for start in range(0, len(part.values), PART)]


def merge_numbers(summaries: Sequence[Numbers], weights: Sequence[float] | None = None) -> Numbers:
    """Merge summaries of disjoint rows: the same as summarizing all their rows, in whatever order they come.

    Args:
        summaries: any number of them.
        weights: factor on the mass of each, for a mixture; the masses as they are if absent.
    """
    import numpy as np

    factors = [1.0] * len(summaries) if weights is None else list(weights)
    values = [part.values for own in summaries for part in own.parts]
    masses = [
        (np.ones(len(part.values)) if part.mass is None else part.mass) * factor
        for own, factor in zip(summaries, factors, strict=True)
        for part in own.parts
    ]
    n_missing = sum(own.n_missing for own in summaries)
    if not values:
        return Numbers([], n_missing)
    flat, mass = np.concatenate(values), np.concatenate(masses)
    order = np.argsort(flat, kind="stable")
    distinct, starts = np.unique(flat[order], return_index=True)
    # the masses of one value are summed smallest first: the sum may not depend on who came first
    summed = np.add.reduceat(mass[np.lexsort((mass, flat))], starts)
    return Numbers(cut(Part(distinct, None if (summed == 1.0).all() else summed)), n_missing)


def merge_categories(summaries: Sequence[Categories], weights: Sequence[float] | None = None) -> Categories:
    """Merge summaries of disjoint rows, as ``merge_numbers``."""
    factors = [1.0] * len(summaries) if weights is None else list(weights)
    found: dict[str, list[float]] = {}
    for own, factor in zip(summaries, factors, strict=True):
        for name, count in own.counts.items():
            found.setdefault(name, []).append(count * factor)
    return Categories({name: sum(sorted(found[name])) for name in sorted(found)}, sum(own.n_missing for own in summaries))


def merge(summaries: Sequence[Summary], weights: Sequence[float] | None = None) -> Summary:
    """Merge summaries of one kind."""
    if isinstance(summaries[0], Categories):
        return merge_categories([own for own in summaries if isinstance(own, Categories)], weights)
    return merge_numbers([own for own in summaries if isinstance(own, Numbers)], weights)


def pack(summary: Summary) -> list[bytes]:
    """A summary as one or more pieces of plain bytes; a number's parts become one piece each."""
    import io
    import json

    import numpy as np

    if isinstance(summary, Categories):
        return [json.dumps({"counts": dict(summary.counts), "n_missing": summary.n_missing}).encode()]
    pieces = []
    for index, part in enumerate(summary.parts or [Part(np.empty(0))]):
        buffer = io.BytesIO()
        np.save(buffer, np.array([summary.n_missing if index == 0 else 0], dtype="int64"))
        np.save(buffer, part.values)
        np.save(buffer, np.empty(0) if part.mass is None else part.mass)
        pieces.append(buffer.getvalue())
    return pieces


def _arrays(piece: bytes) -> "Iterator[np.ndarray]":
    """The three arrays of a piece, as views of its bytes; only plain numbers are accepted."""
    import io

    import numpy as np

    buffer = io.BytesIO(piece)
    for _ in range(3):
        if np.lib.format.read_magic(buffer) != (1, 0):
            raise ValueError("got another version of the array format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(buffer)
        if dtype.kind not in "fiu" or len(shape) != 1:
            raise ValueError(f"got an array of {dtype} and shape {shape}")
        yield np.frombuffer(piece, dtype, shape[0], buffer.tell())
        buffer.seek(shape[0] * dtype.itemsize, io.SEEK_CUR)


def unpack(pieces: Sequence[bytes]) -> Summary:
    """What ``pack`` made.

    Raises:
        SummaryError: for bytes that are none; nothing in them is executed.
    """
    import json

    try:
        if pieces[0][:1] == b"{":
            known = json.loads(pieces[0])
            return Categories(known["counts"], known["n_missing"])
        parts, n_missing = [], 0
        for piece in pieces:
            missing, values, mass = _arrays(piece)
            n_missing += int(missing[0])
            if len(values):
                parts.append(Part(values, mass if len(mass) else None))
        return Numbers(parts, n_missing)
    except (ValueError, KeyError, EOFError, IndexError) as error:
        raise SummaryError(
            "reference profile: got bytes that are no stored summary; expected those of pack. Fit the profile again."
        ) from error
