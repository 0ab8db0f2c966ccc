"""A fitted calculator as bytes: it measures the same when it comes back, and foreign types never load."""

import io
import pickle
from collections import Counter
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import skops.io
from test_nanny import COMPONENTS, TASKS, assert_same, fitted_of, measured, policy_of, production

from monitoring_assets.measures.fitted_state import UntrustedStateError, dump_state, load_state
from monitoring_assets.measures.nanny import Fitted, measure

pytestmark = pytest.mark.xdist_group("nanny")


def reloaded(fitted: Fitted) -> Fitted:
    return Fitted(fitted.component, load_state(dump_state(fitted.calculator)), fitted.limits, fitted.n_rows, fitted.n_chunks)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_a_reloaded_calculator_gives_identical_measurements(task: str, component: str):
    back = reloaded(fitted_of(task, component))
    pd.testing.assert_frame_equal(
        measure(back, policy_of(task), production(task)), measured(task, component, production(task)), check_exact=True
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_a_reloaded_calculator_measures_a_chunk_alone_as_the_whole_history(task: str, component: str):
    rows = production(task)
    back = reloaded(fitted_of(task, component))
    alone = [measure(back, policy_of(task), own.reset_index(drop=True)) for _, own in rows.groupby(rows["time"].dt.date)]
    assert_same(pd.concat(alone), measured(task, component, rows))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("component", COMPONENTS)
def test_state_survives_a_second_round_trip(task: str, component: str):
    back = reloaded(reloaded(fitted_of(task, component)))
    pd.testing.assert_frame_equal(
        measure(back, policy_of(task), production(task)), measured(task, component, production(task)), check_exact=True
    )


@pytest.mark.parametrize("component", COMPONENTS)
def test_dumping_leaves_the_calculator_as_it_was(component: str):
    task = "binary_classification"
    before = measured(task, component, production(task))
    dump_state(fitted_of(task, component).calculator)
    pd.testing.assert_frame_equal(measured(task, component, production(task)), before)


@pytest.mark.parametrize(
    "value",
    [
        pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        pd.DataFrame({("a", "b"): [1.0], ("a", "c"): [2.0]}),
        pd.DataFrame({"time": pd.date_range("2024-01-01", periods=3, tz="UTC"), "value": [1.0, np.nan, 3.0]}),
        pd.DataFrame({"a": [1, 2]}, index=[7, 3]),
        pd.DataFrame({"a": pd.Series([], dtype=float)}),
    ],
    ids=["text and numbers", "two header lines", "times and gaps", "own index", "no rows"],
)
def test_a_frame_comes_back_as_it_was(value: pd.DataFrame):
    pd.testing.assert_frame_equal(load_state(dump_state({"kept": [value]}))["kept"][0], value)


@pytest.mark.parametrize("value", [pd.Series([1.5, 2.5], name="x"), pd.Series([1, 2]), pd.Series(["a", None], name="kind", dtype=object)])
def test_a_series_comes_back_as_it_was(value: pd.Series):
    pd.testing.assert_series_equal(load_state(dump_state({"kept": value}))["kept"], value)


@pytest.mark.parametrize("value", [pd.Index(["a", "b"], name="column"), pd.Index([3, 1])])
def test_an_index_comes_back_as_it_was(value: pd.Index):
    pd.testing.assert_index_equal(load_state(dump_state({"kept": value}))["kept"], value)


BUILT: list[str] = []


class Bystander:
    """A type no calculator has; says so when it is built."""

    def __init__(self) -> None:
        self.value = 1

    def __setstate__(self, state: dict) -> None:
        BUILT.append("built")


@pytest.mark.parametrize(
    ("value", "name"),
    [(Bystander(), "test_fitted_state.Bystander"), (Counter("ab"), "collections.Counter"), (Fraction(1, 2), "fractions.Fraction")],
    ids=["own class", "standard class", "number class"],
)
def test_state_that_names_a_foreign_type_is_refused_before_anything_is_built(value: object, name: str):
    BUILT.clear()
    state = bytes(skops.io.dumps({"calculator": value}))
    with pytest.raises(UntrustedStateError) as caught:
        load_state(state)
    message = str(caught.value)
    assert message.startswith(f"reference profile: got types ['{name}'")
    assert "expected only types of NannyML" in message
    assert message.endswith("Fit the profile again.")
    assert BUILT == []


def test_null_twin_state_of_plain_values_loads():
    assert load_state(bytes(skops.io.dumps({"calculator": [1, 2.5, "x", None]}))) == {"calculator": [1, 2.5, "x", None]}


@pytest.mark.parametrize("name", ["os.system", "subprocess.Popen", "builtins.eval", "nannyml_evil.Thing"])
def test_state_that_names_a_callable_is_refused(name: str):
    honest = bytes(skops.io.dumps({"calculator": Bystander()}))
    module, attribute = name.rsplit(".", 1)
    forged = rewritten(honest, lambda text: text.replace('"Bystander"', f'"{attribute}"').replace('"test_fitted_state"', f'"{module}"'))
    with pytest.raises(UntrustedStateError, match=f"got types \\['{name}'"):
        load_state(forged)


@pytest.mark.parametrize("name", ["numpy.testing.rundocs", "sklearn.externals._arff.load"])
def test_a_function_inside_a_trusted_package_is_no_calculator_type(name: str):
    honest = bytes(skops.io.dumps({"calculator": np.mean}))
    module, attribute = name.rsplit(".", 1)
    forged = rewritten(honest, lambda text: text.replace('"mean"', f'"{attribute}"').replace('"numpy"', f'"{module}"'))
    with pytest.raises(UntrustedStateError):
        load_state(forged)


def rewritten(state: bytes, change) -> bytes:
    """The same archive with another schema."""
    from zipfile import ZipFile

    buffer = io.BytesIO()
    with ZipFile(io.BytesIO(state)) as old, ZipFile(buffer, "w") as new:
        for item in old.namelist():
            content = old.read(item)
            new.writestr(item, change(content.decode()).encode() if item == "schema.json" else content)
    return buffer.getvalue()


@pytest.mark.parametrize("state", [b"", b"no archive", pickle.dumps({"calculator": 1})], ids=["empty", "text", "pickle"])
def test_bytes_that_are_no_state_are_refused(state: bytes):
    with pytest.raises(UntrustedStateError, match=r"reference profile: got .*expected .*Fit the profile again\."):
        load_state(state)
