"""``simflow stats FOLDER --out ref.npz``: statistics of real images, taken once and used again."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from tyro.conf import Positional, arg

from simflow import distributed
from simflow.cli.bars import counting
from simflow.cli.image_files import described, real_images, tell_unreadable
from simflow.cli.shared_arguments import Device
from simflow.cli.talk import talking
from simflow.cli.words import refuse_settings, require_least
from simflow.evaluate.choose import choose
from simflow.evaluate.collect import Collected, Pictures, collect
from simflow.evaluate.extractors import Extractor
from simflow.evaluate.generation import LEAST, require_enough
from simflow.evaluate.provenance import made_by
from simflow.evaluate.reference import describe, write_statistics
from simflow.files import require_writable


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Takes statistics of real images: mean and covariance of features, and the features of some.

    The file serves as --reference of simflow evaluate with the same extractor and weights, and has the names that ADM's
    evaluator and others use (mu, sigma, mu_s, sigma_s).
    """

    images: Positional[str]
    """A folder, archive or other data set (its train split if it is divided), or an .npz of images."""
    out: Path
    """The .npz to write."""
    extractor: str = "efficientnet-lite0"
    """One of efficientnet-lite0, inception=FILE, dinov2 or dinov2=PATH."""
    image_size: int | None = None
    """Height and width that images are brought to; an .npz keeps its own."""
    num: Annotated[int | None, arg(aliases=["-n"])] = None
    """Most images, evenly spread; all if not given."""
    keep: int = 10_000
    """Images whose features are kept, evenly spread, for precision, recall and floors."""
    batch: int = 64
    """Images at once, on each process."""
    device: Device = "auto"


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Looks and writes."""
    refuse_settings(settings, "stats")
    if arguments.out.suffix != ".npz":
        raise ValueError(
            f"the name of a file of statistics must end in .npz, and {arguments.out.name} does not"
        )
    require_least(arguments, {"keep": LEAST, "batch": 1, "num": 1, "image_size": 1})
    found, left_out = choose(arguments.extractor)
    if left_out:
        raise ValueError(left_out[0])
    if len(found) != 1:
        raise ValueError("statistics are of one extractor: name exactly one with --extractor")
    with distributed.launch(arguments.device) as device, talking() as console:
        real = real_images(arguments.images, size=arguments.image_size, limit=arguments.num, console=console)
        if real.pictures is None:
            raise ValueError(f"{arguments.images} has no images (arr_0) to take statistics of")
        require_enough(found[0].identity, len(real.pictures), None)
        distributed.from_main(partial(require_writable, arguments.out))
        collected = looked_at(found[0], real.pictures, arguments, str(device), console)
        tell_unreadable(real.pictures)
        meta = {
            "extractor": describe(found[0].identity),
            "count": collected.count,
            "kept": len(collected.features),
            "images": {"source": real.source} | described(real.pictures),
            "made_by": made_by(device),
        }
        if distributed.is_main():
            write_statistics(arguments.out, collected, meta)
            print(f"statistics of {collected.count} images in {arguments.out}")
            if collected.count <= found[0].identity.dimension:
                print(
                    f"fewer images than the {found[0].identity.dimension} numbers of a feature: rank deficient"
                )
        distributed.barrier()
    return 0


def looked_at(
    extractor: Extractor, pictures: Pictures, arguments: Arguments, device: str, console: Console
) -> Collected:
    """Features of all images."""
    extractor.to(device)
    with counting(console, extractor.identity.name, len(pictures)) as count:
        see = partial(collect, device=device, batch=arguments.batch, keep=arguments.keep)
        return see(extractor, pictures, on_progress=count)
