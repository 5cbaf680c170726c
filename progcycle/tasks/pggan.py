"""PG-GAN: an unconditional generator and its discriminator (Karras et al. 2018)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from progcycle.data import Batch
from progcycle.networks import DISCRIMINATORS, GENERATORS
from progcycle.objectives import ADVERSARIAL
from progcycle.recipe import PgganRecipe
from progcycle.rng import normal
from progcycle.schedule import Growth
from progcycle.tasks.base import Stats, Task, beside, check_adversarial, discriminator_loss, pick, widths


class PgganTask(Task):
    """The discriminator and the generator in turn.

    Args:
        recipe: a validated recipe.

    Raises:
        UserError: a network or loss of an unknown name, or a combination without meaning.
    """

    def __init__(self, recipe: PgganRecipe) -> None:
        net = recipe.network
        check_adversarial(recipe.objective)
        generator, discriminator, hidden = widths(net, net.base_resolution, recipe.resolution)
        shared = {
            "base_resolution": net.base_resolution,
            "image_channels": recipe.data.channels,
            "rgb": net.rgb,
        }
        self.specs = {
            "generator": {
                "name": net.generator,
                "arguments": {**shared, "channels": generator, "latent_size": net.latent_size},
            },
            "discriminator": {
                "name": net.discriminator,
                "arguments": {
                    **shared,
                    "channels": discriminator,
                    "hidden": hidden,
                    "stddev_group": net.minibatch_stddev.group,
                },
            },
        }
        self.generator: nn.Module = pick(GENERATORS, net.generator, "network.generator")(
            **self.specs["generator"]["arguments"]
        )
        self.discriminator: nn.Module = pick(DISCRIMINATORS, net.discriminator, "network.discriminator")(
            **self.specs["discriminator"]["arguments"]
        )
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.players = {"generator": ("generator",), "discriminator": ("discriminator",)}
        self.update_order = ((("discriminator",), ("generator",)),)
        self.ema_of = ("generator",)
        self.objective, self.seed, self.latent_size = recipe.objective, recipe.seed, net.latent_size

    def _fake(self, player: str, real: Batch, growth: Growth) -> Tensor:
        latents = normal(self.seed, f"latent/{player}", real.positions, self.latent_size)
        fake: Tensor = self.generator(beside(latents, real.images), growth.stage, growth.alpha)
        return fake

    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """See :meth:`Task.loss`; the domain is ``real``, the players are ``discriminator`` and ``generator``."""
        real = reals["real"]
        if player == "discriminator":
            with torch.no_grad():
                fake = self._fake(player, real, growth)
            return discriminator_loss(self.discriminator, real, fake, growth, self.objective, seed=self.seed, step=step)
        game = ADVERSARIAL[self.objective.loss]
        logits = self.discriminator(self._fake(player, real, growth), growth.stage, growth.alpha)
        with torch.no_grad():
            real_logits = self.discriminator(real.images, growth.stage, growth.alpha) if game.paired else None
        loss = game.generator(real_logits, logits)
        return loss, {"adversarial/gen": loss}

    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The same latents for the whole run."""
        return {"latents": normal(self.seed, "latent/panel", range(count), self.latent_size)}

    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        """One row of pictures from the panel's latents."""
        return [networks["generator"](panel["latents"], growth.stage, growth.alpha)]
