"""The contact sheet of a study: a line of images per row, the same seeds and labels for all, in three blocks.

It shows the first seed of each row that has figures: samples guided and not, and reconstructions of the same held-out
images (training images where there are no others) under their originals.
"""

from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

from simflow.export import PAPER, enlargement, labelled_grid
from simflow.files import read_json
from simflow.pixels import Bytes
from simflow.study.judge import read_pictures
from simflow.study.layout import StudyFolder
from simflow.study.study import Study
from simflow.study.table import unseen_of

BLOCKS = {
    "guided": "samples, guided as the recipe says",
    "unguided": "samples, unguided",
    "reconstruction": "reconstructions of {unseen}",
}
"""Kinds of images and their headings."""

HEADING = 28
"""Height of a heading, in pixels."""


def sheet(study: Study, folder: StudyFolder) -> Image.Image | None:
    """The picture; None while no row has images."""
    found: dict[str, dict[str, Bytes]] = {}
    for row in study.rows:
        seeds = sorted(
            int(file.stem.rpartition("-")[2])
            for file in folder.path.joinpath("pictures").glob(f"{row.name}-seed-*.npz")
            if file.stem.removeprefix(f"{row.name}-seed-").isdigit()
        )
        if seeds:
            found[f"{row.label}, seed {seeds[0]}"] = read_pictures(folder.pictures(row.name, seeds[0]))
    if not found:
        return None
    unseen = unseen_of(read_json(folder.reference) if folder.reference.is_file() else {})
    return stacked({heading.format(unseen=unseen): block(found, kind) for kind, heading in BLOCKS.items()})


def block(found: Mapping[str, Mapping[str, Bytes]], kind: str) -> Image.Image:
    """A line per row; above reconstructions the originals."""
    lines = {label: images[kind] for label, images in found.items()}
    if kind == "reconstruction":
        lines = {"originals": next(iter(found.values()))["original"]} | lines
    size = next(iter(lines.values())).shape[-1]
    return labelled_grid(lines, scale=enlargement(size))


def stacked(blocks: Mapping[str, Image.Image]) -> Image.Image:
    """Pictures one below the other, each under its heading; they are aligned at the right, where images end."""
    width = max(picture.width for picture in blocks.values())
    height = sum(picture.height + HEADING for picture in blocks.values())
    mode = next(iter(blocks.values())).mode
    white = PAPER if mode == "L" else (PAPER, PAPER, PAPER)
    made = Image.new(mode, (width, height), white)
    pen, font, top = ImageDraw.Draw(made), ImageFont.load_default(size=16), 0
    for heading, picture in blocks.items():
        pen.text((8, top + HEADING // 2), heading, fill=0, font=font, anchor="lm")
        made.paste(picture, (width - picture.width, top + HEADING))
        top += picture.height + HEADING
    return made
