"""Emoji at 32 and 64 px in stages (:mod:`simflow.recipes.shipped`), and their weights taught other images.

``emoji-64`` runs on a CPU too, for it has the autoencoder of ``emoji-32`` at twice the side. ``emoji-64-joint`` is for
a GPU, computes in bfloat16 and has not been trained yet.
"""

from dataclasses import replace

from simflow.autoencoder.compact import CompactConfig
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct
from simflow.flow.score import ScoreDenoise
from simflow.flow.stack import FlowConfig
from simflow.losses.frechet import FrechetConfig
from simflow.recipes.shipped import GENTLE, fashion_32
from simflow.recipes.stages import AUTOENCODER, decoder_stage, frechet_stage, judged, prior_stage
from simflow.sample import SampleConfig
from simflow.settings import override
from simflow.start import StartFrom
from simflow.train.optim import Linear, OptimizerConfig, StageConfig

EMOJI = DataConfig(path="folder", image_size=32, channels=3, alike="([^/]+_[^_]+)_")
"""Emoji in class folders (``tools/emoji_set.py``); the skin tones of one drawing count as one image."""

SEEN = FrechetConfig(weight=2.5, size=96, classes=1.0)
"""How samples are looked at: what those of a class look like counts as much as what all look like together."""


def emoji_32() -> RunConfig:
    """SimFlow on 6 346 emoji of nine classes: ``simflow train emoji-32 --data emoji.zip --out runs/emoji``."""
    base = fashion_32()
    stages = (StageConfig(steps=7000, schedule=Linear(final=0.0, warmup=100)),)
    return replace(
        base,
        name="emoji-32",
        data=EMOJI,
        classes=9,
        train=replace(base.train, stages=stages),
        sample=SampleConfig(guidance=GaussianProduct(weight=2.0)),
    )


def emoji_32_decoder() -> RunConfig:
    """Stage II: ``simflow train emoji-32-decoder --data emoji.zip --start_from runs/emoji --out runs/emoji-32``.

    By the losses of stage I, without a judge: the decoder learns on while the codes stand still.
    """
    run = emoji_32()
    return decoder_stage(run, "emoji-32-decoder", run.objective, steps=3000, lr=5e-4)


def emoji_32_prior() -> RunConfig:
    """The flow alone: ``simflow train emoji-32-prior --data emoji.zip --start_from runs/emoji-32 --out runs/prior``.

    Twenty minutes of one CPU core. With so few drawings a longer run would learn them by heart.
    """
    run = prior_stage(emoji_32(), "emoji-32-prior", steps=(3500,))
    denoised = SampleConfig(guidance=GaussianProduct(weight=2.0), refinement=ScoreDenoise(std=0.5))
    return replace(run, sample=denoised)


def emoji_32_frechet() -> RunConfig:
    """FD-loss last: ``simflow train emoji-32-frechet --data emoji.zip --start_from runs/prior --out runs/frechet``.

    A quarter of an hour of two CPU cores with AMX (``--train.dtype bf16``).
    """
    return frechet_stage(emoji_32_prior(), "emoji-32-frechet", SEEN, steps=340)


def at_64() -> RunConfig:
    """``emoji-32`` at twice the side: the same autoencoder, 64 tokens of 32 numbers, a flow of 2.5 M parameters."""
    base = emoji_32()
    flow = FlowConfig(depths=(2, 2, 2), block=BlockConfig(width=144, heads=3))
    return replace(
        base,
        name="emoji-64",
        data=replace(EMOJI, image_size=64),
        model=replace(base.model, prior=flow),
        sample=SampleConfig(guidance=GaussianProduct(weight=2.0), refinement=ScoreDenoise(std=0.5)),
    )


def emoji_64_decoder() -> RunConfig:
    """The decoder of ``emoji-32`` at 64 px: ``simflow train emoji-64-decoder --data emoji.zip --out runs/decoder``.

    Encoder and decoder are convolutions, so what was trained at 32 px reads and draws 64 px as well, and 32 numbers a
    token are enough there. The losses are those of ``emoji-32``. The flow of this run is not trained.
    """
    run = at_64()
    run = decoder_stage(run, "emoji-64-decoder", run.objective, steps=5000, lr=5e-4)
    train = replace(run.train, batch=32, sample_every=None)
    sample = replace(run.sample, refinement=None)
    return replace(run, train=train, sample=sample, start_from=replace(AUTOENCODER, path="emoji-32"))


def emoji_64() -> RunConfig:
    """A flow for 64 px: ``simflow train emoji-64 --data emoji.zip --start_from runs/decoder --out runs/emoji-64``.

    Four hours of one CPU core, 1 504 000 images at 110 per second. Its loss on held-out drawings has come to rest then.
    """
    run = prior_stage(at_64(), "emoji-64", steps=(23_500,))
    return replace(run, train=replace(run.train, batch=64), start_from=AUTOENCODER)


def emoji_64_finer() -> RunConfig:
    """Its flow taught finer classes: ``simflow train emoji-64-finer --data emoji.zip --start_from runs/emoji-64``.

    98 classes instead of nine, ``animals-nature/animal-bird``, of the table that ``tools/emoji_set.py`` makes; each has
    some thirty drawings. Forty minutes of two CPU cores with AMX (``--train.dtype bf16 --train.compile true``).
    """
    run = prior_stage(at_64(), "emoji-64-finer", steps=(9000,))
    stages = (StageConfig(steps=9000, schedule=Linear(final=0.0, warmup=200)),)
    return override(
        replace(run, train=replace(run.train, batch=64, stages=stages)),
        {
            "data.label": "subcategory",
            "classes": 98,
            "model.prior.block.dropout": 0.1,
            "start_from.new_classes": True,
            "sample.guidance.weight": 4.0,
        },
    )


def emoji_64_frechet() -> RunConfig:
    """FD-loss last: ``simflow train emoji-64-frechet --data emoji.zip --start_from runs/finer --out runs/frechet``.

    An hour and a half of two CPU cores with AMX (``--train.dtype bf16 --train.compile true``); most of what it brings
    comes in the first hundred steps.
    """
    return frechet_stage(emoji_64_finer(), "emoji-64-frechet", SEEN, steps=900)


def emoji_64_joint() -> RunConfig:
    """SimFlow on emoji at 64 px, for a GPU: ``simflow train emoji-64-joint --data emoji.zip --out runs/emoji``.

    10.4 M parameters, 64 tokens of 32 numbers, as many latent numbers per pixel as ``emoji-32`` has. It is kept small,
    and weights decay, for a GPU shows 6 346 images hundreds of times in minutes.
    """
    autoencoder = CompactConfig(
        latent_channels=32, patch=2, widths=(64, 128, 192), encoder_blocks=1, decoder_blocks=3
    )
    flow = FlowConfig(depths=(2, 2, 2, 2), block=BlockConfig(width=192, heads=3))
    base = emoji_32()
    return replace(
        base,
        name="emoji-64-joint",
        data=replace(EMOJI, image_size=64),
        model=replace(base.model, autoencoder=autoencoder, prior=flow),
        train=replace(
            base.train,
            batch=128,
            stages=(StageConfig(steps=12_000, schedule=Linear(final=0.0, warmup=200)),),
            optimizer=OptimizerConfig(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.05),
            dtype="bfloat16",
            sample_every=2000,
        ),
    )


def emoji_64_joint_decoder() -> RunConfig:
    """Stage II: ``simflow train emoji-64-joint-decoder --data emoji.zip --start_from runs/emoji``."""
    run = emoji_64_joint()
    return decoder_stage(run, "emoji-64-joint-decoder", judged(run, GENTLE), steps=4000, lr=2e-4)


def taught(run: RunConfig, name: str, *, batch: int, steps: int) -> RunConfig:
    """The weights of a model of the package, which ``run`` made, taught a user's own colour images of any classes."""
    train = replace(
        run.train,
        batch=batch,
        stages=(StageConfig(steps=steps, schedule=Linear(final=0.0, warmup=50)),),
        optimizer=replace(run.train.optimizer, lr=1e-3),
    )
    return replace(
        run,
        name=name,
        data=DataConfig(path="folder", image_size=run.data.image_size, channels=3),
        classes=None,
        start_from=StartFrom(path=run.name, new_classes=True),
        train=train,
    )


def tuned_32() -> RunConfig:
    """The weights of emoji-32, taught your own images: ``simflow train tuned-32 --data FOLDER --out runs/mine``.

    For a few thousand colour images of any classes. A quarter of an hour of one CPU core at 100 images per second.
    """
    return taught(emoji_32(), "tuned-32", batch=64, steps=1500)


def tuned_64() -> RunConfig:
    """The weights of emoji-64, taught your own images: ``simflow train tuned-64 --data FOLDER --out runs/mine``.

    As ``tuned-32`` at twice the side and a quarter of the speed: autoencoder and flow learn together from here on.
    Eighteen minutes of one CPU core at 30 images per second.
    """
    return taught(at_64(), "tuned-64", batch=32, steps=1000)
