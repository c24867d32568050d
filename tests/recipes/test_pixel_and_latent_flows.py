"""The recipes of TarFlow and STARFlow: built on ``meta`` with the published sizes, written and read back."""

import json

import pytest
import torch
from safetensors.torch import load_file

from simflow import settings
from simflow.cli import main
from simflow.config import RunConfig
from simflow.objective import Objective
from simflow.posterior import Dequantised
from simflow.recipes import starflow, tarflow

TARFLOWS = {
    tarflow.tarflow_imagenet64_likelihood: (2, 768, 8, 8, 3 * 64**2, 0),
    tarflow.tarflow_imagenet64_unconditional: (2, 768, 8, 8, 3 * 64**2, 0),
    tarflow.tarflow_imagenet64: (2, 768, 8, 8, 3 * 64**2, 1000),
    tarflow.tarflow_imagenet64_wide: (2, 1024, 8, 8, 3 * 64**2, 1000),
    tarflow.tarflow_imagenet64_coarse: (4, 1024, 8, 8, 3 * 64**2, 1000),
    tarflow.tarflow_imagenet128: (4, 1024, 8, 8, 3 * 128**2, 1000),
    tarflow.tarflow_afhq: (8, 768, 8, 8, 3 * 256**2, 3),
    tarflow.tarflow_mnist: (4, 128, 4, 4, 28**2, 10),
    tarflow.tarflow_fashion: (4, 128, 4, 3, 28**2, 10),
    tarflow.tarflow_fashion_likelihood: (2, 64, 8, 2, 28**2, 0),
}
STARFLOWS = [
    starflow.starflow_256,
    starflow.starflow_256_decoder,
    starflow.starflow_512,
    starflow.autoencoder_fashion,
    starflow.starflow_fashion,
    starflow.starflow_fashion_decoder,
]


def on_meta(run):
    with torch.device("meta"):
        return run.model.build(run.expected_facts())


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("recipe", [*TARFLOWS, *STARFLOWS], ids=lambda recipe: recipe.__name__)
def test_recipes_survive_being_written(recipe):
    run = recipe()
    assert settings.from_dict(RunConfig, settings.to_dict(run)) == run
    assert run.name == recipe.__name__.replace("_", "-")


@pytest.mark.parametrize("recipe", TARFLOWS, ids=lambda recipe: recipe.__name__)
def test_tarflows_have_the_published_shape(recipe):
    patch, width, blocks, layers, numbers, classes = TARFLOWS[recipe]
    run = recipe()
    model = on_meta(run)
    channels = run.data.channels * patch**2
    tokens = numbers // channels
    assert model.prior.noise_shape == (tokens, channels)
    layer = 12 * width**2 + 13 * width
    block = (channels + 1) * width + tokens * width + classes * width + 2 * channels * (width + 1)
    assert parameters(model) == blocks * (layers * layer + block)
    heads = 2 if recipe is tarflow.tarflow_fashion_likelihood else width // 64
    assert {block.config.heads for block in model.prior.chain()} == {heads}


@pytest.mark.parametrize("recipe", TARFLOWS, ids=lambda recipe: recipe.__name__)
def test_uniform_noise_goes_with_float32_and_gaussian_noise_with_its_own_denoising(recipe):
    run = recipe()
    posterior, refinement = run.model.posterior, run.sample.refinement
    if isinstance(posterior, Dequantised):
        assert run.train.dtype == "float32"
        assert refinement is None
    else:
        assert refinement.std == posterior.std


@pytest.mark.parametrize(
    ("recipe", "side"),
    [(starflow.starflow_256, 32), (starflow.starflow_256_decoder, 32), (starflow.starflow_512, 64)],
)
def test_starflow_has_1_4_billion_parameters(recipe, side):
    model = on_meta(recipe())
    assert model.latent_shape == (4, side, side)
    assert model.prior.noise_shape == (side**2, 4)
    assert abs(parameters(model.prior) / 1.4e9 - 1) < 0.01
    deep = model.prior.chain()[-1]
    assert (deep.order, deep.prefix) == ("raster", 1)
    assert [block.prefix for block in model.prior.chain()[:-1]] == [0] * 5
    assert round(parameters(model.autoencoder) / 1e6, 1) == 83.7


def test_an_untrained_prior_is_the_standard_normal():
    """So ``autoencoder-fashion`` is the usual VAE: prior and entropy add up to its divergence from N(0, 1)."""
    run = starflow.autoencoder_fashion()
    objective = Objective(run.objective, run.model.build(run.expected_facts()))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(16, 1, 32, 32, generator=generator) * 2 - 1
    losses = objective(images, torch.arange(16) % 10, generator)
    mean, log_variance = objective.model.autoencoder.encode(images).chunk(2, dim=1)
    divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).mean()
    torch.testing.assert_close(losses.prior + losses.entropy, divergence - HALF_LOG_TWO_PI, atol=0.02, rtol=0)


HALF_LOG_TWO_PI = 0.9189385332046727


def weights(folder):
    (file,) = folder.glob("checkpoints/*/model.safetensors")
    return load_file(file)


def test_starflow_in_three_runs_each_moving_its_own_part(tmp_path):
    ae, flow, decoder = (tmp_path / name for name in ("ae", "flow", "decoder"))
    tiny = ["--train.batch", "4", "--train.stages.0.steps", "2", "--train.stages.0.schedule.warmup", "0"]
    tiny += ["--train.ema.rate", "0", "--device", "cpu"]
    assert main(["train", "starflow-fashion", *tiny, "--out", str(flow)]) == 2
    assert main(["train", "autoencoder-fashion", *tiny, "--out", str(ae)]) == 0
    assert main(["train", "starflow-fashion", *tiny, "--start_from", str(ae), "--out", str(flow)]) == 0
    fine_tuned = [
        "train",
        "starflow-fashion-decoder",
        *tiny,
        "--start_from",
        str(flow),
        "--out",
        str(decoder),
    ]
    at_once = ["--objective.adversarial.start_step", "0", "--objective.adversarial.head_start", "0"]
    assert main([*fine_tuned, *at_once]) == 0
    first, second, third = weights(ae), weights(flow), weights(decoder)
    for name, tensor in second.items():
        if name.startswith("autoencoder."):
            assert torch.equal(tensor, first[name][: len(tensor)]), name
    moved = {name for name, tensor in third.items() if not torch.equal(tensor, second[name])}
    assert moved == {name for name in third if name.startswith("autoencoder.decoder.")}
    terms = json.loads((decoder / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"loss/reconstruction", "loss/perceptual", "loss/adversarial"} <= terms.keys()
    for run in (ae, flow, decoder):
        assert main(["sample", str(run), "--num", "3", "--out", str(tmp_path / "s" / run.name)]) == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["tarflow-fashion", "--data.image_size", "30"], "a patch of 4 does not divide latents of 30 x 30"),
        (["starflow-fashion"], "starts from a trained autoencoder: say where it is with --start_from PATH"),
        (["starflow-fashion-decoder"], "starts from a trained model: say where it is with --start_from PATH"),
    ],
    ids=lambda part: part[0] if isinstance(part, list) else "",
)
def test_what_does_not_fit_is_refused_before_a_folder_is_made(tmp_path, capsys, words, sentence):
    assert main(["train", *words, "--out", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
