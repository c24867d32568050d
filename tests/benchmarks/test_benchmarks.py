"""What all subjects share: turns, deadlines, tables and plots."""

import json
import sys
from argparse import Namespace

import pytest
import torch

from benchmarks import sizes
from benchmarks.__main__ import main, parser, plot
from benchmarks.ceilings import Ceilings
from benchmarks.measure import Deadline, Timing, interleaved, machine, table
from benchmarks.plots import Bar, Bars, Lines, Points, draw
from benchmarks.sizes import Case
from benchmarks.subject import Setting

CPU = torch.device("cpu")
FEW = ["--rounds", "1", "--matrix", "32", "--copied", "1024"]


def test_contestants_take_turns():
    order = []
    runs = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    times = interleaved(runs, rounds=2, device=CPU)
    assert order == ["a", "b"] * 3
    assert [len(timing.rounds) for timing in times.values()] == [2, 2]
    assert interleaved(runs, rounds=1, device=CPU, warm_up=False).keys() == times.keys()
    assert order == ["a", "b"] * 4


def test_nothing_is_drawn_where_nothing_was_timed(tmp_path):
    plot([], tmp_path / "none.png", title="none")
    assert not list(tmp_path.iterdir())


def test_a_ratio_is_of_the_same_round():
    assert Timing([2.0, 8.0, 30.0]).ratio(Timing([1.0, 4.0, 10.0])) == 2.0


def test_nothing_new_begins_after_the_deadline():
    now = iter([0.0, 1.0, 5.0, 5.0, 5.0])
    deadline = Deadline(3.0, now=lambda: next(now))
    assert not deadline.forgoes("a batch of 1")
    assert deadline.forgoes("a batch of 2")
    assert deadline.left_out == ["a batch of 2"]
    times = interleaved({"a": lambda: None}, rounds=9, device=CPU, deadline=deadline)
    assert len(times["a"].rounds) == 1, "the first round is always there"
    assert not Deadline().over


def test_a_row_says_nothing_in_columns_that_it_lacks():
    assert table([{"a": "1"}, {"a": "2", "b": "3"}]) == "| a | b |\n| --- | --- |\n| 1 |  |\n| 2 | 3 |"


def test_a_figure_has_its_machine_and_date():
    assert {"device", "threads", "torch", "date", "revision"} <= machine(CPU).keys()


def test_bars_and_lines_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    panels = [
        Bars("a batch", "ms", [Bar("forward", 1.0, ""), Bar("sample", 20.0, "20.0 passes")]),
        Lines("growth", "tokens", "ms", [Points("sample", [4.0, 16.0], [1.0, 4.0])]),
    ]
    draw(panels, tmp_path / "a.png", title="machine")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    draw(panels, tmp_path / "a.svg", title="machine")
    assert "<svg" in (tmp_path / "a.svg").read_text()


def test_without_matplotlib_there_is_a_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    words = ["--base", "1", "2", "1", "1", "64", "--grids", "2", "--layers", "1", "--images", "1"]
    main(["growth", *words, *FEW, "--out", str(tmp_path / "out.json")])
    assert "plots need matplotlib" in capsys.readouterr().out
    assert not (tmp_path / "out.png").exists()
    assert (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["training", "--recipe", "nope"], "there is no recipe 'nope'"),
        (["guidance", "--sizes", "nope:4"], "there is no recipe 'nope'"),
        (["sampling", "--peer-tarflow", "nowhere"], "'nowhere' is no checkout of apple/ml-tarflow"),
        (["growth", "--out", "table.md"], "the name after --out must end in .json, and table.md does not"),
    ],
)
def test_a_mistake_is_one_sentence(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main([*words, *FEW])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"python -m benchmarks: {said}")


def test_a_deadline_that_is_over_leaves_everything_out(tmp_path, capsys):
    main(["sampling", "--geometry", "XXL", *FEW, "--seconds", "-1", "--out", str(tmp_path / "out.json")])
    assert "Left out for lack of time: XXL, 16 images." in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["left out"] == ["XXL, 16 images"]


def test_what_there_is_no_more_time_for_is_named_once(monkeypatch):
    now, forgotten = [0.0], []
    setting = Setting(device=CPU, ceilings=Ceilings(1.0, 1.0), deadline=Deadline(3.0, now=lambda: now[0]))
    monkeypatch.setattr(Setting, "forget", lambda self: forgotten.append(self))
    names = ("first", "second")
    cases = [Case(name, lambda name=name: f"the flow {name}", [1, 2, 4]) for name in names]
    monkeypatch.setattr(sizes, "cases", lambda chosen, device: cases)
    done = []
    for case, flow in sizes.flows(Namespace(), setting):
        for images in case.in_time(setting, of=", guided"):
            done.append((flow, images))
            now[0] += 2.0
    assert done == [("the flow first", 1), ("the flow first", 2)]
    assert len(forgotten) == 2
    left = ["first, 4 images, guided", "second, 1 images", "second, 2 images", "second, 4 images"]
    assert setting.deadline.left_out == left


@pytest.mark.parametrize(
    "words",
    [
        ["guidance", "--size", "2", "8", "2", "1", "64"],
        ["sampling", "--sizes", "demo:2"],
        ["sampling", "--size", "2", "8"],
    ],
)
def test_sizes_that_are_none(words, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(words)
    assert "size" in capsys.readouterr().err
