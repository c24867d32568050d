"""The training loop: data in, steps, and what must happen between them.

The loop knows when things happen (reading losses back, sampling, saving, stopping) and nothing of what they
are: metrics go to callbacks, pictures are made by one, evaluation is one. Everything random is a function of
(seed, rank, step), so stopping and going on is the same as never having stopped.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from simflow import distributed
from simflow.bounds import at_least
from simflow.data.loader import Batch, Shown, batches
from simflow.losses.adversarial import Discriminator
from simflow.objective import Objective
from simflow.precision import TrainingDtype, computing_in, network_dtype
from simflow.reasons import reason
from simflow.seeding import fold, generator
from simflow.train import checkpoint
from simflow.train.callbacks import Callback, Stopper
from simflow.train.ema import Ema, EmaConfig
from simflow.train.metrics import StepMetrics
from simflow.train.optim import OptimizerConfig, StageConfig, learning_rate, set_learning_rate, total_steps
from simflow.train.state import TrainState
from simflow.train.step import Adversary, Stepped, train_step
from simflow.train.validation import Validation, ValidationConfig

logger = logging.getLogger("simflow")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a run trains. The defaults are SimFlow's (appendix B)."""

    seed: int = 0
    """Seed of the weights, the order of the data and all noise."""
    batch: int = 256
    """Images per step, over all processes."""
    microbatch: int | None = None
    """Most images in one forward pass of one process; larger batches accumulate gradients. None: no limit."""
    stages: tuple[StageConfig, ...] = (StageConfig(steps=400_000),)
    """Stretches of steps with a learning-rate schedule each; the schedule restarts, the moments go on."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    """AdamW and gradient clipping."""
    ema: EmaConfig = field(default_factory=EmaConfig)
    """The average of the weights, which is what is sampled."""
    dtype: TrainingDtype = "float32"
    """bfloat16 (or bf16): matrix products and convolutions under autocast; affine maps, log-determinants and losses
    stay in float32. auto: bfloat16 where the device multiplies it in hardware (GPUs, CPUs with AMX, AMD's with
    AVX512-BF16), else float32; a run keeps what it begins with."""
    codes: Literal["fresh", "kept"] = "fresh"
    """For a prior that learns alone behind a frozen encoder. fresh: each image is encoded whenever it is shown. kept:
    once, in the beginning, into a file of 16-bit numbers in the run's folder, which goes when the run is finished; the
    noise of the latents stays fresh."""
    compile: bool = False
    """torch.compile the objective: slow to start, faster where steps are many."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    sample_every: int | None = None
    """Steps between sample grids during training; None for none."""
    validation: ValidationConfig | None = None
    """Losses on held-out images while it trains, of the averaged weights; None for none."""
    save_every: int | None = 1000
    """Steps between checkpoints; the last step is always saved. None: only the last."""
    keep: int | None = 2
    """Newest checkpoints to keep; None keeps all."""

    def __post_init__(self) -> None:
        counts = ("batch", "microbatch", "log_every", "sample_every", "save_every", "keep")
        at_least(1, self, "train", *counts)
        if not self.stages:
            raise ValueError("train.stages must hold at least one stage")


def begin(objective: Objective, config: TrainConfig) -> TrainState:
    """The state of a run before its first step.

    The discriminator, if there is one, is made from the seed here.

    Raises:
        ValueError: the images are too small for the discriminator.
    """
    modules: dict[str, nn.Module] = {"model": objective.model} | objective.companions()
    optimizers: dict[str, Optimizer] = {"model": config.optimizer.build(objective)}
    adversarial, facts = objective.config.adversarial, objective.model.facts
    if adversarial is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold(config.seed, "discriminator"))
            made = adversarial.build(image_channels=facts.channels, image_size=facts.image_size)
        modules["discriminator"] = made.to(objective.model.device)
        second = replace(config.optimizer, lr=adversarial.lr, betas=adversarial.betas)
        optimizers["discriminator"] = second.build(made)
    return TrainState(modules=modules, optimizers=optimizers, ema=config.ema.build(objective.model))


def never() -> bool:
    """Nothing but a signal stops the run."""
    return False


def train(
    objective: Objective,
    state: TrainState,
    images: Shown,
    config: TrainConfig,
    *,
    flip: bool,
    folder: Path,
    saved_config: dict[str, Any],
    callbacks: Sequence[Callback] = (),
    on_sample: Callable[[int], None] | None = None,
    validation: Validation | None = None,
    until: Callable[[], bool] = never,
) -> bool:
    """Trains from ``state.step`` to the end of the stages, or until told to stop; saves either way.

    Args:
        objective: on its device.
        state: fresh (:func:`begin`) or filled from a checkpoint.
        images: the training set, or the codes of its images if the objective is given those.
        config: how to train.
        flip: mirror half of the images.
        folder: where checkpoints go.
        saved_config: what to write beside the weights, JSON-able.
        callbacks: receive metrics every ``log_every`` steps.
        on_sample: called with the step every ``sample_every`` steps, the averaged weights in the model.
        validation: looks at held-out images every so many steps, likewise.
        until: asked after every step, of several processes whenever losses are read; True stops the run.

    Returns:
        True if the run is finished, False if it was stopped by a signal or by ``until``.
    """
    rank, world = distributed.rank(), distributed.world()
    device, steps = objective.model.device, total_steps(config.stages)
    wrapped = wrap(objective, config, world)
    adversary = adversary_of(objective, state, world)
    autocast = computing_in(network_dtype(config.dtype), device)
    clock = Clock(state)
    stream = batches(
        images,
        batch=config.batch,
        seed=config.seed,
        start_step=state.step,
        rank=rank,
        world=world,
        flip=flip,
        pin=device.type == "cuda",
    )
    skipped = torch.tensor(float(state.extra.get("skipped", 0)), device=device)

    def advance(batch: Batch) -> Stepped:
        for optimizer in state.optimizers.values():
            base = optimizer.defaults["lr"]
            set_learning_rate(optimizer, learning_rate(config.stages, base, state.step))
        return train_step(
            state,
            wrapped,
            objective.ready(batch.images.to(device, non_blocking=True)),
            batch.labels.to(device, non_blocking=True),
            microbatch=config.microbatch or config.batch,
            clip=config.optimizer.clip,
            generator=generator(config.seed, "train", rank, state.step, device=device),
            autocast=autocast,
            adversary=adversary,
        )

    def save() -> None:
        clock.note()
        state.extra["skipped"] = int(skipped)
        path = checkpoint.save(folder, state, saved_config, keep=config.keep)
        for callback in callbacks:
            callback.on_checkpoint(path)

    if config.compile and state.step < steps and distributed.is_main():
        logger.info("compiling in the first step, which may take minutes")
    objective.train()
    try:
        with Stopper() as stopper:
            stop = False
            while state.step < steps and not stop:
                batch = next(stream)
                rate = learning_rate(config.stages, config.optimizer.lr, state.step)
                try:
                    stepped = advance(batch)
                except Exception as error:
                    if world > 1 or not stopper.stopped:
                        raise
                    # A signal to all processes ends a compiler as well that torch waits for; no weight has moved yet.
                    logger.info("the step was cut short (%s)", reason(error))
                    save()
                    break
                state.images_seen += config.batch
                skipped += stepped.skipped
                looks = None if validation is None else validation.config.every
                if due(state.step, config.log_every, steps) or due(state.step, looks, steps):
                    metrics = clock.read(stepped, rate, skipped)
                    if validation is not None and due(state.step, looks, steps):
                        with clock.paused(), at_rest(objective, state.ema):
                            metrics = replace(metrics, held_out=validation.losses())
                            validation.remember(state, metrics.held_out, saved_config)
                    for callback in callbacks:
                        callback.on_step(metrics)
                if on_sample is not None and due(state.step, config.sample_every, None):
                    with clock.paused(), at_rest(objective, state.ema):
                        on_sample(state.step)
                # Ranks must stop at the same step, and asking costs a message: only where losses are read.
                if world == 1 or due(state.step, config.log_every, steps):
                    stop = stopper.agreed(wanted=until())
                if stop or due(state.step, config.save_every, steps):
                    save()
    finally:
        stream.close()
        for callback in callbacks:
            callback.on_end()
    return state.step >= steps


@contextmanager
def at_rest(objective: Objective, ema: Ema) -> Iterator[None]:
    """The averaged weights in the model, and nothing that behaves otherwise in training, for the block."""
    with ema.applied(objective.model):
        objective.eval()
        yield
    objective.train()


def wrap(objective: Objective, config: TrainConfig, world: int) -> Any:
    """The objective inside the shells that compile it and average its gradients over processes."""
    shell: Any = torch.compile(objective) if config.compile else objective
    return DistributedDataParallel(shell) if world > 1 else shell


def adversary_of(objective: Objective, state: TrainState, world: int) -> Adversary | None:
    """The discriminator of the run as a player, its gradients averaged over processes; None if there is none."""
    discriminator = state.modules.get("discriminator")
    if objective.config.adversarial is None:
        return None
    assert isinstance(discriminator, Discriminator)
    shell = DistributedDataParallel(discriminator) if world > 1 else discriminator
    return Adversary(objective.config.adversarial, discriminator, shell)


def due(step: int, every: int | None, last: int | None) -> bool:
    """Whether something that happens every so many steps, and at the last, happens after ``step`` steps."""
    return step == last or (every is not None and step % every == 0)


class Clock:
    """Seconds and images since the run began, over interruptions; reads losses back when asked."""

    def __init__(self, state: TrainState) -> None:
        self.state = state
        self.before = float(state.extra.get("seconds", 0.0))
        self.began = self.last = time.monotonic()
        self.images = state.images_seen

    def note(self) -> None:
        """Writes the seconds so far into the state, for the checkpoint."""
        self.state.extra["seconds"] = self.before + time.monotonic() - self.began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the block out of the speed, but not out of the seconds."""
        began = time.monotonic()
        yield
        self.last += time.monotonic() - began

    def read(self, stepped: Stepped, rate: float, skipped: Tensor) -> StepMetrics:
        """The metrics of a step as plain numbers, averaged over processes; waits for the device."""
        names = list(stepped.losses)
        values = torch.stack([stepped.losses[name].float() for name in names])
        losses = distributed.mean_over_ranks(values).tolist()  # waits for the device
        now = time.monotonic()
        speed = (self.state.images_seen - self.images) / max(now - self.last, 1e-9)
        self.last, self.images = now, self.state.images_seen
        return StepMetrics(
            step=self.state.step,
            images=self.state.images_seen,
            seconds=self.before + now - self.began,
            images_per_second=speed,
            lr=rate,
            losses=dict(zip(names, losses, strict=True)),
            grad_norm=float(stepped.grad_norm),
            skipped=int(skipped),
        )
