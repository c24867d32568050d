"""Parquet files as the hub has them: with and without the notes of ``datasets``."""

import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from simflow.data import DataConfig, parquet
from simflow.data.find import find
from simflow.data.held_out import held_out
from simflow.shapes import NULL
from tests.data.gray import levels, loaded, png

NAMES = ("bee", "ant")


def write(path, levels, labels=None, *, image="image", label="label", names=None, bare=False, notes=True):
    """Pictures of these gray levels; None is a picture that is elsewhere."""
    cells = [None if level is None else png(level) for level in levels]
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pictures = pa.array(cells) if bare else pa.array([{"bytes": c, "path": "x"} for c in cells], type=struct)
    columns = {"id": pa.array(range(len(levels))), image: pictures}
    if labels is not None:
        columns[label] = labels if isinstance(labels, pa.Array) else pa.array(labels)
    table = pa.table(columns)
    if notes:
        features = {"id": {"_type": "Value"}, image: {"_type": "Image"}}
        if labels is not None:
            features[label] = {"_type": "ClassLabel", "names": names} if names else {"_type": "Value"}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "set" / "data"
    write(place / "train-00000-of-00002.parquet", [0, 10, 20], [0, 1, 1], image="img", names=NAMES)
    write(place / "train-00001-of-00002.parquet", [30, 40], [0, 0], image="img", names=NAMES)
    write(place / "test-00000-of-00001.parquet", [50], [1], image="img", names=NAMES)
    (tmp_path / "set" / "README.md").write_text("a card")
    return tmp_path / "set"


@pytest.mark.parametrize("cache_gib", [1.0, 0.0])
def test_files_of_a_split_are_one_set_with_the_names_of_the_classes(folder, cache_gib):
    train = loaded(folder, cache_gib=cache_gib)
    assert levels(train) == [0, 10, 20, 30, 40]
    assert (train.labels.tolist(), train.class_names) == ([0, 1, 1, 0, 0], NAMES)
    test = loaded(folder / "data", split="test", cache_gib=cache_gib)
    assert (levels(test), test.labels.tolist(), test.class_names) == ([50], [1], NAMES)
    assert levels(loaded(folder, split=None)) == [50, 0, 10, 20, 30, 40]
    assert find(str(folder), split="train").splits == {"train", "test"}
    assert find(str(folder), split="train").names[3] == "train-00001-of-00002.parquet[0]"


def test_all_splits_together_are_in_the_order_of_their_names(tmp_path):
    write(tmp_path / "a-train.parquet", [1, 2])
    write(tmp_path / "b-test.parquet", [3])
    assert levels(loaded(tmp_path, split=None)) == [3, 1, 2]


def test_pictures_are_read_when_they_are_needed_and_a_change_is_seen(folder, monkeypatch):
    file = folder / "data" / "test-00000-of-00001.parquet"
    before = loaded(folder, split="test").fingerprint
    assert loaded(folder, split="test").fingerprint == before
    with monkeypatch.context() as patched:
        patched.setattr("simflow.data.parquet.pieces", lambda *_: pytest.fail("pictures were read"))
        listed = find(str(folder), split=None)
        assert len(listed.names) == len(listed.marks) == 6
    write(file, [51, 52], [1, 0], image="img", names=NAMES)
    assert loaded(folder, split="test").fingerprint != before


@pytest.fixture
def many(tmp_path, monkeypatch):
    """Any picture is too much to be held; the cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(parquet, "HELD", 0)
    monkeypatch.setattr(parquet, "ROWS", 2)
    return tmp_path / "cache" / "simflow" / "pictures"


@pytest.mark.parametrize("bare", [False, True])
def test_many_pictures_are_copied_once_and_read_where_they_lie(tmp_path, many, monkeypatch, bare):
    file = write(tmp_path / "x.parquet", [1, 2, None, 4, 5, 6, 7], [0, 1] * 3 + [0], names=NAMES, bare=bare)
    write(tmp_path / "y.parquet", [8, 9], [0, 1], names=NAMES, bare=bare)
    images = loaded(tmp_path, cache_gib=0.0)
    assert images.images([8, 0, 6, 4])[:, 0, 0, 0].tolist() == [9, 1, 7, 5]
    copies = sorted(many.glob("*.arrow"))
    assert len(copies) == 2
    with monkeypatch.context() as patched:
        patched.setattr(parquet, "pieces", lambda *_: pytest.fail("pictures were copied again"))
        again = loaded(tmp_path)
        assert (levels(again), again.skipped) == ([1, 2, 4, 5, 6, 7, 8, 9], ("x.parquet[2]",))
    write(file, [3, 3, 3], [0, 1, 0], names=NAMES, bare=bare)
    assert levels(loaded(tmp_path)) == [3, 3, 3, 8, 9]
    assert len(list(many.glob("*.arrow"))) == 3
    size = file.stat().st_size
    write(file, [4, 4, 4], [0, 1, 0], names=NAMES, bare=bare)
    assert file.stat().st_size == size, "the time alone tells them apart"
    assert levels(loaded(tmp_path)) == [4, 4, 4, 8, 9]


def test_a_set_that_may_be_held_is_not_copied(tmp_path, many, monkeypatch):
    file = write(tmp_path / "x.parquet", [1, 2])
    monkeypatch.setattr(parquet, "HELD", sum(size for _, size in parquet.groups_of(file, "image")))
    assert levels(loaded(tmp_path)) == [1, 2]
    assert not many.exists()


@pytest.mark.parametrize("held", [True, False])
def test_a_damaged_file_is_named_and_no_half_copy_stays(tmp_path, many, monkeypatch, held):
    monkeypatch.setattr(parquet, "HELD", 2**30 if held else 0)
    write(tmp_path / "a.parquet", [1, 2])
    file = write(tmp_path / "b.parquet", range(200))
    content = bytearray(file.read_bytes())
    content[100:2000] = bytes(1900)  # the footer stays whole
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"b\.parquet is damaged: "):
        loaded(tmp_path)
    assert len(list(many.glob("*.arrow"))) == (0 if held else 1)
    assert not list(many.glob(".part*"))


def test_a_cache_that_cannot_be_written_is_named(tmp_path, many):
    many.parent.mkdir(parents=True)
    many.write_text("a file")
    write(tmp_path / "x.parquet", [1, 2])
    with pytest.raises(ValueError, match=r"the pictures of .*x.parquet cannot be copied to .*pictures"):
        loaded(tmp_path)


def test_one_file_is_a_set_of_its_own(folder):
    file = folder / "data" / "test-00000-of-00001.parquet"
    images = loaded(file)
    assert (levels(images), images.class_names) == ([50], NAMES)
    assert not find(str(file), split=None).splits


@pytest.mark.parametrize(
    ("labels", "class_names", "numbers"),
    [
        (["dog", "cat", "dog"], ("cat", "dog"), [1, 0, 1]),
        ([2, 0, 1], ("0", "1", "2"), [2, 0, 1]),
        ([-1, -1, -1], (), [NULL] * 3),
        ([[0], [1], [0, 1]], (), [NULL] * 3),
        (None, (), [NULL] * 3),
    ],
)
@pytest.mark.parametrize("bare", [False, True])
def test_without_notes_a_column_called_label_says_the_classes(tmp_path, labels, class_names, numbers, bare):
    file = write(tmp_path / "x.parquet", [1, 2, 3], labels, bare=bare, notes=False)
    images = loaded(file)
    assert (levels(images), images.class_names, images.labels.tolist()) == ([1, 2, 3], class_names, numbers)


def test_class_names_beside_are_read_and_classes_are_the_same_in_all_splits(tmp_path):
    write(tmp_path / "train.parquet", [1, 2], ["cat", "cat"])
    write(tmp_path / "test.parquet", [3], ["ant"])
    assert loaded(tmp_path).class_names == ("ant", "cat")
    assert loaded(tmp_path).labels.tolist() == [1, 1]
    write(tmp_path / "n" / "x.parquet", [1, 2], [0, 1], notes=False)
    (tmp_path / "n" / "classes.txt").write_text("one\ntwo\n")
    assert loaded(tmp_path / "n" / "x.parquet").class_names == ("one", "two")


def test_pictures_that_are_elsewhere_or_damaged_are_left_out_and_named(tmp_path):
    file = write(tmp_path / "x.parquet", [1, None, 3], [0, 1, 0], names=NAMES)
    images = loaded(file)
    assert (levels(images), images.skipped) == ([1, 3], ("x.parquet[1]",))


def test_a_share_is_held_out_of_undivided_files(tmp_path):
    write(tmp_path / "a.parquet", range(100), [0, 1] * 50, names=NAMES)
    write(tmp_path / "b.parquet", range(100, 200), [0, 1] * 50, names=NAMES)
    parts = [loaded(tmp_path, split=split, hold_out=0.2) for split in ("train", "test")]
    assert sorted(levels(parts[0]) + levels(parts[1])) == list(range(200))
    assert 20 < len(parts[1]) < 60


def test_a_table_about_pictures_is_no_set_and_a_logo_beside_tables_is_none(tmp_path, caplog):
    write(tmp_path / "a" / "metadata.parquet", [1], [0])
    for name in "ab":
        (tmp_path / name).mkdir(exist_ok=True)
        Image.new("L", (4, 4), 7).save(tmp_path / name / "1.png")
    assert levels(loaded(tmp_path / "a")) == [7]
    write(tmp_path / "b" / "train.parquet", [1, 2])
    assert levels(loaded(tmp_path / "b")) == [1, 2]
    assert "1 pictures beside its Parquet files" in caplog.text


@pytest.mark.parametrize(
    ("labels", "class_names", "numbers"),
    [
        (pa.array(["10", "9", "9"], type=pa.large_string()), ("9", "10"), [1, 0, 0]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ("a", "b"), [1, 0, 1]),
        (pa.array([True, False, True]), ("0", "1"), [1, 0, 1]),
        (pa.array([2, 0, 0], type=pa.uint8()), ("0", "1", "2"), [2, 0, 0]),
    ],
)
def test_labels_of_all_kinds(tmp_path, labels, class_names, numbers):
    images = loaded(write(tmp_path / "x.parquet", [1, 2, 3], labels, label="labels", notes=False))
    assert (images.class_names, images.labels.tolist()) == (class_names, numbers)


def test_the_column_of_the_classes_may_be_named(tmp_path):
    file = write(tmp_path / "x.parquet", [1, 2, 3], [0, 1, 0], label="fine", names=NAMES)
    table = pq.read_table(file)
    table = table.append_column("coarse", pa.array(["pet", "pest", "pet"])).append_column(
        "size", pa.array([0.5] * 3)
    )
    pq.write_table(table, file)
    assert loaded(file).class_names == NAMES
    coarse = loaded(file, label="coarse")
    assert (coarse.class_names, coarse.labels.tolist()) == (("pest", "pet"), [1, 0, 1])
    assert loaded(file, label="fine").class_names == NAMES
    for column in ("size", "nothing"):
        with pytest.raises(
            ValueError, match=f"there is no column '{column}' .* its columns are id, image, fine, coarse"
        ):
            loaded(file, label=column)


def test_at_another_place_the_column_counts_where_there_is_one(tmp_path):
    write(tmp_path / "a" / "train.parquet", [1, 2], ["x", "y"], label="kind", notes=False)
    write(tmp_path / "b" / "test.parquet", [3, 4], ["y", "x"], label="kind", notes=False)
    for name in "xy":
        (tmp_path / "c" / name).mkdir(parents=True)
        Image.new("L", (4, 4), 7).save(tmp_path / "c" / name / "1.png")
    config = DataConfig(path=str(tmp_path / "a"), image_size=4, channels=1, label="kind")
    for other, labels in (("b", [1, 0]), ("c", [0, 1])):
        images, _ = held_out(config, path=str(tmp_path / other))
        assert (images.class_names, images.labels.tolist()) == (("x", "y"), labels)
    with pytest.raises(ValueError, match="there is no column 'none'"):
        held_out(DataConfig(path=str(tmp_path / "a"), image_size=4, label="none"))


def test_labels_that_are_no_classes_are_said(tmp_path, caplog):
    file = write(tmp_path / "x.parquet", [1, 2], [[0], [1]], notes=False)
    assert loaded(file).class_names == ()
    assert "the column 'label' of" in caplog.text
    assert "list" in caplog.text


def test_a_split_without_labels_has_no_classes_and_hinders_no_other(tmp_path):
    write(tmp_path / "train.parquet", [1, 2], [0, 1], names=NAMES)
    write(tmp_path / "test.parquet", [3], [-1], names=NAMES)
    write(tmp_path / "validation.parquet", [4])
    assert loaded(tmp_path).labels.tolist() == [0, 1]
    for split in ("test", "validation"):
        assert (loaded(tmp_path, split=split).labels.tolist(), loaded(tmp_path, split=split).class_names) == (
            [NULL],
            (),
        )


def test_pieces_with_bytes_of_several_kinds_and_empty_ones_are_one_set(tmp_path):
    kinds = {"a": (pa.binary(), [1]), "b": (pa.large_binary(), [2, 3]), "c": (pa.binary(), [])}
    for name, (kind, grays) in kinds.items():
        table = pa.table({"image": pa.array(list(map(png, grays)), type=kind)})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    assert levels(loaded(tmp_path)) == [1, 2, 3]


@pytest.mark.parametrize(
    ("made", "sentence"),
    [
        (lambda f: (f / "x.parquet").write_text("nonsense"), "x.parquet is not a readable Parquet file"),
        (lambda f: pq.write_table(pa.table({"a": [1], "b": [2]}), f / "x.parquet"), "its columns are a, b"),
        (
            lambda f: write(f / "x.parquet", [1, 2], [0, None]),
            r"no label for x.parquet\[1\] in .* \(1 images have none\)",
        ),
        (
            lambda f: write(f / "x.parquet", [1], [2], names=NAMES),
            "go up to 2, but there are names for only 2",
        ),
        (lambda f: [write(f / n / "x.parquet", [1]) for n in "ab"], "lie in several folders, .* give one"),
        (
            lambda f: [write(f / f"{n}.parquet", [1], [0], names=[n]) for n in "ab"],
            "have other columns or classes than each other",
        ),
        (lambda f: write(f / "x.parquet", []), "there is no image in"),
        (
            lambda f: write(f / "x.parquet", [1], pa.array([2**63], type=pa.uint64())),
            "labels of .* are too large",
        ),
        (lambda f: write(f / "test.parquet", [1]) and write(f / "val.parquet", [1]), "no split 'train' in"),
    ],
)
def test_what_cannot_be_read(tmp_path, made, sentence):
    made(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        loaded(tmp_path)


def test_a_set_of_the_hub_is_fetched_without_its_code(folder, monkeypatch):
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert levels(loaded("hub:me/pets@v1.0")) == [0, 10, 20, 30, 40]
    (name, options), *_ = asked
    assert name == "me/pets"
    assert (options["repo_type"], options["revision"]) == ("dataset", "v1.0")
    assert "*.py" in options["ignore_patterns"]
    assert held_out(DataConfig(path="hub:me/pets", image_size=4))[1] == "hub:me/pets (test)"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("hub:pets", "is hub:OWNER/NAME, or with a revision"),
        ("hub:me/pets", "gave no image set of .* me/pets: gone"),
    ],
)
def test_what_the_hub_does_not_give(monkeypatch, path, sentence):
    def snapshot_download(name, **options):
        raise OSError("gone\nfor good")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ValueError, match=sentence):
        loaded(path)


def test_without_pyarrow_a_sentence_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ValueError, match="pip install pyarrow"):
        loaded(folder)
