"""A folder of samples: calls go on with it and add to it, and nothing in it is lost unless that is asked for."""

from itertools import chain

import numpy as np
import pytest
from filelock import FileLock

from simflow.cli import main
from simflow.sample import sample_all
from tests.cli.test_speed import furthest, sampled
from tests.whole.test_processes import pictures, two_processes

BATCH = ["--batch", "3"]


def asking(run, out, *flags, num=10):
    return ["sample", str(run), "--num", str(num), "--device", "cpu", "--out", str(out), *BATCH, *flags]


def seeds_of(run, out, seeds):
    return ["sample", str(run), "--seeds", seeds, "--device", "cpu", "--out", str(out), *BATCH]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


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


def test_seeds_are_added_and_the_list_and_the_sheet_are_of_all(tmp_path, tiny_run, made):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert main(asking(tiny_run, whole, num=6)) == 0
    assert main(seeds_of(tiny_run, out, "3-5")) == 0
    made.clear()
    assert main(seeds_of(tiny_run, out, "0-2")) == 0
    assert made == [[0, 1, 2]]
    assert contents(out) == contents(whole)


def test_a_finished_folder_is_not_made_anew(tmp_path, tiny_run, made, capsys):
    out, archive = tmp_path / "out", tmp_path / "all.npz"
    assert main(asking(tiny_run, out)) == 0
    before = contents(out)
    made.clear()
    assert main(asking(tiny_run, out, "--npz", str(archive))) == 0
    assert made == []
    assert contents(out) == before
    assert len(np.load(archive)["arr_0"]) == 10
    assert f"10 images in {out}" in capsys.readouterr().out


def test_where_the_archive_cannot_be_written_nothing_is_sampled(tmp_path, tiny_run, made, capsys):
    (tmp_path / "file").touch()
    assert main(asking(tiny_run, tmp_path / "out", "--npz", str(tmp_path / "file" / "all.npz"))) == 1
    assert "file" in capsys.readouterr().err
    assert made == []


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (["--guidance", "0"], "sampling.guidance"),
        (["--labels", "bag"], "labels is all there and bag here"),
        (["--temperature", "0.5"], "and 0.5 here"),
        (["--which", "model"], "by other weights"),
    ],
    ids=["guidance", "labels", "temperature", "weights"],
)
@pytest.mark.parametrize("finished", [True, False])
def test_images_of_another_kind_are_refused_until_they_may_be_replaced(
    tmp_path, tiny_run, monkeypatch, made, capsys, other, named, finished
):
    out = tmp_path / "out"
    if finished:
        assert main(asking(tiny_run, out)) == 0
    else:
        stopped(monkeypatch, asking(tiny_run, out), at=7)
    before = contents(out)
    made.clear()
    capsys.readouterr()
    assert main(asking(tiny_run, out, *other, num=4)) == 2
    said = capsys.readouterr().err
    assert named in said
    assert "give another --out, or --replace" in said
    assert contents(out) == before
    assert made == []
    assert main(asking(tiny_run, out, *other, "--replace", num=4)) == 0
    assert list(chain.from_iterable(made)) == [0, 1, 2, 3]
    assert sorted(path.name for path in out.glob("0*.png")) == [f"{seed:06d}.png" for seed in range(4)]


@pytest.mark.parametrize("harm", ["no note", "half a note"])
def test_images_that_do_not_say_what_made_them_are_refused(tmp_path, tiny_run, made, capsys, harm):
    """As those of versions that kept no note."""
    out = tmp_path / "out"
    assert main(asking(tiny_run, out)) == 0
    if harm == "no note":
        (out / "samples.json").unlink()
    else:
        (out / "samples.json").write_text("{")
    made.clear()
    assert main(asking(tiny_run, out)) == 2
    assert "have no samples.json that says what made them" in capsys.readouterr().err
    assert main(asking(tiny_run, out, "--replace")) == 0
    assert list(chain.from_iterable(made)) == list(range(10))


@pytest.mark.parametrize("name", ["labels.csv", "grid.png", "000000.png", "notes.txt", "samples.json"])
@pytest.mark.parametrize("flags", [[], ["--replace"]])
def test_a_folder_of_something_else_is_left_as_it_is(tmp_path, tiny_run, capsys, name, flags):
    out = tmp_path / "out"
    out.mkdir()
    for path in (out / name, out / "000001.png"):
        path.write_bytes(b"file,label\n")
    assert main(asking(tiny_run, out, *flags)) == 2
    assert "holds files that simflow sample did not make" in capsys.readouterr().err
    assert {path.name for path in out.iterdir()} == {name, "000001.png"}
    assert all(path.read_bytes() == b"file,label\n" for path in out.iterdir())


@pytest.mark.parametrize("name", ["000009.png", "labels.csv"])
def test_somebodys_file_among_samples_is_not_taken_for_one(tmp_path, tiny_run, monkeypatch, capsys, name):
    out = tmp_path / "out"
    stopped(monkeypatch, asking(tiny_run, out, num=8), at=7)
    (out / name).write_bytes(b"somebody's")
    assert main(asking(tiny_run, out)) == 2
    assert name in capsys.readouterr().err
    (out / name).unlink()
    (out / "notes.txt").write_bytes(b"in nobody's way")
    assert main(asking(tiny_run, out)) == 0


def test_folders_in_it_and_hidden_files_are_no_hindrance(tmp_path, tiny_run):
    (tmp_path / "out" / "other-samples").mkdir(parents=True)
    (tmp_path / "out" / ".DS_Store").touch()
    assert main(asking(tiny_run, tmp_path / "out")) == 0


def test_two_at_once_are_refused(tmp_path, tiny_run, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"):
        assert main(asking(tiny_run, out)) == 2
    assert "another process is sampling into" in capsys.readouterr().err
    assert main(asking(tiny_run, out)) == 0


def test_a_file_is_no_folder(tmp_path, tiny_run, capsys):
    (tmp_path / "out").touch()
    assert main(asking(tiny_run, tmp_path / "out")) == 2
    assert "is a file, not a folder for samples" in capsys.readouterr().err


def test_two_processes_go_on_together(tmp_path, tiny_run, monkeypatch):
    """Of two batches that are done, two processes of the same batch take up both."""
    out = tmp_path / "out"
    stopped(monkeypatch, asking(tiny_run, out), at=7)
    done = two_processes(["sample", str(tiny_run), "-n", "10", "--device", "cpu", "--out", str(out), *BATCH])
    assert done.returncode == 0, done.stderr
    assert "6 of 10 images are there" in done.stderr
    assert furthest(sampled(tiny_run, tmp_path / "whole", *BATCH), pictures(out)) <= 1
