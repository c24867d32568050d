"""Weights that somebody else wrote, from a disk or from the hub."""

from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from rich.console import Console
from safetensors.torch import save_file

from simflow.cli.image_files import real_images
from simflow.tensors import read_tensors


def test_weights_on_the_hub_are_fetched_by_owner_name_and_file(tmp_path, monkeypatch):
    save_file({"a": torch.arange(3.0)}, tmp_path / "w.safetensors")
    asked = []

    def download(repo, file):
        asked.append((repo, file))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    found = read_tensors(Path("hub:owner/name/w.safetensors"))
    assert asked == [("owner/name", "w.safetensors")]
    torch.testing.assert_close(found["a"], torch.arange(3.0))


def test_what_the_hub_does_not_give_is_one_sentence(monkeypatch):
    def download(repo, file):
        raise LocalEntryNotFoundError("no connection\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(
        ValueError, match=r"^x/w\.pth cannot be had from owner/name on the hub: no connection$"
    ):
        read_tensors(Path("hub:owner/name/x/w.pth"))


def test_files_may_be_at_home(tmp_path, monkeypatch):
    """A shell leaves ``~`` as it is in ``--reference=~/ref.npz``, and so does a file of settings."""
    monkeypatch.setenv("HOME", str(tmp_path))
    save_file({"a": torch.arange(3.0)}, tmp_path / "w.safetensors")
    torch.testing.assert_close(read_tensors(Path("~/w.safetensors"))["a"], torch.arange(3.0))
    np.savez(tmp_path / "ref.npz", arr_0=np.zeros((4, 2, 2, 3), dtype=np.uint8))
    found = real_images("~/ref.npz", size=None, limit=None, console=Console()).pictures
    assert found is not None
    assert len(found) == 4


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="there is no file"):
        read_tensors(tmp_path / "w.pth")
