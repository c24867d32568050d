"""The way between data and noise: a straight line, walked at constant velocity (SiT, Ma et al. 2024; flow matching).

``x_t = (1 - t) x + t noise`` leads from data at ``t = 0`` to noise at ``t = 1``: forward is towards noise, as
everywhere here. Its velocity is ``dx_t / dt = noise - x`` whatever ``t``. A network that predicts it from ``x_t``
learns the mean velocity at that place, and following the mean velocities carries the whole distribution of noise to
that of the data.
"""

import math

from torch import Tensor

from simflow.shapes import Tokens


def between(x: Tokens, noise: Tokens, t: Tensor) -> Tokens:
    """``x_t`` for times ``(b,)`` in [0, 1]."""
    t = t[:, None, None]
    return (1 - t) * x + t * noise


def velocity(x: Tokens, noise: Tokens) -> Tokens:
    """``dx_t / dt``."""
    return noise - x


def least_error(std: float) -> float:
    """The least mean squared error a number of any velocity, for data with Gaussian noise of ``std`` in them.

    Given the clean data, ``noise - x`` at ``x_t`` still varies by ``s^2 / ((1 - t)^2 s^2 + t^2)``; the mean of that
    over ``t`` in [0, 1] is ``pi s / 2``.

    >>> round(least_error(0.5), 3)
    0.785
    """
    return math.pi / 2 * std
