"""A classifier that is fitted in a second, and asked whether samples look like their class.

Multinomial logistic regression on average-pooled pixels ``x`` in [-1, 1]. Weights ``W`` and biases ``a``
minimise

    mean over images of -log softmax(x W + a)[label]  +  |W|^2 / (2 n)

for ``n`` images: the problem of scikit-learn's ``LogisticRegression`` at its default ``C=1``, biases free. It
is convex, so the solution has no seed. Fitted on real images it gives two figures: its accuracy on held-out
real images (what it knows) and on samples, taking the class that was asked for as the truth. A model that
shows the commonest picture of each class scores above the real images, so read it beside the diversity
(:mod:`simflow.evaluate.diversity`).

Pooled pixels are strongly correlated, which makes plain descent slow. It therefore runs in ``V`` with
``W = P V`` and ``P P^T`` the inverse of ``covariance / 4 + 1 / n``, an estimate of the Hessian: the same
minimum, in a fraction of the steps.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from simflow.evaluate.features import pooled_pixels
from simflow.pixels import Bytes
from simflow.shapes import Features, Labels

STEPS = 100
"""L-BFGS steps: within 0.001 nats of the minimum on 6 000 Fashion-MNIST images."""


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """Images -> classes, linearly; made by :func:`fit`."""

    weight: Float[Tensor, "d classes"]
    bias: Float[Tensor, " classes"]
    pool: int

    def predict(self, images: Bytes) -> Labels:
        """The likeliest class of each image, int64."""
        features = pooled_pixels(images, pool=self.pool)
        return (features.to(self.weight) @ self.weight + self.bias).argmax(dim=1)

    def accuracy(self, images: Bytes, labels: Labels) -> float:
        """Share of images, at least one, whose predicted class is their label."""
        return _share(self.predict(images), labels)

    def accuracies(self, images: Bytes, labels: Labels) -> dict[int, float]:
        """:meth:`accuracy` within each class that occurs among the labels."""
        predicted = self.predict(images)
        return {int(c): _share(predicted[labels == c], labels[labels == c]) for c in labels.unique()}


def fit(images: Bytes, labels: Labels, *, pool: int = 2) -> Classifier:
    """The classifier of these images; the same bits for the same images on the same number of threads.

    Args:
        images: ``(n, channels, height, width)``.
        labels: ``(n,)`` in ``0 .. classes - 1``; the largest says how many classes there are.
        pool: see :func:`~simflow.evaluate.features.pooled_pixels`.

    Raises:
        ValueError: an image has no class, or there is only one class.
    """
    if len(labels) == 0 or int(labels.min()) < 0:
        raise ValueError("a classifier can only be fitted on images that have classes")
    if len(labels.unique()) < 2:
        raise ValueError("a classifier needs images of at least two classes")
    weight, bias = logistic_regression(pooled_pixels(images, pool=pool), labels)
    return Classifier(weight=weight, bias=bias, pool=pool)


def logistic_regression(
    features: Features, labels: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "d classes"], Float[Tensor, " classes"]]:
    """Weights and biases that minimise the sum at the top of this file, in the dtype of ``features``."""
    count, dimension = features.shape
    classes = int(labels.max()) + 1
    mean = features.mean(dim=0)
    centred = features - mean
    whiten = _whitening(centred)
    v = features.new_zeros(dimension, classes, requires_grad=True)
    bias = features.new_zeros(classes, requires_grad=True)
    descent = torch.optim.LBFGS(
        [v, bias], max_iter=STEPS, tolerance_grad=1e-6, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        descent.zero_grad()
        weight = whiten @ v
        value = F.cross_entropy(centred @ weight + bias, labels) + weight.square().sum() / (2 * count)
        value.backward()
        return value

    with torch.enable_grad():
        descent.step(loss)  # pyright: ignore[reportArgumentType]
    weight = (whiten @ v).detach()
    return weight, bias.detach() - mean @ weight


def _whitening(centred: Tensor) -> Tensor:
    """``P`` with ``P P^T = (covariance / 4 + 1 / n)^-1``; the factorisation is done in float64."""
    count, dimension = centred.shape
    identity = torch.eye(dimension, dtype=torch.float64, device=centred.device)
    hessian = (centred.T @ centred).double() / (4 * count) + identity / count
    lower = torch.linalg.cholesky(hessian)
    return torch.linalg.solve_triangular(lower.T, identity, upper=True).to(centred.dtype)


def _share(predicted: Tensor, labels: Tensor) -> float:
    return (predicted == labels).double().mean().item()
