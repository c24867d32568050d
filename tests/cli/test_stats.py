"""Samples that somebody else made, and statistics of real images: ``evaluate --samples`` and ``stats``."""

import json

import numpy as np
import pytest
from PIL import Image

from simflow.cli import main
from tests.cli.test_evaluate import archive, figures
from tests.cli.test_mistakes import complaint


def test_samples_from_files_and_statistics(tmp_path, toy):
    samples, real = archive(tmp_path / "a.npz", 70), archive(tmp_path / "b.npz", 90)
    words = ["evaluate", "--samples", samples, "--out", str(tmp_path), "--device", "cpu", "--groups", "0"]
    assert main([*words, "--reference", real]) == 0
    whole = json.loads((tmp_path / "results.json").read_text())
    assert whole["samples"]["by_class"] == {"0": 18, "1": 18, "2": 17, "3": 17}
    stats = tmp_path / "ref.npz"
    assert main(["stats", real, "--out", str(stats), "--device", "cpu"]) == 0
    assert main([*words, "--reference", str(stats), "--name", "again"]) == 0
    again = json.loads((tmp_path / "again.json").read_text())
    for name, figure in figures(whole).items():
        if name == "sFID":
            assert figures(again)[name]["floor"] is None
        assert figures(again)[name]["value"] == pytest.approx(figure["value"], rel=1e-6), name
    assert whole["generation"][0]["figures"][0]["standard_error"] is None
    assert whole["left_out"] == again["left_out"] == []


@pytest.mark.parametrize("packed", [True, False])
def test_images_that_cannot_be_read_are_named_once(tmp_path, toy, capsys, monkeypatch, packed):
    """Also of sets too large to be held, which find out as they are looked at."""
    if not packed:
        monkeypatch.setattr("simflow.data.images.GIB", 0)
    folders = {name: tmp_path / name for name in ("samples", "reference")}
    for seed, (name, folder) in enumerate(folders.items()):
        folder.mkdir()
        for number, pixels in enumerate(
            np.random.default_rng(seed).integers(0, 256, (40, 6, 6, 3), np.uint8)
        ):
            Image.fromarray(pixels).save(folder / f"{number:02}.png")
        (folder / f"00-bad-{name}.png").write_bytes(b"no picture")
    words = ["evaluate", "--samples", str(folders["samples"]), "--reference", str(folders["reference"])]
    words += ["--image-size", "6", "--out", str(tmp_path / "out"), "--device", "cpu", "--groups", "0"]
    assert main(words) == 0
    said = capsys.readouterr().err
    for name in folders:
        assert said.count(f"1 image cannot be read and is left out: 00-bad-{name}.png") == 1
    stats = ["stats", str(folders["reference"]), "--image-size", "6", "--device", "cpu"]
    for number in ("41", "35"):
        assert main([*stats, "--num", number, "--out", str(tmp_path / f"{number}.npz")]) == 0
        said = capsys.readouterr().err
        assert said.count("1 image cannot be read and is left out: 00-bad-reference.png") == 1


def test_statistics_of_another_size_are_refused(tmp_path, toy, capsys):
    samples, real = archive(tmp_path / "a.npz", 40), archive(tmp_path / "b.npz", 40, size=8)
    stats = str(tmp_path / "ref.npz")
    assert main(["stats", real, "--out", stats, "--device", "cpu"]) == 0
    words = ["evaluate", "--samples", samples, "--reference", stats, "--out", str(tmp_path)]
    words += ["--device", "cpu", "--groups", "0"]
    sentence = f"the samples are 6 x 6 pixels and the images of {stats} 8 x 8"
    assert sentence in complaint(capsys, 2, words)
    with np.load(stats) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays["meta"]))
    del meta["images"]
    np.savez(stats, **arrays | {"meta": json.dumps(meta)})
    assert main(words) == 0
    assert f"left out: a check of sizes: {stats} does not say" in capsys.readouterr().out


def test_a_folder_of_samples_is_read_as_sampled(tiny_run, tmp_path, toy):
    """Not the sheets beside the images, nor what is left of a longer call."""
    folder, real = tmp_path / "s", archive(tmp_path / "b.npz", 40, size=16)
    sample = ["sample", str(tiny_run), "--device", "cpu", "--out", str(folder)]
    assert main([*sample, "--num", "44"]) == 0
    assert main([*sample, "--num", "36", "--denoise", "0.1", "--replace"]) == 0
    assert len(list(folder.glob("0*.png"))) == 36
    (folder / "000099.png").write_bytes((folder / "000001.png").read_bytes())
    words = ["evaluate", "--samples", str(folder), "--reference", real, "--out", str(tmp_path)]
    assert main([*words, "--device", "cpu", "--groups", "0"]) == 0
    samples = json.loads((tmp_path / "results.json").read_text())["samples"]
    assert samples["count"] == 36
    assert samples["by_class"] == {"bag": 12, "boot": 12, "coat": 12}


def test_statistics_of_others_leave_the_figure_out(tmp_path, toy, capsys):
    samples = archive(tmp_path / "a.npz", 40)
    np.savez(tmp_path / "VIRTUAL.npz", mu=np.zeros(2048), sigma=np.eye(2048))
    words = ["evaluate", "--samples", samples, "--reference", str(tmp_path / "VIRTUAL.npz")]
    assert main([*words, "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert "left out: FD-Toy is left out" in capsys.readouterr().out


def test_where_nothing_can_be_written_nothing_is_looked_at(tmp_path, toy, tiny_run, capsys, monkeypatch):
    """A million images take hours."""
    samples, real = archive(tmp_path / "a.npz", 40), archive(tmp_path / "b.npz", 40)
    for place in (
        "simflow.cli.stats.collect",
        "simflow.evaluate.desk.collect",
        "simflow.cli.analyze.analyze",
    ):
        monkeypatch.setattr(place, lambda *_, **__: pytest.fail("looked at"))
    nowhere = str(tmp_path / "a.npz" / "out")
    for words in (
        ["stats", real, "--out", f"{nowhere}/ref.npz"],
        ["evaluate", "--samples", samples, "--reference", real, "--out", nowhere],
        ["analyze", str(tiny_run), "--out", nowhere],
    ):
        assert "a.npz" in complaint(capsys, 1, [*words, "--device", "cpu"])
