"""``simflow import tarflow CHECKPOINT``: a state dict of Apple's TarFlow as a saved model of ours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from tyro.conf import Positional

from simflow.autoencoder.pixels import PixelsConfig
from simflow.cli.describe import lines_of
from simflow.cli.words import refuse_settings
from simflow.config import RunConfig
from simflow.data.config import DataConfig
from simflow.flow.apple import Imported, read_tarflow
from simflow.flow.guidance import LogScale
from simflow.flow.score import ScoreDenoise
from simflow.losses.reconstruction import PixelMean
from simflow.model import Facts, ModelConfig
from simflow.objective import ObjectiveConfig
from simflow.pipeline import Pipeline
from simflow.posterior import Dequantised, FixedVariance, NoNoise, Posterior
from simflow.sample import SampleConfig

NAME = re.compile(r".*_model(?:_\d+){4}_(?P<noise>uniform|\d+(?:\.\d+)?)")
"""How ml-tarflow names its checkpoints; the last part is the noise of training."""


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """Turns a checkpoint of apple/ml-tarflow into a folder that sample, info and classify take.

    The shape of the model is read from the tensors. The file is read as tensors only, no code of it runs. The
    public AFHQ model is of three classes: cat, dog, wild.
    """

    kind: Positional[Literal["tarflow"]]
    """Whose checkpoint it is."""
    checkpoint: Positional[Path]
    """The .pth file: a state dict."""
    out: Path
    """The new folder."""
    classes: str | None = None
    """Names of the classes with commas; their numbers if not given."""
    noise_std: float | None = None
    """Standard deviation of the noise of training, on [-1, 1]; samples are then cleaned by one score step. Told by
    names such as afhq_model_8_768_8_8_0.07.pth."""


def run(arguments: Arguments, settings: Mapping[str, Any]) -> int:
    """Reads, checks, writes."""
    refuse_settings(settings, "import")
    if arguments.out.exists() and (arguments.out.is_file() or any(arguments.out.iterdir())):
        raise ValueError(f"'{arguments.out}' is there already and not empty")
    posterior = posterior_of(arguments)
    imported = read_tarflow(arguments.checkpoint)
    facts = Facts(
        image_size=imported.image_size,
        channels=imported.channels,
        class_names=class_names(arguments.classes, imported.classes),
    )
    config = config_of(imported, posterior)
    with torch.device("meta"):
        model = config.model.build(facts)
    state = {name: tensor.float() for name, tensor in imported.state.items()}
    model.prior.load_state_dict(state, assign=True)
    Pipeline(model, config).save_pretrained(arguments.out)
    print("\n".join(lines_of(config, facts)))
    print(f"noise        {described(posterior)}")
    print(f"written to {arguments.out}; simflow sample {arguments.out} --out SAMPLES")
    return 0


def posterior_of(arguments: Arguments) -> FixedVariance | Dequantised | NoNoise:
    """The noise of training, as told by the flag or else by the file's name.

    Raises:
        ValueError: a negative standard deviation.
    """
    noise = arguments.noise_std
    if noise is None:
        named = NAME.fullmatch(arguments.checkpoint.stem)
        if named and named["noise"] == "uniform":
            return Dequantised()
        noise = float(named["noise"]) if named else 0.0
    if noise < 0:
        raise ValueError(f"--noise-std must not be negative, and it is {noise}")
    return FixedVariance(std=noise) if noise else NoNoise()


def class_names(text: str | None, classes: int) -> tuple[str, ...]:
    """One name a class.

    Raises:
        ValueError: there are more or fewer classes.
    """
    if text is None:
        return tuple(str(label) for label in range(classes))
    names = tuple(name.strip() for name in text.split(","))
    if len(names) != classes or len(set(names)) != classes:
        raise ValueError(f"the checkpoint has {classes} classes, and --classes gives {len(set(names))} names")
    return names


def config_of(imported: Imported, posterior: FixedVariance | Dequantised | NoNoise) -> RunConfig:
    """The settings of a TarFlow of this shape, guided as far as it has classes."""
    step = None if posterior.noise_std is None else ScoreDenoise(std=posterior.noise_std)
    return RunConfig(
        name="imported-tarflow",
        data=DataConfig(path="images", image_size=imported.image_size, channels=imported.channels),
        classes=imported.classes,
        model=ModelConfig(autoencoder=PixelsConfig(), posterior=posterior, prior=imported.config),
        objective=ObjectiveConfig(
            reconstruction=PixelMean(weight=0.0), label_drop=0.1 if imported.classes else 1.0
        ),
        sample=SampleConfig(guidance=LogScale() if imported.classes else None, refinement=step),
    )


def described(posterior: Posterior) -> str:
    """What is known of the noise of training."""
    if posterior.noise_std is not None:
        return f"standard deviation {posterior.noise_std:g}: samples are cleaned by one score step"
    if posterior.lossless:
        return "uniform: for likelihood"
    return "not known: samples stay as noisy as they come; --noise-std S tells"
