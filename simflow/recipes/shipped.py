"""Models on real images in stages, small ones for two CPU cores and larger ones for a GPU; some ship.

Stage I is the paper's: encoder, decoder and flow learn from one objective, with a perceptual distance. The flow may
then learn on alone, with the autoencoder frozen, which the paper leaves to future work. The last stage freezes encoder
and flow and teaches the decoder, on the noisy latents that the flow was taught, with the perceptual distance and a
discriminator: samples gain the texture that a decoder trained for the mean leaves out.

``fashion-32``, ``emoji-32`` and ``natural-32`` run on a CPU; ``natural-32-tarflow`` is the peer of the last, a flow on
pixels of about its size and time. ``emoji-64`` runs on a CPU as well, for it has the autoencoder of ``emoji-32`` at
twice the side. ``emoji-64-joint`` and ``clothing-256`` are for a GPU, compute in bfloat16 and have not been trained
yet. ``tools/models.py`` sets the numbers of steps to the clock, trains both stages, chooses the guidance,
judges and packs.
"""

from dataclasses import replace

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.kl import KLConfig
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.score import ScoreDenoise
from simflow.flow.stack import FlowConfig
from simflow.losses.adversarial import AdversarialConfig
from simflow.losses.discriminators import FeatureNetwork, PatchNetwork
from simflow.losses.perceptual import SqueezeNetDistance
from simflow.model import ModelConfig
from simflow.objective import Calibrated, ObjectiveConfig
from simflow.posterior import FixedVariance
from simflow.recipes.images import FASHION
from simflow.recipes.stages import AUTOENCODER, decoder_stage, prior_stage
from simflow.recipes.tarflow import for_two_cores, published, shape
from simflow.sample import SampleConfig
from simflow.settings import override
from simflow.start import StartFrom
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
        objective=ObjectiveConfig(reconstruction=Calibrated(), perceptual=SqueezeNetDistance(weight=4.0)),
        train=TrainConfig(
            batch=64,
            stages=(
                StageConfig(steps=8000, schedule=Linear(final=0.0, warmup=100)),
                StageConfig(steps=10_500, schedule=Linear(final=0.0, warmup=100)),
            ),
            optimizer=OptimizerConfig(lr=1.5e-3, betas=(0.9, 0.99)),
            ema=EmaConfig(rate=0.999),
            sample_every=1000,
            save_every=500,
        ),
        sample=SampleConfig(guidance=GaussianProduct(weight=0.7), temperature=1.02),
    )


EMOJI = DataConfig(path="folder", image_size=32, channels=3, alike="([^/]+_[^_]+)_")
"""Emoji in class folders (``tools/emoji_set.py``); the skin tones of one drawing count as one image."""


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
One that learns to see from pixels wins at that rate and weight, and the decoder answers with specks (lab book)."""

ON_PIXELS = AdversarialConfig(
    network=PatchNetwork(filters=32, layers=2), weight=0.1, lecam=1e-3, start_step=500, head_start=200
)
"""A small PatchGAN, which learns slowly on purpose. It does no harm, and hardly any good in so few steps; on emoji the
judge above does no better."""


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
    return decoder_stage(fashion_32(), "fashion-32-decoder", JUDGE, steps=3000, lr=5e-4)


def emoji_32_prior() -> RunConfig:
    """The flow alone: ``simflow train emoji-32-prior --data emoji.zip --start_from runs/emoji-32 --out runs/prior``.

    Twenty minutes of one CPU core. With so few drawings a longer run would learn them by heart.
    """
    run = prior_stage(emoji_32(), "emoji-32-prior", steps=(3500,))
    denoised = SampleConfig(guidance=GaussianProduct(weight=2.0), refinement=ScoreDenoise(std=0.5))
    return replace(run, sample=denoised)


def emoji_32_decoder() -> RunConfig:
    """Stage II: ``simflow train emoji-32-decoder --data emoji.zip --start_from runs/emoji --out runs/emoji-32``."""
    return decoder_stage(emoji_32(), "emoji-32-decoder", ON_PIXELS, steps=2000, lr=5e-4)


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


NATURAL = DataConfig(path="folder", image_size=32, channels=3)
"""Natural images in ten class folders, divided into ``train`` and ``test``, such as CIFAR-10."""


def natural_32() -> RunConfig:
    """SimFlow on 50 000 natural images of ten classes: ``simflow train natural-32 --data FOLDER --out runs/natural``.

    4.3 M parameters, 16 tokens of 32 numbers. Nine epochs: 45 minutes at the 170 images per second of one CPU core, and
    with the other two stages as long as ``natural-32-tarflow``.
    """
    base = emoji_32()
    stages = (StageConfig(steps=7000, schedule=Linear(final=0.0, warmup=224)),)
    return replace(
        base, name="natural-32", data=NATURAL, classes=10, train=replace(base.train, stages=stages)
    )


def natural_32_decoder() -> RunConfig:
    """Stage II: ``simflow train natural-32-decoder --data FOLDER --start_from runs/natural --out runs/natural-32``.

    A quarter of an hour of one CPU core.
    """
    return decoder_stage(natural_32(), "natural-32-decoder", JUDGE, steps=2000, lr=5e-4)


def natural_32_prior() -> RunConfig:
    """The flow alone: ``simflow train natural-32-prior --data FOLDER --start_from runs/natural-32 --out runs/prior``.

    Twenty minutes of one CPU core.
    """
    run = prior_stage(natural_32(), "natural-32-prior", steps=(3000,))
    denoised = SampleConfig(guidance=GaussianProduct(weight=4.0), refinement=ScoreDenoise(std=0.25))
    return replace(run, sample=denoised)


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
    token are enough there. The flow of this run is not trained.
    """
    run = decoder_stage(at_64(), "emoji-64-decoder", JUDGE, steps=3000, lr=5e-4)
    train = replace(run.train, batch=32, sample_every=None)
    return replace(run, train=train, start_from=replace(AUTOENCODER, path="emoji-32"))


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
    return decoder_stage(emoji_64_joint(), "emoji-64-joint-decoder", JUDGE, steps=4000, lr=5e-4)


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
    judge = AdversarialConfig(weight=0.1, lecam=1e-3, start_step=500, head_start=200)
    return decoder_stage(clothing_256(), "clothing-256-decoder", judge, steps=2000, lr=2e-4)


def clothing_256_prior() -> RunConfig:
    """The flow alone: ``simflow train clothing-256-prior --data clothing.tar --start_from runs/clothing-256``.

    The encoder is most of a step at this size, so its codes are kept: a step takes a seventh of the time.
    """
    return prior_stage(clothing_256(), "clothing-256-prior", steps=(4000,))
