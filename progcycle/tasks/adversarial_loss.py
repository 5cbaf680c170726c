"""The adversarial loss of one discriminator, with its penalties, augmentation and noise. Both tasks use it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from progcycle.blocks import EarlierFeatures, Noise, downsample2x
from progcycle.data import Batch
from progcycle.errors import UserError
from progcycle.networks import Network
from progcycle.objectives import (
    ADVERSARIAL,
    Critic,
    class_loss,
    drift,
    feature_matching,
    gradient_penalty,
    lsgan_discriminator,
    smoothed_discriminator,
    smoothed_generator,
    undecided_logit,
    undecided_loss,
    zero_centred,
)
from progcycle.recipe import Adversarial, ClassWeights
from progcycle.rng import normal, uniform, uniforms
from progcycle.schedule import Growth
from progcycle.tasks.augment_controller import Augmenter
from progcycle.tasks.base import Memory, Stats, Watched, to_match
from progcycle.tasks.feature_queue import FeatureQueues
from progcycle.tasks.noise_controller import NoiseController
from progcycle.tasks.specs import in_objective


class DiscriminatorOutput(NamedTuple):
    """Output of a discriminator for a batch.

    Attributes:
        logits: [N], [N, 1, h, w] of patches, or [N, K] of the patches of several scales.
        class_logits: [N, K], or None where there are no classes.
        features: what the minibatch statistic compares, detached; None without a queue.  # [N, C, h, w]
    """

    logits: Tensor
    class_logits: Tensor | None = None
    features: Tensor | None = None

    def every_second(self, first: int) -> "DiscriminatorOutput":
        """The output for every second picture, from the given one on."""
        return DiscriminatorOutput(
            self.logits[first::2], None if self.class_logits is None else self.class_logits[first::2]
        )


class AdversarialLoss:
    """The loss of one discriminator, and of the generator that it trains, with every term that a recipe may ask for.

    Args:
        network: pictures to logits, or to (logits, class logits).
        options: the adversarial keys of the recipe.
        seed: seed of the run, for the mixing factors of the penalty and for noise.
        suffix: of the names of the figures, such as ``_a``.
        classes: weights of the class terms; None without classes.
        told: number of classes that the network is told, instead of naming them; 0 for none.
        queue: earlier pictures, real and fake apart, that the minibatch statistic compares with; 0 for none.

        halvings: how often the sides of its pictures are halved before it sees them; a growing network sees no smaller
            ones than those of its base resolution.
        where: the recipe key of each adversarial key.
        key: the recipe key of the network.

    Raises:
        UserError: the recipe asks for noise, and the network takes none; or for features, and it has none to show.
    """

    def __init__(
        self,
        network: Network,
        options: Adversarial,
        *,
        seed: int,
        suffix: str = "",
        classes: ClassWeights | None = None,
        told: int = 0,
        queue: int = 0,
        halvings: int = 0,
        where: Callable[[str], str] = in_objective,
        key: str = "network.discriminator",
    ) -> None:
        self.network, self.options, self.classes, self.told = network, options, classes, told
        self.halvings, self.key = halvings, key
        self.seed, self.suffix = seed, suffix
        self.noise = NoiseController(options.noise) if options.noise else None
        if self.noise and network.noise_size(0) is None:
            raise UserError(
                f"{where('noise')}: the network of {key}, with its options, has no place for it; leave it out."
            )
        if options.feature_matching and network.logit_layer() is None:
            raise UserError(
                f"{where('feature_matching')}: the network of {key}, with its options, shows no features; leave it out."
            )
        midpoint = ADVERSARIAL[options.loss].midpoint
        if options.label_smoothing:
            midpoint = undecided_logit(options.label_smoothing.real)
        self.augment = Augmenter(options.augment, midpoint, seed, suffix) if options.augment else None
        self.queues = FeatureQueues(queue)

    def _reduced(self, pictures: Tensor, growth: Growth) -> tuple[Tensor, Growth]:
        """Pictures as the network sees them, and where growth stands for it.  # [N, C, R, R] -> [N, C, R/2^k, R/2^k]

        A picture that fades in, halved, is that of the stage before fading in: means of 2x2 pixels change neither.
        """
        grows = self.network.sizes == "growing"
        halvings = min(self.halvings, growth.stage) if grows else self.halvings
        for _ in range(halvings):
            pictures = downsample2x(pictures)
        stage = growth.stage - halvings if grows else growth.stage
        return pictures, replace(growth, stage=stage, resolution=growth.resolution >> halvings)

    # --- outputs --------------------------------------------------------------------------------------------------

    def output(
        self,
        pictures: Tensor,
        growth: Growth,
        step: int,
        normals: Tensor | None = None,
        earlier: EarlierFeatures | None = None,
        rows: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> DiscriminatorOutput:
        """The output for pictures.

        Args:
            pictures: of the stage's resolution.  # [N, C, H, W]
            growth: where growth stands.
            step: number of the round, for the strength of the noise.
            normals: what the noise is made of; None for no noise.  # [N, total]
            earlier: features of earlier pictures to compare with; None without a queue.
            rows: what else the network takes of each picture, see :meth:`_rows`.
        """
        extra: dict[str, Any] = {**rows} if earlier is None else {**rows, "earlier": earlier}
        if normals is not None and self.options.noise is not None:
            extra["noise"] = Noise(normals, self._noise_strength(step, pictures), self.options.noise.mode)
        logits = self.network(pictures, growth.stage, growth.alpha, **extra)
        output = DiscriminatorOutput(*logits) if isinstance(logits, tuple) else DiscriminatorOutput(logits)
        return output if earlier is None else output._replace(features=earlier.seen)

    def outputs(
        self, real: Batch, fake: Tensor, growth: Growth, step: int, behind: Batch | None = None
    ) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
        """The outputs for real and fake pictures in the discriminator's update, from one pass where that is the same.

        In one pass the rows alternate real, fake, so that the strided groups of the minibatch statistic hold one kind
        only. Queues take two passes: each kind is compared with earlier pictures of its own.
        """
        seen = {"real": real.images, "fake": fake}
        if self.augment:
            seen = {k: self.augment(x, f"discriminator/{k}", real.positions, step) for k, x in seen.items()}
        normals = [self._normals("discriminator", kind, real.positions, growth, fake) for kind in seen]
        rows = [
            self._rows(batch, growth, fake, f"discriminator/{kind}")
            for kind, batch in (("real", real), ("fake", behind or real))
        ]
        if self.queues.size or not self.network.rows_are_independent(len(real)):
            return (
                self.output(seen["real"], growth, step, normals[0], self.queues.earlier("real"), rows[0]),
                self.output(seen["fake"], growth, step, normals[1], self.queues.earlier("fake"), rows[1]),
            )
        pictures = _interleaved([seen["real"], seen["fake"].to(real.images.dtype)])  # [2N, C, H, W]
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        drawn = [each for each in normals if each is not None]
        beside = {key: _interleaved([each[key] for each in rows]) for key in rows[0]}
        both = self.output(pictures, growth, step, _interleaved(drawn) if drawn else None, rows=beside)
        return both.every_second(0), both.every_second(1)

    def _noise_strength(self, step: int, like: Tensor) -> Tensor:
        assert self.noise is not None
        return self.noise.strength(step).to(like.device, non_blocking=True)

    def _normals(
        self, player: str, kind: str, positions: Sequence[int], growth: Growth, like: Tensor
    ) -> Tensor | None:  # [N, total]
        if self.noise is None:
            return None
        size = self.network.noise_size(growth.stage)
        assert size is not None
        return to_match(normal(self.seed, f"noise/{player}/{kind}{self.suffix}", positions, size), like)

    def _rows(self, batch: Batch, growth: Growth, like: Tensor, purpose: str = "") -> dict[str, Tensor]:
        """What the network takes of each picture besides its pixels.

        Args:
            batch: of the pictures; positions and classes.
            growth: where growth stands.
            like: gives device and type.
            purpose: address of the random numbers of dropout; "" for none.

        Returns:
            ``labels``, for a network that is told classes, and ``dropout``, for one that has it.  # each [N, ...]
        """
        rows = {}
        if batch.labels is not None and self.told:
            rows["labels"] = one_hot(batch.labels, self.told).to(like.dtype)
        if purpose and (size := self.network.dropout_size(growth.stage)):
            drawn = uniforms(self.seed, f"dropout/{purpose}{self.suffix}", batch.positions, size)
            rows["dropout"] = (drawn.pin_memory() if like.is_cuda else drawn).to(like.device, non_blocking=True)
        return rows

    def initialize(self, pictures: Tensor, growth: Growth) -> None:
        """Set the scales of minibatch discrimination, before training.

        Args:
            pictures: real ones.  # [N, C, H, W]
            growth: where growth begins.

        Raises:
            UserError: the pictures are too few or all alike.
        """
        pictures, growth = self._reduced(pictures, growth)
        try:
            self.network.initialize(pictures, growth.stage, growth.alpha)
        except ValueError as error:
            raise UserError(f"{self.key}: {error}.") from None

    # --- losses ---------------------------------------------------------------------------------------------------

    @property
    def lazy(self) -> tuple[int, ...]:
        """Periods of penalties that are not computed at every step."""
        penalties = (self.options.r1, self.options.r2)
        return tuple(penalty.every for penalty in penalties if penalty is not None and penalty.every > 1)

    @property
    def compilable(self) -> bool:
        """Whether torch.compile can take the network.

        It cannot where its gradients are differentiated (penalties), hooks look into its layers (feature matching),
        objects keep count of its passes (noise, queues), or it looks through a network that has its own code.
        """
        options = self.options
        penalized = (options.gradient_penalty, options.r1, options.r2)
        observed = (options.feature_matching, self.noise, self.queues.size, self.network.on_features)
        return not (any(penalized) or any(observed))

    @property
    def watched(self) -> dict[str, Watched]:
        """Its adversarial loss, for an alarm; nothing where that has no floor."""
        options, factor = self.options, self.options.lsgan_fake_factor
        undecided = ADVERSARIAL[options.loss].chance_loss
        if options.label_smoothing:
            undecided = undecided_loss(options.label_smoothing.real)
        if options.loss == "lsgan":
            undecided = options.lsgan_factor * factor / (1 + factor)
        return {} if undecided is None else {f"disc{self.suffix}": Watched(self._figure, undecided)}

    @property
    def _figure(self) -> str:
        return f"adversarial/disc{self.suffix}"

    def discriminator_loss(
        self, real: Batch, fake: Tensor, growth: Growth, step: int, behind: Batch | None = None
    ) -> tuple[Tensor, Stats]:
        """The discriminator's loss, each term a line. Then the queues take in the features.

        Penalties see what the loss sees: the same earlier pictures, as constants, and the same augmentation, with the
        random numbers of the step. R1 is the gradient of D(T(x)) with respect to x, T being the augmentation, as in the
        authors' code (Karras et al. 2020, ADA). Between a real and a fake picture, T is that of the real one. Penalties
        leave noise and dropout out.

        Args:
            real: real pictures.  # images [N, C, H, W]
            fake: fake pictures, detached, of the classes of ``behind``.  # [N, C, H, W]
            growth: where growth stands.
            step: number of the round, for lazy penalties, noise and augmentation.
            behind: the pictures that the fakes are made from, or take their classes from; default: the real ones.
        """
        options, suffix = self.options, self.suffix
        fake, _ = self._reduced(fake, growth)
        images, growth = self._reduced(real.images, growth)
        real = replace(real, images=images)
        of_real, of_fake = self.outputs(real, fake, growth, step, behind)
        adversarial = self._adversarial(of_real.logits, of_fake.logits)
        stats = {
            self._figure: adversarial,
            f"score/real{suffix}": of_real.logits.mean(),
            f"score/fake{suffix}": of_fake.logits.mean(),
        }
        loss = adversarial

        def critic(kind: str, earlier: EarlierFeatures | None) -> Critic:
            def logits(x: Tensor) -> Tensor:
                shown = self.augment(x, f"discriminator/{kind}", real.positions, step) if self.augment else x
                rows = self._rows(behind if kind == "fake" and behind is not None else real, growth, fake)
                return self.output(shown, growth, step, earlier=earlier, rows=rows).logits

            return logits

        if options.gradient_penalty:
            mix = to_match(uniform(self.seed, f"mix{suffix}", real.positions), real.images)
            mixed = critic("real", self.queues.between(mix))
            penalty = gradient_penalty(mixed, real.images, fake, mix, options.gradient_penalty.target)
            stats[f"penalty/gradient{suffix}"] = penalty
            loss = loss + options.gradient_penalty.weight * penalty
        if options.drift:
            stats[f"penalty/drift{suffix}"] = penalty = drift(of_real.logits)
            loss = loss + options.drift * penalty
        for name, kind, pictures, lazy in (("r1", "real", real.images, options.r1), ("r2", "fake", fake, options.r2)):
            if lazy and step % lazy.every == 0:
                penalty = zero_centred(critic(kind, self.queues.earlier(kind)), pictures, lazy.gamma)
                stats[f"penalty/{name}{suffix}"] = penalty
                loss = loss + lazy.every * penalty
        if self.classes:
            stats[f"class/real{suffix}"] = term = _class_loss(of_real, real)
            loss = loss + self.classes.real * term
            stats[f"class/fake{suffix}"] = term = _class_loss(of_fake, real)
            loss = loss + self.classes.fake * term
        if self.noise and options.noise:
            stats[f"noise/strength{suffix}"] = self._noise_strength(step, fake)
            signals = {"real": stats[f"score/real{suffix}"], "fake": 1 - stats[f"score/fake{suffix}"], "d_loss": loss}
            self.noise.observe(signals[options.noise.signal], step)
        if self.augment:
            stats |= self.augment.observe(of_real.logits, step, growth.batch_size)
        self.queues.store(real=of_real.features, fake=of_fake.features)
        return loss, stats

    def _adversarial(self, real: Tensor, fake: Tensor) -> Tensor:
        options = self.options
        if options.loss == "lsgan":
            return options.lsgan_factor * lsgan_discriminator(real, fake, options.lsgan_fake_factor)
        if options.label_smoothing:
            return smoothed_discriminator(real, fake, options.label_smoothing.real)
        return ADVERSARIAL[options.loss].discriminator(real, fake)

    @torch.no_grad()
    def before_update(self) -> None:
        """Clip the critic's weights, where the recipe says so: all of them, those of norms too."""
        limit = self.options.weight_clipping
        if limit is not None:
            for key, parameter in self.network.named_parameters():
                if key not in self.network.frozen:
                    parameter.clamp_(-limit, limit)

    def generator_loss(
        self, real: Batch, fake: Tensor, growth: Growth, step: int, name: str = "gen"
    ) -> tuple[Tensor, Stats]:
        """The generator's loss.

        Args:
            real: real pictures of the same domain; paired games and feature matching use them.  # images [N, C, H, W]
            fake: the generator's pictures, with their graph, of the same classes.  # [N, C, H, W]
            growth: where growth stands.
            step: number of the round, for noise and augmentation.
            name: of the generator, in the names of the figures.
        """
        fake, _ = self._reduced(fake, growth)
        images, growth = self._reduced(real.images, growth)
        game, matching = ADVERSARIAL[self.options.loss], self.options.feature_matching
        compares = game.paired or matching is not None
        if self.augment:
            fake = self.augment(fake, "generator/fake", real.positions, step)
            images = self.augment(images, "generator/real", real.positions, step) if compares else images
        earlier_real, earlier_fake = self.queues.earlier("real"), self.queues.earlier("fake")
        real_logits = None
        with torch.no_grad(), self._features() as of_reals:
            if compares:
                rows = self._rows(real, growth, fake, "generator/real")
                real_logits = self.output(images, growth, step, earlier=earlier_real, rows=rows).logits
        normals = self._normals("generator", "fake", real.positions, growth, fake)
        with self._features() as of_fakes:
            rows = self._rows(real, growth, fake, "generator/fake")
            of_fake = self.output(fake, growth, step, normals, earlier_fake, rows)
        if matching is not None:
            figure, loss = f"features/{name}", feature_matching(of_reals[0], of_fakes[0], matching.distance)
        elif smoothing := self.options.label_smoothing:
            figure, loss = f"adversarial/{name}", smoothed_generator(of_fake.logits, smoothing.generator)
        else:
            figure, loss = f"adversarial/{name}", game.generator(real_logits, of_fake.logits)
        stats = {figure: loss}
        if self.classes:
            stats[f"class/{name}"] = term = _class_loss(of_fake, real)
            loss = loss + self.classes.fake * term
        return loss, stats

    @contextmanager
    def _features(self) -> Iterator[list[Tensor]]:
        """What goes into the network's last layer meanwhile, if features are matched.  # one [N, ...] a pass"""
        seen: list[Tensor] = []
        layer = self.network.logit_layer() if self.options.feature_matching else None
        if layer is None:
            yield seen
            return
        hook = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            yield seen
        finally:
            hook.remove()

    # --- memory ---------------------------------------------------------------------------------------------------

    def on_new_stage(self, growth: Growth) -> None:
        """Empty the queues, as features of another stage mean something else, and tell the network."""
        self.queues.clear()
        self.network.on_new_stage(growth.stage)

    def memories(self) -> dict[str, Memory]:
        """The noise and augmentation controllers, common to all processes, and the queues of each process."""
        found: dict[str, Memory] = {}
        if self.noise is not None:
            found[f"noise{self.suffix}"] = Memory(self.noise, common=True)
        if self.augment is not None and self.augment.controller is not None:
            found[f"augment{self.suffix}"] = Memory(self.augment.controller, common=True)
        if self.queues.size:
            found[f"queue{self.suffix}"] = Memory(self.queues)
        return found


def _interleaved(rows: Sequence[Tensor]) -> Tensor:
    """The first rows of all, the second rows of all, ...  # n times [N, ...] -> [n N, ...]"""
    return torch.stack(list(rows), dim=1).flatten(0, 1)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Rows of zeros with a one, without waiting for a GPU.  # [N] -> [N, K] bool"""
    return labels[:, None] == torch.arange(classes, device=labels.device)


def _class_loss(output: DiscriminatorOutput, batch: Batch) -> Tensor:
    if output.class_logits is None or batch.labels is None:
        raise ValueError("class terms need a discriminator with class logits, and labels of the pictures")
    return class_loss(output.class_logits, batch.labels)
