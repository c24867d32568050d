"""A plan in a file beside the weights, and when it no longer holds.

::

    RUN/plan-nvidia-h200-100.json     one for each kind of device and size of batch

A plan holds for the weights, the guidance, the refinement, the temperature and the dtype that it was measured with, and
for every tolerance that is not finer than its own. One that does not hold is measured again and replaced, and why is
said through the logger ``simflow``.
"""

import json
import logging
from dataclasses import replace
from pathlib import Path

import torch

from simflow.files import require_writable, write_json
from simflow.flow.decode import SEQUENTIAL
from simflow.model import Model
from simflow.plan.clock import Clock, kind_of
from simflow.plan.record import MeasuredPlan
from simflow.plan.search import PlanConfig, measure
from simflow.records import differences
from simflow.sample import SampleConfig
from simflow.settings import from_dict, to_dict
from simflow.tensors import sha256_of_tensors

logger = logging.getLogger("simflow")

FORMAT = 3
"""Number of the layout of the file. Times of the first were taken before there were compiled loops, those of the second
before half precision had them."""


def file_of(folder: Path, device: torch.device, batch: int) -> Path:
    """Where the plan for this kind of device and size of batch lies.

    >>> file_of(Path("runs/mine"), torch.device("cpu"), 16).name
    'plan-cpu-16.json'
    """
    return folder / f"plan-{kind_of(device)}-{batch}.json"


def write(file: Path, plan: MeasuredPlan) -> None:
    """Writes a plan, whole or not at all."""
    record = {
        "format": FORMAT,
        "speed_up": round(plan.speed_up, 3),
        "measured": to_dict(plan),
    }
    write_json(file, record)


def read(file: Path) -> MeasuredPlan:
    """The plan in a file.

    Raises:
        ValueError: it is no such file.
    """
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"'{file}' is damaged or cut short") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT or "measured" not in record:
        raise ValueError(f"'{file}' is no plan that this version can read")
    return from_dict(MeasuredPlan, record["measured"])


def objection(plan: MeasuredPlan, *, weights: str, config: SampleConfig, tolerance: float) -> str | None:
    """Why a plan does not hold for these weights, this way of sampling and this tolerance; None if it does."""
    if plan.weights != weights:
        return "it was measured with other weights"
    here, there = (replace(each, decoding=SEQUENTIAL, batch=1) for each in (config, plan.sampling))
    changed = differences(to_dict(there), to_dict(here))
    if changed:
        return f"it was measured for another way of sampling ({', '.join(changed)})"
    if plan.tolerance > tolerance:
        return f"it allows images to differ by {plan.tolerance:g}, and {tolerance:g} is asked for"
    return None


def held(file: Path, model: Model, config: SampleConfig, tolerance: float) -> MeasuredPlan:
    """The plan in a file, if it holds for this model, this way of sampling and this tolerance.

    Raises:
        ValueError: it does not, or it is no such file.
    """
    plan = read(file)
    weights = sha256_of_tensors(model.state_dict())
    why = objection(plan, weights=weights, config=config, tolerance=tolerance)
    if why is not None:
        raise ValueError(f"the plan '{file}' does not hold: {why}")
    return plan


def recall(
    model: Model,
    folder: Path,
    config: SampleConfig,
    how: PlanConfig | None = None,
    *,
    clock: Clock | None = None,
) -> MeasuredPlan:
    """The plan that lies in ``folder`` if it holds, else a new one, which is then stored there.

    Args:
        model: in eval mode, with the weights to sample from.
        folder: of the run or the saved model.
        config: how it is sampled; its ``decoding`` does not matter.
        how: tolerance, probe images and windows.
        clock: measures time.

    Raises:
        ValueError: the prior is no flow.
    """
    how, file = how or PlanConfig(), file_of(folder, model.device, config.batch)
    if file.is_file():
        try:
            return held(file, model, config, how.tolerance)
        except ValueError as error:
            logger.warning("%s; it is measured again", error)
    else:
        logger.info("there is no plan yet for this device and batch; it is measured now")
    return made(file, model, config, how, clock=clock)


def made(
    file: Path, model: Model, config: SampleConfig, how: PlanConfig, *, clock: Clock | None = None
) -> MeasuredPlan:
    """A new plan, stored in a file, as :func:`recall` has it.

    Raises:
        OSError: the file cannot be written, which is found before anything is measured.
        ValueError: the prior is no flow.
    """
    require_writable(file)
    plan = measure(model, config, how, clock=clock)
    write(file, plan)
    return plan
