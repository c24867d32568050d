"""Training from a program: it stops when told to, in any thread, and is alone in its folder."""

import json
from dataclasses import dataclass, replace
from threading import Thread

import numpy as np
import pytest
import torch
from filelock import FileLock

from simflow import recipes
from simflow.autoencoder.compact import CompactConfig
from simflow.data import from_arrays
from simflow.fitting import fit, refuse_device
from simflow.pipeline import Pipeline
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


@pytest.mark.parametrize("there", ["bfloat16", "float32"])
def test_auto_is_what_is_faster_where_a_run_begins_and_stays_that(tmp_path, config, monkeypatch, there):
    config = override(config, {"train.dtype": "auto"})
    monkeypatch.setattr("simflow.fitting.faster_dtype", lambda device: there)
    begun = fit(config, tmp_path / "run", until=lambda: True)
    assert (begun.finished, begun.config.train.dtype) == (False, there)
    other = {"float32": "bfloat16", "bfloat16": "float32"}[there]
    monkeypatch.setattr("simflow.fitting.faster_dtype", lambda device: other)
    gone_on = fit(config, tmp_path / "run")
    assert gone_on.config.train.dtype == there
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["train"]["dtype"] == there
    said = fit(override(config, {"train.dtype": there}), tmp_path / "other")
    for name, tensor in gone_on.objective.model.state_dict().items():
        assert torch.equal(tensor, said.objective.model.state_dict()[name])
    with pytest.raises(ValueError, match=rf"train\.dtype is {there} there and {other} here"):
        fit(override(config, {"train.dtype": other}), tmp_path / "run")


def test_the_two_dtypes_train_other_weights(tmp_path, config):
    made = [
        fit(override(config, {"train.dtype": dtype}), tmp_path / dtype) for dtype in ("float32", "bfloat16")
    ]
    first, second = (each.objective.model.state_dict() for each in made)
    assert not all(torch.equal(tensor, second[name]) for name, tensor in first.items())


@pytest.mark.parametrize(
    ("path", "value"), [("train.microbatch", 2), ("model.prior.block.checkpointing", True), ("train.keep", 1)]
)
def test_what_takes_memory_may_change_on_the_way(tmp_path, config, path, value):
    """A run goes on where there is less of it; its batch stays."""
    counted = Steps()
    fit(config, tmp_path / "run", listeners=lambda run, loss: [counted], until=lambda: counted.done == 2)
    after = fit(override(config, {path: value}), tmp_path / "run")
    assert (after.finished, after.state.step) == (True, 4)
    with pytest.raises(ValueError, match=r"train\.batch is 4 there and 8 here"):
        fit(override(config, {"train.batch": 8}), tmp_path / "run")


def test_the_autoencoder_may_keep_fewer_activations_on_the_way(tmp_path, config):
    kl = {"type": "KLConfig", "latent_channels": 4, "width": 8, "multipliers": [1, 1, 1], "encoder_blocks": 1}
    config = override(config, {"model.autoencoder": kl})
    counted = Steps()
    fit(config, tmp_path / "run", listeners=lambda run, loss: [counted], until=lambda: counted.done == 2)
    after = fit(override(config, {"model.autoencoder.checkpointing": True}), tmp_path / "run")
    assert (after.finished, after.state.step) == (True, 4)


def test_a_device_may_be_chosen_by_itself_and_one_that_is_absent_is_refused_at_once(
    tmp_path, config, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="'cuda' is asked for, but torch finds no CUDA GPU here"):
        fit(override(config, {"data.path": "nowhere"}), tmp_path / "run", device="cuda")
    fitted = fit(config, tmp_path / "run", device="auto")
    assert fitted.objective.model.device == torch.device("cpu")


def test_fd_loss_on_a_gpu_of_apples_is_refused(config):
    given = override(config, {"objective.frechet.type": "FrechetConfig"})
    with pytest.raises(ValueError, match="float64, which a GPU of Apple's does not have: say --device cpu"):
        refuse_device(given, torch.device("mps"))
    refuse_device(given, torch.device("cpu"))
    refuse_device(config, torch.device("mps"))


def test_arrays_of_a_program_are_trained_on(tmp_path, config):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 20, 18), dtype=np.uint8)
    images = from_arrays(pixels, np.arange(12) % 2, ("bag", "boot"), config=config.data)
    fitted = fit(override(config, {"data.path": "nowhere"}), tmp_path / "run", images=images)
    assert (fitted.finished, fitted.objective.model.facts.class_names) == (True, ("bag", "boot"))
    for wrong in (from_arrays(pixels[:, :8, :8]), from_arrays(np.zeros((2, 16, 16, 3), dtype=np.uint8))):
        with pytest.raises(ValueError, match=r"they would be 1 x 16 x 16"):
            fit(config, tmp_path / "other", images=wrong)
        validating = override(config, {"train.validation": "ValidationConfig"})
        with pytest.raises(ValueError, match=r"they would be 1 x 16 x 16"):
            fit(validating, tmp_path / "other", unseen=wrong)
    assert not (tmp_path / "other").exists()


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


def test_what_could_not_be_read_back_is_not_trained(tmp_path, config):
    @dataclass(frozen=True, kw_only=True)
    class Own(CompactConfig):
        pass

    own = Own(latent_channels=4, patch=4, widths=(8, 8))
    with pytest.raises(ValueError, match=r"'model\.autoencoder"):
        fit(replace(config, model=replace(config.model, autoencoder=own)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_saved_model_is_no_run_and_what_ended_at_once_is_one(tmp_path, config):
    run = tmp_path / "run"
    for folder in (run / "samples", run / "checkpoints"):
        folder.mkdir(parents=True)
    (run / ".part-config.json").touch()
    done = fit(config, run)
    assert done.finished
    Pipeline(done.objective.model, config).save_pretrained(tmp_path / "saved")
    for settings in (None, "{}"):
        if settings is not None:
            (tmp_path / "saved" / "config.json").write_text(settings)
            (tmp_path / "saved" / "model.safetensors").unlink(missing_ok=True)
        with pytest.raises(ValueError, match="is not empty and not a run folder"):
            fit(config, tmp_path / "saved")


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path, config):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(ValueError, match="is not empty and not a run folder"):
        fit(config, tmp_path / "thesis")
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]
