"""A transformer one token at a time: :class:`~simflow.nn.transformer.Transformer` laid out to be walked.

A sampler calls the stack once for every token, with a few rows and so little arithmetic that what surrounds it is
most of the cost. Here all that is the same in every step is done once, when a walk begins: weights in the dtype of the
products, modulations as gains, room for keys and values in the layout that the products read. A step is left with
one sum of products a linear map, on plain ``(rows, width)`` matrices, and no branch that depends on the token.

Training and this file share the parameters and nothing else; a law holds the two to the same numbers. Layers are read
by their parameters, so hooks on modules are not called.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simflow.nn.rotary import Rotation, rotate
from simflow.nn.transformer import AdaLNLayer, Modulation, PlainLayer, Transformer


class Dense(NamedTuple):
    """``x @ weight + bias`` of rows ``(b, in)``; the weight is ``(in, out)``."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, linear: nn.Linear, dtype: torch.dtype) -> "Dense":
        """The map of a module. On a CPU products with few rows want their weights in this order in memory too."""
        weight = linear.weight.to(dtype).t()
        return cls(weight.contiguous() if weight.device.type == "cpu" else weight, linear.bias.to(dtype))

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        if x.dtype is not out.dtype:
            x = x.to(out.dtype)
        return torch.addmm(self.bias, x, self.weight, out=out)


class Norm(NamedTuple):
    """LayerNorm with a gain and a shift: learned, ``(width,)``, or a modulation of each row, ``(b, width)``."""

    gain: Tensor
    shift: Tensor
    eps: float

    @classmethod
    def learned(cls, norm: nn.LayerNorm, dtype: torch.dtype) -> "Norm":
        """The affine norm of a plain layer."""
        return cls(norm.weight.to(dtype), norm.bias.to(dtype), norm.eps)

    @classmethod
    def modulated(cls, shift: Tensor, scale: Tensor, dtype: torch.dtype) -> "Norm":
        """The norm of an adaLN layer with its modulation ``(b, 1, width)``."""
        return cls(1 + scale[:, 0].to(dtype), shift[:, 0].to(dtype), 1e-6)

    def __call__(self, x: Tensor) -> Tensor:
        width = x.shape[-1:]
        if self.gain.dim() == 1:
            return F.layer_norm(x, width, self.gain, self.shift, self.eps)
        return torch.addcmul(self.shift, F.layer_norm(x, width, eps=self.eps), self.gain)


class Past(NamedTuple):
    """Keys and values of one layer up to the present token, and the place where its own are to be written."""

    slot: Tensor
    """``(2, rows, heads, size)``."""
    keys: Tensor
    """``(rows, heads, tokens, size)``, or ``(rows * heads, size, tokens)`` for plain products."""
    values: Tensor
    """``(rows, heads, tokens, size)``, or ``(rows * heads, tokens, size)``."""


class Room:
    """Keys and values of all layers, and the attention of one query a row to them.

    In full precision on a CPU two products and a softmax beat the fused kernel; elsewhere the fused kernel is better,
    and keeps the logits of half precision wide.
    """

    def __init__(
        self, shape: tuple[int, int, int, int, int], *, dtype: torch.dtype, device: torch.device
    ) -> None:
        layers, rows, heads, tokens, size = shape
        self.fused = device.type != "cpu" or dtype.itemsize < 4
        self.both = torch.empty(2, layers, rows, heads, tokens, size, dtype=dtype, device=device)
        self.keys, self.values = self.both if self.fused else self.both.flatten(2, 3)

    def until(self, position: int) -> list[Past]:
        """What each layer attends to at ``position``."""
        slots = self.both.select(4, position).unbind(1)
        keys, values = (part.narrow(-2, 0, position + 1) for part in (self.keys, self.values))
        return list(map(Past, slots, (keys if self.fused else keys.mT).unbind(0), values.unbind(0)))

    def attend(self, q: Tensor, kv: Tensor, past: Past) -> Tensor:
        """Scaled queries ``(rows, heads, size)``, keys and values ``(2, rows, heads, size)`` -> ``(rows, width)``."""
        past.slot.copy_(kv)
        if self.fused:
            out = F.scaled_dot_product_attention(q[:, :, None], past.keys, past.values, scale=1.0)
            return out.reshape(len(q), -1)
        weights = torch.bmm(q.view(-1, 1, q.shape[-1]), past.keys).softmax(dim=-1)
        return torch.bmm(weights, past.values).view(len(q), -1)


class LayerStep(NamedTuple):
    """One layer: ``x += gate * part(norm(x))``, for attention and for the MLP."""

    norm_attention: Norm
    qkv: Dense
    proj: Dense
    gate_attention: Tensor | None
    norm_mlp: Norm
    up: Dense
    down: Dense
    gate_mlp: Tensor | None


class TransformerStep:
    """A causal stack for ``rows`` sequences of up to ``tokens`` tokens; memory is that of a :class:`Cache`.

    Args:
        transformer: the stack.
        modulations: what its ``condition`` gave for these rows.
        rows: sequences walked together.
        tokens: the longest walk.
        dtype: of the products; ``wide`` is that of the running tokens.
        temperature: ``(rows,)`` divides the attention logits, or None.
        rotation: angles of all positions, where they are rotary.
    """

    def __init__(
        self,
        transformer: Transformer,
        modulations: list,
        *,
        rows: int,
        tokens: int,
        dtype: torch.dtype,
        wide: torch.dtype,
        temperature: Tensor | None,
        rotation: Rotation | None,
    ) -> None:
        self.heads, self.size = transformer.heads, transformer.width // transformer.heads
        self.rotation = rotation
        layers = cast("list[AdaLNLayer | PlainLayer]", list(transformer.layers))
        device = layers[0].attention.qkv.weight.device
        self.scale: float | Tensor = self.size**-0.5
        if temperature is not None:
            self.scale = (self.scale / temperature).to(dtype)[:, None, None]
        width = transformer.width
        shape = len(layers), rows, self.heads, tokens, self.size
        self.room = Room(shape, dtype=dtype, device=device)
        inside = maps_of(layers[0])[2].out_features
        gap = 16 if device.type == "cpu" else 0  # between rows: CPUs' GELU of whole matrices begins slowly
        self.qkv, self.hidden, self.part = (
            torch.empty(rows, numbers, dtype=dtype, device=device)
            for numbers in (3 * width, inside + gap, width)
        )
        self.hidden = self.hidden[:, :inside]
        self.layers = [
            layer_step(
                layer,
                modulation,
                dtype=dtype,
                wide=wide,
            )
            for layer, modulation in zip(layers, modulations, strict=True)
        ]

    def __call__(self, x: Tensor, position: int) -> Tensor:
        """The tokens ``(rows, width)`` at ``position``, after those before it; ``x`` is written over and returned."""
        heads = self.qkv.view(len(x), 3, self.heads, self.size).transpose(0, 1)
        q, k, kv = heads[0], heads[1], heads[1:]
        for layer, past in zip(self.layers, self.room.until(position), strict=True):
            layer.qkv(layer.norm_attention(x), self.qkv)
            if self.rotation is not None:
                window = self.rotation.window(position, 1)
                q.copy_(rotate(q[:, :, None], window)[:, :, 0])
                k.copy_(rotate(k[:, :, None], window)[:, :, 0])
            part = self.room.attend(q * self.scale, kv, past)
            join(x, layer.proj(part, self.part), layer.gate_attention)
            torch.ops.aten.gelu_.default(layer.up(layer.norm_mlp(x), self.hidden))
            join(x, layer.down(self.hidden, self.part), layer.gate_mlp)
        return x


def join(x: Tensor, part: Tensor, gate: Tensor | None) -> None:
    """``x += gate * part``, in place."""
    if gate is None:
        x.add_(part)
    else:
        x.addcmul_(gate, part)


def layer_step(
    layer: AdaLNLayer | PlainLayer,
    modulation: tuple[Modulation, Modulation] | None,
    *,
    dtype: torch.dtype,
    wide: torch.dtype,
) -> LayerStep:
    """A layer of the stack with its modulation as a step."""
    (norm_attention, gate_attention), (norm_mlp, gate_mlp) = norms_and_gates(layer, modulation, wide)
    qkv, proj, up, down = (Dense.of(linear, dtype) for linear in maps_of(layer))
    return LayerStep(norm_attention, qkv, proj, gate_attention, norm_mlp, up, down, gate_mlp)


def norms_and_gates(
    layer: AdaLNLayer | PlainLayer, modulation: tuple[Modulation, Modulation] | None, wide: torch.dtype
) -> list[tuple[Norm, Tensor | None]]:
    """What stands around attention and around the MLP: a norm before, and a gate ``(b, width)`` after, if any."""
    if isinstance(layer, AdaLNLayer):
        assert modulation is not None
        return [
            (Norm.modulated(part.shift, part.scale, wide), part.gate[:, 0].to(wide)) for part in modulation
        ]
    return [(Norm.learned(norm, wide), None) for norm in (layer.norm_attention, layer.norm_mlp)]


def maps_of(layer: AdaLNLayer | PlainLayer) -> tuple[nn.Linear, nn.Linear, nn.Linear, nn.Linear]:
    """A layer's linear maps: queries, keys and values; out of attention; into the MLP and out of it."""
    up, down = cast("tuple[nn.Linear, nn.Linear]", (layer.mlp[0], layer.mlp[2]))
    return layer.attention.qkv, layer.attention.proj, up, down
