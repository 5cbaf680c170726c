"""The class of a picture, which the discriminator predicts too (AC-GAN: Odena et al. 2017, equation 3)."""

from torch import Tensor
from torch.nn.functional import cross_entropy

from progcycle.blocks import full_precision


def class_loss(class_logits: Tensor, labels: Tensor) -> Tensor:
    """-E log P(class = label), P being the softmax of the logits.

    Args:
        class_logits: one for each class.  # [N, K]
        labels: number of each picture's class, in [0, K).  # [N] int64
    """
    return cross_entropy(full_precision(class_logits), labels)
