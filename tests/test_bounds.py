"""Numbers that can only fail or do harm once a run has begun are refused when the config is made."""

import math
from dataclasses import dataclass

import pytest

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.kl import KLConfig
from simflow.bounds import at_least, not_negative, positive, share
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.score import GuidedScoreStep, ScoreDenoise
from simflow.flow.stack import FlowConfig
from simflow.losses.adversarial import AdversarialConfig
from simflow.losses.alignment import AlignmentConfig
from simflow.losses.discriminators import FeatureNetwork, PatchNetwork
from simflow.losses.perceptual import SqueezeNetDistance, VGG16Distance
from simflow.losses.reconstruction import Calibrated, PixelMean
from simflow.nn.rotary import Rotary
from simflow.objective import ObjectiveConfig
from simflow.sample import SampleConfig
from simflow.sit.guidance import ClassifierFree
from simflow.sit.prior import SiTConfig
from simflow.train.loop import TrainConfig
from simflow.train.optim import Cosine, Linear, OptimizerConfig

NAN, INF = math.nan, math.inf
BELOW_ONE, BELOW_ZERO, NO_SHARE = (0, -2), (-1.0, NAN, INF), ((2.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (NAN, 0.9))


@dataclass(frozen=True, kw_only=True)
class Numbers:
    one: float | None = 1.0
    many: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    ("check", "config", "sentence"),
    [
        (lambda c: at_least(1, c, "a.b", "one"), Numbers(one=0), "a.b.one must be at least 1, not 0"),
        (
            lambda c: at_least(1, c, "a", "one", "many"),
            Numbers(many=(3, 0)),
            "a.many.1 must be at least 1, not 0",
        ),
        (
            lambda c: positive(c, "a", "one"),
            Numbers(one=0.0),
            "a.one must be a finite number above 0, not 0.0",
        ),
        (
            lambda c: positive(c, "a", "one"),
            Numbers(one=INF),
            "a.one must be a finite number above 0, not inf",
        ),
        (
            lambda c: not_negative(c, "a", "one"),
            Numbers(one=-1),
            "a.one must be a finite number from 0 on, not -1",
        ),
        (
            lambda c: not_negative(c, "a", "one"),
            Numbers(one=NAN),
            "a.one must be a finite number from 0 on, not nan",
        ),
        (lambda c: share(c, "a", "one"), Numbers(one=1.0), "a.one must be in [0, 1), not 1.0"),
    ],
)
def test_a_number_out_of_bounds_is_named(check, config, sentence):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        check(config)
    assert str(caught.value) == sentence


def test_what_is_within_bounds_or_none_is_accepted():
    for config in (Numbers(), Numbers(one=None, many=())):
        at_least(1, config, "a", "one", "many")
        positive(config, "a", "one")
    not_negative(Numbers(one=0.0), "a", "one")
    share(Numbers(one=0.0), "a", "one")


@pytest.mark.parametrize(
    ("config", "field", "values"),
    [
        *(
            (TrainConfig, name, BELOW_ONE)
            for name in ("batch", "microbatch", "log_every", "sample_every", "save_every", "keep")
        ),
        *((OptimizerConfig, name, BELOW_ZERO) for name in ("lr", "eps", "weight_decay")),
        (OptimizerConfig, "clip", (0.0, *BELOW_ZERO)),
        (OptimizerConfig, "betas", NO_SHARE),
        (Cosine, "final", BELOW_ZERO),
        (Linear, "final", BELOW_ZERO),
        (ObjectiveConfig, "prior_weight", BELOW_ZERO),
        (ObjectiveConfig, "label_drop", (-0.1, 1.1, NAN)),
        *((kind, "weight", BELOW_ZERO) for kind in (PixelMean, Calibrated, SqueezeNetDistance)),
        (lambda **words: VGG16Distance(weights="x", **words), "weight", BELOW_ZERO),
        *((AdversarialConfig, name, BELOW_ZERO) for name in ("weight", "lecam", "lr")),
        (AdversarialConfig, "betas", NO_SHARE),
        *((PatchNetwork, name, BELOW_ONE) for name in ("filters", "layers")),
        (FeatureNetwork, "width", BELOW_ONE),
        (AlignmentConfig, "weight", BELOW_ZERO),
        (AlignmentConfig, "hidden", BELOW_ONE),
        (FlowConfig, "patch", BELOW_ONE),
        (FlowConfig, "depths", ((0, -1), (2, 0))),
        *((BlockConfig, name, BELOW_ONE) for name in ("width", "heads")),
        (BlockConfig, "clip", (0.0, *BELOW_ZERO)),
        (BlockConfig, "dropout", (-0.1, 1.0, NAN)),
        (Rotary, "base", (0.0, *BELOW_ZERO)),
        (Rotary, "still", (-1,)),
        *((SiTConfig, name, BELOW_ONE) for name in ("patch", "width", "depth", "heads")),
        *((CompactConfig, name, BELOW_ONE) for name in ("latent_channels", "patch")),
        (CompactConfig, "widths", ((), (12,), (8, 0), (-8,))),
        *((CompactConfig, name, (-1,)) for name in ("encoder_blocks", "decoder_blocks")),
        *((KLConfig, name, BELOW_ONE) for name in ("latent_channels", "width", "encoder_blocks")),
        (KLConfig, "multipliers", ((), (1, 0))),
        (GuidedScoreStep, "gamma", BELOW_ZERO),
        (lambda **words: ScoreDenoise(std=0.3, **words), "multiplier", BELOW_ZERO),
        (ScoreDenoise, "std", (0.0, *BELOW_ZERO)),
        *((rule, "weight", BELOW_ZERO) for rule in (GaussianProduct, LogScale, ClassifierFree)),
        *((rule, "temperature", (0.0, *BELOW_ZERO)) for rule in (GaussianProduct, LogScale, SampleConfig)),
        (SampleConfig, "batch", BELOW_ONE),
    ],
)
def test_what_can_only_fail_is_refused(config, field, values):
    for value in values:
        with pytest.raises(ValueError, match=r"must be|needs"):
            config(**{field: value})


def test_what_means_none_is_accepted():
    """A term of weight 0 is off, a flow without blocks is the normal distribution, and None is no limit."""
    ObjectiveConfig(reconstruction=PixelMean(weight=0.0), prior_weight=0.0, label_drop=1.0)
    FlowConfig(depths=())
    TrainConfig(microbatch=None, sample_every=None, save_every=None, keep=None)
    OptimizerConfig(lr=0.0, betas=(0.0, 0.9), clip=None)
    CompactConfig(encoder_blocks=0, decoder_blocks=0)
