"""All that a resumed run needs to go on as if it had never stopped.

There is no random state among it: training noise is a function of (seed, rank, step), and so is the order of
the data; and no schedule, which is a function of the step. The settings are not state either: they are saved
beside it and compared.
"""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from simflow.train.ema import Ema


@dataclass(kw_only=True)
class TrainState:
    """The moving parts of a run; the loop changes them in place, the checkpoint writes and fills them."""

    modules: dict[str, nn.Module]
    """Bare modules by name. ``"model"`` is what the average follows and what is sampled from; others (a
    discriminator, say) are only needed for training."""
    optimizers: dict[str, Optimizer]
    """Optimisers by name, over parameters of the modules."""
    ema: Ema
    """The average of ``modules["model"]``."""
    step: int = 0
    """Optimiser steps done."""
    images_seen: int = 0
    """Training images consumed, over all ranks."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Anything small that JSON can hold, such as the seconds spent."""

    def __post_init__(self) -> None:
        assert "model" in self.modules, "the module that the average follows is called 'model'"
        names = self.parameter_names()
        trained = (p for o in self.optimizers.values() for group in o.param_groups for p in group["params"])
        assert all(p in names for p in trained), "an optimiser moves parameters that no module here holds"
        assert not {"ema", "optimizer"} & self.modules.keys(), "these names are taken in a checkpoint"

    @property
    def model(self) -> nn.Module:
        """``modules["model"]``."""
        return self.modules["model"]

    def parameter_names(self) -> dict[Tensor, str]:
        """``module.path.of.parameter`` of every parameter; a shared one has its first name."""
        names: dict[Tensor, str] = {}
        for module_name, module in self.modules.items():
            for name, parameter in module.named_parameters():
                names.setdefault(parameter, f"{module_name}.{name}")
        return names
