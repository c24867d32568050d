"""Weights in one file or several: equal in all, and a sentence where a part is missing."""

import json

import pytest
import torch
from safetensors.torch import load_file

from simflow import weights
from simflow.pipeline import Pipeline
from simflow.train import checkpoint
from tests.whole.tiny import trained

LARGEST = 20_000


@pytest.fixture(scope="module")
def pipe(tmp_path_factory) -> Pipeline:
    return Pipeline.from_pretrained(trained(tmp_path_factory.mktemp("weights")))


@pytest.fixture
def divided(pipe, tmp_path):
    pipe.save_pretrained(tmp_path, max_shard_size=LARGEST)
    return tmp_path


def test_divided_weights_are_the_same(pipe, divided):
    parts = sorted(divided.glob("model-*.safetensors"))
    assert len(parts) > 2
    assert not (divided / weights.WHOLE).exists()
    for part in parts:
        tensors = load_file(part)
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= LARGEST
    loaded = Pipeline.from_pretrained(divided).model.state_dict()
    there = pipe.model.state_dict()
    assert loaded.keys() == there.keys()
    assert all(torch.equal(loaded[name], there[name]) for name in there)
    assert weights.files(divided) == sorted([*parts, divided / weights.INDEX])


def test_saving_again_leaves_no_file_of_before(pipe, divided):
    pipe.save_pretrained(divided)
    assert weights.files(divided) == [divided / weights.WHOLE]
    pipe.save_pretrained(divided, max_shard_size=LARGEST)
    assert not (divided / weights.WHOLE).exists()
    assert weights.present(divided)


def test_whose_part_is_missing_or_elsewhere_is_named(divided):
    index = divided / weights.INDEX
    record = json.loads(index.read_text())
    first, other = sorted(set(record["weight_map"].values()))[:2]
    moved = dict.fromkeys(record["weight_map"], first)
    outside = record["weight_map"] | {next(iter(record["weight_map"])): f"../{first}"}
    for wrong in (moved, outside):
        index.write_text(json.dumps(record | {"weight_map": wrong}))
        with pytest.raises(checkpoint.Damaged, match="names tensors that are not where it says"):
            weights.read(divided)
    for text in ("{", "{}", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}', "[]"):
        index.write_text(text)
        with pytest.raises(checkpoint.Damaged, match="does not say where the weights lie"):
            weights.read(divided)
    index.write_text(json.dumps(record))
    (divided / other).unlink()
    with pytest.raises(checkpoint.Damaged, match=f"it has no {other}"):
        Pipeline.from_pretrained(divided)


def test_other_weights_than_a_run_has_are_a_sentence(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="are ema or model, not 'emma'"):
        weights.read(tmp_path, "emma")


def test_a_folder_without_any_is_a_sentence(tmp_path):
    assert not weights.present(tmp_path)
    assert weights.files(tmp_path) == []
    with pytest.raises(checkpoint.Damaged, match=r"it has no model\.safetensors"):
        weights.read(tmp_path)
