"""Apple's own models, from a checkout whose path the user gives; never copied, never needed.

``SIMFLOW_PEER_TARFLOW`` and ``SIMFLOW_PEER_STARFLOW`` name checkouts of apple/ml-tarflow and apple/ml-starflow.
"""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from simflow.nn.tokens import to_latents, to_tokens
from tests.golden.cases import Case, Weights

VARIABLES = {"tarflow": "SIMFLOW_PEER_TARFLOW", "starflow": "SIMFLOW_PEER_STARFLOW"}


def path_of(peer: str) -> Path | None:
    """The checkout that the user gave, or None."""
    given = os.environ.get(VARIABLES[peer])
    return Path(given) if given else None


def load(peer: str) -> ModuleType:
    """The peer's ``transformer_flow`` module. Both peers have modules of the same names: none stays imported."""
    path = path_of(peer)
    assert path is not None
    before = set(sys.modules)
    sys.path.insert(0, str(path))
    try:
        return importlib.import_module("transformer_flow")
    finally:
        sys.path.remove(str(path))
        for name in set(sys.modules) - before:
            if str(path) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


@torch.no_grad()
def shake(model: nn.Module) -> None:
    """Moves all parameters from where they begin, little enough that samples stay of order one."""
    for name, parameter in model.named_parameters():
        parameter += (0.01 if "proj_out" in name else 0.05) * torch.randn(parameter.shape)
    model.requires_grad_(requires_grad=False)


class TarFlow:
    """ml-tarflow's model with our shapes: tokens in, tokens out, log-determinants as true sums."""

    def __init__(self, case: Case) -> None:
        self.model = load("tarflow").Model(**case.peer).eval()
        self.case = case

    def set(self, weights: Weights) -> None:
        self.model.load_state_dict(self.model.state_dict() | weights)

    def label(self, labels: Tensor) -> Tensor | None:
        return labels if self.case.classes else None

    def forward(self, latents: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        noise, _, log_det = self.model(latents, self.label(labels))
        return noise, log_det * noise[0].numel()

    def reverse(self, noise: Tensor, labels: Tensor, **guidance: Any) -> Tensor:
        return self.model.reverse(noise.clone(), self.label(labels), **guidance)

    def trajectory(self, noise: Tensor, labels: Tensor) -> list[Tensor]:
        return self.model.reverse(noise.clone(), self.label(labels), return_sequence=True)


class StarFlow:
    """ml-starflow's model for images with a class, which is a text of one word: one of ``classes + 1``."""

    def __init__(self, case: Case) -> None:
        self.model = load("starflow").Model(**case.peer).eval()
        self.case = case

    def set(self, weights: Weights) -> None:
        self.model.load_state_dict(self.model.state_dict() | weights)

    def label(self, labels: Tensor) -> Tensor | None:
        words = torch.eye(self.case.classes + 1)
        return words[labels][:, None] if self.case.classes else None

    def forward(self, latents: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        noise, _, _, log_dets = self.model(latents, self.label(labels))
        return to_tokens(noise, 1), sum(part.sum(dim=(1, 2)) for part in log_dets)

    def reverse(self, noise: Tensor, labels: Tensor, **guidance: Any) -> Tensor:
        if guidance:
            labels = torch.cat([labels, torch.full_like(labels, -1)])
        latents = to_latents(noise, 1, self.case.latent_shape)
        return self.model.reverse(latents, self.label(labels), **guidance)
