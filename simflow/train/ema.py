"""The exponential moving average of a module's weights: ``shadow <- rate * shadow + (1 - rate) * weight``.

The average is what is sampled and evaluated (SimFlow uses a rate of 0.9999 over autoencoder and flow
together). Its shadow is kept in float32 or wider, since ``1 - rate`` is below the resolution of bfloat16.
Buffers are not averaged but copied. The shadow has the names of ``module.state_dict()``, so it can be saved
and loaded in its place.

At a constant rate ``r`` the first ``1 / (1 - r)`` steps are ruled by the initial weights. The warm-up lowers
the rate of step ``t = 0, 1, ...`` to ``min(r, (1 + t) / (10 + t))``: the average then covers roughly the last
tenth of the steps so far, until the full rate is reached at ``t = 9 / (1 - r)``, nearly.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class EmaConfig:
    """How long the memory of the average is."""

    rate: float = 0.9999
    """Share of the old average that is kept at each step, in [0, 1)."""
    warmup: bool = True
    """Whether early steps use the smaller rate (1 + t) / (10 + t), so that short runs are averaged well."""

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise ValueError(f"the EMA rate must be in [0, 1), not {self.rate}")

    def build(self, module: nn.Module) -> "Ema":
        """An average that starts at the module's present weights."""
        return Ema(self, module)

    def rate_at(self, step: int) -> float:
        """The rate of update number ``step``, counted from 0.

        >>> [EmaConfig(rate=0.5).rate_at(step) for step in (0, 8, 100)]
        [0.1, 0.5, 0.5]
        """
        return min(self.rate, (1 + step) / (10 + step)) if self.warmup else self.rate


class Ema:
    """Shadow of a module's weights, by name, and the number of updates so far.

    The module is an argument of every method, never a field, so one average can be put into any module of the
    same shape. Give the bare module, not its compiled or data-parallel wrapping.
    """

    def __init__(self, config: EmaConfig, module: nn.Module) -> None:
        self.config = config
        self.steps = 0
        self.weights = {name: _shadow(tensor) for name, tensor in _tensors(module).items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Moves the shadow towards the module's weights; call once after every optimiser step."""
        weight = 1 - self.config.rate_at(self.steps)
        self.steps += 1
        shadows, targets = [], []
        for name, tensor in _tensors(module).items():
            shadow = self.weights[name]
            if isinstance(tensor, nn.Parameter):
                shadows.append(shadow)
                targets.append(tensor if tensor.dtype == shadow.dtype else tensor.to(shadow.dtype))
            else:
                shadow.copy_(tensor)
        torch._foreach_lerp_(shadows, targets, weight)  # pyright: ignore[reportPrivateImportUsage]

    @torch.no_grad()
    def copy_to(self, module: nn.Module) -> None:
        """Overwrites the module's weights and buffers by the average, in the module's own dtype."""
        for name, tensor in _tensors(module).items():
            tensor.copy_(self.weights[name])

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Puts the average into ``module`` while the block lasts, then gives its own weights back exactly."""
        own = {name: tensor.detach().clone() for name, tensor in _tensors(module).items()}
        self.copy_to(module)
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in _tensors(module).items():
                    tensor.copy_(own[name])

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor], steps: int) -> None:
        """Takes over a saved shadow with the same names and shapes, from any device."""
        assert weights.keys() == self.weights.keys(), "the saved average belongs to another module"
        for name, tensor in weights.items():
            self.weights[name].copy_(tensor)
        self.steps = steps


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by their names in the state dict, as the very objects."""
    return module.state_dict(keep_vars=True)


def _shadow(tensor: Tensor) -> Tensor:
    wide = isinstance(tensor, nn.Parameter)
    dtype = torch.promote_types(tensor.dtype, torch.float32) if wide else tensor.dtype
    return tensor.detach().to(dtype, copy=True)
