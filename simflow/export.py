"""Pictures and files made of byte images: contact sheets and PNG folders.

Everything here takes uint8 ``(b, channels, height, width)`` with 1 (gray) or 3 (RGB) channels, as
:func:`simflow.pixels.to_uint8` makes them, and alters no byte of it: enlarging repeats pixels. Every file is
written under a temporary name and then renamed, so a file that is there is whole.

This file does not know how images are made, nor does it convert from [-1, 1].
"""

import csv
import importlib.util
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from simflow.data.manifest import COLUMNS, LIST, is_list
from simflow.files import part_of, replacing
from simflow.pixels import Bytes

PAPER = 255
"""The gray of gaps, margins and empty places: white."""

SHOWN = 64
"""Small images are enlarged, by whole numbers, to about this side in pixels."""

UNFINISHED = f".{LIST}.part"
"""What ``labels.csv`` is called while its images are being written."""

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

Row = UInt8[Tensor, "_ channels height width"]
"""Any number of images of one size."""


def enlargement(size: int) -> int:
    """How often a pixel of an image of this side is repeated when shown.

    >>> [enlargement(size) for size in (8, 32, 48, 64, 256)]
    [8, 2, 1, 1, 1]
    """
    return max(1, SHOWN // size)


def grid(images: Bytes, columns: int, *, scale: int = 1, gap: int = 1) -> Image.Image:
    """A contact sheet, row after row; places left over in the last row are white.

    Args:
        images: at least one.
        columns: images in a row.
        scale: every pixel becomes a square of this side.
        gap: white pixels between neighbours, after scaling.

    Returns:
        a picture in mode ``L`` (1 channel) or ``RGB`` (3 channels).

    Raises:
        ValueError: there are no images, or a number is too small.
    """
    if len(images) == 0:
        raise ValueError("a picture needs at least one image")
    if columns < 1 or scale < 1 or gap < 0:
        raise ValueError(
            f"columns and scale must be at least 1 and gap at least 0, not {columns}, {scale} and {gap}"
        )
    rows = -(-len(images) // columns)
    large = repeat(images.cpu(), "b c h w -> b (h s1) (w s2) c", s1=scale, s2=scale)
    _, height, width, channels = large.shape
    sheet = torch.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), PAPER, dtype=torch.uint8
    )
    for place, image in enumerate(large):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return _picture(sheet.numpy())


def pairs_grid(
    originals: Bytes, reconstructions: Bytes, *, columns: int = 10, scale: int = 1, gap: int = 2
) -> Image.Image:
    """A contact sheet of pairs: each original with its reconstruction right below it, without a gap.

    Raises:
        ValueError: as :func:`grid`.
    """
    return grid(torch.cat([originals, reconstructions], dim=2), columns, scale=scale, gap=gap)


def labelled_grid(rows: Mapping[str, Row], *, scale: int = 1, gap: int = 1) -> Image.Image:
    """One row of images for each caption, in the mapping's order, the captions at the left.

    Args:
        rows: caption -> images ``(any number, channels, height, width)``, all of one size.
        scale: every pixel becomes a square of this side.
        gap: white pixels between neighbours, after scaling.

    Raises:
        ValueError: as :func:`grid`.
    """
    if not rows:
        raise ValueError("a picture needs at least one row of images")
    columns = max(len(images) for images in rows.values())
    strips = [grid(images, columns, scale=scale, gap=gap) for images in rows.values()]
    size = min(max(strips[0].height * 0.33, 10.0), 24.0)
    fonts = [font_for(caption, size) for caption in rows]
    boxes = [font.getbbox(caption) for font, caption in zip(fonts, rows, strict=True)]
    margin = round(max(right for _, _, right, _ in boxes)) + 12
    pitch = max(strips[0].height, *(round(bottom) for _, _, _, bottom in boxes)) + gap
    sheet = Image.new(strips[0].mode, (margin + strips[0].width, pitch * len(rows) - gap), _white(strips[0]))
    pen = ImageDraw.Draw(sheet)
    for row, (caption, strip, font) in enumerate(zip(rows, strips, fonts, strict=True)):
        top, middle = row * pitch, row * pitch + (pitch - gap) // 2
        sheet.paste(strip, (margin, top + (pitch - gap - strip.height) // 2))
        pen.text((margin - 8, middle), caption, fill=0, font=font, anchor="rm")
    return sheet


def font_for(text: str, size: float = 10.0) -> Font:
    """The first font that has all characters of a text: Pillow's own, or the one that comes with matplotlib, if that is
    installed; Pillow's own if neither has."""
    fonts = fonts_of(size)
    return next((font for font in fonts if _has(font, text)), fonts[0])


def can_draw(text: str) -> bool:
    """Whether a font has all characters of a text.

    >>> can_draw("ankle-boot"), can_draw("\\ue123")
    (True, False)
    """
    return _has(font_for(text), text)


@cache
def fonts_of(size: float) -> tuple[Font, ...]:
    """The fonts that are here, the preferred one first."""
    own = ImageFont.load_default(size=size)
    found = importlib.util.find_spec("matplotlib")
    folders = [] if found is None else found.submodule_search_locations or []
    files = [Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf" for folder in folders]
    return (own, *(ImageFont.truetype(file, size) for file in files if file.is_file()))


def _has(font: Font, text: str) -> bool:
    """Whether a font has all characters of a text: of those that it has not, it draws the box of this private one."""
    box = _drawn(font, "\U0010fffd")
    return all(character.isspace() or _drawn(font, character) != box for character in set(text))


@cache
def _drawn(font: Font, character: str) -> bytes:
    canvas = Image.new("L", (64, 64))
    ImageDraw.Draw(canvas).text((8, 8), character, fill=255, font=font)
    return canvas.tobytes()


def save_picture(picture: Image.Image, path: Path) -> None:
    """Writes a PNG file."""
    with replacing(path) as part:
        picture.save(part, format="PNG")


def png_name(seed: int) -> str:
    """What the image of a seed is called.

    >>> png_name(123)
    '000123.png'
    """
    return f"{seed:06d}.png"


def save_png_folder(
    batches: Iterable[Bytes],
    labels: Sequence[int],
    seeds: Sequence[int],
    folder: Path,
    *,
    class_names: Sequence[str] = (),
    listed: Mapping[int, int] | None = None,
) -> None:
    """One PNG an image, named by its seed (``000123.png``), and ``labels.csv`` with ``file,seed,label,class``.

    Batches are written as they come, so a stream of any length fits in memory. ``labels.csv`` is gone meanwhile: a
    folder that has it is complete, and one that was interrupted still says which images are its own
    (:data:`UNFINISHED`). The class is empty where the label is ``NULL`` or has no name.

    Args:
        batches: images, in the order of ``labels`` and ``seeds``.
        labels: one per image.
        seeds: one per image, each a different one.
        folder: made if it is not there; files of the same names are replaced.
        class_names: names of the labels ``0, 1, ...``.
        listed: seed -> label of all images that the folder will have, where others are there already; of these alone if
            None.

    Raises:
        ValueError: the numbers of images, labels and seeds differ, or a seed occurs twice.
    """
    if len(labels) != len(seeds) or len(set(seeds)) != len(seeds):
        raise ValueError(f"{len(labels)} labels need as many different seeds, not {len(set(seeds))}")
    folder.mkdir(parents=True, exist_ok=True)
    _begin_list(folder, dict(zip(seeds, labels, strict=True)) if listed is None else listed, class_names)
    _save_pngs(batches, seeds, folder)
    (folder / UNFINISHED).replace(folder / LIST)


def _begin_list(folder: Path, labels: Mapping[int, int], class_names: Sequence[str]) -> None:
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(COLUMNS)
    for seed, label in labels.items():
        name = class_names[label] if 0 <= label < len(class_names) else ""
        lines.writerow((png_name(seed), seed, label, name))
    with replacing(folder / UNFINISHED) as part:
        part.write_text(table.getvalue(), encoding="utf-8")
    (folder / LIST).unlink(missing_ok=True)


def _save_pngs(batches: Iterable[Bytes], seeds: Sequence[int], folder: Path) -> None:
    written = 0
    for batch in batches:
        if written + len(batch) > len(seeds):
            raise ValueError(f"there are more images than the {len(seeds)} seeds")
        for image in rearrange(batch.cpu(), "b c h w -> b h w c").numpy():
            save_picture(_picture(image), folder / png_name(seeds[written]))
            written += 1
    if written != len(seeds):
        raise ValueError(f"there are {written} images but {len(seeds)} seeds")


def lists_of(folder: Path) -> list[Path]:
    """The ``labels.csv`` of :func:`save_png_folder` in a folder, and what an interrupted call left of one."""
    found = (folder / name for name in (LIST, UNFINISHED))
    return [path for path in found if path.is_file() and is_list(path.read_bytes())]


def seeds_listed(folder: Path) -> list[int]:
    """The seeds that a folder's lists name, ascending; the images of an interrupted call need not be there."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in lists_of(folder)]
    return sorted(
        {int(seed) for text in texts for seed in re.findall(r"^(\d{6,})\.png(?=,)", text, re.MULTILINE)}
    )


def clear_png_folder(folder: Path) -> None:
    """Removes the images that a folder's lists name, and the lists. Other files stay."""
    for seed in seeds_listed(folder):
        for path in (folder / png_name(seed), part_of(folder / png_name(seed))):
            path.unlink(missing_ok=True)
    for listing in lists_of(folder):
        listing.unlink()


def _picture(pixels: np.ndarray) -> Image.Image:
    """``(height, width, 1 or 3)`` -> a picture in mode ``L`` or ``RGB``."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _white(picture: Image.Image) -> int | tuple[int, int, int]:
    return PAPER if picture.mode == "L" else (PAPER, PAPER, PAPER)
