"""``simflow interpolate RUN``: the straight way between the latents of two images, decoded (SimFlow, Figure 3b)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from simflow.analysis.interpolation import interpolation
from simflow.cli.held_out import held_out, signed
from simflow.cli.pictures import require_png
from simflow.cli.shared_arguments import Data, Device, Run, Split, Which
from simflow.cli.talk import talking
from simflow.cli.words import parse_pairs, refuse_settings, require_least
from simflow.data.order import spread
from simflow.distributed import from_main, is_main, launch
from simflow.export import enlargement, grid, save_picture
from simflow.files import require_writable
from simflow.pipeline import Pipeline


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Decodes linear interpolations between the latents of pairs of images, one row a pair.

    A row is the first original, the images from its latent to that of the second, and the second original. The
    latents are the means of the posterior. Images come from the run's held-out data unless told otherwise.
    """

    run: Run
    pairs: tuple[str, ...] = ()
    """Pairs of image numbers, such as 3,17 5,9."""
    num: int = 8
    """Without --pairs: how many pairs, of images spread evenly over the set."""
    steps: int = 8
    """Images from one latent to the other, both ends among them."""
    data: Data = None
    split: Split = None
    out: Path
    """The picture, a PNG file."""
    which: Which = "ema"
    device: Device = "auto"


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Interpolates and writes."""
    refuse_settings(settings, "interpolate")
    pairs = parse_pairs(arguments.pairs)
    if arguments.steps < 2:
        raise ValueError(f"--steps must be at least 2, for both ends are among them, not {arguments.steps}")
    if not pairs:
        require_least(arguments, {"num": 1})
    require_png(arguments.out)
    with launch(arguments.device) as device, talking():
        pipe = Pipeline.from_pretrained(arguments.run, which=arguments.which).to(device)
        from_main(partial(require_writable, arguments.out))
        images, called = held_out(pipe.config, arguments.data, arguments.split)
        if not pairs and len(images) < 2:
            raise ValueError(f"a pair needs two images, and {called} have only one")
        ends = spread(len(images), 2 * arguments.num).tolist()
        pairs = pairs or list(zip(ends[::2], ends[1::2], strict=False))
        ends = [number for pair in pairs for number in pair]
        means = pipe.encode(signed(images, ends))
        ways = interpolation(
            pipe.decode,
            means,
            images.images(ends),
            steps=arguments.steps,
            captions=tuple(map(str, range(len(pairs)))),
        ).images
        picture = grid(ways.flatten(0, 1), arguments.steps + 2, scale=enlargement(images.image_size))
        if is_main():
            save_picture(picture, arguments.out)
            print(f"{len(pairs)} pairs of {called}, {arguments.steps} steps each, in {arguments.out}")
    return 0
