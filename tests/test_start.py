"""Weights to begin with: from runs of ours and published files, once, and refused where they do not fit."""

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from simflow.autoencoder.compact import CompactConfig
from simflow.autoencoder.kl import KLConfig
from simflow.autoencoder.pixels import PixelsConfig
from simflow.cli import main
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.block import BlockConfig
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, Model, ModelConfig
from simflow.pipeline import Pipeline
from simflow.posterior import FixedVariance, LearnedVariance
from simflow.sit.prior import SiTConfig
from simflow.start import StartFrom, start
from tests.whole.tiny import trained, words

FACTS = Facts(image_size=16, channels=1, class_names=("bag", "boot"))
SMALL = ModelConfig(
    autoencoder=CompactConfig(latent_channels=4, patch=4, widths=(8, 8), normalize=False),
    posterior=LearnedVariance(),
    prior=FlowConfig(depths=(1, 1), block=BlockConfig(width=16, heads=2)),
)
KL = KLConfig(latent_channels=3, width=32, multipliers=(1, 1), encoder_blocks=1, normalize=False)


def build(config: ModelConfig = SMALL, *, seed: int, facts: Facts = FACTS) -> Model:
    torch.manual_seed(seed)
    model = config.build(facts)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


def saved(model: Model, folder):
    config = RunConfig(name="x", data=DataConfig(path="x", image_size=16, channels=1), model=model.config)
    Pipeline(model, config).save_pretrained(folder)
    return str(folder)


def images(channels: int = 1):
    return torch.rand(2, channels, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def equal(one, other) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return all(torch.equal(first[name], second[name]) for name in second)


@pytest.mark.parametrize("parts", ["all", "autoencoder", "prior"])
def test_the_parts_named_are_taken_and_no_others(tmp_path, parts):
    source, target, before = build(seed=1), build(seed=2), build(seed=2)
    start(target, StartFrom(path=saved(source, tmp_path), parts=parts))
    for part in ("autoencoder", "prior"):
        wanted = source if parts in ("all", part) else before
        assert equal(getattr(target, part), getattr(wanted, part))
    assert not equal(source, before)


@pytest.mark.parametrize("which", ["ema", "model"])
def test_averaged_or_raw_weights(tmp_path, which):
    raw, average, target = (build(seed=seed) for seed in (1, 2, 3))
    saved(raw, tmp_path)
    save_file(average.state_dict(), tmp_path / "ema.safetensors")
    (tmp_path / "state.json").touch()
    start(target, StartFrom(path=str(tmp_path), which=which))
    assert equal(target, average if which == "ema" else raw)


@pytest.mark.parametrize("autoencoder", [SMALL.autoencoder, KL], ids=["compact", "kl"])
def test_an_encoder_of_two_moments_gives_its_mean_to_one(tmp_path, autoencoder):
    config = replace(SMALL, autoencoder=autoencoder)
    source = build(config, seed=1)
    target = build(replace(config, posterior=FixedVariance(std=0.3)), seed=2)
    start(target, StartFrom(path=saved(source, tmp_path), parts="autoencoder"))
    channels = autoencoder.latent_channels
    mean = target.autoencoder.encode(images())
    torch.testing.assert_close(mean, source.autoencoder.encode(images())[:, :channels])
    torch.testing.assert_close(target.decode(mean), source.decode(mean))


@pytest.mark.parametrize("posterior", [FixedVariance(), LearnedVariance()])
@pytest.mark.parametrize("autoencoder", [SMALL.autoencoder, KL], ids=["compact", "kl"])
def test_a_scale_is_of_the_latents_and_not_of_the_pictures(tmp_path, autoencoder, posterior):
    config = replace(SMALL, autoencoder=autoencoder, posterior=posterior)
    source, target = build(config, seed=1), build(config, seed=2)
    start(target, StartFrom(path=saved(source, tmp_path), parts="autoencoder", scale=0.18215))
    channels = autoencoder.latent_channels
    code, scaled = source.autoencoder.encode(images()), target.autoencoder.encode(images())
    torch.testing.assert_close(scaled[:, :channels], 0.18215 * code[:, :channels])
    deviation, scaled_deviation = (torch.exp(0.5 * c[:, channels:]) for c in (code, scaled))
    torch.testing.assert_close(scaled_deviation, 0.18215 * deviation)
    latents = code[:, :channels]
    torch.testing.assert_close(target.decode(0.18215 * latents), source.decode(latents), atol=1e-5, rtol=1e-5)


def test_published_weights_with_their_scale(tmp_path):
    torch.manual_seed(1)
    published = KL.build(image_channels=1, moments=2)
    torch.save({"state_dict": published.state_dict()}, tmp_path / "ldm.ckpt")
    model = build(replace(SMALL, autoencoder=KL, posterior=FixedVariance()), seed=2)
    prior = {name: tensor.clone() for name, tensor in model.prior.state_dict().items()}
    start(model, StartFrom(path=str(tmp_path / "ldm.ckpt"), parts="autoencoder", scale=0.5))
    mean = published.encode(images())[:, :3]
    torch.testing.assert_close(model.autoencoder.encode(images()), 0.5 * mean)
    torch.testing.assert_close(model.decode(0.5 * mean), published.decode(mean))
    assert all(torch.equal(tensor, prior[name]) for name, tensor in model.prior.state_dict().items())


def test_the_hub_gives_models_of_ours_and_of_diffusers_and_files(tmp_path, monkeypatch):
    asked = []

    def snapshot_download(repository, *, allow_patterns, **_):
        asked.append((repository, "diffusion_pytorch_model.safetensors" in allow_patterns))
        return str(tmp_path / repository)

    def hf_hub_download(repository, file):
        return str(tmp_path / repository / file)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", hf_hub_download)
    source, target = build(seed=1), build(seed=2)
    saved(source, tmp_path / "me" / "fashion")
    start(target, StartFrom(path="me/fashion"))
    assert equal(target, source)
    published = KL.build(image_channels=1, moments=2)
    torch.save({"state_dict": published.state_dict()}, tmp_path / "me" / "fashion" / "ldm.ckpt")
    model = build(replace(SMALL, autoencoder=KL), seed=2)
    start(model, StartFrom(path="hub:me/fashion/ldm.ckpt", parts="autoencoder"))
    assert equal(model.autoencoder, published)
    assert asked == [("me/fashion", True)]


def test_a_diffusers_folder_is_known_by_its_config(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "VQModel"}))
    model = build(replace(SMALL, autoencoder=KL), seed=2)
    with pytest.raises(ValueError, match="not the folder of an AutoencoderKL"):
        start(model, StartFrom(path=str(tmp_path), parts="autoencoder"))


def other(**changes) -> ModelConfig:
    return replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("config", "parts", "sentence"),
    [
        (
            other(autoencoder=replace(SMALL.autoencoder, normalize=True)),
            "autoencoder",
            "normalize is False there and True here",
        ),
        (
            other(autoencoder=replace(SMALL.autoencoder, widths=(8, 16))),
            "all",
            "widths.1 is 8 there and 16 here",
        ),
        (other(autoencoder=KL), "all", "type is CompactConfig there and KLConfig here"),
        (other(prior=replace(SMALL.prior, first="reversed")), "prior", "first is raster there and reversed"),
        (other(prior=replace(SMALL.prior, depths=(1, 1, 1))), "all", r"the prior in .* has other settings"),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_other_settings_are_refused_and_nothing_is_changed(tmp_path, config, parts, sentence):
    path = saved(build(seed=1), tmp_path)
    target, before = build(config, seed=2), build(config, seed=2)
    with pytest.raises(ValueError, match=sentence):
        start(target, StartFrom(path=path, parts=parts))
    assert equal(target, before)


def test_how_memory_is_saved_and_what_is_dropped_may_differ(tmp_path):
    block = replace(SMALL.prior.block, checkpointing=True, dropout=0.1)
    target = build(other(prior=replace(SMALL.prior, block=block)), seed=2)
    start(target, StartFrom(path=saved(build(seed=1), tmp_path)))
    assert equal(target, build(seed=1))


def test_other_shapes_are_refused_and_nothing_is_changed(tmp_path):
    """An autoencoder for all sizes, a prior with a table of classes for one number of them."""
    path = saved(build(seed=1), tmp_path)
    facts = replace(FACTS, class_names=("a", "b", "c"))
    target, before = build(seed=2, facts=facts), build(seed=2, facts=facts)
    sentence = (
        "other classes: bag, boot only there; a, b, c only here; start_from.parts autoencoder leaves it out, "
        "start_from.new_classes true lets it learn these"
    )
    with pytest.raises(ValueError, match=sentence):
        start(target, StartFrom(path=path))
    assert equal(target, before)
    start(target, StartFrom(path=path, parts="autoencoder"))
    two = build(replace(SMALL, posterior=FixedVariance()), seed=3)
    path = saved(two, tmp_path / "one moment")
    with pytest.raises(
        ValueError, match=r"'encoder.\d.weight' has the shape \(4, 8, 1, 1\), not \(8, 8, 1, 1\)"
    ):
        start(build(seed=2), StartFrom(path=path))


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            StartFrom(parts="autoencoder"),
            "starts from a trained autoencoder: say where it is with --start_from",
        ),
        (StartFrom(), "starts from a trained model: say where"),
        (StartFrom(path="nowhere"), "there is nothing at 'nowhere' to start from"),
        (StartFrom(path="FOLDER"), "there is no checkpoint in"),
        (StartFrom(path="FOLDER/w.pt"), "holds an autoencoder only: set start_from.parts to autoencoder"),
        (StartFrom(path="FOLDER/w.pt", parts="autoencoder"), "fit the autoencoder of KLConfig"),
    ],
    ids=str,
)
def test_what_is_not_there(tmp_path, config, sentence):
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    if config.path is not None:
        config = replace(config, path=config.path.replace("FOLDER", str(tmp_path)))
    with pytest.raises(ValueError, match=sentence):
        start(build(seed=1), config)


def test_what_was_not_written_by_simflow(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="was not written by simflow"):
        start(build(seed=1), StartFrom(path=str(tmp_path)))


def test_scales_that_make_no_sense(tmp_path):
    for scale in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"scale must be a finite number above 0, not {scale}"):
            StartFrom(scale=scale, parts="autoencoder")
    with pytest.raises(ValueError, match="a prior knows one scale only"):
        StartFrom(scale=0.5)
    normalised = other(autoencoder=replace(SMALL.autoencoder, normalize=True))
    path = saved(build(normalised, seed=1), tmp_path / "n")
    with pytest.raises(ValueError, match="no effect on normalised latents"):
        start(build(normalised, seed=2), StartFrom(path=path, parts="autoencoder", scale=0.5))
    pixels = other(autoencoder=PixelsConfig(), posterior=FixedVariance(), prior=replace(SMALL.prior, patch=4))
    path = saved(build(pixels, seed=1), tmp_path / "p")
    with pytest.raises(ValueError, match="works on pixels"):
        start(build(pixels, seed=2), StartFrom(path=path, parts="autoencoder", scale=0.5))


PRIORS = {
    "adaln": replace(SMALL.prior.block, conditioning="adaln"),
    "added": replace(SMALL.prior.block, conditioning="added"),
    "prefix": replace(SMALL.prior.block, conditioning="prefix"),
    "mean": replace(SMALL.prior.block, conditioning="added", null_class="mean"),
}


def named(*names) -> Facts:
    return replace(FACTS, class_names=names)


@pytest.mark.parametrize("grow", [False, True])
@pytest.mark.parametrize("kind", PRIORS)
def test_a_class_keeps_its_vector_where_the_order_is_another(tmp_path, kind, grow):
    prior = replace(SMALL.prior, block=PRIORS[kind])
    source = build(other(prior=prior), seed=1, facts=named("bag", "boot", "coat"))
    config = other(prior=replace(prior, depths=(1, 1, 1, 2)) if grow else prior)
    target = build(config, seed=2, facts=named("coat", "bag", "boot"))
    start(target, StartFrom(path=saved(source, tmp_path), grow=grow))
    latents = torch.randn(4, *source.latent_shape)
    there = source.prior.log_prob(latents, torch.tensor([0, 1, 2, -1]))
    here = target.prior.log_prob(latents, torch.tensor([1, 2, 0, -1]))
    torch.testing.assert_close(here, there)
    assert there.unique().numel() == 4


def test_a_class_of_a_velocity_keeps_its_vector(tmp_path):
    config = other(prior=SiTConfig(width=16, depth=1, heads=2))
    source = build(config, seed=1)
    target = build(config, seed=2, facts=named("boot", "bag"))
    start(target, StartFrom(path=saved(source, tmp_path)))
    z = torch.randn(3, *source.prior.noise_shape)
    there = source.prior.inverse(z, torch.tensor([0, 1, -1]))
    torch.testing.assert_close(target.prior.inverse(z, torch.tensor([1, 0, -1])), there)


def test_as_many_other_classes_are_refused_but_for_the_autoencoder(tmp_path):
    path = saved(build(seed=1), tmp_path)
    target, before = build(seed=2, facts=named("boot", "coat")), build(seed=2)
    for parts in ("all", "prior"):
        with pytest.raises(
            ValueError, match=r"the prior in .* was trained on other classes: bag only there; coat only here"
        ):
            start(target, StartFrom(path=path, parts=parts))
        assert equal(target, before)
    start(target, StartFrom(path=path, parts="autoencoder"))
    assert equal(target.autoencoder, build(seed=1).autoencoder)


@pytest.mark.parametrize("grow", [False, True])
@pytest.mark.parametrize("kind", PRIORS)
def test_new_classes_begin_as_no_class_and_known_ones_keep_their_vectors(tmp_path, kind, grow):
    prior = replace(SMALL.prior, block=PRIORS[kind])
    source = build(other(prior=prior), seed=1, facts=named("bag", "boot", "coat"))
    config = other(prior=replace(prior, depths=(1, 1, 1, 2)) if grow else prior)
    target = build(config, seed=2, facts=named("hat", "coat", "bag", "tie"))
    start(target, StartFrom(path=saved(source, tmp_path), new_classes=True, grow=grow))
    latents = torch.randn(5, *source.latent_shape)
    there = source.prior.log_prob(latents, torch.tensor([-1, 2, 0, -1, -1]))
    here = target.prior.log_prob(latents, torch.tensor([0, 1, 2, 3, -1]))
    rows = slice(None) if kind != "mean" else slice(0, 4)  # the mean of other vectors is another
    torch.testing.assert_close(here[rows], there[rows])


@pytest.mark.parametrize("kind", PRIORS)
def test_vectors_of_new_classes_alone_leave_no_class_as_it_was(tmp_path, kind):
    prior = replace(SMALL.prior, block=PRIORS[kind])
    source = build(other(prior=prior), seed=1)
    target = build(other(prior=prior), seed=2, facts=named("hat", "tie", "sock"))
    start(target, StartFrom(path=saved(source, tmp_path), new_classes=True))
    latents = torch.randn(2, *source.latent_shape)
    there = source.prior.log_prob(latents, torch.tensor([-1, -1]))
    torch.testing.assert_close(target.prior.log_prob(latents, torch.tensor([1, -1])), there)


@pytest.mark.parametrize(
    ("prior", "names", "label"),
    [
        (SMALL.prior, (), -1),
        (SMALL.prior, ("hat",), 0),
        (replace(SMALL.prior, block=replace(SMALL.prior.block, conditioning="added")), ("hat", "tie"), 1),
    ],
    ids=["go", "come", "are added"],
)
def test_classes_may_go_and_come(tmp_path, prior, names, label):
    """A prior of classes becomes one without any, and one without any learns classes."""
    config = other(prior=prior)
    labelled, bare = build(config, seed=1), build(config, seed=1, facts=named())
    source = labelled if not names else bare
    target = build(config, seed=2, facts=named(*names))
    start(target, StartFrom(path=saved(source, tmp_path), new_classes=True))
    latents = torch.randn(1, *source.latent_shape)
    torch.testing.assert_close(
        target.prior.log_prob(latents, torch.tensor([label])),
        source.prior.log_prob(latents, torch.tensor([-1])),
    )


def test_new_classes_of_a_velocity_begin_as_no_class(tmp_path):
    config = other(prior=SiTConfig(width=16, depth=1, heads=2))
    source = build(config, seed=1)
    target = build(config, seed=2, facts=named("hat", "boot", "tie"))
    start(target, StartFrom(path=saved(source, tmp_path), new_classes=True))
    z = torch.randn(4, *source.prior.noise_shape)
    there = source.prior.inverse(z, torch.tensor([-1, 1, -1, -1]))
    torch.testing.assert_close(target.prior.inverse(z, torch.tensor([0, 1, 2, -1])), there)


def test_a_velocity_without_classes_may_learn_some(tmp_path):
    config = other(prior=SiTConfig(width=16, depth=1, heads=2))
    source = build(config, seed=1, facts=named())
    target = build(config, seed=2, facts=named("hat", "tie"))
    start(target, StartFrom(path=saved(source, tmp_path), new_classes=True))
    z = torch.randn(3, *source.prior.noise_shape)
    there = source.prior.inverse(z, torch.tensor([-1, -1, -1]))
    torch.testing.assert_close(target.prior.inverse(z, torch.tensor([0, 1, -1])), there)


@pytest.mark.parametrize(
    ("conditioning", "there", "here", "sentence"),
    [
        ("added", ("bag",), (), "knows classes, and the images here have none"),
        ("prefix", ("bag",), (), "knows classes, and the images here have none"),
        ("prefix", (), ("bag",), "knows no classes, and a class would be one more token to it"),
    ],
)
def test_classes_that_cannot_go_or_come(tmp_path, conditioning, there, here, sentence):
    block = replace(SMALL.prior.block, conditioning=conditioning)
    config = other(prior=replace(SMALL.prior, block=block))
    path = saved(build(config, seed=1, facts=named(*there)), tmp_path)
    target, before = (build(config, seed=2, facts=named(*here)) for _ in range(2))
    with pytest.raises(ValueError, match=sentence):
        start(target, StartFrom(path=path, new_classes=True))
    assert equal(target, before)


def test_numbers_are_names_where_classes_may_be_new(tmp_path):
    """Two digits are not the two classes that a model happens to know."""
    source, target = build(seed=1), build(seed=2, facts=named("0", "1"))
    start(target, StartFrom(path=saved(source, tmp_path), new_classes=True))
    latents = torch.randn(2, *source.latent_shape)
    there = source.prior.log_prob(latents, torch.tensor([-1, -1]))
    torch.testing.assert_close(target.prior.log_prob(latents, torch.tensor([0, 1])), there)


def test_blocks_that_see_no_label_stay_as_they_are(tmp_path):
    config = other(prior=replace(SMALL.prior, labelled="deep"))
    source = build(config, seed=1, facts=named("bag"))
    target = build(config, seed=2, facts=named("hat", "bag"))
    start(target, StartFrom(path=saved(source, tmp_path), new_classes=True))
    latents = torch.randn(3, *source.latent_shape)
    there = source.prior.log_prob(latents, torch.tensor([-1, 0, -1]))
    torch.testing.assert_close(target.prior.log_prob(latents, torch.tensor([0, 1, -1])), there)


def test_new_classes_are_for_a_prior():
    with pytest.raises(ValueError, match=r"new_classes is for a prior, and start_from\.parts leaves it out"):
        StartFrom(parts="autoencoder", new_classes=True)


@pytest.mark.parametrize(("there", "here"), [(("0", "1"), ("boot", "bag")), (("boot", "bag"), ("0", "1"))])
def test_classes_without_names_are_known_by_their_number(tmp_path, there, here):
    source, target = build(seed=1, facts=named(*there)), build(seed=2, facts=named(*here))
    start(target, StartFrom(path=saved(source, tmp_path)))
    assert equal(target, source)


FROZEN = ["--objective.routing.encoder", "frozen", "--objective.routing.decoder", "frozen"]


def test_a_run_begins_there_and_a_resumed_one_does_not_look(tmp_path, capsys):
    first, out = trained(tmp_path), tmp_path / "second"
    given = [*words(tmp_path), "--out", str(out), "--start_from.parts", "autoencoder", *FROZEN]
    assert main(given) == 2
    assert "say where it is with --start_from" in capsys.readouterr().err
    assert not out.exists()
    assert main([*given, "--start_from", str(first)]) == 0
    assert f"weights from {first} (autoencoder)" in (out / "log.txt").read_text()
    there = load_file(next(first.glob("checkpoints/*/ema.safetensors")))
    for file in ("model", "ema"):
        here = load_file(next(out.glob(f"checkpoints/*/{file}.safetensors")))
        for name, tensor in here.items():
            assert torch.equal(tensor, there[name]) == name.startswith("autoencoder."), name
    config = json.loads((out / "config.json").read_text())["config"]
    assert config["start_from"] == {
        "type": "StartFrom",
        "path": str(first),
        "parts": "autoencoder",
        "which": "ema",
        "scale": 1.0,
        "grow": False,
        "new_classes": False,
    }
    first.rename(tmp_path / "moved")
    assert main([*given, "--start_from", str(first), "--steps", "6"]) == 0
    assert "finished at step 6 of 6" in capsys.readouterr().out
    assert main([*given, "--start_from", "elsewhere", "--steps", "7"]) == 2
    assert "there and elsewhere here" in capsys.readouterr().err


def test_a_run_of_before_there_was_such_a_setting_goes_on(tmp_path):
    run = trained(tmp_path)
    for file in run.rglob("config.json"):
        record = json.loads(file.read_text())
        del record["config"]["start_from"]
        file.write_text(json.dumps(record))
    assert main([*words(tmp_path), "--out", str(run), "--steps", "5"]) == 0


def test_dropping_every_label_makes_a_model_without_classes(tmp_path, capsys):
    given = [*words(tmp_path), "--out", str(tmp_path / "run"), "--objective.label_drop", "1"]
    assert main(given) == 0
    pipe = Pipeline.from_pretrained(tmp_path / "run")
    assert pipe.model.facts.class_names == ()
    assert main(["info", str(tmp_path / "run")]) == 0
    assert "classes      none" in capsys.readouterr().out
