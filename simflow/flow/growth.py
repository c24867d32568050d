"""A flow that begins as a shallower one: the layers that it has more begin as the identity.

Depth can be added to a trained flow without changing one of its densities: a layer adds to its tokens what its
attention and its MLP give, so a layer that gives nothing passes them on. Training goes on from there with more to
learn with. Blocks may become deeper, all or some; their number and all else must be the same.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from simflow.flow.stack import Flow


def grown(flow: Flow, given: Mapping[str, Tensor], depths: Sequence[int]) -> dict[str, Tensor]:
    """The tensors of a flow with blocks of ``depths`` layers, and beside them those of the layers that ``flow`` has
    more, which are made the identity: together all that ``flow`` is to have.

    Raises:
        ValueError: the blocks are others in number, or one is deeper there.
    """
    if len(depths) != len(flow.depths) or any(a > b for a, b in zip(depths, flow.depths, strict=True)):
        raise ValueError(
            f"blocks can become deeper and nothing else: there are {list(depths)} layers there and "
            f"{list(flow.depths)} here"
        )
    tensors = dict(given)
    for number, (block, before) in enumerate(zip(flow.chain(), depths, strict=True)):
        for layer in range(before, flow.depths[number]):
            block.transformer.pass_on(layer)
            prefix = f"blocks.{number}.transformer.layers.{layer}."
            tensors |= block.transformer.layers[layer].state_dict(prefix=prefix)
    return tensors
