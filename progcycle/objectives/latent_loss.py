"""The loss that keeps latents used: they can be estimated from the picture (InfoGAN, Chen et al. 2016; BicycleGAN)."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from progcycle.blocks import full_precision


def latent_loss(latents: Tensor, estimates: Tensor) -> Tensor:
    """E 1 - cos(z, z'): 0 for estimates in the direction of their latents, about 1 for estimates that know nothing.

    That is half of the mean squared difference, once both have a mean square of 1, as translators take them.

    Args:
        latents: z, what pictures were painted from.  # [N, D]
        estimates: z', from these pictures.  # [N, D]

    Returns:
        In [0, 2].
    """
    return (1 - cosine_similarity(full_precision(latents), full_precision(estimates), dim=1)).mean()
