"""What a user can do wrong is one sentence on standard error and exit code 2, damage is 1; never a traceback."""

import os
import shutil
import subprocess
import sys

import pytest

from simflow.cli import main
from tests.whole.tiny import words

DEPTHS = ["--model.prior.depths", "[1, 1]"]
AGAINST = ["--reference", "embedded:fashion-mnist"]


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
        (["interpolate", "x", "--out", "y.png", "--pairs", "1"], "a pair is written as two image numbers"),
        (["train", "demo", "--train.keep", "0", "--dry-run"], "train.keep must be at least 1, not 0"),
        (["train", "demo", "--model.autoencoder.widths", "[]", "--dry-run"], "widths must be multiples of 8"),
        (["train", "demo", "--model.prior.block.heads", "0", "--dry-run"], "heads must be at least 1, not 0"),
        (["train", "demo", "--model.prior.block.heads", "7", "--dry-run"], "cannot be split over 7"),
        (["train", "small-32", "--data", "nowhere", "--dry-run"], "there are no images at 'nowhere'"),
        (["train", "small-32", "--data", "folder", "--dry-run"], "there are no images at 'folder'"),
        (["train", "small-32", "--data", "", "--dry-run"], "data.path is empty: say where the images are"),
        (["train", "small-32", "--data.path", "nowhere", "--dry-run"], "there are no images at 'nowhere'"),
        (["train", "demo", "--start_from", "nowhere", "--dry-run"], "there is nothing at 'nowhere' to start"),
        (
            ["train", "fashion-32-prior", "--start_from", "fashion-32", *DEPTHS, "--dry-run"],
            "depths is [2, 2, 2] there and [1, 1] here",
        ),
        (["train", "fashion-32-prior", "--out", "OUT"], "say where it is with --start_from PATH"),
        (["sample", "x", "--num", "99999999999999"], "--num 99999999999999 asks for too many"),
        (["sample", "x", "--seeds", "0-9999999999"], "--seeds 0-9999999999 asks for too many"),
        (["evaluate", "x", "--out", "OUT", "--num", "99999999999999"], "asks for too many"),
        (["evaluate", "nowhere", "--num", "40"], "no run, checkpoint or saved model at 'nowhere'"),
        (["evaluate", "emoji-32", "--num", "40"], "say where to write with --out"),
        (["evaluate", "x", "--name", "a/b"], "--name is that of a file, such as results, and not 'a/b'"),
        (["evaluate", "x", "--samples", "y"], "give either a run or --samples"),
        (["evaluate", "--samples", "nowhere", *AGAINST, "--out", "OUT"], "there is nothing at 'nowhere'"),
        (["stats", "nowhere", "--out", "OUT.npz"], "there is nothing at 'nowhere'"),
        (["stats", "x", "--out", "OUT.npz", "--keep=-1"], "--keep must be at least 32, not -1"),
        (["stats", "x", "--out", "OUT.npz", "--batch", "0"], "--batch must be at least 1, not 0"),
        (["analyze", "x", "--guidance=-1", "2"], "--guidance must be finite numbers from 0 on"),
        (["analyze", "x", "--levels", "0", "nan"], "each must be a finite number from 0 on"),
        *(
            ([command, "emoji-32", *more], "no images at 'folder': say where they are with --data PATH")
            for command, *more in (
                ["reconstruct", "--out", "OUT.png"],
                ["interpolate", "--out", "OUT.png"],
                ["classify"],
                ["analyze", "--out", "OUT"],
                ["evaluate", "--out", "OUT"],
            )
        ),
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
        (
            ["sample", "RUN", "--out", "OUT", "--temperature", "nan"],
            "temperature must be positive and finite",
        ),
        (["sample", "RUN", "--out", "OUT", "--denoise=-1"], "multiplier must be a finite number from 0 on"),
        (["sample", "RUN", "--out", "OUT", "--gamma", "inf"], "gamma must be a finite number from 0 on"),
        (["sample", "RUN", "--out", "OUT", "--sweep", "0,-1"], "strength of guidance must be 0 or more"),
        (["sample", "RUN/config.json", "--out", "OUT"], "config.json' is a file: name the folder"),
        (["info", "RUN/config.json"], "config.json' is a file: name the folder"),
        (["train", "demo", "--out", "RUN", "--steps", "3"], "is at step 4 already, past the 3 asked for"),
        (["train", "--resume", "RUN", "--steps", "3", "--dry-run"], "is at step 4 already"),
        (["demo", "--out", "RUN", "--steps", "3"], "is at step 4 already"),
        (["interpolate", "RUN", "--out", "OUT.png", "--pairs", "0,99"], "no image 99: the set has 12"),
        (["interpolate", "RUN", "--out", "OUT.png", "--steps", "1"], "--steps must be at least 2"),
        (["interpolate", "RUN", "--out", "OUT"], "its name must end in .png, not be 'out'"),
        (["reconstruct", "RUN", "--out", "OUT"], "its name must end in .png, not be 'out'"),
        (["reconstruct", "RUN", "--out", "OUT.png", "--num", "0"], "--num must be at least 1"),
        (["reconstruct", "RUN", "--out", "OUT.png", "--split", "validation"], "no split 'validation'"),
        (["reconstruct", "RUN", "--out", "OUT.png", "--data", "nowhere"], "nothing at nowhere"),
    ],
    ids=lambda part: " ".join(part[2:]) if isinstance(part, list) else "",
)
def test_mistakes_with_a_run(tmp_path, capsys, tiny_run, given, sentence):
    replaced = {"OUT": str(tmp_path / "out"), "OUT.png": str(tmp_path / "out.png"), "RUN": str(tiny_run)}
    replaced["RUN/config.json"] = str(tiny_run / "config.json")
    before = (tiny_run / "config.json").read_bytes()
    assert sentence in complaint(capsys, 2, [replaced.get(word, word) for word in given])
    assert not list(tmp_path.iterdir())
    assert (tiny_run / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (
            ["--trajectory"],
            "--trajectory shows the blocks of a prior, and this model's, SiT, has none to undo",
        ),
        (["--gamma", "0.1"], "score steps, and this model's prior, SiT, has no density to take them on"),
        (["--denoise"], "score steps, and this model's prior, SiT, has no density to take them on"),
        (
            ["--decoding", "plan"],
            "this model's prior, SiT, has no blocks to undo: only --decoding sequential",
        ),
    ],
    ids=lambda part: " ".join(part) if isinstance(part, list) else "",
)
def test_what_a_sit_cannot_do_is_said_before_it_samples(tmp_path, capsys, flags, sentence):
    sit = ["--model.prior.type", "SiTConfig", "--model.prior.width", "8", "--model.prior.heads", "2"]
    sit += ["--model.prior.depth", "1", "--sample.guidance", "null", "--steps", "1"]
    assert main([*words(tmp_path), "--out", str(tmp_path / "run"), *sit]) == 0
    given = ["sample", str(tmp_path / "run"), "--num", "2", "--out", str(tmp_path / "out"), *flags]
    assert sentence in complaint(capsys, 2, given)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_images(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    given = ["train", "demo", "--data", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]
    assert "there is no image in" in complaint(capsys, 2, given)
    assert not (tmp_path / "out").exists()


def test_a_pair_of_one_image(tmp_path, capsys, tiny_run):
    (tmp_path / "one").mkdir()
    shutil.copy(tiny_run.parent / "pictures" / "test" / "bag" / "0.png", tmp_path / "one")
    given = ["interpolate", str(tiny_run), "--data", str(tmp_path / "one"), "--out", str(tmp_path / "a.png")]
    assert "a pair needs two images, and " in complaint(capsys, 2, [*given, "--num", "2"])
    assert not (tmp_path / "a.png").exists()


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


@pytest.mark.parametrize(
    ("file", "content", "command", "sentence"),
    [
        ("state.json", b"{}", "info", "state.json' is damaged or not of SimFlow: it lacks 'format'"),
        ("state.json", b"x", "info", "state.json' is damaged or cut short"),
        ("state.json", b"\xff", "info", "state.json' is damaged or cut short"),
        ("config.json", b"[]", "sample", "config.json' is damaged or not of SimFlow"),
        ("config.json", b"[]", "info", "config.json' is damaged or not of SimFlow"),
        ("figures.json", b"x", "info", "figures.json' is damaged or cut short"),
        ("figures.json", b"[]", "info", "figures.json' is damaged or not of SimFlow"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(tmp_path, capsys, tiny_run, file, content, command, sentence):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "figures.json" if file == "figures.json" else next(run.glob(f"checkpoints/*/{file}"))).write_bytes(
        content
    )
    assert sentence in complaint(capsys, 1, [command, str(run)])


def test_a_damaged_line_of_metrics_is_named(tmp_path, capsys, tiny_run):
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "metrics.jsonl").write_text("garbage\n")
    given = ["train", "--resume", str(run), "--steps", "6", "--device", "cpu"]
    assert "line 1 of" in complaint(capsys, 1, given)


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="there is no recipe"):
        main(["train", "dmo", "--debug"])


@pytest.mark.parametrize("error", [RuntimeError, ValueError])
def test_a_slip_of_ours_is_said_without_a_traceback(capsys, monkeypatch, error):
    def broken() -> None:
        raise error("two gremlins")

    monkeypatch.setattr("simflow.recipes.recipes", broken)
    sentence = complaint(capsys, 1, ["recipes"])
    assert f"{error.__name__}: two gremlins" in sentence
    assert "--debug" in sentence


def test_another_process_than_the_first_speaks_where_it_is_left_alone(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    waited = []
    monkeypatch.setattr("time.sleep", waited.append)
    assert complaint(capsys, 2, ["trian"]).startswith("simflow: there is no command 'trian'")
    assert waited == [10.0]


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
