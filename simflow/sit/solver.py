"""Following a velocity from noise to data: Euler's and Heun's method.

Both walk from ``t = 1`` to ``t = 0`` in equal steps. Euler asks for the velocity once a step and its error shrinks
with the step; Heun averages the velocities at both ends of a step, asks twice, and its error shrinks with the square
of the step (the last step ends at the data, where the velocity is well defined for a straight line).
"""

from collections.abc import Callable
from dataclasses import dataclass

from simflow.shapes import Tokens

Velocity = Callable[[Tokens, float], Tokens]
"""Tokens and a time in [0, 1] -> ``dx / dt``."""


@dataclass(frozen=True, kw_only=True)
class Euler:
    """One velocity a step."""

    steps: int = 250
    """Steps from noise to data."""

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def follow(self, velocity: Velocity, z: Tokens) -> Tokens:
        """Noise at ``t = 1`` -> data at ``t = 0``."""
        x, size = z, 1 / self.steps
        for step in range(self.steps, 0, -1):
            x = x - size * velocity(x, step / self.steps)
        return x


@dataclass(frozen=True, kw_only=True)
class Heun:
    """Two velocities a step, averaged."""

    steps: int = 50
    """Steps from noise to data."""

    def __post_init__(self) -> None:
        check_steps(self.steps)

    def follow(self, velocity: Velocity, z: Tokens) -> Tokens:
        """Noise at ``t = 1`` -> data at ``t = 0``."""
        x, size = z, 1 / self.steps
        for step in range(self.steps, 0, -1):
            first = velocity(x, step / self.steps)
            second = velocity(x - size * first, (step - 1) / self.steps)
            x = x - size / 2 * (first + second)
        return x


def check_steps(steps: int) -> None:
    """Refuses to walk in no step."""
    if steps < 1:
        raise ValueError(f"a solver needs at least one step, not {steps}")
