"""Pictures and files hold the very bytes they were given, at the right places, or are not there at all."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from simflow.export import (
    can_draw,
    clear_png_folder,
    font_for,
    fonts_of,
    grid,
    labelled_grid,
    pairs_grid,
    save_picture,
    save_png_folder,
    seeds_listed,
)


def random_images(count, channels=1, height=5, width=4):
    generator = torch.Generator().manual_seed(count)
    return torch.randint(256, (count, channels, height, width), generator=generator, dtype=torch.uint8)


def array(picture):
    pixels = np.asarray(picture)
    return torch.from_numpy(pixels.copy()).reshape(*pixels.shape[:2], -1)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_every_image_of_a_grid_is_at_its_place_and_the_rest_is_white(channels, mode):
    images = random_images(5, channels)
    picture = grid(images, 3, scale=2, gap=3)
    assert picture.mode == mode
    pixels = array(picture)
    assert pixels.shape == (2 * 10 + 3, 3 * 8 + 6, channels)
    seen = torch.zeros(pixels.shape[:2], dtype=torch.bool)
    for index, image in enumerate(images):
        top, left = index // 3 * 13, index % 3 * 11
        large = pixels[top : top + 10, left : left + 8]
        for row in range(2):
            for column in range(2):
                assert torch.equal(large[row::2, column::2], image.movedim(0, -1))
        seen[top : top + 10, left : left + 8] = True
    assert bool((pixels[~seen] == 255).all())


def test_a_grid_without_gap_is_the_images_themselves():
    images = random_images(2)
    assert torch.equal(array(grid(images, 2, gap=0))[..., 0], torch.cat([images[0, 0], images[1, 0]], dim=1))


@pytest.mark.parametrize(
    ("count", "columns", "options"), [(0, 1, {}), (2, 0, {}), (2, 1, {"scale": 0}), (2, 1, {"gap": -1})]
)
def test_an_impossible_grid_is_a_sentence(count, columns, options):
    with pytest.raises(ValueError, match="at least"):
        grid(random_images(count), columns, **options)


def test_a_reconstruction_is_right_below_its_original():
    originals, reconstructions = random_images(4), random_images(4).flip(0)
    pixels = array(pairs_grid(originals, reconstructions, columns=2, gap=1))[..., 0]
    assert torch.equal(pixels[11:16, 5:9], originals[3, 0])
    assert torch.equal(pixels[16:21, 5:9], reconstructions[3, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_labelled_grid_has_the_rows_at_the_right_and_a_caption_for_each(channels):
    rows = {"bag": random_images(3, channels, 32, 32), "ankle-boot": random_images(2, channels, 32, 32)}
    pixels = array(labelled_grid(rows, gap=2))
    block = array(grid(torch.cat([*rows.values()]), 3, gap=2))
    assert torch.equal(pixels[:, -block.shape[1] :], block)
    captions = pixels[:, : -block.shape[1]]
    ink = [(half < 128).sum().item() for half in (captions[:32], captions[34:])]
    assert 0 < ink[0] < ink[1]
    assert bool((captions[:, :3] == 255).all()), "the longest caption is cut off"


def test_captions_taller_than_the_images_do_not_overlap():
    picture = labelled_grid({str(index): random_images(1, 1, 4, 4) for index in range(3)}, gap=1)
    assert picture.height > 3 * 10


def test_a_caption_that_pillow_cannot_draw_has_the_font_of_matplotlib(monkeypatch):
    pytest.importorskip("matplotlib")
    assert font_for("cat").getname()[0] != font_for("кот").getname()[0] == "DejaVu Sans"
    assert can_draw("кот, café")
    assert not can_draw("\U0010fffe")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fonts_of.cache_clear()
    assert not can_draw("кот")
    fonts_of.cache_clear()


def test_no_rows_is_a_sentence():
    with pytest.raises(ValueError, match="at least one row"):
        labelled_grid({})


def test_a_folder_holds_the_images_by_seed_and_says_their_classes(tmp_path):
    images, folder = random_images(5, 3), tmp_path / "deep" / "samples"
    save_png_folder(
        iter(images.split(2)), [1, 0, -1, 1, 7], [3, 123, 4, 0, 1234567], folder, class_names=("a", "b, c")
    )
    names = ["000003.png", "000123.png", "000004.png", "000000.png", "1234567.png"]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "labels.csv"])
    for name, image in zip(names, images, strict=True):
        assert torch.equal(array(Image.open(folder / name)), image.movedim(0, -1))
    with (folder / "labels.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["file"] for line in lines] == names
    assert [line["seed"] for line in lines] == ["3", "123", "4", "0", "1234567"]
    assert [line["label"] for line in lines] == ["1", "0", "-1", "1", "7"]
    assert [line["class"] for line in lines] == ["b, c", "a", "", "b, c", ""]


@pytest.mark.parametrize(
    ("count", "labels", "seeds"),
    [(2, [0, 0], [1, 1]), (2, [0], [1, 2]), (3, [0, 0], [1, 2]), (1, [0, 0], [1, 2])],
)
def test_a_folder_without_one_seed_an_image_is_never_complete(tmp_path, count, labels, seeds):
    with pytest.raises(ValueError, match="seeds"):
        save_png_folder([random_images(count)], labels, seeds, tmp_path)
    assert not (tmp_path / "labels.csv").exists()


def test_a_cleared_folder_keeps_what_is_not_its_own(tmp_path):
    save_png_folder([random_images(3)], [0, 0, 0], [1, 2, 1234567], tmp_path)
    for name in ("grid.png", "000009.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"somebody's")
    (tmp_path / "000002.png").unlink()
    clear_png_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"grid.png", "000009.png", "notes.txt"}
    clear_png_folder(tmp_path / "new")


def test_what_an_interrupted_call_left_is_cleared(tmp_path):
    def interrupted():
        yield random_images(3)
        raise KeyboardInterrupt

    (tmp_path / "000099.png").write_bytes(b"somebody's")
    save_png_folder([random_images(1)], [0], [7], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        save_png_folder(interrupted(), [0] * 10, range(10), tmp_path)
    assert not (tmp_path / "labels.csv").exists()
    assert seeds_listed(tmp_path) == list(range(10))
    clear_png_folder(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"000099.png"}


def test_a_list_of_others_takes_no_image_away(tmp_path):
    outside = tmp_path / "000001.png"
    outside.write_bytes(b"somebody's")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "000002.png").write_bytes(b"somebody's")
    for text, left in (
        (b"file,label\n000002.png,0\n", {"000002.png", "labels.csv"}),
        (b"file,seed,label,class\n../000001.png,1,0,\n\xff\n", {"000002.png"}),
    ):
        (folder / "labels.csv").write_bytes(text)
        clear_png_folder(folder)
        assert outside.exists()
        assert {path.name for path in folder.iterdir()} == left


def test_a_picture_that_fails_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    save_picture(grid(random_images(1), 1), path)
    old = path.read_bytes()

    def full(_, part, **options):
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="disk full"):
        save_picture(grid(random_images(2), 1), path)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
