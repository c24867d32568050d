"""Named tensors in a file that somebody else wrote, read as data only, so that no code of the file runs.

``.safetensors`` and what ``torch.save`` wrote (``.pt``, ``.pth``, ``.ckpt``) are understood. Whoever reads knows
which names it wants; this file knows none, except those under which training programs wrap the weights.

Wherever a file of weights is asked for, ``hub:OWNER/NAME/FILE`` names one on the Hugging Face hub; it is fetched once
and kept in the hub's own cache.
"""

import hashlib
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from simflow import hub
from simflow.files import at_home

WRAPPERS = ("model_ema", "state_dict", "model")
"""Entries of a training checkpoint that hold the weights; averaged ones come first."""

ON_THE_HUB = re.compile(r"hub:([^/]+/[^/]+)/(.+)")


def local_file(path: Path) -> Path:
    """The path itself with ``~`` spelled out, or the cached copy of what ``hub:OWNER/NAME/FILE`` names.

    Raises:
        ValueError: the hub does not give it.
    """
    named = ON_THE_HUB.fullmatch(path.as_posix())
    if named is None:
        return at_home(path)
    try:
        return hub.file(named[1], named[2])
    except hub.OutOfReach as error:
        raise ValueError(f"{named[2]} cannot be had from {named[1]} on the hub: {error}") from error


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Hexadecimal digest of named tensors: names, shapes, dtypes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All named tensors of a file, on the CPU, in the dtype of the file.

    Raises:
        ValueError: there is no such file, it is damaged, needs pickled classes, or holds no tensors by name.
    """
    path = local_file(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is truncated or damaged: {error}") from error
    if path.suffix not in (".pt", ".pth", ".ckpt"):
        raise ValueError(f"{path} is not a .safetensors, .pt, .pth or .ckpt file")
    content = unpickled(path)
    for wrapper in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not tensors by name")
    return {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}


def misfit(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """How named tensors differ in names or shapes from those that are wanted, as a clause; None if they do not.

    >>> one, two = torch.zeros(1), torch.zeros(2)
    >>> misfit({"a": one}, {"a": one, "b": one, "c": one}), misfit({"a": one, "b": one}, {"a": one})
    ("it lacks 'b' (and 1 more)", "it has 'b', which is not wanted here")
    >>> misfit({"a": one}, {"a": two})
    "'a' has the shape (1,), not (2,)"
    """
    for said, one, other in (
        ("it lacks {}", wanted, given),
        ("it has {}, which is not wanted here", given, wanted),
    ):
        names = [f"'{name}'" for name in one if name not in other]
        if names:
            return said.format(names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)")
    for name, tensor in wanted.items():
        if given[name].shape != tensor.shape:
            return f"'{name}' has the shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
    return None


def unpickled(path: Path) -> object:
    """The content of a ``torch.save`` file, read without running anything in it.

    Raises:
        ValueError: it is damaged, or needs classes other than tensors and plain containers.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        needed = re.search(r"GLOBAL ([\w.]+)", str(error))
        if needed is None:
            raise ValueError(f"{path} is truncated or damaged, or was not written by torch.save") from error
        raise ValueError(
            f"{path} needs the pickled class {needed[1]}, which is not loaded because it could run code: "
            "save its state dict alone, best as .safetensors"
        ) from error
    except (
        Exception
    ) as error:  # torch's parser of a damaged file raises a dozen kinds, from EOFError to KeyError
        raise ValueError(f"{path} is truncated or damaged, or was not written by torch.save") from error
