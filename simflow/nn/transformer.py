"""A stack of pre-norm transformer layers, conditioned by a vector or by nothing.

Two kinds of layer:

- ``"adaln"``: adaLN-Zero (DiT, SiT). A vector gives every layer a shift, a scale and a gate for attention and
  for the MLP; the gates begin at zero, so every layer begins as the identity. LayerNorms have no parameters.
- ``"added"`` and ``"prefix"``: nothing but affine LayerNorms; whoever embeds the tokens adds the class vector to
  each (TarFlow), or sets it before them as a token (STARFlow).

The modulation depends on the vector alone, not on the tokens, so a sampler computes it once for all steps. Dropout
draws from a generator that the caller gives, so that a step can be repeated; without one there is none.
The stack knows nothing of images, flows or guidance.
"""

from typing import Literal, NamedTuple, cast

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from simflow.nn.attention import Attention
from simflow.nn.cache import Cache, KeyValues
from simflow.nn.rotary import Rotation
from simflow.shapes import Tokens

Conditioning = Literal["adaln", "added", "prefix"]


class Modulation(NamedTuple):
    """``norm(x) * (1 + scale) + shift``, then ``x + gate * out``; each ``(b, 1, d)``."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


class Dropped(NamedTuple):
    """What the outputs of attention and MLP are multiplied by, ``(b, n, d)``: zero, or what keeps the mean."""

    attention: Tensor
    mlp: Tensor


class Modulator(nn.Module):
    """Vector ``(b, d)`` -> ``parts`` tensors ``(b, 1, width)``; zero at initialisation (adaLN-Zero)."""

    def __init__(self, *, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, vector: Tensor) -> tuple[Tensor, ...]:
        return self.linear(F.silu(vector)).unsqueeze(1).chunk(self.parts, dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``x * (1 + scale) + shift``; in bfloat16 ``1 + scale`` would keep 8 bits only, so it takes the dtype of ``x``."""
    return torch.addcmul(shift, x, 1 + scale.to(x.dtype))


class Mlp(nn.Sequential):
    """Linear to ``ratio`` times the width, exact GELU, Linear back."""

    def __init__(self, *, width: int, ratio: int) -> None:
        super().__init__(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))


class AdaLNLayer(nn.Module):
    """Attention and MLP, each modulated and gated by the conditioning vector."""

    def __init__(self, *, width: int, heads: int, ratio: int, causal: bool) -> None:
        super().__init__()
        self.width = width
        self.attention = Attention(width=width, heads=heads, causal=causal)
        self.mlp = Mlp(width=width, ratio=ratio)
        self.modulator = Modulator(width=width, parts=6)

    def pass_on(self) -> None:
        """Makes the layer the identity: every gate is shut, as at initialisation."""
        nn.init.zeros_(self.modulator.linear.weight)
        nn.init.zeros_(self.modulator.linear.bias)

    def condition(self, vector: Tensor | None) -> tuple[Modulation, Modulation]:
        assert vector is not None, "adaLN without a vector"
        parts = self.modulator(vector)
        return Modulation(*parts[:3]), Modulation(*parts[3:])

    def forward(
        self,
        x: Tokens,
        modulation: tuple[Modulation, Modulation],
        past: KeyValues | None,
        position: int,
        temperature: Tensor | None,
        rotation: Rotation | None,
        dropped: Dropped | None = None,
    ) -> Tokens:
        for_attention, for_mlp = modulation
        h = modulate(F.layer_norm(x, (self.width,), eps=1e-6), for_attention.shift, for_attention.scale)
        h = self.attention(h, past=past, position=position, temperature=temperature, rotation=rotation)
        h = h if dropped is None else h * dropped.attention
        x = torch.addcmul(x, for_attention.gate, h)
        h = self.mlp(modulate(F.layer_norm(x, (self.width,), eps=1e-6), for_mlp.shift, for_mlp.scale))
        h = h if dropped is None else h * dropped.mlp
        return torch.addcmul(x, for_mlp.gate, h)


class PlainLayer(nn.Module):
    """Attention and MLP behind affine LayerNorms; conditioned by nothing."""

    def __init__(self, *, width: int, heads: int, ratio: int, causal: bool) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width=width, heads=heads, causal=causal)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width=width, ratio=ratio)

    def pass_on(self) -> None:
        """Makes the layer the identity: attention and MLP add nothing."""
        for last in (self.attention.proj, self.mlp[2]):
            nn.init.zeros_(last.weight)  # pyright: ignore[reportArgumentType]
            nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]

    def condition(self, vector: Tensor | None) -> None:
        return None

    def forward(
        self,
        x: Tokens,
        modulation: None,
        past: KeyValues | None,
        position: int,
        temperature: Tensor | None,
        rotation: Rotation | None,
        dropped: Dropped | None = None,
    ) -> Tokens:
        h = self.norm_attention(x)
        h = self.attention(h, past=past, position=position, temperature=temperature, rotation=rotation)
        x = x + (h if dropped is None else h * dropped.attention)
        h = self.mlp(self.norm_mlp(x))
        return x + (h if dropped is None else h * dropped.mlp)


class Transformer(nn.Module):
    """``layers`` layers of one kind.

    Args:
        width: numbers in a token.
        heads: attention heads; must divide the width.
        layers: depth.
        conditioning: ``"adaln"``, ``"added"`` or ``"prefix"``.
        causal: token i sees tokens up to i (True) or all (False).
        ratio: width of the MLP over the width.
        checkpointing: recompute layers in the backward pass instead of keeping their activations.
        dropout: share of the numbers that attention and MLP give which is dropped, where a generator is given.
    """

    def __init__(
        self,
        *,
        width: int,
        heads: int,
        layers: int,
        conditioning: Conditioning,
        causal: bool,
        ratio: int = 4,
        checkpointing: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.heads, self.checkpointing = width, heads, checkpointing
        self.dropout = dropout
        kind = AdaLNLayer if conditioning == "adaln" else PlainLayer
        self.layers = nn.ModuleList(
            kind(width=width, heads=heads, ratio=ratio, causal=causal) for _ in range(layers)
        )

    def pass_on(self, number: int) -> None:
        """Makes a layer, counted from 0, the identity; it learns on from there."""
        cast("list[AdaLNLayer | PlainLayer]", list(self.layers))[number].pass_on()

    def condition(self, vector: Tensor | None) -> list:
        """What the layers need of the vector ``(b, d)``: one entry per layer, computed once for all tokens.

        Only ``"adaln"`` layers look at it.
        """
        layers = cast("list[AdaLNLayer | PlainLayer]", list(self.layers))
        return [layer.condition(vector) for layer in layers]

    def cache(self, *, batch: int, tokens: int, dtype: torch.dtype, device: torch.device) -> Cache:
        """An empty cache for ``batch`` sequences of up to ``tokens`` tokens."""
        return Cache.allocate(
            layers=len(self.layers),
            batch=batch,
            heads=self.heads,
            tokens=tokens,
            head_size=self.width // self.heads,
            dtype=dtype,
            device=device,
        )

    def draw_dropped(self, x: Tokens, generator: Generator | None) -> Dropped | None:
        """What a layer drops; drawn outside it, so that a layer that is recomputed drops the same."""
        if generator is None or not self.dropout:
            return None
        kept = 1 - self.dropout
        drawn = (torch.empty_like(x).bernoulli_(kept, generator=generator) / kept for _ in range(2))
        return Dropped(*drawn)

    def forward(
        self,
        x: Tokens,
        modulations: list,
        *,
        cache: Cache | None = None,
        position: int = 0,
        temperature: Tensor | None = None,
        rotation: Rotation | None = None,
        keep: int | None = None,
        generator: Generator | None = None,
    ) -> tuple[Tokens, Tokens | None]:
        """Tokens at ``position ..`` -> tokens, and the tokens after layer ``keep`` (1-based) if one is named.

        ``rotation`` holds the angles of all positions, where they are rotary. What is dropped is drawn from the
        ``generator``; nothing is, without one.
        """
        kept = None
        if rotation is not None:
            rotation = rotation.window(position, x.shape[1])
        for number, (layer, modulation) in enumerate(zip(self.layers, modulations, strict=True), start=1):
            dropped = self.draw_dropped(x, generator)
            if cache is not None:
                x = layer(x, modulation, cache.layers[number - 1], position, temperature, rotation)
            elif self.checkpointing and torch.is_grad_enabled():
                x = checkpoint(
                    layer,
                    x,
                    modulation,
                    None,
                    position,
                    temperature,
                    rotation,
                    dropped,
                    use_reentrant=False,
                    preserve_rng_state=False,
                )
            else:
                x = layer(x, modulation, None, position, temperature, rotation, dropped)
            if number == keep:
                kept = x
        return x, kept
