"""Recorded walks: what is replayed is the walk, on the noise, labels and weights of the moment."""

import copy
from contextlib import nullcontext

import pytest
import torch

from simflow.flow.decode import Sequential, undo
from simflow.flow.guidance import GaussianProduct, LogScale
from simflow.flow.recording import _RECORDINGS, KINDS, Tape, cuda_graph, replayed
from simflow.flow.sequential import walk
from tests.laws.cases import FLOWS, build, labels_for, noise_for

RULES = [None, GaussianProduct(weight=1.5), LogScale(weight=0.7, temperature=0.8)]


@pytest.fixture(autouse=True)
def _without_gradients():
    with torch.no_grad():
        yield


class Stand:
    """Records as a CUDA graph does: the function is called once, and replaying writes where it wrote."""

    def __init__(self):
        self.recorded, self.replays = 0, 0

    def __call__(self, function):
        self.recorded += 1
        result = function().clone()

        def replay():
            self.replays += 1
            result.copy_(function())

        result.zero_()  # recording computes nothing
        return replay, result


def batches(flow, count):
    return [(noise_for(flow, 3) + number, labels_for(3).roll(number)) for number in range(count)]


@pytest.mark.parametrize("guidance", RULES, ids=["plain", "product", "temperature"])
@pytest.mark.parametrize("name", ["adaln-unchanged-exp", "tarflow", "starflow"])
def test_the_second_batch_is_recorded_and_later_ones_replayed(name, guidance):
    flow, tape = build(FLOWS[name]), Stand()
    block = flow.chain()[-1]
    given = batches(flow, 4)
    for number, (z, labels) in enumerate(given):
        found = replayed(block, z, labels, guidance, record=tape)
        torch.testing.assert_close(found, walk(block, z, labels, guidance), atol=1e-10, rtol=1e-10)
        assert (tape.recorded, tape.replays) == (number > 0, number)
    for (z, labels), (before, before_labels) in zip(given, batches(flow, 4), strict=True):
        assert torch.equal(z, before), "what was given is written to"
        assert torch.equal(labels, before_labels)


def test_another_kind_of_batch_is_another_walk_and_kinds_may_take_turns():
    flow, tape = build(FLOWS["tarflow"]), Stand()
    block = flow.chain()[0]
    z, labels = noise_for(flow, 3), labels_for(3)
    kinds = [(3, None), (2, None), (3, RULES[1])]
    for turn in range(3):
        for number, (rows, guidance) in enumerate(kinds):
            found = replayed(block, z[:rows], labels[:rows], guidance, record=tape)
            torch.testing.assert_close(found, walk(block, z[:rows], labels[:rows], guidance))
            assert tape.recorded == (0, number + 1, 3)[turn]


def test_only_the_last_kinds_are_remembered():
    flow, tape = build(FLOWS["tarflow"]), Stand()
    block = flow.chain()[0]
    for rows in (*range(1, KINDS + 1), 1, KINDS + 1, 1, 2):
        replayed(block, noise_for(flow, rows), labels_for(rows), None, record=tape)
    assert len(_RECORDINGS[block]) == KINDS
    assert (tape.recorded, tape.replays) == (1, 2), "the one of two rows was forgotten"


def test_blocks_have_recordings_of_their_own():
    flow, tape = build(FLOWS["tarflow"]), Stand()
    z, labels = noise_for(flow, 3), labels_for(3)
    for _ in range(3):
        for block in flow.chain():
            found = replayed(block, z, labels, None, record=tape)
            torch.testing.assert_close(found, walk(block, z, labels, None))
    assert (tape.recorded, tape.replays) == (3, 6)


def test_weights_are_read_when_they_are_replayed_and_looked_for_where_they_lie():
    flow, tape = build(FLOWS["tarflow"]), Stand()
    block = flow.chain()[0]
    z, labels = noise_for(flow, 3), labels_for(3)
    for _ in range(2):
        replayed(block, z, labels, None, record=tape)
    block.head.bias.add_(0.5)
    torch.testing.assert_close(replayed(block, z, labels, None, record=tape), walk(block, z, labels, None))
    assert tape.recorded == 1
    block.head.bias = torch.nn.Parameter(block.head.bias.detach() - 1)
    for _ in range(2):
        found = replayed(block, z, labels, None, record=tape)
        torch.testing.assert_close(found, walk(block, z, labels, None))
    assert tape.recorded == 2


def test_what_cannot_be_recorded_walks_and_is_said_once(caplog):
    flow = build(FLOWS["tarflow"])
    block = flow.chain()[0]
    z, labels = noise_for(flow, 3), labels_for(3)
    tried = []

    def record(function):
        tried.append(1)
        raise RuntimeError("operation not permitted\nwhen stream is capturing")

    for _ in range(4):
        found = replayed(block, z, labels, None, record=record)
        torch.testing.assert_close(found, walk(block, z, labels, None))
    assert len(tried) == 1
    (said,) = [each.getMessage() for each in caplog.records]
    assert said == "a walk could not be recorded and is not replayed: operation not permitted"


def test_a_recording_goes_with_its_block_and_is_not_copied():
    flow = build(FLOWS["tarflow"])
    block = flow.chain()[0]
    replayed(block, noise_for(flow, 2), labels_for(2), None, record=Stand())
    other = copy.deepcopy(block)
    assert len(_RECORDINGS[block]) == 1
    assert other not in _RECORDINGS
    before = len(_RECORDINGS)
    del flow, block
    assert len(_RECORDINGS) == before - 1


def test_on_a_cpu_a_walk_is_walked():
    flow = build(FLOWS["tarflow"])
    block, z, labels = flow.chain()[0], noise_for(flow, 2), labels_for(2)
    for _ in range(3):
        found = undo(block, z, labels, None, Sequential(graphs=True))
        torch.testing.assert_close(found, undo(block, z, labels, None))
    assert block not in _RECORDINGS


@pytest.mark.parametrize("name", FLOWS)
def test_a_walk_looks_at_no_number(name, monkeypatch):
    """What can be recorded: on a device without memory, nothing can be asked of a tensor but its shape."""
    monkeypatch.setattr(
        "torch.autocast", lambda *_, enabled: nullcontext()
    )  # which does not know that device
    monkeypatch.setattr("simflow.flow.sequential.network_dtype", lambda block: block.embed.weight.dtype)
    flow = build(FLOWS[name]).to("meta")
    z, labels = noise_for(flow, 2).to("meta"), labels_for(2).to("meta")
    for block in flow.chain():
        for guidance in RULES:
            assert walk(block, z, labels, guidance, compiled=False).shape == z.shape


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_there_are_new_recordings_when_all_others_are_gone_or_one_was_refused():
    stream = torch.cuda.current_stream()
    for turn in range(3):
        flow = build(FLOWS["tarflow"]).cuda()
        z, labels = noise_for(flow, 2).cuda(), labels_for(2).cuda()
        for _ in range(3):
            recorded = flow.inverse(z, labels, None, Sequential(graphs=True))
        torch.testing.assert_close(recorded, flow.inverse(z, labels), atol=1e-8, rtol=1e-8)
        assert all(isinstance(known, Tape) for block in flow.chain() for known in _RECORDINGS[block].values())
        assert torch.cuda.current_stream() == stream
        if turn == 1:
            with pytest.raises(RuntimeError):
                cuda_graph(lambda: torch.zeros(1, device="cuda").cpu(), device=z.device)
            assert torch.cuda.current_stream() == stream
        del flow


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize(("name", "guidance"), [(name, RULES[n % 3]) for n, name in enumerate(FLOWS)])
def test_on_a_gpu_images_of_a_recorded_walk_are_those_of_the_walk(name, guidance):
    flow = build(FLOWS[name]).cuda()
    for z, labels in batches(flow, 4):
        z, labels = z.cuda(), labels.cuda()
        recorded = flow.inverse(z, labels, guidance, Sequential(graphs=True))
        torch.testing.assert_close(recorded, flow.inverse(z, labels, guidance), atol=1e-8, rtol=1e-8)
    for block in flow.chain():
        (known,) = _RECORDINGS[block].values()
        assert isinstance(known, Tape)
