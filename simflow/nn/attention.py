"""Multi-head self-attention, causal or full, with a cache passed in by whoever decodes."""

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from simflow.nn.cache import KeyValues
from simflow.nn.rotary import Rotation, rotate
from simflow.shapes import Tokens

FEW, MANY = 32, 512
"""Tokens up to which a CPU trains attention in half precision faster in float32, and beyond which torch's kernel is
fastest; in between matrix products are."""


class Attention(nn.Module):
    """Self-attention with one fused projection (rows: queries, keys, values; heads contiguous in each).

    ``temperature`` ``(b,)`` divides the attention logits of each image: TarFlow guides unconditional models
    by a second pass at another temperature.
    """

    def __init__(self, *, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} cannot be split over {heads} attention heads")
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tokens,
        *,
        past: KeyValues | None = None,
        position: int = 0,
        temperature: Tensor | None = None,
        rotation: Rotation | None = None,
    ) -> Tokens:
        """Tokens ``(b, n, d)`` at ``position ..`` -> tokens; with ``past``, they see what it holds before them.

        ``rotation`` holds the angles of these tokens, where positions are rotary.
        """
        q, k, v = rearrange(self.qkv(x), "b n (three h e) -> three b h n e", three=3, h=self.heads)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        if temperature is not None:
            q = q / temperature.to(q.dtype)[:, None, None, None]
        if past is None:
            out = attend(q, k, v, causal=self.causal)
        else:
            k, v = past.write(position, k, v)
            out = F.scaled_dot_product_attention(
                q, k, v, attn_mask=window_mask(q, k) if q.shape[2] > 1 else None
            )
        return self.proj(rearrange(out, "b h n e -> b n (h e)"))


def attend(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """Attention of all tokens ``(b, h, n, e)`` at once.

    On a CPU the backward pass of torch's half-precision kernel is slow where sequences are short: up to fifteen times
    as slow as the float32 one, under autocast too. There few tokens are attended to in float32, and more by matrix
    products in half precision (docs/performance.md).
    """
    half = q.dtype in (torch.bfloat16, torch.float16)
    if not half or q.device.type != "cpu" or not torch.is_grad_enabled() or q.shape[2] > MANY:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    with torch.autocast("cpu", enabled=False):
        if q.shape[2] > FEW:
            return attend_by_products(q, k, v, causal=causal)
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=causal).to(q.dtype)


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> Tensor:
    """The same with all weights of attention ``(b h, n, n)`` in memory."""
    n, size = q.shape[2:]
    mask = torch.zeros(n, n, dtype=q.dtype, device=q.device)
    if causal:
        mask = mask.masked_fill(~window_mask(q, k), -torch.inf)
    rows, keys, values = (part.flatten(0, 1) for part in (q, k, v))
    weights = torch.baddbmm(mask, rows, keys.mT, alpha=size**-0.5).softmax(dim=-1)
    return torch.bmm(weights, values).view_as(q)


def window_mask(queries: Tensor, keys: Tensor) -> Tensor:
    """Boolean causal mask of the last ``n`` queries over ``m >= n`` keys: query i sees keys up to ``m - n + i``."""
    n, m = queries.shape[2], keys.shape[2]
    return torch.ones(n, m, dtype=torch.bool, device=queries.device).tril(diagonal=m - n)
