"""How pictures of any number of channels are shown to people, and to networks that know colours."""

from torch import Tensor


def as_shown(pictures: Tensor) -> Tensor:  # [N, C, H, W] -> [N, 1 or 3, H, W]
    """Grey and RGB as they are; the first of two channels in green and the second in magenta; of more, the first three.

    Args:
        pictures: of any range.
    """
    channels = pictures.shape[1]
    if channels in (1, 3):
        return pictures
    return pictures[:, [1, 0, 1]] if channels == 2 else pictures[:, :3]
