"""A slip in the words of a command is one sentence with a hint, exit code 2; what is right is not touched."""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import pytest
from tyro.conf import OmitArgPrefixes, Positional, arg

from simflow.cli import COMMANDS, main, module_of
from simflow.cli.parsing import flags_of, needed_of, parsed, slips
from tests.cli.test_mistakes import complaint


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Within."""

    how_far: float | None = None
    which: Literal["ema", "model"] = "ema"


@dataclass(frozen=True, kw_only=True)
class Outer:
    """A command."""

    run: Positional[str]
    num: Annotated[int | None, arg(aliases=["-n"])] = None
    levels: tuple[float, ...] = ()
    inner: OmitArgPrefixes[Inner]
    out: str
    place: Path | None = None
    dry: bool = False


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("r --out x --nmu 3", "there is no flag --nmu for 'toy'; did you mean --num?"),
        ("r --out x --how_fra=3", "there is no flag --how-fra for 'toy'; did you mean --how-far?"),
        ("--ouput x", "there is no flag --ouput for 'toy'; did you mean --out?"),
        ("r --out x --no-dry", "there is no flag --no-dry for 'toy'"),
        ("r --out x --zzzzzz", "there is no flag --zzzzzz for 'toy'; 'toy --help' lists what there is"),
        ("r --out x --num many", "--num must be a whole number, not 'many'"),
        ("r --out x -n 1e3", "-n must be a whole number, not '1e3'"),
        ("r --out x -n", "-n needs a value"),
        ("r --out x --num=1.5", "--num must be a whole number, not '1.5'"),
        ("r --out x --how-far wide", "--how-far must be a number, not 'wide'"),
        ("r --out x --levels 0 y", "--levels must be a number, not 'y'"),
        ("r --out x --which em", "--which must be ema or model, not 'em'"),
        ("r --out", "--out needs a value"),
        ("r", "'toy' needs --out; 'toy --help' says what that is"),
        ("r s --out x", "'toy' does not know what to do with 's'"),
        ("r --out x --dry yes", "'toy' does not know what to do with 'yes'"),
        ("r --out x -q", "'toy' does not know what to do with '-q'"),
        ("--out x", "'toy' is missing RUN before its flags; 'toy --help'"),
    ],
)
def test_a_slip_is_one_sentence(capsys, words, sentence):
    with pytest.raises(ValueError, match=r"^.*$") as caught:
        parsed(Outer, words.split(), prog="toy")
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(("name", "wanted"), [("sample", "RUN"), ("info", "WHAT"), ("stats", "IMAGES")])
def test_a_command_without_its_argument_says_which(name, wanted):
    arguments = import_module(f"simflow.cli.{name}").Arguments
    assert next(slips(arguments, [], prog=name)).startswith(f"'{name}' ")
    assert needed_of(arguments) == [wanted]


def test_what_is_not_foreseen_is_said_in_the_parsers_words_without_the_box():
    with pytest.raises(ValueError, match="-n") as caught:
        parsed(Outer, ["r", "--out", "x", "-n", "many"], prog="toy")
    assert not set("\n│╭─") & set(str(caught.value))


def test_what_is_right_is_taken():
    words = [
        "r",
        "--out",
        "x",
        "--levels",
        "-1.5",
        "2",
        "--how_far=3",
        "--which",
        "model",
        "-n",
        "4",
        "--dry",
    ]
    inner = Inner(how_far=3.0, which="model")
    assert parsed(Outer, words, prog="toy") == Outer(
        run="r", num=4, levels=(-1.5, 2.0), inner=inner, out="x", dry=True
    )


def test_a_home_folder_that_the_shell_has_left_is_spelled_out(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parsed(Outer, ["r", "--out", "x", "--place=~/runs/mine"], prog="toy").place == Path(
        "/home/me/runs/mine"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_suggests_its_own_flags(capsys, command):
    """Slips are found in the words that the parser has: no flag of the help is said not to be there."""
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    flags = flags_of(import_module(f"simflow.cli.{module_of(command)}").Arguments)
    assert all(flag in shown.out for flag in flags)
    longest = max(flags, key=len, default="--")
    sentence = complaint(capsys, 2, [command, f"{longest}z"])
    assert f"there is no flag {longest}z for 'simflow {command}'" in sentence
    if flags:
        assert f"did you mean {longest}?" in sentence
