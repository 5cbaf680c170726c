"""Progressive CycleGAN: two translators, and discriminators of both domains, that grow together (Zhu et al. 2017)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from progcycle.blocks import blurred, noisy, rounded
from progcycle.data import Batch
from progcycle.errors import UserError
from progcycle.networks import drawn_latents
from progcycle.objectives import cycle_loss, identity_loss, range_loss
from progcycle.recipe import CycleganRecipe, on_curve
from progcycle.resolution import Resolution
from progcycle.rng import normal
from progcycle.schedule import Growth
from progcycle.tasks.base import Memory, Shown, Stats, rounds, to_match
from progcycle.tasks.discriminators import AdversarialTask
from progcycle.tasks.image_pool import ImagePool
from progcycle.tasks.palette_comparison import PaletteComparison
from progcycle.tasks.specs import make_network, task_shape
from progcycle.tasks.translation_latents import SHOWN, PriorComparison, TranslationLatents, encoder_name

Fakes = tuple[Tensor, Tensor]


class CycleganTask(AdversarialTask):
    """Both translators, then both discriminators, on the same pictures.

    The suffix is the domain that a picture lives in: ``fake_b`` is a translated ``real_a``, ``disc_b`` judges B.

    Args:
        recipe: a validated recipe.

    Raises:
        UserError: a network or loss of an unknown name, or a combination without meaning.
    """

    symbols = MappingProxyType({"generator": "G", "discriminator": "D"})  # as the papers call them
    terms = MappingProxyType({"cycle": ("cycle/aba", "cycle/bab")})

    def __init__(self, recipe: CycleganRecipe) -> None:
        net, objective = recipe.network, recipe.objective
        in_a, in_b = recipe.data.a.channels, recipe.data.b.channels
        identity = any(value for curve in (objective.identity.a, objective.identity.b) for _, value in curve)
        if in_a != in_b and identity:
            raise UserError(
                "objective.identity: it compares a translator's input and output, which needs domains of equal "
                f"channels (data.a.channels is {in_a}, data.b.channels is {in_b}); set its weights to 0."
            )
        smallest = recipe.schedule.start_resolution or net.base_resolution
        common = math.gcd(*Resolution.of(smallest).shape)
        if objective.cycle.scales > (halves := (common & -common).bit_length()):
            raise UserError(
                f"objective.cycle.scales: pictures of {smallest} px, where training starts, can be compared at "
                f"{halves} resolutions at most, not at {objective.cycle.scales}."
            )
        shapes = {
            "ab": replace(task_shape(recipe, in_channels=in_a, out_channels=in_b), direction="ab"),
            "ba": replace(task_shape(recipe, in_channels=in_b, out_channels=in_a), direction="ba"),
        }
        self.networks, self.specs = {}, {}
        for direction, shape in shapes.items():
            name = f"gen_{direction}"
            self.networks[name], self.specs[name] = make_network(net, "generator", shape)
        self.gen_ab, self.gen_ba = self.networks["gen_ab"], self.networks["gen_ba"]
        self.latents = TranslationLatents(net, shapes, recipe.seed)
        self.networks |= self.latents.networks
        self.specs |= self.latents.specs
        self.ema_of = tuple(self.networks)
        self.players = {"generator": self.ema_of}
        of_domains = {"a": task_shape(recipe, image_channels=in_a), "b": task_shape(recipe, image_channels=in_b)}
        self.add_discriminators(recipe, objective, of_domains)
        self.update_order = rounds(objective, (("generator",), ("discriminator",)))
        self.pools = {domain: ImagePool(objective.pool_size, recipe.seed, domain) for domain in ("a", "b")}
        self.palettes = {
            domain: PaletteComparison(objective.palette.queue, recipe.seed, domain)
            for domain in ("a", "b")
            if any(weight for _, weight in getattr(objective.palette, domain))
        }
        self.priors = {
            direction: PriorComparison(objective.latent.queue, recipe.seed, direction)
            for direction in shapes
            if self.latents.size(direction) and any(weight for _, weight in objective.latent.prior)
        }
        self.objective, self.seed = objective, recipe.seed
        self._may_leave_range = {d[1] for d in shapes if not net.generator.within_range(d)}
        self._fakes: dict[tuple[int, ...], Fakes] = {}

    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """See :meth:`Task.loss`; the domains are ``a`` and ``b``."""
        if player == "generator":
            return self._generator_loss(reals["a"], reals["b"], growth, step)
        return self._discriminator_loss(reals["a"], reals["b"], growth, step)

    def _generator_loss(self, a: Batch, b: Batch, growth: Growth, step: int) -> tuple[Tensor, Stats]:
        stage, alpha, kimg = growth.stage, growth.alpha, growth.nimg / 1000
        real_a, real_b = a.images, b.images
        own_a, own_b = self.latents.estimated("ba", real_a, growth), self.latents.estimated("ab", real_b, growth)
        z_ab = self.latents.drawn("ab", "generator", a.positions, real_a, own_b)
        z_ba = self.latents.drawn("ba", "generator", b.positions, real_b, own_a)
        fake_b, fake_a = self.gen_ab(real_a, stage, alpha, *z_ab), self.gen_ba(real_b, stage, alpha, *z_ba)
        seen_b, seen_a = self._cycle_input(fake_b, "b", a.positions), self._cycle_input(fake_a, "a", b.positions)
        detach = self.objective.cycle.detach
        rec_a = self.gen_ba(seen_b.detach() if "aba" in detach else seen_b, stage, alpha, *own_a)
        rec_b = self.gen_ab(seen_a.detach() if "bab" in detach else seen_a, stage, alpha, *own_b)
        self.latents.remember("ab", own_b, fake_a)
        self.latents.remember("ba", own_a, fake_b)
        # The discriminators judge these very fakes in their update of the same round.
        self._fakes[a.positions] = (fake_a.detach(), fake_b.detach())

        loss_ab, stats_ab = self.adversarial["b"].generator_loss(b, fake_b, growth, step, "gen_ab")
        loss_ba, stats_ba = self.adversarial["a"].generator_loss(a, fake_a, growth, step, "gen_ba")
        options = self.objective.cycle
        stats = {**stats_ab, **stats_ba}
        stats["cycle/aba"] = cycle_loss(real_a, rec_a, options.scales)
        stats["cycle/bab"] = cycle_loss(real_b, rec_b, options.scales)
        weight_a, weight_b = on_curve(options.aba, kimg), on_curve(options.bab, kimg)
        loss = loss_ab + loss_ba + weight_a * stats["cycle/aba"] + weight_b * stats["cycle/bab"]
        for domain, real, translate, own, cycle, curve in (
            ("a", real_a, self.gen_ba, own_a, weight_a, self.objective.identity.a),
            ("b", real_b, self.gen_ab, own_b, weight_b, self.objective.identity.b),
        ):
            if weight := cycle * on_curve(curve, kimg):
                stats[f"identity/{domain}"] = identity_loss(real, translate(real, stage, alpha, *own))
                loss = loss + weight * stats[f"identity/{domain}"]
        if weight := on_curve(self.objective.range_penalty, kimg):
            for domain, fake in (("a", fake_a), ("b", fake_b)):
                if domain not in self._may_leave_range:
                    continue
                stats[f"range/{domain}"] = range_loss(fake)
                loss = loss + weight * stats[f"range/{domain}"]
        for domain, real, fake, positions in (("a", real_a, fake_a, b.positions), ("b", real_b, fake_b, a.positions)):
            if weight := on_curve(getattr(self.objective.palette, domain), kimg):
                stats[f"palette/{domain}"] = self.palettes[domain].loss(real, fake, positions)
                loss = loss + weight * stats[f"palette/{domain}"]
        for direction, z, seen in (("ab", z_ab, seen_b), ("ba", z_ba, seen_a)):
            for name, term in self.latents.loss(direction, z, seen, growth).items():
                stats[name] = term
                loss = loss + on_curve(self.objective.latent.weight, kimg) * term
        if weight := on_curve(self.objective.latent.prior, kimg):
            for direction, own, positions in (("ab", own_b, b.positions), ("ba", own_a, a.positions)):
                for told in own:
                    stats[f"prior/{direction}"] = self.priors[direction].loss(told, positions)
                    loss = loss + weight * stats[f"prior/{direction}"]
        return loss, stats

    def _cycle_input(self, fake: Tensor, domain: str, positions: Sequence[int]) -> Tensor:
        """What the second translator and the encoder get of a fake; the discriminators judge the fake itself."""
        through = self.objective.cycle.through
        if through == "rounded":
            return rounded(fake)
        if through == "blurred":
            return blurred(fake)
        if through == "noisy":
            normals = normal(self.seed, f"cycle/{domain}", positions, fake[0].numel())
            return noisy(fake, to_match(normals, fake), self.objective.cycle.noise_std)
        return fake

    def _discriminator_loss(self, a: Batch, b: Batch, growth: Growth, step: int) -> tuple[Tensor, Stats]:
        fakes = self._fakes.pop(a.positions, None)
        if fakes is None:
            with torch.no_grad():
                own_a, own_b = (
                    self.latents.estimated(way, real.images, growth) if self.latents.remembers(way) else ()
                    for way, real in (("ba", a), ("ab", b))
                )
                z_ab = self.latents.drawn("ab", "discriminator", a.positions, a.images, own_b)
                z_ba = self.latents.drawn("ba", "discriminator", b.positions, b.images, own_a)
                fake_a = self.gen_ba(b.images, growth.stage, growth.alpha, *z_ba)
                fake_b = self.gen_ab(a.images, growth.stage, growth.alpha, *z_ab)
        else:
            fake_a, fake_b = fakes
        loss_a, stats_a = self.adversarial["a"].discriminator_loss(
            a, self.pools["a"].query(fake_a, a.positions), growth, step
        )
        loss_b, stats_b = self.adversarial["b"].discriminator_loss(
            b, self.pools["b"].query(fake_b, b.positions), growth, step
        )
        return loss_a + loss_b, stats_a | stats_b

    def initialize(self, pictures: Callable[[str, int], Tensor], growth: Growth) -> None:
        """Set the scales of minibatch discrimination by real pictures of each domain."""
        for domain, discriminators in self.adversarial.items():
            discriminators.initialize(pictures, domain, growth)

    def on_new_stage(self, growth: Growth) -> None:
        """Empty the pools, whose pictures have another resolution, and the discriminators' queues."""
        self._fakes.clear()
        for palette in self.palettes.values():
            palette.clear()
        for domain, pool in self.pools.items():
            pool.clear()
            self.adversarial[domain].on_new_stage(growth)

    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The same pictures of both domains for the whole run, and several latents for each, where there are any."""
        panel = {domain: pictures(domain) for domain in ("a", "b")}
        for direction in ("ab", "ba"):
            source = panel[direction[0]]
            for i in range(SHOWN):
                for z in self.latents.drawn(direction, f"panel/{i}", range(len(source)), source):
                    panel[f"latents_{direction}_{i}"] = z
        return panel

    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        """Rows: A, A in B, and back; B, B in A, and back; where there are latents, several translations of each.

        The way back begins from the first of them, with the latents of the original.
        """
        rows = []
        for there, back in (("ab", "ba"), ("ba", "ab")):
            real = panel[there[0]]
            normals = [panel[key] for i in range(SHOWN) if (key := f"latents_{there}_{i}") in panel]
            drawn = [[drawn_latents(networks[encoder_name(there)], z, real)] for z in normals]
            fakes = [networks[f"gen_{there}"](real, growth.stage, growth.alpha, *z) for z in drawn or [[]]]
            own = self.latents.estimated(back, real, growth, networks)
            rows += [real, *fakes, networks[f"gen_{back}"](fakes[0], growth.stage, growth.alpha, *own)]
        return rows

    def _translations(self, direction: str) -> int:
        """Translations of each picture on a sample sheet."""
        return SHOWN if self.latents.size(direction) else 1

    def row_names(self) -> tuple[str, ...]:
        """Names of the six rows, or more where there are latents."""
        to_b, to_a = ("A to B",) * self._translations("ab"), ("B to A",) * self._translations("ba")
        return ("A", *to_b, "back to A", "B", *to_a, "back to B")

    def shown(self, rows: Sequence[Tensor], pictures: Callable[[str], Tensor]) -> dict[str, Shown]:
        """The translations of both domains, beside the panel's pictures."""
        second = 2 + self._translations("ab")
        (real_a, fake_b), (real_b, fake_a) = rows[:2], rows[second : second + 2]
        return {"gen_ab": Shown(fake_b, real_b, real_a), "gen_ba": Shown(fake_a, real_a, real_b)}

    def memories(self) -> dict[str, Memory]:
        """The two pools, each of this process's pictures, and the memory of the discriminators."""
        pools = {f"pool_{domain}": Memory(pool) for domain, pool in self.pools.items()}
        palettes = {f"palette_{domain}": Memory(palette) for domain, palette in self.palettes.items()}
        priors = {f"prior_{direction}": Memory(prior) for direction, prior in self.priors.items()}
        return {**pools, **palettes, **priors, **self.adversarial["a"].memories(), **self.adversarial["b"].memories()}
