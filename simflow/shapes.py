"""The names of the tensors that pass between files, and the words for direction.

Letters
-------
``b`` images in the batch, ``c h w`` channels, height and width of an image or latent, ``n`` tokens of a
latent, ``d`` numbers in a token, ``m`` channels of a code (``c`` or ``2 c``), ``k`` layers of a transformer.

Direction
---------
*Forward* is always towards noise and *inverse* always towards data: ``z, log_det = flow.forward(x)`` and
``x = flow.inverse(z)``. ``log_det`` is ``log |det dz/dx|``, a true sum over all numbers of one image, in
float32 or wider. Dividing by dimensions happens in :mod:`simflow.objective` and nowhere else.

Ranges
------
Images are in [-1, 1] everywhere between the data loader and the sampler (:mod:`simflow.pixels` converts to
and from uint8). Labels are in ``0 .. classes - 1``; :data:`NULL` is the dropped label, "no class".
"""

from jaxtyping import Float, Int
from torch import Tensor

Images = Float[Tensor, "b channels height width"]
Code = Float[Tensor, "b m h w"]
Latents = Float[Tensor, "b c h w"]
Tokens = Float[Tensor, "b n d"]
Labels = Int[Tensor, " b"]
LogDet = Float[Tensor, " b"]
PerImage = Float[Tensor, " b"]
Features = Float[Tensor, "n d"]
"""``n`` images described by ``d`` numbers each."""

NULL = -1
"""The label of an image whose class is unknown or dropped: the unconditional model."""
