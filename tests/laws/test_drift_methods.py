"""Laws every registered drift method keeps, whatever is registered next."""

import numpy as np
import pandas as pd
import pytest

from monitoring_assets.measures import nanny
from monitoring_assets.measures.registry import CATEGORICAL, METRICS, MULTIVARIATE, NUMERIC
from resources.policy import MonitoredModel

METHODS = [("numeric", name) for name in NUMERIC] + [("categorical", name) for name in CATEGORICAL]
DAYS, ROWS = 12, 60


def policy(kind, method):
    return MonitoredModel.model_validate({
        "model": "law",
        "task": "regression",
        "log": {"parquet": "log.parquet", "time": "ts", "id": "id", "prediction": "p"},
        "features": {"numeric": ["x"], "categorical": ["c"]},
        "outcome": {"column": "y"},
        "reference": {"start": "2024-01-01", "end": "2024-01-13"},
        "drift": {kind: [method]},
    })  # fmt: skip


def sample(days=DAYS, seed=0):
    """The very same rows every day, so that each chunk is distributed exactly as the reference."""
    rng = np.random.default_rng(seed)
    x, c = rng.normal(size=ROWS), rng.choice(["a", "b", "c"], ROWS)
    times = [pd.Timestamp("2024-01-01", tz="UTC") + pd.Timedelta(days=day, minutes=20 * row) for day in range(days) for row in range(ROWS)]
    return pd.DataFrame({"time": times, "x": np.tile(x, days), "c": np.tile(c, days)}).astype({"time": "datetime64[us, UTC]"})


def values(own, fitted, rows, kind, method):
    subject = "x" if kind == "numeric" else "c"
    measured = nanny.measure(fitted, own, rows)
    return measured[(measured["subject"] == subject) & (measured["method"] == method)]["value"].to_numpy()


@pytest.mark.xdist_group("drift_laws")
@pytest.mark.parametrize(("kind", "method"), METHODS)
class TestEveryMethod:
    @pytest.fixture
    def fitted(self, kind, method):
        own = policy(kind, method)
        return own, nanny.fit("univariate", own, sample())

    def test_it_is_zero_on_the_reference_itself(self, kind, method, fitted):
        own, state = fitted
        assert values(own, state, sample(1), kind, method) == pytest.approx(0.0, abs=1e-9)

    def test_the_order_of_rows_does_not_matter(self, kind, method, fitted):
        own, state = fitted
        rows = sample(1, seed=3)
        shuffled = rows.sample(frac=1.0, random_state=1)
        assert values(own, state, shuffled, kind, method) == pytest.approx(values(own, state, rows, kind, method), abs=1e-12)

    def test_what_else_is_measured_does_not_matter(self, kind, method, fitted):
        own, state = fitted
        chunk = sample(1, seed=3)
        other = chunk.assign(time=chunk["time"] + pd.Timedelta(days=1), x=chunk["x"] * 50 + 1000, c="z")
        alone = values(own, state, chunk, kind, method)
        assert values(own, state, pd.concat([chunk, other]), kind, method)[0] == pytest.approx(alone[0], abs=1e-12)

    def test_missing_values_are_left_out(self, kind, method, fitted):
        if kind == "categorical":
            pytest.skip("a missing category is a category: its share counts")
        own, state = fitted
        rows = sample(1, seed=3)
        holes = rows.assign(x=rows["x"].where(np.arange(ROWS) % 3 != 0))
        assert values(own, state, holes, kind, method) == pytest.approx(values(own, state, holes.dropna(), kind, method), abs=1e-12)

    def test_a_large_shift_is_further_away_than_a_small_one_and_stays_in_range(self, kind, method, fitted):
        own, state = fitted
        rows = sample(1)
        swap = [np.where(np.arange(ROWS) < count, "z", rows["c"]) for count in (6, 30)]
        small, large = rows.assign(x=rows["x"] + 0.3, c=swap[0]), rows.assign(x=rows["x"] + 2.0, c=swap[1])
        near, far = (values(own, state, one, kind, method)[0] for one in (small, large))
        assert 0 < near < far
        bound = (NUMERIC if kind == "numeric" else CATEGORICAL)[method].upper_bound
        assert bound is None or far <= bound


def test_every_registered_entry_says_what_it_means():
    for entry in [*NUMERIC.values(), *CATEGORICAL.values(), *MULTIVARIATE.values(), *METRICS.values()]:
        assert len(entry.meaning) > 15
