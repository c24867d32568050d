"""What is counted beforehand is what sampling then holds; and a limit is kept."""

from dataclasses import replace

import pytest
import torch

from simflow.autoencoder.compact import CompactConfig
from simflow.flow.block import BlockConfig
from simflow.flow.decode import SEQUENTIAL, Plan, Sequential
from simflow.flow.guidance import GaussianProduct
from simflow.flow.guided import condition_for
from simflow.flow.jacobi import Jacobi
from simflow.flow.score import GuidedScoreStep
from simflow.flow.sequential import BlockStep
from simflow.flow.stack import FlowConfig
from simflow.memory import Alive, Idle, batch_within, most_alive, stages
from simflow.model import Facts, Model, ModelConfig
from simflow.native.library import library
from simflow.posterior import FixedVariance
from simflow.sample import SampleConfig, generated
from simflow.sit.prior import SiTConfig
from simflow.sit.solver import Heun

EAGER = Sequential(compiled=False)
WIDTH, LAYERS, SIDE = 32, 3, 16
TOKENS = (SIDE // 4) ** 2


def model_of(prior=None) -> Model:
    prior = prior or FlowConfig(depths=(1, LAYERS), block=BlockConfig(width=WIDTH, heads=4))
    config = ModelConfig(
        autoencoder=CompactConfig(latent_channels=4, patch=2, widths=(8, 8)),
        posterior=FixedVariance(),
        prior=prior,
    )
    built = config.build(Facts(image_size=SIDE, channels=1, class_names=("a", "b")))
    return built.eval().requires_grad_(requires_grad=False)


def held(model: Model, batch: int, config: SampleConfig) -> int:
    """The most bytes that are really alive while a batch is sampled."""
    return most_alive(lambda: generated(model, list(range(batch)), [i % 2 for i in range(batch)], config))


def counted(model: Model, batch: int, config: SampleConfig) -> int:
    """The same as it is foretold."""
    return max(stage.fixed + batch * stage.image for stage in stages(model, config))


def test_alive_counts_what_is_alive():
    with Alive() as alive:
        one = torch.ones(1000)
        two = one + 1
        del one
        view = two.view(10, 100)
        view.add_(1)
        assert (alive.now, alive.most) == (4000, 8000)
        del two, view
    assert (alive.now, alive.most) == (0, 8000)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_cache_is_the_leading_term_of_a_block(dtype, guided):
    """``2 * layers * tokens * width`` numbers per row, two rows under guidance: the tensors that a walk makes."""
    model, size = model_of(), 4 if dtype == "float32" else 2
    rule = GaussianProduct(weight=1.0) if guided else None
    config = SampleConfig(guidance=rule, dtype=dtype)
    block = model.prior.chain()[-1]
    step = BlockStep(
        block,
        condition_for(block, torch.tensor([0, 1, 1]), rule),
        rows=6 if guided else 3,
        wide=torch.float32,
    )
    cache = 2 * LAYERS * TOKENS * WIDTH * size * (2 if guided else 1)
    assert step.transformer.room.both.nbytes * size // 4 == 3 * cache
    (deep,) = (stage for stage in stages(model, config) if stage.name == "undoing block 2")
    assert cache < deep.image < 2.6 * cache


@pytest.mark.parametrize(
    ("decoding", "dtype"),
    [
        (SEQUENTIAL, "float32"),
        (EAGER, "float32"),
        (SEQUENTIAL, "bfloat16"),
        (Jacobi(tolerance=0.0, max_passes=2), "bfloat16"),
        (Jacobi(window=8, tolerance=0.0, max_passes=2), "float32"),
        (Plan(blocks=(SEQUENTIAL, Jacobi(max_passes=2))), "float32"),
    ],
    ids=str,
)
def test_what_is_foretold_is_what_is_held(decoding, dtype):
    model = model_of()
    config = SampleConfig(guidance=GaussianProduct(weight=1.0), decoding=decoding, dtype=dtype)
    real, foretold = held(model, 7, config), counted(model, 7, config)
    assert 0.95 * real <= foretold <= 1.3 * real


def test_a_model_on_a_gpu_is_walked_by_torch(monkeypatch):
    config, plain = SampleConfig(), SampleConfig(decoding=EAGER)
    model = model_of()
    here, eager = stages(model, config), stages(model, plain)
    assert (here != eager) == (library() is not None)
    monkeypatch.setattr(Model, "device", torch.device("cuda"))
    assert stages(model, config) == eager


class Tiles(Idle):
    """Loops whose products take so many rows at once."""

    def __init__(self, unit: int) -> None:
        self.lanes, self.threads, self.unit = 16, 1, unit
        self.packed_size = lambda out, inputs, *, half: out * inputs

    def inputs_size(self, rows: int, numbers: int, *, half: bool) -> int:
        return -(-rows // self.unit) * self.unit * numbers


def test_rows_that_fill_no_tile_hide_none_of_a_larger_batch():
    counts = range(1, 50)
    tiles, plain = (
        [Idle(Tiles(unit)).inputs_size(rows, 3, half=True) for rows in counts] for unit in (16, 1)
    )
    assert plain == [3 * rows for rows in counts]
    assert tiles == [3 * (rows + 15) for rows in counts]


def test_the_score_step_is_counted():
    model = model_of()
    plain = SampleConfig(decoding=EAGER)
    config = replace(plain, refinement=GuidedScoreStep())
    real, foretold = held(model, 5, config), counted(model, 5, config)
    assert 0.95 * real <= foretold <= 1.1 * real
    assert foretold > 1.5 * counted(model, 5, plain)


def test_a_sit_is_counted():
    model = model_of(SiTConfig(width=WIDTH, depth=2, heads=4, solver=Heun(steps=2)))
    config = SampleConfig(guidance=None)
    real, foretold = held(model, 5, config), counted(model, 5, config)
    assert 0.95 * real <= foretold <= 1.1 * real


def test_the_batch_is_the_largest_that_fits():
    model, config, limit = model_of(), SampleConfig(batch=1000), 4 * 2**20
    left = limit - sum(parameter.nbytes for parameter in model.parameters())
    batch = batch_within(model, config, limit)
    assert 1 < batch < 1000
    assert counted(model, batch, config) <= left < counted(model, batch + 1, config)
    assert batch_within(model, SampleConfig(batch=5), limit) == 5
    ready = (SEQUENTIAL, Jacobi(window=8))
    alone = [batch_within(model, config, limit, (way,)) for way in ready]
    assert batch_within(model, config, limit, ready) == min(alone) < max(alone)


def test_what_does_not_fit_is_one_sentence():
    with pytest.raises(
        ValueError, match=r"^one image takes .* MiB at once \(.*; .* weights\), and the memory"
    ):
        batch_within(model_of(), SampleConfig(), 2**18)


def test_the_numbers_of_the_weights_are_not_needed():
    config = SampleConfig()
    with torch.device("meta"):
        model = model_of()
    assert stages(model, config) == stages(model_of(), config)
