"""STARFlow: a deep-shallow flow on the noisy latents of a frozen autoencoder (Gu et al. 2025).

For the rows of ImageNet the autoencoder is Stable Diffusion's (f8, 4 channels, no normalisation), its latents scaled
to a variance of about one, with Gaussian noise of standard deviation 0.3 added; one latent position is one token. Five
blocks of two layers and a deep one, which alone sees the class (a token before the others) and alone is guided. Every
token is transformed, behind a learned start token; the scale is a softplus, outputs are softly held within 4, positions
are rotary.

A sample is as noisy as what the flow has learnt from. It is cleaned by one score step in the latents, or by a
decoder that was fine-tuned on noisy latents, or not at all. On Fashion-MNIST three runs follow each other, each
starting from the weights of the one before: ``autoencoder-fashion``, ``starflow-fashion``,
``starflow-fashion-decoder``.

Shape, noise, epochs and results are published. Which blocks see the class, the batch and the strength of guidance
are not, for the rows with classes: the first is that of the public text-to-image model, the others are ours. None of
the rows has been reproduced here yet.
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
from simflow.losses.discriminators import PatchNetwork
from simflow.losses.reconstruction import Calibrated
from simflow.model import ModelConfig
from simflow.nn.rotary import Rotary
from simflow.objective import ObjectiveConfig, Routing
from simflow.posterior import FixedVariance, LearnedVariance
from simflow.recipes.images import EPOCH, FASHION
from simflow.recipes.stages import AUTOENCODER, decoder_stage, prior_only, starflow_losses
from simflow.sample import SampleConfig
from simflow.train.ema import EmaConfig
from simflow.train.loop import TrainConfig
from simflow.train.optim import Cosine, Linear, OptimizerConfig, StageConfig

STD = 0.3
"""Standard deviation of the noise that STARFlow adds to latents."""
SD_AUTOENCODER = KLConfig(
    latent_channels=4, multipliers=(1, 2, 4, 4), encoder_attention=False, normalize=False
)
"""Stable Diffusion's autoencoder."""
SD_SCALE = 0.18215
"""What its latents are multiplied by for a variance of about one."""


def deep_shallow(*, width: int, heads: int, shallow: int, deep: int, still: int) -> FlowConfig:
    """``shallow`` blocks of two layers without the class, then one of ``deep`` layers with it, in raster order.

    The orders alternate, and the deep block must walk in raster order: the first is reversed if ``shallow`` is odd.
    """
    block = BlockConfig(
        width=width,
        heads=heads,
        conditioning="prefix",
        first_token="learned",
        positions=Rotary(still=still),
        scale="softplus",
        clip=4.0,
        final_norm=True,
    )
    return FlowConfig(
        depths=(2,) * shallow + (deep,),
        first="reversed" if shallow % 2 else "raster",
        labelled="deep",
        block=block,
    )


def published(name: str, *, image_size: int) -> RunConfig:
    """The 1.4 B row at a size: 1024 tokens at 256 px, 4096 at 512."""
    run = RunConfig(
        name=name,
        data=DataConfig(path="imagenet", image_size=image_size),
        classes=1000,
        model=ModelConfig(
            autoencoder=SD_AUTOENCODER,
            posterior=FixedVariance(std=STD),
            prior=deep_shallow(width=2048, heads=32, shallow=5, deep=18, still=16),
        ),
        train=TrainConfig(
            batch=256,
            stages=(StageConfig(steps=320 * EPOCH, schedule=Cosine(final=0.01, warmup=EPOCH)),),
            optimizer=OptimizerConfig(lr=1e-4, betas=(0.9, 0.95), weight_decay=1e-4, clip=1.0),
            ema=EmaConfig(rate=0.0, warmup=False),
            dtype="bfloat16",
            save_every=5000,
            sample_every=5000,
        ),
        sample=SampleConfig(guidance=GaussianProduct(weight=1.5)),
    )
    return prior_only(run, replace(AUTOENCODER, scale=SD_SCALE))


def starflow_256() -> RunConfig:
    """STARFlow, 1.4 B flow, ImageNet 256: ``simflow train starflow-256 --data IMAGENET --start_from SD_VAE``.

    ``SD_VAE`` is the folder or file of Stable Diffusion's autoencoder. Expected: FID 2.40 after 320 epochs, samples
    decoded by a decoder that was fine-tuned on noisy latents (rFID 2.73). ``--train.codes kept`` encodes every image
    once instead of 320 times, into a file of 21 GB.
    """
    return published("starflow-256", image_size=256)


def starflow_512() -> RunConfig:
    """STARFlow, 1.4 B flow, ImageNet 512: ``simflow train starflow-512 --data IMAGENET --start_from SD_VAE``.

    Expected: FID 3.00.
    """
    return published("starflow-512", image_size=512)


def starflow_256_decoder() -> RunConfig:
    """The decoder of ``starflow-256`` on noisy latents: ``simflow train starflow-256-decoder --data IMAGENET``.

    ``--start_from`` is the run of ``starflow-256``. Weights of the losses are STARFlow's: squared error 1, perceptual
    1.1, hinge 0.1, LeCam 1e-3; length, learning rate and the embedded SqueezeNet in VGG's place are ours. Expected:
    rFID 2.73 on latents with noise of standard deviation 0.3.
    """
    return decoder_stage(
        unrefined(starflow_256()),
        "starflow-256-decoder",
        starflow_losses(AdversarialConfig(weight=0.1, lecam=1e-3)),
        steps=50_000,
        lr=1e-4,
    )


def autoencoder_fashion() -> RunConfig:
    """An autoencoder alone, the usual VAE, Fashion-MNIST at 32 px: ``simflow train autoencoder-fashion``.

    The prior is a flow that is never trained: as it begins, it is the identity, so its density is the standard normal
    and the objective the ELBO with a learned variance. 0.89 M parameters, 16 tokens of 16 numbers. About ten minutes
    on two cores; the first of three runs, see ``starflow-fashion``.
    """
    return RunConfig(
        name="autoencoder-fashion",
        data=FASHION,
        classes=10,
        model=ModelConfig(
            autoencoder=CompactConfig(latent_channels=16, patch=4, widths=(64, 128), normalize=False),
            posterior=LearnedVariance(),
            prior=FlowConfig(depths=(1,), block=BlockConfig(width=8, heads=1)),
        ),
        objective=ObjectiveConfig(
            reconstruction=Calibrated(), routing=Routing(prior="frozen"), label_drop=1.0
        ),
        train=TrainConfig(
            batch=64,
            stages=(StageConfig(steps=8000, schedule=Linear(final=0.0, warmup=50)),),
            optimizer=OptimizerConfig(lr=2e-3, betas=(0.9, 0.99)),
            ema=EmaConfig(rate=0.999),
            dtype="auto",
        ),
        sample=SampleConfig(guidance=None),
    )


def starflow_fashion() -> RunConfig:
    """STARFlow on a frozen autoencoder of ours, Fashion-MNIST at 32 px; 15 minutes on two cores after the autoencoder.

    ``simflow train autoencoder-fashion --data FOLDER --out runs/ae``, then
    ``simflow train starflow-fashion --data FOLDER --start_from runs/ae --out runs/starflow``. The code is the mean,
    noise of standard deviation 0.3 is added. Samples are cleaned by one score step in the latents.
    """
    base = autoencoder_fashion()
    run = replace(
        base,
        name="starflow-fashion",
        model=replace(
            base.model,
            posterior=FixedVariance(std=STD),
            prior=deep_shallow(width=128, heads=4, shallow=2, deep=4, still=8),
        ),
        objective=ObjectiveConfig(),
        sample=SampleConfig(guidance=GaussianProduct(weight=1.0), refinement=ScoreDenoise(std=STD)),
    )
    return prior_only(run, AUTOENCODER)


def starflow_fashion_decoder() -> RunConfig:
    """The decoder of ``starflow-fashion`` fine-tuned on noisy latents, the rest frozen; ten minutes on two cores.

    ``simflow train starflow-fashion-decoder --data FOLDER --start_from runs/starflow --out runs/decoder``: a run with
    the same flow, whose samples need no score step. The perceptual distance is the embedded SqueezeNet's, and the
    discriminator, which joins after a third of the run, is small, as the pictures are.
    """
    run = unrefined(starflow_fashion())
    judge = AdversarialConfig(
        network=PatchNetwork(filters=32, layers=2), weight=0.1, lecam=1e-3, start_step=1000, head_start=200
    )
    return decoder_stage(run, "starflow-fashion-decoder", starflow_losses(judge), steps=3000, lr=1e-3)


def unrefined(run: RunConfig) -> RunConfig:
    """The run whose samples go without a score step: a decoder that was fine-tuned on noisy latents takes its place."""
    return replace(run, sample=replace(run.sample, refinement=None))
