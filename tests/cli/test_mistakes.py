"""What a user can do wrong is one sentence on standard error and exit code 2, damage is 1; never a traceback."""

import os
import shutil
import subprocess
import sys

import pytest

from simflow.cli import main
from tests.whole.tiny import words


def complaint(capsys, code: int, given: list[str]) -> str:
    """The one line on standard error that begins with the command's name."""
    capsys.readouterr()
    assert main(given) == code
    captured = capsys.readouterr()
    sentences = [line for line in captured.err.splitlines() if line.startswith("simflow: ")]
    assert len(sentences) == 1
    assert "Traceback" not in captured.err
    return sentences[0]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["trian"], "there is no command 'trian'; did you mean train?"),
        (["xyz"], "there is no command 'xyz'; there are train, sample"),
        (["train"], "say which recipe to train: demo"),
        (["train", "dmo"], "there is no recipe 'dmo'; did you mean demo?"),
        (["info", "simflow-xx"], "did you mean simflow-xxl"),
        (["train", "demo", "--train.bach", "3"], "did you mean 'train.batch'?"),
        (["train", "demo", "--model.posterior.sdt", "3"], "did you mean 'model.posterior.std'?"),
        (["train", "demo", "--train.batch", "some"], "must be a whole number"),
        (["train", "demo", "--steps", "1.5"], "'1.5' is not a count"),
        (["train", "demo", "--config", "no.yaml"], "there is no settings file 'no.yaml'"),
        (["train", "demo", "--log", "tensorbord"], "there is no tracker 'tensorbord'"),
        (["train", "demo", "--data", "nowhere", "--out", "OUT"], "there are no images at 'nowhere'"),
        (["train", "simflow-b", "--out", "OUT"], "say where they are with --data PATH"),
        (["train", "demo", "--out", "OUT", "--resume", "OUT"], "give either --out or --resume"),
        (["train", "demo", "--resume", "OUT"], "give either a recipe or --resume"),
        (["train", "--resume", "OUT"], "there is no checkpoint in"),
        (["train", "demo", "--device", "gpu", "--out", "OUT"], "device 'gpu' is not known"),
        (["train", "demo", "--data.image_size", "30", "--out", "OUT"], "not a multiple of 8"),
        (["sample", "OUT", "--out", "OUT"], "there is no run, checkpoint or saved model at"),
        (["sample", "x", "--out", "y", "--train.batch", "3"], "'simflow sample' takes no settings"),
        (["interpolate", "x", "--out", "y", "--pairs", "1"], "a pair is written as two image numbers"),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_mistakes(tmp_path, capsys, given, sentence):
    given = [word.replace("OUT", str(tmp_path / "out")) for word in given]
    assert sentence in complaint(capsys, 2, given)
    assert not (tmp_path / "out" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            ["sample", "RUN", "--out", "OUT", "--labels", "bga"],
            "there is no class 'bga'; the classes are bag",
        ),
        (["sample", "RUN", "--out", "OUT", "--num", "0"], "--num must be at least 1"),
        (
            ["sample", "RUN", "--out", "OUT", "--num", "3", "--seeds", "0-9"],
            "are 10 images, and --num asks for 3",
        ),
        (["sample", "RUN", "--out", "OUT", "--seeds", "1,1"], "a seed occurs twice"),
        (["sample", "RUN", "--out", "OUT", "--temperature", "0"], "temperature must be positive"),
        (["sample", "RUN", "--out", "OUT", "--npz", "a.zip"], "must end in .npz"),
        (["interpolate", "RUN", "--out", "OUT", "--pairs", "0,99"], "there is no image 99: the set has 12"),
        (["interpolate", "RUN", "--out", "OUT", "--steps", "1"], "--steps must be at least 2"),
        (["reconstruct", "RUN", "--out", "OUT", "--num", "0"], "--num must be at least 1"),
        (["reconstruct", "RUN", "--out", "OUT", "--split", "validation"], "no split 'validation'"),
        (["reconstruct", "RUN", "--out", "OUT", "--data", "nowhere"], "nothing at nowhere"),
    ],
    ids=lambda part: " ".join(part[2:]) if isinstance(part, list) else "",
)
def test_mistakes_with_a_run(tmp_path, capsys, tiny_run, given, sentence):
    replaced = {"OUT": str(tmp_path / "out"), "RUN": str(tiny_run)}
    assert sentence in complaint(capsys, 2, [replaced.get(word, word) for word in given])
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    given = ["train", "demo", "--data", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    assert "There is no image in" in complaint(capsys, 2, given)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("text")
    sentence = complaint(capsys, 2, [*words(tmp_path), "--out", str(tmp_path / "thesis")])
    assert "is not empty and not a run folder" in sentence
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.txt"]


def test_other_settings_do_not_resume_and_are_named(tmp_path, capsys, tiny_run):
    given = [*words(tiny_run.parent), "--out", str(tiny_run)]
    changes = ["--train.batch", "8", "--model.posterior", "NoNoise", "--train.log_every", "2", "--steps", "6"]
    before = (tiny_run / "config.json").read_bytes()
    sentence = complaint(capsys, 2, [*given, *changes])
    assert "model.posterior.type is FixedVariance there and NoNoise here" in sentence
    assert "train.batch is 4 there and 8 here" in sentence
    assert "log_every" not in sentence
    assert "steps" not in sentence
    assert (tiny_run / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    "name", ["ema.safetensors", "model.safetensors", "optimizer.safetensors", "state.json"]
)
def test_a_cut_checkpoint_is_one_sentence(tmp_path, capsys, tiny_run, name):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (file,) = run.glob(f"checkpoints/*/{name}")
    file.write_bytes(file.read_bytes()[:50])
    given = ["train", "--resume", str(run), "--steps", "6", "--device", "cpu"]
    sentence = complaint(capsys, 1, given)
    assert name in sentence
    assert "damaged or cut short" in sentence
    if name == "ema.safetensors":
        out = str(tmp_path / "out")
        assert "damaged or cut short" in complaint(capsys, 1, ["sample", str(run), "--out", out])


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="there is no recipe"):
        main(["train", "dmo", "--debug"])


def test_a_slip_of_ours_is_said_without_a_traceback(capsys, monkeypatch):
    def broken() -> None:
        raise RuntimeError("two gremlins")

    monkeypatch.setattr("simflow.recipes.recipes", broken)
    sentence = complaint(capsys, 1, ["recipes"])
    assert "RuntimeError: two gremlins" in sentence
    assert "--debug" in sentence


def test_the_parser_complains_by_itself(capsys):
    assert main(["reconstruct", "x"]) == 2
    assert "--out" in capsys.readouterr().err
    assert main(["train", "demo", "--dat", "x"]) == 2
    assert "--data" in capsys.readouterr().err


def test_weights_that_do_not_fit_leave_no_folder(tmp_path, capsys, monkeypatch, tiny_run):
    """Without --out a new folder is made; what is refused later must not leave it there, empty."""
    monkeypatch.chdir(tmp_path)
    given = [*words(tmp_path), "--start_from", str(tiny_run), "--model.prior.depths", "[1, 2]"]
    assert "depths" in complaint(capsys, 2, given)
    assert not list((tmp_path / "runs").iterdir())


def test_a_reader_that_has_read_enough_is_no_failure():
    reading, writing = os.pipe()
    os.close(reading)
    words = [sys.executable, "-m", "simflow", "info", "simflow-b", "--explain"]
    ended = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")
