"""A call of ``simflow sample`` that was interrupted goes on, with the same images as if it had not been."""

import json
from itertools import chain

import numpy as np
import pytest

from simflow.cli import main
from simflow.sample import sample_all
from tests.cli.test_speed import furthest, sampled
from tests.whole.test_processes import pictures, two_processes

BATCH = ["--batch", "3"]


def asking(run, out, *flags, num=10):
    return ["sample", str(run), "--num", str(num), "--device", "cpu", "--out", str(out), *BATCH, *flags]


@pytest.fixture
def made(monkeypatch):
    """The seeds that are sampled, batch by batch."""
    seen = []

    def told(model, *, seeds, labels, config):
        seen.append(list(seeds))
        return sample_all(model, seeds=seeds, labels=labels, config=config)

    monkeypatch.setattr("simflow.cli.sample.sample_all", told)
    return seen


def stopped(monkeypatch, command, *, at):
    """Runs a command that is interrupted when the image of a seed is to be sampled."""

    def stopping(model, *, seeds, labels, config):
        if at in seeds:
            raise KeyboardInterrupt
        return sample_all(model, seeds=seeds, labels=labels, config=config)

    with monkeypatch.context() as patched:
        patched.setattr("simflow.cli.sample.sample_all", stopping)
        assert main(command) == 130


def test_it_goes_on_where_it_was_and_ends_in_the_same_files(tmp_path, tiny_run, monkeypatch, made, capsys):
    whole, out = tmp_path / "whole", tmp_path / "out"
    archives = [tmp_path / f"{name}.npz" for name in ("whole", "out")]
    assert main(asking(tiny_run, whole, "--npz", str(archives[0]))) == 0
    command = asking(tiny_run, out, "--npz", str(archives[1]))
    stopped(monkeypatch, command, at=7)
    assert sorted(path.name for path in out.glob("*.png")) == [f"{seed:06d}.png" for seed in range(6)]
    made.clear()
    capsys.readouterr()
    assert main(command) == 0
    assert made == [[6, 7, 8], [9]]
    assert "6 of 10 images are there" in capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in whole.iterdir())
    for path in whole.iterdir():
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    one, two = (np.load(archive) for archive in archives)
    assert all(np.array_equal(one[name], two[name]) for name in ("arr_0", "arr_1"))


def test_more_images_of_the_kind_take_up_those_that_are_there(tmp_path, tiny_run, monkeypatch, made):
    stopped(monkeypatch, asking(tiny_run, tmp_path / "out"), at=7)
    made.clear()
    assert main(asking(tiny_run, tmp_path / "out", num=13)) == 0
    assert made == [[6, 7, 8], [9, 10, 11], [12]]


@pytest.mark.parametrize(
    "other",
    [
        ["--guidance", "0"],
        ["--labels", "bag"],
        ["--temperature", "0.5"],
        ["--which", "model"],
        ["--seeds", "0-9"],
    ],
    ids=lambda flags: flags[0],
)
def test_another_command_begins_anew(tmp_path, tiny_run, monkeypatch, made, other):
    stopped(monkeypatch, asking(tiny_run, tmp_path / "out"), at=7)
    made.clear()
    assert main(asking(tiny_run, tmp_path / "out", *other)) == 0
    assert list(chain.from_iterable(made)) == list(range(10))


def test_images_of_a_finished_call_are_not_taken_for_those_of_one_that_was_stopped(
    tmp_path, tiny_run, monkeypatch, made
):
    """They have the same names, and the second call has not come to all of them."""
    out = tmp_path / "out"
    assert main(asking(tiny_run, out, "--temperature", "0.5")) == 0
    stopped(monkeypatch, asking(tiny_run, out), at=4)
    made.clear()
    assert main(asking(tiny_run, out)) == 0
    assert made == [[3, 4, 5], [6, 7, 8], [9]]
    assert furthest(sampled(tiny_run, tmp_path / "whole", *BATCH), pictures(out)) == 0


@pytest.mark.parametrize("harm", ["no note", "half a note", "no table"])
def test_without_its_note_a_folder_is_made_anew(tmp_path, tiny_run, monkeypatch, made, harm):
    out = tmp_path / "out"
    stopped(monkeypatch, asking(tiny_run, out), at=7)
    assert json.loads((out / ".making.json").read_text())["done"] == 6
    if harm == "no note":
        (out / ".making.json").unlink()
    elif harm == "half a note":
        (out / ".making.json").write_text("{")
    else:
        (out / ".labels.csv.part").unlink()
    made.clear()
    assert main(asking(tiny_run, out)) == 0
    assert list(chain.from_iterable(made)) == list(range(10))
    assert not (out / ".making.json").exists()


def test_two_processes_go_on_together(tmp_path, tiny_run, monkeypatch):
    """Of two batches that are done, two processes of the same batch take up both."""
    out = tmp_path / "out"
    stopped(monkeypatch, asking(tiny_run, out), at=7)
    done = two_processes(["sample", str(tiny_run), "-n", "10", "--device", "cpu", "--out", str(out), *BATCH])
    assert done.returncode == 0, done.stderr
    assert "6 of 10 images are there" in done.stderr
    assert furthest(sampled(tiny_run, tmp_path / "whole", *BATCH), pictures(out)) <= 1
