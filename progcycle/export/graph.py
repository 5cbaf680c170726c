"""What an exported file computes: networks of a model at one stage and alpha, and what goes in and comes out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import fade_reals
from progcycle.data import Levels
from progcycle.networks import Network
from progcycle.rng import Distribution, latents
from progcycle.schedule import Growth


@dataclass(frozen=True)
class PictureForm:
    """Pictures that go in or come out, in [-1, 1].  # [N, channels, H, W]

    Attributes:
        domain: the recipe's name of the set of pictures that they are like.
        channels: C.
        levels: what files of them hold.
        sides: height and width of training, in pixels.
        multiple: of what height and width are multiples; None: they are those of training.
        least: pixels of a side.
        background: colour that transparent pictures are put on.
    """

    domain: str
    channels: int
    levels: Levels
    sides: tuple[int, int]
    multiple: int | None = None
    least: int = 1
    background: str = "white"

    def example(self, count: int, sides: tuple[int, int]) -> Tensor:
        """Noise in [-1, 1], and a quarter of plain grey, where a norm has nothing to divide.  # [count, C, H, W]"""
        height, width = self.sides if self.multiple is None else sides
        size = self.channels * height * width
        x = latents(0, "export", range(count), size, "uniform").reshape(count, self.channels, height, width)
        x[..., : height // 2, : width // 2] = 0
        return x


@dataclass(frozen=True)
class LatentForm:
    """Latents.  # [N, size]

    Attributes:
        parts: how many numbers there are of each distribution, in order.
        real: those of real pictures, where training drew from such.  # [M, size]
    """

    parts: tuple[tuple[int, Distribution], ...]
    real: Tensor | None = None

    @property
    def size(self) -> int:
        """Numbers of a latent."""
        return sum(size for size, _ in self.parts)

    def example(self, count: int, sides: tuple[int, int]) -> Tensor:
        """The first latents of a series.  # [count, size]"""
        return torch.cat(
            [latents(i, "export", range(count), size, kind) for i, (size, kind) in enumerate(self.parts)], dim=1
        )


@dataclass(frozen=True)
class LabelForm:
    """Numbers of classes.  # [N] int64

    Attributes:
        classes: their names.
    """

    classes: tuple[str, ...]

    def example(self, count: int, sides: tuple[int, int]) -> Tensor:
        """The classes in turn.  # [count]"""
        return torch.arange(count) % len(self.classes)


Form = PictureForm | LatentForm | LabelForm


@dataclass(frozen=True)
class Graph:
    """A part of a model that can be exported.

    Attributes:
        name: of the file, without its ending: ``generator``, ``ab``, ...
        module: ``forward(input)`` or ``forward(input, second)``, on the model's own networks.
        reference: the same function, as the model itself computes it.
        inputs: by name; the first is called ``input``.
        output: of the module.
        growth: where the networks run.
    """

    name: str
    module: nn.Module
    reference: Callable[..., Tensor]
    inputs: Mapping[str, Form]
    output: PictureForm
    growth: Growth

    def examples(self, count: int, sides: tuple[int, int]) -> tuple[Tensor, ...]:
        """Inputs for a batch of ``count``; pictures of any size get these sides."""
        return tuple(form.example(count, sides) for form in self.inputs.values())

    @property
    def sizes(self) -> tuple[tuple[int, tuple[int, int]], ...]:
        """Three batches to try: how many pictures, and their height and width. The first is that of training."""
        pictures = self.inputs["input"]
        if not isinstance(pictures, PictureForm) or pictures.multiple is None:
            return tuple((count, self.output.sides) for count in (1, 2, 3))
        step = pictures.multiple
        low = -(-pictures.least // step) * step
        first = tuple(max(low, -(-side // step) * step) for side in pictures.sides)
        return (1, (first[0], first[1])), (2, (low + step, low + 2 * step)), (3, (low + 2 * step, low))


class Translation(nn.Module):
    """A translator, with the fade of its input that training has while a stage fades in.

    Args:
        network: the translator.
        growth: where it runs.
    """

    def __init__(self, network: Network, growth: Growth) -> None:
        super().__init__()
        self.network, self.growth = network, growth

    def forward(self, input: Tensor, latents: Tensor | None = None) -> Tensor:
        """Translate pictures in [-1, 1] whose sides suit the network.  # [N, C_in, H, W] -> [N, C_out, H, W]"""
        growth = self.growth
        x = fade_reals(input, growth.reals_alpha) if growth.reals_alpha < 1 else input
        more = {} if latents is None else {"latents": latents}
        y: Tensor = self.network(x, growth.stage, growth.alpha, **more)
        return y


class Painting(nn.Module):
    """A generator, or anything else that is called like one.

    Args:
        network: makes pictures.
        growth: where it runs.
        classes: how many there are, whose numbers are the second input.
    """

    def __init__(self, network: Network, growth: Growth, classes: int = 0) -> None:
        super().__init__()
        self.network, self.growth, self.classes = network, growth, classes

    def forward(self, input: Tensor, labels: Tensor | None = None) -> Tensor:
        """Paint pictures from latents.  # [N, D], [N] -> [N, C, R, R]"""
        options = self.network.options_at(self.growth.nimg)
        if labels is not None:
            options["labels"] = F.one_hot(labels, self.classes).to(input.dtype)
        y: Tensor = self.network(input, self.growth.stage, self.growth.alpha, **options)
        return y


class Pyramid(nn.Module):
    """The generators of a LAPGAN, one over the other.

    Args:
        levels: their networks, the coarsest first.
        stage: at which the coarsest is whole.
        classes: how many there are, whose numbers are the second input.
    """

    def __init__(self, levels: Sequence[Network], stage: int, classes: int = 0) -> None:
        super().__init__()
        self.levels, self.stage, self.classes = nn.ModuleList(levels), stage, classes
        self.sizes = [level.latent_size for level in levels]

    def forward(self, input: Tensor, labels: Tensor | None = None) -> Tensor:
        """Paint pictures from the latents of all levels side by side.  # [N, D], [N] -> [N, C, R, R]"""
        more = {} if labels is None else {"labels": F.one_hot(labels, self.classes).to(input.dtype)}
        first, *others = torch.split(input, self.sizes, dim=1)
        picture: Tensor = self.levels[0](first, self.stage, 1.0, **more)
        for level, part in zip(list(self.levels)[1:], others, strict=True):
            picture = level(picture, 0, 1.0, latents=part, **more)
        return picture
