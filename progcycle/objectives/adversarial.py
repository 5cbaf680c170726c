"""The adversarial losses, as pairs of functions of logits. Logits are [N] or patch maps [N, 1, h, w]; all are averaged.

A new loss is one pair of functions and one line in ``ADVERSARIAL``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import relu, softplus


def wgan_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E D(fake) - E D(real) (Gulrajani et al. 2017, equation 3, without its penalty)."""
    return fake.mean() - real.mean()


def wgan_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """-E D(fake)."""
    return -fake.mean()


def lsgan_discriminator(real: Tensor, fake: Tensor, fake_factor: float = 1.0) -> Tensor:
    """E (D(real) - 1)^2 + fake_factor * E D(fake)^2.

    Mao et al. 2017, equation 2 with b = 1, a = 0, without its factor 1/2. A factor of 0.1 is that of the LSGAN
    experiments of Karras et al. 2018 in the original code, whose targets are the other way round.
    """
    return (real - 1).square().mean() + fake_factor * fake.square().mean()


def lsgan_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """E (D(fake) - 1)^2 (c = 1)."""
    return (fake - 1).square().mean()


def non_saturating_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """-E log sigmoid(D(real)) - E log(1 - sigmoid(D(fake))) (Goodfellow et al. 2014, equation 1)."""
    return softplus(-real).mean() + softplus(fake).mean()


def non_saturating_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """-E log sigmoid(D(fake)) (Goodfellow et al. 2014, section 3)."""
    return softplus(-fake).mean()


def smoothed_discriminator(real: Tensor, fake: Tensor, target: float) -> Tensor:
    """Cross entropies of sigmoid(D(real)) with a target t below 1, and of sigmoid(D(fake)) with 0.

    -E [t log sigmoid(D(real)) + (1 - t) log(1 - sigmoid(D(real)))] - E log(1 - sigmoid(D(fake))) (Salimans et al. 2016,
    section 3.4). The authors' code subtracts the entropy of t, which is constant.
    """
    return (softplus(-real) * target + softplus(real) * (1 - target)).mean() + softplus(fake).mean()


def smoothed_generator(fake: Tensor, target: float) -> Tensor:
    """Cross entropy of sigmoid(D(fake)) with a target that is not 1."""
    return (softplus(-fake) * target + softplus(fake) * (1 - target)).mean()


def undecided_logit(target: float) -> float:
    """The logit that a discriminator gives, with a target of reals, to pictures that may as well be fake."""
    return math.log(target / (2 - target))


def undecided_loss(target: float) -> float:
    """Least loss, with a target of reals, of a discriminator whose output does not depend on the picture."""
    share = target / 2
    return -target * math.log(share) - (2 - target) * math.log(1 - share)


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E max(0, 1 - D(real)) + E max(0, 1 + D(fake)) (Lim and Ye 2017; Miyato et al. 2018, equation 16)."""
    return relu(1 - real).mean() + relu(1 + fake).mean()


def hinge_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """-E D(fake) (Miyato et al. 2018, equation 17)."""
    return -fake.mean()


def relativistic_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """E softplus(-(D(real) - D(fake))), rows paired (Jolicoeur-Martineau 2019; R3GAN, Huang et al. 2024, eq. 2)."""
    return softplus(fake - real).mean()


def relativistic_generator(real: Tensor | None, fake: Tensor) -> Tensor:
    """E softplus(-(D(fake) - D(real))), rows paired.

    Raises:
        ValueError: the logits of the real pictures are missing.
    """
    if real is None:
        raise ValueError("the relativistic generator loss needs the logits of real pictures")
    return softplus(real - fake).mean()


@dataclass(frozen=True)
class LossPair:
    """One adversarial objective.

    Attributes:
        discriminator: (real logits, fake logits) -> loss.
        generator: (real logits or None, fake logits) -> loss.
        paired: whether the generator's loss needs the real logits too.
        midpoint: between the target logits of fake and real; None if there are no targets.
        chance_loss: least loss of a discriminator whose output does not depend on the picture; None if it is unbounded.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor | None, Tensor], Tensor]
    paired: bool = False
    midpoint: float | None = None
    chance_loss: float | None = None


ADVERSARIAL: dict[str, LossPair] = {
    "wgan": LossPair(wgan_discriminator, wgan_generator),
    "lsgan": LossPair(lsgan_discriminator, lsgan_generator, midpoint=0.5, chance_loss=0.5),
    "non_saturating": LossPair(
        non_saturating_discriminator, non_saturating_generator, midpoint=0.0, chance_loss=2 * math.log(2)
    ),
    "hinge": LossPair(hinge_discriminator, hinge_generator, midpoint=0.0, chance_loss=2.0),
    "relativistic": LossPair(relativistic_discriminator, relativistic_generator, paired=True, chance_loss=math.log(2)),
}
