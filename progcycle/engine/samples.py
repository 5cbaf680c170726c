"""The panel of a run: the same pictures or latents in every sample grid, from the first stage to the last."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from progcycle.data import PictureSet, as_reals, collate
from progcycle.schedule import Growth
from progcycle.tasks import Task


@torch.no_grad()
def sample_rows(
    task: Task,
    networks: Mapping[str, nn.Module],
    sets: Mapping[str, PictureSet],
    count: int,
    growth: Growth,
    device: torch.device,
) -> list[Tensor]:
    """Rows of a sample grid.

    Args:
        task: knows what goes in and what comes out.
        networks: the averaged networks.
        sets: pictures to choose from, by domain.
        count: columns, or fewer where a domain has fewer pictures.
        growth: where growth stands.
        device: where the networks are.
    """
    columns = min(count, *(len(pictures) for pictures in sets.values()))

    def chosen(domain: str) -> Tensor:
        pictures = sets[domain]
        # Spread over the set: neighbours in name order are often alike.
        samples = [pictures.plain(i * len(pictures) // columns, growth.resolution) for i in range(columns)]
        return as_reals(collate(samples).images.to(device), growth)

    panel = {name: tensor.to(device) for name, tensor in task.panel(count, chosen).items()}
    return task.sample(networks, panel, growth)
