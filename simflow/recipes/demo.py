"""SimFlow in minutes on two CPU cores: Fashion-MNIST at 32 px, and small colour images.

The system is the published one (mean-only encoder, LayerNorm on tokens, standard deviation 0.5, one objective,
nothing stopped), at the size of the task: 4 x 4 tokens, a flow of three blocks, and the calibrated
reconstruction, since pixels alone at the paper's 1:1 let the latents collapse (:mod:`simflow.objective`).
Samples are drawn at a temperature a little above one, which gives back the variation that guidance and a decoder
that averages take away.
"""

from dataclasses import replace

from simflow.autoencoder.compact import CompactConfig
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct
from simflow.flow.stack import FlowConfig
from simflow.losses.reconstruction import Calibrated
from simflow.model import ModelConfig
from simflow.objective import ObjectiveConfig
from simflow.posterior import FixedVariance
from simflow.recipes.images import FASHION
from simflow.sample import SampleConfig
from simflow.train.ema import EmaConfig
from simflow.train.loop import TrainConfig
from simflow.train.optim import Linear, OptimizerConfig, StageConfig


def small() -> RunConfig:
    """The system in steps of 32 images: what the tables of the paper are varied from at this size."""
    return RunConfig(
        name="small",
        data=FASHION,
        classes=10,
        model=ModelConfig(
            autoencoder=CompactConfig(latent_channels=16, patch=4, widths=(64, 128)),
            posterior=FixedVariance(std=0.5),
            prior=FlowConfig(depths=(2, 2, 2), block=BlockConfig(width=128, heads=4)),
        ),
        objective=ObjectiveConfig(reconstruction=Calibrated()),
        train=TrainConfig(
            batch=32,
            stages=(StageConfig(steps=1800, schedule=Linear(final=0.0, warmup=50)),),
            optimizer=OptimizerConfig(lr=2e-3, betas=(0.9, 0.99)),
            ema=EmaConfig(rate=0.99),
            save_every=None,
        ),
        sample=SampleConfig(guidance=GaussianProduct(weight=0.4), temperature=1.12),
    )


def demo() -> RunConfig:
    """``simflow demo``: 6 000 embedded Fashion-MNIST images, two to six minutes on two cores.

    Half of the arithmetic is the autoencoder's, and a third of the time of a step of 32 images does not depend on their
    number. A narrower autoencoder in steps of 96 sees 1.6 times as many images per second, and ends as well as the
    system of the tables in 1 800 steps of 32 (lab book).
    """
    base = small()
    model = replace(base.model, autoencoder=CompactConfig(latent_channels=16, patch=4, widths=(48, 96)))
    train = replace(
        base.train,
        batch=96,
        stages=(StageConfig(steps=1150, schedule=Linear(final=0.0, warmup=50)),),
        optimizer=replace(base.train.optimizer, lr=3.6e-3),
        dtype="auto",
    )
    objective = replace(base.objective, censored=True)
    sample = replace(base.sample, temperature=1.15)
    return replace(base, name="demo", model=model, objective=objective, train=train, sample=sample)


def small_32() -> RunConfig:
    """Colour images at 32 px on two cores or one GPU: ``simflow train small-32 --data FOLDER --out runs/mine``."""
    base = small()
    return replace(
        base,
        name="small-32",
        objective=replace(base.objective, censored=True),
        data=DataConfig(path="folder", image_size=32, channels=3),
        train=replace(
            base.train,
            stages=(StageConfig(steps=4000, schedule=Linear(final=0.0, warmup=50)),),
            ema=EmaConfig(rate=0.999),
            dtype="auto",
            sample_every=1000,
            save_every=1000,
        ),
        sample=SampleConfig(guidance=GaussianProduct(weight=1.0)),
    )


def small_64() -> RunConfig:
    """Colour images at 64 px, 8 x 8 tokens: ``simflow train small-64 --data FOLDER --out runs/mine``."""
    base = small_32()
    return replace(base, name="small-64", data=DataConfig(path="folder", image_size=64, channels=3))
