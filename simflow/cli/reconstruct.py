"""``simflow reconstruct RUN``: originals above what the autoencoder makes of them, and how far they are apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from simflow.cli.held_out import held_out, signed
from simflow.cli.pictures import pairs, require_png
from simflow.cli.shared_arguments import Data, Device, Run, Split, Which
from simflow.cli.talk import talking
from simflow.cli.words import refuse_settings, require_least
from simflow.data.order import spread
from simflow.distributed import is_main, launch
from simflow.evaluate.reconstruction import psnr, squared_error
from simflow.export import save_picture
from simflow.pipeline import Pipeline
from simflow.pixels import to_uint8
from simflow.seeding import generator


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Encodes and decodes images with a trained run: a picture of pairs, and the error.

    Latents are drawn with the posterior's noise, as in training and as samples have it; --mean decodes their
    means instead.
    """

    run: Run
    data: Data = None
    split: Split = None
    num: int = 40
    """How many images, spread evenly over the set."""
    out: Path
    """The picture, a PNG file: each original with its reconstruction below it."""
    seed: int = 0
    """Seed of the posterior's noise."""
    mean: bool = False
    """Decode the mean of the latents, without noise."""
    which: Which = "ema"
    device: Device = "auto"


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Reconstructs, writes and prints the error."""
    refuse_settings(settings, "reconstruct")
    require_least(arguments, {"num": 1})
    require_png(arguments.out)
    with launch(arguments.device) as device, talking():
        pipe = Pipeline.from_pretrained(arguments.run, which=arguments.which).to(device)
        images, called = held_out(pipe.config, arguments.data, arguments.split)
        originals = signed(images, spread(len(images), arguments.num).tolist())
        noise = generator("reconstruct", arguments.seed, device=device)
        parts = [
            pipe.reconstruct(part, generator=None if arguments.mean else noise).cpu()
            for part in originals.split(pipe.config.sample.batch)
        ]
        before, after = to_uint8(originals), to_uint8(torch.cat(parts))
        mse, decibels = squared_error(before, after).mean(), psnr(before, after).mean()
        if is_main():
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            save_picture(pairs(before, after), arguments.out)
            print(f"{len(after)} images of {called}: MSE {mse:.5f} on [-1, 1], PSNR {decibels:.2f} dB")
            print(f"pairs in {arguments.out}")
    return 0
