"""What learns in a run that starts from another: the prior, the decoder, or both, the rest frozen.

Each takes a run's configuration and gives the changed one. The first three change who learns from what; the
``stages`` also say how long and at which rate, and the decoder's by which losses (:func:`starflow_losses`,
:func:`judged`).
"""

from dataclasses import replace

from simflow.config import RunConfig
from simflow.losses.adversarial import AdversarialConfig
from simflow.losses.frechet import FrechetConfig
from simflow.losses.perceptual import SqueezeNetDistance
from simflow.losses.reconstruction import Calibrated, PixelMean
from simflow.objective import ObjectiveConfig, Routing
from simflow.start import StartFrom
from simflow.train.ema import EmaConfig
from simflow.train.optim import Linear, StageConfig

FINISHED = StartFrom()
"""All parts of a finished run."""
AUTOENCODER = StartFrom(parts="autoencoder")
"""Its autoencoder, or a published one."""
JOINT = ObjectiveConfig(reconstruction=Calibrated(), perceptual=SqueezeNetDistance(weight=4.0), censored=True)
"""The losses of our joint runs on real images. Plain backgrounds become plain; photographs without them neither gain
nor lose by that (lab book)."""


def prior_only(run: RunConfig, start_from: StartFrom = FINISHED) -> RunConfig:
    """The prior alone, on a trained autoencoder that stays as it is; nothing is decoded.

    After a decoder's stage, which has no prior's term, its weight is 1.
    """
    objective = ObjectiveConfig(
        reconstruction=PixelMean(weight=0.0),
        prior_weight=run.objective.prior_weight or 1.0,
        label_drop=run.objective.label_drop,
        routing=Routing(encoder="frozen", decoder="frozen"),
    )
    return replace(run, objective=objective, start_from=start_from)


def prior_and_decoder(run: RunConfig) -> RunConfig:
    """Prior and decoder, on the latents of a trained encoder that stays as it is."""
    objective = replace(run.objective, routing=Routing(encoder="frozen"))
    return replace(run, objective=objective, start_from=AUTOENCODER)


def decoder_only(run: RunConfig) -> RunConfig:
    """The decoder alone, by the run's losses on images, on the noisy latents of its encoder; the prior comes along."""
    objective = replace(
        run.objective,
        alignment=None,
        frechet=None,
        prior_weight=0.0,
        routing=Routing(encoder="frozen", prior="frozen"),
    )
    return replace(run, objective=objective, start_from=FINISHED)


def prior_stage(run: RunConfig, name: str, *, steps: tuple[int, ...]) -> RunConfig:
    """:func:`prior_only` after a finished run; the learning rate falls to nothing in each stretch of steps.

    Nothing is decoded, and an image is encoded once in all: it costs a third of what it does in stage I, and batches
    are twice as large as there. Those of a run that decoded nothing stay.
    """
    batch = 2 * run.train.batch if run.objective.on_images else run.train.batch
    stages = tuple(
        StageConfig(steps=each, schedule=Linear(final=0.0, warmup=min(100, each // 10))) for each in steps
    )
    train = replace(run.train, batch=batch, stages=stages, sample_every=None, codes="kept")
    return replace(prior_only(run), name=name, train=train)


def starflow_losses(judge: AdversarialConfig) -> ObjectiveConfig:
    """STARFlow's losses of a decoder: squared error, 1.1 of the perceptual distance, and a judge.

    At the errors of our models the perceptual distance pulls harder than the error does; in :func:`judged` it has a
    thirtieth to a fiftieth of that weight.
    """
    return ObjectiveConfig(
        reconstruction=PixelMean(norm="l2"), perceptual=SqueezeNetDistance(weight=1.1), adversarial=judge
    )


def judged(run: RunConfig, judge: AdversarialConfig) -> ObjectiveConfig:
    """The run's own losses on images and a judge; those of :data:`JOINT` where it has learnt from none.

    Labels are dropped as in the run, for a model that was told of no class is to be told of none.
    """
    own = run.objective if run.objective.reconstruction.weight else JOINT
    return replace(own, adversarial=judge, label_drop=run.objective.label_drop)


def decoder_stage(run: RunConfig, name: str, losses: ObjectiveConfig, *, steps: int, lr: float) -> RunConfig:
    """:func:`decoder_only` by these losses on images."""
    stages = (replace(run.train.stages[-1], steps=steps, schedule=Linear(final=0.0, warmup=50)),)
    optimizer = replace(run.train.optimizer, lr=lr, betas=(0.9, 0.999))
    train = replace(run.train, stages=stages, optimizer=optimizer, ema=EmaConfig(rate=0.999), codes="fresh")
    return replace(decoder_only(replace(run, objective=losses)), name=name, train=train)


def frechet_stage(run: RunConfig, name: str, frechet: FrechetConfig, *, steps: int) -> RunConfig:
    """:func:`prior_only` after a run of :func:`prior_stage`, with FD-loss on the prior's own samples.

    Short, in large batches and at a small learning rate: the population of samples follows the weights with a delay,
    and a flow that runs ahead of it swings. The first moment decays fast for the same reason.
    """
    only = prior_only(run)
    train = replace(
        run.train,
        batch=320,
        stages=(StageConfig(steps=steps, schedule=Linear(final=0.0, warmup=30)),),
        optimizer=replace(run.train.optimizer, lr=6e-5, betas=(0.5, 0.99)),
        ema=EmaConfig(rate=0.98),
        sample_every=None,
        save_every=100,
        codes="kept",
    )
    return replace(only, name=name, objective=replace(only.objective, frechet=frechet), train=train)
