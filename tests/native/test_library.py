"""The compiled loops are made once, on any processor's vectors, and give the numbers of torch's operations."""

import logging
import platform
import shlex
import shutil
from importlib import resources
from pathlib import Path

import pytest
import torch

from simflow.flow.block import BlockConfig
from simflow.flow.compiled import CompiledStep
from simflow.flow.guided import condition_for
from simflow.flow.sequential import BlockStep
from simflow.flow.stack import FlowConfig
from simflow.native import library as native
from simflow.nn import step as of_torch
from tests.laws.cases import randomise

COMPILER = next(filter(None, map(shutil.which, native.COMPILERS)), None)
COMMON = native.FLAGS[1]
VECTORS = {"native": native.FLAGS[0], "any processor's": COMMON}
if platform.machine() == "x86_64":
    VECTORS["sse"] = ("-mno-avx", *COMMON)
    VECTORS["avx2"] = ("-mavx2", "-mfma", "-mno-avx512f", *COMMON)
HALVES = (
    VECTORS
    | {
        "no tiles": ("-U__AMX_BF16__", *native.FLAGS[0]),
        "no pairs": ("-U__AVX512BF16__", *native.FLAGS[0]),
    }
    if platform.machine() == "x86_64"
    else VECTORS
)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")
needs_clang = pytest.mark.skipif(shutil.which("clang") is None, reason="no Clang")


def source() -> bytes:
    return resources.files("simflow.native").joinpath("step.c").read_bytes()


def loops(flags: tuple[str, ...] = native.FLAGS[0], compiler: str | None = COMPILER) -> native.Library:
    assert compiler is not None
    return native.Library(native.compiled((compiler,), source(), (flags,)))


def narrowed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.bfloat16().float()


def block(**changes):
    config = BlockConfig(**{"width": 48, "heads": 4} | changes)
    flow = FlowConfig(depths=(2,), block=config).build(latent_shape=(5, 3, 7), classes=3)
    randomise(flow)
    return flow.eval().requires_grad_(requires_grad=False).chain()[0]


def outputs(step, tokens: torch.Tensor) -> torch.Tensor:
    """All maps of a walk over ``(rows, n, d)``, of which each is used before the next is made."""
    maps = [
        torch.cat([part.clone() for part in step(token, i)], -1) for i, token in enumerate(tokens.unbind(1))
    ]
    return torch.cat(maps, 1)


def walked(
    of, rows: int, library: native.Library | None, tokens: torch.Tensor | None = None, *, half: bool = False
) -> torch.Tensor:
    labels = torch.arange(rows) % 3
    condition = condition_for(of, labels, None)
    if tokens is None:
        tokens = torch.randn(rows, 20, 5, generator=torch.Generator().manual_seed(rows))
    if library is None:
        return outputs(BlockStep(of, condition, rows=rows, wide=torch.float32), tokens)
    return outputs(CompiledStep(of, condition, rows=rows, half=half, loops=library), tokens)


def walked_in_half(of, rows: int, *, rounds: bool, monkeypatch) -> torch.Tensor:
    """By torch's operations in float32, with every number rounded that the loops round."""
    attend, call, whole = of_torch.Room.attend, BlockStep.__call__, []

    def product(self, x, out):
        rounded = rounds and not any(self is each for each in whole)
        return torch.addmm(self.bias, narrowed(x) if rounded else x, narrowed(self.weight), out=out)

    def step(self, token, position):
        normed = self.final is not None or self.final_norm is not None
        whole[:] = [self.embed] if normed else [self.embed, self.head]
        return call(self, token, position)

    with monkeypatch.context() as changed:
        changed.setattr(
            of_torch.Room, "attend", lambda self, q, kv, past: attend(self, q, narrowed(kv), past)
        )
        changed.setattr(of_torch.Dense, "__call__", product)
        changed.setattr(BlockStep, "__call__", step)
        return walked(of, rows, None)


def same_but_for_ties(found: torch.Tensor, wanted: torch.Tensor) -> None:
    """A number halfway between two of bfloat16 may be rounded either way, and what follows in its row hears of it."""
    apart, largest = (found - wanted).abs(), wanted.abs().max()
    assert apart.max() < 1e-2 * largest
    assert apart.median() < 1e-6 * largest


@needs_compiler
@pytest.mark.parametrize("vectors", VECTORS)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 16, 21])
def test_any_number_of_rows_on_any_vectors(rows, vectors):
    of, library = block(), loops(VECTORS[vectors])
    torch.testing.assert_close(walked(of, rows, library), walked(of, rows, None), atol=2e-5, rtol=2e-5)


@needs_compiler
@pytest.mark.parametrize("vectors", HALVES)
@pytest.mark.parametrize("rows", [1, 3, 8, 16, 17, 21, 32, 33, 49])
def test_half_precision_rounds_what_it_says_and_nothing_else(rows, vectors, monkeypatch):
    of, library = block(), loops(HALVES[vectors])
    found = walked(of, rows, library, half=True)
    same_but_for_ties(found, walked_in_half(of, rows, rounds=library.rounds, monkeypatch=monkeypatch))
    assert (found - walked(of, rows, None)).abs().mean() > 1e-3, "nothing was rounded"


@needs_clang
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("vectors", HALVES)
def test_clang_makes_the_same_of_it(vectors, half, monkeypatch):
    of, library = block(), loops(HALVES[vectors], "clang")
    for rows in (1, 2, 3, 4, 5, 6, 7, 8, 13, 33):
        found = walked(of, rows, library, half=half)
        if half:
            same_but_for_ties(found, walked_in_half(of, rows, rounds=library.rounds, monkeypatch=monkeypatch))
        else:
            torch.testing.assert_close(found, walked(of, rows, None), atol=2e-5, rtol=2e-5)


@needs_compiler
def test_tiles_that_the_system_refuses_are_not_used(monkeypatch):
    of, asks = block(), b"ASK = 0x1023"
    assert asks in source()
    refused = source().replace(asks, b"ASK = 0x7fff")  # no request that any system knows
    library = native.Library(native.compiled((str(COMPILER),), refused, native.FLAGS[:1]))
    assert library.inputs_size(5, 48, half=True) == 5 * 48  # and not whole tiles of rows
    wanted = walked_in_half(of, 5, rounds=library.rounds, monkeypatch=monkeypatch)
    same_but_for_ties(walked(of, 5, library, half=True), wanted)


@needs_compiler
@pytest.mark.parametrize("vectors", HALVES)
@pytest.mark.parametrize(("width", "heads"), [(4, 4), (20, 4), (64, 2), (72, 2), (144, 3)])
@pytest.mark.parametrize(
    "changes",
    [{}, {"conditioning": "added"}, {"conditioning": "prefix", "final_norm": True}],
    ids=["adaln", "added", "prefix"],
)
def test_half_precision_of_widths_that_fill_nothing(width, heads, changes, vectors, monkeypatch):
    of, library = block(width=width, heads=heads, **changes), loops(HALVES[vectors])
    wanted = walked_in_half(of, 5, rounds=library.rounds, monkeypatch=monkeypatch)
    same_but_for_ties(walked(of, 5, library, half=True), wanted)


@needs_compiler
@pytest.mark.parametrize("width", [4, 20, 64, 72])
@pytest.mark.parametrize("conditioning", ["adaln", "added", "prefix"])
def test_widths_that_fill_no_vector(width, conditioning):
    of = block(width=width, heads=2, conditioning=conditioning)
    torch.testing.assert_close(walked(of, 5, loops()), walked(of, 5, None), atol=2e-5, rtol=2e-5)


@needs_compiler
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_change_no_bit(threads, half):
    of = block(conditioning="added")  # what adaLN makes of a class is torch's, whose sums may hear of threads
    library, before = loops(), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = walked(of, 9, library, half=half)
        torch.set_num_threads(threads)
        assert library.threads == threads, "torch lends no threads here"
        together = walked(of, 9, library, half=half)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(alone, together)


@needs_compiler
@pytest.mark.parametrize("half", [False, True])
def test_a_row_hears_nothing_of_the_others(half):
    of, library = (
        block(conditioning="added"),
        loops(),
    )  # what adaLN makes of a class is torch's, batch by batch
    tokens = torch.randn(37, 20, 5, generator=torch.Generator().manual_seed(0))
    whole = walked(of, 37, library, tokens, half=half)
    labels = torch.arange(37) % 3
    for row in (0, 7, 20, 36):
        condition = condition_for(of, labels[row : row + 1], None)
        alone = outputs(CompiledStep(of, condition, rows=1, half=half, loops=library), tokens[row : row + 1])
        assert torch.equal(alone[0], whole[row])


@needs_compiler
def test_large_logits_and_inputs_stay_finite():
    of = block()
    of.transformer.layers[0].attention.qkv.weight.mul_(100)
    tokens = 1e3 * torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(0))
    found, wanted = (walked(of, 3, library, tokens) for library in (loops(), None))
    assert found.isfinite().all()
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=1e-3)


@needs_compiler
def test_a_weight_is_packed_in_panels():
    library, weight = loops(), torch.randn(21, 6)
    panels = -(-21 // library.lanes)
    assert library.packed_size(21, 6, half=False) == panels * 6 * library.lanes
    packed = torch.full((panels, 6, library.lanes), torch.nan)
    library.pack(weight, packed, half=False)
    rows = packed.transpose(1, 2).reshape(-1, 6)
    assert torch.equal(rows[:21], weight)
    assert (rows[21:] == 0).all()


@needs_compiler
def test_a_weight_in_half_precision_is_packed_in_pairs_rounded_as_torch_rounds():
    library, weight = loops(), torch.randn(21, 37)
    weight[3, :4] = torch.tensor([torch.inf, -torch.inf, 1 + 2**-8, 1 + 3 * 2**-8])  # two ties
    weight[4, 5] = torch.nan
    panels = -(-21 // library.lanes)
    packed = torch.full((library.packed_size(21, 37, half=True),), torch.nan)
    assert packed.numel() == panels * 32 * library.lanes, "64 inputs, two in a number"
    library.pack(weight, packed, half=True)
    rows = packed.view(torch.bfloat16).view(panels, 32, library.lanes, 2).transpose(1, 2).reshape(-1, 64)
    torch.testing.assert_close(rows[:21, :37], weight.bfloat16(), rtol=0, atol=0, equal_nan=True)
    assert (rows[21:] == 0).all()
    assert (rows[:, 37:] == 0).all()


@needs_compiler
def test_a_weight_in_another_order_of_memory_is_packed_alike():
    library, weight = loops(), torch.randn(6, 21)
    one, other = (torch.empty(-(-21 // library.lanes), 6, library.lanes) for _ in range(2))
    library.pack(weight.t(), one, half=False)
    library.pack(weight.t().contiguous(), other, half=False)
    assert torch.equal(one, other)


@needs_compiler
def test_it_is_compiled_once(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = native.compiled((COMPILER,), source())
    stamp = made.stat().st_mtime_ns
    assert native.compiled((COMPILER,), source()) == made
    assert made.stat().st_mtime_ns == stamp
    assert made.parent == tmp_path / "simflow"
    assert [path.name for path in made.parent.iterdir()] == [made.name], "something was left behind"
    assert native.compiled((COMPILER,), source() + b"\n") != made
    monkeypatch.setattr(native, "processor", lambda: b"another")
    assert native.compiled((COMPILER,), source()) != made


@needs_compiler
@pytest.mark.skipif(shutil.which("env") is None, reason="no command that runs another")
def test_the_compiler_may_be_several_words(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", f"env {shlex.quote(str(COMPILER))} -DNOTHING")
    assert isinstance(native.build(), native.Library)


@needs_compiler
def test_a_kept_file_that_does_not_load_is_made_once_more(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = native.compiled((COMPILER,), source())
    whole = made.read_bytes()
    made.write_bytes(whole[:100])
    assert isinstance(native.loaded((COMPILER,), source()), native.Library)
    assert made.stat().st_size == len(whole)


@needs_compiler
def test_what_never_loads_is_not_made_for_ever(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    times = []

    def refuse(path):
        times.append(path)
        raise OSError("failed to map segment")

    monkeypatch.setattr(native, "Library", refuse)
    assert native.build() is None
    assert len(times) == 2


@pytest.mark.parametrize(
    "trouble", ["no compiler", "the compiler refuses", "half a word", "no cache", "no home"]
)
def test_without_it_torch_does_the_work(monkeypatch, tmp_path, caplog, trouble):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    if trouble == "no compiler":
        monkeypatch.setattr(native.shutil, "which", lambda name: None)
    elif trouble == "the compiler refuses":
        monkeypatch.setenv("CC", "false")
    elif trouble == "half a word":
        monkeypatch.setenv("CC", "'gcc")
    elif trouble == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(native.Path, "home", lambda: Path("~no-such-user").expanduser())
    else:
        Path(tmp_path, "cache").write_text("in the way")
    with caplog.at_level(logging.INFO, logger="simflow"):
        assert native.build() is None
    assert "torch's operations" in caplog.text
    monkeypatch.setattr(native, "library", native.build)
    flow = FlowConfig(depths=(1,), block=BlockConfig(width=8, heads=1)).build(
        latent_shape=(2, 2, 2), classes=2
    )
    z = torch.randn(3, 4, 2)
    assert flow.inverse(z, torch.zeros(3, dtype=torch.int64)).shape == (3, 2, 2, 2)
