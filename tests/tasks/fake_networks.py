"""Networks that record what they are given, tiny recipes and batches."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from progcycle.blocks import Noise
from progcycle.data import Batch
from progcycle.networks import (
    DISCRIMINATORS,
    GENERATORS,
    TRANSLATORS,
    Network,
    PgganGenerator,
    ProgressiveDiscriminator,
    ProgressiveTranslator,
    TaskShape,
)
from progcycle.recipe import Recipe, merge, validate
from progcycle.schedule import Growth

GROWTH = Growth(stage=1, resolution=8, alpha=0.25, batch_size=4, nimg=5000)


class Fake(Network):
    """Records its calls; what it was made with is in ``made_with``."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.made_with = arguments
        self.calls: list[Tensor] = []
        self.growths: list[tuple[int, float]] = []
        self.grads: list[bool] = []

    def note(self, x: Tensor, stage: int, alpha: float) -> None:
        self.calls.append(x.detach().clone())
        self.growths.append((stage, alpha))
        self.grads.append(torch.is_grad_enabled())


class FakeTranslator(Fake):
    """x -> weight * x + shift, with weight 1 at first."""

    Options = ProgressiveTranslator.Options

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.weight = nn.Parameter(torch.ones(()))
        self.shift = 0.0

    def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        self.note(x, stage, alpha)
        return self.weight * x + self.shift


class FakeGenerator(Fake):
    """Latents -> one number a picture, their first; the labels are noted."""

    Options = PgganGenerator.Options
    has_classes = True

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.weight = nn.Parameter(torch.ones(()))
        self.latent_size = arguments["latent_size"]
        self.labels: list[Tensor | None] = []

    def forward(self, latents: Tensor, stage: int, alpha: float, labels: Tensor | None = None) -> Tensor:
        self.note(latents, stage, alpha)
        self.labels.append(labels)
        return self.weight * latents[:, :1, None, None].expand(-1, 3, 4 << stage, 4 << stage)


class FakeOptions(ProgressiveDiscriminator.Options):
    """Those of the growing discriminators, with classes."""

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        return {**super().arguments(shape), "classes": shape.classes}


class FakeDiscriminator(Fake):
    """The mean of a picture, times a weight that is 1 at first; its logit k of classes is k times that.

    It takes two numbers of noise a picture at stage 1 and notes them, with the strength; no noise changes a logit.
    """

    Options = FakeOptions
    has_classes = True

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.weight = nn.Parameter(torch.ones(()))
        self.classes: int = arguments.get("classes", 0)
        self.noises: list[tuple[Tensor, float] | None] = []
        self.initialized: list[Tensor] = []

    def noise_size(self, stage: int) -> int:
        return 2 * stage

    def rows_are_independent(self, n: int) -> bool:
        return True

    def initialize(self, pictures: Tensor, stage: int, alpha: float) -> None:
        self.initialized.append(pictures)

    def forward(
        self, x: Tensor, stage: int, alpha: float, noise: Noise | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        self.note(x, stage, alpha)
        self.noises.append(None if noise is None else (noise.normals, float(noise.strength)))
        logits = self.weight * x.mean((1, 2, 3))
        return (logits, logits[:, None] * torch.arange(self.classes)) if self.classes else logits

    def seen(self) -> set[float]:
        """The grey levels of all pictures judged."""
        return {round(value, 3) for x in self.calls for value in x.mean((1, 2, 3)).tolist()}


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name ``fake`` in every registry."""
    monkeypatch.setitem(GENERATORS, "fake", FakeGenerator)
    monkeypatch.setitem(TRANSLATORS, "fake", FakeTranslator)
    monkeypatch.setitem(DISCRIMINATORS, "fake", FakeDiscriminator)


def recipe(task: str, change: Mapping[str, Any] | None = None) -> Recipe:
    """Tiny networks at 16 px, three stages."""
    base = {
        "task": task,
        "resolution": 16,
        "seed": 3,
        "data": {"path": "nowhere"} if task == "pggan" else {"root": "nowhere"},
        "network": {"base_resolution": 4, "channels": {"base": 16, "max": 6}},
    }
    return validate(merge(base, change or {}))


def batch(
    values: Tensor | float, first: int = 0, count: int = 4, channels: int = 3, labels: Sequence[int] | None = None
) -> Batch:
    """Pictures of constant grey (or the given ones), at consecutive positions."""
    images = values if isinstance(values, Tensor) else torch.full((count, channels, 8, 8), values)
    positions = tuple(range(first, first + len(images)))
    classes = None if labels is None else torch.tensor(labels)
    return Batch(images, positions, tuple(f"{p}.png" for p in positions), classes)
