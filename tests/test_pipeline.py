"""The pipeline loads every form of a run, samples by seed and class, and scores exactly."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from simflow import Pipeline
from simflow.cli import main
from simflow.data.images import load
from simflow.flow.jacobi import Jacobi
from simflow.pixels import to_float
from simflow.posterior import Linear
from simflow.settings import override
from simflow.shapes import NULL
from simflow.train import checkpoint
from tests.whole.tiny import trained, words


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return trained(tmp_path_factory.mktemp("pipeline"))


@pytest.fixture(scope="module")
def pipe(run) -> Pipeline:
    return Pipeline.from_pretrained(run)


def weights(pipe: Pipeline) -> dict[str, torch.Tensor]:
    return pipe.model.state_dict()


def test_every_form_of_a_run_gives_the_averaged_weights(run, pipe, tmp_path):
    stored = checkpoint.load_weights(checkpoint.find(run), "ema")
    pipe.save_pretrained(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    for source in (run, str(run), checkpoint.find(run), tmp_path / "saved"):
        loaded = Pipeline.from_pretrained(source)
        assert loaded.config == pipe.config
        assert loaded.model.facts == pipe.model.facts
        assert all(torch.equal(tensor, stored[name]) for name, tensor in weights(loaded).items())
        assert not loaded.model.training
        assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_a_place_may_be_at_home(run, pipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    pipe.save_pretrained("~/saved")
    assert (tmp_path / "saved" / "config.json").is_file()
    for source in ("~/saved", Path("~/saved")):
        assert Pipeline.from_pretrained(source).config == pipe.config
    with pytest.raises(ValueError, match="there is no run, checkpoint or saved model at '~/other'"):
        Pipeline.from_pretrained("~/other")


def test_a_pipeline_moves_to_devices_that_are_there_and_stays_in_float32(pipe, monkeypatch, unchecked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pipe.to("auto").device == pipe.to(torch.device("cpu")).device == torch.device("cpu")
    with pytest.raises(ValueError, match="'cuda' is asked for, but torch finds no CUDA GPU here"):
        pipe.to("cuda")
    for dtype in (torch.float16, torch.bfloat16):
        with pytest.raises(
            ValueError, match=r"stay in float32; a call with dtype=torch\.bfloat16 computes in"
        ):
            pipe.to(dtype)


def test_the_raw_weights_are_others(run, pipe):
    raw = weights(Pipeline.from_pretrained(run, which="model"))
    assert any(not torch.equal(tensor, raw[name]) for name, tensor in weights(pipe).items())


def test_loading_draws_nothing_from_the_global_generator(run):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Pipeline.from_pretrained(run)
    assert torch.equal(torch.rand(3), expected)


def test_what_is_not_there_is_a_sentence(tmp_path, pipe):
    with pytest.raises(ValueError, match="there is no run, checkpoint or saved model at 'nowhere'"):
        Pipeline.from_pretrained("nowhere")
    with pytest.raises(ValueError, match="there is no checkpoint in"):
        Pipeline.from_pretrained(tmp_path)
    pipe.save_pretrained(tmp_path)
    record = json.loads((tmp_path / "config.json").read_text())
    record["config"]["model"]["prior"]["block"]["width"] = 32
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="do not fit the settings beside them"):
        Pipeline.from_pretrained(tmp_path)


def test_labels_seeds_and_counts(pipe):
    sampled = pipe(class_labels=["coat", 0, -1], num_images=6, seeds=range(6), output_type="pt")
    assert sampled.labels == [2, 0, -1, 2, 0, -1]
    assert sampled.seeds == list(range(6))
    assert sampled.images.shape == (6, 1, 16, 16)
    assert sampled.images.dtype == torch.uint8
    assert pipe(seeds=[5, 6]).labels == pipe(seeds=np.array([5, 6])).labels == [2, 0]
    assert pipe(class_labels=["coat", "bag"], seeds=[4, 5, 7]).labels == [2, 0, 0]
    assert pipe(class_labels=["coat", "bag"], seeds=[5, 7]).labels == [2, 0]
    assert pipe(class_labels=["coat", "bag"]).labels == [2, 0]
    assert pipe(class_labels=["coat"], seeds=[5, 6]).labels == [2, 2]
    assert pipe(class_labels=["coat", "bag"], num_images=5).labels == [2, 0, 2, 0, 2]
    assert pipe(class_labels=["coat", "bag"], seeds=[5, 6, 7]).labels == [0, 2, 0]
    for seed in (5, np.int64(5), torch.tensor(5)):
        assert pipe(seeds=seed).seeds == [5]
    with pytest.raises(ValueError, match="there is no class 'cot'"):
        pipe(class_labels=["cot"])
    assert pipe(class_labels=[], num_images=0).images == []
    with pytest.raises(ValueError, match="3 seeds for 4 images"):
        pipe(class_labels=[0], seeds=[1, 2, 3], num_images=4)
    with pytest.raises(ValueError, match="num_images must be 0 or more, not -3"):
        pipe(num_images=-3)
    with pytest.raises(ValueError, match="no class label is given for 4 images"):
        pipe(class_labels=[], num_images=4)
    with pytest.raises(ValueError, match="3 class labels for 2 images: each image has one"):
        pipe(class_labels=[0, 1, 2], num_images=2)
    with pytest.raises(ValueError, match="labels must lie in"):
        pipe(class_labels=[3])


def test_what_cannot_be_is_a_sentence(pipe, unchecked):
    pixels = torch.zeros(1, 1, 16, 16)
    for wrong, sentence in (
        ({"seeds": 1.5}, r"a seed must be a whole number, not 1\.5"),
        ({"seeds": [1, 1.5]}, r"a seed must be a whole number, not 1\.5"),
        ({"num_images": 2.0}, r"num_images must be a whole number, not 2\.0"),
        ({"batch": 0}, "the sampling batch must be at least 1, not 0"),
        ({"generator": 3}, "generator must be a torch.Generator, or a list with one for each image, not 3"),
        ({"generator": [torch.Generator(), 3]}, "generator must be a torch.Generator, or a list with one"),
        ({"generator": [torch.Generator()], "num_images": 2}, "1 generators for 2 images: each image needs"),
    ):
        with pytest.raises(ValueError, match=sentence):
            pipe(**wrong)
    for method in (pipe.encode, pipe.reconstruct):
        with pytest.raises(ValueError, match=r"generator must be a torch\.Generator, not 0"):
            method(pixels, generator=0)


def test_all_classes_take_turns_from_one_that_is_drawn(pipe):
    torch.manual_seed(0)
    assert {pipe().labels[0] for _ in range(20)} == {0, 1, 2}
    generator = torch.Generator().manual_seed(1)
    several = pipe(num_images=5, generator=generator)
    assert [(label - several.labels[0]) % 3 for label in several.labels] == [0, 1, 2, 0, 1]
    assert [seed % 3 for seed in several.seeds] == several.labels
    assert pipe(num_images=2, generator=generator.manual_seed(1)).seeds == several.seeds[:2]


def test_each_image_may_have_a_generator_of_its_own(pipe):
    def made(*seeds, labels=None):
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return pipe(labels, generator=generators, output_type="pt")

    several = made(*range(6))
    assert len(set(several.labels)) > 1
    for place in (0, 3):
        alone = made(place)
        assert (alone.seeds[0], alone.labels[0]) == (several.seeds[place], several.labels[place])
        assert (alone.images[0].int() - several.images[place].int()).abs().max() <= 1
    assert made(4, 5, 6, labels=["coat", "bag"]).labels == [2, 0, 2]
    given = made(4, 5, 6, labels=["coat", "bag"])
    assert pipe(["coat", "bag"], seeds=given.seeds).labels == given.labels
    assert made(4, 5, 6, labels="bag").labels == [0, 0, 0]


def test_the_batch_of_a_call_changes_no_image(pipe, monkeypatch):
    seen = []
    generate = pipe.model.generate
    monkeypatch.setattr(
        pipe.model,
        "generate",
        lambda noise, *given, **how: seen.append(len(noise)) or generate(noise, *given, **how),
    )
    images = [pipe(seeds=range(5), batch=batch, output_type="pt").images.int() for batch in (2, None)]
    assert seen == [2, 2, 1, 5]
    assert (images[0] - images[1]).abs().max() <= 1


def test_a_pipeline_says_what_it_is(pipe):
    assert pipe.class_names == ("bag", "boot", "coat")
    assert repr(pipe).startswith("<Pipeline 'demo': images 1 x 16 x 16, 3 classes, ")
    assert repr(pipe).endswith(" parameters on cpu>")


def test_a_seed_makes_the_image_again(pipe):
    first = pipe(class_labels=[1], num_images=3, generator=torch.Generator().manual_seed(1), output_type="pt")
    again = pipe(class_labels=[1], num_images=3, generator=torch.Generator().manual_seed(1), output_type="pt")
    other = pipe(class_labels=[1], num_images=3, generator=torch.Generator().manual_seed(2), output_type="pt")
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    several = pipe(num_images=4, output_type="pt")
    assert torch.equal(pipe(seeds=several.seeds, output_type="pt").images, several.images)
    assert torch.equal(pipe(seeds=np.array(several.seeds), output_type="pt").images, several.images)
    alone = pipe(class_labels=[1], seeds=first.seeds[1:2], output_type="pt")
    assert (alone.images[0].int() - first.images[1].int()).abs().max() <= 1


def test_guidance_and_temperature_change_images(pipe):
    plain = pipe(class_labels=[0, 1], seeds=[1, 2], output_type="pt").images
    for changed in ({"guidance_scale": 0.0}, {"guidance_scale": 4.0}, {"temperature": 0.2}):
        assert not torch.equal(
            pipe(class_labels=[0, 1], seeds=[1, 2], output_type="pt", **changed).images, plain
        )


def test_what_a_call_has_no_word_for_is_changed_in_the_settings(pipe):
    changes = {"sample.refinement": "GuidedScoreStep", "sample.guidance": "LogScale"}
    other = Pipeline(pipe.model, pipe.config)
    other.config = override(pipe.config, changes)
    plain, changed = (each([0, 1], seeds=[1, 2], output_type="pt").images for each in (pipe, other))
    assert not torch.equal(plain, changed)


def test_a_plan_and_passes_give_the_images_of_the_walk(pipe):
    seeds = range(5)
    exact = pipe(seeds=seeds, output_type="pt").images.int()
    found = pipe.plan(num=2, batch=3, tolerance=0.01)
    assert (found.tolerance, found.num, found.sampling.batch) == (0.01, 2, 3)
    assert found.sampling.guidance == pipe.config.sample.guidance
    for decoding in (found.plan, Jacobi(tolerance=1e-4)):
        images = pipe(seeds=seeds, output_type="pt", decoding=decoding).images.int()
        assert (images - exact).abs().max() <= 2
    far = pipe(seeds=seeds, output_type="pt", decoding=Jacobi(tolerance=1e6)).images.int()
    assert (far - exact).abs().max() > 0
    rough = pipe(seeds=seeds, output_type="pt", dtype="bfloat16").images.int()
    assert 0 < (rough - exact).abs().max() < 25
    for dtype, images in ((torch.float32, exact), (torch.bfloat16, rough)):
        assert torch.equal(pipe(seeds=seeds, output_type="pt", dtype=dtype).images.int(), images)
    with pytest.raises(ValueError, match=r"the dtype is float32 or bfloat16, not torch\.float16"):
        pipe(seeds=seeds, dtype=torch.float16)


def test_output_types_agree(pipe):
    kinds = {kind: pipe(class_labels=[0], seeds=[3], output_type=kind).images for kind in ("pt", "np", "pil")}
    assert kinds["np"].shape == (1, 16, 16, 1)
    assert (kinds["np"][0, ..., 0] == kinds["pt"][0, 0].numpy()).all()
    assert (np.asarray(kinds["pil"][0]) == kinds["np"][0, ..., 0]).all()


def test_images_go_in_as_floats_bytes_or_pictures(pipe):
    pixels = torch.randint(256, (2, 1, 16, 16), dtype=torch.uint8)
    latents = pipe.encode(to_float(pixels))
    assert latents.shape == (2, *pipe.model.latent_shape)
    assert torch.equal(pipe.encode(pixels), latents)
    pictures = [Image.fromarray(each[0].numpy()) for each in pixels]
    assert torch.equal(pipe.encode(pictures), latents)
    large = Image.new("RGB", (40, 30), (10, 200, 30))
    assert pipe.encode([large]).shape == (1, *pipe.model.latent_shape)
    with pytest.raises(ValueError, match="must lie in"):
        pipe.encode(to_float(pixels) * 2)
    with pytest.raises(ValueError, match=r"takes a batch of images, \(b, 1, 16, 16\), not \(2, 1, 8, 8\)"):
        pipe.encode(pixels[..., :8, :8])


def test_any_float_goes_in_and_no_other_number(pipe):
    pixels = to_float(torch.randint(256, (2, 1, 16, 16), dtype=torch.uint8))
    latents = pipe.encode(pixels.double())
    assert latents.dtype == torch.float32
    torch.testing.assert_close(latents, pipe.encode(pixels))
    assert pipe.encode(pixels.half()).dtype == torch.float32
    with pytest.raises(ValueError, match=r"uint8, or float in \[-1, 1\], not torch.int64"):
        pipe.encode(pixels.long())


def test_pictures_are_made_ready_as_those_of_a_folder(pipe, tmp_path):
    """Transparent, turned by EXIF, of 16 bits and with a palette: as the loader reads the same files."""
    noise = np.random.default_rng(0)
    clear = Image.fromarray(noise.integers(0, 256, (20, 30, 4), dtype=np.uint8), "RGBA")
    clear.save(tmp_path / "0.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(noise.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "1.jpg", exif=turned)
    Image.fromarray(noise.integers(0, 65536, (20, 20), dtype=np.uint16)).save(tmp_path / "2.png")
    clear.convert("RGB").quantize(8).save(tmp_path / "3.png")
    config = replace(pipe.config.data, path=str(tmp_path), split=None, fit="crop", background=(9, 200, 30))
    there = load(config).images([0, 1, 2, 3])
    other = Pipeline(pipe.model, replace(pipe.config, data=config))
    pictures = [Image.open(file) for file in sorted(tmp_path.iterdir())]
    assert torch.equal(other.encode(pictures), other.encode(there))


def test_a_label_is_a_name_or_any_kind_of_integer_and_may_be_one_for_all(pipe):
    latents = torch.randn(3, *pipe.model.latent_shape)
    name = pipe.model.facts.class_names[1]
    expected = pipe.log_prob(latents, [1, 1, 1])
    for labels in (
        name,
        1,
        np.int64(1),
        torch.tensor([1, 1, 1]),
        np.array([1, 1, 1]),
        [name, np.uint8(1), 1],
    ):
        assert torch.equal(pipe.log_prob(latents, labels), expected)
    assert pipe(name, seeds=[5, 6]).labels == [1, 1]
    with pytest.raises(ValueError, match="2 class labels for 3 latents: give one for each, or one for all"):
        pipe.log_prob(latents, [1, 1])
    for method in (pipe.log_prob, pipe.score, pipe.decode):
        with pytest.raises(ValueError, match=r"takes a batch of latents, \(b, 4, 2, 2\), not \(3, 1, 2, 2\)"):
            method(latents[:, :1])


def test_one_without_a_batch_is_told_of_it(pipe, unchecked):
    with pytest.raises(ValueError, match=r"a batch of images, \(b, 1, 16, 16\), not \(1, 16, 16\)"):
        pipe.encode(torch.zeros(1, 16, 16, dtype=torch.uint8))
    for method in (pipe.log_prob, pipe.score, pipe.decode):
        with pytest.raises(ValueError, match=r"a batch of latents, \(b, 4, 2, 2\), not \(4, 2, 2\)"):
            method(torch.zeros(4, 2, 2))


def test_none_in_are_none_out_and_latents_are_cast(pipe, unchecked):
    pixels, latents = torch.zeros(0, 1, 16, 16), torch.zeros(0, *pipe.model.latent_shape)
    for images in (pixels, pixels.to(torch.uint8)):
        assert torch.equal(pipe.encode(images), latents)
    assert torch.equal(pipe.decode(latents), pixels)
    assert torch.equal(pipe.reconstruct(pixels), pixels)
    assert torch.equal(pipe.log_prob(latents), torch.zeros(0))
    assert torch.equal(pipe.score(latents, "bag"), latents)
    exact = torch.randn(2, *pipe.model.latent_shape).half().float()
    for method in (pipe.decode, pipe.log_prob, pipe.score):
        for dtype in (torch.float64, torch.float16, torch.bfloat16):
            torch.testing.assert_close(method(exact.to(dtype)), method(exact.to(dtype).float()))
        with pytest.raises(ValueError, match=r"latents are floating-point numbers, not torch\.int64"):
            method(exact.long())


def test_encoding_is_the_mean_unless_noise_is_asked_for(pipe):
    pixels = torch.randint(256, (1, 1, 16, 16), dtype=torch.uint8).expand(2000, 1, 16, 16)
    draws = pipe.encode(pixels, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draws.mean(0), pipe.encode(pixels)[0], atol=0.06, rtol=0)
    assert draws.std(0).mean().item() == pytest.approx(0.5, abs=0.01)


def test_the_mean_of_the_posterior_need_not_be_the_code(pipe, monkeypatch):
    images = to_float(torch.randint(256, (2, 1, 16, 16), dtype=torch.uint8))
    code = pipe.encode(images)
    monkeypatch.setattr(pipe.model, "posterior", Linear(low=0.25, high=0.25))
    torch.testing.assert_close(pipe.encode(images), 0.25 * code)


def test_without_labels_the_density_is_of_no_class(pipe):
    latents = torch.randn(2, *pipe.model.latent_shape)
    assert torch.equal(pipe.log_prob(latents), pipe.log_prob(latents, NULL))
    assert not torch.equal(pipe.log_prob(latents), pipe.log_prob(latents, 0))


def test_reconstruction_is_decoding_what_was_encoded(pipe):
    images = to_float(torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8))
    made = pipe.reconstruct(images)
    assert torch.equal(made, pipe.decode(pipe.encode(images)))
    assert made.abs().max() <= 1


def test_the_density_is_that_of_the_flow(pipe):
    """``log p(x) = log N(z) + log_det`` with the Jacobian by differentiation, in float64."""
    latents = torch.randn(1, *pipe.model.latent_shape, dtype=torch.float64)
    flow, labels = pipe.model.prior, torch.tensor([2])
    numbers = latents.numel()
    double = Pipeline(pipe.model.double(), pipe.config)
    try:
        z, _ = flow.forward(latents, labels)
        jacobian = torch.autograd.functional.jacobian(lambda x: flow.forward(x, labels)[0], latents)
        expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
        expected += torch.linalg.slogdet(jacobian.reshape(numbers, numbers))[1]
        torch.testing.assert_close(double.log_prob(latents, ["coat"])[0], expected)
    finally:
        pipe.model.float()


def test_the_score_is_the_slope_of_the_density(pipe):
    latents = torch.randn(2, *pipe.model.latent_shape)
    slope = pipe.score(latents, ["bag", "boot"])
    assert slope.shape == latents.shape
    step = 1e-2 * slope / slope.norm()
    rise = (
        pipe.log_prob(latents + step, ["bag", "boot"]) - pipe.log_prob(latents - step, ["bag", "boot"])
    ) / 2
    torch.testing.assert_close(rise.sum(), (slope * step).sum(), rtol=0.05, atol=1e-4)
    assert not torch.equal(pipe.score(latents), slope)
    with pytest.raises(ValueError, match="1 class labels for 2 latents"):
        pipe.log_prob(latents, ["bag"])


def test_a_picture_is_a_list_of_one_and_nothing_is_none(pipe):
    one = Image.new("L", (16, 16), 200)
    assert torch.equal(pipe.encode(one), pipe.encode([one]))
    with pytest.raises(ValueError, match="a list of PIL images, not an empty list"):
        pipe.encode([])


def test_a_model_is_not_saved_into_its_run(run):
    before = sorted(path.name for path in run.iterdir())
    with pytest.raises(ValueError, match="is a run: save the model into a folder of its own"):
        Pipeline.from_pretrained(run).save_pretrained(run)
    assert sorted(path.name for path in run.iterdir()) == before


def test_a_model_is_not_saved_into_a_checkpoint(pipe, tmp_path):
    """Its raw weights would be replaced by the average, and the run go on from that."""
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(ValueError, match="is a checkpoint: save the model into a folder of its own"):
        pipe.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_the_hub_is_asked_for_what_is_no_folder(pipe, tmp_path, monkeypatch):
    asked = {}

    def snapshot_download(
        repository: str, *, revision: str | None, allow_patterns: Sequence[str], **_
    ) -> str:
        asked.update(repository=repository, revision=revision, patterns=list(allow_patterns))
        pipe.save_pretrained(tmp_path)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    loaded = Pipeline.from_pretrained("owner/name", revision="v1")
    assert asked == {
        "repository": "owner/name",
        "revision": "v1",
        "patterns": [
            "config.json",
            "model.safetensors",
            "model.safetensors.index.json",
            "model-*-of-*.safetensors",
        ],
    }
    assert loaded.config == pipe.config


def test_a_model_that_the_hub_lacks_is_a_sentence(monkeypatch):
    from huggingface_hub.errors import LocalEntryNotFoundError

    def snapshot_download(repository: str, **_: object) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ValueError, match="there is no folder 'owner/name', and the hub gave no model"):
        Pipeline.from_pretrained("owner/name")


def test_pushing_uploads_what_saving_writes(pipe, monkeypatch):
    uploaded = {}

    class Api:
        def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> str:
            uploaded["private"] = private
            return f"https://hub/{repository}"

        def upload_folder(self, *, repo_id: str, folder_path: str) -> None:
            uploaded["files"] = sorted(path.name for path in Path(folder_path).iterdir())

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert pipe.push_to_hub("owner/name", private=True) == "https://hub/owner/name"
    assert uploaded == {"private": True, "files": ["config.json", "model.safetensors"]}


def test_a_model_without_classes_is_guided_by_attention_temperature(tmp_path):
    run = tmp_path / "run"
    assert main([*words(tmp_path), "--out", str(run), "--objective.label_drop", "1"]) == 0
    free = Pipeline.from_pretrained(run)

    def made(**how: float) -> torch.Tensor:
        return free(seeds=range(4), output_type="pt", **how).images

    assert torch.equal(made(), made(guidance_scale=0.0))
    assert not torch.equal(made(), made(guidance_scale=3.0, attention_temperature=0.3))
    with pytest.raises(ValueError, match=r"an attention temperature of 0\.5 or 1\.5"):
        made(guidance_scale=3.0)
