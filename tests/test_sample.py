"""The same seeds make the same images: at any batch size, in any way of decoding, up to its tolerance."""

from dataclasses import replace

import pytest
import torch

from simflow.autoencoder.compact import CompactConfig
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.decode import SEQUENTIAL, Plan
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.jacobi import Jacobi
from simflow.flow.score import GuidedScoreStep, ScoreDenoise
from simflow.model import Facts, Model, ModelConfig
from simflow.posterior import FixedVariance
from simflow.sample import SampleConfig, generated, guided, sample, sample_all, sample_each, trajectory
from simflow.settings import from_dict, to_dict
from simflow.sit.guidance import ClassifierFree
from simflow.sit.prior import SiTConfig
from simflow.sit.solver import Euler
from simflow.yaml_text import dump_yaml, parse_yaml
from tests.laws.cases import flow, randomise

SEEDS, LABELS = list(range(7)), [0, 1, 2, -1, 2, 1, 0]
HOW = SampleConfig(guidance=GaussianProduct(weight=1.0), refinement=GuidedScoreStep(gamma=0.1), batch=7)
SIT = SiTConfig(width=8, depth=1, heads=2, solver=Euler(steps=2))
PLAN = Plan(blocks=(Jacobi(tolerance=1e-4, window=2), Jacobi(tolerance=1e-4), SEQUENTIAL))


def model_of(prior=None, names=("a", "b", "c")) -> Model:
    torch.manual_seed(0)
    built = ModelConfig(
        autoencoder=CompactConfig(latent_channels=2, patch=2, widths=(8, 8)),
        posterior=FixedVariance(),
        prior=prior or flow(depths=(1, 1, 2)),
    ).build(Facts(image_size=12, channels=1, class_names=names))
    randomise(built)
    return built.eval()


def levels(model: Model, config: SampleConfig) -> torch.Tensor:
    """The images in levels 0 .. 255."""
    return sample_all(model, seeds=SEEDS, labels=LABELS, config=config).int()


@pytest.mark.parametrize("decoding", [SEQUENTIAL, Jacobi(tolerance=1e-4), Jacobi(window=4), PLAN], ids=str)
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_seeds_make_the_same_images_whatever_the_way_and_the_batch(decoding, batch):
    model = model_of()
    exact = levels(model, HOW)
    config = SampleConfig(guidance=HOW.guidance, refinement=HOW.refinement, batch=batch, decoding=decoding)
    assert (levels(model, config) - exact).abs().max() <= 1
    assert exact.float().std() > 10, "the images are all alike: the test shows nothing"


def test_the_way_of_decoding_is_used():
    """With a tolerance that is met at once the images are others, so the ways do reach the blocks."""
    model, rough = model_of(), Jacobi(tolerance=1e6)
    exact = generated(model, SEEDS, LABELS, HOW)
    for decoding in (rough, Plan(blocks=(SEQUENTIAL, SEQUENTIAL, rough))):
        config = SampleConfig(guidance=HOW.guidance, refinement=HOW.refinement, decoding=decoding)
        assert (generated(model, SEEDS, LABELS, config) - exact).abs().max() > 1e-3
        states = trajectory(model, seeds=SEEDS, labels=LABELS, config=config)
        assert list(states) == ["noise", "block 3 (deep)", "block 2", "block 1", "score step"]
        assert torch.equal(states["score step"].int(), levels(model, config))
        assert not torch.equal(states["noise"], states["block 1"])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("decoding", [SEQUENTIAL, Jacobi(tolerance=1e-4, window=4)], ids=str)
def test_several_refinements_share_the_way_to_the_latents_and_change_no_bit(decoding, dtype, monkeypatch):
    model, undone = model_of(), []
    steps = [None, GuidedScoreStep(gamma=0.1), GuidedScoreStep(gamma=0.4), ScoreDenoise(std=0.3)]
    config = SampleConfig(guidance=HOW.guidance, batch=3, decoding=decoding, dtype=dtype)
    each = [levels(model, replace(config, refinement=step)) for step in steps]
    inverse = model.prior.inverse
    monkeypatch.setattr(
        model.prior, "inverse", lambda noise, *rest: undone.append(len(noise)) or inverse(noise, *rest)
    )
    found = list(sample_each(model, seeds=SEEDS, labels=LABELS, config=config, refinements=steps))
    assert undone == [3, 3, 1]
    for parts, alone in zip(zip(*found, strict=True), each, strict=True):
        assert torch.equal(torch.cat([part.images for part in parts]).int(), alone)
        assert [seed for part in parts for seed in part.seeds] == SEEDS
        assert torch.cat([part.labels for part in parts]).tolist() == LABELS
    assert len({tuple(images.flatten().tolist()) for images in each}) == len(steps), "the steps do nothing"


@pytest.mark.parametrize("labels", [[0], [0, 3]])
def test_what_sampling_refuses_is_refused_with_several_refinements(labels):
    model = model_of()
    for make in (
        lambda: sample(model, seeds=[1, 2], labels=labels, config=HOW),
        lambda: sample_each(model, seeds=[1, 2], labels=labels, config=HOW, refinements=[None]),
    ):
        with pytest.raises(ValueError, match=r"each image needs one of both|labels must lie in 0 .. 2"):
            next(make())


def test_half_precision_is_near_and_reaches_prior_score_step_and_decoder(monkeypatch):
    model, seen = model_of(), []
    exact = generated(model, SEEDS, LABELS, HOW)
    config = SampleConfig(guidance=HOW.guidance, refinement=HOW.refinement, dtype="bfloat16")
    decode, log_prob = model.autoencoder.decode, model.prior.log_prob
    monkeypatch.setattr(model.autoencoder, "decode", lambda x: seen.append(autocast()) or decode(x))
    monkeypatch.setattr(model.prior, "log_prob", lambda x, y: seen.append(autocast()) or log_prob(x, y))
    rough = generated(model, SEEDS, LABELS, config)
    assert seen == [True] * 3
    assert rough.dtype == torch.float32
    assert 1e-3 < (rough - exact).abs().max() < 0.2
    states = trajectory(model, seeds=SEEDS, labels=LABELS, config=config)
    assert torch.equal(states["score step"].int(), levels(model, config))


def test_a_score_step_by_classes_is_left_out_without_any(monkeypatch):
    """It would move nothing, at the price of two scores."""
    model, labels = model_of(names=()), [-1] * len(SEEDS)
    plain = replace(HOW, refinement=None)
    scored = torch.zeros((), dtype=torch.int64)
    log_prob = model.prior.log_prob
    monkeypatch.setattr(model.prior, "log_prob", lambda x, y: scored.add_(1) and log_prob(x, y))
    exact = generated(model, SEEDS, labels, plain)
    assert torch.equal(generated(model, SEEDS, labels, HOW), exact)
    steps = [None, GuidedScoreStep(gamma=0.4)]
    (both,) = sample_each(model, seeds=SEEDS, labels=labels, config=plain, refinements=steps)
    assert torch.equal(both[0].images, both[1].images)
    states = trajectory(model, seeds=SEEDS, labels=labels, config=HOW)
    assert list(states) == ["noise", "block 3 (deep)", "block 2", "block 1"]
    assert not scored
    denoised = generated(model, SEEDS, labels, replace(HOW, refinement=ScoreDenoise(std=0.3)))
    assert scored
    assert not torch.equal(denoised, exact)


def autocast() -> bool:
    return torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_sit_is_sampled_exactly_or_not_at_all(dtype):
    model = model_of(SIT)
    plain = SampleConfig(guidance=None, dtype=dtype)
    exact = generated(model, SEEDS, LABELS, SampleConfig(guidance=None))
    made = generated(model, SEEDS, LABELS, plain)
    assert made.dtype == torch.float32
    assert torch.equal(made, exact) == (dtype == "float32")
    torch.testing.assert_close(made, exact, atol=0.1, rtol=0)
    for decoding in (Jacobi(), Plan(blocks=(SEQUENTIAL,))):
        with pytest.raises(ValueError, match="SiT has no blocks to undo: Jacobi decoding and plans"):
            generated(model, SEEDS, LABELS, SampleConfig(guidance=None, decoding=decoding))


@pytest.mark.parametrize(
    ("own", "prior", "rule"),
    [
        (LogScale(annealed=True), None, LogScale(weight=2.0, annealed=True)),
        (None, None, GaussianProduct(weight=2.0)),
        (None, SIT, ClassifierFree(weight=2.0)),
    ],
)
def test_guidance_keeps_to_the_rule_of_its_model(own, prior, rule):
    model, without = model_of(prior), model_of(prior, names=())
    assert guided(own, model, weight=2.0) == rule
    assert guided(own, without, weight=0.0).weight == 0.0
    with pytest.raises(ValueError, match="strength of guidance must be 0 or more and finite, not -1"):
        guided(own, model, weight=-1.0)
    with pytest.raises(ValueError, match="guidance needs classes") as refused:
        guided(own, without, weight=2.0)
    assert ("an attention temperature of 0.5 or 1.5" in str(refused.value)) == (prior is None)


def test_a_sit_has_no_attention_temperature():
    assert guided(None, model_of(names=()), attention_temperature=0.5) == GaussianProduct(temperature=0.5)
    with pytest.raises(ValueError, match="guidance of flows, and this model has ClassifierFree"):
        guided(None, model_of(SIT), attention_temperature=0.5)


def test_every_way_is_written_down_and_read_back():
    for decoding in (SEQUENTIAL, Jacobi(window=4), PLAN):
        config = SampleConfig(decoding=decoding, dtype="bfloat16")
        assert from_dict(SampleConfig, to_dict(config)) == config
        assert from_dict(SampleConfig, parse_yaml(dump_yaml(to_dict(config)))) == config


def test_settings_from_before_there_was_a_choice_still_load():
    run = RunConfig(name="old", data=DataConfig(path="x", image_size=8, channels=1))
    record = to_dict(run)
    for name in ("decoding", "dtype"):
        del record["sample"][name]
    assert from_dict(RunConfig, record) == run
    assert run.sample.decoding == SEQUENTIAL


def test_a_mistake_in_the_settings_is_a_sentence():
    with pytest.raises(ValueError, match=r"'decoding\.type' must be 'Sequential' or 'Jacobi' or 'Plan'"):
        from_dict(SampleConfig, {"decoding": {"type": "Jakobi"}})
    with pytest.raises(ValueError, match="setting 'dtype' must be"):
        from_dict(SampleConfig, {"dtype": "float16"})
