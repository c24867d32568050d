"""A density as a classifier, by Bayes' rule: the class under which an image is likeliest (TarFlow's notebook).

``p(y|x) = p(x|y) p(y) / p(x)`` with all classes equally frequent, so the class with the greatest density wins. No
weight was trained for it: what it knows, it learnt by modelling the images of each class.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from simflow.flow.score import LogProb
from simflow.shapes import Latents


@torch.no_grad()
def log_probs_by_class(log_prob: LogProb, latents: Latents, *, classes: int) -> Float[Tensor, "b classes"]:
    """``log p(latents | y)`` in nats for ``y`` in ``0 .. classes - 1``: one pass through the prior a class.

    Raises:
        ValueError: there are no classes.
    """
    if classes < 1:
        raise ValueError("only a density with classes can tell them apart")
    labels = torch.zeros(len(latents), dtype=torch.int64, device=latents.device)
    return torch.stack([log_prob(latents, labels + label) for label in range(classes)], dim=1)
