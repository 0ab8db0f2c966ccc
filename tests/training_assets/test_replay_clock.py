"""What the replay clock hands over first."""

from datetime import timedelta

import pytest
import synthetic

from resources.catalogue import load_catalogue
from resources.settings import Settings
from training_assets.scoring import next_chunks

END = synthetic.START + timedelta(days=synthetic.REFERENCE_DAYS)


@pytest.mark.parametrize(("days", "handed"), [(0, 1), (1, 1), (4, 4)])
def test_a_replay_hands_its_history_over_at_once_and_begins_with_a_chunk_where_there_is_none(days, handed, tmp_path):
    replay = {"start": f"{END + timedelta(days=days):%Y-%m-%d}", "end": f"{END + timedelta(days=9):%Y-%m-%d}"}
    models = synthetic.declare(tmp_path, synthetic.make_log(), log={"parquet": "log.parquet", "time": "ts", "id": "id"}, replay=replay)
    [declaration] = load_catalogue(models)
    found = next_chunks(declaration.policy, Settings.of(tmp_path / "home", models).lake)
    assert found == [f"{END + timedelta(days=day):%Y-%m-%d}" for day in range(handed)]
