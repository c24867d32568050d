"""The script for a GPU: its parts in order, their time, what happens when one fails; and a rehearsal of them all."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest

from benchmarks.__main__ import main, parser
from tests.benchmarks.fake import checkout

SCRIPT = Path(__file__).parents[2] / "tools" / "gpu_benchmarks.sh"
COMPILED = "training-compiled"
"""Left out of the rehearsal: a compiler takes longer than all the rest."""
PARTS = ("sampling", "training-recipe", "training", "loader", "sampling-guided", "growth", "guidance")
PARTS += ("training-codes",)


@pytest.fixture
def call(tmp_path):
    """Runs the script with an interpreter that notes how it was called, fails at a loader, and leaves a table."""
    python = tmp_path / "python"
    python.write_text(
        f'#!/usr/bin/env bash\nprintf "%q " "$@" >>{tmp_path}/calls; echo >>{tmp_path}/calls\n'
        'while [ "$1" != --out ]; do shift; done; echo "| a table |" >"${2%.json}.md"\n'
        '[[ "$2" != *loader* ]]\n'
    )
    python.chmod(0o755)

    def run(*words: str) -> tuple[subprocess.CompletedProcess, list[list[str]]]:
        done = subprocess.run(
            [str(SCRIPT), str(tmp_path / "out"), *words],
            env={"PATH": "/usr/bin:/bin", "PYTHON": str(python)},
            capture_output=True,
            text=True,
            check=False,
        )
        calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
        return done, [shlex.split(line)[2:] for line in calls]

    return run


def names(calls: list[list[str]]) -> tuple[str, ...]:
    return tuple(Path(words[words.index("--out") + 1]).stem for words in calls)


def test_all_parts_run_in_order_though_one_fails(call, tmp_path):
    done, calls = call("--peer-tarflow", str(checkout(tmp_path)))
    assert names(calls) == (*PARTS, COMPILED)
    assert done.returncode == 1
    assert "not finished: loader; see" in done.stderr
    tables = (tmp_path / "out" / "tables.md").read_text()
    assert tables.count("| a table |") == len(PARTS) + 1
    assert done.stdout.endswith(tables)
    assert "== loader: loader --recipe simflow-b" in (tmp_path / "out" / "log.txt").read_text()


def test_a_gpu_is_asked_for_what_the_command_knows_in_less_than_nine_minutes(call, tmp_path):
    place = str(checkout(tmp_path))
    _, calls = call("--peer-tarflow", place, "--peer-gsjacobi", place)
    chosen = [parser().parse_args(words) for words in calls]
    assert all(each.device == "cuda" for each in chosen)
    assert sum(each.seconds for each in chosen) < 500, "what is left is for starting and for overrunning"
    first, recipe = chosen[:2]
    assert set(first.geometry) == {"S", "B", "L", "XL", "XXL"}
    assert set(first.batch) == {1, 16, 256}
    assert str(first.peer_tarflow) == place
    assert (recipe.recipe, recipe.data_shape, recipe.largest) == ("simflow-xxl", 256, True)
    assert (recipe.losses, recipe.checkpointing) == (["plain", "all"], ["off", "on"])
    assert {each.dtype for each in chosen if each.what in ("sampling", "training", "loader")} == {"bfloat16"}
    assert [str(each.peer_gsjacobi) for each in chosen if getattr(each, "peer_gsjacobi", None)] == [place]


def test_no_part_begins_without_time(call):
    done, calls = call("--seconds", "3")
    assert calls == []
    assert "not finished: sampling training-recipe" in done.stderr


@pytest.mark.parametrize("words", [("--size", "4"), ("another",), ("--peer-tarflow",)])
def test_words_that_it_does_not_know(call, words):
    done, calls = call(*words)
    assert done.returncode == 2
    assert "tools/gpu_benchmarks.sh OUT" in done.stderr
    assert calls == []


def test_a_rehearsal_of_every_part(call, tmp_path, capsys):
    """The tiny calls of the script, in this process: starting Python anew for each would take most of the time."""
    _, calls = call("--tiny")
    assert names(calls) == PARTS
    for words in calls:
        main(words)
        out = Path(words[words.index("--out") + 1])
        written = json.loads(out.read_text())
        assert written["records"], out.stem
        assert written["left out"] == []
        assert "matmul" in " ".join(written["machine"])
        table = out.with_suffix(".md").read_text()
        assert table.strip() == capsys.readouterr().out.strip()
        lines = [line for line in table.splitlines() if line.startswith("|")]
        assert len(lines) == 2 + len(written["records"])
        assert {line.count("|") for line in lines} == {lines[0].count("|")}
        assert out.with_suffix(".png").exists()
    off, on = json.loads((tmp_path / "out" / "training-recipe.json").read_text())["records"]
    assert (off["checkpointing"], on["checkpointing"]) == ("off", "on")
    assert off["TFLOP an image"] == on["TFLOP an image"] > 0, "what is recomputed is not counted"
