"""Where trained models are: run folders and checkpoints, saved models, those in the package, and the hub."""

from pathlib import Path

from simflow import hub, pretrained, weights
from simflow.files import at_home


def find(source: str | Path, *, revision: str | None = None) -> Path:
    """The folder with ``config.json`` and weights that a path, name or hub id means.

    See :meth:`simflow.pipeline.Pipeline.from_pretrained`.

    Raises:
        ValueError: there is none.
    """
    folder = at_home(source)
    if folder.is_dir():
        return weights.weights_in(folder)
    shipped = pretrained.find(str(source))
    if shipped is not None:
        return shipped
    if folder.is_file():
        raise ValueError(f"'{source}' is a file: name the folder of the run or the model that it belongs to")
    if isinstance(source, str) and hub.ID.fullmatch(source):
        return download(source, revision)
    raise ValueError(
        f"there is no run, checkpoint or saved model at '{source}'{pretrained.hint(str(source))}"
    )


def notes(source: str | Path) -> Path:
    """The folder for what is measured of a model, such as its plans: the run's own, if there is one to write into.

    Of a model that comes with the package it is :func:`simflow.pretrained.cache`, made if need be.

    Raises:
        ValueError: there is no such run or model.
    """
    if at_home(source).is_dir():
        return at_home(source)
    if pretrained.find(str(source)) is None:
        return find(source)
    folder = pretrained.cache(str(source))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def download(repository: str, revision: str | None = None, *, also: tuple[str, ...] = ()) -> Path:
    """A saved model of the hub, in the hub's own cache; of a repository its settings and weights only.

    Args:
        repository: ``owner/name``.
        revision: branch, tag or commit.
        also: patterns of further files.

    Raises:
        ValueError: the hub does not give it.
    """
    try:
        return hub.folder(repository, revision=revision, only=["config.json", *weights.FILES, *also])
    except hub.OutOfReach as error:
        raise ValueError(
            f"there is no folder '{repository}', and the hub gave no model of that name: {error}"
        ) from error
