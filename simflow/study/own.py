"""A study that is in no paper: what must stand against the prior's term lest small latents collapse."""

from simflow.study.stated import best, of
from simflow.study.study import Claim, Row, Scale, Study


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
