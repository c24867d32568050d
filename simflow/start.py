"""Where the weights of a new run come from, if not from the seed: another run, or published weights.

Two kinds of place are understood:

- a run folder, a checkpoint, a saved model of SimFlow or the name of one that comes with the package
  (:mod:`simflow.pretrained`): its autoencoder, its prior, or both. Settings that change what the weights mean (a
  normalisation, an order of blocks) must be the same there and here, save that a flow may grow. A prior that knows
  classes by their names must find the same ones here, in any order, unless it may learn new ones (fine-tuning);
- weights of a convolutional autoencoder as LDM, MAR, VA-VAE and diffusers publish them
  (:mod:`simflow.autoencoder.pretrained`): the autoencoder alone.

An encoder that was trained with a predicted variance gives its mean to a run whose posterior wants the mean only.
``scale`` multiplies the latents: the last layer of the encoder is multiplied by it and the first of the decoder
divided, so that every picture is decoded as before while the prior sees latents of another size (Stable Diffusion's
0.18215 makes their variance about one).

It happens once, before the first step: a resumed run has its own weights and does not look here.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from simflow import hub, pretrained, weights
from simflow.autoencoder.kl import KLAutoencoder
from simflow.autoencoder.pretrained import DIFFUSERS_WEIGHTS, load_weights
from simflow.bounds import positive
from simflow.data.source import differences_of_classes, places_among, places_by_name
from simflow.files import at_home
from simflow.flow.growth import grown
from simflow.flow.stack import Flow
from simflow.model import Facts, Model, ModelConfig
from simflow.nn.embed import ClassEmbedding
from simflow.places import download
from simflow.records import differences, differing
from simflow.settings import from_dict, to_dict
from simflow.tensors import ON_THE_HUB, local_file, misfit
from simflow.train import checkpoint

OF_TRAINING = ("checkpointing", "dropout")
"""Settings of a part that say how it trains: how memory is saved, and what is dropped."""


@dataclass(frozen=True, kw_only=True)
class StartFrom:
    """Weights to begin with; what is not taken from there begins from the seed."""

    path: str | None = None
    """A run folder, checkpoint or saved model of SimFlow, or the name of a model that comes with the package; or an
    autoencoder's weights: a .safetensors, .pt, .pth or .ckpt file, or a diffusers folder. On the hub OWNER/NAME is a
    saved model or diffusers folder, and hub:OWNER/NAME/FILE a file. Null in recipes that cannot do without one: say
    where it is. A ``Path`` is kept as text."""
    parts: Literal["all", "autoencoder", "prior"] = "all"
    """What is taken: autoencoder and prior, or one of them."""
    which: Literal["ema", "model"] = "ema"
    """Averaged or raw weights, where the place has both."""
    scale: float = 1.0
    """Factor on the latents of the autoencoder taken, put into its weights."""
    grow: bool = False
    """Let the flow have more layers in its blocks, and more blocks on the data's side, here than there; these begin as
    the identity (:mod:`simflow.flow.growth`)."""
    new_classes: bool = False
    """Let the classes here be others than there: those of a name that the prior knows keep their vectors, new ones
    begin as "no class"."""

    def __post_init__(self) -> None:
        if self.path is not None:
            object.__setattr__(self, "path", os.fspath(self.path))
        positive(self, "start_from", "scale")
        if self.scale != 1 and self.parts != "autoencoder":
            raise ValueError(
                "start_from.scale is for an autoencoder taken alone: a prior knows one scale only"
            )
        if self.grow and self.parts == "autoencoder":
            raise ValueError("start_from.grow is for a flow, and start_from.parts leaves the flow out")
        if self.new_classes and self.parts == "autoencoder":
            raise ValueError("start_from.new_classes is for a prior, and start_from.parts leaves it out")


def place(config: StartFrom) -> Path:
    """The place to start from.

    Raises:
        ValueError: none is given, there is nothing, or the hub does not give it.
    """
    if config.path is None:
        what = "model" if config.parts == "all" else config.parts
        raise ValueError(f"this recipe starts from a trained {what}: say where it is with --start_from PATH")
    path = at_home(config.path)
    if path.exists():
        return path
    if ON_THE_HUB.fullmatch(config.path):
        return local_file(Path(config.path))
    shipped = pretrained.find(config.path)
    if shipped is not None:
        return shipped
    if hub.ID.fullmatch(config.path):
        return download(config.path, also=(DIFFUSERS_WEIGHTS,))
    raise ValueError(f"there is nothing at '{path}' to start from{pretrained.hint(config.path)}")


def start(model: Model, config: StartFrom) -> None:
    """Overwrites the parts of a fresh model that ``config`` names.

    Raises:
        ValueError: there is nothing of the kind at that place, it is damaged, or it does not fit this model in
            names, shapes or settings.
    """
    path = place(config)
    if is_autoencoder(path):
        if config.parts != "autoencoder":
            raise ValueError(f"'{path}' holds an autoencoder only: set start_from.parts to autoencoder")
        if not isinstance(model.autoencoder, KLAutoencoder):
            kind = type(model.config.autoencoder).__name__
            raise ValueError(
                f"published weights fit the autoencoder of KLConfig, and this model's is of {kind}"
            )
        load_weights(model.autoencoder, path)
    else:
        take(model, path, config)
    if config.scale != 1:
        rescale(model, config.scale)


def is_autoencoder(path: Path) -> bool:
    """Whether a place holds published weights of an autoencoder, and no model of ours: a file, or a folder of diffusers
    by its ``config.json``."""
    settings = path / "config.json"
    return path.is_file() or (settings.is_file() and "_class_name" in checkpoint.read_json(settings))


def take(model: Model, path: Path, config: StartFrom) -> None:
    """Copies parts of a run or saved model of ours.

    Raises:
        ValueError: there is none, or it does not fit.
    """
    folder = weights.weights_in(path)
    stored = weights.read(folder, config.which)
    record = checkpoint.load_config(folder)
    if not {"config", "facts"} <= record.keys():
        raise ValueError(f"'{folder}' was not written by simflow: its config.json lacks 'config' or 'facts'")
    names = from_dict(Facts, record["facts"]).class_names
    there = to_dict(from_dict(ModelConfig, record["config"]["model"]))
    parts = {"autoencoder": model.autoencoder, "prior": model.prior}
    wanted = parts if config.parts == "all" else {config.parts: parts[config.parts]}
    chosen: dict[str, dict[str, Tensor]] = {}
    for part, module in wanted.items():
        here = to_dict(model.config)[part]
        grows = config.grow and isinstance(module, Flow) and "depths" in there[part]
        own = {name: there[part][name] for name in ("depths", "first")} if grows else {}
        compare_settings(part, folder, there[part], here | own)
        given = {
            name.removeprefix(f"{part}."): tensor
            for name, tensor in stored.items()
            if name.startswith(f"{part}.")
        }
        if part == "autoencoder":
            given = means_only(model, given)
        if grows:
            given = grown(module, given, **own)
        if config.new_classes:
            require_room(part, folder, here, given, class_embeddings(module))
        elif any(embedding.classes for embedding in class_embeddings(module).values()):
            require_same_classes(folder, names, model.facts.class_names)
        given = with_classes(module, given, model.facts.class_names, names, new=config.new_classes)
        wrong = misfit(given, module.state_dict())
        if wrong is not None:
            raise ValueError(f"the {part} in '{folder}' does not fit this model: {wrong}")
        chosen[part] = given
    for part, given in chosen.items():
        wanted[part].load_state_dict(given)


def compare_settings(part: str, folder: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Refuses a part whose settings are others, save those that change no weight's meaning (:data:`OF_TRAINING`).

    Raises:
        ValueError: they differ; each is named with both values.
    """
    changed = [
        differing(there, here, path)
        for path in differences(dict(there), dict(here))
        if path.rpartition(".")[2] not in OF_TRAINING
    ]
    if changed:
        raise ValueError(f"the {part} in '{folder}' has other settings: {'; '.join(changed)}")


def means_only(model: Model, given: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an autoencoder without the rows that write a log-variance, where the model wants none."""
    ends = model.autoencoder.ends()
    if ends is None:
        return given
    last, _ = ends
    names = {name for name, p in model.autoencoder.named_parameters() if p is last.weight or p is last.bias}
    rows = last.out_channels
    return {
        name: tensor[:rows] if name in names and len(tensor) == 2 * rows else tensor
        for name, tensor in given.items()
    }


def class_embeddings(module: nn.Module) -> dict[str, ClassEmbedding]:
    """The embeddings of classes in a module by the names of their tables."""
    return {f"{n}.table": part for n, part in module.named_modules() if isinstance(part, ClassEmbedding)}


def with_classes(
    module: nn.Module, given: Mapping[str, Tensor], here: Sequence[str], there: Sequence[str], *, new: bool
) -> dict[str, Tensor]:
    """The tensors given for a module, its tables of classes with the rows of the classes ``here``."""
    places, changed = class_places(here, there, new=new), dict(given)
    for name, embedding in class_embeddings(module).items():
        if knows(given.get(name), len(there), embedding):
            null = len(embedding.table) > embedding.classes
            changed[name] = vectors_for(places, given[name], there=len(there), null=null)
        elif new and name not in given:  # what knew no classes is told of them by a sum, which zeros leave
            changed[name] = torch.zeros_like(embedding.table)
    return changed


def class_places(here: Sequence[str], there: Sequence[str], *, new: bool) -> list[int]:
    """Where each class stands there; behind all others, where new ones are allowed, if it is not there.

    >>> class_places(("hat", "bag"), ("bag", "coat"), new=True), class_places(("0", "1"), ("bag", "coat"), new=False)
    ([2, 0], [0, 1])
    """
    if not new:
        return places_among(here, there) or []
    return places_by_name(here, there, absent=len(there))


def knows(table: Tensor | None, classes: int, embedding: ClassEmbedding) -> bool:
    """Whether a table is of so many classes, and not that of a block which knows none or which has grown."""
    if table is None or (len(table) == 1 and not embedding.classes):
        return False
    return len(table) in (classes, classes + 1)


def vectors_for(places: Sequence[int], table: Tensor, *, there: int, null: bool) -> Tensor:
    """The vectors at these places of a table of so many classes, and that of "no class" if ``null``.

    That of "no class" is the row after those of the classes, or else their mean; it stands behind them all.
    """
    known = table[:there]
    vectors = torch.cat([known, table[there:] if len(table) > there else known.mean(dim=0, keepdim=True)])
    return vectors[[*places, there] if null else list(places)]


def require_room(
    part: str,
    folder: Path,
    settings: Mapping[str, Any],
    given: Mapping[str, Tensor],
    embeddings: Mapping[str, ClassEmbedding],
) -> None:
    """Refuses classes to come or to go where that would change what the prior says without a class.

    Raises:
        ValueError: it knows classes there, and there are none here; or a class is a token here, and there was none.
    """
    if any(name.endswith("classes.table") and name not in embeddings for name in given):
        raise ValueError(
            f"the {part} in '{folder}' knows classes, and the images here have none: give them some, in folders"
        )
    block = settings.get("block") or {}
    if block.get("conditioning") == "prefix" and set(embeddings) - set(given):
        raise ValueError(
            f"the {part} in '{folder}' knows no classes, and a class would be one more token to it: begin elsewhere"
        )


def require_same_classes(folder: Path, there: Sequence[str], here: Sequence[str]) -> None:
    """Refuses a prior that was trained on classes of other names.

    Raises:
        ValueError: the names are not the same, in any order.
    """
    if places_among(here, there) is None:
        told = differences_of_classes(there, here, where=("there", "here"))
        raise ValueError(
            f"the prior in '{folder}' was trained on other classes: {told}; start_from.parts autoencoder leaves it "
            "out, start_from.new_classes true lets it learn these"
        )


@torch.no_grad()
def rescale(model: Model, scale: float) -> None:
    """Multiplies the latents of the model's autoencoder by ``scale``, leaving what they decode to.

    Raises:
        ValueError: the code is normalised, or there is no layer that could be multiplied.
    """
    ends = model.autoencoder.ends()
    if ends is None:
        raise ValueError("start_from.scale is for latents, and this model works on pixels")
    if to_dict(model.config.autoencoder).get("normalize"):
        raise ValueError(
            "start_from.scale has no effect on normalised latents: set model.autoencoder.normalize to false"
        )
    last, first = ends
    channels = first.in_channels
    for parameter in parameters_of(last):
        parameter[:channels] *= scale
    if last.out_channels > channels:
        parameters_of(last)[1][channels:] += 2 * math.log(scale)
    parameters_of(first)[0].div_(scale)


def parameters_of(layer: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer that has both."""
    assert layer.bias is not None
    return layer.weight, layer.bias
