"""``simflow plan RUN``: measures how a trained flow is decoded fastest on this machine, and stores it for sampling."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from tyro.conf import OmitArgPrefixes, arg

from simflow import distributed
from simflow.cli.sampling import Flags, changed
from simflow.cli.shared_arguments import Device, Run, Which
from simflow.cli.talk import talking
from simflow.cli.words import refuse_settings
from simflow.pipeline import Pipeline
from simflow.places import notes
from simflow.plan.record import MeasuredPlan, way_said
from simflow.plan.search import PlanConfig
from simflow.plan.stored import file_of, made
from simflow.precision import NetworkDtype


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Finds the fastest way to undo each block of a run's flow, on this device, within a tolerance of the final image.

    Every block is tried token by token (exact) and in parallel passes over windows of several lengths; the fastest
    ways together are checked on fresh images against exact decoding, and stored beside the run as
    plan-DEVICE-BATCH.json, where simflow sample RUN --decoding plan finds them. Images of the same seeds stay the same,
    but for the tolerance.
    """

    run: Run
    tolerance: float = 0.02
    """How far a number of an image, on [-1, 1], may be from exact decoding; a step of 8 bits is 0.0078."""
    num: Annotated[int, arg(aliases=["-n"])] = 16
    """Probe images for the choice, and as many fresh ones for the check."""
    windows: tuple[int, ...] = (64, 32, 16, 8)
    """Lengths of windows to try beside all tokens at once."""
    how: OmitArgPrefixes[Flags]
    """The way of sampling, as for simflow sample: a plan is for one."""
    dtype: NetworkDtype | None = None
    """In what networks compute; for bfloat16 the error of its rounding is measured too."""
    which: Which = "ema"
    device: Device = "auto"


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Measures, stores and says what came out."""
    refuse_settings(settings, "plan")
    how = PlanConfig(tolerance=arguments.tolerance, num=arguments.num, windows=arguments.windows)
    with distributed.launch(arguments.device) as device, talking():
        pipe = Pipeline.from_pretrained(arguments.run, which=arguments.which).to(device)
        config = changed(pipe.config.sample, arguments.how, pipe.model)
        config = config if arguments.dtype is None else replace(config, dtype=arguments.dtype)
        if distributed.is_main():
            file = file_of(notes(arguments.run), device, config.batch)
            plan = made(file, pipe.model, config, how)
            print("\n".join([*summary(plan), f"stored in {file}: simflow sample --decoding plan uses it"]))
        distributed.barrier()
    return 0


def summary(plan: MeasuredPlan) -> list[str]:
    """What was found, for people: a line for each block as they are undone, then times and errors."""
    blocks = list(enumerate(plan.plan.blocks, start=1))
    lines = [f"block {number}: {way_said(way)}" for number, way in reversed(blocks)]
    lines.append(
        f"{plan.sampling.batch} images in {plan.seconds:.3g} s, exactly in {plan.exact_seconds:.3g} s: "
        f"{plan.speed_up:.2f} times as fast on {plan.device}"
    )
    lines.append(
        f"largest difference from exact decoding {plan.error:.2g} on [-1, 1], in {plan.num} fresh images; "
        f"{plan.tolerance:g} is allowed"
    )
    if plan.dtype_error is not None and plan.dtype_mean_error is not None:
        lines.append(
            f"in {plan.sampling.dtype} the same images differ from exact ones in float32 by up to "
            f"{plan.dtype_error:.2g}, on average by {plan.dtype_mean_error:.2g}"
        )
    return lines
