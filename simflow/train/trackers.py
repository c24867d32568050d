"""Experiment trackers, for those who ask for them; the packages are imported only then.

Both show the numbers of ``metrics.jsonl`` under the same names. They are asked for by name on the command
line, so a package that is not installed is a ``ValueError``.
"""

import importlib
import json
import uuid
from pathlib import Path
from typing import Any

from simflow.distributed import is_main
from simflow.train.callbacks import Callback
from simflow.train.metrics import StepMetrics, flat


class TensorBoard(Callback):
    """Writes event files into ``folder``; look at them with ``tensorboard --logdir``.

    A run that goes on from a checkpoint makes some steps once more; what was written of them before is not shown.

    Raises:
        ValueError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.writer = folder, None
        self._package = _import("torch.utils.tensorboard", "tensorboard") if is_main() else None

    def on_step(self, metrics: StepMetrics) -> None:
        """Writes one point for every number."""
        if self._package is None:
            return
        if self.writer is None:
            self.writer = self._package.SummaryWriter(str(self.folder), purge_step=metrics.step)
        for name, value in flat(metrics).items():
            self.writer.add_scalar(name, value, metrics.step)

    def on_end(self) -> None:
        """Closes the event file."""
        if self.writer is not None:
            self.writer.close()


class Wandb(Callback):
    """Reports to Weights & Biases; ``WANDB_MODE=offline`` keeps everything in ``folder``.

    The run's id is kept in ``folder/wandb.json``, so a resumed run draws on in the same curves.

    Raises:
        ValueError: wandb is not installed.
    """

    def __init__(self, folder: Path, *, name: str, config: dict[str, Any]) -> None:
        self.run = None
        if is_main():
            wandb = _import("wandb", "wandb")
            identity = folder / "wandb.json"
            if not identity.exists():
                identity.write_text(json.dumps({"id": uuid.uuid4().hex[:12]}) + "\n", encoding="utf-8")
            number = json.loads(identity.read_text(encoding="utf-8"))["id"]
            self.run = wandb.init(
                project="simflow", name=name, id=number, resume="allow", dir=str(folder), config=config
            )

    def on_step(self, metrics: StepMetrics) -> None:
        """Reports every number."""
        if self.run is not None:
            self.run.log(flat(metrics), step=metrics.step)

    def on_end(self) -> None:
        """Ends the report."""
        if self.run is not None:
            self.run.finish()


def _import(module: str, package: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(f"logging to {package} needs a package: pip install {package}") from error
