"""SimFlow as published: VAE and flow trained end to end, 256 and 512 px (Tables 5, 8 and 9).

The autoencoder is the convolutional one of MAR and LDM at f16 with 64 channels, a mean-only encoder and LayerNorm on
every token; the posterior's standard deviation is fixed to 0.5; the flow has six blocks, the last of them deep.
80 epochs of ImageNet (1 281 167 images) at batch 256 are 400 365 steps.

Losses. The paper adds "perceptual loss and adversarial loss" without numbers. These are REPA-E's, with which it shares
authors: absolute error 1, perceptual distance 1, hinge PatchGAN 0.1, no adaptive weight. Trained from scratch the
discriminator waits for the reconstructions: 5 000 steps, as in VA-VAE. The perceptual distance is the embedded one, so
that a recipe runs as it stands; LPIPS with VGG16, which the paper will have used, is
``--objective.perceptual.type VGG16Distance --objective.perceptual.weights FILE --objective.perceptual.heads FILE``.

Expected (ImageNet 256, the paper's Table 5, guided gFID after stage I): S 15.34, B 9.72, L 3.72, XL 3.51, XXL 2.53.
After stage II the XXL model has rFID 1.21 and gFID 2.15 (Table 1); none of these has been reproduced here yet.
"""

from dataclasses import replace

from simflow.autoencoder.kl import KLConfig
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct
from simflow.flow.score import GuidedScoreStep
from simflow.flow.stack import FlowConfig
from simflow.losses.adversarial import AdversarialConfig
from simflow.losses.alignment import AlignmentConfig
from simflow.losses.perceptual import SqueezeNetDistance
from simflow.losses.reconstruction import PixelMean
from simflow.model import ModelConfig
from simflow.objective import ObjectiveConfig
from simflow.posterior import FixedVariance
from simflow.sample import SampleConfig
from simflow.train.ema import EmaConfig
from simflow.train.loop import TrainConfig
from simflow.train.optim import Constant, Cosine, OptimizerConfig, StageConfig

EPOCHS_80 = 400_365
"""Steps of 80 epochs of ImageNet at batch 256."""


def losses() -> ObjectiveConfig:
    """Eq. 36 with the terms that the paper adds for the autoencoder."""
    return ObjectiveConfig(
        reconstruction=PixelMean(norm="l1"),
        perceptual=SqueezeNetDistance(weight=1.0),
        adversarial=AdversarialConfig(weight=0.1, start_step=5000),
    )


def published(name: str, *, width: int, heads: int, deep: int, image_size: int = 256) -> RunConfig:
    """A row of Table 8 with the training of Table 9; ``deep`` is the depth of the last block."""
    flow = FlowConfig(depths=(2, 2, 2, 2, 2, deep), block=BlockConfig(width=width, heads=heads))
    return RunConfig(
        name=name,
        data=DataConfig(path="imagenet", image_size=image_size, channels=3),
        classes=1000,
        model=ModelConfig(
            autoencoder=KLConfig(latent_channels=64), posterior=FixedVariance(std=0.5), prior=flow
        ),
        objective=losses(),
        train=TrainConfig(
            batch=256,
            stages=(
                StageConfig(steps=EPOCHS_80, schedule=Constant()),
                StageConfig(steps=EPOCHS_80, schedule=Cosine(final=0.01)),
            ),
            optimizer=OptimizerConfig(lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0, clip=1.0),
            ema=EmaConfig(rate=0.9999, warmup=False),
            dtype="bfloat16",
            save_every=5000,
            sample_every=5000,
        ),
        sample=SampleConfig(guidance=GaussianProduct(weight=1.0), refinement=GuidedScoreStep(gamma=0.25)),
    )


def simflow_s() -> RunConfig:
    """SimFlow-S, 37 M flow: ``simflow train simflow-s --data IMAGENET``."""
    return published("simflow-s", width=384, heads=6, deep=2)


def simflow_b() -> RunConfig:
    """SimFlow-B, 141 M flow: ``simflow train simflow-b --data IMAGENET``."""
    return published("simflow-b", width=768, heads=12, deep=2)


def simflow_l() -> RunConfig:
    """SimFlow-L, 475 M flow: ``simflow train simflow-l --data IMAGENET``."""
    return published("simflow-l", width=1024, heads=16, deep=14)


def simflow_xl() -> RunConfig:
    """SimFlow-XL, 695 M flow: ``simflow train simflow-xl --data IMAGENET``."""
    return published("simflow-xl", width=1152, heads=16, deep=18)


def simflow_xxl() -> RunConfig:
    """SimFlow-XXL, 1.4 B flow, 46 layers in the deep block: ``simflow train simflow-xxl --data IMAGENET``."""
    return published("simflow-xxl", width=1152, heads=16, deep=46)


def simflow_xxl_512() -> RunConfig:
    """SimFlow-XXL at 512 px, 32 x 32 tokens: ``simflow train simflow-xxl-512 --data IMAGENET``."""
    return published("simflow-xxl-512", width=1152, heads=16, deep=46, image_size=512)


def aligned(base: RunConfig, name: str) -> RunConfig:
    """REPA-E: layer 1 of block 3 aligned with DINOv2-B, coefficient 1, nothing detached."""
    alignment = AlignmentConfig(weight=1.0, block=3, layer=1)
    return replace(base, name=name, objective=replace(base.objective, alignment=alignment))


def simflow_b_repa() -> RunConfig:
    """SimFlow-B with representation alignment: ``simflow train simflow-b-repa --data IMAGENET``.

    DINOv2-B comes from the hub; ``--objective.alignment.encoder.source PATH`` names a file or a folder instead.
    """
    return aligned(simflow_b(), "simflow-b-repa")


def simflow_xxl_repa() -> RunConfig:
    """SimFlow-XXL with representation alignment: ``simflow train simflow-xxl-repa --data IMAGENET``.

    Expected (Table 1, both stages): rFID 1.08, gFID 10.13 unguided and 1.91 guided.
    """
    return aligned(simflow_xxl(), "simflow-xxl-repa")


def simflow_xxl_512_repa() -> RunConfig:
    """SimFlow-XXL with representation alignment, 512 px: ``simflow train simflow-xxl-512-repa --data IMAGENET``.

    DINOv2 sees 448 px, a patch for each token. Expected (Table 2): gFID 2.74 guided.
    """
    return aligned(simflow_xxl_512(), "simflow-xxl-512-repa")
