"""Sampling from the averaged networks during training, for sample sheets and evaluations."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from progcycle.schedule import Growth
from progcycle.tasks import Task


class Sampler:
    """Samples from a task's averaged networks at one moment of training.

    Args:
        task: defines inputs and outputs.
        networks: the averaged networks.
        growth: of the step just done.
        nimg: pictures shown.
        autocast: context of the networks, for the number format of training.
        device: where the networks are.

    Attributes:
        growth: where growth stands, ``nimg`` being the pictures shown.
    """

    def __init__(
        self,
        task: Task,
        networks: Mapping[str, nn.Module],
        growth: Growth,
        nimg: int,
        autocast: Callable[[], AbstractContextManager[Any]],
        device: torch.device,
    ) -> None:
        self.task, self.networks, self.growth = task, networks, replace(growth, nimg=nimg)
        self.autocast, self.device = autocast, device

    @torch.no_grad()
    def __call__(self, panel: Mapping[str, Tensor]) -> list[Tensor]:
        """Lists of pictures, of which those of one index belong together, see :meth:`Task.sample`.

        Args:
            panel: the inputs, on any device, see :meth:`Task.panel`.

        Returns:
            Pictures in about [-1, 1] on the networks' device.  # each [n, C, H, W] float32
        """
        there = {name: tensor.to(self.device) for name, tensor in panel.items()}
        with self.autocast():
            rows = self.task.sample(self.networks, there, self.growth)
        return [row.float() for row in rows]

    @torch.no_grad()
    def apply(self, network: str, pictures: Tensor, *latents: Tensor) -> Tensor:
        """Apply one averaged network to pictures.

        Args:
            network: its name.
            pictures: as the networks see them, on any device.  # [N, C_in, H, W]
            latents: of a translator that has some.  # [N, latent_size]

        Returns:
            Pictures in about [-1, 1], or what else it gives, on the networks' device.  # [N, C_out, H, W] float32
        """
        there = [tensor.to(self.device) for tensor in latents]
        with self.autocast():
            made: Tensor = self.networks[network](
                pictures.to(self.device), self.growth.stage, self.growth.alpha, *there
            )
        return made.float()


# From a sampler and the number of pictures shown to figures by name.
EvaluationCallback = Callable[[Sampler, int], Mapping[str, float]]
