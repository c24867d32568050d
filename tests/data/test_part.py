"""A held-out share of sets that are not divided."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simflow.data import DataConfig, load
from simflow.data.find import FASHION
from simflow.data.held_out import TESTED, held_out, unseen_part
from simflow.data.part import find_part


@pytest.fixture
def folder(tmp_path):
    """Sixty images in two classes, each with a near-duplicate."""
    for number in range(60):
        path = tmp_path / "set" / "ab"[number % 2] / f"{number // 2 // 2}_v{number // 2 % 2}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), number, dtype=np.uint8)).save(path)
    return tmp_path / "set"


def config(path, **choices):
    return DataConfig(**{"path": str(path), "image_size": 4, "channels": 1, "hold_out": 0.3} | choices)


def names(path, **choices):
    whole = choices.get("split", "train") is None
    return set(find_part(config(path, **choices | ({"hold_out": 0.0} if whole else {}))).names)


def test_both_sides_are_the_whole_and_share_nothing(folder):
    train, test, whole = (names(folder, split=split) for split in ("train", "test", None))
    assert train | test == whole
    assert not train & test
    assert len(whole) == 60
    assert 8 <= len(test) <= 28
    assert train == names(folder, split="training")


def test_pixels_and_labels_go_with_their_names(folder):
    whole = load(config(folder, hold_out=0.0))
    grays = whole.images(range(60))[:, 0, 0, 0].tolist()
    by_name = dict(zip(find_part(config(folder, hold_out=0.0)).names, grays, strict=True))
    for split in ("train", "test"):
        part = load(config(folder, split=split))
        assert levels(split, folder) == [by_name[name] for name in names_of(split, folder)]
        assert part.class_names == ("a", "b")
        assert part.labels.tolist() == ["ab".index(name[0]) for name in names_of(split, folder)]


def names_of(split, folder):
    return list(find_part(config(folder, split=split)).names)


def levels(split, folder):
    images = load(config(folder, split=split))
    return images.images(range(len(images)))[:, 0, 0, 0].tolist()


def test_images_that_are_added_move_none(folder):
    before = names(folder, split="test")
    for number in range(40):
        Image.new("L", (4, 4)).save(folder / "a" / f"new{number}.png")
    after = names(folder, split="test")
    assert before == {name for name in after if "new" not in name}
    assert before < after


def test_only_a_second_class_divides_a_set_anew(folder):
    shutil.move(folder / "b", folder.parent / "b")
    alone = names(folder, split="test")
    shutil.move(folder.parent / "b", folder / "b")
    both = names(folder, split="test")
    assert alone != {name for name in both if name.startswith("a/")}
    shutil.copytree(folder / "b", folder / "c")
    assert both == {name for name in names(folder, split="test") if not name.startswith("c/")}


def test_a_larger_share_keeps_what_was_held_out(folder):
    assert names(folder, split="test", hold_out=0.1) < names(folder, split="test", hold_out=0.5)


def test_near_duplicates_stay_together(folder):
    alike = r"(\w/\d+)_v"
    train, test = (names(folder, split=split, alike=alike) for split in ("train", "test"))
    kin = [{re.search(alike, name)[1] for name in side} for side in (train, test)]
    assert not kin[0] & kin[1]
    split_up = [
        {re.search(alike, name)[1] for name in names(folder, split=side)} for side in ("train", "test")
    ]
    assert split_up[0] & split_up[1]


def test_the_share_is_held_out(tmp_path):
    np.savez(tmp_path / "x.npz", images=np.zeros((4000, 2, 2), dtype=np.uint8))
    held = len(names(tmp_path / "x.npz", split="test", hold_out=0.1, image_size=2))
    assert held == pytest.approx(400, abs=4 * (4000 * 0.1 * 0.9) ** 0.5)


def test_a_set_of_one_split_counts_as_undivided(folder):
    (folder.parent / "whole").mkdir()
    moved = folder.rename(folder.parent / "whole" / "train")
    assert len(names(moved.parent, split="train")) < 60
    assert held_out(config(moved.parent))[1] == f"{moved.parent} (test)"


def test_what_is_held_out_is_unseen(folder):
    images, called = held_out(config(folder))
    assert called == f"{folder} (test)"
    assert len(images) == len(names(folder, split="test"))
    assert held_out(config(folder, hold_out=0.0))[1] == f"{folder} (all images)"
    assert len(held_out(config(folder), split="train")[0]) == len(names(folder, split="train"))


@pytest.mark.parametrize("root", ["", "set", "a/b", "set/train"])
def test_a_set_is_divided_the_same_however_it_is_packed(folder, tmp_path, root):
    def held(path):
        return {"/".join(name.split("/")[-2:]) for name in names(path, split="test")}

    expected = names(folder, split="test")
    shutil.copytree(folder, tmp_path / "moved" / root)
    assert held(tmp_path / "moved") == expected
    assert held(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "moved")) == expected
    files = [f"{path.parent.name}/{path.name}" for path in folder.rglob("*.png")]
    manifest = {"labels": [[name, 0] for name in files]}
    (tmp_path / "moved" / root / "dataset.json").write_text(json.dumps(manifest))
    if root != "set/train":  # whose labels do not stand above all folders
        assert held(tmp_path / "moved") == expected


def test_pixels_are_told_by_their_number(tmp_path):
    for name in ("one", "other"):
        np.savez(tmp_path / f"{name}.npz", images=np.zeros((50, 2, 2), dtype=np.uint8))
    one, other = (names(tmp_path / f"{name}.npz", split="test", image_size=2) for name in ("one", "other"))
    assert {name.removeprefix("one") for name in one} == {name.removeprefix("other") for name in other}


def test_images_of_another_place_are_all_meant_unless_a_split_is_named(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    images, called = held_out(config(folder), path=str(other))
    assert (len(images), called) == (60, f"{other} (all images)")
    images, called = held_out(config(folder), path=str(other), split="test")
    assert (len(images), called) == (len(names(folder, split="test")), f"{other} (test)")
    images, called = held_out(config(folder), path=str(folder))
    assert called == f"{folder} (test)"


def test_larger_images_of_another_place_are_cropped_where_the_own_are_padded(folder, tmp_path, caplog):
    other = shutil.copytree(folder, tmp_path / "other")
    padded = config(folder, fit="pad", image_size=6)
    pixels = held_out(padded, path=str(other))[0].images([0])
    assert not pixels[..., 0].any()
    assert not caplog.text
    Image.new("L", (9, 7), 200).save(other / "a" / "0_v0.png")
    images, _ = held_out(padded, path=str(other))
    assert len(images) == 60
    assert (images.images([0]) == 200).all()
    assert caplog.messages == [
        f"{other} (all images) has pictures larger than the 6 px on which the model's own are padded: all are cropped "
        "and resized"
    ]
    with pytest.raises(ValueError, match="larger than the canvas of 6 x 6"):
        held_out(replace(padded, path=str(other), hold_out=0.0))


def test_what_is_trained_on_is_not_held_out():
    """The embedded set has a train and a test split."""
    divided = DataConfig(path=FASHION, image_size=28, channels=1)
    assert held_out(divided)[1] == f"{FASHION} (test)"
    assert held_out(replace(divided, split=None))[1] == f"{FASHION} (all images)"
    assert held_out(replace(divided, split="test"))[1] == f"{FASHION} (test)"
    for split in ("test", "Testing", None):
        assert unseen_part(replace(divided, split=split), TESTED) is None


def test_a_test_split_without_classes_is_held_out_all_the_same(folder, tmp_path):
    divided = tmp_path / "divided"
    shutil.copytree(folder, divided / "train")
    shutil.copytree(folder / "a", divided / "test")
    images, called = held_out(config(divided, hold_out=0.0))
    assert (len(images), images.class_names, called) == (30, (), f"{divided} (test)")
    assert unseen_part(config(divided, hold_out=0.0), TESTED).split == "test"
    with pytest.raises(ValueError, match=r"is divided already \(test, train\)"):
        find_part(config(divided))
    with pytest.raises(ValueError, match=r"no label for test/0_v0.png in .* \(30 images have none\)"):
        find_part(config(divided, hold_out=0.0, split=None))


def test_another_set_that_is_divided_has_its_own_parts(folder):
    images, called = held_out(config(folder), path=FASHION)
    assert (len(images), called) == (1000, f"{FASHION} (test)")
    assert len(held_out(config(folder), path=FASHION, split="train")[0]) == 6000


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"path": FASHION}, r"is divided already \(test, train\): data.hold_out is for sets that are not"),
        ({"hold_out": 1e-9}, r"with data.hold_out at 1e-09, all 60 images of .* would be trained on"),
        ({"hold_out": 1e-9, "split": "test"}, "all 60 images of .* would be trained on"),
        ({"hold_out": 1 - 1e-9}, "all 60 images of .* would be held out"),
        ({"split": None}, "data.split null takes all images, and data.hold_out keeps some apart: choose one"),
        (
            {"split": "validation"},
            "there is no split 'validation' in .*: data.hold_out divides it into train and test",
        ),
    ],
)
def test_what_cannot_be_divided(folder, choices, sentence):
    with pytest.raises(ValueError, match=sentence):
        find_part(config(**{"path": folder} | choices))


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_a_share_is_below_one(share):
    with pytest.raises(ValueError, match=rf"data.hold_out must be in \[0, 1\), not {share}"):
        config(Path(), hold_out=share)
