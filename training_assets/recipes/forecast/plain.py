"""Fitted models of statsforecast as JSON and back, to the last bit; no pickle, and nothing but listed classes is built.

Belongs here: the code of values. Does not: files (``storage``). Reads and writes nothing.
"""

import json
from typing import Any

_MODELS = ("SeasonalNaive", "Naive", "AutoETS", "AutoARIMA", "ARIMA", "AutoTheta", "MSTL", "SeasonalLevel")
_HOMES = ("statsforecast.models", "training_assets.recipes.forecast.level")
_KIND, _VALUE = "kind", "value"


def to_json(value: Any) -> str:
    """Text of a fitted model or of any nest of numbers, texts, tuples, lists, mappings, arrays and frames.

    Python's ``NaN`` and ``Infinity`` tokens stand for themselves. Doubles are written by their shortest exact form.

    Raises:
        TypeError: for anything else.
    """
    return json.dumps(_encoded(value), separators=(",", ":"))


def from_json(text: str) -> Any:
    """What ``to_json`` was given: same types, shapes, memory order and bits.

    Raises:
        ValueError: for a class that is not listed.

    >>> from_json(to_json({"season": (7, 0.1)}))
    {'season': (7, 0.1)}
    """
    return _decoded(json.loads(text))


def _encoded(value: Any) -> Any:
    import numpy as np
    import pandas as pd

    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return {_KIND: "scalar", "dtype": str(value.dtype), _VALUE: value.item()}
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, pd.DataFrame):
        return {_KIND: "frame", _VALUE: [[str(name), _array(column.to_numpy())] for name, column in value.items()]}
    if isinstance(value, dict):
        return {_KIND: "mapping", _VALUE: [[_encoded(key), _encoded(one)] for key, one in value.items()]}
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    name = type(value).__name__
    if isinstance(value, tuple):
        return {_KIND: "results" if name == "results" else "tuple", _VALUE: [_encoded(one) for one in value]}
    if name in _MODELS and type(value).__module__ in _HOMES:
        return {_KIND: "model", "class": name, _VALUE: _encoded(vars(value))}
    raise TypeError(f"state of a model: got a {type(value).__module__}.{name}; expected plain numbers or one of {list(_MODELS)}")


def _array(value: Any) -> dict[str, Any]:
    if value.dtype.kind not in "fiub":
        raise TypeError(f"array: got dtype {value.dtype}; expected numbers or booleans")
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    flat = value.ravel(order=order).tolist()
    return {_KIND: "array", "dtype": str(value.dtype), "shape": list(value.shape), "order": order, _VALUE: flat}


def _decoded(value: Any) -> Any:
    import numpy as np

    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    kind, content = value[_KIND], value[_VALUE]
    if kind == "scalar":
        return np.dtype(value["dtype"]).type(content)
    if kind == "array":
        return np.array(content, dtype=value["dtype"]).reshape(value["shape"], order=value["order"])
    if kind == "mapping":
        return {_decoded(key): _decoded(one) for key, one in content}
    if kind == "tuple":
        return tuple(_decoded(one) for one in content)
    return _rebuilt(kind, value)


def _rebuilt(kind: str, value: dict[str, Any]) -> Any:
    import pandas as pd
    from statsforecast import models
    from statsforecast.utils import results

    from training_assets.recipes.forecast.level import SeasonalLevel

    content = value[_VALUE]
    if kind == "frame":
        return pd.DataFrame({name: _decoded(column) for name, column in content})
    if kind == "results":
        return results(*(_decoded(one) for one in content))
    if kind != "model" or value["class"] not in _MODELS:
        raise ValueError(f"state of a model: got {kind} {value.get('class', '')!r}; expected one of {list(_MODELS)}")
    model = object.__new__(SeasonalLevel if value["class"] == "SeasonalLevel" else getattr(models, value["class"]))
    model.__dict__.update(_decoded(content))
    return model
