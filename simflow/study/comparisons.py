"""Tables 6, 7 and 10 and Figure 8 of the SimFlow paper as studies: one system beside another.

As in :mod:`simflow.study.sweeps`, numbers and claims are the paper's. "No noise" of Table 6 has no numbers but the word
*collapse*, which is the figure ``collapsed``: whether the collapse monitor warned.
"""

from simflow.study.stated import IMAGENET, best, chain, of
from simflow.study.study import Before, Claim, Row, Scale, Study


def table6(scale: Scale) -> Study:
    """Perturbations."""
    s, source = of(scale), "Table 6"
    rows = (
        Row(name="none", label="no noise", recipe=f"table6-none{s.suffix}", paper={"collapsed": 1.0}),
        Row(
            name="linear",
            label="linear",
            recipe=f"table6-linear{s.suffix}",
            paper={"rfd": 8.54, "psnr": 19.74, "fd": 71.0, "collapsed": 0.0},
        ),
        Row(
            name="slerp",
            label="slerp",
            recipe=f"table6-slerp{s.suffix}",
            paper={"rfd": 5.56, "psnr": 20.63, "fd": 49.7, "collapsed": 0.0},
        ),
        Row(
            name="additive",
            label="additive",
            recipe=f"table6-additive{s.suffix}",
            paper={"rfd": 2.90, "psnr": 22.22, "fd": 39.6, "collapsed": 0.0},
        ),
    )
    claims = chain(["additive", "slerp", "linear"], ["rfd", "psnr", "fd"], source)
    claims += [
        Claim(better=name, worse="none", figure="collapsed", source=source)
        for name in ("linear", "slerp", "additive")
    ]
    return Study(
        name="table6",
        says="perturbations of the latents: without any they collapse, additive noise is best",
        source=f"{source}, {IMAGENET}, 100 000 steps",
        rows=rows,
        claims=tuple(claims),
        note="The paper says of the perturbations that equal strengths would bring similar results.",
    )


def table7(scale: Scale) -> Study:
    """SiT."""
    s, source = of(scale), "Table 7"
    printed = {
        "frozen-32": {"rfd": 0.26, "psnr": 28.59, "fd": 20.36},
        "joint-32": {"rfd": 1.26, "psnr": 21.86, "fd": 17.70},
        "frozen-64": {"rfd": 0.17, "psnr": 31.03, "fd": 28.34},
        "joint-64": {"rfd": 0.82, "psnr": 22.83, "fd": 19.10},
        "joint-64-80": {"rfd": 0.76, "psnr": 23.10, "fd": 13.91},
    }
    same = {"frozen-16": "frozen-64", "joint-16": "joint-64"} if scale == "small" else {n: n for n in printed}
    rows = []
    for name, like in same.items():
        channels = int(name.split("-")[1])
        autoencoder = Before(
            name=f"vae-learned-{channels}",
            recipe=f"vae-learned{s.suffix}",
            settings={"model.autoencoder.latent_channels": channels},
        )
        rows.append(
            Row(
                name=name,
                label=f"SiT {name.replace('-', ', ', 1).replace('-80', ', 80 epochs')}",
                recipe=f"table7-{name}{s.suffix}",
                paper=printed[like],
                after=autoencoder if name.startswith("frozen") else None,
            )
        )
    claims = []
    for channels in sorted({int(row.name.split("-")[1]) for row in rows}):
        claims += best(f"joint-{channels}", [f"frozen-{channels}"], ["fd"], source)
        claims += best(f"frozen-{channels}", [f"joint-{channels}"], ["rfd", "psnr"], source)
    if scale == "paper":
        claims += best("joint-64-80", ["joint-64"], ["fd", "rfd", "psnr"], source)
    return Study(
        name="table7",
        says="SiT in the flow's place: joint training samples better than a frozen autoencoder",
        source=f"{source}, {IMAGENET}",
        rows=tuple(rows),
        claims=tuple(claims),
        note="Figures are held against the paper's 64-channel rows." if scale == "small" else "",
    )


def table10(scale: Scale) -> Study:
    """What is frozen."""
    s, source = of(scale), "Table 10"
    before = {
        name: Before(name=name, recipe=f"{name}{s.suffix}")
        for name in ("vae-learned", "vae-fixed", "vae-fixed-ln")
    }
    printed = {
        "frozen-learned": {"rfd": 0.23, "psnr": 29.76, "fd": 84.44},
        "frozen-fixed": {"rfd": 0.40, "psnr": 27.54, "fd": 67.41},
        "frozen-fixed-ln": {"rfd": 1.07, "psnr": 24.43, "fd": 55.41},
        "frozen-encoder-noise": {"rfd": 4.07, "psnr": 19.94, "fd": 39.33},
        "noise": {"rfd": 1.39, "psnr": 23.20, "fd": 20.01},
        "fixed": {"rfd": 1.76, "psnr": 22.61, "fd": 16.97},
        "fixed-ln": {
            "rfd": 1.49,
            "psnr": 23.01,
            "lpips": 0.222,
            "ssim": 0.59,
            "fd": 21.44,
            "fd_guided": 2.53,
        },
        "learned": {},
    }
    labels = {
        "frozen-learned": "frozen, learnt variance",
        "frozen-fixed": "frozen, fixed variance",
        "frozen-fixed-ln": "frozen, fixed + LN",
        "frozen-encoder-noise": "frozen encoder, noise",
        "noise": "end to end, noise",
        "fixed": "end to end, fixed variance",
        "fixed-ln": "end to end, fixed + LN",
        "learned": "end to end, learnt variance",
    }
    starts = {
        "frozen-learned": "vae-learned",
        "frozen-fixed": "vae-fixed",
        "frozen-fixed-ln": "vae-fixed-ln",
        "frozen-encoder-noise": "vae-learned",
    }
    rows = tuple(
        Row(
            name=name,
            label=labels[name],
            recipe=f"table10-{name}{s.suffix}",
            paper=printed[name],
            source="Tables 3 to 5, the default row" if name == "fixed-ln" else "",
            after=before[starts[name]] if name in starts else None,
        )
        for name in printed
    )
    generating = [
        "fixed",
        "noise",
        "frozen-encoder-noise",
        "frozen-fixed-ln",
        "frozen-fixed",
        "frozen-learned",
    ]
    rebuilding = [
        "frozen-learned",
        "frozen-fixed",
        "frozen-fixed-ln",
        "noise",
        "fixed",
        "frozen-encoder-noise",
    ]
    claims = [
        *chain(generating, ["fd"], source),
        *best("fixed", ["frozen-fixed"], ["fd"], "Section 5.2"),
        *chain(rebuilding, ["rfd", "psnr"], source),
        *best("fixed", ["learned"], ["fd"], "Section 4.1, in words"),
    ]
    return Study(
        name="table10",
        says="frozen autoencoder, frozen encoder, end to end; where the variance comes from",
        source=f"{source}, {IMAGENET}",
        rows=rows,
        claims=tuple(claims),
        note="Rows that start from an autoencoder have its training on top of their own: equal steps, not equal "
        "seconds. The last two rows are not in the paper's table: its default system, and Eq. 5.",
    )


def figure8(scale: Scale) -> Study:
    """Which block is aligned; the figure's curves are not printed as numbers, those of Table 1 stand in."""
    s, table, words = of(scale), "Table 1", "Section C.2, in words"
    without = {"rfd": 1.21, "psnr": 23.07, "fd": 13.72, "fd_guided": 2.15}
    aligned = {"rfd": 1.08, "psnr": 23.17, "fd": 10.13, "fd_guided": 1.91}
    longer = "Table 1, 160 epochs"
    rows = (
        Row(
            name="unaligned",
            label="not aligned",
            recipe=f"table10-fixed-ln{s.suffix}",
            paper=without,
            source=longer,
        ),
        Row(name="first", label="first block", recipe=f"figure8-first{s.suffix}"),
        Row(
            name="middle",
            label="middle block",
            recipe=f"figure8-middle{s.suffix}",
            paper=aligned,
            source=longer,
        ),
        Row(name="last", label="last block", recipe=f"figure8-last{s.suffix}"),
    )
    claims = [
        *best("middle", ["unaligned"], ["rfd", "psnr", "fd", "fd_guided"], table),
        *best("unaligned", ["first"], ["psnr"], words),
        *best("middle", ["first"], ["psnr"], words),
        *best("middle", ["last"], ["fd"], words),
    ]
    return Study(
        name="figure8",
        says="which block of the flow is aligned with DINOv2: the middle one gains most",
        source=f"Figure 8 and Table 1, {IMAGENET}",
        rows=rows,
        claims=tuple(claims),
        note="Needs the weights of DINOv2: --objective.alignment.encoder.source says where they are.",
    )
