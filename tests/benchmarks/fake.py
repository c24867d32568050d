"""A stand-in for a checkout of a peer: modules with its classes and names, and a sampler that is wrong on purpose."""

from pathlib import Path

SOURCE = """
import torch
from torch import nn


class Permutation:
    def __init__(self, length):
        pass


PermutationIdentity = PermutationFlip = Permutation


class Part(nn.Module):
    def __init__(self, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)


class MetaBlock(nn.Module):
    def __init__(self, channels, width, tokens, order, layers, head_dim, num_classes):
        super().__init__()
        linear, norm = nn.Linear, nn.LayerNorm
        self.proj_in, self.proj_out = linear(channels, width), linear(width, 2 * channels)
        self.pos_embed = nn.Parameter(torch.zeros(tokens, width))
        self.class_embed = nn.Parameter(torch.zeros(num_classes, 1, width))
        self.register_buffer("attn_mask", torch.ones(tokens, tokens))
        self.head_dim = head_dim
        self.attn_blocks = nn.ModuleList(
            Part(
                attention=Part(norm=norm(width), qkv=linear(width, 3 * width), proj=linear(width, width)),
                mlp=Part(
                    norm=norm(width),
                    main=nn.Sequential(linear(width, 4 * width), nn.GELU(), linear(4 * width, width)),
                ),
            )
            for _ in range(layers)
        )


class Model(nn.Module):
    def __init__(self, in_channels, img_size, patch_size, channels, num_blocks, layers_per_block, num_classes):
        super().__init__()
        self.shape = (in_channels, img_size, img_size)
        self.register_buffer("var", torch.ones(img_size**2, in_channels))

    def reverse(self, x, y, guidance=0):
        return x.mT.reshape(-1, *self.shape)
"""


def checkout(folder: Path) -> Path:
    """A folder that looks like checkouts of both peers."""
    for name in ("transformer_flow", "GS_Jacobi_sampling"):
        (folder / f"{name}.py").write_text(SOURCE)
    return folder
