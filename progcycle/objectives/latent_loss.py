"""Losses of latents: used ones (InfoGAN, Chen et al. 2016; BicycleGAN), and random ones as real pictures have them."""

from torch import Tensor
from torch.nn.functional import cosine_similarity

from progcycle.blocks import full_precision, pixel_norm
from progcycle.objectives.sliced_wasserstein import sliced_wasserstein


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


def prior_loss(estimates: Tensor, earlier: Tensor | None, drawn: Tensor, directions: Tensor) -> Tensor:
    """Sliced Wasserstein distance, squared, from the latents of real pictures to random ones (Kolouri et al. 2019).

    Latents count with a mean square of 1, as translators take them. The estimates, new and earlier, are ranked along
    each direction, and the nth is to be where the nth random one is. So random latents ask for what the real pictures
    have, as often as they have it.

    Args:
        estimates: of the latents of real pictures.  # [N, D]
        earlier: those of earlier pictures, without history; None for none.  # [M, D]
        drawn: random latents, as many as estimates in all.  # [N + M, D]
        directions: unit vectors.  # [K, D]

    Raises:
        ValueError: not as many random latents as estimates.
    """
    others = estimates[:0] if earlier is None else earlier.to(estimates)
    # Sums of products, since autocast would compute a matrix product in fewer bits.
    points = [pixel_norm(full_precision(latents)) * directions[:, None] for latents in (estimates, others, drawn)]
    mine, others, wanted = (rows.sum(dim=2) for rows in points)
    return sliced_wasserstein(mine, others, wanted)
