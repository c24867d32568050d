"""One picture of any kind into 8-bit pixels of the wanted size; the only file that knows Pillow.

In this order: turn as EXIF says, reduce 16 bits to 8, lay transparency on the background colour, convert to
gray or RGB, then fit. ``crop`` takes the centre square and resizes it with Pillow's bicubic filter, whose
support grows with the reduction, so that it is antialiased. ``pad`` centres the picture on black and never
resizes. Of a moving picture the first frame is taken; colour profiles are not applied.
"""

import io

import numpy as np
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from simflow.data.config import DataConfig
from simflow.data.source import Raw, Source


class Unreadable(Exception):
    """A picture that cannot be read; the message names it and says why."""


class TooLarge(ValueError):
    """A picture that the canvas of ``pad`` does not hold."""


def decode(source: Source, index: int, config: DataConfig) -> NDArray[np.uint8]:
    """Image ``index`` of ``source`` as ``(channels, image_size, image_size)`` uint8.

    Raises:
        Unreadable: the picture is damaged, or of a kind that has no 8-bit form.
        TooLarge: the picture is larger than the canvas of ``pad``.
    """
    try:
        image = to_eight_bits(_opened(source.read(index)), config)
    except UnidentifiedImageError as error:
        raise Unreadable(
            f"{source.names[index]} cannot be read: it is not a picture of any known format"
        ) from error
    except MemoryError:
        raise
    except (
        Exception
    ) as error:  # damaged pictures raise a dozen kinds in Pillow, from OverflowError to TypeError
        raise Unreadable(f"{source.names[index]} cannot be read: {error}") from error
    return _fitted(image, config, name=source.names[index])


def prepare(picture: Image.Image, config: DataConfig, *, name: str) -> NDArray[np.uint8]:
    """A picture in hand as :func:`decode` gives one of a source.

    Raises:
        ValueError: it has no 8-bit form, or is larger than the canvas of ``pad``.
    """
    return _fitted(to_eight_bits(picture, config), config, name=name)


def to_eight_bits(picture: Image.Image, config: DataConfig) -> Image.Image:
    """The whole picture, upright, of mode ``L`` or ``RGB`` as ``config.channels`` says."""
    image = ImageOps.exif_transpose(picture)
    if image.mode.startswith(("I", "F")):
        image = _reduce(image)
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, (*config.background, 255))
        image = Image.alpha_composite(canvas, image.convert("RGBA")).convert("RGB")
    return image.convert("L" if config.channels == 1 else "RGB")


def _opened(raw: Raw) -> Image.Image:
    if isinstance(raw, bytes):
        return Image.open(io.BytesIO(raw))
    return Image.fromarray(raw[..., 0] if raw.shape[2:] == (1,) else raw)


def _fitted(image: Image.Image, config: DataConfig, *, name: str) -> NDArray[np.uint8]:
    size = config.image_size
    pixels = np.asarray(_crop(image, size) if config.fit == "crop" else _pad(image, size, name=name))
    return pixels[None] if config.channels == 1 else rearrange(pixels, "h w c -> c h w")


def _reduce(image: Image.Image) -> Image.Image:
    """16-bit gray (modes ``I;16`` and, from some files, ``I``) to 8 bits: ``v / 257``, rounded; with alpha where a
    value stands for transparency."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("its pixels are not integers of at most 16 bits")
    gray = Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))
    key = image.info.get("transparency")
    if key is None:
        return gray
    return Image.merge("LA", (gray, Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8))))


def _crop(image: Image.Image, size: int) -> Image.Image:
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return square if side == size else square.resize((size, size), Image.Resampling.BICUBIC)


def _pad(image: Image.Image, size: int, *, name: str) -> Image.Image:
    if max(image.size) > size:
        raise TooLarge(
            f"{name} is {image.width} x {image.height} pixels, larger than the canvas of {size} x {size}, and data.fit "
            "'pad' never resizes: take smaller pictures, or train with data.fit 'crop' or a larger data.image_size"
        )
    canvas = Image.new(image.mode, (size, size))
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return canvas
