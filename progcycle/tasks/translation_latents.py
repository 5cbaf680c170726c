"""Latents of translators in training: drawn for each picture, and estimated from pictures by encoders."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn.functional import normalize

from progcycle.networks import ENCODERS, LatentEncoder, Network, TaskShape
from progcycle.objectives import latent_loss, prior_loss
from progcycle.recipe import CycleganNetwork
from progcycle.rng import normal
from progcycle.schedule import Growth
from progcycle.tasks.base import to_match
from progcycle.tasks.feature_queue import FeatureQueues

SHOWN = 3  # translations of a picture on sample sheets
DIRECTIONS = 16  # random directions of latents that a batch is compared along


class TranslationLatents:
    """The latents of both directions, if they have any, and the networks that estimate them.

    The way back of a cycle gets the latents that are estimated from the original, as in Augmented CycleGAN (Almahairi
    et al. 2018) and MUNIT (Huang et al. 2018). So it can paint the original, and the cycle loss does not forbid that
    translations differ. Methods give a tuple of one tensor, or of none for a direction without latents.

    Args:
        network: the section of a recipe.
        shapes: what the task fixes for the translators, by direction.
        seed: of the run.

    Attributes:
        networks: the encoders, ``enc_b`` of pictures of B for the latents from A to B.
        specs: how to build each again.
    """

    def __init__(self, network: CycleganNetwork, shapes: Mapping[str, TaskShape], seed: int) -> None:
        self.seed = seed
        self.networks: dict[str, Network] = {}
        self.specs: dict[str, dict[str, object]] = {}
        for direction, shape in shapes.items():
            if (found := network.generator.latent_encoder(shape)) is not None:
                kind, arguments = found
                name = encoder_name(direction)
                self.networks[name] = ENCODERS[kind](**arguments)
                self.specs[name] = {"name": kind, "arguments": arguments}

    def size(self, direction: str) -> int:
        """Numbers of a latent, 0 for none."""
        encoder = self.networks.get(encoder_name(direction))
        return 0 if encoder is None else encoder.latent_size

    def remembers(self, direction: str) -> bool:
        """Whether latents of a direction are drawn from those of real pictures."""
        return self._memory(direction) is not None

    def drawn(
        self, direction: str, purpose: str, positions: Sequence[int], source: Tensor, own: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, ...]:
        """Random latents: normal ones, those of a batch's real pictures, or those of the sources' neighbours.

        Args:
            direction: ``ab`` or ``ba``.
            purpose: part of their random address.
            positions: of the pictures that are translated.
            source: these pictures.  # [N, C, H, W]
            own: estimates for as many real pictures of the domain that it translates to, to draw where the encoder
                remembers such; the two batches have nothing to do with each other, so that their order is random.
        """
        if not (size := self.size(direction)):
            return ()
        memory = self._memory(direction) if own else None
        if memory is not None and not memory.neighbours:
            return tuple(told.detach() for told in own)
        normals = to_match(normal(self.seed, f"latent/{direction}/{purpose}", positions, size), source)
        return (normals if memory is None else memory.drawn(normals, source),)

    def estimated(
        self, direction: str, pictures: Tensor, growth: Growth, networks: Mapping[str, nn.Module] | None = None
    ) -> tuple[Tensor, ...]:
        """The latents from which the translator of a direction would paint some pictures.

        Args:
            direction: ``ab`` or ``ba``.
            pictures: of the domain that it translates to.  # [N, C, H, W]
            growth: where growth stands.
            networks: the encoders by name; default: those that are trained.
        """
        encoder = (networks or self.networks).get(encoder_name(direction)) if self.size(direction) else None
        return () if encoder is None else (encoder(pictures, growth.stage, growth.alpha),)

    def remember(self, direction: str, own: tuple[Tensor, ...], back: Tensor) -> None:
        """Keep the estimates for real pictures where translations are painted from such.

        Args:
            direction: ``ab`` or ``ba``.
            own: the estimates.
            back: translations of these pictures to the domain of the direction's sources.  # [N, C, H, W]
        """
        if (memory := self._memory(direction)) is not None:
            for told in own:
                memory.remember(told, back)

    def _memory(self, direction: str) -> LatentEncoder | None:
        encoder = self.networks.get(encoder_name(direction))
        return encoder if isinstance(encoder, LatentEncoder) and encoder.remembered else None

    def loss(self, direction: str, latents: tuple[Tensor, ...], fake: Tensor, growth: Growth) -> dict[str, Tensor]:
        """The latent loss of translations, see :func:`latent_loss`, by the figure's name; nothing without latents."""
        estimates = self.estimated(direction, fake, growth)
        return {f"latent/{direction}": latent_loss(z, told) for z, told in zip(latents, estimates, strict=True)}


class PriorComparison(FeatureQueues):
    """Compares the latents of real pictures with random ones, see :func:`prior_loss`; the queue holds earlier ones.

    Args:
        queue: earlier latents that a batch is ranked with.
        seed: of the run.
        direction: part of the random address of what is drawn.
    """

    def __init__(self, queue: int, seed: int, direction: str) -> None:
        super().__init__(queue)
        self.seed, self.direction = seed, direction

    def loss(self, estimates: Tensor, positions: Sequence[int]) -> Tensor:
        """The prior loss of a batch, which the queue takes in then.

        Args:
            estimates: latents of real pictures.  # [N, D]
            positions: of these pictures.
        """
        held = self.queues["real"].features
        earlier = None if held is None else held.flatten(1).to(estimates)
        count, size = len(estimates) + (0 if earlier is None else len(earlier)), estimates.shape[1]
        rows = normal(self.seed, f"latent/{self.direction}/prior", positions[:1], (count + DIRECTIONS) * size)
        rows = to_match(rows, estimates).reshape(-1, size)
        loss = prior_loss(estimates, earlier, rows[:count], normalize(rows[count:], dim=1))
        if self.size:
            self.store(real=estimates[:, :, None, None], fake=None)  # queues hold maps
        return loss


def encoder_name(direction: str) -> str:
    """Name of the encoder of the pictures that a direction translates to."""
    return f"enc_{direction[1]}"
