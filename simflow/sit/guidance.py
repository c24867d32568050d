"""Classifier-free guidance of a velocity (Ho and Salimans 2022): ``v_c + w (v_c - v_u)``.

The weight counts as for flows: 0 is the conditional model. Written as ``v_u + s (v_c - v_u)``, as elsewhere, the
scale is ``s = 1 + w``.
"""

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ClassifierFree:
    """Guidance of SiT; flows have rules of their own."""

    weight: float = 0.5
    """Strength ``w``; 0 is the conditional model."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf:
            raise ValueError(f"the strength of guidance must be 0 or more and finite, not {self.weight}")

    @property
    def needs_classes(self) -> bool:
        """It does: what it leads away from is the model without the class."""
        return True

    def combine(self, conditional: Tensor, unconditional: Tensor) -> Tensor:
        """The guided velocity."""
        return conditional + self.weight * (conditional - unconditional)
