"""LAPGAN: pictures from coarse to fine, by a pair of networks for each level of a pyramid (Denton et al. 2015).

The levels share no weights and no losses. Each learns from real pictures of its size alone, so that it makes no
difference whether they are trained at once, in different runs, or in which order.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from progcycle.blocks import downsample2x
from progcycle.data import Batch, find_classes
from progcycle.errors import UserError
from progcycle.networks import LevelGenerator, Network, TaskShape
from progcycle.recipe import Adversarial, ClassWeights, LapganRecipe, players_of
from progcycle.rng import address, latents
from progcycle.schedule import Growth
from progcycle.tasks.adversarial_loss import AdversarialLoss, one_hot
from progcycle.tasks.base import Memory, Round, Shown, Stats, Task, to_match
from progcycle.tasks.specs import check_adversarial, check_augment, in_objective, make_network, network_key

SMALLEST_BASE = 4  # of a growing network that is a level: it is whole from the start


def _smallest_base(side: int) -> int:
    """A level's side, halved as long as ``SMALLEST_BASE`` pixels are left."""
    while side % 2 == 0 and side // 2 >= SMALLEST_BASE:
        side //= 2
    return side


@dataclass(frozen=True)
class Level:
    """One level.

    Attributes:
        side: pixels of a side.
        generator: from latents to pictures, or from the level below and latents.
        loss: of its discriminator and of its generator.
        stages: at which stage each of its networks works, by player.
    """

    side: int
    generator: Network
    loss: AdversarialLoss
    stages: Mapping[str, int]

    @property
    def is_coarsest(self) -> bool:
        """Whether it begins a picture."""
        return not isinstance(self.generator, LevelGenerator)

    def latents(self, seed: int, purpose: str, positions: Sequence[int]) -> Tensor:
        """Latents of this level, which do not depend on the other levels.  # [N, latent_size] float32"""
        own = self.generator
        return latents(seed, f"{purpose}/{self.side}", positions, own.latent_size, own.distribution)

    def paint(self, network: nn.Module, coarse: Tensor | None, drawn: Tensor, labels: Tensor | None) -> Tensor:
        """Pictures of this level.

        Args:
            network: its generator, or the average of it.
            coarse: pictures of the level below; not used by the coarsest.  # [N, C, R/2, R/2]
            drawn: latents of this level.  # [N, latent_size]
            labels: one-hot rows, if there are classes.  # [N, K]
        """
        classes = {} if labels is None else {"labels": labels}
        stage = self.stages["generator"]
        pictures: Tensor
        if self.is_coarsest:
            pictures = network(drawn, stage, 1.0, **classes)
        else:
            pictures = network(coarse, stage, 1.0, latents=drawn, **classes)
        return pictures


class LapganTask(Task):
    """The discriminators of all levels, and on other pictures the generators of all levels.

    A run may train some of the levels only; each begins with the same weights, whichever others are trained. In a step
    of the discriminators, real pictures and the coarse pictures that fakes are painted over are different ones. A step
    of the generators takes the coarse versions of both sets.

    Args:
        recipe: a validated recipe; with labels, the names of its pictures are read.

    Raises:
        UserError: a network or loss of an unknown name, a combination without meaning, or labels that do not fit.

    Attributes:
        levels: those that are trained, the coarsest first.
        chain: the first of them as far as none is missing, which paint whole pictures.
    """

    symbols = MappingProxyType({"generator": "G", "discriminator": "D"})

    def __init__(self, recipe: LapganRecipe) -> None:
        self.recipe, self.seed = recipe, recipe.seed
        self.classes = find_classes(recipe.data)
        check_adversarial(recipe.objective)
        check_augment(recipe.objective, {recipe.data.channels}, in_objective)
        if recipe.objective.balance is not None:
            raise UserError("objective.balance: no pictures here are seen by several discriminators; leave it out.")
        if recipe.objective.critic_boost is not None:
            raise UserError("objective.critic_boost: the levels of a pyramid have none; leave it out.")
        keys: dict[str, str] = {}
        self.networks, self.specs, self.keys = {}, {}, keys
        self.levels = [self._make(side, keys) for side in recipe.levels]
        self.players = {
            player: tuple(f"{player}_{side}" for side in recipe.levels) for player in ("generator", "discriminator")
        }
        self.ema_of = self.players["generator"]
        self.update_order = _rounds(recipe.objective)
        self.lazy = tuple(dict.fromkeys(period for level in self.levels for period in level.loss.lazy))
        self.watched = {
            f"discriminator_{level.side}": watched for level in self.levels for watched in level.loss.watched.values()
        }
        below = itertools.takewhile(recipe.levels.__contains__, recipe.all_levels)
        self.chain = self.levels[: len(list(below))]

    def uncompiled(self) -> frozenset[str]:
        """The discriminators whose losses say so."""
        return frozenset(f"discriminator_{level.side}" for level in self.levels if not level.loss.compilable)

    def draw_latents(self, seed: int, purpose: str, positions: Sequence[int]) -> Tensor:
        """Latents of all levels of this run side by side.  # [N, D] float32"""
        return torch.cat([level.latents(seed, purpose, positions) for level in self.levels], dim=1)

    # --- networks ---------------------------------------------------------------------------------------------

    def _make(self, side: int, keys: dict[str, str]) -> Level:
        """The networks of a level, from weights of an address of their own; ``keys`` gets their recipe keys."""
        stages, prefix = {}, "coarsest_" if side == self.recipe.network.base_resolution else ""
        for player in ("generator", "discriminator"):
            name, section = f"{player}_{side}", f"{prefix}{player}"
            options = getattr(self.recipe.network, section)
            kind = players_of(type(self.recipe.network))[section].networks[options.name]
            base = _smallest_base(side) if kind.sizes == "growing" else side
            shape = TaskShape(
                side,
                base,
                side,
                {"image_channels": self.recipe.data.channels},
                len(self.classes),
                address(self.seed, name),
                grows=False,
            )
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(address(self.seed, "init", name) % 2**63)
                self.networks[name], self.specs[name] = make_network(self.recipe.network, section, shape)
            keys[name] = network_key(section)
            if self.networks[name].sizes == "any" and side < self.networks[name].smallest:
                raise UserError(
                    f"{keys[name]}: {options.name} needs pictures of {self.networks[name].smallest} px or more, "
                    f"and this level has {side}; choose another network, or raise network.base_resolution."
                )
            stages[player] = (side // base).bit_length() - 1
        network = self.networks[f"discriminator_{side}"]
        told = len(self.classes) if network.told_classes else 0
        names = bool(self.classes) and network.has_classes and not told
        loss = AdversarialLoss(
            network,
            self.recipe.objective,
            seed=self.seed,
            suffix=f"_{side}",
            classes=ClassWeights() if names else None,
            told=told,
            queue=getattr(self.recipe.network, f"{prefix}discriminator").queue,
            key=network_key(f"{prefix}discriminator"),
        )
        return Level(side, self.networks[f"generator_{side}"], loss, stages)

    def before_update(self, player: str) -> None:
        """Clip the weights of critics that the recipe wants clipped, before each of their updates."""
        if player == "discriminator":
            for level in self.levels:
                level.loss.before_update()

    # --- losses -----------------------------------------------------------------------------------------------

    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """See :meth:`Task.loss`; the domains are ``real`` and ``coarse``, the players both players of all levels."""
        step = self._update_of_discriminators(step)
        if player == "generator":
            reals = {"coarse": _both(reals["real"], reals["coarse"])}
        pyramids = {domain: self._pyramid(batch.images) for domain, batch in reals.items()}
        losses, stats = [], Stats()
        for level in self.levels:
            at = {domain: replace(batch, images=pyramids[domain][level.side]) for domain, batch in reals.items()}
            below = pyramids["coarse"].get(level.side // 2)
            own = replace(growth, stage=level.stages["discriminator"], resolution=level.side, alpha=1.0, fading=False)
            if player == "discriminator":
                with torch.no_grad():
                    fake = self._fake(level, player, at["coarse"], below)
                found = level.loss.discriminator_loss(at["real"], fake, own, step, behind=at["coarse"])
            else:
                fake = self._fake(level, player, at["coarse"], below)
                found = level.loss.generator_loss(at["coarse"], fake, own, step, f"gen_{level.side}")
            losses.append(found[0])
            stats |= found[1]
        return torch.stack(losses).sum(), stats

    def _fake(self, level: Level, player: str, coarse: Batch, below: Tensor | None) -> Tensor:
        drawn = level.latents(self.seed, f"latent/{player}", coarse.positions)
        labels = None
        if coarse.labels is not None:
            labels = one_hot(coarse.labels, len(self.classes)).to(coarse.images.dtype)
        return level.paint(level.generator, below, to_match(drawn, coarse.images), labels)

    def _pyramid(self, pictures: Tensor) -> dict[int, Tensor]:
        """Pictures at the size of every level from their own on down.  # [N, C, R, R] -> each [N, C, r, r]"""
        found, coarsest = {pictures.shape[-1]: pictures}, self.recipe.network.base_resolution
        while (side := min(found)) > coarsest:
            found[side // 2] = downsample2x(found[side])
        return found

    def _update_of_discriminators(self, step: int) -> int:
        """How many updates of the discriminators lie before a round, for what is not done at every one of them."""
        rounds, place = divmod(step, len(self.update_order))
        updates = sum("discriminator" in players for one in self.update_order for players in one)
        return rounds * updates + min(place, updates - 1)

    def initialize(self, pictures: Callable[[str, int], Tensor], growth: Growth) -> None:
        """Set weights that depend on the data."""
        for level in self.levels:
            section = "coarsest_discriminator" if level.is_coarsest else "discriminator"
            if count := getattr(self.recipe.network, section).init_pictures:
                real = self._pyramid(pictures("real", count))[level.side]
                own = replace(growth, stage=level.stages["discriminator"], resolution=level.side, alpha=1.0)
                level.loss.initialize(real, own)

    # --- samples ----------------------------------------------------------------------------------------------

    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The same latents for the whole run, real pictures, and with classes ``labels``, all in turn."""
        panel = {"latents": self.draw_latents(self.seed, "latent/panel", range(count))}
        panel["real"] = pictures("real")
        if self.classes:
            panel["labels"] = one_hot(torch.arange(count) % len(self.classes), len(self.classes)).float()
        return panel

    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        """Samples from the coarsest level on; then what each level paints over real coarse pictures, and these."""
        sizes = [level.generator.latent_size for level in self.levels]
        drawn = dict(
            zip((level.side for level in self.levels), torch.split(panel["latents"], sizes, dim=1), strict=True)
        )
        labels = panel.get("labels")
        picture: Tensor | None = None
        for level in self.chain:
            network = networks[f"generator_{level.side}"]
            picture = level.paint(network, picture, drawn[level.side], labels)
        rows = [] if picture is None else [picture]
        if "real" not in panel:
            return rows
        pyramid = self._pyramid(panel["real"])
        for level in self._painted_over:
            count, network = len(panel["real"]), networks[f"generator_{level.side}"]
            some = None if labels is None else labels[:count]
            rows.append(level.paint(network, pyramid[level.side // 2], drawn[level.side][:count], some))
        return [*rows, panel["real"]]

    @property
    def _painted_over(self) -> list[Level]:
        return [level for level in reversed(self.levels) if not level.is_coarsest]

    def row_names(self) -> tuple[str, ...]:
        """Of :meth:`sample`."""
        painted = tuple(f"{level.side} over real {level.side // 2}" for level in self._painted_over)
        return (*(f"samples of {level.side}" for level in self.chain[-1:]), *painted, "real")

    def shown(self, rows: Sequence[Tensor], pictures: Callable[[str], Tensor]) -> dict[str, Shown]:
        """The samples of the whole pyramid, or what the finest level paints over real coarse pictures."""
        finest = self.levels[-1].side
        made = next(row for row in rows if row.shape[-1] == finest)
        return {f"generator_{finest}": Shown(made, pictures("real"))}

    def memories(self) -> dict[str, Memory]:
        """Memories of the levels' losses: of noise and augmentation."""
        return {name: memory for level in self.levels for name, memory in level.loss.memories().items()}


def _rounds(options: Adversarial) -> tuple[Round, ...]:
    """Discriminators and generators take turns on pictures of their own, unless both are updated at once."""
    if options.simultaneous:
        return ((("discriminator", "generator"),),)
    return ((("discriminator",),),) * options.n_critic + ((("generator",),),)


def _both(first: Batch, second: Batch) -> Batch:
    """Two batches of the same positions as one. The second's positions count downwards from -1, for random numbers."""
    values: dict[str, Any] = {
        "images": torch.cat([first.images, second.images]),
        "positions": (*first.positions, *(-1 - position for position in second.positions)),
        "names": (*first.names, *second.names),
    }
    if first.labels is not None and second.labels is not None:
        values["labels"] = torch.cat([first.labels, second.labels])
    return replace(first, **values)
