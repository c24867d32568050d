"""A run on disk: written whole or not at all, read back bit for bit, and readable without SimFlow.

::

    step-0012345/
      model.safetensors       weights and buffers under the names of the state dict; so for every other module
      ema.safetensors         the average, under the same names: what to sample from
      optimizer.safetensors   moments and step counters: <optimizer>/<module>.<parameter>/<entry>
      config.json             the settings of the run
      state.json              step, images, EMA updates, versions of torch and simflow, git revision

The folder is written under another name beside its place, flushed to the disk and renamed, so a folder named
``step-...`` is always complete. Optimiser entries go by the parameter's name, not by its number, so adding a
module to a run does not shuffle moments. There are no pickles: loading runs no code.

Loading first reads and compares everything and only then changes the state, so a checkpoint that does not fit
leaves it untouched. What does not fit is a ``ValueError`` of one sentence. Learning rate, betas and weight
decay are settings and come from the config, never from the file.
"""

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from simflow import files, origin
from simflow.distributed import barrier, is_main
from simflow.tensors import misfit
from simflow.train.state import TrainState

FORMAT = 1
"""Number of the layout above; it grows when old readers could not read new files."""

_NAME = re.compile(r"step-(\d{7,})")


class Damaged(ValueError):
    """A checkpoint that is incomplete or cannot be read: nothing that other settings would mend."""


def save(folder: Path, state: TrainState, config: dict[str, Any], *, keep: int | None = None) -> Path:
    """Writes ``folder/step-NNNNNNN`` and deletes old checkpoints; collective, rank 0 writes.

    Args:
        folder: the run's ``checkpoints`` folder; made if need be.
        config: the settings as :func:`simflow.settings.to_dict` gives them.
        keep: how many checkpoints stay, this one and the newest others; None keeps all. One in which there is a folder,
            such as an evaluation of it, stays as well.

    Raises:
        ValueError: ``keep`` is less than 1.
    """
    if keep is not None and keep < 1:
        raise ValueError(f"at least one checkpoint must be kept, not {keep}")
    path = folder / f"step-{state.step:07d}"
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
        _clear(folder, ".part-*")
        part, old = folder / f".part-{path.name}", folder / f".old-{path.name}"
        part.mkdir()
        _write(part, state, config)
        if path.exists():
            _clear(folder, old.name)
            path.rename(old)
        part.rename(path)
        _flush(folder)
        _clear(folder, ".old-*")
        others = [other for other in _complete(folder) if other != path]
        for other in others[keep - 1 :] if keep is not None else []:
            if not any(inside.is_dir() for inside in other.iterdir()):
                _remove(other)
    barrier()
    return path


def save_average(folder: Path, state: TrainState, config: dict[str, Any]) -> None:
    """Writes the averaged weights, the settings and the step as a saved model, each file in the place of the one that
    is there; collective, rank 0 writes."""
    if is_main():
        folder.mkdir(parents=True, exist_ok=True)
        with files.replacing(folder / "model.safetensors") as part:
            _write_tensors(part, state.ema.weights)
        _write_json(folder / "config.json", config | {"step": state.step})
        _flush(folder)
    barrier()


def latest(folder: Path) -> Path | None:
    """The checkpoint with the highest step number among the complete ones in ``folder``, or None."""
    return next(iter(_complete(folder)), None)


def step_of(path: Path) -> int:
    """The number of optimiser steps behind a checkpoint, read from its name.

    >>> step_of(Path("checkpoints/step-0012345"))
    12345
    """
    return int(path.name.removeprefix("step-"))


def find(path: Path) -> Path:
    """The checkpoint meant by a path: itself, or the latest in a run folder or a ``checkpoints`` folder.

    Raises:
        ValueError: there is none.
    """
    if (path / "state.json").is_file():
        return path
    found = latest(path / "checkpoints") or latest(path)
    if found is None:
        raise ValueError(f"there is no checkpoint in '{path}'")
    return found


def load(path: Path, state: TrainState) -> None:
    """Fills ``state`` from a checkpoint, in place, on whatever device its modules are.

    Raises:
        Damaged: the checkpoint is incomplete or cannot be read.
        ValueError: it is of a model with other settings. In either case ``state`` is as it was.
    """
    record = load_record(path)
    weights = {name: load_weights(path, name) for name in state.modules}
    average = load_weights(path, "ema")
    for name, module in state.modules.items():
        _compare(path / f"{name}.safetensors", weights[name], module.state_dict())
    _compare(path / "ema.safetensors", average, state.ema.weights)
    moments = _moments(path, state)
    for name, module in state.modules.items():
        module.load_state_dict(weights[name])
    state.ema.load(average, record["ema_steps"])
    for name, optimizer in state.optimizers.items():
        _fill(optimizer, moments[name])
    state.step, state.images_seen, state.extra = record["step"], record["images_seen"], record["extra"]


def load_weights(path: Path, which: str = "ema") -> dict[str, Tensor]:
    """The average (``"ema"``), the raw weights (``"model"``) or another module's weights, on the CPU.

    Raises:
        Damaged: the checkpoint has no such file, or it cannot be read.
    """
    return _read_tensors(path / f"{which}.safetensors")


def load_config(path: Path) -> dict[str, Any]:
    """The settings that the checkpoint's run had.

    Raises:
        Damaged: the file is missing or cannot be read.
    """
    return read_json(path / "config.json")


def load_record(path: Path) -> dict[str, Any]:
    """What ``state.json`` says of a checkpoint: ``step``, ``images_seen``, ``ema_steps``, ``extra`` and versions.

    Raises:
        Damaged: the file is missing, cannot be read, or lacks one of these.
        ValueError: it is of another format than this SimFlow reads.
    """
    file = path / "state.json"
    record = read_json(file)
    if record.get("format", FORMAT) != FORMAT:
        raise ValueError(
            f"'{path}' has the checkpoint format {record['format']}, and this SimFlow reads {FORMAT}"
        )
    lacking = [name for name in ("format", "step", "images_seen", "ema_steps", "extra") if name not in record]
    if lacking:
        raise Damaged(f"'{file}' is damaged or not of SimFlow: it lacks '{lacking[0]}'{way_out(path)}")
    return record


def step_behind(path: Path) -> int | None:
    """The number of optimiser steps behind a checkpoint; of a saved model None, unless it says so.

    Raises:
        ValueError: as :func:`load_record`.
    """
    if (path / "state.json").is_file():
        return load_record(path)["step"]
    return load_config(path).get("step")


def read_json(file: Path) -> dict[str, Any]:
    """The JSON object in a file of a run.

    Raises:
        Damaged: the file is missing, cannot be read, or holds something else.
    """
    _require(file)
    try:
        return files.read_json(file)
    except files.NoObject as error:
        problem = f"'{file}' is damaged or not of SimFlow: it holds no names with values"
        raise Damaged(problem + way_out(file.parent)) from error
    except ValueError as error:
        problem = f"'{file}' is damaged or cut short: {error.__cause__}"
        raise Damaged(problem + way_out(file.parent)) from error


def _require(file: Path) -> None:
    if not file.is_file():
        problem = f"'{file.parent}' is not a whole SimFlow checkpoint: it has no {file.name}"
        raise Damaged(problem + way_out(file.parent))


def way_out(path: Path) -> str:
    """What to do about a damaged checkpoint, where an earlier one stands beside it; to be added to a sentence."""
    names = [other.name for other in _complete(path.parent) if other.name < path.name]
    return f". Delete that folder to go on from {names[0]}" if names and _NAME.fullmatch(path.name) else ""


def _complete(folder: Path) -> list[Path]:
    """Complete checkpoints, the highest step first."""
    paths = folder.iterdir() if folder.is_dir() else []
    numbered = [(int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(numbered, reverse=True) if (path / "state.json").is_file()]


def _clear(folder: Path, pattern: str) -> None:
    for leftover in folder.glob(pattern):
        shutil.rmtree(leftover)


def _remove(path: Path) -> None:
    """Under another name, so that a checkpoint that is removed in part is never taken for whole."""
    gone = path.with_name(f".old-{path.name}")
    path.rename(gone)
    shutil.rmtree(gone)


def _write(folder: Path, state: TrainState, config: dict[str, Any]) -> None:
    for name, module in state.modules.items():
        _write_tensors(folder / f"{name}.safetensors", module.state_dict())
    _write_tensors(folder / "ema.safetensors", state.ema.weights)
    names = state.parameter_names()
    entries = {
        f"{optimizer_name}/{names[parameter]}/{entry}": value
        for optimizer_name, optimizer in state.optimizers.items()
        for parameter, values in optimizer.state.items()
        for entry, value in values.items()
    }
    _write_tensors(folder / "optimizer.safetensors", entries)
    record = {"format": FORMAT, "step": state.step, "images_seen": state.images_seen}
    record |= {"ema_steps": state.ema.steps, "extra": state.extra} | _software()
    _write_json(folder / "config.json", config)
    _write_json(folder / "state.json", record)
    _flush(folder)


@cache
def _software() -> dict[str, str | None]:
    """What the process runs, which does not change while it does; git need be asked only once."""
    return {"torch": torch.__version__, "simflow": origin.version(), "git": origin.git_revision()}


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Every tensor as its own contiguous copy on the CPU, for safetensors refuses views and shared memory."""
    copies = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    try:
        save_file(copies, path, metadata={"format": "pt"})
    except SafetensorError as error:  # how it says that a disk is full
        raise OSError(f"'{path}' cannot be written: {error}") from error
    _flush(path)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    files.write_json(path, content)
    _flush(path)


def _flush(path: Path) -> None:
    """Makes the operating system write a file, or a folder's list of names where it can, to the disk.

    Windows and some network file systems cannot; what was saved is in its place there all the same.
    """
    with suppress(OSError) if path.is_dir() else nullcontext():
        descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    _require(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise Damaged(f"'{path}' is damaged or cut short: {error}{way_out(path.parent)}") from error


def _compare(path: Path, there: Mapping[str, Tensor], here: Mapping[str, Tensor]) -> None:
    """Refuses tensors whose names or shapes are not those of the model at hand."""
    wrong = misfit(there, here)
    if wrong is not None:
        raise _other_settings(path, wrong)


def _other_settings(path: Path, what: str) -> ValueError:
    return ValueError(f"'{path}' was made by a model with other settings: {what}")


def _moments(path: Path, state: TrainState) -> dict[str, dict[int, dict[str, Tensor]]]:
    """Of each optimiser, the saved entries by the number that it gives to the parameter."""
    file = path / "optimizer.safetensors"
    names = state.parameter_names()
    places: dict[str, tuple[str, int, Tensor]] = {}
    for optimizer_name, optimizer in state.optimizers.items():
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for number, parameter in enumerate(parameters):
            places[f"{optimizer_name}/{names[parameter]}"] = optimizer_name, number, parameter
    moments: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in state.optimizers}
    for key, value in _read_tensors(file).items():
        place, _, entry = key.rpartition("/")
        if place not in places:
            raise _other_settings(file, f"it has {key}, which is not trained here")
        optimizer_name, number, parameter = places[place]
        if value.ndim and value.shape != parameter.shape:
            shapes = f"{tuple(value.shape)} there and {tuple(parameter.shape)} here"
            raise _other_settings(file, f"{key} is {shapes}")
        moments[optimizer_name].setdefault(number, {})[entry] = _laid_out_like(parameter, value)
    return moments


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """``value`` with the strides of its parameter: fused kernels walk both through memory side by side."""
    like = parameter if value.ndim else value  # of a counter too, so that nobody goes on reading the file
    return torch.empty_like(like, dtype=value.dtype).copy_(value)


def _fill(optimizer: Optimizer, moments: dict[int, dict[str, Tensor]]) -> None:
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
