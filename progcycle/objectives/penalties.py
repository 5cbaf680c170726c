"""Penalties on a critic. They take a closure ``critic(pictures) -> logits`` and run it in float32, outside autocast.

Patch logits are averaged per picture first, so that a picture counts once whatever the number of its patches.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from progcycle.blocks import InputGradients, full_precision

Critic = Callable[[Tensor], Tensor]


def per_picture(logits: Tensor) -> Tensor:
    """Mean logit of every picture.  # [N], [N, K] or [N, 1, h, w] -> [N]"""
    return logits.flatten(1).mean(1) if logits.ndim > 1 else logits


def squared_gradient(critic: Critic, pictures: Tensor) -> Tensor:
    """|grad of the critic|^2 at every picture, differentiable itself.

    Args:
        critic: pictures to logits.
        pictures: where the gradient is taken.  # [N, C, H, W]

    Returns:
        Squared norms over C, H and W.  # [N]
    """
    x = full_precision(pictures.detach()).requires_grad_(True)
    with torch.autocast(x.device.type, enabled=False), InputGradients():
        logits = per_picture(critic(x))
        (gradient,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3))


def gradient_penalty(
    critic: Critic, real: Tensor, fake: Tensor, mix: Tensor, target: float = 1.0, epsilon: float = 1e-12
) -> Tensor:
    """E (|grad D(x)| - target)^2 / target^2 at x = real + mix (fake - real).

    Gulrajani et al. 2017, equation 3; the target is that of Karras et al. 2018, appendix A.1. Multiply by lambda.

    Args:
        critic: pictures to logits.
        real: real pictures.  # [N, C, H, W]
        fake: fake pictures.  # [N, C, H, W]
        mix: share of the fake, in [0, 1].  # [N]
        target: the norm aimed at.
        epsilon: added under the root, whose slope at 0 is infinite.
    """
    real, fake = full_precision(real.detach()), full_precision(fake.detach())
    x = torch.lerp(real, fake, mix.to(real).reshape(-1, 1, 1, 1))
    norm = (squared_gradient(critic, x) + epsilon).sqrt()
    return (norm - target).square().mean() / target**2


def zero_centred(critic: Critic, pictures: Tensor, gamma: float) -> Tensor:
    """gamma / 2 * E |grad D|^2: R1 on real pictures, R2 on fake ones (Mescheder et al. 2018, equation 9)."""
    return 0.5 * gamma * squared_gradient(critic, pictures).mean()


def drift(real_logits: Tensor) -> Tensor:
    """E D(real)^2, which keeps a Wasserstein critic from wandering (Karras et al. 2018, appendix A.1)."""
    return real_logits.square().mean()
