"""Metrics: sets of pictures in, numbers out. Independent of training."""

from progcycle.blocks import colour_inversion
from progcycle.metrics.colour_statistics import ColourStatistics, colour_statistics, match_colours
from progcycle.metrics.distances import frechet_distance, kernel_distance, kernel_distance_spread
from progcycle.metrics.features import Features, load_features
from progcycle.metrics.inception_score import inception_score
from progcycle.metrics.lines import EdgeScores, edge_scores, fill_deviation
from progcycle.metrics.manifold import ManifoldOverlap, manifold_overlap
from progcycle.metrics.modes import ModeCoverage, mode_coverage
from progcycle.metrics.ms_ssim import ms_ssim, pair_similarities
from progcycle.metrics.paired import (
    PairedScores,
    gradient_error,
    luma_chroma,
    luma_chroma_scores,
    paired_scores,
    pairing_p_value,
)
from progcycle.metrics.palette import Palette, count_colours, palette, palette_distances
from progcycle.metrics.picture_batches import PictureBatches, batches_of
from progcycle.metrics.sliced_wasserstein import sliced_wasserstein
from progcycle.metrics.translation_scores import copy_score, feature_distance, hidden_signal
from progcycle.metrics.two_sample import TwoSampleTest, two_sample_test
from progcycle.pretrained import MissingExtra

__all__ = [
    "ColourStatistics",
    "EdgeScores",
    "Features",
    "ManifoldOverlap",
    "MissingExtra",
    "ModeCoverage",
    "PairedScores",
    "Palette",
    "PictureBatches",
    "TwoSampleTest",
    "batches_of",
    "colour_inversion",
    "colour_statistics",
    "copy_score",
    "count_colours",
    "edge_scores",
    "feature_distance",
    "fill_deviation",
    "frechet_distance",
    "gradient_error",
    "hidden_signal",
    "inception_score",
    "kernel_distance",
    "kernel_distance_spread",
    "load_features",
    "luma_chroma",
    "luma_chroma_scores",
    "manifold_overlap",
    "match_colours",
    "mode_coverage",
    "ms_ssim",
    "pair_similarities",
    "paired_scores",
    "pairing_p_value",
    "palette",
    "palette_distances",
    "sliced_wasserstein",
    "two_sample_test",
]
