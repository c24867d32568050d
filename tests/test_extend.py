"""Files and modules of a user's own are imported once, as anybody would import them; what is wrong in them is said."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from simflow.extend import function, import_all, imported


def write(file: Path, text: str = "class Mine: ...") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_a_file_is_imported_once_however_it_is_named(desk):
    file = write(desk / "mine.py", "import time\nclass Mine: ...")
    module = imported("mine.py")
    assert imported(str(file)) is imported(f"../{desk.name}/mine.py") is module
    assert imported("mine") is import_module("mine") is sys.modules["mine"] is module
    (desk / "link").symlink_to(desk)
    assert imported("link/mine.py") is module


def test_a_file_that_was_imported_by_python_is_the_same(desk, monkeypatch):
    write(desk / "mine.py")
    monkeypatch.syspath_prepend(desk)
    assert import_module("mine") is imported("mine.py")


def test_the_script_that_runs_is_not_imported_again(desk, monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(write(desk / "mine.py")), raising=False)
    assert imported("mine.py") is sys.modules["__main__"]


@pytest.mark.parametrize("name", ["random", "simflow", "colorsys", "my-model", "my.model"])
def test_a_file_hides_no_other_module_of_its_name(desk, name):
    """Be it loaded already, or only installed; nor does its name have to be one of Python."""
    other = None if "my" in name else import_module(name)
    if name == "colorsys":
        del sys.modules[name]
    module = imported(str(write(desk / f"{name}.py")))
    assert module.Mine().__module__ == module.__name__
    assert imported(f"{name}.py") is module
    if other is not None:
        assert import_module(name).__file__ == other.__file__


def test_two_files_of_one_name_are_two(desk):
    first, second = (imported(str(write(desk / folder / "mine.py"))) for folder in ("a", "b"))
    assert first.Mine is not second.Mine
    assert imported("a/mine.py") is first
    assert imported("b/mine.py") is second


def test_a_file_may_import_what_is_beside_it(desk):
    write(desk / "lab" / "noise.py", "SCALE = 3")
    write(desk / "lab" / "mine.py", "from noise import SCALE")
    assert imported("lab/mine.py").SCALE == 3


def test_several_places_are_named_with_commas(desk):
    write(desk / "mine.py")
    write(desk / "lab" / "flows.py")
    import_all(" mine.py, lab.flows,,")
    assert {"mine", "lab.flows"} <= set(sys.modules)
    import_all("")
    with pytest.raises(ValueError, match=r"^SIMFLOW_IMPORT: there is no file 'other.py' to import$"):
        import_all("mine.py,other.py")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1\n\ny = z\n", r"NameError: name 'z' is not defined \(line 3 of {file}\)"),
        ("x = 1\ny = (\n", r"SyntaxError: '\(' was never closed \(line 2 of {file}\)"),
        ("\nimport nowhere\n", r"ModuleNotFoundError: No module named 'nowhere' \(line 2 of {file}\)"),
        ("import json\n\njson.loads('')", r"JSONDecodeError: Expecting value.* \(line 3 of {file}\)"),
        ("def f():\n    1 / 0\n\nf()\n", r"ZeroDivisionError: division by zero \(line 2 of {file}\)"),
        ("raise ValueError('a\\n b')", r"ValueError: a b \(line 1 of {file}\)"),
        ("import sys\nsys.exit(3)", r"SystemExit: 3 \(line 2 of {file}\)"),
        (
            "from simflow.settings import choice_of\nfrom simflow.model import ModelConfig\n\n"
            "@choice_of(ModelConfig, 'posterior')\nclass Mine: ...\n",
            r"ValueError: Mine is not a frozen dataclass.* \(line 4 of {file}\)",
        ),
    ],
    ids=lambda text: text.split()[-1] if "{" not in text else "",
)
@pytest.mark.parametrize("place", ["mine.py", "mine"])
def test_what_is_wrong_in_a_file_is_one_sentence(desk, place, text, sentence):
    file = write(desk / "mine.py", text)
    wanted = sentence.replace("{file}", str(file))
    for _ in range(2):
        with pytest.raises(ValueError, match=f"^'{place}' cannot be imported: {wanted}$") as caught:
            imported(place)
        assert "\n" not in str(caught.value)
    assert "mine" not in sys.modules
    file.write_text("x = 1  # mended")
    assert imported(place).x == 1


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("other.py", "there is no file 'other.py' to import"),
        ("lab/other.py", "there is no file 'lab/other.py' to import"),
        ("folder.py", "there is no file 'folder.py' to import"),
        ("lab.other", "'lab.other' cannot be imported: ModuleNotFoundError: No module named 'lab'"),
    ],
)
def test_a_place_where_nothing_is(desk, place, sentence):
    (desk / "folder.py").mkdir()
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        imported(place)


def test_a_function_that_is_not_there_has_near_ones(desk):
    write(
        desk / "mine.py",
        "from json import loads\ndef laplace(): ...\ndef uniform(): ...\ndef _own(): ...\nx = 1",
    )
    assert function("mine.py:laplace").__name__ == function("mine:laplace").__name__ == "laplace"
    with pytest.raises(
        ValueError, match=r"^there is no function 'laplac' in 'mine\.py'; did you mean laplace\?$"
    ):
        function("mine.py:laplac")
    for name in ("x", "zzz"):
        with pytest.raises(ValueError, match=f"no function '{name}' in 'mine'; there are laplace, uniform$"):
            function(f"mine:{name}")
