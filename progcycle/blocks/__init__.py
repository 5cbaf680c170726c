"""Pure maths of growing networks; imports torch and numpy only.

Shapes trail as ``# [N, C, H, W]``: N pictures of the batch, C channels, H and W pixels, G pictures of a group,
M groups, P processes.
"""

from progcycle.blocks.autocast import full_precision, in_full_precision
from progcycle.blocks.bound import clamp_inward
from progcycle.blocks.colour_correlation import colour_inversion
from progcycle.blocks.degrade import blurred, noisy, rounded
from progcycle.blocks.discriminator_augment import NUMBERS, augment
from progcycle.blocks.double_backward import InputGradients
from progcycle.blocks.draw import draw_weight, normal_weight
from progcycle.blocks.equalized import EqualizedConv2d, EqualizedLinear, scaling_once
from progcycle.blocks.fade import blend, fade_in, fade_reals, is_end
from progcycle.blocks.fused import conv2d_downsample, downsampling_kernel, upsample_conv2d, upsampling_kernel
from progcycle.blocks.gather import gather_rows, own_rows, sum_over_processes, world_size
from progcycle.blocks.initialize import Initialization, draw_normal
from progcycle.blocks.levels import (
    LUMINANCE,
    as_numbers,
    from_levels,
    level_step,
    levels_to_unit,
    max_level,
    rounded_to_levels,
    to_levels,
    to_unit,
    window_levels,
    window_numbers,
    window_values,
)
from progcycle.blocks.minibatch import (
    EarlierFeatures,
    GroupSize,
    MinibatchDiscrimination,
    minibatch_stddev,
    stddev_channels,
    stddev_group,
)
from progcycle.blocks.multiplicative_noise import Noise, NoiseMode, gdrop
from progcycle.blocks.normalize import BatchNorm, Norm, PixelNorm, make_norm, pixel_norm
from progcycle.blocks.reference_norm import ReferenceNorm, VirtualBatchNorm, recording
from progcycle.blocks.resample import downsample2x, mean_preserving_upsample2x, smooth_upsample2x, upsample2x
from progcycle.blocks.shown import as_shown
from progcycle.blocks.spectral import normalize_spectrally

__all__ = [
    "LUMINANCE",
    "NUMBERS",
    "BatchNorm",
    "EarlierFeatures",
    "EqualizedConv2d",
    "EqualizedLinear",
    "GroupSize",
    "Initialization",
    "InputGradients",
    "MinibatchDiscrimination",
    "Noise",
    "NoiseMode",
    "Norm",
    "PixelNorm",
    "ReferenceNorm",
    "VirtualBatchNorm",
    "as_numbers",
    "as_shown",
    "augment",
    "blend",
    "blurred",
    "clamp_inward",
    "colour_inversion",
    "conv2d_downsample",
    "downsample2x",
    "downsampling_kernel",
    "draw_normal",
    "draw_weight",
    "fade_in",
    "fade_reals",
    "from_levels",
    "full_precision",
    "gather_rows",
    "gdrop",
    "in_full_precision",
    "is_end",
    "level_step",
    "levels_to_unit",
    "make_norm",
    "max_level",
    "mean_preserving_upsample2x",
    "minibatch_stddev",
    "noisy",
    "normal_weight",
    "normalize_spectrally",
    "own_rows",
    "pixel_norm",
    "recording",
    "rounded",
    "rounded_to_levels",
    "scaling_once",
    "smooth_upsample2x",
    "stddev_channels",
    "stddev_group",
    "sum_over_processes",
    "to_levels",
    "to_unit",
    "upsample2x",
    "upsample_conv2d",
    "upsampling_kernel",
    "window_levels",
    "window_numbers",
    "window_values",
    "world_size",
]
