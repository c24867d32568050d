"""Studies of a few thousand parameters, a few dozen images and two steps."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from simflow.evaluate.desk import Desk
from simflow.study.budget import Budget
from simflow.study.study import Before, Claim, Row, Study
from simflow.study.worker import Outcome, work
from tests.whole.tiny import pictures

SETTINGS = {
    "data.image_size": 16,
    "data.fit": "crop",
    "model.autoencoder.latent_channels": 4,
    "model.autoencoder.widths": [8, 8],
    "model.prior.depths": [1, 1],
    "model.prior.block.width": 16,
    "model.prior.block.heads": 2,
    "train.batch": 4,
    "train.log_every": 1,
}

FROZEN = Row(
    name="frozen",
    label="frozen",
    recipe="table10-frozen-fixed-demo",
    paper={"psnr": 27.54, "fd": 67.41},
    after=Before(name="vae", recipe="vae-fixed-demo"),
)
JOINT = Row(name="joint", label="joint", recipe="table10-fixed-demo", paper={"psnr": 22.61, "fd": 16.97})
ALIGNED = Row(name="aligned", label="aligned", recipe="figure8-first-demo")

CLAIMS = (
    Claim(better="frozen", worse="joint", figure="psnr", source="Table 10"),
    Claim(better="joint", worse="frozen", figure="accuracy", source="Table 10"),
)


def study(*rows: Row) -> Study:
    claims = CLAIMS if rows == (FROZEN, JOINT) else ()
    return Study(name="tiny", says="frozen or joint", source="Table 10", rows=rows, claims=claims)


@contextmanager
def silent(what: str, total: int) -> Iterator:
    yield lambda done: None


def budget(folder: Path, **changes) -> Budget:
    place = folder / "pictures"
    if not place.exists():
        pictures(place)
    given = {"study": "tiny", "steps": 2, "num": 6, "held_out": 8, "extractor": "none"}
    return Budget(**given | {"data": str(place), "settings": SETTINGS} | changes)


def run(made: Study, given: Budget, out: Path, *, seeds=(0,), **options) -> Outcome:
    desk = Desk(device=torch.device("cpu"), counting=silent, groups=0)
    return work(made, given, out, seeds=seeds, rows=options.pop("rows", ()), desk=desk, **options)
