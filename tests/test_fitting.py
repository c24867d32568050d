"""Training from a program: it stops when told to, in any thread, and is alone in its folder."""

from threading import Thread

import pytest
from filelock import FileLock

from simflow import recipes
from simflow.fitting import fit
from simflow.settings import override
from simflow.train import checkpoint
from simflow.train.callbacks import Callback
from simflow.train.runs import RunFolder
from tests.whole.tiny import SETTINGS, pictures


@pytest.fixture
def config(tmp_path):
    made = override(recipes.get("demo"), SETTINGS)
    return override(made, {"data.path": str(pictures(tmp_path / "pictures"))})


class Steps(Callback):
    """Counts them."""

    def __init__(self):
        self.done = 0

    def on_step(self, metrics):
        self.done = metrics.step


def test_it_stops_when_told_to_saves_and_goes_on(tmp_path, config):
    counted = Steps()
    first = fit(
        config, tmp_path / "run", listeners=lambda run, loss: [counted], until=lambda: counted.done == 2
    )
    assert (first.finished, first.state.step) == (False, 2)
    assert checkpoint.step_of(checkpoint.latest(first.run.checkpoints)) == 2
    second = fit(config, tmp_path / "run", device="cpu")
    assert (second.finished, second.state.step) == (True, 4)


def test_it_may_run_in_a_thread(tmp_path, config):
    ended = []
    thread = Thread(target=lambda: ended.append(fit(config, tmp_path / "run").finished))
    thread.start()
    thread.join()
    assert ended == [True]


def test_two_trainings_do_not_share_a_folder(tmp_path, config):
    run = RunFolder(tmp_path / "run")

    def refused(opened, loss):
        with pytest.raises(ValueError, match="another process is training in"):
            fit(config, run.path)
        return []

    assert fit(config, run.path, listeners=refused).finished
    with FileLock(run.lock, blocking=False):  # given back
        pass


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path, config):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(ValueError, match="is not empty and not a run folder"):
        fit(config, tmp_path / "thesis")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]
