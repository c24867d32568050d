"""Every command from its words to its files, with a tiny system."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import simflow
from simflow import recipes
from simflow.cli import COMMANDS, main
from simflow.yaml_text import parse_yaml
from tests.whole.tiny import CLASSES, pictures, words


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def sampled(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: pixels(path) for path in folder.glob("0*.png")}


def table(folder: Path) -> list[list[str]]:
    with (folder / "labels.csv").open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize("given", [[], ["--help"]])
def test_the_overview_names_all_commands(capsys, given):
    assert main(given) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(capsys, command):
    assert main([command, "--help"]) == 0
    assert f"usage: simflow {command}" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"simflow {simflow.__version__}\n"


def test_recipes_are_listed(capsys):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == list(recipes.recipes())
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["simflow-xxl"],
            ["256 x 256", "67.13 M", "1364.", "deep block 46 layers", "256 tokens of 64 numbers"],
        ),
        (["simflow-xxl-512"], ["512 x 512", "1024 tokens of 64 numbers"]),
        (["simflow-b", "--data.image_size", "512"], ["512 x 512", "1024 tokens"]),
        (["demo", "--model.prior.depths", "[1, 3]"], ["blocks of 1, 3 layers", "32 x 32, gray"]),
    ],
)
def test_info_of_recipes(capsys, words, expected):
    assert main(["info", *words]) == 0
    printed = capsys.readouterr().out
    assert [part for part in expected if part not in printed] == []


def test_info_explains_every_flag(capsys):
    assert main(["info", "demo", "--explain", "--train.batch", "48"]) == 0
    printed = capsys.readouterr().out
    assert "--train.batch 48\n    " in printed
    assert '--model.posterior.type "FixedVariance"    (FixedVariance | ' in printed
    lines = [line for line in printed.splitlines() if line.startswith("--")]
    flags = [line.split()[0][2:] for line in lines if "    (of " not in line]
    assert len(flags) == len(set(flags)) > 60
    assert "--train.validation.every 1000    (of ValidationConfig)" in lines
    assert "null keeps all" in printed


def test_info_of_a_run(capsys, tiny_run):
    assert main(["info", str(tiny_run)]) == 0
    printed = capsys.readouterr().out
    assert "3: bag, boot, coat" in printed
    assert "step         4 of 4" in printed
    assert "images seen  16" in printed


def test_a_dry_run_says_all_and_writes_nothing(capsys, tmp_path, monkeypatch):
    given = words(tmp_path)
    before = files_below(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main([*given, "--out", str(tmp_path / "run"), "--train.batch", "12", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "  batch: 12\n" in printed
    assert "24 in " in printed
    assert "3: bag, boot, coat" in printed
    assert "total        0.0" in printed
    assert files_below(tmp_path) == before
    assert not (tmp_path / "run").exists()


def test_what_a_dry_run_prints_and_what_a_run_keeps_are_files_of_settings(capsys, tmp_path, tiny_run):
    given = words(tiny_run.parent)
    assert main([*given, "--train.batch", "12", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(printed)
    for file in (tmp_path / "mine.yaml", tiny_run / "config.json"):
        changes = ["--name", "again"] if file.suffix == ".json" else []
        assert main(["train", "small-32", "--config", str(file), *changes, "--dry-run"]) == 0
        again = parse_yaml(capsys.readouterr().out)
        there = parse_yaml(file.read_text())
        assert again == there if not changes else again == there["config"] | {"name": "again"}


def test_a_dry_run_needs_no_images(capsys):
    assert main(["train", "simflow-s", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "steps        800730 = 400365 + 400365" in printed
    assert "--data PATH" in printed


def test_a_dry_run_says_where_weights_are_from(capsys, tiny_run):
    given = [*words(tiny_run.parent), "--dry-run"]
    assert main([*given, "--start_from", str(tiny_run), "--start_from.parts", "prior"]) == 0
    assert f"starts from  {tiny_run} (prior)" in capsys.readouterr().out
    assert main([*given, "--start_from", str(tiny_run), "--out", str(tiny_run)]) == 0
    assert "starts from" not in capsys.readouterr().out, "a run that goes on has its own weights"
    assert main(["train", "fashion-32-prior", "--dry-run"]) == 0
    assert "starts from  not said: say where with --start_from PATH" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ["reconstruct", "--out", "OUT"],
        ["interpolate", "--out", "OUT", "--num", "2"],
        ["classify"],
        ["evaluate", "--out", "OUT", "--num", "40", "--extractor", "none", "--nearest", "9"],
    ],
)
def test_images_that_cannot_be_read_are_named(tmp_path, tiny_run, capsys, command):
    copied = shutil.copytree(tiny_run.parent / "pictures", tmp_path / "pictures")
    (copied / "test" / "boot" / "1.png").write_bytes(b"broken")
    given = [str(tmp_path / "a.png") if word == "OUT" else word for word in command]
    assert main([*given[:1], str(tiny_run), *given[1:], "--data", str(copied)]) == 0
    assert "1 image cannot be read and is left out: test/boot/1.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        ["reconstruct", "--out", "OUT"],
        [
            "evaluate",
            "--out",
            "OUT",
            "--num",
            "40",
            "--extractor",
            "none",
            "--reconstruction",
            "--likelihood",
        ],
    ],
)
def test_held_out_images_may_be_without_classes(tmp_path, tiny_run, capsys, command):
    copied = shutil.copytree(tiny_run.parent / "pictures", tmp_path / "pictures")
    for picture in sorted(copied.glob("test/*/*.png")):
        picture.rename(copied / "test" / f"{picture.parent.name}-{picture.name}")
    given = [str(tmp_path / "a.png") if word == "OUT" else word for word in command]
    assert main([*given[:1], str(tiny_run), *given[1:], "--data", str(copied)]) == 0


def test_what_is_left_out_is_said_once(tmp_path, tiny_run, capsys):
    copied = shutil.copytree(tiny_run.parent / "pictures", tmp_path / "pictures")
    (copied / "test" / "boot" / "photo.heic").write_bytes(b"foreign")
    given = ["reconstruct", str(tiny_run), "--data", str(copied), "--out", str(tmp_path / "a.png")]
    for _ in range(2):
        assert main(given) == 0
        assert capsys.readouterr().err.count("1 of a format that cannot be read (.heic)") == 1
    dry = ["train", "small-32", "--data", str(copied), "--train.validation.every", "1", "--dry-run"]
    assert main(dry) == 0
    assert capsys.readouterr().err.count("1 of a format that cannot be read (.heic)") == 1


def test_training_leaves_a_whole_run_folder(tmp_path, capsys):
    out = tmp_path / "run"
    assert main([*words(tmp_path), "--out", str(out), "--train.sample_every", "3", "--steps", "5"]) == 0
    assert "finished at step 5 of 5" in capsys.readouterr().out
    state = {"config.json", "state.json"} | {f"{n}.safetensors" for n in ("model", "ema", "optimizer")}
    expected = {".lock", "config.json", "log.txt", "metrics.jsonl", "samples/step-0000003.png"}
    assert files_below(out) == expected | {f"checkpoints/step-0000005/{name}" for name in state}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert {"loss/total", "loss/reconstruction", "loss/prior"} <= lines[0].keys()
    assert "above its floor" in (out / "log.txt").read_text()


def test_without_out_runs_are_numbered_and_resume_goes_on(tmp_path, monkeypatch, capsys):
    given = words(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main([*given, "--name", "first"]) == 0
    assert main([*given]) == 0
    assert {path.name for path in Path("runs").iterdir()} == {"00000-first", "00001-demo"}
    assert main(["train", "--resume", "runs/00000-first", "--steps", "6", "--device", "cpu"]) == 0
    assert "finished at step 6 of 6" in capsys.readouterr().out
    steps = [
        json.loads(line)["step"] for line in Path("runs/00000-first/metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_folder_of_colour_photographs_without_classes(tmp_path, capsys):
    """Any size, one of them broken: the model is unconditional, and the broken one is named and counted."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number, size in enumerate([(20, 31), (16, 16), (50, 17), (40, 40)]):
        Image.new("RGB", size, (60 * number, 10, 200)).save(photos / f"{number}.png")
    (photos / "broken.png").write_bytes((photos / "3.png").read_bytes()[:60])
    given = words(tmp_path)
    given[given.index("--data") + 1] = str(photos)
    out = tmp_path / "run"
    assert main([*given, "--out", str(out), "--data.channels", "3", "--train.sample_every", "2"]) == 0
    assert "1 image cannot be read and is left out: broken.png" in capsys.readouterr().err
    assert "broken.png" in (out / "log.txt").read_text()
    assert pixels(out / "samples" / "step-0000004.png").shape[2] == 3
    sample = ["sample", str(out), "--num", "3", "--out", str(tmp_path / "s")]
    assert main(sample) == 0
    assert sampled(tmp_path / "s")["000000.png"].shape == (16, 16, 3)
    assert [row[2:] for row in table(tmp_path / "s")[1:]] == [["-1", ""]] * 3
    assert main([*sample, "--guidance", "1"]) == 2
    assert "guidance needs classes" in capsys.readouterr().err
    assert main([*given, "--out", str(tmp_path / "strict"), "--data.corrupt", "stop"]) == 2
    assert "broken.png cannot be read" in capsys.readouterr().err


def test_samples_are_balanced_and_all_written(tmp_path, tiny_run):
    out, archive = tmp_path / "samples", tmp_path / "all.npz"
    assert main(["sample", str(tiny_run), "--num", "8", "--out", str(out), "--npz", str(archive)]) == 0
    names = [f"{seed:06d}.png" for seed in range(8)]
    assert files_below(out) == {*names, "grid.png", "labels.csv", "samples.json", ".lock"}
    assert [row[3] for row in table(out)[1:]] == [CLASSES[i % 3] for i in range(8)]
    saved = np.load(archive)
    assert saved["arr_0"].shape == (8, 16, 16, 3)
    assert saved["arr_1"].tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    images = sampled(out)
    assert all((saved["arr_0"][i] == images[name][..., None]).all() for i, name in enumerate(names))


def test_a_seed_is_the_same_image_whatever_the_batch_and_the_others(tmp_path, tiny_run):
    common = ["sample", str(tiny_run), "--guidance", "1"]
    assert main([*common, "--seeds", "0-9", "--batch", "10", "--out", str(tmp_path / "all")]) == 0
    assert main([*common, "--seeds", "5-8,2", "--batch", "2", "--out", str(tmp_path / "some")]) == 0
    everything, some = sampled(tmp_path / "all"), sampled(tmp_path / "some")
    assert set(some) == {f"{seed:06d}.png" for seed in (2, 5, 6, 7, 8)}
    for name, image in some.items():
        assert np.abs(image.astype(int) - everything[name]).max() <= 1
    labels = {row[1]: row[2] for row in table(tmp_path / "all")[1:]}
    assert all(labels[row[1]] == row[2] for row in table(tmp_path / "some")[1:])


@pytest.mark.parametrize(
    "flags",
    [
        ["--guidance", "0"],
        ["--guidance", "3"],
        ["--rule", "log-scale"],
        ["--gamma", "0.5"],
        ["--temperature", "0.3"],
        ["--which", "model"],
        ["--labels", "none"],
        ["--labels", "coat,0"],
    ],
    ids=lambda flags: " ".join(flags),
)
def test_every_flag_of_sampling_changes_the_images(tmp_path, tiny_run, flags):
    for name, extra in (("plain", []), ("changed", flags)):
        assert main(["sample", str(tiny_run), "--num", "6", *extra, "--out", str(tmp_path / name)]) == 0
    plain, changed = sampled(tmp_path / "plain"), sampled(tmp_path / "changed")
    assert any((plain[name] != changed[name]).any() for name in plain)


def test_named_classes_follow_the_seed(tmp_path, tiny_run):
    words = ["sample", str(tiny_run), "--labels", "coat,0", "--seeds", "3-5", "--out", str(tmp_path)]
    assert main(words) == 0
    assert [row[3] for row in table(tmp_path)[1:]] == ["bag", "coat", "bag"]


def test_reconstructions_of_held_out_images(tmp_path, tiny_run, capsys):
    out = tmp_path / "new" / "pairs.png"
    assert main(["reconstruct", str(tiny_run), "--num", "5", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("5 images of ")
    assert "(test): MSE " in printed
    assert "PSNR" in printed
    assert pixels(out).shape == (2 * 16 * 4, 20 * 64 + 19 * 2)


@pytest.mark.parametrize("more", [[], ["--mean"]])
def test_reconstructions_do_not_depend_on_the_batch(tmp_path, tiny_run, more):
    copied = tmp_path / "run"
    shutil.copytree(tiny_run, copied)
    made = []
    for batch in (12, 5):
        config = json.loads((copied / "config.json").read_text())
        config["config"]["sample"]["batch"] = batch
        (copied / "config.json").write_text(json.dumps(config))
        out = tmp_path / f"{batch}.png"
        assert main(["reconstruct", str(copied), "--num", "12", *more, "--out", str(out)]) == 0
        made.append(pixels(out).astype(int))
    assert abs(made[0] - made[1]).max() <= 1, "an image's noise belongs to the image"


@pytest.mark.parametrize("command", ["reconstruct", "interpolate"])
def test_a_picture_that_cannot_be_written_is_found_out_first(
    tmp_path, tiny_run, command, monkeypatch, capsys
):
    monkeypatch.setattr(f"simflow.cli.{command}.held_out", lambda *given: pytest.fail("looked for images"))
    (tmp_path / "file").write_text("in the way")
    assert main([command, str(tiny_run), "--out", str(tmp_path / "file" / "a.png")]) == 1
    assert f"Not a directory: '{tmp_path / 'file'}'" in capsys.readouterr().err


def test_reconstructions_of_other_images(tmp_path, tiny_run, capsys):
    other = tiny_run.parent / "pictures" / "train" / "boot"
    words = ["reconstruct", str(tiny_run), "--mean", "--data", str(other), "--out", str(tmp_path / "a.png")]
    assert main(words) == 0
    assert "8 images of " in capsys.readouterr().out


def test_interpolations_have_the_originals_at_their_ends(tmp_path, tiny_run):
    out = tmp_path / "ways.png"
    words = ["interpolate", str(tiny_run), "--pairs", "0,5", "1,11", "--steps", "6", "--out", str(out)]
    assert main(words) == 0
    picture = pixels(out)
    held_out = sorted((tiny_run.parent / "pictures" / "test").rglob("*.png"))
    assert picture.shape == (2 * 64 + 1, 8 * 64 + 7)
    assert (picture[:64:4, :64:4] == pixels(held_out[0])).all()
    assert (picture[:64:4, -64::4] == pixels(held_out[5])).all()
    assert (picture[65::4, -64::4] == pixels(held_out[11])).all()


def test_the_demo_from_training_to_figures(tmp_path, capsys):
    given = words(tmp_path)
    tiny = ["--data.path", given[given.index("--data") + 1], "--data.image_size", "16", "--train.batch", "4"]
    tiny += [
        "--model.prior.block.width",
        "16",
        "--model.autoencoder.widths",
        "[8, 8]",
        "--train.log_every",
        "1",
    ]
    demo = ["demo", "--out", str(tmp_path / "demo"), "--steps", "3", "--device", "cpu", *tiny]
    assert main(demo) == 0
    printed = capsys.readouterr().out
    names = (
        "samples.png",
        "reconstructions.png",
        "losses.png",
        "figures.json",
        "metrics.jsonl",
        "checkpoints",
    )
    for name in names:
        assert str(tmp_path / "demo" / name) in printed
        assert (tmp_path / "demo" / name).exists()
    figures = json.loads((tmp_path / "demo" / "figures.json").read_text())
    assert (figures["classes"]["samples"], figures["run"]["step"]) == (1000, 3)
    assert figures["reconstruction"]["images"] == figures["likelihood"]["held_out"]["images"] == 12
    assert figures["cost"]["seconds"] >= figures["cost"]["seconds_training"] > 0
    assert 0 < figures["cost"]["peak_memory_gib"] < 64
    for word in ("class accuracy", "diversity", "PSNR", "bits per dimension", "GiB"):
        assert word in printed
    written = (tmp_path / "demo" / "samples.png").stat().st_mtime_ns
    assert main(demo) == 0
    assert capsys.readouterr().out == printed
    assert (tmp_path / "demo" / "samples.png").stat().st_mtime_ns == written
    (tmp_path / "demo" / "figures.json").write_text("{}")
    assert main(demo) == 0
    assert "class accuracy" in capsys.readouterr().out
    assert json.loads((tmp_path / "demo" / "figures.json").read_text())["samples"]["count"] == 1000
    assert main(["info", str(tmp_path / "demo")]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in ("PSNR", "Class accuracy", "Bits per dimension", "seconds"))


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "simflow", "info", "demoo"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "simflow: there is no recipe 'demoo'; did you mean demo?\n"


def test_what_a_terminal_cannot_show_is_escaped(tmp_path):
    """Such as the name of a folder, where the locale is C."""
    data = str(pictures(tmp_path / "B\xe4renfell"))
    given = [sys.executable, "-m", "simflow", "train", "demo", "--data", data, "--dry-run"]
    plain = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(given, capture_output=True, env=plain, check=False)
    assert done.returncode == 0, done.stderr
    assert rb"B\xe4renfell" in done.stdout
