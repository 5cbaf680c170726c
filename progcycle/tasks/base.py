"""What the engine asks of a task, and what the tasks share. No accelerate, no files."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from progcycle.blocks import stddev_group
from progcycle.data import Batch
from progcycle.errors import UserError
from progcycle.networks import feature_maps, stage_channels
from progcycle.objectives import ADVERSARIAL, drift, gradient_penalty, zero_centred
from progcycle.recipe import Adversarial, NetworkOptions
from progcycle.rng import uniform
from progcycle.schedule import Growth

Stats = dict[str, Tensor]
# Players updated from the same state; a round of such updates shares one batch of real pictures.
Update = tuple[str, ...]
Round = tuple[Update, ...]


class Task(ABC):
    """Networks and losses of one kind of training.

    Attributes:
        networks: every network by name.
        specs: for every network its registry name and constructor arguments, enough to build it again.
        players: for every player the networks that it trains.
        update_order: rounds in turn; step i runs round i modulo their number, each round with a batch of its own.
        ema_of: names of the networks that are averaged, sampled from and exported.
    """

    networks: dict[str, nn.Module]
    specs: dict[str, dict[str, Any]]
    players: dict[str, tuple[str, ...]]
    update_order: tuple[Round, ...]
    ema_of: tuple[str, ...]

    @abstractmethod
    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """Loss of one player, and figures to log.

        Args:
            player: whose loss; only its networks require gradients.
            reals: real pictures by domain, in [-1, 1], at the stage's resolution and faded.
            growth: where growth stands.
            step: number of the round, for what is not done at every step.
        """

    def on_new_stage(self, growth: Growth) -> None:  # noqa: B027 - a task without memory has nothing to do
        """Called once when a stage opens, before its first step; never on resuming."""

    @abstractmethod
    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """Inputs of the sample grid, the same from the first stage to the last.

        Args:
            count: columns of the grid.
            pictures: gives up to ``count`` fixed pictures of a domain as the networks see them now.
        """

    @abstractmethod
    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        """Rows of a sample grid: tensors of pictures in about [-1, 1], row j of all belonging together.

        Args:
            networks: the networks of ``ema_of``.
            panel: what :meth:`panel` gave.
            growth: where growth stands.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Memory of the task beyond its networks, as tensors by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            ValueError: the state has entries that this task does not know.
        """
        if state:
            raise ValueError(f"unknown task state: {sorted(state)}")


def judge_both(disc: nn.Module, real: Tensor, fake: Tensor, growth: Growth) -> tuple[Tensor, Tensor]:
    """Logits of real and fake pictures; in one pass where that gives the same logits as two.

    The rows alternate real, fake, so that the strided groups of the stddev layer hold one kind only, provided that the
    doubled batch is grouped like the single one.
    """
    n, size = real.shape[0], int(getattr(disc, "stddev_group", 0))
    if size and stddev_group(n, size) != stddev_group(2 * n, size):
        return disc(real, growth.stage, growth.alpha), disc(fake, growth.stage, growth.alpha)
    both = torch.stack([real, fake.to(real.dtype)], dim=1).flatten(0, 1)  # [2N, C, H, W]
    logits = disc(both.contiguous(memory_format=torch.channels_last), growth.stage, growth.alpha)
    return logits[0::2], logits[1::2]


def discriminator_loss(
    disc: nn.Module,
    real: Batch,
    fake: Tensor,
    growth: Growth,
    options: Adversarial,
    *,
    seed: int,
    step: int,
    suffix: str = "",
) -> tuple[Tensor, Stats]:
    """Loss of one discriminator with all the terms that a recipe may ask for, each a line.

    Args:
        disc: pictures to logits.
        real: real pictures.  # images [N, C, H, W]
        fake: fake pictures, without history.  # [N, C, H, W]
        growth: where growth stands.
        options: the adversarial keys of the recipe.
        seed: seed of the run, for the mixing factors of the penalty.
        step: number of the round, for lazy penalties.
        suffix: of the names of the figures, such as ``_a``.
    """
    game = ADVERSARIAL[options.loss]
    real_logits, fake_logits = judge_both(disc, real.images, fake, growth)
    factor = options.lsgan_factor if options.loss == "lsgan" else 1.0
    adversarial = factor * game.discriminator(real_logits, fake_logits)
    stats = {
        f"adversarial/disc{suffix}": adversarial,
        f"score/real{suffix}": real_logits.mean(),
        f"score/fake{suffix}": fake_logits.mean(),
    }
    loss = adversarial

    def critic(x: Tensor) -> Tensor:
        logits: Tensor = disc(x, growth.stage, growth.alpha)
        return logits

    if options.gradient_penalty:
        mix = beside(uniform(seed, f"mix{suffix}", real.positions), real.images)
        penalty = gradient_penalty(critic, real.images, fake, mix, options.gradient_penalty.target)
        stats[f"penalty/gradient{suffix}"] = penalty
        loss = loss + options.gradient_penalty.weight * penalty
    if options.drift:
        stats[f"penalty/drift{suffix}"] = penalty = drift(real_logits)
        loss = loss + options.drift * penalty
    for name, pictures, lazy in (("r1", real.images, options.r1), ("r2", fake, options.r2)):
        if lazy and step % lazy.every == 0:
            stats[f"penalty/{name}{suffix}"] = penalty = zero_centred(critic, pictures, lazy.gamma)
            loss = loss + lazy.every * penalty
    return loss, stats


def widths(options: NetworkOptions, base_resolution: int, resolution: int) -> tuple[list[int], list[int], int]:
    """Feature maps by stage of the generators and of the discriminators, and those of a dense head."""
    own = options.channels
    judge = options.discriminator_channels or own
    generator = stage_channels(base_resolution, resolution, own.base, own.decay, own.max)
    discriminator = stage_channels(base_resolution, resolution, judge.base, judge.decay, judge.max)
    return generator, discriminator, feature_maps(base_resolution // 2, judge.base, judge.decay, judge.max)


def beside(values: Tensor, like: Tensor) -> Tensor:
    """``values`` made on the CPU, with the type and on the device of ``like``, without waiting for a GPU."""
    return (values.pin_memory() if like.is_cuda else values).to(like.device, like.dtype, non_blocking=True)


def pick(registry: Mapping[str, Any], name: str, key: str) -> Any:
    """The entry of a registry.

    Raises:
        UserError: there is none of that name; the sentence lists those that there are.
    """
    if name not in registry:
        raise UserError(f"{key}: there is no {name!r}; choose one of {', '.join(sorted(registry))}.")
    return registry[name]


def check_adversarial(options: Adversarial) -> None:
    """Refuse combinations of adversarial keys that have no meaning.

    Raises:
        UserError: an unknown loss, wgan without its gradient penalty, or a key of another loss.
    """
    pick(ADVERSARIAL, options.loss, "objective.loss")
    if options.loss == "wgan" and options.gradient_penalty is None:
        raise UserError("objective: wgan needs its gradient penalty; add objective.gradient_penalty: {weight: 10}.")
    if options.loss != "wgan" and options.drift:
        raise UserError(f"objective.drift: it belongs to wgan, not to {options.loss}; set it to 0.")
    if options.loss != "lsgan" and options.lsgan_factor != 1:
        raise UserError(f"objective.lsgan_factor: it belongs to lsgan, not to {options.loss}; leave it at 1.")
