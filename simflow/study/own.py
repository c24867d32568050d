"""Studies that are in no paper: what must stand against the prior's term lest small latents collapse, and the systems
side by side."""

from simflow.study.stated import best, of
from simflow.study.study import Before, Claim, Row, Scale, Study


def balance(scale: Scale) -> Study:
    """1:1 with the squared error, 1:1 with a perceptual distance besides, and a calibrated likelihood."""
    s, source = of(scale), "our own finding"
    rows = (
        Row(name="pixels", label="1:1, squared error", recipe=f"balance-pixels{s.suffix}"),
        Row(name="perceptual", label="1:1, and perceptual", recipe=f"balance-perceptual{s.suffix}"),
        Row(name="calibrated", label="calibrated", recipe=f"balance-calibrated{s.suffix}"),
    )
    claims = [
        Claim(better="calibrated", worse="pixels", figure="collapsed", source=source),
        *best("calibrated", ["pixels"], ["rfd", "psnr", "fd_guided"], source),
        *best("perceptual", ["pixels"], ["rfd", "fd_guided"], source),
    ]
    return Study(
        name="balance",
        says="what stands against the prior's term: squared error, a perceptual distance, a calibrated likelihood",
        source="none: in no paper",
        rows=rows,
        claims=tuple(claims),
        note="Its orders are our own findings, not the paper's. The perceptual row was trained with the very network "
        "that the column of perceptual distances is taken with: read the others for it.",
    )


def systems(scale: Scale) -> Study:
    """SimFlow, the same flow on a frozen autoencoder, STARFlow, TarFlow, SiT frozen and joint: one budget for all."""
    s = of(scale)
    sit = 16 if scale == "small" else 64
    before = Before(name="vae-learned", recipe=f"vae-learned{s.suffix}")
    rows = (
        Row(name="simflow", label="SimFlow", recipe=f"table10-fixed-ln{s.suffix}"),
        Row(
            name="frozen", label="flow, frozen VAE", recipe=f"table10-frozen-learned{s.suffix}", after=before
        ),
        Row(name="starflow", label="STARFlow", recipe=f"systems-starflow{s.suffix}", after=before),
        Row(name="tarflow", label="TarFlow, pixels", recipe=f"systems-tarflow{s.suffix}"),
        Row(name="sit-joint", label="SiT, joint", recipe=f"table7-joint-{sit}{s.suffix}"),
        Row(
            name="sit-frozen", label="SiT, frozen VAE", recipe=f"table7-frozen-{sit}{s.suffix}", after=before
        ),
    )
    claims = [
        *best("simflow", ["frozen", "starflow"], ["fd", "fd_guided"], "the paper's thesis, in words"),
        *best("sit-joint", ["sit-frozen"], ["fd"], "Table 7, in words"),
    ]
    return Study(
        name="systems",
        says="SimFlow, a flow on a frozen autoencoder, STARFlow, TarFlow and SiT with one budget",
        source="none: in no paper",
        rows=rows,
        claims=tuple(claims),
        note="Equal steps and images, about equal parameters; rows on a frozen autoencoder have its training besides. "
        "TarFlow has four times the tokens, and its reconstruction is the noisy image itself.",
    )
