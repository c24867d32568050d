"""What each block makes of a sample: the states between noise and latents, decoded.

Sampling undoes the blocks one after the other, the deep one first. Every state in between has the shape of the
latents and can be decoded: the pictures show which block decides what the image is, and which only polish it.
"""

import torch

from simflow import sample
from simflow.model import Model
from simflow.report.picture import Picture
from simflow.sample import SampleConfig


def trajectory(model: Model, *, seeds: list[int], labels: list[int], config: SampleConfig) -> Picture:
    """A row a state, from the noise to the latents (and the refined latents, if the run refines), decoded.

    Args:
        model: in eval mode; its prior is a flow.
        seeds: one for each column; as many labels.
        labels: -1 for "no class".
        config: guidance, refinement and temperature; a rule that needs classes is left out for a model without.
    """
    rows = sample.trajectory(model, seeds=seeds, labels=labels, config=config)
    captions = stages(len(model.prior.depths))
    if len(rows) > len(captions):
        captions.append("refined")
    return Picture(captions=tuple(captions), images=torch.stack(rows))


def stages(blocks: int) -> list[str]:
    """What to call the states; blocks are numbered from data to noise, as they stand in the settings.

    >>> stages(3)
    ['noise', 'block 3 (deep)', 'block 2', 'block 1']
    """
    return ["noise", f"block {blocks} (deep)", *(f"block {number}" for number in range(blocks - 1, 0, -1))]
