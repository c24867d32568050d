"""Latents as tokens and back: non-overlapping patches, channel-major (channel, patch row, patch column)."""

from einops import rearrange

from simflow.shapes import Latents, Tokens


def to_tokens(latents: Latents, patch: int) -> Tokens:
    """``(b, c, h, w)`` -> ``(b, n, d)`` in raster order with ``d = c * patch**2``."""
    return rearrange(latents, "b c (h p) (w q) -> b (h w) (c p q)", p=patch, q=patch)


def to_latents(tokens: Tokens, patch: int, shape: tuple[int, int, int]) -> Latents:
    """The inverse of :func:`to_tokens` for latents of ``shape = (c, h, w)``."""
    c, h, w = shape
    return rearrange(
        tokens, "b (h w) (c p q) -> b c (h p) (w q)", c=c, h=h // patch, w=w // patch, p=patch, q=patch
    )
