"""What a model is, in a few lines of text: parameter counts and geometry, without allocating the weights."""

import torch
from torch import nn

from simflow.config import RunConfig
from simflow.model import Facts, Model


def on_meta(config: RunConfig, facts: Facts) -> Model:
    """The model without memory behind its parameters.

    Raises:
        ValueError: the image side does not fit the model.
    """
    with torch.device("meta"):
        return config.model.build(facts)


def parameters(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def millions(number: int) -> str:
    """A count in millions.

    >>> millions(474_912_345), millions(12_345)
    ('474.9 M', '0.012 M')
    """
    digits = 1 if number >= 100e6 else 2 if number >= 10e6 else 3
    return f"{number / 1e6:.{digits}f} M"


def lines_of(config: RunConfig, facts: Facts) -> list[str]:
    """The lines that ``simflow info`` and dry runs print about a model."""
    model = on_meta(config, facts)
    encoder = sum(map(parameters, model.autoencoder.encoder_parts()))
    decoder = sum(map(parameters, model.autoencoder.decoder_parts()))
    tokens, numbers = model.prior.noise_shape
    c, h, w = model.latent_shape
    colour = "gray" if facts.channels == 1 else "colour"
    rows = [
        ("images", f"{facts.image_size} x {facts.image_size}, {colour}"),
        ("classes", classes_of(facts)),
        ("latents", f"{c} x {h} x {w}: {tokens} tokens of {numbers} numbers"),
        (
            "autoencoder",
            f"{millions(parameters(model.autoencoder))} (encoder {millions(encoder)}, decoder {millions(decoder)})",
        ),
        (model.prior.kind, f"{millions(parameters(model.prior))} ({model.prior.described})"),
        ("total", millions(parameters(model))),
    ]
    return [f"{name:<12} {text}" for name, text in rows]


def classes_of(facts: Facts) -> str:
    """How many classes, and their names if they have any and are few."""
    names = facts.class_names
    if not names:
        return "none"
    named = any(name != str(label) for label, name in enumerate(names))
    listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{len(names)}: {listed}" if named else str(len(names))
