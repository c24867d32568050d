"""Arguments that several commands share, each written down once: its type with its line in the help."""

from typing import Annotated, Literal

from tyro.conf import Positional, arg

RUN = arg(
    help="A run folder (its newest checkpoint), a checkpoint folder, a saved model, a name as in simflow recipes, or "
    "owner/name on the hub."
)

Run = Annotated[Positional[str], RUN]
"""The run that a command is about."""

Which = Annotated[Literal["ema", "model"], arg(help="Averaged or raw weights.")]
"""Which of its weights."""

Device = Annotated[str, arg(help="auto, cpu, cuda or mps.")]
"""Where to compute, as :func:`simflow.distributed.device_of` takes it."""

Data = Annotated[str | None, arg(help="Images; the run's own data if not given.")]
"""Images for a trained run."""

Split = Annotated[str | None, arg(help="Which split; test, or else validation, or else all images.")]
"""Which of them."""
