"""``simflow evaluate`` and ``simflow stats``: from a run or from files to figures, resumed, refused in one sentence."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from simflow.cli import main
from tests.cli.test_mistakes import complaint

PAIRS = r"(.*)/(?:[01]()|[23]()|[45]()|[67]())"
"""Finds the same in 0.png and 1.png of one folder, in 2.png and 3.png, and so on."""

RECONSTRUCTION = ["--reconstruction", "--extractor", "none", "--lpips", "vgg"]


def archive(path: Path, count: int, *, high: int = 256, size: int = 6) -> str:
    pixels = np.random.default_rng(count).integers(0, high, (count, size, size, 3), dtype=np.uint8)
    np.savez(path, arr_0=pixels, arr_1=np.arange(count) % 4)
    return str(path)


def figures(record: dict) -> dict:
    return {figure["name"]: figure for part in record["generation"] for figure in part["figures"]}


def test_a_run(tiny_run, tmp_path, toy, capsys):
    words = ["evaluate", str(tiny_run), "--out", str(tmp_path), "--device", "cpu", "--groups", "3"]
    words += ["--nearest", "9", "--num", "40"]
    data = str(tiny_run.parent / "pictures")
    more = ["--likelihood", "--reconstruction", "--per-image", "--ood", "embedded:fashion-mnist-heldout"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simflow.evaluate.unseen.LEAST", 8)  # first, for this may be what imports it
        patch.setattr("simflow.evaluate.generation.LEAST", 8)
        assert main([*words, *more, "--extractor", "efficientnet-lite0,inception", "--data", data]) == 0
        said = capsys.readouterr().out
        record = json.loads((tmp_path / "results.json").read_text())
        samples = tmp_path / "samples" / "results" / "0000000-0000039.npz"
        before = samples.stat().st_mtime_ns
        assert main([*words, "--name", "results", "--extractor", "efficientnet-lite0"]) == 0
        assert samples.stat().st_mtime_ns == before
    assert "40 samples against 24 of" in said
    assert "left out: FID needs the weights of Inception v3" in said
    assert list(figures(record)) == [
        "FD-Toy",
        "sFID",
        "IS",
        "KD-Toy",
        "precision",
        "recall",
        "density",
        "coverage",
    ]
    assert record["samples"]["count"] == 40
    assert record["samples"]["by_class"] == {"bag": 14, "boot": 13, "coat": 13}
    assert record["samples"]["seeds"] == "0-39"
    assert record["samples"]["guidance"] == 2.0
    assert "round half to even" in record["samples"]["rounding"]
    assert record["reference"]["count"] == 24
    assert record["run"]["step"] == 4
    assert len(record["run"]["sha256"]) == 64
    assert record["generation"][0]["extractor"]["sha256"] == "0"
    assert {"simflow", "torch", "numpy", "revision", "date", "processes"} <= record["made_by"].keys()
    assert record["classes"]["accuracy_of_held_out"] == 1.0
    assert record["neighbours"]["training"] == 24
    assert len(record["neighbours"]["nearest"]) == 9
    names = [figure["name"] for figure in record["reconstruction"]["figures"]]
    assert names == ["MSE", "PSNR", "SSIM", "rFD-Toy"]
    foreign = next(iter(record["likelihood"]["foreign"].values()))
    assert foreign["images"] == 1000
    known = record["likelihood"]["held_out_no_class"]["bits_per_dimension"]
    assert (foreign["auroc"] > 0.5) == (foreign["bits_per_dimension"] > known)
    assert abs(foreign["auroc"] - 0.5) > 0.2
    assert sum(sum(counts) for counts in record["likelihood"]["histograms"]["counts"].values()) == 1012
    assert all((tmp_path / name).is_file() for name in record["files"].values())
    assert {"samples", "real", "neighbours", "reconstructions"} <= record["files"].keys()
    with np.load(tmp_path / "results-per-image.npz") as table:
        assert table["bits"].shape == table["PSNR"].shape == (12,)
        assert table["bits"].mean() == pytest.approx(record["likelihood"]["held_out"]["bits_per_dimension"])


def test_classes_as_often_as_real_images_have_them(tiny_run, tmp_path, toy, capsys):
    """Of 24 training images, a third of each class, most of two classes are taken away."""
    data, words = (
        tmp_path / "pictures",
        ["--num", "30", "--nearest", "0", "--groups", "0", "--device", "cpu"],
    )
    shutil.copytree(tiny_run.parent / "pictures", data)
    for name, left in (("bag", 2), ("boot", 1)):
        for file in sorted((data / "train" / name).iterdir())[left:]:
            file.unlink()
    words = ["evaluate", str(tiny_run), "--data", str(data), "--out", str(tmp_path / "out"), *words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simflow.evaluate.generation.LEAST", 8)
        assert main(words) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert (
            "(coat: 33.33% and 72.73%), which distances count as an error; --labels data draws them" in said
        )
        assert main([*words, "--labels", "data", "--name", "data"]) == 0
        assert "note:" not in capsys.readouterr().out
        record = json.loads((tmp_path / "out" / "data.json").read_text())
        assert record["samples"]["by_class"] == {"bag": 5, "boot": 3, "coat": 22}
        assert record["samples"]["real_by_class"] == [["bag", 2], ["boot", 1], ["coat", 8]]
        assert main([*words, "--labels", "data", "--name", "data"]) == 0
        next((data / "train" / "coat").iterdir()).unlink()
        assert "made otherwise (real_by_class.2.1 is 8 there and 7 here" in complaint(
            capsys, 2, [*words, "--labels", "data", "--name", "data"]
        )
        for split in ("train", "test"):
            (data / split / "coat").rename(data / split / "cape")
        assert "have not the model's classes" in complaint(
            capsys, 2, [*words, "--labels", "data", "--extractor", "none", "--name", "b"]
        )


def test_near_duplicates_are_one_real_image(tiny_run, tmp_path, toy):
    """As they are for training: ``data.alike`` of the run finds pairs among the 8 images of each class."""
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for file in [run / "config.json", *run.glob("checkpoints/*/config.json")]:
        record = json.loads(file.read_text())
        record["config"]["data"]["alike"] = PAIRS
        file.write_text(json.dumps(record))
    words = ["evaluate", str(run), "--num", "30", "--nearest", "5", "--groups", "0", "--device", "cpu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simflow.evaluate.generation.LEAST", 8)
        assert main([*words, "--labels", "data", "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "results.json").read_text())
    assert record["reference"]["by_class"] == dict(record["samples"]["real_by_class"])
    assert record["reference"]["by_class"] == {"bag": 4, "boot": 4, "coat": 4}
    assert (record["classes"]["real"], record["classes"]["held_out"]) == (12, 6)
    assert record["reference"]["source"].endswith("(train, one of each that are alike)")
    assert record["neighbours"]["training"] == 24


def test_training_images_are_not_called_held_out(tiny_run, tmp_path, toy, capsys):
    words = ["evaluate", str(tiny_run), "--out", str(tmp_path), "--device", "cpu", "--nearest", "0"]
    words += ["--num", "6", "--extractor", "none", "--lpips", "none", "--reconstruction", "--likelihood"]
    assert main([*words, "--held-out", "9"]) == 0
    said = capsys.readouterr().out
    assert "reconstruction of 9 held-out images" in said
    assert "bits per dimension on 9 held-out images" in said
    assert main([*words, "--held-out", "9", "--data", str(tiny_run.parent / "pictures" / "train")]) == 0
    said = capsys.readouterr().out
    assert "reconstruction of 9 training images" in said
    assert "bits per dimension on 9 training images" in said
    assert said.count("held-out") == 1  # there are none
    assert "data.hold_out sets some apart before a training" in said


def test_few_images_have_no_distance_of_reconstructions(tiny_run, tmp_path, toy, monkeypatch, capsys):
    for module in ("evaluate.unseen", "cli.evaluate_run"):  # first, for this may be what imports them
        monkeypatch.setattr(f"simflow.{module}.LEAST", 32)
    monkeypatch.setattr("simflow.evaluate.generation.LEAST", 8)
    words = ["evaluate", str(tiny_run), "--out", str(tmp_path), "--device", "cpu", "--nearest", "0"]
    assert main([*words, "--num", "40", "--lpips", "none", "--reconstruction", "--groups", "0"]) == 0
    assert "left out: rFD-Toy: it takes at least 32 images, and there are 12 held-out images" in (
        capsys.readouterr().out
    )


def test_what_an_earlier_call_found_of_the_same_samples_stays(tiny_run, tmp_path, toy, capsys, monkeypatch):
    """A day's distances are not lost to a call for likelihoods, nor these to the next; other samples keep nothing."""
    monkeypatch.setattr("simflow.evaluate.generation.LEAST", 8)
    words = ["evaluate", str(tiny_run), "--out", str(tmp_path), "--device", "cpu", "--groups", "0"]

    def record(*flags):
        assert main([*words, *flags]) == 0
        return json.loads((tmp_path / "results.json").read_text())

    first = record("--num", "40", "--nearest", "5")
    assert "earlier" not in first
    second = record("--num", "40", "--nearest", "0", "--extractor", "none", "--likelihood")
    said = capsys.readouterr()
    assert "FD-Toy" in said.out
    assert "replaced" not in said.err
    assert (second["generation"], second["neighbours"]) == (first["generation"], first["neighbours"])
    assert all((tmp_path / name).is_file() for name in second["files"].values())
    assert second["earlier"]["toy"] == {"made_by": first["made_by"], "settings": first["settings"]}
    third = record("--num", "40", "--nearest", "0", "--seed", "1")
    assert (third["likelihood"], third["neighbours"]) == (second["likelihood"], first["neighbours"])
    assert {name: made["settings"] for name, made in third["earlier"].items()} == {
        "neighbours": first["settings"],
        "likelihood": second["settings"],
    }
    fourth = record("--num", "44", "--nearest", "0", "--extractor", "none")
    assert "results.json are replaced (samples.seeds is 0-39 there and 0-43 here)" in capsys.readouterr().err
    assert not {"likelihood", "neighbours", "earlier"} & fourth.keys()
    (tmp_path / "results.json").write_text("{")
    record("--num", "44", "--nearest", "0", "--extractor", "none")
    assert "is damaged" in capsys.readouterr().err


def test_one_training_image_has_no_others_near(tiny_run, tmp_path, capsys):
    image = next((tiny_run.parent / "pictures" / "train" / "bag").iterdir())
    data = tmp_path / "one"
    (data / "bag").mkdir(parents=True)
    shutil.copy(image, data / "bag")
    words = ["evaluate", str(tiny_run), "--data", str(data), "--extractor", "none", "--num", "4"]
    words += ["--device", "cpu", "--out", str(tmp_path / "out")]
    assert "has one image and none held out" in complaint(capsys, 2, words)
    assert not (tmp_path / "out").exists()
    assert main([*words, "--nearest", "0"]) == 0


def test_samples_of_other_settings_are_not_mixed_in(tiny_run, tmp_path, capsys):
    words = ["evaluate", str(tiny_run), "--out", str(tmp_path), "--extractor", "none", "--nearest", "0"]
    words += ["--num", "6", "--device", "cpu"]
    assert main(words) == 0
    sentence = complaint(capsys, 2, [*words, "--guidance", "1"])
    assert "were made otherwise (sampling.guidance.weight is 2.0 there and 1.0 here)" in sentence
    assert "give another --name or --out" in sentence
    assert main([*words, "--guidance", "1", "--name", "other"]) == 0


def test_more_samples_keep_the_whole_pieces(tiny_run, tmp_path, monkeypatch):
    monkeypatch.setattr("simflow.evaluate.shards.PIECE", 5)
    words = ["evaluate", str(tiny_run), "--out", str(tmp_path), "--extractor", "none", "--nearest", "0"]
    words += ["--device", "cpu"]
    assert main([*words, "--num", "12"]) == 0
    folder = tmp_path / "samples" / "results"
    times = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert sorted(times) == ["0000000-0000004.npz", "0000005-0000009.npz", "0000010-0000011.npz"]
    whole = (folder / "0000005-0000009.npz").read_bytes()
    (folder / "0000005-0000009.npz").write_bytes(whole[:200])
    assert main([*words, "--num", "15"]) == 0
    assert (folder / "0000000-0000004.npz").stat().st_mtime_ns == times["0000000-0000004.npz"]
    with np.load(folder / "0000005-0000009.npz") as again:
        assert again["seeds"].tolist() == [5, 6, 7, 8, 9]
    with np.load(folder / "0000010-0000014.npz") as long, np.load(folder / "0000010-0000011.npz") as short:
        assert np.abs(long["arr_0"][:2].astype(int) - short["arr_0"]).max() <= 1
        assert long["seeds"].tolist() == [10, 11, 12, 13, 14]


def test_images_of_other_classes_leave_the_class_figures_out(tiny_run, tmp_path, capsys):
    words = ["evaluate", str(tiny_run), "--out", str(tmp_path), "--extractor", "none", "--nearest", "0"]
    words += ["--num", "12", "--device", "cpu"]
    assert main(words) == 0
    own = json.loads((tmp_path / "results.json").read_text())["classes"]
    copied = shutil.copytree(tiny_run.parent / "pictures", tmp_path / "pictures")
    for split in ("train", "test"):
        (copied / split / "coat").rename(copied / split / "hat")
    assert main([*words, "--data", str(copied)]) == 0
    record = json.loads((tmp_path / "results.json").read_text())
    assert own["accuracy"] is not None
    assert record["classes"] is None
    sentence = (
        "class accuracy and diversity: the samples have other classes than the images: "
        "coat only among the samples; hat only among the images"
    )
    assert sentence in record["left_out"]
    assert sentence in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["evaluate", "--out", "OUT"], "say what to judge: a run, or --samples with --reference"),
        (["evaluate", "x", "--samples", "A", "--out", "OUT"], "say what to judge"),
        (["evaluate", "--samples", "A", "--out", "OUT"], "name them with --reference"),
        (["evaluate", "--samples", "A", "--reference", "A"], "say where to write with --out"),
        (["evaluate", "--samples", "A", "--reference", "A", "--likelihood"], "--likelihood needs a run"),
        *(
            (["evaluate", "--samples", "A", "--reference", "A", flag, value], f"{flag} needs a run")
            for flag, value in {
                "--num": "30",
                "--labels": "none",
                "--data": "x",
                "--held-out": "9",
                "--ood": "x",
                "--nearest": "9",
                "--which": "model",
                "--lpips": "none",
            }.items()
        ),
        (["evaluate", "x", "--ood", "y", "--out", "OUT"], "ask for them with --likelihood"),
        (["evaluate", "x", "--per-image", "--out", "OUT"], "ask for one of them"),
        (["evaluate", "x", "--num", "0", "--out", "OUT"], "--num must be at least 1"),
        (["evaluate", "RUN", "--nearest-by", "z", "--out", "OUT"], "--nearest-by is pixels or one of"),
        (["evaluate", "--samples", "A", "--reference", "A", "--extractor", "fid"], "no extractor 'fid'"),
        (["evaluate", "--samples", "A", "--reference", "no.npz"], "there is no file no.npz"),
        (["evaluate", "--samples", "A", "--reference", "FLOAT"], "are float32 from 0 to 1.5"),
        (
            ["evaluate", "--samples", "A", "--reference", "LARGE"],
            "the samples are 6 x 6 pixels and the images of",
        ),
        (["evaluate", "--samples", "THREE", "--reference", "A"], "of 8 numbers from 3 images says nothing"),
        (["evaluate", "--samples", "STATS", "--reference", "A"], "has no images (arr_0)"),
        (
            ["evaluate", "--samples", "A", "--reference", "A", "--extractor", "inception=no.pth"],
            "there is no file",
        ),
        (["evaluate", "RUN", "--num", "10", "--out", "OUT"], "of 8 numbers from 10 images says nothing"),
        (["evaluate", "RUN", "--num", "40", "--out", "OUT"], "of 8 numbers from 24 images says nothing"),
        (["evaluate", "RUN", "--num", "10", "--out", "OUT"], "--extractor none leaves it out"),
        (
            ["evaluate", "RUN", "--num", "40", "--reference", "LARGE", "--out", "OUT"],
            "the samples are 16 x 16 pixels",
        ),
        (["evaluate", "RUN", *RECONSTRUCTION, "--lpips-weights", "no.pth", "--out", "OUT"], "no file no.pth"),
        (["evaluate", "--samples", "A", "--reference", "A", "--inception-split", "0"], "must be at least 1"),
        (
            ["evaluate", "--samples", "BYTES", "--reference", "A"],
            "BYTES.npz is not a readable npz file: it is",
        ),
        (["stats", "BYTES", "--out", "OUT.npz"], "BYTES.npz is not a readable npz file: it is"),
        (["stats", "A", "--out", "OUT"], "must end in .npz"),
        (["stats", "A", "--out", "OUT.npz", "--extractor", "inception"], "FID needs the weights"),
        (["stats", "A", "--out", "OUT.npz", "--extractor", "none"], "name exactly one"),
        (
            ["stats", "embedded:fashion-mnist", "--out", "OUT.npz"],
            "with --image-size: resizing moves every figure",
        ),
        (["stats", "THREE", "--out", "OUT.npz"], "from 3 images says nothing"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_mistakes(tmp_path, tiny_run, toy, capsys, given, sentence):
    np.savez(tmp_path / "FLOAT.npz", arr_0=np.linspace(0, 1.5, 108, dtype=np.float32).reshape(1, 6, 6, 3))
    np.savez(tmp_path / "STATS.npz", mu=np.zeros(8), sigma=np.eye(8))
    places = {"OUT": str(tmp_path / "out"), "OUT.npz": str(tmp_path / "out.npz"), "RUN": str(tiny_run)}
    places |= {"A": archive(tmp_path / "a.npz", 40), "THREE": archive(tmp_path / "three.npz", 3)}
    places |= {"LARGE": archive(tmp_path / "large.npz", 40, size=8)}
    (tmp_path / "BYTES.npz").write_bytes(bytes(range(256)))
    places |= {name: str(tmp_path / f"{name}.npz") for name in ("FLOAT", "STATS", "BYTES")}
    words = [places.get(word, word) for word in given]
    if "A" in given and "--reference" in given and sentence != "say where to write with --out":
        words += ["--out", places["OUT"]]
    assert sentence in complaint(capsys, 2, words)
    assert not (tmp_path / "out" / "samples").exists(), "nothing is sampled before it is refused"
