"""``simflow study`` from its words to its files, and what it refuses."""

import json

import pytest

from simflow.cli import main
from tests.cli.test_mistakes import complaint
from tests.study.tiny import SETTINGS
from tests.whole.tiny import pictures


@pytest.fixture
def words(tmp_path) -> list[str]:
    given = ["study", "table4", "--rows", "std-0.5", "--seeds", "0", "--steps", "2", "--num", "6"]
    given += ["--extractor", "none", "--data", str(pictures(tmp_path / "pictures")), "--device", "cpu"]
    given += ["--out", str(tmp_path / "out"), "--keep-samples"]
    settings = {name: str(value).replace(" ", "") for name, value in SETTINGS.items()}
    return [*given, *(word for name, value in settings.items() for word in (f"--{name}", value))]


def test_one_row_of_a_table(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("simflow.study.report.can_plot", lambda: False)
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "std 0.5 beats std 0.1 by PSNR (no figure of std-0.1)" in said
    assert "table.md" in said
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert table["budget"]["steps"] == 2
    assert list(table["rows"][2]["seeds"]) == ["0"]
    assert len(list((tmp_path / "out" / "samples").rglob("*.npz"))) == 2
    (tmp_path / "out" / "table.md").unlink()
    assert main([*words, "--table-only"]) == 0
    assert "std 0.5" in (tmp_path / "out" / "table.md").read_text()
    changed = ["7" if word == "6" else word for word in words]
    assert "begun with another budget (num is 6 there and 7 here)" in complaint(capsys, 2, changed)


def test_the_list(capsys):
    assert main(["study"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("table3")
    assert "balance" in said


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"table4": "table44"}, "there is no study 'table44'; did you mean table4"),
        ({"std-0.5": "std-5"}, "has no row 'std-5'; it has std-0.1"),
        ({"--seeds": "--train.seed"}, "said with --seeds"),
        ({"[1,1]": "some"}, "model.prior.depths"),
        ({"none": "efficientnet-lite0"}, "at least 32 images: give a larger --num"),
        ({"6": "3"}, "--num must be more than 3, not 3"),
        ({"none": "fid"}, "there is no extractor 'fid'"),
    ],
)
def test_mistakes(words, capsys, changes, sentence):
    assert sentence in complaint(capsys, 2, [changes.get(word, word) for word in words])


def test_no_images(tmp_path, capsys):
    said = complaint(
        capsys, 2, ["study", "table4", "--data", str(tmp_path / "no"), "--out", str(tmp_path / "o")]
    )
    assert "there are no images at" in said
    assert "there is no study in" in complaint(
        capsys, 2, ["study", "table4", "--table-only", "--out", str(tmp_path / "o")]
    )


def test_a_table_of_an_empty_folder_begins_no_study(tmp_path, capsys):
    said = complaint(capsys, 2, ["study", "table4", "--table-only", "--out", str(tmp_path)])
    assert "there is no study in" in said
    assert not list(tmp_path.iterdir())
