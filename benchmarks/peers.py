"""Apple's TarFlow from a checkout whose path the user gives; never copied, never needed."""

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn


def tarflow(checkout: Path, **shape: Any) -> Any:
    """The peer's ``Model`` with its own arguments.

    Raises:
        ValueError: the path is no checkout of ml-tarflow.
    """
    if not (checkout / "transformer_flow.py").is_file():
        raise ValueError(f"'{checkout}' is no checkout of apple/ml-tarflow: it has no transformer_flow.py")
    sys.path.insert(0, str(checkout))
    try:
        return importlib.import_module("transformer_flow").Model(**shape)
    finally:
        sys.path.remove(str(checkout))


@torch.no_grad()
def shake(model: nn.Module, *, seed: int = 0) -> None:
    """Moves all parameters from where they begin, heads by less: samples stay of order one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        size = 0.01 if "proj_out" in name or "head" in name else 0.02
        parameter += size * torch.randn(parameter.shape, generator=generator)
