"""A block as the affine map of the next token, in compiled loops: on a CPU, where walks are bound by calls.

The numbers are those of :class:`~simflow.flow.sequential.BlockStep` up to rounding; a law holds the two together. Here
the block's weights are laid out for ``step.c`` (:mod:`simflow.native.library`), once a walk, and its tensors handed
over as addresses; everything from the token to the outputs is then one call.

In half precision the weights of linear maps, keys and values are rounded to bfloat16, and where the processor
multiplies such numbers (AVX512-BF16, AMX) the inputs of the maps within layers are, too. All sums, and all that is no
product, are in float32.
"""

from typing import cast

import torch
from torch import Tensor, nn

from simflow.flow.affine import Affine, from_outputs
from simflow.flow.block import Block, Condition
from simflow.flow.order import reorder
from simflow.native import library as native
from simflow.nn.step import Norm, maps_of, norms_and_gates
from simflow.nn.transformer import AdaLNLayer, Modulation, PlainLayer


class CompiledStep:
    """``next_affine`` of a walk from the first token, for ``rows`` sequences.

    Args:
        block: in float32, on a CPU.
        condition: of the rows.
        rows: sequences walked together.
        half: whether linear maps are in half precision.
        loops: the compiled loops.
    """

    def __init__(
        self, block: Block, condition: Condition, *, rows: int, half: bool, loops: native.Loops
    ) -> None:
        self.config, self.half, self.loops, self.threads = block.config, half, loops, loops.threads
        self.prefix = block.prefix
        self.held: list[Tensor] = []
        """What C was given the addresses of."""
        width, heads = block.config.width, block.config.heads
        layers = cast("list[AdaLNLayer | PlainLayer]", list(block.transformer.layers))
        inside = maps_of(layers[0])[2].out_features
        tokens, size = block.prefix + block.tokens, width // heads
        logits, wide, word = self.whole(tokens), self.whole(size), 2 if half else 1
        scale = torch.full((rows,), size**-0.5)
        if condition.temperature is not None:
            scale = scale / condition.temperature
        self.packed = self.pack(
            [block.embed, block.head, *(each for layer in layers for each in maps_of(layer))]
        )
        self.x = torch.empty(rows, width)
        self.out = torch.empty(rows, block.head.out_features)
        self.net = native.Net(
            rows=rows,
            width=width,
            heads=heads,
            inside=inside,
            tokens=tokens,
            layers=len(layers),
            layer=(native.Layer * len(layers))(*map(self.layer, layers, condition.layers)),
            embed=self.dense(block.embed, added=condition.added),
            head=self.dense(block.head),
            positions=self.hold(None if block.positions is None else reorder(block.positions, block.order)),
            final=self.final(block, condition),
            scale=self.hold(scale),
            cos=self.hold(None if condition.rotation is None else condition.rotation.cos),
            sin=self.hold(None if condition.rotation is None else condition.rotation.sin),
            prefix=block.prefix,
            keys=self.room(len(layers), rows, heads, logits, -(-size // word)),
            values=self.room(len(layers), rows, heads, -(-tokens // word), wide),
            x=self.hold(self.x),
            qkv=self.room(rows, 3 * width),
            normed=self.inputs(rows, width),
            part=self.inputs(rows, width),
            hidden=self.inputs(rows, inside),
            scratch=self.room(self.threads, logits + 2 * wide),
            half=half,
        )
        if condition.prefix is not None:
            self.x.copy_(condition.prefix[:, 0])
            loops.step(self.net, None, 0, None, threads=self.threads)

    def __call__(self, token: Tensor, position: int) -> Affine:
        """Inputs ``(rows, d)`` at ``position`` -> the map ``(rows, 1, d)`` that they give to the next token."""
        self.loops.step(self.net, token.contiguous(), self.prefix + position, self.out, threads=self.threads)
        return from_outputs(self.out[:, None], scale=self.config.scale, clip=self.config.clip)

    def whole(self, numbers: int) -> int:
        """So many numbers, and up to a whole vector."""
        return -(-numbers // self.loops.lanes) * self.loops.lanes

    def hold(self, tensor: Tensor | None) -> int | None:
        """The address of a tensor's numbers, one after the other, which stay there as long as the step does."""
        if tensor is None:
            return None
        self.held.append(tensor.float().contiguous())
        return self.loops.address(self.held[-1])

    def room(self, *shape: int) -> int | None:
        """The address of memory for so many numbers."""
        return self.hold(self.new(*shape))

    def inputs(self, rows: int, numbers: int) -> int | None:
        """The address of memory for the inputs of a linear map."""
        return self.hold(torch.zeros(self.loops.inputs_size(rows, numbers, half=self.half)))

    def new(self, *shape: int) -> Tensor:
        """Memory for so many numbers, which are about to be written."""
        tensor = torch.empty(shape)
        self.loops.expect(tensor)
        return tensor

    def pack(self, linears: list[nn.Linear]) -> dict[nn.Linear, int]:
        """The weights of linear maps in the order of the loops, in one piece of memory: their addresses."""
        sizes = [
            self.loops.packed_size(linear.out_features, linear.in_features, half=self.half)
            for linear in linears
        ]
        packed = dict(zip(linears, self.new(sum(sizes)).split(sizes), strict=True))
        for linear, part in packed.items():
            self.loops.pack(linear.weight, part, half=self.half)
        return {linear: cast("int", self.hold(part)) for linear, part in packed.items()}

    def dense(self, linear: nn.Linear, added: Tensor | None = None) -> native.Dense:
        """A linear map; ``added`` ``(rows, 1, out)`` is a bias of each row besides."""
        bias = linear.bias if added is None else linear.bias + added[:, 0]
        return native.Dense(
            weight=self.packed[linear],
            bias=self.hold(bias),
            in_=linear.in_features,
            out=linear.out_features,
            bias_step=0 if added is None else linear.out_features,
        )

    def layer(
        self, layer: AdaLNLayer | PlainLayer, modulation: tuple[Modulation, Modulation] | None
    ) -> native.Layer:
        """A layer of the stack with its modulation."""
        (norm_attention, gate_attention), (norm_mlp, gate_mlp) = norms_and_gates(
            layer, modulation, torch.float32
        )
        qkv, proj, up, down = map(self.dense, maps_of(layer))
        return native.Layer(
            norm_attention=self.norm(norm_attention),
            norm_mlp=self.norm(norm_mlp),
            qkv=qkv,
            proj=proj,
            up=up,
            down=down,
            gate_attention=self.hold(gate_attention),
            gate_mlp=self.hold(gate_mlp),
        )

    def norm(self, norm: Norm) -> native.Norm:
        """A norm with a gain and a shift, of its own or of each row."""
        step = 0 if norm.gain.dim() == 1 else norm.gain.shape[-1]
        return native.Norm(gain=self.hold(norm.gain), shift=self.hold(norm.shift), step=step, eps=norm.eps)

    def final(self, block: Block, condition: Condition) -> native.Norm:
        """What stands before the outputs: a modulated norm, an RMS norm, or none."""
        if condition.final is not None:
            shift, scale = condition.final
            return self.norm(Norm.modulated(shift, scale, torch.float32))
        if block.final_norm is not None:
            return native.Norm(gain=self.hold(block.final_norm.weight), step=0, eps=block.final_norm.eps)
        return native.Norm()
