"""Seeds for images whose classes take turns: what a call that names no seeds leaves open.

An image's class is number ``seed % n`` of ``n``, as everywhere, so its seed says it too. Seeds are drawn so that the
classes take turns: from the first one on where classes are given, and from one that is drawn as well where all are
meant, so that many calls for one image are not many images of one class.

One generator serves all images, or each has its own: then seed and class of image *i* come from generator *i* alone,
as in diffusers, and are the same whatever the others are.
"""

import operator
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Generator

HIGHEST = 2**62
"""Seeds are drawn from below it."""


def whole(number: Any, what: str) -> int:
    """A whole number of any library.

    Raises:
        ValueError: it is none.
    """
    try:
        return operator.index(number)
    except TypeError:
        raise ValueError(f"{what} must be a whole number, not {number!r}") from None


def seeds_in(given: Any) -> list[int]:
    """The seeds given, one for each image; a number alone is that of one image.

    >>> seeds_in(range(3)), seeds_in(7)
    ([0, 1, 2], [7])

    Raises:
        ValueError: there are others than whole numbers.
    """
    try:
        return [operator.index(given)]
    except TypeError:
        several = given if isinstance(given, Iterable) else [given]
    return [whole(seed, "a seed") for seed in several]


def one_generator(given: Any) -> Generator | None:
    """The generator given, or None.

    Raises:
        ValueError: it is something else.
    """
    if given is None or isinstance(given, Generator):
        return given
    raise ValueError(f"generator must be a torch.Generator, not {given!r}")


def one_each(given: Any) -> list[Generator] | None:
    """The generators given, one for each image; None if one serves all, or torch's global one.

    Raises:
        ValueError: there is something else.
    """
    if given is None or isinstance(given, Generator):
        return None
    generators = list(given) if isinstance(given, Iterable) else [given]
    for each in generators:
        if not isinstance(each, Generator):
            raise ValueError(
                f"generator must be a torch.Generator, or a list with one for each image, not {given!r}"
            )
    return generators


def label_of(choices: Sequence[Sequence[int]], seed: int) -> int:
    """The label of a seed: the choices take turns, and so do the labels of each.

    >>> [label_of([(0,), (1, 2)], seed) for seed in range(6)]
    [0, 1, 0, 2, 0, 1]
    """
    turn, place = divmod(seed, len(choices))
    return choices[place][turn % len(choices[place])]


def in_proportion(labels: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """A hundred turns in which each label is as often as its share of the sizes says, evenly spread.

    >>> in_proportion([5, 6], [3, 1])[:8]
    (5, 5, 6, 5, 5, 5, 6, 5)
    """
    total, taken, turns = sum(sizes), [0] * len(labels), []
    for turn in range(1, 101):
        owed = [turn * size / total - had for size, had in zip(sizes, taken, strict=True)]
        place = owed.index(max(owed))
        taken[place] += 1
        turns.append(labels[place])
    return tuple(turns)


def wanted(
    named: Sequence[Sequence[int]] | None,
    every: Sequence[Sequence[int]],
    *,
    generator: Any,
    seeds: Any,
    num_images: Any,
) -> tuple[list[int], list[int]]:
    """The seed and the label of each image that a call asks for.

    Args:
        named: choices, each of the labels that one name leaves open, or None.
        every: those that take turns if none is named.
        generator, seeds, num_images: as :class:`simflow.pipeline.Pipeline` is given them.

    Raises:
        ValueError: one of them is nothing of its kind, or they are of different numbers of images.
    """
    chosen, anywhere = (every, True) if named is None else (named, False)
    numbers = None if seeds is None else seeds_in(seeds)
    generators = one_each(generator)
    count = next(len(each) for each in (numbers, generators, named, [None]) if each is not None)
    if num_images is not None:
        count = whole(num_images, "num_images")
    if count < 0:
        raise ValueError(f"num_images must be 0 or more, not {count}")
    if count and not chosen:
        raise ValueError(f"no class label is given for {count} images")
    for each, what in ((numbers, "seeds"), (generators, "generators")):
        if each is not None and len(each) != count:
            raise ValueError(f"{len(each)} {what} for {count} images: each image needs one")
    one_a_label = not anywhere and len(chosen) == count
    if numbers is None:
        if not anywhere and 0 < count < len(chosen):
            raise ValueError(f"{len(chosen)} class labels for {count} images: each image has one")
        n = max(len(chosen), 1)
        if generators is None:
            numbers = in_turn(count, n, generator, anywhere=anywhere)
        else:
            numbers = of_each(generators, n, anywhere=anywhere)
    if one_a_label:
        return numbers, [label_of([choice], seed) for choice, seed in zip(chosen, numbers, strict=True)]
    return numbers, [label_of(chosen, seed) for seed in numbers]


def in_turn(count: int, classes: int, generator: Generator | None, *, anywhere: bool) -> list[int]:
    """Seeds that follow each other modulo the number of classes.

    Args:
        count: how many.
        classes: between how many turns are taken.
        generator: where they come from; torch's global generator if None.
        anywhere: the first class is drawn too, instead of 0.
    """
    first = _drawn(1, classes, generator)[0] if anywhere else 0
    draws = _drawn(count, HIGHEST // classes, generator)
    return [draw * classes + (first + number) % classes for number, draw in enumerate(draws)]


def of_each(generators: Iterable[Generator], classes: int, *, anywhere: bool) -> list[int]:
    """The same with a generator for each image: each gives the seed that it would give alone, in its turn.

    >>> several = [Generator().manual_seed(seed) for seed in (1, 2)]
    >>> alone = Generator().manual_seed(2)
    >>> of_each(several, 10, anywhere=True)[1:] == in_turn(1, 10, alone, anywhere=True)
    True
    """
    alone = [in_turn(1, classes, generator, anywhere=anywhere)[0] for generator in generators]
    return alone if anywhere else [seed + number % classes for number, seed in enumerate(alone)]


def _drawn(count: int, below: int, generator: Generator | None) -> list[int]:
    device = "cpu" if generator is None else generator.device
    return torch.randint(below, (count,), generator=generator, device=device).tolist()
