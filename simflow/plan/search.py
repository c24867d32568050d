"""Finding the fastest plan for a trained flow on its device, within a tolerance of the final image.

Jacobi's own tolerance is about tokens of one block (:mod:`simflow.flow.jacobi`). Somebody who looks at images wants to
state one number: how far any number of a final image, on [-1, 1], may lie from exact decoding. How the one becomes the
other depends on the weights, so it is measured; and so is the time, which depends on the machine:

1. Probe images are decoded exactly, in float32.
2. The loosest tolerance is looked for at which undoing *all* blocks in passes keeps them within half the bound
   (:data:`MARGIN`).
3. With it every block is timed on what the exact walk feeds it: token by token, and in passes over windows of several
   lengths (:mod:`simflow.plan.trials`). The fastest way of each is the plan.
4. The plan decodes fresh probe images, which had no part in the choice. If one is further from exact than the bound
   allows, it goes on from 2 with the next finer tolerance; if none is left, all is walked token by token.
5. Exact decoding and the plan are timed as a whole, from noise to images. A plan that is slower is not kept.

The choice may differ from machine to machine; the images may not, but for the bound. It is a measurement on so many
images and no proof: the largest difference found is kept beside the bound. In bfloat16 the networks round besides,
which no way of decoding can mend: that error is measured apart, and not bounded.
"""

import logging
import math
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from simflow.flow.decode import SEQUENTIAL, Plan
from simflow.flow.guidance import Guidance
from simflow.flow.jacobi import Jacobi
from simflow.flow.stack import Flow
from simflow.model import Model
from simflow.plan.clock import Clock, Stopwatch, kind_of, machine
from simflow.plan.record import MeasuredPlan, Trial, said
from simflow.plan.trials import candidates, fastest, try_blocks
from simflow.precision import computing_in
from simflow.sample import SampleConfig, applicable, balanced_labels, generated, noise_of
from simflow.seeding import fold
from simflow.shapes import Images
from simflow.tensors import sha256_of_tensors

logger = logging.getLogger("simflow")

MARGIN = 0.5
"""Part of the bound that the probe images of the choice may use up."""
LADDER = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
"""Tolerances of passes, the loosest first."""


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """What a plan must keep to, and what is tried."""

    tolerance: float = 0.02
    """How far a number of an image, on [-1, 1], may be from exact decoding; a step of 8 bits is 0.0078."""
    num: int = 16
    """Probe images for the choice, and as many fresh ones for the check."""
    windows: tuple[int, ...] = (64, 32, 16, 8)
    """Lengths of windows that are tried, where there are more tokens; all tokens at once are always tried."""

    def __post_init__(self) -> None:
        if not self.tolerance > 0:
            raise ValueError(f"the tolerance of a plan must be positive, not {self.tolerance}")
        if self.num < 1:
            raise ValueError(f"a plan needs at least one probe image, not {self.num}")


def measure(
    model: Model, config: SampleConfig, how: PlanConfig | None = None, *, clock: Clock | None = None
) -> MeasuredPlan:
    """The fastest plan for a model on its device, within a tolerance of the final image.

    Args:
        model: in eval mode, with the weights to sample from.
        config: how it is sampled, batch and dtype included; its own ``decoding`` does not matter.
        how: tolerance, probe images and windows.
        clock: measures time; a :class:`~simflow.plan.clock.Stopwatch` unless told otherwise.

    Raises:
        ValueError: the prior is no flow.
    """
    flow, how, clock = model.prior, how or PlanConfig(), clock or Stopwatch(model.device)
    if not isinstance(flow, Flow):
        raise ValueError(
            f"a plan is for the blocks of a flow: there is nothing to plan for a prior such as {type(flow).__name__}"
        )
    walk = replace(config, decoding=SEQUENTIAL)
    found = search(model, flow, walk, how, clock)
    planned = replace(walk, decoding=found.plan)
    exact_seconds = clock(all_exact(flow), partial(probe, model, walk, "timing", config.batch))
    seconds = exact_seconds
    if found.plan != all_exact(flow):
        seconds = clock(found.plan, partial(probe, model, planned, "timing", config.batch))
    if seconds > exact_seconds:
        logger.info("as a whole the plan is slower than exact decoding, which is kept")
        found = found._replace(plan=all_exact(flow), error=0.0)
        planned, seconds = replace(walk, decoding=found.plan), exact_seconds
    rounding = None
    if config.dtype != "float32":
        rounding = (probe(model, planned, "fresh", how.num) - found.exact).abs()
    return MeasuredPlan(
        sampling=planned,
        tolerance=how.tolerance,
        error=found.error,
        num=how.num,
        dtype_error=None if rounding is None else rounding.max().item(),
        dtype_mean_error=None if rounding is None else rounding.mean().item(),
        seconds=seconds,
        exact_seconds=exact_seconds,
        trials=found.trials,
        weights=sha256_of_tensors(model.state_dict()),
        device=kind_of(model.device),
        machine=machine(),
        torch=torch.__version__,
    )


class Found(NamedTuple):
    """The plan that was found with its error, the exact fresh images, and what was tried for it."""

    plan: Plan
    error: float
    exact: Images
    trials: tuple[tuple[Trial, ...], ...]


def search(model: Model, flow: Flow, walk: SampleConfig, how: PlanConfig, clock: Clock) -> Found:
    """Steps 1 to 4: the loosest tolerance of passes that keeps the bound, and the fastest ways with it."""
    exact = replace(walk, dtype="float32")
    wanted, fresh = (probe(model, exact, name, how.num) for name in ("tuning", "fresh"))
    trials: tuple[tuple[Trial, ...], ...] = ()
    for tolerance in LADDER:
        passes = replace(exact, decoding=Jacobi(tolerance=tolerance))
        if not largest(probe(model, passes, "tuning", how.num) - wanted) <= MARGIN * how.tolerance:
            continue
        trials = tried(model, flow, walk, how, tolerance, clock)
        plan = fastest(trials)
        error = largest(probe(model, replace(exact, decoding=plan), "fresh", how.num) - fresh)
        if error <= how.tolerance:
            return Found(plan, error, fresh, trials)
        logger.info(
            "passes to %g: fresh images differ by %.2g, so a finer tolerance is tried", tolerance, error
        )
    logger.info("no tolerance of passes keeps the images within %g: all is exact", how.tolerance)
    return Found(all_exact(flow), 0.0, fresh, trials)


def tried(
    model: Model, flow: Flow, walk: SampleConfig, how: PlanConfig, tolerance: float, clock: Clock
) -> tuple[tuple[Trial, ...], ...]:
    """Step 3: the trials of each block, data -> noise, with a batch of the size that will be sampled."""
    guidance = applicable(walk.guidance, model)
    assert guidance is None or isinstance(guidance, Guidance), "the walk would have refused it"
    labels = torch.tensor(balanced_labels(walk.batch, len(model.facts.class_names)), device=model.device)
    noise = noise_of(model, seeds("timing", walk.batch), walk)
    ways = candidates(flow.noise_shape[0], tolerance, how.windows)
    with torch.no_grad(), computing_in(walk.dtype, model.device):
        trials = try_blocks(flow, noise, labels, guidance, ways, clock)
    for number in range(len(trials), 0, -1):
        logger.info("block %d: %s", number, "; ".join(map(said, trials[number - 1])))
    return trials


def all_exact(flow: Flow) -> Plan:
    """Every block token by token."""
    return Plan(blocks=(SEQUENTIAL,) * len(flow.depths))


def seeds(purpose: str, count: int) -> list[int]:
    """Seeds that nobody samples by chance, others for each purpose."""
    return [fold("plan", purpose, number) for number in range(count)]


def probe(model: Model, config: SampleConfig, purpose: str, count: int) -> Images:
    """Images as they will be seen, in [-1, 1] on the CPU, classes in turn."""
    labels, every = balanced_labels(count, len(model.facts.class_names)), seeds(purpose, count)
    parts = [slice(start, start + config.batch) for start in range(0, count, config.batch)]
    return torch.cat(
        [generated(model, every[part], labels[part], config).float().clamp(-1, 1).cpu() for part in parts]
    )


def largest(difference: Tensor) -> float:
    """The largest distance; infinite where something is no number."""
    return difference.abs().nan_to_num(nan=math.inf).max().item()
