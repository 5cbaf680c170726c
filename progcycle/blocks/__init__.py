"""Pure maths of growing networks; imports torch only.

Shapes trail as ``# [N, C, H, W]``: N pictures of the batch, C channels, H and W pixels, G pictures of a group,
M groups.
"""

from progcycle.blocks.equalized import EqualizedConv2d, EqualizedLinear
from progcycle.blocks.fade import fade_in
from progcycle.blocks.normalize import minibatch_stddev, pixel_norm, stddev_group
from progcycle.blocks.precision import full_precision, in_full_precision
from progcycle.blocks.resample import downsample2x, upsample2x

__all__ = [
    "EqualizedConv2d",
    "EqualizedLinear",
    "downsample2x",
    "fade_in",
    "full_precision",
    "in_full_precision",
    "minibatch_stddev",
    "pixel_norm",
    "stddev_group",
    "upsample2x",
]
