"""Plans, passes, half precision and memory by the command: other ways, the same images; and no more than what fits."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from simflow.cli import main
from simflow.cli.speed import Speed, decoding_of, parse_memory
from simflow.flow.decode import SEQUENTIAL, Plan, Sequential
from simflow.flow.jacobi import Jacobi
from simflow.plan.stored import read


@pytest.fixture
def run(tmp_path, tiny_run) -> Path:
    """A copy of the tiny run, in which plans may be left."""
    return shutil.copytree(tiny_run, tmp_path / "run")


def sampled(run, out, *flags) -> dict[str, np.ndarray]:
    given = ["sample", str(run), "--num", "7", "--device", "cpu", "--out", str(out), *flags]
    assert main(given) == 0
    found = {}
    for path in sorted(out.glob("0*.png")):
        with Image.open(path) as picture:
            found[path.name] = np.asarray(picture).astype(int)
    assert len(found) == 7
    return found


def furthest(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> int:
    return max(int(np.abs(one[name] - other[name]).max()) for name in one)


def plans_in(run) -> list[str]:
    return sorted(path.name for path in run.glob("plan-*.json"))


def test_a_plan_is_stored_and_sampling_finds_it(tmp_path, run, capsys):
    exact = sampled(run, tmp_path / "exact")
    common = ["--batch", "3", "--guidance", "2"]
    assert main(["plan", str(run), "--num", "2", "--device", "cpu", *common]) == 0
    printed = capsys.readouterr().out
    assert "block 2: " in printed
    assert "3 images in " in printed
    assert "on [-1, 1], in 2 fresh images; 0.02 is allowed" in printed
    assert plans_in(run) == ["plan-cpu-3.json"]
    stored = read(run / "plan-cpu-3.json")
    assert stored.error <= 0.02
    assert json.loads((run / "plan-cpu-3.json").read_text())["speed_up"] > 0
    (tmp_path / "before").write_bytes((run / "plan-cpu-3.json").read_bytes())

    planned = sampled(run, tmp_path / "planned", "--decoding", "plan", *common)
    assert "measured" not in capsys.readouterr().err
    assert furthest(planned, exact) <= 3
    assert (tmp_path / "before").read_bytes() == (run / "plan-cpu-3.json").read_bytes()

    sampled(run, tmp_path / "other", "--decoding", "plan", "--batch", "3", "--guidance", "1")
    assert "does not hold: it was measured for another way of sampling (guidance.weight)" in said(capsys)
    sampled(run, tmp_path / "new", "--decoding", "plan", "--batch", "4", "--tolerance", "0.001")
    assert "there is no plan yet" in said(capsys)
    assert read(run / "plan-cpu-4.json").tolerance == 0.001


def said(capsys) -> str:
    """What was said on standard error, the line breaks of the terminal taken out."""
    return " ".join(capsys.readouterr().err.split())


def test_half_precision_says_how_far_it_is_off(tmp_path, run, capsys):
    given = ["plan", str(run), "--num", "2", "--batch", "2", "--device", "cpu", "--dtype", "bfloat16"]
    assert main(given) == 0
    assert "in bfloat16 the same images differ from exact ones in float32 by up to" in capsys.readouterr().out
    exact = sampled(run, tmp_path / "exact")
    rough = sampled(run, tmp_path / "rough", "--dtype", "bfloat16")
    assert 0 < furthest(rough, exact) < 25


def test_passes_give_the_images_of_the_walk(tmp_path, tiny_run):
    exact = sampled(tiny_run, tmp_path / "exact")
    for name, flags in (("whole", []), ("windows", ["--jacobi-window", "2", "--jacobi-tolerance", "1e-4"])):
        assert furthest(sampled(tiny_run, tmp_path / name, "--decoding", "jacobi", *flags), exact) <= 1
    given = ["--decoding", "jacobi", "--jacobi-tolerance", "1e6", "--guidance", "0"]
    far, near = sampled(tiny_run, tmp_path / "far", *given), sampled(tiny_run, tmp_path / "near", *given[4:])
    assert furthest(far, near) > 0, "the passes do not reach the sampler"


def test_memory_makes_batches_smaller_and_images_the_same(tmp_path, tiny_run, capsys, monkeypatch):
    batches = []
    monkeypatch.setattr("simflow.cli.speed.batch_within", lambda *a: batches.append(a) or 2)
    monkeypatch.setattr("simflow.cli.sample.sample_all", counted(batches))
    exact = sampled(tiny_run, tmp_path / "exact")
    assert {each for each in batches if isinstance(each, int)} == {7}
    batches.clear()
    small = sampled(tiny_run, tmp_path / "small", "--memory", "3MiB")
    assert furthest(small, exact) <= 1
    assert [each for each in batches if isinstance(each, int)] == [2, 2, 2, 1]
    (asked,) = (each for each in batches if not isinstance(each, int))
    assert asked[2] == 3 * 2**20


def counted(batches):
    from simflow.sample import sample_all

    def sampling(model, *, seeds, labels, config):
        batches.append(len(seeds))
        return sample_all(model, seeds=seeds, labels=labels, config=config)

    return sampling


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--memory", "10KiB"], "one image takes "),
        (["--memory", "2 gigs"], "memory is written with its unit, 2GiB or 500MiB, not '2 gigs'"),
        (["--tolerance", "0.1"], "add --decoding plan"),
        (["--tolerance", "0", "--decoding", "plan"], "tolerance of a plan must be positive"),
        (["--jacobi-window", "4"], "add --decoding jacobi"),
        (["--jacobi-window", "0", "--decoding", "jacobi"], "window of Jacobi decoding must be at least 1"),
    ],
    ids=str,
)
def test_mistakes(tmp_path, tiny_run, capsys, flags, sentence):
    assert main(["sample", str(tiny_run), "--out", str(tmp_path / "out"), "--device", "cpu", *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_flags_change_the_run_s_own_way():
    own = Jacobi(tolerance=0.5, window=4)
    assert decoding_of(own, Speed()) == own
    assert decoding_of(own, Speed(decoding="sequential")) == SEQUENTIAL
    assert decoding_of(own, Speed(decoding="plan")) == SEQUENTIAL
    assert decoding_of(own, Speed(decoding="jacobi", jacobi_window=8)) == Jacobi(tolerance=0.5, window=8)
    assert decoding_of(SEQUENTIAL, Speed(decoding="jacobi")) == Jacobi()
    plan = Plan(blocks=(own, SEQUENTIAL))
    assert decoding_of(plan, Speed()) == plan


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "2XiB", "2iB", "1e9"])
def test_what_is_no_memory(text):
    with pytest.raises(ValueError, match="memory is written with its unit, 2GiB"):
        parse_memory(text)


def test_a_stopped_job_is_not_complete_and_is_made_again(tmp_path, tiny_run, monkeypatch):
    """It stops in its second batch: the images of the first are there, the table and the archive are not."""
    out, archive = tmp_path / "out", tmp_path / "all.npz"
    flags = ["--batch", "3", "--npz", str(archive)]
    whole = sampled(tiny_run, out, *flags)
    before = archive.read_bytes()
    (out / "000004.png").unlink()
    from simflow.sample import sample_all

    def stopping(model, *, seeds, labels, config):
        if 3 in seeds:
            raise KeyboardInterrupt
        return sample_all(model, seeds=seeds, labels=labels, config=config)

    monkeypatch.setattr("simflow.cli.sample.sample_all", stopping)
    given = ["sample", str(tiny_run), "--num", "7", "--device", "cpu", "--out", str(out), *flags]
    assert main(given) == 130
    assert not (out / "labels.csv").exists()
    assert archive.read_bytes() == before
    monkeypatch.undo()
    again = sampled(tiny_run, out, *flags)
    assert furthest(whole, again) == 0
    assert (out / "labels.csv").exists()


def test_graphs_are_of_walks():
    assert decoding_of(SEQUENTIAL, Speed(graphs=True)) == Sequential(graphs=True)
    assert decoding_of(Jacobi(), Speed(decoding="sequential", graphs=True)) == Sequential(graphs=True)
    for own, speed in [
        (Jacobi(), Speed(graphs=True)),
        (SEQUENTIAL, Speed(graphs=True, decoding="jacobi")),
        (SEQUENTIAL, Speed(graphs=True, decoding="plan")),
    ]:
        with pytest.raises(
            ValueError, match="--graphs records walks, token by token: add --decoding sequential"
        ):
            decoding_of(own, speed)


def test_graphs_change_nothing_where_there_is_no_gpu(tmp_path, run):
    assert furthest(sampled(run, tmp_path / "a"), sampled(run, tmp_path / "b", "--graphs")) == 0
