"""SimFlow: image generation with normalizing flows, trained end to end with the autoencoder.

The few names that build, train, sample, encode, decode and score; all else is in the modules they come from.
Nothing runs when this is imported, not even ``import torch``: a name is fetched when it is first used.

Build
    ``recipes.get("demo")`` gives a :class:`RunConfig`; ``config.model.build(Facts(...))`` a :class:`Model`.
Train
    :func:`fit` trains a :class:`RunConfig` into a folder, and goes on with what it finds there.
Sample, encode, decode, score
    :class:`Pipeline` holds trained weights and does all of these.

>>> import simflow
>>> simflow.recipes.get("demo").model.posterior
FixedVariance(std=0.5)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simflow import recipes
    from simflow.config import RunConfig
    from simflow.data.config import DataConfig
    from simflow.fitting import fit
    from simflow.model import Facts, Model, ModelConfig
    from simflow.objective import Objective, ObjectiveConfig
    from simflow.pipeline import Pipeline
    from simflow.sample import SampleConfig
    from simflow.train.loop import TrainConfig

__all__ = [
    "DataConfig",
    "Facts",
    "Model",
    "ModelConfig",
    "Objective",
    "ObjectiveConfig",
    "Pipeline",
    "RunConfig",
    "SampleConfig",
    "TrainConfig",
    "fit",
    "recipes",
]

_HOME = {
    "DataConfig": "simflow.data.config",
    "Facts": "simflow.model",
    "Model": "simflow.model",
    "ModelConfig": "simflow.model",
    "Objective": "simflow.objective",
    "ObjectiveConfig": "simflow.objective",
    "Pipeline": "simflow.pipeline",
    "RunConfig": "simflow.config",
    "SampleConfig": "simflow.sample",
    "TrainConfig": "simflow.train.loop",
    "fit": "simflow.fitting",
}
"""The module that each name comes from."""


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("simflow.origin").version() or "unknown (not installed)"
    if name == "recipes":
        return import_module("simflow.recipes")
    if name not in _HOME:
        raise AttributeError(f"module 'simflow' has no attribute '{name}'")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
