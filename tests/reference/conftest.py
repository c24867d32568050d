"""The reference environment: other people's implementations as oracles; every test here is skipped where they lack.

    python -m venv reference && reference/bin/pip install -c constraints.txt -e '.[dev,reference]'
    reference/bin/python -m pytest tests/reference

torchvision's wheels are built for CUDA: on a CPU build of torch they import only once two operators are declared.
"""

from importlib.util import find_spec

import pytest
import torch

if find_spec("torchvision") is not None:
    vision = torch.library.Library("torchvision", "DEF")
    vision.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    vision.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


@pytest.fixture
def photos() -> torch.Tensor:
    """Four bytes images with structure at all scales, not square."""
    noise = torch.rand(4, 3, 12, 10)
    smooth = torch.nn.functional.interpolate(noise, (61, 47), mode="bilinear")
    return ((0.8 * smooth + 0.2 * torch.rand(4, 3, 61, 47)) * 255).to(torch.uint8)
