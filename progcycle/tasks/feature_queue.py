"""Features of earlier pictures, so that a small batch is compared with more (UVCGAN v2, Torbunov et al. 2023)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from progcycle.blocks import EarlierFeatures, full_precision

KINDS = ("real", "fake")


class FeatureQueue:
    """The features of the last ``size`` pictures, first in, first out; fewer while it fills.

    Args:
        size: pictures remembered, at least 1.

    Attributes:
        features: of the pictures, oldest first, without history; None if there are none.  # [n, C, H, W]
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.features: Tensor | None = None

    def store(self, features: Tensor) -> None:
        """Take in the features of pictures, and forget the oldest beyond ``size``.

        Args:
            features: in the type that they were computed in, which is kept.  # [N, C, H, W]
        """
        new = features.detach()[-self.size :]
        if self.features is not None:
            new = torch.cat([self.features, new])[-self.size :]
        self.restore(new)

    def restore(self, features: Tensor | None) -> None:
        """Remember these very features, or none.  # [n, C, H, W]"""
        # A copy, that keeps nothing else alive; and one memory format, which the order of sums depends on.
        self.features = None if features is None else features.clone(memory_format=torch.channels_last)


class FeatureQueues:
    """What one discriminator compares pictures with: a queue of real ones, and one of fakes.

    Args:
        size: pictures in each; with 0 there is nothing to compare with, and nothing is remembered.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.queues = {kind: FeatureQueue(size) for kind in KINDS}

    def earlier(self, kind: str) -> EarlierFeatures | None:
        """What pictures are compared with, ``real`` or ``fake`` ones; None without queues."""
        return EarlierFeatures(self.queues[kind].features) if self.size else None

    def between(self, mix: Tensor) -> EarlierFeatures | None:
        """What mixtures of real and fake pictures are compared with: mixtures of the two queues; None without queues.

        Args:
            mix: share of the fake in each picture of a batch; row j of the queues is mixed like row j mod N.  # [N]
        """
        real, fake = (self.queues[kind].features for kind in KINDS)
        if real is None or fake is None:
            return EarlierFeatures() if self.size else None
        real, fake = full_precision(real), full_precision(fake)
        shares = mix.repeat(len(real) // len(mix) + 1)[: len(real)]
        return EarlierFeatures(torch.lerp(real, fake, shares.to(real).reshape(-1, 1, 1, 1)))

    def store(self, real: Tensor | None, fake: Tensor | None) -> None:
        """Take in the features of a batch of each kind; nothing where they are None.  # [N, C, H, W]"""
        for kind, features in zip(KINDS, (real, fake), strict=True):
            if features is not None:
                self.queues[kind].store(features)

    def clear(self) -> None:
        """Forget all, as when a stage opens."""
        self.load_state_dict({})

    def state_dict(self) -> dict[str, Tensor]:
        """Features by kind, of kinds that there are some of.  # [n, C, H, W]"""
        return {kind: queue.features for kind, queue in self.queues.items() if queue.features is not None}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for kind, queue in self.queues.items():
            queue.restore(state.get(kind))
