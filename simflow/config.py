"""A run's configuration: the root of the tree of choices, and nothing else.

A recipe (:mod:`simflow.recipes`) is a function that gives a whole :class:`RunConfig`; YAML and flags change numbers
or swap parts of it (:mod:`simflow.settings`); it is saved with every checkpoint, beside the facts of the data.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from simflow import settings
from simflow.data.config import DataConfig
from simflow.model import Facts, Model, ModelConfig
from simflow.objective import ObjectiveConfig
from simflow.sample import SampleConfig
from simflow.start import StartFrom
from simflow.train.loop import TrainConfig
from simflow.train.stretch import stretched


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that a user chooses about a run."""

    name: str
    """Name of the recipe, and of the run folder."""
    data: DataConfig
    """Where the images are and how they are prepared."""
    classes: int | None = None
    """Number of classes where it is known before the data are (parameter counts, dry runs); the data decide."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Autoencoder, posterior and prior."""
    start_from: StartFrom | None = None
    """Weights to begin with, or null: all from the seed."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """The loss and who learns from what."""
    train: TrainConfig = field(default_factory=TrainConfig)
    """Optimisation, lengths, saving."""
    sample: SampleConfig = field(default_factory=SampleConfig)
    """Sampling unless told otherwise."""

    def with_steps(self, steps: int) -> "RunConfig":
        """The same run over another number of steps: its stages and their warm-ups in proportion, as by ``--steps``.

        Raises:
            ValueError: there are fewer steps than stages.
        """
        return replace(self, train=replace(self.train, stages=stretched(self.train.stages, steps)))

    def classes_of(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The classes among those of the images that the model is told of: none where every label is dropped."""
        return names if self.objective.label_drop < 1 else ()

    def expected_facts(self) -> Facts:
        """The facts of the data as far as the configuration knows them."""
        return Facts(
            image_size=self.data.image_size,
            channels=self.data.channels,
            class_names=self.classes_of(tuple(str(label) for label in range(self.classes or 0))),
        )


def to_record(config: RunConfig, facts: Facts) -> dict[str, Any]:
    """What is written beside the weights: choices and facts, JSON-able."""
    return {"config": settings.to_dict(config), "facts": settings.to_dict(facts)}


def from_record(record: dict[str, Any]) -> tuple[RunConfig, Facts]:
    """The inverse of :func:`to_record`.

    Raises:
        ValueError: this is not such a record.
    """
    if not {"config", "facts"} <= record.keys():
        raise ValueError("this configuration was not written by simflow: it lacks 'config' or 'facts'")
    return settings.from_dict(RunConfig, record["config"]), settings.from_dict(Facts, record["facts"])


def completed(record: dict[str, Any]) -> dict[str, Any]:
    """A record of an earlier version, with the settings that have come since at their defaults; one that cannot be
    read stays as it is."""
    try:
        return to_record(*from_record(record))
    except ValueError:
        return record


def build(record: dict[str, Any]) -> tuple[RunConfig, Model]:
    """The configuration and the (untrained) model that a record describes."""
    config, facts = from_record(record)
    return config, config.model.build(facts)
