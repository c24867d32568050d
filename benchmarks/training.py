"""One training step of a TarFlow, at equal shapes and weights: ``python -m benchmarks training``.

A step is the energy, its gradient and AdamW. The peer's is its own loss under the same optimiser; both losses are
compared before anything is timed.
"""

from pathlib import Path

import torch
from torch import nn

from benchmarks.measure import interleaved
from benchmarks.sampling import Size, build

DEFAULT = (Size(), Size(images=4, side=64))


def measure(size: Size, *, rounds: int, checkout: Path | None, device: torch.device) -> list[dict]:
    """A record for our step, and one for the peer's if there is a checkout."""
    torch.manual_seed(0)
    flow, peer = build(size, checkout)
    flow = flow.to(device).train()
    x = torch.randn(size.images, *flow.latent_shape, device=device)
    labels = torch.arange(size.images, device=device) % size.classes
    generator, numbers = torch.Generator(), x[0].numel()

    def loss() -> torch.Tensor:
        return flow.energy(x, labels, generator).value.mean() / numbers

    def step(model: nn.Module, value: torch.Tensor, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad(set_to_none=True)
        value.backward()
        optimiser.step()

    ours = torch.optim.AdamW(flow.parameters(), lr=1e-6)
    steps = {"SimFlow": lambda: step(flow, loss(), ours)}
    if peer is not None:
        peer = peer.to(device).train()
        theirs = torch.optim.AdamW(peer.parameters(), lr=1e-6)

        def peer_loss() -> torch.Tensor:
            z, _, log_det = peer(x, labels)
            return peer.get_loss(z, log_det)

        with torch.no_grad():
            if (gap := (loss() - peer_loss()).abs().item()) > 1e-4:
                raise RuntimeError(f"the losses of the two models differ by {gap:.1e}")
        steps["ml-tarflow"] = lambda: step(peer, peer_loss(), theirs)
    times = interleaved(steps, rounds=rounds, device=device)
    return [
        {
            "images": size.images,
            "tokens": size.tokens,
            "way": name,
            "seconds": timing.median,
            "rounds": timing.rounds,
            "of ours": timing.ratio(times["SimFlow"]),
        }
        for name, timing in times.items()
    ]


def row(entry: dict) -> dict[str, str]:
    """A record as it is printed."""
    return {
        "images × tokens": f"{entry['images']} × {entry['tokens']}",
        "step of": entry["way"],
        "ms": f"{1e3 * entry['seconds']:.0f}",
        "images/s": f"{entry['images'] / entry['seconds']:.1f}",
        "times ours": f"{entry['of ours']:.2f}",
    }
