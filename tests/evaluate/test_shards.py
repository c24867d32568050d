"""Kept samples: taken up where they were made in the same way, whatever version wrote that down; else refused."""

import json

import numpy as np
import pytest

from simflow.evaluate.shards import RECORD, Shards, begin, name_of, sampling_of
from simflow.flow.decode import SEQUENTIAL, Plan
from simflow.flow.guidance import GaussianProduct
from simflow.flow.jacobi import Jacobi
from simflow.flow.score import GuidedScoreStep
from simflow.sample import SampleConfig

HERE = SampleConfig(guidance=GaussianProduct(weight=2.0), refinement=GuidedScoreStep(gamma=0.1))


def record_of(config: SampleConfig) -> dict:
    return {"sha256": "abc", "labels": "all", "sampling": sampling_of(config)}


def left(folder, record: dict) -> None:
    folder.mkdir(exist_ok=True)
    (folder / RECORD).write_text(json.dumps(record))


def old(config: SampleConfig) -> dict:
    """The record of a version that knew neither ways of decoding nor half precision nor chunks."""
    record = record_of(config)
    del record["sampling"]["decoding"], record["sampling"]["dtype"], record["sampling"]["refinement"]["chunk"]
    return record


def test_what_an_older_version_did_not_know_is_at_its_default(tmp_path):
    left(tmp_path, old(HERE))
    begin(tmp_path, record_of(HERE))
    assert json.loads((tmp_path / RECORD).read_text()) == old(HERE)


def test_the_batch_does_not_matter(tmp_path):
    begin(tmp_path / "new", record_of(HERE))
    begin(
        tmp_path / "new", record_of(SampleConfig(guidance=HERE.guidance, refinement=HERE.refinement, batch=3))
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dtype": "bfloat16"}, "sampling.dtype is float32 there and bfloat16 here"),
        ({"decoding": Jacobi()}, "sampling.decoding.type is Sequential there and Jacobi here"),
        ({"refinement": GuidedScoreStep(gamma=0.2)}, "sampling.refinement.gamma is 0.1 there and 0.2 here"),
        ({"refinement": None}, "sampling.refinement is"),
    ],
    ids=str,
)
def test_another_way_is_refused_and_what_differs_is_named(tmp_path, changes, sentence):
    left(tmp_path, old(HERE))
    here = {"guidance": HERE.guidance, "refinement": HERE.refinement} | changes
    with pytest.raises(ValueError, match=f"made otherwise .*{sentence}"):
        begin(tmp_path, record_of(SampleConfig(**here)))


def test_two_plans_are_two_ways(tmp_path):
    one, other = (SampleConfig(decoding=Plan(blocks=(SEQUENTIAL, Jacobi(window=n)))) for n in (8, 16))
    left(tmp_path, record_of(one))
    begin(tmp_path, record_of(one))
    with pytest.raises(ValueError, match=r"blocks\.1\.window is 8 there and 16 here"):
        begin(tmp_path, record_of(other))


@pytest.mark.parametrize("setting", ["speed", "guidance.speed"])
def test_a_setting_of_a_newer_version_is_refused(tmp_path, setting):
    record = record_of(HERE)
    *path, name = setting.split(".")
    (record["sampling"][path[0]] if path else record["sampling"])[name] = 3
    left(tmp_path, record)
    with pytest.raises(ValueError, match=f"sampling.{setting} is 3 there and nothing here"):
        begin(tmp_path, record_of(HERE))


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_record_is_named(tmp_path, content):
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(ValueError, match=r"samples\.json' is damaged: "):
        begin(tmp_path, record_of(HERE))


def test_other_weights_are_refused(tmp_path):
    left(tmp_path, record_of(HERE))
    with pytest.raises(ValueError, match="sha256 is abc there and xyz here"):
        begin(tmp_path, record_of(HERE) | {"sha256": "xyz"})


def test_no_images_have_the_shape_of_the_others(tmp_path):
    """What a process without a share asks for."""
    pixels = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    np.savez(tmp_path / name_of(0, 2), arr_0=pixels)
    shards = Shards(tmp_path, 2, [0, 0], ("bag",))
    assert shards.images([]).shape == (0, 3, 4, 5)
    assert np.array_equal(shards.images([1]).numpy()[0].transpose(1, 2, 0), pixels[1])
