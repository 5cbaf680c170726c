"""The Inception Score: how sure a classifier is of each picture, and how evenly its classes are used."""

import torch
from torch import Tensor


def inception_score(logits: Tensor, parts: int = 1) -> tuple[float, float]:
    """exp of the mean KL divergence of p(class | picture) from the mean p(class) (Salimans et al. 2016, section 4).

    From 1, where the classifier gives all pictures the same classes, to the number of classes. It knows nothing of real
    pictures. Few pictures make it smaller, since their mean p(class) is made of themselves.

    Args:
        logits: of the classes, in the order that parts are cut from.  # [N, K]
        parts: as many equal parts the score is taken of; the paper has 10 parts of 5,000 pictures.

    Returns:
        Mean and standard deviation over the parts; the deviation of one part is 0.

    Raises:
        ValueError: another shape, or fewer pictures than parts.
    """
    if logits.ndim != 2 or not 1 <= parts <= len(logits):
        raise ValueError(f"expected logits [N, K] of at least {parts} pictures, got {list(logits.shape)}")
    scores = []
    for some in torch.tensor_split(logits.cpu().double().log_softmax(dim=1), parts):
        overall = some.logsumexp(dim=0) - torch.tensor(float(len(some))).log()
        scores.append((some.exp() * (some - overall)).sum(dim=1).mean().exp())
    found = torch.stack(scores)
    return float(found.mean()), float(found.std(correction=0))
