"""Batches: what a step sees follows from its number alone, and the thread behind them behaves."""

import subprocess
import sys
import textwrap
import threading
import time
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from simflow.data import DataConfig, batches, load
from simflow.data.order import Stream
from simflow.data.prefetch import prefetch

SIZE = 10


@pytest.fixture
def images(tmp_path):
    """Ten images; image i is of level i, but for its left column, which is 100 + i."""
    pixels = np.tile(np.arange(SIZE, dtype=np.uint8)[:, None, None], (1, 4, 4))
    pixels[:, :, 0] += 100
    np.savez(tmp_path / "set.npz", images=pixels, labels=np.arange(SIZE))
    return load(DataConfig(path=str(tmp_path / "set.npz"), image_size=4, channels=1))


def take(images, count, **choices):
    """The first ``count`` batches; the thread is stopped."""
    iterator = batches(images, **{"batch": 4, "seed": 0} | choices)
    taken = list(islice(iterator, count))
    iterator.close()
    return taken


def same(first, second):
    return len(first) == len(second) and all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)
        for a, b in zip(first, second, strict=True)
    )


def test_a_batch_is_bytes_and_their_labels(images):
    batch = take(images, 1)[0]
    assert batch.images.shape == (4, 1, 4, 4)
    assert batch.images.dtype == torch.uint8
    assert batch.labels.dtype == torch.int64
    assert torch.equal(batch.images[:, 0, 0, 3].long(), batch.labels)
    assert torch.equal(batch.images[:, 0, 0, 0].long(), 100 + batch.labels)


def test_every_epoch_has_every_image_once_in_another_order(images):
    seen = torch.cat([batch.labels for batch in take(images, 10)]).reshape(4, SIZE)
    assert torch.equal(seen.sort(1).values, torch.arange(SIZE).expand(4, SIZE))
    assert len({tuple(epoch) for epoch in seen.tolist()}) == 4


def test_the_seed_decides(images):
    assert same(take(images, 5, flip=True), take(images, 5, flip=True))
    assert not same(take(images, 5), take(images, 5, seed=1))


@pytest.mark.parametrize("start", [1, 2, 3, 7])
def test_starting_late_is_the_same_as_having_come_that_far(images, start):
    whole = take(images, 10, flip=True)
    assert same(take(images, 10 - start, flip=True, start_step=start), whole[start:])


@pytest.mark.parametrize("world", [2, 4])
def test_the_ranks_share_the_batch_of_one_process(images, world):
    whole = take(images, 6, flip=True)
    shares = [take(images, 6, flip=True, rank=rank, world=world) for rank in range(world)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([share[step].images for share in shares]), batch.images)
        assert torch.equal(torch.cat([share[step].labels for share in shares]), batch.labels)


def test_a_batch_larger_than_the_set_spans_epochs(images):
    labels = take(images, 1, batch=25)[0].labels
    assert torch.equal(labels, torch.cat([batch.labels for batch in take(images, 5, batch=5)]))
    assert torch.bincount(labels).tolist() in [[2 + (i in set(labels[20:].tolist())) for i in range(SIZE)]]


def test_half_of_the_images_are_mirrored_and_only_if_asked(images):
    plain = torch.cat([batch.images for batch in take(images, 100)])
    flipped = torch.cat([batch.images for batch in take(images, 100, flip=True)])
    mirrored = (flipped == plain.flip(-1)).flatten(1).all(1)
    assert torch.equal(flipped[~mirrored], plain[~mirrored])
    assert 0.4 < mirrored.float().mean() < 0.6
    assert len(mirrored.reshape(100, 4).unique(dim=0)) == 16  # every step tosses anew


def test_mirroring_leaves_the_set_alone(images):
    before = images.images(range(SIZE))
    take(images, 10, flip=True)
    assert torch.equal(images.images(range(SIZE)), before)


@pytest.mark.parametrize("choice", [{"world": 3}, {"batch": 0}], ids=str)
def test_a_bad_choice_is_refused_at_once(images, choice):
    with pytest.raises(ValueError, match="batch"):
        batches(images, **{"batch": 4, "seed": 0} | choice)


def test_the_stream_is_read_anywhere():
    stream = Stream(size=7, seed=3)
    whole = stream.at(0, 40)
    for start, length in ((0, 1), (5, 4), (6, 20), (33, 7)):
        assert torch.equal(stream.at(start, length), whole[start : start + length])


def worker_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("simflow-prefetch")]


def test_closing_stops_the_thread():
    iterator = prefetch(lambda number: number, count(5), depth=2)
    assert list(islice(iterator, 3)) == [5, 6, 7]
    assert len(worker_threads()) == 1
    iterator.close()
    assert worker_threads() == []


def test_dropping_stops_the_thread():
    iterator = prefetch(lambda number: number, count(), depth=1)
    next(iterator)
    del iterator
    assert worker_threads() == []


def test_it_runs_ahead_by_depth_and_no_further():
    made = []
    iterator = prefetch(lambda number: made.append(number) or number, count(), depth=3)
    next(iterator)
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]  # one taken, three waiting
    iterator.close()


def test_it_ends_with_what_is_wanted():
    assert list(prefetch(str, iter(range(3)), depth=2)) == ["0", "1", "2"]


def test_an_error_arrives_in_its_turn():
    def make(number):
        if number == 2:
            raise ValueError("image 2 is gone")
        return number

    iterator = prefetch(make, count(), depth=4)
    assert [next(iterator), next(iterator)] == [0, 1]
    with pytest.raises(ValueError, match="image 2 is gone"):
        next(iterator)
    assert worker_threads() == []


def test_closing_with_an_error_waiting():
    def make(number):
        if number > 0:
            raise ValueError("late")
        return number

    iterator = prefetch(make, count(), depth=1)
    assert next(iterator) == 0
    iterator.close()
    assert worker_threads() == []


def test_of_images_that_are_alike_an_epoch_shows_one_drawn_anew(tmp_path):
    from PIL import Image

    names = ["a_1", "a_2", "a_3", "b_1", "c"]
    for level, name in enumerate(names):
        Image.new("L", (4, 4), level).save(tmp_path / f"{name}.png")
    together = load(DataConfig(path=str(tmp_path), image_size=4, channels=1, alike="^(.)_"))
    assert together.groups is not None
    assert together.groups.tolist() == [0, 0, 0, 1, 2]
    iterator = batches(together, batch=3, seed=0)
    epochs = [sorted(batch.images[:, 0, 0, 0].tolist()) for batch in islice(iterator, 60)]
    iterator.close()
    assert all(epoch[1:] == [3, 4] for epoch in epochs)
    shown = [epoch[0] for epoch in epochs]
    assert min(shown.count(level) for level in range(3)) >= 10


def test_a_pattern_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"alike is not a regular expression: .* in '\('"):
        DataConfig(path="x", image_size=4, alike="(")


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux lists them")
def test_the_background_keeps_no_team_of_threads(tmp_path):
    """One would slow the training down by a third: OpenMP lets threads sleep when there are more than cores."""
    np.savez(
        tmp_path / "set.npz", images=np.zeros((40_000, 32, 32), dtype=np.uint8), labels=np.zeros(40_000, int)
    )
    script = """
        import os, sys, torch
        from simflow.data import DataConfig, batches, load

        torch.set_num_threads(2)
        images = load(DataConfig(path=sys.argv[1], image_size=32, channels=1, workers=1))
        torch.zeros(1 << 20).add_(1)
        before = len(os.listdir("/proc/self/task"))
        stream = batches(images, batch=256, seed=0, start_step=155, flip=True)
        for _ in range(4):
            next(stream)
        print(len(os.listdir("/proc/self/task")) - before)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path / "set.npz")]
    child = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert child.stdout.strip() == "1", "there are more threads than the one that makes batches"
