"""PG-GAN: a generator from latents, with or without classes, and its discriminator (Karras et al. 2018)."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from progcycle.data import Batch, find_classes
from progcycle.recipe import PgganRecipe
from progcycle.schedule import Growth
from progcycle.tasks.adversarial_loss import one_hot
from progcycle.tasks.base import Memory, Shown, Stats, rounds, to_match
from progcycle.tasks.discriminators import ONLY, AdversarialTask
from progcycle.tasks.specs import make_network, task_shape


class PgganTask(AdversarialTask):
    """The discriminator and the generator in turn.

    With ``data.labels`` the generator is told a class beside its latents, and the discriminator names one (AC-GAN,
    Odena et al. 2017). Fakes take the classes of the real pictures of their batch.

    Args:
        recipe: a validated recipe; with labels, the names of its pictures are read.

    Raises:
        UserError: a network or loss of an unknown name, a combination without meaning, or labels that do not fit.
    """

    symbols = MappingProxyType({"generator": "G", "discriminator": "D"})  # as the papers call them

    def __init__(self, recipe: PgganRecipe) -> None:
        net, objective = recipe.network, recipe.objective
        self.classes = find_classes(recipe.data)
        shape = task_shape(recipe, len(self.classes), image_channels=recipe.data.channels)
        self.generator, spec = make_network(net, "generator", shape)
        self.networks, self.specs = {"generator": self.generator}, {"generator": spec}
        self.players, self.ema_of = {"generator": ("generator",)}, ("generator",)
        classes = objective.classes if self.classes else None
        self.add_discriminators(recipe, objective, {ONLY: shape}, classes)
        self.update_order = rounds(objective, (("discriminator",), ("generator",)))
        self.seed = recipe.seed

    def _generate(self, network: nn.Module, latents: Tensor, growth: Growth, labels: Tensor | None) -> Tensor:
        classes = {} if labels is None else {"labels": labels}
        pictures: Tensor = network(latents, growth.stage, growth.alpha, **classes)
        return pictures

    def _fake(self, player: str, real: Batch, growth: Growth) -> Tensor:
        drawn = self.draw_latents(self.seed, f"latent/{player}", real.positions)
        labels = one_hot(real.labels, len(self.classes)).to(real.images.dtype) if real.labels is not None else None
        return self._generate(self.generator, to_match(drawn, real.images), growth, labels)

    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """See :meth:`Task.loss`; the domain is ``real``, the players are ``discriminator`` and ``generator``."""
        real = reals["real"]
        if player == "discriminator":
            with torch.no_grad():
                fake = self._fake(player, real, growth)
            return self.adversarial[ONLY].discriminator_loss(real, fake, growth, step)
        return self.adversarial[ONLY].generator_loss(real, self._fake(player, real, growth), growth, step)

    def initialize(self, pictures: Callable[[str, int], Tensor], growth: Growth) -> None:
        """Set the scales of minibatch discrimination by real pictures."""
        self.adversarial[ONLY].initialize(pictures, "real", growth)

    def on_new_stage(self, growth: Growth) -> None:
        """Empty the discriminator's queues."""
        self.adversarial[ONLY].on_new_stage(growth)

    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The same latents for the whole run, and with classes ``labels``, all classes in turn.  # [N, K] one-hot"""
        panel = {"latents": self.draw_latents(self.seed, "latent/panel", range(count))}
        if self.classes:
            panel["labels"] = one_hot(torch.arange(count) % len(self.classes), len(self.classes)).float()
        return panel

    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        """One row of pictures from the panel's latents."""
        return [self._generate(networks["generator"], panel["latents"], growth, panel.get("labels"))]

    def shown(self, rows: Sequence[Tensor], pictures: Callable[[str], Tensor]) -> dict[str, Shown]:
        """The generator's pictures, and real ones."""
        return {"generator": Shown(rows[0], pictures("real"))}

    def memories(self) -> dict[str, Memory]:
        """Memory of the discriminator: of its noise and augmentation, and of earlier pictures."""
        return self.adversarial[ONLY].memories()
