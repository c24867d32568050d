"""The same pictures through every container: folder, zip, tar, idx and npz."""

import gzip
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from simflow.data import DataConfig, load
from simflow.export import save_png_folder
from simflow.shapes import NULL

SIZE = 6


def write_classes(root, *, per_class=3):
    """Random gray PNGs under ``root/set/<class>``; returns images (n, 1, h, w) and labels (n,)."""
    rng = np.random.default_rng(0)
    images, labels = [], []
    for label, name in enumerate(("ant", "bee")):
        folder = root / "set" / name
        folder.mkdir(parents=True)
        for index in range(per_class):
            pixels = rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
            images.append(pixels)
            labels.append(label)
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels)


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "wb") as file:
        file.write(header + array.tobytes())


def loaded(path, **choices):
    return load(DataConfig(path=str(path), image_size=SIZE, channels=1, **choices))


def everything(images):
    return images.images(range(len(images)))


def test_names_of_folders_that_are_not_utf_8_can_be_printed(tmp_path):
    for level, folder in enumerate((b"caf\xe8", b"caf\xe9", b"the")):
        place = tmp_path / os.fsdecode(folder)
        place.mkdir()
        Image.new("L", (SIZE, SIZE), level).save(place / "1.png")
        (place / "2.png").write_bytes(b"no picture")
    images = loaded(tmp_path)
    assert images.class_names == ("caf\ufffd", "caf\ufffd (2)", "the")
    assert everything(images)[:, 0, 0, 0].tolist() == images.labels.tolist() == [0, 1, 2]
    assert images.skipped == ("caf\ufffd/2.png", "caf\ufffd/2.png", "the/2.png")


def pack(root, ending):
    path = root / f"packed{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted((root / "set").rglob("*"), reverse=True):
                archive.write(file, file.relative_to(root).as_posix())
    else:
        mode = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}[ending]
        with tarfile.open(path, mode) as archive:
            archive.add(root / "set", "./set" if ending == ".tar" else "set")
    return path


@pytest.mark.parametrize("ending", ["/set", ".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz"])
@pytest.mark.parametrize("cache_gib", [1.0, 0.0], ids=["cached", "on demand"])
def test_folders_and_archives_hold_the_same(tmp_path, ending, cache_gib):
    pixels, labels = write_classes(tmp_path)
    path = tmp_path / "set" if ending == "/set" else pack(tmp_path, ending)
    images = loaded(path, cache_gib=cache_gib)
    assert torch.equal(everything(images), pixels)
    assert torch.equal(images.labels, labels)
    assert images.class_names == ("ant", "bee")
    assert images.skipped == ()


def test_a_zip_with_backslashes_has_the_same_classes(tmp_path):
    pixels, labels = write_classes(tmp_path)
    with zipfile.ZipFile(tmp_path / "windows.zip", "w") as archive:
        archive.writestr("set\\ant\\", b"")
        for file in (tmp_path / "set").rglob("*.png"):
            archive.writestr(str(file.relative_to(tmp_path)).replace("/", "\\"), file.read_bytes())
    images = loaded(tmp_path / "windows.zip")
    assert torch.equal(everything(images), pixels)
    assert torch.equal(images.labels, labels)
    assert images.class_names == ("ant", "bee")


@pytest.mark.parametrize("ending", ["/set", ".zip", ".tar", ".tar.gz"])
def test_images_of_other_formats_are_counted_in_all_containers(tmp_path, ending, caplog):
    write_classes(tmp_path)
    (tmp_path / "set" / "ant" / "a.heic").write_bytes(b"x")
    assert len(loaded(tmp_path / "set" if ending == "/set" else pack(tmp_path, ending))) == 6
    assert "1 of a format that cannot be read (.heic)" in caplog.text


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_a_dataset_json_inside_an_archive(tmp_path, ending):
    pixels, _ = write_classes(tmp_path, per_class=1)
    (tmp_path / "set" / "dataset.json").write_text('{"labels": [["ant/0.png", 1], ["bee/0.png", 0]]}')
    (tmp_path / "set" / "classes.txt").write_text("bee\nant\n")
    images = loaded(pack(tmp_path, ending))
    assert torch.equal(everything(images), pixels)
    assert images.labels.tolist() == [1, 0]
    assert images.class_names == ("bee", "ant")


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_idx_folder_with_two_splits(tmp_path, ending):
    rng = np.random.default_rng(0)
    parts = {"train": 5, "t10k": 3}
    pixels = {
        name: rng.integers(0, 256, (count, SIZE, SIZE), dtype=np.uint8) for name, count in parts.items()
    }
    labels = {name: rng.integers(0, 4, count, dtype=np.uint8) for name, count in parts.items()}
    for name in parts:
        write_idx(tmp_path / f"{name}-images-idx3-ubyte{ending}", pixels[name])
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte{ending}", labels[name])
    for split, name in (("train", "train"), ("test", "t10k")):
        images = loaded(tmp_path, split=split)
        assert torch.equal(everything(images)[:, 0], torch.from_numpy(pixels[name]))
        assert images.labels.tolist() == labels[name].tolist()
    both = loaded(tmp_path, split=None)
    assert both.labels.tolist() == [*labels["t10k"], *labels["train"]]
    with pytest.raises(ValueError, match=r"no split 'validation' .*; it has test, train"):
        loaded(tmp_path, split="validation")


def test_idx_file_by_itself_and_names_for_its_classes(tmp_path):
    pixels = np.arange(2 * SIZE**2, dtype=np.uint8).reshape(2, SIZE, SIZE)
    path = tmp_path / "t10k-images.idx3-ubyte"
    write_idx(path, pixels)
    assert loaded(path).labels.tolist() == [NULL, NULL]
    write_idx(tmp_path / "t10k-labels.idx1-ubyte.gz", np.array([1, 0], dtype=np.uint8))
    assert loaded(path).class_names == ("0", "1")
    (tmp_path / "classes.txt").write_text("zero\none\n")
    images = loaded(path, split="test")
    assert images.class_names == ("zero", "one")
    assert images.labels.tolist() == [1, 0]
    assert torch.equal(everything(images)[:, 0], torch.from_numpy(pixels))


def test_a_folder_called_fashion_mnist_has_its_names(tmp_path):
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    write_idx(folder / "train-images-idx3-ubyte", np.zeros((10, SIZE, SIZE), dtype=np.uint8))
    write_idx(folder / "train-labels-idx1-ubyte", np.arange(10, dtype=np.uint8))
    assert loaded(folder).class_names[9] == "ankle-boot"


def test_its_labels_have_the_names_in_any_folder(tmp_path, monkeypatch):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((10, SIZE, SIZE), dtype=np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.arange(10, dtype=np.uint8))
    assert loaded(tmp_path).class_names[9] == "9"
    monkeypatch.setattr("simflow.data.find.FASHION_LABELS", (zlib.crc32(bytes(range(10))),))
    assert loaded(tmp_path).class_names[9] == "ankle-boot"
    (tmp_path / "classes.txt").write_text("\n".join("abcdefghij"))
    assert loaded(tmp_path).class_names[9] == "j"


def test_a_short_idx_file_is_damaged(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    write_idx(path, np.zeros((4, SIZE, SIZE), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="promises 144 bytes and holds 143"):
        loaded(path)


def test_idx_labels_must_match_the_images(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((4, SIZE, SIZE), dtype=np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(3, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"one integer an image, for 4 images, not uint8 \(3,\)"):
        loaded(tmp_path)


@pytest.mark.parametrize("layout", ["nhw", "nhwc", "nchw"])
@pytest.mark.parametrize("keys", [("images", "labels"), ("arr_0", "arr_1")])
def test_npz(tmp_path, layout, keys):
    pixels = np.random.default_rng(0).integers(0, 256, (5, SIZE, SIZE), dtype=np.uint8)
    stored = {"nhw": pixels, "nhwc": pixels[..., None], "nchw": pixels[:, None]}[layout]
    labels = np.array([2, 0, 1, 0, 2])
    np.savez(tmp_path / "set.npz", **dict(zip(keys, (stored, labels), strict=True)))
    images = loaded(tmp_path / "set.npz")
    assert torch.equal(everything(images)[:, 0], torch.from_numpy(pixels))
    assert images.labels.tolist() == labels.tolist()
    assert images.class_names == ("0", "1", "2")


def test_npz_colours_stay_in_their_channels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    np.savez(tmp_path / "last.npz", images=pixels)
    np.savez(tmp_path / "first.npz", images=pixels.transpose(0, 3, 1, 2))
    for name in ("last", "first"):
        images = load(DataConfig(path=str(tmp_path / f"{name}.npz"), image_size=SIZE))
        np.testing.assert_array_equal(everything(images).permute(0, 2, 3, 1).numpy(), pixels)
        assert images.labels.tolist() == [NULL, NULL]


def test_an_npz_of_samples_without_classes_is_a_set_without_classes(tmp_path):
    """``simflow sample --npz`` writes ``NULL`` for each image of a model that knows no classes."""
    np.savez(tmp_path / "set.npz", arr_0=np.zeros((2, SIZE, SIZE, 3), np.uint8), arr_1=np.full(2, NULL))
    images = loaded(tmp_path / "set.npz")
    assert (images.class_names, images.labels.tolist()) == ((), [NULL, NULL])


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"pictures": np.zeros((1, 2, 2), np.uint8)}, "no array called images or arr_0"),
        ({"images": np.zeros((1, 2, 2))}, "must be uint8, not float64"),
        ({"images": np.zeros((1, 5, 5, 5), np.uint8)}, r"not \(1, 5, 5, 5\)"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.zeros((2, 10), int)}, "one integer an image"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.zeros(3, int)}, "for 2 images, not int64"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.array(3)}, r"for 2 images, not int64 \(\)"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.array([0, -5])}, "must not be negative"),
        ({"images": np.zeros((2, 2, 2), np.uint8), "labels": np.array([0, -1])}, "1 images have none"),
        ({"images": np.zeros((0, 2, 2), np.uint8)}, "there is no image"),
    ],
)
def test_a_bad_npz_is_explained(tmp_path, arrays, complaint):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(ValueError, match=complaint):
        loaded(tmp_path / "set.npz")


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_a_cut_archive_is_explained(tmp_path, ending):
    write_classes(tmp_path, per_class=20)
    path = pack(tmp_path, ending)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 100])
    with pytest.raises(ValueError, match="is not a readable archive"):
        loaded(path)


def objects(path):
    np.savez(path, images=np.array([{}], dtype=object))


@pytest.mark.parametrize("write", [objects, lambda path: path.write_bytes(bytes(range(256)))])
def test_objects_and_other_bytes_in_an_npz_are_refused_without_advice_to_run_them(tmp_path, write):
    write(tmp_path / "set.npz")
    with pytest.raises(ValueError, match="is not a readable npz file") as caught:
        loaded(tmp_path / "set.npz")
    assert "pickle" not in str(caught.value)


@pytest.mark.parametrize("name", ["nothing", "set.rar", "set.npz", "set.tar.xz"])
def test_other_paths_are_explained(tmp_path, name):
    if name != "nothing":
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(ValueError, match=name):
        loaded(tmp_path / name)


def test_links_are_followed(tmp_path):
    pixels, _ = write_classes(tmp_path, per_class=1)
    shutil.move(tmp_path / "set" / "bee", tmp_path / "elsewhere")
    (tmp_path / "set" / "bee").symlink_to(tmp_path / "elsewhere")
    assert torch.equal(everything(loaded(tmp_path / "set")), pixels)


def test_a_folder_that_cannot_be_read_is_left_out_by_its_name(tmp_path, monkeypatch, caplog):
    write_classes(tmp_path)
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("bee"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert len(loaded(tmp_path / "set")) == 3
    assert f"{tmp_path / 'set' / 'bee'}, which cannot be read: Permission denied" in caplog.text


@pytest.mark.parametrize("target", [".", "../..", "../bee"])
def test_links_are_not_followed_in_a_circle(tmp_path, target):
    pixels, _ = write_classes(tmp_path, per_class=1)
    (tmp_path / "set" / "ant" / "again").symlink_to(target)
    (tmp_path / "set" / "bee" / "back").symlink_to("../ant")
    images = loaded(tmp_path / "set")
    assert len(images) == (4 if target == "../bee" else 3)
    assert torch.equal(everything(images)[images.labels == 0][0], pixels[0])


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_hard_links_in_an_archive_are_images(tmp_path, ending):
    pixels, _ = write_classes(tmp_path, per_class=1)
    (tmp_path / "set" / "bee" / "1.png").hardlink_to(tmp_path / "set" / "ant" / "0.png")
    images = loaded(pack(tmp_path, ending))
    assert images.labels.tolist() == [0, 1, 1]
    assert torch.equal(everything(images)[[0, 2]], pixels[[0, 0]])


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_soft_links_in_an_archive_are_images(tmp_path, ending):
    pixels, _ = write_classes(tmp_path, per_class=1)
    (tmp_path / "set" / "bee" / "1.png").symlink_to("2.png")
    (tmp_path / "set" / "bee" / "2.png").symlink_to("../ant/0.png")
    images = loaded(pack(tmp_path, ending))
    assert images.labels.tolist() == [0, 1, 1, 1]
    assert torch.equal(everything(images)[[0, 2, 3]], pixels[[0, 0, 0]])


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_a_link_to_nowhere_in_an_archive_is_an_image_that_cannot_be_read(tmp_path, ending):
    write_classes(tmp_path, per_class=1)
    (tmp_path / "set" / "bee" / "1.png").symlink_to("gone.png")
    images = loaded(pack(tmp_path, ending))
    assert (images.labels.tolist(), len(images.skipped)) == ([0, 1], 1)


def test_two_idx_files_of_one_split_are_ambiguous(tmp_path):
    for name in ("letters", "digits"):
        write_idx(tmp_path / f"{name}-train-images-idx3-ubyte", np.zeros((1, SIZE, SIZE), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"both digits-train.* and letters-train"):
        loaded(tmp_path)


def test_a_single_idx_file_is_not_another_split(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((1, SIZE, SIZE), dtype=np.uint8))
    with pytest.raises(ValueError, match="no split 'test'"):
        loaded(tmp_path / "train-images-idx3-ubyte", split="test")


def test_splits_of_different_sizes_cannot_be_joined(tmp_path):
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((1, SIZE, SIZE), dtype=np.uint8))
    write_idx(tmp_path / "test-images-idx3-ubyte", np.zeros((1, SIZE, SIZE + 1), dtype=np.uint8))
    with pytest.raises(ValueError, match="different sizes"):
        loaded(tmp_path, split=None)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
def test_text_called_idx_is_explained(tmp_path, name):
    (tmp_path / name).write_text("something else")
    with pytest.raises(ValueError, match=name):
        loaded(tmp_path)


@pytest.mark.parametrize("ending", ["", ".zip", ".tar", ".tar.gz"])
def test_samples_are_those_of_their_list(tmp_path, ending):
    images, _ = write_classes(tmp_path / "drawn")
    folder = tmp_path / "set"
    save_png_folder([images[:3]], [0, 1, 0], [0, 1, 2], folder, class_names=("ant", "bee"))
    for name in ("grid.png", "000007.png"):
        shutil.copy(folder / "000000.png", folder / name)
    found = loaded(pack(tmp_path, ending) if ending else folder)
    assert torch.equal(everything(found), images[:3])
    assert found.labels.tolist() == [0, 1, 0]
    assert found.class_names == ("ant", "bee")
