"""Keys and values of tokens already seen: an explicit, preallocated object that the sampler owns.

The model keeps no state between calls. Whoever decodes makes a :class:`Cache`, passes it in with the
position of the first new token, and throws it away; a new batch or block starts with a new one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class KeyValues:
    """Room for the keys and values of one layer, each ``(b, heads, tokens, head size)``, used by all rows or by some.

    >>> room = KeyValues(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2))
    >>> keys, values = room.write(0, torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2))
    >>> keys.shape
    torch.Size([1, 1, 3, 2])
    """

    keys: Tensor
    values: Tensor
    rows: Tensor | None = None
    """Which rows of the room the batch is, or None for all; some rows are read as copies."""

    def write(self, position: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores new keys and values at ``position`` and gives back all up to and including them."""
        end = position + keys.shape[2]
        if self.rows is not None:
            self.keys[self.rows, :, position:end] = keys
            self.values[self.rows, :, position:end] = values
            return self.keys[self.rows, :, :end], self.values[self.rows, :, :end]
        self.keys[:, :, position:end] = keys
        self.values[:, :, position:end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]


@dataclass(frozen=True)
class Cache:
    """One :class:`KeyValues` a layer."""

    layers: tuple[KeyValues, ...]

    def of(self, rows: Tensor) -> "Cache":
        """The same room for a batch of some of the rows ``(b,)``."""
        return Cache(tuple(KeyValues(room.keys, room.values, rows) for room in self.layers))

    @classmethod
    def allocate(
        cls,
        *,
        layers: int,
        batch: int,
        heads: int,
        tokens: int,
        head_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> "Cache":
        """Room for ``tokens`` tokens in every layer; memory is ``2 * layers * batch * tokens * width`` numbers."""
        shape = (batch, heads, tokens, head_size)
        rooms = (
            KeyValues(
                torch.empty(shape, dtype=dtype, device=device), torch.empty(shape, dtype=dtype, device=device)
            )
            for _ in range(layers)
        )
        return cls(tuple(rooms))
