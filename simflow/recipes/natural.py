"""Natural images at 32 px: SimFlow in three stages, and TarFlow of about its size and time.

No decoder's stage is among them: against a judge, at STARFlow's weights or at gentler ones, reconstructions get sharper
and further from images (``docs/results.md``).
"""

from dataclasses import replace

from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.score import ScoreDenoise
from simflow.recipes.emoji import SEEN, emoji_32
from simflow.recipes.stages import frechet_stage, prior_stage
from simflow.recipes.tarflow import for_two_cores, published, shape
from simflow.sample import SampleConfig
from simflow.settings import override
from simflow.train.optim import Linear, StageConfig

NATURAL = DataConfig(path="folder", image_size=32, channels=3)
"""Natural images in ten class folders, divided into ``train`` and ``test``, such as CIFAR-10."""


def natural_32() -> RunConfig:
    """SimFlow on 50 000 natural images of ten classes: ``simflow train natural-32 --data FOLDER --out runs/natural``.

    4.3 M parameters, 16 tokens of 32 numbers. Nine epochs: 45 minutes at the 170 images per second of one CPU core, and
    with the flow alone about as long as ``natural-32-tarflow``.
    """
    base = emoji_32()
    stages = (StageConfig(steps=7000, schedule=Linear(final=0.0, warmup=224)),)
    return replace(
        base, name="natural-32", data=NATURAL, classes=10, train=replace(base.train, stages=stages)
    )


def natural_32_prior() -> RunConfig:
    """The flow alone: ``simflow train natural-32-prior --data FOLDER --start_from runs/natural --out runs/prior``.

    Twenty minutes of one CPU core.
    """
    run = prior_stage(natural_32(), "natural-32-prior", steps=(3000,))
    denoised = SampleConfig(guidance=GaussianProduct(weight=4.0), refinement=ScoreDenoise(std=0.25))
    return replace(run, sample=denoised)


def natural_32_frechet() -> RunConfig:
    """FD-loss last: ``simflow train natural-32-frechet --data FOLDER --start_from runs/prior --out runs/frechet``.

    Guidance is half as strong while it learns and after, for what strong guidance did to samples the loss does without
    taking their variety. Twenty minutes of two CPU cores with AMX (``--train.dtype bf16``).
    """
    weaker = override(natural_32_prior(), {"sample.guidance.weight": 2.0})
    return frechet_stage(weaker, "natural-32-frechet", SEEN, steps=600)


def natural_32_tarflow() -> RunConfig:
    """TarFlow 4-160-6-2 on the same images: ``simflow train natural-32-tarflow --data FOLDER --out runs/tarflow``.

    3.9 M parameters, 64 tokens of 48 numbers, noise of 0.1 and its score step. An image costs nearly three times what
    it costs ``natural-32``: 9 000 steps are nearly six epochs and, at 65 images per second of one CPU core, an hour and
    a quarter, the time of the three stages there. Batches are half as large.
    """
    run = published(
        "natural-32-tarflow",
        shape(4, 160, 6, 2, head=32),
        data=NATURAL,
        classes=10,
        std=0.1,
        epochs=2,
        epoch=1562,
        batch=32,
        lr=1.5e-3,
        guidance=LogScale(weight=4.0, annealed=True),
    )
    return for_two_cores(run.with_steps(9000))
