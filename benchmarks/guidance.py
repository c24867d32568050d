"""What guidance costs, in forward passes of the same batch (SimFlow, appendix C.3): ``python -m benchmarks guidance``.

One forward pass runs every token's network once. Sampling without guidance needs at least one, guided by the Gaussian
product another one of the deep block. Eq. 6 then takes two scores through the whole flow, each a forward pass and a
backward pass for inputs, which is a forward pass's products once more: about four. That does not depend on how well
tokens can be sampled, so the slower sampling is, the less Eq. 6 adds to it.

Beside each time stands the arithmetic of the way itself, products of matrices and attention in full: of Eq. 6 counted
as it runs, of the others by the formula that counting agrees with (a walk has the products of a forward pass).
The flow alone is sampled, with random weights; decoding images would only make the share of Eq. 6 smaller. Eq. 6 is
compared with itself in float64, one image at a time, before anything is timed.
"""

import copy
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.arithmetic import block_flop, counted_flop, forward_flop
from benchmarks.contest import compare
from benchmarks.measure import Timing, interleaved
from benchmarks.peers import shake
from benchmarks.plots import Panel, bars_by
from benchmarks.subject import Record, Setting
from simflow import recipes
from simflow.flow.guidance import GaussianProduct
from simflow.flow.score import CHUNK, GuidedScoreStep
from simflow.flow.stack import Flow, FlowConfig
from simflow.precision import NetworkDtype, computing_in

ABOUT: str = "what guidance and Eq. 6 add to sampling"
FORWARD, PLAIN, GUIDED, BOTH, STEP = (
    "forward pass",
    "sampling",
    "sampling, guided",
    "guided and Eq. 6",
    "Eq. 6",
)

ALLOWED = {"float32": 1e-4, "bfloat16": 0.05}
"""Largest error of Eq. 6, relative to the largest number of the latents."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The flow of a recipe and a batch."""

    recipe: str = "demo"
    images: int = 100
    chunk: int = CHUNK
    """Images in a backward pass at once."""


DEFAULT = (Size(), Size(recipe="small-64", images=32), Size(recipe="simflow-s", images=4))


def parse(text: str) -> Size:
    """``RECIPE:IMAGES``, or ``RECIPE:IMAGES:CHUNK``.

    >>> parse("simflow-s:256:64")
    Size(recipe='simflow-s', images=256, chunk=64)

    Raises:
        ValueError: not of this form.
    """
    recipe, *numbers = text.split(":")
    if len(numbers) not in (1, 2) or not all(number.isdigit() and int(number) for number in numbers):
        raise ValueError(f"a size is written RECIPE:IMAGES or RECIPE:IMAGES:CHUNK, not '{text}'")
    return Size(recipe=recipe, images=int(numbers[0]), chunk=int(numbers[-1]) if numbers[1:] else CHUNK)


def build(name: str) -> Flow:
    """The flow of a recipe, with random weights that learn nothing.

    Raises:
        ValueError: there is no such recipe, or its prior is no flow.
    """
    config = recipes.get(name)
    facts, prior = config.expected_facts(), config.model.prior
    if not isinstance(prior, FlowConfig):
        raise ValueError(f"the prior of {name} is no flow, and Eq. 6 needs a density")
    with torch.device("meta"):
        shape = config.model.build(facts).latent_shape
    flow = prior.build(latent_shape=shape, classes=len(facts.class_names))
    shake(flow)
    return flow.eval().requires_grad_(requires_grad=False)


def add_arguments(parser: ArgumentParser) -> None:
    """Recipes and batches."""
    parser.add_argument("--sizes", type=parse, nargs="+", metavar="RECIPE:IMAGES[:CHUNK]")


def measure(chosen: Namespace, setting: Setting) -> Iterator[Record]:
    """The records of each size."""
    for size in chosen.sizes or DEFAULT:
        if not setting.deadline.forgoes(f"{size.recipe}, {size.images} images"):
            yield from of_size(size, rounds=setting.rounds, device=setting.device, dtype=setting.dtype)


@torch.no_grad()
def of_size(
    size: Size, *, rounds: int, device: torch.device, dtype: NetworkDtype = "float32"
) -> list[Record]:
    """A record for each way, all in one dtype.

    Raises:
        RuntimeError: Eq. 6 gives other latents than in float64.
    """
    torch.manual_seed(0)
    flow = build(size.recipe).to(device)
    rule, step = GaussianProduct(weight=1.0), GuidedScoreStep(chunk=size.chunk)
    z = torch.randn(size.images, *flow.noise_shape, device=device)
    labels = torch.arange(size.images, device=device) % max(flow.classes, 1)
    x = flow.inverse(z, labels, rule)

    def computed(way: Callable[[], torch.Tensor]) -> torch.Tensor:
        with computing_in(dtype, device):
            return way()

    bare: dict[str, Callable[[], torch.Tensor]] = {
        FORWARD: lambda: flow(x, labels)[0],
        PLAIN: lambda: flow.inverse(z, labels),
        GUIDED: lambda: flow.inverse(z, labels, rule),
        BOTH: lambda: step.refine(flow.log_prob, flow.inverse(z, labels, rule), labels),
        STEP: lambda: step.refine(flow.log_prob, x, labels),
    }
    ways = {name: partial(computed, way) for name, way in bare.items()}
    wide = copy.deepcopy(flow).double()
    exact = GuidedScoreStep(chunk=1).refine(wide.log_prob, x.double(), labels)
    error = compare({STEP: (ways[STEP], ALLOWED[dtype])}, exact)[STEP]
    work = {FORWARD: (once := forward_flop(flow, size.images, causal=False)), PLAIN: once}
    twice = [block for _, block, guidance in flow.undoing(rule) if guidance is not None]
    work[GUIDED] = once + size.images * sum(block_flop(block, causal=False) for block in twice)
    work[STEP] = counted_flop(ways[STEP])
    work[BOTH] = work[GUIDED] + work[STEP]
    times = interleaved(ways, rounds=rounds, device=device)
    return [
        {
            "recipe": size.recipe,
            "images": size.images,
            "tokens": flow.noise_shape[0],
            "chunk": size.chunk,
            "dtype": dtype,
            "way": name,
            "seconds": timing.median,
            "rounds": timing.rounds,
            "forward passes": timing.ratio(times[FORWARD]),
            "arithmetic": work[name] / work[FORWARD],
            "added": added(name, timing, times[GUIDED]),
            "error": error if name == STEP else None,
        }
        for name, timing in times.items()
    ]


def added(name: str, timing: Timing, guided: Timing) -> float | None:
    """The part of guided sampling's time that comes on top of it; None for what does not."""
    if name not in (BOTH, STEP):
        return None
    return timing.ratio(guided) - (name == BOTH)


def row(record: Record) -> dict[str, str]:
    """A record as it is printed."""
    return {
        "flow": record["recipe"],
        "images × tokens": f"{record['images']} × {record['tokens']}",
        "way": record["way"],
        "ms": f"{1e3 * record['seconds']:.0f}",
        "forward passes": f"{record['forward passes']:.2f}",
        "its arithmetic": f"{record['arithmetic']:.2f}",
        "added to guided sampling": "" if record["added"] is None else f"{record['added']:+.0%}",
        "largest error": "" if record["error"] is None else f"{record['error']:.0e}",
    }


def panels(records: Sequence[Record]) -> list[Panel]:
    """Milliseconds of each size, with the ratio to its forward pass."""
    return bars_by(
        records,
        title=lambda each: f"{each['recipe']}: {each['images']} × {each['tokens']} tokens",
        note=lambda each: f"{each['forward passes']:.1f} passes",
    )
