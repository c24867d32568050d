"""What an earlier evaluation found, and a later one of the same samples did not look for, stays in the record.

Likelihoods take one call and distances another, and each may take a day; the file has the figures of both. They are of
the same thing if the weights, the samples, the reference and the held-out images agree. With other ones nothing is
kept. What was kept says under ``earlier`` what it was made by and with which settings.
"""

from collections.abc import Mapping
from typing import Any

from simflow.records import at, differences, differing

WEIGHTS = "run.sha256"
"""Where a record has the sum of the weights."""

OF = ("samples", "reference", "held_out")
"""The parts of a record that, beside the weights, say what its figures are of."""

PARTS = ("neighbours", "reconstruction", "likelihood")
"""The parts that are there if they were asked for."""


def objection(earlier: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Why the figures of an earlier record are of something else, the first reason in words; nothing if they are not.

    Which path leads to a run or a data set makes no difference, for sums tell whether it is the same.

    >>> objection({"run": {"sha256": "a"}, "samples": {"count": 5}}, {"run": {"sha256": "a"}, "samples": {"count": 6}})
    'samples.count is 5 there and 6 here'
    """
    if earlier.get("format") != record.get("format"):
        return "it is of another format"
    if not (at(earlier, WEIGHTS) and at(record, WEIGHTS)):
        return "only the samples of a run are known to be the same"
    there, here = _of(earlier, record), _of(record, earlier)
    return next((differing(there, here, path) for path in differences(there, here)), "")


def joined(earlier: Mapping[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """A record, with the parts and the feature networks that only the earlier one has, and their files."""
    names = {part["extractor"]["name"] for part in record["generation"]}
    networks = [part for part in earlier["generation"] if part["extractor"]["name"] not in names]
    parts = {name: earlier[name] for name in PARTS if name in earlier and name not in record}
    kept = [*parts, *(part["extractor"]["name"] for part in networks)]
    made = {name: earlier.get(name) for name in ("made_by", "settings")}
    before = earlier.get("earlier", {})
    return record | {
        "generation": record["generation"] + networks,
        **parts,
        "files": earlier["files"] | record["files"],
        "earlier": {name: before.get(name, made) for name in kept},
    }


def _of(record: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What a record is of, as it is compared with another: images that both know by their sum need no name."""
    found: dict[str, Any] = {"weights": at(record, WEIGHTS)}
    for part in OF:
        known = part == "samples" or all(at(each, f"{part}.fingerprint") for each in (record, other))
        leave = {"source"} if known else set()
        found[part] = {name: value for name, value in (record.get(part) or {}).items() if name not in leave}
    return found
