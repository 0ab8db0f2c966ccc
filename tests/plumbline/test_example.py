"""The small size of an example is a part of it: it may say when logs are replayed, and nothing else of a declaration."""

import shutil
from datetime import UTC, datetime

import pytest

from plumbline.example import EXAMPLES, Size, declare_replay, lay_out, load, names, size_of
from resources.catalogue import DeclarationError, load_catalogue

START, END = datetime(2025, 6, 2, tzinfo=UTC), datetime(2025, 6, 16, tzinfo=UTC)


def policies_of(folder):
    return {one.policy.model: one.policy for one in load_catalogue(folder)}


def without_replay(policy):
    return policy.model_dump(exclude={"replay"})


@pytest.mark.parametrize("name", names())
def test_the_small_size_is_a_part_of_the_full_one_and_changes_when_logs_are_replayed_alone(name, tmp_path):
    example = load(name)
    small, full = size_of(example, is_small=True), size_of(example, is_small=False)
    assert small.end <= full.end
    declared, own = (policies_of(lay_out(name, tmp_path / str(size is small), size)) for size in (full, small))
    assert set(small.models) <= set(own)
    assert set(own) == set(declared)
    for model, policy in own.items():
        assert without_replay(policy) == without_replay(declared[model])
        assert (policy.replay is None) == (declared[model].replay is None)
        if policy.replay:
            assert policy.replay.start < policy.replay.end <= declared[model].replay.end


@pytest.mark.parametrize("name", names())
def test_the_full_size_runs_the_declarations_as_they_stand(name, tmp_path):
    full = size_of(load(name), is_small=False)
    assert full.replay is None
    assert not full.models
    lay_out(name, tmp_path, full)
    copied = {file.name: file.read_bytes() for file in tmp_path.rglob("*.yaml")}
    assert copied == {file.name: file.read_bytes() for file in (EXAMPLES / name).glob("*.yaml")}


def test_every_replay_of_a_folder_is_set_those_of_variants_too(tmp_path):
    before = policies_of(EXAMPLES / "model_governance")
    after = policies_of(lay_out("model_governance", tmp_path, Size(END, replay=(START, END))))
    replayed = {model for model, policy in before.items() if policy.replay}
    assert replayed == {"forecasting_returns", "personalization_books"}
    for model, policy in after.items():
        assert without_replay(policy) == without_replay(before[model])
        assert (policy.replay and (policy.replay.start, policy.replay.end)) == ((START, END) if model in replayed else None)


def test_a_size_that_says_when_to_replay_what_is_not_replayed_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="got no declaration with a `replay` in models"):
        lay_out("customer_churn", tmp_path, Size(END, replay=(START, END)))


def test_a_replay_that_the_declaration_does_not_allow_is_an_error(tmp_path):
    shutil.copy(EXAMPLES / "retail_forecast" / "model.yaml", tmp_path)
    with pytest.raises(DeclarationError, match="inside the reference window"):
        declare_replay(tmp_path, datetime(2024, 6, 3, tzinfo=UTC), END)
