"""A trained model in hand: from a folder, a name or the hub to images, latents, densities and scores.

    pipe = Pipeline.from_pretrained("runs/demo")
    pipe(class_labels=["sandal", "bag"], guidance_scale=0.5, num_images=8).images   # 4 PIL images of each
    pipe.log_prob(pipe.encode(images), class_labels="bag")                          # nats

A name is that of a model that comes with the package (:mod:`simflow.pretrained`); it needs no network.
Images that go in are float in [-1, 1] or uint8, ``(b, channels, height, width)``, or a list of PIL images, which are
made ready as the run's own were: of any size where these were cropped. Floats of any precision are cast to that of the
weights, and none in are none out. Class labels are names or numbers, one per image or
one for all. The averaged weights are used unless told otherwise.
"""

import operator
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, get_args

import numpy as np
import torch
from torch import Generator, Tensor

from simflow import distributed, turns, weights
from simflow.config import RunConfig, build, to_record
from simflow.data.decode import prepare
from simflow.files import at_home, write_json
from simflow.flow import score as flow_score
from simflow.flow.decode import Decoding
from simflow.model import Model
from simflow.pixels import require_signed, to_float
from simflow.places import find
from simflow.plan.record import MeasuredPlan
from simflow.plan.search import PlanConfig, measure
from simflow.precision import NetworkDtype, network_dtype
from simflow.sample import Rule, SampleConfig, guided, sample_all
from simflow.shapes import NULL, Images, Labels, Latents, PerImage
from simflow.tensors import misfit
from simflow.train import checkpoint
from simflow.train.runs import RunFolder

if TYPE_CHECKING:
    from PIL.Image import Image

ClassLabels = str | SupportsIndex | Sequence[str | SupportsIndex]
"""A class by name or number, or several; arrays and tensors of numbers too."""
OutputType = Literal["pil", "np", "pt"]
OUTPUT_TYPES = get_args(OutputType)


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """Generated images, and what made each of them."""

    images: Any
    """A list of PIL images, or uint8: ``"np"`` (b, height, width, channels), ``"pt"`` (b, channels, height, width)."""
    labels: list[int]
    """The class of each; -1 for none."""
    seeds: list[int]
    """The seed of each: the same seed, label and settings make the same image again."""


class Pipeline:
    """A trained model with the settings of its run. Make it with :meth:`from_pretrained`.

    A call follows the run's own way of sampling in all that it is not told. What a call has no word for is changed in
    the settings, by :func:`simflow.settings.override`::

        pipe.config = override(pipe.config, {"sample.refinement": "GuidedScoreStep", "sample.guidance": "LogScale"})

    A model that is given is put into evaluation mode, and its parameters no longer require a gradient.
    """

    def __init__(self, model: Model, config: RunConfig) -> None:
        self.model, self.config = model.eval().requires_grad_(requires_grad=False), config

    @classmethod
    def from_pretrained(
        cls, source: str | Path, *, which: Literal["ema", "model"] = "ema", revision: str | None = None
    ) -> "Pipeline":
        """Loads a run folder (its newest checkpoint), one checkpoint, a saved pipeline, or a model by its name.

        Args:
            source: a folder; or else the name of a model that comes with the package, or ``owner/name`` on the
                Hugging Face hub.
            which: the averaged weights or the raw ones; a saved pipeline has one kind only.
            revision: branch, tag or commit on the hub.

        Raises:
            ValueError: there is nothing of the kind, or it is damaged.
        """
        folder = find(source, revision=revision)
        config, model = _built(folder)
        tensors = weights.read(folder, which)
        wrong = misfit(tensors, model.state_dict())
        if wrong is not None:
            raise ValueError(f"the weights in '{folder}' do not fit the settings beside them: {wrong}")
        model.load_state_dict(tensors)
        return cls(model, config)

    def __repr__(self) -> str:
        facts, parameters = self.model.facts, sum(each.numel() for each in self.model.parameters())
        return (
            f"<Pipeline '{self.config.name}': images {facts.channels} x {facts.image_size} x {facts.image_size}, "
            f"{len(facts.class_names)} classes, {parameters:,} parameters on {self.device}>"
        )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes by name, in the order of their numbers; empty if the model has none."""
        return self.model.facts.class_names

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.device

    def to(self, device: str | torch.device) -> "Pipeline":
        """Moves the weights to a device, and prepares this process for a GPU (:func:`simflow.distributed.prepare`).

        Args:
            device: as :func:`simflow.distributed.device_of` has it: "auto" is a GPU if there is one.

        Returns:
            The pipeline itself.

        Raises:
            ValueError: no such device, or a dtype is given.
        """
        if isinstance(device, torch.dtype):
            raise ValueError(
                "the weights of a pipeline stay in float32; a call with dtype=torch.bfloat16 computes in bfloat16"
            )
        self.model.to(distributed.device_of(device))
        distributed.prepare(self.device)
        return self

    def __call__(
        self,
        class_labels: ClassLabels | None = None,
        *,
        guidance_scale: float | None = None,
        attention_temperature: float | None = None,
        generator: Generator | Sequence[Generator] | None = None,
        seeds: SupportsIndex | Iterable[SupportsIndex] | None = None,
        num_images: int | None = None,
        temperature: float | None = None,
        decoding: Decoding | None = None,
        batch: int | None = None,
        dtype: NetworkDtype | torch.dtype | None = None,
        output_type: OutputType = "pil",
    ) -> Sampled:
        """Samples images of the class labels in turn.

        Args:
            class_labels: a name or number, or several; -1 is "no class"; None means all classes; the name of a family
                is one of its classes (``family/class``), which take turns. As many as there are
                images: one for each, in their order. Else an image's is number ``seed % n`` of the ``n``, as in
                ``simflow sample``. Drawn seeds make that turns, from the first label on, or from one that is drawn
                too if None; seeds that are given do not: 1, 2, 3 of "bag" and "sandal" are sandal, bag, sandal.
            guidance_scale: strength of guidance; None is the run's own, 0 is none.
            attention_temperature: of the pass that guidance leads away from; None is the run's own. Other than 1,
                it guides flows without classes too.
            generator: where the seeds come from; torch's global generator if None. Of several, image i is made from
                the i-th alone, which draws its class too if ``class_labels`` is None.
            seeds: one for each image, instead of drawn ones; a number alone makes one image.
            num_images: how many. If None, one for each seed, or else for each of several generators, or else for each
                label given, or else one.
            temperature: standard deviation of the noise; None is the run's own.
            decoding: how the blocks of a flow are undone, such as ``pipe.plan().plan``; None is the run's own.
            batch: images sampled at once; None is the run's own.
            dtype: in what networks compute; None is the run's own.
            output_type: see :class:`Sampled`.

        Raises:
            ValueError: an unknown class or kind of output, guidance without classes, seeds or generators that are no
                such or too many or too few, more labels than images, a negative number of images, or a way of decoding
                that does not fit the prior.
        """
        if output_type not in OUTPUT_TYPES:
            raise ValueError(f"output_type is one of {', '.join(OUTPUT_TYPES)}, not {output_type!r}")
        given = None if class_labels is None else self._choices(class_labels)
        every = [(label,) for label in range(len(self.class_names))] or [(NULL,)]
        numbers, labels = turns.wanted(given, every, generator=generator, seeds=seeds, num_images=num_images)
        config = self._sampling(guidance_scale, attention_temperature, temperature, batch, dtype)
        if decoding is not None:
            if not isinstance(decoding, get_args(Decoding)):
                raise ValueError(f"decoding is Sequential(...), Jacobi(...) or a plan, not {decoding!r}")
            config = replace(config, decoding=decoding)
        images = sample_all(self.model, seeds=numbers, labels=labels, config=config)
        return Sampled(images=_as(images, output_type), labels=labels, seeds=numbers)

    def plan(
        self,
        *,
        tolerance: float = 0.02,
        num: int = 16,
        batch: int | None = None,
        guidance_scale: float | None = None,
        attention_temperature: float | None = None,
        temperature: float | None = None,
        dtype: NetworkDtype | torch.dtype | None = None,
    ) -> MeasuredPlan:
        """Measures how this model is decoded fastest on its device (:mod:`simflow.plan.search`); nothing is stored.

        Its ``plan`` is the ``decoding`` of a call with the same guidance, temperature and dtype.

        Args:
            tolerance: how far a number of an image, on [-1, 1], may be from exact decoding.
            num: probe images for the choice, and as many fresh ones for the check.
            batch: images sampled at once; None is the run's own.
            guidance_scale, attention_temperature, temperature, dtype: as for a call.

        Raises:
            ValueError: the prior is no flow, or guidance without classes.
        """
        config = self._sampling(guidance_scale, attention_temperature, temperature, batch, dtype)
        return measure(self.model, config, PlanConfig(tolerance=tolerance, num=num))

    @torch.no_grad()
    def encode(self, images: "Tensor | Sequence[Image]", *, generator: Generator | None = None) -> Latents:
        """Latents ``(b, c, h, w)`` of images: the mean of their posterior, or a draw if given a generator.

        Raises:
            ValueError: float images outside [-1, 1], no batch of images of the model's size and number of channels, or
                what is no generator.
        """
        signed, source = self._signed(images), turns.one_generator(generator)
        if not len(signed):  # torch's pixel_unshuffle leaves channels of an empty batch as they are
            return signed.new_zeros(0, *self.model.latent_shape)
        if source is not None:
            return self.model.encode(signed, source)
        return self.model.posterior.mean(self.model.autoencoder.encode(signed))

    @torch.no_grad()
    def decode(self, latents: Latents) -> Images:
        """Images of latents ``(b, c, h, w)``, held in [-1, 1].

        Raises:
            ValueError: no batch of latents of the model's shape.
        """
        return self.model.decode(self._latents(latents)).clamp(-1, 1)

    def reconstruct(
        self, images: "Tensor | Sequence[Image]", *, generator: Generator | None = None
    ) -> Images:
        """Images, encoded and decoded again; through a noisy latent, as in training, if given a generator."""
        return self.decode(self.encode(images, generator=generator))

    @torch.no_grad()
    def log_prob(self, latents: Latents, class_labels: ClassLabels | None = None) -> PerImage:
        """``log p(latents | labels)`` in nats, ``(b,)``, exact; ``log p(latents)`` without labels.

        Raises:
            ValueError: an unknown class, neither one label nor one for each of the latents, no batch of latents of the
                model's shape, or a prior that has no density.
        """
        latents = self._latents(latents)
        return self.model.prior.log_prob(latents, self._labels_of(class_labels, len(latents)))

    def score(self, latents: Latents, class_labels: ClassLabels | None = None) -> Latents:
        """``grad log p(latents | labels)``, of the shape of the latents; labels and errors as in :meth:`log_prob`."""
        latents = self._latents(latents)
        labels = self._labels_of(class_labels, len(latents))
        return flow_score.score(self.model.prior.log_prob, latents, labels)

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        dtype: NetworkDtype | torch.dtype | None = None,
        max_shard_size: int | str = "5GB",
    ) -> None:
        """Writes ``config.json`` and ``model.safetensors``: all that :meth:`from_pretrained` needs.

        Args:
            folder: made if need be; files of these names in it are replaced.
            dtype: in what the weights are written; as they are, if None. ``bfloat16`` halves the file and rounds
                each number to 8 bits; :meth:`from_pretrained` computes in float32 either way.
            max_shard_size: of one file, in bytes or as a text such as "5GB"; larger weights are divided among several
                files with an index (:mod:`simflow.weights`).
        """
        folder = at_home(folder)
        if RunFolder(folder).newest is not None:
            raise ValueError(f"'{folder}' is a run: save the model into a folder of its own")
        if (folder / "state.json").is_file():
            raise ValueError(f"'{folder}' is a checkpoint: save the model into a folder of its own")
        folder.mkdir(parents=True, exist_ok=True)
        stored = {name: _stored(tensor, dtype) for name, tensor in self.model.state_dict().items()}
        weights.write(folder, stored, largest=max_shard_size)
        record = to_record(self.config, self.model.facts)
        write_json(folder / "config.json", record)

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Uploads what :meth:`save_pretrained` writes to ``owner/name`` on the hub; gives its address."""
        from huggingface_hub import HfApi

        api = HfApi()
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(repo_id=repository, folder_path=folder)
        return str(address)

    def guidance(
        self, weight: float | None = None, attention_temperature: float | None = None
    ) -> Rule | None:
        """The run's own rule of guidance with another strength or attention temperature, where they are not None.

        Raises:
            ValueError: it would guide by classes, and the model has none, or it does not suit the prior.
        """
        return guided(
            self.config.sample.guidance,
            self.model,
            weight=weight,
            attention_temperature=attention_temperature,
        )

    def _sampling(
        self,
        guidance_scale: float | None,
        attention_temperature: float | None,
        temperature: float | None,
        batch: int | None,
        dtype: NetworkDtype | torch.dtype | None,
    ) -> SampleConfig:
        """The run's own way of sampling with what is not None."""
        config = self.config.sample
        if temperature is not None:
            config = replace(config, temperature=temperature)
        if batch is not None:
            config = replace(config, batch=turns.whole(batch, "batch"))
        if guidance_scale is not None or attention_temperature is not None:
            config = replace(config, guidance=self.guidance(guidance_scale, attention_temperature))
        return config if dtype is None else replace(config, dtype=network_dtype(dtype))

    def _latents(self, latents: Latents) -> Latents:
        if not latents.is_floating_point():
            raise ValueError(f"latents are floating-point numbers, not {latents.dtype}")
        return self._batch(latents, "latents", self.model.latent_shape)

    def _batch(self, given: Tensor, what: str, shape: tuple[int, ...]) -> Tensor:
        """What is given, where the model is and in its dtype, if it is a batch of such a shape."""
        if given.ndim != len(shape) + 1 or tuple(given.shape[1:]) != shape:
            raise ValueError(
                f"the model takes a batch of {what}, (b, {', '.join(map(str, shape))}), not {tuple(given.shape)}"
            )
        return given.to(self.device, self.model.dtype)

    def _labels_of(self, class_labels: ClassLabels | None, count: int) -> Labels:
        given = NULL if class_labels is None else class_labels
        of_name = self.model.facts.labels_of
        numbers = [
            of_name([label])[0] if isinstance(label, str) else operator.index(label)
            for label in _several(given)
        ] * (count if _single(given) else 1)
        if len(numbers) != count:
            raise ValueError(
                f"{len(numbers)} class labels for {count} latents: give one for each, or one for all"
            )
        labels = torch.tensor(numbers, dtype=torch.int64, device=self.device)
        self.model.check_labels(labels)
        return labels

    def _choices(self, class_labels: ClassLabels) -> list[tuple[int, ...]]:
        of_name = self.model.facts.choices_of
        return [
            of_name([label])[0] if isinstance(label, str) else (operator.index(label),)
            for label in _several(class_labels)
        ]

    def _signed(self, images: "Tensor | Sequence[Image]") -> Images:
        facts = self.model.facts
        pixels = images if isinstance(images, Tensor) else self._prepared(images)
        if pixels.dtype != torch.uint8 and not pixels.is_floating_point():
            raise ValueError(f"images are uint8, or float in [-1, 1], not {pixels.dtype}")
        signed = to_float(pixels) if pixels.dtype == torch.uint8 else require_signed(pixels)
        return self._batch(signed, "images", (facts.channels, facts.image_size, facts.image_size))

    def _prepared(self, pictures: "Sequence[Image]") -> Tensor:
        """PIL images -> uint8, made ready as the run's own images were."""
        from PIL.Image import Image

        pictures = [pictures] if isinstance(pictures, Image) else list(pictures)
        other = next((type(each).__name__ for each in pictures if not isinstance(each, Image)), None)
        if other is not None or not pictures:
            raise ValueError(f"images are a tensor or a list of PIL images, not {other or 'an empty list'}")
        ready = [
            prepare(picture, self.config.data, name=f"image {number}")
            for number, picture in enumerate(pictures)
        ]
        return torch.from_numpy(np.stack(ready))


def _several(class_labels: Any) -> Any:
    return [class_labels] if _single(class_labels) else class_labels


def _single(class_labels: Any) -> bool:
    return np.ndim(class_labels) == 0


def _built(folder: Path) -> tuple[RunConfig, Model]:
    with torch.random.fork_rng(devices=[]):
        return build(checkpoint.load_config(folder))


def _stored(tensor: Tensor, dtype: NetworkDtype | torch.dtype | None) -> Tensor:
    """A tensor as it is written: on the CPU, and numbers (not counts or indices) in the dtype that is asked for."""
    if dtype is None or not tensor.is_floating_point():
        return tensor.detach().cpu()
    return tensor.detach().to("cpu", getattr(torch, network_dtype(dtype)))


def _as(images: Tensor, output_type: OutputType) -> Any:
    if output_type == "pt":
        return images
    array = images.movedim(1, -1).numpy()
    if output_type == "np":
        return array
    from PIL import Image

    return [Image.fromarray(each[..., 0] if each.shape[-1] == 1 else each) for each in array]
