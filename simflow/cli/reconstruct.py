"""``simflow reconstruct RUN``: originals above what the autoencoder makes of them, and how far they are apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from simflow.cli.held_out import held_out, signed
from simflow.cli.pictures import pairs, require_png
from simflow.cli.shared_arguments import Data, Device, Run, Split, Which
from simflow.cli.talk import talking
from simflow.cli.words import refuse_settings, require_least
from simflow.data.order import spread
from simflow.distributed import from_main, is_main, launch
from simflow.evaluate import fidelity
from simflow.evaluate.reconstruction import psnr, squared_error
from simflow.export import save_picture
from simflow.files import require_writable
from simflow.pipeline import Pipeline
from simflow.pixels import to_uint8


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Encodes and decodes images with a trained run: a picture of pairs, and the error.

    Latents are drawn with the posterior's noise, as in training and as samples have it; --mean decodes their
    means instead. An image's noise belongs to its number and the seed, as in simflow evaluate.
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
        from_main(partial(require_writable, arguments.out))
        images, called = held_out(pipe.config, arguments.data, arguments.split)
        numbers, batch = spread(len(images), arguments.num), pipe.config.sample.batch
        originals = signed(images, numbers.tolist())
        before = to_uint8(originals)
        if arguments.mean:
            after = to_uint8(torch.cat([pipe.reconstruct(part).cpu() for part in originals.split(batch)]))
        else:
            after = fidelity.reconstruct(pipe.model, images, numbers, seed=arguments.seed, batch=batch).pixels
        mse, decibels = squared_error(before, after).mean(), psnr(before, after).mean()
        if is_main():
            save_picture(pairs(before, after), arguments.out)
            print(f"{len(after)} images of {called}: MSE {mse:.5f} on [-1, 1], PSNR {decibels:.2f} dB")
            print(f"pairs in {arguments.out}")
    return 0
