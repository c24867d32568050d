"""A DINOv2 of a few thousand random parameters, as a file under the original names."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from simflow.losses.vit import VisionTransformer


def tiny_state(*, layers: int = 3, positions: int = 9, width: int = 64) -> dict[str, torch.Tensor]:
    """Random weights, large enough that every part matters."""
    torch.manual_seed(0)
    made = VisionTransformer(width=width, layers=layers, positions=positions, block=None, side=None)
    state = {name: tensor + 0.2 * torch.randn_like(tensor) for name, tensor in made.state_dict().items()}
    return {name.replace("mlp.0.", "mlp.fc1.").replace("mlp.2.", "mlp.fc2."): t for name, t in state.items()}


def tiny_file(folder: Path, **sizes: int) -> str:
    """The file's path, as :class:`~simflow.losses.vit.DinoV2` wants it."""
    path = folder / "tiny-vit.safetensors"
    save_file(tiny_state(**sizes), path)
    return str(path)
