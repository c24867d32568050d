"""The straight way between the latents of two images, decoded: Figure 3b of the SimFlow paper.

In a smooth latent space the images on the way are images; in a rough one they are two pictures laid over each
other. This file does not know models: it takes a decoder.
"""

import torch

from simflow.analysis.picture import Picture
from simflow.analysis.robustness import Decoder, decoded
from simflow.pixels import Bytes
from simflow.shapes import Latents


@torch.no_grad()
def interpolation(
    decode: Decoder, means: Latents, originals: Bytes, *, steps: int = 8, captions: tuple[str, ...]
) -> Picture:
    """A row for each pair of neighbours (0 and 1, 2 and 3, ...), as many as captions.

    A row holds the first original, ``steps`` decoded points of the way, both ends among them, and the second
    original.

    Args:
        decode: latents -> images in about [-1, 1].
        means: latents of the originals, at least twice as many as captions.
        originals: the images at the ends.
        steps: at least 2.
        captions: one per pair.

    Raises:
        ValueError: there are fewer than two steps.
    """
    if steps < 2:
        raise ValueError(f"a way between two images needs at least 2 steps, not {steps}")
    way = torch.linspace(0, 1, steps, dtype=means.dtype, device=means.device)[:, None, None, None]
    rows = []
    for pair in range(len(captions)):
        first, second = slice(2 * pair, 2 * pair + 1), slice(2 * pair + 1, 2 * pair + 2)
        made = decoded(decode, torch.lerp(means[first], means[second], way), steps)
        rows.append(torch.cat([originals[first].cpu(), made, originals[second].cpu()]))
    return Picture(captions=captions, images=torch.stack(rows))
