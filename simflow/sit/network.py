"""The velocity network of SiT: a transformer that sees all tokens, told the time and the class by adaLN-Zero (DiT).

tokens + positions -> layers, each modulated by ``embedding(t) + embedding(class)`` -> modulated norm -> velocity.
Gates and head are zero at first, so an untrained network predicts no motion at all.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from simflow.nn.embed import ClassEmbedding, PositionTable, sinusoids
from simflow.nn.transformer import Modulator, Transformer, modulate
from simflow.prior import Hidden
from simflow.shapes import Labels, Tokens

WAVES = 256
"""Sines and cosines that a time is turned into."""
TICKS = 1000.0
"""Times in [0, 1] are read as ticks out of so many, the unit for which the wave lengths were chosen."""


class TimeEmbedding(nn.Module):
    """Times ``(b,)`` in [0, 1] -> vectors ``(b, width)``: sines and cosines, then two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(WAVES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, times: Tensor) -> Tensor:
        return self.mlp(sinusoids(TICKS * times, WAVES))


class VelocityNetwork(nn.Module):
    """Tokens ``(b, n, d)``, times ``(b,)`` and labels ``(b,)`` -> velocities ``(b, n, d)``."""

    def __init__(
        self,
        *,
        channels: int,
        tokens: int,
        width: int,
        depth: int,
        heads: int,
        classes: int,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.width = width
        self.embed = nn.Linear(channels, width)
        self.positions = PositionTable(std=0.02).build(tokens, width)
        self.time = TimeEmbedding(width)
        self.classes = ClassEmbedding(classes=classes, width=width, null="row", std=0.02) if classes else None
        self.transformer = Transformer(
            width=width,
            heads=heads,
            layers=depth,
            conditioning="adaln",
            causal=False,
            checkpointing=checkpointing,
        )
        self.final = Modulator(width=width, parts=2)
        self.head = nn.Linear(width, channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(
        self, x: Tokens, times: Tensor, labels: Labels, *, keep: int | None = None
    ) -> tuple[Tokens, Hidden | None]:
        """Velocities in the dtype of the tokens, and the hidden tokens after layer ``keep`` if one is named."""
        condition = self.time(times)
        if self.classes is not None:
            condition = condition + self.classes(labels)
        hidden, kept = self.transformer(
            self.embed(x) + self.positions, self.transformer.condition(condition), keep=keep
        )
        shift, scale = self.final(condition)
        hidden = modulate(F.layer_norm(hidden, (self.width,), eps=1e-6), shift, scale)
        return self.head(hidden).to(x.dtype), kept
