"""Published weights -> :class:`KLAutoencoder`: a file or folder in, the parameters overwritten.

Three kinds of source are read: ``.safetensors``; ``.pt``, ``.pth`` and ``.ckpt``, as data only, so that no
code of the file runs; and the folder of a diffusers ``AutoencoderKL``. The journey is

    the file's tensors -> the autoencoder's, without prefix -> LDM's names -> mean rows -> checks -> copy

The names of LDM, MAR and VA-VAE are this module's own, so only diffusers needs a translation. An autoencoder
built with ``moments=1`` takes the first half of the rows of ``quant_conv``, which write the mean, and leaves
the log-variance rows; all else must fit in name and shape, and nothing is copied unless all of it does.

Published decoders expect the mean as the encoder gives it: for frozen use, build with ``normalize=False``.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from simflow.autoencoder.kl import KLAutoencoder
from simflow.nn.conv import group_norm
from simflow.tensors import misfit, read_tensors

FOREIGN = ("loss.", "model_ema.", "foundation_model.", "linear_proj.")
"""Prefixes of what was trained beside the autoencoder: LDM's losses and averages, VA-VAE's alignment."""

ANCHOR = "encoder.conv_in.weight"
"""The key by which an autoencoder is found; LDM and diffusers both have it."""

DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"

DIFFUSERS_TO_LDM = (
    (r"\bdown_blocks\.(\d+)\.resnets\.", r"down.\1.block."),
    (r"\bdown_blocks\.(\d+)\.attentions\.", r"down.\1.attn."),
    (r"\bdown_blocks\.(\d+)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"\bup_blocks\.(\d+)\.resnets\.", r"up.\1.block."),
    (r"\bup_blocks\.(\d+)\.attentions\.", r"up.\1.attn."),
    (r"\bup_blocks\.(\d+)\.upsamplers\.0\.", r"up.\1.upsample."),
    (r"\bmid_block\.resnets\.0\.", "mid.block_1."),
    (r"\bmid_block\.resnets\.1\.", "mid.block_2."),
    (r"\bmid_block\.attentions\.0\.", "mid.attn_1."),
    (r"\bconv_shortcut\.", "nin_shortcut."),
    (r"\bconv_norm_out\.", "norm_out."),
    (r"\bgroup_norm\.", "norm."),
    (r"\b(?:to_q|query)\.", "q."),
    (r"\b(?:to_k|key)\.", "k."),
    (r"\b(?:to_v|value)\.", "v."),
    (r"\b(?:to_out\.0|proj_attn)\.", "proj_out."),
)
"""Regular expressions and their replacements; ``query`` ... ``proj_attn`` are older names of diffusers."""


def load_weights(autoencoder: KLAutoencoder, path: str | Path) -> None:
    """Copies published weights into ``autoencoder``, converted to its dtype and device.

    Args:
        autoencoder: built with the sizes of the checkpoint; with one moment or two.
        path: a ``.safetensors``, ``.pt``, ``.pth`` or ``.ckpt`` file, or a diffusers folder.

    Raises:
        ValueError: the path is missing, damaged, needs pickled classes, holds no autoencoder, or one of other
            sizes; the autoencoder is then unchanged.
    """
    path = Path(path)
    state = _autoencoder_part(_read(path), path)
    if any(name.startswith("encoder.down_blocks.") for name in state):
        state = ldm_names(state)
    own = autoencoder.state_dict()
    channels = autoencoder.config.latent_channels
    for name in ("quant_conv.weight", "quant_conv.bias"):
        if name in state and len(own[name]) == channels and state[name].shape[:1] == (2 * channels,):
            state[name] = state[name][:channels]
    wrong = misfit(state, own)
    if wrong is not None:
        raise ValueError(f"{path} does not fit this autoencoder: {wrong}")
    autoencoder.load_state_dict(state)


def ldm_names(diffusers_state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a diffusers ``AutoencoderKL`` under LDM's names; nothing else is changed.

    diffusers counts the decoder's levels from the bottom, LDM from the top; diffusers' attention is made of
    linear layers ``(out, in)``, LDM's of 1x1 convolutions ``(out, in, 1, 1)``. An unknown name stays.
    """
    found = [re.match(r"encoder\.down_blocks\.(\d+)\.", name) for name in diffusers_state]
    last = max((int(match[1]) for match in found if match), default=0)
    state = {}
    for name, tensor in diffusers_state.items():
        for pattern, replacement in DIFFUSERS_TO_LDM:
            name = re.sub(pattern, replacement, name)
        name = re.sub(r"\bup\.(\d+)\.", lambda match: f"up.{last - int(match[1])}.", name)
        linear = tensor.ndim == 2 and re.search(r"\.attn(_1|\.\d+)\.", name)
        state[name] = tensor[:, :, None, None] if linear else tensor
    return state


def _read(path: Path) -> dict[str, Tensor]:
    """All named tensors of a file, or of a diffusers folder."""
    return read_tensors(_weights_of_folder(path) if path.is_dir() else path)


def _weights_of_folder(folder: Path) -> Path:
    """The weights file of a diffusers folder, once its ``config.json`` says that we can read it."""
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} is not a diffusers autoencoder: it has no config.json")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / 'config.json'} is not valid JSON: {error}") from error
    if not isinstance(config, dict) or config.get("_class_name") != "AutoencoderKL":
        raise ValueError(f"{folder} is not the folder of an AutoencoderKL, by its config.json")
    groups = config.get("norm_num_groups", 32)
    for channels in config.get("block_out_channels", [64]):
        if groups != group_norm(channels).num_groups:
            ours = f"this autoencoder {channels} channels in {group_norm(channels).num_groups}"
            raise ValueError(f"{folder} normalises in {groups} groups, {ours}")
    return folder / DIFFUSERS_WEIGHTS


def _autoencoder_part(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The autoencoder's own tensors, their prefix (``first_stage_model.``, ``module.``, ...) removed."""
    prefixes = [name.removesuffix(ANCHOR) for name in state if name == ANCHOR or name.endswith("." + ANCHOR)]
    if not prefixes:
        first = next(iter(state), None)
        raise ValueError(
            f"{path} is not an autoencoder: it has no '{ANCHOR}' (its first tensor is '{first}')."
        )
    if len(prefixes) > 1:
        raise ValueError(f"{path} holds several autoencoders: under {' and '.join(map(repr, prefixes))}")
    own = {name.removeprefix(prefixes[0]): state[name] for name in state if name.startswith(prefixes[0])}
    return {name: tensor for name, tensor in own.items() if not name.startswith(FOREIGN)}
