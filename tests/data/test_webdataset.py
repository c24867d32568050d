"""Pictures in tar files with their classes beside them."""

import json

import pytest

from simflow.data.find import find
from simflow.shapes import NULL
from tests.data.gray import levels, loaded, pack, png


def write(path, **files):
    """A tar file; in names ``__`` stands for a slash and ``_`` for a dot, and a number is a picture of this gray."""
    return pack(
        path,
        {
            name.replace("__", "/").replace("_", "."): png(content)
            if isinstance(content, int)
            else content.encode()
            for name, content in files.items()
        },
    )


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "set"
    write(place / "pets-train-0000.tar", a_png=1, a_cls="1", b_png=2, b_cls="0", b_txt="a caption")
    write(place / "pets-train-0001.tar", a_png=3, a_cls="1\n")
    write(place / "pets-validation-0000.tar", a_png=4, a_cls="2")
    (place / "classes.txt").write_text("ant\nbee\ncat\n")
    (place / "README.md").write_text("a card")
    return place


def test_files_of_a_split_are_one_set_with_the_names_beside(folder):
    train = loaded(folder)
    assert (levels(train), train.labels.tolist()) == ([1, 2, 3], [1, 0, 1])
    assert train.class_names == ("ant", "bee", "cat")
    held = loaded(folder, split="val")
    assert (levels(held), held.labels.tolist()) == ([4], [2])
    assert levels(loaded(folder, split=None)) == [1, 2, 3, 4]
    source = find(str(folder), split="train")
    assert source.splits == {"train", "validation"}
    assert source.names == [
        "pets-train-0000.tar/a.png",
        "pets-train-0000.tar/b.png",
        "pets-train-0001.tar/a.png",
    ]
    assert source.keys == source.names, "two pictures have one name"
    assert find(str(folder), split="val").keys == ["a.png"]


def test_folders_may_be_the_splits(tmp_path):
    for split, label in (("val", "2"), ("train", "0")):
        write(tmp_path / "set" / split / "0000.tar", a_png=len(split), a_cls=label)
    train, validation = (find(str(tmp_path / "set"), split=split) for split in ("train", "validation"))
    assert (train.names, validation.names) == (["train/0000.tar/a.png"], ["val/0000.tar/a.png"])
    assert train.splits == {"train", "validation"}
    assert levels(loaded(tmp_path / "set", split="val")) == [3]
    assert levels(loaded(tmp_path / "set" / "val")) == [3], "a set of its own"


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_one_file_is_a_set_and_classes_may_have_names(tmp_path, ending):
    images = loaded(write(tmp_path / f"x.{ending}", d__a_png=1, d__a_cls="dog", d__b_png=2, d__b_cls="cat"))
    assert (levels(images), images.class_names, images.labels.tolist()) == ([1, 2], ("cat", "dog"), [1, 0])


def test_records_say_the_classes_and_the_column_may_be_named(tmp_path):
    about = [json.dumps({"label": number, "kind": kind}) for number, kind in ((1, "pet"), (0, "pest"))]
    file = write(tmp_path / "x.tar", a_png=1, a_json=about[0], b_png=2, b_json=about[1])
    assert loaded(file).labels.tolist() == [1, 0]
    kinds = loaded(file, label="kind")
    assert (kinds.class_names, kinds.labels.tolist()) == (("pest", "pet"), [1, 0])
    with_both = write(
        tmp_path / "y.tar", a_png=1, a_json=about[0], a_cls="0", b_png=2, b_json=about[1], b_cls="1"
    )
    assert loaded(with_both).labels.tolist() == [0, 1]
    assert loaded(with_both, label="kind").class_names == ("pest", "pet")
    with pytest.raises(ValueError, match="has no such column 'colour'"):
        loaded(file, label="colour")


def test_a_class_counts_whatever_the_record_beside_it_speaks_of(tmp_path):
    about = json.dumps({"filename": "x.png", "width": 8})
    names = {"a_cls": "0", "a_json": about, "a_png": 1, "b_cls": "1", "b_json": about, "b_png": 2}
    assert loaded(write(tmp_path / "x.tar", **names)).labels.tolist() == [0, 1]


def test_a_mask_is_no_picture_of_its_own(tmp_path):
    images = loaded(write(tmp_path / "x.tar", a_png=1, a_seg_png=9, a_cls="0", b_left_png=2, b_cls="1"))
    assert (levels(images), images.labels.tolist()) == ([1, 2], [0, 1])


def test_annotations_in_class_folders_leave_the_folders_their_say(tmp_path):
    about = json.dumps({"shapes": [{"label": "x"}]})
    images = loaded(
        write(tmp_path / "x.tar", dog__a_png=1, dog__a_json=about, cat__b_png=2, cat__b_json=about)
    )
    assert (images.class_names, images.labels.tolist()) == (("cat", "dog"), [0, 1])


def test_a_split_without_classes_has_none(tmp_path):
    write(tmp_path / "train.tar", a_png=1, a_cls="3")
    write(tmp_path / "test.tar", a_png=2)
    assert loaded(tmp_path).labels.tolist() == [3]
    assert (loaded(tmp_path, split="test").labels.tolist(), loaded(tmp_path, split="test").class_names) == (
        [NULL],
        (),
    )


def test_all_splits_together_are_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "a-val.tar", a_png=1, a_cls="0")
    write(tmp_path / "b-train.tar", b_png=2, b_cls="0")
    assert levels(loaded(tmp_path, split=None)) == [2, 1]


def test_a_share_is_held_out_of_undivided_files(tmp_path):
    for tar in range(2):
        numbers = [(f"{tar}x{number}", 100 * tar + number) for number in range(50)]
        files = {f"{name}_png": level for name, level in numbers} | {
            f"{name}_cls": "0" for name, _ in numbers
        }
        write(tmp_path / f"{tar:05d}.tar", **files)
    parts = [loaded(tmp_path, split=split, hold_out=0.2) for split in ("train", "test")]
    assert sorted(levels(parts[0]) + levels(parts[1])) == [*range(50), *range(100, 150)]
    assert 8 < len(parts[1]) < 35


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            {"a_png": 1, "a_cls": "0", "b_png": 2},
            r"no label for x.tar/b.png in .*x.tar \(1 images have none\)",
        ),
        ({"a_png": 1, "a_json": "{"}, r"a.json .*is not JSON"),
        ({"a_png": 1, "a_json": '{"label": [1]}'}, "the label of a.png in .* must be a name or a number"),
    ],
    ids=str,
)
def test_what_cannot_be_read(tmp_path, files, sentence):
    with pytest.raises(ValueError, match=sentence):
        loaded(write(tmp_path / "x.tar", **files))
