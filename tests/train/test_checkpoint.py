"""Interrupted and resumed is uninterrupted, bit for bit; what cannot be loaded is refused in one sentence."""

import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from simflow.seeding import generator
from simflow.train import checkpoint
from simflow.train.ema import EmaConfig
from simflow.train.optim import OptimizerConfig, step_clipped
from simflow.train.state import TrainState

CONFIG = {"name": "demo", "train": {"lr": 0.01}}


class Net(nn.Module):
    """Has all that is awkward to save: buffers, tied weights, a transposed parameter, one never trained."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)
        self.tied = self.first
        self.turned = nn.Parameter(torch.randn(2, width).T)
        self.unused = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return self.norm(self.tied(x)) @ self.turned


def fresh(seed: int, *, width: int = 4, fused: bool = True) -> TrainState:
    torch.manual_seed(seed)
    modules = {"model": Net(width), "critic": nn.Linear(2, 1)}
    optimizers = {
        name: OptimizerConfig(lr=0.01, fused=fused).build(module) for name, module in modules.items()
    }
    ema = EmaConfig(rate=0.9).build(modules["model"])
    return TrainState(modules=modules, optimizers=optimizers, ema=ema)


def train(state: TrainState, steps: int) -> TrainState:
    for _ in range(steps):
        x = torch.randn(5, 3, generator=generator("test", state.step))
        y = state.model(x)
        loss = y.square().mean() + state.modules["critic"](y).mean()
        for optimizer in state.optimizers.values():
            optimizer.zero_grad()
        loss.backward()
        for optimizer in state.optimizers.values():
            step_clipped(optimizer, 1.0)
        state.ema.update(state.model)
        state.step += 1
        state.images_seen += 5
    return state


def everything(state: TrainState) -> dict[str, torch.Tensor]:
    names = state.parameter_names()
    found = {f"ema.{name}": tensor for name, tensor in state.ema.weights.items()}
    for module_name, module in state.modules.items():
        found |= {f"{module_name}.{name}": tensor for name, tensor in module.state_dict().items()}
    for optimizer in state.optimizers.values():
        for parameter, entries in optimizer.state.items():
            found |= {f"{names[parameter]}/{entry}": value for entry, value in entries.items()}
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.mark.parametrize("fused", [True, False])
def test_interrupted_and_resumed_is_uninterrupted(tmp_path, fused):
    straight = train(fresh(0, fused=fused), 3)
    straight.extra["seconds"] = 1.5
    path = checkpoint.save(tmp_path, straight, CONFIG)
    resumed = fresh(1, fused=fused)
    checkpoint.load(path, resumed)
    assert (resumed.step, resumed.images_seen, resumed.ema.steps) == (3, 15, 3)
    assert resumed.extra == {"seconds": 1.5}
    assert_same(everything(straight), everything(resumed))
    assert_same(everything(train(straight, 3)), everything(train(resumed, 3)))


def test_a_checkpoint_before_the_first_step(tmp_path):
    path = checkpoint.save(tmp_path, fresh(0), CONFIG)
    resumed = train(fresh(1), 2)
    checkpoint.load(path, resumed)
    assert_same(everything(train(fresh(0), 2)), everything(train(resumed, 2)))


def test_the_files_are_readable_alone(tmp_path):
    state = train(fresh(0), 1)
    path = checkpoint.save(tmp_path / "checkpoints", state, CONFIG)
    assert path.name == "step-0000001"
    files = {"model", "critic", "ema", "optimizer"}
    assert {file.name for file in path.iterdir()} == {f"{f}.safetensors" for f in files} | {
        "config.json",
        "state.json",
    }
    assert checkpoint.load_config(path) == CONFIG
    Net(4).load_state_dict(checkpoint.load_weights(path))
    assert torch.equal(checkpoint.load_weights(path)["turned"], state.ema.weights["turned"])
    assert torch.equal(checkpoint.load_weights(path, "model")["turned"], state.model.get_parameter("turned"))
    moments = checkpoint.load_weights(path, "optimizer")
    assert "model/model.first.weight/exp_avg" in moments
    assert not any("unused" in name for name in moments)
    record = json.loads((path / "state.json").read_text())
    assert (record["step"], record["images_seen"], record["torch"]) == (1, 5, torch.__version__)


def test_only_the_newest_are_kept_and_never_is_the_new_one_deleted(tmp_path):
    state = fresh(0)
    for step in (5, 10_000_000, 20, 7):
        state.step = step
        checkpoint.save(tmp_path, state, CONFIG)
    assert len(list(tmp_path.iterdir())) == 4
    assert checkpoint.latest(tmp_path) == tmp_path / "step-10000000"
    state.step = 1
    checkpoint.save(tmp_path, state, CONFIG, keep=2)
    assert {path.name for path in tmp_path.iterdir()} == {"step-10000000", "step-0000001"}
    with pytest.raises(ValueError, match="at least one checkpoint must be kept"):
        checkpoint.save(tmp_path, state, CONFIG, keep=0)


def test_one_that_holds_its_own_evaluation_is_kept(tmp_path):
    state = fresh(0)
    for step in (1, 2, 3):
        state.step = step
        path = checkpoint.save(tmp_path, state, CONFIG, keep=1)
        if step == 1:
            (path / "evaluation").mkdir()
    assert {path.name for path in tmp_path.iterdir()} == {"step-0000001", "step-0000003"}


def test_an_interrupted_save_is_invisible_and_cleared_by_the_next(tmp_path, monkeypatch):
    state = train(fresh(0), 1)
    good = checkpoint.save(tmp_path, state, CONFIG)
    train(state, 1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_write_json", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        with pytest.raises(OSError, match="disk full"):
            checkpoint.save(tmp_path, state, CONFIG)
    assert len(list(tmp_path.iterdir())) == 2
    assert checkpoint.latest(tmp_path) == good
    checkpoint.save(tmp_path, train(state, 1), CONFIG)
    assert {path.name for path in tmp_path.iterdir()} == {"step-0000001", "step-0000003"}


def test_what_is_removed_in_part_is_no_checkpoint(tmp_path, monkeypatch):
    """The power may fail in the midst of it."""
    state = train(fresh(0), 1)

    def half(path):
        next(iter(path.iterdir())).unlink()
        raise KeyboardInterrupt

    checkpoint.save(tmp_path, state, CONFIG)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", half)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path, train(state, 1), CONFIG, keep=1)
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-0000002"]
    checkpoint.save(tmp_path, train(state, 1), CONFIG, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-0000003"]


def test_a_file_system_that_cannot_flush_a_folder_saves_all_the_same(tmp_path, monkeypatch):
    flush = os.fsync

    def no_folders(descriptor):
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", no_folders)
    path = checkpoint.save(tmp_path, train(fresh(0), 1), CONFIG)
    assert checkpoint.latest(tmp_path) == path


def test_nothing_of_the_optimiser_goes_on_reading_the_file(tmp_path):
    """Where a file that is read cannot be replaced, as on Windows, the next save would fail."""
    path = checkpoint.save(tmp_path, train(fresh(0), 1), CONFIG)
    state = fresh(1)
    checkpoint.load(path, state)
    if Path("/proc/self/maps").exists():
        assert "optimizer.safetensors" not in Path("/proc/self/maps").read_text()


def test_the_same_step_is_replaced(tmp_path):
    state = train(fresh(0), 1)
    checkpoint.save(tmp_path, state, CONFIG)
    path = checkpoint.save(tmp_path, state, {"name": "again"}, keep=1)
    assert [other.name for other in tmp_path.iterdir()] == [path.name]
    assert checkpoint.load_config(path) == {"name": "again"}


def test_only_rank_0_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "is_main", lambda: False)
    checkpoint.save(tmp_path, fresh(0), CONFIG)
    assert list(tmp_path.iterdir()) == []


def test_find_accepts_a_run_its_checkpoints_or_one_checkpoint(tmp_path):
    path = checkpoint.save(tmp_path / "checkpoints", fresh(0), CONFIG)
    assert {checkpoint.find(p) for p in (tmp_path, tmp_path / "checkpoints", path)} == {path}
    assert checkpoint.latest(tmp_path / "absent") is None
    with pytest.raises(ValueError, match="there is no checkpoint in"):
        checkpoint.find(tmp_path / "absent")


@pytest.mark.parametrize("file", ["model.safetensors", "state.json"])
def test_of_a_damaged_checkpoint_the_way_out_is_named(tmp_path, file):
    state = train(fresh(0), 1)
    first = checkpoint.save(tmp_path, state, CONFIG)
    second = checkpoint.save(tmp_path, train(state, 1), CONFIG)
    cut(first / file)
    with pytest.raises(checkpoint.Damaged) as caught:
        checkpoint.load(first, state)
    assert "Delete" not in str(caught.value)
    cut(second / file)
    with pytest.raises(checkpoint.Damaged, match=f"Delete that folder to go on from {first.name}"):
        checkpoint.load(second, state)


def test_a_full_disk_is_told_as_such_and_leaves_no_checkpoint(tmp_path, monkeypatch):
    def full(*_, **__):
        raise SafetensorError("I/O error: no space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match=r"model\.safetensors' cannot be written: I/O error: no space left"):
        checkpoint.save(tmp_path, fresh(0), CONFIG)
    assert checkpoint.latest(tmp_path) is None


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


def drop_a_key(path):
    weights = checkpoint.load_weights(path.parent, path.stem)
    weights.pop("unused")
    save_file(weights, path)


def add_keys(path):
    weights = checkpoint.load_weights(path.parent, path.stem)
    save_file(weights | {"more": torch.zeros(1), "most": torch.zeros(1)}, path)


@pytest.mark.parametrize(
    ("file", "damage", "sentence"),
    [
        ("model.safetensors", cut, "model.safetensors' is damaged or cut short"),
        ("ema.safetensors", cut, "ema.safetensors' is damaged or cut short"),
        ("optimizer.safetensors", cut, "optimizer.safetensors' is damaged or cut short"),
        ("state.json", cut, "state.json' is damaged or cut short"),
        (
            "state.json",
            lambda path: path.write_text("{}"),
            "state.json' is damaged or not of SimFlow: it lacks 'format'",
        ),
        ("state.json", lambda path: path.write_text("[]"), "it holds no names with values"),
        ("state.json", lambda path: path.write_bytes(b"\xff\xfe"), "state.json' is damaged or cut short"),
        ("state.json", lambda path: path.write_text('{"format": 1}'), "it lacks 'step'"),
        ("state.json", lambda path: path.write_text('{"format": 9}'), "has the checkpoint format 9"),
        ("ema.safetensors", lambda path: path.write_bytes(b"PK" * 100), "is damaged or cut short"),
        (
            "ema.safetensors",
            lambda path: path.unlink(),
            "is not a whole SimFlow checkpoint: it has no ema.safetensors",
        ),
        ("ema.safetensors", drop_a_key, "was made by a model with other settings: it lacks 'unused'"),
        ("model.safetensors", add_keys, "it has 'more' (and 1 more), which is not wanted here"),
    ],
)
def test_a_broken_checkpoint_is_refused_in_one_sentence_and_changes_nothing(tmp_path, file, damage, sentence):
    path = checkpoint.save(tmp_path, train(fresh(0), 1), CONFIG)
    damage(path / file)
    state = train(fresh(1), 2)
    before = everything(state)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        checkpoint.load(path, state)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_same(everything(state), before)
    assert state.step == 2


def test_another_model_is_refused_by_the_first_shape_that_differs(tmp_path):
    path = checkpoint.save(tmp_path, train(fresh(0), 1), CONFIG)
    with pytest.raises(ValueError, match=r"other settings: 'turned' has the shape \(4, 2\), not \(8, 2\)"):
        checkpoint.load(path, fresh(0, width=8))


def test_moments_of_what_is_not_trained_here_are_refused(tmp_path):
    path = checkpoint.save(tmp_path, train(fresh(0), 1), CONFIG)
    state = fresh(0)
    del state.optimizers["critic"]
    with pytest.raises(ValueError, match=r"it has critic/critic\.\w+/\w+, which is not trained here"):
        checkpoint.load(path, state)
