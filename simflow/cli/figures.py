"""The figures of an evaluation, as lines for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from simflow.evaluate.called import NONE_HELD_OUT, unseen_of


def say(record: Mapping[str, Any]) -> list[str]:
    """A line per figure, with its error and floor; then what was left out."""
    return list(_lines(record))


def line(figure: Mapping[str, Any]) -> str:
    """One figure.

    >>> line({"name": "FID", "value": 12.345, "standard_error": 0.21, "floor": 3.2})
    'FID                         12.35 ± 0.21, real images 3.2'
    """
    text = f"{figure['name']:<26} {number(figure['value']):>6}"
    if figure.get("standard_error") is not None:
        text += f" ± {figure['standard_error']:.2g}"
    if figure.get("floor") is not None:
        text += f", real images {number(figure['floor'])}"
    return text + (", rank deficient" if figure.get("detail", {}).get("rank_deficient") else "")


def number(value: float | None) -> str:
    """Four figures.

    >>> number(0.81234), number(123.456), number(None)
    ('0.8123', '123.5', 'no number')
    """
    return "no number" if value is None else f"{value:.4g}"


def bits_of(score: Mapping[str, Any]) -> str:
    """Bits per dimension of a set of images, to four decimals.

    >>> bits_of({"bits_per_dimension": 5.97912}), bits_of({"bits_per_dimension": None})
    ('5.9791', 'no number of')
    """
    value = score["bits_per_dimension"]
    return "no number of" if value is None else f"{value:.4f}"


def _lines(record: Mapping[str, Any]) -> Iterator[str]:
    samples, reference = record["samples"], record["reference"]
    yield f"{samples['count']} samples against {reference['count'] or 'the statistics'} of {reference['source']}"
    for part in record["generation"]:
        yield f"by {part['extractor']['network']}"
        for figure in part["figures"]:
            yield f"  {line(figure)}"
    for sentence in record.get("notes", ()):
        yield f"note: {sentence}"
    known = record.get("classes")
    if known is not None:
        if known["accuracy"] is not None:
            held = known["accuracy_of_held_out"]
            beside = "" if held is None else f", held-out images {held:.1%}"
            yield f"class accuracy {known['accuracy']:.1%}{beside}"
        if known["diversity"] is not None:
            yield f"diversity within classes {known['diversity']:.3f} of that of real images"
    near = record.get("neighbours")
    if near is not None:
        yield (
            f"nearest training image: {near['copying_share']:.1%} of samples as near as 1% of {near['yardstick']} are"
        )
    rebuilt = record.get("reconstruction")
    if rebuilt is not None:
        yield f"reconstruction of {rebuilt['images']} {unseen_of(record)}"
        for figure in rebuilt["figures"]:
            yield f"  {line(figure)}"
    coded = record.get("likelihood")
    if coded is not None:
        held = coded["held_out"]
        error = "" if held["standard_error"] is None else f" ± {held['standard_error']:.2g}"
        bits = f"{bits_of(held)}{error} bits per dimension"
        yield f"likelihood: {bits} on {held['images']} {unseen_of(record)} ({coded['bound']})"
        for name, foreign in coded["foreign"].items():
            yield f"  {name}: {bits_of(foreign)} bits, told apart with AUROC {foreign['auroc']:.3f}"
    for sentence in record["left_out"]:
        hint = " (data.hold_out sets some apart before a training)" if sentence == NONE_HELD_OUT else ""
        yield f"left out: {sentence}{hint}"
