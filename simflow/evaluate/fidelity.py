"""How much of an image survives the journey through the latents: PSNR, SSIM, MS-SSIM, LPIPS and rFID (or rFD).

Reconstructions are decoded from *drawn* latents, as in training and as samples have them, rounded to bytes, and
compared image by image with their originals; each image has a generator of its own for the draw, so the figures do not
depend on batches or processes. The r in rFID says that the Fréchet distance is that of reconstructions from their
originals: unlike all other figures it cannot see that an image became another one, only that the set did.
"""

import torch
from jaxtyping import Int
from torch import Tensor

from simflow.distributed import batches_of_share, gather_rows, rank, world
from simflow.evaluate.collect import Collected, Held, OnProgress, Pictures
from simflow.evaluate.draws import drawn
from simflow.evaluate.extractors import Identity
from simflow.evaluate.figures import Figure, with_error
from simflow.evaluate.interval import paired_error
from simflow.evaluate.lpips import Judge
from simflow.evaluate.ms_ssim import SMALLEST, ms_ssim
from simflow.evaluate.reconstruction import WINDOW, psnr, squared_error, ssim
from simflow.frechet import frechet_distance
from simflow.model import Model
from simflow.pixels import Bytes, to_float, to_uint8
from simflow.shapes import PerImage


@torch.no_grad()
def reconstruct(
    model: Model,
    pictures: Pictures,
    numbers: Int[Tensor, " n"],
    *,
    seed: int,
    batch: int = 100,
    on_progress: OnProgress = lambda seen: None,
) -> Held:
    """Reconstructions of the images of these numbers, in memory on every process; collective."""
    shape = pictures.images(numbers[:1]).shape[1:]
    parts = [torch.zeros(0, *shape, dtype=torch.uint8)]
    for seen in drawn(model, pictures, numbers, seed=seed, batch=batch):
        parts.append(to_uint8(model.decode(seen.latents).float()).cpu())
        on_progress(len(seen.latents))
    whole = gather_rows(torch.cat(parts), model.device)
    return Held(pixels=whole, labels=pictures.labels[numbers], class_names=pictures.class_names)


def per_image(
    originals: Pictures,
    reconstructions: Pictures,
    perceptual: Judge | None,
    *,
    device: torch.device | str = "cpu",
    batch: int = 32,
) -> dict[str, PerImage]:
    """Each figure of each image, float64, by name; those that the size does not allow are absent; collective.

    Raises:
        ValueError: there are not equally many originals and reconstructions, or they differ in shape.
    """
    first, second = originals.images([0]).shape, reconstructions.images([0]).shape
    if len(originals) != len(reconstructions) or first != second:
        raise ValueError(
            f"{len(originals)} originals of {tuple(first[1:])} (channels, height, width) cannot be compared with "
            f"{len(reconstructions)} reconstructions of {tuple(second[1:])}"
        )
    side = min(first[2:])
    names = ["MSE", "PSNR"] + ["SSIM"] * (side >= WINDOW) + ["MS-SSIM"] * (side >= SMALLEST)
    if perceptual is not None and side >= perceptual.distance.backbone.SMALLEST:
        names.append(perceptual.name)
        perceptual.distance.to(device)
    rows = [torch.zeros(0, len(names), dtype=torch.float64)]
    where = device if torch.device(device).type == "cuda" else "cpu"  # where float64 is fast, or is at all
    for own in batches_of_share(len(originals), batch):
        x, y = (pictures.images(own).to(where) for pictures in (originals, reconstructions))
        columns = [squared_error(x, y), psnr(x, y)]
        columns += [ssim(x, y)] if "SSIM" in names else []
        columns += [ms_ssim(x, y)] if "MS-SSIM" in names else []
        if perceptual is not None and perceptual.name in names:
            near, far = (to_float(images.to(device)) for images in (x, y))
            columns.append(perceptual.distance.distance(near, far).to("cpu", torch.float64))
        rows.append(torch.stack([column.cpu() for column in columns], dim=1))
    table = gather_rows(torch.cat(rows), device)
    assert len(table) == len(originals), (rank(), world())
    return dict(zip(names, table.unbind(dim=1), strict=True))


def figures_of(table: dict[str, Tensor]) -> list[Figure]:
    """Means over images with their standard errors."""
    found = []
    for name, values in table.items():
        error = values.std().item() / len(values) ** 0.5 if len(values) > 1 else None
        better = "higher" if name in ("PSNR", "SSIM", "MS-SSIM") else "lower"
        found.append(
            Figure(
                name=name,
                better=better,
                detail={"images": len(values)},
                **with_error(values.mean().item(), error),
            )
        )
    return found


def frechet_of(
    identity: Identity, originals: Collected, reconstructions: Collected, *, groups: int, seed: int
) -> Figure:
    """rFID, or rFD of another extractor."""
    real = originals.moments.gaussian()
    found = frechet_distance(real, reconstructions.moments.gaussian())
    error = paired_error(originals.features, reconstructions.features, groups=groups, seed=seed)
    return Figure(
        name=f"r{identity.frechet}",
        better="lower",
        detail={
            "means": found.means,
            "covariances": found.covariances,
            "rank_deficient": found.rank_deficient,
            "images": originals.count,
            "dimension": identity.dimension,
            "groups": groups,
        },
        **with_error(found.distance, error),
    )


def pixels_of(pictures: Pictures, numbers: Int[Tensor, " n"]) -> Bytes:
    """Images of these numbers in one tensor, read a thousand at a time."""
    return torch.cat([pictures.images(part) for part in numbers.split(1000)])


def taken(pictures: Pictures, numbers: Int[Tensor, " n"]) -> Held:
    """Images of these numbers, in memory."""
    return Held(
        pixels=pixels_of(pictures, numbers),
        labels=pictures.labels[torch.as_tensor(numbers)],
        class_names=pictures.class_names,
    )
