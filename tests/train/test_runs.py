"""Run folders are numbered, resumed from the latest checkpoint, and refused to another run."""

import json
import logging
from pathlib import Path

import pytest

from simflow.train.checkpoint import Damaged
from simflow.train.runs import RunFolder, logging_to, new_run, open_or_resume

CONFIG = {"name": "demo", "train": {"lr": 0.1, "stages": [{"steps": 5}]}}


def interrupted(path, steps=(2, 4), lines=(1, 2, 3, 4, 5, 6)) -> RunFolder:
    """A run with checkpoints after some steps, that went on a little after the last one."""
    run, checkpoint = open_or_resume(path, CONFIG)
    assert checkpoint is None
    for step in steps:
        (run.checkpoints / f"step-{step:07d}").mkdir()
        (run.checkpoints / f"step-{step:07d}" / "state.json").write_text("{}")
    run.metrics.write_text("".join(json.dumps({"step": step}) + "\n" for step in lines) + '{"step": 7, "lo')
    return run


def kept_steps(run):
    return [json.loads(line)["step"] for line in run.metrics.read_text().splitlines()]


def test_runs_are_numbered(tmp_path):
    assert new_run(tmp_path / "runs", "a").path == tmp_path / "runs" / "00000-a"
    assert new_run(tmp_path / "runs", "b").path.name == "00001-b"
    (tmp_path / "runs" / "00041-c").mkdir()
    (tmp_path / "runs" / "notes").mkdir()
    assert new_run(tmp_path / "runs", "d_1.x").path.name == "00042-d_1.x"


def test_two_new_runs_at_once_get_folders_of_their_own(tmp_path, monkeypatch):
    (tmp_path / "00000-a").mkdir()
    monkeypatch.setattr(Path, "iterdir", lambda path: iter(()))  # the other was not there yet
    assert new_run(tmp_path, "a").path == tmp_path / "00001-a"


@pytest.mark.parametrize("name", ["", "a/b", "a b"])
def test_an_impossible_name_is_a_sentence(tmp_path, name):
    with pytest.raises(ValueError, match="a run's name may hold"):
        new_run(tmp_path, name)


def test_a_new_folder_gets_its_settings_and_parts(tmp_path):
    run, checkpoint = open_or_resume(tmp_path / "deep" / "out", CONFIG)
    assert checkpoint is None
    assert json.loads(run.config.read_text()) == CONFIG
    assert run.samples.is_dir()
    assert run.checkpoints.is_dir()


def test_a_resume_takes_the_latest_checkpoint_and_cuts_later_metrics(tmp_path):
    interrupted(tmp_path)
    run, checkpoint = open_or_resume(tmp_path, CONFIG)
    assert checkpoint == run.checkpoints / "step-0000004"
    assert kept_steps(run) == [1, 2, 3, 4]


def test_a_half_written_line_is_cut_even_before_the_checkpoint(tmp_path):
    interrupted(tmp_path, steps=(9,))
    assert kept_steps(open_or_resume(tmp_path, CONFIG)[0]) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("line", [b"garbage", b"\xff\xfe\x0b", b"[1]", b'{"stop": 1}', b"3"])
def test_a_damaged_line_is_named_and_nothing_is_changed(tmp_path, line):
    run = interrupted(tmp_path)
    first, *rest = run.metrics.read_bytes().splitlines(keepends=True)
    run.metrics.write_bytes(b"".join([first, line, b"\n", *rest]))
    before = (run.metrics.read_bytes(), run.config.read_bytes())
    with pytest.raises(Damaged, match=r"line 2 of '.*metrics\.jsonl' is damaged: delete it"):
        open_or_resume(tmp_path, {**CONFIG, "name": "other"})
    assert (run.metrics.read_bytes(), run.config.read_bytes()) == before


def test_without_a_checkpoint_a_run_starts_anew_with_any_settings(tmp_path):
    interrupted(tmp_path, steps=())
    run, checkpoint = open_or_resume(tmp_path, {"name": "other"})
    assert checkpoint is None
    assert kept_steps(run) == []
    assert json.loads(run.config.read_text()) == {"name": "other"}


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("text")
    with pytest.raises(ValueError, match="is not empty and not a run folder"):
        open_or_resume(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="is a file, not a run folder"):
        open_or_resume(tmp_path / "thesis.txt", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_log_is_appended_and_let_go(tmp_path):
    logger = logging.getLogger("simflow")
    before = (list(logger.handlers), logger.level)
    for text in ("first", "second"):
        with logging_to(tmp_path / "log.txt"):
            logging.getLogger("simflow.train").info(text)
    logger.warning("outside")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.split()[-2:] for line in lines] == [["INFO", "first"], ["INFO", "second"]]
    assert (list(logger.handlers), logger.level) == before


@pytest.mark.parametrize("configured", [False, True])
def test_warnings_are_heard_once_beside_the_log(tmp_path, monkeypatch, capsys, configured):
    """As without the log: on stderr where no logging is configured, and else where the user has them."""
    mine = logging.StreamHandler()
    mine.setFormatter(logging.Formatter("mine: %(message)s"))
    monkeypatch.setattr(logging.getLogger(), "handlers", [mine] if configured else [])
    with logging_to(tmp_path / "log.txt"):
        logging.getLogger("simflow").info("going on")
        logging.getLogger("simflow.train").warning("left out")
    said = "mine: going on\nmine: left out\n" if configured else "left out\n"
    assert capsys.readouterr().err == said
    assert len((tmp_path / "log.txt").read_text().splitlines()) == 2
    assert logging.getLogger("simflow").handlers == []
