"""The weights of a saved model on disk: in one file, or in several with an index, in the layout of the hub.

::

    model.safetensors                     all of them, or else
    model-00001-of-00002.safetensors      some of them each, and
    model.safetensors.index.json          which tensor lies in which file

Checkpoints of runs (:mod:`simflow.train.checkpoint`) have one file of each kind; what is read here may be either.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from simflow.train import checkpoint
from simflow.train.runs import RunFolder

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
FILES = (WHOLE, INDEX, "model-*-of-*.safetensors")
"""Patterns of all files that weights may lie in."""


def present(folder: Path) -> bool:
    """Whether there are weights of a saved model in a folder."""
    return (folder / WHOLE).is_file() or (folder / INDEX).is_file()


def weights_in(folder: Path) -> Path:
    """The folder with ``config.json`` and weights: a run's newest checkpoint, or a saved model itself.

    Raises:
        ValueError: there are none.
    """
    saved = RunFolder(folder).newest is None and (folder / "config.json").is_file() and present(folder)
    return folder if saved else checkpoint.find(folder)


def files(folder: Path) -> list[Path]:
    """All files that the weights in a folder lie in, the index among them, by name."""
    return sorted(path for pattern in FILES for path in folder.glob(pattern))


def write(folder: Path, tensors: Mapping[str, Tensor], *, largest: int | str) -> None:
    """Writes tensors, in several files if one would be larger than ``largest``: bytes, or a text such as "5GB".

    Weights that are in the folder already are replaced.
    """
    from huggingface_hub import save_torch_state_dict

    save_torch_state_dict(dict(tensors), folder, max_shard_size=largest)


def read(folder: Path, which: str = "ema") -> dict[str, Tensor]:
    """The weights in a folder, on the CPU: of a checkpoint the average (``"ema"``) or the raw ones (``"model"``); a
    saved model has one kind only.

    Raises:
        Damaged: a file is missing, cut short, or not what the index says.
        ValueError: ``which`` is neither of them.
    """
    if which not in ("ema", "model"):
        raise ValueError(f"the weights of a run are ema or model, not {which!r}")
    if (folder / "state.json").is_file():
        return checkpoint.load_weights(folder, which)
    if (folder / WHOLE).is_file() or not (folder / INDEX).is_file():
        return checkpoint.load_weights(folder, "model")
    return assembled(folder)


def assembled(folder: Path) -> dict[str, Tensor]:
    """The tensors of all files that the index names.

    Raises:
        Damaged: a file is missing or cut short, or the index and the files do not agree.
    """
    index = folder / INDEX
    try:
        places: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        parts = {name: Path(name).stem for name in places.values() if Path(name).name == name}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise checkpoint.Damaged(f"'{index}' is damaged: it does not say where the weights lie") from error
    found = {name: checkpoint.load_weights(folder, stem) for name, stem in parts.items()}
    if any(tensor not in found.get(file, {}) for tensor, file in places.items()):
        raise checkpoint.Damaged(f"'{index}' is damaged: it names tensors that are not where it says")
    return {tensor: found[file][tensor] for tensor, file in places.items()}
