"""``simflow evaluate``: the field's figures of a run, or of samples from anywhere, as one JSON file."""

import logging
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from simflow import distributed
from simflow.cli.bars import counting
from simflow.cli.evaluate_arguments import Arguments, place
from simflow.cli.evaluate_run import judge_run
from simflow.cli.figures import say
from simflow.cli.image_files import check_there, described, is_npz, loaded, real_images, tell_unreadable
from simflow.cli.talk import talking
from simflow.cli.words import refuse_settings
from simflow.evaluate.choose import choose
from simflow.evaluate.desk import Desk
from simflow.evaluate.earlier import joined, objection
from simflow.evaluate.figures import finite
from simflow.evaluate.generation import GenerationConfig
from simflow.evaluate.protocol import generation
from simflow.evaluate.provenance import made_by
from simflow.evaluate.reference import read_archive
from simflow.evaluate.shares import notes
from simflow.files import read_json, require_writable, write_json

logger = logging.getLogger("simflow")

__all__ = ["Arguments", "run"]

FORMAT = 1
"""Number of the layout of the JSON file; see docs/evaluation.md."""


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Judges, writes and sums up."""
    refuse_settings(settings, "evaluate")
    out = place(arguments)
    with distributed.launch(arguments.device) as device, talking() as console:
        config = GenerationConfig(
            split=arguments.inception_split, groups=arguments.groups, seed=arguments.seed
        )
        desk = Desk(
            device=device,
            counting=partial(counting, console),
            batch=arguments.feature_batch,
            model_batch=arguments.how.batch or 100,
            seed=arguments.seed,
            groups=arguments.groups,
        )
        found = (
            judge_samples(arguments, config, desk, console)
            if arguments.run is None
            else judge_run(arguments, arguments.run, out, config, desk, console)
        )
        said = {name: value for name, value in asdict(arguments).items() if value is not None}
        record = {
            "format": FORMAT,
            "name": arguments.name,
            "made_by": made_by(device),
            **found,
            "settings": {n: str(value) if isinstance(value, Path) else value for n, value in said.items()},
        }
        if distributed.is_main():
            out.mkdir(parents=True, exist_ok=True)
            file = out / f"{arguments.name}.json"
            record = with_earlier(file, finite(record))
            write_json(file, record)
            print("\n".join([*say(record), "", f"all figures: {file}"]))
        distributed.barrier()
    return 0


def with_earlier(file: Path, record: dict[str, Any]) -> dict[str, Any]:
    """The record, with what an earlier one in its file found of the same samples and this one did not look for."""
    if not file.is_file():
        return record
    try:
        earlier = read_json(file)
        why = objection(earlier, record)
    except ValueError as error:
        earlier, why = {}, str(error)
    if why:
        logger.warning("the earlier figures in %s are replaced (%s); --name keeps them apart", file, why)
        return record
    return joined(earlier, record)


def judge_samples(
    arguments: Arguments, config: GenerationConfig, desk: Desk, console: Console
) -> dict[str, Any]:
    """Figures of samples that somebody else made.

    Raises:
        ValueError: a file is missing or damaged, sizes differ, or there are too few images.
    """
    assert arguments.samples is not None
    assert arguments.reference is not None
    assert arguments.out is not None
    size, path, extractors = arguments.image_size, str(arguments.samples), choose(arguments.extractor)
    check_there(path)
    samples = read_archive(arguments.samples).images if is_npz(path) else None
    if is_npz(path) and samples is None:
        raise ValueError(f"{path} has no images (arr_0), so there are no samples to judge")
    size = size if samples is None else samples.images([0]).shape[-1]
    real = real_images(arguments.reference, size=size, limit=arguments.reference_num, console=console)
    if samples is None:
        size = real.pictures.images([0]).shape[-1] if size is None and real.pictures is not None else size
        samples = loaded(path, size=size, console=console)
    distributed.from_main(partial(require_writable, arguments.out / f"{arguments.name}.json"))
    figures, left_out = generation(extractors.extractors, samples, real, config, desk)
    tell_unreadable(real.pictures)
    tell_unreadable(samples)
    return {
        "run": None,
        "samples": {"source": path, "seeds": None, "rounding": "as in the file"} | described(samples),
        "reference": {"source": real.source} | described(real.pictures),
        "generation": figures,
        "notes": notes(samples, real.pictures),
        "left_out": extractors.left_out + left_out,
    }
