"""Tables 3, 4 and 5 of the SimFlow paper as studies: one number is varied.

The numbers are those of the tables: ImageNet at 256 px, 80 epochs of SimFlow-XXL. A claim is in here only if the
table's numbers or a sentence of the paper say it; where a caption and its numbers disagree (Table 4), the numbers are
taken.

At the small scale a row stands for the paper's row at the same place of its table: 4, 8, 16 and 32 latent channels for
16, 32, 64 and 128.
"""

from simflow.recipes import tables
from simflow.study.stated import IMAGENET, best, chain, of
from simflow.study.study import Row, Scale, Study


def table3(scale: Scale) -> Study:
    """Latent channels."""
    s, source = of(scale), "Table 3"
    printed = (
        {"rfd": 4.98, "psnr": 19.94, "lpips": 0.327, "ssim": 0.45, "fd": 11.00, "fd_guided": 3.55},
        {"rfd": 2.60, "psnr": 21.42, "lpips": 0.274, "ssim": 0.51, "fd": 12.77, "fd_guided": 2.61},
        {"rfd": 1.49, "psnr": 23.01, "lpips": 0.222, "ssim": 0.59, "fd": 21.44, "fd_guided": 2.53},
        {"rfd": 0.86, "psnr": 24.61, "lpips": 0.183, "ssim": 0.66, "fd": 33.43, "fd_guided": 3.62},
    )
    theirs = tables.paper().dims
    rows = tuple(
        Row(
            name=f"dim-{dim}",
            label=f"{dim} channels" + (f" (paper {their})" if their != dim else ""),
            recipe=f"table3-dim-{dim}{s.suffix}",
            paper=numbers,
            x=float(dim),
            paper_x=float(their),
        )
        for dim, their, numbers in zip(s.dims, theirs, printed, strict=True)
    )
    low, lower, middle, high = (row.name for row in rows)
    claims = [
        *chain([high, middle, lower, low], ["rfd", "psnr", "lpips", "ssim"], source),
        *chain([low, lower, middle, high], ["fd"], source),
        *best(middle, [low, lower, high], ["fd_guided"], source),
    ]
    return Study(
        name="table3",
        says="latent channels: more reconstruct better and are harder to sample",
        source=f"{source}, {IMAGENET}",
        rows=rows,
        claims=tuple(claims),
        axis="latent channels",
        logarithmic=True,
    )


def table4(scale: Scale) -> Study:
    """Standard deviations."""
    s, source = of(scale), "Table 4"
    printed = {
        0.1: {"rfd": 1.90, "psnr": 22.61, "lpips": 0.238, "ssim": 0.57, "fd": 25.54, "fd_guided": 3.01},
        0.25: {"rfd": 1.55, "psnr": 22.94, "lpips": 0.225, "ssim": 0.58, "fd": 21.35, "fd_guided": 2.57},
        0.5: {"rfd": 1.49, "psnr": 23.01, "lpips": 0.222, "ssim": 0.59, "fd": 21.44, "fd_guided": 2.53},
        0.75: {"rfd": 1.54, "psnr": 22.88, "lpips": 0.224, "ssim": 0.59, "fd": 17.76, "fd_guided": 2.39},
        1.0: {"rfd": 1.76, "psnr": 22.60, "lpips": 0.231, "ssim": 0.58, "fd": 19.36, "fd_guided": 2.66},
    }
    rows = tuple(
        Row(
            name=f"std-{std}",
            label=f"std {std}",
            recipe=f"table4-std-{std}{s.suffix}",
            paper=numbers,
            x=std,
        )
        for std, numbers in printed.items()
    )
    others = ["std-0.1", "std-0.25", "std-0.75", "std-1.0"]
    claims = [
        *best("std-0.5", others, ["rfd", "psnr", "lpips"], source),
        *best("std-0.5", ["std-0.1", "std-0.25", "std-1.0"], ["fd_guided"], source),
        *best("std-0.75", ["std-0.5"], ["fd_guided"], f"{source}, its numbers, not its caption"),
        *best("std-0.5", ["std-0.1"], ["fd"], source),
        *best("std-0.75", ["std-0.1", "std-0.25", "std-0.5", "std-1.0"], ["fd"], source),
    ]
    return Study(
        name="table4",
        says="the fixed standard deviation: a moderate one is best",
        source=f"{source}, {IMAGENET}",
        rows=rows,
        claims=tuple(claims),
        axis="standard deviation",
        note="The paper lists variances: 0.1², 0.25², 0.5², 0.75² and 1.",
    )


def table5(scale: Scale) -> Study:
    """Sizes of the flow; at the small scale without the largest."""
    s, source = of(scale), "Table 5"
    printed = {
        "s": {"prior_parameters": 37e6, "rfd": 1.70, "psnr": 22.81, "lpips": 0.230, "ssim": 0.58}
        | {"fd": 65.57, "fd_guided": 15.34},
        "b": {"prior_parameters": 141e6, "rfd": 1.66, "psnr": 22.89, "lpips": 0.226, "ssim": 0.58}
        | {"fd": 52.77, "fd_guided": 9.72},
        "l": {"prior_parameters": 475e6, "rfd": 1.52, "psnr": 22.95, "lpips": 0.224, "ssim": 0.59}
        | {"fd": 33.53, "fd_guided": 3.72},
        "xl": {"prior_parameters": 695e6, "rfd": 1.51, "psnr": 22.99, "lpips": 0.224, "ssim": 0.59}
        | {"fd": 28.60, "fd_guided": 3.51},
        "xxl": {"prior_parameters": 1.4e9, "rfd": 1.49, "psnr": 23.01, "lpips": 0.222, "ssim": 0.59}
        | {"fd": 21.44, "fd_guided": 2.53},
    }
    sizes = ("s", "b", "l", "xl") if scale == "small" else tuple(printed)
    rows = tuple(
        Row(
            name=size,
            label=f"flow {size.upper()}",
            recipe=f"table5-{size}{s.suffix}",
            paper=printed[size],
        )
        for size in sizes
    )
    return Study(
        name="table5",
        says="sizes of the flow: larger ones reconstruct and generate better",
        source=f"{source}, {IMAGENET}",
        rows=rows,
        claims=tuple(chain(sizes[::-1], ["rfd", "psnr", "fd", "fd_guided"], source)),
        note="Rows train for equally many steps, so a larger flow has more computation as well.",
    )
