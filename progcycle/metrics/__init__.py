"""Sets of pictures in, numbers out; knows nothing of training."""

from progcycle.metrics.modes import ModeCoverage, mode_coverage
from progcycle.metrics.ms_ssim import ms_ssim, pair_similarities
from progcycle.metrics.paired import PairedScores, join, paired_scores
from progcycle.metrics.sliced_wasserstein import sliced_wasserstein
from progcycle.metrics.source import Source, source_of

__all__ = [
    "ModeCoverage",
    "PairedScores",
    "Source",
    "join",
    "mode_coverage",
    "ms_ssim",
    "pair_similarities",
    "paired_scores",
    "sliced_wasserstein",
    "source_of",
]
