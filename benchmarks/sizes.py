"""The flows that are measured: TarFlows of any size, the published geometries of SimFlow, or a trained run.

A peer can only be compared with a flow that it can express, so classes are added to every token as TarFlow does,
unless adaLN is asked for. Geometry (width, heads, depths, 256 tokens of 64 numbers) is that of SimFlow's Table 8.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.peers import shake
from benchmarks.subject import Setting
from simflow import recipes
from simflow.flow.block import BlockConfig
from simflow.flow.stack import Flow, FlowConfig
from simflow.nn.transformer import Conditioning
from simflow.pipeline import Pipeline

GEOMETRIES = ("S", "B", "L", "XL", "XXL")


@dataclass(frozen=True, kw_only=True)
class Size:
    """A flow and a batch; the defaults are a small TarFlow on gray images in patches of 4."""

    images: int = 16
    grid: int = 8
    """Tokens are the square of it."""
    channels: int = 16
    """Numbers in a token."""
    depths: tuple[int, ...] = (4, 4, 4, 4)
    width: int = 256
    heads: int = 4
    classes: int = 10
    conditioning: Conditioning = "added"
    label: str = ""

    @property
    def name(self) -> str:
        """What to call it: a letter of Table 8, or its blocks and width."""
        return self.label or f"{'-'.join(map(str, self.depths))} of {self.width}"

    @property
    def tokens(self) -> int:
        """Tokens of an image."""
        return self.grid**2

    def build(self, device: torch.device) -> Flow:
        """The flow on a device, moved away from where it begins, in evaluation mode."""
        null = "mean" if self.conditioning == "added" else "row"
        block = BlockConfig(
            width=self.width, heads=self.heads, conditioning=self.conditioning, null_class=null
        )
        with device:
            torch.manual_seed(0)
            shape = (self.channels, self.grid, self.grid)
            flow = FlowConfig(depths=self.depths, block=block).build(latent_shape=shape, classes=self.classes)
        shake(flow)
        return flow.eval()


DEFAULT = (Size(), Size(images=4, grid=16))


def published(name: str, *, images: int, conditioning: Conditioning = "added") -> Size:
    """A row of Table 8 at 256 px."""
    prior = recipes.get(f"simflow-{name.lower()}").model.prior
    assert isinstance(prior, FlowConfig)
    return Size(
        label=name,
        images=images,
        grid=16,
        channels=64,
        depths=prior.depths,
        width=prior.block.width,
        heads=prior.block.heads,
        classes=1000,
        conditioning=conditioning,
    )


def custom(images: int, side: int, blocks: int, layers: int, width: int) -> Size:
    """Equal blocks on gray images of ``side`` pixels in patches of 4, with TarFlow's heads of 64.

    >>> custom(4, 64, 2, 3, 128).tokens
    256
    """
    return Size(images=images, grid=side // 4, depths=(layers,) * blocks, width=width, heads=width // 64)


def trained(path: Path, device: torch.device) -> Flow:
    """The flow of a trained run, its averaged weights.

    Raises:
        ValueError: there is no such run, or its prior is no flow.
    """
    prior = Pipeline.from_pretrained(path).model.prior
    if not isinstance(prior, Flow):
        raise ValueError(f"the prior of '{path}' is no flow")
    return prior.to(device).requires_grad_()


def add_arguments(parser: ArgumentParser) -> None:
    """The flags that choose flows and batches."""
    parser.add_argument(
        "--size",
        type=int,
        nargs=5,
        action="append",
        metavar=("B", "SIDE", "K", "L", "W"),
        help="images, side in pixels (patches of 4), blocks, layers of each, width; may be repeated",
    )
    parser.add_argument("--run", type=Path, help="a trained run, instead of random weights")
    parser.add_argument("--geometry", nargs="+", choices=GEOMETRIES, help="published sizes at 256 tokens")
    parser.add_argument("--batch", type=int, nargs="+", default=[16], help="images, with --geometry or --run")
    parser.add_argument(
        "--conditioning",
        choices=("added", "adaln"),
        default="added",
        help="of --geometry; peers know the first only",
    )


class Case(NamedTuple):
    """A flow that is yet to be built, and the batches it is measured with."""

    name: str
    build: Callable[[], Flow]
    batches: list[int]

    def called(self, images: int) -> str:
        """What a batch is called where it is left out."""
        return f"{self.name}, {images} images"

    def in_time(self, setting: Setting, *, of: str = "") -> Iterator[int]:
        """The batches for which there is time when their turn comes, each on a tidy device; the others are noted."""
        for images in self.batches:
            if not setting.deadline.forgoes(self.called(images) + of):
                setting.forget()
                yield images


def flows(chosen: Namespace, setting: Setting) -> Iterator[tuple[Case, Flow]]:
    """What the flags name, built when its turn comes if there is time then; else its batches are noted."""
    for case in cases(chosen, setting.device):
        if setting.deadline.over:
            setting.deadline.left_out += map(case.called, case.batches)
        else:
            yield case, case.build()


def cases(chosen: Namespace, device: torch.device) -> list[Case]:
    """What the flags name; without any, two sizes that a CPU can do."""
    named = [custom(*numbers) for numbers in chosen.size or ()]
    named += [
        published(name, images=images, conditioning=chosen.conditioning)
        for name in chosen.geometry or ()
        for images in chosen.batch
    ]
    found = (
        []
        if chosen.run is None
        else [Case(chosen.run.name, partial(trained, chosen.run, device), chosen.batch)]
    )
    for shape, same in groupby(named or ([] if found else DEFAULT), key=lambda size: replace(size, images=0)):
        found.append(Case(shape.name, partial(shape.build, device), [size.images for size in same]))
    return found
