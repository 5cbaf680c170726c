"""``Generator``: the network of a PG-GAN snapshot, which paints pictures from latents; in evaluation mode."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle import networks
from progcycle.data.labels import list_names
from progcycle.errors import UserError
from progcycle.export.examples import Examples
from progcycle.export.graph import Form, Graph, LabelForm, LatentForm, Painting, PictureForm
from progcycle.export.metadata import Metadata
from progcycle.export.snapshot_model import SnapshotModel
from progcycle.export.tensor_images import to_pil
from progcycle.export.value_files import endings, write_values
from progcycle.resolution import Resolution
from progcycle.rng import Distribution, latents
from progcycle.schedule import Growth


@dataclass
class GeneratorExamples(Examples):
    """The first pictures of a seed.

    Attributes:
        seed: which series of pictures.
        class_name: of all pictures, by its name or its number; None: the classes in turn.
    """

    seed: int = 0
    class_name: str | None = None

    @property
    def words(self) -> str:
        """The seed."""
        return f"seed {self.seed}"

    def made_by(self, model: "Generator", resolution: int | None = None) -> list[Image.Image]:
        """What a snapshot paints from the latents."""
        labels = model.labels_for(self.count, self.class_name)
        return list(model.paint(model.latents(self.count, self.seed), labels, resolution, self.batch_size))

    def columns(self, model: "Generator") -> list[str] | None:
        """Names of the classes in turn."""
        labels = model.labels_for(self.count) if self.class_name is None else None
        return None if labels is None else [model.classes[label] for label in labels]


class Generator(SnapshotModel):
    """A trained PG-GAN generator, at the stage and alpha of its snapshot."""

    task: ClassVar[str] = "pggan"
    names: ClassVar[tuple[str, ...]] = ("generator",)
    registry: ClassVar[dict[str, type[networks.Network]]] = networks.GENERATORS
    kind: ClassVar[str] = "a PG-GAN"
    command: ClassVar[str | None] = "generate"
    examples: ClassVar[type[Examples] | None] = GeneratorExamples
    summary: ClassVar[str] = "Paints new pictures from random numbers"
    hub_task: ClassVar[str] = "unconditional-image-generation"
    generator: networks.Network

    @property
    def usage(self) -> str:
        """Paints pictures, and writes the first one."""
        return 'from progcycle.export import to_pil\n\nto_pil(model.generate(16, seed=0))[0].save("0.png")'

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that it can paint, in the order of their numbers; () if it was trained without."""
        return tuple(self.config.classes)

    def growth_at(self, resolution: int | None) -> Growth:
        """Where to paint: where growth stood by default, or at an earlier resolution.

        Raises:
            UserError: there is no such resolution.
        """
        return self.config.growth_at(resolution)

    @property
    def image_channels(self) -> int:
        """Channels of its pictures."""
        channels: int = next(iter(self.config.networks.values())).arguments.get("image_channels", 3)
        return channels

    def class_number(self, name: str) -> int:
        """Number of a class, by its name or else by its number as text.

        Raises:
            UserError: there is no such class, or there are none.
        """
        if not self.classes:
            raise UserError("This model was trained without classes, so there is none to choose.")
        if name in self.classes:
            return self.classes.index(name)
        if name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        raise UserError(f"This model has no class {name}; it has {list_names(self.classes)}.")

    def labels_for(self, count: int, class_name: str | None = None, start: int = 0) -> list[int] | None:
        """Numbers of the classes of pictures ``start`` to ``start + count - 1``; None for a model without classes.

        Args:
            count: how many pictures.
            class_name: of all of them, by its name or its number; default: the classes in turn.
            start: number of the first picture.

        Raises:
            UserError: there is no such class.
        """
        if class_name is not None:
            return [self.class_number(class_name)] * count
        return [i % len(self.classes) for i in range(start, start + count)] if self.classes else None

    def forward(
        self, latents: Tensor, resolution: int | None = None, labels: Sequence[int] | Tensor | None = None
    ) -> Tensor:
        """Paint pictures from latents.

        Args:
            latents: drawn as :meth:`latents` does, from N(0, I) unless the generator says so.  # [N, latent_size]
            resolution: an earlier stage to paint at; default: the snapshot's own.
            labels: numbers of the pictures' classes, if the model has any.  # [N]

        Returns:
            Pictures in about [-1, 1].  # [N, C, R, R]

        Raises:
            UserError: there is no such resolution.
            ValueError: labels are missing, there are too many or too few, or there is no such class.
        """
        growth = self.growth_at(resolution)
        one_hot = self._one_hot(len(latents), labels)
        options = {**self.generator.options_at(growth.nimg), **({} if one_hot is None else {"labels": one_hot})}
        return self.run(self.generator, latents.to(self.device), growth.stage, growth.alpha, **options)

    def _one_hot(self, count: int, labels: Sequence[int] | Tensor | None) -> Tensor | None:  # [N] -> [N, K]
        numbers = [] if labels is None else [int(label) for label in labels]
        known = len(self.classes)
        if len(numbers) != count * bool(known) or not all(0 <= number < known for number in numbers):
            raise ValueError(f"a model of {known} classes got {count} latents and the labels {numbers}")
        return F.one_hot(torch.tensor(numbers, device=self.device), known).to(self.dtype) if known else None

    @torch.no_grad()
    def generate(
        self,
        n: int,
        seed: int = 0,
        *,
        start: int = 0,
        resolution: int | None = None,
        batch_size: int = 16,
        labels: Sequence[int] | None = None,
    ) -> Tensor:
        """Paint the pictures ``start`` to ``start + n - 1`` of a seed; :func:`to_pil` makes images of them.

        Latents are looked up by (seed, number of the picture), so picture i of a seed is the same whatever n, start
        and the batch size (to floating-point rounding).

        Args:
            n: how many pictures.
            seed: which series of pictures.
            start: number of the first picture.
            resolution: an earlier stage to paint at, in pixels per side; default: the snapshot's own. Only the
                snapshot's own is what training last worked on: with ``rgb: replace``, the earlier stages' last layers
                stood still since they were faded out.
            batch_size: pictures painted at a time.
            labels: numbers of the n pictures' classes; default: the classes in turn, class i % K for picture i.

        Returns:
            Pictures in [-1, 1], clamped, on the CPU.  # [n, C, R, R] float32

        Raises:
            UserError: there is no such resolution.
            ValueError: n or batch_size is below 1, start is negative, or labels are wrong.
        """
        if n < 1 or batch_size < 1 or start < 0:
            raise ValueError(f"n and batch_size start at 1 and start at 0, got {n}, {batch_size} and {start}")
        if labels is not None and len(labels) != n:
            raise ValueError(f"{n} pictures need as many labels, got {len(labels)}")
        if labels is None:
            labels = self.labels_for(n, start=start)
        parts = []
        for i in range(0, n, batch_size):
            count = min(batch_size, n - i)
            some = None if labels is None else labels[i : i + count]
            pictures = self(self.latents(count, seed, start=start + i), resolution, some)
            parts.append(pictures.float().clamp(-1, 1).cpu())
        return torch.cat(parts)

    def paint(
        self,
        latents: Tensor,
        labels: Sequence[int] | None = None,
        resolution: int | None = None,
        batch_size: int = 16,
    ) -> Iterator[Image.Image]:
        """Paint pictures in RGB one after the other, a batch at a time.

        Args:
            latents: of all pictures.  # [N, latent_size]
            labels: numbers of the classes of all pictures, if the model has any.
            resolution: an earlier stage to paint at.
            batch_size: pictures painted at a time.
        """
        for i in range(0, len(latents), batch_size):
            with torch.no_grad():
                some = None if labels is None else labels[i : i + batch_size]
                pictures = to_pil(self(latents[i : i + batch_size], resolution, some))
            yield from (picture.convert("RGB") for picture in pictures)

    @property
    def latent_parts(self) -> tuple[tuple[int, Distribution], ...]:
        """How many numbers of a latent there are of each distribution, in order."""
        return ((self.generator.latent_size, self.generator.distribution),)

    def graphs(self, direction: str | None = None, resolution: int | None = None) -> list[Graph]:
        """The graph ``generator``; see :meth:`SnapshotModel.graphs`."""
        self._no_direction(direction)
        growth = self.growth_at(resolution)
        inputs: dict[str, Form] = {"input": self.latent_form(resolution)}
        if self.classes:
            inputs["labels"] = LabelForm(self.classes)
        sides = Resolution.of(growth.resolution).shape
        output = PictureForm("real", self.image_channels, self.config.levels("real"), sides)
        return [Graph("generator", self.painting(growth), partial(_painted, self, resolution), inputs, output, growth)]

    def latent_form(self, resolution: int | None = None) -> LatentForm:
        """What latents an exported generator takes."""
        return LatentForm(self.latent_parts)

    def painting(self, growth: Growth) -> nn.Module:
        """What an exported generator computes."""
        return Painting(self.generator, growth, len(self.classes))

    def write(self, picture: Tensor, name: Path) -> Path:
        """Write a picture as a file of the depth that training read.

        Args:
            picture: in [-1, 1].  # [C, H, W]
            name: of the file, without an ending: ``.png`` follows, or ``.tif`` where PNG cannot hold such pictures.

        Returns:
            The file.
        """
        levels = self.config.levels("real")
        target = name.with_name(name.name + endings(levels, len(picture))[0])
        write_values(levels.values(picture.permute(1, 2, 0).cpu().numpy()), Metadata(), "white", target)
        return target

    def latents(self, n: int, seed: int = 0, *, start: int = 0) -> Tensor:
        """The latents of the pictures ``start`` to ``start + n - 1`` of a seed.  # [n, latent_size] float32"""
        network = self.generator
        return latents(seed, "latent", range(start, start + n), network.latent_size, network.distribution)


def _painted(model: Generator, resolution: int | None, latents: Tensor, labels: Tensor | None = None) -> Tensor:
    pictures: Tensor = model(latents, resolution, labels)
    return pictures


class BeganGenerator(Generator):
    """A trained BEGAN generator, which is used as that of a PG-GAN is."""

    task: ClassVar[str] = "began"
    registry: ClassVar[dict[str, type[networks.Network]]] = networks.DECODERS
    kind: ClassVar[str] = "a BEGAN"
