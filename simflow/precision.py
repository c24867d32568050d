"""In what networks compute: float32, or bfloat16 under autocast.

Matrix products, convolutions and attention are meant. Weights, averages, affine maps, log-determinants and losses stay
in float32 (or wider, as they are given) in either.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch

from simflow.processor import multiplies_bfloat16, processor
from simflow.settings import spelled_out

NetworkDtype = Literal["float32", "bfloat16"]

TrainingDtype = Literal["auto", "float32", "bfloat16"]
"""auto: whatever is faster on the device where a run begins."""


def computing_in(dtype: NetworkDtype, device: torch.device) -> AbstractContextManager[object]:
    """Lets linear maps and attention compute in ``dtype`` while the block lasts; "float32" changes nothing.

    Raises:
        ValueError: another dtype.
    """
    if network_dtype(dtype) == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def network_dtype(dtype: str | torch.dtype) -> NetworkDtype:
    """The name of a dtype that networks may compute in, from torch's dtype, its name or its short name.

    >>> network_dtype(torch.bfloat16), network_dtype("fp32")
    ('bfloat16', 'float32')

    Raises:
        ValueError: another dtype.
    """
    name = spelled_out(str(dtype).removeprefix("torch."))
    for known in get_args(NetworkDtype):
        if name == known:
            return known
    raise ValueError(f"the dtype is {' or '.join(get_args(NetworkDtype))}, not {dtype}")


def faster_dtype(device: torch.device) -> NetworkDtype:
    """bfloat16 if the device multiplies it in hardware, else float32."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = device.type == "cpu" and multiplies_bfloat16(processor())
    return "bfloat16" if fast else "float32"
