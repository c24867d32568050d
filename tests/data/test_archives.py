"""Archives in folders, tar files in tar files, and the places of files that are kept for the next time."""

import gzip
import os
import resource
import shutil
import tarfile
from pathlib import Path

import pytest
import torch

from simflow.data import archive, tar
from simflow.data.find import find
from simflow.shapes import NULL
from tests.data.gray import levels, loaded, pack, png


def test_archives_in_a_folder_are_its_classes(tmp_path):
    """As ImageNet's training images come: a tar file for each class. Any mixture of archives will do."""
    pack(tmp_path / "n02.tar", {"b.png": png(20), "a.png": png(10)})
    pack(tmp_path / "n01.zip", {"sub/z.png": png(30)})
    pack(tmp_path / "n10.tar.gz", {"c.png": png(40)})
    (tmp_path / "readme.txt").write_text("not an image")
    images = loaded(tmp_path)
    assert images.class_names == ("n01", "n02", "n10")
    assert images.labels.tolist() == [0, 1, 1, 2]
    assert levels(images) == [30, 10, 20, 40]


def test_archives_named_after_splits_are_splits(tmp_path):
    for split, level in (("train", 10), ("val", 20)):
        pack(tmp_path / f"set_{split}.zip", {"ant/1.png": png(level), "bee/1.png": png(level + 1)})
    train, validation = loaded(tmp_path), loaded(tmp_path, split="validation")
    assert (levels(train), levels(validation)) == ([10, 11], [20, 21])
    assert train.class_names == validation.class_names == ("ant", "bee")


@pytest.mark.parametrize("ending", ["{:03}.tar", "photos-{:05}-of-00002.tar", "part.{:03}.zip"])
def test_numbered_parts_are_one_set(tmp_path, ending):
    """They are as if unpacked in one place: folders in them are classes, and without any there are none."""
    for number in range(2):
        pack(tmp_path / "flat" / ending.format(number), {f"{number}.png": png(10 + number)})
        name = f"{'ab'[number]}/{number}.png"
        pack(
            tmp_path / "deep" / ending.format(number),
            {name: png(10 + number), f"a/also{number}.png": png(5)},
        )
    flat, deep = loaded(tmp_path / "flat"), loaded(tmp_path / "deep")
    assert (flat.class_names, levels(flat)) == ((), [10, 11])
    assert flat.labels.tolist() == [NULL, NULL]
    assert (deep.class_names, levels(deep)) == (("a", "b"), [10, 5, 5, 11])


@pytest.mark.parametrize("top", ["", "{}/"], ids=["bare", "with a folder of its own name"])
def test_a_folder_that_repeats_the_archives_name_says_nothing(tmp_path, top):
    """As ``zip -r cat.zip cat`` makes it: classes and keys are those of the same files unpacked."""
    for name in ("cat", "dog"):
        inner = {f"{top.format(name)}{i}.png": png(i) for i in range(20)}
        pack(tmp_path / "classes" / f"{name}.zip", inner)
        for file, content in inner.items():
            (tmp_path / "unpacked" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "unpacked" / name / file.rpartition("/")[2]).write_bytes(content)
    for split in ("train", "val"):
        inner = {f"{top.format(split)}{name}/1.png": png(1) for name in ("cat", "dog")}
        pack(tmp_path / "splits" / f"{split}.zip", inner)
    assert loaded(tmp_path / "splits", split="val").class_names == ("cat", "dog")
    one, other = (find(str(tmp_path / kind), split=None) for kind in ("classes", "unpacked"))
    assert (one.keys, one.class_names) == (other.keys, ("cat", "dog"))
    held = [loaded(tmp_path / kind, hold_out=0.3, split="test") for kind in ("classes", "unpacked")]
    assert levels(held[0]) == levels(held[1])


def test_archives_in_the_folders_of_splits(tmp_path):
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            pack(tmp_path / "classes" / split / f"{name}.tar", {"1.png": png(len(split))})
        for number in range(2 if split == "train" else 1):
            pack(
                tmp_path / "parts" / split / f"part-{number:03}.tar",
                {f"cat/{number}.png": png(len(split))},
            )
    classes, parts = (loaded(tmp_path / kind, split="validation") for kind in ("classes", "parts"))
    assert (classes.class_names, levels(classes)) == (("cat", "dog"), [3, 3])
    assert levels(parts) == [3]
    assert levels(loaded(tmp_path / "parts")) == [5, 5]


def test_series_of_parts_are_classes(tmp_path):
    for name in ("cat", "dog"):
        for number in range(2):
            pack(tmp_path / f"{name}-{number:03}.tar", {f"{number}.png": png(number)})
    images = loaded(tmp_path)
    assert (images.class_names, images.labels.tolist()) == (("cat", "dog"), [0, 0, 1, 1])


def test_archives_without_pictures_change_nothing(tmp_path):
    for split in ("train", "val"):
        pack(tmp_path / f"img_{split}.tar", {"cat/1.png": png(1), "dog/1.png": png(2)})
    pack(tmp_path / "devkit.tar.gz", {"readme.txt": b"words"})
    assert levels(loaded(tmp_path)) == levels(loaded(tmp_path, split="val")) == [1, 2]


def test_a_split_of_loose_pictures_has_no_classes(tmp_path):
    """As ImageNet's validation images come beside its training images."""
    nested(tmp_path / "set" / "ILSVRC2012_img_train.tar")
    pack(tmp_path / "set" / "ILSVRC2012_img_val.tar", {"ILSVRC2012_val_00000001.png": png(7)})
    shutil.rmtree(tmp_path / "set" / "inner")
    train, validation = loaded(tmp_path / "set"), loaded(tmp_path / "set", split="val")
    assert (train.class_names, levels(train)) == (("ant", "bee"), [10, 20, 11, 21])
    assert (validation.class_names, levels(validation)) == ((), [7])


def test_parts_with_the_same_picture_are_refused(tmp_path):
    for number in range(2):
        pack(
            tmp_path / f"part-{number:03}.tar",
            {"same.png": png(number), "notes.txt": b"twice is no harm"},
        )
    with pytest.raises(ValueError, match=r"two archives in .* have a file same\.png"):
        loaded(tmp_path)


def test_parts_with_other_tables_of_one_name_are_refused(tmp_path):
    """One of them would speak of the images of one part only."""
    for number in range(2):
        table = f"file_name,label\n{number}.png,{number}\n".encode()
        pack(tmp_path / f"part-{number:03}.tar", {f"{number}.png": png(number), "metadata.csv": table})
    with pytest.raises(ValueError, match=r"two archives in .* have a file metadata\.csv"):
        loaded(tmp_path)


def test_archives_beside_pictures_are_left_alone(tmp_path, caplog):
    (tmp_path / "a.png").write_bytes(png(1))
    pack(tmp_path / "ant.tar", {"b.png": png(2)})
    (tmp_path / "old.zip").write_bytes(b"damaged")
    assert levels(loaded(tmp_path)) == [1]
    assert "2 archives beside its pictures" in caplog.text


@pytest.mark.parametrize(
    "names", [("001", "002", "004"), ("a001", "b001"), ("01", "02"), ("a-001", "a-002", "b")]
)
def test_names_that_do_not_count_are_classes(tmp_path, names):
    for name in names:
        pack(tmp_path / f"{name}.tar", {"same.png": png(1)})
    assert loaded(tmp_path).class_names == names


def test_hidden_archives_are_left_out(tmp_path):
    """Such as the shadows that a Mac leaves, which are no archives."""
    pack(tmp_path / "ant.tar", {"a.png": png(1)})
    pack(tmp_path / ".bee.tar", {"b.png": png(2)})
    (tmp_path / "._ant.tar").write_bytes(b"a shadow")
    assert levels(loaded(tmp_path)) == [1]


def nested(path):
    inner = {
        name: pack(path.parent / "inner" / f"{name}.tar", {f"{name}{i}.png": png(10 * i + n) for i in (1, 2)})
        for n, name in enumerate(("ant", "bee"))
    }
    return pack(path, {f"{name}.tar": file.read_bytes() for name, file in inner.items()})


def test_tar_files_in_a_tar_file_are_its_classes(tmp_path):
    """As ImageNet's training images come, in one file."""
    images = loaded(nested(tmp_path / "train.tar"))
    assert images.class_names == ("ant", "bee")
    assert levels(images) == [10, 20, 11, 21]


def test_a_tar_file_beside_pictures_is_no_class(tmp_path):
    inner = pack(tmp_path / "inner.tar", {"x.png": png(1)}).read_bytes()
    assert levels(loaded(pack(tmp_path / "set.tar", {"inner.tar": inner, "y.png": png(2)}))) == [2]


def test_an_inner_tar_file_without_an_end_does_not_run_on_into_the_next(tmp_path):
    """Two empty blocks end a tar file, and there are some without."""
    whole = pack(tmp_path / "inner.tar", {"x.png": png(1)}).read_bytes()
    member = whole[: 512 + 512 * -(-len(png(1)) // 512)]
    file = pack(tmp_path / "set.tar", {"ant.tar": member, "bee.tar": whole})
    images = loaded(file)
    assert (images.class_names, levels(images)) == (("ant", "bee"), [1, 1])
    assert list(tar.places_in(file)) == ["ant.tar", "bee.tar", "ant/x.png", "bee/x.png"]


@pytest.mark.parametrize("damage", ["garbage", "packed", "cut"])
def test_a_damaged_inner_tar_file_is_refused(tmp_path, damage):
    """And not taken for an empty one, or read on into the next."""
    whole = pack(tmp_path / "inner.tar", {"x.png": png(1)}).read_bytes()
    bad = {"garbage": b"?" * 2000, "packed": gzip.compress(whole), "cut": whole[:540]}[damage]
    with pytest.raises(ValueError, match=r"begin like a tar file|it ends within x\.png"):
        loaded(pack(tmp_path / "set.tar", {"ant.tar": whole, "bee.tar": bad}))


def test_an_inner_tar_file_may_be_empty(tmp_path):
    whole = pack(tmp_path / "inner.tar", {"x.png": png(1)}).read_bytes()
    file = pack(
        tmp_path / "set.tar", {"ant.tar": whole, "bee.tar": bytes(1024), "cow.tar": b"", "._a.tar": b"?"}
    )
    assert levels(loaded(file)) == [1]


def test_sparse_files_are_refused(tmp_path):
    """Their holes are left out of a tar file, so what lies there is not the file."""
    member = tarfile.TarInfo("x.png")
    member.type, member.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (1024, 512)  # one piece, after a hole
    header[483:495] = b"%011o\0" % 1536
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    (tmp_path / "set.tar").write_bytes(bytes(header) + bytes(512 * 3))
    with pytest.raises(ValueError, match=r"x\.png as a sparse file; unpack it first"):
        loaded(tmp_path / "set.tar")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The cache folder of places, which are kept of any tar file."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tar, "MANY", 1)
    return tmp_path / "cache" / "simflow" / "places"


def looks(monkeypatch):
    """Counts how often a tar file is read through."""
    seen, found = [], tar._found
    monkeypatch.setattr(tar, "_found", lambda path: (seen.append(path), found(path))[1])
    return seen


def test_places_are_found_once(tmp_path, kept, monkeypatch):
    file, seen = nested(tmp_path / "set.tar"), looks(monkeypatch)
    first, second = loaded(file), loaded(file)
    assert len(seen) == 1
    assert levels(first) == levels(second) == [10, 20, 11, 21]
    assert first.fingerprint == second.fingerprint
    assert tar.places_in(file) == tar._found(file)
    assert [each.suffix for each in kept.iterdir()] == [".npz"]


def test_places_of_few_files_are_not_kept(tmp_path, kept, monkeypatch):
    """Of a large file, too: it is read through in no time."""
    monkeypatch.setattr(tar, "MANY", 3)
    monkeypatch.setattr(tar, "LEAST", 1)
    seen = looks(monkeypatch)
    for number, files in ((2, 0), (3, 1)):
        loaded(pack(tmp_path / f"{number}.tar", {f"{i}.png": png(i) for i in range(number)}))
        assert len(list(kept.glob("*.npz"))) == files
    assert len(seen) == 2


def test_places_of_a_changed_file_are_found_again(tmp_path, kept, monkeypatch):
    file, seen = pack(tmp_path / "set.tar", {"x.png": png(1)}), looks(monkeypatch)
    loaded(file)
    pack(file, {"y.png": png(3)})
    os.utime(file, ns=(1, 1))
    assert (levels(loaded(file)), len(seen)) == ([3], 2)


def test_damaged_places_are_found_again(tmp_path, kept, monkeypatch):
    file, seen = pack(tmp_path / "set.tar", {"x.png": png(1)}), looks(monkeypatch)
    loaded(file)
    (list_,) = kept.glob("*.npz")
    for damage in (b"", b"no archive", list_.read_bytes()[:-40]):
        list_.write_bytes(damage)
        assert levels(loaded(file)) == [1]
    assert len(seen) == 4


def test_names_that_are_not_utf8_come_through(tmp_path, kept):
    odd = b"b\xe9.png".decode(errors=tar.ODD)
    places = {"a.png": tar.Place(512, 10), odd: tar.Place(1536, 20)}
    kept.mkdir(parents=True)
    tar.write(kept / "x.npz", places)
    assert tar.read(kept / "x.npz") == places


def test_a_cache_folder_that_cannot_be_written_is_no_obstacle(tmp_path, monkeypatch, caplog):
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tar, "MANY", 1)
    assert levels(loaded(pack(tmp_path / "set.tar", {"x.png": png(1)}))) == [1]
    assert "where files are cannot be kept in" in caplog.text


def test_a_user_without_a_home_reads_large_tar_files(tmp_path, monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("simflow.files.cache_folder", homeless)
    monkeypatch.setattr(tar, "MANY", 1)
    assert levels(loaded(pack(tmp_path / "set.tar", {"x.png": png(1)}))) == [1]


def test_more_zips_than_files_may_be_open(tmp_path):
    for number in range(80):
        pack(tmp_path / f"c{number}x.zip", {"x.png": png(number)})
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    archive._opened.cache_clear()
    opened = len(list(Path("/proc/self/fd").iterdir()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + archive.OPEN + 10, hard))
    try:
        images = loaded(tmp_path, cache_gib=0.0)
        assert sorted(levels(images)) == list(range(80))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_zip_that_is_made_anew_is_read_anew(tmp_path):
    for level in (1, 2):
        file = pack(tmp_path / "a.zip", {"x.png": png(level)})
        os.utime(file, ns=(level, level))
        assert levels(loaded(file)) == [level]


def test_a_zip_with_dots_before_its_names(tmp_path):
    assert loaded(pack(tmp_path / "a.zip", {"./cat/1.png": png(1), "./dog/1.png": png(2)})).class_names == (
        "cat",
        "dog",
    )


def test_small_tar_files_are_read_through_each_time(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert levels(loaded(pack(tmp_path / "set.tar", {"x.png": png(1)}))) == [1]
    assert not (tmp_path / "cache").exists()


def test_images_read_by_many_threads_are_the_right_ones(tmp_path):
    files = {f"{number:03}.png": png(number) for number in range(200)}
    for ending in ("tar", "zip"):
        pack(tmp_path / ending / f"a.{ending}", dict(list(files.items())[:100]))
        pack(tmp_path / ending / f"b.{ending}", dict(list(files.items())[100:]))
        images = loaded(tmp_path / ending, workers=8)
        assert torch.equal(images.images(range(200))[:, 0, 0, 0], torch.arange(200, dtype=torch.uint8))
