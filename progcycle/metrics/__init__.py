"""Metrics: sets of pictures in, numbers out. Independent of training."""

from progcycle.blocks import colour_inversion
from progcycle.metrics.colour_statistics import ColourStatistics, colour_statistics, match_colours
from progcycle.metrics.distances import frechet_distance, kernel_distance, kernel_distance_spread
from progcycle.metrics.features import Features, MissingExtra, load_features
from progcycle.metrics.inception_score import inception_score
from progcycle.metrics.modes import ModeCoverage, mode_coverage
from progcycle.metrics.ms_ssim import ms_ssim, pair_similarities
from progcycle.metrics.paired import PairedScores, gradient_error, paired_scores, pairing_p_value
from progcycle.metrics.picture_batches import PictureBatches, batches_of
from progcycle.metrics.sliced_wasserstein import sliced_wasserstein
from progcycle.metrics.translation_scores import copy_score, feature_distance, hidden_signal

__all__ = [
    "ColourStatistics",
    "Features",
    "MissingExtra",
    "ModeCoverage",
    "PairedScores",
    "PictureBatches",
    "batches_of",
    "colour_inversion",
    "colour_statistics",
    "copy_score",
    "feature_distance",
    "frechet_distance",
    "gradient_error",
    "hidden_signal",
    "inception_score",
    "kernel_distance",
    "kernel_distance_spread",
    "load_features",
    "match_colours",
    "mode_coverage",
    "ms_ssim",
    "pair_similarities",
    "paired_scores",
    "pairing_p_value",
    "sliced_wasserstein",
]
