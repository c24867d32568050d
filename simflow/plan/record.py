"""What is known of a plan: frozen dataclasses, so that it is written down and read back as settings are.

Every number here was measured: ``error`` is the largest difference found on so many images, not a proven bound, and
times are of one machine.
"""

from dataclasses import dataclass

from simflow.flow.decode import Plan, Sequential, Way
from simflow.flow.jacobi import Jacobi
from simflow.sample import SampleConfig


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One way for one block, tried on one batch."""

    way: Sequential | Jacobi
    """How the block was undone."""
    seconds: float
    """How long it took."""
    passes: int
    """Calls of the network, one after the other: steps of the walk, or passes until the slowest image was done."""


@dataclass(frozen=True, kw_only=True)
class MeasuredPlan:
    """A plan with all that was found out about it."""

    sampling: SampleConfig
    """How to sample: the plan is its ``decoding``, and its batch is that of the times."""
    tolerance: float
    """The bound that was kept to: how far a number of a final image, on [-1, 1], may be from exact decoding."""
    error: float
    """The largest such difference of the fresh probe images, in float32."""
    num: int
    """How many of them there were."""
    dtype_error: float | None = None
    """The largest difference of those images by this plan in half precision from exact ones in float32, or None."""
    dtype_mean_error: float | None = None
    """The mean of these differences."""
    seconds: float
    """From noise to the images of a batch by this plan."""
    exact_seconds: float
    """The same token by token, in the same precision."""
    trials: tuple[tuple[Trial, ...], ...]
    """What was tried for each block, data -> noise."""
    weights: str
    """SHA-256 of the model's tensors."""
    device: str
    """The kind of device, such as "cpu" or "nvidia-h200"."""
    machine: str
    """Processor, operating system, threads."""
    torch: str
    """Version of torch."""

    def __post_init__(self) -> None:
        if not isinstance(self.sampling.decoding, Plan):
            raise ValueError("the decoding of a measured plan must be a plan")

    @property
    def plan(self) -> Plan:
        """The way of each block."""
        assert isinstance(self.sampling.decoding, Plan)
        return self.sampling.decoding

    @property
    def speed_up(self) -> float:
        """How many times as fast as exact decoding."""
        return self.exact_seconds / self.seconds


def way_said(way: Way) -> str:
    """A way for people.

    >>> way_said(Sequential()), way_said(Jacobi()), way_said(Jacobi(window=8))
    ('token by token', 'all tokens in passes', 'windows of 8 in passes')
    """
    if not isinstance(way, Jacobi):
        return "token by token"
    return "all tokens in passes" if way.window is None else f"windows of {way.window} in passes"


def said(trial: Trial) -> str:
    """A trial for people.

    >>> said(Trial(way=Jacobi(window=8), seconds=0.25, passes=9)), said(Trial(way=Sequential(), seconds=2.0, passes=64))
    ('windows of 8 in passes 250.0 ms (9)', 'token by token 2000.0 ms (64)')
    """
    return f"{way_said(trial.way)} {1000 * trial.seconds:.1f} ms ({trial.passes})"
