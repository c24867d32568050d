"""From a finished run to a model of the package: ``tools/ship.py``, and every command that takes a run by name."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from simflow import pretrained, recipes, weights
from simflow.cli import main
from simflow.pipeline import Pipeline
from simflow.settings import to_dict
from simflow.train import checkpoint
from tests.test_pretrained import SECTIONS
from tests.whole.tiny import trained, words
from tools import ship


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("ship"))


@pytest.fixture(scope="module")
def package(run, tmp_path_factory) -> Path:
    into = tmp_path_factory.mktemp("package")
    assert ship.main([str(run), "tiny", "--into", str(into)]) == 0
    return into


@pytest.fixture
def by_name(package, run, monkeypatch, tmp_path) -> Path:
    """The tiny model is in the package, and the working directory is empty."""
    monkeypatch.setattr(pretrained, "root", lambda: package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refused(capsys, given: list[str]) -> str:
    capsys.readouterr()
    assert ship.main(given) == 2
    return capsys.readouterr().err


def test_the_average_is_written_in_half_precision_with_its_hash(run, package):
    folder = package / "tiny"
    assert names_in(folder) == ["README.md", "config.json", "model.safetensors"]
    average = checkpoint.load_weights(checkpoint.find(run), "ema")
    written = load_file(folder / "model.safetensors")
    assert written.keys() == average.keys()
    for name, tensor in average.items():
        assert torch.equal(written[name], tensor.bfloat16() if tensor.is_floating_point() else tensor)
    assert (package / pretrained.SUMS).read_text().splitlines() == [
        f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  tiny/{name}"
        for name in ("config.json", "model.safetensors")
    ]


def test_the_settings_name_no_place_of_this_machine(run, package):
    here, there = (json.loads((folder / "config.json").read_text()) for folder in (run, package / "tiny"))
    assert here["config"]["data"]["path"] == str(run.parent / "pictures")
    assert there["config"]["data"]["path"] == "embedded:fashion-mnist"
    assert there["config"]["sample"] == to_dict(recipes.get("demo").sample) != here["config"]["sample"]
    here["config"]["data"]["path"] = there["config"]["data"]["path"]
    here["config"]["sample"] = there["config"]["sample"]
    assert here == there
    config = Pipeline.from_pretrained(run).config
    with pytest.raises(ValueError, match=r"name places on this machine: data.alike \(/home/me\)"):
        ship.scrubbed(replace(config, data=replace(config.data, alike="/home/me")), "demo")
    with pytest.raises(ValueError, match="there is no recipe 'dmo'"):
        ship.scrubbed(config, "dmo")


def test_the_skeleton_of_a_card_has_all_sections_and_only_what_is_known(package):
    card = (package / "tiny" / "README.md").read_text()
    assert all(f"\n## {section}\n" in card for section in SECTIONS)
    assert "4 steps, 16 images seen" in card
    assert "classes: bag, boot, coat" in card
    assert "simflow train demo" in card
    assert "TODO" in card.split("## Figures")[1].split("##")[0]


def test_a_card_that_is_there_stays_and_one_that_is_given_replaces_it(run, tmp_path, capsys):
    given = [str(run), "m", "--into", str(tmp_path), "--num", "2"]
    card, kept = tmp_path / "card.md", tmp_path / "m" / "README.md"
    card.write_text("---\n---\n\n# m\n\nMine.\n")
    assert ship.main([*given, "--card", str(card)]) == 0
    assert "TODO" not in capsys.readouterr().out
    assert ship.main(given) == 0
    assert kept.read_text() == card.read_text()
    assert "differ from those in float32 by 0.00" in capsys.readouterr().out


def test_weights_too_large_for_a_file_are_divided(run, tmp_path, capsys, monkeypatch):
    given = [str(run), "m", "--into", str(tmp_path), "--num", "2"]
    assert ship.main(given) == 0
    assert "m/model.safetensors" in (tmp_path / pretrained.SUMS).read_text()
    whole = Pipeline.from_pretrained(tmp_path / "m").model.state_dict()
    monkeypatch.setattr(ship, "LARGEST_FILE", 50_000)
    monkeypatch.setattr(ship, "LARGEST_HEAD", 20_000)
    assert ship.main(given) == 0
    capsys.readouterr()
    divided = Pipeline.from_pretrained(tmp_path / "m").model.state_dict()
    assert all(torch.equal(divided[name], tensor) for name, tensor in whole.items())
    names = [path.name for path in weights.files(tmp_path / "m")]
    assert len(names) > 2
    assert "model.safetensors" not in names
    lines = (tmp_path / pretrained.SUMS).read_text().splitlines()
    assert [line.split("/")[1] for line in lines] == sorted(["config.json", *names])


def test_what_may_not_ship_is_refused_and_nothing_is_written(run, package, tmp_path, capsys, monkeypatch):
    given = [str(run), "new", "--into", str(tmp_path / "into"), "--num", "2"]
    assert "moves samples by" in refused(capsys, [*given, "--tolerance", "-1"])
    assert "is a saved model: give the run" in refused(capsys, [str(package / "tiny"), *given[1:]])
    assert "small letters" in refused(capsys, [str(run), "A_b", *given[2:]])
    shutil.copytree(run, tmp_path / "short")
    (file,) = (tmp_path / "short").glob("checkpoints/*/state.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"step": 3}))
    assert "at step 3 of 4" in refused(capsys, [str(tmp_path / "short"), *given[1:]])
    with monkeypatch.context() as patch:
        patch.setattr(ship, "LARGEST_FILE", 10_000)
        patch.setattr(ship, "LARGEST_HEAD", 1000)
        assert ".safetensors has 0.01 MiB, and a file may have 0" in refused(capsys, given)
    assert not (tmp_path / "into").exists()
    size = sum(path.stat().st_size for path in (package / "tiny").iterdir())
    monkeypatch.setattr(ship, "LARGEST_SUM", 3 * size // 2)
    before = names_in(package)
    assert "all models together would have" in refused(capsys, [*given[:2], "--into", str(package)])
    assert names_in(package) == before


def test_the_pipeline_computes_in_float32_with_the_rounded_weights(run, by_name):
    whole, rounded = Pipeline.from_pretrained(run), Pipeline.from_pretrained("tiny")
    for name, tensor in rounded.model.state_dict().items():
        assert tensor.dtype == whole.model.state_dict()[name].dtype
        if tensor.is_floating_point():
            assert torch.equal(tensor, whole.model.state_dict()[name].bfloat16().float())


def test_samples_without_out_lie_in_a_folder_with_the_models_name(by_name, capsys, package):
    before = names_in(package / "tiny")
    assert main(["sample", "tiny", "--labels", "coat", "--num", "3", "--device", "cpu"]) == 0
    assert "3 images in samples/tiny, a sheet of them in samples/tiny/grid.png" in capsys.readouterr().out
    assert len(list((by_name / "samples" / "tiny").glob("0*.png"))) == 3
    assert (by_name / "samples" / "tiny" / "labels.csv").is_file()
    assert names_in(package / "tiny") == before


def test_every_command_that_takes_a_run_finds_the_name(by_name, capsys, package, run):
    own = ["--data", str(run.parent / "pictures"), "--device", "cpu"]
    assert main(["reconstruct", "tiny", *own, "--num", "2", "--out", "pairs.png"]) == 0
    assert main(["interpolate", "tiny", *own, "--num", "1", "--steps", "2", "--out", "between.png"]) == 0
    assert main(["classify", "tiny", *own, "--num", "4"]) == 0
    judged = ["--num", "6", "--extractor", "none", "--nearest", "0", "--groups", "0", "--out", "judged"]
    assert main(["evaluate", "tiny", *own, *judged]) == 0
    assert json.loads(Path("judged/results.json").read_text())["run"]["path"] == "tiny"
    capsys.readouterr()
    assert main(["info", "tiny"]) == 0
    printed = capsys.readouterr().out
    assert "3: bag, boot, coat" in printed
    assert f"card         {package / 'tiny' / 'README.md'}" in printed
    assert main(["report", "tiny"]) == 0
    assert "report on tiny in report.html" in capsys.readouterr().out
    for command in ("evaluate", "analyze"):
        assert main([command, "tiny"]) == 2
        assert "say where" in capsys.readouterr().err
    assert names_in(package / "tiny") == ["README.md", "config.json", "model.safetensors"]
    assert main(["sample", "tinny"]) == 2
    assert "'tinny'; did you mean tiny, which the package brings along?" in capsys.readouterr().err


def test_a_name_of_a_recipe_and_a_model_means_the_model_unless_a_setting_is_changed(
    package, tmp_path, capsys, monkeypatch
):
    shutil.copytree(package / "tiny", tmp_path / "small-32")
    monkeypatch.setattr(pretrained, "root", lambda: tmp_path)
    assert main(["info", "small-32"]) == 0
    assert "images       16 x 16" in capsys.readouterr().out
    assert main(["info", "small-32", "--train.batch", "3"]) == 0
    assert "recipe       small-32" in capsys.readouterr().out


def test_a_run_starts_from_a_name_and_remembers_it(by_name, package, run):
    given = [*words(run.parent), "--start_from", "tiny", "--out", "finer"]
    assert main([*given, "--train.optimizer.lr", "1e-9", "--steps", "1"]) == 0
    there = Pipeline.from_pretrained("tiny").model.state_dict()
    here = Pipeline.from_pretrained("finer", which="model").model.state_dict()
    assert all(torch.allclose(here[name], tensor, atol=1e-6) for name, tensor in there.items())
    assert json.loads(Path("finer/config.json").read_text())["config"]["start_from"]["path"] == "tiny"
    assert {tensor.dtype for tensor in here.values()} == {tensor.dtype for tensor in there.values()}


def test_a_plan_of_a_model_of_the_package_lies_in_the_users_cache(by_name, package, tmp_path):
    before = names_in(package / "tiny")
    assert main(["plan", "tiny", "--num", "2", "--batch", "2", "--device", "cpu"]) == 0
    kept = tmp_path / "cache" / "simflow" / "tiny"
    (file,) = kept.iterdir()
    measured = file.read_bytes()
    sample = ["sample", "tiny", "--num", "2", "--batch", "2", "--device", "cpu"]
    assert main([*sample, "--decoding", "plan"]) == 0
    assert names_in(kept) == [file.name]
    assert file.read_bytes() == measured
    assert names_in(package / "tiny") == before
