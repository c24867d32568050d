"""What ``simflow evaluate`` can be told, and which words contradict each other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from simflow.cli.sampling import Flags
from simflow.cli.shared_arguments import RUN, Device, Which
from simflow.cli.speed import Speed
from simflow.cli.words import check_count, require_least
from simflow.evaluate.lpips import Kind
from simflow.places import find

LEAST = {"num": 1, "held_out": 2, "feature_batch": 1, "nearest": 0, "groups": 0, "inception_split": 1}
LEAST |= {"reference_num": 1, "image_size": 1}
"""The least that each number may be."""

OF_A_RUN = ("num", "labels", "which", "data", "held_out", "ood", "nearest", "nearest_by", "reconstruction")
OF_A_RUN += ("lpips", "lpips_weights", "lpips_heads", "likelihood", "per_image")
"""What samples alone have no use for."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Judges a run, or samples from anywhere, and writes figures as JSON with all that they depend on.

    With a run: samples --num images (what is there already is kept), compares them with the training images, and on
    demand reconstructs and scores held-out images. Without one: compares --samples with --reference, for example two
    npz files as ADM's evaluator reads them. Several processes under torchrun share the work and give the same figures.
    """

    run: Annotated[Positional[str | None], RUN] = None
    samples: Path | None = None
    """Samples instead of a run: an .npz (arr_0 uint8), or a folder or archive of images of the reference's size."""
    reference: str | None = None
    """Real images (any data set) or an .npz of images or statistics; the run's training images if not given."""
    num: Annotated[int, arg(aliases=["-n"])] = 50_000
    """How many images to sample: seeds from 0 on.
    Under torchrun write -n, because torchrun reads --num as one of its own options."""
    how: OmitArgPrefixes[Flags]
    """The way of sampling, as for simflow sample."""
    speed: OmitArgPrefixes[Speed]
    """How fast, and how near to exact, as for simflow sample; the record says what was used."""
    labels: str = "all"
    """Classes: names or numbers with commas, as for simflow sample, "all" in turn, "data" as often as the real images
    have them, or "none"."""
    extractor: str = "efficientnet-lite0"
    """Feature networks with commas: efficientnet-lite0, inception=FILE, dinov2 or dinov2=PATH; or none."""
    reconstruction: bool = False
    """Also PSNR, SSIM, MS-SSIM, LPIPS and rFID (or rFD) of held-out images."""
    lpips: Kind = "squeezenet"
    """squeezenet (embedded, LPIPS-style), vgg or alex (with weights), or none."""
    lpips_weights: Path | None = None
    """File of the network of LPIPS, or of a whole LPIPS."""
    lpips_heads: Path | None = None
    """File of its linear heads, if they are not in the other."""
    likelihood: bool = False
    """Also bits per dimension of held-out images: exact for densities on pixels, the ELBO for densities on latents."""
    ood: str | None = None
    """Out-of-distribution images, whose likelihoods are compared with those of the held-out ones."""
    per_image: bool = False
    """Also write likelihoods and reconstruction figures image by image, as .npz."""
    nearest: int = 1000
    """Samples whose nearest training images are looked for; 0 leaves it out."""
    nearest_by: str = "pixels"
    """pixels, or the name of an extractor."""
    data: str | None = None
    """The run's data set, if it has moved since training."""
    held_out: int = 10_000
    """Most held-out images that are used, evenly spread."""
    reference_num: int | None = None
    """Most reference images that are used, evenly spread; all if not given."""
    image_size: int | None = None
    """Side in pixels to which --samples and --reference are resized when neither is an .npz."""
    inception_split: int = 5000
    """Samples in a split of the inception score."""
    groups: int = 20
    """Groups of images, each left out once for standard errors; 0 or 1 takes none."""
    feature_batch: int = 64
    """Images that a feature network sees at once, on each process."""
    seed: int = 0
    """Seed for latent draws, groups and subsets."""
    out: Path | None = None
    """Folder for NAME.json, pictures and samples; RUN/evaluation if not given."""
    name: str = "results"
    """Name of the JSON file; use another one for other settings. What an earlier call found of the same samples, and
    this one does not look for, stays in it."""
    which: Which = "ema"
    device: Device = "auto"


def place(arguments: Arguments) -> Path:
    """The folder for results.

    Raises:
        ValueError: the arguments do not say what to judge, or where to write.
    """
    if arguments.run is not None and arguments.samples is not None:
        raise ValueError("give either a run or --samples, for both say what to judge")
    if arguments.run is None and arguments.samples is None:
        raise ValueError("say what to judge: a run, or --samples with --reference")
    if Path(arguments.name).name != arguments.name or arguments.name == "..":
        raise ValueError(
            f"--name is that of a file, such as results, and not '{arguments.name}': say where it goes with --out"
        )
    require_least(arguments, LEAST)
    if arguments.run is None:
        if arguments.reference is None:
            raise ValueError("samples are judged against real images: name them with --reference")
        for name in OF_A_RUN:
            if getattr(arguments, name) != getattr(Arguments, name):
                raise ValueError(f"--{name.replace('_', '-')} needs a run, and only samples are given")
        if arguments.how != Flags() or arguments.speed != Speed():
            raise ValueError("how to sample needs a run, and only samples are given: leave out such flags")
        if arguments.out is None:
            raise ValueError("say where to write with --out")
        return arguments.out
    check_count("--num", arguments.num, arguments.num)
    if arguments.ood is not None and not arguments.likelihood:
        raise ValueError("--ood compares likelihoods: ask for them with --likelihood")
    if arguments.per_image and not (arguments.likelihood or arguments.reconstruction):
        raise ValueError("--per-image keeps what --likelihood or --reconstruction find: ask for one of them")
    if arguments.out is not None:
        return arguments.out
    if not Path(arguments.run).is_dir():
        find(arguments.run)
        raise ValueError("say where to write with --out")
    return Path(arguments.run) / "evaluation"
