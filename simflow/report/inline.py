"""Images inside the page: data addresses, so that the page is one file and asks nobody for anything.

Small images stay PNG, byte for byte, and are enlarged by the browser. Large ones (over ``LOSSLESS`` pixels a side)
become JPEG of quality 90 and at most ``WIDEST`` pixels a row, or the page would take hundreds of megabytes.
"""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from simflow.analysis.picture import Picture
from simflow.export import enlargement, grid
from simflow.report.markup import Markup, tag

LOSSLESS = 64
"""Images with sides up to this are kept exactly."""

LARGEST = 1_500_000
"""Picture files of more bytes are shrunk and become JPEG."""

WIDEST = 2400
"""Pixels of the longer side of a picture that is not kept exactly: twice what a page has room for."""

GAP = 1
"""Pixels between images of a row, before enlargement."""


def rows(picture: Picture) -> Markup:
    """Every row of a picture as one image, its caption beside it."""
    made = []
    for caption, images in zip(picture.captions, picture.images, strict=True):
        made.append(tag("span", caption, attributes={"class": "caption"}))
        made.append(row(images, f"{caption}: {len(images)} image{'s' if len(images) > 1 else ''} in a row"))
    return tag("div", *made, attributes={"class": "rows"})


def row(images: Tensor, alt: str) -> Markup:
    """Images ``(n, channels, height, width)`` side by side as one ``<img>``."""
    scale, exact = enlargement(images.shape[-1]), max(images.shape[-2:]) <= LOSSLESS
    strip = grid(images, len(images), gap=GAP)
    if exact:
        strip.putalpha(_without_gaps(strip, images.shape[-1]))
    else:
        strip.thumbnail((WIDEST, WIDEST))
    attributes = {
        "src": address(strip, exact=exact),
        "alt": alt,
        "width": scale * strip.width,
        "height": scale * strip.height,
        "class": "pixels" if scale > 1 else None,
    }
    return tag("img", attributes=attributes)


def _without_gaps(strip: Image.Image, width: int) -> Image.Image:
    """Where a row has images: opaque there, clear between them, for the page may be dark."""
    places = np.arange(strip.width) % (width + GAP) < width
    return Image.fromarray(np.tile(np.where(places, 255, 0).astype(np.uint8), (strip.height, 1)))


def file(path: Path, alt: str) -> Markup | None:
    """A picture file; None if it is not one that can be read."""
    try:
        with Image.open(path) as picture:
            picture.load()
            size, kind = picture.size, picture.format or ""
            small = path.stat().st_size <= LARGEST and kind in ("PNG", "JPEG", "WEBP")
            if small:
                source = f"data:image/{kind.lower()};base64,{_base64(path.read_bytes())}"
            else:
                picture.thumbnail((WIDEST, WIDEST))
                source = address(picture.convert("RGB"), exact=False)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        return None
    return tag("img", attributes={"src": source, "alt": alt, "width": size[0], "height": size[1]})


def address(picture: Image.Image, *, exact: bool) -> str:
    """A data address of a picture, as PNG or as JPEG."""
    buffer = io.BytesIO()
    if exact:
        picture.save(buffer, format="PNG", optimize=True)
    else:
        picture.save(buffer, format="JPEG", quality=90, subsampling=0)
    return f"data:image/{'png' if exact else 'jpeg'};base64,{_base64(buffer.getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
