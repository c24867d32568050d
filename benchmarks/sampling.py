"""The cost of a sample, in forward passes of the same batch: ``python -m benchmarks sampling``.

One forward pass runs every token's network once, which no exact sampler can go below; guided, twice. Beside each time
stand the arithmetic of the pass and the weights that a walk must read, once a token. Every way is compared with the
walk in float64 before it is timed, and its largest error is printed; one that gives other images is refused.

Weights are random and shared with the peer. They tell nothing of how fast Jacobi passes converge on a trained model.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.measure import Timing, interleaved
from benchmarks.peers import shake, tarflow
from simflow.flow.apple import from_tarflow
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import LogScale
from simflow.flow.jacobi import Jacobi
from simflow.flow.stack import Flow, FlowConfig

EXACT = 1e-4
"""Largest error of an exact sampler in float32, relative to the largest number of the images."""
GUIDED = LogScale(weight=1.0)


@dataclass(frozen=True, kw_only=True)
class Size:
    """A TarFlow on gray images in patches of 4: 16 numbers a token."""

    images: int = 16
    side: int = 32
    """Pixels; the tokens are (side / 4)^2."""
    blocks: int = 4
    layers: int = 4
    width: int = 256
    """A multiple of 64, the peer's head size."""
    classes: int = 10

    @property
    def tokens(self) -> int:
        """Tokens of an image."""
        return (self.side // 4) ** 2


DEFAULT = (Size(), Size(images=4, side=64))
Images = Callable[[], Tensor]


def build(size: Size, checkout: Path | None) -> tuple[Flow, Any]:
    """Our flow, and the peer with the same weights if there is a checkout."""
    shape = (1, size.side, size.side)
    if checkout is None:
        block = BlockConfig(width=size.width, heads=size.width // 64, conditioning="added", null_class="mean")
        config = FlowConfig(patch=4, depths=(size.layers,) * size.blocks, block=block)
        flow = config.build(latent_shape=shape, classes=size.classes)
        shake(flow)
        return flow.eval(), None
    peer = tarflow(
        checkout,
        in_channels=1,
        img_size=size.side,
        patch_size=4,
        channels=size.width,
        num_blocks=size.blocks,
        layers_per_block=size.layers,
        num_classes=size.classes,
    )
    shake(peer)
    read = from_tarflow(peer.state_dict())
    flow = read.config.build(latent_shape=read.latent_shape, classes=read.classes)
    flow.load_state_dict(read.state)
    return flow.eval(), peer.eval()


@torch.no_grad()
def measure(size: Size, *, rounds: int, checkout: Path | None, device: torch.device) -> list[dict]:
    """A record for each way to sample."""
    torch.manual_seed(0)
    flow, peer = build(size, checkout)
    reference = copy.deepcopy(flow).double()
    flow, reference = flow.to(device), reference.to(device)
    z = torch.randn(size.images, *flow.noise_shape, device=device)
    labels = torch.arange(size.images, device=device) % size.classes
    x = flow.inverse(z, labels)
    rough = Jacobi(tolerance=1e-3)
    plain: dict[str, tuple[Images, float]] = {
        "sequential": (lambda: flow.inverse(z, labels), EXACT),
        "Jacobi, tolerance 1e-3": (lambda: flow.inverse(z, labels, None, rough), 10 * rough.tolerance),
    }
    guided: dict[str, tuple[Images, float]] = {
        "sequential, guided": (lambda: flow.inverse(z, labels, GUIDED), EXACT)
    }
    if peer is not None:
        peer.to(device)
        plain["ml-tarflow"] = (lambda: peer.reverse(z.clone(), labels), EXACT)
        guided["ml-tarflow, guided"] = (lambda: peer.reverse(z.clone(), labels, guidance=1.0), EXACT)
    errors = compare(plain, reference.inverse(z.double(), labels))
    errors |= compare(guided, reference.inverse(z.double(), labels, GUIDED))
    ways = {name: run for name, (run, _) in (plain | guided).items()}
    times = interleaved({"forward pass": lambda: flow(x, labels), **ways}, rounds=rounds, device=device)
    return [
        record(size, flow, name, timing, times["forward pass"], errors.get(name))
        for name, timing in times.items()
    ]


def compare(ways: dict[str, tuple[Images, float]], wanted: Tensor) -> dict[str, float]:
    """The largest error of each way, relative to the largest number of the images.

    Raises:
        RuntimeError: a way gives other images.
    """
    errors = {}
    for name, (run, allowed) in ways.items():
        errors[name] = ((run().double() - wanted).abs().max() / wanted.abs().max()).item()
        if not errors[name] <= allowed:
            raise RuntimeError(f"'{name}' gives other images: its error is {errors[name]:.1e}")
    return errors


def record(size: Size, flow: Flow, name: str, timing: Timing, forward: Timing, error: float | None) -> dict:
    """All that is known of one way."""
    numbers = sum(module.weight.numel() for module in flow.modules() if isinstance(module, nn.Linear))
    return {
        "images": size.images,
        "tokens": size.tokens,
        "way": name,
        "seconds": timing.median,
        "rounds": timing.rounds,
        "forward passes": timing.ratio(forward),
        "error": error,
        "GFLOP of a pass": 2 * numbers * size.images * size.tokens / 1e9,
        "GB of weights in a walk": 4 * numbers * size.tokens / 1e9,
    }


def row(entry: dict) -> dict[str, str]:
    """A record as it is printed."""
    return {
        "images × tokens": f"{entry['images']} × {entry['tokens']}",
        "way": entry["way"],
        "ms": f"{1e3 * entry['seconds']:.0f}",
        "forward passes": f"{entry['forward passes']:.2f}",
        "largest error": "" if entry["error"] is None else f"{entry['error']:.0e}",
        "GFLOP of a pass": f"{entry['GFLOP of a pass']:.1f}",
        "GB of weights in a walk": f"{entry['GB of weights in a walk']:.1f}",
    }
