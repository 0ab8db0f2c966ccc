"""Fitted NannyML calculators as bytes that load without running foreign code.

Belongs here: turning a fitted calculator into bytes and back through skops, with an allow-list of types. Does not:
what is fitted (``nanny.py``), where the bytes are kept.
"""

import io
from enum import Enum
from typing import Any
from zipfile import BadZipFile

_TRUSTED_PACKAGE = "nannyml."
_TRUSTED_TYPES = frozenset({
    "category_encoders.count.CountEncoder", "category_encoders.ordinal.OrdinalEncoder", "collections.OrderedDict",
    "lightgbm.basic.Booster", "lightgbm.sklearn.LGBMRegressor", "numpy.dtype", "numpy.nanmean",
})  # fmt: skip
_HOLDERS = ("nannyml.", "category_encoders.", "sklearn.pipeline", "sklearn.compose", "sklearn.impute")
_PANDAS = "__pandas__"


class UntrustedStateError(ValueError):
    """Stored state names types that a fitted calculator never has."""


def dump_state(fitted: object) -> bytes:
    """Serialize a fitted calculator; pandas objects inside travel as Parquet."""
    import skops.io

    return bytes(skops.io.dumps(_detach(fitted, {})))


def load_state(state: bytes) -> Any:
    """Rebuild what ``dump_state`` stored.

    Raises:
        UntrustedStateError: when the bytes name a type outside the allow-list; nothing of it is constructed.
    """
    import skops.io

    try:
        foreign = skops.io.get_untrusted_types(data=state)
    except (ValueError, KeyError, BadZipFile) as error:
        raise UntrustedStateError(
            "reference profile: got bytes that are no stored state; expected those of dump_state. Fit the profile again."
        ) from error
    refused = sorted(name for name in foreign if not name.startswith(_TRUSTED_PACKAGE) and name not in _TRUSTED_TYPES)
    if refused:
        raise UntrustedStateError(
            f"reference profile: got types {refused}; expected only types of NannyML and {sorted(_TRUSTED_TYPES)}. Fit the profile again."
        )
    return _attach(skops.io.loads(state, trusted=foreign), set())


def _is_own(value: object) -> bool:
    """Whether pandas objects may hide inside: a calculator, or an encoder or pipeline it is made of."""
    module = type(value).__module__
    return module.startswith(_HOLDERS) and hasattr(value, "__dict__") and not isinstance(value, type | Enum | BaseException)


def _detach(value: Any, known: dict[int, Any]) -> Any:
    import pandas as pd

    if id(value) in known:
        return known[id(value)]
    if isinstance(value, pd.DataFrame | pd.Series | pd.Index):
        return _pack(value)
    if isinstance(value, dict):
        return {key: _detach(item, known) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_detach(item, known) for item in value)
    if _is_own(value):
        copy = known[id(value)] = object.__new__(type(value))
        copy.__dict__.update({key: _detach(item, known) for key, item in value.__dict__.items()})
        return copy
    return value


def _attach(value: Any, seen: set[int]) -> Any:
    if isinstance(value, dict):
        return _unpack(value) if _PANDAS in value else {key: _attach(item, seen) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_attach(item, seen) for item in value)
    if _is_own(value) and id(value) not in seen:
        seen.add(id(value))
        value.__dict__.update({key: _attach(item, seen) for key, item in value.__dict__.items()})
    return value


def _pack(value: Any) -> dict[str, Any]:
    import pandas as pd

    if isinstance(value, pd.DataFrame):
        buffer = io.BytesIO()
        value.set_axis([str(index) for index in range(value.shape[1])], axis=1).to_parquet(buffer)
        columns = [list(column) if isinstance(column, tuple) else [column] for column in value.columns]
        return {_PANDAS: "frame", "bytes": buffer.getvalue(), "columns": columns, "levels": value.columns.nlevels}
    kind = "series" if isinstance(value, pd.Series) else "index"
    return {_PANDAS: kind, "frame": _pack(pd.DataFrame({"0": value})), "name": value.name}


def _unpack(packed: dict[str, Any]) -> Any:
    import pandas as pd

    if packed[_PANDAS] == "frame":
        frame = pd.read_parquet(io.BytesIO(packed["bytes"]))
        columns = [tuple(column) for column in packed["columns"]]
        return frame.set_axis(pd.MultiIndex.from_tuples(columns) if packed["levels"] > 1 else [column[0] for column in columns], axis=1)
    column = _unpack(packed["frame"]).iloc[:, 0].rename(packed["name"])
    return column if packed[_PANDAS] == "series" else pd.Index(column, name=packed["name"])
