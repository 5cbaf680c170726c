"""Pictures in, batches out: order and augmentation are pure functions of (seed, domain, global position).

Shapes trail as ``# [N, C, H, W]``: N pictures of the batch, C channels, H and W pixels, S and r pixels per side.
"""

from progcycle.data.batch import Batch, Sample, collate
from progcycle.data.bit_depth import UnsupportedPicture
from progcycle.data.decode import BrokenPicture, decode_picture, decode_reduced, image_pixels
from progcycle.data.fit import box_reduce, fit_to
from progcycle.data.identity import describe_change, identity
from progcycle.data.labels import find_classes
from progcycle.data.levels import Levels
from progcycle.data.loader import LoaderError, build_loader, dead_worker
from progcycle.data.picture_set import PictureSet
from progcycle.data.reals import as_reals
from progcycle.data.scale import describe_scale, unaltered
from progcycle.data.sets import cache_warning, resolve_sets, resolve_test_sets, resolve_validation_sets
from progcycle.data.staging import StagedFiles, Staging, staging_folder

__all__ = [
    "Batch",
    "BrokenPicture",
    "Levels",
    "LoaderError",
    "PictureSet",
    "Sample",
    "StagedFiles",
    "Staging",
    "UnsupportedPicture",
    "as_reals",
    "box_reduce",
    "build_loader",
    "cache_warning",
    "collate",
    "dead_worker",
    "decode_picture",
    "decode_reduced",
    "describe_change",
    "describe_scale",
    "find_classes",
    "fit_to",
    "identity",
    "image_pixels",
    "resolve_sets",
    "resolve_test_sets",
    "resolve_validation_sets",
    "staging_folder",
    "unaltered",
]
