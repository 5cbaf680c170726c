"""The discriminators of each domain, one or several, and their part in the losses of both players."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from progcycle.blocks import full_precision, sum_over_processes
from progcycle.data import Batch
from progcycle.errors import UserError
from progcycle.networks import Network, TaskShape
from progcycle.objectives import balanced_weights
from progcycle.recipe import (
    TERMS,
    Adversarial,
    Balance,
    ClassWeights,
    CriticBoost,
    Place,
    Recipe,
    discriminators,
    on_curve,
    players_of,
)
from progcycle.rng import address
from progcycle.schedule import Growth
from progcycle.tasks.adversarial_loss import AdversarialLoss
from progcycle.tasks.base import Memory, Round, Stats, Task, to_match
from progcycle.tasks.specs import check_adversarial, check_augment, check_growth, make_network, network_key

PLAYER = "discriminator"
ONLY = ""  # the domain where there is one only
SCALE = 4096.0  # a power of two, which changes no float32 number but keeps small float16 ones from becoming 0


@dataclass(frozen=True)
class Discriminator:
    """One of the discriminators of a domain.

    Attributes:
        name: name of its network.
        number: suffix of its figures: "" for the first discriminator of a domain, 2 for the second.
        options: its options in the recipe.
        key: the recipe key of these options.
        network: pictures to logits.
        spec: registry name and constructor arguments of the network.
        loss: its adversarial loss.
    """

    name: str
    number: str
    options: Any
    key: str
    network: Network
    spec: dict[str, Any]
    loss: AdversarialLoss

    def weight(self, kimg: float) -> float:
        """Weight of its term in the generator's loss."""
        return on_curve(self.options.weight, kimg)

    def is_over(self, kimg: float) -> bool:
        """Whether its weight stays at 0 from now on, so that it is trained no more."""
        last, weight = self.options.weight[-1]
        return bool(weight == 0 and kimg >= last)


class Discriminators:
    """All discriminators of one domain. Each has its own loss; the generator's is a weighted sum over them.

    Args:
        members: in the order of the recipe.
        balance: makes their weights shares of the gradients; None: they are plain factors.
    """

    def __init__(self, members: list[Discriminator], balance: Balance | None = None) -> None:
        self.members, self.balance = members, balance

    def discriminator_loss(self, real: Batch, fake: Tensor, growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """The sum of their losses; they share no parameters. See :meth:`AdversarialLoss.discriminator_loss`."""
        losses, stats = [], Stats()
        for member in self._trained(growth):
            loss, figures = member.loss.discriminator_loss(real, fake, growth, step)
            losses.append(loss)
            stats |= figures
        return _sum(losses), stats

    def generator_loss(
        self, real: Batch, fake: Tensor, growth: Growth, step: int, name: str = "gen"
    ) -> tuple[Tensor, Stats]:
        """The weighted sum of the generator's losses; see :meth:`AdversarialLoss.generator_loss`."""
        losses, weights, stats = {}, {}, Stats()
        for member in self._trained(growth):
            own = f"{name}{member.number}"
            losses[own], figures = member.loss.generator_loss(real, fake, growth, step, own)
            weights[own] = member.weight(growth.nimg / 1000)
            stats |= figures
            if member.options.weight != ((0.0, 1.0),):
                stats[f"weight/{own}"] = fake.new_full((), weights[own])
        if len(losses) == 1 or not fake.requires_grad:
            return _sum([weights[own] * loss for own, loss in losses.items()]), stats
        loss, figures = self._weighted(losses, torch.tensor(list(weights.values())), fake)
        return loss, stats | figures

    def _weighted(self, losses: Mapping[str, Tensor], weights: Tensor, fake: Tensor) -> tuple[Tensor, Stats]:
        """The weighted sum of several losses, balanced if the recipe says so, and their gradients' norms at the fake.

        Each loss is differentiated with respect to the fake. The weighted sum of these gradients then goes through the
        generator once, so this takes no more passes than the sum of the losses.
        """
        gradients = [torch.autograd.grad(SCALE * loss, fake)[0] / SCALE for loss in losses.values()]
        squares = sum_over_processes(torch.stack([full_precision(each).square().sum() for each in gradients]))
        norms, weights = squares.sqrt(), to_match(weights, squares)
        stats = {f"at_fake/{own}": norm for own, norm in zip(losses, norms, strict=True)}
        if self.balance is not None:
            weights = balanced_weights(norms, weights, self.balance.most)
            stats |= {f"weight/{own}": weight for own, weight in zip(losses, weights, strict=True)}
        value = (weights * torch.stack(list(losses.values()))).sum().detach()
        gradient = _sum([weight * each for weight, each in zip(weights, gradients, strict=True)])
        through = (full_precision(fake) * gradient).sum()
        return value + through - through.detach(), stats

    def _trained(self, growth: Growth) -> list[Discriminator]:
        return [member for member in self.members if not member.is_over(growth.nimg / 1000)]

    def before_update(self) -> None:
        """See :meth:`AdversarialLoss.before_update`."""
        for member in self.members:
            member.loss.before_update()

    def initialize(self, pictures: Callable[[str, int], Tensor], domain: str, growth: Growth) -> None:
        """Set the scales of minibatch discrimination by real pictures; see :meth:`AdversarialLoss.initialize`."""
        for member in self.members:
            if count := member.options.init_pictures:
                member.loss.initialize(pictures(domain, count), growth)

    def on_new_stage(self, growth: Growth) -> None:
        """Tell each of a new stage, see :meth:`AdversarialLoss.on_new_stage`."""
        for member in self.members:
            member.loss.on_new_stage(growth)

    def memories(self) -> dict[str, Memory]:
        """Their state besides the networks, see :meth:`AdversarialLoss.memories`."""
        return {name: memory for member in self.members for name, memory in member.loss.memories().items()}


class AdversarialTask(Task):
    """A task with a player ``discriminator`` that has one network or several in each domain.

    Attributes:
        adversarial: the discriminators by domain.
        n_critic: their updates for each of the generator.
        boost: when there are more.
    """

    adversarial: dict[str, Discriminators]
    n_critic: int = 1
    boost: CriticBoost | None = None

    def uncompiled(self) -> frozenset[str]:
        """The discriminators whose losses say so."""
        members = (member for domain in self.adversarial.values() for member in domain.members)
        return frozenset(member.name for member in members if not member.loss.compilable)

    def add_discriminators(
        self,
        recipe: Recipe,
        objective: Adversarial,
        shapes: Mapping[str, TaskShape],
        classes: ClassWeights | None = None,
    ) -> None:
        """Make the discriminators, and add them to the task's networks.

        The first discriminators of all domains are made before the second ones, so that their initial weights do not
        depend on these.

        Args:
            recipe: a validated recipe.
            objective: its adversarial keys.
            shapes: what the task fixes for their networks, by domain; a single domain is called ``ONLY``.
            classes: weights of the class terms; None without classes.

        Raises:
            UserError: a network or loss of an unknown name, or a combination without meaning.
        """
        options = {domain: discriminators(getattr(recipe.network, PLAYER), domain) for domain in shapes}
        members: dict[str, list[Discriminator]] = {domain: [] for domain in shapes}
        made: list[Discriminator] = []
        for i in range(max(map(len, options.values()))):
            for domain in shapes:
                for place in list(options[domain])[i : i + 1]:
                    made.append(_make(recipe, objective, options[domain], place, shapes, domain, classes))
                    members[domain].append(made[-1])
        _check_weights(members)
        _check_idle(objective, made)
        if classes not in (None, ClassWeights()) and all(member.loss.classes is None for member in made):
            raise UserError(
                "objective.classes: these are weights of the classes that a discriminator names, and here each is told "
                "them; leave it out."
            )
        if objective.balance is not None and len(made) == len(members):
            raise UserError("objective.balance: no pictures here are seen by several discriminators; leave it out.")
        self.n_critic, self.boost = objective.n_critic, objective.critic_boost
        self.adversarial = {domain: Discriminators(some, objective.balance) for domain, some in members.items()}
        self.networks |= {member.name: member.network for member in made}
        self.specs |= {member.name: member.spec for member in made}
        self.players |= {PLAYER: tuple(member.name for member in made)}
        self.keys = {member.name: member.key for member in made}
        self.rates = {member.name: member.options.lr for member in made if member.options.lr is not None}
        self.lazy = tuple(dict.fromkeys(period for member in made for period in member.loss.lazy))
        self.watched = {name: loss for member in made for name, loss in member.loss.watched.items()}
        self.halvings = {member.name: member.loss.halvings for member in made}
        check_growth(self.players, self.networks, self.specs, recipe, self.keys, self.halvings)

    def before_update(self, player: str) -> None:
        """Clip the weights of critics that the recipe wants clipped, before each of their updates."""
        if player == PLAYER:
            for discriminators in self.adversarial.values():
                discriminators.before_update()

    def round_at(self, step: int) -> Round:
        """See :meth:`Task.round_at`; the discriminators' updates may be boosted."""
        if self.boost is None:
            return super().round_at(step)
        number = bisect_right(range(step + 1), step, key=self._begins) - 1  # of the generator's update
        last = step + 1 == self._begins(number + 1)
        return self.update_order[-1] if last else ((PLAYER,),)

    def usual_step(self) -> int:
        """See :meth:`Task.usual_step`."""
        boost = self.boost
        if boost is None:
            return 0
        return self._begins(boost.first + (boost.every is not None and boost.first % boost.every == 0))

    def _begins(self, number: int) -> int:
        """The step at which the rounds of a generator update begin, each with an update of the discriminators."""
        boost = self.boost
        assert boost is not None
        boosted = min(number, boost.first)
        if boost.every is not None and number > boost.first:
            boosted += -(-number // boost.every) - -(-boost.first // boost.every)
        return self.n_critic * number + (boost.n_critic - self.n_critic) * boosted


def _kind(recipe: Recipe, options: Any) -> type[Network]:
    return players_of(type(recipe.network))[PLAYER].networks[options.name]


def _make(
    recipe: Recipe,
    objective: Adversarial,
    every: Mapping[Place, Any],
    place: Place,
    shapes: Mapping[str, TaskShape],
    domain: str,
    classes: ClassWeights | None,
) -> Discriminator:
    """The discriminator at a place, of all those of its domain."""
    own, index, shape = every[place], list(every).index(place), shapes[domain]
    number = "" if index == 0 else f"{index + 1}" if domain else f"_{index + 1}"
    key, kind = network_key(PLAYER, place), _kind(recipe, own)
    if not kind.has_classes and any(_kind(recipe, other).has_classes for other in every.values()):
        shape = replace(shape, classes=0)  # another one names the class
    terms, of_own = own.terms(objective, kind.on_features)

    def where(name: str) -> str:
        return f"{key}.{name}" if name in of_own else f"objective.{name}"

    check_adversarial(terms, where)
    # An operation for all may change the pictures of one domain only.
    seen = [shape] if "augment" in of_own else shapes.values()
    check_augment(terms, {channels for each in seen for channels in each.channels.values()}, where, shape.resolution)
    halvings = own.reduce.bit_length() - 1
    name = f"disc_{domain}{number}" if domain else f"{PLAYER}{number}"
    shape = replace(shape, seed=address(recipe.seed, name))
    network, spec = make_network(recipe.network, PLAYER, _reduced(shape, halvings, kind), place, own)
    loss = AdversarialLoss(
        network,
        terms,
        seed=recipe.seed,
        suffix=f"_{domain}{number}" if domain else number,
        classes=classes if shape.classes and not kind.told_classes else None,
        told=shape.classes if kind.told_classes else 0,
        queue=own.queue,
        halvings=halvings,
        where=where,
        key=key,
    )
    return Discriminator(name, number, own, key, network, spec, loss)


def _reduced(shape: TaskShape, halvings: int, kind: type[Network]) -> TaskShape:
    """The shape of a network for pictures that are halved so many times; a growing network keeps its base stage."""
    least = shape.base_resolution if kind.sizes == "growing" else 1
    resolution, end = (max(side >> halvings, least) for side in (shape.resolution, shape.end_resolution))
    base = min(shape.base_resolution, resolution)
    return replace(shape, resolution=resolution, base_resolution=base, end_resolution=end)


def _check_weights(members: Mapping[str, Sequence[Discriminator]]) -> None:
    """Refuse a weight of the only term of a loss, and weights that end at 0 for all discriminators of a domain.

    Raises:
        UserError: they do.
    """
    for domain, some in members.items():
        if domain == ONLY and len(some) == 1 and some[0].options.weight != ((0.0, 1.0),):
            raise UserError(
                f"{some[0].key}.weight: it weighs several discriminators, and there is one only; leave it out, or "
                "give a list of them."
            )
        if all(member.options.weight[-1][1] == 0 for member in some):
            raise UserError(
                f"{some[0].key}.weight: it ends at 0, with no other discriminator of the same pictures whose weight "
                "does not, so that the generator would learn from none; let one end above 0."
            )


def _check_idle(objective: Adversarial, members: Sequence[Discriminator]) -> None:
    """Refuse keys of the objective that no discriminator takes.

    Raises:
        UserError: such a key is not at its default.
    """
    # What clipped weights stand for has another default beside them.
    usual = type(objective).model_validate({"loss": objective.loss, "weight_clipping": objective.weight_clipping})
    usual = usual.model_copy(update={"weight_clipping": None})
    taken = [member.options.terms(objective, member.network.on_features)[1] for member in members]
    for key in TERMS:
        if getattr(objective, key) != getattr(usual, key) and all(key in own for own in taken):
            raise UserError(
                f"objective.{key}: no discriminator here takes it, since each has its own, or another loss, or sees "
                f"features; leave it out, or give it to one as {members[0].key}.{key}."
            )


def _sum(losses: Sequence[Tensor]) -> Tensor:
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total
