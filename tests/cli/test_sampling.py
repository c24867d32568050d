"""Flags of ``simflow sample`` into a way of sampling, and the further pictures."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from simflow.autoencoder.pixels import PixelsConfig
from simflow.cli import main
from simflow.cli.pictures import sheet
from simflow.cli.sample import labels_for
from simflow.cli.sampling import Flags, changed
from simflow.export import labelled_grid
from simflow.flow.block import BlockConfig
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.score import GuidedScoreStep, ScoreDenoise
from simflow.flow.stack import FlowConfig
from simflow.model import Facts, ModelConfig
from simflow.posterior import Dequantised, FixedVariance
from simflow.sample import SampleConfig
from simflow.sit.guidance import ClassifierFree
from simflow.sit.prior import SiTConfig
from tests.whole.tiny import words

NOISE = FixedVariance(std=0.3)
SMALL = FlowConfig(depths=(1,), block=BlockConfig(width=8, heads=1))
SIT = SiTConfig(width=8, depth=1, heads=1)
TARFLOW = SampleConfig(guidance=LogScale(weight=2.0, annealed=True), refinement=ScoreDenoise(std=0.1))


def with_flags(config=TARFLOW, *, prior=SMALL, classes=3, posterior=NOISE, **flags):
    model = ModelConfig(autoencoder=PixelsConfig(), posterior=posterior, prior=prior).build(
        Facts(image_size=2, channels=1, class_names=tuple("abc"[:classes]))
    )
    return changed(config, Flags(**flags), model)


def test_without_flags_the_run_s_own_way():
    assert with_flags() == TARFLOW
    assert with_flags(classes=0) == TARFLOW


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ({"guidance": 0.5}, LogScale(weight=0.5, annealed=True)),
        ({"annealed": "no"}, LogScale(weight=2.0)),
        ({"what": "shift"}, LogScale(weight=2.0, annealed=True, what="shift")),
        ({"attention_temperature": 1.5}, LogScale(weight=2.0, annealed=True, temperature=1.5)),
        ({"rule": "gaussian-product"}, GaussianProduct(weight=2.0)),
        ({"rule": "gaussian-product", "guidance": 0.1}, GaussianProduct(weight=0.1)),
        ({"rule": "log-scale"}, LogScale(weight=2.0, annealed=True)),
    ],
    ids=str,
)
def test_rules(flags, rule):
    assert with_flags(**flags).guidance == rule


def test_rules_of_runs_without_one():
    none = SampleConfig(guidance=None)
    assert with_flags(none).guidance is None
    assert with_flags(none, guidance=0.5).guidance == GaussianProduct(weight=0.5)
    assert with_flags(none, rule="log-scale", what="scale").guidance == LogScale(what="scale")
    assert with_flags(none, attention_temperature=0.5).guidance == GaussianProduct(temperature=0.5)
    assert with_flags(none, guidance=0.5, prior=SIT).guidance == ClassifierFree(weight=0.5)


@pytest.mark.parametrize(
    ("flags", "step"),
    [
        ({"denoise": ()}, ScoreDenoise(std=0.1)),
        ({"denoise": (1.2,)}, ScoreDenoise(std=0.1, multiplier=1.2)),
        ({"denoise": (0.0,)}, None),
        ({"gamma": 0.2}, GuidedScoreStep(gamma=0.2)),
        ({"gamma": 0.0}, None),
    ],
    ids=str,
)
def test_score_steps(flags, step):
    assert with_flags(**flags).refinement == step


def test_the_noise_of_a_run_without_a_step_is_its_posterior_s():
    config = SampleConfig(refinement=GuidedScoreStep())
    assert with_flags(config, denoise=(1.1,)).refinement == ScoreDenoise(std=0.3, multiplier=1.1)
    with pytest.raises(ValueError, match=r"this one's has not \(Dequantised\)"):
        with_flags(config, denoise=(), posterior=Dequantised())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"what": "shift", "rule": "gaussian-product"}, "add --rule log-scale"),
        ({"annealed": "yes", "rule": "gaussian-product"}, "add --rule log-scale"),
        ({"denoise": (), "gamma": 0.1}, "either --denoise or --gamma"),
        ({"denoise": (1.0, 2.0)}, "takes one multiplier"),
        ({"guidance": 1.0, "classes": 0}, "guidance needs classes"),
        (
            {"attention_temperature": 0.5, "prior": SIT, "config": SampleConfig(guidance=None)},
            "belongs to the guidance of flows, and this model has ClassifierFree",
        ),
        ({"attention_temperature": 0.0}, "temperature of guidance must be positive"),
        ({"attention_temperature": math.nan}, "temperature of guidance must be positive"),
        ({"temperature": math.inf}, "temperature must be positive and finite"),
        ({"gamma": 0.25, "classes": 0}, "--gamma needs classes"),
        ({"gamma": -1.0}, "gamma must be a finite number from 0 on"),
        ({"denoise": (math.nan,)}, "multiplier must be a finite number from 0 on"),
    ],
    ids=str,
)
def test_contradictions(flags, sentence):
    with pytest.raises(ValueError, match=sentence):
        with_flags(**flags)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("naive shoes, old", [1]),
        ("boot, naive shoes, old,2", [0, 1, 2]),
        ("cafe\u0301", [2]),
        ("caf\u00e9,boot", [2, 0]),
    ],
)
def test_names_with_commas_and_in_other_normal_forms(text, labels):
    for cafe in ("cafe\u0301", "caf\u00e9"):
        facts = Facts(image_size=2, channels=1, class_names=("boot", "naive shoes, old", cafe))
        assert labels_for(text, facts, range(len(labels))) == labels


def test_where_classes_are_called_by_numbers_a_number_is_a_name():
    facts = Facts(image_size=2, channels=1, class_names=("1", "2", "10"))
    assert labels_for("1,10", facts, range(2)) == [0, 2]
    with pytest.raises(ValueError, match="no class '0': the classes are called by numbers, 1, 2, 10"):
        labels_for("0", facts, range(1))


def test_a_sheet_has_a_row_for_each_class(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "simflow.cli.pictures.labelled_grid",
        lambda rows, scale: drawn.extend(rows) or labelled_grid(rows, scale=scale),
    )
    facts = Facts(image_size=2, channels=1, class_names=("crane", "\U0010fffe", "crane"))
    sheet(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), [0, 1, 2], facts)
    assert drawn == ["crane", "class 1", "crane (2)"]


def test_no_score_step_needs_no_classes():
    assert with_flags(gamma=0.0, classes=0).refinement is None


def picture(path) -> np.ndarray:
    with Image.open(path) as opened:
        return np.asarray(opened)


def rows_of(pixels: np.ndarray, rows: int, images: int) -> list[list[np.ndarray]]:
    """The images of 64 px in each row of a labelled sheet."""
    right = [pixels[:, pixels.shape[1] - 65 * (images - i) + 1 :][:, :64] for i in range(images)]
    return [[column[65 * row : 65 * row + 64 : 4, ::4] for column in right] for row in range(rows)]


def test_further_pictures(tmp_path, tiny_run):
    common = ["sample", str(tiny_run), "--num", "5", "--device", "cpu"]
    assert main([*common, "--out", str(tmp_path / "plain"), "--guidance", "2"]) == 0
    out = tmp_path / "more"
    flags = ["--guidance", "2", "--denoise", "1.5", "--trajectory", "--sweep", "0,2"]
    assert main([*common, "--out", str(out), *flags]) == 0
    plain, denoised = (
        [picture(folder / f"{i:06d}.png") for i in range(5)] for folder in (tmp_path / "plain", out)
    )
    assert any((one != other).any() for one, other in zip(plain, denoised, strict=True))

    noise, *_, undone, last = rows_of(picture(out / "trajectory.png"), 4, 5)
    for row, expected in ((undone, plain), (last, denoised)):
        assert all((image == wanted).all() for image, wanted in zip(row, expected, strict=True))
    assert any((one != other).any() for one, other in zip(noise, undone, strict=True))

    pairs = picture(out / "denoise.png")
    for i in range(5):
        assert (pairs[:64:4, 66 * i : 66 * i + 64 : 4] == plain[i]).all()
        assert (pairs[64:128:4, 66 * i : 66 * i + 64 : 4] == denoised[i]).all()

    unguided, guided = rows_of(picture(out / "sweep.png"), 2, 5)
    assert all((image == wanted).all() for image, wanted in zip(guided, denoised, strict=True))
    assert any((image != wanted).any() for image, wanted in zip(unguided, denoised, strict=True))


def test_a_model_without_classes_is_guided_by_temperature(tmp_path, capsys):
    run = tmp_path / "run"
    assert main([*words(tmp_path), "--out", str(run), "--objective.label_drop", "1"]) == 0

    def made(name: str, *flags: str) -> list[np.ndarray]:
        out = tmp_path / name
        assert main(["sample", str(run), "--num", "4", "--out", str(out), "--device", "cpu", *flags]) == 0
        return [picture(out / f"{i:06d}.png") for i in range(4)]

    plain = made("plain")
    guided = made("guided", "--guidance", "3", "--attention-temperature", "0.3")
    assert any((one != other).any() for one, other in zip(plain, guided, strict=True))
    same = made("none", "--guidance", "0", "--attention-temperature", "0.3")
    assert all((one == other).all() for one, other in zip(plain, same, strict=True))
    for flags in (["--guidance", "3"], ["--sweep", "0,1"]):
        assert main(["sample", str(run), "--out", str(tmp_path / "no"), *flags]) == 2
        assert "an attention temperature of 0.5 or 1.5" in capsys.readouterr().err
    assert main(["sample", str(run), "--out", str(tmp_path / "no"), "--gamma", "0.25"]) == 2
    assert "--gamma needs classes" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize("sweep", ["0;1", "", "a"])
def test_a_sweep_that_is_no_list_of_numbers(tmp_path, tiny_run, capsys, sweep):
    code = main(["sample", str(tiny_run), "--out", str(tmp_path / "s"), f"--sweep={sweep}"])
    assert code == (0 if sweep == "" else 2)
