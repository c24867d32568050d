"""TarFlow: a flow on pixels (Zhai et al. 2024), every published row and two for two CPU cores.

A row is written patch - width - blocks - layers. Images with Gaussian noise of a small standard deviation are what is
modelled; samples are guided in every block and cleaned by one score step of that standard deviation. For likelihood
the noise is uniform within a grey level, training is in float32, and ``simflow evaluate RUN --likelihood`` tells bits
a dimension. Training is AdamW (0.9, 0.95), weight decay 1e-4, one epoch of warm-up, a cosine from 1e-4 to 1e-6, no
clipping and no average. An epoch is the images over the batch, the rest dropped: 5004 steps of ImageNet at 256.

An unconditional model is trained with every label dropped, so labelled folders serve as well.

None of the published rows has been reproduced here yet.
"""

from dataclasses import replace

from simflow.autoencoder.pixels import PixelsConfig
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import LogScale
from simflow.flow.score import ScoreDenoise
from simflow.flow.stack import FlowConfig
from simflow.losses.reconstruction import PixelMean
from simflow.model import ModelConfig
from simflow.objective import ObjectiveConfig
from simflow.posterior import Dequantised, FixedVariance
from simflow.recipes.images import EPOCH
from simflow.sample import SampleConfig
from simflow.train.ema import EmaConfig
from simflow.train.loop import TrainConfig
from simflow.train.optim import Cosine, OptimizerConfig, StageConfig

HEAD = 64
"""Numbers in an attention head."""


def shape(patch: int, width: int, blocks: int, layers: int, *, head: int = HEAD) -> FlowConfig:
    """The flow of a row: classes added to every token, their mean for "no class"."""
    block = BlockConfig(
        width=width, heads=width // head, conditioning="added", null_class="mean", first_token="unchanged"
    )
    return FlowConfig(patch=patch, depths=(layers,) * blocks, block=block)


def published(
    name: str,
    flow: FlowConfig,
    *,
    data: DataConfig,
    classes: int,
    std: float | None,
    epochs: int,
    epoch: int = EPOCH,
    batch: int = 256,
    lr: float = 1e-4,
    guidance: LogScale | None,
) -> RunConfig:
    """A row as published; ``std`` None is uniform dequantisation, ``classes`` 0 drops every label."""
    return RunConfig(
        name=name,
        data=data,
        classes=classes,
        model=ModelConfig(
            autoencoder=PixelsConfig(),
            posterior=Dequantised() if std is None else FixedVariance(std=std),
            prior=flow,
        ),
        objective=ObjectiveConfig(reconstruction=PixelMean(weight=0.0), label_drop=0.1 if classes else 1.0),
        train=TrainConfig(
            batch=batch,
            stages=(StageConfig(steps=epochs * epoch, schedule=Cosine(final=1e-6 / lr, warmup=epoch)),),
            optimizer=OptimizerConfig(lr=lr, betas=(0.9, 0.95), weight_decay=1e-4, clip=None),
            ema=EmaConfig(rate=0.0, warmup=False),
            dtype="float32" if std is None else "bfloat16",
            save_every=5000,
            sample_every=5000,
        ),
        sample=SampleConfig(guidance=guidance, refinement=None if std is None else ScoreDenoise(std=std)),
    )


def tarflow_imagenet64_likelihood() -> RunConfig:
    """TarFlow 2-768-8-8 for likelihood, ImageNet 64: ``simflow train tarflow-imagenet64-likelihood --data IMAGENET``.

    Expected: 2.99 bits per dimension on the validation images.
    """
    data = DataConfig(path="imagenet64", image_size=64)
    flow = shape(2, 768, 8, 8)
    return published(
        "tarflow-imagenet64-likelihood", flow, data=data, classes=0, std=None, epochs=100, guidance=None
    )


def tarflow_imagenet64_unconditional() -> RunConfig:
    """TarFlow 2-768-8-8 without classes, ImageNet 64: ``simflow train tarflow-imagenet64-unconditional``.

    It is guided away from itself at another attention temperature; strength and temperature are to be swept.
    """
    data = DataConfig(path="imagenet64", image_size=64)
    flow, rule = shape(2, 768, 8, 8), LogScale(weight=1.0, annealed=True, temperature=1.5)
    return published(
        "tarflow-imagenet64-unconditional", flow, data=data, classes=0, std=0.05, epochs=200, guidance=rule
    )


def tarflow_imagenet64() -> RunConfig:
    """TarFlow 2-768-8-8, ImageNet 64: ``simflow train tarflow-imagenet64 --data IMAGENET``.

    Expected: FID 2.90 with annealed guidance of 2.3 and score denoise.
    """
    data = DataConfig(path="imagenet", image_size=64)
    flow, rule = shape(2, 768, 8, 8), LogScale(weight=2.3, annealed=True)
    return published("tarflow-imagenet64", flow, data=data, classes=1000, std=0.05, epochs=200, guidance=rule)


def tarflow_imagenet64_wide() -> RunConfig:
    """TarFlow 2-1024-8-8, ImageNet 64: ``simflow train tarflow-imagenet64-wide --data IMAGENET``.

    Expected: FID 2.66. Everything but the width is that of ``tarflow-imagenet64``.
    """
    return with_flow(tarflow_imagenet64(), "tarflow-imagenet64-wide", shape(2, 1024, 8, 8))


def tarflow_imagenet64_coarse() -> RunConfig:
    """TarFlow 4-1024-8-8, ImageNet 64, a quarter of the tokens: ``simflow train tarflow-imagenet64-coarse``.

    Expected: FID 3.99. Everything but the shape is that of ``tarflow-imagenet64``.
    """
    return with_flow(tarflow_imagenet64(), "tarflow-imagenet64-coarse", shape(4, 1024, 8, 8))


def tarflow_imagenet128() -> RunConfig:
    """TarFlow 4-1024-8-8, ImageNet 128: ``simflow train tarflow-imagenet128 --data IMAGENET``; 32 GPUs as published.

    Expected: FID 5.03 with annealed guidance, whose strength is to be swept.
    """
    return published(
        "tarflow-imagenet128",
        shape(4, 1024, 8, 8),
        data=DataConfig(path="imagenet", image_size=128),
        classes=1000,
        std=0.15,
        epochs=320,
        epoch=1668,
        batch=768,
        guidance=LogScale(weight=2.5, annealed=True),
    )


def tarflow_afhq() -> RunConfig:
    """TarFlow 8-768-8-8, AFHQ 256 (cat, dog, wild): ``simflow train tarflow-afhq --data AFHQ``.

    4000 epochs of 14 630 images. The one row with a public checkpoint; ``simflow import tarflow`` reads it.
    """
    return published(
        "tarflow-afhq",
        shape(8, 768, 8, 8),
        data=DataConfig(path="afhq", image_size=256),
        classes=3,
        std=0.07,
        epochs=4000,
        epoch=57,
        guidance=LogScale(weight=1.0),
    )


def tarflow_mnist() -> RunConfig:
    """TarFlow 4-128-4-4, MNIST at 28 px: ``simflow train tarflow-mnist --data MNIST``; a notebook's worth.

    As published, labels are never dropped, so it is not guided.
    """
    run = published(
        "tarflow-mnist",
        shape(4, 128, 4, 4),
        data=DataConfig(path="mnist", image_size=28, channels=1, flip=False),
        classes=10,
        std=0.1,
        epochs=100,
        epoch=234,
        lr=2e-3,
        guidance=None,
    )
    return replace(
        run,
        objective=replace(run.objective, label_drop=0.0),
        train=replace(run.train, dtype="auto"),
    )


def tarflow_fashion() -> RunConfig:
    """TarFlow 4-128-4-3 on Fashion-MNIST at 28 px, on two cores: ``simflow train tarflow-fashion --data FOLDER``.

    ``FOLDER`` holds the idx files; without it, the 6 000 embedded images are taken. 49 tokens of 16 numbers. An image
    costs 0.74 GFLOP: five epochs of 60 000 images take half an hour on two cores.
    """
    run = published(
        "tarflow-fashion",
        shape(4, 128, 4, 3),
        data=DataConfig(path="embedded:fashion-mnist", image_size=28, channels=1, flip=False),
        classes=10,
        std=0.1,
        epochs=5,
        epoch=937,
        batch=64,
        lr=2e-3,
        guidance=LogScale(weight=1.0, annealed=True),
    )
    return for_two_cores(run)


def tarflow_fashion_likelihood() -> RunConfig:
    """TarFlow 2-64-8-2 for likelihood, Fashion-MNIST at 28 px: ``simflow train tarflow-fashion-likelihood``.

    196 tokens of 4 numbers, images dequantised, every label dropped. An image costs 1.4 GFLOP: three epochs of 60 000
    images (``--data FOLDER``, the idx files) take 35 to 40 minutes on two cores, and ``--steps`` makes it longer. Then
    ``simflow evaluate RUN --likelihood`` tells bits per dimension.

    In trials of three minutes on one core, more and shallower blocks won over fewer and deeper ones of the same cost
    (lab book), and a patch of 2 over one of 4. Heads are of 32 numbers, so that there are two.
    """
    run = published(
        "tarflow-fashion-likelihood",
        shape(2, 64, 8, 2, head=32),
        data=DataConfig(path="embedded:fashion-mnist", image_size=28, channels=1, flip=False),
        classes=0,
        std=None,
        epochs=3,
        epoch=1875,
        batch=32,
        lr=2e-3,
        guidance=None,
    )
    return for_two_cores(run)


def with_flow(run: RunConfig, name: str, flow: FlowConfig) -> RunConfig:
    """The same run under another name with another flow."""
    return replace(run, name=name, model=replace(run.model, prior=flow))


def for_two_cores(run: RunConfig) -> RunConfig:
    """A short warm-up, clipping and an average, which short runs thank for; grids and saves more often; the faster
    dtype, unless it is float32 on purpose."""
    (stage,) = run.train.stages
    assert isinstance(stage.schedule, Cosine)
    train = replace(
        run.train,
        stages=(replace(stage, schedule=replace(stage.schedule, warmup=100)),),
        optimizer=replace(run.train.optimizer, clip=1.0),
        ema=EmaConfig(rate=0.999),
        dtype="float32" if run.train.dtype == "float32" else "auto",
        save_every=500,
        sample_every=None,
    )
    return replace(run, train=train)
