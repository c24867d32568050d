"""Models on real images in stages, small ones for two CPU cores and larger ones for a GPU; some ship.

Stage I is the paper's: encoder, decoder and flow learn from one objective, with a perceptual distance. The flow may
then learn on alone, with the autoencoder frozen, which the paper leaves to future work; last from its own samples, by
FD-loss (:mod:`simflow.losses.frechet`). The decoder's stage freezes encoder and flow and teaches the decoder, on the
noisy latents that the flow was taught, with the perceptual distance and a discriminator: samples gain the texture that
a decoder trained for the mean leaves out.

``fashion-32`` runs on a CPU, as do those of :mod:`simflow.recipes.emoji` and :mod:`simflow.recipes.natural`.
``clothing-256`` is for a GPU, computes in bfloat16 and has not been trained yet. ``tools/models.py`` sets the numbers
of steps to the clock, trains both stages, chooses the guidance, judges and packs.
"""

from dataclasses import replace

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.kl import KLConfig
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct
from simflow.flow.score import ScoreDenoise
from simflow.flow.stack import FlowConfig
from simflow.losses.adversarial import AdversarialConfig
from simflow.losses.discriminators import FeatureNetwork
from simflow.losses.frechet import FrechetConfig
from simflow.model import ModelConfig
from simflow.posterior import FixedVariance
from simflow.recipes.images import FASHION
from simflow.recipes.stages import JOINT, decoder_stage, frechet_stage, judged, prior_stage
from simflow.sample import SampleConfig
from simflow.train.ema import EmaConfig
from simflow.train.loop import TrainConfig
from simflow.train.optim import Linear, OptimizerConfig, StageConfig


def fashion_32() -> RunConfig:
    """SimFlow on all 60 000 images of Fashion-MNIST: ``simflow train fashion-32 --data FOLDER --out runs/fashion``.

    4.3 M parameters, 16 tokens of 32 numbers, nothing coarser than pairs of pixels in the autoencoder. The learning
    rate falls to nothing and rises again once: the second stretch was added when the first had ended.
    """
    return RunConfig(
        name="fashion-32",
        data=FASHION,
        classes=10,
        model=ModelConfig(
            autoencoder=CompactConfig(latent_channels=32, patch=2, widths=(32, 64, 128), decoder_blocks=2),
            posterior=FixedVariance(std=0.5),
            prior=FlowConfig(depths=(2, 2, 2), block=BlockConfig(width=160, heads=5)),
        ),
        objective=JOINT,
        train=TrainConfig(
            batch=64,
            stages=(
                StageConfig(steps=8000, schedule=Linear(final=0.0, warmup=100)),
                StageConfig(steps=10_500, schedule=Linear(final=0.0, warmup=100)),
            ),
            optimizer=OptimizerConfig(lr=1.5e-3, betas=(0.9, 0.99)),
            ema=EmaConfig(rate=0.999),
            dtype="auto",
            sample_every=1000,
            save_every=500,
        ),
        sample=SampleConfig(guidance=GaussianProduct(weight=0.7), temperature=1.02),
    )


JUDGE = AdversarialConfig(
    network=FeatureNetwork(),
    weight=0.8,
    relative=True,
    start_step=100,
    head_start=100,
    lr=3e-4,
    betas=(0.5, 0.9),
)
"""A discriminator for small pictures, on the features of a trained network, pulling nearly as hard as the errors do.
It brings texture to gray clothes. Emoji and photographs lose by it (``docs/results.md``), and one that learns to see
from pixels wins at that rate and weight, and the decoder answers with specks (lab book)."""

GENTLE = replace(JUDGE, weight=0.2)
"""The same with a quarter of the weight: photographs lose less by it."""


def fashion_32_prior() -> RunConfig:
    """The flow alone: ``simflow train fashion-32-prior --data FOLDER --start_from runs/fashion-32 --out runs/prior``.

    Nearly two hours of one CPU core. The second stretch was added when the first had ended. Samples are drawn at a
    temperature above one, which gives variety, and cleaned of most of their noise, which gives quality (lab book).
    """
    run = prior_stage(fashion_32(), "fashion-32-prior", steps=(14_000, 6500))
    denoised = replace(run.sample, temperature=1.08, refinement=ScoreDenoise(std=0.4))
    return replace(run, sample=denoised)


def fashion_32_decoder() -> RunConfig:
    """Stage II: ``simflow train fashion-32-decoder --data FOLDER --start_from runs/fashion --out runs/fashion-32``."""
    joint = fashion_32()
    return decoder_stage(joint, "fashion-32-decoder", judged(joint, JUDGE), steps=3000, lr=5e-4)


def fashion_32_frechet() -> RunConfig:
    """FD-loss last: ``simflow train fashion-32-frechet --data FOLDER --start_from runs/prior --out runs/frechet``.

    The flow learns from its own samples. An hour of two CPU cores with AMX (``--train.dtype bf16``).
    """
    frechet = FrechetConfig(size=96, weight=2.5)
    return frechet_stage(fashion_32_prior(), "fashion-32-frechet", frechet, steps=2000)


def clothing_256() -> RunConfig:
    """SimFlow-S on 3 068 photographs of clothes, 256 px, for a GPU: ``simflow train clothing-256 --data clothing.tar``.

    The paper's geometry: its autoencoder at f16 with 64 channels, 256 tokens, a flow of six blocks of two layers; 102 M
    parameters. What differs is for few images and little time. The calibrated reconstruction holds the latents up
    without a discriminator, which comes in stage II. Against overfitting there are mirrored images, weight decay, the
    posterior's own noise and a short run. Representation alignment is off: its network does not come with the package
    (``--objective.alignment.type AlignmentConfig``, as in ``simflow-b-repa``).
    """
    base = fashion_32()
    return replace(
        base,
        name="clothing-256",
        data=DataConfig(path="folder", image_size=256, channels=3),
        model=ModelConfig(
            autoencoder=KLConfig(latent_channels=64),
            posterior=FixedVariance(std=0.5),
            prior=FlowConfig(depths=(2,) * 6, block=BlockConfig(width=384, heads=6)),
        ),
        train=replace(
            base.train,
            batch=32,
            stages=(StageConfig(steps=6000, schedule=Linear(final=0.0, warmup=200)),),
            optimizer=OptimizerConfig(lr=3e-4, betas=(0.9, 0.99), weight_decay=0.05),
            dtype="bfloat16",
        ),
        sample=SampleConfig(guidance=GaussianProduct(weight=1.0), batch=50),
    )


def clothing_256_decoder() -> RunConfig:
    """Stage II: ``simflow train clothing-256-decoder --data clothing.tar --start_from runs/clothing``."""
    run = clothing_256()
    judge = AdversarialConfig(weight=0.2, relative=True, lecam=1e-3, start_step=500, head_start=200)
    return decoder_stage(run, "clothing-256-decoder", judged(run, judge), steps=2000, lr=2e-4)


def clothing_256_prior() -> RunConfig:
    """The flow alone: ``simflow train clothing-256-prior --data clothing.tar --start_from runs/clothing-256``.

    The encoder is most of a step at this size, so its codes are kept: a step takes a seventh of the time.
    """
    return prior_stage(clothing_256(), "clothing-256-prior", steps=(4000,))
