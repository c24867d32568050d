"""A flow that begins as a smaller one: its additional layers and blocks begin as the identity.

A trained flow can grow without changing one of its densities. A layer adds to its tokens what its attention and its
MLP give, so one that gives nothing passes them on; a block whose shifts are zero and whose scales are one gives what
it is given. Training goes on from there with more to learn with. Layers are added at the end of a block. Blocks are
added on the side of the data, so that the deep block, the one that is guided, stays the last.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from simflow.flow.order import Order
from simflow.flow.stack import Flow


def grown(flow: Flow, given: Mapping[str, Tensor], depths: Sequence[int], first: Order) -> dict[str, Tensor]:
    """The tensors of a flow with blocks of ``depths`` layers, the first of them in the order ``first``, under the
    names that they have in ``flow``, plus the tensors that only ``flow`` has, set to the identity: a complete state
    dict for ``flow``.

    Raises:
        ValueError: there are more blocks there, or one is deeper, or their orders are others.
    """
    more = len(flow.depths) - len(depths)
    if more < 0 or any(a > b for a, b in zip(depths, flow.depths[more:], strict=True)):
        raise ValueError(
            f"a flow can only grow, by more layers per block or more blocks on the data side: there are "
            f"{list(depths)} layers there and {list(flow.depths)} here"
        )
    blocks = flow.chain()
    if depths and blocks[more].order != first:
        other = "reversed" if blocks[0].order == "raster" else "raster"
        raise ValueError(
            f"the first block of the smaller flow has order {first}, and the block in its place here, number "
            f"{more + 1}, has {blocks[more].order}: set model.prior.first to {other}"
        )
    tensors = {_moved(name, more): tensor for name, tensor in given.items()}
    for number, block in enumerate(blocks[:more]):
        block.pass_on()
        tensors |= block.state_dict(prefix=f"blocks.{number}.")
    for number, (block, before) in enumerate(zip(blocks[more:], depths, strict=True), start=more):
        for layer in range(before, flow.depths[number]):
            block.transformer.pass_on(layer)
            prefix = f"blocks.{number}.transformer.layers.{layer}."
            tensors |= block.transformer.layers[layer].state_dict(prefix=prefix)
    return tensors


def _moved(name: str, by: int) -> str:
    """The name of a block's tensor when ``by`` blocks come before it; other names as they are.

    >>> _moved("blocks.1.head.bias", 2), _moved("base.variance", 2)
    ('blocks.3.head.bias', 'base.variance')
    """
    part, _, rest = name.partition(".")
    if part != "blocks":
        return name
    number, _, rest = rest.partition(".")
    return f"blocks.{int(number) + by}.{rest}"
