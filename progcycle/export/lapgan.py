"""``LaplacianGenerator``: the levels of a LAPGAN snapshot, which paint pictures from coarse to fine."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from progcycle import networks
from progcycle.errors import UserError
from progcycle.export.config import SnapshotConfig
from progcycle.export.generator import Generator
from progcycle.export.graph import LatentForm, Pyramid
from progcycle.resolution import Resolution
from progcycle.rng import Distribution, latents
from progcycle.schedule import Growth

_NAME = re.compile(r"generator_(\d{1,4})")


class LaplacianGenerator(Generator):
    """The generators of a LAPGAN: of all levels, or of those that a run has trained.

    Attributes:
        levels: pixels of a side of the levels that are there, the coarsest first.
    """

    task: ClassVar[str] = "lapgan"
    kind: ClassVar[str] = "a LAPGAN"

    @classmethod
    def check(cls, config: SnapshotConfig) -> None:
        """Refuse the config of a snapshot that this class cannot hold; see :meth:`SnapshotModel.check`."""
        if config.task != cls.task:
            raise ValueError(f"A {cls.__name__} holds networks of the task {cls.task}, not {config.task}")
        count = (int(config.final_resolution) // int(config.base_resolution)).bit_length()
        sides = [int(config.base_resolution) << i for i in range(count)]
        for name, spec in config.networks.items():
            match = _NAME.fullmatch(name)
            if match is None or int(match[1]) not in sides:
                known = ", ".join(f"generator_{side}" for side in sides)
                raise ValueError(f"networks of the task {cls.task} are {known}, got {name}")
            side = int(match[1])
            own = networks.GENERATORS if side == config.base_resolution else networks.LEVEL_GENERATORS
            if spec.name not in own:
                raise ValueError(f"{name}: there is no network {spec.name!r}; the known ones are {', '.join(own)}")
            if own is networks.LEVEL_GENERATORS and spec.arguments.get("resolution") != side:
                raise ValueError(f"{name} is not made for {side} px: resolution is {spec.arguments.get('resolution')}")
        if not config.networks:
            raise ValueError(f"networks of the task {cls.task} are generators of its levels, got none")

    @classmethod
    def registry_of(cls, name: str) -> dict[str, type[networks.Network]]:
        """See :meth:`SnapshotModel.registry_of`; :meth:`check` has seen which level is the coarsest."""
        return {**networks.LEVEL_GENERATORS, **networks.GENERATORS}

    @classmethod
    def resolutions(cls, config: SnapshotConfig) -> tuple[Resolution, ...]:
        """See :meth:`SnapshotModel.resolutions`; those of the levels whose coarser ones are there too.

        Raises:
            UserError: the coarsest is missing.
        """
        here = sorted(int(name.rpartition("_")[2]) for name in config.networks)
        if here[0] != config.base_resolution:
            raise UserError(
                f"To paint pictures the level of {config.base_resolution} px is missing. Put this run together with "
                "runs of the others, by progcycle join."
            )
        return tuple(Resolution.of(s) for i, s in enumerate(here) if s == config.base_resolution << i)

    @property
    def levels(self) -> tuple[int, ...]:
        """Pixels of a side of the levels that are there, the coarsest first."""
        return tuple(sorted(int(name.rpartition("_")[2]) for name in self.config.networks))

    @property
    def all_levels(self) -> tuple[int, ...]:
        """The same of all levels of the pyramid, whether they are there or not."""
        base, count = int(self.config.base_resolution), self.config.final_resolution // self.config.base_resolution
        return tuple(base << i for i in range(count.bit_length()))

    def level(self, side: int) -> networks.Network:
        """The generator of a level."""
        network: networks.Network = self.get_submodule(f"generator_{side}")  # type: ignore[assignment]
        return network

    def growth_at(self, resolution: int | None) -> Growth:
        """Where to paint: up to a level; default: the finest.

        Raises:
            UserError: there is no such level, or one of those before it is missing here.
        """
        up_to = resolution or self.levels[-1]
        needed = [side for side in self.all_levels if side <= up_to]
        if up_to not in self.all_levels or not Resolution.of(up_to).is_square:
            possible = ", ".join(map(str, self.all_levels))
            raise UserError(f"This LAPGAN has no level of {up_to} px; it has {possible} px.")
        if missing := [side for side in needed if side not in self.levels]:
            here = ", ".join(map(str, self.levels))
            raise UserError(
                f"To paint pictures of {up_to} px the level of {missing[0]} px is missing: this run trained {here} px "
                "only. Put it together with runs of the others, by progcycle join."
            )
        return replace(self.config.growth, stage=len(needed) - 1, resolution=up_to, alpha=1.0)

    @property
    def latent_parts(self) -> tuple[tuple[int, Distribution], ...]:
        """See :class:`Generator`; a part for each level."""
        networks_of_levels = map(self.level, self.levels)
        return tuple((network.latent_size, network.distribution) for network in networks_of_levels)

    def latent_sizes(self, resolution: int | None = None) -> list[int]:
        """Numbers that each level up to a resolution is painted from, the coarsest first."""
        up_to = self.growth_at(resolution).resolution
        return [self.level(side).latent_size for side in self.levels if side <= up_to]

    def latents(self, n: int, seed: int = 0, *, start: int = 0) -> Tensor:
        """The latents of the pictures ``start`` to ``start + n - 1`` of a seed, of all levels side by side.

        Those of a level are the same whichever finer ones there are.  # [n, sum of latent_sizes()] float32
        """
        self.growth_at(None)
        return torch.cat([self.level_latents(side, seed, range(start, start + n)) for side in self.levels], dim=1)

    def level_latents(self, side: int, seed: int, numbers: Sequence[int]) -> Tensor:
        """The latents of one level, of the pictures of these numbers.  # [n, the level's latent_size] float32"""
        network = self.level(side)
        return latents(seed, f"latent/{side}", numbers, network.latent_size, network.distribution)

    def forward(
        self, latents: Tensor, resolution: int | None = None, labels: Sequence[int] | Tensor | None = None
    ) -> Tensor:
        """Paint pictures from latents; see :meth:`Generator.forward`.

        Args:
            latents: as :meth:`latents` draws them, of all levels or of those up to ``resolution``.  # [N, D]
            resolution: the level to paint up to; default: the finest.
            labels: numbers of the pictures' classes, if the model has any.  # [N]
        """
        sizes = self.latent_sizes(resolution)
        parts = torch.split(latents[:, : sum(sizes)].to(self.device), sizes, dim=1)
        one_hot = self._one_hot(len(latents), labels)
        classes = {} if one_hot is None else {"labels": one_hot}
        coarsest = self.all_levels[0]
        picture = self.run(self.level(coarsest), parts[0], self._stage(coarsest), 1.0, **classes)
        for side, part in zip(self.all_levels[1:], parts[1:], strict=False):
            picture = self.paint_level(side, picture, part, one_hot)
        return picture

    def latent_form(self, resolution: int | None = None) -> LatentForm:
        """See :class:`Generator`; of the levels up to the resolution."""
        return LatentForm(self.latent_parts[: len(self.latent_sizes(resolution))])

    def painting(self, growth: Growth) -> nn.Module:
        """See :class:`Generator`."""
        sides = [side for side in self.levels if side <= growth.resolution]
        return Pyramid([self.level(side) for side in sides], self._stage(sides[0]), len(self.classes))

    def paint_level(self, side: int, coarse: Tensor, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Paint one level over pictures of the level below.

        Args:
            side: pixels of a side of the level.
            coarse: pictures in about [-1, 1].  # [N, C, side / 2, side / 2]
            latents: of this level.  # [N, the level's latent_size]
            labels: one-hot rows, if the model has classes.  # [N, K]

        Returns:
            Pictures in about [-1, 1].  # [N, C, side, side]
        """
        network = self.level(side)
        classes = {} if labels is None else {"labels": labels}
        latents = latents.to(self.device, self.dtype)
        return self.run(network, coarse.to(self.device), 0, 1.0, latents=latents, **classes)

    def _stage(self, side: int) -> int:
        """The stage at which the network of the coarsest level is whole."""
        arguments = self.config.networks[f"generator_{side}"].arguments
        base = arguments.get("base_resolution")
        return (side // base).bit_length() - 1 if isinstance(base, int) and 0 < base <= side else 0
