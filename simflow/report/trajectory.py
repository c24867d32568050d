"""What each block makes of a sample: the states between noise and latents, decoded.

Sampling undoes the blocks one after the other, the deep one first. Every state in between has the shape of the
latents and can be decoded: the pictures show which block decides what the image is, and which only polish it.
"""

import torch

from simflow.flow.stack import Flow
from simflow.model import Model
from simflow.pixels import to_uint8
from simflow.report.picture import Picture
from simflow.sample import SampleConfig
from simflow.seeding import noise_for_seeds


@torch.no_grad()
def trajectory(
    model: Model, flow: Flow, *, seeds: list[int], labels: list[int], config: SampleConfig
) -> Picture:
    """A row a state, from the noise to the latents (and the refined latents, if the run refines), decoded.

    Args:
        model: in eval mode.
        flow: its prior.
        seeds: one for each column; as many labels.
        labels: -1 for "no class".
        config: guidance, refinement and temperature; guidance is left out for a model without classes.
    """
    noise = (config.temperature * noise_for_seeds(seeds, flow.noise_shape)).to(model.device)
    wanted = torch.tensor(labels, device=model.device)
    guidance = config.guidance if model.facts.class_names else None
    states = flow.trajectory(noise, wanted, guidance)
    captions = stages(len(states) - 1)
    if config.refinement is not None:
        states.append(config.refinement.refine(flow.log_prob, states[-1], wanted))
        captions.append("refined")
    rows = [to_uint8(model.decode(state).float()).cpu() for state in states]
    return Picture(captions=tuple(captions), images=torch.stack(rows))


def stages(blocks: int) -> list[str]:
    """What to call the states; blocks are numbered from data to noise, as they stand in the settings.

    >>> stages(3)
    ['noise', 'block 3 (deep)', 'block 2', 'block 1']
    """
    return ["noise", f"block {blocks} (deep)", *(f"block {number}" for number in range(blocks - 1, 0, -1))]
