"""A system of a few thousand parameters and a few dozen images: everything is there, nothing takes long.

``words`` begins a command line that trains it: the recipe is the demo's, a settings file makes it small.
"""

from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from simflow.cli import main

SETTINGS = {
    "data": {"image_size": 16, "channels": 1, "fit": "crop", "flip": True},
    "model": {
        "autoencoder": {"type": "CompactConfig", "latent_channels": 4, "patch": 4, "widths": [8, 8]},
        "posterior": {"type": "FixedVariance", "std": 0.5},
        "prior": {"depths": [1, 1], "block": {"width": 16, "heads": 2}},
    },
    "train": {
        "batch": 4,
        "dtype": "float32",
        "ema": {"rate": 0.9},
        "log_every": 1,
        "stages": [{"steps": 4}],
        "optimizer": {"lr": 0.03},
    },
    "sample": {"guidance": {"type": "GaussianProduct", "weight": 2.0}, "batch": 7},
}

CLASSES = ("bag", "boot", "coat")


def pictures(folder: Path) -> Path:
    """Three classes of 8 training and 4 test images, 16 x 16 gray, as PNG files in class folders."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        for number, name in enumerate(CLASSES):
            place = folder / split / name
            place.mkdir(parents=True)
            for image in range(count):
                pixels = random.integers(0, 60, (16, 16), dtype=np.uint8)
                pixels[4 * number : 4 * number + 6] += 150
                Image.fromarray(pixels).save(place / f"{image}.png")
    return folder


def words(folder: Path) -> list[str]:
    """``train demo --config ... --data ...`` with settings and pictures made in ``folder``, and no ``--out``."""
    file = folder / "tiny.yaml"
    if not file.exists():
        file.write_text(yaml.safe_dump(SETTINGS))
        pictures(folder / "pictures")
    device = ["--device", "cpu"]
    return ["train", "demo", "--config", str(file), "--data", str(folder / "pictures"), *device]


def trained(folder: Path) -> Path:
    """A finished tiny run."""
    out = folder / "run"
    assert main([*words(folder), "--out", str(out)]) == 0
    return out
