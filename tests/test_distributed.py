"""One process: nothing happens. Two processes (gloo): sums, means and gathers in rank order."""

import os
import socket
from functools import partial

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing

from simflow.distributed import (
    PATIENCE,
    barrier,
    cores,
    device_of,
    from_main,
    gather_objects,
    gather_tensors,
    is_main,
    is_running,
    launch,
    mean_over_ranks,
    rank,
    sum_over_ranks,
    world,
)


def test_alone_nothing_happens():
    x = torch.arange(3.0, requires_grad=True)
    barrier()
    assert (rank(), world(), is_main(), is_running()) == (0, 1, True, False)
    for function in (sum_over_ranks, mean_over_ranks, gather_tensors):
        assert torch.equal(function(x), x)
        assert not function(x).requires_grad
    assert gather_objects("a") == ["a"]


def test_launch_without_torchrun_gives_a_device_and_no_group(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    with launch("cpu") as device:
        assert device == torch.device("cpu")
        assert not is_running()


def test_the_cores_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 5}, raising=False)
    assert cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == os.cpu_count()


def test_processes_of_torchrun_cannot_share_a_gpu_of_apples(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(ValueError, match="leave torchrun, or say --device cpu"), launch("mps"):
        pass


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("cud", "device 'cud' is not known: use auto, cpu, cuda or mps"),
        ("cpu:first", "device 'cpu:first' is not known"),
        ("xpu", "device 'xpu' is not known"),
        ("cuda", "device 'cuda' is asked for, but torch finds no CUDA GPU here"),
        (torch.device("cuda", 1), "device 'cuda:1' is asked for, but torch finds no CUDA GPU here"),
        ("mps", "device 'mps' is asked for, but torch finds no GPU of Apple's here"),
    ],
)
def test_an_unknown_or_absent_device_is_one_sentence(monkeypatch, word, sentence):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=sentence):
        device_of(word)


def test_a_device_is_the_one_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for there, automatic in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert device_of("auto") == torch.device(automatic)
    assert device_of("cuda:1") == device_of(torch.device("cuda:1")) == torch.device("cuda:1")
    with pytest.raises(
        ValueError, match="'cuda:2' is asked for, but the CUDA GPUs here are 2, counted from 0"
    ):
        device_of("cuda:2")


def test_launch_joins_torchruns_group_and_leaves_it(monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    for name, value in (environment | {"MASTER_PORT": str(port)}).items():
        monkeypatch.setenv(name, value)
    with launch("cpu") as device:
        assert device == torch.device("cpu")
        assert (is_running(), dist.get_backend()) == (True, "gloo")
    assert not is_running()
    monkeypatch.setattr(
        dist, "destroy_process_group", lambda: pytest.fail("others may wait for this process")
    )
    with pytest.raises(RuntimeError, match="in the block"), launch("cpu"):
        raise RuntimeError("in the block")
    assert is_running(), "a group is left by all together, and not after an error of one"
    monkeypatch.undo()
    dist.destroy_process_group()


@pytest.mark.parametrize(("device", "backend"), [("cpu", "gloo"), ("cuda", "nccl")])
def test_the_ranks_wait_for_one_that_works_long(monkeypatch, device, backend):
    """NCCL would abort after ten minutes, gloo after thirty."""
    begun = {}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(dist, "init_process_group", lambda name, **options: begun.update({name: options}))
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    with launch(device):
        pass
    assert begun[backend]["timeout"] == PATIENCE
    assert PATIENCE.total_seconds() >= 3600


def fail(kind: type[Exception]) -> None:
    raise kind("no room")


def error_of(work) -> tuple[str, str]:
    with pytest.raises(Exception, match="no room") as caught:
        work()
    return caught.type.__name__, str(caught.value)


def collectives(number: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=number, world_size=2)
    torch.set_num_threads(1)
    x = torch.tensor([1.0, 2.0]) * (number + 1)
    rows = torch.arange(3 * number * 2).reshape(3 * number, 2) + 10  # rank 0 holds nothing, rank 1 three rows
    barrier()
    results = {
        "who": (rank(), world(), is_main()),
        "sum": sum_over_ranks(x),
        "mean": mean_over_ranks(torch.stack([x, x]).T),
        "kept": x,
        "rows": gather_tensors(rows),
        "flags": gather_tensors(torch.tensor([number == 0])),
        "objects": gather_objects({"rank": number}),
        "from main": from_main(lambda: (rank(), torch.get_num_threads())),
        "threads": torch.get_num_threads(),
        "errors": [error_of(partial(from_main, partial(fail, kind))) for kind in (ValueError, OSError)],
    }
    torch.save(results, f"{folder}/{number}.pt")
    dist.destroy_process_group()
    os._exit(0)


def test_two_processes_agree(tmp_path):
    multiprocessing.spawn(collectives, args=(str(tmp_path),), nprocs=2)
    for number in range(2):
        got = torch.load(tmp_path / f"{number}.pt")
        assert got["who"] == (number, 2, number == 0)
        assert got["sum"].tolist() == [3.0, 6.0]
        assert got["mean"].tolist() == [[1.5, 1.5], [3.0, 3.0]]
        assert got["kept"].tolist() == [number + 1.0, 2.0 * (number + 1)]
        assert got["rows"].tolist() == [[10, 11], [12, 13], [14, 15]]
        assert got["flags"].tolist() == [True, False]
        assert got["objects"] == [{"rank": 0}, {"rank": 1}]
        assert got["from main"] == (0, cores()), "rank 0 works alone, with the cores of all"
        assert got["threads"] == 1
        other = (
            ("OSError", "no room")
            if number == 0
            else ("RuntimeError", "the first process has failed: no room")
        )
        assert got["errors"] == [("ValueError", "no room"), other]
