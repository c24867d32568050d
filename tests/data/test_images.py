"""The image set: cached and on demand, bad files, progress and fingerprint."""

import numpy as np
import pytest
import torch
from PIL import Image

from simflow.data import DataConfig, load
from simflow.data.order import Stream

NAMES = ("a/0.png", "a/1.png", "a/2.png", "b/0.png", "b/1.png")


@pytest.fixture
def folder(tmp_path):
    """Five images; the one called NAMES[i] is of gray level 10 * i."""
    for index, name in enumerate(NAMES):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), 10 * index, dtype=np.uint8)).save(path)
    return tmp_path / "set"


def loaded(folder, on_progress=None, **choices):
    return load(
        DataConfig(**{"path": str(folder), "image_size": 4, "channels": 1} | choices), on_progress=on_progress
    )


def levels(images, indices=None):
    """The gray level of each image, having checked that it is even."""
    pixels = images.images(range(len(images)) if indices is None else indices).flatten(1)
    assert (pixels == pixels[:, :1]).all()
    return pixels[:, 0].tolist()


stores = pytest.mark.parametrize("cache_gib", [1.0, 0.0], ids=["cached", "on demand"])


@stores
def test_any_indices_in_any_order(folder, cache_gib):
    images = loaded(folder, cache_gib=cache_gib)
    assert images.images([0]).shape == (1, 1, 4, 4)
    assert images.images([0]).dtype == torch.uint8
    assert levels(images, [3, 0, 3]) == [30, 0, 30]
    assert levels(images, torch.tensor([4, 1])) == [40, 10]
    assert images.labels.tolist() == [0, 0, 0, 1, 1]
    assert images.labels.dtype == torch.int64


@stores
def test_no_images_have_the_shape_of_the_others(folder, cache_gib):
    """What a process without a share asks for."""
    images = loaded(folder, cache_gib=cache_gib).images([])
    assert images.shape == (0, 1, 4, 4)
    assert images.dtype == torch.uint8


@stores
def test_what_is_handed_out_may_be_written_to(folder, cache_gib):
    images = loaded(folder, cache_gib=cache_gib)
    images.images([1]).zero_()
    assert levels(images, [1]) == [10]


@stores
def test_one_of_each_that_are_alike(folder, cache_gib):
    images = loaded(folder, cache_gib=cache_gib, alike=r"(.)/[01]")
    once = images.once()
    assert len(once) == 3
    first, second, third = levels(once)
    assert first in (0, 10)
    assert second == 20
    assert third in (30, 40)
    assert once.labels.tolist() == [0, 0, 1]
    assert (once.class_names, once.fingerprint, once.groups) == (images.class_names, images.fingerprint, None)
    assert levels(images) == [0, 10, 20, 30, 40]
    assert levels(images.once()) == levels(once)
    assert levels(images, Stream(size=5, seed=0, groups=images.groups).at(0, 3).sort().values) == levels(once)
    across = loaded(folder, cache_gib=cache_gib, alike=r"/([0-9])")
    assert levels(across.once()) == [10, 20, 30], "in the order of the set"
    alone = loaded(folder, cache_gib=cache_gib)
    assert alone.once() is alone


def test_unreadable_images_are_left_out_and_named(folder):
    (folder / "a/1.png").write_text("not a picture")
    (folder / "b/0.png").write_bytes((folder / "b/0.png").read_bytes()[:-30])
    images = loaded(folder)
    assert images.skipped == ("a/1.png", "b/0.png")
    assert len(images) == 3
    assert levels(images) == [0, 20, 40]
    assert images.labels.tolist() == [0, 0, 1]


def test_groups_are_of_the_readable_images(folder):
    (folder / "a/1.png").write_text("not a picture")
    images = loaded(folder, alike="^(.)/")
    assert images.groups.tolist() == [0, 0, 1, 1]


def test_on_demand_the_next_of_the_class_stands_in(folder):
    (folder / "a/1.png").write_text("not a picture")
    (folder / "b/1.png").unlink()
    (folder / "b/1.png").symlink_to(folder / "gone.png")
    images = loaded(folder, cache_gib=0.0)
    assert images.skipped == ()
    for _ in range(2):
        assert levels(images) == [0, 20, 20, 30, 30]
        assert images.skipped == ("a/1.png", "b/1.png")
    assert images.labels.tolist() == [0, 0, 0, 1, 1]


def test_on_demand_a_class_without_a_readable_image_is_an_error(folder):
    for name in ("b/0.png", "b/1.png"):
        (folder / name).write_text("not a picture")
    images = loaded(folder, cache_gib=0.0)
    assert levels(images, [0]) == [0]
    with pytest.raises(ValueError, match=r"b/1.png cannot be read, nor can any other image of its class"):
        images.images([4])


@stores
def test_stop_names_the_unreadable_image(folder, cache_gib):
    (folder / "a/2.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"a/2.png cannot be read"):
        levels(loaded(folder, cache_gib=cache_gib, corrupt="stop"))


def test_a_set_of_nothing_readable(folder):
    for name in NAMES:
        (folder / name).write_text("not a picture")
    with pytest.raises(ValueError, match=r"none of the 5 images .*; for one, a/0.png cannot be read: it is"):
        loaded(folder)


def test_too_large_for_the_canvas_is_not_corrupt(folder):
    with pytest.raises(ValueError, match=r"a/0.png is 4 x 4 pixels, larger"):
        loaded(folder, fit="pad", image_size=3)


def test_progress_reaches_the_end(folder):
    for index in range(130):
        Image.new("L", (4, 4)).save(folder / f"a/x{index:03d}.png")
    seen = []
    loaded(folder, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert len(seen) > 1
    assert seen[-1] == (135, 135)


def test_the_cache_holds_only_what_fits(folder):
    """Whether a changed file is noticed tells a cache from none; five images of 16 bytes are 80 bytes."""
    for cache_gib, level in ((80 / 2**30, 0), (79 / 2**30, 99)):
        Image.new("L", (4, 4), 0).save(folder / "a/0.png")
        images = loaded(folder, cache_gib=cache_gib)
        Image.new("L", (4, 4), 99).save(folder / "a/0.png")
        assert levels(images, [0]) == [level]


def test_the_fingerprint_ignores_where_and_how_the_set_is_kept(folder):
    first = loaded(folder).fingerprint
    assert loaded(folder, cache_gib=0.0, workers=1).fingerprint == first
    assert loaded(folder.rename(folder.with_name("moved"))).fingerprint == first


def test_the_fingerprint_of_known_files_is_known(tmp_path):
    np.savez(tmp_path / "set.npz", images=np.zeros((2, 4, 4), dtype=np.uint8), labels=np.array([0, 1]))
    assert loaded(tmp_path / "set.npz").fingerprint == "029dff5cfa2e0531"


def test_the_fingerprint_tells_sets_apart(folder):
    seen = {loaded(folder).fingerprint, loaded(folder, image_size=5).fingerprint}
    (folder / "a/0.png").rename(folder / "a/9.png")
    seen.add(loaded(folder).fingerprint)
    (folder / "a/9.png").rename(folder / "b/9.png")
    seen.add(loaded(folder).fingerprint)
    Image.new("L", (64, 64), 3).save(folder / "b/9.png")
    seen.add(loaded(folder).fingerprint)
    (folder / "b").rename(folder / "c")
    seen.add(loaded(folder).fingerprint)
    assert len(seen) == 6


def test_the_fingerprint_sees_the_pixels_of_arrays(tmp_path):
    seen = set()
    for level in (0, 1):
        np.savez(tmp_path / "set.npz", images=np.full((2, 4, 4), level, dtype=np.uint8))
        seen.add(loaded(tmp_path / "set.npz").fingerprint)
    assert len(seen) == 2


@pytest.mark.parametrize(
    "choice",
    [
        {"image_size": 0},
        {"channels": 2},
        {"background": (0, 0, 256)},
        {"cache_gib": -1.0},
        {"workers": 0},
    ],
    ids=str,
)
def test_a_bad_choice_is_named(choice):
    with pytest.raises(ValueError, match=next(iter(choice))):
        DataConfig(**{"path": "set", "image_size": 4} | choice)


@pytest.mark.parametrize("choice", [{"fit": "stretch"}, {"corrupt": "ignore"}], ids=str)
def test_an_unknown_word_is_named(choice):
    """A ValueError; under pytest the type checker is quicker to object."""
    with pytest.raises((ValueError, TypeError), match=next(iter(choice))):
        DataConfig(**{"path": "set", "image_size": 4} | choice)


def test_some_keep_the_balance_of_a_sorted_set():
    images = load(DataConfig(path="embedded:fashion-mnist-heldout", image_size=32, channels=1, fit="pad"))
    pixels, labels = images.some(40)
    assert torch.bincount(labels).tolist() == [4] * 10
    assert pixels.shape == (40, 1, 32, 32)
    assert torch.equal(images.some(5000)[1], images.labels)


def test_a_file_that_is_no_picture_is_said_plainly(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.jpg").write_text("junk")
    with pytest.raises(ValueError, match=r"x\.jpg cannot be read: it is not a picture of any known format"):
        load(DataConfig(path=str(tmp_path), image_size=8, corrupt="stop"))
