"""The models of a snapshot: ``Generator`` paints pictures from nothing, ``Translator`` turns pictures of A into B.

They are read in evaluation mode, where batch norm, if a recipe asks for it, uses the statistics of training; without it
both modes are the same.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal, overload

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle import networks
from progcycle.blocks import downsample2x, fade_in, upsample2x
from progcycle.data.labels import list_names
from progcycle.errors import UserError
from progcycle.export.base import SnapshotModel
from progcycle.export.pictures import as_channels, from_pil, pad_to_multiple, resize, to_pil, to_stage
from progcycle.rng import normal

Direction = Literal["ab", "ba"]
Scale = Literal["train", "native"]


class Generator(SnapshotModel):
    """A trained PG-GAN generator, at the stage and alpha of its snapshot."""

    task: ClassVar[str] = "pggan"
    registry: ClassVar[dict[str, type[nn.Module]]] = networks.GENERATORS
    generator: nn.Module

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that it can paint, in the order of their numbers; () if it was trained without."""
        return tuple(self.config.classes)

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

    def forward(
        self, latents: Tensor, resolution: int | None = None, labels: Sequence[int] | Tensor | None = None
    ) -> Tensor:
        """Paint pictures from latents.

        Args:
            latents: drawn from N(0, I).  # [N, latent_size]
            resolution: an earlier stage to paint at; default: the snapshot's own.
            labels: numbers of the pictures' classes, if the model has any.  # [N]

        Returns:
            Pictures in about [-1, 1].  # [N, C, R, R]

        Raises:
            UserError: there is no such resolution.
            ValueError: labels are missing, there are too many or too few, or there is no such class.
        """
        stage, alpha = self.config.growth_at(resolution)
        latents = latents.to(self.device)
        one_hot = self._one_hot(len(latents), labels)
        options = {} if one_hot is None else {"labels": one_hot}
        pictures: Tensor = self.generator(latents, stage, alpha, **options)
        return pictures

    def _one_hot(self, count: int, labels: Sequence[int] | Tensor | None) -> Tensor | None:  # [N] -> [N, K]
        numbers = [] if labels is None else [int(label) for label in labels]
        known = len(self.classes)
        if len(numbers) != count * bool(known) or not all(0 <= number < known for number in numbers):
            raise ValueError(f"a model of {known} classes got {count} latents and the labels {numbers}")
        return F.one_hot(torch.tensor(numbers, device=self.device), known).float() if known else None

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
            resolution: an earlier stage to paint at, in pixels of a side; default: the snapshot's own. Only the
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
        if labels is None and self.classes:
            labels = [i % len(self.classes) for i in range(start, start + n)]
        parts = []
        for i in range(0, n, batch_size):
            count = min(batch_size, n - i)
            some = None if labels is None else labels[i : i + count]
            pictures = self(self.latents(count, seed, start=start + i), resolution, some)
            parts.append(pictures.float().clamp(-1, 1).cpu())
        return torch.cat(parts)

    def latents(self, n: int, seed: int = 0, *, start: int = 0) -> Tensor:
        """The latents of the pictures ``start`` to ``start + n - 1`` of a seed.  # [n, latent_size] float32"""
        size = int(self.generator.latent_size)  # type: ignore[arg-type]
        return normal(seed, "latent", range(start, start + n), size)


class Translator(SnapshotModel):
    """A trained pair of CycleGAN translators, at the stage and alpha of their snapshot."""

    task: ClassVar[str] = "cyclegan"
    registry: ClassVar[dict[str, type[nn.Module]]] = networks.TRANSLATORS
    gen_ab: nn.Module
    gen_ba: nn.Module

    def channels(self, direction: Direction) -> tuple[int, int]:
        """Channels of the pictures that go in and come out.

        Raises:
            ValueError: the direction is neither ``ab`` nor ``ba``.
        """
        if direction not in ("ab", "ba"):
            raise ValueError(f"direction is 'ab' or 'ba', got {direction!r}")
        arguments = self.config.networks[f"gen_{direction}"].arguments
        return arguments.get("in_channels", 3), arguments.get("out_channels", 3)

    def forward(self, x: Tensor, direction: Direction = "ab", resolution: int | None = None) -> Tensor:
        """Run a network as in training: the input is padded to a size that suits it, and faded if reals were.

        Args:
            x: pictures in [-1, 1] of any size.  # [N, C_in, H, W]
            direction: ``ab`` or ``ba``.
            resolution: an earlier stage to run at; default: the snapshot's own.

        Returns:
            Pictures in about [-1, 1].  # [N, C_out, H, W]
        """
        stage, alpha = self.config.growth_at(resolution)
        height, width = x.shape[2:]
        network = self.gen_ab if direction == "ab" else self.gen_ba
        x = pad_to_multiple(x.to(self.device), *_sides(network, stage))
        if alpha < 1 and self.config.fade_reals:  # as the real pictures of a fading stage
            x = fade_in(upsample2x(downsample2x(x)), x, alpha)
        y: Tensor = network(x, stage, alpha)
        return y[:, :, :height, :width]

    @overload
    def translate(
        self, picture: Image.Image, direction: Direction = ..., scale: Scale = ..., resolution: int | None = ...
    ) -> Image.Image: ...

    @overload
    def translate(
        self, picture: Tensor, direction: Direction = ..., scale: Scale = ..., resolution: int | None = ...
    ) -> Tensor: ...

    @torch.no_grad()
    def translate(
        self,
        picture: Image.Image | Tensor,
        direction: Direction = "ab",
        scale: Scale = "train",
        resolution: int | None = None,
    ) -> Image.Image | Tensor:
        """Translate a picture of any size and aspect; what comes back has its size.

        Args:
            picture: a Pillow image (turned upright by its EXIF orientation, made grey or colour as the domain needs,
                transparency put on the colour that training put there, usually white), or pictures in [-1, 1] with 1
                or 3 channels.  # [N, C, H, W]
            direction: ``ab`` turns pictures of A into B, ``ba`` the other way.
            scale: ``train`` brings the short side to the resolution of training as training does (in 256 grey levels,
                by Pillow's filters), translates and resizes back;
                ``native`` translates every pixel as it is, for pictures whose contents have the scale of training.
            resolution: an earlier stage to run at, in pixels of a side; default: the snapshot's own.

        Returns:
            A Pillow image of mode L or RGB, or pictures in [-1, 1], clamped, on the CPU.  # [N, C_out, H, W] float32

        Raises:
            UserError: there is no such resolution, or the image has more than 8 bits a channel.
            ValueError: an unknown direction or scale, or pictures of another shape.
        """
        channels, _ = self.channels(direction)
        self.config.growth_at(resolution)
        if scale not in ("train", "native"):
            raise ValueError(f"scale is 'train' or 'native', got {scale!r}")
        if isinstance(picture, Image.Image):
            pixels = from_pil(picture, channels, self.config.background(direction[0]))
            return to_pil(self.translate(pixels, direction, scale, resolution))[0]
        if picture.ndim != 4 or picture.shape[1] not in (1, 3) or 0 in picture.shape:
            raise ValueError(f"expected pictures of shape [N, 1 or 3, H, W], got {list(picture.shape)}")
        height, width = picture.shape[2:]
        x = as_channels(picture.to(self.device, torch.float32), channels)
        if scale == "train":
            x = to_stage(x, resolution or self.resolution, self.config.final_resolution)
        y = self(x, direction, resolution).float().clamp(-1, 1)
        return resize(y, height, width).clamp(-1, 1).cpu()


def _sides(network: nn.Module, stage: int) -> tuple[int, int]:
    """What the sides of a translator's pictures are multiples of, and the smallest one."""
    multiple: int = network.multiple(stage) if hasattr(network, "multiple") else 1 << stage  # type: ignore[operator]
    return multiple, int(getattr(network, "smallest", 1))


MODELS: dict[str, type[Generator] | type[Translator]] = {"pggan": Generator, "cyclegan": Translator}
