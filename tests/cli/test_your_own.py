"""Recipes and choices from a user's own file, through the commands; the example is that of docs/slots.md."""

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from simflow.cli import main
from simflow.extend import imported

SLOTS = Path(__file__).parents[2] / "docs" / "slots.md"
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", SLOTS.read_text(encoding="utf-8"), flags=re.DOTALL)

TINY = ["--model.autoencoder.widths", "[8, 8]", "--model.prior.depths", "[1, 1]", "--train.batch", "4"]
TINY += ["--model.prior.block.width", "16", "--model.prior.block.heads", "2", "--data.channels", "1"]
TRAIN = [
    "train",
    "mine.py:laplace",
    "--data",
    "embedded:fashion-mnist",
    "--out",
    "run",
    *TINY,
    "--device",
    "cpu",
]

SMALL = """
from dataclasses import replace
from simflow import recipes

def small():
    return replace(recipes.get("demo"), name="small")
"""


def simflow(folder: Path, *words: str, imports: str | None = None) -> tuple[int, str]:
    """The command in a process of its own, where nothing was imported and beartype does not look: the exit code, and
    what it says on both streams."""
    environment = {name: value for name, value in os.environ.items() if name != "SIMFLOW_IMPORT"}
    environment |= {"PYTHONPATH": str(SLOTS.parents[1])} | (
        {} if imports is None else {"SIMFLOW_IMPORT": imports}
    )
    command = [sys.executable, "-c", "from simflow.cli import main; raise SystemExit(main())", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_example_is_trained_and_its_run_read_again(tmp_path):
    (tmp_path / "mine.py").write_text(EXAMPLE)
    code, said = simflow(tmp_path, *TRAIN, "--steps", "2", "--model.posterior.scale", "0.3")
    assert (code, "finished at step 2 of 2" in said) == (0, True), said
    code, said = simflow(tmp_path, *TRAIN, "--steps", "3", "--model.posterior.scale", "0.3")
    assert (code, "going on from" in said, "finished at step 3 of 3" in said) == (0, True, True), said
    code, said = simflow(tmp_path, "sample", "run", "--num", "3", "--out", "samples")
    assert (code, "SIMFLOW_IMPORT" in said, "not 'Laplace'" in said, "Traceback" in said) == (
        2,
        True,
        True,
        False,
    )
    assert not (tmp_path / "samples").exists()
    code, said = simflow(tmp_path, "sample", "run", "--num", "3", "--out", "samples", imports="mine.py")
    assert code == 0, said
    assert len(list((tmp_path / "samples").glob("0*.png"))) == 3
    code, said = simflow(
        tmp_path, "train", "--resume", "run", "--steps", "4", "--device", "cpu", imports="mine"
    )
    assert (code, "finished at step 4 of 4" in said) == (0, True), said


def test_the_example_is_explained_and_stands_beside_the_others(tmp_path):
    (tmp_path / "mine.py").write_text(EXAMPLE)
    code, said = simflow(tmp_path, "info", "mine.py:laplace", "--explain")
    assert (code, "--model.posterior.scale 0.35\n    Scale of the noise" in said) == (0, True), said
    assert "NoNoise | Laplace)" in said
    laplace = ["--model.posterior.type", "Laplace", "--model.posterior.scale", "0.3", "--dry-run"]
    code, said = simflow(tmp_path, "train", "small-32", *laplace, imports="mine.py")
    assert (code, "type: Laplace\n    scale: 0.3" in said) == (0, True), said


def test_the_noise_of_the_example_is_what_it_says(desk):
    (desk / "mine.py").write_text(EXAMPLE)
    posterior = imported("mine.py").Laplace(scale=0.3)
    own = 1 + math.log(2 * 0.3)
    code = torch.ones(4, 8, 64, 64)
    noise = posterior.sample(code, torch.Generator().manual_seed(0)) - posterior.mean(code)
    assert noise.isfinite().all()
    assert float(noise.mean()) == pytest.approx(0, abs=5e-3)
    assert float(noise.std()) == pytest.approx(math.sqrt(2) * 0.3, rel=0.01)
    assert float((noise.abs() / 0.3 + math.log(2 * 0.3)).mean()) == pytest.approx(own, abs=0.01)
    assert posterior.entropy(code).tolist() == pytest.approx([own * code[0].numel()] * 4)
    assert posterior.floor == pytest.approx(own - 0.5 * math.log(2 * math.pi))
    with pytest.raises(ValueError, match=r"model\.posterior\.scale must be a finite number above 0"):
        imported("mine.py").Laplace(scale=0.0)


@pytest.mark.parametrize("name", ["mine.py:small", "lab/mine.py:small", "lab.mine:small"])
@pytest.mark.parametrize(
    "words", [["train", "NAME", "--dry-run"], ["info", "NAME"], ["info", "NAME", "--explain"]]
)
def test_a_recipe_in_a_file_is_one_like_the_others(desk, capsys, name, words):
    (desk / "lab").mkdir()
    for file in (desk / "mine.py", desk / "lab" / "mine.py"):
        file.write_text(SMALL)
    assert main([name if word == "NAME" else word for word in words] + ["--train.batch", "12"]) == 0
    printed = capsys.readouterr().out
    assert "small" in printed
    assert any(line in printed for line in ("  batch: 12", "--train.batch 12", "recipe       small"))


@pytest.mark.parametrize(
    ("words", "imports", "sentence"),
    [
        (["info", "mine.py:smal"], "", "there is no function 'smal' in 'mine.py'; did you mean small?"),
        (["train", "other.py:small"], "", "there is no file 'other.py' to import"),
        (["info", "lab/other.py:small"], "", "there is no file 'lab/other.py' to import"),
        (["train", "mine.py"], "", "there is no recipe 'mine.py'; one in a file is written mine.py:FUNCTION"),
        (
            ["train", "bad.py:small"],
            "",
            "'bad.py' cannot be imported: ZeroDivisionError: division by zero (line 2 of",
        ),
        (["recipes"], "mine.py,bad.py", "SIMFLOW_IMPORT: 'bad.py' cannot be imported: ZeroDivisionError"),
        (["recipes"], "other.py", "SIMFLOW_IMPORT: there is no file 'other.py' to import"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(desk, capsys, monkeypatch, words, imports, sentence):
    (desk / "mine.py").write_text(SMALL)
    (desk / "bad.py").write_text("x = 1\nx / 0\n")
    monkeypatch.setenv("SIMFLOW_IMPORT", imports)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"simflow: {sentence}")


def test_help_needs_no_imports(capsys, monkeypatch):
    monkeypatch.setenv("SIMFLOW_IMPORT", "nowhere.py")
    assert main(["--help"]) == 0
    assert "SIMFLOW_IMPORT=mine.py simflow COMMAND" in capsys.readouterr().out


def test_a_record_imports_nothing(desk, capsys, tiny_run):
    """A run that names a type and a file of somebody's own is data."""
    (desk / "mine.py").write_text("raise SystemExit('imported')")
    run = desk / "run"
    for file in (checkpoint := next(tiny_run.glob("checkpoints/*"))).iterdir():
        (run / "checkpoints" / checkpoint.name).mkdir(parents=True, exist_ok=True)
        text = file.read_bytes().replace(b'"FixedVariance"', b'"mine.py:Laplace"')
        (run / "checkpoints" / checkpoint.name / file.name).write_bytes(text)
    assert main(["sample", str(run), "--out", "samples"]) == 2
    assert "not 'mine.py:Laplace'; if it is your own" in capsys.readouterr().err
