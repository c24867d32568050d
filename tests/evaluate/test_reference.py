"""Archives of images and statistics: ADM's, our own, and those that must be refused."""

import numpy as np
import pytest
import torch

from simflow.evaluate.collect import collect
from simflow.evaluate.reference import describe, of_archive, of_collected, read_archive, write_statistics
from tests.evaluate.test_collect import Toy, pictures


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_images_in_adm_form(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
    found = read_archive(saved(tmp_path / "a.npz", arr_0=pixels, arr_1=np.array([0, 2, 1, 0, 2])))
    assert np.array_equal(found.images.images([3, 1]).numpy(), pixels[[3, 1]].transpose(0, 3, 1, 2))
    assert found.images.labels.tolist() == [0, 2, 1, 0, 2]
    assert found.images.class_names == ("0", "1", "2")
    assert not found.statistics


def test_images_without_classes(tmp_path):
    """As ``simflow sample --npz`` writes those of a model that has none, or of some without theirs."""
    pixels = np.zeros((3, 4, 4), np.uint8)
    for labels, names in (([-1, -1, -1], ()), ([1, -1, 0], ("0", "1"))):
        found = read_archive(saved(tmp_path / "a.npz", arr_0=pixels, arr_1=np.array(labels))).images
        assert found.pixels.shape == (3, 1, 4, 4)
        assert (found.labels.tolist(), found.class_names) == (labels, names)


def test_adm_statistics_serve_inception_alone(tmp_path):
    toy = Toy(suffix="")
    eye = np.eye(8)
    found = read_archive(
        saved(tmp_path / "VIRTUAL.npz", mu=np.ones(8), sigma=2 * eye, mu_s=np.ones(2), sigma_s=np.eye(2))
    )
    assert not found.serves(toy)
    toy.identity = type(toy.identity)(**(vars(toy.identity) | {"name": "inception"}))
    assert found.serves(toy)
    reference = of_archive(found, None)
    assert reference.count is None
    assert reference.features is None
    assert torch.equal(reference.gaussian.covariance, 2 * torch.eye(8).double())
    assert reference.spatial.mean.tolist() == [1, 1]


def test_own_statistics_come_back(tmp_path):
    toy, path = Toy(), tmp_path / "ref.npz"
    collected = collect(toy, pictures(80), keep=20)
    write_statistics(path, collected, {"extractor": describe(toy.identity), "count": 80})
    found = read_archive(path)
    assert found.serves(toy)
    there, here = of_archive(found, None), of_collected(collected)
    assert torch.equal(there.gaussian.covariance, here.gaussian.covariance)
    assert torch.equal(there.spatial.mean, here.spatial.mean)
    assert torch.equal(there.features, collected.features)
    assert there.count == 80
    for count, deficient in ((8, True), (9, False)):
        write_statistics(path, collected, {"extractor": describe(toy.identity), "count": count})
        assert of_archive(read_archive(path), None).gaussian.rank_deficient == deficient
    toy.identity = type(toy.identity)(**(vars(toy.identity) | {"sha256": "1"}))
    assert not found.serves(toy)
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        write_statistics(tmp_path / "ref.npy", collected, {})


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"arr_0": np.full((2, 4, 4, 3), 1.7, np.float32)}, "are float32 from 1.7 to 1.7, and figures"),
        ({"arr_0": np.zeros((2, 4, 4, 5), np.uint8)}, r"with 1 or 3 channels, not \(2, 4, 4, 5\)"),
        ({"arr_0": np.zeros((0, 4, 4, 3), np.uint8)}, "there is no image"),
        (
            {"arr_0": np.zeros((2, 4, 4, 3), np.uint8), "arr_1": np.zeros(3, int)},
            "one integer an image, for 2 images",
        ),
        (
            {"arr_0": np.zeros((2, 4, 4, 3), np.uint8), "arr_1": np.array([0, -5])},
            "must not be negative, but one is -5",
        ),
        ({"arr_0": np.array([{}], dtype=object)}, "it holds objects or damaged arrays"),
        ({"x": np.zeros(3)}, "neither images"),
        ({"arr_0": np.zeros((2, 4, 4), np.uint8), "meta": "[1"}, "a meta that simflow stats did not write"),
        ({"mu": np.zeros(2), "sigma": np.eye(2), "meta": "{}"}, "a meta that simflow stats did not write"),
        ({"mu": np.zeros(3)}, "only one of mu and sigma"),
        ({"mu": np.zeros(3), "sigma": np.zeros((2, 2))}, "have the shapes"),
        ({"mu": np.full(2, np.nan), "sigma": np.eye(2)}, "has infinities or what is no number"),
    ],
)
def test_refused(tmp_path, arrays, sentence):
    with pytest.raises(ValueError, match=sentence):
        read_archive(saved(tmp_path / "bad.npz", **arrays))


def test_no_file_or_no_archive(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_archive(tmp_path / "none.npz")
    whole = saved(tmp_path / "whole.npz", arr_0=np.zeros((9, 9, 9, 3), np.uint8)).read_bytes()
    for content in (b"no", whole[:300], whole[:-9]):
        (tmp_path / "damaged.npz").write_bytes(content)
        with pytest.raises(ValueError, match="is not a readable npz file"):
            read_archive(tmp_path / "damaged.npz")
