"""What ships is whole, small, described, found by its name, and draws without a network."""

import hashlib
import re
import socket
from pathlib import Path

import pytest
import torch
import yaml

from simflow import pretrained, weights
from simflow.cli import main
from simflow.pipeline import Pipeline
from simflow.places import find, notes
from simflow.start import StartFrom, place
from tools.ship import LARGEST_FILE, LARGEST_SUM, shipped

SECTIONS = ("Data", "Licence", "Recipe", "Budget", "Figures", "Limits")
EACH = pytest.mark.parametrize("name", pretrained.names())


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and a working directory with nothing in it."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def some(monkeypatch, tmp_path) -> Path:
    """Two models in name only."""
    for name in ("bags-16", "boots-32"):
        folder = tmp_path / "package" / name
        folder.mkdir(parents=True)
        (folder / "config.json").touch()
        (folder / "model.safetensors").touch()
        (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# x\n\nIt draws\nbags.\n\nMore.\n")
    (tmp_path / "package" / "__pycache__").mkdir()
    monkeypatch.setattr(pretrained, "root", lambda: tmp_path / "package")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "package"


def test_the_hashes_are_those_of_the_files():
    root = pretrained.root()
    hashed = [path for path in shipped(root) if path.name != "README.md"]
    sums = root / pretrained.SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    assert dict(reversed(line.split("  ")) for line in lines) == {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in hashed
    }


def test_all_together_are_small():
    sizes = [path.stat().st_size for path in shipped(pretrained.root())]
    assert max(sizes, default=0) <= LARGEST_FILE
    assert sum(sizes) <= LARGEST_SUM


@EACH
def test_a_model_is_settings_weights_and_a_card_and_names_no_place_on_a_machine(name):
    folder = pretrained.root() / name
    others = {path.name for path in folder.iterdir()} - {path.name for path in weights.files(folder)}
    assert others == {"README.md", "config.json"}
    assert not re.search(r'"[/~]', (folder / "config.json").read_text(encoding="utf-8"))
    assert torch.float32 not in {tensor.dtype for tensor in weights.read(folder).values()}


@EACH
def test_a_card_is_filled_in(name):
    text = (pretrained.root() / name / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    head = yaml.safe_load(front)
    assert head["library_name"] == "simflow"
    assert all(head[key] for key in ("license", "tags", "datasets"))
    assert f"# {name}\n" in body
    assert "TODO" not in text
    for section in SECTIONS:
        match = re.search(rf"^## {section}\n\n(.+?)(?=^## |\Z)", body, flags=re.MULTILINE | re.DOTALL)
        assert match, f"the card of {name} has no section {section}"
        assert len(match[1].split()) >= 5
    assert len(pretrained.summary(name).split()) >= 4


@EACH
def test_a_model_draws_what_is_asked_for_without_a_network(name, offline):
    pipe = Pipeline.from_pretrained(name)
    assert {tensor.dtype for tensor in pipe.model.parameters()} == {torch.float32}
    label = pipe.model.facts.class_names[-1]
    first, again, other = (
        pipe(class_labels=[label], seeds=seeds, output_type="pt").images for seeds in ([0, 1], [0, 1], [2, 3])
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert min(image.float().std().item() for image in first) > 10, "an image is flat"
    assert main(["sample", name, "--labels", label, "--num", "2", "--device", "cpu"]) == 0
    assert len(list((offline / "samples" / name).glob("0*.png"))) == 2


def test_a_name_is_found_and_a_folder_goes_before_it(some, tmp_path):
    assert pretrained.names() == ("bags-16", "boots-32")
    assert find("bags-16") == some / "bags-16"
    assert place(StartFrom(path="bags-16")) == some / "bags-16"
    own = tmp_path / "bags-16"
    own.mkdir()
    for file in ("config.json", "model.safetensors"):
        (own / file).touch()
    assert find("bags-16").resolve() == own
    assert place(StartFrom(path="bags-16")).resolve() == own
    assert notes("bags-16").resolve() == own


def test_a_name_that_is_not_there_leads_to_those_that_are(some):
    for given, sentence in (
        ("bag-16", "'bag-16'; did you mean bags-16, which the package brings along?"),
        ("xyz", "'xyz'; the package brings along bags-16, boots-32"),
    ):
        with pytest.raises(
            ValueError, match=re.escape(f"there is no run, checkpoint or saved model at {sentence}")
        ):
            find(given)
    with pytest.raises(ValueError, match="nothing at 'bag-16' to start from; did you mean bags-16"):
        place(StartFrom(path="bag-16"))


def test_measurements_of_a_model_of_the_package_lie_in_the_users_cache(some, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert notes("bags-16") == tmp_path / "cache" / "simflow" / "bags-16"
    assert notes("bags-16").is_dir()
    assert sorted(path.name for path in (some / "bags-16").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    with pytest.raises(ValueError, match="there is no run"):
        notes("xyz")


def test_the_list_names_models_after_the_recipes(some, capsys):
    assert main(["recipes"]) == 0
    before, after, _ = capsys.readouterr().out.split("\n\n")
    assert "bags-16" not in before
    head, *lines = after.splitlines()
    assert "simflow sample" in head
    assert [line.split() for line in lines] == [
        [name, "It", "draws", "bags.", "(0.0", "MB)"] for name in ("bags-16", "boots-32")
    ]
