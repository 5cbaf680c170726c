"""BEGAN (Berthelot et al. 2017): a generator, and an auto-encoder that restores real pictures better than its own.

Its networks grow or not. Growing ones see real pictures that fade as they do, and restore them so: at alpha 0 all
losses are those of the stage before, since D(x, s, 0) = up(D(down(x), s - 1, 1)), and x, real or generated, is
up(down(x)) there. So k and M go on through the opening of a stage as if there were none.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from progcycle.data import Batch
from progcycle.objectives import reconstruction_loss
from progcycle.recipe import BeganRecipe
from progcycle.schedule import Growth
from progcycle.tasks.base import Memory, Shown, Stats, Task, to_match
from progcycle.tasks.equilibrium import Equilibrium, StalledRates, convergence
from progcycle.tasks.specs import check_growth, make_network, task_shape


class BeganTask(Task):
    """Generator and auto-encoder, updated at once from the same latents, as in the usual port.

    Args:
        recipe: a validated recipe.

    Raises:
        UserError: a network of an unknown name, or a combination without meaning.
    """

    symbols = MappingProxyType({"generator": "G", "discriminator": "D"})
    terms = MappingProxyType({"M": ("convergence",), "k": ("balance/k",)})

    def __init__(self, recipe: BeganRecipe) -> None:
        shape = task_shape(recipe, image_channels=recipe.data.channels)
        self.generator, of_generator = make_network(recipe.network, "generator", shape)
        self.discriminator, of_discriminator = make_network(recipe.network, "discriminator", shape)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        self.specs = {"generator": of_generator, "discriminator": of_discriminator}
        self.players = {name: (name,) for name in self.networks}
        self.update_order = ((("discriminator", "generator"),),)
        self.ema_of = ("generator",)
        self.seed, self.objective, self.halving = recipe.seed, recipe.objective, recipe.optimizer.halving
        check_growth(self.players, self.networks, self.specs, recipe)
        evaluation = recipe.training.evaluation
        rates = StalledRates(self.halving) if self.halving and self.halving.stall_kimg else None
        self.balance = Equilibrium(self.objective, evaluation.every_kimg if evaluation else None, rates)

    def _generate(self, network: nn.Module, drawn: Tensor, growth: Growth) -> Tensor:
        pictures: Tensor = network(drawn, growth.stage, growth.alpha, **self.generator.options_at(growth.nimg))
        return pictures

    def _restore(self, pictures: Tensor, growth: Growth) -> Tensor:
        restored: Tensor = self.discriminator(
            pictures, growth.stage, growth.alpha, **self.discriminator.options_at(growth.nimg)
        )
        return restored

    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """See :meth:`Task.loss`; the domain is ``real``, the players are ``discriminator`` and ``generator``."""
        real = reals["real"]
        drawn = to_match(self.draw_latents(self.seed, "latent/generator", real.positions), real.images)
        if player == "generator":
            fake = self._generate(self.generator, drawn, growth)
            return reconstruction_loss(fake, self._restore(fake, growth)), {}
        k = self.balance.at(step)
        with torch.no_grad():
            fake = self._generate(self.generator, drawn, growth)
        of_real = reconstruction_loss(real.images, self._restore(real.images, growth))
        of_fake = reconstruction_loss(fake, self._restore(fake, growth))
        loss = of_real - k * of_fake
        mean_real, mean_fake = self.balance.observe(of_real, of_fake, step, growth)
        stats = {
            "reconstruction/real": mean_real,
            "reconstruction/fake": mean_fake,
            "convergence": convergence(mean_real, mean_fake, self.objective.gamma),
            "balance/k": k,
            "balance/ratio": mean_fake / mean_real,
        }
        if self.halving is not None:
            stats["halvings"] = loss.new_full((), self._halvings(growth))
        return loss, {name: value.to(loss.device, non_blocking=True) for name, value in stats.items()}

    def _halvings(self, growth: Growth) -> int:
        if self.halving is None:
            return 0
        if self.halving.every_kimg is not None:
            return int(growth.nimg // (1000 * self.halving.every_kimg))
        return 0 if self.balance.rates is None else self.balance.rates.halvings

    def learning_rate(self, rate: float, growth: Growth) -> float:
        """Halved as often as ``optimizer.halving`` says, down to its floor."""
        return rate if self.halving is None else max(rate * 0.5 ** self._halvings(growth), self.halving.floor)

    def on_new_stage(self, growth: Growth) -> None:
        """Keep k or set it to 0, and compare M with that of this stage only."""
        self.balance.on_new_stage()

    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The same latents for the whole run, and real pictures to restore."""
        shown = pictures("real")
        return {"latents": self.draw_latents(self.seed, "latent/panel", range(len(shown))), "pictures": shown}

    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        """Generated pictures, the same restored, real ones, and these restored; without real ones the first only."""
        made = self._generate(networks["generator"], panel["latents"], growth)
        if "pictures" not in panel:
            return [made]
        was_training = self.discriminator.training
        self.discriminator.eval()  # so that batch norm remembers nothing of the samples
        restored = [self._restore(pictures, growth) for pictures in (made, panel["pictures"])]
        self.discriminator.train(was_training)
        return [made, restored[0], panel["pictures"], restored[1]]

    def row_names(self) -> tuple[str, ...]:
        """Of the rows of :meth:`sample`."""
        return ("generated", "restored", "real", "restored")

    def shown(self, rows: Sequence[Tensor], pictures: Callable[[str], Tensor]) -> dict[str, Shown]:
        """The generator's pictures, and real ones."""
        return {"generator": Shown(rows[0], pictures("real"))}

    def memories(self) -> dict[str, Memory]:
        """k, and what M was, the same in all processes."""
        return {"balance": Memory(self.balance, common=True)}
