"""Recipes and choices from a user's own file, through the commands; the examples are those of docs/slots.md."""

import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from simflow.autoencoder.pixels import PixelsConfig
from simflow.cli import main
from simflow.cli.classify import check
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.evaluate.collect import Held
from simflow.evaluate.scores import no_bound, score, training_error
from simflow.extend import imported
from simflow.flow.classify import log_probs_by_class
from simflow.flow.guidance import GaussianProduct
from simflow.flow.jacobi import Jacobi
from simflow.flow.score import ScoreDenoise
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, Model, ModelConfig
from simflow.pipeline import Pipeline
from simflow.pixels import to_float
from simflow.plan.search import measure
from simflow.posterior import FixedVariance
from simflow.sample import SampleConfig, guided, sample_all, trajectory
from simflow.sit.guidance import ClassifierFree

SLOTS = Path(__file__).parents[2] / "docs" / "slots.md"
EXAMPLE, PRIOR = re.findall(r"```python\n(.*?)```", SLOTS.read_text(encoding="utf-8"), flags=re.DOTALL)

TINY = ["--model.autoencoder.widths", "[8, 8]", "--model.prior.depths", "[1, 1]", "--train.batch", "4"]
TINY += ["--model.prior.block.width", "16", "--model.prior.block.heads", "2", "--data.channels", "1"]
TRAIN = [
    "train",
    "mine.py:laplace",
    "--data",
    "embedded:fashion-mnist",
    "--out",
    "run",
    *TINY,
    "--device",
    "cpu",
]

SMALL = """
from dataclasses import replace
from simflow import recipes

def small():
    return replace(recipes.get("demo"), name="small")
"""


def simflow(folder: Path, *words: str, imports: str | None = None) -> tuple[int, str]:
    """The command in a process of its own, where nothing was imported and beartype does not look: the exit code, and
    what it says on both streams."""
    environment = {name: value for name, value in os.environ.items() if name != "SIMFLOW_IMPORT"}
    environment |= {"PYTHONPATH": str(SLOTS.parents[1])} | (
        {} if imports is None else {"SIMFLOW_IMPORT": imports}
    )
    command = [sys.executable, "-c", "from simflow.cli import main; raise SystemExit(main())", *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_example_is_trained_and_its_run_read_again(tmp_path):
    (tmp_path / "mine.py").write_text(EXAMPLE)
    code, said = simflow(tmp_path, *TRAIN, "--steps", "2", "--model.posterior.scale", "0.3")
    assert (code, "finished at step 2 of 2" in said) == (0, True), said
    code, said = simflow(tmp_path, *TRAIN, "--steps", "3", "--model.posterior.scale", "0.3")
    assert (code, "going on from" in said, "finished at step 3 of 3" in said) == (0, True, True), said
    code, said = simflow(tmp_path, "sample", "run", "--num", "3", "--out", "samples")
    assert (code, "SIMFLOW_IMPORT" in said, "not 'Laplace'" in said, "Traceback" in said) == (
        2,
        True,
        True,
        False,
    )
    assert not (tmp_path / "samples").exists()
    code, said = simflow(tmp_path, "sample", "run", "--num", "3", "--out", "samples", imports="mine.py")
    assert code == 0, said
    assert len(list((tmp_path / "samples").glob("0*.png"))) == 3
    code, said = simflow(
        tmp_path, "train", "--resume", "run", "--steps", "4", "--device", "cpu", imports="mine"
    )
    assert (code, "finished at step 4 of 4" in said) == (0, True), said


def test_the_example_is_explained_and_stands_beside_the_others(tmp_path):
    (tmp_path / "mine.py").write_text(EXAMPLE)
    code, said = simflow(tmp_path, "info", "mine.py:laplace", "--explain")
    assert (code, "--model.posterior.scale 0.35\n    Scale of the noise" in said) == (0, True), said
    assert "NoNoise | Laplace)" in said
    laplace = ["--model.posterior.type", "Laplace", "--model.posterior.scale", "0.3", "--dry-run"]
    code, said = simflow(tmp_path, "train", "small-32", *laplace, imports="mine.py")
    assert (code, "type: Laplace\n    scale: 0.3" in said) == (0, True), said


def test_the_noise_of_the_example_is_what_it_says(desk):
    (desk / "mine.py").write_text(EXAMPLE)
    posterior = imported("mine.py").Laplace(scale=0.3)
    own = 1 + math.log(2 * 0.3)
    code = torch.ones(4, 8, 64, 64)
    noise = posterior.sample(code, torch.Generator().manual_seed(0)) - posterior.mean(code)
    assert noise.isfinite().all()
    assert float(noise.mean()) == pytest.approx(0, abs=5e-3)
    assert float(noise.std()) == pytest.approx(math.sqrt(2) * 0.3, rel=0.01)
    assert float((noise.abs() / 0.3 + math.log(2 * 0.3)).mean()) == pytest.approx(own, abs=0.01)
    assert posterior.entropy(code).tolist() == pytest.approx([own * code[0].numel()] * 4)
    assert (posterior.noisy, posterior.lossless, posterior.noise_std) == (True, False, None)
    assert posterior.floor == pytest.approx(own - 0.5 * math.log(2 * math.pi))
    with pytest.raises(ValueError, match=r"model\.posterior\.scale must be a finite number above 0"):
        imported("mine.py").Laplace(scale=0.0)


@pytest.mark.parametrize("name", ["mine.py:small", "lab/mine.py:small", "lab.mine:small"])
@pytest.mark.parametrize(
    "words", [["train", "NAME", "--dry-run"], ["info", "NAME"], ["info", "NAME", "--explain"]]
)
def test_a_recipe_in_a_file_is_one_like_the_others(desk, capsys, name, words):
    (desk / "lab").mkdir()
    for file in (desk / "mine.py", desk / "lab" / "mine.py"):
        file.write_text(SMALL)
    assert main([name if word == "NAME" else word for word in words] + ["--train.batch", "12"]) == 0
    printed = capsys.readouterr().out
    assert "small" in printed
    assert any(line in printed for line in ("  batch: 12", "--train.batch 12", "recipe       small"))


@pytest.mark.parametrize(
    ("words", "imports", "sentence"),
    [
        (["info", "mine.py:smal"], "", "there is no function 'smal' in 'mine.py'; did you mean small?"),
        (["train", "other.py:small"], "", "there is no file 'other.py' to import"),
        (["info", "lab/other.py:small"], "", "there is no file 'lab/other.py' to import"),
        (["train", "mine.py"], "", "there is no recipe 'mine.py'; one in a file is written mine.py:FUNCTION"),
        (
            ["train", "bad.py:small"],
            "",
            "'bad.py' cannot be imported: ZeroDivisionError: division by zero (line 2 of",
        ),
        (["recipes"], "mine.py,bad.py", "SIMFLOW_IMPORT: 'bad.py' cannot be imported: ZeroDivisionError"),
        (["recipes"], "other.py", "SIMFLOW_IMPORT: there is no file 'other.py' to import"),
    ],
)
def test_what_cannot_be_imported_is_one_sentence(desk, capsys, monkeypatch, words, imports, sentence):
    (desk / "mine.py").write_text(SMALL)
    (desk / "bad.py").write_text("x = 1\nx / 0\n")
    monkeypatch.setenv("SIMFLOW_IMPORT", imports)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"simflow: {sentence}")


def test_help_needs_no_imports(capsys, monkeypatch):
    monkeypatch.setenv("SIMFLOW_IMPORT", "nowhere.py")
    assert main(["--help"]) == 0
    assert "SIMFLOW_IMPORT=mine.py simflow COMMAND" in capsys.readouterr().out


def test_a_record_imports_nothing(desk, capsys, tiny_run):
    """A run that names a type and a file of somebody's own is data."""
    (desk / "mine.py").write_text("raise SystemExit('imported')")
    run = desk / "run"
    for file in (checkpoint := next(tiny_run.glob("checkpoints/*"))).iterdir():
        (run / "checkpoints" / checkpoint.name).mkdir(parents=True, exist_ok=True)
        text = file.read_bytes().replace(b'"FixedVariance"', b'"mine.py:Laplace"')
        (run / "checkpoints" / checkpoint.name / file.name).write_bytes(text)
    assert main(["sample", str(run), "--out", "samples"]) == 2
    assert "not 'mine.py:Laplace'; if it is your own" in capsys.readouterr().err


PLAIN = SampleConfig(guidance=None)


@pytest.fixture
def gaussians(desk) -> Model:
    """Pixels of two classes, dark and bright, under the prior of the example.

    It is put into a model that was built with another: beartype looks in tests, and knows the package's choices only.
    """
    (desk / "gaussians.py").write_text(PRIOR)
    model = ModelConfig(
        autoencoder=PixelsConfig(), posterior=FixedVariance(std=0.1), prior=FlowConfig(depths=())
    ).build(Facts(image_size=4, channels=1, class_names=("dark", "bright")))
    config = imported("gaussians.py").GaussiansConfig(std=0.2)
    model.prior = config.build(latent_shape=model.latent_shape, classes=2)
    model.prior.mean.data[:2] = torch.tensor([-0.5, 0.5])[:, None, None, None]
    return model.eval().requires_grad_(requires_grad=False)


def dark_and_bright(number: int) -> Held:
    """Images of the two classes in turn, as the prior has them."""
    labels = torch.arange(number) % 2
    noise = torch.randn(number, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    pixels = (127.5 * (labels[:, None, None, None] - 0.5 + 0.2 * noise + 1)).clamp(0, 255).to(torch.uint8)
    return Held(pixels=pixels, labels=labels, class_names=("dark", "bright"))


def test_a_prior_of_ones_own_has_likelihoods_by_its_density(gaussians):
    model, images = gaussians, dark_and_bright(8)
    assert model.prior.has_density
    assert no_bound(model) is None
    variance = training_error(model, images, seed=0)
    scores = score(model, images, torch.arange(8), images.labels, variance=variance, seed=0)
    assert scores.bits.isfinite().all()
    pipe, latents = pipeline(model), to_float(images.pixels)
    means = torch.tensor([-0.5, 0.5])[images.labels][:, None, None, None]
    normal = torch.distributions.Normal(means.expand_as(latents), 0.2)
    torch.testing.assert_close(
        pipe.log_prob(latents, images.labels), normal.log_prob(latents).sum(dim=(1, 2, 3))
    )
    torch.testing.assert_close(pipe.score(latents, images.labels), (means - latents) / 0.2**2)


def pipeline(model: Model) -> Pipeline:
    return Pipeline(
        model,
        RunConfig(
            name="own",
            data=DataConfig(path="nowhere", image_size=4, channels=1),
            model=model.config,
            sample=PLAIN,
        ),
    )


def test_a_prior_of_ones_own_classifies_by_bayes_rule(gaussians):
    images = dark_and_bright(8)
    check(gaussians)
    by_class = log_probs_by_class(gaussians.prior.log_prob, to_float(images.pixels), classes=2)
    assert torch.equal(by_class.argmax(dim=1), images.labels)


def test_a_prior_of_ones_own_is_sampled_by_its_class_and_refined_by_its_score(gaussians):
    seeds, labels = list(range(40)), [0, 1] * 20
    images = to_float(sample_all(gaussians, seeds=seeds, labels=labels, config=PLAIN))
    for label, mean in enumerate((-0.5, 0.5)):
        assert images[label::2].mean().item() == pytest.approx(mean, abs=0.05)
        assert images[label::2].std().item() == pytest.approx(0.2, rel=0.1)
    step = SampleConfig(guidance=None, refinement=ScoreDenoise(std=0.1))
    refined = to_float(sample_all(gaussians, seeds=seeds, labels=labels, config=step))
    assert refined[::2].std().item() == pytest.approx(0.75 * images[::2].std().item(), rel=0.05)


def refusals(model: Model):
    """What a prior without blocks and rules of guidance cannot do, and what is said of it."""

    def sampled(**how):
        return lambda: sample_all(model, seeds=[0], labels=[0], config=replace(PLAIN, **how))

    unruled = "this model's prior, Gaussians, follows no rule of guidance: only guidance 0 is for it"
    for rule in (None, GaussianProduct()):
        yield unruled, partial(guided, rule, model, weight=1.0)
        yield unruled, partial(guided, rule, model, attention_temperature=0.5)
    yield unruled, lambda: pipeline(model)("dark", guidance_scale=0.5)
    for rule in (GaussianProduct(), ClassifierFree()):
        given = type(rule).__name__
        yield f"Gaussians follows no rule of guidance, so {given} is not for it", sampled(guidance=rule)
    yield (
        "Gaussians has no blocks to undo: Jacobi decoding and plans are for flows",
        sampled(decoding=Jacobi()),
    )
    yield (
        "Gaussians does not make its samples block by block",
        partial(trajectory, model, seeds=[0], labels=[0], config=PLAIN),
    )
    yield (
        "a plan is for the blocks of a flow: there is nothing to plan for a prior such as Gaussians",
        partial(measure, model, PLAIN),
    )


def test_what_a_prior_of_ones_own_cannot_do_is_said_of_it_and_of_no_other(gaussians):
    assert guided(None, gaussians, weight=0.0) is guided(GaussianProduct(), gaussians, weight=0.0) is None
    for sentence, act in refusals(gaussians):
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            act()


def test_a_prior_of_ones_own_has_the_rules_and_blocks_that_it_says(gaussians, monkeypatch):
    prior = type(gaussians.prior)
    monkeypatch.setattr(prior, "rules", (ClassifierFree,))
    assert guided(None, gaussians, weight=2.0) == ClassifierFree(weight=2.0)
    with pytest.raises(ValueError, match="Gaussians is guided by ClassifierFree, not by GaussianProduct"):
        sample_all(gaussians, seeds=[0], labels=[0], config=SampleConfig(guidance=GaussianProduct()))

    def in_one_block(self, z, labels, guidance=None, decoding=None):
        return [torch.zeros(1, 1, 4, 4), self.inverse(z, labels)]

    monkeypatch.setattr(prior, "trajectory", in_one_block)
    way = SampleConfig(guidance=ClassifierFree(), decoding=Jacobi())
    made = sample_all(gaussians, seeds=[0], labels=[0], config=way)
    shown = trajectory(gaussians, seeds=[0], labels=[0], config=way)
    assert list(shown) == ["noise", "block 1 (deep)"]
    assert torch.equal(shown["block 1 (deep)"], made)


def test_the_prior_of_the_example_goes_through_the_commands(tmp_path):
    (tmp_path / "gaussians.py").write_text(PRIOR)
    given = ["--data", "embedded:fashion-mnist", "--out", "run", "--steps", "2", "--device", "cpu"]
    given += ["--model.autoencoder.widths", "[8, 8]", "--train.batch", "4", "--data.channels", "1"]
    code, said = simflow(tmp_path, "train", "gaussians.py:gaussians", *given)
    assert (code, "finished at step 2 of 2" in said) == (0, True), said
    for words, wanted, sentence in (
        (["info", "run"], 0, " M (Gaussians)"),
        (["classify", "run", "--num", "10", "--device", "cpu"], 0, "10 images of"),
        (["sample", "run", "--num", "2", "--guidance", "0", "--memory", "1GiB"], 0, "2 images in"),
        (["sample", "run", "--num", "2", "--guidance", "1"], 2, "Gaussians, follows no rule of guidance"),
    ):
        code, said = simflow(tmp_path, *words, imports="gaussians.py")
        assert (code, sentence in said, "SiT" in said) == (wanted, True, False), said
