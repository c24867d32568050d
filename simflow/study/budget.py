"""What every run of a study is given alike, and the file that holds a folder to it.

``study.yaml`` in a study's folder says what its runs were trained and judged with. Seeds and rows are not in it: more
of them may be asked for at any time, by any process, and all go into the same table. Anything else that differs would
make rows that cannot be compared, and is refused.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from simflow import recipes
from simflow.config import RunConfig
from simflow.evaluate.choose import parse
from simflow.files import replacing
from simflow.records import differing
from simflow.settings import override
from simflow.start import StartFrom
from simflow.study.study import Before, Row, Scale

FILE = "study.yaml"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Of all runs of a study."""

    study: str
    """Its name."""
    scale: Scale = "small"
    """Which recipes."""
    steps: int | None = None
    """Length of each run, and of each autoencoder trained before one; the recipe's own if None."""
    num: int = 1000
    """Samples that are judged, once guided and once not."""
    held_out: int = 1000
    """Most held-out images that are reconstructed."""
    reference_num: int = 5000
    """Most training images that samples are compared with."""
    extractor: str = "efficientnet-lite0"
    """What the Fréchet distances are of; ``none`` for none."""
    data: str | None = None
    """Where the images are; the recipe's own if None."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings of every run."""

    def __post_init__(self) -> None:
        for name, least in (("num", 1), ("held_out", 2), ("reference_num", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"--{name.replace('_', '-')} must be at least {least}, not {getattr(self, name)}"
                )
        if len(parse(self.extractor)) > 1:
            raise ValueError(
                "a study takes its Fréchet distances by one extractor: name one with --extractor"
            )
        if "train.seed" in self.settings:
            raise ValueError("the seeds of a study are said with --seeds, not with --train.seed")
        if "name" in self.settings:
            raise ValueError("the runs of a study are named after its rows")

    def configure(self, run: Row | Before, *, seed: int, start_from: Path | None = None) -> RunConfig:
        """The configuration of one run.

        Raises:
            ValueError: no such recipe, or a setting that it has not.
        """
        own = run.settings if isinstance(run, Before) else {}
        config = override(recipes.get(run.recipe), own)
        config = override(config, self._settings_for(run, config))
        if self.data is not None:
            config = replace(config, data=replace(config.data, path=self.data))
        if self.steps is not None:
            config = config.with_steps(self.steps)
        if start_from is not None:
            start = replace(config.start_from or StartFrom(), path=str(start_from))
            config = replace(config, start_from=start)
        return replace(config, train=replace(config.train, seed=seed))

    def _settings_for(self, run: Row | Before, config: RunConfig) -> dict[str, Any]:
        """The settings that concern a run: an autoencoder before a row has no prior and no samples, and of the rows
        of Figure 8 one has no alignment."""
        foreign = ("model.prior", "sample") if isinstance(run, Before) else ()
        if config.objective.alignment is None:
            foreign = (*foreign, "objective.alignment")
        return {
            name: value
            for name, value in self.settings.items()
            if not any(name.startswith(f"{part}.") for part in foreign)
        }


def hold_to(folder: Path, budget: Budget) -> None:
    """Writes ``study.yaml``, or compares the one that is there with ``budget``.

    Raises:
        ValueError: the folder was begun with another budget, or holds something else.
    """
    file, here = folder / FILE, plain(budget)
    if file.is_file():
        there = yaml.safe_load(file.read_text(encoding="utf-8"))
        if not isinstance(there, dict):
            raise ValueError(f"'{file}' is not the budget of a study")
        changed = [name for name in here | there if there.get(name) != here.get(name)]
        if changed:
            said = "; ".join(differing(there, here, name) for name in changed)
            raise ValueError(
                f"the study in '{folder}' was begun with another budget ({said}); give another --out"
            )
        return
    if folder.exists() and (not folder.is_dir() or any(path.name != "locks" for path in folder.iterdir())):
        raise ValueError(f"'{folder}' is not empty and holds no study: give another --out")
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(file) as part:
        part.write_text(yaml.safe_dump(here, sort_keys=False), encoding="utf-8")


def plain(budget: Budget) -> dict[str, Any]:
    """The budget as YAML holds it."""
    return asdict(budget) | {"settings": dict(budget.settings)}
