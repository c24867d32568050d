"""Training steps: compared with the peer's, of a recipe, the largest batch, and fed from disk."""

import os
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import growth, loader, recipe_step, training
from benchmarks.__main__ import parser
from benchmarks.arithmetic import counted_flop
from benchmarks.ceilings import Ceilings
from benchmarks.measure import Timing
from benchmarks.plots import Lines
from benchmarks.recipe_step import largest, recomputing, variant
from benchmarks.subject import Setting
from simflow.autoencoder.kl import KLConfig
from simflow.flow.stack import FlowConfig
from simflow.sit.prior import SiTConfig

SETTING = Setting(device=torch.device("cpu"), rounds=1, ceilings=Ceilings(1e9, 1e9))
SIZE = ["--size", "2", "8", "2", "1", "64"]
PEER = os.environ.get("SIMFLOW_PEER_TARFLOW")


def chosen(*words: str) -> Namespace:
    return parser().parse_args(list(words))


def test_our_step_and_the_part_of_the_matmul_rate():
    (record,) = training.measure(chosen("training", *SIZE), SETTING)
    assert (record["way"], record["of ours"]) == ("SimFlow", 1.0)
    assert record["of the matmul rate"] == pytest.approx(record["GFLOP"] / record["seconds"])
    assert training.row(record)["images × tokens"] == "2 × 4"


@pytest.mark.skipif(PEER is None, reason="SIMFLOW_PEER_TARFLOW names no checkout")
def test_the_peers_step():
    words = ["training", *SIZE, "--peer-tarflow", str(PEER)]
    ours, theirs = training.measure(chosen(*words), SETTING)
    assert theirs["way"] == "ml-tarflow"
    assert theirs["of ours"] == pytest.approx(theirs["rounds"][0] / ours["rounds"][0])


def test_other_losses_are_refused():
    training.same_loss(lambda: torch.tensor(1.0), lambda: torch.tensor(1.00001), SETTING)
    with pytest.raises(RuntimeError, match=r"differ by 1\.0e-03"):
        training.same_loss(lambda: torch.tensor(1.0), lambda: torch.tensor(1.001), SETTING)
    with pytest.raises(RuntimeError, match="differ by nan"):
        training.same_loss(lambda: torch.tensor(1.0), lambda: torch.tensor(torch.nan), SETTING)


def test_variants_of_a_recipe():
    """All players from the first step, or no judging networks; recomputing in flow and autoencoder."""
    every = variant("simflow-xxl", side=128, losses="all", dtype="bfloat16")
    assert (every.data.image_size, every.train.dtype) == (128, "bfloat16")
    assert every.objective.adversarial is not None
    assert every.objective.adversarial.start_step == 0
    assert every.objective.perceptual is not None
    plain = variant("simflow-xxl", side=None, losses="plain", dtype="float32")
    assert plain.data.image_size == 256
    assert (plain.objective.adversarial, plain.objective.perceptual) == (None, None)
    again = recomputing(plain).model
    assert isinstance(again.prior, FlowConfig)
    assert again.prior.block.checkpointing
    assert isinstance(again.autoencoder, KLConfig)
    assert again.autoencoder.checkpointing
    velocity = recomputing(variant("table7-joint-64", side=None, losses="plain", dtype="float32")).model.prior
    assert isinstance(velocity, SiTConfig)
    assert velocity.checkpointing


def test_the_adversary_plays_and_is_counted():
    """With all losses the discriminator learns in the very first step, and its arithmetic is the step's."""
    small = KLConfig(latent_channels=4, width=32, multipliers=(1, 1), encoder_blocks=1)
    every, plain = (
        recipe_step.RecipeStep(
            smaller(variant("simflow-s", side=32, losses=losses, dtype="float32"), small), SETTING
        )
        for losses in ("all", "plain")
    )
    before = [p.clone() for p in every.state.modules["discriminator"].parameters()]
    batch = every.random(1)
    assert counted_flop(lambda: every(batch)) > counted_flop(lambda: plain(batch)) > 0
    after = every.state.modules["discriminator"].parameters()
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert set(plain.state.modules) == {"model"}


def smaller(config, autoencoder):
    """The recipe at a size for tests; its losses stay."""
    prior = replace(
        config.model.prior, depths=(1,), block=replace(config.model.prior.block, width=16, heads=1)
    )
    model = replace(config.model, autoencoder=autoencoder, prior=prior)
    return replace(config, model=model, classes=3)


@pytest.mark.parametrize("fitting", [0, 1, 2, 3, 37, 64, 100, 511, 512, 4000])
def test_the_largest_batch(fitting):
    tried = []

    def fits(number: int) -> bool:
        tried.append(number)
        return number <= fitting

    found, best = largest(fits, 512), min(fitting, 512)
    assert best - max(1, best // 16) <= found <= best
    assert max(tried) <= 512
    assert len(tried) <= 18


def test_the_largest_batch_is_looked_for_on_a_gpu_only():
    words = ["training", "--recipe", "demo", "--largest"]
    with pytest.raises(ValueError, match="--largest needs a GPU"):
        list(training.measure(chosen(*words), SETTING))


def test_the_stall_is_what_the_step_alone_does_not_take():
    assert loader.stall(Timing([10.0, 20.0, 40.0]), Timing([9.0, 18.0, 10.0])) == pytest.approx(0.1)


def test_images_come_from_both_stores(tmp_path):
    """Photographs of noise, under the step of a recipe."""
    loader.make_photographs(tmp_path, 4)
    files = sorted(tmp_path.iterdir())
    for file in files:
        with Image.open(file) as image:
            assert image.size == (500, 375)
    assert len(files) == 4
    assert 60_000 < np.mean([file.stat().st_size for file in files]) < 200_000
    words = ["loader", "--recipe", "small-32", "--data", str(tmp_path), "--batch", "2", "--steps", "2"]
    records = list(loader.measure(chosen(*words), SETTING))
    ways = [record["way"] for record in records]
    assert ways == ["step alone"] + [
        f"{what}, {store}" for what in ("data alone", "step with its data") for store in loader.STORES
    ]
    assert [record["stall"] is None for record in records] == [True, True, True, False, False]
    assert all(record["images/s"] == pytest.approx(2 / record["seconds"]) for record in records)
    assert len({len(loader.row(record)) for record in records}) == 1


def test_where_images_come_from(tmp_path):
    demo, small = (variant(name, side=None, losses="plain", dtype="float32") for name in ("demo", "small-32"))
    assert loader.where(None, demo, tmp_path, 2) == "embedded:fashion-mnist"
    assert loader.where(tmp_path / "mine", demo, tmp_path, 2) == str(tmp_path / "mine")
    assert loader.where(None, small, tmp_path, 2) == str(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("power", [-0.5, 0.0, 1.0, 1.7, 2.0])
def test_exponents_of_exact_power_laws(power):
    xs = [1.0, 3.0, 10.0, 64.0]
    assert growth.exponent(xs, [7.0 * x**power for x in xs]) == pytest.approx(power)


def test_a_line_through_points_beside_it():
    """Least squares on logarithms: errors of equal factors up and down in the middle leave the slope."""
    assert growth.exponent([1.0, 10.0, 10.0, 100.0], [1.0, 20.0, 5.0, 100.0]) == pytest.approx(1.0)
    assert growth.exponent([4.0], [1.0]) is None


def test_growth_moves_one_axis_at_a_time():
    words = [
        "--base",
        "2",
        "2",
        "2",
        "1",
        "64",
        "--grids",
        "2",
        "3",
        "--layers",
        "1",
        "3",
        "--images",
        "1",
        "2",
    ]
    records = list(growth.measure(chosen("growth", *words), SETTING))
    found = [(r["axis"], r["images"], r["tokens"], r["layers"]) for r in records if r["way"] == "sequential"]
    assert found == [
        ("tokens", 2, 4, 2),
        ("tokens", 2, 9, 2),
        ("layers", 2, 4, 2),
        ("layers", 2, 4, 6),
        ("images", 1, 4, 2),
        ("images", 2, 4, 2),
    ]
    first = [record for record in records if record["axis"] == "tokens" and record["way"] == "sequential"]
    wanted = growth.exponent([4, 9], [record["seconds"] for record in first])
    assert [record["exponent"] for record in first] == [wanted] * 2
    (tokens, _, _) = growth.panels(records)
    assert isinstance(tokens, Lines)
    assert [curve.xs for curve in tokens.curves] == [[4, 9]] * 2
