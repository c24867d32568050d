"""What the paper changes, one function a change: a run's configuration in, the changed one out.

None of them knows the scale: they take the published run and the small one of the demo alike
(:mod:`simflow.recipes.tables` names the rows). A change swaps the type in a slot or a number; nothing in the model asks
which variant it is.
"""

from dataclasses import replace

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.kl import KLConfig
from simflow.autoencoder.pixels import PixelsConfig
from simflow.config import RunConfig
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.score import ScoreDenoise
from simflow.flow.stack import FlowConfig
from simflow.losses.alignment import AlignmentConfig
from simflow.losses.perceptual import SqueezeNetDistance
from simflow.losses.reconstruction import Calibrated, PixelMean
from simflow.losses.vit import DinoV2
from simflow.model import ModelConfig
from simflow.objective import ObjectiveConfig
from simflow.posterior import FixedVariance, LearnedVariance, Linear, NoNoise, Slerp
from simflow.recipes import starflow
from simflow.recipes.stages import AUTOENCODER, prior_only
from simflow.sit.guidance import ClassifierFree
from simflow.sit.prior import SiTConfig

KL_WEIGHT = 1e-6
"""Weight of the divergence from a standard normal where an autoencoder is trained alone: LDM's number, which
there weighs a sum over latent numbers against one over pixels, and here a mean against a mean."""
TARFLOW_STD = 0.1
"""Standard deviation of the noise that TarFlow adds to pixels on [-1, 1], as in ``tarflow-fashion``."""


def latent_dim(run: RunConfig, channels: int) -> RunConfig:
    """Another number of latent channels (Table 3)."""
    autoencoder = replace(trained(run.model), latent_channels=channels)
    return replace(run, model=replace(run.model, autoencoder=autoencoder))


def posterior(run: RunConfig, rule: FixedVariance | LearnedVariance | Linear | Slerp | NoNoise) -> RunConfig:
    """Another way from code to latents (Tables 4 and 6)."""
    return replace(run, model=replace(run.model, posterior=rule))


def flow_size(run: RunConfig, *, width: int, heads: int, depths: tuple[int, ...]) -> RunConfig:
    """A wider or deeper flow (Table 5)."""
    flow = flow_of(run.model)
    flow = replace(flow, depths=depths, block=replace(flow.block, width=width, heads=heads))
    return replace(run, model=replace(run.model, prior=flow))


def unnormalised(run: RunConfig) -> RunConfig:
    """No LayerNorm on the latent tokens."""
    autoencoder = replace(trained(run.model), normalize=False)
    return replace(run, model=replace(run.model, autoencoder=autoencoder))


def lasting(run: RunConfig, steps: int) -> RunConfig:
    """Another length of the first stage, and no other stage."""
    (first, *_) = run.train.stages
    return replace(run, train=replace(run.train, stages=(replace(first, steps=steps),)))


def prior_weight(run: RunConfig, weight: float) -> RunConfig:
    """Another weight of the prior's term than 1."""
    return replace(run, objective=replace(run.objective, prior_weight=weight))


def pixels_alone(run: RunConfig) -> RunConfig:
    """The paper's 1:1 with the squared error and nothing else: the latents nearly collapse at small scale."""
    return replace(
        run,
        objective=replace(run.objective, reconstruction=PixelMean(), perceptual=None, adversarial=None),
    )


def perceptual(run: RunConfig) -> RunConfig:
    """The paper's 1:1 with squared error and a perceptual distance."""
    alone = pixels_alone(run)
    return replace(alone, objective=replace(alone.objective, perceptual=SqueezeNetDistance()))


def calibrated(run: RunConfig) -> RunConfig:
    """The likelihood of a Gaussian decoder at its best variance: the ELBO, no weight to choose."""
    alone = pixels_alone(run)
    return replace(alone, objective=replace(alone.objective, reconstruction=Calibrated()))


def alone(run: RunConfig) -> RunConfig:
    """The autoencoder without a prior to learn: a standard normal with LDM's small weight, no classes.

    A flow of no blocks *is* the standard normal, so this is the usual KL autoencoder, with the run's own losses.
    """
    return replace(
        run,
        model=replace(run.model, prior=FlowConfig(depths=())),
        objective=replace(run.objective, prior_weight=KL_WEIGHT, label_drop=1.0),
        sample=replace(run.sample, guidance=None, refinement=None, temperature=1.0),
    )


def aligned(run: RunConfig, *, at: str, side: int | None) -> RunConfig:
    """REPA-E on the first, the middle or the last block of the flow (Figure 8), layer 1."""
    blocks = len(flow_of(run.model).depths)
    block = {"first": 1, "middle": (blocks + 1) // 2, "last": blocks}[at]
    alignment = AlignmentConfig(block=block, layer=1, encoder=DinoV2(side=side))
    return replace(run, objective=replace(run.objective, alignment=alignment))


def by_sit(run: RunConfig, sit: SiTConfig) -> RunConfig:
    """SiT instead of the flow (Table 7)."""
    sample = replace(run.sample, guidance=ClassifierFree(), refinement=None, temperature=1.0)
    return replace(run, model=replace(run.model, prior=sit), sample=sample)


def by_tarflow(run: RunConfig, flow: FlowConfig) -> RunConfig:
    """TarFlow on pixels instead, with noise of 0.1, TarFlow's guidance and score step."""
    model = ModelConfig(autoencoder=PixelsConfig(), posterior=FixedVariance(std=TARFLOW_STD), prior=flow)
    objective = ObjectiveConfig(
        reconstruction=PixelMean(weight=0.0),
        prior_weight=run.objective.prior_weight,
        label_drop=run.objective.label_drop,
    )
    sample = replace(
        run.sample,
        guidance=LogScale(weight=1.0, annealed=True),
        refinement=ScoreDenoise(std=TARFLOW_STD),
        temperature=1.0,
    )
    return replace(run, model=model, objective=objective, sample=sample)


def by_starflow(run: RunConfig, flow: FlowConfig) -> RunConfig:
    """STARFlow instead: noise on the latents of a frozen autoencoder, its guidance, a score step in the latents."""
    noisy = unnormalised(posterior(run, FixedVariance(std=starflow.STD)))
    changed = prior_only(replace(noisy, model=replace(noisy.model, prior=flow)), AUTOENCODER)
    sample = replace(
        run.sample,
        guidance=GaussianProduct(weight=1.0),
        refinement=ScoreDenoise(std=starflow.STD),
        temperature=1.0,
    )
    return replace(changed, sample=sample)


def flow_of(model: ModelConfig) -> FlowConfig:
    """The model's prior, which is a flow."""
    assert isinstance(model.prior, FlowConfig)
    return model.prior


def trained(model: ModelConfig) -> CompactConfig | KLConfig:
    """The model's autoencoder, which is not the identity on pixels."""
    assert not isinstance(model.autoencoder, PixelsConfig)
    return model.autoencoder
